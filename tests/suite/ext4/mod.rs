//! ext2, ext3 and ext4 against what the kernel and e2fsprogs made.

mod attributes;
#[cfg(target_os = "linux")]
mod layouts;
#[cfg(target_os = "linux")]
mod orphans;
#[cfg(target_os = "linux")]
mod programs;

use std::sync::Arc;

use volfold_block::MemoryDevice;
use volfold_fs::{DRIVERS, FileSystem, FsResult, ReadOptions, VolumeReader};

use crate::common::fixtures::fixture;

fn image(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name).path()).expect("a fixture")
}

fn mount(bytes: &[u8]) -> FsResult<Arc<dyn FileSystem>> {
    let driver = DRIVERS.iter().find(|driver| driver.id() == "ext4").expect("the driver");
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(bytes)));
    driver.mount(reader, ReadOptions::default())
}

#[cfg(target_os = "linux")]
fn mount_file(image: &std::path::Path) -> FsResult<Arc<dyn FileSystem>> {
    mount(&std::fs::read(image).expect("an image"))
}
