//! Protocol data units: their header of 48 bytes, and the numbers in it.
//!
//! Specification: RFC 7143, section 11. All numbers are big-endian.
//!
//! | offset | size | field                                                             |
//! |--------|------|-------------------------------------------------------------------|
//! | 0      | 1    | bit 6: immediate; bits 0 to 5: opcode                             |
//! | 1      | 3    | of the opcode; bit 7 of the first is most often `F`, for final    |
//! | 4      | 1    | length of the additional header segments, in words of 4 bytes     |
//! | 5      | 3    | length of the data segment, without padding                       |
//! | 8      | 8    | logical unit, or of the opcode                                    |
//! | 16     | 4    | initiator task tag                                                |
//! | 20     | 28   | of the opcode                                                     |

/// The length of a basic header segment.
pub(super) const BHS: usize = 48;

/// The tag that stands for no task.
pub(super) const NO_TAG: u32 = u32::MAX;

/// Opcodes of the initiator.
pub(super) mod request {
    pub(in super::super) const NOP_OUT: u8 = 0x00;
    pub(in super::super) const SCSI_COMMAND: u8 = 0x01;
    pub(in super::super) const TASK_MANAGEMENT: u8 = 0x02;
    pub(in super::super) const LOGIN: u8 = 0x03;
    pub(in super::super) const TEXT: u8 = 0x04;
    pub(in super::super) const DATA_OUT: u8 = 0x05;
    pub(in super::super) const LOGOUT: u8 = 0x06;
    pub(in super::super) const SNACK: u8 = 0x10;
}

/// Opcodes of the target.
pub(super) mod response {
    pub(in super::super) const NOP_IN: u8 = 0x20;
    pub(in super::super) const SCSI: u8 = 0x21;
    pub(in super::super) const TASK_MANAGEMENT: u8 = 0x22;
    pub(in super::super) const LOGIN: u8 = 0x23;
    pub(in super::super) const TEXT: u8 = 0x24;
    pub(in super::super) const DATA_IN: u8 = 0x25;
    pub(in super::super) const LOGOUT: u8 = 0x26;
    pub(in super::super) const R2T: u8 = 0x31;
    pub(in super::super) const REJECT: u8 = 0x3F;
}

/// Reasons of a Reject.
pub(super) mod reject {
    pub(in super::super) const SNACK: u8 = 0x03;
    pub(in super::super) const PROTOCOL_ERROR: u8 = 0x04;
    pub(in super::super) const NOT_SUPPORTED: u8 = 0x05;
    pub(in super::super) const INVALID_FIELD: u8 = 0x09;
}

/// `F`: the last PDU of a sequence.
pub(super) const FINAL: u8 = 0x80;
/// `C`: the text goes on in the next PDU.
pub(super) const CONTINUE: u8 = 0x40;
/// `R` and `W` of a SCSI command.
pub(super) const READS: u8 = 0x40;
pub(super) const WRITES: u8 = 0x20;
/// `O`: the initiator expects less than there is.
pub(super) const OVERFLOW: u8 = 0x04;
/// `U`: the initiator expects more than there is.
pub(super) const UNDERFLOW: u8 = 0x02;
/// `S` of a Data-In: the status is in it.
pub(super) const STATUS: u8 = 0x01;

/// A basic header segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header(pub(super) [u8; BHS]);

impl Header {
    /// A header of the target, final, for the task `tag`.
    pub(super) fn new(opcode: u8, tag: u32) -> Self {
        let mut header = Self([0; BHS]);
        header.0[0] = opcode;
        header.0[1] = FINAL;
        header.put(16, tag);
        header
    }

    pub(super) fn opcode(&self) -> u8 {
        self.0[0] & 0x3F
    }

    pub(super) fn is_immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    pub(super) fn flags(&self) -> u8 {
        self.0[1]
    }

    /// The length of what stands between header and data.
    pub(super) fn additional_length(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    pub(super) fn data_length(&self) -> usize {
        (self.word(4) & 0x00FF_FFFF) as usize
    }

    pub(super) fn set_data_length(&mut self, length: usize) {
        // INVARIANT: no data segment of ours reaches 16 MiB.
        self.0[5..8].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    }

    pub(super) fn lun(&self) -> [u8; 8] {
        let mut lun = [0; 8];
        lun.copy_from_slice(&self.0[8..16]);
        lun
    }

    pub(super) fn set_lun(&mut self, lun: [u8; 8]) {
        self.0[8..16].copy_from_slice(&lun);
    }

    /// The initiator task tag.
    pub(super) fn tag(&self) -> u32 {
        self.word(16)
    }

    /// The number at `at`.
    pub(super) fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.0[at..at + 4]);
        u32::from_be_bytes(word)
    }

    pub(super) fn put(&mut self, at: usize, number: u32) {
        self.0[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }

    /// The command descriptor block of a SCSI command.
    pub(super) fn cdb(&self) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&self.0[32..]);
        cdb
    }
}

/// How many bytes fill `length` up to a multiple of 4.
pub(super) fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_header_are_where_the_specification_has_them() {
        let mut bytes = [0; BHS];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        bytes[0] = 0x41;
        let mut header = Header(bytes);
        assert_eq!((header.opcode(), header.is_immediate()), (request::SCSI_COMMAND, true));
        assert_eq!((header.additional_length(), header.data_length()), (16, 0x05_0607));
        assert_eq!((header.tag(), header.word(24)), (0x1011_1213, 0x1819_1A1B));
        assert_eq!((header.lun()[0], header.cdb()[0]), (8, 32));
        header.set_data_length(0x01_0203);
        assert_eq!((header.0[4], header.data_length()), (4, 0x01_0203));
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }
}
