//! Sets, what is missing in them, and what was noticed.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use volfold::block::{BlockError, Finding, Severity, error_chain};
use volfold::guest::{Family, GuestSystem};
use volfold_capi_support::{Arena, OpenSet, SetOptions, foreign};

use crate::objects::{self, Object, OpenVolume, optional, text};
use crate::status::{Done, Failure, VolfoldStatus, call, keep};
use crate::types::{
    VolfoldFailure, VolfoldFamily, VolfoldFinding, VolfoldFindingList, VolfoldMountPoint,
    VolfoldOptions, VolfoldSet, VolfoldSeverity, VolfoldSystem, VolfoldSystemList, VolfoldVolume,
};

/// The bytes of a path of the host, as C gets them.
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

/// Opens the images at `paths` as one set; a folder stands for the images in it. The order does not
/// matter: disks are numbered by path. `options` may be NULL.
///
/// VOLFOLD_STATUS_STOPPED: the function of volfold_options_set_progress() said so; there is no set.
/// VOLFOLD_STATUS_INCOMPLETE: images cannot be opened, which volfold_set_failure() names; the set of all
/// others is open, and may be used or closed. With every other status but VOLFOLD_STATUS_OK `*set` is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_open(
    options: *const VolfoldOptions,
    paths: *const *const c_char,
    path_count: usize,
    set: *mut *mut VolfoldSet,
) -> VolfoldStatus {
    call(|| {
        foreign::put(set, ptr::null_mut(), "set")?;
        let options = match options.is_null() {
            true => SetOptions::default(),
            false => objects::options(options)?.lock().clone(),
        };
        let given = foreign::array(paths, path_count, "paths")?;
        if given.is_empty() {
            return Err(Failure::new(VolfoldStatus::InvalidArgument, "there is no path"));
        }
        let mut paths = Vec::with_capacity(given.len());
        for path in given {
            paths.push(foreign::host_path(*path, "paths")?);
        }
        let opened = Arc::new(OpenSet::open(paths, options));
        if opened.set.monitor().is_stopped() {
            return Err(BlockError::stopped().into());
        }
        let incomplete = incomplete(&opened);
        foreign::put(set, objects::open(Object::Set(opened), None)?, "set")?;
        Ok(incomplete)
    })
}

/// The status of a set that was opened; what is missing is kept as the thread's last failure.
fn incomplete(opened: &OpenSet) -> VolfoldStatus {
    let lines: Vec<String> = opened
        .set
        .failures()
        .iter()
        .map(|failure| format!("{}: {}", failure.path.display(), error_chain(&failure.error)))
        .collect();
    if lines.is_empty() {
        return VolfoldStatus::Ok;
    }
    keep(Failure::new(VolfoldStatus::Incomplete, lines.join("; ")));
    VolfoldStatus::Incomplete
}

/// Closes the set, and the handles of its volumes, files and directories. Calls that run on them end as
/// they would have; later ones end with VOLFOLD_STATUS_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_close(set: *mut VolfoldSet) -> VolfoldStatus {
    call(|| objects::close(set, "set", |object| matches!(object, Object::Set(_))))
}

/// How many images could not be opened.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_failure_count(
    set: *const VolfoldSet,
    count: *mut usize,
) -> VolfoldStatus {
    call(|| {
        foreign::put(count, objects::set(set)?.set.failures().len(), "count")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The image `index` of those that could not be opened. Free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_failure(
    set: *const VolfoldSet,
    index: usize,
    failure: *mut *const VolfoldFailure,
) -> VolfoldStatus {
    call(|| {
        foreign::put(failure, ptr::null(), "failure")?;
        let set = objects::set(set)?;
        let found =
            set.set.failures().get(index).ok_or_else(|| Failure::index("failure", index))?;
        let message = error_chain(&found.error);
        let block = objects::block(|arena| VolfoldFailure {
            struct_size: size_of::<VolfoldFailure>(),
            path: text(arena, path_bytes(&found.path)),
            status: found.error.kind().into(),
            code: text(arena, found.error.kind().code()),
            message: text(arena, &message),
        })?;
        foreign::put(failure, block, "failure")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// What was noticed on the disks and volumes of the set until now: while it was opened, while its disks
/// were read, and in the file systems that were entered. Free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_findings(
    set: *const VolfoldSet,
    findings: *mut *const VolfoldFindingList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(findings, ptr::null(), "findings")?;
        let set = objects::set(set)?;
        let mut found = set.set.findings().to_vec();
        found.extend(set.set.later_findings());
        for (name, files) in set.tree.opened() {
            let volume = set.set.volumes().iter().find(|volume| volume.name.as_bytes() == name);
            let id = volume.map(|volume| volume.id()).unwrap_or_default();
            found.extend(files.findings().into_iter().map(|finding| finding.on_volume(id)));
        }
        let list = objects::block(|arena| list(arena, &found))?;
        foreign::put(findings, list, "findings")?;
        Ok(VolfoldStatus::Ok)
    })
}

fn list(arena: &mut Arena, found: &[Finding]) -> VolfoldFindingList {
    let items = objects::pointers(arena, found, put_finding);
    VolfoldFindingList { struct_size: size_of::<VolfoldFindingList>(), count: found.len(), items }
}

/// The systems that are installed on the set, read from its volumes. Free them with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_systems(
    set: *const VolfoldSet,
    systems: *mut *const VolfoldSystemList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(systems, ptr::null(), "systems")?;
        let set = objects::set(set)?;
        let found = set.set.os_info()?;
        let block = objects::block(|arena| VolfoldSystemList {
            struct_size: size_of::<VolfoldSystemList>(),
            count: found.systems.len(),
            items: objects::pointers(arena, &found.systems, put_system),
            findings: list(arena, &found.findings),
        })?;
        foreign::put(systems, block, "systems")?;
        Ok(VolfoldStatus::Ok)
    })
}

