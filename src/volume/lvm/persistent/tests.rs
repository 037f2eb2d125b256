//! Trees in memory: what is found in them, and what is refused.

use std::sync::Arc;

use volfold_block::{BlockErrorKind, MemoryDevice};

use super::block::{BlockKind, Blocks, Nodes, checksum};

const BLOCK: usize = 4096;

/// A node with `entries`; `kind` 1 has nodes below it, 2 is a leaf.
fn node(number: u64, kind: u32, entries: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let header = [0, kind, number as u32, 0, entries.len() as u32, 252, 8, 0];
    for (at, word) in header.iter().enumerate() {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
    }
    for (at, (key, value)) in entries.iter().enumerate() {
        bytes[32 + at * 8..40 + at * 8].copy_from_slice(&key.to_le_bytes());
        let value_at = 32 + 252 * 8 + at * 8;
        bytes[value_at..value_at + 8].copy_from_slice(&value.to_le_bytes());
    }
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let sum = checksum(&bytes[4..], BlockKind::Node);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
}

fn tree(nodes: &[Vec<u8>]) -> Blocks {
    Blocks::new(Arc::new(MemoryDevice::new(nodes.concat())), Arc::new(Nodes::new()))
}

fn refusal(nodes: &[Vec<u8>], wanted: u64) -> String {
    let error = tree(nodes).find(0, wanted).err().expect("a refusal");
    assert_eq!(error.kind(), BlockErrorKind::Corrupt);
    error.message().to_owned()
}

#[test]
fn keys_are_found_and_gaps_reach_to_the_next_key() {
    let blocks = tree(&[
        node(0, 1, &[(5, 1), (20, 2)]),
        node(1, 2, &[(5, 50), (6, 60), (9, 90)]),
        node(2, 2, &[(20, 200), (u64::MAX, 7)]),
    ]);
    for (wanted, value, next) in [
        (0, None, 5),
        (5, Some(50), 6),
        (6, Some(60), 9),
        (7, None, 9),
        (9, Some(90), 20),
        (19, None, 20),
        (20, Some(200), u64::MAX),
        (21, None, u64::MAX),
        (u64::MAX, Some(7), u64::MAX),
    ] {
        // Twice: from the device, and from what is kept.
        for _ in 0..2 {
            let found = blocks.find(0, wanted).unwrap();
            assert_eq!((found.exact(wanted), found.next()), (value, next), "{wanted}");
        }
    }
    let empty = tree(&[node(0, 2, &[])]).find(0, 3).unwrap();
    assert_eq!((empty.exact(3), empty.next()), (None, u64::MAX));
}

#[test]
fn trees_that_contradict_themselves_are_refused() {
    let of_itself = [node(0, 1, &[(0, 0)])];
    assert_eq!(refusal(&of_itself, 1), "tree is more than 16 nodes deep");
    let unordered = [node(0, 2, &[(2, 0), (2, 0)])];
    assert_eq!(refusal(&unordered, 1), "keys of a node of the tree are not in order");
    let strange = [node(0, 1, &[(5, 1), (8, 1)]), node(1, 2, &[(4, 0)])];
    assert!(refusal(&strange, 5).contains("the node above it"));
    let too_far = [node(0, 1, &[(5, 1), (8, 1)]), node(1, 2, &[(5, 0), (8, 0)])];
    assert!(refusal(&too_far, 5).contains("the node above it"));
    assert_eq!(refusal(&[node(0, 1, &[])], 1), "node of the tree has no nodes below it");
    assert_eq!(refusal(&[node(0, 3, &[])], 1), "node of the tree is of no known kind");
    assert_eq!(
        refusal(&[node(0, 1, &[(0, 9)])], 1),
        "node of the tree lies outside of the metadata"
    );
    assert_eq!(refusal(&[node(1, 2, &[])], 1), "node of the tree is of another place");
}

#[test]
fn counts_that_leave_the_block_are_refused() {
    for (at, value, line) in [
        (0x10, 253_u32, "node of the tree has too many entries"),
        (0x14, 255, "entries of a node of the tree leave its block"),
        (0x14, u32::MAX, "entries of a node of the tree leave its block"),
        (0x18, u32::MAX, "entries of a node of the tree leave its block"),
    ] {
        let mut bytes = node(0, 2, &[(1, 1)]);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes);
        assert_eq!(refusal(&[bytes], 1), line, "{at:#x}");
    }
}

#[test]
fn every_changed_bit_of_a_node_is_noticed() {
    let whole = node(0, 2, &[(1, 1), (2, 2)]);
    for bit in (0..BLOCK * 8).step_by(61) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(&[bytes], 1), "node of the tree has a bad checksum");
    }
}
