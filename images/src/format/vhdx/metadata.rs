//! The metadata of a VHDX: what the disk is like, and who its parent is.
//!
//! Specification: MS-VHDX 2.6. Little-endian. A table of 64 KiB, then the items.
//!
//! | offset | size | field     | rule                                                             |
//! |--------|------|-----------|------------------------------------------------------------------|
//! | 0x00   | 8    | signature | `metadata`                                                       |
//! | 0x0A   | 2    | entries   | at most 2047                                                     |
//! | 0x20   | 32   | entry     | GUID (16), offset from the table (4), length (4), flags (4), 0   |
//!
//! Flags: bit 0 of a user, bit 1 of the disk, bit 2 required.
//!
//! | item                  | value                                                             |
//! |-----------------------|-------------------------------------------------------------------|
//! | file parameters       | block size (4), flags (4): bit 0 fixed, bit 1 has a parent        |
//! | virtual disk size     | in bytes (8), whole sectors, at most 64 TiB                       |
//! | logical sector size   | 512 or 4096 (4)                                                   |
//! | physical sector size, virtual disk id | not looked at                                     |
//! | parent locator        | type (16), 0 (2), pairs (2), then of each pair the places of key and value in the item (4, 4) and their lengths (2, 2); UTF-16 |

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, Span, bytes_to_index};

use crate::guid::Guid;
use crate::parent::utf16_le;

const TABLE_BYTES: u64 = 64 << 10;

/// LIMIT: the specification's own bounds.
const MAX_ENTRIES: u16 = 2047;
const MAX_ITEM: u32 = 1 << 20;
const MAX_DISK: u64 = 64 << 40;
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 1 << 20..=256 << 20;

/// LIMIT: pairs of a parent locator. The specification knows five.
const MAX_PAIRS: u16 = 256;

const FILE_PARAMETERS: Guid = Guid::of(0xCAA1_6737_FA36_4D43_B3B6_33F0_AA44_E76B);
const DISK_SIZE: Guid = Guid::of(0x2FA5_4224_CD1B_4876_B211_5DBE_D83B_F4B8);
const DISK_ID: Guid = Guid::of(0xBECA_12AB_B2E6_4523_93EF_C309_E000_C746);
const LOGICAL_SECTOR: Guid = Guid::of(0x8141_BF1D_A96F_4709_BA47_F233_A8FA_AB5F);
const PHYSICAL_SECTOR: Guid = Guid::of(0xCDA3_48C7_445D_4471_9CC9_E988_5251_C556);
const PARENT_LOCATOR: Guid = Guid::of(0xA8D3_5F2D_B30B_454D_ABF7_D3D8_4834_AB0C);

/// The one kind of parent locator that there is.
const VHDX_LOCATOR: Guid = Guid::of(0xB04A_EFB7_D19E_4A81_B789_25B8_E944_5913);

/// What a snapshot notes of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParentLink {
    /// The data write GUIDs that it may have; at least one.
    pub(super) ids: Vec<Guid>,
    /// The names that it may have, the likeliest first.
    pub(super) names: Vec<String>,
    /// Whether it was in the same folder.
    pub(super) was_beside: bool,
}

/// Metadata whose every field is within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// A power of two.
    pub(super) block_size: u64,
    pub(super) is_fixed: bool,
    pub(super) size: u64,
    /// 512 or 4096.
    pub(super) sector_size: u32,
    pub(super) parent: Option<ParentLink>,
}

/// An item: where it begins in the file, and its bytes.
struct Item {
    at: u64,
    bytes: Vec<u8>,
}

impl Item {
    fn reader(&self) -> ByteReader<'_> {
        ByteReader::new("VHDX metadata item", &self.bytes, self.at)
    }
}

/// The items that are known.
#[derive(Default)]
struct Items {
    parameters: Option<Item>,
    size: Option<Item>,
    sector: Option<Item>,
    locator: Option<Item>,
}

impl Items {
    /// Reads those of the table at the start of `region`.
    fn read(file: &dyn BlockDevice, region: Span) -> BlockResult<Self> {
        let at = region.start();
        let corrupt = |sentence: String, at| Err(BlockError::corrupt(sentence, at, 0));
        let mut table = vec![0; bytes_to_index(TABLE_BYTES)?];
        file.read_at(at, &mut table)?;
        let mut reader = ByteReader::new("VHDX metadata table", &table, at);
        if reader.array()? != *b"metadata" {
            return corrupt("VHDX metadata table has another signature".to_owned(), at);
        }
        reader.skip(2)?;
        let entries = reader.u16_le()?;
        if entries > MAX_ENTRIES {
            return corrupt(format!("VHDX metadata table has {entries} entries"), at);
        }
        reader.skip(20)?;
        let mut items = Self::default();
        for _ in 0..entries {
            let entry_at = reader.position();
            let guid = Guid(reader.array()?);
            let (offset, length) = (u64::from(reader.u32_le()?), reader.u32_le()?);
            let flags = reader.u32_le()?;
            reader.skip(4)?;
            let (is_user, is_required) = (flags & 1 != 0, flags & 4 != 0);
            let place = match guid {
                FILE_PARAMETERS if !is_user => &mut items.parameters,
                DISK_SIZE if !is_user => &mut items.size,
                LOGICAL_SECTOR if !is_user => &mut items.sector,
                PARENT_LOCATOR if !is_user => &mut items.locator,
                DISK_ID | PHYSICAL_SECTOR if !is_user => continue,
                other if is_required => {
                    let line = format!("VHDX needs the metadata {{{other}}}, which is not known");
                    return Err(BlockError::unsupported(line).at(entry_at));
                }
                _ => continue,
            };
            let span = region.rest(offset).map(|rest| rest.first(length.into()));
            let Some(span) = span.filter(|span| {
                offset >= TABLE_BYTES && length <= MAX_ITEM && span.length() == u64::from(length)
            }) else {
                let line = format!("VHDX metadata {{{guid}}} has an impossible place");
                return corrupt(line, entry_at);
            };
            let mut bytes = vec![0; bytes_to_index(length.into())?];
            file.read_at(span.start(), &mut bytes)?;
            if place.replace(Item { at: span.start(), bytes }).is_some() {
                let line = format!("VHDX metadata {{{guid}}} stands twice in the table");
                return corrupt(line, entry_at);
            }
        }
        Ok(items)
    }
}

