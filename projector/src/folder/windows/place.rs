//! What the host says about the place of a mount.

#![expect(unsafe_code, reason = "the host is asked by its own functions")]

use std::path::{Component, Path, Prefix};

use windows_sys::Win32::Storage::FileSystem::{
    GetDriveTypeW, GetVolumeInformationW, GetVolumeNameForVolumeMountPointW, GetVolumePathNameW,
};
use windows_sys::Win32::System::SystemServices::FILE_SUPPORTS_REPARSE_POINTS;
use windows_sys::Win32::System::WindowsProgramming::DRIVE_REMOTE;

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::wide::wide;

/// Whether volumes can be mounted below `folder`: it must lie on a local NTFS or ReFS.
///
/// # Errors
/// `Folder`, with the reason.
pub(crate) fn check_folder(folder: &Path) -> ProjectResult<()> {
    let shown = folder.display();
    let refused = |reason: &str| {
        let line = format!("{shown}: {reason}; give a folder on a local NTFS volume");
        ProjectError::new(ProjectErrorKind::Folder, line)
    };
    if let Some(Component::Prefix(prefix)) = folder.components().next()
        && matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
    {
        return Err(refused("is on a network share"));
    }
    let root = volume_root(folder);
    if root.as_deref().is_some_and(is_remote) {
        return Err(refused("is on a drive of the network"));
    }
    match root.as_deref().and_then(supports_mount_points) {
        // The volumes of wine have none, and the double of the tests needs none.
        #[cfg(debug_assertions)]
        Some(false) if std::env::var_os("VOLFOLD_TEST_ANY_FOLDER").is_some() => Ok(()),
        Some(false) => Err(refused("lies on a file system without mount points")),
        // Where the host does not tell, mounting will.
        Some(true) | None => Ok(()),
    }
}

/// The root of the volume that `folder` lies on, which ends with 0; of a drive letter none.
fn volume_root(folder: &Path) -> Option<Vec<u16>> {
    let wide = wide(folder);
    let mut root = vec![0_u16; 1024];
    let size = u32::try_from(root.len()).unwrap_or(0);
    // SAFETY: the name ends with 0, the size is that of the buffer.
    let told = unsafe { GetVolumePathNameW(wide.as_ptr(), root.as_mut_ptr(), size) };
    (told != 0).then_some(root)
}

/// Whether `root` is a drive that stands for a share.
fn is_remote(root: &[u16]) -> bool {
    // SAFETY: the name ends with 0.
    unsafe { GetDriveTypeW(root.as_ptr()) == DRIVE_REMOTE }
}

fn supports_mount_points(root: &[u16]) -> Option<bool> {
    let mut features = 0;
    // SAFETY: the name ends with 0, unwanted results are null.
    let told = unsafe {
        let null = std::ptr::null_mut();
        GetVolumeInformationW(
            root.as_ptr(),
            null,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut features,
            std::ptr::null_mut(),
            0,
        )
    };
    (told != 0).then_some(features & FILE_SUPPORTS_REPARSE_POINTS != 0)
}

/// The name that the Mount Manager has for the volume mounted at `point`: `\\?\Volume{...}\`. It
/// knows only what it was told of.
pub(crate) fn volume_guid_path(point: &str) -> Option<String> {
    let point = point.strip_prefix(r"\\.\").unwrap_or(point).trim_end_matches('\\');
    let wide = wide(format!(r"{point}\"));
    let mut name = [0_u16; 64];
    let size = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: the name ends with 0, the size is that of the buffer.
    let told = unsafe { GetVolumeNameForVolumeMountPointW(wide.as_ptr(), name.as_mut_ptr(), size) };
    let length = name.iter().position(|unit| *unit == 0)?;
    (told != 0).then(|| String::from_utf16_lossy(&name[..length]))
}
