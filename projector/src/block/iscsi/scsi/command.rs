//! What a command is: its descriptor block, what it wants of its connection, and why it fails.
//!
//! Specification: SPC-4, section 4.2.5, and SBC-3, section 5. A descriptor block has 6, 10, 12 or 16
//! bytes, by the top three bits of the operation code, and comes with zeros up to 16. Big-endian.
//!
//! | field     | 6 bytes | 10 bytes  | 12 bytes  | 16 bytes   |                                |
//! |-----------|---------|-----------|-----------|------------|--------------------------------|
//! | `opcode`  | 0       | 0         | 0         | 0          | one of [`super::opcodes::opcode`] |
//! | `flags`   | 1       | 1         | 1         | 1          | in 6 bytes the top of the address too |
//! | `lba`     | 1 to 3  | 2 to 5    | 2 to 5    | 2 to 9     | first block                    |
//! | `length`  | 4       | 7 and 8   | 6 to 9    | 10 to 13   | blocks, or bytes of a list     |
//! | group     |         | 6         | 10        | 14         | not looked at                  |
//! | control   | 5       | 9         | 11        | 15         | not looked at                  |
//!
//! Commands that are not for blocks have fields of their own in these places.

use std::mem::offset_of;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, transmute};

use super::sense::Sense;
use crate::block::iscsi::target::Target;
use crate::block::number::to_usize;

/// LIMIT: bytes of one read or write; the block limits page tells it.
pub(super) const MAX_TRANSFER: u64 = 32 << 20;

/// LIMIT: bytes that one UNMAP makes zero; the block limits page tells it.
pub(super) const MAX_UNMAP: u64 = 256 << 20;

/// LIMIT: descriptors of one UNMAP; the block limits page tells it.
pub(super) const MAX_UNMAP_DESCRIPTORS: u32 = 64;

/// What a command wants of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Action {
    /// Nothing, it is done.
    Done,
    /// This is sent.
    Send(Vec<u8>),
    /// These bytes of the device are sent.
    Read { offset: u64, length: u64 },
    /// The initiator sends bytes, and this is what is done with them.
    Take(Work),
}

/// What is done with bytes that the initiator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Work {
    Write {
        offset: u64,
        length: u64,
        flush: bool,
    },
    Compare {
        offset: u64,
        length: u64,
    },
    /// One block, to be written `count` times.
    WriteSame {
        lba: u64,
        count: u64,
    },
    /// The list of what is to be zero.
    Unmap {
        length: u64,
    },
}

/// Why a command fails.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Failure {
    /// What the initiator is told.
    pub(in super::super) sense: Sense,
    /// What the log is told; `None` where it is the initiator's own fault.
    pub(in super::super) reason: Option<String>,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self { sense, reason: None }
    }
}

/// Makes a structure of a descriptor block, and has the compiler look where its fields are.
macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* } $($at:ident == $offset:literal),*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
        $(const _: () = assert!(offset_of!($name, $at) == $offset);)*
        const _: () = assert!(size_of::<$name>() == 16);
    };
}

descriptor! {
    /// READ (6), WRITE (6).
    Raw6 { opcode: u8, lba: [u8; 3], length: u8, control: u8, rest: [u8; 10], }
    length == 4
}

descriptor! {
    /// Most commands of 10 bytes, and UNMAP.
    Raw10 { opcode: u8, flags: u8, lba: U32, group: u8, length: U16, control: u8, rest: [u8; 6], }
    lba == 2, length == 7
}

descriptor! {
    /// Commands of 12 bytes.
    Raw12 { opcode: u8, flags: u8, lba: U32, length: U32, group: u8, control: u8, rest: [u8; 4], }
    lba == 2, length == 6
}

descriptor! {
    /// Commands of 16 bytes; of SERVICE ACTION IN the length is an allocation length.
    Raw16 { opcode: u8, flags: u8, lba: U64, length: U32, group: u8, control: u8, }
    lba == 2, length == 10
}

descriptor! {
    /// READ CAPACITY (10): SBC-3, section 5.12.
    RawCapacity { opcode: u8, flags: u8, lba: U32, reserved: [u8; 2], partial: u8, control: u8, rest: [u8; 6], }
    lba == 2, partial == 8
}

descriptor! {
    /// INQUIRY: SPC-4, section 6.6.
    RawInquiry { opcode: u8, flags: u8, page: u8, allocation: U16, control: u8, rest: [u8; 10], }
    page == 2, allocation == 3
}

