//! QED, a disk image that QEMU had before QCOW2 of version 3.
//!
//! Specification: QEMU, docs/interop/qed_spec.rst. Little-endian. The header is followed by clusters:
//! one L1 table, L2 tables, and the data. A table has one or more clusters of offsets of 64 bits.
//!
//! | offset | size | field        | rule                                                          |
//! |--------|------|--------------|---------------------------------------------------------------|
//! | 0x00   | 4    | magic        | `QED\0`                                                       |
//! | 0x04   | 4    | cluster size | power of two, 4 KiB to 64 MiB                                 |
//! | 0x08   | 4    | table size   | in clusters: 1, 2, 4, 8 or 16                                 |
//! | 0x0C   | 4    | header size  | in clusters                                                   |
//! | 0x10   | 8    | features     | bits: 0 parent, 1 needs a check, 2 the parent is raw; no other |
//! | 0x18   | 16   |              | not looked at: features that may be unknown                   |
//! | 0x28   | 8    | L1 table     | where it is; a multiple of the cluster                        |
//! | 0x30   | 8    | size         | of the disk in bytes; a multiple of 512                       |
//! | 0x38   | 4    | backing name | where it is                                                   |
//! | 0x3C   | 4    | its size     | at most 1023; the name ends within the header                 |
//!
//! | entry  | meaning                                                    |
//! |--------|------------------------------------------------------------|
//! | 0      | no L2 table, no cluster: the parent shows through          |
//! | 1      | a cluster of zeros                                         |
//! | other  | where the table or cluster is; a multiple of the cluster   |

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Confidence, Finding, Map, Mapped, Piece,
    Place, Span, bytes_to_index, code,
};

use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::qcow2::name::{FileName, open_parent};
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::levels::{Levels, Shape};
use crate::locator::Located;
use crate::table::{BlockPlace, Entry, alike};

const MAGIC: [u8; 4] = *b"QED\0";

/// The size of the header.
const HEADER_BYTES: u64 = 64;

/// LIMIT: bytes of a cluster. The specification's.
const CLUSTER_BYTES: std::ops::RangeInclusive<u32> = 1 << 12..=1 << 26;

/// LIMIT: clusters of a table. The specification's.
const MAX_TABLE: u32 = 16;

/// LIMIT: bytes of the name of the parent, as QEMU has.
const MAX_NAME: u64 = 1023;

const HAS_PARENT: u64 = 1;
const NEEDS_CHECK: u64 = 1 << 1;
const PARENT_IS_RAW: u64 = 1 << 2;

/// An entry for a cluster of zeros.
const ZERO: u64 = 1;

/// Reads QED images.
pub struct Qed;

impl ImageFormat for Qed {
    fn id(&self) -> &'static str {
        "qed"
    }

    fn title(&self) -> &'static str {
        "QED (QEMU)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["qed"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut magic = [0; 4];
        if file.size() < HEADER_BYTES {
            return Ok(Confidence::No);
        }
        file.read_at(0, &mut magic)?;
        Ok(if magic == MAGIC { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let header = Header::read(&*file.device)?;
        if header.needs_check {
            let line = "image was not closed, or is in use; its last writes may be missing";
            context.part_log().add(Finding::warning(code::QED_NEEDS_CHECK, line));
        }
        let declared = header.parent_is_raw.then_some("raw");
        let parent = match &header.parent {
            Some(name) => Some(open_parent(file, name, declared, context)?),
            None => None,
        };
        let disk = QedDisk {
            levels: Levels::new(Arc::clone(&file.device), header.shape, context.cache()),
            file: Arc::clone(&file.device),
            reserved: header.reserved,
            table_bytes: header.table_bytes,
            below: Backing::of(parent.as_ref()),
        };
        disk.levels.check(file.device.size(), |entry| disk.table_at(entry))?;
        let cluster = disk.levels.shape().cluster_size();
        let disk = Exclusive::new(disk, &file.device, cluster, context.part_log());
        let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
        Ok(image.over(parent.as_ref()))
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let header = Header::read(&*file.device)?;
        let parent = header.parent.and_then(|name| FileName::parse(&name, "parent").ok());
        Ok(Some(Lineage {
            parent_was_beside: parent.as_ref().is_some_and(FileName::is_beside),
            parents: parent.map(|name| name.candidates(file)).unwrap_or_default(),
            ..Lineage::default()
        }))
    }
}

/// A header whose every field is within its bounds.
#[derive(Debug)]
struct Header {
    shape: Shape,
    table_bytes: u64,
    /// What no cluster may lie in: the header, the L1 table.
    reserved: [Span; 2],
    needs_check: bool,
    parent: Option<String>,
    parent_is_raw: bool,
}

