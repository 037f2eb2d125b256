//! How far long work is, and how it is stopped.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use volfold_block::{BlockError, BlockResult};

/// How long the same progress is not told again while files of the host are read.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is done at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Images are opened; counts images, and files of folders.
    Images,
    /// Partition tables and volume managers are read; counts disks.
    Disks,
    /// File systems are identified; counts volumes.
    Volumes,
    /// Volumes are looked into for systems; counts volumes.
    Systems,
    /// The packages of a system are read; counts packages, without a total.
    Packages,
}

impl Stage {
    /// The stage as one stable word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Disks => "disks",
            Self::Volumes => "volumes",
            Self::Systems => "systems",
            Self::Packages => "packages",
        }
    }
}

/// How far work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is done.
    pub stage: Stage,
    /// How much of it has been done.
    pub done: u64,
    /// How much there is in all, as far as is known; it may grow.
    pub total: Option<u64>,
}

/// Tells how far the work of a set is, and stops it. All clones are one.
///
/// A set that is [stopped](Self::stop) stays so: what runs then, and every later call that reads, ends with an
/// error of the kind `Stopped`, and never with a part of the answer.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use volfold::block::BlockErrorKind;
/// use volfold::{DiskSet, Monitor, OpenOptions};
///
/// let mut options = OpenOptions::default();
/// options.monitor = Monitor::new(|progress| {
///     println!("{}: {} of {:?}", progress.stage.name(), progress.done, progress.total);
///     ControlFlow::Continue(())
/// });
/// let set = DiskSet::open(["samples/sample.vmdk"], &options).unwrap();
/// let readme = set.path("/linux/README.txt");
/// assert!(readme.read().is_ok());
/// // Of use on another thread, as in a handler of Ctrl-C.
/// options.monitor.stop();
/// assert_eq!(readme.read().unwrap_err().code(), BlockErrorKind::Stopped.code());
/// ```
#[derive(Clone, Default)]
pub struct Monitor(Arc<Inner>);

type Tell = dyn Fn(&Progress) -> ControlFlow<()> + Send + Sync;

#[derive(Default)]
struct Inner {
    is_stopped: AtomicBool,
    tell: Option<Box<Tell>>,
    /// Whether there is a `last`.
    is_working: AtomicBool,
    last: Mutex<Option<Last>>,
}

/// What was told last.
#[derive(Clone, Copy)]
struct Last {
    progress: Progress,
    /// The thread that works.
    thread: ThreadId,
    told: Instant,
}

impl Monitor {
    /// A monitor that calls `tell` as the work goes on, which stops it by [`ControlFlow::Break`].
    ///
    /// It is called on the thread that made the call which works: before each image, disk and volume, at the
    /// end of each stage, and while one of them takes long, some ten times a second.
    pub fn new(tell: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { tell: Some(Box::new(tell)), ..Inner::default() }))
    }

    /// Stops the work, for good: what was opened with this monitor reads no more.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Release);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Acquire)
    }

    /// That it was not.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn check(&self) -> BlockResult<()> {
        if self.is_stopped() { Err(BlockError::stopped()) } else { Ok(()) }
    }

    /// What `work` answers, if that is whole: of what was stopped no answer counts.
    ///
    /// # Errors
    /// `Stopped`, or as `work`.
    pub(crate) fn whole<T, E: From<BlockError>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.check()?;
        let answer = work();
        self.check()?;
        answer
    }

    /// The same of long work, after which nothing is told.
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub(crate) fn long<T, E: From<BlockError>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let answer = self.whole(work);
        self.0.is_working.store(false, Ordering::Release);
        *self.0.last.lock() = None;
        answer
    }

    /// Tells that `done` of `total` are done; whether to go on.
    pub(crate) fn stage(&self, stage: Stage, done: usize, total: usize) -> bool {
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        self.tell(Progress { stage, done: count(done), total: Some(count(total)) });
        !self.is_stopped()
    }

    /// The same of many small things, of which not each is told.
    pub(crate) fn count(&self, stage: Stage, done: usize) -> bool {
        let progress =
            Progress { stage, done: u64::try_from(done).unwrap_or(u64::MAX), total: None };
        let is_new = match &mut *self.0.last.lock() {
            Some(last) if last.progress.stage == stage => {
                last.progress = progress;
                false
            }
            _ => true,
        };
        if is_new {
            self.tell(progress);
        }
        self.tick().is_ok()
    }

    /// Called before each read of the host: that it was not stopped.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn tick(&self) -> BlockResult<()> {
        if self.0.is_working.load(Ordering::Acquire) {
            let last = *self.0.last.lock();
            let is_due = |last: &Last| {
                last.thread == thread::current().id() && last.told.elapsed() >= INTERVAL
            };
            if let Some(last) = last.filter(is_due) {
                self.tell(last.progress);
            }
        }
        self.check()
    }

    fn tell(&self, progress: Progress) {
        let Some(tell) = &self.0.tell else { return };
        if self.is_stopped() {
            return;
        }
        let (thread, told) = (thread::current().id(), Instant::now());
        *self.0.last.lock() = Some(Last { progress, thread, told });
        self.0.is_working.store(true, Ordering::Release);
        if tell(&progress).is_break() {
            self.stop();
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("is_stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_told_again_on_its_own_thread_alone() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let monitor = Monitor::new(move |progress| {
            into.lock().push(progress.done);
            ControlFlow::Continue(())
        });
        let work = || {
            assert!(monitor.stage(Stage::Images, 1, 2));
            monitor.tick()?;
            thread::sleep(INTERVAL);
            thread::scope(|scope| scope.spawn(|| monitor.tick()).join().unwrap())?;
            assert_eq!(*told.lock(), [1]);
            monitor.tick()?;
            monitor.tick()
        };
        monitor.long(work).unwrap();
        assert_eq!(*told.lock(), [1, 1]);
        thread::sleep(INTERVAL);
        monitor.tick().unwrap();
        assert_eq!(*told.lock(), [1, 1]);
    }

    #[test]
    fn many_small_things_are_told_now_and_then() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let monitor = Monitor::new(move |progress| {
            into.lock().push((progress.done, progress.total));
            ControlFlow::Continue(())
        });
        assert!((1..=1000).all(|done| monitor.count(Stage::Packages, done)));
        thread::sleep(INTERVAL);
        monitor.tick().unwrap();
        let told = told.lock();
        assert_eq!((told.first(), told.last()), (Some(&(1, None)), Some(&(1000, None))));
    }

    #[test]
    fn an_answer_that_was_stopped_on_the_way_does_not_count() {
        let monitor = Monitor::default();
        let answer = monitor.long(|| {
            monitor.stop();
            BlockResult::Ok(1)
        });
        assert_eq!(answer.unwrap_err().kind(), volfold_block::BlockErrorKind::Stopped);
    }
}
