//! The commands for blocks.
//!
//! Specification: SBC-3, section 5.

use std::io;
use std::mem::offset_of;

use volfold_block::{BlockError, Span, byte_count, error_chain};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::command::{
    Action, Blocks, Cdb, Failure, MAX_TRANSFER, MAX_UNMAP, MAX_UNMAP_DESCRIPTORS, Raw10, Raw16,
    RawCapacity, Work, length_after, send,
};
use super::opcodes::{action, opcode};
use super::sense::Sense;
use crate::block::iscsi::target::Target;
use crate::block::number::{to_u32, to_usize};

/// LIMIT: descriptors of one GET LBA STATUS.
const MAX_STATUS: usize = 256;

/// Bytes that are compared or filled in at once.
const PIECE: usize = 256 << 10;

/// The size of a descriptor in the lists of GET LBA STATUS and UNMAP.
const DESCRIPTOR: usize = 16;

/// The descriptor of GET LBA STATUS: SBC-3, section 5.2.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStatus {
    lba: U64,
    count: U32,
    /// 0: mapped; 1: a hole.
    provisioning: u8,
    reserved: [u8; 3],
}
const _: () = assert!(offset_of!(RawStatus, provisioning) == 12);
const _: () = assert!(size_of::<RawStatus>() == DESCRIPTOR);

/// The header of the list of UNMAP: SBC-3, section 5.28.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawUnmapHeader {
    length: U16,
    descriptors: U16,
    reserved: [u8; 4],
}
const _: () = assert!(offset_of!(RawUnmapHeader, descriptors) == 2);
const _: () = assert!(size_of::<RawUnmapHeader>() == 8);

/// What follows it, for each run of blocks.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawUnmap {
    lba: U64,
    count: U32,
    reserved: [u8; 4],
}
const _: () = assert!(offset_of!(RawUnmap, count) == 8);
const _: () = assert!(size_of::<RawUnmap>() == DESCRIPTOR);

pub(super) fn begin(target: &Target, cdb: Cdb) -> Result<Action, Failure> {
    let blocks = cdb.blocks();
    match cdb.opcode() {
        opcode::READ_CAPACITY_10 => Ok(read_capacity_10(target, cdb)?),
        opcode::SERVICE_ACTION_IN_16 => match cdb.action() {
            action::READ_CAPACITY_16 => Ok(read_capacity_16(target, cdb)),
            action::GET_LBA_STATUS => Ok(lba_status(target, cdb)?),
            _ => Err(Sense::INVALID_FIELD.into()),
        },
        opcode::READ_6 | opcode::READ_10 | opcode::READ_12 | opcode::READ_16 => {
            cdb.force_unit_access()?;
            let span = transfer(target, blocks)?;
            Ok(Action::Read { offset: span.start(), length: span.length() })
        }
        opcode::WRITE_6 | opcode::WRITE_10 | opcode::WRITE_12 | opcode::WRITE_16 => {
            let flush = cdb.force_unit_access()?;
            Ok(write(target, blocks, flush)?)
        }
        opcode::WRITE_AND_VERIFY_10 | opcode::WRITE_AND_VERIFY_12 | opcode::WRITE_AND_VERIFY_16 => {
            cdb.force_unit_access()?;
            Ok(write(target, blocks, true)?)
        }
        opcode::VERIFY_10 | opcode::VERIFY_12 | opcode::VERIFY_16 => verify(target, cdb, blocks),
        opcode::PRE_FETCH_10 | opcode::PRE_FETCH_16 => {
            target.check(blocks.lba, blocks.count)?;
            Ok(Action::Done)
        }
        opcode::SYNCHRONIZE_CACHE_10 | opcode::SYNCHRONIZE_CACHE_16 => {
            target.check(blocks.lba, blocks.count)?;
            target.flush().map_err(not_written)?;
            Ok(Action::Done)
        }
        opcode::WRITE_SAME_10 | opcode::WRITE_SAME_16 => Ok(write_same(target, cdb, blocks)?),
        opcode::UNMAP => Ok(unmap(target, cdb)?),
        _ => Err(Sense::INVALID_OPCODE.into()),
    }
}

/// The bytes that `blocks` have, which are not too many for one command.
fn transfer(target: &Target, blocks: Blocks) -> Result<Span, Sense> {
    let span = target.check(blocks.lba, blocks.count)?;
    if blocks.count > target.block_of(MAX_TRANSFER) {
        return Err(Sense::INVALID_FIELD);
    }
    Ok(span)
}

fn write(target: &Target, blocks: Blocks, flush: bool) -> Result<Action, Sense> {
    let span = transfer(target, blocks)?;
    writable(target)?;
    Ok(Action::Take(Work::Write { offset: span.start(), length: span.length(), flush }))
}

