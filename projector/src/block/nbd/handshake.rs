//! The handshake of a new connection: which export, in which way.

use std::io::{self, Read};
use std::sync::Arc;

use zerocopy::{FromZeros, IntoBytes};

use super::protocol::{
    ALLOCATION, HANDSHAKE_FLAGS, INIT_MAGIC, MAX_OPTION, MAX_PAYLOAD, NO_ZEROES, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, RawOption, RawOptionReply, flag, info, option, reply,
};
use super::server::Nbd;
#[cfg(feature = "tls")]
use super::tls::Gone;
use crate::block::export::Export;
use crate::block::number::{length_u32, to_usize};
use crate::block::serve::{Stream, protocol_error};

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
        return Err(protocol_error("client sets handshake flags that are not known"));
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
    Err(protocol_error("too many handshake options"))
}

fn take<const N: usize>(stream: &mut Box<dyn Stream>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Handshake<'_> {
    fn option(&mut self) -> io::Result<Next> {
        let mut header = RawOption::new_zeroed();
        self.stream.read_exact(header.as_mut_bytes())?;
        if header.magic.get() != OPTION_MAGIC {
            return Err(protocol_error("client sends no option where one is due"));
        }
        let (number, length) = (header.number.get(), header.length.get());
        if length > MAX_OPTION {
            // What is too long is not read into memory.
            io::copy(&mut (&mut self.stream).take(length.into()), &mut io::sink())?;
            self.reply(number, reply::ERR_TOO_BIG, b"option is too long")?;
            return Ok(Next::Negotiate);
        }
        let mut data = vec![0; to_usize(length.into())];
        self.stream.read_exact(&mut data)?;
        if self.nbd.requires_tls() && !self.is_encrypted {
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
        match number {
            option::STARTTLS if data.is_empty() => self.start_tls(number)?,
            option::STARTTLS => self.reply(number, reply::ERR_INVALID, b"")?,
            option::ABORT => {
                // The client may be gone already.
                let _ = self.reply(number, reply::ACK, b"");
                return Ok(Next::Goodbye);
            }
            option::EXPORT_NAME => {
                return Err(protocol_error("client asks for an export without TLS"));
            }
            _ => self.reply(number, reply::ERR_TLS_REQD, b"this server wants TLS")?,
        }
        Ok(Next::Negotiate)
    }

    #[cfg(feature = "tls")]
    fn start_tls(&mut self, number: u32) -> io::Result<()> {
        let Some(tls) = &self.nbd.tls else {
            return self.reply(number, reply::ERR_UNSUP, b"");
        };
        self.reply(number, reply::ACK, b"")?;
        let plain = std::mem::replace(&mut self.stream, Box::new(Gone));
        self.stream = tls.accept(plain)?;
        self.is_encrypted = true;
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn start_tls(&mut self, number: u32) -> io::Result<()> {
        self.reply(number, reply::ERR_UNSUP, b"")
    }

    fn reply(&mut self, number: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let header = RawOptionReply {
            magic: OPTION_REPLY_MAGIC.into(),
            number: number.into(),
            kind: kind.into(),
            length: length_u32(data).into(),
        };
        self.stream.write_all(&[header.as_bytes(), data].concat())?;
        self.stream.flush()
    }

    /// `NBD_OPT_EXPORT_NAME`, the old way: there is no answer to a wrong name but to hang up.
    fn export_name(&mut self, name: &[u8]) -> io::Result<Arc<Export>> {
        let export = self.nbd.find(name).cloned();
        let export =
            export.ok_or_else(|| protocol_error("client asks for an export that is not there"))?;
        let mut bytes = export.content.device().size().to_be_bytes().to_vec();
        bytes.extend(flags(&export, self.structured).to_be_bytes());
        if !self.no_zeroes {
            bytes.extend([0; 124]);
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
        for export in nbd.exports() {
            let mut bytes = length_u32(export.name.as_bytes()).to_be_bytes().to_vec();
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
        // A count, and as many numbers of two bytes.
        let count = rest.split_off(..2);
        let wanted = count.zip(Some(rest.as_chunks::<2>()));
        let wanted = wanted.filter(|(count, (kinds, odd))| {
            odd.is_empty() && u16::try_from(kinds.len()).is_ok_and(|n| *count == n.to_be_bytes())
        });
        let Some((_, (wanted, _))) = wanted else {
            self.reply(number, reply::ERR_INVALID, b"")?;
            return Ok(Next::Negotiate);
        };
        let Some(export) = self.nbd.find(name).cloned() else {
            self.reply(number, reply::ERR_UNKNOWN, b"there is no such export; list them")?;
            return Ok(Next::Negotiate);
        };
        let mut bytes = info::EXPORT.to_be_bytes().to_vec();
        bytes.extend(export.content.device().size().to_be_bytes());
        bytes.extend(flags(&export, self.structured).to_be_bytes());
        self.reply(number, reply::INFO, &bytes)?;
        for kind in wanted {
            let mut bytes = kind.to_vec();
            match u16::from_be_bytes(*kind) {
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
