//! Two levels of tables, as QCOW2 and QED have them: the entries of the first say where the tables of
//! the second are, whose entries say where the clusters of the disk are.
//!
//! Nothing is read before it is needed, and no more of it than one look takes in.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, CachePool, Piece, Place, byte_count, bytes_to_index,
};

use crate::context::Backing;
use crate::table::{Entry, MAX_LOOK, Tables, blocks_to_look};

/// LIMIT: looks for the first entry that says anything.
const MAX_SAMPLES: usize = 256;

/// The shape of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How the entries are written; all are of 64 bits.
    pub(crate) entry: Entry,
    /// Where the first table is.
    pub(crate) l1_at: u64,
    /// Bits of an offset within a cluster.
    pub(crate) cluster_bits: u32,
    /// Bits of the number of a cluster that are the index into a table of the second level.
    pub(crate) l2_bits: u32,
    /// Numbers of 64 bits that an entry of the second level has: 1 or 2.
    pub(crate) words: usize,
    /// The size of the disk in bytes.
    pub(crate) size: u64,
}

impl Shape {
    /// The size of a cluster in bytes.
    pub(crate) fn cluster_size(&self) -> u64 {
        1_u64.checked_shl(self.cluster_bits).unwrap_or(u64::MAX)
    }

    /// The bytes of the disk that one table of the second level is about.
    pub(crate) fn reach(&self) -> u64 {
        1_u64.checked_shl(self.cluster_bits.saturating_add(self.l2_bits)).unwrap_or(u64::MAX)
    }

    /// The size of a table of the second level in bytes, at least 1.
    fn l2_bytes(&self) -> u64 {
        let words = u64::try_from(self.words).unwrap_or(1).max(1);
        words.saturating_mul(8_u64.checked_shl(self.l2_bits).unwrap_or(u64::MAX)).max(1)
    }

    /// How many entries the first table needs for a disk of that size.
    pub(crate) fn l1_entries(&self) -> u64 {
        self.size.div_ceil(self.reach())
    }
}

/// What the tables say of an offset.
enum Look {
    /// There is no table of the second level for as many bytes.
    Nowhere(u64),
    /// So many numbers of the second level were taken in, of whole entries; the first one is of the
    /// cluster at the offset.
    Found(usize),
    /// The table of the second level cannot be used, which is about as many bytes.
    Lost(BlockError, u64),
}

/// The two levels of tables of one image.
pub(crate) struct Levels {
    tables: Tables,
    shape: Shape,
}

impl Levels {
    /// The tables in `file`.
    pub(crate) fn new(file: Arc<dyn BlockDevice>, shape: Shape, cache: &Arc<CachePool>) -> Self {
        Self { tables: Tables::new(file, shape.entry, cache), shape }
    }

