//! One volume of WinFsp: made, mounted, answered for, and taken away.

use std::ffi::c_void;
use std::path::Path;

use crate::error::ProjectResult;

use super::abi::FileSystemPtr;
use super::context::VolumeContext;
use super::library::Library;
use super::stand::Stand;
use super::{callbacks, host};
use crate::folder::windows::mounting::HostVolume;
use crate::folder::windows::place;
use crate::wide::wide;

/// A volume that is shown.
pub(super) struct Volume {
    fs: FileSystemPtr,
    library: Library,
    /// What the callbacks use; freed after the last of them.
    context: *mut VolumeContext,
    /// Where it is mounted, as the DLL was told.
    point: String,
    /// Made again when all of the above is gone.
    _stand: Option<Stand>,
}

// SAFETY: the DLL's functions on a file system may be called from any thread, and the context is
// `Send + Sync`.
unsafe impl Send for Volume {}

impl Volume {
    /// Mounts what `context` shows at `point`, in the place of the folder that `stand` removed.
    ///
    /// # Errors
    /// Why the driver or the host refuses.
    pub(super) fn mount(
        context: VolumeContext,
        point: &Path,
        stand: Option<Stand>,
        library: Library,
        threads: usize,
    ) -> ProjectResult<Self> {
        let shown = point.display().to_string();
        let params = context.params();
        let context = Box::into_raw(Box::new(context));
        let device = wide("WinFsp.Disk");
        let mut fs: FileSystemPtr = std::ptr::null_mut();
        // SAFETY: names end with 0, the parameters are complete, the interface lives for ever.
        let status = unsafe {
            let create = library.functions().create;
            create(device.as_ptr(), &raw const params, &raw const callbacks::INTERFACE, &raw mut fs)
        };
        if status < 0 {
            // SAFETY: made by `Box::into_raw` above, and nothing uses it.
            drop(unsafe { Box::from_raw(context) });
            return Err(host::driver_error(&shown, status));
        }
        // From here on dropping it undoes all.
        let volume = Self { fs, library, context, point: shown.clone(), _stand: stand };
        let wide = wide(point);
        let descriptor = volume._stand.as_ref().and_then(Stand::descriptor);
        let descriptor = descriptor.map_or(std::ptr::null_mut(), |bytes| {
            // The DLL only reads it.
            bytes.as_ptr().cast_mut().cast::<c_void>()
        });
        // SAFETY: `fs` was made above. Its context is set before anything is dispatched. The
        // descriptor is null or lives in `volume`.
        unsafe {
            (*fs).user_context = context.cast::<c_void>();
            let functions = library.functions();
            let status = (functions.set_mount_point_ex)(fs, wide.as_ptr(), descriptor);
            if status < 0 {
                return Err(host::mount_point_error(&shown, status));
            }
            let status = (functions.start_dispatcher)(fs, u32::try_from(threads).unwrap_or(0));
            if status < 0 {
                return Err(host::driver_error(&shown, status));
            }
        }
        Ok(volume)
    }
}

impl HostVolume for Volume {
    fn other_names(&self) -> Vec<String> {
        // SAFETY: the file system is ours, and its name does not change once it was made.
        let device = unsafe { (*self.fs).volume_name };
        let device: Vec<u16> = device.into_iter().take_while(|unit| *unit != 0).collect();
        let mut names: Vec<String> = place::volume_guid_path(&self.point).into_iter().collect();
        if !device.is_empty() {
            let device = String::from_utf16_lossy(&device);
            names.push(format!(r"\\?\GLOBALROOT{device}\"));
        }
        names
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // SAFETY: the file system is ours; after these two no callback runs, so the context goes.
        unsafe {
            (self.library.functions().stop_dispatcher)(self.fs);
            (self.library.functions().delete)(self.fs);
            drop(Box::from_raw(self.context));
        }
    }
}
