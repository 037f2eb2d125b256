//! Names of keys and values: Latin-1 or UTF-16 on disk, compared without regard to case.

use volfold_fs::{FsError, FsResult, wtf8};

/// The code units of the name `bytes`, which is Latin-1 if `is_compressed`, else UTF-16.
///
/// # Errors
/// `Corrupt` for UTF-16 of an odd length.
pub(super) fn decode(bytes: &[u8], is_compressed: bool) -> FsResult<Vec<u16>> {
    if is_compressed {
        return Ok(bytes.iter().map(|byte| u16::from(*byte)).collect());
    }
    if !bytes.len().is_multiple_of(2) {
        return Err(FsError::corrupt("name has an odd length"));
    }
    Ok(wtf8::units_le(bytes).collect())
}

/// The name as text; unpaired surrogates are replaced.
pub(super) fn to_text(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

/// A name that is looked for.
pub(super) struct Wanted {
    upper: Vec<u16>,
    /// The upper case of a name of ASCII is the same in every version of Windows, so that hints and
    /// hashes of it can be trusted to be what we compute.
    is_ascii: bool,
}

impl Wanted {
    pub(super) fn new(name: &str) -> Self {
        Self { upper: name.encode_utf16().map(upper).collect(), is_ascii: name.is_ascii() }
    }

    /// Whether `units` is the name, without regard to case.
    pub(super) fn is(&self, units: &[u16]) -> bool {
        units.iter().map(|unit| upper(*unit)).eq(self.upper.iter().copied())
    }

    /// Whether a list of subkeys with hints can be searched by them.
    pub(super) fn has_hints(&self) -> bool {
        self.is_ascii
    }

    /// Whether a key with this hash may have the name.
    pub(super) fn has_hash(&self, hash: u32) -> bool {
        let step = |sum: u32, unit: &u16| sum.wrapping_mul(37).wrapping_add(u32::from(*unit));
        self.upper.iter().fold(0, step) == hash
    }

    /// Whether a key whose name begins with the four characters `start`, or is `start` and zeros,
    /// may have the name.
    pub(super) fn begins_with(&self, start: [u8; 4]) -> bool {
        let own = self.upper.iter().copied().chain([0; 4]);
        start.iter().map(|byte| upper(u16::from(*byte))).zip(own).all(|(theirs, own)| theirs == own)
    }
}

/// The upper case of one code unit, as the kernel does it: one to one, surrogates stay.
fn upper(unit: u16) -> u16 {
    // QUIRK: Windows leaves letters whose upper case is in ASCII or Latin-1, or leaves the plane,
    // as they are: U+0131, U+017F, U+00B5.
    let Some(character) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if !upper.is_ascii() || character.is_ascii() => {
            u16::try_from(u32::from(upper)).unwrap_or(unit)
        }
        _ => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_regard_to_case() {
        let units = |name: &str| name.encode_utf16().collect::<Vec<_>>();
        assert!(Wanted::new("software").is(&units("SOFTWARE")));
        assert!(Wanted::new("\u{e4}\u{444}").is(&units("\u{c4}\u{424}")));
        assert!(!Wanted::new("softwar").is(&units("SOFTWARE")));
        assert!(!Wanted::new("\u{df}").is(&units("SS")));
        assert!(!Wanted::new("\u{131}").is(&units("I")));
    }

    #[test]
    fn the_hash_is_that_of_the_upper_case() {
        assert!(Wanted::new("ab").has_hash(65 * 37 + 66));
        assert!(Wanted::new("ab").begins_with(*b"AB\0\0"));
        assert!(Wanted::new("abcde").begins_with(*b"aBcD"));
        assert!(!Wanted::new("abc").begins_with(*b"abcd"));
    }

    #[test]
    fn a_name_of_utf_16_has_an_even_length() {
        assert_eq!(decode(&[0xE4, 0x41], true).unwrap(), [0xE4, 0x41]);
        assert_eq!(decode(&[0x41, 0], false).unwrap(), [0x41]);
        assert!(decode(&[0x41], false).is_err());
    }
}
