//! TLS of NBD connections (`NBD_OPT_STARTTLS`), with certificates as QEMU and nbdkit name them.
//!
//! rustls has no pre-shared keys.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::block::serve::Stream;

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// With the certificate `server-cert.pem` and the key `server-key.pem` in `folder`. If `verify`,
    /// only clients are let in whose certificate those of `ca-cert.pem` have signed.
    ///
    /// # Errors
    /// Which file cannot be read or used, and why.
    pub fn from_folder(folder: &Path, verify: bool) -> Result<Self, String> {
        let failed = |name: &str, reason: &dyn std::fmt::Display| {
            format!("{}: {reason}", folder.join(name).display())
        };
        let certificates = |name: &str| {
            let all = CertificateDer::pem_file_iter(folder.join(name))
                .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>);
            match all {
                Ok(all) if all.is_empty() => Err(failed(name, &"holds no certificate")),
                Ok(all) => Ok(all),
                Err(error) => Err(failed(name, &error)),
            }
        };
        let chain = certificates("server-cert.pem")?;
        let key = PrivateKeyDer::from_pem_file(folder.join("server-key.pem"))
            .map_err(|error| failed("server-key.pem", &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if verify {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("ca-cert.pem")? {
                roots.add(certificate).map_err(|error| failed("ca-cert.pem", &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(
                verifier.build().map_err(|error| failed("ca-cert.pem", &error))?,
            )
        } else {
            config.with_no_client_auth()
        };
        let config = config.with_single_cert(chain, key);
        Ok(Self(Arc::new(config.map_err(|error| failed("server-cert.pem", &error))?)))
    }

    /// `stream` encrypted, once the client has shown that it means it.
    ///
    /// # Errors
    /// If the client breaks the protocol, or is none that is let in.
    pub(super) fn accept(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let connection = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                // The client learns why, if it still listens.
                let _ = stream.conn.write_tls(&mut stream.sock);
                return Err(error);
            }
        }
        Ok(Box::new(Encrypted(stream)))
    }
}

/// Stands for a connection while it is encrypted.
pub(super) struct Gone;

impl Read for Gone {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Gone {}

/// A connection that says goodbye at its end.
struct Encrypted(StreamOwned<ServerConnection, Box<dyn Stream>>);

impl Read for Encrypted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Encrypted {
    fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        self.0.sock.wait(time)
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.0.sock.local_address()
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        self.0.conn.send_close_notify();
        // The client may be gone already.
        let _ = self.0.conn.write_tls(&mut self.0.sock);
    }
}
