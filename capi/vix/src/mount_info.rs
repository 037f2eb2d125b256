//! What volumes are, and which system a set holds.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;

use volfold::SetVolume;
use volfold::guest::{Family, GuestSystem, MountPoint, OsInfo};
use volfold::volume::VolumeType;
use volfold_capi_support::{Arena, Handle, foreign};

use crate::errors::{Failure, VIX_E_MNTAPI_GETFILE_ERROR, VixError, call};
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

/// Where the guest has the volume: by what its disks tell (`C:\`), and by what the system of the set tells
/// that is started by default (`C:\Data`, `/home`).
fn guest_places(volume: &SetVolume, systems: &OsInfo) -> Vec<String> {
    let by_disks = volume.guest_names().into_iter();
    let by_disks = by_disks.filter(|name| matches!(name.as_bytes(), [_, b':']));
    let points = systems.systems.first().map(|system| &system.mount_points[..]);
    let own = points
        .unwrap_or_default()
        .iter()
        .filter(|point| point.volume.as_deref() == Some(volume.id()));
    let mut places: Vec<String> = Vec::new();
    for name in by_disks.chain(own.map(|point| point.path.clone())) {
        let is_drive = matches!(name.as_bytes(), [_, b':']);
        let place = if is_drive { format!("{name}\\") } else { name };
        if !places.iter().any(|known| known.eq_ignore_ascii_case(&place)) {
            places.push(place);
        }
    }
    places
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
        let places = match link {
            Some(_) => guest_places(volume, open.set.set.set.os_info()?),
            None => Vec::new(),
        };
        let fill = |arena: &mut Arena| {
            let text = |arena: &mut Arena, text: &String| arena.text(text.as_bytes());
            let names: Vec<*const c_char> = places.iter().map(|it| text(arena, it)).collect();
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
        let block = objects::block_with_tail(Kind::VolumeInfo, tail_at, places.len(), fill)?;
        Ok(foreign::put(volumeInfo, block, "volumeInfo")?)
    })
}

/// Frees what VixMntapi_GetVolumeInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeVolumeInfo(volumeInfo: *mut VixVolumeInfo) {
    objects::free_quietly(Kind::VolumeInfo, volumeInfo.cast_const());
}

/// The two numbers of a version.
fn version(system: &GuestSystem) -> (u32, u32) {
    let text = system.version.as_deref().unwrap_or_default();
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Where a system lies, as it calls that itself: `C:\Windows`.
fn own_folder(system: &GuestSystem) -> String {
    if system.family != Family::Windows {
        return system.folder.clone();
    }
    let is_drive = |point: &&MountPoint| {
        point.volume.as_deref() == Some(&system.volume)
            && matches!(point.path.as_bytes(), [_, b':', ..])
    };
    let drive = system.mount_points.iter().find(is_drive);
    let drive = drive.and_then(|point| point.path.get(..2)).unwrap_or_default();
    format!("{drive}{}", system.folder.replace('/', "\\"))
}

/// The system that is started by default, read from the volumes of the set: nothing has to be mounted for
/// it, and nothing is. On a set without a system its family is VIXMNTAPI_NO_OS. VixMntapi_FreeOsInfo
/// frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_GetOsInfo(
    diskSet: Handle,
    osInfo: *mut *const VixOsInfo,
) -> VixError {
    call(|| {
        foreign::put(osInfo, ptr::null(), "osInfo")?;
        let set = objects::set(diskSet)?;
        let found = set.set.set.os_info()?;
        let system = found.systems.first();
        if let (None, Some(finding)) = (system, found.findings.first()) {
            return Err(Failure::new(VIX_E_MNTAPI_GETFILE_ERROR, finding.to_string()));
        }
        let (majorVersion, minorVersion) = system.map(version).unwrap_or_default();
        let architecture = system.and_then(|system| system.architecture.as_deref());
        let edition = system.and_then(|it| it.edition.as_ref().or(it.product.as_ref()));
        let folder = system.map(own_folder).unwrap_or_default();
        let is_64_bit = architecture.is_some_and(|name| name.contains("64"));
        let text = |arena: &mut Arena, text: Option<&String>| {
            arena.text(text.map(String::as_bytes).unwrap_or_default())
        };
        let block = objects::block(Kind::OsInfo, |arena| VixOsInfo {
            family: match system.map(|system| system.family) {
                None => 0,
                Some(Family::Windows) => 1,
                Some(_) => 255,
            },
            majorVersion,
            minorVersion,
            osIs64Bit: c_char::from(is_64_bit),
            vendor: text(arena, system.and_then(|system| system.vendor.as_ref())),
            edition: text(arena, edition),
            osFolder: arena.text(folder.as_bytes()),
        })?;
        Ok(foreign::put(osInfo, block, "osInfo")?)
    })
}

/// Frees what VixMntapi_GetOsInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeOsInfo(osInfo: *mut VixOsInfo) {
    objects::free_quietly(Kind::OsInfo, osInfo.cast_const());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_of_windows_lies_on_its_drive() {
        let mut system = GuestSystem::default();
        system.family = Family::Windows;
        system.volume = "mbr:1-2048".to_owned();
        system.folder = "/Windows".to_owned();
        system.version = Some("10.0".to_owned());
        assert_eq!((version(&system), own_folder(&system)), ((10, 0), "\\Windows".to_owned()));
        system.family = Family::Linux;
        system.version = Some("rolling".to_owned());
        assert_eq!((version(&system), own_folder(&system)), ((0, 0), "/Windows".to_owned()));
    }
}
