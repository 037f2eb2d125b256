//! The commands of a direct-access block device.
//!
//! Specification: SPC-4 for what every device has, SBC-3 for blocks.

pub(super) mod sense;

mod blocks;
mod inquiry;
mod mode;
mod opcodes;

pub(super) use self::blocks::finish;
use self::opcodes::opcode;
use self::sense::Sense;
use super::target::Target;

/// LIMIT: bytes of one read or write; the block limits page tells it.
const MAX_TRANSFER: u64 = 32 << 20;

/// LIMIT: bytes that one UNMAP makes zero; the block limits page tells it.
const MAX_UNMAP: u64 = 256 << 20;

/// LIMIT: descriptors of one UNMAP; the block limits page tells it.
const MAX_UNMAP_DESCRIPTORS: u32 = 64;

/// What a command wants of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, it is done.
    Done,
    /// This is sent.
    Send(Vec<u8>),
    /// These bytes of the device are sent.
    Read { offset: u64, length: u64 },
    /// The initiator sends bytes, and this is what is done with them.
    Take(Work),
}

/// What is done with bytes that the initiator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Write {
        offset: u64,
        length: u64,
        flush: bool,
    },
    Compare {
        offset: u64,
        length: u64,
    },
    /// One block, to be written `count` times.
    WriteSame {
        lba: u64,
        count: u64,
    },
    /// The list of what is to be zero.
    Unmap {
        length: u64,
    },
}

/// Why a command fails.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the initiator is told.
    pub(super) sense: Sense,
    /// What the log is told; `None` where it is the initiator's own fault.
    pub(super) reason: Option<String>,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self { sense, reason: None }
    }
}

/// A command descriptor block.
#[derive(Clone, Copy)]
struct Cdb([u8; 16]);

impl Cdb {
    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// The number in the `length` bytes at `at`.
    fn number(&self, at: usize, length: usize) -> u64 {
        self.0[at..at + length].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// `bytes` up to the allocation length in the `length` bytes at `at`.
    fn send(&self, mut bytes: Vec<u8>, at: usize, length: usize) -> Action {
        // No allocation length has more than 32 bits.
        bytes.truncate(usize::try_from(self.number(at, length)).unwrap_or(usize::MAX));
        Action::Send(bytes)
    }
}

/// The whole of the sense data of `target` is in the form of descriptors where block numbers need it.
pub(super) fn uses_descriptors(target: &Target) -> bool {
    target.blocks > 1 << 32
}

/// Whether the command in `cdb` fails when there is something that the initiator has to hear of.
pub(super) fn tells_attention(cdb: [u8; 16]) -> bool {
    ![opcode::INQUIRY, opcode::REPORT_LUNS, opcode::REQUEST_SENSE].contains(&cdb[0])
}

/// Begins the command in `cdb` for the logical unit `lun` of `target`.
///
/// # Errors
/// Why it cannot be done.
pub(super) fn begin(target: &Target, lun: [u8; 8], cdb: [u8; 16]) -> Result<Action, Failure> {
    let cdb = Cdb(cdb);
    // The first level in peripheral or flat form; there is one unit, 0.
    let is_there = matches!(lun, [0 | 0x40, 0, 0, 0, 0, 0, 0, 0]);
    match cdb.byte(0) {
        opcode::INQUIRY => return Ok(inquiry::inquiry(target, cdb, is_there)?),
        opcode::REPORT_LUNS => return Ok(report_luns(cdb)?),
        opcode::REQUEST_SENSE => {
            let sense = if is_there { Sense::NONE } else { Sense::NO_SUCH_UNIT };
            return Ok(cdb.send(sense.bytes(cdb.byte(1) & 1 != 0), 4, 1));
        }
        _ if !is_there => return Err(Sense::NO_SUCH_UNIT.into()),
        _ => {}
    }
    let needs_none = [opcode::MODE_SENSE_6, opcode::MODE_SENSE_10, opcode::MAINTENANCE_IN];
    if target.blocks == 0 && !needs_none.contains(&cdb.byte(0)) {
        return Err(Sense::NO_MEDIUM.into());
    }
    match cdb.byte(0) {
        opcode::TEST_UNIT_READY | opcode::START_STOP_UNIT => Ok(Action::Done),
        opcode::MODE_SENSE_6 => Ok(mode::sense_6(target, cdb)?),
        opcode::MODE_SENSE_10 => Ok(mode::sense_10(target, cdb)?),
        opcode::MAINTENANCE_IN => Ok(opcodes::report(cdb)?),
        _ => blocks::begin(target, cdb),
    }
}

/// REPORT LUNS: unit 0, and no well-known ones.
fn report_luns(cdb: Cdb) -> Result<Action, Sense> {
    let mut bytes = vec![0; 8];
    match cdb.byte(2) {
        0x00 | 0x02 => bytes.extend([0; 8]),
        0x01 => {}
        _ => return Err(Sense::INVALID_FIELD),
    }
    bytes[3] = (bytes.len() - 8) as u8;
    Ok(cdb.send(bytes, 6, 4))
}
