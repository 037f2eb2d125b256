//! Lists of block numbers in the journal: the tags of a descriptor, and revocations.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Journal
//! (jbd2)". Big-endian. With checksums of version 3 a tag is
//!
//! | offset | size | field        | rule                                                        |
//! |--------|------|--------------|-------------------------------------------------------------|
//! | 0x00   | 4    | `block_lo`   | the block that the next block of the log is a copy of       |
//! | 0x04   | 4    | `flags`      | 1 escaped, 2 no UUID follows, 4 deleted, 8 last             |
//! | 0x08   | 4    | `block_hi`   | with 64bit                                                  |
//! | 0x0C   | 4    | `checksum`   |                                                             |
//!
//! and else
//!
//! | offset | size | field        | rule                                                        |
//! |--------|------|--------------|-------------------------------------------------------------|
//! | 0x00   | 4    | `block_lo`   |                                                             |
//! | 0x04   | 2    | `checksum`   | with version 2, the low half                                |
//! | 0x06   | 2    | `flags`      |                                                             |
//! | 0x08   | 4    | `block_hi`   | only there with 64bit                                       |
//!
//! A tag whose flags do not say otherwise is followed by 16 bytes of UUID. A revocation block has
//! at 0x0C the number of bytes in use, and from 0x10 block numbers of 4 bytes, with 64bit of 8.

use volfold_block::ByteReader;

const HEADER: usize = 12;
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// How blocks of this journal are laid out and summed.
pub(super) struct Layout {
    pub(super) bit64: bool,
    pub(super) csum_v2: bool,
    pub(super) csum_v3: bool,
    /// The sum that all others begin with.
    pub(super) seed: u32,
}

impl Layout {
    pub(super) fn has_sums(&self) -> bool {
        self.csum_v2 || self.csum_v3
    }
}

/// One tag of a descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) block: u64,
    pub(super) escaped: bool,
    sum: Sum,
}

#[derive(Debug, PartialEq, Eq)]
enum Sum {
    Low(u16),
    Whole(u32),
}

impl Tag {
    /// Whether `sum` is what the tag says of its block.
    pub(super) fn sum_is(&self, sum: u32) -> bool {
        match self.sum {
            Sum::Low(low) => sum & 0xFFFF == u32::from(low),
            Sum::Whole(whole) => sum == whole,
        }
    }
}

/// The tags of a descriptor block, `None` if it is damaged.
pub(super) fn parse(layout: &Layout, block: &[u8]) -> Option<Vec<Tag>> {
    let used = if layout.has_sums() { block.len().checked_sub(4)? } else { block.len() };
    let mut reader = ByteReader::new("journal descriptor", block.get(..used)?, 0);
    reader.skip(HEADER).ok()?;
    let mut tags = Vec::new();
    // Every turn takes at least the 8 bytes of a tag.
    loop {
        let (tag, flags) = parse_tag(layout, &mut reader)?;
        tags.push(tag);
        if flags & SAME_UUID == 0 {
            reader.skip(16).ok()?;
        }
        if flags & LAST != 0 {
            return Some(tags);
        }
        if reader.remaining() < 8 {
            // A descriptor that is full may lack the mark.
            return Some(tags);
        }
    }
}

fn parse_tag(layout: &Layout, reader: &mut ByteReader<'_>) -> Option<(Tag, u32)> {
    let low = u64::from(reader.u32_be().ok()?);
    let (high, flags, sum);
    if layout.csum_v3 {
        flags = reader.u32_be().ok()?;
        high = reader.u32_be().ok()?;
        sum = Sum::Whole(reader.u32_be().ok()?);
    } else {
        sum = Sum::Low(reader.u16_be().ok()?);
        flags = u32::from(reader.u16_be().ok()?);
        high = if layout.bit64 { reader.u32_be().ok()? } else { 0 };
        // QUIRK: Linux counts two bytes more for a tag with checksums of version 2.
        if layout.csum_v2 {
            reader.skip(2).ok()?;
        }
    }
    let high = if layout.bit64 { u64::from(high) } else { 0 };
    let tag = Tag { block: (high << 32) | low, escaped: flags & ESCAPED != 0, sum };
    Some((tag, flags))
}

/// The blocks of a revocation block, `None` if it is damaged.
pub(super) fn parse_revocation(layout: &Layout, block: &[u8]) -> Option<Vec<u64>> {
    let mut reader = ByteReader::new("journal revocation", block, 0);
    reader.skip(HEADER).ok()?;
    let used = usize::try_from(reader.u32_be().ok()?).ok()?;
    let limit = if layout.has_sums() { block.len().checked_sub(4)? } else { block.len() };
    if used > limit {
        return None;
    }
    let mut reader = ByteReader::new("journal revocation", block.get(HEADER + 4..used)?, 0);
    let size = if layout.bit64 { 8 } else { 4 };
    let mut blocks = Vec::new();
    while reader.remaining() >= size {
        blocks.push(if layout.bit64 {
            reader.u64_be().ok()?
        } else {
            u64::from(reader.u32_be().ok()?)
        });
    }
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bit64: bool, csum_v2: bool, csum_v3: bool) -> Layout {
        Layout { bit64, csum_v2, csum_v3, seed: 0 }
    }

    fn descriptor(tags: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; HEADER];
        tags.iter().for_each(|tag| block.extend_from_slice(tag));
        block.resize(1024, 0);
        block
    }

    #[test]
    fn the_first_tag_has_a_uuid_and_the_last_says_so() {
        let first = [0, 0, 0, 7, 0, 0, 0, 1];
        let last = [0, 0, 0, 9, 0, 0, 0, 2 | 8];
        let block = descriptor(&[&first, &[0xEE; 16], &last, &[0xFF; 8]]);
        let tags = parse(&layout(false, false, false), &block).unwrap();
        let seen: Vec<_> = tags.iter().map(|tag| (tag.block, tag.escaped)).collect();
        assert_eq!(seen, [(7, true), (9, false)]);
    }

    #[test]
    fn the_three_kinds_of_tag_have_their_own_size() {
        let plain64 = [0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1];
        let v2 = [0, 0, 0, 7, 0xAB, 0xCD, 0, 2, 0, 0, 0, 1, 0, 0];
        let v3 = [0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1, 1, 2, 0xAB, 0xCD];
        for (layout, tag) in [
            (layout(true, false, false), &plain64[..]),
            (layout(true, true, false), &v2),
            (layout(true, false, true), &v3),
        ] {
            let mut last = tag.to_vec();
            last[7] |= 8;
            let tags = parse(&layout, &descriptor(&[tag, &last])).unwrap();
            let blocks: Vec<_> = tags.iter().map(|tag| tag.block).collect();
            assert_eq!(blocks, [0x1_0000_0007; 2]);
            assert!(!layout.has_sums() || tags[0].sum_is(0x0102_ABCD));
        }
    }

    #[test]
    fn a_revocation_longer_than_its_block_is_damaged() {
        let mut block = descriptor(&[&[0, 0, 0, 24], &[0, 0, 0, 5], &[0, 0, 0, 6]]);
        let plain = layout(false, false, false);
        assert_eq!(parse_revocation(&plain, &block).unwrap(), [5, 6]);
        block[14] = 0xFF;
        assert_eq!(parse_revocation(&plain, &block), None);
    }
}
