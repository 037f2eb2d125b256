//! VDI, the disk image of VirtualBox.
//!
//! Specification: none; VirtualBox's source (`VDICore.h`) is the reference. Little-endian. A header
//! tells where the block map and the data are. The map has one entry of 32 bits for each block of the
//! disk: the number of the block in the data, or that it was never written, or that it is zeros. A
//! snapshot holds what was written since; the rest shows through from the parent, which is known by
//! its UUID alone.
//!
//! | offset | size | field           | rule                                                      |
//! |--------|------|-----------------|-----------------------------------------------------------|
//! | 0x000  | 64   | text            | not looked at                                             |
//! | 0x040  | 4    | signature       | 0xBEDA107F                                                |
//! | 0x044  | 4    | version         | 1.x; the high half is the major one                       |
//! | 0x048  | 4    | header size     | not looked at                                             |
//! | 0x04C  | 4    | type            | 1 dynamic, 2 fixed, 3 undo, 4 differencing                |
//! | 0x154  | 4    | map offset      | in the file                                               |
//! | 0x158  | 4    | data offset     | in the file                                               |
//! | 0x168  | 4    | sector size     | 512                                                       |
//! | 0x170  | 8    | disk size       | in bytes                                                  |
//! | 0x178  | 4    | block size      | power of two, 4 KiB to 256 MiB                            |
//! | 0x17C  | 4    | extra           | bytes before each block that are not of the disk          |
//! | 0x180  | 4    | blocks          | entries of the map                                        |
//! | 0x184  | 4    | blocks in use   | not looked at: it is written late                         |
//! | 0x188  | 16   | UUID            |                                                           |
//! | 0x198  | 16   | modification    | changes when the guest writes                             |
//! | 0x1A8  | 16   | parent          | zeros: there is none                                      |
//! | 0x1B8  | 16   | its modification| zeros: not noted                                          |

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, Confidence, Map, Mapped,
    Piece, Place, bytes_to_index,
};

use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::guid::Guid;
use crate::locator::Located;
use crate::table::{BlockPlace, Entry, MAX_LOOK, Tables, alike, blocks_to_look};

/// Where the signature is, and what it is.
const SIGNATURE_AT: u64 = 0x40;
const SIGNATURE: u32 = 0xBEDA_107F;

/// The part of the header that is read.
const HEADER_BYTES: u64 = 0x1C8;

/// An entry of the map for a block that was never written.
const FREE: u64 = 0xFFFF_FFFF;

/// An entry of the map for a block of zeros.
const ZERO: u64 = 0xFFFF_FFFE;

/// LIMIT: bytes of a block. VirtualBox writes 1 MiB.
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 4096..=256 << 20;

/// Reads VDI images.
pub struct Vdi;

impl ImageFormat for Vdi {
    fn id(&self) -> &'static str {
        "vdi"
    }

    fn title(&self) -> &'static str {
        "VDI (VirtualBox)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["vdi"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut bytes = [0; 4];
        if file.size() < SIGNATURE_AT.saturating_add(4) {
            return Ok(Confidence::No);
        }
        file.read_at(SIGNATURE_AT, &mut bytes)?;
        let is_ours = u32::from_le_bytes(bytes) == SIGNATURE;
        Ok(if is_ours { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let header = Header::read(&*file.device)?;
        let variant = header.kind.name();
        let parent = match header.parent {
            Some(link) => Some(open_parent(file, link, context)?),
            None => None,
        };
        let disk = VdiDisk {
            tables: Tables::new(Arc::clone(&file.device), Entry::U32Le, context.cache()),
            file: Arc::clone(&file.device),
            header,
            below: Backing::of(parent.as_ref()),
        };
        let block = disk.header.block_size;
        let disk = Exclusive::new(disk, &file.device, block, context.part_log());
        let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
        let image = image.with_variant(variant);
        Ok(image.over(parent.as_ref()))
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let header = Header::read(&*file.device)?;
        Ok(Some(Lineage {
            uuid: Some(header.uuid.to_string()),
            parent_uuid: header.parent.map(|link| link.uuid.to_string()),
            ..Lineage::default()
        }))
    }
}

