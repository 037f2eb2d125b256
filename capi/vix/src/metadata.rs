//! What images keep beside the bytes of the disk.

use std::ffi::c_char;
use std::path::Path;

use volfold::images::format::vmdk::disk_database;
use volfold::images::host::open_image_file;
use volfold_capi_support::{Handle, foreign};

use crate::disk::OpenDisk;
use crate::errors::{
    Done, Failure, VIX_E_BUFFER_TOOSMALL, VIX_E_DISK_KEY_NOTFOUND, VIX_E_INVALID_ARG, VixError,
    call,
};
use crate::geometry::Geometry;
use crate::objects;

/// The keys of a disk and their values: the database of a VMDK, and for each format what this library
/// knows, `volfold.format` and others. Where an image has no geometry of its own there is one by the
/// usual rule.
pub(crate) fn of(open: &OpenDisk) -> Done<Vec<(String, String)>> {
    let disk = open.disk()?;
    let mut all = match (disk.format, disk.chain.first()) {
        ("vmdk", Some(file)) => {
            let file = open_image_file(Path::new(file), &[])?;
            disk_database(&file)?
        }
        _ => Vec::new(),
    };
    let has = |all: &[(String, String)], key: &str| all.iter().any(|(own, _)| own == key);
    if !has(&all, "geometry.cylinders") {
        let Geometry { cylinders, heads, sectors } = Geometry::of_size(disk.size);
        let values = [("cylinders", cylinders), ("heads", heads), ("sectors", sectors)];
        all.extend(values.map(|(name, value)| (format!("geometry.{name}"), value.to_string())));
    }
    let own = [
        ("volfold.format", Some(disk.format.to_owned())),
        ("volfold.variant", disk.variant.clone()),
        ("volfold.sectorSize", Some(disk.sector_size.to_string())),
        ("volfold.partitionScheme", disk.partition_scheme.map(str::to_owned)),
        ("volfold.parent", disk.chain.get(1).cloned()),
    ];
    all.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(all)
}

/// Writes `bytes` to the `room` bytes at `out`, and how many they are to `needed`.
unsafe fn give(bytes: &[u8], out: *mut c_char, room: usize, needed: *mut usize) -> Done {
    if !needed.is_null() {
        foreign::put(needed, bytes.len(), "requiredLen")?;
    }
    if out.is_null() && room > 0 {
        return Err(Failure::new(VIX_E_INVALID_ARG, "the buffer is NULL"));
    }
    if room < bytes.len() {
        let line = format!("{} bytes are needed, and {room} are there", bytes.len());
        return Err(Failure::new(VIX_E_BUFFER_TOOSMALL, line));
    }
    foreign::buffer(out.cast(), bytes.len(), "buf")?.copy_from_slice(bytes);
    Ok(())
}

/// The keys, each with a NUL after it, and one more NUL at the end. With no buffer VIX_E_BUFFER_TOOSMALL
/// and the size in `requiredLen`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_GetMetadataKeys(
    diskHandle: Handle,
    keys: *mut c_char,
    maxLen: usize,
    requiredLen: *mut usize,
) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        let mut bytes = Vec::new();
        for (key, _) in of(&disk)? {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(0);
        }
        bytes.push(0);
        give(&bytes, keys, maxLen, requiredLen)
    })
}

/// The value of `key`, with a NUL after it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_ReadMetadata(
    diskHandle: Handle,
    key: *const c_char,
    buf: *mut c_char,
    bufLen: usize,
    requiredLen: *mut usize,
) -> VixError {
    call(|| {
        let disk = objects::disk(diskHandle)?;
        let key = foreign::text(key, "key")?;
        let all = of(&disk)?;
        let none = || Failure::new(VIX_E_DISK_KEY_NOTFOUND, format!("no key {key}"));
        let (_, value) = all.iter().find(|(own, _)| own == key).ok_or_else(none)?;
        give(&[value.as_bytes(), &[0]].concat(), buf, bufLen, requiredLen)
    })
}
