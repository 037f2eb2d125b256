//! The requests of a client that has chosen its export.

use std::io::{self, Write};

use volfold_block::{BlockErrorKind, BlockResult, Extent, ExtentKind, Span, error_chain, guard};
use zerocopy::{FromZeros, IntoBytes};

use super::handshake::{ALLOCATION_ID, Choice};
use super::protocol::{
    MAX_PAYLOAD, REQUEST_MAGIC, RawChunk, RawRequest, RawSimpleReply, SIMPLE_REPLY_MAGIC,
    STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY_MAGIC, chunk, command, command_flag, error,
};
use crate::block::buffer::{Buffer, Input};
use crate::block::number::{to_u32, to_usize};
use crate::block::overlay::Overlay;
use crate::block::serve::{Stream, protocol_error};
use crate::log::Log;

/// Bytes of requests that are read at once.
const INPUT: usize = 64 << 10;

/// Replies are sent when they take this much, or when no request waits.
const OUTPUT: usize = 256 << 10;

/// Bytes of one chunk of a structured reply.
const CHUNK: u32 = 1 << 20;

/// LIMIT: memory for replies that a quiet connection keeps.
const KEPT: usize = 4 << 20;

/// Reads from this size on are looked through for holes.
const HOLES_FROM: u32 = 64 << 10;

/// LIMIT: chunks of one reply; what is left then is sent as data.
const MAX_CHUNKS: u32 = 64;

/// LIMIT: descriptors of one block status.
const MAX_DESCRIPTORS: usize = 1024;

/// LIMIT: lines that one connection writes into the log.
const MAX_LOG_LINES: u32 = 100;

/// One request, without the bytes to write.
#[derive(Clone, Copy)]
struct Request {
    flags: u16,
    command: u16,
    cookie: [u8; 8],
    offset: u64,
    length: u32,
}

/// A connection that has chosen its export.
pub(super) struct Session<'a> {
    stream: Box<dyn Stream>,
    choice: Choice,
    log: &'a Log,
    logged: u32,
    input: Input,
    output: Buffer,
}

impl<'a> Session<'a> {
    pub(super) fn new(stream: Box<dyn Stream>, choice: Choice, log: &'a Log) -> Self {
        Self { stream, choice, log, logged: 0, input: Input::new(INPUT), output: Buffer::default() }
    }

