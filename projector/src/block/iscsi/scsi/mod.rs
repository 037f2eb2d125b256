//! The commands of a direct-access block device.
//!
//! Specification: SPC-4 for what every device has, SBC-3 for blocks.

pub(super) mod command;
pub(super) mod sense;

mod blocks;
mod inquiry;
mod mode;
mod opcodes;

pub(super) use self::blocks::finish;
use self::command::{Action, Cdb, Failure, RawReportLuns, RawSense6, length_after, send};
use self::opcodes::opcode;
use self::sense::Sense;
use super::pdu::is_unit_0;
use super::target::Target;

/// Whether the command in `cdb` fails when there is something that the initiator has to hear of.
pub(super) fn tells_attention(cdb: [u8; 16]) -> bool {
    let opcode = Cdb::new(cdb).opcode();
    ![opcode::INQUIRY, opcode::REPORT_LUNS, opcode::REQUEST_SENSE].contains(&opcode)
}

/// Begins the command in `cdb` for the logical unit `lun` of `target`.
///
/// # Errors
/// Why it cannot be done.
pub(super) fn begin(target: &Target, lun: [u8; 8], cdb: [u8; 16]) -> Result<Action, Failure> {
    let cdb = Cdb::new(cdb);
    let is_there = is_unit_0(lun);
    match cdb.opcode() {
        opcode::INQUIRY => return Ok(inquiry::inquiry(target, cdb, is_there)?),
        opcode::REPORT_LUNS => return Ok(report_luns(cdb)?),
        opcode::REQUEST_SENSE => {
            let sense = if is_there { Sense::NONE } else { Sense::NO_SUCH_UNIT };
            let raw: RawSense6 = cdb.raw();
            return Ok(send(sense.bytes(raw.flags & 1 != 0), raw.allocation));
        }
        _ if !is_there => return Err(Sense::NO_SUCH_UNIT.into()),
        _ => {}
    }
    let needs_none = [opcode::MODE_SENSE_6, opcode::MODE_SENSE_10, opcode::MAINTENANCE_IN];
    if target.blocks == 0 && !needs_none.contains(&cdb.opcode()) {
        return Err(Sense::NO_MEDIUM.into());
    }
    match cdb.opcode() {
        opcode::TEST_UNIT_READY | opcode::START_STOP_UNIT => Ok(Action::Done),
        opcode::MODE_SENSE_6 => Ok(mode::sense_6(target, cdb)?),
        opcode::MODE_SENSE_10 => Ok(mode::sense_10(target, cdb)?),
        opcode::MAINTENANCE_IN => Ok(opcodes::report(cdb)?),
        _ => blocks::begin(target, cdb),
    }
}

/// REPORT LUNS: unit 0, and no well-known ones.
fn report_luns(cdb: Cdb) -> Result<Action, Sense> {
    let raw: RawReportLuns = cdb.raw();
    let units: &[u8] = match raw.select {
        0x00 | 0x02 => &[0; 8],
        0x01 => &[],
        _ => return Err(Sense::INVALID_FIELD),
    };
    // The length of the list, four bytes that are reserved, and the list.
    let header = length_after(units, 0).to_be_bytes();
    let bytes = [&header[..], &[0; 4], units].concat();
    Ok(send(bytes, raw.allocation))
}
