//! How a set is opened.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::Progress;
use volfold::fs::{FsError, TimeZone};
use volfold::volume::lock::{Key, KeyKind};
use volfold_capi_support::{OnProgress, SetOptions, foreign};

use crate::objects::{self, Object};
use crate::status::{Done, Failure, VolfoldStatus, call};
use crate::types::{VolfoldOptions, VolfoldProgressFn};

/// LIMIT: folders, and keys, of one set of options.
const MAX_ITEMS: usize = 1024;

/// volfold_options_add_key(): text that a person knows, UTF-8.
pub const VOLFOLD_KEY_PASSWORD: u32 = 0;
/// volfold_options_add_key(): a long number that was written down.
pub const VOLFOLD_KEY_RECOVERY: u32 = 1;
/// volfold_options_add_key(): the bytes of a key file.
pub const VOLFOLD_KEY_FILE: u32 = 2;

/// Makes options, as volfold_set_open() has them without any. Free them with volfold_options_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_new(options: *mut *mut VolfoldOptions) -> VolfoldStatus {
    call(|| {
        foreign::put(options, std::ptr::null_mut(), "options")?;
        let object = Object::Options(Arc::new(Mutex::new(SetOptions::default())));
        foreign::put(options, objects::open(object, None)?, "options")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Frees options; sets that were opened with them stay open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_free(options: *mut VolfoldOptions) -> VolfoldStatus {
    call(|| objects::close(options, "options", |object| matches!(object, Object::Options(_))))
}

/// Changes the options of `handle`.
fn change(
    handle: *mut VolfoldOptions,
    change: impl FnOnce(&mut SetOptions) -> Done<()>,
) -> VolfoldStatus {
    call(|| {
        let options = objects::options(handle)?;
        change(&mut options.lock())?;
        Ok(VolfoldStatus::Ok)
    })
}

fn too_many(what: &str) -> Failure {
    Failure::new(VolfoldStatus::InvalidArgument, format!("more than {MAX_ITEMS} {what}"))
}

/// Lets images name files (extents, parents) in `folder`, too; else only those beside themselves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_allow_folder(
    options: *mut VolfoldOptions,
    folder: *const c_char,
) -> VolfoldStatus {
    change(options, |options| {
        if options.allowed.len() >= MAX_ITEMS {
            return Err(too_many("folders"));
        }
        options.allowed.push(foreign::host_path(folder, "folder")?);
        Ok(())
    })
}

/// The bound of all caches of the set together, in bytes; 64 MiB without this call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_cache_size(
    options: *mut VolfoldOptions,
    bytes: u64,
) -> VolfoldStatus {
    change(options, |options| {
        options.cache_size = bytes;
        Ok(())
    })
}

/// Takes every image as one of this format ("vmdk", "raw"), whatever its name and content; NULL to find
/// it out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_format(
    options: *mut VolfoldOptions,
    format: *const c_char,
) -> VolfoldStatus {
    change(options, |options| {
        options.format = foreign::optional_text(format, "format")?.map(str::to_owned);
        Ok(())
    })
}

/// Wants the state that the images keep as this snapshot, by its name or id; NULL for the newest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_snapshot(
    options: *mut VolfoldOptions,
    snapshot: *const c_char,
) -> VolfoldStatus {
    change(options, |options| {
        options.snapshot = foreign::optional_text(snapshot, "snapshot")?.map(str::to_owned);
        Ok(())
    })
}

/// Whether the shadow copies that Windows kept of volumes (VSS) are volumes of the set too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_snapshots(
    options: *mut VolfoldOptions,
    shown: bool,
) -> VolfoldStatus {
    change(options, |options| {
        options.snapshots = shown;
        Ok(())
    })
}

/// Whether the files that hold a file system itself are listed ($MFT and others).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_system_files(
    options: *mut VolfoldOptions,
    listed: bool,
) -> VolfoldStatus {
    change(options, |options| {
        options.system_files = listed;
        Ok(())
    })
}

/// Whether the journals of volumes that were not unmounted are left out; else they are applied in memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_as_is(
    options: *mut VolfoldOptions,
    left_out: bool,
) -> VolfoldStatus {
    change(options, |options| {
        options.as_is = left_out;
        Ok(())
    })
}

/// Whether volumes show the files that were deleted on them, in place of those that are there; each is
/// called NAME@deleted then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_deleted(
    options: *mut VolfoldOptions,
    shown: bool,
) -> VolfoldStatus {
    change(options, |options| {
        options.deleted = shown;
        Ok(())
    })
}

/// The zone of clocks whose times a volume keeps without one (FAT): "Europe/Berlin", "+02:00"; NULL for UTC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_time_zone(
    options: *mut VolfoldOptions,
    zone: *const c_char,
) -> VolfoldStatus {
    change(options, |options| {
        options.time_zone = match foreign::optional_text(zone, "zone")? {
            Some(zone) => zone.parse().map_err(|error| invalid(&error))?,
            None => TimeZone::default(),
        };
        Ok(())
    })
}

/// The code page of short names that do not say it (FAT); 437 without this call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_code_page(
    options: *mut VolfoldOptions,
    number: u16,
) -> VolfoldStatus {
    change(options, |options| {
        options.code_page = number.to_string().parse().map_err(|error| invalid(&error))?;
        Ok(())
    })
}

fn invalid(error: &FsError) -> Failure {
    Failure::new(VolfoldStatus::InvalidArgument, error.message().to_owned())
}

/// Adds a key that is tried on locked volumes: `kind` is VOLFOLD_KEY_... The bytes are copied, and in no
/// message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_add_key(
    options: *mut VolfoldOptions,
    kind: u32,
    key: *const c_void,
    length: usize,
) -> VolfoldStatus {
    change(options, |options| {
        let kind = match kind {
            VOLFOLD_KEY_PASSWORD => KeyKind::Password,
            VOLFOLD_KEY_RECOVERY => KeyKind::RecoveryKey,
            VOLFOLD_KEY_FILE => KeyKind::KeyFile,
            _ => return Err(Failure::new(VolfoldStatus::InvalidArgument, "no such kind of key")),
        };
        if options.keys.len() >= MAX_ITEMS {
            return Err(too_many("keys"));
        }
        options.keys.push(Key::new(kind, foreign::bytes(key, length, "key")?));
        Ok(())
    })
}

/// Calls `progress` with `context` while a set that is opened with the options does long work; NULL for no
/// calls. If it returns false the work ends with VOLFOLD_STATUS_STOPPED, and a set that is open by then reads
/// nothing more. `context` has to live as long as such a set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_progress(
    options: *mut VolfoldOptions,
    progress: VolfoldProgressFn,
    context: *mut c_void,
) -> VolfoldStatus {
    change(options, |options| {
        let progress = progress.map(|function| foreign::progress(function, context));
        options.on_progress = progress.map(|tell| -> Arc<OnProgress> {
            Arc::new(move |progress: &Progress| {
                let Progress { stage, done, total, .. } = *progress;
                match tell(stage.into(), done, total.unwrap_or(u64::MAX)) {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })
        });
        Ok(())
    })
}

/// The program volfold, which mounts; NULL to look for it: by the variable VOLFOLD_PROGRAM, beside the
/// library, in the folder bin beside the library's folder, on PATH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_options_set_program(
    options: *mut VolfoldOptions,
    program: *const c_char,
) -> VolfoldStatus {
    change(options, |options| {
        options.program = match program.is_null() {
            true => None,
            false => Some(foreign::host_path(program, "program")?),
        };
        Ok(())
    })
}
