//! SCSI commands, and the data that goes with them.
//!
//! Specification: RFC 7143, sections 11.3, 11.4, 11.7 and 11.8.

use std::io;

use volfold_block::{byte_count, error_chain};

use super::Session;
use crate::block::iscsi::login::WINDOW;
use crate::block::iscsi::pdu::{
    FINAL, Header, NO_TAG, OVERFLOW, READS, STATUS, UNDERFLOW, WRITES, reject, response,
};
use crate::block::iscsi::scsi;
use crate::block::iscsi::scsi::command::{Action, Failure, uses_descriptors};
use crate::block::iscsi::scsi::sense::Sense;
use crate::block::iscsi::target::Target;
use crate::block::iscsi::transfer::Transfer;
use crate::block::iscsi::wire::Pdu;
use crate::block::number::{to_u32, to_usize};

/// LIMIT: lines that one connection writes into the log.
const MAX_LOG_LINES: u32 = 100;

/// Statuses of SCSI.
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const TASK_SET_FULL: u8 = 0x28;

/// A SCSI command without data to write.
#[derive(Clone, Copy)]
struct Task {
    tag: u32,
    /// What the initiator expects to get, and to send.
    reads: u32,
    writes: u32,
    /// How many PDUs with data, or that asked for data, it has got.
    pdus: u32,
}

