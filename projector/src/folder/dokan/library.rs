//! Dokan's DLL: loaded at run time from the folder of Windows where its installer puts it.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LOAD_WITH_ALTERED_SEARCH_PATH, LoadLibraryExW,
};

use super::abi::{self, Functions};
use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::wide::wide;

/// The first version that has all that is used here: 2.0.6.
const OLDEST: u32 = 206;

/// The DLL, loaded for as long as the process lives.
#[derive(Clone, Copy)]
pub struct Library {
    functions: Functions,
}

impl Library {
    /// Loads the DLL of the installed Dokan.
    ///
    /// A debug build takes the DLL that `VOLFOLD_TEST_DOKAN` names instead.
    ///
    /// # Errors
    /// `Unavailable` if Dokan is not installed, is too old, or its driver is not loaded.
    pub fn installed() -> ProjectResult<Self> {
        #[cfg(debug_assertions)]
        if let Some(path) = std::env::var_os("VOLFOLD_TEST_DOKAN") {
            return Self::load(Path::new(&path), LOAD_WITH_ALTERED_SEARCH_PATH);
        }
        Self::load(&PathBuf::from("dokan2.dll"), LOAD_LIBRARY_SEARCH_SYSTEM32)
    }

    fn load(path: &Path, how: u32) -> ProjectResult<Self> {
        let shown = path.display();
        let wide = wide(path);
        // SAFETY: `wide` ends with 0; the DLL is never unloaded.
        let module = unsafe { LoadLibraryExW(wide.as_ptr(), std::ptr::null_mut(), how) };
        if module.is_null() {
            // SAFETY: asks for a number of this thread.
            let code = unsafe { GetLastError() };
            let reason = std::io::Error::from_raw_os_error(code.cast_signed());
            return Err(unavailable(match code {
                // ERROR_MOD_NOT_FOUND
                126 => "Dokan is not installed; get version 2 from https://dokan-dev.github.io"
                    .to_owned(),
                _ => format!("Dokan cannot be loaded from {shown}: {reason}; install Dokan again"),
            }));
        }
        let find = |name: &CStr| {
            // SAFETY: `module` is loaded and `name` ends with 0.
            unsafe { GetProcAddress(module, name.as_ptr().cast()) }.ok_or_else(|| {
                let name = name.to_string_lossy();
                unavailable(format!("Dokan at {shown} has no {name}; 2.0.6 or newer is needed"))
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
            init: function!(c"DokanInit", abi::Plain),
            shutdown: function!(c"DokanShutdown", abi::Plain),
            version: function!(c"DokanVersion", abi::Version),
            driver_version: function!(c"DokanDriverVersion", abi::Version),
            create_file_system: function!(c"DokanCreateFileSystem", abi::CreateFileSystem),
            close_handle: function!(c"DokanCloseHandle", abi::CloseHandle),
            open_requestor_token: function!(c"DokanOpenRequestorToken", abi::OpenRequestorToken),
            get_mount_point_list: function!(c"DokanGetMountPointList", abi::GetMountPointList),
            release_mount_point_list: function!(
                c"DokanReleaseMountPointList",
                abi::ReleaseMountPointList
            ),
        };
        // SAFETY: both take nothing and give a number.
        let (version, driver) = unsafe { ((functions.version)(), (functions.driver_version)()) };
        if version < OLDEST {
            return Err(unavailable(format!(
                "Dokan {version} is too old, {OLDEST} or newer is needed; get it from \
                 https://dokan-dev.github.io"
            )));
        }
        if driver == 0 {
            return Err(unavailable(
                "Dokan's driver is not loaded; install Dokan again or restart Windows",
            ));
        }
        Ok(Self { functions })
    }

    /// The functions of the DLL.
    pub fn functions(&self) -> Functions {
        self.functions
    }
}

pub(super) fn unavailable(message: impl Into<String>) -> ProjectError {
    ProjectError::new(ProjectErrorKind::Unavailable, message)
}
