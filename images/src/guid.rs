//! Identifiers of 16 bytes, as Microsoft and VirtualBox store them.

use std::fmt;

/// A GUID in the order of its bytes on disk: three little-endian numbers, then eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    /// The GUID that is written as these 32 digits.
    pub(crate) const fn of(digits: u128) -> Self {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7] = digits.to_be_bytes();
        Self([a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// The GUID that `text` is, in braces or not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}');
        let digits: String = text.chars().filter(|digit| *digit != '-').collect();
        let is_whole = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let digits = is_whole.then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        digits.map(Self::of)
    }

    /// The identifier, unless all its bytes are zero.
    pub(crate) fn known(self) -> Option<Self> {
        (self.0 != [0; 16]).then_some(self)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a3, a2, a1, a0, b1, b0, c1, c0, rest @ ..] = self.0;
        let first = u32::from_be_bytes([a0, a1, a2, a3]);
        let (second, third) = (u16::from_be_bytes([b0, b1]), u16::from_be_bytes([c0, c1]));
        write!(f, "{first:08x}-{second:04x}-{third:04x}-")?;
        for (index, byte) in rest.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 2 { "-" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_shown_as_windows_does() {
        let bytes = [
            0xA2, 0xA0, 0xD0, 0xEB, 0xE5, 0xB9, 0x33, 0x44, 0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26,
            0x99, 0xC7,
        ];
        assert_eq!(Guid(bytes).to_string(), "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
        assert_eq!((Guid([0; 16]).known(), Guid(bytes).known()), (None, Some(Guid(bytes))));
        let text = "{EBD0A0A2-b9e5-4433-87c0-68b6b72699c7}";
        assert_eq!(Guid::parse(text), Some(Guid(bytes)));
        assert_eq!(Guid::of(0xEBD0_A0A2_B9E5_4433_87C0_68B6_B726_99C7), Guid(bytes));
        for text in ["", "{}", "ebd0a0a2", "+bd0a0a2-b9e5-4433-87c0-68b6b72699c7"] {
            assert_eq!(Guid::parse(text), None);
        }
    }
}
