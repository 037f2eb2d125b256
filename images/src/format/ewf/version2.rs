//! The second version of the format, as EnCase 7 writes it: known, and refused.
//!
//! Specification: libyal, "Expert Witness Compression Format 2 (EWF2)". Little-endian.
//!
//! | offset | size | field              | rule                                                   |
//! |--------|------|--------------------|--------------------------------------------------------|
//! | 0x00   | 8    | signature          | `EVF2`, 0x0D, 0x0A, 0x81, 0x00                         |
//! | 0x08   | 2    | version            | 2.1                                                    |
//! | 0x0A   | 2    | compression        | 0 none, 1 zlib, 2 bzip2                                |
//! | 0x0C   | 4    | segment number     |                                                        |
//! | 0x10   | 16   | set identifier     |                                                        |
//!
//! The last 64 bytes of the file are the descriptor of its last section, where bit 1 of the second
//! number of 32 bits says that the data is encrypted, and 16 bytes on is the place of the one before.

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};

pub(super) const SIGNATURE: [u8; 8] = *b"EVF2\r\n\x81\0";

const DESCRIPTOR_BYTES: u64 = 64;

/// LIMIT: sections that are looked at for one that is encrypted.
const MAX_LOOKS: u32 = 64;

/// The type of a section with keys.
const KEYS: u32 = 0x0B;

const ENCRYPTED: u32 = 2;

/// Why `file` is not read, if it is of this version.
///
/// # Errors
/// If it cannot be read.
pub(super) fn refusal(file: &dyn BlockDevice) -> BlockResult<Option<BlockError>> {
    let mut bytes = [0; 32];
    if file.size() < 32 {
        return Ok(None);
    }
    file.read_at(0, &mut bytes)?;
    let mut reader = ByteReader::new("EWF 2 file header", &bytes, 0);
    if reader.array()? != SIGNATURE {
        return Ok(None);
    }
    if is_encrypted(file)? {
        return Ok(Some(BlockError::encrypted("EWF 2 image is encrypted, and no key opens it")));
    }
    reader.skip(2)?;
    Ok(Some(match reader.u16_le()? {
        0 => refuse("Ex01, not compressed"),
        1 => refuse("Ex01, compressed with zlib"),
        2 => refuse("Ex01, compressed with bzip2"),
        other => refuse(&format!("Ex01, compressed by method {other}")),
    }))
}

/// Whether one of the last sections says so.
fn is_encrypted(file: &dyn BlockDevice) -> BlockResult<bool> {
    let mut at = file.size().checked_sub(DESCRIPTOR_BYTES);
    for _ in 0..MAX_LOOKS {
        let Some(start) = at.filter(|at| *at >= 32) else { return Ok(false) };
        let mut bytes = [0; 16];
        file.read_at(start, &mut bytes)?;
        let mut reader = ByteReader::new("EWF 2 section", &bytes, start);
        let (kind, flags) = (reader.u32_le()?, reader.u32_le()?);
        if kind == KEYS || flags & ENCRYPTED != 0 {
            return Ok(true);
        }
        at = Some(reader.u64_le()?).filter(|before| *before < start);
    }
    Ok(false)
}

/// That an image is not read which is what `sentence` says.
fn refuse(sentence: &str) -> BlockError {
    BlockError::unsupported(format!(
        "EWF 2 image ({sentence}) is not read; export it as E01 with the program that made it"
    ))
}
