//! Sense data: why a command failed.
//!
//! Specification: SPC-4, section 4.5.

/// Why a command failed: a sense key, and an additional sense code with its qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Sense {
    key: u8,
    code: u16,
    /// The first block that cannot be read.
    lba: Option<u64>,
}

impl Sense {
    pub(super) const NONE: Self = Self::new(0x00, 0x0000);
    pub(super) const NO_MEDIUM: Self = Self::new(0x02, 0x3A00);
    pub(in super::super) const WRITE_ERROR: Self = Self::new(0x03, 0x0C00);
    pub(in super::super) const INVALID_OPCODE: Self = Self::new(0x05, 0x2000);
    pub(in super::super) const LBA_OUT_OF_RANGE: Self = Self::new(0x05, 0x2100);
    pub(in super::super) const INVALID_FIELD: Self = Self::new(0x05, 0x2400);
    pub(super) const NO_SUCH_UNIT: Self = Self::new(0x05, 0x2500);
    pub(super) const INVALID_PARAMETER: Self = Self::new(0x05, 0x2600);
    pub(super) const PARAMETER_LENGTH: Self = Self::new(0x05, 0x1A00);
    pub(super) const NOTHING_SAVED: Self = Self::new(0x05, 0x3900);
    /// A unit attention: an initiator has reset the unit.
    pub(in super::super) const RESET: Self = Self::new(0x06, 0x2903);
    pub(in super::super) const WRITE_PROTECTED: Self = Self::new(0x07, 0x2700);
    pub(in super::super) const NO_SPACE: Self = Self::new(0x07, 0x2707);
    /// Data of a command that the initiator does not send as it should.
    pub(in super::super) const ABORTED: Self = Self::new(0x0B, 0x4B00);
    pub(in super::super) const MISCOMPARE: Self = Self::new(0x0E, 0x1D00);

    const fn new(key: u8, code: u16) -> Self {
        Self { key, code, lba: None }
    }

    /// The block `lba` cannot be read.
    pub(in super::super) const fn unreadable(lba: u64) -> Self {
        Self { key: 0x03, code: 0x1100, lba: Some(lba) }
    }

    /// The bytes of it, in the form of descriptors or the fixed one.
    pub(in super::super) fn bytes(self, descriptors: bool) -> Vec<u8> {
        let [code, qualifier] = self.code.to_be_bytes();
        if descriptors {
            let Some(lba) = self.lba else {
                return vec![0x72, self.key, code, qualifier, 0, 0, 0, 0];
            };
            // The length of the information descriptor, and it: valid.
            let header = [0x72, self.key, code, qualifier, 0, 0, 0, 12];
            return [&header[..], &[0x00, 0x0A, 0x80, 0x00], &lba.to_be_bytes()].concat();
        }
        // The fixed form has room for 32 bits, and a bit that tells whether they are valid.
        let lba = self.lba.and_then(|lba| u32::try_from(lba).ok());
        let valid = if lba.is_some() { 0x80 } else { 0 };
        let header = [0x70 | valid, 0, self.key];
        let information = lba.unwrap_or_default().to_be_bytes();
        // Ten more bytes, of which the codes are the fifth and sixth.
        let rest = [10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0];
        [&header[..], &information, &rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_block_that_cannot_be_read() {
        let fixed = Sense::unreadable(0x0102_0304).bytes(false);
        assert_eq!(fixed[..8], [0xF0, 0, 3, 1, 2, 3, 4, 10]);
        assert_eq!(fixed[12..14], [0x11, 0]);
        let beyond = Sense::unreadable(1 << 32).bytes(false);
        assert_eq!(beyond[..8], [0x70, 0, 3, 0, 0, 0, 0, 10]);
        let descriptors = Sense::unreadable(1 << 32).bytes(true);
        let wanted = [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(descriptors, wanted);
        assert_eq!(Sense::WRITE_PROTECTED.bytes(true), [0x72, 7, 0x27, 0, 0, 0, 0, 0]);
    }
}
