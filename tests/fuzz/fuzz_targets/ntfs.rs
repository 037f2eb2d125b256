//! Any bytes as a volume of NTFS.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| volfold_fuzz::touch_volume(&volfold_fs::ntfs::NtfsDriver, data));