fn corrupt<T>(sentence: impl Into<String>, at: u64) -> BlockResult<T> {
    Err(BlockError::corrupt(sentence.into(), at, 0))
}

impl Header {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for features that are not known.
    fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES.min(file.size()))?];
        file.read_at(0, &mut bytes)?;
        let mut reader = ByteReader::new("QED header", &bytes, 0);
        if reader.array()? != MAGIC {
            return corrupt("QED header has another signature", 0);
        }
        let (cluster_size, table_size) = (reader.u32_le()?, reader.u32_le()?);
        if !CLUSTER_BYTES.contains(&cluster_size) || !cluster_size.is_power_of_two() {
            return corrupt(format!("QED header has clusters of {cluster_size} bytes"), 0x04);
        }
        if !table_size.is_power_of_two() || table_size > MAX_TABLE {
            return corrupt(format!("QED header has tables of {table_size} clusters"), 0x08);
        }
        let header_size = u64::from(reader.u32_le()?).saturating_mul(cluster_size.into());
        let features = reader.u64_le()?;
        let unknown = features & !(HAS_PARENT | NEEDS_CHECK | PARENT_IS_RAW);
        if unknown != 0 {
            let line = format!("QED needs features that are not read: {unknown:#x}");
            return Err(BlockError::unsupported(line).at(0x10));
        }
        reader.skip(16)?;
        let (l1_at, size) = (reader.u64_le()?, reader.u64_le()?);
        let (name_at, name_size) = (reader.u32_le()?, reader.u32_le()?);
        let table_bytes = u64::from(cluster_size).saturating_mul(table_size.into());
        let shape = Shape {
            entry: Entry::U64Le,
            l1_at,
            cluster_bits: cluster_size.trailing_zeros(),
            l2_bits: table_bytes.trailing_zeros().saturating_sub(3),
            words: 1,
            size,
        };
        if size == 0 || size & 511 != 0 || shape.l1_entries() > table_bytes / 8 {
            return corrupt(format!("QED header has a disk of {size} bytes"), 0x30);
        }
        let Some(l1) = Span::new(l1_at, table_bytes).filter(|l1| l1.end() <= file.size()) else {
            return corrupt("L1 table is not in the file", l1_at);
        };
        if l1_at & shape.cluster_size().saturating_sub(1) != 0 || l1_at < header_size.max(1) {
            return corrupt("L1 table lies in the header or between two clusters", l1_at);
        }
        let has_parent = features & HAS_PARENT != 0 && name_size != 0;
        let parent = match has_parent {
            true => Some(read_name(file, header_size, name_at.into(), name_size.into())?),
            false => None,
        };
        Ok(Self {
            shape,
            table_bytes,
            reserved: [Span::below(header_size.max(HEADER_BYTES)), l1],
            needs_check: features & NEEDS_CHECK != 0,
            parent,
            parent_is_raw: features & PARENT_IS_RAW != 0,
        })
    }
}

/// The name of `size` bytes at `at`, within the header.
fn read_name(file: &dyn BlockDevice, header_size: u64, at: u64, size: u64) -> BlockResult<String> {
    if size > MAX_NAME {
        return corrupt(format!("QED header has a parent's name of {size} bytes"), 0x3C);
    }
    if at.saturating_add(size) > header_size.min(file.size()) {
        return corrupt("name of the parent is not in the header", 0x38);
    }
    let mut name = vec![0; bytes_to_index(size)?];
    file.read_at(at, &mut name)?;
    String::from_utf8(name)
        .map_err(|_| BlockError::unsupported("name of the parent is not written in UTF-8").at(at))
}

/// The virtual disk.
struct QedDisk {
    levels: Levels,
    file: Arc<dyn BlockDevice>,
    reserved: [Span; 2],
    table_bytes: u64,
    below: Backing,
}

impl QedDisk {
    /// Refuses an offset that no table and no cluster can have.
    fn check(&self, at: u64, length: u64) -> BlockResult<()> {
        if at & self.levels.shape().cluster_size().saturating_sub(1) != 0 {
            return corrupt("table or cluster does not begin at a multiple of the cluster", at);
        }
        let end = at.saturating_add(length);
        if self.reserved.iter().any(|other| at < other.end() && other.start() < end) {
            return corrupt("table or cluster lies in the header or the L1 table", at);
        }
        Ok(())
    }

    /// Where the L2 table is that the L1 entry `entry` is about.
    fn table_at(&self, entry: u64) -> BlockResult<Option<u64>> {
        if entry == 0 {
            return Ok(None);
        }
        self.check(entry, self.table_bytes)?;
        if entry.saturating_add(self.table_bytes) > self.file.size() {
            return corrupt("L2 table is not in the file", entry);
        }
        Ok(Some(entry))
    }

