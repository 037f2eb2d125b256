//! The table of group descriptors, and its copies.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Block
//! Group Descriptors" and "Meta Block Groups".
//!
//! The table follows the block of the superblock, and so do its copies in the groups that begin
//! with a backup of the superblock. With meta_bg each block of descriptors lies in the first group
//! of those that it describes, with copies in the second and the last.

use volfold_block::{BlockDevice, bytes_to_index};

use super::descriptor::{Descriptor, sum_is_good};
use super::features::{Incompat, RoCompat};
use super::superblock::{COPIES, Superblock};
use super::system_blocks::SystemBlocks;
use crate::error::{FsError, FsErrorKind, FsResult};

/// LIMIT: copies of one block of descriptors that are tried.
const MAX_COPIES: usize = 8;

/// What is known of a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Group {
    /// Its descriptor is good.
    Good(Descriptor),
    /// The descriptor is bad, and a copy is good.
    FromCopy(Descriptor),
    /// The descriptor has a bad checksum and so have its copies.
    Doubtful(Descriptor),
    /// Neither the descriptor nor a copy can be used.
    Damaged,
}

impl Group {
    /// The descriptor, if it is known to be right.
    pub(super) fn trusted(&self) -> Option<&Descriptor> {
        match self {
            Self::Good(descriptor) | Self::FromCopy(descriptor) => Some(descriptor),
            Self::Doubtful(_) | Self::Damaged => None,
        }
    }
}

/// Where each group keeps its inodes, and what is free.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Per group the first block of its inode table, `None` if the descriptor cannot be trusted.
    inode_tables: Vec<Option<u64>>,
    /// How many descriptors cannot be trusted.
    pub(super) damaged: u64,
    /// How many descriptors were taken from a copy.
    pub(super) from_copies: u64,
    /// Free clusters in all groups.
    pub(super) free_clusters: u64,
    /// Free inodes in all groups.
    pub(super) free_inodes: u64,
    /// The blocks that no file can have.
    pub(super) system: SystemBlocks,
}

impl Groups {
    /// Reads the descriptors of the groups below `end`, to the next whole block. A block of them
    /// that cannot be read or trusted is taken from a copy, and else costs its groups alone.
    ///
    /// # Errors
    /// Only if the host cannot read.
    pub(super) fn read(
        volume: &dyn BlockDevice,
        superblock: &Superblock,
        end: u64,
    ) -> FsResult<Self> {
        let mut groups = Self::default();
        visit(volume, superblock, end, &mut |number, group| {
            groups.push(superblock, number, &group);
            Ok(())
        })?;
        groups.inode_tables.shrink_to_fit();
        groups.system.finish();
        Ok(groups)
    }

    /// The first block of the inode table of `group`.
    pub(super) fn inode_table(&self, group: u64) -> Option<u64> {
        let index = usize::try_from(group).ok()?;
        self.inode_tables.get(index).copied().flatten()
    }

    fn push(&mut self, superblock: &Superblock, number: u64, group: &Group) {
        self.system.add_group(superblock, number, group.trusted());
        let count = match group {
            Group::Good(_) => None,
            Group::FromCopy(_) => Some(&mut self.from_copies),
            Group::Doubtful(_) | Group::Damaged => Some(&mut self.damaged),
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        // With metadata_csum every inode proves itself that it is the one asked for, so that the
        // table may be used on trial.
        let (Group::Good(used) | Group::FromCopy(used) | Group::Doubtful(used)) = group else {
            self.inode_tables.push(None);
            return;
        };
        self.free_clusters = self.free_clusters.saturating_add(used.free_clusters);
        self.free_inodes = self.free_inodes.saturating_add(used.free_inodes);
        self.inode_tables.push(Some(used.inode_table));
    }
}

/// Gives the groups below `end` to `visit`, to the next whole block of descriptors.
///
/// # Errors
/// If the host cannot read, and what `visit` says.
pub(super) fn visit(
    volume: &dyn BlockDevice,
    superblock: &Superblock,
    end: u64,
    visit: &mut dyn FnMut(u64, Group) -> FsResult<()>,
) -> FsResult<()> {
    let size = u64::from(superblock.descriptor_size);
    let per_block = superblock.block_size.get().checked_div(size).unwrap_or(1).max(1);
    let mut bytes = vec![0; bytes_to_index(superblock.block_size.get())?];
    let mut first = 0;
    let mut index = 0;
    while first < superblock.group_count.min(end) {
        let count = per_block.min(superblock.group_count.saturating_sub(first));
        let mut table = TableBlock { superblock, first, groups: Vec::new() };
        let mut unreadable = None;
        for block in locations(superblock, index, per_block).take(MAX_COPIES) {
            match read_block(volume, superblock, block, &mut bytes) {
                Ok(()) => table.take(&bytes, count),
                Err(error) if error.kind() == FsErrorKind::Io => unreadable = Some(error),
                Err(_) => {}
            }
            if table.groups.is_empty() {
                table.groups.resize(bytes_to_index(count)?, Group::Damaged);
            }
            if table.is_whole() {
                break;
            }
        }
        if let Some(error) = unreadable.filter(|_| !table.is_whole()) {
            return Err(error);
        }
        for (number, group) in (first..).zip(table.groups) {
            visit(number, group)?;
        }
        first = first.saturating_add(count);
        index = index.saturating_add(1);
    }
    Ok(())
}

fn read_block(
    volume: &dyn BlockDevice,
    superblock: &Superblock,
    block: u64,
    bytes: &mut [u8],
) -> FsResult<()> {
    let position = superblock
        .position(block)
        .ok_or_else(|| FsError::corrupt("group descriptors are outside the file system"))?;
    Ok(volume.read_at(position, bytes)?)
}

/// One block of descriptors, put together of its copies.
struct TableBlock<'a> {
    superblock: &'a Superblock,
    first: u64,
    groups: Vec<Group>,
}

