//! WinFsp's DLL: found through the registry and loaded at run time, so that a missing WinFsp is a
//! message and not a program that does not start.

use std::ffi::{CStr, OsString};
use std::fmt;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_WITH_ALTERED_SEARCH_PATH, LoadLibraryExW,
};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RRF_SUBKEY_WOW6432KEY, RegGetValueW,
};

use super::abi::{self, Functions};
use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::wide::wide;

/// The first version that has all that is used here.
const OLDEST: Version = Version { major: 2, minor: 1 };

/// The first version without known vulnerabilities.
const SAFE: Version = Version { major: 2, minor: 2 };

/// A version of WinFsp, as its DLL tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Before the dot.
    pub major: u16,
    /// Behind the dot.
    pub minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

const NOT_INSTALLED: &str = "WinFsp is not installed; get it from https://winfsp.dev/rel/, or Dokan 2 from \
                             https://dokan-dev.github.io";

/// The DLL, loaded for as long as the process lives.
#[derive(Clone, Copy)]
pub struct Library {
    pub(super) functions: Functions,
    version: Version,
}

impl Library {
    /// Loads the DLL of the installed WinFsp.
    ///
    /// A debug build takes the DLL that `VOLFOLD_TEST_WINFSP` names instead; with `none` it finds none.
    ///
    /// # Errors
    /// `Unavailable` if WinFsp is not installed or too old.
    pub fn installed() -> ProjectResult<Self> {
        #[cfg(debug_assertions)]
        match std::env::var_os("VOLFOLD_TEST_WINFSP") {
            Some(path) if path == "none" => return Err(unavailable(NOT_INSTALLED)),
            Some(path) => return Self::load(Path::new(&path)),
            None => {}
        }
        let folder = install_folder().ok_or_else(|| unavailable(NOT_INSTALLED))?;
        let name = if cfg!(target_arch = "aarch64") { "winfsp-a64.dll" } else { "winfsp-x64.dll" };
        Self::load(&folder.join("bin").join(name))
    }

    /// Loads the DLL at `path`.
    ///
    /// # Errors
    /// As [`Library::installed`].
    pub fn load(path: &Path) -> ProjectResult<Self> {
        let shown = path.display();
        let wide = wide(path);
        // SAFETY: `wide` ends with 0; the DLL is never unloaded.
        let module = unsafe {
            LoadLibraryExW(wide.as_ptr(), std::ptr::null_mut(), LOAD_WITH_ALTERED_SEARCH_PATH)
        };
        if module.is_null() {
            // SAFETY: asks for a number of this thread.
            let code = unsafe { GetLastError() };
            let reason = std::io::Error::from_raw_os_error(code.cast_signed());
            return Err(unavailable(format!(
                "WinFsp cannot be loaded from {shown}: {reason}; install WinFsp again"
            )));
        }
        let find = |name: &CStr| {
            // SAFETY: `module` is loaded and `name` ends with 0.
            unsafe { GetProcAddress(module, name.as_ptr().cast()) }.ok_or_else(|| {
                let name = name.to_string_lossy();
                unavailable(format!("WinFsp at {shown} has no {name}; {OLDEST} or newer is needed"))
            })
        };
        macro_rules! function {
            ($name:literal, $type:ty) => {
                // SAFETY: the headers declare the function so.
                unsafe {
                    std::mem::transmute::<unsafe extern "system" fn() -> isize, $type>(find($name)?)
                }
            };
        }
        let functions = Functions {
            version: function!(c"FspVersion", abi::Version),
            create: function!(c"FspFileSystemCreate", abi::Create),
            delete: function!(c"FspFileSystemDelete", abi::OnFileSystem),
            set_mount_point_ex: function!(c"FspFileSystemSetMountPointEx", abi::SetMountPointEx),
            start_dispatcher: function!(c"FspFileSystemStartDispatcher", abi::StartDispatcher),
            stop_dispatcher: function!(c"FspFileSystemStopDispatcher", abi::OnFileSystem),
            resolve_reparse_points: function!(
                c"FspFileSystemResolveReparsePoints",
                abi::ResolveReparsePoints
            ),
        };
        let mut number = 0;
        // SAFETY: the function writes one `u32`.
        unsafe { (functions.version)(&raw mut number) };
        let [minor_low, minor_high, major_low, major_high] = number.to_le_bytes();
        let version = Version {
            major: u16::from_le_bytes([major_low, major_high]),
            minor: u16::from_le_bytes([minor_low, minor_high]),
        };
        if version < OLDEST {
            return Err(unavailable(format!(
                "WinFsp {version} is too old, {OLDEST} or newer is needed; get it from \
                 https://winfsp.dev/rel/"
            )));
        }
        Ok(Self { functions, version })
    }

    /// Which version it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What a user should know of this version.
    pub fn warning(&self) -> Option<String> {
        (self.version < SAFE).then(|| {
            format!(
                "WinFsp {} has known vulnerabilities (CVE-2026-3006, CVE-2026-7162); install {SAFE} \
                 or newer when it is released",
                self.version
            )
        })
    }

    /// The functions of the DLL.
    pub fn functions(&self) -> Functions {
        self.functions
    }
}

fn unavailable(message: impl Into<String>) -> ProjectError {
    ProjectError::new(ProjectErrorKind::Unavailable, message)
}

/// Where the installer says that it put WinFsp.
fn install_folder() -> Option<PathBuf> {
    let (key, value) = (wide("SOFTWARE\\WinFsp"), wide("InstallDir"));
    let mut units = [0_u16; 1024];
    let mut size = u32::try_from(size_of_val(&units)).unwrap_or(0);
    // SAFETY: names end with 0, and `size` is that of `units`.
    let result = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            value.as_ptr(),
            RRF_RT_REG_SZ | RRF_SUBKEY_WOW6432KEY,
            std::ptr::null_mut(),
            units.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return None;
    }
    let text = units.split(|unit| *unit == 0).next()?;
    (!text.is_empty()).then(|| PathBuf::from(OsString::from_wide(text)))
}
