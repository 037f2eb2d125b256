//! What ends a run early: a signal, or a host that takes no more.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::Monitor;

use super::output::ends_all;

/// Whether to stop, and why; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Stop {
    monitor: Monitor,
    reason: Arc<Mutex<Option<String>>>,
}

impl Stop {
    /// Stops because the process was asked to end.
    pub(super) fn by_signal(&self) {
        self.set("asked to end".to_owned());
    }

    /// Stops if after `error` no other write can succeed.
    pub(super) fn by_host(&self, error: &io::Error) {
        if ends_all(error) {
            self.set(format!("stopped: {error}"));
        }
    }

    fn set(&self, reason: String) {
        self.reason.lock().get_or_insert(reason);
        self.monitor.stop();
    }

    /// Whether to stop.
    pub(super) fn is_set(&self) -> bool {
        self.monitor.is_stopped()
    }

    /// Why.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}
