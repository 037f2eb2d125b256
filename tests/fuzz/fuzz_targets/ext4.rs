//! Any bytes as a volume of ext2, ext3 or ext4.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| volfold_fuzz::touch_volume(&volfold_fs::ext4::Ext4Driver, data));
