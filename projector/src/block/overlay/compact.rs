//! Writes an overlay anew, without what was overwritten.

use std::fs::File;
use std::io;

use volfold_block::{Span, byte_count};
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::changed::Changed;
use super::changes::{BLOCK, Changes, Kept};
use super::format::{BASE, Base, Header, MAX_BASES_OF_RECORD, RECORD_HEADER, Record};
use super::sidecar::{Sidecar, write_at};
use crate::block::number::to_usize;

/// The data of a record that is written anew.
const PIECE: u64 = 1 << 20;

/// What of a file is not wanted any more before it is written anew, at least.
const WORTH: u64 = 64 << 10;

/// The same while it is in use, when those who write wait for it.
const WORTH_IN_USE: u64 = 256 << 20;

/// LIMIT: checksums of blocks below that are in memory while it is written anew: 256 MiB, for 64 GiB
/// that were changed.
const MAX_BASES: usize = 1 << 24;

/// What an overlay is after it was written anew.
pub(super) struct Compacted {
    pub(super) end: u64,
    pub(super) sequence: u64,
}

/// Whether it is worth to write a file of `end` bytes anew.
pub(super) fn is_worth_it(changes: &Changes, end: u64, in_use: bool) -> bool {
    let live = changes.in_file();
    let waste = end.saturating_sub(live);
    let least = if in_use { WORTH_IN_USE } else { WORTH };
    waste > least && waste > live >> 1
}

