//! Bytes that the initiator sends for a command, with it and when it is told to.
//!
//! Specification: RFC 7143, sections 4.2.4.2, 11.7 and 11.8. There is one sequence of data at a time,
//! which was asked for; so what a connection keeps is one burst, and what came with commands.

use volfold_block::byte_count;

use super::pdu::{FINAL, Header};
use super::scsi::command::{Failure, Work};
use super::scsi::sense::Sense;
use super::target::Target;
use crate::block::number::{to_u32, to_usize};

/// A command whose data is on its way.
pub(super) struct Transfer {
    pub(super) tag: u32,
    pub(super) lun: [u8; 8],
    pub(super) work: Work,
    /// What the initiator said that it will send.
    pub(super) expected: u32,
    /// How many bytes are to come, of those the initiator has.
    total: u64,
    /// How many have come.
    received: u64,
    /// How many of these are done with.
    done: u64,
    buffer: Vec<u8>,
    /// The end of the sequence that was asked for, its tag, and how many PDUs of it have come.
    end: u64,
    sequence_tag: u32,
    sequence: u32,
    /// How many sequences were asked for.
    pub(super) asked: u32,
}

impl Transfer {
    pub(super) fn new(
        header: &Header,
        expected: u32,
        work: Work,
        target: &Target,
        immediate: Vec<u8>,
    ) -> Self {
        let total = work.length(target).min(expected.into());
        let mut buffer = immediate;
        buffer.truncate(to_usize(total));
        Self {
            tag: header.tag(),
            lun: header.lun,
            work,
            expected,
            total,
            received: byte_count(buffer.len()),
            done: 0,
            buffer,
            end: 0,
            sequence_tag: 0,
            sequence: 0,
            asked: 0,
        }
    }

    /// Whether the initiator has less than the command needs at least. Of a write the blocks that come
    /// are written, and the answer tells how many bytes were missing.
    pub(super) fn is_short(&self, target: &Target) -> bool {
        let is_write = matches!(self.work, Work::Write { .. });
        !is_write && self.total < self.work.length(target)
    }

    /// Whether all has come.
    pub(super) fn is_whole(&self) -> bool {
        self.received == self.total
    }

    /// Begins the next sequence, of at most `burst` bytes and with `tag`: its place and length.
    pub(super) fn ask(&mut self, burst: u32, tag: u32) -> (u32, u32) {
        let length = self.total.saturating_sub(self.received).min(burst.into());
        self.end = self.received.saturating_add(length);
        self.sequence = 0;
        self.sequence_tag = tag;
        self.asked = self.asked.saturating_add(1);
        // INVARIANT: no transfer is longer than what `expected` says, which has 32 bits.
        (to_u32(self.received), to_u32(length))
    }

    /// Takes one PDU of the sequence; whether the sequence is at its end.
    ///
    /// # Errors
    /// If it is not what was asked for.
    pub(super) fn take(&mut self, header: &Header, data: &[u8]) -> Result<bool, Sense> {
        let is_next = header.sequence.get() == self.sequence
            && u64::from(header.offset.get()) == self.received
            && header.transfer_tag.get() == self.sequence_tag;
        let after = self.received.saturating_add(byte_count(data.len()));
        let is_final = header.flags & FINAL != 0;
        if !is_next || after > self.end || (after == self.end) != is_final {
            return Err(Sense::ABORTED);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.received = after;
        self.buffer.extend_from_slice(data);
        Ok(is_final)
    }

    /// Does the work for what has come, if it can be done in parts or all has come.
    ///
    /// # Errors
    /// Why the command fails.
    pub(super) fn work(&mut self, target: &Target) -> Result<(), Failure> {
        if self.buffer.is_empty() || !(self.work.is_in_parts() || self.is_whole()) {
            return Ok(());
        }
        self.work.part(target, self.done, &self.buffer)?;
        self.done = self.received;
        self.buffer.clear();
        Ok(())
    }
}
