//! The commands for blocks.
//!
//! Specification: SBC-3, section 5.

use std::io;

use volfold_block::{BlockError, error_chain};

use super::opcodes::{action, opcode};
use super::sense::Sense;
use super::{Action, Cdb, Failure, MAX_TRANSFER, MAX_UNMAP, MAX_UNMAP_DESCRIPTORS, Work};
use crate::block::iscsi::target::Target;

/// LIMIT: descriptors of one GET LBA STATUS.
const MAX_STATUS: usize = 256;

/// Bytes that are compared or filled in at once.
const PIECE: usize = 256 << 10;

/// The blocks that a command is for.
#[derive(Clone, Copy)]
struct Span {
    lba: u64,
    count: u64,
}

impl Cdb {
    /// Where commands of this length have the blocks they are for.
    fn span(&self) -> Span {
        let (lba, count) = match self.byte(0) >> 5 {
            0 => {
                let count = self.number(4, 1);
                (self.number(1, 3) & 0x1F_FFFF, if count == 0 { 256 } else { count })
            }
            1 | 2 => (self.number(2, 4), self.number(7, 2)),
            4 => (self.number(2, 8), self.number(10, 4)),
            _ => (self.number(2, 4), self.number(6, 4)),
        };
        Span { lba, count }
    }

    /// `FUA`, and that there is no protection information, which is not known here.
    fn flags(&self) -> Result<bool, Sense> {
        match (self.byte(0) >> 5, self.byte(1) >> 5) {
            (0, _) => Ok(false),
            (_, 0) => Ok(self.byte(1) & 0x08 != 0),
            _ => Err(Sense::INVALID_FIELD),
        }
    }
}

pub(super) fn begin(target: &Target, cdb: Cdb) -> Result<Action, Failure> {
    let span = cdb.span();
    match cdb.byte(0) {
        opcode::READ_CAPACITY_10 => Ok(read_capacity_10(target, cdb)?),
        opcode::SERVICE_ACTION_IN_16 => match cdb.byte(1) & 0x1F {
            action::READ_CAPACITY_16 => Ok(read_capacity_16(target, cdb)),
            action::GET_LBA_STATUS => Ok(lba_status(target, cdb)?),
            _ => Err(Sense::INVALID_FIELD.into()),
        },
        opcode::READ_6 | opcode::READ_10 | opcode::READ_12 | opcode::READ_16 => {
            cdb.flags()?;
            let (offset, length) = bytes(target, span)?;
            Ok(Action::Read { offset, length })
        }
        opcode::WRITE_6 | opcode::WRITE_10 | opcode::WRITE_12 | opcode::WRITE_16 => {
            let flush = cdb.flags()?;
            Ok(write(target, span, flush)?)
        }
        opcode::WRITE_AND_VERIFY_10 | opcode::WRITE_AND_VERIFY_12 | opcode::WRITE_AND_VERIFY_16 => {
            cdb.flags()?;
            Ok(write(target, span, true)?)
        }
        opcode::VERIFY_10 | opcode::VERIFY_12 | opcode::VERIFY_16 => verify(target, cdb, span),
        opcode::PRE_FETCH_10 | opcode::PRE_FETCH_16 => {
            target.check(span.lba, span.count)?;
            Ok(Action::Done)
        }
        opcode::SYNCHRONIZE_CACHE_10 | opcode::SYNCHRONIZE_CACHE_16 => {
            target.check(span.lba, span.count)?;
            target.flush().map_err(not_written)?;
            Ok(Action::Done)
        }
        opcode::WRITE_SAME_10 | opcode::WRITE_SAME_16 => Ok(write_same(target, cdb, span)?),
        opcode::UNMAP => Ok(unmap(target, cdb)?),
        _ => Err(Sense::INVALID_OPCODE.into()),
    }
}

/// The bytes that `span` has, which is not too long.
fn bytes(target: &Target, span: Span) -> Result<(u64, u64), Sense> {
    target.check(span.lba, span.count)?;
    if span.count > MAX_TRANSFER / target.block {
        return Err(Sense::INVALID_FIELD);
    }
    Ok((span.lba * target.block, span.count * target.block))
}

fn write(target: &Target, span: Span, flush: bool) -> Result<Action, Sense> {
    let (offset, length) = bytes(target, span)?;
    writable(target)?;
    Ok(Action::Take(Work::Write { offset, length, flush }))
}

fn writable(target: &Target) -> Result<(), Sense> {
    match target.is_read_only() {
        true => Err(Sense::WRITE_PROTECTED),
        false => Ok(()),
    }
}

fn read_capacity_10(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let is_partial = cdb.byte(8) & 0x01 != 0;
    if !is_partial && cdb.number(2, 4) != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let last = u32::try_from(target.blocks - 1).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend((target.block as u32).to_be_bytes());
    Ok(Action::Send(bytes))
}

fn read_capacity_16(target: &Target, cdb: Cdb) -> Action {
    let mut bytes = (target.blocks - 1).to_be_bytes().to_vec();
    bytes.extend((target.block as u32).to_be_bytes());
    // Holes are told, and read as zeros.
    bytes.extend([0, 0, 0x80 | 0x40, 0]);
    bytes.resize(32, 0);
    cdb.send(bytes, 10, 4)
}

