//! Volumes, their bytes, and what is known of them.

use std::ffi::c_void;
use std::ptr;

use volfold::SetVolume;
use volfold::block::{BlockDevice, error_chain};
use volfold::fs::FsInfo;
use volfold::volume::{Health, VolumeType};
use volfold_capi_support::{Arena, foreign};

use crate::disk::extent_at;
use crate::objects::{self, Object, optional, text, texts};
use crate::status::{VolfoldStatus, call};
use crate::types::{
    VolfoldExtent, VolfoldHealth, VolfoldPlace, VolfoldUsage, VolfoldVolume, VolfoldVolumeInfo,
    VolfoldVolumeType,
};

/// Closes the volume; files and directories of it stay open until they, or the set, are closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_volume_close(volume: *mut VolfoldVolume) -> VolfoldStatus {
    call(|| objects::close(volume, "volume", |object| matches!(object, Object::Volume(_))))
}

/// What the volume is; its file system is entered for that. Free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_volume_info(
    volume: *const VolfoldVolume,
    info: *mut *const VolfoldVolumeInfo,
) -> VolfoldStatus {
    call(|| {
        foreign::put(info, ptr::null(), "info")?;
        let open = objects::volume(volume)?;
        let files = open.files();
        let known = match &files {
            Ok(files) => Ok(files.info()),
            Err(error) => Err(open.volume.reason.clone().unwrap_or_else(|| error_chain(error))),
        };
        let guest_names = open.volume.guest_names();
        let block = objects::block(|arena| {
            let names = (guest_names.len(), texts(arena, &guest_names));
            describe(arena, open.index, &open.volume, &known, names)
        })?;
        foreign::put(info, block, "info")?;
        Ok(VolfoldStatus::Ok)
    })
}

fn describe(
    arena: &mut Arena,
    index: usize,
    own: &SetVolume,
    known: &Result<&FsInfo, String>,
    (guest_name_count, guest_names): (usize, *const crate::types::VolfoldText),
) -> VolfoldVolumeInfo {
    let place = |disk: usize, offset, length| {
        let disk = u64::try_from(disk).unwrap_or(u64::MAX);
        VolfoldPlace { disk, offset, length }
    };
    let places: Vec<VolfoldPlace> =
        own.volume.extents.iter().map(|it| place(it.disk, it.offset, it.length)).collect();
    let info = known.as_ref().ok();
    let label = own.identity.label.as_deref().or(info.and_then(|info| info.label.as_deref()));
    let uuid = own.identity.uuid.as_deref().or(info.and_then(|info| info.uuid.as_deref()));
    let snapshot = own.volume.snapshot.as_ref();
    VolfoldVolumeInfo {
        struct_size: size_of::<VolfoldVolumeInfo>(),
        index,
        size: own.volume.size,
        kind: type_of(own.volume.kind),
        health: match own.volume.health {
            Health::Healthy => VolfoldHealth::Healthy,
            Health::Degraded => VolfoldHealth::Degraded,
            Health::Failed => VolfoldHealth::Failed,
        },
        readable: known.is_ok(),
        left_out: own.is_left_out(),
        locked: own.volume.lock.is_some(),
        id: text(arena, own.id()),
        name: text(arena, &own.name),
        layout: text(arena, own.volume.layout.to_string()),
        file_system: optional(arena, info.map(|info| info.kind)),
        label: optional(arena, label),
        uuid: optional(arena, uuid),
        reason: optional(arena, known.as_ref().err()),
        snapshot_of: optional(arena, snapshot.map(|snapshot| snapshot.of.0.as_str())),
        snapshot_time: snapshot.and_then(|snapshot| snapshot.time).map_or(0, |time| time.0),
        cluster_size: info.map_or(0, |info| info.cluster_size),
        guest_name_count,
        guest_names,
        place_count: places.len(),
        places: arena.list(&places),
    }
}

fn type_of(kind: VolumeType) -> VolfoldVolumeType {
    match kind {
        VolumeType::Basic => VolfoldVolumeType::Basic,
        VolumeType::Gpt => VolfoldVolumeType::Gpt,
        VolumeType::Dynamic => VolfoldVolumeType::Dynamic,
        VolumeType::WholeDisk => VolfoldVolumeType::WholeDisk,
        VolumeType::Logical => VolfoldVolumeType::Logical,
        VolumeType::ShadowCopy => VolfoldVolumeType::ShadowCopy,
        VolumeType::Encrypted => VolfoldVolumeType::Encrypted,
        VolumeType::Raid => VolfoldVolumeType::Raid,
        _ => VolfoldVolumeType::Other,
    }
}

/// How full the file system of the volume is. May read whole bitmaps.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_volume_usage(
    volume: *const VolfoldVolume,
    usage: *mut VolfoldUsage,
) -> VolfoldStatus {
    call(|| {
        let found = objects::volume(volume)?.files()?.usage()?;
        let found = VolfoldUsage { size: found.size, used: found.used };
        foreign::put(usage, found, "usage")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Fills all of `buffer` with `length` bytes of the volume, from `offset` on, whatever is on it. With
/// another status than VOLFOLD_STATUS_OK the content of `buffer` is undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_volume_read(
    volume: *const VolfoldVolume,
    offset: u64,
    buffer: *mut c_void,
    length: usize,
) -> VolfoldStatus {
    call(|| {
        let open = objects::volume(volume)?;
        let buffer = foreign::buffer(buffer, length, "buffer")?;
        open.volume.volume.device.read_at(offset, buffer)?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The kind of the bytes at `offset` of the volume, and how far they reach.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_volume_extent(
    volume: *const VolfoldVolume,
    offset: u64,
    extent: *mut VolfoldExtent,
) -> VolfoldStatus {
    call(|| {
        let open = objects::volume(volume)?;
        foreign::put(extent, extent_at(&*open.volume.volume.device, offset)?, "extent")?;
        Ok(VolfoldStatus::Ok)
    })
}
