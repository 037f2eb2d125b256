//! From the data of records to transactions.
//!
//! The data is a list of operations, big-endian: the number of a transaction (4 bytes), the length of
//! what follows (4), who wrote it (1), flags (1), 2 bytes of padding, and so many bytes, a *region*.
//! A transaction begins with an operation that says so and is committed by one; the first region
//! describes it, the next are items, each a number of regions, of which the first says in its second
//! two bytes how many they are. A region may go on in later operations.

use std::collections::HashMap;

use super::record::Record;
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::{array, be32, byte};

const OPERATION: usize = 12;
const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;
const END: u8 = 0x10;
const UNMOUNT: u8 = 0x20;
/// `TRAN`, little-endian.
const HEADER_MAGIC: [u8; 4] = *b"NART";
const HEADER: usize = 16;
/// LIMIT: regions of an item, as the kernel has it.
const MAX_REGIONS: u16 = 4096;
/// LIMIT: the memory of all transactions under way.
const MAX_BYTES: usize = 256 << 20;
/// LIMIT: transactions under way; each has bytes of the log reserved.
const MAX_OPEN: usize = 1 << 14;
/// What a region takes beside its bytes, at most: its vector, its allocation, and an item.
const REGION_MEMORY: usize = 128;

/// One item of a transaction: a change to one structure.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) regions: Vec<Vec<u8>>,
    total: usize,
}

impl Item {
    /// What kind of change it is.
    pub(super) fn kind(&self) -> Option<u16> {
        array(self.regions.first()?, 0).map(u16::from_le_bytes)
    }

    /// Region `index`, empty if there is none.
    pub(super) fn region(&self, index: usize) -> &[u8] {
        self.regions.get(index).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    /// That of the record that it begins in.
    pub(super) lsn: u64,
    pub(super) items: Vec<Item>,
    header: Vec<u8>,
    size: usize,
}

/// The transactions that are under way.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<u32, Transaction>,
    size: usize,
}

impl Transactions {
    /// Takes in `data` of `record`, and gives each transaction that it commits to `commit`.
    ///
    /// # Errors
    /// `Corrupt` if the operations contradict themselves, `Unsupported` if they are too many; what
    /// `commit` says.
    pub(super) fn take(
        &mut self,
        record: &Record,
        data: &[u8],
        commit: &mut dyn FnMut(Transaction) -> FsResult<()>,
    ) -> FsResult<()> {
        let mut rest = data;
        for _ in 0..record.operations {
            let (operation, later) = rest.split_at_checked(OPERATION).ok_or_else(cut_short)?;
            let number = be32(operation, 0).ok_or_else(cut_short)?;
            let length = be32(operation, 4).and_then(|length| usize::try_from(length).ok());
            let flags = byte(operation, 9).ok_or_else(cut_short)? & !END;
            let (region, later) =
                length.and_then(|length| later.split_at_checked(length)).ok_or_else(cut_short)?;
            rest = later;
            if flags & START != 0 {
                self.forget(number);
                let transaction =
                    Transaction { lsn: record.lsn, items: Vec::new(), header: Vec::new(), size: 0 };
                self.open.insert(number, transaction);
                if self.open.len() > MAX_OPEN {
                    return Err(FsError::unsupported("log has too many transactions under way"));
                }
            } else if flags & COMMIT != 0 {
                if let Some(transaction) = self.forget(number) {
                    commit(transaction)?;
                }
            } else if flags & UNMOUNT != 0 {
                self.forget(number);
            } else if let Some(transaction) = self.open.get_mut(&number) {
                // Of others the begin is older than the tail, and nothing of them is needed.
                let memory = region.len().saturating_add(REGION_MEMORY);
                self.size = self.size.saturating_add(memory);
                if self.size > MAX_BYTES {
                    return Err(FsError::unsupported("log has transactions that are too large"));
                }
                transaction.size = transaction.size.saturating_add(memory);
                transaction.add(region, flags & WAS_CONTINUED != 0, flags & CONTINUE != 0)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, number: u32) -> Option<Transaction> {
        let transaction = self.open.remove(&number)?;
        self.size = self.size.saturating_sub(transaction.size);
        Some(transaction)
    }
}

impl Transaction {
    fn add(&mut self, region: &[u8], was_continued: bool, continues: bool) -> FsResult<()> {
        if region.is_empty() {
            return Ok(());
        }
        if self.header.len() < HEADER {
            // The header, which may be cut in two.
            self.header.extend_from_slice(region);
            let may_be_cut = continues && self.header.len() < HEADER;
            if self.header.len() != HEADER && !may_be_cut
                || !self.header.starts_with(&HEADER_MAGIC) && self.header.len() >= 4
            {
                return Err(FsError::corrupt("transaction of the log has an invalid header"));
            }
            return Ok(());
        }
        if was_continued {
            let last = self.items.last_mut().and_then(|item| item.regions.last_mut());
            let last = last.ok_or_else(cut_short)?;
            last.extend_from_slice(region);
            return Ok(());
        }
        if self.items.last().is_none_or(|item| item.regions.len() >= item.total) {
            self.items.push(Item::default());
        }
        let item = self.items.last_mut().ok_or_else(cut_short)?;
        if item.regions.is_empty() {
            let total = array(region, 2).map(u16::from_le_bytes);
            let total = total.filter(|total| (1..=MAX_REGIONS).contains(total));
            let total = total.ok_or_else(|| FsError::corrupt("item of the log has no regions"))?;
            item.total = usize::from(total);
        }
        item.regions.push(region.to_vec());
        Ok(())
    }
}

fn cut_short() -> FsError {
    FsError::corrupt("operation of the log is cut short")
}
