//! The full feature phase: the requests of an initiator that has logged in.
//!
//! Specification: RFC 7143, sections 4.2 and 11.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zerocopy::IntoBytes;

mod commands;
mod text;

use super::login::{Agreed, MAX_DATA, WINDOW};
use super::pdu::{Header, NO_TAG, is_unit_0, reject, request, response};
use super::server::Iscsi;
use super::text::Parts;
use super::transfer::Transfer;
use super::wire::{Event, Pdu, Wire};
use crate::block::serve::protocol_error;

/// After this time of silence the initiator is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// LIMIT: questions in a row that an initiator leaves without an answer.
const MAX_QUESTIONS: u32 = 5;

/// LIMIT: bytes of a ping that come back.
const MAX_PING: usize = 8192;

/// What follows a request.
#[derive(PartialEq, Eq)]
enum Next {
    Serve,
    Goodbye,
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
    /// The tag by which the last data was asked for.
    transfer_tag: u32,
    /// The resets of the unit that the initiator has heard of.
    resets: u64,
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
        let resets = agreed.target.as_ref().map_or(0, |target| target.resets());
        Self {
            iscsi,
            wire,
            replaced,
            status_number: agreed.status_number,
            command_number: agreed.command_number,
            agreed,
            transfers: VecDeque::new(),
            transfer_tag: 0,
            resets,
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
        let mut questions = 0_u32;
        loop {
            let event = self.wire.next(MAX_DATA)?;
            if self.replaced.load(Ordering::SeqCst) {
                break;
            }
            match event {
                Event::End => break,
                Event::Silence if questions == MAX_QUESTIONS => {
                    return Err(protocol_error("initiator is silent and does not answer"));
                }
                Event::Silence => {
                    questions = questions.saturating_add(1);
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
        header.transfer_tag = 1.into();
        header.number = self.status_number.into();
        self.number_commands(&mut header);
        self.wire.push(&mut header, b"")
    }

    fn number_commands(&self, header: &mut Header) {
        header.expected_number = self.command_number.into();
        // Commands that wait for their data take up the room of others.
        let waiting = u32::try_from(self.transfers.len()).unwrap_or(u32::MAX);
        let room = WINDOW.saturating_sub(waiting);
        header.max_number = self.command_number.wrapping_add(room).wrapping_sub(1).into();
    }

    /// Gives `header` the numbers of an answer that ends a task.
    fn number(&mut self, header: &mut Header) {
        header.number = self.status_number.into();
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
        if is_numbered && !header.is_immediate() && !self.take_number(header.number.get())? {
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
            true => Err(protocol_error("a command of the initiator is missing")),
            false => Ok(false),
        }
    }

    fn reject(&mut self, header: &Header, reason: u8) -> io::Result<()> {
        let mut answer = Header::new(response::REJECT, NO_TAG);
        answer.response = reason;
        self.reply(answer, header.as_bytes())
    }

    fn nop(&mut self, header: &Header, data: &[u8]) -> io::Result<()> {
        // Without a tag it is the answer to a question, or wants none.
        if header.tag() == NO_TAG {
            return Ok(());
        }
        let mut answer = Header::new(response::NOP_IN, header.tag());
        answer.lun = header.lun;
        answer.transfer_tag = NO_TAG.into();
        let (data, _) = data.split_at(data.len().min(self.agreed.max_send).min(MAX_PING));
        self.reply(answer, data)
    }

    fn logout(&mut self, header: &Header) -> io::Result<Next> {
        let mut answer = Header::new(response::LOGOUT, header.tag());
        let reason = header.flags & 0x7F;
        // Connections are not recovered.
        answer.response = match reason {
            0 | 1 => 0,
            _ => 2,
        };
        answer.set_time_to_wait(2);
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
        answer.response = match header.flags & 0x7F {
            1..=5 if !is_unit_0(header.lun) => NO_SUCH_UNIT,
            // ABORT TASK. All tasks but those that wait for data are done when this is read.
            1 => {
                let before = self.transfers.len();
                self.transfers.retain(|transfer| transfer.tag != header.transfer_tag.get());
                if self.transfers.len() < before { COMPLETE } else { NO_SUCH_TASK }
            }
            // ABORT TASK SET, and LOGICAL UNIT RESET and TARGET WARM RESET, which every session hears
            // of.
            function @ (2 | 5 | 6) => {
                self.transfers.clear();
                if let (5 | 6, Some(target)) = (function, &self.agreed.target) {
                    target.reset();
                }
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
}
