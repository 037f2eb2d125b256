//! The table of contents of a database: where its configuration and its log lie.
//!
//! Source: the Linux-NTFS project's LDM documentation. Big-endian, 512 bytes in a sector of its
//! own. There are four places for it, sectors 1 and 2 and the last but two and three of the
//! database, in two pairs: an update writes the unused one of each pair and the private header
//! then points to it.
//!
//! | offset | size | field      | rule                                                |
//! |--------|------|------------|-----------------------------------------------------|
//! | 0x00   | 8    | `magic`    | `TOCBLOCK`                                          |
//! | 0x08   | 4    | `checksum` | sum of the 512 bytes, this field taken as 0         |
//! | 0x0C   | 8    | `sequence` | the higher one is the newer                         |
//! | 0x14   | 16   | `zeros`    | not looked at                                       |
//! | 0x24   | 34   | `regions`  | entries as below, until one without a name          |
//!
//! A region:
//!
//! | offset | size | field     | rule                                    |
//! |--------|------|-----------|-----------------------------------------|
//! | 0x00   | 8    | `name`    | `config` or `log`                       |
//! | 0x08   | 2    | `flags`   | not looked at; 0 seen                   |
//! | 0x0A   | 8    | `start`   | sectors from the start of the database  |
//! | 0x12   | 8    | `size`    | in sectors                              |
//! | 0x1A   | 8    | `flags_2` | not looked at; 0x0006 0x0001 seen       |

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::privhead::{PrivateHeader, Unusable, checksum};
use super::problems::text;

/// Entries that fit into the 512 bytes.
const REGIONS: usize = 14;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawToc {
    magic: [u8; 8],
    checksum: U32<BE>,
    sequence: U64<BE>,
    zeros: [u8; 16],
    regions: [RawRegion; REGIONS],
}
const _: () = assert!(size_of::<RawToc>() <= 512);
const _: () = assert!(offset_of!(RawToc, regions) == 0x24);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRegion {
    name: [u8; 8],
    flags: U16<BE>,
    start: U64<BE>,
    size: U64<BE>,
    flags_2: U64<BE>,
}
const _: () = assert!(size_of::<RawRegion>() == 0x22);

/// Bytes of a disk: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) size: u64,
}

/// A table of contents that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Toc {
    pub(super) sequence: u64,
    /// Inside the database of the disk, in bytes of the disk.
    pub(super) config: Span,
    pub(super) log: Option<Span>,
}

impl Toc {
    /// Checks the table in `bytes`, a sector of the database that `header` describes.
    pub(super) fn parse(bytes: &[u8], header: &PrivateHeader) -> Result<Self, Unusable> {
        let (raw, _) = RawToc::ref_from_prefix(bytes).map_err(|_| None)?;
        if raw.magic != *b"TOCBLOCK" {
            return Err(None);
        }
        if checksum(bytes) != Some(raw.checksum.get()) {
            return Err(Some("has a bad checksum"));
        }
        let named = raw.regions.iter().take_while(|region| region.name != [0; 8]);
        let (mut config, mut log) = (None, None);
        for region in named {
            match text(&region.name).as_str() {
                "config" => config = Some(span(region, header)?),
                "log" => log = Some(span(region, header)?),
                _ => {}
            }
        }
        let config = config.ok_or(Some("has no configuration"))?;
        Ok(Self { sequence: raw.sequence.get(), config, log })
    }
}

fn span(region: &RawRegion, header: &PrivateHeader) -> Result<Span, Unusable> {
    let sector = u64::from(header.sector_size);
    let inside = || {
        let start = region.start.get().checked_mul(sector)?;
        let size = region.size.get().checked_mul(sector)?;
        let fits = start.checked_add(size)? <= header.config_size;
        fits.then_some(Span { start: start.checked_add(header.config_start)?, size })
    };
    inside().ok_or(Some("places a region outside the database"))
}