    /// Refuses a first table that names more tables than a file of `file_size` bytes has room for, so
    /// one of them several times: the work to walk through such a disk would have no bound.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn check(
        &self,
        file_size: u64,
        table_at: impl Fn(u64) -> BlockResult<Option<u64>>,
    ) -> BlockResult<()> {
        let room = file_size.checked_div(self.shape.l2_bytes()).unwrap_or_default();
        if self.count_tables(table_at) > room.saturating_add(1) {
            let line = "L1 table names more L2 tables than fit into the file";
            return Err(BlockError::corrupt(line, self.shape.l1_at, 0));
        }
        Ok(())
    }

    /// How many entries of the first table name one, as far as it can be read.
    fn count_tables(&self, table_at: impl Fn(u64) -> BlockResult<Option<u64>>) -> u64 {
        let names_one = |entry: &&u64| matches!(table_at(**entry), Ok(Some(_)));
        let (mut index, mut count) = (0, 0_usize);
        let mut entries = [0; MAX_LOOK];
        while let Some(left @ 1..) = self.shape.l1_entries().checked_sub(index) {
            let entries = entries.get_mut(..at_most(MAX_LOOK, left)).unwrap_or_default();
            if self.tables.fill(self.shape.l1_at, index, entries).is_err() {
                break;
            }
            count = count.saturating_add(entries.iter().filter(names_one).count());
            index = index.saturating_add(byte_count(entries.len()));
        }
        byte_count(count)
    }

    /// Their shape.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What is known of the `wanted` bytes at `offset`, which is within the disk. `table_at` is asked
    /// where the table is that an entry of the first level is about, if there is one.
    ///
    /// # Errors
    /// If the tables cannot be read.
    fn look(
        &self,
        offset: u64,
        wanted: u64,
        table_at: impl Fn(u64) -> BlockResult<Option<u64>>,
        out: &mut [u64; MAX_LOOK],
    ) -> BlockResult<Look> {
        let reach = self.shape.reach();
        let skip = offset & reach.saturating_sub(1);
        let index = offset.checked_div(reach).unwrap_or_default();
        let left = self.shape.l1_entries().saturating_sub(index);
        let count = at_most(blocks_to_look(wanted, skip, reach), left);
        let entries = out.get_mut(..count).unwrap_or_default();
        self.tables.fill(self.shape.l1_at, index, entries)?;
        let rest = reach.saturating_sub(skip);
        let l2_at = match entries.first().map_or(Ok(None), |entry| table_at(*entry)) {
            Ok(Some(at)) => at,
            Ok(None) => {
                let empty = entries.iter().skip(1);
                let empty = empty.take_while(|entry| matches!(table_at(**entry), Ok(None))).count();
                let more = u64::try_from(empty).unwrap_or_default().saturating_mul(reach);
                return Ok(Look::Nowhere(rest.saturating_add(more)));
            }
            Err(error) => return Ok(Look::Lost(error, rest)),
        };
        let cluster_size = self.shape.cluster_size();
        let within = offset & cluster_size.saturating_sub(1);
        let index = skip.checked_div(cluster_size).unwrap_or_default();
        let left = rest.div_ceil(cluster_size);
        let words = self.shape.words.max(1);
        let most = MAX_LOOK.checked_div(words).unwrap_or(1);
        let count = at_most(blocks_to_look(wanted, within, cluster_size).min(most), left);
        let count = count.saturating_mul(words);
        let start = index.saturating_mul(u64::try_from(words).unwrap_or(1));
        self.tables.fill(l2_at, start, out.get_mut(..count).unwrap_or_default())?;
        Ok(Look::Found(count))
    }

    /// Where the bytes at `offset` are: as `found` says of the numbers of the second level from there on,
    /// or `below`.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(crate) fn piece<'a>(
        &self,
        offset: u64,
        wanted: u64,
        table_at: impl Fn(u64) -> BlockResult<Option<u64>>,
        below: &'a Backing,
        found: impl FnOnce(&[u64]) -> Piece<'a>,
    ) -> BlockResult<Piece<'a>> {
        let mut words = [0; MAX_LOOK];
        Ok(match self.look(offset, wanted, table_at, &mut words)? {
            Look::Nowhere(length) => {
                let (place, length) = below.place(offset, length);
                Piece::new(place, length)
            }
            Look::Lost(error, length) => Piece::new(Place::Fail(error), length),
            Look::Found(count) => found(words.get(..count).unwrap_or_default()),
        })
    }

    /// Whether `is_so` of the first entry of the second level that says anything, for the first number
    /// of each; no if there is none among those that come first.
    pub(crate) fn first_entry(
        &self,
        table_at: impl Fn(u64) -> BlockResult<Option<u64>>,
        is_so: impl Fn(u64) -> bool,
    ) -> bool {
        let mut offset: u64 = 0;
        let mut words = [0; MAX_LOOK];
        for _ in 0..MAX_SAMPLES {
            let Some(left @ 1..) = self.shape.size.checked_sub(offset) else { break };
            let length = match self.look(offset, left, &table_at, &mut words) {
                Ok(Look::Nowhere(length) | Look::Lost(_, length)) => length,
                Ok(Look::Found(count)) => {
                    let words = words.get(..count).unwrap_or_default();
                    let step = self.shape.words.max(1);
                    let mut entries = words.iter().step_by(step);
                    if let Some(entry) = entries.find(|entry| **entry != 0) {
                        return is_so(*entry);
                    }
                    let clusters = count.checked_div(step).unwrap_or(1).max(1);
                    let clusters = u64::try_from(clusters).unwrap_or(1);
                    clusters.saturating_mul(self.shape.cluster_size())
                }
                Err(_) => break,
            };
            offset = offset.saturating_add(length);
        }
        false
    }
}

