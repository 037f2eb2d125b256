//! Any bytes as a volume in which snapshots are kept: found and read by the manager that the first byte picks.

use std::sync::Arc;

use volfold::volume::registry::SNAPSHOT_MANAGERS;
use volfold::volume::{Region, basic};
use volfold_block::{BlockDevice, MemoryDevice};

/// Finds what the rest of `data` keeps, and reads of it.
pub fn run(data: &[u8]) {
    let Some((manager, data)) = super::pick(SNAPSHOT_MANAGERS, data) else { return };
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(data));
    let region = Region {
        disk: 0,
        size: device.size(),
        device,
        start: 0,
        label: "disk".into(),
        partition: None,
        table_id: None,
    };
    let mut findings = Vec::new();
    let volume = basic::volume(region);
    manager.find(&[&volume], false, &mut findings);
    for snapshot in manager.find(&[&volume], true, &mut findings).iter().take(8) {
        let size = snapshot.device.size();
        let mut buf = [0; 700];
        for offset in [0, 5 << 14, size / 2, size.saturating_sub(700)] {
            let _ = snapshot.device.read_at(offset, &mut buf);
            if let Ok(extent) = snapshot.device.extent_at(offset) {
                let end = offset.checked_add(extent.length);
                assert!(extent.length > 0 && end.is_some_and(|end| end <= size));
            }
        }
    }
}