/// Opens the parent that the image in `file` is known to have by `link`.
fn open_parent(file: &Located, link: Link, context: &ImageContext) -> BlockResult<DiskImage> {
    let called = format!("parent {{{}}}", link.uuid);
    let is_it =
        |other: &Located| Header::read(&*other.device).is_ok_and(|header| header.uuid == link.uuid);
    let parent = context.find_by_id(file, &["vdi"], &called, &is_it)?;
    let header = Header::read(&*parent.device).map_err(|error| error.within(&called))?;
    if link.modification.is_some_and(|wanted| wanted != header.modification) {
        let sentence = format!("{called} was changed after the snapshot: {}", parent.name);
        return Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
    }
    context.open_parent(file, parent, &called, Some(Vdi.id()))
}

/// What kind of image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dynamic,
    Fixed,
    Undo,
    Differencing,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Fixed => "fixed",
            Self::Undo => "undo",
            Self::Differencing => "differencing",
        }
    }
}

/// What a snapshot notes of its parent.
#[derive(Clone, Copy, Debug)]
struct Link {
    uuid: Guid,
    modification: Option<Guid>,
}

/// A header whose every field is within its bounds.
#[derive(Clone, Debug)]
struct Header {
    kind: Kind,
    map_at: u64,
    data_at: u64,
    size: u64,
    /// A power of two.
    block_size: u64,
    extra: u64,
    uuid: Guid,
    modification: Guid,
    parent: Option<Link>,
}

impl Header {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for versions before 1.
    fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES.min(file.size()))?];
        file.read_at(0, &mut bytes)?;
        let corrupt = |sentence: String, at| Err(BlockError::corrupt(sentence, at, 0));
        let mut reader = ByteReader::new("VDI header", &bytes, 0);
        reader.skip(0x40)?;
        if reader.u32_le()? != SIGNATURE {
            return corrupt("VDI header has another signature".to_owned(), SIGNATURE_AT);
        }
        let version = reader.u32_le()?;
        if version >> 16 != 1 {
            let (major, minor) = (version >> 16, version & 0xFFFF);
            let line = format!("VDI of version {major}.{minor} is not read; 1.x is");
            return Err(BlockError::unsupported(line).at(0x44));
        }
        reader.skip(4)?;
        let kind = match reader.u32_le()? {
            1 => Kind::Dynamic,
            2 => Kind::Fixed,
            3 => Kind::Undo,
            4 => Kind::Differencing,
            other => return corrupt(format!("VDI header has the unknown type {other}"), 0x4C),
        };
        reader.skip(4 + 256)?;
        let (map_at, data_at) = (u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
        reader.skip(12)?;
        let sector_size = reader.u32_le()?;
        if sector_size != 512 {
            return corrupt(format!("VDI header has sectors of {sector_size} bytes"), 0x168);
        }
        reader.skip(4)?;
        let size = reader.u64_le()?;
        let block_size = reader.u32_le()?;
        let extra = u64::from(reader.u32_le()?);
        if !BLOCK_BYTES.contains(&block_size) || !block_size.is_power_of_two() {
            return corrupt(format!("VDI header has blocks of {block_size} bytes"), 0x178);
        }
        let blocks = u64::from(reader.u32_le()?);
        if size == 0 || size.div_ceil(block_size.into()) > blocks {
            let line = format!("VDI header has {blocks} blocks for a disk of {size} bytes");
            return corrupt(line, 0x180);
        }
        reader.skip(4)?;
        let uuid = Guid(reader.array()?);
        let modification = Guid(reader.array()?);
        let parent = Guid(reader.array()?).known();
        let parent_modification = Guid(reader.array()?).known();
        let parent = parent.map(|uuid| Link { uuid, modification: parent_modification });
        if matches!(kind, Kind::Undo | Kind::Differencing) && parent.is_none() {
            let line = "VDI header is of a snapshot and names no parent".to_owned();
            return corrupt(line, 0x1A8);
        }
        let map_end = blocks.saturating_mul(4).saturating_add(map_at);
        if map_at < HEADER_BYTES || map_end > file.size() {
            return corrupt("VDI block map is not in the file".to_owned(), map_at);
        }
        if data_at < map_end {
            return corrupt("VDI data begins before the end of the block map".to_owned(), data_at);
        }
        let block_size = u64::from(block_size);
        Ok(Self { kind, map_at, data_at, size, block_size, extra, uuid, modification, parent })
    }

    /// Where the block is that `entry` of the map is about.
    fn place(&self, entry: u64) -> BlockPlace {
        match entry {
            FREE => BlockPlace::Hole,
            ZERO => BlockPlace::Zero,
            // 32 bits times 29 bits.
            _ => {
                let start = entry.saturating_mul(self.block_size.saturating_add(self.extra));
                BlockPlace::Stored(self.data_at.saturating_add(start).saturating_add(self.extra))
            }
        }
    }
}

