//! The callbacks for WinFsp: asked through a double of its DLL, through the genuine DLL's own layer
//! of requests, and by the built program.

mod compare;
mod double;
#[cfg(debug_assertions)]
mod ending;
#[cfg(target_env = "gnu")]
mod genuine;
#[cfg(target_env = "gnu")]
mod genuine_host;
#[cfg(target_env = "gnu")]
mod layout;
mod memory;
#[cfg(debug_assertions)]
mod pipe;
mod program;
#[cfg(debug_assertions)]
mod service;
#[cfg(debug_assertions)]
mod windows;
