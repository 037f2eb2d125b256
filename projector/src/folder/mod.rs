//! Volumes as folders of the host: FUSE on Linux, WinFsp or Dokan on Windows, and names and links that
//! the host bears.

#[cfg(all(windows, feature = "dokan"))]
pub mod dokan;
#[cfg(all(target_os = "linux", feature = "fuse"))]
pub mod fuse;
#[cfg(any(
    all(target_os = "linux", feature = "fuse"),
    all(windows, any(feature = "winfsp", feature = "dokan"))
))]
pub mod links;
pub mod names;
pub(crate) mod projector;
#[cfg(any(
    all(target_os = "linux", feature = "fuse"),
    all(windows, any(feature = "winfsp", feature = "dokan"))
))]
mod status;
#[cfg(all(windows, any(feature = "winfsp", feature = "dokan")))]
#[cfg_attr(
    not(all(feature = "winfsp", feature = "dokan")),
    expect(dead_code, reason = "what one driver asks for, another may not")
)]
pub mod windows;
#[cfg(all(windows, feature = "winfsp"))]
pub mod winfsp;
