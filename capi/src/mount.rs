//! Mounting, which the program `volfold` does.

use std::ffi::c_char;
use std::ptr;

use volfold_capi_support::{Arena, MountRequest, MountedVolume, Program, foreign};

use crate::objects::{self, text, texts};
use crate::status::{Failure, VolfoldStatus, call, keep};
use crate::types::{VolfoldMount, VolfoldMountedVolume, VolfoldOptions, VolfoldSet};

/// Mounts the set at `folder`, read-only, a folder below it for each volume; `volumes` are the names or
/// ids of those that are wanted, none for all. The program volfold serves it in the background, until
/// volfold_unmount() frees the folder: also after the set is closed, and after this program has ended.
///
/// VOLFOLD_STATUS_INCOMPLETE: something is missing, which `talk` says; the rest is mounted. `mount` may
/// be NULL; else free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_set_mount(
    set: *const VolfoldSet,
    folder: *const c_char,
    volumes: *const *const c_char,
    volume_count: usize,
    mount: *mut *const VolfoldMount,
) -> VolfoldStatus {
    call(|| {
        if !mount.is_null() {
            foreign::put(mount, ptr::null(), "mount")?;
        }
        let set = objects::set(set)?;
        let folder = foreign::host_path(folder, "folder")?;
        let mut names = Vec::new();
        for name in foreign::array(volumes, volume_count, "volumes")? {
            names.push(foreign::text(*name, "volumes")?.to_owned());
        }
        let program = Program::find(set.options.program.as_deref())?;
        let (paths, options) = (&set.paths, &set.options);
        let request = MountRequest { paths, options, volumes: &names, folder: &folder };
        let mounted = program.mount(&request)?;
        if !mount.is_null() {
            let block = objects::block(|arena| VolfoldMount {
                struct_size: size_of::<VolfoldMount>(),
                folder: text(arena, &mounted.folder),
                log: objects::optional(arena, mounted.log.as_ref()),
                talk: text(arena, if mounted.is_part { mounted.talk.as_str() } else { "" }),
                volume_count: mounted.volumes.len(),
                volumes: objects::pointers(arena, &mounted.volumes, put_volume),
            })?;
            foreign::put(mount, block, "mount")?;
        }
        if !mounted.is_part {
            return Ok(VolfoldStatus::Ok);
        }
        keep(Failure::new(VolfoldStatus::Incomplete, mounted.talk));
        Ok(VolfoldStatus::Incomplete)
    })
}

fn put_volume(arena: &mut Arena, volume: &MountedVolume) -> *const VolfoldMountedVolume {
    let value = VolfoldMountedVolume {
        struct_size: size_of::<VolfoldMountedVolume>(),
        id: text(arena, &volume.id),
        name: text(arena, &volume.name),
        path_count: volume.paths.len(),
        paths: texts(arena, &volume.paths),
    };
    arena.put(value)
}

/// Frees the folder of a mount, and returns when the images are closed; with `force` also while programs
/// have files open in it. `options` may be NULL; they name the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_unmount(
    options: *const VolfoldOptions,
    folder: *const c_char,
    force: bool,
) -> VolfoldStatus {
    call(|| {
        let given = match options.is_null() {
            true => None,
            false => objects::options(options)?.lock().program.clone(),
        };
        let folder = foreign::host_path(folder, "folder")?;
        Program::find(given.as_deref())?.unmount(&folder, force)?;
        Ok(VolfoldStatus::Ok)
    })
}
