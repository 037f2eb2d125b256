//! Reads that do not wait.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};

use parking_lot::{Condvar, Mutex};
use volfold_capi_support::{Handle, OpenSet, foreign};

use crate::errors::{
    Done, Failure, VIX_ASYNC, VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY, VIX_E_OUT_OF_MEMORY,
    VixError, call, code_of,
};
use crate::objects;

/// LIMIT: reads of one disk that wait for others; one more waits for room.
const MAX_QUEUE: usize = 1024;

/// What is called when a read has ended.
pub type CompletionFunction = Option<unsafe extern "C" fn(*mut c_void, VixError)>;

/// A read that does not wait.
struct Job {
    set: Arc<OpenSet>,
    offset: u64,
    length: usize,
    buffer: *mut c_void,
    callback: unsafe extern "C" fn(*mut c_void, VixError),
    data: *mut c_void,
}

// SAFETY: the program leaves buffer and data to the read until its callback was called, on whichever
// thread.
unsafe impl Send for Job {}

/// The thread that does the reads of one disk, in their order; there is none before the first.
#[derive(Default)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_busy: bool,
    is_closed: bool,
}

impl Worker {
    fn add(&self, job: Job) -> Done {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new()
                .name("volfold-vix".to_owned())
                .spawn(move || shared.work())
                .map_err(|error| Failure::new(VIX_E_OUT_OF_MEMORY, error.to_string()))?;
            *thread = Some(started);
        }
        let is_own = thread.as_ref().is_some_and(|it| is_this(it.thread().id()));
        drop(thread);
        let mut queue = self.shared.queue.lock();
        // A callback that asks for more cannot wait for itself.
        while queue.jobs.len() >= MAX_QUEUE && !is_own {
            self.shared.changed.wait(&mut queue);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Returns when all reads have ended; false on the worker's own thread, which cannot wait.
    pub(crate) fn wait(&self) -> bool {
        let thread = self.thread.lock().as_ref().map(|thread| thread.thread().id());
        if thread.is_some_and(is_this) {
            return false;
        }
        let mut queue = self.shared.queue.lock();
        while queue.is_busy || !queue.jobs.is_empty() {
            self.shared.changed.wait(&mut queue);
        }
        true
    }
}

fn is_this(thread: ThreadId) -> bool {
    thread::current().id() == thread
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.get_mut().take()
            && !is_this(thread.thread().id())
        {
            // A callback of the program may have panicked its own way; there is nothing to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Does reads until the disk is closed and none is left.
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            queue.is_busy = false;
            self.changed.notify_all();
            let job = loop {
                match queue.jobs.pop_front() {
                    Some(job) => break job,
                    None if queue.is_closed => return,
                    None => self.changed.wait(&mut queue),
                }
            };
            queue.is_busy = true;
            drop(queue);
            // What is waited for is gone with a set that only this read still has.
            let (callback, data) = (job.callback, job.data);
            let code = call(|| job.read());
            drop(job);
            // SAFETY: the program gave both for that.
            unsafe { callback(data, code) };
        }
    }
}

impl Job {
    fn read(&self) -> Done {
        // SAFETY: the program has promised this memory until the callback.
        let buffer = unsafe { foreign::buffer(self.buffer, self.length, "readBuffer") }?;
        Ok(self.set.read_disk(0, self.offset, buffer)?)
    }
}

/// As VixDiskLib_Read, without waiting: VIX_ASYNC, and `callback` is called on another thread when the
/// read has ended. The reads of one disk are done in their order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_ReadAsync(
    diskHandle: Handle,
    startSector: u64,
    numSectors: u64,
    readBuffer: *mut u8,
    callback: CompletionFunction,
    cbData: *mut c_void,
) -> VixError {
    let mut begun = false;
    let code = call(|| {
        let disk = objects::disk(diskHandle)?;
        disk.check_whole()?;
        let invalid = |line: &str| Failure::new(VIX_E_INVALID_ARG, line);
        let callback = callback.ok_or_else(|| invalid("argument callback is NULL"))?;
        let (offset, length) = disk.bytes(startSector, numSectors)?;
        let length = usize::try_from(length).map_err(|_| invalid("more than memory has"))?;
        let buffer: *mut c_void = readBuffer.cast();
        foreign::buffer(buffer, length, "readBuffer")?;
        let set = Arc::clone(&disk.set);
        disk.worker.add(Job { set, offset, length, buffer, callback, data: cbData })?;
        begun = true;
        Ok(())
    });
    if begun { VIX_ASYNC } else { code }
}

/// Returns when all reads of the disk that did not wait have ended, and their callbacks too.
/// VIX_E_OBJECT_IS_BUSY in such a callback, which cannot wait for itself.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Wait(diskHandle: Handle) -> VixError {
    call(|| match objects::disk(diskHandle)?.worker.wait() {
        true => Ok(()),
        false => Err(Failure::plain(VIX_E_OBJECT_IS_BUSY)),
    })
}

/// Nothing is kept that would have to be written.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Flush(diskHandle: Handle) -> VixError {
    code_of(objects::disk(diskHandle).map(drop))
}
