//! The handshake of a new connection: which export, in which way.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::protocol::{
    ALLOCATION, HANDSHAKE_FLAGS, INIT_MAGIC, MAX_OPTION, MAX_PAYLOAD, NO_ZEROES, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, flag, info, option, reply,
};
use super::{Nbd, nonsense};
use crate::block::export::Export;
use crate::block::serve::Stream;

/// LIMIT: options of one connection.
const MAX_OPTIONS: u32 = 1000;

/// What a client chose.
pub(super) struct Choice {
    pub(super) export: Arc<Export>,
    pub(super) structured: bool,
    /// Whether it asks for block status, by the number it was told.
    pub(super) allocation: bool,
}

/// The number of `base:allocation` in replies.
pub(super) const ALLOCATION_ID: u32 = 1;

/// Stands for a connection while it is encrypted.
struct Gone;

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

struct Handshake<'a> {
    nbd: &'a Nbd,
    stream: Box<dyn Stream>,
    is_encrypted: bool,
    no_zeroes: bool,
    structured: bool,
    /// The export for which block status was agreed on.
    allocation: Option<String>,
}

/// What follows an option.
enum Next {
    Negotiate,
    Serve(Arc<Export>),
    Goodbye,
}

/// Negotiates with the client; `None` if it only asked.
///
/// # Errors
/// If the stream ends early, or the client breaks the protocol.
pub(super) fn negotiate(
    nbd: &Nbd,
    mut stream: Box<dyn Stream>,
) -> io::Result<Option<(Box<dyn Stream>, Choice)>> {
    let mut greeting = INIT_MAGIC.to_be_bytes().to_vec();
    greeting.extend(OPTION_MAGIC.to_be_bytes());
    greeting.extend(HANDSHAKE_FLAGS.to_be_bytes());
    stream.write_all(&greeting)?;
    let flags = u32::from_be_bytes(take(&mut stream)?);
    if flags & !u32::from(HANDSHAKE_FLAGS) != 0 {
        return Err(nonsense("client sets handshake flags that are not known"));
    }
    let mut handshake = Handshake {
        nbd,
        stream,
        is_encrypted: false,
        no_zeroes: flags & NO_ZEROES != 0,
        structured: false,
        allocation: None,
    };
    for _ in 0..MAX_OPTIONS {
        match handshake.option()? {
            Next::Negotiate => {}
            Next::Goodbye => return Ok(None),
            Next::Serve(export) => {
                let allocation = handshake.structured
                    && handshake.allocation.as_deref() == Some(export.name.as_str());
                let structured = handshake.structured;
                return Ok(Some((handshake.stream, Choice { export, structured, allocation })));
            }
        }
    }
    Err(nonsense("too many handshake options"))
}

