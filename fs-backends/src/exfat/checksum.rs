//! The sums of exFAT: each turns by a bit to the right and adds a byte.
//!
//! Specification: Microsoft, "exFAT file system specification", 3.4 (boot regions), 6.3.3 (entry
//! sets), 7.2.2 (up-case table), 7.6.4 (names).

/// The bytes of a boot sector that writers change without a new sum: `VolumeFlags`, `PercentInUse`.
const CHANGING: [usize; 3] = [106, 107, 112];
/// The bytes of a primary entry in which the sum of its set is.
const SET_CHECKSUM: [usize; 2] = [2, 3];

fn sum32<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)))
}

fn sum16(sum: u16, bytes: impl Iterator<Item = u8>) -> u16 {
    bytes.fold(sum, |sum, byte| sum.rotate_right(1).wrapping_add(u16::from(byte)))
}

/// The sum of the first 11 sectors of a boot region.
pub(super) fn of_boot_region(sectors: &[u8]) -> u32 {
    let bytes = sectors.iter().enumerate();
    sum32(bytes.filter(|(at, _)| !CHANGING.contains(at)).map(|(_, byte)| byte))
}

/// The sum of an up-case table, as it is stored.
pub(super) fn of_table(table: &[u8]) -> u32 {
    sum32(table.iter())
}

/// The sum of the entry set that begins with `primary`.
pub(super) fn of_set(primary: &[u8], secondaries: &[[u8; 32]]) -> u16 {
    let first = primary.iter().enumerate().filter(|(at, _)| !SET_CHECKSUM.contains(at));
    let sum = sum16(0, first.map(|(_, byte)| *byte));
    sum16(sum, secondaries.as_flattened().iter().copied())
}

/// The hash of a name in upper case.
pub(super) fn of_name(upper: &[u16]) -> u16 {
    sum16(0, upper.iter().flat_map(|unit| unit.to_le_bytes()))
}
