//! WTF-8: the UTF-16 names of NTFS and FAT as bytes, unpaired surrogates kept.
//!
//! Specification: <https://simonsapin.github.io/wtf-8/>. It is UTF-8 in which an unpaired surrogate
//! is written as the three bytes that UTF-8 would use for its number.

/// The code units `units` as WTF-8.
pub fn encode(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_to(units, &mut bytes);
    bytes
}

/// Appends the code units `units` to `bytes` as WTF-8.
pub fn encode_to(units: impl IntoIterator<Item = u16>, bytes: &mut Vec<u8>) {
    let mut buf = [0; 4];
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut buf).as_bytes()),
            Err(error) => bytes.extend_from_slice(&surrogate(error.unpaired_surrogate())),
        }
    }
}

/// Whether `bytes` are the code units `units` as WTF-8.
pub fn is_of(bytes: &[u8], units: impl IntoIterator<Item = u16>) -> bool {
    let mut rest = bytes;
    let mut buf = [0; 4];
    for unit in char::decode_utf16(units) {
        let taken = match unit {
            Ok(character) => rest.strip_prefix(character.encode_utf8(&mut buf).as_bytes()),
            Err(error) => rest.strip_prefix(&surrogate(error.unpaired_surrogate())),
        };
        match taken {
            Some(later) => rest = later,
            None => return false,
        }
    }
    rest.is_empty()
}

/// An unpaired surrogate: 1110xxxx 10xxxxxx 10xxxxxx; its top four bits are 0xD.
fn surrogate(unit: u16) -> [u8; 3] {
    let [high, low] = unit.to_be_bytes();
    [0xED, 0x80 | (high & 0x0F) << 2 | low >> 6, 0x80 | low & 0x3F]
}

/// The code units of little-endian UTF-16 `bytes`; an odd last byte is left out.
pub fn units_le(bytes: &[u8]) -> impl Iterator<Item = u16> + Clone + '_ {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// The code units of the WTF-8 name `bytes`, or `None` if it is none.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    loop {
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => {
                units.extend(text.encode_utf16());
                return Some(units);
            }
            Err(error) => error.valid_up_to(),
        };
        let (text, rest) = bytes.split_at_checked(valid)?;
        units.extend(std::str::from_utf8(text).ok()?.encode_utf16());
        let ([0xED, middle @ 0xA0..=0xBF, last @ 0x80..=0xBF], rest) = rest.split_first_chunk()?
        else {
            return None;
        };
        units.push(0xD000 | u16::from(middle & 0x3F) << 6 | u16::from(last & 0x3F));
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let names: [&[u16]; 6] = [
            &[],
            &[0x61, 0xFC, 0x2603],
            &[0xD83D, 0xDE00],
            &[0xD83D],
            &[0x61, 0xDE00, 0xD83D, 0x62],
            &[0xDFFF, 0xD800, 0xFFFF],
        ];
        for name in names {
            let bytes = encode(name.iter().copied());
            assert_eq!(decode(&bytes).as_deref(), Some(name), "{bytes:x?}");
            for other in names {
                assert_eq!(is_of(&bytes, other.iter().copied()), name == other, "{bytes:x?}");
            }
        }
        assert_eq!(encode([0xD83D, 0xDE00]), "\u{1F600}".as_bytes());
        assert_eq!(encode([0xD83D]), [0xED, 0xA0, 0xBD]);
    }

    #[test]
    fn what_is_no_name_is_none() {
        for bytes in [&b"\xFF"[..], b"a\xED", b"\xED\xA0", b"\xED\xA0a", b"\xC3"] {
            assert_eq!(decode(bytes), None, "{bytes:x?}");
        }
    }
}
