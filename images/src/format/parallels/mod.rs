//! Parallels HDD, the expanding image of Parallels Desktop and Virtuozzo.
//!
//! Specification: QEMU's `docs/interop/parallels.txt`. Little-endian. A header, the block allocation
//! table (BAT), and clusters. The table has one entry of 32 bits for each cluster of the disk: where
//! it is in the file, or 0 for one that was never written. There are two forms, which count in
//! different units. A snapshot is a file of its own; which file shows through its holes is told by
//! the `DiskDescriptor.xml` beside it alone (`bundle`).
//!
//! | offset | size | field         | rule                                                        |
//! |--------|------|---------------|-------------------------------------------------------------|
//! | 0x00   | 16   | magic         | `WithoutFreeSpace`, or `WithouFreSpacExt`: the second form  |
//! | 0x10   | 4    | version       | 2                                                           |
//! | 0x14   | 8    | heads, cylinders | not looked at                                            |
//! | 0x1C   | 4    | tracks        | sectors of a cluster, up to `MAX_TRACKS`; any number      |
//! | 0x20   | 4    | BAT entries   | enough for the disk                                         |
//! | 0x24   | 8    | sectors       | of the disk; the first form has 32 bits, the rest is not looked at |
//! | 0x2C   | 4    | in use        | 0 or `v2.1`: closed; else it was not closed                 |
//! | 0x30   | 4    | data offset   | in sectors; 0 in the first form: after the BAT              |
//! | 0x34   | 4    | flags         | not looked at: the BAT of an empty image is empty           |
//! | 0x38   | 8    | extension     | bitmaps of changes; not looked at                           |
//! | 0x40   |      | BAT           | in sectors, in the second form in clusters                  |

mod bundle;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Confidence, Finding, Map, Mapped, Piece,
    Place, bytes_to_index, code,
};

use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;
use crate::table::{BlockPlace, Entry, MAX_LOOK, Tables, alike, blocks_to_look};

/// The two forms.
const MAGIC: &[u8; 16] = b"WithoutFreeSpace";
const MAGIC_EXT: &[u8; 16] = b"WithouFreSpacExt";

/// The size of the header, and where the BAT begins.
const HEADER_BYTES: u64 = 64;

/// The unit of all positions.
const SECTOR: u64 = 512;

/// What `in use` is of an image that was closed: `v2.1`.
const CLOSED: u32 = 0x312E_3276;

/// LIMIT: sectors of a cluster. Parallels writes 63 to 2048.
const MAX_TRACKS: u32 = 1 << 21;

/// Reads Parallels images.
pub struct Parallels;

