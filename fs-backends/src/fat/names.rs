//! Names of FAT: 8.3 names in code page 437, and how names compare.

use crate::wtf8;

/// The upper half of code page 437, what Linux takes for 8.3 names if nothing else is said.
const CODE_PAGE_437: [u16; 128] = [
    0x00C7, 0x00FC, 0x00E9, 0x00E2, 0x00E4, 0x00E0, 0x00E5, 0x00E7, 0x00EA, 0x00EB, 0x00E8, 0x00EF,
    0x00EE, 0x00EC, 0x00C4, 0x00C5, 0x00C9, 0x00E6, 0x00C6, 0x00F4, 0x00F6, 0x00F2, 0x00FB, 0x00F9,
    0x00FF, 0x00D6, 0x00DC, 0x00A2, 0x00A3, 0x00A5, 0x20A7, 0x0192, 0x00E1, 0x00ED, 0x00F3, 0x00FA,
    0x00F1, 0x00D1, 0x00AA, 0x00BA, 0x00BF, 0x2310, 0x00AC, 0x00BD, 0x00BC, 0x00A1, 0x00AB, 0x00BB,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255D, 0x255C, 0x255B, 0x2510, 0x2514, 0x2534, 0x252C, 0x251C, 0x2500, 0x253C, 0x255E, 0x255F,
    0x255A, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256C, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256B, 0x256A, 0x2518, 0x250C, 0x2588, 0x2584, 0x258C, 0x2590, 0x2580,
    0x03B1, 0x00DF, 0x0393, 0x03C0, 0x03A3, 0x03C3, 0x00B5, 0x03C4, 0x03A6, 0x0398, 0x03A9, 0x03B4,
    0x221E, 0x03C6, 0x03B5, 0x2229, 0x2261, 0x00B1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00F7, 0x2248,
    0x00B0, 0x2219, 0x00B7, 0x221A, 0x207F, 0x00B2, 0x25A0, 0x00A0,
];

/// The lower-case flags of a short entry, as Windows NT writes them.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// The byte that stands for 0xE5 at the start of a name, as 0xE5 itself marks a deleted entry.
const ESCAPED_E5: u8 = 0x05;

/// `bytes` of code page 437 as UTF-16, without the spaces after them.
pub(super) fn decode_padded(bytes: &[u8]) -> Vec<u16> {
    let end = bytes.iter().rposition(|byte| *byte != b' ');
    let length = end.map_or(0, |end| end.saturating_add(1));
    bytes.iter().take(length).map(|byte| decode_byte(*byte)).collect()
}

fn decode_byte(byte: u8) -> u16 {
    let upper = byte.checked_sub(0x80);
    let unit = upper.and_then(|index| CODE_PAGE_437.get(usize::from(index)));
    unit.copied().unwrap_or(u16::from(byte))
}

/// The 8.3 name of a short entry, in the case that `flags` give it.
pub(super) fn short_name(raw: &[u8; 11], flags: u8) -> Vec<u16> {
    let mut raw = *raw;
    if raw[0] == ESCAPED_E5 {
        raw[0] = 0xE5;
    }
    let (base, extension) = raw.split_at(8);
    let mut name = cased(decode_padded(base), flags & LOWER_BASE != 0);
    let extension = cased(decode_padded(extension), flags & LOWER_EXTENSION != 0);
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
        String::from_utf16(&short_name(raw, flags)).unwrap()
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
