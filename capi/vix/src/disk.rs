//! Disks: opening, reading, and children that are made of them.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::Disk;
use volfold_capi_support::{Handle, OpenSet, SetOptions, foreign};

use crate::asynchronous::Worker;
use crate::errors::{
    Done, Failure, VIX_E_DISK_ATTACH_ROOTLINK, VIX_E_DISK_CANTREPAIR, VIX_E_DISK_INVALIDDISK,
    VIX_E_DISK_NEEDSREPAIR, VIX_E_DISK_NOTSUPPORTED, VIX_E_DISK_OUTOFRANGE,
    VIX_E_DISK_PARTIALCHAIN, VIX_E_DISK_TOOMANYREDO, VIX_E_FILE_ALREADY_LOCKED,
    VIX_E_FILE_NOT_FOUND, VIX_E_INVALID_ARG, VixError, call, fixed, value,
};
use crate::layout::Bool;
use crate::log;
use crate::objects::{self, Object};

/// The unit of all functions, whatever the disk's own sectors are.
pub(crate) const SECTOR: u64 = 512;

/// Open flag: without parents.
pub(crate) const SINGLE_LINK: u32 = 2;
/// Open flag: for reading only, which every disk is.
pub(crate) const READ_ONLY: u32 = 4;
/// All open flags that are known: unbuffered, the two above, and three that compress a network.
pub(crate) const OPEN_FLAGS: u32 = 1 | SINGLE_LINK | READ_ONLY | 16 | 32 | 64;

/// LIMIT: children that are known at once.
const MAX_CHILDREN: usize = 4096;

/// The children that were made, and what each is a child of. No file is made for one: it has no bytes
/// of its own, since nothing is written.
static CHILDREN: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());

/// Forgets all children.
pub(crate) fn forget_children() {
    CHILDREN.lock().clear();
}

/// An open disk.
pub struct OpenDisk {
    /// The image with its bytes: of a child, that of its base.
    pub(crate) path: PathBuf,
    pub(crate) set: Arc<OpenSet>,
    pub(crate) worker: Worker,
    /// Of a child, whether it was attached to its base.
    child: Option<Mutex<bool>>,
}

impl OpenDisk {
    /// Opens the image at `path` with its parents.
    pub(crate) fn open(path: &Path, flags: u32) -> Done<Self> {
        let name = path.display().to_string();
        if flags & !OPEN_FLAGS != 0 {
            return Err(Failure::new(VIX_E_INVALID_ARG, format!("open flags {flags:#x}")));
        }
        let base = CHILDREN.lock().get(path).cloned();
        let child = base.as_ref().map(|_| Mutex::new(flags & SINGLE_LINK == 0));
        let path = base.unwrap_or_else(|| path.to_path_buf());
        let set = open_set(vec![path.clone()])?;
        let [disk] = set.set.disks() else {
            let line = format!("{name}: holds {} disks, not one", set.set.disks().len());
            return Err(Failure::new(VIX_E_DISK_NOTSUPPORTED, line));
        };
        if flags & SINGLE_LINK != 0 && child.is_none() && disk.chain.len() > 1 {
            let line = format!("{name}: has a parent, and is read with it only");
            return Err(Failure::new(VIX_E_DISK_NOTSUPPORTED, line));
        }
        Ok(Self { path, set: Arc::new(set), worker: Worker::default(), child })
    }

    pub(crate) fn disk(&self) -> Done<&Disk> {
        let none = || Failure::new(VIX_E_DISK_INVALIDDISK, "there is no disk");
        self.set.set.disks().first().ok_or_else(none)
    }

    /// Fails for a child that has no parent yet.
    pub(crate) fn check_whole(&self) -> Done {
        if self.child.as_ref().is_some_and(|attached| !*attached.lock()) {
            let line = "a child that was opened by itself is read once it is attached";
            return Err(Failure::new(VIX_E_DISK_PARTIALCHAIN, line));
        }
        Ok(())
    }

    /// The place of `sectors` sectors from `first` on, in bytes.
    pub(crate) fn bytes(&self, first: u64, sectors: u64) -> Done<(u64, u64)> {
        let size = self.disk()?.device.size();
        let outside = || {
            let line = format!("{sectors} sectors at {first} leave the disk of {size} bytes");
            Failure::new(VIX_E_DISK_OUTOFRANGE, line)
        };
        let offset = first.checked_mul(SECTOR).ok_or_else(outside)?;
        let length = sectors.checked_mul(SECTOR).ok_or_else(outside)?;
        let end = offset.checked_add(length).filter(|end| *end <= size);
        end.map(|_| (offset, length)).ok_or_else(outside)
    }
}

/// Opens the images at `paths` as one set that is whole.
pub(crate) fn open_set(paths: Vec<PathBuf>) -> Done<OpenSet> {
    let set = OpenSet::open(paths, SetOptions::default());
    match set.set.failures().first() {
        Some(failure) => {
            let inner = Failure::from(&failure.error).of(&failure.path.display().to_string());
            let is_there = failure.path.exists();
            Err(if is_there { inner } else { inner.with_code(VIX_E_FILE_NOT_FOUND) })
        }
        None => Ok(set),
    }
}

