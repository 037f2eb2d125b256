//! Sets of disks, and their volumes.

use std::collections::BTreeSet;
use std::ffi::c_char;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::images::host;
use volfold_capi_support::{Handle, OpenSet, SetOptions, foreign};

use crate::disk::{OPEN_FLAGS, OpenDisk, READ_ONLY};
use crate::errors::{
    Done, Failure, VIX_E_INVALID_ARG, VIX_E_MNTAPI_ALREADY_OPENED, VIX_E_MNTAPI_DISK_NOT_FOUND,
    VIX_E_MNTAPI_OPEN_FAILURE, VixError, call,
};
use crate::layout::VixDiskSetInfo;
use crate::library::needs_mount_library;
use crate::log;
use crate::mount::{MountFolder, MountedAt};
use crate::objects::{self, Kind, Object};

/// LIMIT: disks of one set.
const MAX_DISKS: usize = 4096;

/// A set of disks.
pub struct OpenDiskSet {
    pub(crate) set: OpenSet,
    flags: u32,
    /// The folder in which volumes are mounted, once one is.
    pub(crate) folder: Mutex<Option<Arc<MountFolder>>>,
    /// The handles of the volumes, in their order.
    volumes: Mutex<Vec<Handle>>,
}

/// A volume of a set. It does not keep its set open: the set is what has the volumes.
pub struct MountableVolume {
    pub(crate) set: Arc<OpenDiskSet>,
    pub(crate) index: usize,
    /// Where it is mounted; dropped, it is dismounted.
    pub(crate) mounted: Mutex<Option<MountedAt>>,
}

/// Opens the images at `paths` as one set, and gives a handle for it.
fn open(paths: Vec<PathBuf>, flags: u32, owner: Option<Handle>) -> Done<Handle> {
    if paths.is_empty() || paths.len() > MAX_DISKS || flags & !OPEN_FLAGS != 0 {
        let line = format!("{} disks with open flags {flags:#x}", paths.len());
        return Err(Failure::new(VIX_E_INVALID_ARG, line));
    }
    let mut seen = BTreeSet::new();
    for path in &paths {
        if !seen.insert(host::real_path(path)) {
            let line = format!("{} is in the set twice", path.display());
            return Err(Failure::new(VIX_E_MNTAPI_ALREADY_OPENED, line));
        }
    }
    let set = OpenSet::open(paths, SetOptions::default());
    if let Some(failure) = set.set.failures().first() {
        let path = failure.path.display().to_string();
        let inner = Failure::from(&failure.error).of(&path);
        let is_there = failure.path.exists();
        return Err(if is_there { inner } else { inner.with_code(VIX_E_MNTAPI_DISK_NOT_FOUND) });
    }
    if set.set.disks().is_empty() {
        return Err(Failure::new(VIX_E_MNTAPI_OPEN_FAILURE, "there is no disk in the set"));
    }
    let count = set.set.volumes().len();
    let set = Arc::new(OpenDiskSet {
        set,
        flags: flags | READ_ONLY,
        folder: Mutex::default(),
        volumes: Mutex::default(),
    });
    let handle = objects::open(Object::Set(Arc::clone(&set)), owner)?;
    let volume = |index| {
        let (set, mounted) = (Arc::clone(&set), Mutex::default());
        let volume = Object::Volume(Arc::new(MountableVolume { set, index, mounted }));
        objects::open(volume, Some(handle))
    };
    let volumes: Vec<Handle> = match (0..count).map(volume).collect() {
        Ok(volumes) => volumes,
        Err(failure) => {
            objects::close(handle, "disk set", |object| matches!(object, Object::Set(_)))?;
            return Err(failure);
        }
    };
    log::info(&format!("opened a set of {} disks, {count} volumes", set.set.set.disks().len()));
    *set.volumes.lock() = volumes;
    Ok(handle)
}

