//! RAID of firmware, whose metadata lies at the end of disks: told, and not read.
//!
//! Source: `super-intel.c` and `super-ddf.c` of mdadm.

use volfold_block::{BlockDevice, Finding, code};

/// What is at the end of `device`, a whole disk, if it is of such a RAID.
pub(super) fn notice(device: &dyn BlockDevice) -> Option<Finding> {
    let kind = kind(device)?;
    let line = format!(
        "disk is a member of a RAID of firmware ({kind}), which is not read: what is shown of it are \
         the bytes of one member. Start the array on a machine with mdadm, read-only, and make an image \
         of /dev/md/..."
    );
    Some(Finding::error(code::FIRMWARE_RAID, line))
}

fn kind(device: &dyn BlockDevice) -> Option<&'static str> {
    let sector = u64::from(device.sector_size().max(512));
    // The anchor of Intel is in the last sector but one, that of DDF in the last.
    if starts_with(device, sector.checked_mul(2)?, b"Intel Raid ISM Cfg Sig. ") {
        return Some("Intel Matrix Storage");
    }
    [512, sector]
        .into_iter()
        .any(|before| starts_with(device, before, b"\xDE\x11\xDE\x11"))
        .then_some("DDF")
}

/// Whether `magic` stands `before` bytes before the end.
fn starts_with<const N: usize>(device: &dyn BlockDevice, before: u64, magic: &[u8; N]) -> bool {
    let mut bytes = [0; N];
    let at = device.size().checked_sub(before);
    at.is_some_and(|at| device.read_at(at, &mut bytes).is_ok()) && bytes == *magic
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    #[test]
    fn the_metadata_of_firmware_is_named() {
        let disk = |before: usize, magic: &[u8]| {
            let mut bytes = vec![0; 8192];
            let at = bytes.len() - before;
            bytes[at..at + magic.len()].copy_from_slice(magic);
            notice(&MemoryDevice::new(bytes)).map(|finding| finding.message)
        };
        let intel = disk(1024, b"Intel Raid ISM Cfg Sig. 1.3.00").unwrap();
        assert!(intel.contains("Intel Matrix Storage"), "{intel}");
        assert!(disk(512, b"\xDE\x11\xDE\x11").unwrap().contains("DDF"));
        assert_eq!(disk(2048, b"Intel Raid ISM Cfg Sig. "), None);
        assert!(notice(&MemoryDevice::new(vec![0; 100])).is_none());
    }
}
