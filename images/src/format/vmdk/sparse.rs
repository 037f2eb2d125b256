//! A hosted sparse extent: a file that holds only the grains that were written.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents" and "Stream-optimized
//! compressed sparse extents". The header is in [`super::header`], the tables are in
//! [`super::directory`], compressed grains in [`super::grain`].

use std::sync::Arc;

use crate::bytes::{byte_count, bytes_to_index};
use crate::device::{BlockDevice, Extent, ExtentKind, check_range};
use crate::error::{BlockError, BlockResult};
use crate::format::vmdk::directory::{
    EntryRule, GRAINS_PER_TABLE, Grain, GrainDirectory, Lookup, TableBudget,
};
use crate::format::vmdk::grain::CompressedGrain;
use crate::format::vmdk::header::{DirectoryPlace, HEADER_BYTES, SECTOR, SparseHeader};
use crate::format::vmdk::scan;

/// LIMIT: how many grain tables one question about an extent may touch. The answer then ends
/// early, and the next question goes on.
const MAX_TABLES_PER_QUESTION: u64 = 16;

/// LIMIT: the same for tables that are known to be absent without a read.
const MAX_ABSENT_TABLES_PER_QUESTION: u64 = 1 << 16;

/// The bytes that show through the holes of a sparse extent.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    /// The parent disk.
    pub(super) parent: Option<&'a dyn BlockDevice>,
    /// Where the extent begins on the disk.
    pub(super) start: u64,
}

impl Below<'_> {
    /// Fills `buf` with what the disk has at `offset` of the extent. Behind the end of a shorter
    /// parent that is zeros.
    fn read(self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let Some(parent) = self.parent else {
            buf.fill(0);
            return Ok(());
        };
        let offset = self.start.saturating_add(offset);
        let inside = parent.size().saturating_sub(offset);
        let inside = bytes_to_index(inside.min(byte_count(buf.len())))?;
        let (front, back) = buf.split_at_mut_checked(inside).unwrap_or_default();
        back.fill(0);
        if front.is_empty() {
            return Ok(());
        }
        parent.read_at(offset, front)
    }

    /// The kind of the bytes at `offset`, for at most `length` bytes.
    fn extent_at(self, offset: u64, length: u64) -> BlockResult<Extent> {
        let offset = self.start.saturating_add(offset);
        match self.parent {
            Some(parent) if offset < parent.size() => {
                let extent = parent.extent_at(offset)?;
                Ok(Extent {
                    kind: extent.kind,
                    length: extent.length.min(length),
                })
            }
            _ => Ok(Extent {
                kind: ExtentKind::Zero,
                length,
            }),
        }
    }
}

/// An opened hosted sparse extent.
pub(super) struct SparseExtent {
    file: Arc<dyn BlockDevice>,
    file_size: u64,
    capacity: u64,
    grain_size: u64,
    compressed: bool,
    directory: GrainDirectory,
    /// Where the knowledge of a file that was cut short ends.
    known: u64,
}

/// A run of bytes of an extent that are found in one way.
#[derive(Clone, Copy)]
struct Run {
    grain: Grain,
    length: u64,
}

impl SparseExtent {
    /// Opens the extent with `header` in `file`; sentences about what is wrong go to `findings`.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` if the grain directory cannot be used.
    pub(super) fn open(
        file: Arc<dyn BlockDevice>,
        header: SparseHeader,
        budget: &Arc<TableBudget>,
        findings: &mut Vec<String>,
    ) -> BlockResult<Self> {
        let file_size = file.size();
        if header.unclean_shutdown {
            findings.push(
                "vmdk-unclean-shutdown: the image was not closed; the last writes may be missing"
                    .to_owned(),
            );
        }
        let header = match header.directory {
            DirectoryPlace::At(_) => header,
            DirectoryPlace::InFooter => footer(&*file, &header)?.unwrap_or(header),
        };
        let tables = header
            .capacity
            .div_ceil(header.grain_size)
            .div_ceil(GRAINS_PER_TABLE);
        let rule = EntryRule {
            zeroed_grains: header.zeroed_grains,
            file_size,
        };
        let (directory, known) = if let DirectoryPlace::At(primary) = header.directory {
            let redundant = header.redundant;
            let (directory, replaced) = GrainDirectory::read(
                Arc::clone(&file),
                rule,
                tables,
                primary,
                redundant,
                Arc::clone(budget),
            )?;
            if replaced > 0 {
                findings.push(format!(
                    "vmdk-grain-directory-damaged: {replaced} of {tables} entries of the grain \
                     directory were taken from its copy"
                ));
            }
            (directory, header.capacity)
        } else {
            scan::rebuild(&file, &header, rule, tables, budget, findings)?
        };
        Ok(Self {
            file,
            file_size,
            capacity: header.capacity,
            grain_size: header.grain_size,
            compressed: header.compressed,
            directory,
            known,
        })
    }

