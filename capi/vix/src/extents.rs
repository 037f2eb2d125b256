//! Which parts of a disk its image holds.

use std::mem::offset_of;
use std::ptr;

use volfold::block::{BlockDevice, ExtentKind};
use volfold_capi_support::{Arena, Handle, foreign};

use crate::disk::SECTOR;
use crate::errors::{Done, Failure, VIX_E_INVALID_ARG, VixError, call};
use crate::layout::{VixDiskLibBlock, VixDiskLibBlockList};
use crate::objects::{self, Kind};

/// The smallest chunk that may be asked for, in sectors.
const MIN_CHUNK: u64 = 128;

/// LIMIT: chunks of one call, the bound of VixDiskLib itself.
const MAX_CHUNKS: u64 = 512 * 1024;

/// The types of disks that are as large as the disk is.
const FLAT_TYPES: [u32; 3] = [2, 4, 5];

/// The runs of chunks of `chunk` bytes that hold data, in `[start, end)` of `device`.
fn allocated(
    device: &dyn BlockDevice,
    start: u64,
    end: u64,
    chunk: u64,
) -> Done<Vec<VixDiskLibBlock>> {
    let mut runs: Vec<VixDiskLibBlock> = Vec::new();
    let mut at = start;
    while at < end {
        let extent = device.extent_at(at)?;
        let reach = at.saturating_add(extent.length.max(1)).min(end);
        if extent.kind == ExtentKind::Zero {
            at = reach;
            continue;
        }
        // Whole chunks, counted from the start of the request.
        let skipped = (at - start) / chunk * chunk;
        let first = start.saturating_add(skipped);
        let chunks = (reach - first).div_ceil(chunk);
        let past = first.saturating_add(chunks.saturating_mul(chunk)).min(end);
        match runs.last_mut() {
            Some(last) if last.offset * SECTOR + last.length * SECTOR >= first => {
                last.length = past / SECTOR - last.offset;
            }
            _ => runs
                .push(VixDiskLibBlock { offset: first / SECTOR, length: (past - first) / SECTOR }),
        }
        at = past;
    }
    Ok(runs)
}

/// The runs of sectors, in whole chunks of `chunkSize` sectors, that the image or its parents hold; all
/// others are zeros. VixDiskLib_FreeBlockList frees them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_QueryAllocatedBlocks(
    diskHandle: Handle,
    startSector: u64,
    numSectors: u64,
    chunkSize: u64,
    blockList: *mut *const VixDiskLibBlockList,
) -> VixError {
    call(|| {
        foreign::put(blockList, ptr::null(), "blockList")?;
        let disk = objects::disk(diskHandle)?;
        disk.check_whole()?;
        if chunkSize < MIN_CHUNK || numSectors.div_ceil(chunkSize) > MAX_CHUNKS {
            let line = format!("{numSectors} sectors in chunks of {chunkSize}");
            return Err(Failure::new(VIX_E_INVALID_ARG, line));
        }
        let (start, length) = disk.bytes(startSector, numSectors)?;
        let chunk = chunkSize.saturating_mul(SECTOR);
        let runs = allocated(&*disk.disk()?.device, start, start.saturating_add(length), chunk)?;
        let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let none = VixDiskLibBlock { offset: 0, length: 0 };
        let tail_at = offset_of!(VixDiskLibBlockList, blocks);
        let fill = |_: &mut Arena| {
            (VixDiskLibBlockList { numBlocks: count, blocks: [none] }, runs.clone())
        };
        let list = objects::block_with_tail(Kind::BlockList, tail_at, runs.len(), fill)?;
        Ok(foreign::put(blockList, list, "blockList")?)
    })
}

/// Frees what VixDiskLib_QueryAllocatedBlocks gave.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_FreeBlockList(blockList: *mut VixDiskLibBlockList) -> VixError {
    call(|| objects::free(Kind::BlockList, blockList.cast_const()))
}

/// How many bytes a clone of the type `cloneDiskType` needs: what is allocated, or all of the disk for
/// flat types. What the format adds for itself is not counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_SpaceNeededForClone(
    diskHandle: Handle,
    cloneDiskType: u32,
    spaceNeeded: *mut u64,
) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        let device = &disk.disk()?.device;
        let size = device.size();
        let needed = if FLAT_TYPES.contains(&cloneDiskType) {
            size
        } else {
            let runs = allocated(&**device, 0, size, MIN_CHUNK * SECTOR)?;
            let sectors = runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.length));
            sectors.saturating_mul(SECTOR)
        };
        Ok(foreign::put(spaceNeeded, needed, "spaceNeeded")?)
    })
}

#[cfg(test)]
mod tests {
    use volfold::block::{BlockResult, Map, Mapped, MemoryDevice, Piece, Place};

    use super::*;

    /// Data in every second of its pieces of 96 sectors.
    struct Striped(MemoryDevice);

    const PIECE: u64 = 96 * SECTOR;

    impl Map for Striped {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
            let (piece, left) = (offset / PIECE, PIECE - offset % PIECE);
            let place = match piece % 4 {
                1 => Place::At(&self.0, offset),
                _ => Place::Zero,
            };
            Ok(Piece::new(place, left.min(self.size() - offset)))
        }
    }

    #[test]
    fn runs_are_whole_chunks_that_hold_data() {
        let bytes = vec![7; usize::try_from(PIECE * 9).unwrap()];
        let device = Mapped::new(Striped(MemoryDevice::new(bytes)));
        let runs = allocated(&device, 0, device.size(), MIN_CHUNK * SECTOR).unwrap();
        let runs: Vec<_> = runs.iter().map(|run| (run.offset, run.length)).collect();
        // Sectors 96 to 192 and 480 to 576.
        assert_eq!(runs, [(0, 256), (384, 256)]);
        let inner = allocated(&device, 192 * SECTOR, 480 * SECTOR, MIN_CHUNK * SECTOR).unwrap();
        assert!(inner.is_empty());
    }
}
