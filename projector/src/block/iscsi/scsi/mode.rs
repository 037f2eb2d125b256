//! MODE SENSE: how the device works, and that it is write-protected.
//!
//! Specification: SPC-4, sections 6.11, 6.12 and 7.5; SBC-3, section 6.5.

use super::sense::Sense;
use super::{Action, Cdb, uses_descriptors};
use crate::block::iscsi::target::Target;

/// `WP`: the medium is write-protected.
const WRITE_PROTECTED: u8 = 0x80;
/// `DPOFUA`: these bits are known in commands.
const DPO_FUA: u8 = 0x10;

pub(super) fn sense_6(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let (parameter, descriptor, pages) = parts(target, cdb, false)?;
    let mut bytes = vec![0, 0, parameter, descriptor.len() as u8];
    bytes.extend(descriptor);
    bytes.extend(pages);
    bytes[0] = (bytes.len() - 1) as u8;
    Ok(cdb.send(bytes, 4, 1))
}

pub(super) fn sense_10(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let is_long = cdb.byte(1) & 0x10 != 0;
    let (parameter, descriptor, pages) = parts(target, cdb, is_long)?;
    let long = u8::from(is_long && !descriptor.is_empty());
    let mut bytes = vec![0, 0, 0, parameter, long, 0, 0, descriptor.len() as u8];
    bytes.extend(descriptor);
    bytes.extend(pages);
    bytes[1] = (bytes.len() - 2) as u8;
    Ok(cdb.send(bytes, 7, 2))
}

/// The device-specific parameter, the block descriptor and the pages.
fn parts(target: &Target, cdb: Cdb, is_long: bool) -> Result<(u8, Vec<u8>, Vec<u8>), Sense> {
    let protected = if target.is_read_only() { WRITE_PROTECTED } else { 0 };
    let block = target.block as u32;
    let mut descriptor = Vec::new();
    if cdb.byte(1) & 0x08 != 0 {
        // No block descriptor is wanted.
    } else if is_long {
        descriptor.extend(target.blocks.to_be_bytes());
        descriptor.extend([0; 4]);
        descriptor.extend(block.to_be_bytes());
    } else {
        let blocks = u32::try_from(target.blocks).unwrap_or(u32::MAX);
        descriptor.extend(blocks.to_be_bytes());
        // The length has three bytes.
        descriptor.extend(block.to_be_bytes());
    }
    Ok((protected | DPO_FUA, descriptor, pages(target, cdb)?))
}

fn pages(target: &Target, cdb: Cdb) -> Result<Vec<u8>, Sense> {
    let control = cdb.byte(2) >> 6;
    if control == 3 {
        return Err(Sense::NOTHING_SAVED);
    }
    // Nothing can be changed, so the mask of what can is all zeros.
    let is_mask = control == 1;
    let wanted = cdb.byte(2) & 0x3F;
    if ![0x00, 0xFF].contains(&cdb.byte(3)) {
        return Err(Sense::INVALID_FIELD);
    }
    // What is written to an overlay is safe after a flush only.
    let write_cache = if target.is_read_only() { 0 } else { 0x04 };
    let descriptors = if uses_descriptors(target) { 0x04 } else { 0 };
    let known: [(u8, usize, [u8; 2]); 4] = [
        // Read-write error recovery.
        (0x01, 10, [0, 0]),
        (0x08, 18, [write_cache, 0]),
        // Control: commands may change their order.
        (0x0A, 10, [descriptors, 0x10]),
        // Informational exceptions.
        (0x1C, 10, [0, 0]),
    ];
    let mut bytes = Vec::new();
    for (page, length, begin) in known {
        if wanted == page || wanted == 0x3F {
            bytes.extend([page, length as u8]);
            let start = bytes.len();
            bytes.extend(if is_mask { [0, 0] } else { begin });
            bytes.resize(start + length, 0);
        }
    }
    match bytes.is_empty() {
        true => Err(Sense::INVALID_FIELD),
        false => Ok(bytes),
    }
}
