//! Names as the host can bear them.
//!
//! A guest's name may hold bytes that no host name can: `/` and NUL, or be `.`, `..` or empty. They
//! are moved to the private use area at U+F000, as Windows' own tools for Unix do: `a/b` becomes
//! `a`, U+F02F, `b`. All other names stay as they are, byte for byte.

use std::borrow::Cow;

/// Where the byte 0 is moved to; the others follow in order.
const ESCAPE_BASE: u32 = 0xF000;

/// The name that stands for an empty one.
const EMPTY: u32 = 0xF0FF;

/// The host's form of the guest's name `name`.
pub fn to_host(name: &[u8]) -> Cow<'_, [u8]> {
    match name {
        b"" => Cow::Owned(escaped_char(EMPTY)),
        b"." | b".." => Cow::Owned(name.iter().flat_map(|byte| escape(*byte)).collect()),
        _ if !name.iter().any(|byte| is_bad(*byte)) => Cow::Borrowed(name),
        _ => {
            let mut host = Vec::with_capacity(name.len() + 4);
            for byte in name {
                if is_bad(*byte) {
                    host.extend(escape(*byte));
                } else {
                    host.push(*byte);
                }
            }
            Cow::Owned(host)
        }
    }
}

/// The guest's name of the host's `name`, if it holds anything that [`to_host`] moved.
pub fn to_guest(name: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(name).ok()?;
    if !text.chars().any(|character| (ESCAPE_BASE..=EMPTY).contains(&u32::from(character))) {
        return None;
    }
    if text.chars().eq(char::from_u32(EMPTY)) {
        return Some(Vec::new());
    }
    let mut guest = Vec::with_capacity(name.len());
    for character in text.chars() {
        let byte = u32::from(character)
            .checked_sub(ESCAPE_BASE)
            .and_then(|byte| u8::try_from(byte).ok())
            .filter(|byte| is_bad(*byte) || *byte == b'.');
        match byte {
            Some(byte) => guest.push(byte),
            None => guest.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(guest)
}

fn is_bad(byte: u8) -> bool {
    matches!(byte, 0 | b'/')
}

fn escape(byte: u8) -> Vec<u8> {
    escaped_char(ESCAPE_BASE + u32::from(byte))
}

fn escaped_char(code: u32) -> Vec<u8> {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    character.encode_utf8(&mut [0; 4]).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_host_bears_are_moved_and_come_back() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", b"/etc/passwd", b"../x"] {
            let host = to_host(name);
            assert!(!host.is_empty() && !host.contains(&b'/') && !host.contains(&0));
            assert!(&*host != b"." && &*host != b"..");
            assert_eq!(to_guest(&host).as_deref(), Some(name));
        }
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in [&b"a"[..], b"...", b".hidden", "ä\u{1F600}".as_bytes(), b"\xff\xfe", b"a:b"] {
            assert!(matches!(to_host(name), Cow::Borrowed(same) if same == name));
            assert_eq!(to_guest(name), None);
        }
    }
}
