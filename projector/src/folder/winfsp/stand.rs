//! The folder that a volume takes the place of.
//!
//! WinFsp makes the directory of a mount point itself and removes it at the end, so a folder that is
//! there is removed before, and made again, with its access list. The owner is who mounts: only
//! administrators may make folders of others.

use std::io;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, GetFileSecurityW, SetFileSecurityW};

use crate::wide::wide;

/// LIMIT: bytes of a security descriptor: its lists have at most 64 KiB each.
const MAX_DESCRIPTOR: usize = 256 << 10;

/// An empty folder that was removed, and is made again when this is dropped.
pub(super) struct Stand {
    folder: PathBuf,
    /// Self-relative; `None` if the host did not tell.
    descriptor: Option<Vec<u8>>,
}

impl Stand {
    /// Removes `folder`, which must be empty and no link.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn remove(folder: &Path) -> io::Result<Self> {
        let descriptor = descriptor(folder);
        std::fs::remove_dir(folder)?;
        Ok(Self { folder: folder.to_path_buf(), descriptor })
    }

    /// What a directory in its place should have.
    pub(super) fn descriptor(&self) -> Option<&[u8]> {
        self.descriptor.as_deref()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::fs::create_dir(&self.folder).is_err() {
            return;
        }
        let Some(descriptor) = &mut self.descriptor else {
            return;
        };
        let wide = wide(&self.folder);
        // SAFETY: the name ends with 0, and the descriptor is whole.
        unsafe {
            let descriptor = descriptor.as_mut_ptr().cast();
            SetFileSecurityW(wide.as_ptr(), DACL_SECURITY_INFORMATION, descriptor);
        }
    }
}

/// The access list of `path`.
fn descriptor(path: &Path) -> Option<Vec<u8>> {
    let wide = wide(path);
    let mut bytes = vec![0_u8; 1024];
    for _ in 0..2 {
        let mut needed = 0;
        let size = u32::try_from(bytes.len()).ok()?;
        // SAFETY: the name ends with 0, and the size is that of the buffer.
        let told = unsafe {
            let out = bytes.as_mut_ptr().cast();
            GetFileSecurityW(wide.as_ptr(), DACL_SECURITY_INFORMATION, out, size, &raw mut needed)
        };
        let needed = usize::try_from(needed).ok().filter(|needed| *needed <= MAX_DESCRIPTOR)?;
        if told != 0 {
            return Some(bytes);
        }
        bytes = vec![0; needed];
    }
    None
}
