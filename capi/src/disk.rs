//! The disks of a set.

use std::ffi::c_void;
use std::ptr;

use volfold::Disk;
use volfold::block::{BlockDevice, Extent, ExtentKind};
use volfold_capi_support::foreign;

use crate::objects::{self, optional, text, texts};
use crate::set::path_bytes;
use crate::status::{Done, Failure, VolfoldStatus, call};
use crate::types::{VolfoldDiskInfo, VolfoldExtent, VolfoldExtentKind, VolfoldSet};

/// How many disks the set has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_disk_count(
    set: *const VolfoldSet,
    count: *mut usize,
) -> VolfoldStatus {
    call(|| {
        foreign::put(count, objects::set(set)?.set.disks().len(), "count")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Does `work` with the disk `index`.
fn with_disk(
    set: *const VolfoldSet,
    index: usize,
    work: impl FnOnce(&Disk) -> Done<()>,
) -> VolfoldStatus {
    call(|| {
        let set = objects::set(set)?;
        let disk = set.set.disks().get(index).ok_or_else(|| Failure::index("disk", index))?;
        work(disk)?;
        Ok(VolfoldStatus::Ok)
    })
}

/// What the disk `index` is. Free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_disk_info(
    set: *const VolfoldSet,
    index: usize,
    info: *mut *const VolfoldDiskInfo,
) -> VolfoldStatus {
    with_disk(set, index, |disk| {
        foreign::put(info, ptr::null(), "info")?;
        let files: Vec<&str> = disk.files.iter().map(|file| file.name.as_str()).collect();
        let block = objects::block(|arena| VolfoldDiskInfo {
            struct_size: size_of::<VolfoldDiskInfo>(),
            size: disk.size,
            sector_size: disk.sector_size,
            path: text(arena, path_bytes(&disk.path)),
            format: text(arena, disk.format),
            variant: optional(arena, disk.variant.as_deref()),
            partition_scheme: optional(arena, disk.partition_scheme),
            chain_count: disk.chain.len(),
            chain: texts(arena, &disk.chain),
            file_count: files.len(),
            files: texts(arena, &files),
        })?;
        Ok(foreign::put(info, block, "info")?)
    })
}

/// Fills all of `buffer` with `length` bytes of the disk `index`, from `offset` on. With another status
/// than VOLFOLD_STATUS_OK the content of `buffer` is undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_disk_read(
    set: *const VolfoldSet,
    index: usize,
    offset: u64,
    buffer: *mut c_void,
    length: usize,
) -> VolfoldStatus {
    with_disk(set, index, |disk| {
        let buffer = foreign::buffer(buffer, length, "buffer")?;
        Ok(disk.device.read_at(offset, buffer)?)
    })
}

/// The same for `count` sectors from `first` on, each of VolfoldDiskInfo.sector_size bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_disk_read_sectors(
    set: *const VolfoldSet,
    index: usize,
    first: u64,
    count: u64,
    buffer: *mut c_void,
) -> VolfoldStatus {
    with_disk(set, index, |disk| {
        let size = u64::from(disk.sector_size);
        let length = count.checked_mul(size).and_then(|length| usize::try_from(length).ok());
        let (Some(offset), Some(length)) = (first.checked_mul(size), length) else {
            return Err(Failure::new(VolfoldStatus::OutOfRange, "no disk has so many sectors"));
        };
        // What leaves the disk is refused before the memory is looked at.
        volfold::block::check_range(offset, length, disk.device.size())?;
        let buffer = foreign::buffer(buffer, length, "buffer")?;
        Ok(disk.device.read_at(offset, buffer)?)
    })
}

/// The kind of the bytes at `offset` of the disk `index`, and how far they reach: with
/// VOLFOLD_EXTENT_KIND_ZERO the image has no bytes there. Ask again at the end of the run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_disk_extent(
    set: *const VolfoldSet,
    index: usize,
    offset: u64,
    extent: *mut VolfoldExtent,
) -> VolfoldStatus {
    with_disk(set, index, |disk| {
        let found = extent_at(&*disk.device, offset)?;
        Ok(foreign::put(extent, found, "extent")?)
    })
}

/// The run of bytes at `offset` of `device`.
pub(crate) fn extent_at(device: &dyn BlockDevice, offset: u64) -> Done<VolfoldExtent> {
    let Extent { kind, length } = device.extent_at(offset)?;
    let kind = match kind {
        ExtentKind::Data => VolfoldExtentKind::Data,
        ExtentKind::Zero => VolfoldExtentKind::Zero,
    };
    Ok(VolfoldExtent { length, kind, status: VolfoldStatus::Ok })
}