    /// Where the cluster is that the L2 entry `entry` is about.
    fn place(&self, entry: u64) -> BlockResult<BlockPlace> {
        match entry {
            0 => Ok(BlockPlace::Hole),
            ZERO => Ok(BlockPlace::Zero),
            at => {
                self.check(at, self.levels.shape().cluster_size())?;
                Ok(BlockPlace::Stored(at))
            }
        }
    }

    /// The piece at `offset`, by `entries`, the first of which is of its cluster.
    fn piece(&self, entries: &[u64], offset: u64) -> Piece<'_> {
        let cluster_size = self.levels.shape().cluster_size();
        let skip = offset & cluster_size.saturating_sub(1);
        let rest = cluster_size.saturating_sub(skip);
        let first = match self.place(entries.first().copied().unwrap_or_default()) {
            Ok(place) => place,
            Err(error) => return Piece::new(Place::Fail(error), rest),
        };
        let places = entries.iter().map_while(|entry| self.place(*entry).ok());
        let length = alike(places, cluster_size).saturating_mul(cluster_size);
        let length = length.saturating_sub(skip);
        let (place, length) = match first {
            BlockPlace::Zero => (Place::Zero, length),
            BlockPlace::Hole => self.below.place(offset, length),
            BlockPlace::Stored(at) => {
                let at = at.saturating_add(skip);
                match self.file.size().checked_sub(at) {
                    Some(left @ 1..) => (Place::Stored(&*self.file, at), length.min(left)),
                    _ => {
                        let sentence = "cluster lies behind the end of the file";
                        (Place::Fail(BlockError::corrupt(sentence, at, 0)), length)
                    }
                }
            }
        };
        Piece::new(place, length)
    }
}

impl Map for QedDisk {
    fn size(&self) -> u64 {
        self.levels.shape().size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let table_at = |entry| self.table_at(entry);
        let found = |words: &[u64]| self.piece(words, offset);
        self.levels.piece(offset, wanted, table_at, &self.below, found)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::registry;
    use crate::testing::{Files, context, read};
    use volfold_block::{BlockErrorKind, ExtentKind};

    const CLUSTER: usize = 4096;

    /// The header, the L1 table, one L2 table with `entries`, then clusters of `bytes`.
    fn image(entries: &[u64], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 3 * CLUSTER];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QED\0");
        put(4, &4096_u32.to_le_bytes());
        put(8, &1_u32.to_le_bytes());
        put(12, &1_u32.to_le_bytes());
        put(40, &4096_u64.to_le_bytes());
        put(48, &((entries.len() * CLUSTER) as u64).to_le_bytes());
        put(CLUSTER, &8192_u64.to_le_bytes());
        for (index, entry) in entries.iter().enumerate() {
            put(2 * CLUSTER + index * 8, &entry.to_le_bytes());
        }
        file.extend(bytes.iter().flat_map(|byte| [*byte; CLUSTER]));
        file
    }

    /// The same over the parent `name`.
    fn child(entries: &[u64], name: &str, features: u8) -> Vec<u8> {
        let mut file = image(entries, &[]);
        file[16] = features | 1;
        file[56..60].copy_from_slice(&64_u32.to_le_bytes());
        file[60..64].copy_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
        file[64..64 + name.len()].copy_from_slice(name.as_bytes());
        file
    }

    fn seen(image: &DiskImage) -> Vec<Result<u8, String>> {
        let all = (0..image.device.size() / 4096).map(|index| {
            let bytes = read(&*image.device, index * 4096 + 9, 1);
            bytes.map(|bytes| bytes[0]).map_err(|error| error.message().to_owned())
        });
        all.collect()
    }

    #[test]
    fn clusters_are_where_the_tables_say() {
        let file = image(&[3 * 4096, 0, 1, 4 * 4096, 0x5000, 4096, 8192 + 8], &[5, 6]);
        let opened = Files::default().with("a.qed", file).open("a.qed").unwrap();
        assert_eq!(opened.format, "qed");
        let all = seen(&opened);
        assert_eq!(all[..4], [5, 0, 0, 6].map(Ok));
        for (seen, sentence) in all[4..].iter().zip([
            "cluster lies behind the end of the file",
            "table or cluster lies in the header or the L1 table",
            "table or cluster does not begin at a multiple of the cluster",
        ]) {
            assert_eq!(seen.as_ref().unwrap_err(), sentence);
        }
        assert_eq!(opened.device.extent_at(4096).unwrap().kind, ExtentKind::Zero);
        for (entry, sentence) in [
            (0x10_0000_u64, "L2 table is not in the file"),
            (4096, "table or cluster lies in the header or the L1 table"),
            (8200, "table or cluster does not begin at a multiple of the cluster"),
        ] {
            let mut file = image(&[3 * 4096], &[5]);
            file[CLUSTER..CLUSTER + 8].copy_from_slice(&entry.to_le_bytes());
            let opened = Files::default().with("a.qed", file).open("a.qed").unwrap();
            assert_eq!(seen(&opened), [Err(sentence.to_owned())]);
        }
    }