descriptor! {
    /// REQUEST SENSE and MODE SENSE (6): SPC-4, sections 6.39 and 6.11.
    RawSense6 { opcode: u8, flags: u8, page: u8, subpage: u8, allocation: u8, control: u8, rest: [u8; 10], }
    page == 2, allocation == 4
}

descriptor! {
    /// MODE SENSE (10): SPC-4, section 6.12.
    RawSense10 { opcode: u8, flags: u8, page: u8, subpage: u8, reserved: [u8; 3], allocation: U16, control: u8, rest: [u8; 6], }
    page == 2, allocation == 7
}

descriptor! {
    /// REPORT LUNS: SPC-4, section 6.33.
    RawReportLuns { opcode: u8, flags: u8, select: u8, reserved: [u8; 3], allocation: U32, reserved_10: u8, control: u8, rest: [u8; 4], }
    select == 2, allocation == 6
}

descriptor! {
    /// REPORT SUPPORTED OPERATION CODES: SPC-4, section 6.35.
    RawReportOpcodes { opcode: u8, flags: u8, options: u8, wanted: u8, action: U16, allocation: U32, reserved: u8, control: u8, rest: [u8; 4], }
    wanted == 3, action == 4, allocation == 6
}

/// A command descriptor block, filled up with zeros.
#[derive(Clone, Copy)]
pub(super) struct Cdb([u8; 16]);

/// The blocks that a command is for.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) lba: u64,
    pub(super) count: u64,
}

impl Cdb {
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) fn opcode(&self) -> u8 {
        let [opcode, ..] = self.0;
        opcode
    }

    /// The byte after the operation code.
    pub(super) fn flags(&self) -> u8 {
        let [_, flags, ..] = self.0;
        flags
    }

    /// The service action of commands that have one.
    pub(super) fn action(&self) -> u8 {
        self.flags() & 0x1F
    }

    /// The command as the structure that its operation code has.
    pub(super) fn raw<T: From<Self>>(self) -> T {
        T::from(self)
    }

    /// Where commands of this length have the blocks they are for.
    pub(super) fn blocks(self) -> Blocks {
        match self.opcode() >> 5 {
            0 => {
                let raw: Raw6 = self.raw();
                let [high, middle, low] = raw.lba;
                let lba = u32::from_be_bytes([0, high & 0x1F, middle, low]);
                let count = if raw.length == 0 { 256 } else { raw.length.into() };
                Blocks { lba: lba.into(), count }
            }
            1 | 2 => {
                let raw: Raw10 = self.raw();
                Blocks { lba: raw.lba.get().into(), count: raw.length.get().into() }
            }
            4 => {
                let raw: Raw16 = self.raw();
                Blocks { lba: raw.lba.get(), count: raw.length.get().into() }
            }
            _ => {
                let raw: Raw12 = self.raw();
                Blocks { lba: raw.lba.get().into(), count: raw.length.get().into() }
            }
        }
    }

    /// `FUA`, and that there is no protection information, which is not known here.
    pub(super) fn force_unit_access(self) -> Result<bool, Sense> {
        match (self.opcode() >> 5, self.flags() >> 5) {
            (0, _) => Ok(false),
            (_, 0) => Ok(self.flags() & 0x08 != 0),
            _ => Err(Sense::INVALID_FIELD),
        }
    }
}

macro_rules! from_cdb {
    ($($name:ident),*) => {
        $(impl From<Cdb> for $name {
            fn from(cdb: Cdb) -> Self {
                transmute!(cdb.0)
            }
        })*
    };
}

from_cdb!(
    Raw6,
    Raw10,
    Raw12,
    Raw16,
    RawCapacity,
    RawInquiry,
    RawSense6,
    RawSense10,
    RawReportLuns,
    RawReportOpcodes
);

/// `bytes` up to the allocation length of a command.
pub(super) fn send(mut bytes: Vec<u8>, allocation: impl Into<u64>) -> Action {
    bytes.truncate(to_usize(allocation.into()));
    Action::Send(bytes)
}

/// How many bytes of `bytes` there are after the first `before`, as lists have it in their header.
pub(super) fn length_after(bytes: &[u8], before: usize) -> u32 {
    u32::try_from(bytes.len().saturating_sub(before)).unwrap_or(u32::MAX)
}

/// The whole of the sense data of `target` is in the form of descriptors where block numbers need it.
pub(in super::super) fn uses_descriptors(target: &Target) -> bool {
    target.blocks > 1 << 32
}