/// Opens the disk in the image at `path`, of whatever format, with its parents; for reading, whatever
/// `flags` say of that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Open(
    connection: Handle,
    path: *const c_char,
    flags: u32,
    diskHandle: *mut Handle,
) -> VixError {
    call(|| {
        foreign::put(diskHandle, 0, "diskHandle")?;
        objects::connection(connection)?;
        let path = foreign::host_path(path, "path")?;
        let disk = OpenDisk::open(&path, flags)?;
        let handle = objects::open(Object::Disk(Arc::new(disk)), Some(connection))?;
        foreign::put(diskHandle, handle, "diskHandle")?;
        log::info(&format!("opened {}", path.display()));
        Ok(())
    })
}

/// Closes the disk, once its reads that do not wait have ended.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Close(diskHandle: Handle) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        let is_it = |object: &Object| matches!(object, Object::Disk(_));
        drop(objects::close(diskHandle, "disk", is_it)?);
        disk.worker.wait();
        Ok(())
    })
}

/// How the disk is read: "file". The text is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_GetTransportMode(diskHandle: Handle) -> *const c_char {
    value(std::ptr::null(), || objects::disk(diskHandle).map(|_| fixed(c"file")))
}

/// Reads `numSectors` sectors of 512 bytes from `startSector` on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Read(
    diskHandle: Handle,
    startSector: u64,
    numSectors: u64,
    readBuffer: *mut u8,
) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        disk.check_whole()?;
        let (offset, length) = disk.bytes(startSector, numSectors)?;
        let length = usize::try_from(length)
            .map_err(|_| Failure::new(VIX_E_INVALID_ARG, "more than memory has"))?;
        let buffer = foreign::buffer(readBuffer.cast::<c_void>(), length, "readBuffer")?;
        Ok(disk.set.read_disk(0, offset, buffer)?)
    })
}

/// Looks for damage in the image at `filename`, and changes nothing: VIX_E_DISK_NEEDSREPAIR if there is
/// some, VIX_E_DISK_CANTREPAIR if it was to be repaired.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_CheckRepair(
    connection: Handle,
    filename: *const c_char,
    repair: Bool,
) -> VixError {
    call(|| {
        objects::connection(connection)?;
        let disk = OpenDisk::open(&foreign::host_path(filename, "filename")?, READ_ONLY)?;
        // What is wrong on the disk is no matter of its image.
        let own = format!("{}-", disk.disk()?.format);
        let findings = disk.set.set.findings();
        let damage = findings
            .iter()
            .find(|it| it.code.as_str().starts_with(&own) && it.code.bears_on_content());
        match damage {
            None => Ok(()),
            Some(finding) if repair == 0 => {
                Err(Failure::new(VIX_E_DISK_NEEDSREPAIR, finding.to_string()))
            }
            Some(finding) => Err(Failure::new(VIX_E_DISK_CANTREPAIR, finding.to_string())),
        }
    })
}

/// Makes a child of the disk, to be opened as `pathName`. No file is made, and the child stays as its
/// base is. It is forgotten by VixDiskLib_Unlink, and with the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_CreateChild(
    diskHandle: Handle,
    pathName: *const c_char,
    _diskType: u32,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        let path = foreign::host_path(pathName, "pathName")?;
        let mut children = CHILDREN.lock();
        if children.contains_key(&path) || path.exists() {
            let line = format!("{}: is there already", path.display());
            return Err(Failure::new(VIX_E_FILE_ALREADY_LOCKED, line));
        }
        if children.len() >= MAX_CHILDREN {
            return Err(Failure::plain(VIX_E_DISK_TOOMANYREDO));
        }
        children.insert(path, disk.path.clone());
        Ok(())
    })
}

/// Forgets a child. Files are not deleted: VIX_E_DISK_NOTSUPPORTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Unlink(connection: Handle, path: *const c_char) -> VixError {
    call(|| {
        objects::connection(connection)?;
        let path = foreign::host_path(path, "path")?;
        match CHILDREN.lock().remove(&path) {
            Some(_) => Ok(()),
            None => {
                let line = format!("{}: nothing is deleted", path.display());
                Err(Failure::new(VIX_E_DISK_NOTSUPPORTED, line))
            }
        }
    })
}

/// Whether `child` is one that was made of the disk of `parent`.
fn check_family(parent: Handle, child: Handle) -> Done<Arc<OpenDisk>> {
    let (parent, child) = (objects::disk(parent)?, objects::disk(child)?);
    if child.child.is_none() || child.path != parent.path {
        let line = "not a child that VixDiskLib_CreateChild has made of this disk";
        return Err(Failure::new(VIX_E_DISK_ATTACH_ROOTLINK, line));
    }
    Ok(child)
}

/// Whether VixDiskLib_Attach would succeed.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_IsAttachPossible(parent: Handle, child: Handle) -> VixError {
    call(|| check_family(parent, child).map(drop))
}

/// Attaches a child to the disk that it was made of; then it is read as that one. Both stay open.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Attach(parent: Handle, child: Handle) -> VixError {
    call(|| {
        let child = check_family(parent, child)?;
        if let Some(attached) = &child.child {
            *attached.lock() = true;
        }
        Ok(())
    })
}
