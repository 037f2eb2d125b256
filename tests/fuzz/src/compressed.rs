//! Any bytes as a compressed file; the first byte picks how it is called.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{CachePool, MemoryDevice};
use volfold_images::{Located, NoFiles, unpack};

/// A block of bzip2 may have 46 MiB in some 50 bytes, so that a file of many of them takes long.
const MAX_INPUT: usize = 64 << 10;

/// Opens the rest of `data` under a name that its first byte picks, and reads here and there.
pub fn run(data: &[u8]) {
    let names = ["d.bz2", "d.gz", "d.xz", "d.zst"];
    let Some((first, data)) = data.split_first() else { return };
    let name = names.get(usize::from(*first) % names.len());
    let Some(name) = name.filter(|_| data.len() <= MAX_INPUT) else { return };
    let file = Located {
        device: Arc::new(MemoryDevice::new(data)),
        name: (*name).to_owned(),
        files: Arc::new(NoFiles { format: "raw" }),
    };
    if let Ok((file, _)) = unpack(file, Path::new(name), &CachePool::new(1 << 20), &|_| Ok(())) {
        super::image::visit(&*file.device);
    }
}
