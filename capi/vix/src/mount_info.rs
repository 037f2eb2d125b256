//! What volumes are, and which system a set holds.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;

use volfold::SetVolume;
use volfold::volume::VolumeType;
use volfold_capi_support::{Arena, Handle, foreign};

use crate::errors::{Failure, VIX_E_MNTAPI_UNSUPPROTED_OS, VixError, call};
use crate::layout::{VixOsInfo, VixVolumeInfo};
use crate::objects::{self, Kind};

/// The number of a kind of volume.
fn volume_type(kind: VolumeType) -> i32 {
    match kind {
        VolumeType::Basic => 1,
        VolumeType::Gpt => 2,
        VolumeType::Dynamic => 3,
        _ => 0,
    }
}

/// The drive letters that the guest has for the volume: `C:\`.
fn drives(volume: &SetVolume) -> Vec<String> {
    let names = volume.guest_names().into_iter();
    let letters = names.filter(|name| matches!(name.as_bytes(), [_, b':']));
    letters.map(|name| format!("{name}\\")).collect()
}

/// What the volume is: where it is mounted, and what the guest calls it. VixMntapi_FreeVolumeInfo frees
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_GetVolumeInfo(
    volumeHandle: Handle,
    volumeInfo: *mut *const VixVolumeInfo,
) -> VixError {
    call(|| {
        foreign::put(volumeInfo, ptr::null(), "volumeInfo")?;
        let open = objects::volume(volumeHandle)?;
        let volume = open.volume()?;
        let link = open.mounted.lock().as_ref().map(|at| at.link.clone());
        let drives = link.as_ref().map(|_| drives(volume)).unwrap_or_default();
        let fill = |arena: &mut Arena| {
            let text = |arena: &mut Arena, text: &String| arena.text(text.as_bytes());
            let names: Vec<*const c_char> = drives.iter().map(|it| text(arena, it)).collect();
            let info = VixVolumeInfo {
                type_: volume_type(volume.volume.kind),
                isMounted: c_char::from(link.is_some()),
                symbolicLink: link.as_ref().map_or(ptr::null(), |link| text(arena, link)),
                numGuestMountPoints: names.len(),
                inGuestMountPoints: [ptr::null()],
            };
            (info, names)
        };
        let tail_at = offset_of!(VixVolumeInfo, inGuestMountPoints);
        let block = objects::block_with_tail(Kind::VolumeInfo, tail_at, drives.len(), fill)?;
        Ok(foreign::put(volumeInfo, block, "volumeInfo")?)
    })
}

/// Frees what VixMntapi_GetVolumeInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeVolumeInfo(volumeInfo: *mut VixVolumeInfo) {
    objects::free_quietly(Kind::VolumeInfo, volumeInfo.cast_const());
}

/// VIX_E_MNTAPI_UNSUPPROTED_OS: which system lies on the set is not looked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_GetOsInfo(
    diskSet: Handle,
    osInfo: *mut *const VixOsInfo,
) -> VixError {
    call(|| {
        foreign::put(osInfo, ptr::null(), "osInfo")?;
        objects::set(diskSet)?;
        let line = "which system lies on the set is not looked for";
        Err(Failure::new(VIX_E_MNTAPI_UNSUPPROTED_OS, line))
    })
}

/// Frees what VixMntapi_GetOsInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeOsInfo(osInfo: *mut VixOsInfo) {
    objects::free_quietly(Kind::OsInfo, osInfo.cast_const());
}
