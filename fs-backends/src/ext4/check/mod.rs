//! Compares what the volume records twice: blocks that several files have, bitmaps and what is in
//! use, link counts and names, checksums, backups.
//!
//! Inode tables are read from start to end, then directories, then bitmaps. What is found is kept
//! in one bit for each block and inode, and a record for each directory and each file with several
//! names.

mod bits;
mod links;

use std::ops::{ControlFlow, Range};

use volfold_block::{BlockDevice, Finding, bytes_to_index, code, error_chain};

use self::bits::Bits;
use self::links::Links;
use super::attributes::ExtendedAttributes;
use super::checksum;
use super::descriptor::Descriptor;
use super::dir::{Directory, Walked};
use super::features::{Incompat, RoCompat};
use super::groups::{self, Group};
use super::inode::{Flags, Inode};
use super::runs::{Blocks, Sink};
use super::superblock::{COPIES, SUPERBLOCK_SIZE, Superblock};
use super::twins::Twins;
use super::volume::Volume;
use super::{block_map, extent_tree, map, system_blocks};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::Place;
use crate::node::FileKind;

/// The first inode of those that users have, if the superblock does not say otherwise.
const FIRST_INODE: u32 = 11;
/// The inode that keeps room for group descriptors: of its map only the block of double
/// indirection is its own.
const RESIZE_INODE: u32 = 7;
const DOUBLE_INDIRECT: usize = 13;
/// The bytes of inode tables that are read at once.
const PIECE: u64 = 1 << 20;

/// Compares all of `volume`.
///
/// # Errors
/// If the host cannot read.
pub(super) fn run(volume: &Volume, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
    // LIMIT: a volume in order has each block once; a hostile one may have all of them in each
    // of its inodes.
    let budget = volume.superblock.blocks_count.saturating_mul(4).saturating_add(1 << 20);
    run_within(budget, volume, report)
}

/// Compares what `budget` blocks in use allow.
///
/// # Errors
/// If the host cannot read.
pub(super) fn run_within(
    budget: u64,
    volume: &Volume,
    report: &mut dyn FnMut(Finding),
) -> FsResult<()> {
    let superblock = &volume.superblock;
    let mut check = Check {
        volume,
        report,
        clusters: Bits::default(),
        attributes: Bits::default(),
        inodes: Bits::default(),
        directories: Vec::new(),
        links: Links::default(),
        blocks_per_cluster: superblock
            .cluster_size
            .checked_div(superblock.block_size.get())
            .unwrap_or(1)
            .max(1),
        budget,
        // LIMIT: what sound volumes have of them, many times.
        attribute_bytes: 1 << 30,
    };
    let device = volume.data();
    check.backups(&*device)?;
    groups::visit(&*device, superblock, u64::MAX, &mut |number, group| {
        check.claim_group(number, group.trusted());
        Ok(())
    })?;
    if superblock.mmp_block != 0 {
        check.claim(superblock.mmp_block..superblock.mmp_block.saturating_add(1), 0);
    }
    groups::visit(&*device, superblock, u64::MAX, &mut |number, group| {
        check.inodes(&*device, number, &group)
    })?;
    // Those of fast commits may be where no inode was in use before.
    for number in volume.changes().inode_numbers() {
        if !check.inodes.has(u64::from(number)) {
            check.inode(u64::from(number), &[], 0, true)?;
        }
    }
    check.directories()?;
    // Fast commits leave the counts to those who replay them for good.
    if volume.changes().is_empty() {
        if !check.links.is_full() {
            check.links.finish(check.report);
        }
        groups::visit(&*device, superblock, u64::MAX, &mut |number, group| {
            check.bitmaps(&*device, number, &group)
        })?;
    }
    let has_read_values = check.attribute_bytes > 0;
    if !has_read_values
        || !check.knows_all_blocks()
        || check.links.is_full()
        || check.inodes.is_full()
    {
        let line = "the volume has more blocks, names or attributes than are compared";
        (check.report)(Finding::info(code::NOT_COMPARED, line));
    }
    Ok(())
}

struct Check<'a> {
    volume: &'a Volume,
    report: &'a mut dyn FnMut(Finding),
    /// Clusters that are in use.
    clusters: Bits,
    /// Blocks of extended attributes, which several inodes may share.
    attributes: Bits,
    /// Inodes that are in use.
    inodes: Bits,
    /// Inodes of directories.
    directories: Vec<u32>,
    links: Links,
    blocks_per_cluster: u64,
    /// How many more blocks are taken in.
    budget: u64,
    /// How many more bytes of attributes in other inodes are read.
    attribute_bytes: u64,
}

