//! Arbitrary bytes as a disk: every partition scheme, with both sector sizes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volfold::partition::read_table;
use volfold_block::MemoryDevice;

fuzz_target!(|data: &[u8]| {
    let device = MemoryDevice::new(data);
    for sector_size in [512, 4096] {
        if let Ok(Some(table)) = read_table(&device, sector_size) {
            for partition in &table.partitions {
                let _ = (partition.kind.title(), partition.kind.to_string());
            }
            assert!(table.partitions.len() <= 4096 + 4);
        }
    }
});
