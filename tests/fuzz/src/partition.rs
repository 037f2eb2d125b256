//! Any bytes as a disk: the partition scheme that the first byte picks, and the choice among all, with both sector
//! sizes.

use volfold::partition::PartitionTable;
use volfold::partition::registry::{SCHEMES, read_table};
use volfold_block::MemoryDevice;

/// Reads the rest of `data` as partition tables.
pub fn run(data: &[u8]) {
    let Some((scheme, data)) = super::pick(SCHEMES, data) else { return };
    let device = MemoryDevice::new(data);
    for sector_size in [512, 4096] {
        for table in [scheme.read(&device, sector_size), read_table(&device, sector_size)] {
            if let Ok(Some(table)) = table {
                check(&table);
            }
        }
    }
}

fn check(table: &PartitionTable) {
    for partition in &table.partitions {
        let _ = (partition.kind.title(), partition.kind.to_string());
    }
    assert!(table.partitions.len() <= 4096 + 4);
}
