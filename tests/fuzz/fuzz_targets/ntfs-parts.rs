//! Any bytes as one structure or one compressed unit of NTFS; the first byte chooses.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((part, data)) = data.split_first() {
        volfold_fs::ntfs::fuzzing::touch(*part, data);
    }
});
