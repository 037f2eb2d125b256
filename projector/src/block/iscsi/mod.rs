//! An iSCSI target: disks and volumes for the initiator that a system already has.
//!
//! Specification: RFC 7143. Windows, Linux, hypervisors and boot firmware bring an initiator.
//!
//! Every disk and volume is a target of its own, with unit 0 alone. Who logs in to a target gets all
//! of its units: a disk and the volumes on it would show the same bytes, signatures and serial
//! numbers twice to the same system, which takes one of them offline or joins the wrong halves. So
//! the user says with the target's name what is to appear. Names carry text, where a unit has but a
//! number that changes with the set; and initiators look for no more than 256 units of a target.
//!
//! One connection is a session. Its thread answers requests in their order, puts the answers
//! together and sends them when no request waits. Recovery within a session is not offered, so what
//! breaks the protocol ends the connection, and initiators log in again. A peer that sends nonsense,
//! stalls or goes away harms its connection only.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

mod chap;
mod login;
mod pdu;
mod scsi;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod wire;

pub use self::chap::Chap;
pub use self::target::Target;

use crate::block::serve::Stream;
use crate::log::Log;

/// What tells a session of the same initiator from another: its name, its number for the session,
/// and the target.
type SessionName = (String, [u8; 6], String);

/// What a connection needs.
pub struct Iscsi {
    targets: Vec<Arc<Target>>,
    chap: Option<Chap>,
    log: Log,
    sessions: Mutex<HashMap<SessionName, Arc<AtomicBool>>>,
    next: AtomicU64,
}

impl Iscsi {
    /// A server of `targets` for all initiators, or for those that `chap` asks for.
    pub fn new(targets: Vec<Target>, chap: Option<Chap>, log: Log) -> Self {
        let mut unique: Vec<Arc<Target>> = Vec::with_capacity(targets.len());
        for mut target in targets {
            let base = target.name.clone();
            let mut number = 2;
            while unique.iter().any(|other| other.name == target.name) {
                target.name = format!("{base}-{number}");
                number += 1;
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

    /// Serves one initiator on `stream` until it says goodbye.
    ///
    /// # Errors
    /// If the stream ends early, or the initiator breaks the protocol.
    pub fn serve(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let Some((wire, agreed)) = login::login(self, stream)? else {
            return Ok(());
        };
        let name = agreed
            .target
            .as_ref()
            .map(|target| (agreed.initiator.clone(), agreed.session_number, target.name.clone()));
        let replaced = Arc::new(AtomicBool::new(false));
        if let Some(name) = &name {
            // An initiator that comes again has lost its old connection.
            if let Some(old) = self.sessions.lock().insert(name.clone(), replaced.clone()) {
                old.store(true, Ordering::SeqCst);
            }
        }
        let served = session::Session::new(self, wire, agreed, replaced.clone()).run();
        if let Some(name) = &name {
            let mut sessions = self.sessions.lock();
            if sessions.get(name).is_some_and(|current| Arc::ptr_eq(current, &replaced)) {
                sessions.remove(name);
            }
        }
        served
    }

    fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// A handle for a new session, which is never 0.
    fn session_handle(&self) -> u16 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % u64::from(u16::MAX);
        u16::try_from(number + 1).unwrap_or(1)
    }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