/// The virtual disk.
struct VdiDisk {
    file: Arc<dyn BlockDevice>,
    tables: Tables,
    header: Header,
    below: Backing,
}

impl Map for VdiDisk {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let block_size = self.header.block_size;
        let block = offset >> block_size.trailing_zeros();
        let skip = offset & block_size.saturating_sub(1);
        let mut entries = [0; MAX_LOOK];
        let left = self.header.size.div_ceil(block_size).saturating_sub(block);
        let count = blocks_to_look(wanted, skip, block_size);
        let count = usize::try_from(left).map_or(count, |left| count.min(left));
        let entries = entries.get_mut(..count).unwrap_or_default();
        self.tables.fill(self.header.map_at, block, entries)?;
        let places = entries.iter().map(|entry| self.header.place(*entry));
        let blocks = alike(places, block_size);
        let length = blocks.saturating_mul(block_size).saturating_sub(skip);
        let first = entries.first().map_or(BlockPlace::Zero, |entry| self.header.place(*entry));
        let (place, length) = match first {
            BlockPlace::Zero => (Place::Zero, length),
            BlockPlace::Hole => self.below.place(offset, length),
            BlockPlace::Stored(at) => stored(&*self.file, at.saturating_add(skip), length),
        };
        Ok(Piece::new(place, length))
    }
}

