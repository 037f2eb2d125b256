//! The list of attributes, in an inode and in a block alike.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extended
//! Attributes". Little-endian. Entries of
//!
//! | offset | size | field          | rule                                                       |
//! |--------|------|----------------|------------------------------------------------------------|
//! | 0x00   | 1    | `name_length`  |                                                            |
//! | 0x01   | 1    | `name_index`   | what stands before the name, see [`super::names`]          |
//! | 0x02   | 2    | `value_offset` | in an inode from the first entry, in a block from its begin |
//! | 0x04   | 4    | `value_inode`  | 0: the value is here; else with ea_inode                   |
//! | 0x08   | 4    | `value_size`   |                                                            |
//! | 0x0C   | 4    | `hash`         | of name and value; may be 0 in an inode                    |
//! | 0x10   |      | name           | filled to a multiple of 4                                  |
//!
//! and after the last one 4 bytes of 0. Values come after that.

use std::mem::offset_of;

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::error::{FsError, FsResult};

const END: [u8; 4] = [0; 4];
/// Names and values are filled to a multiple of so many bytes.
const PADDING: usize = 4;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    name_length: u8,
    name_index: u8,
    value_offset: U16<LE>,
    value_inode: U32<LE>,
    value_size: U32<LE>,
    hash: U32<LE>,
}
const _: () = assert!(offset_of!(RawEntry, value_size) == 0x08);
const _: () = assert!(size_of::<RawEntry>() == 0x10);

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ext4) enum Value<'b> {
    Here(&'b [u8]),
    /// The content of another inode.
    Inode {
        number: u32,
        size: u32,
    },
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext4) struct Entry<'b> {
    pub(in crate::ext4) index: u8,
    pub(in crate::ext4) name: &'b [u8],
    pub(in crate::ext4) value: Value<'b>,
    pub(super) hash: u32,
}

/// A list of attributes of which every entry was found to have its place.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext4) struct Entries<'b> {
    /// From the first entry on.
    list: &'b [u8],
    /// What the offsets of values count from.
    values: &'b [u8],
    /// Where the first value may be.
    first_value: usize,
}

impl<'b> Entries<'b> {
    /// The list that begins `skip` bytes into `values`.
    ///
    /// # Errors
    /// `Corrupt` if it does not end.
    pub(in crate::ext4) fn parse(values: &'b [u8], skip: usize) -> FsResult<Self> {
        let list = values.get(skip..).unwrap_or_default();
        let mut rest = list;
        // Every turn takes at least the 16 bytes of an entry.
        while !rest.starts_with(&END) {
            let (_, _, later) = split(rest).ok_or_else(cut_short)?;
            rest = later;
        }
        let first_value = values.len().saturating_sub(rest.len()).saturating_add(END.len());
        Ok(Self { list, values, first_value })
    }

    fn entry(&self, raw: &RawEntry, name: &'b [u8]) -> FsResult<Entry<'b>> {
        if name.contains(&0) {
            return Err(FsError::corrupt("extended attribute has a name with a zero byte"));
        }
        let (number, size) = (raw.value_inode.get(), raw.value_size.get());
        let value = match number {
            0 => Value::Here(self.value(raw).ok_or_else(|| {
                FsError::corrupt("extended attribute has a value out of its bounds")
            })?),
            number => Value::Inode { number, size },
        };
        Ok(Entry { index: raw.name_index, name, value, hash: raw.hash.get() })
    }

    fn value(&self, raw: &RawEntry) -> Option<&'b [u8]> {
        let size = usize::try_from(raw.value_size.get()).ok()?;
        if size == 0 {
            return Some(&[]);
        }
        let start = usize::from(raw.value_offset.get());
        let end = start.checked_add(size.checked_next_multiple_of(PADDING)?)?;
        let filled = self.values.get(start..end).filter(|_| start >= self.first_value)?;
        filled.get(..size)
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = FsResult<Entry<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.starts_with(&END) {
            return None;
        }
        let (raw, name, later) = split(self.list)?;
        self.list = later;
        Some(self.entry(raw, name))
    }
}

/// The first entry, its name, and what follows.
fn split(bytes: &[u8]) -> Option<(&RawEntry, &[u8], &[u8])> {
    let (raw, rest) = RawEntry::ref_from_prefix(bytes).ok()?;
    let (name, _) = rest.split_at_checked(usize::from(raw.name_length))?;
    let later = rest.get(name.len().next_multiple_of(PADDING)..)?;
    Some((raw, name, later))
}

fn cut_short() -> FsError {
    FsError::corrupt("list of extended attributes is cut short")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ListBuilder, values_of};
    use super::*;

    #[test]
    fn a_list_gives_its_names_and_values() {
        let list = ListBuilder::new(0).entry(1, b"a", b"value").entry(6, b"", b"").build(100);
        let entries = Entries::parse(&list, 0).unwrap();
        let expected = [(1, b"a".to_vec(), b"value".to_vec()), (6, vec![], vec![])];
        assert_eq!(values_of(entries).unwrap(), expected);
    }

    #[test]
    fn what_leaves_the_list_is_corrupt() {
        let good = ListBuilder::new(0).entry(1, b"name", b"value").build(64);
        for (at, byte) in [(0, 200), (2, 8), (2, 60), (3, 1), (8, 64), (11, 1), (17, 0)] {
            let mut bent = good.clone();
            bent[at] = byte;
            let result = Entries::parse(&bent, 0).and_then(values_of);
            assert!(result.is_err(), "{at} {byte}");
        }
        assert!(Entries::parse(&good[..18], 0).is_err());
        assert!(Entries::parse(&[], 0).is_err());
    }
}
