//! A thread of its own for a value that cannot be shared between threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::error::{FsError, FsErrorKind, FsResult};

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Owns a `T` on one worker thread; other threads send it work.
///
/// A panic inside the work is an error of that request alone: the value is built anew.
pub struct Confined<T: 'static> {
    jobs: Mutex<Sender<Job<T>>>,
}

impl<T: 'static> Confined<T> {
    /// Starts a worker called `name` and builds its value there with `build`, which is called
    /// again after a panic.
    ///
    /// # Errors
    /// What `build` says, or `Io` if the host gives no thread.
    pub fn new(name: &str, build: impl Fn() -> FsResult<T> + Send + 'static) -> FsResult<Self> {
        let (jobs, queue) = channel::<Job<T>>();
        let (ready, outcome) = sync_channel(1);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut value = match guarded(&build) {
                    Ok(value) => {
                        let _ = ready.send(Ok(()));
                        Some(value)
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                for job in queue {
                    // INVARIANT: a job reports through its own channel; a dropped channel is an
                    // error at the caller, so nothing is lost when the value cannot be built.
                    if value.is_none() {
                        value = guarded(&build).ok();
                    }
                    if let Some(state) = &mut value
                        && catch_unwind(AssertUnwindSafe(|| job(state))).is_err()
                    {
                        value = None;
                    }
                }
            })
            .map_err(|error| {
                FsError::new(FsErrorKind::Io, "no thread for the file system").because(error)
            })?;
        outcome.recv().map_err(|_| crashed())??;
        Ok(Self { jobs: Mutex::new(jobs) })
    }

    /// Runs `work` on the worker and waits for its answer.
    ///
    /// # Errors
    /// What `work` says; `Corrupt` if it panicked.
    pub fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        let (answer, outcome) = sync_channel(1);
        let job: Job<T> = Box::new(move |value| {
            let _ = answer.send(work(value));
        });
        self.jobs.lock().send(job).map_err(|_| crashed())?;
        outcome.recv().map_err(|_| crashed())?
    }
}

fn guarded<T>(build: &impl Fn() -> FsResult<T>) -> FsResult<T> {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|_| Err(crashed()))
}

fn crashed() -> FsError {
    FsError::corrupt("file system structures made the reader fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_harms_only_its_own_request() {
        let worker = Confined::new("test", || Ok(1_u32)).unwrap();
        let set = |value: &mut u32| {
            *value = 5;
            Ok(())
        };
        worker.run(set).unwrap();
        let error = worker.run::<()>(|_| panic!("hostile bytes")).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        assert_eq!(worker.run(|value| Ok(*value)).unwrap(), 1, "the value was built anew");
    }

    #[test]
    fn a_value_that_cannot_be_built_is_the_error_of_new() {
        let error = Confined::<u32>::new("test", || Err(FsError::not_found())).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::NotFound);
    }
}