/// Opens the disks of `diskHandles` as one set, whatever their order and number, on every system. They
/// may be closed before it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_OpenDiskSet(
    diskHandles: *const Handle,
    numberOfDisks: usize,
    openMode: u32,
    diskSet: *mut Handle,
) -> VixError {
    call(|| {
        foreign::put(diskSet, 0, "diskSet")?;
        needs_mount_library()?;
        let mut disks: Vec<Arc<OpenDisk>> = Vec::new();
        for handle in foreign::array(diskHandles, numberOfDisks, "diskHandles")? {
            let disk = objects::disk(*handle)?;
            disk.check_whole()?;
            disks.push(disk);
        }
        let paths = disks.iter().map(|disk| disk.path.clone()).collect();
        Ok(foreign::put(diskSet, open(paths, openMode, None)?, "diskSet")?)
    })
}

/// Opens the images at `diskNames` as one set, of any number on every system. It is closed with
/// `connection`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_OpenDisks(
    connection: Handle,
    diskNames: *const *const c_char,
    numberOfDisks: usize,
    openFlags: u32,
    diskSet: *mut Handle,
) -> VixError {
    call(|| {
        foreign::put(diskSet, 0, "diskSet")?;
        needs_mount_library()?;
        objects::connection(connection)?;
        let mut paths = Vec::new();
        for name in foreign::array(diskNames, numberOfDisks, "diskNames")? {
            paths.push(foreign::host_path(*name, "diskNames")?);
        }
        Ok(foreign::put(diskSet, open(paths, openFlags, Some(connection))?, "diskSet")?)
    })
}

/// How the set was opened, and where its volumes are mounted. VixMntapi_FreeDiskSetInfo frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_GetDiskSetInfo(
    diskSet: Handle,
    diskSetInfo: *mut *const VixDiskSetInfo,
) -> VixError {
    call(|| {
        foreign::put(diskSetInfo, ptr::null(), "diskSetInfo")?;
        let set = objects::set(diskSet)?;
        let folder = set.folder.lock().as_ref().map(|folder| folder.path().to_path_buf());
        let path = folder.map(|path| path.display().to_string()).unwrap_or_default();
        let block = objects::block(Kind::SetInfo, |arena| VixDiskSetInfo {
            openFlags: set.flags,
            mountPath: arena.text(path.as_bytes()),
        })?;
        Ok(foreign::put(diskSetInfo, block, "diskSetInfo")?)
    })
}

/// Frees what VixMntapi_GetDiskSetInfo gave; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeDiskSetInfo(diskSetInfo: *mut VixDiskSetInfo) {
    objects::free_quietly(Kind::SetInfo, diskSetInfo.cast_const());
}

/// Closes the set: volumes of it that are mounted are dismounted, and all its handles are closed.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_CloseDiskSet(diskSet: Handle) -> VixError {
    call(|| {
        let is_it = |object: &Object| matches!(object, Object::Set(_));
        let closed = objects::close(diskSet, "disk set", is_it)?;
        for object in &closed {
            if let Object::Volume(volume) = object {
                volume.dismount_at_last();
            }
        }
        drop(closed);
        Ok(())
    })
}

/// The volumes of the set, also those that cannot be mounted, sorted by disk and place.
/// VixMntapi_FreeVolumeHandles frees the array; the volumes are open as long as the set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_GetVolumeHandles(
    diskSet: Handle,
    numberOfVolumes: *mut usize,
    volumeHandles: *mut *const Handle,
) -> VixError {
    call(|| {
        foreign::put(numberOfVolumes, 0, "numberOfVolumes")?;
        foreign::put(volumeHandles, ptr::null(), "volumeHandles")?;
        let set = objects::set(diskSet)?;
        let handles = set.volumes.lock().clone();
        let array = objects::array(Kind::VolumeHandles, &handles)?;
        foreign::put(volumeHandles, array, "volumeHandles")?;
        Ok(foreign::put(numberOfVolumes, handles.len(), "numberOfVolumes")?)
    })
}

/// Frees the array of VixMntapi_GetVolumeHandles; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_FreeVolumeHandles(volumeHandles: *mut Handle) {
    objects::free_quietly(Kind::VolumeHandles, volumeHandles.cast_const());
}
