//! What the root directory says of the volume: its label, its bitmap and its up-case table.
//!
//! Specification: Microsoft, "exFAT file system specification", 7.1 to 7.3. Little-endian.
//!
//! | offset | size | field            | of                | rule                                  |
//! |--------|------|------------------|-------------------|---------------------------------------|
//! | 0x01   | 1    | `BitmapFlags`    | 0x81, the bitmap  | bit 0: which of two tables it is for  |
//! | 0x01   | 1    | `CharacterCount` | 0x83, the label   | at most 11                            |
//! | 0x02   | 22   | `VolumeLabel`    |                   | UTF-16                                |
//! | 0x04   | 4    | `TableChecksum`  | 0x82, the table   |                                       |
//! | 0x14   | 4    | `FirstCluster`   | bitmap and table  |                                       |
//! | 0x18   | 8    | `DataLength`     |                   |                                       |

use volfold_block::{BlockDevice, byte_count, bytes_to_index};

use super::entry::{Allocation, Entry, EntryType, is_in_use};
use super::record::MAX_DIRECTORY;
use crate::clusters::finding::ENTRY;
use crate::error::FsResult;
use crate::extents::Extents;
use crate::wtf8;

/// Bytes of the directory that are read at once.
const PIECE: usize = 4096;
/// The longest label.
const MAX_LABEL: usize = 11;

/// An entry for a part of the volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemEntry {
    /// Where it is in the directory.
    pub(super) offset: u64,
    pub(super) allocation: Allocation,
    /// Of the up-case table.
    pub(super) checksum: u32,
}

/// The entries of the root directory that are about the volume.
#[derive(Default)]
pub(super) struct System {
    pub(super) label: Option<String>,
    /// For the first table, and for the second.
    pub(super) bitmaps: [Option<SystemEntry>; 2],
    pub(super) upcase: Option<SystemEntry>,
    /// One of them stands twice; the first counts.
    pub(super) has_doubles: bool,
    has_label: bool,
}

impl System {
    /// Reads them from the root directory in `root`.
    ///
    /// # Errors
    /// What the device says; what was found before is lost.
    pub(super) fn read(device: &dyn BlockDevice, root: &Extents) -> FsResult<Self> {
        let mut found = Self::default();
        let end = root.end().min(MAX_DIRECTORY);
        let mut piece = vec![0; PIECE];
        let mut offset: u64 = 0;
        while offset < end {
            let length = end.saturating_sub(offset).min(byte_count(PIECE));
            let bytes = piece.get_mut(..bytes_to_index(length)?).unwrap_or_default();
            root.read(device, offset, bytes)?;
            let (entries, _) = bytes.as_chunks::<ENTRY>();
            for (entry, at) in entries.iter().zip((offset..).step_by(ENTRY)) {
                if entry[0] == 0 {
                    return Ok(found);
                }
                found.meet(entry, at);
            }
            offset = offset.saturating_add(length);
        }
        Ok(found)
    }

    fn meet(&mut self, entry: &Entry, offset: u64) {
        if !is_in_use(entry) {
            return;
        }
        let [_, flags, _, _, sum @ ..] = *entry;
        let checksum = u32::from_le_bytes(sum.first_chunk().copied().unwrap_or_default());
        let system = SystemEntry { offset, allocation: Allocation::of_primary(entry), checksum };
        let place = match EntryType::of(entry) {
            EntryType::BITMAP if flags & 1 == 0 => &mut self.bitmaps[0],
            EntryType::BITMAP => &mut self.bitmaps[1],
            EntryType::UPCASE => &mut self.upcase,
            EntryType::LABEL if self.has_label => {
                self.has_doubles = true;
                return;
            }
            EntryType::LABEL => {
                self.has_label = true;
                self.label = label_text(entry);
                return;
            }
            _ => return,
        };
        self.has_doubles |= place.is_some();
        place.get_or_insert(system);
    }
}

/// The text of a label, `None` if it is empty.
fn label_text(entry: &Entry) -> Option<String> {
    let [_, count, text @ ..] = *entry;
    let units = wtf8::units_le(&text).take(MAX_LABEL.min(count.into()));
    let label = String::from_utf16_lossy(&units.collect::<Vec<_>>());
    let label = label.trim_matches('\0');
    (!label.is_empty()).then(|| label.to_owned())
}
