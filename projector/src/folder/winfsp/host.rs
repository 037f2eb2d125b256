//! Why WinFsp refuses.

use super::abi::{NtStatus, nt_status};
use crate::error::{ProjectError, ProjectErrorKind};

/// Why no volume of WinFsp could be made.
pub(super) fn driver_error(shown: &str, status: NtStatus) -> ProjectError {
    const NO_SUCH_DEVICE: NtStatus = nt_status(0xC000_000E);
    const OBJECT_NAME_NOT_FOUND: NtStatus = nt_status(0xC000_0034);
    const OBJECT_PATH_NOT_FOUND: NtStatus = nt_status(0xC000_003A);
    const ACCESS_DENIED: NtStatus = nt_status(0xC000_0022);
    let reason = match status {
        NO_SUCH_DEVICE | OBJECT_NAME_NOT_FOUND | OBJECT_PATH_NOT_FOUND => {
            "WinFsp's driver is not loaded; install WinFsp again or restart Windows".to_owned()
        }
        ACCESS_DENIED => "WinFsp's driver refuses this user".to_owned(),
        other => format!("WinFsp's driver answers {other:#010x}"),
    };
    ProjectError::new(ProjectErrorKind::Unavailable, format!("{shown}: {reason}"))
}

/// Why a volume could not be mounted at its place.
pub(super) fn mount_point_error(shown: &str, status: NtStatus) -> ProjectError {
    const OBJECT_NAME_COLLISION: NtStatus = nt_status(0xC000_0035);
    const OBJECT_PATH_NOT_FOUND: NtStatus = nt_status(0xC000_003A);
    const ACCESS_DENIED: NtStatus = nt_status(0xC000_0022);
    const NETWORK_ACCESS_DENIED: NtStatus = nt_status(0xC000_00CA);
    let reason = match status {
        OBJECT_NAME_COLLISION => "is there already; remove it or take another folder".to_owned(),
        OBJECT_PATH_NOT_FOUND => "the folder above it is not there".to_owned(),
        ACCESS_DENIED => {
            "this user may not mount there; --mount-manager and folders of the system \
                          need an administrator"
                .to_owned()
        }
        NETWORK_ACCESS_DENIED => "is on a network share; give a local folder".to_owned(),
        other => format!("cannot be mounted: WinFsp answers {other:#010x}"),
    };
    ProjectError::new(ProjectErrorKind::Folder, format!("{shown}: {reason}"))
}