impl Metadata {
    /// Reads the metadata in `region` of `file`, which is there.
    ///
    /// # Errors
    /// `Corrupt` with the item that cannot be, `Unsupported` if one is needed that is not known.
    pub(super) fn read(file: &dyn BlockDevice, region: Span) -> BlockResult<Self> {
        let Items { parameters, size, sector, locator } = Items::read(file, region)?;
        let missing =
            |what: &str| BlockError::corrupt(format!("VHDX has no {what}"), region.start(), 0);
        let item = parameters.ok_or_else(|| missing("file parameters"))?;
        let mut reader = item.reader();
        let (block_size, flags) = (reader.u32_le()?, reader.u32_le()?);
        if !BLOCK_BYTES.contains(&block_size) || !block_size.is_power_of_two() {
            let line = format!("VHDX has blocks of {block_size} bytes");
            return Err(BlockError::corrupt(line, item.at, 0));
        }
        let item = sector.ok_or_else(|| missing("logical sector size"))?;
        let sector_size = item.reader().u32_le()?;
        if !matches!(sector_size, 512 | 4096) {
            let line = format!("VHDX has sectors of {sector_size} bytes");
            return Err(BlockError::corrupt(line, item.at, 0));
        }
        let item = size.ok_or_else(|| missing("virtual disk size"))?;
        let size = item.reader().u64_le()?;
        if size == 0 || size > MAX_DISK || !size.is_multiple_of(sector_size.into()) {
            let line = format!("VHDX has a disk of {size} bytes");
            return Err(BlockError::corrupt(line, item.at, 0));
        }
        let has_parent = flags & 2 != 0;
        let parent = match locator {
            Some(item) if has_parent => Some(ParentLink::parse(&item)?),
            None if has_parent => return Err(missing("parent locator and is a snapshot")),
            _ => None,
        };
        let is_fixed = flags & 1 != 0 && !has_parent;
        Ok(Self { block_size: block_size.into(), is_fixed, size, sector_size, parent })
    }

    /// What the specification calls such an image.
    pub(super) fn variant(&self) -> &'static str {
        match (&self.parent, self.is_fixed) {
            (Some(_), _) => "differencing",
            (None, true) => "fixed",
            (None, false) => "dynamic",
        }
    }
}

impl ParentLink {
    fn parse(item: &Item) -> BlockResult<Self> {
        let corrupt = |sentence: &'static str| Err(BlockError::corrupt(sentence, item.at, 0));
        let mut reader = item.reader();
        let kind = Guid(reader.array()?);
        if kind != VHDX_LOCATOR {
            let line = format!("VHDX has a parent of the unknown kind {{{kind}}}");
            return Err(BlockError::unsupported(line).at(item.at));
        }
        reader.skip(2)?;
        let pairs = reader.u16_le()?;
        if pairs > MAX_PAIRS {
            return corrupt("VHDX parent locator has too many entries");
        }
        let mut ids = Vec::new();
        let mut paths = [None, None, None];
        for _ in 0..pairs {
            let (key_at, value_at) = (reader.u32_le()?, reader.u32_le()?);
            let (key_length, value_length) = (reader.u16_le()?, reader.u16_le()?);
            let text = |at: u32, length: u16| {
                let at = usize::try_from(at).ok()?;
                let end = at.checked_add(usize::from(length))?;
                item.bytes.get(at..end).map(utf16_le)
            };
            let (Some(key), Some(value)) = (text(key_at, key_length), text(value_at, value_length))
            else {
                return corrupt("VHDX parent locator has an entry outside of it");
            };
            let place = match key.as_str() {
                "parent_linkage" | "parent_linkage2" => {
                    let Some(id) = Guid::parse(&value) else {
                        return corrupt("VHDX parent locator has an id that is no GUID");
                    };
                    // The second one is often there, and zeros.
                    match (id.known(), key.as_str()) {
                        (Some(id), "parent_linkage") => ids.insert(0, id),
                        (Some(id), _) => ids.push(id),
                        (None, _) => {}
                    }
                    continue;
                }
                "relative_path" => paths.get_mut(0),
                "volume_path" => paths.get_mut(1),
                "absolute_win32_path" => paths.get_mut(2),
                _ => continue,
            };
            if let Some(place) = place {
                *place = Some(value);
            }
        }
        if ids.is_empty() {
            return corrupt("VHDX is a snapshot and does not tell its parent's id");
        }
        let was_beside = paths
            .first()
            .and_then(Option::as_ref)
            .is_some_and(|path| !path.trim_start_matches(".\\").contains(['/', '\\']));
        let names = paths.into_iter().flatten().filter(|name| !name.is_empty()).collect();
        Ok(Self { ids, names, was_beside })
    }
}
