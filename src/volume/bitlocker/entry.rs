//! Entries of the metadata: keys, and what opens them.
//!
//! Source: "BitLocker Drive Encryption (BDE) format" by Joachim Metz, section 5. Little-endian:
//!
//! | offset | size | field   | rule                                                                |
//! |--------|------|---------|---------------------------------------------------------------------|
//! | 0x00   | 2    | `size`  | of the entry with this header                                       |
//! | 0x02   | 2    | `kind`  | 2: volume master key, 3: key of the volume, 6: startup key           |
//! | 0x04   | 2    | `value` | what follows: 1: key, 3: stretch key, 5: encrypted key, 8: volume master key, 9: external key, 15: place |
//! | 0x06   | 2    | `version` | not looked at                                                     |
//! | 0x08   |      |         | the value; of some kinds, entries again                             |

use volfold_block::{BlockResult, ByteReader};

/// LIMIT: entries in one list.
const MAX_ENTRIES: usize = 1024;

/// What the value of an entry is.
pub(super) mod value {
    pub(crate) const KEY: u16 = 1;
    pub(crate) const STRETCH_KEY: u16 = 3;
    pub(crate) const ENCRYPTED_KEY: u16 = 5;
    pub(crate) const MASTER_KEY: u16 = 8;
    pub(crate) const EXTERNAL_KEY: u16 = 9;
    pub(crate) const PLACE: u16 = 15;
}

/// What an entry is for.
pub(super) mod kind {
    pub(crate) const MASTER_KEY: u16 = 2;
    pub(crate) const VOLUME_KEY: u16 = 3;
    pub(crate) const STARTUP_KEY: u16 = 6;
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) kind: u16,
    pub(super) value: u16,
    pub(super) bytes: &'a [u8],
}

/// The entries in `bytes`, which lie at `at`, up to the first that is none.
///
/// # Errors
/// If one is longer than what holds it.
pub(super) fn list(bytes: &[u8], at: u64) -> BlockResult<Vec<Entry<'_>>> {
    let mut reader = ByteReader::new("entry of BitLocker's metadata", bytes, at);
    let mut entries = Vec::new();
    while reader.remaining() >= 8 && entries.len() < MAX_ENTRIES {
        let size = usize::from(reader.u16_le()?);
        let (kind, value) = (reader.u16_le()?, reader.u16_le()?);
        reader.skip(2)?;
        let Some(length) = size.checked_sub(8) else { break };
        entries.push(Entry { kind, value, bytes: reader.take(length)? });
    }
    Ok(entries)
}

impl<'a> Entry<'a> {
    /// The entries in its value, after `skip` bytes.
    pub(super) fn inner(&self, skip: usize) -> Vec<Entry<'a>> {
        self.bytes.get(skip..).and_then(|bytes| list(bytes, 0).ok()).unwrap_or_default()
    }
}
