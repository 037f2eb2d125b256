//! The callbacks for WinFsp and Dokan: asked through doubles of their DLLs, through the genuine WinFsp
//! DLL's own layer of requests, and by the built program.

mod compare;
mod descriptor;
mod dokan;
mod double;
#[cfg(debug_assertions)]
mod ending;
#[cfg(target_env = "gnu")]
mod genuine;
#[cfg(target_env = "gnu")]
mod genuine_host;
#[cfg(target_env = "gnu")]
mod layout;
mod links;
mod memory;
#[cfg(debug_assertions)]
mod pipe;
mod program;
#[cfg(debug_assertions)]
mod service;
#[cfg(debug_assertions)]
mod windows;
