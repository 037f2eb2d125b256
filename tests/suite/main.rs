//! All integration tests, one program: `cargo test --test suite NAME` runs those whose name has `NAME` in it.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops by a panic")]
#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "some of what the tests share serves those of Linux alone")
)]

mod common;
mod conformance;
#[expect(unreachable_pub, reason = "a crate of its own for the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;
mod harness;
mod witness;

mod as_is;
#[cfg(target_os = "linux")]
mod attach;
mod backends;
#[cfg(target_os = "linux")]
mod backups;
mod bitlocker;
#[cfg(target_os = "linux")]
mod bodyfile;
#[cfg(target_os = "linux")]
mod both_systems;
mod claims;
mod command_line;
#[cfg(target_os = "linux")]
mod containers;
#[cfg(target_os = "linux")]
mod convert;
mod corpus;
mod deleted;
mod documents;
mod exfat;
#[cfg(target_os = "linux")]
mod export;
mod ext4;
#[cfg(target_os = "linux")]
mod extract;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod guest_packages;
#[cfg(target_os = "linux")]
mod guest_windows;
#[cfg(target_os = "linux")]
mod images;
#[cfg(windows)]
mod initiator;
#[cfg(target_os = "linux")]
mod iscsi;
mod layering;
mod ldm;
mod links;
mod luks;
mod lvm;
#[cfg(target_os = "linux")]
mod machines;
mod md;
mod monitor;
#[cfg(target_os = "linux")]
mod mount;
#[cfg(target_os = "linux")]
mod mount_process;
#[cfg(target_os = "linux")]
mod nested;
#[cfg(target_os = "linux")]
mod ntfs_attributes;
#[cfg(target_os = "linux")]
mod overlay;
mod paths;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod raw;
mod recorded;
#[cfg(target_os = "linux")]
mod records;
mod regressions;
#[cfg(target_os = "linux")]
mod snapshots;
mod told;
#[cfg(target_os = "linux")]
mod vmware_mount;
mod vss;
mod windows;
#[cfg(windows)]
mod winfsp;
mod xfs;
mod xfs_damage;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(windows, debug_assertions))]
    if let Ok(role) = std::env::var(initiator::double::ROLE) {
        return initiator::double::main(&role);
    }
    harness::run(backends::every_driver_conforms())
}
