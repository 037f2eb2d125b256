//! The full feature phase: the requests of an initiator that has logged in.
//!
//! Specification: RFC 7143, sections 4.2 and 11.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use volfold_images::error::error_chain;

use super::login::{Agreed, MAX_DATA, WINDOW};
use super::pdu::{
    CONTINUE, FINAL, Header, NO_TAG, OVERFLOW, READS, STATUS, UNDERFLOW, WRITES, reject, request,
    response,
};
use super::scsi::sense::Sense;
use super::scsi::{self, Action};
use super::target::Target;
use super::text::{Parts, Text, pairs};
use super::transfer::Transfer;
use super::wire::{Event, Pdu, Wire};
use super::{Iscsi, nonsense};

/// After this time of silence the initiator is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// LIMIT: questions in a row that an initiator leaves without an answer.
const MAX_QUESTIONS: u32 = 5;

/// LIMIT: lines that one connection writes into the log.
const MAX_LOG_LINES: u32 = 100;

/// LIMIT: bytes of a ping that come back.
const MAX_PING: usize = 8192;

/// Statuses of SCSI.
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const TASK_SET_FULL: u8 = 0x28;

/// What follows a request.
#[derive(PartialEq, Eq)]
enum Next {
    Serve,
    Goodbye,
}

/// A SCSI command without data to write.
#[derive(Clone, Copy)]
struct Task {
    tag: u32,
    /// What the initiator expects to get, and to send.
    reads: u32,
    writes: u32,
}

