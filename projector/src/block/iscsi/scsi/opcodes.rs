//! The commands there are, and REPORT SUPPORTED OPERATION CODES, which tells them.
//!
//! Specification: SPC-4, section 6.35.

use super::command::{Action, Cdb, RawReportOpcodes, length_after, send};
use super::sense::Sense;

/// Operation codes.
pub(super) mod opcode {
    pub(in super::super) const TEST_UNIT_READY: u8 = 0x00;
    pub(in super::super) const REQUEST_SENSE: u8 = 0x03;
    pub(in super::super) const READ_6: u8 = 0x08;
    pub(in super::super) const WRITE_6: u8 = 0x0A;
    pub(in super::super) const INQUIRY: u8 = 0x12;
    pub(in super::super) const MODE_SENSE_6: u8 = 0x1A;
    pub(in super::super) const START_STOP_UNIT: u8 = 0x1B;
    pub(in super::super) const READ_CAPACITY_10: u8 = 0x25;
    pub(in super::super) const READ_10: u8 = 0x28;
    pub(in super::super) const WRITE_10: u8 = 0x2A;
    pub(in super::super) const WRITE_AND_VERIFY_10: u8 = 0x2E;
    pub(in super::super) const VERIFY_10: u8 = 0x2F;
    pub(in super::super) const PRE_FETCH_10: u8 = 0x34;
    pub(in super::super) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(in super::super) const WRITE_SAME_10: u8 = 0x41;
    pub(in super::super) const UNMAP: u8 = 0x42;
    pub(in super::super) const MODE_SENSE_10: u8 = 0x5A;
    pub(in super::super) const READ_16: u8 = 0x88;
    pub(in super::super) const WRITE_16: u8 = 0x8A;
    pub(in super::super) const WRITE_AND_VERIFY_16: u8 = 0x8E;
    pub(in super::super) const VERIFY_16: u8 = 0x8F;
    pub(in super::super) const PRE_FETCH_16: u8 = 0x90;
    pub(in super::super) const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub(in super::super) const WRITE_SAME_16: u8 = 0x93;
    pub(in super::super) const SERVICE_ACTION_IN_16: u8 = 0x9E;
    pub(in super::super) const REPORT_LUNS: u8 = 0xA0;
    pub(in super::super) const MAINTENANCE_IN: u8 = 0xA3;
    pub(in super::super) const READ_12: u8 = 0xA8;
    pub(in super::super) const WRITE_12: u8 = 0xAA;
    pub(in super::super) const WRITE_AND_VERIFY_12: u8 = 0xAE;
    pub(in super::super) const VERIFY_12: u8 = 0xAF;
}

/// Service actions.
pub(super) mod action {
    pub(in super::super) const READ_CAPACITY_16: u8 = 0x10;
    pub(in super::super) const GET_LBA_STATUS: u8 = 0x12;
    pub(in super::super) const REPORT_OPCODES: u8 = 0x0C;
}

/// A command: its operation code, its service action if it has one, and which bits of its descriptor
/// block count.
struct Command {
    opcode: u8,
    action: Option<u8>,
    usage: &'static [u8],
}

impl Command {
    /// The length of its descriptor block.
    fn length(&self) -> u8 {
        u8::try_from(self.usage.len()).unwrap_or(u8::MAX)
    }
}

const fn command(usage: &'static [u8]) -> Command {
    Command { opcode: first(usage), action: None, usage }
}

const fn with_action(action: u8, usage: &'static [u8]) -> Command {
    Command { opcode: first(usage), action: Some(action), usage }
}

const fn first(usage: &[u8]) -> u8 {
    match usage {
        [opcode, ..] => *opcode,
        [] => 0,
    }
}

const X: u8 = 0xFF;

