//! Security descriptors of Windows: who may read a mount, and which of the guest's are shown.

use std::io;

use crate::folder::projector::Access;
use crate::process::security::{ADMINISTRATORS, SYSTEM, current_user, is_administrator, parse};

/// The self-relative descriptor for `access`.
///
/// SYSTEM and the administrators may always read: services that look for malware run as SYSTEM.
/// No user may write. Owner and group are the administrators.
///
/// # Errors
/// If the host does not tell who the user is.
pub(crate) fn descriptor(access: Access) -> io::Result<Vec<u8>> {
    let reader = match access {
        // What has no descriptor of its own is the mounting user's.
        Access::Me | Access::Guest => current_user()?,
        Access::Everyone => "WD".to_owned(),
    };
    parse(&format!("O:BAG:BAD:P(A;;FRFX;;;SY)(A;;FRFX;;;BA)(A;;FRFX;;;{reader})"))
}

/// Whether `bytes` is a self-relative descriptor (MS-DTYP 2.4.6) whose parts lie in it whole and
/// are of the kinds that access checks know.
///
/// Windows' own check of a descriptor with a length is not used: under wine it reads past the end.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    const DACL_PRESENT: u16 = 0x0004;
    const SACL_PRESENT: u16 = 0x0010;
    const SELF_RELATIVE: u16 = 0x8000;
    let Some([1, _, low, high]) = bytes.first_chunk() else {
        return false;
    };
    let control = u16::from_le_bytes([*low, *high]);
    let part = |at: usize| {
        let offset = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        bytes.get(usize::try_from(offset).ok().filter(|offset| *offset >= 20)?..)
    };
    let list = |at: usize, flag: u16| {
        let is_null = bytes.get(at..at + 4).is_some_and(|offset| offset == [0; 4]);
        control & flag == 0 || is_null || part(at).is_some_and(is_access_list)
    };
    control & SELF_RELATIVE != 0
        && part(4).is_some_and(|owner| identifier_length(owner).is_some())
        && part(8).is_some_and(|group| identifier_length(group).is_some())
        && list(12, SACL_PRESENT)
        && list(16, DACL_PRESENT)
}

/// The length of the security identifier (MS-DTYP 2.4.2) that `bytes` begins with.
fn identifier_length(bytes: &[u8]) -> Option<usize> {
    let [1, count @ ..=15, ..] = bytes else {
        return None;
    };
    let length = 8 + 4 * usize::from(*count);
    (length <= bytes.len()).then_some(length)
}

/// Whether `bytes` begins with an access list (MS-DTYP 2.4.5) of plain entries: a mask and an
/// identifier each.
fn is_access_list(bytes: &[u8]) -> bool {
    let [2 | 4, _, size_low, size_high, count_low, count_high, _, _, ..] = bytes else {
        return false;
    };
    let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
    let Some(mut rest) = bytes.get(8..size) else {
        return false;
    };
    for _ in 0..u16::from_le_bytes([*count_low, *count_high]) {
        // Allowed, denied, audit, alarm, mandatory label.
        let [0..=3 | 0x11, _, size_low, size_high, ..] = rest else {
            return false;
        };
        let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
        let is_whole = rest.get(8..size).is_some_and(|entry| identifier_length(entry).is_some());
        if !is_whole || !size.is_multiple_of(4) {
            return false;
        }
        rest = &rest[size..];
    }
    true
}

/// The text of a descriptor that gives SYSTEM, the administrators and the user everything, and
/// all others nothing; owned by the user, or the administrators for one of them.
///
/// # Errors
/// As [`descriptor`].
pub(crate) fn private() -> io::Result<String> {
    let user = current_user()?;
    // The owner is what others know the maker by.
    let owner = if user != SYSTEM && is_administrator() { ADMINISTRATORS } else { &user };
    Ok(format!("O:{owner}D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{user})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_self_relative() {
        for access in [Access::Me, Access::Everyone] {
            let bytes = descriptor(access).unwrap();
            // Revision 1; SE_SELF_RELATIVE is the top bit of the control word.
            assert_eq!((bytes[0], bytes[3] & 0x80), (1, 0x80));
            assert!(is_valid(&bytes));
            for length in 0..bytes.len() {
                assert!(!is_valid(&bytes[..length]), "{length}");
            }
        }
        assert!(private().unwrap().contains(";;;S-1-"));
    }
}