/// A connection that has logged in.
pub(super) struct Session<'a> {
    iscsi: &'a Iscsi,
    wire: Wire,
    agreed: Agreed,
    /// Whether the initiator has come again by another connection.
    replaced: Arc<AtomicBool>,
    status_number: u32,
    command_number: u32,
    /// Commands whose data is to come; the first is asked for it.
    transfers: VecDeque<Transfer>,
    request_text: Parts,
    /// What is left of an answer to a text request, and the tag that the next request has.
    text: Vec<u8>,
    text_tag: u32,
    logged: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        iscsi: &'a Iscsi,
        wire: Wire,
        agreed: Agreed,
        replaced: Arc<AtomicBool>,
    ) -> Self {
        Self {
            iscsi,
            wire,
            replaced,
            status_number: agreed.status_number,
            command_number: agreed.command_number,
            agreed,
            transfers: VecDeque::new(),
            request_text: Parts::default(),
            text: Vec::new(),
            text_tag: NO_TAG,
            logged: 0,
        }
    }

    /// Answers requests until the initiator says goodbye.
    ///
    /// # Errors
    /// If the stream ends in the middle of a request, or the initiator breaks the protocol.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.wire.wait(Some(SILENCE))?;
        let mut questions = 0;
        loop {
            let event = self.wire.next(MAX_DATA)?;
            if self.replaced.load(Ordering::SeqCst) {
                break;
            }
            match event {
                Event::End => break,
                Event::Silence if questions == MAX_QUESTIONS => {
                    return Err(nonsense("initiator is silent and does not answer"));
                }
                Event::Silence => {
                    questions += 1;
                    self.ask()?;
                }
                Event::Pdu(pdu) => {
                    questions = 0;
                    if self.answer(pdu)? == Next::Goodbye {
                        break;
                    }
                    self.wire.send_if_full()?;
                }
            }
        }
        self.wire.send()?;
        match &self.agreed.target {
            Some(target) => target.flush(),
            None => Ok(()),
        }
    }

    /// Asks the initiator whether it is there.
    fn ask(&mut self) -> io::Result<()> {
        let mut header = Header::new(response::NOP_IN, NO_TAG);
        header.put(20, 1);
        header.put(24, self.status_number);
        self.number_commands(&mut header);
        self.wire.push(&mut header, b"")
    }

    fn number_commands(&self, header: &mut Header) {
        header.put(28, self.command_number);
        // Commands that wait for their data take up the room of others.
        let room = WINDOW.saturating_sub(self.transfers.len() as u32);
        header.put(32, self.command_number.wrapping_add(room).wrapping_sub(1));
    }

    /// Gives `header` the numbers of an answer that ends a task.
    fn number(&mut self, header: &mut Header) {
        header.put(24, self.status_number);
        self.status_number = self.status_number.wrapping_add(1);
        self.number_commands(header);
    }

    /// Sends an answer that ends a task.
    fn reply(&mut self, mut header: Header, data: &[u8]) -> io::Result<()> {
        self.number(&mut header);
        self.wire.push(&mut header, data)
    }

    fn answer(&mut self, pdu: Pdu) -> io::Result<Next> {
        let header = &pdu.header;
        let opcode = header.opcode();
        let is_numbered = ![request::DATA_OUT, request::SNACK].contains(&opcode);
        if is_numbered && !header.is_immediate() && !self.take_number(header.word(24))? {
            return Ok(Next::Serve);
        }
        match opcode {
            request::NOP_OUT => self.nop(header, &pdu.data)?,
            request::SCSI_COMMAND => match self.agreed.target.clone() {
                Some(target) => self.command(&target, pdu)?,
                None => self.reject(header, reject::PROTOCOL_ERROR)?,
            },
            request::TASK_MANAGEMENT => self.manage(header)?,
            request::TEXT => self.text(header, &pdu.data)?,
            request::DATA_OUT => self.data_out(&pdu)?,
            request::LOGOUT => return self.logout(header),
            request::SNACK => self.reject(header, reject::SNACK)?,
            request::LOGIN => self.reject(header, reject::PROTOCOL_ERROR)?,
            _ => self.reject(header, reject::NOT_SUPPORTED)?,
        }
        Ok(Next::Serve)
    }

    /// Takes up a command's number; `false` if it is to be passed over.
    fn take_number(&mut self, number: u32) -> io::Result<bool> {
        let ahead = number.wrapping_sub(self.command_number);
        if ahead == 0 {
            self.command_number = self.command_number.wrapping_add(1);
            return Ok(true);
        }
        match ahead < WINDOW {
            // One connection brings commands in their order, so one that is missing does not come.
            true => Err(nonsense("a command of the initiator is missing")),
            false => Ok(false),
        }
    }

    fn reject(&mut self, header: &Header, reason: u8) -> io::Result<()> {
        let mut answer = Header::new(response::REJECT, NO_TAG);
        answer.0[2] = reason;
        self.reply(answer, &header.0)
    }

    fn nop(&mut self, header: &Header, data: &[u8]) -> io::Result<()> {
        // Without a tag it is the answer to a question, or wants none.
        if header.tag() == NO_TAG {
            return Ok(());
        }
        let mut answer = Header::new(response::NOP_IN, header.tag());
        answer.set_lun(header.lun());
        answer.put(20, NO_TAG);
        let length = data.len().min(self.agreed.max_send).min(MAX_PING);
        self.reply(answer, &data[..length])
    }

    fn logout(&mut self, header: &Header) -> io::Result<Next> {
        let mut answer = Header::new(response::LOGOUT, header.tag());
        let reason = header.flags() & 0x7F;
        // Connections are not recovered.
        answer.0[2] = match reason {
            0 | 1 => 0,
            _ => 2,
        };
        answer.0[41] = 2;
        self.reply(answer, b"")?;
        Ok(if reason < 2 { Next::Goodbye } else { Next::Serve })
    }

    fn manage(&mut self, header: &Header) -> io::Result<()> {
        const COMPLETE: u8 = 0;
        const NO_SUCH_TASK: u8 = 1;
        const NO_SUCH_UNIT: u8 = 2;
        const NOT_SUPPORTED: u8 = 5;
        let mut answer = Header::new(response::TASK_MANAGEMENT, header.tag());
        let asked = self.transfers.front().map(|transfer| transfer.tag);
        let is_unit = matches!(header.lun(), [0 | 0x40, 0, 0, 0, 0, 0, 0, 0]);
        answer.0[2] = match header.flags() & 0x7F {
            1..=5 if !is_unit => NO_SUCH_UNIT,
            // ABORT TASK. All tasks but those that wait for data are done when this is read.
            1 => {
                let before = self.transfers.len();
                self.transfers.retain(|transfer| transfer.tag != header.word(20));
                if self.transfers.len() < before { COMPLETE } else { NO_SUCH_TASK }
            }
            // ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET WARM RESET.
            2 | 4 | 5 | 6 => {
                self.transfers.clear();
                COMPLETE
            }
            _ => NOT_SUPPORTED,
        };
        self.reply(answer, b"")?;
        if self.transfers.front().map(|transfer| transfer.tag) != asked {
            self.ask_for_data()?;
        }
        Ok(())
    }

    fn text(&mut self, header: &Header, data: &[u8]) -> io::Result<()> {
        if header.word(20) == NO_TAG {
            self.text.clear();
            self.request_text = Parts::default();
        } else if header.word(20) != self.text_tag {
            return self.reject(header, reject::INVALID_FIELD);
        } else if !self.text.is_empty() {
            // It asks for what is left of the last answer.
            return self.send_text(header);
        }
        let Some(text) = self.request_text.add(header, data)? else {
            return self.send_text(header);
        };
        let Some(pairs) = pairs(&text) else {
            return self.reject(header, reject::PROTOCOL_ERROR);
        };
        let mut answer = Text::default();
        for (key, value) in pairs {
            match key {
                "SendTargets" => self.targets(value, &mut answer),
                "MaxRecvDataSegmentLength" => match super::text::number(value) {
                    Some(length) if (512..=0x00FF_FFFF).contains(&length) => {
                        self.agreed.max_send = (length as usize).min(MAX_DATA);
                    }
                    _ => answer.add(key, "Reject"),
                },
                _ => answer.add(key, "NotUnderstood"),
            }
        }
        self.text = answer.0;
        self.send_text(header)
    }

    /// Adds the targets that `wanted` names: all, one, or that of this session.
    fn targets(&self, wanted: &str, answer: &mut Text) {
        let own = self.agreed.target.as_ref();
        let is_discovery = own.is_none();
        if (wanted == "All" && !is_discovery) || (wanted.is_empty() && is_discovery) {
            return answer.add("SendTargets", "Reject");
        }
        let address = self.wire.stream.local_address();
        for target in self.iscsi.targets() {
            let is_wanted = match wanted {
                "All" => true,
                "" => own.is_some_and(|own| own.name == target.name),
                name => name == target.name,
            };
            if is_wanted {
                answer.add("TargetName", &target.name);
                if let Some(address) = address {
                    answer.add("TargetAddress", &format!("{address},1"));
                }
            }
        }
    }

    /// Sends as much of the answer as a PDU takes.
    fn send_text(&mut self, header: &Header) -> io::Result<()> {
        let mut answer = Header::new(response::TEXT, header.tag());
        answer.set_lun(header.lun());
        answer.put(20, NO_TAG);
        let length = self.text.len().min(self.agreed.max_send);
        let rest = self.text.split_off(length);
        if !rest.is_empty() || header.flags() & FINAL == 0 {
            // The next request has this tag.
            self.text_tag = self.text_tag.wrapping_add(1) & 0x7FFF_FFFF;
            answer.put(20, self.text_tag);
            answer.0[1] = if rest.is_empty() { 0 } else { CONTINUE };
        }
        let part = std::mem::replace(&mut self.text, rest);
        self.reply(answer, &part)
    }

    fn command(&mut self, target: &Target, pdu: Pdu) -> io::Result<()> {
        let header = &pdu.header;
        let expected = header.word(20);
        let sized = |bit: u8| if header.flags() & bit != 0 { expected } else { 0 };
        let task = Task { tag: header.tag(), reads: sized(READS), writes: sized(WRITES) };
        let limit = if self.agreed.immediate_data { self.agreed.first_burst } else { 0 };
        if pdu.data.len() > limit.min(task.writes) as usize {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        // Without leave, data comes with the command alone.
        if header.flags() & FINAL == 0 {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        match scsi::begin(target, header.lun(), header.cdb()) {
            Ok(Action::Done) => self.finish(task, 0, 0),
            Ok(Action::Send(bytes)) => self.send_bytes(task, &bytes),
            Ok(Action::Read { offset, length }) => self.read(target, task, offset, length),
            Ok(Action::Take(_)) if self.transfers.len() >= WINDOW as usize => {
                self.end(task, TASK_SET_FULL, 0, 0, b"")
            }
            Ok(Action::Take(work)) => {
                let transfer = Transfer::new(header, task.writes, work, target, pdu.data);
                self.begin_transfer(target, transfer)
            }
            Err(sense) => self.fail(target, task, sense, 0, 0),
        }
    }

    /// Ends `task` well, after `sent` of `there` bytes.
    fn finish(&mut self, task: Task, sent: u64, there: u64) -> io::Result<()> {
        self.end(task, GOOD, sent, there, b"")
    }

    fn fail(
        &mut self,
        target: &Target,
        task: Task,
        sense: Sense,
        sent: u64,
        pdus: u32,
    ) -> io::Result<()> {
        let sense = sense.bytes(scsi::uses_descriptors(target));
        let mut data = (sense.len() as u16).to_be_bytes().to_vec();
        data.extend(sense);
        let mut header = status(task, CHECK_CONDITION, sent, sent);
        header.put(36, pdus);
        self.reply(header, &data)
    }

    fn end(&mut self, task: Task, code: u8, sent: u64, there: u64, data: &[u8]) -> io::Result<()> {
        let header = status(task, code, sent, there);
        self.reply(header, data)
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
                self.note(target, offset + at, &error_chain(&error));
                return self.read_in_part(target, task, offset, at, count as usize, number);
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
        task: Task,
        offset: u64,
        at: u64,
        count: usize,
        mut number: u32,
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
            let mut header = self.data_in(task, at, number, true);
            self.wire.push(&mut header, part)?;
            number += 1;
            sent += good;
        }
        self.fail(target, task, Sense::unreadable(bad), sent, number)
    }

    fn begin_transfer(&mut self, target: &Target, transfer: Transfer) -> io::Result<()> {
        if transfer.is_short(target) {
            return self.fail(target, task_of(&transfer), Sense::INVALID_FIELD, 0, 0);
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
    fn ask_for_data(&mut self) -> io::Result<()> {
        let Some(transfer) = self.transfers.front_mut() else {
            return Ok(());
        };
        let mut header = Header::new(response::R2T, transfer.tag);
        header.set_lun(transfer.lun);
        let asked = transfer.asked;
        let (place, length) = transfer.ask(self.agreed.max_burst);
        header.put(20, transfer.asked);
        header.put(36, asked);
        header.put(40, place);
        header.put(44, length);
        header.put(24, self.status_number);
        self.number_commands(&mut header);
        self.wire.push(&mut header, b"")
    }

    fn data_out(&mut self, pdu: &Pdu) -> io::Result<()> {
        let Some(target) = self.agreed.target.clone() else {
            return self.reject(&pdu.header, reject::PROTOCOL_ERROR);
        };
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
                self.fail(&target, task, sense, 0, 0)?;
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
            Err(sense) => {
                self.fail(target, task, sense, 0, 0)?;
            }
        }
        Ok(None)
    }

    fn note(&mut self, target: &Target, offset: u64, reason: &str) {
        self.logged += 1;
        if self.logged <= MAX_LOG_LINES {
            let name = &target.export.name;
            (self.iscsi.log)(&format!("{name}: request at byte {offset}: {reason}"));
        }
    }
}

fn task_of(transfer: &Transfer) -> Task {
    Task { tag: transfer.tag, reads: 0, writes: transfer.expected }
}

/// The answer that ends `task` with the status `code`.
fn status(task: Task, code: u8, sent: u64, there: u64) -> Header {
    let mut header = Header::new(response::SCSI, task.tag);
    let (flags, residual) = residual(task, sent, there);
    header.0[1] |= flags;
    header.0[3] = code;
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
