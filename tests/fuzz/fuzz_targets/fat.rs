//! Any bytes as a volume of FAT12, FAT16 or FAT32.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| volfold_fuzz::touch_volume(&volfold_fs::fat::FatDriver, data));
