//! Beginning and end of both libraries.

use std::ffi::c_char;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use volfold_capi_support::foreign;

use crate::disk;
use crate::errors::{
    Done, Failure, VIX_E_DISK_NOINIT, VIX_E_FILE_ACCESS_ERROR, VIX_E_FILE_NOT_FOUND,
    VIX_E_MNTAPI_INCOMPATIBLE_VERSION, VIX_E_NOT_SUPPORTED, VixError, call,
};
use crate::log::{self, Callbacks, LogFunction};
use crate::objects::{self, Object};

/// LIMIT: bytes of a configuration file.
const MAX_CONFIGURATION: u64 = 64 << 10;

/// What was initialized.
#[derive(Clone, Default)]
struct State {
    has_disk_library: bool,
    has_mount_library: bool,
    temporary: Option<PathBuf>,
}

static STATE: Mutex<State> =
    Mutex::new(State { has_disk_library: false, has_mount_library: false, temporary: None });

/// Fails unless VixDiskLib was initialized.
pub(crate) fn needs_disk_library() -> Done {
    match STATE.lock().has_disk_library {
        true => Ok(()),
        false => Err(Failure::new(VIX_E_DISK_NOINIT, "VixDiskLib_Init was not called")),
    }
}

/// Fails unless VixMntapi was initialized.
pub(crate) fn needs_mount_library() -> Done {
    match STATE.lock().has_mount_library {
        true => Ok(()),
        false => Err(Failure::new(VIX_E_DISK_NOINIT, "VixMntapi_Init was not called")),
    }
}

/// The folder in which the folders of mounts are made.
pub(crate) fn temporary_folder() -> PathBuf {
    STATE.lock().temporary.clone().unwrap_or_else(std::env::temp_dir)
}

/// `tmpDirectory` of the configuration file at `path`, if it has that.
fn temporary_of(path: &Path) -> Done<Option<PathBuf>> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => VIX_E_FILE_NOT_FOUND,
            _ => VIX_E_FILE_ACCESS_ERROR,
        };
        Failure::new(code, format!("{name}: {error}"))
    };
    let is_large = std::fs::metadata(path).map_err(failed)?.len() > MAX_CONFIGURATION;
    if is_large {
        return Err(Failure::new(VIX_E_NOT_SUPPORTED, format!("{name} is too large")));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_it = key.trim().eq_ignore_ascii_case("tmpDirectory") && !value.is_empty();
        is_it.then(|| PathBuf::from(value))
    });
    Ok(values.next_back())
}

/// What is given to initialize a library.
struct Given {
    callbacks: Callbacks,
    configuration: *const c_char,
}

unsafe fn initialize(given: &Given, mark: impl FnOnce(&mut State)) -> Done {
    let temporary = match given.configuration.is_null() {
        true => None,
        false => match foreign::host_path(given.configuration, "configFile") {
            Ok(path) => temporary_of(&path)?,
            // An empty name is none.
            Err(error) if error.reason == "is empty" => None,
            Err(error) => return Err(error.into()),
        },
    };
    log::set(given.callbacks);
    let mut state = STATE.lock();
    state.temporary = temporary.or_else(|| state.temporary.take());
    mark(&mut state);
    Ok(())
}

/// Initializes VixDiskLib; again is allowed. Versions 1 to 9 are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Init(
    majorVersion: u32,
    minorVersion: u32,
    log: LogFunction,
    warn: LogFunction,
    panic: LogFunction,
    libDir: *const c_char,
) -> VixError {
    let no_file = std::ptr::null();
    VixDiskLib_InitEx(majorVersion, minorVersion, log, warn, panic, libDir, no_file)
}

/// The same with a configuration file, of which `tmpDirectory` is used. `libDir` is not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_InitEx(
    majorVersion: u32,
    _minorVersion: u32,
    log: LogFunction,
    warn: LogFunction,
    _panic: LogFunction,
    _libDir: *const c_char,
    configFile: *const c_char,
) -> VixError {
    call(|| {
        if !(1..=9).contains(&majorVersion) {
            let line = format!("version {majorVersion} of VixDiskLib is not known");
            return Err(Failure::new(VIX_E_NOT_SUPPORTED, line));
        }
        let given = Given { callbacks: Callbacks { log, warn }, configuration: configFile };
        initialize(&given, |state| state.has_disk_library = true)
    })
}

/// Ends VixDiskLib: connections and disks that are open are closed.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Exit() {
    call(|| {
        needs_disk_library()?;
        objects::close_all(|object| matches!(object, Object::Disk(_) | Object::Connection(_)));
        disk::forget_children();
        let mut state = STATE.lock();
        state.has_disk_library = false;
        if !state.has_mount_library {
            log::clear();
        }
        Ok(())
    });
}

/// Initializes VixMntapi, version 1.0; again is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixMntapi_Init(
    majorVersion: u32,
    minorVersion: u32,
    log: LogFunction,
    warn: LogFunction,
    _panic: LogFunction,
    _libDir: *const c_char,
    configFile: *const c_char,
) -> VixError {
    call(|| {
        if (majorVersion, minorVersion) != (1, 0) {
            let line = format!("version {majorVersion}.{minorVersion} of VixMntapi is not 1.0");
            return Err(Failure::new(VIX_E_MNTAPI_INCOMPATIBLE_VERSION, line));
        }
        let given = Given { callbacks: Callbacks { log, warn }, configuration: configFile };
        initialize(&given, |state| state.has_mount_library = true)
    })
}

/// Ends VixMntapi: volumes that are mounted are dismounted, and sets that are open are closed.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_Exit() {
    call(|| {
        needs_mount_library()?;
        objects::close_all(|object| matches!(object, Object::Set(_)));
        let mut state = STATE.lock();
        state.has_mount_library = false;
        if !state.has_disk_library {
            log::clear();
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_the_folder_for_mounts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vix.cfg");
        std::fs::write(&file, "# comment\nother=1\ntmpDirectory = \"/var/tmp/x\"\n").unwrap();
        assert_eq!(temporary_of(&file).ok().flatten(), Some(PathBuf::from("/var/tmp/x")));
        let missing = temporary_of(&folder.path().join("none")).err().unwrap();
        assert_eq!(missing.code, VIX_E_FILE_NOT_FOUND);
    }
}