fn writable(target: &Target) -> Result<(), Sense> {
    match target.is_read_only() {
        true => Err(Sense::WRITE_PROTECTED),
        false => Ok(()),
    }
}

/// The number of the last block.
fn last_block(target: &Target) -> u64 {
    // INVARIANT: a device without blocks has no medium, and no command comes here.
    target.blocks.saturating_sub(1)
}

fn read_capacity_10(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let raw: RawCapacity = cdb.raw();
    let is_partial = raw.partial & 0x01 != 0;
    if !is_partial && raw.lba.get() != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let last = to_u32(last_block(target)).to_be_bytes();
    Ok(Action::Send([last, to_u32(target.block.get()).to_be_bytes()].concat()))
}

fn read_capacity_16(target: &Target, cdb: Cdb) -> Action {
    let raw: Raw16 = cdb.raw();
    let mut bytes = last_block(target).to_be_bytes().to_vec();
    bytes.extend(to_u32(target.block.get()).to_be_bytes());
    // Holes are told, and read as zeros.
    bytes.extend([0, 0, 0x80 | 0x40, 0]);
    bytes.extend([0; 16]);
    send(bytes, raw.length)
}

fn lba_status(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    const HEADER: usize = 8;
    let raw: Raw16 = cdb.raw();
    let start = raw.lba.get();
    target.check(start, 1)?;
    let room = to_usize(raw.length.get().into()).saturating_sub(HEADER) / DESCRIPTOR;
    let pieces = target.provisioning(start, room.clamp(1, MAX_STATUS));
    // Four bytes that are reserved.
    let mut bytes = vec![0; 4];
    for piece in pieces {
        let count = u32::try_from(piece.count);
        let status = RawStatus {
            lba: piece.lba.into(),
            count: count.unwrap_or(u32::MAX).into(),
            provisioning: u8::from(!piece.is_mapped),
            reserved: [0; 3],
        };
        bytes.extend(status.as_bytes());
        if count.is_err() {
            // What follows would not join on.
            break;
        }
    }
    let length = length_after(&bytes, 0).to_be_bytes();
    Ok(send([&length[..], &bytes].concat(), raw.length))
}

fn verify(target: &Target, cdb: Cdb, blocks: Blocks) -> Result<Action, Failure> {
    cdb.force_unit_access()?;
    let span = transfer(target, blocks)?;
    match cdb.flags() >> 1 & 0x03 {
        // The initiator trusts the medium if it can be read.
        0 => {
            readable(target, span)?;
            Ok(Action::Done)
        }
        1 => Ok(Action::Take(Work::Compare { offset: span.start(), length: span.length() })),
        _ => Err(Sense::INVALID_FIELD.into()),
    }
}

/// Why the first block of `span` that cannot be read cannot.
fn readable(target: &Target, span: Span) -> Result<(), Failure> {
    let mut piece = vec![0; PIECE.min(to_usize(span.length()))];
    let mut rest = span;
    while !rest.is_empty() {
        let (part, _) = piece.split_at_mut(PIECE.min(to_usize(rest.length())));
        let at = rest.start();
        target.read(at, part).map_err(|error| not_read(target, at, part, &error))?;
        rest = rest.rest(byte_count(part.len())).unwrap_or_default();
    }
    Ok(())
}

fn write_same(target: &Target, cdb: Cdb, blocks: Blocks) -> Result<Action, Sense> {
    const ANCHOR: u8 = 0x10;
    const OBSOLETE: u8 = 0x06;
    cdb.force_unit_access()?;
    target.check(blocks.lba, blocks.count)?;
    // The block limits page tells that no blocks are not all blocks, and how many are too many.
    let is_wrong = cdb.flags() & (ANCHOR | OBSOLETE) != 0 || blocks.count == 0;
    if is_wrong || blocks.count > target.block_of(MAX_TRANSFER) {
        return Err(Sense::INVALID_FIELD);
    }
    writable(target)?;
    if cdb.opcode() == opcode::WRITE_SAME_16 && cdb.flags() & 0x01 != 0 {
        // The initiator sends no block, and means zeros.
        return Err(Sense::INVALID_FIELD);
    }
    Ok(Action::Take(Work::WriteSame { lba: blocks.lba, count: blocks.count }))
}

fn unmap(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    if cdb.flags() & 0x01 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    writable(target)?;
    let raw: Raw10 = cdb.raw();
    match u64::from(raw.length) {
        0 => Ok(Action::Done),
        length if length < byte_count(size_of::<RawUnmapHeader>()) => Err(Sense::PARAMETER_LENGTH),
        length => Ok(Action::Take(Work::Unmap { length })),
    }
}

