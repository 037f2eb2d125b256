//! Protocol data units: their header of 48 bytes, and the numbers in it.
//!
//! Specification: RFC 7143, section 11.2.1, and for each opcode sections 11.3 to 11.19. All numbers
//! are big-endian. The fields that depend on the opcode have one name each, of what most of them hold.
//!
//! | offset | size | field             |                                                              |
//! |--------|------|-------------------|--------------------------------------------------------------|
//! | 0x00   | 1    | `opcode_byte`     | bit 6: immediate; bits 0 to 5: opcode                        |
//! | 0x01   | 1    | `flags`           | of the opcode; bit 7 is most often `F`, for final            |
//! | 0x02   | 1    | `response`        | response or reason; of a login the highest version           |
//! | 0x03   | 1    | `status`          | of a SCSI response; of a login the lowest or active version  |
//! | 0x04   | 1    | `additional`      | length of the additional header segments in words of 4 bytes |
//! | 0x05   | 3    | `data_length`     | of the data segment, without padding                         |
//! | 0x08   | 8    | `lun`             | logical unit; of a login the [`SessionIds`]                  |
//! | 0x10   | 4    | `task_tag`        | initiator task tag                                           |
//! | 0x14   | 4    | `transfer_tag`    | target transfer tag; expected length of a SCSI command; task that task management is about |
//! | 0x18   | 4    | `number`          | `CmdSN` of a request, `StatSN` of an answer                  |
//! | 0x1C   | 4    | `expected_number` | `ExpStatSN` of a request, `ExpCmdSN` of an answer            |
//! | 0x20   | 4    | `max_number`      | `MaxCmdSN` of an answer                                      |
//! | 0x24   | 4    | `sequence`        | `DataSN`, `R2TSN`, `ExpDataSN`; of a login the status class and detail, two bytes |
//! | 0x28   | 4    | `offset`          | of data in the buffer; of a logout the seconds to wait, two bytes |
//! | 0x2C   | 4    | `length`          | residual count; length that is asked for                     |
//!
//! A SCSI command has its descriptor block in the last 16 bytes.

use std::mem::offset_of;

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::block::number::to_usize;

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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(super) struct Header {
    opcode_byte: u8,
    pub(super) flags: u8,
    pub(super) response: u8,
    pub(super) status: u8,
    additional: u8,
    data_length: [u8; 3],
    pub(super) lun: [u8; 8],
    pub(super) task_tag: U32,
    pub(super) transfer_tag: U32,
    pub(super) number: U32,
    pub(super) expected_number: U32,
    pub(super) max_number: U32,
    pub(super) sequence: U32,
    pub(super) offset: U32,
    pub(super) length: U32,
}
const _: () = assert!(offset_of!(Header, data_length) == 0x05);
const _: () = assert!(offset_of!(Header, lun) == 0x08);
const _: () = assert!(offset_of!(Header, task_tag) == 0x10);
const _: () = assert!(offset_of!(Header, number) == 0x18);
const _: () = assert!(offset_of!(Header, max_number) == 0x20);
const _: () = assert!(offset_of!(Header, sequence) == 0x24);
const _: () = assert!(offset_of!(Header, length) == 0x2C);
const _: () = assert!(size_of::<Header>() == BHS);

/// What stands in the place of a logical unit in a login: section 11.12.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SessionIds {
    /// `ISID`: the initiator's number for the session.
    pub(super) initiator: [u8; 6],
    /// `TSIH`: the target's handle of the session; 0 for a new one.
    pub(super) handle: U16,
}
const _: () = assert!(offset_of!(SessionIds, handle) == 0x06);
const _: () = assert!(size_of::<SessionIds>() == 0x08);

impl Header {
    /// A header of the target, final, for the task `tag`.
    pub(super) fn new(opcode: u8, tag: u32) -> Self {
        let mut header = Self::new_zeroed();
        header.opcode_byte = opcode;
        header.flags = FINAL;
        header.task_tag = tag.into();
        header
    }

    pub(super) fn opcode(&self) -> u8 {
        self.opcode_byte & 0x3F
    }

    pub(super) fn is_immediate(&self) -> bool {
        self.opcode_byte & 0x40 != 0
    }

    /// The length of what stands between header and data.
    pub(super) fn additional_length(&self) -> usize {
        usize::from(self.additional).saturating_mul(4)
    }

    pub(super) fn data_length(&self) -> usize {
        let [high, middle, low] = self.data_length;
        to_usize(u32::from_be_bytes([0, high, middle, low]).into())
    }

    pub(super) fn set_data_length(&mut self, length: usize) {
        // INVARIANT: no data segment of ours reaches 16 MiB.
        let [_, bytes @ ..] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.data_length = bytes;
    }

    /// The initiator task tag.
    pub(super) fn tag(&self) -> u32 {
        self.task_tag.get()
    }

    pub(super) fn session_ids(&self) -> SessionIds {
        transmute!(self.lun)
    }

    pub(super) fn set_session_ids(&mut self, ids: SessionIds) {
        self.lun = transmute!(ids);
    }

    /// The status class and detail of a login.
    pub(super) fn set_login_status(&mut self, status: u16) {
        let [class, detail] = status.to_be_bytes();
        self.sequence = U32::from_bytes([class, detail, 0, 0]);
    }

    /// How many seconds an initiator is to wait after a logout before it comes again.
    pub(super) fn set_time_to_wait(&mut self, seconds: u16) {
        let [high, low] = seconds.to_be_bytes();
        self.offset = U32::from_bytes([high, low, 0, 0]);
    }

    /// The command descriptor block of a SCSI command.
    pub(super) fn cdb(&self) -> [u8; 16] {
        transmute!([self.max_number, self.sequence, self.offset, self.length])
    }
}

/// Whether `lun` is unit 0, the only one: section 4.6.1 of SAM-5, peripheral or flat form.
pub(super) fn is_unit_0(lun: [u8; 8]) -> bool {
    matches!(lun, [0 | 0x40, 0, 0, 0, 0, 0, 0, 0])
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
        let mut header: Header = transmute!(bytes);
        assert_eq!((header.opcode(), header.is_immediate()), (request::SCSI_COMMAND, true));
        assert_eq!((header.additional_length(), header.data_length()), (16, 0x05_0607));
        assert_eq!((header.tag(), header.number.get()), (0x1011_1213, 0x1819_1A1B));
        assert_eq!((header.lun[0], header.cdb()[0], header.cdb()[15]), (8, 32, 47));
        assert_eq!(header.session_ids().handle.get(), 0x0E0F);
        header.set_data_length(0x01_0203);
        assert_eq!((header.additional, header.data_length()), (4, 0x01_0203));
        header.set_login_status(0x0207);
        header.set_time_to_wait(2);
        assert_eq!(header.as_bytes()[36..44], [2, 7, 0, 0, 0, 2, 0, 0]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }
}
