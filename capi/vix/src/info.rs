//! What a disk is.

use std::ptr;

use volfold_capi_support::{Arena, Handle, foreign};

use crate::disk::SECTOR;
use crate::errors::{VixError, call};
use crate::geometry::Geometry;
use crate::layout::VixDiskLibInfo;
use crate::metadata;
use crate::objects::{self, Kind};

/// The number of an adapter of the name `text`.
fn adapter(text: &str) -> i32 {
    match text {
        "ide" => 1,
        "buslogic" => 2,
        "lsilogic" => 3,
        _ => 256,
    }
}

/// What the disk is. VixDiskLib_FreeInfo frees it. It has the fields of version 7.0, which are past the
/// end of what programs before it look at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_GetInfo(
    diskHandle: Handle,
    info: *mut *const VixDiskLibInfo,
) -> VixError {
    call(|| {
        foreign::put(info, ptr::null(), "info")?;
        let open = objects::disk(diskHandle)?;
        let disk = open.disk()?;
        let keys = metadata::of(&open)?;
        let value =
            |name: &str| keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let own = Geometry::of_keys(&keys, "geometry");
        let physical = own.unwrap_or_else(|| Geometry::of_size(disk.size));
        let bios = Geometry::of_keys(&keys, "geometry.bios").unwrap_or(physical);
        let adapter = value("adapterType").map_or(256, adapter);
        let links = i32::try_from(disk.chain.len()).unwrap_or(i32::MAX);
        let text = |arena: &mut Arena, text: Option<&str>| {
            text.map_or(ptr::null(), |text| arena.text(text.as_bytes()))
        };
        let block = objects::block(Kind::DiskInfo, |arena| VixDiskLibInfo {
            biosGeo: bios.into(),
            physGeo: physical.into(),
            capacity: disk.device.size() / SECTOR,
            adapterType: adapter,
            numLinks: links.max(1),
            parentFileNameHint: text(arena, disk.chain.get(1).map(String::as_str)),
            uuid: text(arena, value("uuid")),
            logicalSectorSize: disk.sector_size,
            physicalSectorSize: disk.sector_size,
        })?;
        Ok(foreign::put(info, block, "info")?)
    })
}

/// Frees what VixDiskLib_GetInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_FreeInfo(info: *mut VixDiskLibInfo) {
    objects::free_quietly(Kind::DiskInfo, info.cast_const());
}
