//! The resource fork of older images, which have no property list.
//!
//! Specification: Apple, "Inside Macintosh: More Macintosh Toolbox", figure 1-12 to 1-17. Big-endian.
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 4    | data            | offset of the data in the fork                             |
//! | 0x04   | 4    | map             | offset of the map in the fork                              |
//! |        |      | of the map:     |                                                            |
//! | 0x18   | 2    | types           | offset of the list of types in the map                     |
//! |        |      | of that list:   | 2 number of types less one; for each type 4 type,          |
//! |        |      |                 | 2 resources less one, 2 offset of them in the list         |
//! |        |      | of a resource:  | 2 id, 2 name, 1 attributes, 3 offset in the data, 4 unused |
//! |        |      | of its data:    | 4 length, bytes                                            |

use volfold_block::{BlockError, BlockResult, ByteReader, bytes_to_index};

/// Calls `add` with each table of the fork `bytes`, which is at `at` in the file.
///
/// # Errors
/// `Corrupt` if it is no such fork, and what `add` returns.
pub(super) fn tables(
    bytes: &[u8],
    at: u64,
    add: &mut dyn FnMut(&[u8]) -> BlockResult<()>,
) -> BlockResult<()> {
    let from = |start: u64| {
        let rest = bytes_to_index(start).ok().and_then(|start| bytes.get(start..));
        let rest = rest.ok_or_else(|| BlockError::corrupt("resource fork is cut short", at, 0))?;
        BlockResult::Ok(ByteReader::new("resource fork", rest, at.saturating_add(start)))
    };
    let mut head = from(0)?;
    let (data, map) = (u64::from(head.u32_be()?), u64::from(head.u32_be()?));
    let mut reader = from(map.saturating_add(0x18))?;
    let types = map.saturating_add(reader.u16_be()?.into());
    let mut reader = from(types)?;
    // Numbers of 16 bits: this loop ends soon.
    let count = reader.u16_be()?.wrapping_add(1);
    for _ in 0..count {
        let kind: [u8; 4] = reader.array()?;
        let resources = u32::from(reader.u16_be()?).saturating_add(1);
        let list = types.saturating_add(reader.u16_be()?.into());
        if kind != *b"blkx" {
            continue;
        }
        let mut entries = from(list)?;
        for _ in 0..resources {
            entries.skip(5)?;
            let [high, middle, low] = entries.array()?;
            let start = u64::from(u32::from_be_bytes([0, high, middle, low]));
            entries.skip(4)?;
            let mut resource = from(data.saturating_add(start))?;
            let length = bytes_to_index(resource.u32_be()?.into())?;
            add(resource.take(length)?)?;
        }
        return Ok(());
    }
    Err(BlockError::corrupt("resource fork of the DMG has no tables (blkx)", at, 0))
}