fn lba_status(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    const HEADER: u64 = 8;
    const DESCRIPTOR: u64 = 16;
    let start = cdb.number(2, 8);
    target.check(start, 1)?;
    let room = cdb.number(10, 4).saturating_sub(HEADER) / DESCRIPTOR;
    let most = usize::try_from(room).unwrap_or(MAX_STATUS).clamp(1, MAX_STATUS);
    let pieces = target.provisioning(start, most);
    let mut bytes = vec![0; HEADER as usize];
    for piece in pieces {
        bytes.extend(piece.lba.to_be_bytes());
        let count = u32::try_from(piece.count);
        bytes.extend(count.unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend([u8::from(!piece.is_mapped), 0, 0, 0]);
        if count.is_err() {
            // What follows would not join on.
            break;
        }
    }
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(cdb.send(bytes, 10, 4))
}

fn verify(target: &Target, cdb: Cdb, span: Span) -> Result<Action, Failure> {
    cdb.flags()?;
    let (offset, length) = bytes(target, span)?;
    match cdb.byte(1) >> 1 & 0x03 {
        // The initiator trusts the medium if it can be read.
        0 => {
            readable(target, offset, length)?;
            Ok(Action::Done)
        }
        1 => Ok(Action::Take(Work::Compare { offset, length })),
        _ => Err(Sense::INVALID_FIELD.into()),
    }
}

/// Why the first block that cannot be read cannot.
fn readable(target: &Target, offset: u64, length: u64) -> Result<(), Failure> {
    let mut piece = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let count = (end - at).min(PIECE as u64);
        let part = &mut piece[..count as usize];
        target.read(at, part).map_err(|error| not_read(target, at, part, &error))?;
        at += count;
    }
    Ok(())
}

fn write_same(target: &Target, cdb: Cdb, span: Span) -> Result<Action, Sense> {
    cdb.flags()?;
    target.check(span.lba, span.count)?;
    const ANCHOR: u8 = 0x10;
    const OBSOLETE: u8 = 0x06;
    // The block limits page tells that no blocks are not all blocks, and how many are too many.
    let is_wrong = cdb.byte(1) & (ANCHOR | OBSOLETE) != 0 || span.count == 0;
    if is_wrong || span.count > MAX_TRANSFER / target.block {
        return Err(Sense::INVALID_FIELD);
    }
    writable(target)?;
    if cdb.byte(0) == opcode::WRITE_SAME_16 && cdb.byte(1) & 0x01 != 0 {
        // The initiator sends no block, and means zeros.
        return Err(Sense::INVALID_FIELD);
    }
    Ok(Action::Take(Work::WriteSame { lba: span.lba, count: span.count }))
}

fn unmap(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    if cdb.byte(1) & 0x01 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    writable(target)?;
    match cdb.number(7, 2) {
        0 => Ok(Action::Done),
        length if length < 8 => Err(Sense::PARAMETER_LENGTH),
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
            Self::WriteSame { .. } => target.block,
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
            Self::Write { offset, .. } => target.write(offset + at, bytes).map_err(not_written),
            Self::Compare { offset, .. } => compare(target, offset + at, bytes),
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

fn compare(target: &Target, mut offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    let mut piece = vec![0; bytes.len().min(PIECE)];
    for bytes in bytes.chunks(PIECE) {
        let part = &mut piece[..bytes.len()];
        target.read(offset, part).map_err(|error| not_read(target, offset, part, &error))?;
        if part != bytes {
            return Err(Sense::MISCOMPARE.into());
        }
        offset += bytes.len() as u64;
    }
    Ok(())
}

fn same(target: &Target, lba: u64, count: u64, block: &[u8]) -> Result<(), Failure> {
    let (offset, length) = (lba * target.block, count * target.block);
    if block.iter().all(|byte| *byte == 0) {
        return target.write_zeroes(offset, length).map_err(not_written);
    }
    let most = (PIECE as u64 / target.block).max(1);
    let piece = block.repeat(count.min(most) as usize);
    let mut done = 0;
    while done < length {
        let count = (length - done).min(piece.len() as u64);
        let part = &piece[..count as usize];
        target.write(offset + done, part).map_err(not_written)?;
        done += count;
    }
    Ok(())
}

/// UNMAP: the list has a header of 8 bytes and descriptors of 16.
fn unmap_all(target: &Target, list: &[u8]) -> Result<(), Failure> {
    let Some((header, list)) = list.split_first_chunk::<8>() else {
        return Err(Sense::PARAMETER_LENGTH.into());
    };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let (descriptors, _) = list[..length.min(list.len())].as_chunks::<16>();
    if descriptors.len() > MAX_UNMAP_DESCRIPTORS as usize {
        return Err(Sense::INVALID_PARAMETER.into());
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let mut all = Vec::new();
    let mut sum = 0;
    for descriptor in descriptors {
        let (lba, count) = (number(&descriptor[..8]), number(&descriptor[8..12]));
        target.check(lba, count)?;
        sum += count;
        all.push((lba * target.block, count * target.block));
    }
    if sum > MAX_UNMAP / target.block {
        return Err(Sense::INVALID_PARAMETER.into());
    }
    for (offset, length) in all {
        target.write_zeroes(offset, length).map_err(not_written)?;
    }
    Ok(())
}

/// Why `part`, which lies at `offset`, could not be read.
fn not_read(target: &Target, offset: u64, part: &mut [u8], error: &BlockError) -> Failure {
    let bad = (offset + target.good_prefix(offset, part)) / target.block;
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