fn take<const N: usize>(stream: &mut Box<dyn Stream>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Handshake<'_> {
    fn option(&mut self) -> io::Result<Next> {
        if u64::from_be_bytes(take(&mut self.stream)?) != OPTION_MAGIC {
            return Err(nonsense("client sends no option where one is due"));
        }
        let number = u32::from_be_bytes(take(&mut self.stream)?);
        let length = u32::from_be_bytes(take(&mut self.stream)?);
        if length > MAX_OPTION {
            // What is too long is not read into memory.
            io::copy(&mut (&mut self.stream).take(length.into()), &mut io::sink())?;
            self.reply(number, reply::ERR_TOO_BIG, b"option is too long")?;
            return Ok(Next::Negotiate);
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        if self.nbd.tls.is_some() && !self.is_encrypted {
            return self.plain_option(number, &data);
        }
        match number {
            option::EXPORT_NAME => return self.export_name(&data).map(Next::Serve),
            option::ABORT => {
                // The client may be gone already.
                let _ = self.reply(number, reply::ACK, b"");
                return Ok(Next::Goodbye);
            }
            option::LIST => self.list(number, &data)?,
            option::INFO | option::GO => return self.info(number, &data),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(number, reply::ACK, b"")?;
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.context(number, &data)?,
            option::STRUCTURED_REPLY => self.reply(number, reply::ERR_INVALID, b"")?,
            _ => self.reply(number, reply::ERR_UNSUP, b"")?,
        }
        Ok(Next::Negotiate)
    }

    /// An option before the connection is encrypted, where it has to be.
    fn plain_option(&mut self, number: u32, data: &[u8]) -> io::Result<Next> {
        match (number, &self.nbd.tls) {
            (option::STARTTLS, Some(tls)) if data.is_empty() => {
                self.reply(number, reply::ACK, b"")?;
                let plain = std::mem::replace(&mut self.stream, Box::new(Gone));
                self.stream = tls.accept(plain)?;
                self.is_encrypted = true;
            }
            (option::STARTTLS, _) => self.reply(number, reply::ERR_INVALID, b"")?,
            (option::ABORT, _) => {
                let _ = self.reply(number, reply::ACK, b"");
                return Ok(Next::Goodbye);
            }
            (option::EXPORT_NAME, _) => {
                return Err(nonsense("client asks for an export without TLS"));
            }
            _ => self.reply(number, reply::ERR_TLS_REQD, b"this server wants TLS")?,
        }
        Ok(Next::Negotiate)
    }

    fn reply(&mut self, number: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(data);
        self.stream.write_all(&bytes)?;
        self.stream.flush()
    }

    /// `NBD_OPT_EXPORT_NAME`, the old way: there is no answer to a wrong name but to hang up.
    fn export_name(&mut self, name: &[u8]) -> io::Result<Arc<Export>> {
        let export = self.nbd.find(name).cloned();
        let export =
            export.ok_or_else(|| nonsense("client asks for an export that is not there"))?;
        let mut bytes = export.content.device().size().to_be_bytes().to_vec();
        bytes.extend(flags(&export, self.structured).to_be_bytes());
        if !self.no_zeroes {
            bytes.resize(bytes.len() + 124, 0);
        }
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        Ok(export)
    }

    fn list(&mut self, number: u32, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            return self.reply(number, reply::ERR_INVALID, b"");
        }
        let nbd = self.nbd;
        for export in &nbd.exports {
            let mut bytes = u32::try_from(export.name.len()).unwrap_or(0).to_be_bytes().to_vec();
            bytes.extend(export.name.as_bytes());
            bytes.extend(export.description.as_bytes());
            self.reply(number, reply::SERVER, &bytes)?;
        }
        self.reply(number, reply::ACK, b"")
    }

    fn info(&mut self, number: u32, data: &[u8]) -> io::Result<Next> {
        let Some((name, mut rest)) = split_text(data) else {
            self.reply(number, reply::ERR_INVALID, b"")?;
            return Ok(Next::Negotiate);
        };
        let count = rest.split_off(..2).map(|count| u16::from_be_bytes([count[0], count[1]]));
        if count.map(|count| 2 * usize::from(count)) != Some(rest.len()) {
            self.reply(number, reply::ERR_INVALID, b"")?;
            return Ok(Next::Negotiate);
        }
        let Some(export) = self.nbd.find(name).cloned() else {
            self.reply(number, reply::ERR_UNKNOWN, b"there is no such export; list them")?;
            return Ok(Next::Negotiate);
        };
        let wanted = rest.as_chunks::<2>().0.iter().map(|kind| u16::from_be_bytes(*kind));
        let mut bytes = info::EXPORT.to_be_bytes().to_vec();
        bytes.extend(export.content.device().size().to_be_bytes());
        bytes.extend(flags(&export, self.structured).to_be_bytes());
        self.reply(number, reply::INFO, &bytes)?;
        for kind in wanted {
            let mut bytes = kind.to_be_bytes().to_vec();
            match kind {
                info::NAME => bytes.extend(export.name.as_bytes()),
                info::DESCRIPTION => bytes.extend(export.description.as_bytes()),
                info::BLOCK_SIZE => {
                    let sector = export.content.device().sector_size();
                    for size in [1, sector.max(4096), MAX_PAYLOAD] {
                        bytes.extend(size.to_be_bytes());
                    }
                }
                _ => continue,
            }
            self.reply(number, reply::INFO, &bytes)?;
        }
        self.reply(number, reply::ACK, b"")?;
        Ok(if number == option::GO { Next::Serve(export) } else { Next::Negotiate })
    }

    fn context(&mut self, number: u32, data: &[u8]) -> io::Result<()> {
        let is_set = number == option::SET_META_CONTEXT;
        if is_set {
            self.allocation = None;
        }
        let Some((name, queries)) = queries(data).filter(|_| self.structured) else {
            return self.reply(number, reply::ERR_INVALID, b"");
        };
        let Some(export) = self.nbd.find(name) else {
            return self.reply(number, reply::ERR_UNKNOWN, b"there is no such export");
        };
        let export = export.name.clone();
        let matches =
            |query: &&[u8]| *query == ALLOCATION.as_bytes() || (!is_set && *query == b"base:");
        if queries.iter().any(matches) || (!is_set && queries.is_empty()) {
            let mut bytes = ALLOCATION_ID.to_be_bytes().to_vec();
            bytes.extend(ALLOCATION.as_bytes());
            self.reply(number, reply::META_CONTEXT, &bytes)?;
            if is_set {
                self.allocation = Some(export);
            }
        }
        self.reply(number, reply::ACK, b"")
    }
}

/// A text with its length in front, and what follows it.
fn split_text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The export and the queries of a request for metadata contexts.
fn queries(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, rest) = split_text(data)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut queries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (query, after) = split_text(rest)?;
        queries.push(query);
        rest = after;
    }
    rest.is_empty().then_some((name, queries))
}

/// What the export can do.
fn flags(export: &Export, structured: bool) -> u16 {
    let change = match export.content.overlay() {
        None => flag::READ_ONLY,
        Some(_) => flag::SEND_TRIM | flag::SEND_WRITE_ZEROES,
    };
    flag::HAS_FLAGS
        | flag::SEND_FLUSH
        | flag::SEND_FUA
        | flag::CAN_MULTI_CONN
        | flag::SEND_CACHE
        | if structured { flag::SEND_DF } else { 0 }
        | change
}
