//! Any bytes as a volume: mounted by the driver that the first byte picks, walked and read with bounds.

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};
use volfold_fs::{
    DRIVERS, DirCursor, FileSystem, FileSystemDriver, Name, NodeId, ReadOptions, StreamName,
    VolumeReader,
};

const MAX_NODES: usize = 300;
const MAX_STREAMS: usize = 8;
const MAX_ATTRIBUTES: usize = 32;
const MAX_EXTENTS: usize = 100;

/// Mounts the rest of `data` with the driver that its first byte picks, and touches what can be reached.
pub fn run(data: &[u8]) {
    let Some((driver, data)) = super::pick(DRIVERS, data) else { return };
    touch(driver, Arc::new(MemoryDevice::new(data)));
}

/// Mounts `device`, and touches what can be reached.
pub fn touch(driver: &dyn FileSystemDriver, device: Arc<dyn BlockDevice>) {
    let volume = VolumeReader::uncached(device);
    let _ = driver.probe(&*volume.data);
    let _ = driver.probe_backup(&*volume.data);
    let _ = driver.identify(volume.clone());
    let Ok(fs) = driver.mount(volume, ReadOptions::default()) else { return };
    let _ = fs.usage();
    let mut nodes = vec![fs.root()];
    let mut next = 0;
    while let Some(&node) = nodes.get(next) {
        next += 1;
        list(&*fs, node, &mut nodes);
        read(&*fs, node);
        let _ = fs.metadata(node);
        let _ = fs.read_link(node);
        for name in fs.extended_attributes(node).into_iter().flatten().take(MAX_ATTRIBUTES) {
            let _ = fs.extended_attribute(node, &name);
        }
        let _ = fs.lookup(node, Name::new("name"));
    }
    let _ = fs.check(&mut |_| {});
    let _ = fs.findings();
}

fn list(fs: &dyn FileSystem, dir: NodeId, nodes: &mut Vec<NodeId>) {
    let mut cursor = DirCursor::START;
    let _ = fs.read_dir(dir, cursor, &mut |entry| {
        assert!(entry.next > cursor, "the cursor goes on");
        cursor = entry.next;
        if nodes.len() >= MAX_NODES {
            return ControlFlow::Break(());
        }
        nodes.push(entry.node);
        let _ = fs.lookup(dir, entry.name);
        ControlFlow::Continue(())
    });
}

fn read(fs: &dyn FileSystem, node: NodeId) {
    let mut streams = vec![StreamName::MAIN];
    streams.extend(fs.streams(node).into_iter().flatten().map(|info| info.name));
    for stream in streams.iter().take(MAX_STREAMS) {
        let Ok(file) = fs.open(node, stream) else { continue };
        let mut buf = vec![0; 64 * 1024];
        if let Ok(count) = file.read_at(0, &mut buf) {
            assert_eq!(count as u64, file.size().min(64 * 1024));
        }
        let mut offset = 0;
        for _ in 0..MAX_EXTENTS {
            if offset >= file.size() {
                break;
            }
            let Ok(extent) = file.extent_at(offset) else { break };
            assert!(extent.length > 0 && extent.length <= file.size() - offset);
            offset += extent.length;
        }
    }
}