fn put_system(arena: &mut Arena, system: &GuestSystem) -> *const VolfoldSystem {
    let points: Vec<VolfoldMountPoint> = system
        .mount_points
        .iter()
        .map(|point| VolfoldMountPoint {
            path: text(arena, &point.path),
            source: text(arena, &point.source),
            volume: optional(arena, point.volume.as_ref()),
        })
        .collect();
    let value = VolfoldSystem {
        struct_size: size_of::<VolfoldSystem>(),
        family: match system.family {
            Family::Windows => VolfoldFamily::Windows,
            Family::Linux => VolfoldFamily::Linux,
            Family::Bsd => VolfoldFamily::Bsd,
            _ => VolfoldFamily::Other,
        },
        is_default: system.is_default == Some(true),
        volume: text(arena, &system.volume),
        folder: text(arena, &system.folder),
        vendor: optional(arena, system.vendor.as_ref()),
        product: optional(arena, system.product.as_ref()),
        edition: optional(arena, system.edition.as_ref()),
        version: optional(arena, system.version.as_ref()),
        build: optional(arena, system.build.as_ref()),
        architecture: optional(arena, system.architecture.as_ref()),
        host_name: optional(arena, system.host_name.as_ref()),
        domain: optional(arena, system.domain.as_ref()),
        time_zone: optional(arena, system.time_zone.as_ref()),
        machine_id: optional(arena, system.machine_id.as_ref()),
        mount_point_count: points.len(),
        mount_points: arena.list(&points),
    };
    arena.put(value)
}

fn put_finding(arena: &mut Arena, finding: &Finding) -> *const VolfoldFinding {
    let advice = Some(finding.code.advice()).filter(|advice| !advice.is_empty());
    let value = VolfoldFinding {
        struct_size: size_of::<VolfoldFinding>(),
        severity: match finding.severity {
            Severity::Info => VolfoldSeverity::Info,
            Severity::Warning => VolfoldSeverity::Warning,
            Severity::Error => VolfoldSeverity::Error,
        },
        bears_on_content: finding.code.bears_on_content(),
        has_position: finding.position.is_some(),
        disk: finding.disk.and_then(|disk| i64::try_from(disk).ok()).unwrap_or(-1),
        position: finding.position.unwrap_or_default(),
        code: text(arena, finding.code.as_str()),
        volume: optional(arena, finding.volume.as_deref()),
        part: optional(arena, finding.part.as_deref()),
        path: optional(arena, finding.path.as_deref()),
        message: text(arena, &finding.message),
        advice: optional(arena, advice),
    };
    arena.put(value)
}

/// How many volumes the set has, also those that no driver knows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_volume_count(
    set: *const VolfoldSet,
    count: *mut usize,
) -> VolfoldStatus {
    call(|| {
        foreign::put(count, objects::set(set)?.set.volumes().len(), "count")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The volume `index` of the set: they are sorted by disk and place. Close it with
/// volfold_volume_close(), or with its set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_volume(
    set: *const VolfoldSet,
    index: usize,
    volume: *mut *mut VolfoldVolume,
) -> VolfoldStatus {
    call(|| {
        foreign::put(volume, ptr::null_mut(), "volume")?;
        foreign::put(volume, open_volume(set, objects::set(set)?, index)?, "volume")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The volume that is called `name`: by the name of its folder, its id, or what Windows calls it
/// ("C:"). VOLFOLD_STATUS_NOT_FOUND if there is none, or if several are called so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_find_volume(
    set: *const VolfoldSet,
    name: *const c_char,
    volume: *mut *mut VolfoldVolume,
) -> VolfoldStatus {
    call(|| {
        foreign::put(volume, ptr::null_mut(), "volume")?;
        let open = objects::set(set)?;
        let name = foreign::text(name, "name")?;
        let found = match open.set.volumes_called(name)[..] {
            [only] => open.set.volumes().iter().position(|other| Arc::ptr_eq(other, only)),
            [] => None,
            _ => {
                let line = format!("several volumes are called {name}; give an id");
                return Err(Failure::new(VolfoldStatus::NotFound, line));
            }
        };
        let none = || Failure::new(VolfoldStatus::NotFound, format!("no volume {name}"));
        foreign::put(volume, open_volume(set, open, found.ok_or_else(none)?)?, "volume")?;
        Ok(VolfoldStatus::Ok)
    })
}

fn open_volume(
    handle: *const VolfoldSet,
    set: Arc<OpenSet>,
    index: usize,
) -> Done<*mut VolfoldVolume> {
    let owner = handle.addr();
    let volume = set.volume(index).cloned().ok_or_else(|| Failure::index("volume", index))?;
    objects::open(Object::Volume(OpenVolume { owner, set, index, volume }), Some(owner))
}

/// Frees a struct that a function of this library gave; NULL is allowed. A pointer that is none, or was
/// freed before, is refused with VOLFOLD_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_free(block: *const c_void) -> VolfoldStatus {
    call(|| objects::free(block))
}
