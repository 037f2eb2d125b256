//! Images that other programs made or read, compared byte by byte with the disk that they hold.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod qcow2;
mod qed;
mod tools;
mod vdi;
mod vmdk;
