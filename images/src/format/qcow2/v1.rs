//! The header of QCOW, version 1.
//!
//! Specification: none but QEMU (`block/qcow.c`) and "The QCOW Image Format" by Mark McLoughlin.
//! Big-endian.
//!
//! | offset | size | field        | rule                                                         |
//! |--------|------|--------------|--------------------------------------------------------------|
//! | 0x00   | 4    | magic        | `QFI\xFB`                                                    |
//! | 0x04   | 4    | version      | 1                                                            |
//! | 0x08   | 8    | backing name | where it is; 0: there is no parent                           |
//! | 0x10   | 4    | its size     | at most 1023                                                 |
//! | 0x14   | 4    | time         | not looked at: when the parent was changed                   |
//! | 0x18   | 8    | size         | of the disk in bytes                                         |
//! | 0x20   | 1    | cluster bits | 9 to 16                                                      |
//! | 0x21   | 1    | L2 bits      | entries of an L2 table: 6 to 13                              |
//! | 0x24   | 4    | encryption   | 0 none, 1 AES                                                |
//! | 0x28   | 8    | L1 table     | where it is                                                  |

use volfold_block::{BlockDevice, BlockResult, ByteReader, bytes_to_index};

use super::header::{MAX_NAME, check_encryption, corrupt, name_of};

/// The size of the header.
pub(super) const HEADER_BYTES: u64 = 48;

/// A header whose every field is within its bounds.
#[derive(Clone, Debug)]
pub(super) struct HeaderV1 {
    pub(super) cluster_bits: u32,
    pub(super) l2_bits: u32,
    pub(super) size: u64,
    pub(super) l1_at: u64,
    pub(super) backing: Option<String>,
}

impl HeaderV1 {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for what is encrypted.
    pub(super) fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES.min(file.size()))?];
        file.read_at(0, &mut bytes)?;
        let mut reader = ByteReader::new("QCOW header", &bytes, 0);
        reader.skip(8)?;
        let (name_at, name_size) = (reader.u64_be()?, u64::from(reader.u32_be()?));
        reader.skip(4)?;
        let size = reader.u64_be()?;
        let (cluster_bits, l2_bits) = (u32::from(reader.u8()?), u32::from(reader.u8()?));
        reader.skip(2)?;
        let encryption = reader.u32_be()?;
        let l1_at = reader.u64_be()?;
        check_encryption(encryption)?;
        if size == 0 {
            return corrupt("QCOW header has a disk of no bytes", 0x18);
        }
        if !(9..=16).contains(&cluster_bits) {
            return corrupt(format!("QCOW header has clusters of {cluster_bits} bits"), 0x20);
        }
        if !(6..=13).contains(&l2_bits) {
            return corrupt(format!("QCOW header has L2 tables of {l2_bits} bits"), 0x21);
        }
        let backing = match (name_at, name_size) {
            (0, _) | (_, 0) => None,
            (_, size) if size > MAX_NAME => {
                return corrupt(format!("QCOW header has a parent's name of {size} bytes"), 0x10);
            }
            (at, size) => {
                if at.checked_add(size).is_none_or(|end| end > file.size()) {
                    return corrupt("name of the parent is not in the file", 0x08);
                }
                let mut name = vec![0; bytes_to_index(size)?];
                file.read_at(at, &mut name)?;
                Some(name_of(&name, at)?)
            }
        };
        Ok(Self { cluster_bits, l2_bits, size, l1_at, backing })
    }
}
