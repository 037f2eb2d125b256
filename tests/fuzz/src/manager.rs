//! Any bytes as one disk of a group: claimed and laid out by the volume manager that the first byte picks.

use std::sync::Arc;

use volfold::volume::Region;
use volfold::volume::registry::MANAGERS;
use volfold_block::{BlockDevice, MemoryDevice};

/// Claims the rest of `data` and assembles what it says, alone and beside a copy of itself.
pub fn run(data: &[u8]) {
    let Some((manager, data)) = super::pick(MANAGERS, data) else { return };
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(data));
    let region = |disk: usize| Region {
        disk,
        size: device.size(),
        device: device.clone(),
        start: 0,
        label: format!("disk{disk}").into(),
        partition: None,
        table_id: None,
    };
    let Ok(Some(claim)) = manager.claim(&region(0)) else { return };
    for members in [vec![region(0)], vec![region(0), region(1)]] {
        let mut findings = Vec::new();
        for volume in manager.assemble(&claim.group, &members, &mut findings).iter().take(32) {
            let size = volume.device.size();
            let mut buf = [0; 700];
            for offset in [0, size / 2, size.saturating_sub(700)] {
                let _ = volume.device.read_at(offset, &mut buf);
                if let Ok(extent) = volume.device.extent_at(offset) {
                    let end = offset.checked_add(extent.length);
                    assert!(extent.length > 0 && end.is_some_and(|end| end <= size));
                }
            }
        }
    }
}
