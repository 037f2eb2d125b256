//! Reparse data as programs read it: `REPARSE_DATA_BUFFER` (MS-FSCC 2.1.2).

use super::listing::tag;
use crate::folder::{links, names};

/// `SYMLINK_FLAG_RELATIVE`.
const RELATIVE: u32 = 1;

/// LIMIT: bytes of reparse data, as Windows has it.
const MAX_DATA: usize = 16 << 10;

/// The data of a link with `target` as the guest writes it, whose name lies `depth` directories
/// below the volume's root. `None` if the target is too long for Windows.
///
/// INVARIANT: it is relative and leads nowhere outside of the volume.
pub(super) fn symlink(depth: usize, target: &[u8], volumes: &links::OwnNames) -> Option<Vec<u8>> {
    let mut units: Vec<u16> = Vec::new();
    for part in links::way_inside(volumes.link(depth), target, &volumes.names).parts {
        if !units.is_empty() {
            units.push(u16::from(b'\\'));
        }
        if part == b".." {
            units.extend([u16::from(b'.'); 2]);
        } else {
            names::to_windows(part, &mut units);
        }
    }
    if units.is_empty() {
        units.push(u16::from(b'.'));
    }
    let length = u16::try_from(2 * units.len()).ok().filter(|length| *length < MAX_DATA as u16)?;
    let mut data = Vec::with_capacity(20 + usize::from(length));
    data.extend(tag::SYMLINK.to_le_bytes());
    data.extend((12 + length).to_le_bytes());
    data.extend([0; 2]);
    // The name that is followed and the name that is shown are one.
    for (offset, length) in [(0_u16, length), (0, length)] {
        data.extend(offset.to_le_bytes());
        data.extend(length.to_le_bytes());
    }
    data.extend(RELATIVE.to_le_bytes());
    data.extend(units.into_iter().flat_map(u16::to_le_bytes));
    Some(data)
}

/// The data of a tag that needs none.
pub(super) fn empty(tag: u32) -> Vec<u8> {
    let mut data = tag.to_le_bytes().to_vec();
    data.extend([0; 4]);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(data: &[u8]) -> String {
        let units: Vec<u16> =
            data[20..].as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        String::from_utf16(&units).unwrap()
    }

    #[test]
    fn targets_are_relative_and_escaped() {
        let volumes = links::OwnNames::default();
        for (depth, guest, shown) in [
            (0, "a/b", r"a\b"),
            (1, "/etc/a:b", "..\\etc\\a\u{F03A}b"),
            (0, "..", "."),
            (1, "//host/share", "..\\\u{F02F}\u{F02F}host\u{F02F}share"),
        ] {
            let data = symlink(depth, guest.as_bytes(), &volumes).unwrap();
            assert_eq!(target(&data), shown);
            assert_eq!(usize::from(u16::from_le_bytes([data[4], data[5]])) + 8, data.len());
            assert_eq!(data[16], 1, "relative");
        }
        assert!(symlink(0, &[b'x'; 9000], &volumes).is_none());
    }
}
