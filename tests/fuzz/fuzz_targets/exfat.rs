#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| volfold_fuzz::exfat::run(data));
