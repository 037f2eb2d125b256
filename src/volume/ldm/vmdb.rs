//! The header of a database, and the log of its updates.
//!
//! Source: the Linux-NTFS project's LDM documentation; the states as Microsoft's `dmdiag` names
//! them. Big-endian, at the start of the `config` region, no checksum.
//!
//! | offset | size | field               | rule                                                   |
//! |--------|------|---------------------|--------------------------------------------------------|
//! | 0x00   | 4    | `magic`             | `VMDB`                                                 |
//! | 0x04   | 4    | `blocks`            | VBLKs that fit, this header counted as such            |
//! | 0x08   | 4    | `block_size`        | 128; here 64 to 4096                                   |
//! | 0x0C   | 4    | `header_size`       | where the first VBLK is; 0x200 seen                    |
//! | 0x10   | 2    | `state`             | 1 clean, 2 change, 3 commit, 4 abort, 5 new, 6 stale, 8 offline |
//! | 0x12   | 2    | `major`             | 4                                                      |
//! | 0x14   | 2    | `minor`             | 10; 12 by Veritas                                      |
//! | 0x16   | 31   | `group_name`        | text                                                   |
//! | 0x35   | 64   | `group_guid`        | text                                                   |
//! | 0x75   | 8    | `committed`         | number of the last transaction                         |
//! | 0x7D   | 8    | `pending`           | the same, or the next one while it is written          |
//! | 0x85   | 28   | `committed_counts`  | records: volumes, components, partitions, disks, disk accesses, 2 unused |
//! | 0xA1   | 28   | `pending_counts`    | the same, after the pending transaction                |
//! | 0xBD   | 8    | `modified`          | FILETIME; not looked at                                |
//!
//! A page of the log (`KLOG`, 512 bytes), which says of which volumes the redundant parts may
//! differ:
//!
//! | offset | size | field         | rule                                                |
//! |--------|------|---------------|-----------------------------------------------------|
//! | 0x00   | 4    | `magic`       | `KLOG`                                              |
//! | 0x04   | 8    | `unknown_04`  | a transaction number                                |
//! | 0x0C   | 4    | `sequence`    | not looked at                                       |
//! | 0x10   | 4    | `pages`       | at most [`MAX_PAGES`]                               |
//! | 0x14   | 4    | `page`        | number of this page                                 |
//! | 0x18   | 24   | entries       | `state` (1 detach, 2 dirty, 3 commit, 4 log detach; 0 ends), committed and pending transaction (8 each), `recover_seqno` (4), 3 of padding |

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::problems::text;

/// LIMIT: pages of a log that are looked at.
const MAX_PAGES: usize = 64;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawVmdb {
    magic: [u8; 4],
    blocks: U32<BE>,
    block_size: U32<BE>,
    header_size: U32<BE>,
    state: U16<BE>,
    major: U16<BE>,
    minor: U16<BE>,
    group_name: [u8; 31],
    group_guid: [u8; 64],
    committed: U64<BE>,
    pending: U64<BE>,
    committed_counts: [U32<BE>; 7],
    pending_counts: [U32<BE>; 7],
    modified: U64<BE>,
}
const _: () = assert!(size_of::<RawVmdb>() == 0xC5);
const _: () = assert!(offset_of!(RawVmdb, committed) == 0x75);
const _: () = assert!(offset_of!(RawVmdb, pending_counts) == 0xA1);

/// What an update of the database was doing last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Clean,
    /// New records are being added; the old ones count.
    Change,
    /// Old records are being taken away; the new ones count.
    Commit,
    Other(u16),
}

/// Numbers of records of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) volumes: u32,
    pub(super) components: u32,
    pub(super) partitions: u32,
    pub(super) disks: u32,
}

/// The header of a database, checked as far as it can be: it has no checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vmdb {
    pub(super) block_size: usize,
    pub(super) header_size: usize,
    /// Bytes from the start of the header to the end of the last VBLK.
    pub(super) size: usize,
    pub(super) state: State,
    pub(super) group_guid: String,
    pub(super) committed: u64,
    pub(super) pending: u64,
    pub(super) counts: Counts,
}

impl Vmdb {
    /// Checks the header at the start of `bytes`, the whole `config` region.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (raw, _) = RawVmdb::ref_from_prefix(bytes).map_err(|_| "is cut short")?;
        if raw.magic != *b"VMDB" {
            return Err("has no header");
        }
        if raw.major.get() != 4 {
            return Err("has an unknown version");
        }
        let index = |field: &U32<BE>| usize::try_from(field.get()).unwrap_or(usize::MAX);
        let (block_size, header_size) = (index(&raw.block_size), index(&raw.header_size));
        if !(64..=4096).contains(&block_size) {
            return Err("has an impossible block size");
        }
        let size = index(&raw.blocks).checked_mul(block_size).filter(|size| *size <= bytes.len());
        let size = size.ok_or("is larger than its place")?;
        if header_size < size_of::<RawVmdb>()
            || header_size > size
            || !header_size.is_multiple_of(block_size)
        {
            return Err("has an impossible first block");
        }
        let state = match raw.state.get() {
            1 => State::Clean,
            2 => State::Change,
            3 => State::Commit,
            other => State::Other(other),
        };
        let counted =
            if state == State::Commit { &raw.pending_counts } else { &raw.committed_counts };
        let [volumes, components, partitions, disks, ..] = counted.map(U32::get);
        Ok(Self {
            block_size,
            header_size,
            size,
            state,
            group_guid: text(&raw.group_guid).to_ascii_lowercase(),
            committed: raw.committed.get(),
            pending: raw.pending.get(),
            counts: Counts { volumes, components, partitions, disks },
        })
    }

    /// The number of the transaction after which the records are as they count now.
    pub(super) fn transaction(&self) -> u64 {
        if self.state == State::Commit { self.pending } else { self.committed }
    }
}

/// Whether the log in `bytes` has an entry that is not committed.
pub(super) fn log_is_dirty(bytes: &[u8]) -> bool {
    const ENTRY: usize = 24;
    let pages = bytes.chunks_exact(512).take(MAX_PAGES);
    let mut pages = pages.take_while(|page| page.starts_with(b"KLOG"));
    pages.any(|page| {
        let entries = page.get(0x18..).unwrap_or_default().chunks_exact(ENTRY);
        let mut states = entries.map(|entry| entry.first().copied().unwrap_or(0));
        states.by_ref().take_while(|state| *state != 0).any(|state| state != 3)
    })
}
