//! A server of the Network Block Device protocol: fixed newstyle, structured replies, block status.
//!
//! One thread per connection, which reads as many requests as have come, answers them in their
//! order, and sends the answers together. A peer that sends nonsense, stalls or goes away harms its
//! connection only.

use std::io;

mod handshake;
mod protocol;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod transmission;

pub use server::Nbd;
#[cfg(feature = "tls")]
pub use tls::Tls;

use crate::block::serve::Stream;

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
}
