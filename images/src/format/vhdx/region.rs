//! The region table of a VHDX: where the block allocation table and the metadata lie.
//!
//! Specification: MS-VHDX 2.2.3. Little-endian. Two copies, at 192 KiB and 256 KiB; the second one
//! is for when the first is damaged.
//!
//! | offset | size | field    | rule                                                          |
//! |--------|------|----------|---------------------------------------------------------------|
//! | 0x00   | 4    | signature| `regi`                                                        |
//! | 0x04   | 4    | checksum | CRC-32C of the 64 KiB, this field taken as 0                  |
//! | 0x08   | 4    | entries  | at most 2047                                                  |
//! | 0x10   | 32   | entry    | GUID (16), offset (8), length (4), flags (4): bit 0 required  |

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Finding, Span, bytes_to_index, code,
};

use super::header::{LogPlace, MIB, is_whole};
use crate::guid::Guid;
use crate::note::PartLog;

const TABLES_AT: [u64; 2] = [192 << 10, 256 << 10];
const TABLE_BYTES: u64 = 64 << 10;

/// LIMIT: the specification's own bound.
const MAX_ENTRIES: u32 = 2047;

const BAT: Guid = Guid::of(0x2DC2_7766_F623_4200_9D64_115E_9BFD_4A08);
const METADATA: Guid = Guid::of(0x8B7C_A206_4790_4B9A_B8FE_575F_050F_886E);

/// Where the regions are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Regions {
    pub(super) bat: Span,
    pub(super) metadata: Span,
    /// The log, if there is something in it.
    pub(super) log: Option<Span>,
}

impl Regions {
    /// Reads the region table of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` if none can be used or a region cannot be where it says, `Unsupported` if a region
    /// is needed that is not known.
    pub(super) fn read(
        file: &dyn BlockDevice,
        log_place: Option<&LogPlace>,
        log: &PartLog,
    ) -> BlockResult<Self> {
        let [first, second] = TABLES_AT;
        let (bytes, at) = match whole_table(file, first) {
            Ok(bytes) => {
                if let Err(error) = whole_table(file, second) {
                    let line = format!("{}; the other one is used", error.message());
                    log.add(Finding::warning(code::VHDX_REGION_TABLE_DAMAGED, line).at(second));
                }
                (bytes, first)
            }
            Err(error) => {
                let Ok(bytes) = whole_table(file, second) else { return Err(error) };
                let line = format!("{}; the other one is used", error.message());
                log.add(Finding::warning(code::VHDX_REGION_TABLE_DAMAGED, line).at(first));
                (bytes, second)
            }
        };
        let regions = Self::parse(&bytes, at, log_place.map(|place| place.span))?;
        regions.check(file.size(), at)?;
        Ok(regions)
    }

    /// The regions in the table `bytes`, which began at `at`.
    fn parse(bytes: &[u8], at: u64, log: Option<Span>) -> BlockResult<Self> {
        let mut reader = ByteReader::new("VHDX region table", bytes, at);
        reader.skip(8)?;
        let entries = reader.u32_le()?;
        if entries > MAX_ENTRIES {
            let sentence = format!("VHDX region table has {entries} entries");
            return Err(BlockError::corrupt(sentence, at, 0x08));
        }
        reader.skip(4)?;
        let (mut bat, mut metadata) = (None, None);
        for _ in 0..entries {
            let entry_at = reader.position();
            let guid = Guid(reader.array()?);
            let (offset, length) = (reader.u64_le()?, u64::from(reader.u32_le()?));
            let is_required = reader.u32_le()? & 1 != 0;
            let place = match guid {
                BAT => &mut bat,
                METADATA => &mut metadata,
                other if is_required => {
                    let line = format!("VHDX needs the region {{{other}}}, which is not known");
                    return Err(BlockError::unsupported(line).at(entry_at));
                }
                _ => continue,
            };
            let span = Span::new(offset, length)
                .filter(|span| offset >= MIB && !span.is_empty() && (offset | length) % MIB == 0);
            let Some(span) = span else {
                let line = format!("VHDX region {{{guid}}} has an impossible place");
                return Err(BlockError::corrupt(line, entry_at, 0x10));
            };
            if place.replace(span).is_some() {
                let line = format!("VHDX region {{{guid}}} stands twice in the table");
                return Err(BlockError::corrupt(line, entry_at, 0));
            }
        }
        let missing = |what| {
            BlockError::corrupt(format!("VHDX region table does not name the {what}"), at, 0x10)
        };
        Ok(Self {
            bat: bat.ok_or_else(|| missing("block allocation table"))?,
            metadata: metadata.ok_or_else(|| missing("metadata"))?,
            log,
        })
    }

    /// Whether the regions are in a file of `size` bytes, and apart from each other.
    fn check(&self, size: u64, at: u64) -> BlockResult<()> {
        let apart = |one: Span, other: Span| one.intersection(other).is_none_or(Span::is_empty);
        let is_apart = apart(self.bat, self.metadata)
            && self.log.is_none_or(|log| apart(log, self.bat) && apart(log, self.metadata));
        if !is_apart {
            return Err(BlockError::corrupt("VHDX regions overlap", at, 0x10));
        }
        // Of the table only what the disk needs has to be there.
        if self.metadata.end() > size || self.bat.start() >= size {
            return Err(BlockError::corrupt("VHDX region is not in the file", at, 0x10));
        }
        Ok(())
    }

    /// Whether a block at `span` would lie in a structure.
    pub(super) fn overlap(&self, span: Span) -> bool {
        let hits = |other: Span| other.intersection(span).is_some_and(|both| !both.is_empty());
        span.start() < MIB || hits(self.bat) || hits(self.metadata) || self.log.is_some_and(hits)
    }
}

/// The bytes of the table that begins at `at`, if its checksum is right.
fn whole_table(file: &dyn BlockDevice, at: u64) -> BlockResult<Vec<u8>> {
    let corrupt = |sentence, field| Err(BlockError::corrupt(sentence, at, field));
    if file.size() < at.saturating_add(TABLE_BYTES) {
        return corrupt("VHDX region table is cut short", 0);
    }
    let mut bytes = vec![0; bytes_to_index(TABLE_BYTES)?];
    file.read_at(at, &mut bytes)?;
    if !bytes.starts_with(b"regi") {
        return corrupt("VHDX region table has another signature", 0);
    }
    if !is_whole(&bytes) {
        return corrupt("VHDX region table has a wrong checksum", 4);
    }
    Ok(bytes)
}
