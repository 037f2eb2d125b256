//! The identifier and the headers of a VHDX.
//!
//! Specification: MS-VHDX 2.2.1 and 2.2.2. Little-endian. Two copies, at 64 KiB and 128 KiB, are
//! written in turns; the valid one with the greater sequence number holds.
//!
//! | offset | size | field           | rule                                         |
//! |--------|------|-----------------|----------------------------------------------|
//! | 0x00   | 4    | signature       | `head`                                       |
//! | 0x04   | 4    | checksum        | CRC-32C of the 4 KiB, this field taken as 0  |
//! | 0x08   | 8    | sequence number |                                              |
//! | 0x10   | 16   | file write GUID | not looked at                                |
//! | 0x20   | 16   | data write GUID | changes when what the guest sees changes     |
//! | 0x30   | 16   | log GUID        | zeros: the log is empty                      |
//! | 0x40   | 2    | log version     | 0                                            |
//! | 0x42   | 2    | version         | 1                                            |
//! | 0x44   | 4    | log length      | multiple of 1 MiB                            |
//! | 0x48   | 8    | log offset      | multiple of 1 MiB, at least 1 MiB            |

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Finding, Span, bytes_to_index, code,
};

use crate::guid::Guid;
use crate::note::PartLog;

/// The unit of places in the file, and where the structures with fixed places end.
pub(super) const MIB: u64 = 1 << 20;

/// Where the headers and the region tables are.
const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLE_AT: u64 = 192 << 10;

const HEADER_BYTES: u64 = 4096;

/// The log, if there is something in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogPlace {
    /// The GUID that its entries have.
    pub(super) guid: Guid,
    /// Where it is in the file.
    pub(super) span: Span,
}

/// A header whose every field is within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    sequence: u64,
    pub(super) data_write: Guid,
    pub(super) log: Option<LogPlace>,
    /// The checksum, which two headers that are alike share.
    checksum: u32,
}

/// Whether `file` begins as a VHDX does.
pub(super) fn has_identifier(file: &dyn BlockDevice) -> BlockResult<bool> {
    has(file, 0, b"vhdxfile")
}

/// Whether a header or a region table is where those of a VHDX are.
pub(super) fn looks_like_it(file: &dyn BlockDevice) -> BlockResult<bool> {
    Ok(has(file, REGION_TABLE_AT, b"regi")?
        && (has(file, HEADERS_AT[0], b"head")? || has(file, HEADERS_AT[1], b"head")?))
}

fn has(file: &dyn BlockDevice, at: u64, magic: &[u8]) -> BlockResult<bool> {
    let mut bytes = [0; 8];
    let bytes = bytes.get_mut(..magic.len()).unwrap_or_default();
    if file.size() < at.saturating_add(8) {
        return Ok(false);
    }
    file.read_at(at, bytes)?;
    Ok(bytes == magic)
}

/// Whether the CRC-32C of `bytes`, bytes 4 to 8 taken as 0, is what those four say.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let (Some(head), Some(found), Some(rest)) = (bytes.get(..4), bytes.get(4..8), bytes.get(8..))
    else {
        return false;
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
    crc32c::crc32c_append(sum, rest).to_le_bytes() == *found
}

impl Header {
    /// Reads the header of the image in `file` that holds.
    ///
    /// # Errors
    /// `Corrupt` if none can be used, `Unsupported` for versions that are not known.
    pub(super) fn read(file: &dyn BlockDevice, log: &PartLog) -> BlockResult<Self> {
        if !has_identifier(file)? && looks_like_it(file)? {
            let sentence = "the file begins with another identifier than `vhdxfile`";
            log.add(Finding::warning(code::VHDX_IDENTIFIER_DAMAGED, sentence).at(0));
        }
        let mut found: [Option<(Self, u64)>; 2] = [None, None];
        let mut first_error = None;
        for (place, at) in found.iter_mut().zip(HEADERS_AT) {
            match Self::parse(file, at) {
                Ok(header) => *place = Some((header, at)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        let (header, damaged) = match found {
            [Some((first, _)), Some((second, _))] if first == second => (first, None),
            [Some((first, at)), Some((second, _))] => {
                if first.sequence == second.sequence {
                    let sentence = "VHDX headers differ and have one sequence number";
                    return Err(BlockError::corrupt(sentence, at, 0x08));
                }
                (if first.sequence > second.sequence { first } else { second }, None)
            }
            [Some((one, _)), None] => (one, HEADERS_AT.get(1)),
            [None, Some((one, _))] => (one, HEADERS_AT.first()),
            [None, None] => {
                let none = || BlockError::corrupt("VHDX has no header", HEADERS_AT[0], 0);
                return Err(first_error.unwrap_or_else(none));
            }
        };
        if let Some(at) = damaged {
            let line = match first_error {
                Some(error) => format!("{}; the other one is used", error.message()),
                None => "a header is damaged; the other one is used".to_owned(),
            };
            log.add(Finding::warning(code::VHDX_HEADER_DAMAGED, line).at(*at));
        }
        Ok(header)
    }

    /// The header that begins at `at`.
    fn parse(file: &dyn BlockDevice, at: u64) -> BlockResult<Self> {
        let corrupt = |sentence, field| Err(BlockError::corrupt(sentence, at, field));
        if file.size() < at.saturating_add(HEADER_BYTES) {
            return corrupt("VHDX header is cut short", 0);
        }
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES)?];
        file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("VHDX header", &bytes, at);
        if reader.array()? != *b"head" {
            return corrupt("VHDX header has another signature", 0);
        }
        let checksum = reader.u32_le()?;
        if !is_whole(&bytes) {
            return corrupt("VHDX header has a wrong checksum", 4);
        }
        let sequence = reader.u64_le()?;
        reader.skip(16)?;
        let data_write = Guid(reader.array()?);
        let log_guid = Guid(reader.array()?).known();
        let (log_version, version) = (reader.u16_le()?, reader.u16_le()?);
        if version != 1 {
            let line = format!("VHDX of version {version} is not read; 1 is");
            return Err(BlockError::unsupported(line).at(at.saturating_add(0x42)));
        }
        let (length, offset) = (u64::from(reader.u32_le()?), reader.u64_le()?);
        let log = match log_guid {
            None => None,
            Some(_) if log_version != 0 => {
                let line = format!("VHDX log of version {log_version} is not read; 0 is");
                return Err(BlockError::unsupported(line).at(at.saturating_add(0x40)));
            }
            Some(guid) => match Span::new(offset, length) {
                Some(span) if offset >= MIB && !span.is_empty() && (offset | length) % MIB == 0 => {
                    Some(LogPlace { guid, span })
                }
                _ => return corrupt("VHDX header tells of a log at an impossible place", 0x48),
            },
        };
        Ok(Self { sequence, data_write, log, checksum })
    }
}
