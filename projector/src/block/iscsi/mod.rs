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

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod chap;
mod login;
mod pdu;
mod scsi;
mod server;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod wire;

pub use self::chap::Chap;
pub use self::server::Iscsi;
pub use self::target::Target;

use crate::block::serve::Stream;

impl Iscsi {
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
}
