//! Names as the host can bear them.
//!
//! A guest's name may hold what no host name can: `/` and NUL, or be `.`, `..` or empty. Windows
//! bears still less: see [`to_windows`]. Each such byte is moved to the private use area at U+F000,
//! as Windows' own tools for Unix do: `a/b` becomes `a`, U+F02F, `b`. All other names stay as they
//! are. One byte has one escape on every host, and [`to_guest`] takes any of them back.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;

/// Where the byte 0 is moved to; the others follow in order.
const ESCAPE_BASE: u16 = 0xF000;

/// The name that stands for an empty one.
const EMPTY: u16 = 0xF100;

/// Where the digit 0 of a twin's number is moved to; see [`disambiguate_case`].
const TWIN_BASE: u16 = 0xF130;

/// The guest's name `name` as a name of this host.
pub fn to_host(name: &[u8]) -> OsString {
    #[cfg(windows)]
    {
        use std::os::windows::ffi::OsStringExt;
        let mut units = Vec::with_capacity(name.len());
        to_windows(name, &mut units);
        OsString::from_wide(&units)
    }
    #[cfg(not(windows))]
    {
        use std::os::unix::ffi::OsStringExt;
        OsString::from_vec(to_unix(name).into_owned())
    }
}

/// The guest's name `name` as a name of a Unix host.
pub fn to_unix(name: &[u8]) -> Cow<'_, [u8]> {
    let is_bad = |byte: &u8| matches!(*byte, 0 | b'/');
    match name {
        b"" => Cow::Owned(utf8(EMPTY)),
        b"." | b".." => Cow::Owned(name.iter().flat_map(|byte| utf8(escape(*byte))).collect()),
        _ if !name.iter().any(is_bad) => Cow::Borrowed(name),
        _ => {
            let mut host = Vec::with_capacity(name.len() + 4);
            for byte in name {
                if is_bad(byte) {
                    host.extend(utf8(escape(*byte)));
                } else {
                    host.push(*byte);
                }
            }
            Cow::Owned(host)
        }
    }
}

/// Appends the guest's name `name` to `units` as a name of Windows.
///
/// Moved are: `"*/:<>?\|`, control characters, bytes that are neither UTF-8 nor an unpaired
/// surrogate of WTF-8, a dot or a space at the end, and the first letter of a device's name (`CON`,
/// `nul.txt`). Source: "Naming Files, Paths, and Namespaces" of the Windows documentation.
pub fn to_windows(name: &[u8], units: &mut Vec<u16>) {
    let start = units.len();
    if name.is_empty() {
        units.push(EMPTY);
        return;
    }
    push_units(name, units);
    let own = &mut units[start..];
    if is_device(own)
        && let [first, ..] = own
    {
        *first = moved(*first);
    }
    if let [.., last] = own
        && (*last == u16::from(b'.') || *last == u16::from(b' '))
    {
        *last = moved(*last);
    }
}

/// `name` as UTF-16 with the characters moved that Windows takes nowhere in a name.
fn push_units(name: &[u8], units: &mut Vec<u16>) {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        if first.is_ascii() {
            let bad = *first < 0x20 || br#""*/:<>?\|"#.contains(first);
            units.push(if bad { escape(*first) } else { u16::from(*first) });
            rest = tail;
            continue;
        }
        let valid = match std::str::from_utf8(&rest[..rest.len().min(4)]) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
        };
        if let Some(character) = valid.chars().next() {
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
            rest = &rest[character.len_utf8()..];
        } else if let [0xED, middle @ 0xA0..=0xBF, last @ 0x80..=0xBF, tail @ ..] = rest {
            units.push(0xD000 | u16::from(middle & 0x3F) << 6 | u16::from(last & 0x3F));
            rest = tail;
        } else {
            units.push(escape(*first));
            rest = tail;
        }
    }
}

/// Whether Windows takes the name for a device: `CON`, `com1.txt`, `LPT³`.
fn is_device(name: &[u16]) -> bool {
    let stem = name.split(|unit| *unit == u16::from(b'.')).next().unwrap_or_default();
    let end = stem.iter().rposition(|unit| *unit != u16::from(b' ')).map_or(0, |at| at + 1);
    let upper = |unit: u16| match u8::try_from(unit) {
        Ok(byte) => u16::from(byte.to_ascii_uppercase()),
        Err(_) => unit,
    };
    let is =
        |word: &str, stem: &[u16]| stem.iter().map(|unit| upper(*unit)).eq(word.encode_utf16());
    match &stem[..end] {
        stem @ [_, _, _] => ["CON", "PRN", "AUX", "NUL"].iter().any(|word| is(word, stem)),
        // Superscript one, two and three count as digits.
        [stem @ .., digit] if stem.len() == 3 => {
            let digits = [u16::from(b'0')..=u16::from(b'9'), 0xB2..=0xB3, 0xB9..=0xB9];
            digits.iter().any(|digits| digits.contains(digit))
                && (is("COM", stem) || is("LPT", stem))
        }
        stem => is("CONIN$", stem) || is("CONOUT$", stem),
    }
}