impl ImageFormat for Parallels {
    fn id(&self) -> &'static str {
        "parallels"
    }

    fn title(&self) -> &'static str {
        "Parallels HDD"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["hdd", "hds"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut magic = [0; 16];
        if file.size() < HEADER_BYTES {
            return Ok(Confidence::No);
        }
        file.read_at(0, &mut magic)?;
        let is_ours = magic == *MAGIC || magic == *MAGIC_EXT;
        Ok(if is_ours { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let header = Header::read(&*file.device)?;
        if !header.is_closed {
            let line =
                "Parallels image was not closed, or is in use: its last writes may be missing";
            context.part_log().add(Finding::warning(code::PARALLELS_IN_USE, line));
        }
        let variant = if header.is_ext { "extended" } else { "expanding" };
        let parent = bundle::open_parent(file, context)?;
        let disk = ParallelsDisk {
            tables: Tables::new(Arc::clone(&file.device), Entry::U32Le, context.cache()),
            file: Arc::clone(&file.device),
            header,
            below: Backing::of(parent.as_ref()),
        };
        let cluster = disk.header.cluster_size;
        let disk = Exclusive::new(disk, &file.device, cluster, context.part_log());
        let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
        let image = image.with_variant(variant);
        Ok(image.over(parent.as_ref()))
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        Header::read(&*file.device)?;
        let parents = bundle::find_parent(file)?.map(|found| found.file.name);
        Ok(Some(Lineage {
            parent_was_beside: parents.is_some(),
            parents: parents.into_iter().collect(),
            ..Lineage::default()
        }))
    }
}

/// A header whose every field is within its bounds.
#[derive(Clone, Debug)]
struct Header {
    is_ext: bool,
    is_closed: bool,
    size: u64,
    /// INVARIANT: not 0.
    cluster_size: u64,
    /// What an entry of the BAT counts, in bytes.
    unit: u64,
    /// No cluster begins before.
    data_at: u64,
}

impl Header {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for other versions than 2.
    fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES.min(file.size()))?];
        file.read_at(0, &mut bytes)?;
        let corrupt = |sentence: String, at| Err(BlockError::corrupt(sentence, at, 0));
        let mut reader = ByteReader::new("Parallels header", &bytes, 0);
        let magic: [u8; 16] = reader.array()?;
        let is_ext = magic == *MAGIC_EXT;
        if !is_ext && magic != *MAGIC {
            return corrupt("Parallels header has another magic number".to_owned(), 0);
        }
        let version = reader.u32_le()?;
        if version != 2 {
            let line = format!("Parallels image of version {version} is not read; 2 is");
            return Err(BlockError::unsupported(line).at(0x10));
        }
        reader.skip(8)?;
        let tracks = reader.u32_le()?;
        if !(1..=MAX_TRACKS).contains(&tracks) {
            return corrupt(format!("Parallels header has clusters of {tracks} sectors"), 0x1C);
        }
        let entries = u64::from(reader.u32_le()?);
        let (low, high) = (u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
        let sectors = if is_ext { high << 32 | low } else { low };
        let room = entries.saturating_mul(tracks.into());
        let size = sectors.checked_mul(SECTOR).filter(|_| (1..=room).contains(&sectors));
        let Some(size) = size else {
            let line = format!(
                "Parallels header has {entries} clusters of {tracks} sectors for a disk of \
                 {sectors} sectors"
            );
            return corrupt(line, 0x20);
        };
        let is_closed = [0, CLOSED].contains(&reader.u32_le()?);
        let data_at = u64::from(reader.u32_le()?).saturating_mul(SECTOR);
        let bat_end = entries.saturating_mul(4).saturating_add(HEADER_BYTES);
        if bat_end > file.size() {
            return corrupt("Parallels BAT is not in the file".to_owned(), HEADER_BYTES);
        }
        let cluster_size = u64::from(tracks).saturating_mul(SECTOR);
        let data_at = match data_at {
            0 if !is_ext => bat_end.next_multiple_of(SECTOR),
            _ if data_at < bat_end => {
                let line = "Parallels data begin before the end of the BAT".to_owned();
                return corrupt(line, 0x30);
            }
            _ => data_at,
        };
        let unit = if is_ext { cluster_size } else { SECTOR };
        Ok(Self { is_ext, is_closed, size, cluster_size, unit, data_at })
    }

    /// Where the cluster is that `entry` of the BAT is about.
    fn place(&self, entry: u64) -> BlockPlace {
        match entry {
            0 => BlockPlace::Hole,
            // 32 bits times 30 bits.
            _ => BlockPlace::Stored(entry.saturating_mul(self.unit)),
        }
    }
}

/// The virtual disk.
struct ParallelsDisk {
    file: Arc<dyn BlockDevice>,
    tables: Tables,
    header: Header,
    below: Backing,
}

impl Map for ParallelsDisk {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let cluster_size = self.header.cluster_size;
        let cluster = offset.checked_div(cluster_size).unwrap_or(0);
        let skip = offset.checked_rem(cluster_size).unwrap_or(0);
        let mut entries = [0; MAX_LOOK];
        let left = self.header.size.div_ceil(cluster_size).saturating_sub(cluster);
        let count = blocks_to_look(wanted, skip, cluster_size);
        let count = usize::try_from(left).map_or(count, |left| count.min(left));
        let entries = entries.get_mut(..count).unwrap_or_default();
        self.tables.fill(HEADER_BYTES, cluster, entries)?;
        let places = entries.iter().map(|entry| self.header.place(*entry));
        let clusters = alike(places, cluster_size);
        let length = clusters.saturating_mul(cluster_size).saturating_sub(skip);
        let length = length.min(self.header.size.saturating_sub(offset));
        let first = entries.first().map_or(BlockPlace::Hole, |entry| self.header.place(*entry));
        let (place, length) = match first {
            BlockPlace::Stored(at) => self.stored(at, skip, length),
            BlockPlace::Hole | BlockPlace::Zero => self.below.place(offset, length),
        };
        Ok(Piece::new(place, length))
    }
}

impl ParallelsDisk {
    /// The `length` bytes `skip` bytes into the cluster at `at`, as far as they are there.
    fn stored(&self, at: u64, skip: u64, length: u64) -> (Place<'_>, u64) {
        let start = at.saturating_add(skip);
        let sentence = match self.file.size().checked_sub(start) {
            _ if at < self.header.data_at => "cluster lies before the data",
            Some(left @ 1..) => return (Place::Stored(&*self.file, start), length.min(left)),
            _ => "cluster lies behind the end of the file",
        };
        let one = self.header.cluster_size.saturating_sub(skip);
        (Place::Fail(BlockError::corrupt(sentence, start, 0)), length.min(one))
    }
}