    /// Answers requests until the client says goodbye.
    ///
    /// # Errors
    /// If the stream ends in the middle of a request, or the client breaks the protocol.
    pub(super) fn run(mut self) -> io::Result<()> {
        while let Some(request) = self.request()? {
            if request.command == command::DISC {
                break;
            }
            self.answer(request)?;
            if self.output.length() >= OUTPUT {
                self.send()?;
            }
        }
        self.send()?;
        if let Some(overlay) = self.choice.export.content.overlay() {
            overlay.flush().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The next request; `None` at the end of the stream.
    fn request(&mut self) -> io::Result<Option<Request>> {
        let mut raw = RawRequest::new_zeroed();
        if !self.fill(raw.as_mut_bytes())? {
            return Ok(None);
        }
        if raw.magic.get() != REQUEST_MAGIC {
            return Err(protocol_error("client sends no request where one is due"));
        }
        Ok(Some(Request {
            flags: raw.flags.get(),
            command: raw.command.get(),
            cookie: raw.cookie,
            offset: raw.offset.get(),
            length: raw.length.get(),
        }))
    }

    /// Fills `buf` with what the client sends; whether there was anything. Replies go out before
    /// the client is waited for.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut is_begun = false;
        let mut left = buf;
        while !left.is_empty() {
            let count = self.input.take(left);
            if count == 0 {
                self.send()?;
                match self.input.fill(&mut self.stream)? {
                    0 if is_begun => return Err(io::ErrorKind::UnexpectedEof.into()),
                    0 => return Ok(false),
                    _ => {}
                }
            }
            is_begun |= count > 0;
            (_, left) = left.split_at_mut(count);
        }
        Ok(true)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.output.length() > 0 {
            self.stream.write_all(self.output.filled())?;
            self.stream.flush()?;
            self.output.give_back(KEPT);
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> io::Result<()> {
        let payload = match request.command {
            command::WRITE => self.payload(request.length)?,
            _ => Vec::new(),
        };
        let known = match request.command {
            command::READ => command_flag::FUA | command_flag::DF,
            command::WRITE_ZEROES => {
                command_flag::FUA | command_flag::NO_HOLE | command_flag::FAST_ZERO
            }
            command::BLOCK_STATUS => command_flag::FUA | command_flag::REQ_ONE,
            _ => command_flag::FUA,
        };
        if request.flags & !known != 0 {
            return self.fail(request, error::INVAL, "flags are not known");
        }
        let size = self.choice.export.content.device().size();
        let end = request.offset.checked_add(request.length.into());
        let is_inside = end.is_some_and(|end| end <= size);
        match request.command {
            command::FLUSH => self.change(request, |overlay| overlay.flush()),
            _ if !is_inside => {
                let number = match request.command {
                    command::WRITE | command::WRITE_ZEROES => error::NOSPC,
                    _ => error::INVAL,
                };
                self.fail(request, number, "request leaves the device")
            }
            command::READ if request.length > MAX_PAYLOAD => {
                self.fail(request, error::OVERFLOW, "read is too long")
            }
            command::READ if self.choice.structured => self.read_structured(request),
            command::READ => self.read_simple(request),
            command::CACHE => self.done(request),
            command::BLOCK_STATUS => self.block_status(request),
            command::WRITE => {
                self.change(request, |overlay| overlay.write(request.offset, &payload))
            }
            command::TRIM => self.change(request, |_| Ok(())),
            command::WRITE_ZEROES => self.change(request, |overlay| {
                overlay.write_zeroes(request.offset, request.length.into())
            }),
            _ => self.fail(request, error::INVAL, "command is not known"),
        }
    }

    /// The bytes of a write. What is too long ends the connection, as the protocol wants.
    fn payload(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > MAX_PAYLOAD {
            return Err(protocol_error("client writes too much at once"));
        }
        let mut bytes = vec![0; to_usize(length.into())];
        if !bytes.is_empty() && !self.fill(&mut bytes)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn change(
        &mut self,
        request: Request,
        work: impl FnOnce(&Overlay) -> io::Result<()>,
    ) -> io::Result<()> {
        let export = self.choice.export.clone();
        let is_flush = request.command == command::FLUSH;
        let result = match export.content.overlay() {
            None if is_flush => Ok(()),
            None => return self.fail(request, error::PERM, "the export is read-only"),
            Some(overlay) => work(overlay).and_then(|()| match request.flags & command_flag::FUA {
                0 => Ok(()),
                _ => overlay.flush(),
            }),
        };
        match result {
            Ok(()) => self.done(request),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.fail(request, error::NOSPC, &error.to_string())
            }
            Err(error) => {
                self.note(request, &error.to_string());
                self.fail(request, error::IO, &error.to_string())
            }
        }
    }

    /// The answer to a request without data.
    fn done(&mut self, request: Request) -> io::Result<()> {
        if self.choice.structured && request.command == command::READ {
            self.chunk(request, chunk::DONE, chunk::NONE, 0);
        } else {
            self.simple(request, 0);
        }
        Ok(())
    }

    fn fail(&mut self, request: Request, number: u32, reason: &str) -> io::Result<()> {
        let wants_chunks = [command::READ, command::BLOCK_STATUS].contains(&request.command);
        if !self.choice.structured || !wants_chunks {
            self.simple(request, number);
            return Ok(());
        }
        self.error_chunk(request, number, reason, None);
        Ok(())
    }

    fn error_chunk(&mut self, request: Request, number: u32, reason: &str, at: Option<u64>) {
        let (reason, _) = reason.split_at(reason.floor_char_boundary(1024));
        let length = u16::try_from(reason.len()).unwrap_or(u16::MAX);
        let kind = if at.is_some() { chunk::ERROR_OFFSET } else { chunk::ERROR };
        // The error, the length of the text, and the offset if there is one.
        let fixed = if at.is_some() { 4 + 2 + 8 } else { 4 + 2 };
        self.chunk(request, chunk::DONE, kind, u32::from(length).saturating_add(fixed));
        self.output.push(&number.to_be_bytes());
        self.output.push(&length.to_be_bytes());
        self.output.push(reason.as_bytes());
        if let Some(at) = at {
            self.output.push(&at.to_be_bytes());
        }
    }

    fn simple(&mut self, request: Request, number: u32) {
        let reply = RawSimpleReply {
            magic: SIMPLE_REPLY_MAGIC.into(),
            error: number.into(),
            cookie: request.cookie,
        };
        self.output.push(reply.as_bytes());
    }

    fn chunk(&mut self, request: Request, flags: u16, kind: u16, length: u32) {
        let header = RawChunk {
            magic: STRUCTURED_REPLY_MAGIC.into(),
            flags: flags.into(),
            kind: kind.into(),
            cookie: request.cookie,
            length: length.into(),
        };
        self.output.push(header.as_bytes());
    }

    fn note(&mut self, request: Request, reason: &str) {
        self.logged = self.logged.saturating_add(1);
        if self.logged <= MAX_LOG_LINES {
            let name = &self.choice.export.name;
            (self.log)(&format!("{name}: request at byte {}: {reason}", request.offset));
        }
    }

    fn read_simple(&mut self, request: Request) -> io::Result<()> {
        let start = self.output.length();
        self.simple(request, 0);
        if let Err(error) = self.read(request.offset, request.length) {
            self.output.truncate(start);
            self.note(request, &error_chain(&error));
            self.simple(request, error::IO);
        }
        Ok(())
    }

    /// Reads `length` bytes at `offset` to the end of the output.
    fn read(&mut self, offset: u64, length: u32) -> BlockResult<()> {
        let device = self.choice.export.content.device();
        let space = self.output.space(to_usize(length.into()));
        guard("the device", || device.read_at(offset, space))
    }

    /// Sends data and holes in chunks of their own, so that holes need not travel.
    fn read_structured(&mut self, request: Request) -> io::Result<()> {
        let Some(mut rest) = Span::new(request.offset, request.length.into()) else {
            return self.fail(request, error::INVAL, "request leaves the device");
        };
        if rest.is_empty() {
            return self.done(request);
        }
        let is_whole = request.flags & command_flag::DF != 0;
        let mut looks = if is_whole || request.length < HOLES_FROM { 0 } else { MAX_CHUNKS };
        while !rest.is_empty() {
            let extent = match looks {
                0 => Extent { kind: ExtentKind::Data, length: rest.length() },
                _ => self.extent(rest),
            };
            looks = looks.saturating_sub(1);
            let most = match extent.kind {
                ExtentKind::Data if !is_whole => u64::from(CHUNK),
                _ => u64::MAX,
            };
            let part = rest.first(extent.length.min(most));
            rest = rest.rest(part.length()).unwrap_or_default();
            let flags = if rest.is_empty() { chunk::DONE } else { 0 };
            match extent.kind {
                ExtentKind::Zero => self.hole_chunk(request, flags, part),
                ExtentKind::Data if self.data_chunk(request, flags, part) => {}
                ExtentKind::Data => return Ok(()),
            }
            if self.output.length() >= OUTPUT {
                self.send()?;
            }
        }
        Ok(())
    }

    /// The kind of the first bytes of `span`, and how many there are of it. What cannot be told is
    /// data, about which the read speaks.
    fn extent(&self, span: Span) -> Extent {
        let content = &self.choice.export.content;
        let extent = guard("the device", || content.extent(span.start(), span.length()));
        extent.unwrap_or(Extent { kind: ExtentKind::Data, length: span.length() })
    }

    fn hole_chunk(&mut self, request: Request, flags: u16, hole: Span) {
        // The offset and the length.
        self.chunk(request, flags, chunk::OFFSET_HOLE, 8 + 4);
        self.output.push(&hole.start().to_be_bytes());
        // A request has 32 bits.
        self.output.push(&to_u32(hole.length()).to_be_bytes());
    }

    /// Adds the bytes of `part`, or the last chunk with the reason why they cannot be read; whether
    /// they could.
    fn data_chunk(&mut self, request: Request, flags: u16, part: Span) -> bool {
        let start = self.output.length();
        let length = to_u32(part.length());
        // The offset, and the data.
        self.chunk(request, flags, chunk::OFFSET_DATA, length.saturating_add(8));
        self.output.push(&part.start().to_be_bytes());
        let Err(error) = self.read(part.start(), length) else {
            return true;
        };
        self.output.truncate(start);
        let reason = error_chain(&error);
        self.note(request, &reason);
        let number = match error.kind() {
            BlockErrorKind::Unsupported => error::NOTSUP,
            _ => error::IO,
        };
        self.error_chunk(request, number, &reason, Some(part.start()));
        false
    }

    fn block_status(&mut self, request: Request) -> io::Result<()> {
        let span = Span::new(request.offset, request.length.into());
        let Some(mut rest) = span.filter(|span| self.choice.allocation && !span.is_empty()) else {
            return self.fail(request, error::INVAL, "block status was not agreed on");
        };
        let most = match request.flags & command_flag::REQ_ONE {
            0 => MAX_DESCRIPTORS,
            _ => 1,
        };
        let mut descriptors: Vec<(u32, u32)> = Vec::new();
        while !rest.is_empty() {
            let extent = self.extent(rest);
            let state = match extent.kind {
                ExtentKind::Data => 0,
                ExtentKind::Zero => STATE_HOLE | STATE_ZERO,
            };
            // No extent is longer than what is left of a 32-bit request.
            let length = to_u32(extent.length);
            let is_full = descriptors.len() >= most;
            match descriptors.last_mut() {
                Some((last, kind)) if *kind == state => *last = last.saturating_add(length),
                _ if is_full => break,
                _ => descriptors.push((length, state)),
            }
            rest = rest.rest(extent.length).unwrap_or_default();
        }
        let count = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
        // The number of the context, and descriptors of 8 bytes.
        let length = count.saturating_mul(8).saturating_add(4);
        self.chunk(request, chunk::DONE, chunk::BLOCK_STATUS, length);
        self.output.push(&ALLOCATION_ID.to_be_bytes());
        for (length, state) in descriptors {
            self.output.push(&length.to_be_bytes());
            self.output.push(&state.to_be_bytes());
        }
        Ok(())
    }
}
