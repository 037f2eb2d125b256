//! What all connections of a server share: the targets, and which session belongs to whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::chap::Chap;
use super::target::Target;
use crate::log::Log;

/// What tells a session of the same initiator from another: its name, its number for the session,
/// and the target.
type SessionName = (String, [u8; 6], String);

/// What a connection needs.
pub struct Iscsi {
    targets: Vec<Arc<Target>>,
    pub(super) chap: Option<Chap>,
    pub(super) log: Log,
    pub(super) sessions: Mutex<HashMap<SessionName, Arc<AtomicBool>>>,
    next: AtomicU64,
}

impl Iscsi {
    /// A server of `targets` for all initiators, or for those that `chap` asks for.
    pub fn new(targets: Vec<Target>, chap: Option<Chap>, log: Log) -> Self {
        let mut unique: Vec<Arc<Target>> = Vec::with_capacity(targets.len());
        for mut target in targets {
            let base = target.name.clone();
            let mut number = 2_u32;
            while unique.iter().any(|other| other.name == target.name) {
                target.name = format!("{base}-{number}");
                number = number.saturating_add(1);
            }
            unique.push(Arc::new(target));
        }
        Self {
            targets: unique,
            chap,
            log,
            sessions: Mutex::new(HashMap::new()),
            next: AtomicU64::new(1),
        }
    }

    /// What initiators can choose from.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// A handle for a new session, which is never 0.
    pub(super) fn session_handle(&self) -> u16 {
        const HANDLES: u64 = 0xFFFF;
        let number = self.next.fetch_add(1, Ordering::Relaxed) % HANDLES;
        u16::try_from(number.saturating_add(1)).unwrap_or(1)
    }
}
