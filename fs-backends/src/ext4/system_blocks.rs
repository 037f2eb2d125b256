//! The blocks that belong to the file system itself: superblocks, group descriptors, bitmaps and
//! inode tables. A file that has one of them is damaged.

use std::ops::Range;

use super::descriptor::Descriptor;
use super::features::Incompat;
use super::superblock::Superblock;

/// Ranges of blocks, in order and apart from each other once it is finished.
#[derive(Debug, Default)]
pub(super) struct SystemBlocks {
    ranges: Vec<Range<u64>>,
    /// What was added last for each kind of block: with flex_bg those of several groups are
    /// neighbours.
    open: [Range<u64>; 4],
}

impl SystemBlocks {
    /// Adds what `group` has of its own; where its descriptor is not known, only what is known
    /// without it.
    pub(super) fn add_group(
        &mut self,
        superblock: &Superblock,
        group: u64,
        descriptor: Option<&Descriptor>,
    ) {
        self.add(0, base(superblock, group));
        if let Some(found) = descriptor {
            let table_end = found.inode_table.saturating_add(superblock.inode_table_blocks());
            self.add(1, found.block_bitmap..found.block_bitmap.saturating_add(1));
            self.add(2, found.inode_bitmap..found.inode_bitmap.saturating_add(1));
            self.add(3, found.inode_table..table_end);
        }
    }

    fn add(&mut self, kind: usize, range: Range<u64>) {
        let Some(open) = self.open.get_mut(kind).filter(|_| !range.is_empty()) else {
            return;
        };
        if open.end == range.start {
            open.end = range.end;
        } else {
            let done = std::mem::replace(open, range);
            self.ranges.push(done);
        }
    }

    /// Puts all that was added in order.
    pub(super) fn finish(&mut self) {
        let mut all = std::mem::take(&mut self.ranges);
        all.extend(self.open.iter_mut().map(std::mem::take));
        all.retain(|range| !range.is_empty());
        all.sort_unstable_by_key(|range| range.start);
        for range in all {
            match self.ranges.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => self.ranges.push(range),
            }
        }
        self.ranges.shrink_to_fit();
    }

    /// Whether one of `blocks` is the file system's own.
    pub(super) fn overlap(&self, blocks: &Range<u64>) -> bool {
        let later = self.ranges.partition_point(|range| range.end <= blocks.start);
        self.ranges.get(later).is_some_and(|range| range.start < blocks.end)
    }

    /// All of them, in order.
    #[cfg(test)]
    pub(super) fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }
}

/// The superblock of `group`, and the group descriptors after it, with those kept for later.
pub(super) fn base(superblock: &Superblock, group: u64) -> Range<u64> {
    let start = superblock.group_start(group);
    let has_copy = superblock.has_copy(group);
    let size = u64::from(superblock.descriptor_size);
    let per_block = superblock.block_size.get().checked_div(size).unwrap_or(1).max(1);
    let has_meta_groups = superblock.features.incompat(Incompat::META_BG);
    let index = group.checked_div(per_block).unwrap_or(0);
    let mut length = u64::from(has_copy);
    if !has_meta_groups || index < superblock.first_meta_bg {
        let table = if has_meta_groups {
            superblock.first_meta_bg
        } else {
            superblock
                .group_count
                .div_ceil(per_block)
                .saturating_add(superblock.reserved_descriptor_blocks)
        };
        length = length.saturating_add(if has_copy { table } else { 0 });
    } else {
        let within = group.checked_rem(per_block).unwrap_or(0);
        let has_table = matches!(within, 0 | 1) || within == per_block.saturating_sub(1);
        length = length.saturating_add(u64::from(has_table));
    }
    if group == 0 && superblock.block_size.get() == 1024 && start == 0 {
        length = length.saturating_add(1);
    }
    let end = start.saturating_add(length).min(superblock.blocks_count);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_an_overlap_is_found_at_every_edge() {
        let mut blocks = SystemBlocks::default();
        for (kind, range) in [(0, 1..3), (1, 10..11), (2, 3..4), (1, 11..12), (3, 20..30)] {
            blocks.add(kind, range);
        }
        blocks.finish();
        assert_eq!(blocks.ranges(), [1..4, 10..12, 20..30]);
        for (range, expected) in
            [(0..1, false), (0..2, true), (4..10, false), (11..20, true), (29..40, true)]
        {
            assert_eq!(blocks.overlap(&range), expected, "{range:?}");
        }
        assert!(!blocks.overlap(&(30..90)));
    }
}
