//! Extended attributes in `$EA`, with what the Windows subsystem for Linux keeps there.
//!
//! Specification: MS-FSCC 2.4.16. Little-endian. The entries follow each other:
//!
//! | offset | size | field          | rule                                        |
//! |--------|------|----------------|---------------------------------------------|
//! | 0x00   | 4    | `next`         | bytes to the next entry, 0 in the last      |
//! | 0x04   | 1    | `flags`        | not looked at                               |
//! | 0x05   | 1    | `name_length`  | bytes, without the zero after the name      |
//! | 0x06   | 2    | `value_length` |                                             |
//! | 0x08   | -    | `name`, `value`| the value begins after the zero             |

use volfold_block::ByteReader;

use crate::error::FsResult;

/// LIMIT: bytes of all extended attributes of a node, the bound of Windows.
pub(super) const MAX_EA: u64 = 64 * 1024;

/// Owner, mode and device number of a file that Linux made on Windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lx {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u32>,
    pub(super) device: Option<(u32, u32)>,
}

impl Lx {
    /// What the entries in `bytes` say, up to the first that is damaged.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut lx = Self::default();
        let mut rest = bytes;
        while let Ok((name, value, next)) = entry(rest) {
            lx.take(name, value);
            // INVARIANT: every step is at least 8 bytes, so they come to an end.
            match rest.get(next..) {
                Some(later) if next >= 8 => rest = later,
                _ => break,
            }
        }
        lx
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        let number = |at: usize| {
            let bytes = value.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes))
        };
        match name {
            b"$LXUID" => self.uid = number(0),
            b"$LXGID" => self.gid = number(0),
            b"$LXMOD" => self.mode = number(0),
            b"$LXDEV" => self.device = number(0).zip(number(4)),
            _ => {}
        }
    }
}

/// Name and value of the first entry in `bytes`, and how far it is to the next.
fn entry(bytes: &[u8]) -> FsResult<(&[u8], &[u8], usize)> {
    let mut reader = ByteReader::new("extended attributes", bytes, 0);
    let next = volfold_block::bytes_to_index(u64::from(reader.u32_le()?))?;
    reader.skip(1)?;
    let name_length = usize::from(reader.u8()?);
    let value_length = usize::from(reader.u16_le()?);
    let name = reader.take(name_length)?;
    reader.skip(1)?;
    Ok((name, reader.take(value_length)?, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, (name, value)) in entries.iter().enumerate() {
            let length = (8 + name.len() + 1 + value.len()).next_multiple_of(4);
            let next = if index + 1 == entries.len() { 0 } else { length as u32 };
            let end = bytes.len() + length;
            bytes.extend(next.to_le_bytes());
            bytes.extend([0, name.len() as u8]);
            bytes.extend((value.len() as u16).to_le_bytes());
            bytes.extend(*name);
            bytes.push(0);
            bytes.extend(*value);
            bytes.resize(end, 0);
        }
        bytes
    }

    #[test]
    fn what_linux_keeps_is_found_among_others() {
        let bytes = entries(&[
            (b"OTHER", b"x"),
            (b"$LXUID", &1000_u32.to_le_bytes()),
            (b"$LXGID", &100_u32.to_le_bytes()),
            (b"$LXMOD", &0o100_640_u32.to_le_bytes()),
            (b"$LXDEV", &[8, 0, 0, 0, 3, 0, 0, 0]),
        ]);
        let lx = Lx::parse(&bytes);
        let device = Some((8, 3));
        let wanted = Lx { uid: Some(1000), gid: Some(100), mode: Some(0o100_640), device };
        assert_eq!(lx, wanted);
        for length in 0..bytes.len() {
            let _ = Lx::parse(&bytes[..length]);
        }
        let mut looped = bytes;
        looped[0] = 4;
        assert_eq!(Lx::parse(&looped), Lx::default());
    }
}