#[rustfmt::skip]
static COMMANDS: &[Command] = &[
    command(&[opcode::TEST_UNIT_READY, 0, 0, 0, 0, 0]),
    command(&[opcode::REQUEST_SENSE, 0x01, 0, 0, X, 0]),
    command(&[opcode::READ_6, 0x1F, X, X, X, 0]),
    command(&[opcode::WRITE_6, 0x1F, X, X, X, 0]),
    command(&[opcode::INQUIRY, 0x01, X, X, X, 0]),
    command(&[opcode::MODE_SENSE_6, 0x08, X, X, X, 0]),
    command(&[opcode::START_STOP_UNIT, 0, 0, 0, 0, 0]),
    command(&[opcode::READ_CAPACITY_10, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    command(&[opcode::READ_10, 0xF8, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::WRITE_10, 0xF8, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::WRITE_AND_VERIFY_10, 0xF2, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::VERIFY_10, 0xF2, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::PRE_FETCH_10, 0x02, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::SYNCHRONIZE_CACHE_10, 0x06, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::WRITE_SAME_10, 0xF8, X, X, X, X, 0, X, X, 0]),
    command(&[opcode::UNMAP, 0, 0, 0, 0, 0, 0, X, X, 0]),
    command(&[opcode::MODE_SENSE_10, 0x18, X, X, 0, 0, 0, X, X, 0]),
    command(&[opcode::READ_16, 0xF8, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::WRITE_16, 0xF8, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::WRITE_AND_VERIFY_16, 0xF2, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::VERIFY_16, 0xF2, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::PRE_FETCH_16, 0x02, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::SYNCHRONIZE_CACHE_16, 0x06, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::WRITE_SAME_16, 0xF8, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0]),
    with_action(
        action::READ_CAPACITY_16,
        &[opcode::SERVICE_ACTION_IN_16, 0x1F, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0],
    ),
    with_action(
        action::GET_LBA_STATUS,
        &[opcode::SERVICE_ACTION_IN_16, 0x1F, X, X, X, X, X, X, X, X, X, X, X, X, 0, 0],
    ),
    command(&[opcode::REPORT_LUNS, 0, X, 0, 0, 0, X, X, X, X, 0, 0]),
    with_action(
        action::REPORT_OPCODES,
        &[opcode::MAINTENANCE_IN, 0x1F, 0x87, X, X, X, X, X, X, X, 0, 0],
    ),
    command(&[opcode::READ_12, 0xF8, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::WRITE_12, 0xF8, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::WRITE_AND_VERIFY_12, 0xF2, X, X, X, X, X, X, X, X, 0, 0]),
    command(&[opcode::VERIFY_12, 0xF2, X, X, X, X, X, X, X, X, 0, 0]),
];

/// A timeouts descriptor that tells nothing.
const TIMEOUTS: [u8; 12] = [0x00, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// REPORT SUPPORTED OPERATION CODES.
pub(super) fn report(cdb: Cdb) -> Result<Action, Sense> {
    if cdb.action() != action::REPORT_OPCODES {
        return Err(Sense::INVALID_FIELD);
    }
    let raw: RawReportOpcodes = cdb.raw();
    let wants_timeouts = raw.options & 0x80 != 0;
    let bytes = match raw.options & 0x07 {
        0 => all(wants_timeouts),
        options @ 1..=3 => one(options, raw.wanted, raw.action.get(), wants_timeouts)?,
        _ => return Err(Sense::INVALID_FIELD),
    };
    Ok(send(bytes, raw.allocation))
}

fn all(wants_timeouts: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in COMMANDS {
        let flags = u8::from(wants_timeouts) << 1 | u8::from(command.action.is_some());
        bytes.extend([command.opcode, 0, 0, command.action.unwrap_or(0), 0, flags, 0]);
        bytes.push(command.length());
        if wants_timeouts {
            bytes.extend(TIMEOUTS);
        }
    }
    let length = length_after(&bytes, 0).to_be_bytes();
    [&length[..], &bytes].concat()
}

fn one(options: u8, opcode: u8, action: u16, wants_timeouts: bool) -> Result<Vec<u8>, Sense> {
    let mut same = COMMANDS.iter().filter(|command| command.opcode == opcode).peekable();
    let has_actions = same.peek().map(|command| command.action.is_some());
    match (options, has_actions) {
        // Options 1 are for commands without service actions, options 2 for those with them.
        (1, Some(true)) | (2, Some(false)) => return Err(Sense::INVALID_FIELD),
        _ => {}
    }
    let found = same.find(|command| match command.action {
        Some(number) => u16::from(number) == action,
        None => options == 1 || action == 0,
    });
    let Some(command) = found else {
        return Ok(vec![0, 0x01, 0, 0]);
    };
    let mut bytes = vec![0, 0x03 | u8::from(wants_timeouts) << 7, 0, command.length()];
    // The mask of a service action is the action itself.
    let usage = command.usage.iter().zip(0..);
    bytes.extend(usage.map(|(mask, at)| match command.action {
        Some(action) if at == 1 => action,
        _ => *mask,
    }));
    if wants_timeouts {
        bytes.extend(TIMEOUTS);
    }
    Ok(bytes)
}
