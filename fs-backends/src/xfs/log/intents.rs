//! Changes that the log begins in one transaction and ends in another.
//!
//! What is begun and not ended the kernel ends when it mounts the volume. Here that is done for none:
//! it does not matter where only free space and its indexes are concerned, and files whose extents or
//! attributes are concerned are refused.

use std::collections::HashMap;

use super::items::{kind, le64};
use super::transactions::Item;
use crate::error::{FsError, FsResult};
use crate::xfs::volume::Doubts;

/// LIMIT: intents that are open at once.
const MAX_OPEN: usize = 1 << 16;
/// LIMIT: extents of one intent; the kernel writes one.
const MAX_EXTENTS: usize = 16;
const MAP_EXTENT: usize = 32;

/// The intents that are open.
#[derive(Debug, Default)]
pub(super) struct Intents(HashMap<(u16, u64), Vec<u64>>);

impl Intents {
    /// Takes in `item` if it begins or ends a change of files.
    ///
    /// # Errors
    /// `Corrupt` if it is cut short, `Unsupported` if its type is not known or too many are open.
    pub(super) fn take(&mut self, item: &Item) -> FsResult<()> {
        let bytes = item.region(0);
        let cut = || FsError::corrupt("intent in the log is cut short");
        let kind = item.kind().ok_or_else(cut)?;
        let number = || le64(bytes, 8).ok_or_else(cut);
        let files = match kind {
            // Number, then owner, block, offset, length and flags of each extent.
            kind::MAP_INTENT => {
                let (extents, _) = bytes.get(16..).unwrap_or_default().as_chunks::<MAP_EXTENT>();
                if extents.len() > MAX_EXTENTS {
                    return Err(FsError::unsupported("log begins a change of too many extents"));
                }
                extents.iter().filter_map(|extent| le64(extent, 0)).collect()
            }
            kind::ATTRIBUTE_INTENT => vec![le64(bytes, 16).ok_or_else(cut)?],
            kind::EXCHANGE_INTENT => {
                let inodes = [le64(bytes, 16), le64(bytes, 24)];
                inodes.into_iter().map(|inode| inode.ok_or_else(cut)).collect::<FsResult<_>>()?
            }
            kind::MAP_DONE | kind::ATTRIBUTE_DONE | kind::EXCHANGE_DONE => {
                self.0.remove(&(kind.saturating_sub(1), number()?));
                return Ok(());
            }
            // What no file's content depends on.
            kind::FREE_INTENT
            | kind::FREE_DONE
            | kind::QUOTA
            | kind::QUOTA_OFF
            | kind::OWNER_INTENT..=kind::SHARE_DONE
            | kind::REALTIME_FREE_INTENT..=kind::REALTIME_SHARE_DONE => return Ok(()),
            _ => {
                let message = format!("log has an item of the unknown type {kind:#x}");
                return Err(FsError::unsupported(message));
            }
        };
        if self.0.len() >= MAX_OPEN {
            return Err(FsError::unsupported("log begins too many changes"));
        }
        self.0.insert((kind, number()?), files);
        Ok(())
    }

    /// The files of the intents that are still open, and what is wrong with each.
    pub(super) fn doubts(self) -> Doubts {
        let files = self.0.into_iter().flat_map(|((kind, _), files)| {
            let why = match kind {
                kind::ATTRIBUTE_INTENT => "has a change of its attributes that was not ended",
                _ => "has a change of its extents that was not ended",
            };
            files.into_iter().map(move |file| (file, why))
        });
        files.collect()
    }
}
