//! What lies below an overlay, and whether it still is what it was.

use std::time::SystemTime;

use volfold_block::{BlockDevice, Span, byte_count};
use zerocopy::byteorder::little_endian::U32;

use super::changes::BLOCK;
use super::format::{Base, BaseFile};
use crate::block::number::to_usize;

/// The bytes below that are read at once for their checksums.
const PIECE: u64 = 1 << 20;

/// LIMIT: differences that are named.
const MAX_NAMED: usize = 4;

/// The checksums of the blocks of `span`, a part of `record`; those that cannot be read have none.
pub(super) fn bases_of(device: &dyn BlockDevice, span: Span, record: Span, bases: &mut Vec<Base>) {
    each_block(device, span, &mut |block, checksum| {
        let place = record.offset_of(block).and_then(|skip| skip.checked_div(BLOCK));
        if let (Some(checksum), Some(place)) = (checksum, place) {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            bases.push(Base { block: place.into(), checksum: U32::new(checksum) });
        }
    });
}

/// Tells `tell` of each block of `span` with its checksum, `None` for one that cannot be read. What
/// is after the end of the device counts as zeros.
fn each_block(device: &dyn BlockDevice, span: Span, tell: &mut dyn FnMut(u64, Option<u32>)) {
    let mut buf = vec![0; to_usize(span.length().min(PIECE))];
    let mut rest = Some(span);
    while let Some(left) = rest.filter(|left| !left.is_empty()) {
        let piece = left.first(PIECE);
        let length = to_usize(piece.length()).min(buf.len());
        let (whole, _) = buf.split_at_mut(length);
        let is_read = fill(device, piece.start(), whole);
        let mut at = piece.start();
        for block in whole.chunks_mut(to_usize(BLOCK)) {
            let is_read = is_read || fill(device, at, block);
            tell(at, is_read.then(|| crc32c::crc32c(block)));
            at = at.saturating_add(BLOCK);
        }
        rest = left.rest(PIECE);
    }
}

/// Fills `buf` from `offset`, with zeros after the end; whether that could be read.
fn fill(device: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> bool {
    let inside = to_usize(device.size().saturating_sub(offset)).min(buf.len());
    let (inside, outside) = buf.split_at_mut(inside);
    outside.fill(0);
    device.read_at(offset, inside).is_ok()
}

/// What is not as it was when the overlay was made.
#[derive(Default)]
pub(super) struct Differences {
    files: Vec<String>,
    blocks: Vec<u64>,
    count: u64,
}

impl Differences {
    /// Compares the files of then with those of now, of which there may be more.
    pub(super) fn of_files(then: &[BaseFile], now: &[BaseFile]) -> Self {
        let mut left: Vec<&BaseFile> = now.iter().collect();
        let mut files = Vec::new();
        for old in then {
            // The same file first, then one that was moved or renamed.
            let place = left.iter().position(|new| new.name == old.name && old.is_as(new));
            let place = place.or_else(|| left.iter().position(|new| old.is_as(new)));
            if let Some(place) = place {
                left.remove(place);
                continue;
            }
            let known = now.iter().find(|new| new.name == old.name);
            let known =
                known.or_else(|| now.iter().find(|new| new.short_name() == old.short_name()));
            files.push(match known {
                None => format!("{} was a part of it and is missing", old.name),
                Some(new) if new.size != old.size => {
                    format!("{} was changed: {} bytes, were {}", new.name, new.size, old.size)
                }
                Some(new) => format!("{} was changed{}", new.name, later(old, new)),
            });
        }
        Self { files, ..Self::default() }
    }

    /// Compares the blocks of `record` below with what they were.
    pub(super) fn compare(&mut self, device: &dyn BlockDevice, record: Span, bases: &[Base]) {
        let block_of = |base: &Base| {
            let skip = u64::from(base.block.get()).saturating_mul(BLOCK);
            record.position(skip).filter(|_| skip < record.length())
        };
        let mut at = 0;
        while let Some(first) = bases.get(at) {
            // As many as follow each other are read at once.
            let rest = bases.get(at..).unwrap_or_default();
            let follows = |(number, base): (u32, &Base)| {
                first.block.get().checked_add(number) == Some(base.block.get())
            };
            let count = (0_u32..).zip(rest).take_while(|pair| follows(*pair)).count().max(1);
            let sums = rest.get(..count).unwrap_or_default();
            at = at.saturating_add(count);
            let length = byte_count(count).saturating_mul(BLOCK);
            let span = block_of(first).and_then(|start| Span::new(start, length));
            let Some(span) = span else { continue };
            let mut sums = sums.iter();
            each_block(device, span, &mut |block, checksum| {
                let then = sums.next().map(|base| base.checksum.get());
                if then.is_some() && checksum != then {
                    self.count = self.count.saturating_add(1);
                    if self.blocks.len() < MAX_NAMED {
                        self.blocks.push(block);
                    }
                }
            });
        }
    }

    /// A line about them; `None` if there are none.
    pub(super) fn line(&self) -> Option<String> {
        let mut parts: Vec<String> = self.files.iter().take(MAX_NAMED).cloned().collect();
        if let Some(more) = self.files.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            parts.push(format!("so were {more} files more"));
        }
        if self.count > 0 {
            let named: Vec<String> = self.blocks.iter().map(u64::to_string).collect();
            let more = if self.count > byte_count(named.len()) { " and others" } else { "" };
            parts.push(format!(
                "blocks below it that were changed in the overlay hold other bytes now: {}{more}",
                named.join(", ")
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// How the time of `new` differs from that of `old`.
fn later(old: &BaseFile, new: &BaseFile) -> String {
    let seconds = |from: SystemTime, to: SystemTime| to.duration_since(from).ok();
    match old.modified.zip(new.modified) {
        Some((then, now)) => match (seconds(then, now), seconds(now, then)) {
            (Some(later), _) => {
                format!(
                    ": it was written {:.3} s later than when the overlay was begun",
                    later.as_secs_f64()
                )
            }
            (None, Some(_)) => {
                ": its last write is older than when the overlay was begun".to_owned()
            }
            (None, None) => String::new(),
        },
        None => String::new(),
    }
}
