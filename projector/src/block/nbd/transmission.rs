//! The requests of a client that has chosen its export.

use std::io::{self, Read, Write};

use volfold_block::{BlockErrorKind, BlockResult, Extent, ExtentKind, error_chain, guard};

use super::handshake::{ALLOCATION_ID, Choice};
use super::nonsense;
use super::protocol::{
    MAX_PAYLOAD, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY_MAGIC,
    chunk, command, command_flag, error,
};
use crate::block::buffer::Buffer;
use crate::block::overlay::Overlay;
use crate::block::serve::Stream;
use crate::log::Log;

/// Bytes of requests that are read at once.
const INPUT: usize = 64 << 10;

/// Replies are sent when they take this much, or when no request waits.
const OUTPUT: usize = 256 << 10;

/// Bytes of one chunk of a structured reply.
const CHUNK: u32 = 1 << 20;

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
    input: Box<[u8]>,
    /// What of `input` was read and not yet used.
    waiting: std::ops::Range<usize>,
    output: Buffer,
}

impl<'a> Session<'a> {
    pub(super) fn new(stream: Box<dyn Stream>, choice: Choice, log: &'a Log) -> Self {
        Self {
            stream,
            choice,
            log,
            logged: 0,
            input: vec![0; INPUT].into_boxed_slice(),
            waiting: 0..0,
            output: Buffer::default(),
        }
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
            if self.output.used >= OUTPUT {
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
        let mut bytes = [0; 28];
        if !self.fill(&mut bytes)? {
            return Ok(None);
        }
        let (magic, rest) = bytes.split_at(4);
        if magic != REQUEST_MAGIC.to_be_bytes() {
            return Err(nonsense("client sends no request where one is due"));
        }
        let field = |start: usize, length: usize| {
            rest[start..start + length].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let mut cookie = [0; 8];
        cookie.copy_from_slice(&rest[4..12]);
        Ok(Some(Request {
            flags: field(0, 2) as u16,
            command: field(2, 2) as u16,
            cookie,
            offset: field(12, 8),
            length: field(20, 4) as u32,
        }))
    }

    /// Fills `buf` with what the client sends; whether there was anything. Replies go out before
    /// the client is waited for.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buf.len() {
            if self.waiting.is_empty() {
                self.send()?;
                let count = self.stream.read(&mut self.input)?;
                if count == 0 {
                    return match filled {
                        0 => Ok(false),
                        _ => Err(io::ErrorKind::UnexpectedEof.into()),
                    };
                }
                self.waiting = 0..count;
            }
            let count = self.waiting.len().min(buf.len() - filled);
            let from = self.waiting.start;
            buf[filled..filled + count].copy_from_slice(&self.input[from..from + count]);
            self.waiting.start += count;
            filled += count;
        }
        Ok(true)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.output.used > 0 {
            self.stream.write_all(self.output.filled())?;
            self.stream.flush()?;
            self.output.give_back(4 * CHUNK as usize);
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
            return Err(nonsense("client writes too much at once"));
        }
        let mut bytes = vec![0; length as usize];
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
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(1024)];
        let kind = if at.is_some() { chunk::ERROR_OFFSET } else { chunk::ERROR };
        let length = 6 + reason.len() + if at.is_some() { 8 } else { 0 };
        self.chunk(request, chunk::DONE, kind, length as u32);
        self.output.push(&number.to_be_bytes());
        self.output.push(&(reason.len() as u16).to_be_bytes());
        self.output.push(reason);
        if let Some(at) = at {
            self.output.push(&at.to_be_bytes());
        }
    }

    fn simple(&mut self, request: Request, number: u32) {
        self.output.push(&SIMPLE_REPLY_MAGIC.to_be_bytes());
        self.output.push(&number.to_be_bytes());
        self.output.push(&request.cookie);
    }

    fn chunk(&mut self, request: Request, flags: u16, kind: u16, length: u32) {
        self.output.push(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
        self.output.push(&flags.to_be_bytes());
        self.output.push(&kind.to_be_bytes());
        self.output.push(&request.cookie);
        self.output.push(&length.to_be_bytes());
    }

    fn note(&mut self, request: Request, reason: &str) {
        self.logged += 1;
        if self.logged <= MAX_LOG_LINES {
            let name = &self.choice.export.name;
            (self.log)(&format!("{name}: request at byte {}: {reason}", request.offset));
        }
    }

    fn read_simple(&mut self, request: Request) -> io::Result<()> {
        let start = self.output.used;
        self.simple(request, 0);
        if let Err(error) = self.read(request.offset, request.length) {
            self.output.used = start;
            self.note(request, &error_chain(&error));
            self.simple(request, error::IO);
        }
        Ok(())
    }

    /// Reads `length` bytes at `offset` to the end of the output.
    fn read(&mut self, offset: u64, length: u32) -> BlockResult<()> {
        let device = self.choice.export.content.device();
        let space = self.output.space(length as usize);
        guard("the device", || device.read_at(offset, space))
    }

    /// Sends data and holes in chunks of their own, so that holes need not travel.
    fn read_structured(&mut self, request: Request) -> io::Result<()> {
        if request.length == 0 {
            return self.done(request);
        }
        let looks_for_holes = request.flags & command_flag::DF == 0 && request.length >= HOLES_FROM;
        let end = request.offset + u64::from(request.length);
        let mut at = request.offset;
        let mut chunks = 0;
        while at < end {
            let left = end - at;
            let (is_hole, length) = if looks_for_holes && chunks < MAX_CHUNKS {
                match self.choice.export.content.extent(at, left) {
                    Ok(extent) => (extent.kind == ExtentKind::Zero, extent.length),
                    // The read says what is wrong.
                    Err(_) => (false, left),
                }
            } else {
                (false, left)
            };
            let whole = request.flags & command_flag::DF != 0;
            let length = if is_hole || whole { length } else { length.min(CHUNK.into()) } as u32;
            let flags = if at + u64::from(length) == end { chunk::DONE } else { 0 };
            let start = self.output.used;
            if is_hole {
                self.chunk(request, flags, chunk::OFFSET_HOLE, 12);
                self.output.push(&at.to_be_bytes());
                self.output.push(&length.to_be_bytes());
            } else {
                self.chunk(request, flags, chunk::OFFSET_DATA, 8 + length);
                self.output.push(&at.to_be_bytes());
                if let Err(error) = self.read(at, length) {
                    self.output.used = start;
                    let reason = error_chain(&error);
                    self.note(request, &reason);
                    let number = match error.kind() {
                        BlockErrorKind::Unsupported => error::NOTSUP,
                        _ => error::IO,
                    };
                    self.error_chunk(request, number, &reason, Some(at));
                    return Ok(());
                }
            }
            chunks += 1;
            at += u64::from(length);
            if self.output.used >= OUTPUT {
                self.send()?;
            }
        }
        Ok(())
    }

    fn block_status(&mut self, request: Request) -> io::Result<()> {
        if !self.choice.allocation || request.length == 0 {
            return self.fail(request, error::INVAL, "block status was not agreed on");
        }
        let end = request.offset + u64::from(request.length);
        let mut descriptors: Vec<(u32, u32)> = Vec::new();
        let mut at = request.offset;
        while at < end {
            let extent = match self.choice.export.content.extent(at, end - at) {
                Ok(extent) => extent,
                // What cannot be told apart is data, which a read will speak about.
                Err(_) => Extent { kind: ExtentKind::Data, length: end - at },
            };
            let state = match extent.kind {
                ExtentKind::Data => 0,
                ExtentKind::Zero => STATE_HOLE | STATE_ZERO,
            };
            // No extent is longer than what is left of a 32-bit request.
            let length = extent.length as u32;
            let most = match request.flags & command_flag::REQ_ONE {
                0 => MAX_DESCRIPTORS,
                _ => 1,
            };
            let is_full = descriptors.len() >= most;
            match descriptors.last_mut() {
                Some((last, kind)) if *kind == state => *last += length,
                _ if is_full => break,
                _ => descriptors.push((length, state)),
            }
            at += u64::from(length);
        }
        let length = 4 + 8 * descriptors.len();
        self.chunk(request, chunk::DONE, chunk::BLOCK_STATUS, length as u32);
        self.output.push(&ALLOCATION_ID.to_be_bytes());
        for (length, state) in descriptors {
            self.output.push(&length.to_be_bytes());
            self.output.push(&state.to_be_bytes());
        }
        Ok(())
    }
}
