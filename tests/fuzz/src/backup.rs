//! Any bytes as a backup of the format that the first byte picks. The checksums of its headers are made right
//! before, for no mutation finds them.

use std::sync::Arc;

use md5::{Digest, Md5};
use volfold_block::{CachePool, MemoryDevice};
use volfold_images::{BACKUPS, Located, NoFiles};

/// Opens the rest of `data` in the format that its first byte picks, and reads here and there.
pub fn run(data: &[u8]) {
    let Some((format, data)) = super::pick(BACKUPS, data) else { return };
    let mut signed = data.to_vec();
    let _ = match format.id() {
        "vma" => sign_vma(&mut signed),
        _ => sign_tar(&mut signed),
    };
    for bytes in [data, signed.as_slice()] {
        let file = Located {
            device: Arc::new(MemoryDevice::new(bytes)),
            name: "backup".to_owned(),
            files: Arc::new(NoFiles { format: format.id() }),
        };
        let _ = format.probe(&file);
        let Ok(backup) = format.open(&file, &CachePool::new(1 << 20)) else { continue };
        for disk in backup.disks.iter().take(8) {
            if let Ok(image) = &disk.image {
                super::image::visit(&*image.device);
            }
        }
    }
}

/// Writes the MD5 of the first `length` bytes of `bytes` to `at`.
fn sign(bytes: &mut [u8], length: usize, at: usize) -> Option<()> {
    let whole = bytes.get_mut(..length)?;
    whole.get_mut(at..at + 16)?.fill(0);
    let sum = Md5::digest(&*whole);
    whole.get_mut(at..at + 16)?.copy_from_slice(&sum);
    Some(())
}

/// Signs the header of a VMA and its extents, which get its UUID.
fn sign_vma(bytes: &mut [u8]) -> Option<()> {
    let size = u32::from_be_bytes(bytes.get(56..60)?.try_into().ok()?);
    let mut at = usize::try_from(size).ok()?;
    sign(bytes, at, 32)?;
    let uuid: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
    while let Some(extent) = bytes.get_mut(at..).filter(|rest| rest.len() >= 512) {
        extent.get_mut(..4)?.copy_from_slice(b"VMAE");
        extent.get_mut(8..24)?.copy_from_slice(&uuid);
        let blocks = u16::from_be_bytes(extent.get(6..8)?.try_into().ok()?);
        sign(extent, 512, 24)?;
        at = at.checked_add(512 + 4096 * usize::from(blocks))?;
    }
    Some(())
}

/// Writes the checksums of the headers of an archive.
fn sign_tar(bytes: &mut [u8]) -> Option<()> {
    let mut at = 0_usize;
    while let Some(header) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..512)) {
        if header.iter().all(|byte| *byte == 0) {
            return Some(());
        }
        header.get_mut(148..156)?.fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header.get_mut(148..154)?.copy_from_slice(format!("{sum:06o}").as_bytes());
        let digits = str::from_utf8(header.get(124..135)?).ok()?;
        let size = usize::from_str_radix(digits.trim_matches([' ', '\0']), 8).ok()?;
        at = at.checked_add(512)?.checked_add(size.checked_next_multiple_of(512)?)?;
    }
    Some(())
}
