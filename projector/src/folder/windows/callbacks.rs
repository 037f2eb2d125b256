//! What the callbacks of every driver have in common.

#![expect(unsafe_code, reason = "drivers pass raw pointers")]

use volfold_block::{Panicked, guard};
use volfold_fs::FsErrorKind;

use super::VolumeServer;
use crate::folder::status::{self, NtStatus, nt_status};

/// `FILE_WRITE_DATA | FILE_APPEND_DATA`.
pub(crate) const WRITE_ACCESS: u32 = 0x2 | 0x4;

/// What the callbacks of one volume use; `F` are the functions of the driver's library.
pub struct Context<F> {
    pub(crate) server: VolumeServer,
    pub(crate) functions: F,
    /// Called when the driver ends the volume by itself.
    pub(crate) lost: Box<dyn Fn() + Send + Sync>,
}

impl<F> Context<F> {
    /// The callbacks answer from `server`, and call `lost` when the driver ends the volume by itself.
    pub fn new(server: VolumeServer, functions: F, lost: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { server, functions, lost }
    }
}

/// The code units of a string that ends with 0.
///
/// # Safety
/// `text` must point to such a string that outlives the request.
pub(crate) unsafe fn units<'a>(text: *const u16) -> &'a [u16] {
    // SAFETY: by the contract of this function there is a 0 before the end.
    unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        std::slice::from_raw_parts(text, length)
    }
}

/// Why a request fails.
struct Failure(NtStatus);

impl From<Panicked<'_>> for Failure {
    fn from(_panicked: Panicked<'_>) -> Self {
        Self(nt_status(FsErrorKind::Internal))
    }
}

/// The status of `work`; a panic in it is a fault of ours, and never crosses into the library.
pub(crate) fn answer(work: impl FnOnce() -> Result<(), NtStatus>) -> NtStatus {
    match guard("the volume", || work().map_err(Failure)) {
        Ok(()) => status::SUCCESS,
        Err(Failure(status)) => status,
    }
}
