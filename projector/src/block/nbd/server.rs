//! What all connections of a server share: the exports, and what clients have to show.

use std::sync::Arc;

#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::block::export::Export;
use crate::log::Log;

/// A server of the NBD protocol.
pub struct Nbd {
    exports: Vec<Arc<Export>>,
    default: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
    pub(super) log: Log,
}

impl Nbd {
    /// A server of `exports`; `log` takes lines about failed requests.
    pub fn new(exports: Vec<Arc<Export>>, log: Log) -> Self {
        Self {
            exports,
            default: None,
            #[cfg(feature = "tls")]
            tls: None,
            log,
        }
    }

    /// The same, where clients that name no export get the one called `name`.
    #[must_use]
    pub fn with_default(mut self, name: Option<String>) -> Self {
        self.default = name;
        self
    }

    /// The same with encrypted connections: a client that does not ask for `tls` learns nothing.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// What clients can choose from.
    pub fn exports(&self) -> &[Arc<Export>] {
        &self.exports
    }

    /// Whether connections have to be encrypted.
    pub fn requires_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// The export called `name`; for an empty name the one for clients that name none.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<Export>> {
        let name = if name.is_empty() { self.default.as_deref()?.as_bytes() } else { name };
        self.exports.iter().find(|export| export.name.as_bytes() == name)
    }
}
