//! Images that other programs made or read, compared byte by byte with the disk that they hold.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod dmg;
#[path = "../../src/format/dmg/testing.rs"]
mod dmg_builder;
mod ewf;
mod parallels;
mod qcow2;
mod qed;
mod tools;
mod vdi;
mod vhd;
#[path = "../../src/format/vhd/testing.rs"]
mod vhd_builder;
mod vhdx;
#[path = "../../src/format/vhdx/testing.rs"]
#[expect(dead_code, reason = "the tests of the crate use the rest")]
mod vhdx_builder;
mod vmdk;
