//! Protocol data units as they come and go on one connection.

use std::io;
use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use super::pdu::{Header, padding};
use crate::block::buffer::{Buffer, Input};
use crate::block::serve::{Stream, protocol_error};

/// Bytes that are read from the socket at once.
const INPUT: usize = 64 << 10;

/// Answers are sent when they take this much, or when no request waits.
const OUTPUT: usize = 256 << 10;

/// LIMIT: memory for answers that a quiet connection keeps.
const KEPT: usize = 1 << 20;

/// A PDU of the initiator; additional header segments are not kept.
pub(super) struct Pdu {
    pub(super) header: Header,
    pub(super) data: Vec<u8>,
}

/// What came next.
pub(super) enum Event {
    Pdu(Pdu),
    /// Nothing, for as long as the connection waits.
    Silence,
    End,
}

/// Which digests were agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) header: bool,
    pub(super) data: bool,
}

/// One connection.
pub(super) struct Wire {
    pub(super) stream: Box<dyn Stream>,
    pub(super) digests: Digests,
    input: Input,
    output: Buffer,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            digests: Digests::default(),
            input: Input::new(INPUT),
            output: Buffer::default(),
        }
    }

    pub(super) fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        self.stream.wait(time)
    }

    /// The next PDU, whose data segment has at most `limit` bytes.
    ///
    /// # Errors
    /// If the stream ends or stalls inside a PDU, the data is too long, or a digest does not match.
    pub(super) fn next(&mut self, limit: usize) -> io::Result<Event> {
        let mut header = Header::new_zeroed();
        match self.fill(header.as_mut_bytes()) {
            Ok(true) => {}
            Ok(false) => return Ok(Event::End),
            Err(error) if is_silence(&error) => return Ok(Event::Silence),
            Err(error) => return Err(error),
        }
        let length = header.data_length();
        if length > limit {
            return Err(protocol_error("initiator sends more data at once than was agreed on"));
        }
        let mut sum = crc32c::crc32c(header.as_bytes());
        // At most 255 words.
        let mut additional = [0; 1020];
        let (additional, _) = additional.split_at_mut(header.additional_length());
        self.rest(additional)?;
        if self.digests.header {
            sum = crc32c::crc32c_append(sum, additional);
            self.digest(sum)?;
        }
        let padded = length.saturating_add(padding(length));
        let mut data = vec![0; padded];
        if padded > 0 {
            self.rest(&mut data)?;
            if self.digests.data {
                self.digest(crc32c::crc32c(&data))?;
            }
            data.truncate(length);
        }
        Ok(Event::Pdu(Pdu { header, data }))
    }

    fn digest(&mut self, sum: u32) -> io::Result<()> {
        let mut digest = [0; 4];
        self.rest(&mut digest)?;
        match u32::from_le_bytes(digest) == sum {
            true => Ok(()),
            // Without recovery, which is not offered, this is the end of the session.
            false => Err(protocol_error("a digest of the initiator does not match")),
        }
    }

    /// Fills `buf` with what follows in the same PDU.
    fn rest(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let filled = self.fill(buf).map_err(|error| match is_silence(&error) {
            true => stalled(),
            false => error,
        })?;
        match filled || buf.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Fills `buf` with what the initiator sends; whether there was anything. Answers go out before
    /// the initiator is waited for.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut is_begun = false;
        let mut left = buf;
        while !left.is_empty() {
            let mut count = self.input.take(left);
            if count == 0 {
                self.send()?;
                let is_long = left.len() >= INPUT;
                let read = match is_long {
                    true => self.stream.read(left),
                    false => self.input.fill(&mut self.stream),
                };
                match read {
                    Ok(0) if !is_begun => return Ok(false),
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) if is_long => count = read,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if is_begun && is_silence(&error) => return Err(stalled()),
                    Err(error) => return Err(error),
                }
            }
            is_begun |= count > 0;
            (_, left) = left.split_at_mut(count);
        }
        Ok(true)
    }

    /// Adds a PDU with `data` to what is sent.
    pub(super) fn push(&mut self, header: &mut Header, data: &[u8]) -> io::Result<()> {
        let copied: Result<(), ()> = self.push_with(header, data.len(), |space| {
            space.copy_from_slice(data);
            Ok(())
        });
        // INVARIANT: a copy does not fail.
        let _ = copied;
        self.send_if_full()
    }

    /// Adds a PDU whose `length` bytes of data `work` fills in; nothing if that fails.
    pub(super) fn push_with<E>(
        &mut self,
        header: &mut Header,
        length: usize,
        work: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let output = &mut self.output;
        let start = output.length();
        header.set_data_length(length);
        output.push(header.as_bytes());
        if self.digests.header {
            output.push(&crc32c::crc32c(header.as_bytes()).to_le_bytes());
        }
        let data = output.length();
        if length == 0 {
            return Ok(());
        }
        if let Err(error) = work(output.space(length)) {
            output.truncate(start);
            return Err(error);
        }
        output.space(padding(length)).fill(0);
        if self.digests.data {
            let sum = crc32c::crc32c(output.filled_from(data));
            output.push(&sum.to_le_bytes());
        }
        Ok(())
    }

    /// Sends what has come together if that is much.
    pub(super) fn send_if_full(&mut self) -> io::Result<()> {
        match self.output.length() >= OUTPUT {
            true => self.send(),
            false => Ok(()),
        }
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        if self.output.length() > 0 {
            let sent = self.stream.write_all(self.output.filled());
            sent.and_then(|()| self.stream.flush()).map_err(|error| match is_silence(&error) {
                true => io::Error::other("initiator does not take its answers"),
                false => error,
            })?;
            self.output.give_back(KEPT);
        }
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

fn stalled() -> io::Error {
    // Not the kind of a timeout, which would be taken for silence between PDUs.
    io::Error::other("initiator stalls in the middle of a request")
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use super::*;
    use crate::block::iscsi::pdu::BHS;

    struct Peer(Cursor<Vec<u8>>);

    impl Read for Peer {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Peer {}

    /// A READ (10) with its digest: RFC 7143, appendix A.4.
    const EXAMPLE: [u8; 52] = [
        0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0,
        0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0, 0x56, 0x3A,
        0x96, 0xD9,
    ];

    fn next(bytes: &[u8], digests: Digests) -> io::Result<Event> {
        let mut wire = Wire::new(Box::new(Peer(Cursor::new(bytes.to_vec()))));
        wire.digests = digests;
        wire.next(64)
    }

    #[test]
    fn a_pdu_counts_if_its_digests_match() {
        let header = Digests { header: true, data: false };
        assert!(matches!(next(&EXAMPLE, header), Ok(Event::Pdu(_))));
        for at in 0..52 {
            let mut wrong = EXAMPLE;
            wrong[at] ^= 1;
            assert!(next(&wrong, header).is_err(), "{at}");
        }
        // 32 bytes of zeros: the same appendix.
        let data = Digests { header: false, data: true };
        let mut bytes = vec![0; BHS + 32];
        bytes[7] = 30;
        bytes.extend([0xAA, 0x36, 0x91, 0x8A]);
        let Ok(Event::Pdu(pdu)) = next(&bytes, data) else { panic!("a PDU") };
        assert_eq!(pdu.data, [0; 30]);
        bytes[BHS + 31] = 1;
        assert!(next(&bytes, data).is_err(), "padding counts");
    }

    #[test]
    fn what_is_too_long_or_cut_short_is_an_error() {
        let mut bytes = vec![0; BHS];
        bytes[7] = 65;
        assert!(next(&bytes, Digests::default()).is_err());
        bytes[7] = 64;
        assert!(next(&bytes, Digests::default()).is_err());
        bytes[7] = 0;
        bytes[4] = 255;
        assert!(next(&bytes, Digests::default()).is_err());
        bytes.resize(BHS + 1020, 0);
        assert!(matches!(next(&bytes, Digests::default()), Ok(Event::Pdu(_))));
        assert!(matches!(next(b"", Digests::default()), Ok(Event::End)));
    }
}
