//! The tables of runs, one for each partition, and the runs of the whole disk.
//!
//! | offset | size | of a table      | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 4    | signature       | `mish`                                                     |
//! | 0x04   | 4    | version         | 1                                                          |
//! | 0x08   | 8    | first sector    | added to those of the runs                                 |
//! | 0x10   | 8    | sectors         | of the partition; not looked at                            |
//! | 0x18   | 8    | data offset     | added to the places of the runs                            |
//! | 0x40   | 4    | checksum type   | 2: CRC-32 of the bytes of all runs but those of type 2     |
//! | 0x44   | 4    | checksum bits   | 32                                                         |
//! | 0x48   | 128  | checksum        | its first 4 bytes                                          |
//! | 0xC8   | 4    | runs            |                                                            |
//! | 0xCC   | 40 each | runs         |                                                            |
//!
//! | offset | size | of a run        | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 4    | type            | see [`Kind`]; 0xFFFFFFFF is the end, 0x7FFFFFFE a comment  |
//! | 0x08   | 8    | first sector    |                                                            |
//! | 0x10   | 8    | sectors         | at most [`MAX_UNIT`] bytes of a packed one                 |
//! | 0x18   | 8    | offset          | in the file                                                |
//! | 0x20   | 8    | length          | in the file                                                |
//!
//! No two runs are about one sector. What no run is about is not known, and an error.

use volfold_block::{BlockError, BlockResult, ByteReader, Span, bytes_to_index};

use crate::format::RegionChecksum;

/// LIMIT: runs of an image.
const MAX_RUNS: usize = 1 << 20;

/// LIMIT: unpacked bytes of a run. `hdiutil` has 256 KiB to 1 MiB.
pub(super) const MAX_UNIT: u64 = 32 << 20;

/// What a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Zeros.
    Zero,
    /// What the file system does not use: zeros that the checksum leaves out.
    Ignored,
    /// Bytes as they are.
    Raw,
    Adc,
    Zlib,
    Bzip2,
    Lzfse,
    Lzma,
    /// Not known.
    Unknown(u32),
}

impl Kind {
    /// Whether it is one unit that has to be unpacked.
    pub(super) fn is_packed(self) -> bool {
        !matches!(self, Self::Zero | Self::Ignored | Self::Raw | Self::Unknown(_))
    }
}

/// A piece of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Of the disk, in bytes.
    pub(super) disk: Span,
    /// Of the file.
    pub(super) place: Span,
    pub(super) kind: Kind,
}

/// The runs of all tables.
#[derive(Default)]
pub(super) struct Collected {
    /// After [`Collected::finish`] sorted, and without overlaps.
    pub(super) runs: Vec<Run>,
    pub(super) sums: Vec<RegionChecksum>,
    /// The end of the last run, in bytes of the disk.
    pub(super) end: u64,
}

impl Collected {
    /// Adds the runs of `table`, which is somewhere past `at` in the file. `data_at` is where the data is.
    ///
    /// # Errors
    /// `Corrupt` with what cannot be.
    pub(super) fn add(&mut self, table: &[u8], at: u64, data_at: u64) -> BlockResult<()> {
        let corrupt = |sentence: &'static str| BlockError::corrupt(sentence, at, 0);
        let mut reader = ByteReader::new("table of runs", table, at);
        if reader.array()? != *b"mish" || reader.u32_be()? != 1 {
            return Err(corrupt("table of runs has another signature"));
        }
        let first = reader.u64_be()?;
        reader.skip(8)?;
        let base = reader.u64_be()?.checked_add(data_at);
        let base = base.ok_or_else(|| corrupt("table of runs has its data outside the file"))?;
        reader.skip(0x40 - 0x20)?;
        let (sum_type, sum_bits, sum) = (reader.u32_be()?, reader.u32_be()?, reader.u32_be()?);
        reader.skip(124)?;
        let count = bytes_to_index(reader.u32_be()?.into())?;
        let room = reader.remaining().checked_div(40).unwrap_or_default();
        if count > room || self.runs.len().saturating_add(count) > MAX_RUNS {
            return Err(corrupt("table of runs has too many runs"));
        }
        let mut pieces: Vec<Span> = Vec::new();
        let outside = || corrupt("run is outside the disk or the file");
        for _ in 0..count {
            let kind = match reader.u32_be()? {
                0 => Kind::Zero,
                2 => Kind::Ignored,
                1 => Kind::Raw,
                0x8000_0004 => Kind::Adc,
                0x8000_0005 => Kind::Zlib,
                0x8000_0006 => Kind::Bzip2,
                0x8000_0007 => Kind::Lzfse,
                0x8000_0008 => Kind::Lzma,
                0xFFFF_FFFF => break,
                0x7FFF_FFFE => {
                    reader.skip(36)?;
                    continue;
                }
                other => Kind::Unknown(other),
            };
            reader.skip(4)?;
            let (start, length) = (reader.u64_be()?, reader.u64_be()?);
            let (place, stored) = (reader.u64_be()?, reader.u64_be()?);
            let start = start.checked_add(first).and_then(|start| start.checked_mul(512));
            let disk = start.zip(length.checked_mul(512));
            let disk = disk.and_then(|(start, length)| Span::new(start, length));
            let place = base.checked_add(place).and_then(|start| Span::new(start, stored));
            let disk = disk.ok_or_else(outside)?;
            // A run of zeros is nowhere.
            let place = match kind {
                Kind::Zero | Kind::Ignored => Span::below(0),
                _ => place.ok_or_else(outside)?,
            };
            if disk.is_empty() {
                continue;
            }
            self.end = self.end.max(disk.end());
            self.runs.push(Run { disk, place, kind });
            if kind != Kind::Ignored {
                add_piece(&mut pieces, disk);
            }
        }
        if (sum_type, sum_bits) == (2, 32) && !pieces.is_empty() {
            self.sums.push(RegionChecksum { pieces, crc32: sum });
        }
        Ok(())
    }

    /// Sorts the runs.
    ///
    /// # Errors
    /// `Corrupt` if two are about the same sector.
    pub(super) fn finish(&mut self, at: u64) -> BlockResult<()> {
        self.runs.sort_by_key(|run| run.disk.start());
        let pairs = self.runs.iter().zip(self.runs.iter().skip(1));
        for (run, next) in pairs {
            if run.disk.end() > next.disk.start() {
                let position = next.disk.start();
                let line = format!("two runs of the DMG are about byte {position} of the disk");
                return Err(BlockError::corrupt(line, at, 0));
            }
        }
        Ok(())
    }

    /// The first byte of a disk of `size` bytes that no run is about.
    pub(super) fn first_gap(&self, size: u64) -> Option<u64> {
        let mut next = 0;
        for run in &self.runs {
            if run.disk.start() > next {
                break;
            }
            next = run.disk.end();
        }
        (next < size).then_some(next)
    }
}

/// Adds `disk` to what a checksum is about.
fn add_piece(pieces: &mut Vec<Span>, disk: Span) {
    if let Some(last) = pieces.last_mut()
        && last.end() == disk.start()
        && let Some(joined) = Span::between(last.start(), disk.end())
    {
        *last = joined;
    } else {
        pieces.push(disk);
    }
}
