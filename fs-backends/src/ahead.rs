//! Work done before somebody asks for it, on threads beside those that ask.
//!
//! A thread is started when there is work, as many as there are cores beside one, and ends when
//! there was none for a while. What finds no room in the queue is not done: whoever needs it does
//! it then.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
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
    max_threads: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static AHEAD: LazyLock<Ahead> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Ahead {
        state: Mutex::default(),
        work: Condvar::new(),
        max_threads: cores.saturating_sub(1).min(MAX_THREADS),
    }
});

/// Does `job` soon, or not at all.
pub(crate) fn spawn(job: impl FnOnce() + Send + 'static) {
    let mut state = AHEAD.state.lock();
    if AHEAD.max_threads == 0 || state.jobs.len() >= MAX_JOBS {
        return;
    }
    state.jobs.push_back(Box::new(job));
    if state.idle == 0 && state.threads < AHEAD.max_threads {
        let started = thread::Builder::new().name("ahead".to_owned()).spawn(work);
        if started.is_ok() {
            state.threads = state.threads.saturating_add(1);
        } else if state.threads == 0 {
            state.jobs.clear();
        }
    } else {
        AHEAD.work.notify_one();
    }
}

fn work() {
    let mut state = AHEAD.state.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // What is wrong with the image is found again by whoever asks for it.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = AHEAD.state.lock();
            continue;
        }
        state.idle = state.idle.saturating_add(1);
        let waited = AHEAD.work.wait_for(&mut state, IDLE);
        state.idle = state.idle.saturating_sub(1);
        if waited.timed_out() && state.jobs.is_empty() {
            state.threads = state.threads.saturating_sub(1);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_are_done_also_after_one_that_panics() {
        let (done, wait) = channel();
        spawn(|| panic!("a job that fails"));
        for number in 0..10 {
            let done = done.clone();
            spawn(move || done.send(number).unwrap());
        }
        drop(done);
        // With one core nobody works ahead.
        let expected = if AHEAD.max_threads == 0 { 0 } else { 10 };
        assert_eq!(wait.iter().count(), expected);
    }
}
