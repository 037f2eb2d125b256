//! Inodes as fast commits change them: bytes, not yet checked.
//!
//! The fields are those of [`super::inode`].

use super::inode::{Flags, OLD_SIZE};

const LINKS_AT: usize = 0x1A;
const FLAGS_AT: usize = 0x20;
const BLOCK_AT: usize = 0x28;
const BLOCK_END: usize = 0x64;
/// An extent tree without extents: the magic number, no entries and room for four.
const EMPTY_TREE: [u8; 8] = [0x0A, 0xF3, 0, 0, 4, 0, 0, 0];

/// Takes over `fields`, the start of an inode, but for the map of its blocks; `None` if they are
/// too few or too many.
pub(super) fn update(bytes: &mut [u8], fields: &[u8]) -> Option<()> {
    if fields.len() < OLD_SIZE {
        return None;
    }
    let has_tree = bytes.get(BLOCK_AT..)?.starts_with(EMPTY_TREE.get(..2)?);
    let old: [u8; BLOCK_END - BLOCK_AT] = *bytes.get(BLOCK_AT..)?.first_chunk()?;
    let given = bytes.get_mut(..fields.len())?;
    given.copy_from_slice(fields);
    let flags = flags(bytes);
    if flags.has(Flags::EXTENTS) {
        // A tree says where blocks are; ranges change that, the inode does not.
        bytes.get_mut(BLOCK_AT..BLOCK_END)?.copy_from_slice(&old);
        if !has_tree {
            clear_map(bytes);
        }
    } else if kind(bytes) == 0x8 && !flags.has(Flags::INLINE_DATA) {
        bytes.get_mut(BLOCK_AT..BLOCK_END)?.copy_from_slice(&old);
    }
    Some(())
}

/// The number of its names.
pub(super) fn links(bytes: &[u8]) -> u16 {
    word(bytes, LINKS_AT)
}

/// Sets the number of its names.
pub(super) fn set_links(bytes: &mut [u8], links: u16) {
    if let Some(field) = bytes.get_mut(LINKS_AT..).and_then(<[u8]>::first_chunk_mut) {
        *field = links.to_le_bytes();
    }
}

/// Leaves the inode without blocks.
pub(super) fn clear_map(bytes: &mut [u8]) {
    let has_extents = flags(bytes).has(Flags::EXTENTS);
    let Some(block) = bytes.get_mut(BLOCK_AT..BLOCK_END) else {
        return;
    };
    block.fill(0);
    if has_extents && let Some(start) = block.first_chunk_mut() {
        *start = EMPTY_TREE;
    }
}

/// Whether it is a directory.
pub(super) fn is_directory(bytes: &[u8]) -> bool {
    kind(bytes) == 0x4
}

fn kind(bytes: &[u8]) -> u16 {
    word(bytes, 0) >> 12
}

fn flags(bytes: &[u8]) -> Flags {
    let field = bytes.get(FLAGS_AT..).and_then(<[u8]>::first_chunk);
    Flags::new(field.map(|&bytes| u32::from_le_bytes(bytes)).unwrap_or_default())
}

fn word(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map(|&bytes| u16::from_le_bytes(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(mode: u16, flags: u32, block: u8) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[..2].copy_from_slice(&mode.to_le_bytes());
        bytes[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&flags.to_le_bytes());
        bytes[BLOCK_AT..BLOCK_END].fill(block);
        bytes
    }

    #[test]
    fn the_map_of_blocks_stays_and_what_is_no_map_is_taken_over() {
        for (mode, flags, expected) in [
            (0x81A4, 0x8_0000, 7),
            (0x81A4, 0, 7),
            (0x81A4, 0x1000_0000, 9),
            (0xA1FF, 0, 9),
            (0x2000, 0, 9),
        ] {
            let mut bytes = inode(mode, flags, 7);
            bytes[BLOCK_AT..BLOCK_AT + 8].copy_from_slice(&EMPTY_TREE);
            update(&mut bytes, &inode(mode, flags, 9)[..160]).unwrap();
            assert_eq!(bytes[BLOCK_END - 1], expected, "{mode:x} {flags:x}");
        }
        let mut bytes = vec![0; 256];
        update(&mut bytes, &inode(0x81A4, 0x8_0000, 9)).unwrap();
        assert_eq!(bytes[BLOCK_AT..BLOCK_AT + 8], EMPTY_TREE, "a new file has an empty tree");
        assert_eq!(update(&mut bytes, &[0; 127]), None);
        assert_eq!(update(&mut bytes, &[0; 260]), None);
    }
}