/// The `length` bytes of blocks at `at` of `file`, as far as they are there.
fn stored(file: &dyn BlockDevice, at: u64, length: u64) -> (Place<'_>, u64) {
    match file.size().checked_sub(at) {
        Some(left @ 1..) => (Place::Stored(file, at), length.min(left)),
        _ => {
            let sentence = "block lies behind the end of the file";
            (Place::Fail(BlockError::corrupt(sentence, at, 0)), length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Files, read};
    use volfold_block::ExtentKind;

    const BLOCK: usize = 4096;

    /// An image whose map has `entries`, and whose data are blocks of these bytes.
    fn image(kind: u32, entries: &[u32], blocks: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let mut put = |at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(0x40, SIGNATURE);
        put(0x44, 0x1_0001);
        put(0x4C, kind);
        put(0x154, 512);
        put(0x158, 1024);
        put(0x168, 512);
        put(0x170, u32::try_from(entries.len() * BLOCK).unwrap());
        put(0x178, u32::try_from(BLOCK).unwrap());
        put(0x180, u32::try_from(entries.len()).unwrap());
        bytes[0x188..0x198].fill(1);
        bytes[0x198..0x1A8].fill(2);
        bytes.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
        bytes.resize(1024, 0);
        bytes.extend(blocks.iter().flat_map(|byte| [*byte; BLOCK]));
        bytes
    }

    /// A snapshot of that image, or of one with the modification `of`.
    fn snapshot(entries: &[u32], blocks: &[u8], of: u8) -> Vec<u8> {
        let mut bytes = image(4, entries, blocks);
        bytes[0x188..0x198].fill(3);
        bytes[0x1A8..0x1B8].fill(1);
        bytes[0x1B8..0x1C8].fill(of);
        bytes
    }

    const F: u32 = 0xFFFF_FFFF;
    const Z: u32 = 0xFFFF_FFFE;

    #[test]
    fn blocks_are_where_the_map_says() {
        let files = Files::default().with("a.vdi", image(1, &[1, F, 0, Z, 9], &[5, 6]));
        let image = files.open("a.vdi").unwrap();
        assert_eq!((image.format, image.variant.as_deref()), ("vdi", Some("dynamic")));
        let seen = read(&*image.device, 0, 4 * BLOCK).unwrap();
        let seen: Vec<u8> = seen.chunks(BLOCK).map(|block| block[7]).collect();
        assert_eq!(seen, [6, 0, 5, 0]);
        assert_eq!(image.device.extent_at(BLOCK as u64).unwrap().kind, ExtentKind::Zero);
        let error = read(&*image.device, 4 * BLOCK as u64, 1).unwrap_err();
        assert_eq!(error.message(), "block lies behind the end of the file");
    }

    #[test]
    fn blocks_of_one_place_are_errors_and_told() {
        let files = Files::default().with("a.vdi", image(1, &[1, F, 0, 1, Z], &[5, 6]));
        let image = files.open("a.vdi").unwrap();
        assert_eq!(image.log.all()[0].code, "image-blocks-overlap");
        for block in [0, 3] {
            let error = read(&*image.device, block * BLOCK as u64 + 9, 1).unwrap_err();
            let line = "the tables name this place for another part of the disk too";
            assert_eq!(error.message(), line);
        }
        assert_eq!(read(&*image.device, 2 * BLOCK as u64, 1).unwrap(), [5]);
        assert_eq!(read(&*image.device, BLOCK as u64, 1).unwrap(), [0]);
    }

    #[test]
    fn what_a_snapshot_does_not_have_is_its_parents() {
        let files = Files::default()
            .with("base.vdi", image(1, &[0, 1, 2, F], &[7, 8, 9]))
            .with("other.vdi", snapshot(&[F; 4], &[], 2))
            .with("{s}.vdi", snapshot(&[F, 0, Z, F], &[5], 2));
        let image = files.open("{s}.vdi").unwrap();
        assert_eq!(image.chain, ["{s}.vdi", "base.vdi"]);
        let seen = read(&*image.device, 0, 4 * BLOCK).unwrap();
        let seen: Vec<u8> = seen.chunks(BLOCK).map(|block| block[7]).collect();
        assert_eq!(seen, [7, 5, 0, 0]);
        let changed = files.clone().with("{s}.vdi", snapshot(&[F; 4], &[], 9)).error("{s}.vdi");
        assert!(changed.2.ends_with("was changed after the snapshot: base.vdi"), "{}", changed.2);
        let alone = Files::default().with("{s}.vdi", snapshot(&[F; 4], &[], 2)).error("{s}.vdi");
        let sentence = "parent {01010101-0101-0101-0101-010101010101} is missing; put it beside \
                        the image, or allow its folder with --allow-path";
        assert_eq!((alone.0, alone.2.as_str()), (BlockErrorKind::MissingPart, sentence));
        // One that is its own parent.
        let mut circle = snapshot(&[F; 4], &[], 2);
        circle[0x188..0x198].fill(1);
        let error = Files::default().with("a.vdi", circle.clone()).with("b.vdi", circle);
        assert!(error.error("a.vdi").2.ends_with("is also a child of this image"));
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let good = image(1, &[0], &[1]);
        for (at, value, sentence) in [
            (0x44, 1, "VDI of version 0.1 is not read; 1.x is"),
            (0x4C, 5, "VDI header has the unknown type 5"),
            (0x4C, 4, "VDI header is of a snapshot and names no parent"),
            (0x154, 8, "VDI block map is not in the file"),
            (0x154, F, "VDI block map is not in the file"),
            (0x158, 512, "VDI data begins before the end of the block map"),
            (0x168, 4096, "VDI header has sectors of 4096 bytes"),
            (0x174, 1, "VDI header has 1 blocks for a disk of 4294971392 bytes"),
            (0x178, 4097, "VDI header has blocks of 4097 bytes"),
            (0x178, 0, "VDI header has blocks of 0 bytes"),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            assert_eq!(Files::default().with("a.vdi", bytes).error("a.vdi").2, sentence);
        }
        let error = Files::default().with("a.vdi", &good[..0x100]).error("a.vdi");
        assert_eq!(error.2, "VDI header is cut short");
    }
}