impl Check<'_> {
    /// Whether every block in use was taken in. If not, a bitmap has more than is known.
    fn knows_all_blocks(&self) -> bool {
        self.budget > 0 && !self.clusters.is_full()
    }

    fn tell(&mut self, code: volfold_block::Code, line: String) {
        (self.report)(Finding::warning(code, line));
    }

    /// Compares the superblock with its copies.
    fn backups(&mut self, device: &dyn BlockDevice) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        let groups = COPIES.into_iter().chain(superblock.backup_groups);
        for group in groups {
            let exists = (1..superblock.group_count).contains(&group) && superblock.has_copy(group);
            let position = superblock.position(superblock.group_start(group));
            let Some(position) = position.filter(|_| exists) else {
                continue;
            };
            let mut bytes = [0; SUPERBLOCK_SIZE];
            let read = device.read_at(position, &mut bytes).map_err(FsError::from);
            let problem = match read.and_then(|()| Superblock::parse(&bytes)) {
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(error) => error_chain(&error),
                Ok(copy) if !copy.is_of_the_same(superblock) => {
                    "it is of another file system".to_owned()
                }
                Ok(_) => continue,
            };
            let line = format!("backup of the superblock in group {group}: {problem}");
            self.tell(code::EXT4_BACKUP_DAMAGED, line);
        }
        Ok(())
    }

    /// Takes in the blocks of the group itself.
    fn claim_group(&mut self, number: u64, descriptor: Option<&Descriptor>) {
        let superblock = &self.volume.superblock;
        let mut ranges = vec![system_blocks::base(superblock, number)];
        if let Some(found) = descriptor {
            let table_end = found.inode_table.saturating_add(superblock.inode_table_blocks());
            ranges.push(found.block_bitmap..found.block_bitmap.saturating_add(1));
            ranges.push(found.inode_bitmap..found.inode_bitmap.saturating_add(1));
            ranges.push(found.inode_table..table_end);
        }
        for range in ranges {
            if self.blocks_per_cluster > 1 {
                // They share clusters.
                self.each_cluster(range).for_each(|cluster| {
                    self.clusters.add(cluster);
                });
            } else if let Some(block) = self.claim(range, u64::MAX) {
                self.tell(
                    code::EXT4_BLOCK_TWICE,
                    format!("block {block} is used twice by the structures of group {number}"),
                );
            }
        }
    }

    fn each_cluster(&self, range: Range<u64>) -> impl Iterator<Item = u64> + use<> {
        let per = self.blocks_per_cluster;
        let first = range.start.checked_div(per).unwrap_or(0);
        let last = range.end.saturating_sub(1).checked_div(per).unwrap_or(0);
        if range.is_empty() { first..first } else { first..last.saturating_add(1) }
    }

    /// Takes in the blocks of `range`, but for the cluster `known`; a block that is in use already.
    fn claim(&mut self, range: Range<u64>, known: u64) -> Option<u64> {
        let blocks = range.end.saturating_sub(range.start);
        let Some(left) = self.budget.checked_sub(blocks) else {
            self.budget = 0;
            return None;
        };
        self.budget = left;
        let mut twice = None;
        for cluster in self.each_cluster(range).filter(|cluster| *cluster != known) {
            if self.clusters.add(cluster) {
                twice = twice.or(Some(cluster.saturating_mul(self.blocks_per_cluster)));
            }
        }
        twice
    }

    /// Takes in the inodes of a group.
    fn inodes(&mut self, device: &dyn BlockDevice, number: u64, group: &Group) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        let Some(descriptor) = group.trusted() else {
            return Ok(());
        };
        let per_group = u64::from(superblock.inodes_per_group.get());
        // A copy of a descriptor may be of a time when fewer inodes were in use.
        let is_current = matches!(group, Group::Good(_));
        let unused = if is_current { descriptor.unused_inodes } else { 0 };
        if is_current && descriptor.has_no_inodes() {
            return Ok(());
        }
        let bitmap = self.bitmap(device, descriptor.inode_bitmap)?;
        let size = u64::from(superblock.inode_size);
        let Some(start) = superblock.position(descriptor.inode_table) else {
            return Ok(());
        };
        let length = per_group.saturating_sub(unused).saturating_mul(size);
        let mut done = 0;
        let mut piece = vec![0; bytes_to_index(length.min(PIECE))?];
        while done < length {
            let count = bytes_to_index(length.saturating_sub(done).min(PIECE))?;
            let bytes = piece.get_mut(..count).unwrap_or_default();
            let at = start.saturating_add(done);
            if let Err(error) = device.read_at(at, bytes).map_err(FsError::from) {
                if error.kind() == FsErrorKind::Io {
                    return Err(error);
                }
                let line = format!("inodes of group {number} cannot be read: {error}");
                self.tell(code::EXT4_METADATA_DAMAGED, line);
                return Ok(());
            }
            let first = done.checked_div(size).unwrap_or(0);
            for (index, bytes) in (first..).zip(bytes.chunks_exact(bytes_to_index(size)?)) {
                let inode = number.saturating_mul(per_group).saturating_add(index);
                let marked = bitmap.as_ref().is_none_or(|bitmap| is_set(bitmap, index));
                let position = start.saturating_add(index.saturating_mul(size));
                self.inode(inode.saturating_add(1), bytes, position, marked)?;
            }
            done = done.saturating_add(byte_length(bytes));
        }
        Ok(())
    }

    fn inode(&mut self, number: u64, bytes: &[u8], at: u64, marked: bool) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        let Ok(number) = u32::try_from(number) else {
            return Ok(());
        };
        if number > superblock.inodes_count {
            return Ok(());
        }
        let mut changed = Vec::new();
        let parsed = if self.volume.changes().inode(number).is_some() {
            self.volume.read_inode(number, &mut changed)
        } else {
            Inode::parse(superblock, number, bytes, at)
        };
        let inode = match parsed {
            Ok(inode) => inode,
            // The first inodes are reserved, and some of them are of no use.
            Err(error) if marked && error.kind() == FsErrorKind::Corrupt => {
                let line = format!("inode {number}: {}", error_chain(&error));
                self.tell(code::EXT4_METADATA_DAMAGED, line);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        self.inodes.add(u64::from(number));
        if inode.is_deleted {
            let line = format!("inode {number} is in use and says it is deleted");
            self.tell(code::EXT4_INODE_UNUSED, line);
        }
        if number == RESIZE_INODE {
            // The rest of its map is taken in with the groups.
            let (words, _) = inode.block.as_chunks::<4>();
            let block = words.get(DOUBLE_INDIRECT).map(|&word| u64::from(u32::from_le_bytes(word)));
            if let Some(block) = block.filter(|block| *block != 0) {
                let mut none = u64::MAX;
                self.claim_for(number, block..block.saturating_add(1), &mut none);
            }
            return Ok(());
        }
        let is_directory = inode.kind == FileKind::Directory;
        let has_name = number == super::inode::ROOT
            || number >= FIRST_INODE
                && !inode.flags.has(Flags::EA_INODE)
                && !superblock.hidden_inodes.contains(&number);
        if has_name {
            self.links.inode(number, inode.links, is_directory);
        }
        if is_directory {
            self.directories.push(number);
        }
        let own = if changed.is_empty() { bytes } else { changed.as_slice() };
        self.claim_attributes(&inode, own)?;
        self.claim_file(&inode)
    }

    /// Takes in the block of attributes of `inode`, and reads them.
    fn claim_attributes(&mut self, inode: &Inode, bytes: &[u8]) -> FsResult<()> {
        let block = inode.attribute_block;
        if block != 0 && !self.attributes.add(block) {
            let mut none = u64::MAX;
            self.claim_for(inode.number, block..block.saturating_add(1), &mut none);
        }
        let attributes = ExtendedAttributes::open(self.volume, inode, bytes);
        let budget = &mut self.attribute_bytes;
        match attributes.and_then(|attributes| attributes.check(budget)) {
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(error) => {
                let line = format!("attributes of inode {}: {}", inode.number, error_chain(&error));
                self.tell(code::EXT4_METADATA_DAMAGED, line);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Takes in the blocks of `inode`; `last` is the cluster that it had last.
    fn claim_for(&mut self, number: u32, range: Range<u64>, last: &mut u64) {
        if !self.volume.superblock.has_blocks(range.clone()) || self.volume.owns(range.clone()) {
            let line = format!("inode {number} has block {}, which no file can have", range.start);
            self.tell(code::EXT4_BLOCK_TWICE, line);
            return;
        }
        if let Some(block) = self.claim(range.clone(), *last) {
            let line = format!("block {block} of inode {number} is in use elsewhere too");
            self.tell(code::EXT4_BLOCK_TWICE, line);
        }
        *last = range.end.saturating_sub(1).checked_div(self.blocks_per_cluster).unwrap_or(0);
    }

    fn claim_file(&mut self, inode: &Inode) -> FsResult<()> {
        let has_map = match inode.kind {
            FileKind::Regular | FileKind::Directory => true,
            FileKind::Symlink => inode.has_blocks,
            _ => false,
        };
        if !has_map || inode.flags.has(Flags::INLINE_DATA) {
            return Ok(());
        }
        let volume = self.volume;
        if volume.changes().ranges(inode.number).is_some() {
            return self.claim_changed(inode);
        }
        let (none, number) = (u64::MAX, inode.number);
        let mut claims = Claimed { check: self, number, last: none, last_of_map: none, damaged: 0 };
        let walked = if inode.flags.has(Flags::EXTENTS) {
            extent_tree::walk(volume, inode, &mut claims)
        } else {
            block_map::walk(volume, inode, u64::MAX, &mut claims)
        };
        let damaged = claims.damaged;
        match walked {
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(error) => {
                let line = format!("inode {number}: {}", error_chain(&error));
                self.tell(code::EXT4_METADATA_DAMAGED, line);
            }
            Ok(()) if damaged > 0 => {
                let line = format!("inode {number}: where {damaged} blocks lie is not known");
                self.tell(code::EXT4_METADATA_DAMAGED, line);
            }
            Ok(()) => {}
        }
        if !inode.size_is_possible {
            let line = format!("inode {number} has a size that its block map cannot have");
            self.tell(code::EXT4_METADATA_DAMAGED, line);
        }
        Ok(())
    }

    /// The same for a file whose blocks fast commits have changed.
    fn claim_changed(&mut self, inode: &Inode) -> FsResult<()> {
        let block_size = self.volume.superblock.block_size;
        let extents = match map::read(self.volume, inode) {
            Ok(extents) => extents,
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(error) => {
                let line = format!("inode {}: {}", inode.number, error_chain(&error));
                self.tell(code::EXT4_METADATA_DAMAGED, line);
                return Ok(());
            }
        };
        let mut offset = 0;
        let mut last = u64::MAX;
        while let Some((place, length)) = extents.at(offset) {
            if let Place::At(at) = place {
                let first = at / block_size;
                let end = first.saturating_add(length.div_ceil(block_size.get()));
                self.claim_for(inode.number, first..end, &mut last);
            }
            offset = offset.saturating_add(length.max(1));
        }
        Ok(())
    }

    fn directories(&mut self) -> FsResult<()> {
        let volume = self.volume;
        let mut bytes = Vec::new();
        for number in std::mem::take(&mut self.directories) {
            let (links, report) = (&mut self.links, &mut *self.report);
            let walked = volume
                .read_inode(number, &mut bytes)
                .and_then(|inode| Directory::open(volume, inode, &bytes))
                .and_then(|directory| {
                    let mut twins = Twins::default();
                    let walked = directory.walk(0, &mut |entry| {
                        if let Some(finding) = twins.take(number, entry.name) {
                            report(finding);
                        }
                        links.name(number, entry.inode, report);
                        Ok(ControlFlow::Continue(()))
                    })?;
                    links.claims(number, directory.claims(), report);
                    Ok(walked)
                });
            let problem = match walked {
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(error) => error_chain(&error),
                Ok(Walked::ToTheEnd { damaged: true }) => "some names cannot be read".to_owned(),
                Ok(_) => continue,
            };
            let line = format!("directory with inode {number}: {problem}");
            self.tell(code::EXT4_METADATA_DAMAGED, line);
        }
        Ok(())
    }

    /// The bytes of the bitmap in `block`, `None` if they cannot be read.
    fn bitmap(&mut self, device: &dyn BlockDevice, block: u64) -> FsResult<Option<Vec<u8>>> {
        let mut bytes = self.volume.block_buffer()?;
        let Some(position) = self.volume.superblock.position(block) else {
            return Ok(None);
        };
        match device.read_at(position, &mut bytes).map_err(FsError::from) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == FsErrorKind::Io => Err(error),
            Err(error) => {
                self.tell(code::EXT4_METADATA_DAMAGED, format!("bitmap cannot be read: {error}"));
                Ok(None)
            }
        }
    }

    /// Compares the bitmaps of a group with what is in use.
    fn bitmaps(&mut self, device: &dyn BlockDevice, number: u64, group: &Group) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        // Copies are of the time when the file system was made.
        let Group::Good(descriptor) = group else {
            return Ok(());
        };
        let per_group = u64::from(superblock.inodes_per_group.get());
        let first = number.saturating_mul(per_group);
        let left = u64::from(superblock.inodes_count).saturating_sub(first);
        if !descriptor.has_no_inodes()
            && let Some(bytes) = self.bitmap(device, descriptor.inode_bitmap)?
        {
            self.check_sum(number, &bytes, per_group / 8, descriptor.inode_bitmap_sum);
            let count = per_group.min(left);
            let used = |check: &Self, index: u64| {
                check.inodes.has(first.saturating_add(index).saturating_add(1))
            };
            let reserved = u64::from(FIRST_INODE).saturating_sub(1).saturating_sub(first);
            if !self.inodes.is_full() {
                self.compare(("inode", number), &bytes, reserved..count, &used);
            }
        }
        if !descriptor.has_no_block_bitmap()
            && let Some(bytes) = self.bitmap(device, descriptor.block_bitmap)?
        {
            let per_cluster = self.blocks_per_cluster;
            let clusters = superblock.blocks_per_group.get().checked_div(per_cluster).unwrap_or(0);
            self.check_sum(number, &bytes, clusters / 8, descriptor.block_bitmap_sum);
            let start = superblock.group_start(number);
            let end = superblock.group_start(number.saturating_add(1)).min(superblock.blocks_count);
            let count = end.saturating_sub(start).checked_div(per_cluster).unwrap_or(0);
            let first = start.checked_div(per_cluster).unwrap_or(0);
            let used = |check: &Self, index: u64| check.clusters.has(first.saturating_add(index));
            if self.knows_all_blocks() {
                self.compare(("block", number), &bytes, 0..count, &used);
            }
        }
        Ok(())
    }

    fn check_sum(&mut self, group: u64, bytes: &[u8], covered: u64, stored: u32) {
        let superblock = &self.volume.superblock;
        if !superblock.features.ro_compat(RoCompat::METADATA_CSUM) {
            return;
        }
        let covered = usize::try_from(covered).ok().and_then(|covered| bytes.get(..covered));
        let sum = checksum::update(superblock.checksum_seed, covered.unwrap_or(bytes));
        let whole = superblock.features.incompat(Incompat::BIT64);
        if sum != stored && (whole || sum & 0xFFFF != stored) {
            let line = format!("a bitmap of group {group} has a bad checksum");
            self.tell(code::EXT4_METADATA_DAMAGED, line);
        }
    }

    /// Compares the bits of `range` with what is in use by `used`.
    fn compare(
        &mut self,
        (what, group): (&str, u64),
        bitmap: &[u8],
        range: Range<u64>,
        used: &dyn Fn(&Self, u64) -> bool,
    ) {
        let superblock = &self.volume.superblock;
        // Files that were deleted while they were open keep their place until a mount for writing.
        let may_keep = superblock.has_orphans()
            || superblock.features.incompat(Incompat::RECOVER)
            || superblock.has_errors;
        let (mut free, mut kept) = (0_u64, 0_u64);
        for index in range {
            match (used(self, index), is_set(bitmap, index)) {
                (true, false) => free = free.saturating_add(1),
                (false, true) if !may_keep => kept = kept.saturating_add(1),
                _ => {}
            }
        }
        if free > 0 {
            let line = format!("{what} bitmap of group {group}: {free} in use are marked as free");
            self.tell(code::EXT4_BITMAP, line);
        }
        if kept > 0 {
            let line =
                format!("{what} bitmap of group {group}: {kept} are marked as in use and are not");
            self.tell(code::EXT4_SPACE_LOST, line);
        }
    }
}

/// Takes in the blocks of one file.
struct Claimed<'c, 'a> {
    check: &'c mut Check<'a>,
    number: u32,
    /// The cluster of the extent before, which the next one may lie in too.
    last: u64,
    /// The same of the blocks of its map.
    last_of_map: u64,
    damaged: u64,
}

impl Sink for Claimed<'_, '_> {
    fn push(&mut self, _logical: u64, length: u64, blocks: Blocks) -> FsResult<()> {
        match blocks {
            Blocks::At(first) | Blocks::Unwritten(first) => {
                let range = first..first.saturating_add(length);
                self.check.claim_for(self.number, range, &mut self.last);
            }
            Blocks::Damaged => self.damaged = self.damaged.saturating_add(length),
        }
        Ok(())
    }

    fn map_block(&mut self, block: u64) {
        let range = block..block.saturating_add(1);
        // The block of a map shares no cluster with the data, which may go on in theirs after it.
        self.check.claim_for(self.number, range, &mut self.last_of_map);
    }
}

fn is_set(bitmap: &[u8], index: u64) -> bool {
    let byte = usize::try_from(index / 8).ok().and_then(|at| bitmap.get(at).copied());
    let shift = u32::try_from(index % 8).unwrap_or(0);
    byte.unwrap_or(0).checked_shr(shift).unwrap_or(0) & 1 != 0
}

fn byte_length(bytes: &[u8]) -> u64 {
    volfold_block::byte_count(bytes.len())
}
