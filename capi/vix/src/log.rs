//! The callbacks that a program is told through.

use std::ffi::{CString, c_char, c_void};

use parking_lot::RwLock;

/// A callback as C declares it: `void (const char *fmt, va_list args)`. A `va_list` is passed as a
/// pointer, on all hosts that this is built for.
pub type LogFunction = Option<unsafe extern "C" fn(*const c_char, *mut c_void)>;

/// The callbacks of both libraries.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) log: LogFunction,
    pub(crate) warn: LogFunction,
}

impl Callbacks {
    const NONE: Self = Self { log: None, warn: None };
}

static CALLBACKS: RwLock<Callbacks> = RwLock::new(Callbacks::NONE);

/// Tells `callbacks` from now on, where they are given.
pub(crate) fn set(callbacks: Callbacks) {
    let mut now = CALLBACKS.write();
    now.log = callbacks.log.or(now.log);
    now.warn = callbacks.warn.or(now.warn);
}

/// Tells nobody from now on.
pub(crate) fn clear() {
    *CALLBACKS.write() = Callbacks::NONE;
}

/// Tells what was done.
pub(crate) fn info(line: &str) {
    let callback = CALLBACKS.read().log;
    tell(callback, line);
}

/// Tells what failed.
pub(crate) fn warn(line: &str) {
    let callback = CALLBACKS.read().warn;
    tell(callback, line);
}

fn tell(callback: LogFunction, line: &str) {
    let Some(callback) = callback else {
        return;
    };
    // Nothing is left to be converted, so the arguments are never read.
    let line = line.replace('\0', "\u{FFFD}").replace('%', "%%");
    let Ok(line) = CString::new(format!("volfold: {line}\n")) else {
        return;
    };
    // As large as a `va_list` on any host, so that it can be copied.
    let mut arguments = [0_u64; 8];
    // SAFETY: the program gave this function for that, and both pointers are good while it runs.
    unsafe { callback(line.as_ptr(), arguments.as_mut_ptr().cast()) };
}
