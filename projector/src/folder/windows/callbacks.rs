//! What the callbacks of every driver have in common.

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
