//! Lists of attributes, made in tests.

use super::entries::{Entries, Value};
use crate::error::FsResult;

/// Puts a list together: entries from the begin, values from the end.
pub(super) struct ListBuilder {
    skip: usize,
    entries: Vec<(u8, Vec<u8>, Vec<u8>)>,
}

impl ListBuilder {
    /// A list that begins `skip` bytes after what its values count from.
    pub(super) fn new(skip: usize) -> Self {
        Self { skip, entries: Vec::new() }
    }

    pub(super) fn entry(mut self, index: u8, name: &[u8], value: &[u8]) -> Self {
        self.entries.push((index, name.to_vec(), value.to_vec()));
        self
    }

    /// All of it in `size` bytes, without hashes.
    pub(super) fn build(self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let (mut at, mut end) = (self.skip, size);
        for (index, name, value) in self.entries {
            end -= value.len().next_multiple_of(4);
            bytes[end..end + value.len()].copy_from_slice(&value);
            let offset = u16::try_from(if value.is_empty() { 0 } else { end }).unwrap();
            let length = u32::try_from(value.len()).unwrap();
            bytes[at] = u8::try_from(name.len()).unwrap();
            bytes[at + 1] = index;
            bytes[at + 2..at + 4].copy_from_slice(&offset.to_le_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
            bytes[at + 16..at + 16 + name.len()].copy_from_slice(&name);
            at += 16 + name.len().next_multiple_of(4);
        }
        bytes
    }
}

/// Index, name and value.
type Parts = (u8, Vec<u8>, Vec<u8>);

/// What every entry has.
pub(super) fn values_of(entries: Entries<'_>) -> FsResult<Vec<Parts>> {
    let value = |value| match value {
        Value::Here(bytes) => bytes,
        Value::Inode { .. } => panic!("a value elsewhere"),
    };
    entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.index, entry.name.to_vec(), value(entry.value).to_vec()))
        })
        .collect()
}
