//! The callbacks for WinFsp: asked through a double of its DLL, through the genuine DLL's own layer
//! of requests, and by the built program.
#![cfg(windows)]
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::panic,
    unsafe_code,
    reason = "a test stops by a panic; WinFsp's functions take raw pointers"
)]

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod double;
#[cfg(target_env = "gnu")]
mod genuine;
#[cfg(target_env = "gnu")]
mod genuine_host;
#[cfg(target_env = "gnu")]
mod layout;
mod memory;
mod program;
