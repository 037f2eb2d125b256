//! Fast commits: small changes to files that follow the last transaction of the journal.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Journal
//! (jbd2)", section "Fast Commit Area". Little-endian, unlike the rest of the journal. The blocks
//! are a sequence of tags; each fast commit begins a block and ends with a tail, whose length
//! reaches to the end of the block.
//!
//! | offset | size | field      | rule                                                             |
//! |--------|------|------------|------------------------------------------------------------------|
//! | 0x00   | 2    | `tag`      | see below                                                        |
//! | 0x02   | 2    | `length`   | bytes of the value, which ends in the same block                 |
//!
//! | tag | is        | value                                                                     |
//! |-----|-----------|---------------------------------------------------------------------------|
//! | 1   | add range | inode, extent of 12 bytes, see [`super::extent_tree`]                     |
//! | 2   | del range | inode, first block in the file, count                                     |
//! | 3   | create    | inode of the directory, inode, name                                       |
//! | 4   | link      | the same                                                                  |
//! | 5   | unlink    | the same                                                                  |
//! | 6   | inode     | its number, the inode                                                     |
//! | 7   | padding   |                                                                           |
//! | 8   | tail      | number of the transaction, CRC-32C from 0 of all since the last tail      |
//! | 9   | head      | features, none known; number of the transaction                           |
//!
//! A commit without a tail that fits did not happen. What follows the last one is left of older
//! commits, whose numbers differ.

use volfold_block::{ByteReader, bytes_to_index};

use super::changes::{Changes, Place};
use super::changes_builder::Builder;
use super::checksum;
use super::journal::{FastArea, Journal};
use super::volume::Volume;
use crate::error::{FsError, FsResult};

/// LIMIT: the bytes of the area that are read; Linux makes it 256 blocks.
const MAX_BYTES: u64 = 16 << 20;
const HEADER: usize = 4;
/// The bytes of a tail that its checksum covers.
const TAIL_COVERED: usize = 8;

const ADD_RANGE: u16 = 1;
const DEL_RANGE: u16 = 2;
const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const INODE: u16 = 6;
const PADDING: u16 = 7;
const TAIL: u16 = 8;
const HEAD: u16 = 9;

/// LIMIT: a longer extent is one that was reserved and not yet written.
const MAX_LENGTH: u16 = 32768;

/// The tags of all commits that happened.
#[derive(Debug, Default)]
pub(super) struct FastCommits {
    tags: Vec<u8>,
    pub(super) count: u64,
    /// Why the area was not read further, if it did not end as it should.
    pub(super) stopped: Option<&'static str>,
}

/// How a block of the area went.
enum Step {
    Next,
    End,
}

impl FastCommits {
    /// Reads `area` of `journal`.
    ///
    /// # Errors
    /// Why it cannot be read, `Unsupported` if it is of an unknown kind.
    pub(super) fn read(journal: &Journal, area: &FastArea) -> FsResult<Self> {
        let mut found = Self::default();
        let mut block = journal.block_buffer()?;
        let mut pending = Vec::new();
        let mut sum = 0;
        for number in area.blocks.clone() {
            journal.read_block(number, &mut block)?;
            let is_first = number == area.blocks.start;
            if is_first && !begins(&block, area.sequence)? {
                return Ok(found);
            }
            if let Step::End = found.block(&block, area, &mut pending, &mut sum)? {
                break;
            }
            let taken = found.tags.len().saturating_add(pending.len());
            if taken > bytes_to_index(MAX_BYTES)? {
                found.stopped = Some("the area of fast commits is too large");
                break;
            }
        }
        if found.count == 0 && found.stopped.is_none() {
            found.stopped = Some("fast commits begin and none of them ends");
        }
        Ok(found)
    }

    /// Takes in the tags of `block`.
    fn block(
        &mut self,
        block: &[u8],
        area: &FastArea,
        pending: &mut Vec<u8>,
        sum: &mut u32,
    ) -> FsResult<Step> {
        let mut rest = block;
        // Every turn takes at least the four bytes before a value.
        while rest.len() >= HEADER {
            let Some((tag, whole, later)) = split(rest) else {
                return Ok(Step::End);
            };
            match tag {
                HEAD => {
                    if !begins(whole, area.sequence)? {
                        return Ok(Step::End);
                    }
                    *sum = checksum::update(*sum, whole);
                }
                TAIL => {
                    let covered = whole.get(..TAIL_COVERED).unwrap_or_default();
                    let good = tail_word(whole, 4) == Some(checksum::update(*sum, covered));
                    if tail_word(whole, 0) != Some(area.sequence) {
                        return Ok(Step::End);
                    }
                    if !good {
                        self.stopped = Some("one of the fast commits has a bad checksum");
                        return Ok(Step::End);
                    }
                    *sum = 0;
                    self.tags.append(pending);
                    self.count = self.count.saturating_add(1);
                }
                _ => {
                    *sum = checksum::update(*sum, whole);
                    if tag != PADDING {
                        pending.extend_from_slice(whole);
                    }
                }
            }
            rest = later;
        }
        Ok(Step::Next)
    }