/// `count`, or `left` if that is less.
fn at_most(count: usize, left: u64) -> usize {
    bytes_to_index(left).map_or(count, |left| count.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::MemoryDevice;

    /// Tables of four entries for clusters of 512 bytes, the first table of `l1`.
    fn levels(l1: &[u64], l2: &[u64], words: usize) -> Levels {
        let mut bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bytes.resize(512, 0);
        bytes.extend(l2.iter().flat_map(|entry| entry.to_be_bytes()));
        let size = 2048 * l1.len() as u64 - 100;
        let entry = Entry::U64Be;
        let shape = Shape { entry, l1_at: 0, cluster_bits: 9, l2_bits: 2, words, size };
        Levels::new(Arc::new(MemoryDevice::new(bytes)), shape, &CachePool::new(1 << 20))
    }

    fn table_at(entry: u64) -> BlockResult<Option<u64>> {
        match entry {
            1 => Err(BlockError::corrupt("bad", 1, 0)),
            entry => Ok(Some(entry).filter(|at| *at != 0)),
        }
    }

    fn look(levels: &Levels, offset: u64, wanted: u64) -> (char, u64, Vec<u64>) {
        let mut out = [0; MAX_LOOK];
        match levels.look(offset, wanted, table_at, &mut out).unwrap() {
            Look::Nowhere(length) => ('0', length, Vec::new()),
            Look::Found(count) => ('t', 0, out[..count].to_vec()),
            Look::Lost(_, length) => ('!', length, Vec::new()),
        }
    }

    #[test]
    fn entries_are_found_by_way_of_the_first_level() {
        let levels = levels(&[0, 0, 512, 1], &[5, 6, 7, 8], 1);
        assert_eq!(look(&levels, 100, 1), ('0', 1948, vec![]));
        assert_eq!(look(&levels, 100, 9000), ('0', 3996, vec![]));
        assert_eq!(look(&levels, 4096, 1), ('t', 0, vec![5]));
        assert_eq!(look(&levels, 4096 + 600, 500), ('t', 0, vec![6, 7]));
        assert_eq!(look(&levels, 4096 + 600, u64::MAX), ('t', 0, vec![6, 7, 8]));
        assert_eq!(look(&levels, 6150, u64::MAX), ('!', 2042, vec![]));
        assert!(levels.first_entry(table_at, |entry| entry == 5));
        assert!(!levels.first_entry(table_at, |entry| entry != 5));
    }

    #[test]
    fn one_table_for_many_places_is_refused() {
        let open = |entries: usize| {
            let mut bytes = vec![0; 4096];
            bytes[..8 * entries].fill(2);
            let size = 4 * 512 * 512;
            let (l1_at, cluster_bits, l2_bits, words) = (0, 9, 6, 1);
            let shape = Shape { entry: Entry::U64Be, l1_at, cluster_bits, l2_bits, words, size };
            let file = Arc::new(MemoryDevice::new(bytes));
            Levels::new(file, shape, &CachePool::new(1 << 20)).check(4096, table_at)
        };
        assert!(open(9).is_ok());
        let line = "L1 table names more L2 tables than fit into the file";
        assert_eq!(open(10).unwrap_err().message(), line);
    }

    #[test]
    fn entries_of_two_numbers_come_as_pairs() {
        let levels = levels(&[512], &[1, 2, 3, 4, 5, 6, 7, 8], 2);
        assert_eq!(look(&levels, 512, 600), ('t', 0, vec![3, 4, 5, 6]));
        assert_eq!(look(&levels, 1600, 600), ('t', 0, vec![7, 8]));
    }
}
