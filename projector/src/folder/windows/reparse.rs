//! Reparse data as programs read it: `REPARSE_DATA_BUFFER` (MS-FSCC 2.1.2).

use super::listing::tag;
use crate::folder::names;

/// `SYMLINK_FLAG_RELATIVE`.
const RELATIVE: u32 = 1;

/// LIMIT: bytes of reparse data, as Windows has it.
const MAX_DATA: usize = 16 << 10;

/// A relative path in the making.
#[derive(Default)]
pub(super) struct Target(Vec<u16>);

impl Target {
    /// To the directory above.
    pub(super) fn up(&mut self) {
        self.down(&[u16::from(b'.'); 2]);
    }

    /// To what is called `name` for Windows.
    pub(super) fn down(&mut self, name: &[u16]) {
        if !self.0.is_empty() {
            self.0.push(u16::from(b'\\'));
        }
        self.0.extend_from_slice(name);
    }

    pub(super) fn into_units(mut self) -> Vec<u16> {
        if self.0.is_empty() {
            self.0.push(u16::from(b'.'));
        }
        self.0
    }
}

/// The guest's name `part` as Windows bears it.
pub(super) fn name(part: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(part.len());
    names::to_windows(part, &mut units);
    units
}

/// The data of a link that leads to `target`, a relative path. `None` if that is too long for Windows.
pub(super) fn symlink(target: &[u16]) -> Option<Vec<u8>> {
    let bytes = u16::try_from(2 * target.len()).ok();
    let length = bytes.filter(|length| usize::from(*length) < MAX_DATA)?;
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
    data.extend(target.iter().flat_map(|unit| unit.to_le_bytes()));
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

    #[test]
    fn link_data_has_the_form_of_the_specification() {
        let mut target = Target::default();
        target.up();
        target.down(&name(b"a:b"));
        let target = target.into_units();
        assert_eq!(String::from_utf16(&target).unwrap(), "..\\a\u{F03A}b");
        let data = symlink(&target).unwrap();
        assert_eq!(usize::from(u16::from_le_bytes([data[4], data[5]])) + 8, data.len());
        assert_eq!(data[16], 1, "relative");
        assert_eq!(Target::default().into_units(), [u16::from(b'.')]);
        assert!(symlink(&[u16::from(b'x'); 9000]).is_none());
    }
}
