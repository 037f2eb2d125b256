//! Identifiers of 16 bytes, as Microsoft and VirtualBox store them.

use std::fmt;

/// A GUID in the order of its bytes on disk: three little-endian numbers, then eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
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
    }
}