    /// What the commits do to the files of `volume`.
    ///
    /// # Errors
    /// `Corrupt` if they contradict it or themselves.
    pub(super) fn changes(&self, volume: &Volume) -> FsResult<Changes> {
        let mut builder = Builder::new(volume);
        let mut rest = self.tags.as_slice();
        while let Some((tag, whole, later)) = split(rest) {
            let value = whole.get(HEADER..).unwrap_or_default();
            apply(&mut builder, tag, value)?;
            rest = later;
        }
        builder.finish()
    }
}

fn apply(builder: &mut Builder<'_>, tag: u16, value: &[u8]) -> FsResult<()> {
    let mut reader = ByteReader::new("fast commit", value, 0);
    let first = reader.u32_le()?;
    match tag {
        ADD_RANGE => {
            let start = u64::from(reader.u32_le()?);
            let length = reader.u16_le()?;
            let high = u64::from(reader.u16_le()?);
            let block = (high << 32) | u64::from(reader.u32_le()?);
            let (length, place) = match length.checked_sub(MAX_LENGTH) {
                None | Some(0) => (length, Place::At(block)),
                Some(unwritten) => (unwritten, Place::Unwritten),
            };
            builder.range(first, start..start.saturating_add(u64::from(length)), place)
        }
        DEL_RANGE => {
            let start = u64::from(reader.u32_le()?);
            let length = u64::from(reader.u32_le()?);
            builder.range(first, start..start.saturating_add(length), Place::Hole)
        }
        CREATE | LINK | UNLINK => {
            let inode = reader.u32_le()?;
            let name = reader.take(reader.remaining())?;
            match tag {
                CREATE => builder.create(first, inode, name),
                LINK => builder.link(first, inode, name),
                _ => builder.unlink(first, inode, name),
            }
        }
        INODE => builder.inode(first, reader.take(reader.remaining())?),
        _ => Ok(()),
    }
}

/// The first tag of `bytes`, all of its bytes, and what follows; `None` if there is none.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut reader = ByteReader::new("fast commit", bytes, 0);
    let tag = reader.u16_le().ok()?;
    let length = usize::from(reader.u16_le().ok()?);
    let fits = match tag {
        ADD_RANGE => length == 16,
        DEL_RANGE => length == 12,
        CREATE | LINK | UNLINK => (9..=8 + 255).contains(&length),
        INODE => length >= 4 + super::inode::OLD_SIZE,
        TAIL => length >= 8,
        HEAD => length == 8,
        PADDING => true,
        _ => false,
    };
    let (whole, later) = bytes.split_at_checked(length.checked_add(HEADER)?)?;
    fits.then_some((tag, whole, later))
}

/// Whether `bytes` begin with the head of commits of the transaction `sequence`.
///
/// # Errors
/// `Unsupported` if they do, and have features.
fn begins(bytes: &[u8], sequence: u32) -> FsResult<bool> {
    let Some((HEAD, whole, _)) = split(bytes) else {
        return Ok(false);
    };
    if tail_word(whole, 4) != Some(sequence) {
        return Ok(false);
    }
    match tail_word(whole, 0) {
        Some(0) => Ok(true),
        _ => Err(FsError::unsupported("fast commits have unknown features")),
    }
}

/// The word at `at` of the value of the tag `whole`.
fn tail_word(whole: &[u8], at: usize) -> Option<u32> {
    let bytes = whole.get(at.checked_add(HEADER)?..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_wrong_length_is_no_tag() {
        for (tag, length, good) in [
            (ADD_RANGE, 16, true),
            (ADD_RANGE, 12, false),
            (DEL_RANGE, 12, true),
            (LINK, 8, false),
            (LINK, 12, true),
            (LINK, 264, false),
            (INODE, 131, false),
            (INODE, 132, true),
            (PADDING, 0, true),
            (10, 4, false),
        ] {
            let mut bytes = vec![0; HEADER + 300];
            bytes[..2].copy_from_slice(&tag.to_le_bytes());
            bytes[2..4].copy_from_slice(&u16::to_le_bytes(length));
            assert_eq!(split(&bytes).is_some(), good, "{tag} {length}");
            assert!(length == 0 || split(&bytes[..usize::from(length) + 3]).is_none());
        }
    }
}