    /// The size of the extent in bytes.
    pub(super) fn size(&self) -> u64 {
        self.capacity
    }

    /// The size of a grain in bytes, if grains are compressed.
    pub(super) fn dear_block(&self) -> Option<u64> {
        self.compressed.then_some(self.grain_size)
    }

    /// Fills `buf` from `offset` of the extent; holes show what is `below`.
    ///
    /// # Errors
    /// `Corrupt` if a table or grain that is needed is not as it must be, and as the file and the
    /// parent fail.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8], below: Below<'_>) -> BlockResult<()> {
        check_range(offset, buf.len(), self.capacity)?;
        let mut lookup = self.directory.lookup();
        let mut rest = buf;
        let mut position = offset;
        while !rest.is_empty() {
            let run = self.run(&mut lookup, position, byte_count(rest.len()))?;
            let part = rest
                .split_off_mut(..bytes_to_index(run.length)?)
                .unwrap_or_default();
            match run.grain {
                Grain::Hole => below.read(position, part)?,
                Grain::Zeroed => part.fill(0),
                Grain::Stored(at) => self.read_stored(at, position, part)?,
            }
            position = position.saturating_add(run.length);
        }
        Ok(())
    }

    /// Reads `part` of the grains that are stored from `at` on, the first of them at or before
    /// `position` of the extent.
    fn read_stored(&self, at: u64, position: u64, part: &mut [u8]) -> BlockResult<()> {
        let skip = self.within_grain(position);
        if self.compressed {
            let start = position.saturating_sub(skip);
            let grain = CompressedGrain {
                file: &*self.file,
                at,
                lba: start / SECTOR,
                grain_size: self.grain_size,
                needed: self.capacity.saturating_sub(start).min(self.grain_size),
            };
            return grain.read(skip, part);
        }
        let from = at.saturating_add(skip);
        let end = from.saturating_add(byte_count(part.len()));
        if end > self.file_size {
            let sentence = "grain is cut short by the end of the file";
            return Err(BlockError::corrupt(sentence, from, 0));
        }
        self.file.read_at(from, part)
    }

    fn within_grain(&self, position: u64) -> u64 {
        // INVARIANT: `SparseHeader::parse` made sure that the grain size is a power of two.
        position & self.grain_size.saturating_sub(1)
    }

    /// The longest run from `position` that one read below can serve, at most `most` bytes. For
    /// stored grains `Grain::Stored` is where the grain of `position` begins.
    fn run(&self, lookup: &mut Lookup<'_>, position: u64, most: u64) -> BlockResult<Run> {
        if position >= self.known {
            return Err(BlockError::corrupt(
                "grain lies behind the place where the file was cut short",
                self.file_size,
                0,
            ));
        }
        let most = most.min(self.known.saturating_sub(position));
        let first = position >> self.grain_size.trailing_zeros();
        let grain = lookup.grain(first)?;
        let mut number = first;
        let mut last = grain;
        let mut length = self.grain_size.saturating_sub(self.within_grain(position));
        while length < most {
            number = number.saturating_add(1);
            let next = lookup.grain(number)?;
            let goes_on = match (last, next) {
                (Grain::Hole, Grain::Hole) | (Grain::Zeroed, Grain::Zeroed) => true,
                (Grain::Stored(last), Grain::Stored(next)) => {
                    !self.compressed && last.checked_add(self.grain_size) == Some(next)
                }
                _ => false,
            };
            if !goes_on {
                break;
            }
            last = next;
            length = length.saturating_add(self.grain_size);
        }
        Ok(Run {
            grain,
            length: length.min(most),
        })
    }

    /// The kind of the bytes at `offset`, and how far they reach. The work is bounded, so the
    /// answer may end early.
    ///
    /// # Errors
    /// `OutOfRange` behind the end, else as [`Self::read`].
    pub(super) fn extent_at(&self, offset: u64, below: Below<'_>) -> BlockResult<Extent> {
        check_range(offset, 1, self.capacity)?;
        let rest = self.capacity.saturating_sub(offset);
        if offset >= self.known {
            return Ok(Extent {
                kind: ExtentKind::Data,
                length: rest,
            });
        }
        let has_parent = below.parent.is_some();
        let mut lookup = self.directory.lookup();
        let first = offset >> self.grain_size.trailing_zeros();
        let kind = Kind::of(lookup.grain(first)?, has_parent);
        let end = self.end_of(&mut lookup, first, kind, has_parent);
        let end = end.saturating_mul(self.grain_size).min(self.known);
        let length = end.saturating_sub(offset).min(rest);
        match kind {
            Kind::Below => below.extent_at(offset, length),
            Kind::Zero => Ok(Extent {
                kind: ExtentKind::Zero,
                length,
            }),
            Kind::Data => Ok(Extent {
                kind: ExtentKind::Data,
                length,
            }),
        }
    }

    /// The number of the first grain behind `first` that is not of `kind`, or where the search
    /// had to end.
    fn end_of(&self, lookup: &mut Lookup<'_>, first: u64, kind: Kind, has_parent: bool) -> u64 {
        let grains = self.capacity.div_ceil(self.grain_size);
        let hole = Kind::of(Grain::Hole, has_parent);
        let mut tables: u64 = 0;
        let mut absent: u64 = 0;
        let mut number = first.saturating_add(1);
        while number < grains {
            if number.is_multiple_of(GRAINS_PER_TABLE) {
                if lookup.is_absent(number / GRAINS_PER_TABLE) {
                    absent = absent.saturating_add(1);
                    if kind != hole || absent > MAX_ABSENT_TABLES_PER_QUESTION {
                        break;
                    }
                    number = number.saturating_add(GRAINS_PER_TABLE);
                    continue;
                }
                tables = tables.saturating_add(1);
                if tables > MAX_TABLES_PER_QUESTION {
                    break;
                }
            }
            // A damaged table ends the answer; the question about it will get the error.
            match lookup.grain(number) {
                Ok(grain) if Kind::of(grain, has_parent) == kind => {}
                _ => break,
            }
            number = number.saturating_add(1);
        }
        number.min(grains)
    }
}