/// Writes what `changed` holds into a new file with the facts of `header`, which takes the place of its
/// sidecar, whose records end at `end`. Nothing may be appended meanwhile.
///
/// # Errors
/// If the host does not let it, or too much was changed; then all is as before.
pub(super) fn compact(
    changed: &Changed,
    sidecar: &Sidecar,
    header: &Header,
    end: u64,
) -> io::Result<Compacted> {
    let bases = old_bases(sidecar, header, end)?;
    let header = Header::new(header.identity, header.size, header.files.clone())?;
    let (path, file) = sidecar.successor()?;
    let written = write_anew(changed, sidecar, &file, &header, &bases).and_then(|written| {
        file.sync_all()?;
        Ok(written)
    });
    let result = written.and_then(|(changes, compacted)| {
        // Who looks for a place meanwhile gets one of the file that goes, and asks again.
        let mut current = changed.changes.write();
        sidecar.replace(&path, file, header.salt)?;
        *current = changes;
        Ok(compacted)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    result
}

/// The checksum of each block below when it was first changed, in the order of the blocks. They are
/// kept as they are: taken anew they would hide that the image was changed since.
fn old_bases(sidecar: &Sidecar, header: &Header, end: u64) -> io::Result<Vec<(u64, U32)>> {
    let last_block = header.size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
    let mut at = byte_count(header.to_bytes()?.len());
    let mut found: Vec<(u64, U32)> = Vec::new();
    let mut bytes = Vec::new();
    while at < end {
        let mut start = [0; RECORD_HEADER];
        sidecar.read_exact_at(at, &mut start)?;
        let record = Record::parse(&start, &sidecar.salt(), last_block)
            .ok_or_else(|| io::Error::other("some of its records are damaged"))?;
        let next = at.saturating_add(record.length());
        let length = to_usize(record.bases.into()).saturating_mul(BASE);
        bytes.resize(length, 0);
        sidecar.read_exact_at(next.saturating_sub(byte_count(length)), &mut bytes)?;
        at = next;
        let whole = crc32c::crc32c(&bytes) == record.bases_checksum;
        let Ok(bases) = <[Base]>::ref_from_bytes(&bytes) else { continue };
        let blocks = bases.iter().filter(|_| whole).filter_map(|base| {
            let skip = u64::from(base.block.get()).saturating_mul(BLOCK);
            Some((record.blocks.position(skip)?, base.checksum))
        });
        found.extend(blocks);
        if found.len() > MAX_BASES {
            return Err(io::Error::other("more was changed than is written anew"));
        }
    }
    // The first of each block counts; the order of the others stays.
    found.sort_by_key(|(block, _)| *block);
    found.dedup_by_key(|(block, _)| *block);
    Ok(found)
}

/// The changes of `changed`, written to `file` with `bases`.
fn write_anew(
    changed: &Changed,
    sidecar: &Sidecar,
    file: &File,
    header: &Header,
    bases: &[(u64, U32)],
) -> io::Result<(Changes, Compacted)> {
    let start = header.to_bytes()?;
    write_at(file, 0, &start)?;
    let mut writer = Writer {
        sidecar,
        file,
        header,
        bases,
        changes: Changes::default(),
        end: byte_count(start.len()),
        sequence: 0,
    };
    let mut data = Vec::new();
    let mut pending = Span::default();
    for run in changed.snapshot() {
        match run.kept {
            Kept::Zero => writer.add_zeros(run.span)?,
            Kept::Memory(_) | Kept::Lost => {
                return Err(io::Error::other("some of its records are damaged"));
            }
            Kept::File { .. } => {
                let mut rest = Some(run.span);
                while let Some(left) = rest.filter(|left| !left.is_empty()) {
                    let room = PIECE.saturating_sub(byte_count(data.len()));
                    if room == 0 || pending.end() != left.start() {
                        writer.add(pending, &data)?;
                        data.clear();
                        pending = Span::between(left.start(), left.start()).unwrap_or_default();
                    }
                    let piece = left.first(PIECE.saturating_sub(byte_count(data.len())));
                    let old = data.len();
                    data.resize(old.saturating_add(to_usize(piece.length())), 0);
                    let (_, out) = data.split_at_mut(old);
                    changed.read(&run, piece.start(), out).map_err(io::Error::other)?;
                    pending = Span::between(pending.start(), piece.end()).unwrap_or_default();
                    rest = left.rest(piece.length());
                }
            }
        }
    }
    writer.add(pending, &data)?;
    let compacted = Compacted { end: writer.end, sequence: writer.sequence };
    Ok((writer.changes, compacted))
}

/// Appends records to a new file.
struct Writer<'a> {
    sidecar: &'a Sidecar,
    file: &'a File,
    header: &'a Header,
    bases: &'a [(u64, U32)],
    changes: Changes,
    end: u64,
    sequence: u64,
}

impl Writer<'_> {
    /// Adds records of zeros for `blocks`: as many as their bases need.
    fn add_zeros(&mut self, blocks: Span) -> io::Result<()> {
        let mut rest = Some(blocks);
        while let Some(left) = rest.filter(|left| !left.is_empty()) {
            // A base has the number of its block in the record.
            let piece = left.first(u64::from(u32::MAX).saturating_mul(BLOCK));
            let next = self.bases_from(piece.start()).nth(to_usize(MAX_BASES_OF_RECORD));
            let room = next.and_then(|(block, _)| piece.offset_of(*block));
            let piece = room.map_or(piece, |room| piece.first(room));
            self.add(piece, &[])?;
            rest = left.rest(piece.length());
        }
        Ok(())
    }

    /// The bases of the block at `start` and of those after it.
    fn bases_from(&self, start: u64) -> impl Iterator<Item = &(u64, U32)> {
        let first = self.bases.partition_point(|(block, _)| *block < start);
        self.bases.iter().skip(first)
    }

    /// Adds a record for `blocks` with `data`, or with zeros if that is empty.
    fn add(&mut self, blocks: Span, data: &[u8]) -> io::Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        let of_these = self.bases_from(blocks.start()).take(to_usize(MAX_BASES_OF_RECORD));
        let of_these = of_these.map_while(|(block, checksum)| {
            let place = blocks.offset_of(*block)?.checked_div(BLOCK)?;
            Some(Base { block: u32::try_from(place).ok()?.into(), checksum: *checksum })
        });
        let bases: Vec<Base> = of_these.collect();
        self.sequence = self.sequence.saturating_add(1);
        let header = Record::header(&self.header.salt, self.sequence, blocks, data, &bases);
        let mut record = header.to_vec();
        record.extend_from_slice(data);
        record.extend_from_slice(bases.as_bytes());
        write_at(self.file, self.end, &record)?;
        let place = self.end.saturating_add(byte_count(RECORD_HEADER));
        let position = self.sidecar.next_position(place);
        let kept = match data.is_empty() {
            true => Kept::Zero,
            false => Kept::File { position, base: blocks.start() },
        };
        self.changes.insert(blocks, kept);
        self.end = self.end.saturating_add(byte_count(record.len()));
        Ok(())
    }
}