/// LIMIT: code units of a name, of every file system of Windows.
pub const MAX_WINDOWS: usize = 255;

/// Those of the names `guests` of one directory that Windows would take for another's, or that are
/// too long for it: their places, and the names they get.
///
/// The first by its bytes keeps its name. To the others their number is added, in digits moved to
/// U+F130: of `README` and `readme` the second becomes `readme`, U+F132.
pub fn disambiguate_case(guests: &[&[u8]]) -> Vec<(usize, Vec<u16>)> {
    let mut order: Vec<usize> = (0..guests.len()).collect();
    order.sort_by_key(|place| guests[*place]);
    let mut taken = HashSet::with_capacity(guests.len());
    let mut late = Vec::new();
    for place in order {
        let mut units = Vec::with_capacity(guests[place].len());
        to_windows(guests[place], &mut units);
        if units.len() > MAX_WINDOWS || !taken.insert(folded(&units)) {
            late.push((place, units));
        }
    }
    let mut numbers: HashMap<Vec<u16>, usize> = HashMap::new();
    for (_, units) in &mut late {
        let number = numbers.entry(folded(units)).or_insert(1);
        let plain = std::mem::take(units);
        while units.is_empty() || !taken.insert(folded(units)) {
            *number += 1;
            let digits = number.to_string();
            units.clear();
            units.extend(&plain[..plain.len().min(MAX_WINDOWS - digits.len())]);
            units.extend(digits.bytes().map(|digit| TWIN_BASE + u16::from(digit - b'0')));
        }
    }
    late
}

/// Whether a name of Windows ends with a number of [`disambiguate_case`].
pub fn has_number(name: &[u16]) -> bool {
    name.last().is_some_and(|unit| (TWIN_BASE..TWIN_BASE + 10).contains(unit))
}

fn folded(name: &[u16]) -> Vec<u16> {
    name.iter().map(|unit| fold(*unit)).collect()
}

/// The upper case of one code unit, as Windows compares names.
pub fn fold(unit: u16) -> u16 {
    if let Ok(byte) = u8::try_from(unit)
        && byte.is_ascii()
    {
        return byte.to_ascii_uppercase().into();
    }
    let Some(character) = char::from_u32(unit.into()) else {
        return unit;
    };
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => u16::try_from(u32::from(single)).unwrap_or(unit),
        _ => simple_upper(unit),
    }
}

/// The upper case of the letters that have two: one of several characters, and one of a single one,
/// by which Windows compares. They are those of Greek with iota below.
fn simple_upper(unit: u16) -> u16 {
    match unit {
        0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7 => unit + 8,
        0x1FB3 | 0x1FC3 | 0x1FF3 => unit + 9,
        _ => unit,
    }
}

