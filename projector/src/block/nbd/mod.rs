//! A server of the Network Block Device protocol: fixed newstyle, structured replies, block status.
//!
//! One thread per connection, which reads as many requests as have come, answers them in their
//! order, and sends the answers together. A peer that sends nonsense, stalls or goes away harms its
//! connection only.

use std::io;
use std::sync::Arc;

mod handshake;
mod protocol;
mod tls;
mod transmission;

pub use tls::Tls;

use crate::block::export::Export;
use crate::block::serve::Stream;
use crate::log::Log;

/// What a connection needs.
pub struct Nbd {
    /// What clients can choose from.
    pub exports: Vec<Arc<Export>>,
    /// The name of the export that clients get who name none.
    pub default: Option<String>,
    /// How connections are encrypted. If given, a client that does not ask for it learns nothing.
    pub tls: Option<Tls>,
    /// Where lines about failed requests go.
    pub log: Log,
}

impl Nbd {
    /// Serves one client on `stream` until it says goodbye. Once it has chosen an export it may be
    /// silent for as long as it likes.
    ///
    /// # Errors
    /// If the stream ends early, or the client breaks the protocol.
    pub fn serve(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let Some((stream, choice)) = handshake::negotiate(self, stream)? else {
            return Ok(());
        };
        stream.wait(None)?;
        transmission::Session::new(stream, choice, &self.log).run()
    }

    /// The export called `name`; for an empty name the one for clients that name none.
    fn find(&self, name: &[u8]) -> Option<&Arc<Export>> {
        let name = if name.is_empty() { self.default.as_deref()?.as_bytes() } else { name };
        self.exports.iter().find(|export| export.name.as_bytes() == name)
    }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