impl Session<'_> {
    pub(super) fn command(&mut self, target: &Target, pdu: Pdu) -> io::Result<()> {
        let header = &pdu.header;
        let expected = header.transfer_tag.get();
        let sized = |bit: u8| if header.flags & bit != 0 { expected } else { 0 };
        let task = Task { tag: header.tag(), reads: sized(READS), writes: sized(WRITES), pdus: 0 };
        let limit = if self.agreed.immediate_data { self.agreed.first_burst } else { 0 };
        if pdu.data.len() > to_usize(limit.min(task.writes).into()) {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        // Without leave, data comes with the command alone.
        if header.flags & FINAL == 0 {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        if self.is_reset(target) && scsi::tells_attention(header.cdb()) {
            self.resets = target.resets();
            return self.fail(target, task, Sense::RESET, 0);
        }
        match scsi::begin(target, header.lun, header.cdb()) {
            Ok(Action::Done) => self.finish(task, 0, 0),
            Ok(Action::Send(bytes)) => self.send_bytes(task, &bytes),
            Ok(Action::Read { offset, length }) => self.read(target, task, offset, length),
            Ok(Action::Take(_)) if self.transfers.len() >= to_usize(WINDOW.into()) => {
                self.reply(status(task, TASK_SET_FULL, 0, 0), b"")
            }
            Ok(Action::Take(work)) => {
                let transfer = Transfer::new(header, task.writes, work, target, pdu.data);
                self.begin_transfer(target, transfer)
            }
            Err(failure) => self.fail(target, task, failure, 0),
        }
    }

    /// Whether the unit was reset and the initiator has not heard of it. Its commands have ended then.
    fn is_reset(&mut self, target: &Target) -> bool {
        let is_reset = target.resets() != self.resets;
        if is_reset {
            self.transfers.clear();
        }
        is_reset
    }

    /// Ends `task` well, after `sent` of `there` bytes.
    fn finish(&mut self, task: Task, sent: u64, there: u64) -> io::Result<()> {
        self.reply(status(task, GOOD, sent, there), b"")
    }

    /// Ends `task` with the reason why it failed, after `sent` bytes.
    fn fail(
        &mut self,
        target: &Target,
        task: Task,
        failure: impl Into<Failure>,
        sent: u64,
    ) -> io::Result<()> {
        let Failure { sense, reason } = failure.into();
        if let Some(reason) = reason {
            self.note(target, &reason);
        }
        let sense = sense.bytes(uses_descriptors(target));
        let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
        let mut data = length.to_be_bytes().to_vec();
        data.extend(sense);
        self.reply(status(task, CHECK_CONDITION, sent, sent), &data)
    }

    /// Sends what a command asks for, which was cut to what its descriptor block allows.
    fn send_bytes(&mut self, task: Task, bytes: &[u8]) -> io::Result<()> {
        let there = byte_count(bytes.len());
        let wanted = there.min(task.reads.into());
        if wanted == 0 {
            return self.finish(task, 0, there);
        }
        let (bytes, _) = bytes.split_at(to_usize(wanted));
        let mut at = 0_u64;
        for (number, part) in (0..).zip(bytes.chunks(self.agreed.max_send)) {
            let end = at.saturating_add(byte_count(part.len()));
            let is_last = end == wanted;
            let mut header = self.data_in(task, at, number, is_last);
            if is_last {
                self.put_status(&mut header, task, wanted, there);
            }
            self.wire.push(&mut header, part)?;
            at = end;
        }
        Ok(())
    }

    /// A Data-In PDU for the bytes at `at`.
    fn data_in(&self, task: Task, at: u64, number: u32, is_final: bool) -> Header {
        let mut header = Header::new(response::DATA_IN, task.tag);
        header.flags = if is_final { FINAL } else { 0 };
        header.transfer_tag = NO_TAG.into();
        header.sequence = number.into();
        // INVARIANT: no read is longer than what the initiator expects, which has 32 bits.
        header.offset = to_u32(at).into();
        self.number_commands(&mut header);
        header
    }

    /// Makes `header`, a Data-In, the one that ends its task well.
    fn put_status(&mut self, header: &mut Header, task: Task, sent: u64, there: u64) {
        let (flags, residual) = residual(task, sent, there);
        header.flags |= STATUS | flags;
        header.length = residual.into();
        self.number(header);
    }

    /// Sends the `length` bytes at `offset`, in PDUs that the device fills in.
    fn read(&mut self, target: &Target, task: Task, offset: u64, length: u64) -> io::Result<()> {
        let wanted = length.min(task.reads.into());
        if wanted == 0 {
            return self.finish(task, 0, length);
        }
        let max_send = byte_count(self.agreed.max_send);
        let burst = u64::from(self.agreed.max_burst);
        let (mut at, mut number) = (0_u64, 0_u32);
        let mut left_of_burst = burst;
        while at < wanted {
            let place = offset.saturating_add(at);
            let count = wanted.saturating_sub(at).min(max_send).min(left_of_burst);
            let end = at.saturating_add(count);
            let is_last = end == wanted;
            let mut header = self.data_in(task, at, number, is_last || count == left_of_burst);
            let before = self.status_number;
            if is_last {
                self.put_status(&mut header, task, wanted, length);
            }
            let read = self
                .wire
                .push_with(&mut header, to_usize(count), |space| target.read(place, space));
            if let Err(error) = read {
                self.status_number = before;
                self.note(target, &format!("request at byte {place}: {}", error_chain(&error)));
                let task = Task { pdus: number, ..task };
                return self.read_in_part(target, task, place, at, to_usize(count));
            }
            self.wire.send_if_full()?;
            left_of_burst = match left_of_burst.saturating_sub(count) {
                0 => burst,
                left => left,
            };
            at = end;
            number = number.wrapping_add(1);
        }
        Ok(())
    }

    /// Ends a read whose `count` bytes at `place`, `at` bytes after its begin, cannot be read as a
    /// whole: sends the blocks in front
    /// of the first that cannot be read, and says which that is.
    fn read_in_part(
        &mut self,
        target: &Target,
        mut task: Task,
        place: u64,
        at: u64,
        count: usize,
    ) -> io::Result<()> {
        let mut sent = at;
        let mut bytes = vec![0; count];
        // Parts of blocks at the ends of a PDU are left out.
        let good = match place.is_multiple_of(target.block.get()) {
            true => target.good_prefix(place, &mut bytes),
            false => 0,
        };
        let (part, _) = bytes.split_at_mut(to_usize(good).min(count));
        let bad = target.block_of(place.saturating_add(good));
        if !part.is_empty() && target.read(place, part).is_ok() {
            let mut header = self.data_in(task, at, task.pdus, true);
            self.wire.push(&mut header, part)?;
            task.pdus = task.pdus.wrapping_add(1);
            sent = sent.saturating_add(good);
        }
        self.fail(target, task, Sense::unreadable(bad), sent)
    }

    fn begin_transfer(&mut self, target: &Target, transfer: Transfer) -> io::Result<()> {
        if transfer.is_short(target) {
            return self.fail(target, task_of(&transfer), Sense::INVALID_FIELD, 0);
        }
        if transfer.is_whole() {
            return self.work(target, transfer).map(drop);
        }
        self.transfers.push_back(transfer);
        match self.transfers.len() {
            1 => self.ask_for_data(),
            _ => Ok(()),
        }
    }

    /// Asks for the next sequence of the first transfer.
    pub(super) fn ask_for_data(&mut self) -> io::Result<()> {
        let Some(transfer) = self.transfers.front_mut() else {
            return Ok(());
        };
        let mut header = Header::new(response::R2T, transfer.tag);
        header.lun = transfer.lun;
        // Never the tag of an earlier one, whose data may still come.
        self.transfer_tag = self.transfer_tag.wrapping_add(1) & 0x7FFF_FFFF;
        header.transfer_tag = self.transfer_tag.into();
        header.sequence = transfer.asked.into();
        let (place, length) = transfer.ask(self.agreed.max_burst, self.transfer_tag);
        header.offset = place.into();
        header.length = length.into();
        header.number = self.status_number.into();
        self.number_commands(&mut header);
        self.wire.push(&mut header, b"")
    }

    pub(super) fn data_out(&mut self, pdu: &Pdu) -> io::Result<()> {
        let Some(target) = self.agreed.target.clone() else {
            return self.reject(&pdu.header, reject::PROTOCOL_ERROR);
        };
        self.is_reset(&target);
        // Data of a task that has ended is on its way still.
        let first = self.transfers.front_mut().filter(|first| first.tag == pdu.header.tag());
        let Some(transfer) = first else {
            return Ok(());
        };
        match transfer.take(&pdu.header, &pdu.data) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(sense) => {
                let task = task_of(transfer);
                self.transfers.pop_front();
                self.fail(&target, task, sense, 0)?;
                return self.ask_for_data();
            }
        }
        let Some(transfer) = self.transfers.pop_front() else {
            return Ok(());
        };
        if let Some(transfer) = self.work(&target, transfer)? {
            self.transfers.push_front(transfer);
        }
        self.ask_for_data()
    }

    /// Works on what has come, and answers if that is all; else the transfer that goes on.
    fn work(&mut self, target: &Target, mut transfer: Transfer) -> io::Result<Option<Transfer>> {
        let task = task_of(&transfer);
        let worked = transfer.work(target);
        if worked.is_ok() && !transfer.is_whole() {
            return Ok(Some(transfer));
        }
        let ended = worked.and_then(|()| scsi::finish(target, &transfer.work));
        match ended {
            Ok(()) => {
                let there = transfer.work.length(target);
                self.finish(task, there.min(task.writes.into()), there)?;
            }
            Err(failure) => {
                self.fail(target, task, failure, 0)?;
            }
        }
        Ok(None)
    }

    fn note(&mut self, target: &Target, line: &str) {
        self.logged = self.logged.saturating_add(1);
        if self.logged <= MAX_LOG_LINES {
            (self.iscsi.log)(&format!("{}: {line}", target.export.name));
        }
    }
}

fn task_of(transfer: &Transfer) -> Task {
    Task { tag: transfer.tag, reads: 0, writes: transfer.expected, pdus: transfer.asked }
}

/// The answer that ends `task` with the status `code`.
fn status(task: Task, code: u8, sent: u64, there: u64) -> Header {
    let mut header = Header::new(response::SCSI, task.tag);
    let (flags, residual) = residual(task, sent, there);
    header.flags |= flags;
    header.status = code;
    header.sequence = task.pdus.into();
    header.length = residual.into();
    header
}

/// How many bytes less or more there are than the initiator expects.
fn residual(task: Task, sent: u64, there: u64) -> (u8, u32) {
    let expected = u64::from(task.reads.max(task.writes));
    let less = u32::try_from(expected.saturating_sub(sent)).unwrap_or(u32::MAX);
    let more = u32::try_from(there.saturating_sub(expected)).unwrap_or(u32::MAX);
    match (less, more) {
        (0, 0) => (0, 0),
        (0, more) => (OVERFLOW, more),
        (less, _) => (UNDERFLOW, less),
    }
}