/// The guest's name of the host's `name`, if it holds anything that was moved.
pub fn to_guest(name: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(name).ok()?;
    let code = |character: char| u16::try_from(u32::from(character)).unwrap_or(0);
    if text.chars().map(code).eq([EMPTY]) {
        return Some(Vec::new());
    }
    let byte = |character: char| {
        code(character).checked_sub(ESCAPE_BASE).and_then(|byte| u8::try_from(byte).ok())
    };
    if !text.chars().any(|character| byte(character).is_some()) {
        return None;
    }
    let mut guest = Vec::with_capacity(name.len());
    for character in text.chars() {
        match byte(character) {
            Some(byte) => guest.push(byte),
            None => guest.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(guest)
}

fn escape(byte: u8) -> u16 {
    ESCAPE_BASE + u16::from(byte)
}

/// The escape of a character of one byte; others stay.
fn moved(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, escape)
}

fn utf8(unit: u16) -> Vec<u8> {
    let character = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
    character.encode_utf8(&mut [0; 4]).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(name: &[u8]) -> String {
        let mut units = Vec::new();
        to_windows(name, &mut units);
        String::from_utf16(&units).unwrap()
    }

    #[test]
    fn names_that_no_host_bears_are_moved_and_come_back() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", b"/etc/passwd", b"../x"] {
            let host = to_unix(name);
            assert!(!host.is_empty() && !host.contains(&b'/') && !host.contains(&0));
            assert!(&*host != b"." && &*host != b"..");
            assert_eq!(to_guest(&host).as_deref(), Some(name));
        }
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in [&b"a"[..], b"...", b".hidden", "ä\u{1F600}".as_bytes(), b"\xff\xfe", b"a:b"] {
            assert!(matches!(to_unix(name), Cow::Borrowed(same) if same == name));
            assert_eq!(to_guest(name), None);
        }
    }

    #[test]
    fn names_that_windows_does_not_bear_are_moved_and_come_back() {
        for (name, host) in [
            (&b"a:b"[..], "a\u{F03A}b"),
            (b"a\\b/c", "a\u{F05C}b\u{F02F}c"),
            (b"CON", "\u{F043}ON"),
            (b"nul .tar.gz", "\u{F06E}ul .tar.gz"),
            (b"COM1.x", "\u{F043}OM1.x"),
            (b"conin$", "\u{F063}onin$"),
            (b"dots..", "dots.\u{F02E}"),
            (b"space ", "space\u{F020}"),
            (b".", "\u{F02E}"),
            (b"..", ".\u{F02E}"),
            (b"", "\u{F100}"),
            (b"tab\t*?", "tab\u{F009}\u{F02A}\u{F03F}"),
            (b"\xFFx\xC3", "\u{F0FF}x\u{F0C3}"),
        ] {
            assert_eq!(windows(name), host, "{name:x?}");
            assert_eq!(to_guest(host.as_bytes()).as_deref(), Some(name), "{host:?}");
        }
    }

    #[test]
    fn names_that_windows_bears_stay_as_they_are() {
        for name in ["a", "...x", ".hidden", "ä\u{1F600}\u{2603}", "console", "COM", "COM12", "x y"]
        {
            assert_eq!(windows(name.as_bytes()), name);
        }
        let mut units = Vec::new();
        to_windows(b"a\xED\xA0\x80", &mut units);
        assert_eq!(units, [0x61, 0xD800], "an unpaired surrogate");
    }

    #[test]
    fn superscript_digits_make_devices_too() {
        assert_eq!(windows("lpt\u{B9}".as_bytes()), "\u{F06C}pt\u{B9}");
        assert_eq!(windows("lpt\u{B4}".as_bytes()), "lpt\u{B4}");
    }

    fn parted(guests: &[&str]) -> Vec<(String, String)> {
        let bytes: Vec<&[u8]> = guests.iter().map(|guest| guest.as_bytes()).collect();
        let parted = disambiguate_case(&bytes).into_iter();
        parted
            .map(|(place, host)| (guests[place].to_owned(), String::from_utf16(&host).unwrap()))
            .collect()
    }

    #[test]
    fn twins_get_numbers_in_the_order_of_their_bytes() {
        assert!(parted(&["a", "b", "A.txt", "con", "a.TXT2"]).is_empty());
        let wanted = [("Readme", "Readme\u{F132}"), ("readme", "readme\u{F133}")];
        let wanted: Vec<_> = wanted.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(parted(&["readme", "README", "Readme"]), wanted);
        assert_eq!(parted(&["Readme", "readme", "README"]), wanted);
        assert_eq!(parted(&["\u{C4}", "\u{E4}"]).len(), 1);
    }

    /// The pairs of Windows' table that full case mapping, which makes two characters of them, does
    /// not have.
    #[test]
    fn letters_with_two_upper_cases_are_compared_by_the_single_one() {
        let eights = [0x1F80, 0x1F90, 0x1FA0].into_iter().flat_map(|first| first..first + 8);
        let pairs = eights.map(|unit| (unit, unit + 8));
        let pairs = pairs.chain([0x1FB3, 0x1FC3, 0x1FF3].map(|unit| (unit, unit + 9)));
        assert_eq!(pairs.clone().count(), 27);
        for (lower, upper) in pairs {
            assert_eq!((fold(lower), fold(upper)), (upper, upper), "{lower:x}");
        }
        assert_eq!(parted(&["\u{1F80}", "\u{1F88}"]).len(), 1);
        assert_eq!(fold(0xDF), 0xDF, "a letter without a single upper case");
    }

    #[test]
    fn a_number_does_not_meet_a_name_that_is_there() {
        let host = parted(&["A", "a", "a\u{F132}"]);
        assert_eq!(host, [("a".to_owned(), "a\u{F133}".to_owned())]);
    }

    #[test]
    fn names_too_long_for_windows_are_cut_and_numbered() {
        let long = "\u{E4}".repeat(256);
        let [(guest, host)] = &parted(&[&long])[..] else { panic!("one name") };
        assert_eq!((guest, host.encode_utf16().count()), (&long, 255));
    }
}
