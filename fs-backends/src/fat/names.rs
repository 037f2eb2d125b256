//! Names of FAT: 8.3 names in a code page, and how names compare.

use crate::code_page::CodePage;
use crate::wtf8;

/// The lower-case flags of a short entry, as Windows NT writes them.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// The byte that stands for 0xE5 at the start of a name, as 0xE5 itself marks a deleted entry.
const ESCAPED_E5: u8 = 0x05;

/// `bytes` as UTF-16, without the spaces after them.
pub(super) fn decode_padded(bytes: &[u8], page: CodePage) -> Vec<u16> {
    let end = bytes.iter().rposition(|byte| *byte != b' ');
    let length = end.map_or(0, |end| end.saturating_add(1));
    page.decode(bytes.get(..length).unwrap_or_default())
}

/// The 8.3 name of a short entry, in the case that `flags` give it.
pub(super) fn short_name(raw: &[u8; 11], flags: u8, page: CodePage) -> Vec<u16> {
    let mut raw = *raw;
    if raw[0] == ESCAPED_E5 {
        raw[0] = 0xE5;
    }
    let (base, extension) = raw.split_at(8);
    let mut name = cased(decode_padded(base, page), flags & LOWER_BASE != 0);
    let extension = cased(decode_padded(extension, page), flags & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        name.push(u16::from(b'.'));
        name.extend(extension);
    }
    name
}

fn cased(mut units: Vec<u16>, is_lower: bool) -> Vec<u16> {
    if is_lower {
        for unit in &mut units {
            *unit = map_single(*unit, |character| single(character.to_lowercase()));
        }
    }
    units
}

/// The name in the form in which names are compared: upper case where that is one code unit.
pub(super) fn fold(units: &mut [u16]) {
    for unit in units {
        *unit = map_single(*unit, |character| single(character.to_uppercase()));
    }
}

/// The WTF-8 `name` in the form in which names are compared; `None` if it is no WTF-8.
pub(super) fn folded(name: &[u8]) -> Option<Vec<u16>> {
    let mut units = wtf8::decode(name)?;
    fold(&mut units);
    Some(units)
}

fn map_single(unit: u16, map: impl Fn(char) -> Option<char>) -> u16 {
    char::from_u32(u32::from(unit))
        .and_then(map)
        .and_then(|character| u16::try_from(u32::from(character)).ok())
        .unwrap_or(unit)
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    characters.next().filter(|_| characters.next().is_none())
}

/// The checksum of an 8.3 name that its long name entries carry.
pub(super) fn checksum(raw: &[u8; 11]) -> u8 {
    raw.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &[u8; 11], flags: u8) -> String {
        String::from_utf16(&short_name(raw, flags, CodePage::default())).unwrap()
    }

    #[test]
    fn short_names_have_their_own_case_and_code_page() {
        assert_eq!(text(b"README  TXT", 0), "README.TXT");
        assert_eq!(text(b"README  TXT", 0x08), "readme.TXT");
        assert_eq!(text(b"README  TXT", 0x10), "README.txt");
        assert_eq!(text(b"A B        ", 0), "A B");
        assert_eq!(text(b"\x9AMLAUT     ", 0x08), "\u{fc}mlaut");
        assert_eq!(text(b"\x05MEGA   \xE1  ", 0), "\u{3c3}MEGA.\u{df}");
    }

    #[test]
    fn names_compare_without_case() {
        let (a, b) = ("Stra\u{df}e \u{e9}\u{3b1}.TXT", "stra\u{df}E \u{c9}\u{391}.txt");
        assert_eq!(folded(a.as_bytes()), folded(b.as_bytes()));
        assert_ne!(folded(b"a"), folded(b"b"));
        assert_eq!(folded(b"\xFF"), None);
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(checksum(b"README  TXT"), 0x73);
    }
}
