//! SCSI commands, and the data that goes with them.
//!
//! Specification: RFC 7143, sections 11.3, 11.4, 11.7 and 11.8.

use std::io;

use volfold_block::error_chain;

use super::Session;
use crate::block::iscsi::login::WINDOW;
use crate::block::iscsi::pdu::{
    FINAL, Header, NO_TAG, OVERFLOW, READS, STATUS, UNDERFLOW, WRITES, reject, response,
};
use crate::block::iscsi::scsi::sense::Sense;
use crate::block::iscsi::scsi::{self, Action, Failure};
use crate::block::iscsi::target::Target;
use crate::block::iscsi::transfer::Transfer;
use crate::block::iscsi::wire::Pdu;

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
        let expected = header.word(20);
        let sized = |bit: u8| if header.flags() & bit != 0 { expected } else { 0 };
        let task = Task { tag: header.tag(), reads: sized(READS), writes: sized(WRITES), pdus: 0 };
        let limit = if self.agreed.immediate_data { self.agreed.first_burst } else { 0 };
        if pdu.data.len() > limit.min(task.writes) as usize {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        // Without leave, data comes with the command alone.
        if header.flags() & FINAL == 0 {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        if self.is_reset(target) && scsi::tells_attention(header.cdb()) {
            self.resets = target.resets();
            return self.fail(target, task, Sense::RESET, 0);
        }
        match scsi::begin(target, header.lun(), header.cdb()) {
            Ok(Action::Done) => self.finish(task, 0, 0),
            Ok(Action::Send(bytes)) => self.send_bytes(task, &bytes),
            Ok(Action::Read { offset, length }) => self.read(target, task, offset, length),
            Ok(Action::Take(_)) if self.transfers.len() >= WINDOW as usize => {
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
        let sense = sense.bytes(scsi::uses_descriptors(target));
        let mut data = (sense.len() as u16).to_be_bytes().to_vec();
        data.extend(sense);
        self.reply(status(task, CHECK_CONDITION, sent, sent), &data)
    }

    /// Sends what a command asks for, which was cut to what its descriptor block allows.
    fn send_bytes(&mut self, task: Task, bytes: &[u8]) -> io::Result<()> {
        let there = bytes.len() as u64;
        let length = there.min(task.reads.into()) as usize;
        if length == 0 {
            return self.finish(task, 0, there);
        }
        let (mut at, mut number) = (0, 0);
        while at < length {
            let count = (length - at).min(self.agreed.max_send);
            let is_last = at + count == length;
            let mut header = self.data_in(task, at as u64, number, is_last);
            if is_last {
                self.put_status(&mut header, task, length as u64, there);
            }
            self.wire.push(&mut header, &bytes[at..at + count])?;
            at += count;
            number += 1;
        }
        Ok(())
    }

    /// A Data-In PDU for the bytes at `at`.
    fn data_in(&self, task: Task, at: u64, number: u32, is_final: bool) -> Header {
        let mut header = Header::new(response::DATA_IN, task.tag);
        header.0[1] = if is_final { FINAL } else { 0 };
        header.put(20, NO_TAG);
        header.put(36, number);
        // INVARIANT: no read is longer than what the initiator expects, which has 32 bits.
        header.put(40, at as u32);
        self.number_commands(&mut header);
        header
    }

    /// Makes `header`, a Data-In, the one that ends its task well.
    fn put_status(&mut self, header: &mut Header, task: Task, sent: u64, there: u64) {
        let (flags, residual) = residual(task, sent, there);
        header.0[1] |= STATUS | flags;
        header.put(44, residual);
        self.number(header);
    }

    /// Sends the `length` bytes at `offset`, in PDUs that the device fills in.
    fn read(&mut self, target: &Target, task: Task, offset: u64, length: u64) -> io::Result<()> {
        let wanted = length.min(task.reads.into());
        if wanted == 0 {
            return self.finish(task, 0, length);
        }
        let burst = u64::from(self.agreed.max_burst);
        let (mut at, mut number) = (0, 0);
        while at < wanted {
            let left_of_burst = burst - at % burst;
            let count = (wanted - at).min(self.agreed.max_send as u64).min(left_of_burst);
            let is_last = at + count == wanted;
            let mut header = self.data_in(task, at, number, is_last || count == left_of_burst);
            let before = self.status_number;
            if is_last {
                self.put_status(&mut header, task, wanted, length);
            }
            let read = self
                .wire
                .push_with(&mut header, count as usize, |space| target.read(offset + at, space));
            if let Err(error) = read {
                self.status_number = before;
                let line = format!("request at byte {}: {}", offset + at, error_chain(&error));
                self.note(target, &line);
                let task = Task { pdus: number, ..task };
                return self.read_in_part(target, task, offset, at, count as usize);
            }
            self.wire.send_if_full()?;
            at += count;
            number += 1;
        }
        Ok(())
    }

    /// Ends a read whose `count` bytes at `at` cannot be read as a whole: sends the blocks in front
    /// of the first that cannot be read, and says which that is.
    fn read_in_part(
        &mut self,
        target: &Target,
        mut task: Task,
        offset: u64,
        at: u64,
        count: usize,
    ) -> io::Result<()> {
        // Parts of blocks at the ends of a PDU are left out.
        let start = (offset + at).next_multiple_of(target.block);
        let mut sent = at;
        let mut bytes = vec![0; count];
        let good = match start == offset + at {
            true => target.good_prefix(start, &mut bytes),
            false => 0,
        };
        let good_end = usize::try_from(good).unwrap_or(0).min(count);
        let part = &mut bytes[..good_end];
        let bad = (offset + at + good) / target.block;
        if !part.is_empty() && target.read(offset + at, part).is_ok() {
            let mut header = self.data_in(task, at, task.pdus, true);
            self.wire.push(&mut header, part)?;
            task.pdus += 1;
            sent += good;
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
        header.set_lun(transfer.lun);
        // Never the tag of an earlier one, whose data may still come.
        self.transfer_tag = self.transfer_tag.wrapping_add(1) & 0x7FFF_FFFF;
        header.put(20, self.transfer_tag);
        header.put(36, transfer.asked);
        let (place, length) = transfer.ask(self.agreed.max_burst, self.transfer_tag);
        header.put(40, place);
        header.put(44, length);
        header.put(24, self.status_number);
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
        self.logged += 1;
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
    header.0[1] |= flags;
    header.0[3] = code;
    header.put(36, task.pdus);
    header.put(44, residual);
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
