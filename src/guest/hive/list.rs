//! Lists of subkeys.
//!
//! Specification: "Index leaf", "Fast leaf", "Hash leaf" and "Index root" of the registry file
//! format specification.
//!
//! | offset | size | field       | rule                                                         |
//! |--------|------|-------------|--------------------------------------------------------------|
//! | 0x00   | 2    | `signature` | `li`, `lf`, `lh`, or `ri` for a list of the other three      |
//! | 0x02   | 2    | `count`     | of the elements                                              |
//! | 0x04   |      | `elements`  | an offset of 4 bytes; in `lf` and `lh` a hint of 4 bytes too |

use volfold_fs::FsResult;

use super::cell::Cell;
use super::name::Wanted;
use super::store::Store;

/// What a list tells of the name of a subkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Nothing.
    None,
    /// Its first four characters.
    Start([u8; 4]),
    /// Its hash.
    Hash(u32),
}

impl Hint {
    /// Whether a subkey with this hint may be called as is `wanted`.
    pub(super) fn allows(self, wanted: &Wanted) -> bool {
        match self {
            Self::None => true,
            // A name outside of ASCII has zeros.
            Self::Start([0, ..]) => true,
            Self::Start(start) => wanted.begins_with(start),
            Self::Hash(hash) => wanted.has_hash(hash),
        }
    }
}

/// An element of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The cell of the key.
    pub(super) offset: u32,
    pub(super) hint: Hint,
}

/// A list of subkeys.
pub(super) enum List {
    /// The subkeys.
    Leaf(Vec<Element>),
    /// The offsets of the leaves.
    Root(Vec<u32>),
}

impl List {
    /// The list in the cell at `offset`, at most 65,535 elements of 8 bytes.
    ///
    /// # Errors
    /// `Corrupt` if it is no list or does not fit into its cell, or why it cannot be read.
    pub(super) fn read(store: &Store, offset: u32) -> FsResult<Self> {
        let cell = Cell::locate(store, offset)?;
        let mut header = [0; 4];
        cell.read(store, 0, &mut header)?;
        let [a, b, low, high] = header;
        let size = match [a, b] {
            [b'l', b'i'] | [b'r', b'i'] => 4,
            [b'l', b'f'] | [b'l', b'h'] => 8,
            _ => return Err(cell.corrupt("list of subkeys has a wrong signature", 0)),
        };
        let count = u16::from_le_bytes([low, high]);
        let bytes = cell.bytes(store, 4, u64::from(count).saturating_mul(size))?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let offsets = numbers.iter().map(|number| u32::from_le_bytes(*number));
        let leaf = |hint: fn([u8; 4]) -> Hint| {
            let (pairs, _) = numbers.as_chunks::<2>();
            pairs.iter().map(move |[offset, own]| Element {
                offset: u32::from_le_bytes(*offset),
                hint: hint(*own),
            })
        };
        Ok(match [a, b] {
            [b'r', _] => Self::Root(offsets.collect()),
            [_, b'i'] => {
                Self::Leaf(offsets.map(|offset| Element { offset, hint: Hint::None }).collect())
            }
            [_, b'f'] => Self::Leaf(leaf(Hint::Start).collect()),
            _ => Self::Leaf(leaf(|hash| Hint::Hash(u32::from_le_bytes(hash))).collect()),
        })
    }

    /// The leaf at `offset`.
    ///
    /// # Errors
    /// As [`List::read`]; `Corrupt` too for a list of lists, which cannot lie in another one.
    pub(super) fn read_leaf(store: &Store, offset: u32) -> FsResult<Vec<Element>> {
        match Self::read(store, offset)? {
            Self::Leaf(elements) => Ok(elements),
            Self::Root(_) => {
                let cell = Cell::locate(store, offset)?;
                Err(cell.corrupt("list of lists of subkeys lies in another one", 0))
            }
        }
    }
}