impl Work {
    /// How many bytes the initiator is to send.
    pub(in super::super) fn length(&self, target: &Target) -> u64 {
        match *self {
            Self::Write { length, .. } | Self::Compare { length, .. } | Self::Unmap { length } => {
                length
            }
            Self::WriteSame { .. } => target.block.get(),
        }
    }

    /// Whether it can be done in parts, as they come.
    pub(in super::super) fn is_in_parts(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Compare { .. })
    }

    /// Does the part for `bytes`, which lie at `at` in what the initiator sends.
    pub(in super::super) fn part(
        &self,
        target: &Target,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        match *self {
            Self::Write { offset, .. } => {
                target.write(offset.saturating_add(at), bytes).map_err(not_written)
            }
            Self::Compare { offset, .. } => compare(target, offset.saturating_add(at), bytes),
            Self::WriteSame { lba, count } => same(target, lba, count, bytes),
            Self::Unmap { .. } => unmap_all(target, bytes),
        }
    }
}

/// What is left to do when every part is done.
pub(in super::super) fn finish(target: &Target, work: &Work) -> Result<(), Failure> {
    match work {
        Work::Write { flush: true, .. } => target.flush().map_err(not_written),
        _ => Ok(()),
    }
}

fn compare(target: &Target, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    let mut piece = vec![0; bytes.len().min(PIECE)];
    let mut at = offset;
    for bytes in bytes.chunks(PIECE) {
        let (part, _) = piece.split_at_mut(bytes.len());
        target.read(at, part).map_err(|error| not_read(target, at, part, &error))?;
        if part != bytes {
            return Err(Sense::MISCOMPARE.into());
        }
        at = at.saturating_add(byte_count(bytes.len()));
    }
    Ok(())
}

fn same(target: &Target, lba: u64, count: u64, block: &[u8]) -> Result<(), Failure> {
    let mut rest = target.check(lba, count)?;
    if block.iter().all(|byte| *byte == 0) {
        return target.write_zeroes(rest.start(), rest.length()).map_err(not_written);
    }
    let most = target.block_of(byte_count(PIECE)).max(1);
    let piece = block.repeat(to_usize(count.min(most)));
    while !rest.is_empty() {
        let (part, _) = piece.split_at(piece.len().min(to_usize(rest.length())));
        target.write(rest.start(), part).map_err(not_written)?;
        rest = rest.rest(byte_count(part.len())).unwrap_or_default();
    }
    Ok(())
}

/// UNMAP: the list has a header and descriptors.
fn unmap_all(target: &Target, list: &[u8]) -> Result<(), Failure> {
    let Ok((header, list)) = RawUnmapHeader::ref_from_prefix(list) else {
        return Err(Sense::PARAMETER_LENGTH.into());
    };
    let length = list.len().min(to_usize(header.descriptors.get().into()));
    let (list, _) = list.split_at(length);
    let count = length / DESCRIPTOR;
    if count > to_usize(MAX_UNMAP_DESCRIPTORS.into()) {
        return Err(Sense::INVALID_PARAMETER.into());
    }
    let Ok((descriptors, _)) = <[RawUnmap]>::ref_from_prefix_with_elems(list, count) else {
        return Err(Sense::PARAMETER_LENGTH.into());
    };
    let mut all = Vec::with_capacity(count);
    let mut sum = 0_u64;
    for descriptor in descriptors {
        let count = u64::from(descriptor.count.get());
        all.push(target.check(descriptor.lba.get(), count)?);
        sum = sum.saturating_add(count);
    }
    if sum > target.block_of(MAX_UNMAP) {
        return Err(Sense::INVALID_PARAMETER.into());
    }
    for span in all {
        target.write_zeroes(span.start(), span.length()).map_err(not_written)?;
    }
    Ok(())
}

/// Why `part`, which lies at `offset`, could not be read.
fn not_read(target: &Target, offset: u64, part: &mut [u8], error: &BlockError) -> Failure {
    let bad = target.block_of(offset.saturating_add(target.good_prefix(offset, part)));
    let reason = format!("request at byte {offset}: {}", error_chain(error));
    Failure { sense: Sense::unreadable(bad), reason: Some(reason) }
}

fn not_written(error: io::Error) -> Failure {
    let sense = match error.kind() {
        io::ErrorKind::StorageFull => Sense::NO_SPACE,
        io::ErrorKind::ReadOnlyFilesystem => Sense::WRITE_PROTECTED,
        _ => Sense::WRITE_ERROR,
    };
    Failure { sense, reason: Some(error.to_string()) }
}