    #[test]
    fn holes_are_the_parents_and_zeros_are_not() {
        let files = Files::default()
            .with("base.qed", image(&[3 * 4096, 4 * 4096], &[5, 6]))
            .with("a.qed", child(&[0, 1, 0], "base.qed", 0))
            .with("raw.qed", child(&[0], "base.qed", 4))
            .with("used.qed", child(&[0], "base.qed", 2));
        let opened = files.open("a.qed").unwrap();
        assert_eq!(seen(&opened), [5, 0, 0].map(Ok));
        assert_eq!(opened.chain, ["a.qed", "base.qed"]);
        // It is said that the parent is no image.
        let opened = files.open("raw.qed").unwrap();
        assert_eq!(read(&*opened.device, 0, 4).unwrap(), b"QED\0");
        let notes = files.open("used.qed").unwrap().log.all();
        assert_eq!(notes[0].code, code::QED_NEEDS_CHECK);
        let lineage = registry::lineage(&files.located("a.qed")).unwrap().unwrap();
        assert_eq!(lineage.parents, ["base.qed"]);
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        for (at, bytes, sentence) in [
            (4, [0, 8].as_slice(), "QED header has clusters of 2048 bytes"),
            (4, &[1, 16], "QED header has clusters of 4097 bytes"),
            (8, &[3], "QED header has tables of 3 clusters"),
            (8, &[32], "QED header has tables of 32 clusters"),
            (16, &[8], "QED needs features that are not read: 0x8"),
            (40, &[0, 0x10, 1], "L1 table is not in the file"),
            (40, &[0, 0], "L1 table lies in the header or between two clusters"),
            (40, &[8, 16], "L1 table lies in the header or between two clusters"),
            (48, &[1], "QED header has a disk of 4097 bytes"),
            (48, &[0, 0], "QED header has a disk of 0 bytes"),
            (54, &[1], "QED header has a disk of 281474976714752 bytes"),
        ] {
            let mut file = image(&[3 * 4096], &[5]);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(Files::default().with("a.qed", file).error("a.qed").2, sentence);
        }
        for (at, bytes, sentence) in [
            (57, [16].as_slice(), "name of the parent is not in the header"),
            (61, &[4], "QED header has a parent's name of 1026 bytes"),
            (64, &[0xE4], "name of the parent is not written in UTF-8"),
            (64, b"x", "parent x. is missing; put it beside the image"),
        ] {
            let mut file = child(&[0], "b.", 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(Files::default().with("a.qed", file).error("a.qed").2, sentence);
        }
        let cut = Files::default().with("a.qed", &image(&[0], &[])[..64]).error("a.qed");
        assert_eq!(
            (cut.0, cut.2.as_str()),
            (BlockErrorKind::Corrupt, "L1 table is not in the file")
        );
    }

    /// Opens `bytes` and reads of them what there is: an answer or an error.
    fn survive(bytes: &[u8]) {
        let files = Files::default().with("base.raw", vec![3; 2000]).with("a.qed", bytes);
        if let Ok(image) = registry::open_as("qed", &files.located("a.qed"), &context()) {
            let size = image.device.size();
            let _ = read(&*image.device, 0, usize::try_from(size.min(32 << 10)).unwrap());
            for at in [0, 4096, 8192, size / 2, size.saturating_sub(1)] {
                let _ = read(&*image.device, at, 1);
                let _ = image.device.extent_at(at);
            }
        }
    }

    #[test]
    fn every_cut_and_every_other_byte_ends_in_an_answer_or_an_error() {
        let mut file = child(&[0, 1, 3 * 4096], "base.raw", 0);
        file.extend([5; CLUSTER]);
        for end in (0..=file.len()).step_by(512) {
            survive(&file[..end]);
        }
        let places = [0..72, CLUSTER..CLUSTER + 8, 2 * CLUSTER..2 * CLUSTER + 24];
        for place in places.into_iter().flatten() {
            for value in 0..=255 {
                let before = std::mem::replace(&mut file[place], value);
                survive(&file);
                file[place] = before;
            }
        }
    }
}
