//! Work done before it is asked for, on threads beside those that ask.
//!
//! A thread is started when there is work, as many as there are cores beside one, and ends when
//! there was none for a while. What finds no room in the queue is not done: the reader that needs
//! it does it then. [`set_threads`] with 0 switches all of it off.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// LIMIT: threads.
const MAX_THREADS: usize = 4;

/// LIMIT: jobs that wait.
const MAX_JOBS: usize = 64;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

struct Ahead {
    state: Mutex<State>,
    work: Condvar,
    max_threads: AtomicUsize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static AHEAD: LazyLock<Ahead> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Ahead::new(cores.saturating_sub(1).min(MAX_THREADS))
});

/// How many threads may work ahead at once. What one of them is doing is finished.
pub fn set_threads(count: usize) {
    AHEAD.max_threads.store(count.min(MAX_THREADS), Ordering::Relaxed);
}

/// How many threads may work ahead at once.
pub fn threads() -> usize {
    AHEAD.max_threads.load(Ordering::Relaxed)
}

/// Does `job` soon, or not at all.
pub fn spawn(job: impl FnOnce() + Send + 'static) {
    AHEAD.spawn(Box::new(job));
}

impl Ahead {
    fn new(max_threads: usize) -> Self {
        let max_threads = AtomicUsize::new(max_threads);
        Self { state: Mutex::default(), work: Condvar::new(), max_threads }
    }

    fn spawn(&'static self, job: Job) {
        let max_threads = self.max_threads.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        if max_threads == 0 || state.jobs.len() >= MAX_JOBS {
            return;
        }
        state.jobs.push_back(job);
        if state.idle == 0 && state.threads < max_threads {
            let thread = thread::Builder::new().name("ahead".to_owned());
            if thread.spawn(|| self.work()).is_ok() {
                state.threads = state.threads.saturating_add(1);
            } else if state.threads == 0 {
                state.jobs.clear();
            }
        } else {
            self.work.notify_one();
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // What is wrong with the image, or with us, is found again by the reader that
                // needs the bytes; nobody waits for this job, so there is nobody to tell.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state.lock();
                continue;
            }
            state.idle = state.idle.saturating_add(1);
            let waited = self.work.wait_for(&mut state, IDLE);
            state.idle = state.idle.saturating_sub(1);
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads = state.threads.saturating_sub(1);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_are_done_also_after_one_that_panics() {
        static OWN: LazyLock<Ahead> = LazyLock::new(|| Ahead::new(2));
        let (done, wait) = channel();
        OWN.spawn(Box::new(|| panic!("a job that fails")));
        for number in 0..10 {
            let done = done.clone();
            OWN.spawn(Box::new(move || done.send(number).unwrap()));
        }
        drop(done);
        assert_eq!(wait.iter().count(), 10);
    }

    #[test]
    fn without_threads_nothing_is_done() {
        static OWN: LazyLock<Ahead> = LazyLock::new(|| Ahead::new(0));
        let (done, wait) = channel();
        OWN.spawn(Box::new(move || done.send(()).unwrap()));
        assert!(wait.recv().is_err());
    }
}