impl TableBlock<'_> {
    fn is_whole(&self) -> bool {
        self.groups.iter().all(|group| group.trusted().is_some())
    }

    /// Takes in the next copy, of which the first is the primary one.
    fn take(&mut self, bytes: &[u8], count: u64) {
        let primary = self.groups.is_empty();
        let size = usize::from(self.superblock.descriptor_size);
        let numbers = self.first..self.first.saturating_add(count);
        for (index, (number, bytes)) in numbers.zip(bytes.chunks_exact(size)).enumerate() {
            let found = self.group(number, bytes, primary);
            match self.groups.get_mut(index) {
                None => self.groups.push(found),
                Some(known) => {
                    let better = match known {
                        Group::Good(_) | Group::FromCopy(_) => false,
                        Group::Doubtful(_) => found.trusted().is_some(),
                        Group::Damaged => true,
                    };
                    if better {
                        *known = found;
                    }
                }
            }
        }
    }

    fn group(&self, number: u64, bytes: &[u8], primary: bool) -> Group {
        let superblock = self.superblock;
        let good = sum_is_good(superblock, number, bytes).unwrap_or(false);
        match Descriptor::parse(superblock, number, bytes) {
            Some(descriptor) if good && primary => Group::Good(descriptor),
            Some(descriptor) if good => Group::FromCopy(descriptor),
            Some(descriptor) if superblock.features.ro_compat(RoCompat::METADATA_CSUM) => {
                Group::Doubtful(descriptor)
            }
            _ => Group::Damaged,
        }
    }
}

/// The blocks that hold the `index`th block of descriptors, the primary one first.
fn locations(
    superblock: &Superblock,
    index: u64,
    per_block: u64,
) -> Box<dyn Iterator<Item = u64> + '_> {
    let has_meta_groups =
        superblock.features.incompat(Incompat::META_BG) && index >= superblock.first_meta_bg;
    let group_count = superblock.group_count;
    if has_meta_groups {
        let first = index.saturating_mul(per_block);
        let last = first.saturating_add(per_block.saturating_sub(1));
        let groups = [first, first.saturating_add(1), last].into_iter();
        let groups = groups.filter(move |group| *group < group_count);
        return Box::new(groups.map(|group| after_copy(superblock, group)));
    }
    let copies = COPIES.into_iter().chain(superblock.backup_groups);
    let copies =
        copies.filter(move |group| (1..group_count).contains(group) && superblock.has_copy(*group));
    let all = std::iter::once(0).chain(copies);
    Box::new(all.map(move |group| after_copy(superblock, group).saturating_add(index)))
}

/// The block of `group` that follows its copy of the superblock, if it has one.
fn after_copy(superblock: &Superblock, group: u64) -> u64 {
    let start = superblock.group_start(group);
    // QUIRK: bigalloc volumes of mke2fs with blocks of 1 KiB count from block 0, and keep the
    // superblock of group 0 in block 1.
    let boot_block = superblock.block_size.get() == 1024 && group == 0 && start == 0;
    start
        .saturating_add(u64::from(superblock.has_copy(group)))
        .saturating_add(u64::from(boot_block))
}