/// What a grain means to a question about an extent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Zero,
    Below,
}

impl Kind {
    fn of(grain: Grain, has_parent: bool) -> Self {
        match grain {
            Grain::Stored(_) => Self::Data,
            Grain::Hole if has_parent => Self::Below,
            Grain::Hole | Grain::Zeroed => Self::Zero,
        }
    }
}

/// The footer of a stream-optimized extent: a header in the last sector but one. `None` if there
/// is none, which is how a file that was cut short or padded looks.
///
/// # Errors
/// `Corrupt` if there is one that does not go with `header`.
fn footer(file: &dyn BlockDevice, header: &SparseHeader) -> BlockResult<Option<SparseHeader>> {
    let Some(at) = file.size().checked_sub(2 * SECTOR).filter(|at| *at > 0) else {
        return Ok(None);
    };
    footer_at(file, at, header)
}

/// The footer at `at`, if there is one.
///
/// # Errors
/// As [`footer`].
pub(super) fn footer_at(
    file: &dyn BlockDevice,
    at: u64,
    header: &SparseHeader,
) -> BlockResult<Option<SparseHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(at, &mut bytes)?;
    if !bytes.starts_with(&super::header::MAGIC) {
        return Ok(None);
    }
    let footer = SparseHeader::parse(&bytes, at)?;
    let is_same = footer.capacity == header.capacity
        && footer.grain_size == header.grain_size
        && footer.compressed == header.compressed;
    if !is_same {
        let sentence = "footer of the sparse extent contradicts its header";
        return Err(BlockError::corrupt(sentence, at, 0));
    }
    Ok(match footer.directory {
        DirectoryPlace::At(_) => Some(footer),
        DirectoryPlace::InFooter => None,
    })
}
