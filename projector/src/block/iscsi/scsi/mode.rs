//! MODE SENSE: how the device works, and that it is write-protected.
//!
//! Specification: SPC-4, sections 6.11, 6.12 and 7.5; SBC-3, section 6.5.

use std::iter::repeat;

use super::command::{Action, Cdb, RawSense6, RawSense10, send, uses_descriptors};
use super::sense::Sense;
use crate::block::iscsi::target::Target;
use crate::block::number::to_u32;

/// `WP`: the medium is write-protected.
const WRITE_PROTECTED: u8 = 0x80;
/// `DPOFUA`: these bits are known in commands.
const DPO_FUA: u8 = 0x10;

/// What both forms of the command have.
#[derive(Clone, Copy)]
struct Request {
    /// `DBD`: no block descriptor is wanted.
    without_descriptor: bool,
    /// `LLBAA`: a long block descriptor is taken.
    is_long: bool,
    /// `PC` and the page.
    page: u8,
    subpage: u8,
}

pub(super) fn sense_6(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let raw: RawSense6 = cdb.raw();
    let request = Request {
        without_descriptor: raw.flags & 0x08 != 0,
        is_long: false,
        page: raw.page,
        subpage: raw.subpage,
    };
    let (descriptor, pages) = (descriptor(target, request), pages(target, request)?);
    let mut bytes = vec![0, parameter(target), short(descriptor.len())];
    bytes.extend(descriptor);
    bytes.extend(pages);
    bytes.insert(0, short(bytes.len()));
    Ok(send(bytes, raw.allocation))
}

pub(super) fn sense_10(target: &Target, cdb: Cdb) -> Result<Action, Sense> {
    let raw: RawSense10 = cdb.raw();
    let request = Request {
        without_descriptor: raw.flags & 0x08 != 0,
        is_long: raw.flags & 0x10 != 0,
        page: raw.page,
        subpage: raw.subpage,
    };
    let (descriptor, pages) = (descriptor(target, request), pages(target, request)?);
    let long = u8::from(request.is_long && !descriptor.is_empty());
    let mut bytes = vec![0, parameter(target), long, 0, 0, short(descriptor.len())];
    bytes.extend(descriptor);
    bytes.extend(pages);
    // The length has two bytes; no list reaches 256.
    let length = [0, short(bytes.len())];
    bytes.splice(0..0, length);
    Ok(send(bytes, raw.allocation))
}

/// A length that one byte holds, as all of this file do.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// The device-specific parameter.
fn parameter(target: &Target) -> u8 {
    let protected = if target.is_read_only() { WRITE_PROTECTED } else { 0 };
    protected | DPO_FUA
}

/// The block descriptor; none if none is wanted.
fn descriptor(target: &Target, request: Request) -> Vec<u8> {
    let block = to_u32(target.block.get()).to_be_bytes();
    let mut descriptor = Vec::new();
    if request.without_descriptor {
        return descriptor;
    }
    if request.is_long {
        descriptor.extend(target.blocks.to_be_bytes());
        descriptor.extend([0; 4]);
    } else {
        descriptor.extend(to_u32(target.blocks).to_be_bytes());
    }
    // In the short form the length has three bytes, and the one before is reserved.
    descriptor.extend(block);
    descriptor
}

fn pages(target: &Target, request: Request) -> Result<Vec<u8>, Sense> {
    let control = request.page >> 6;
    if control == 3 {
        return Err(Sense::NOTHING_SAVED);
    }
    // Nothing can be changed, so the mask of what can is all zeros.
    let is_mask = control == 1;
    let wanted = request.page & 0x3F;
    if ![0x00, 0xFF].contains(&request.subpage) {
        return Err(Sense::INVALID_FIELD);
    }
    // What is written to an overlay is safe after a flush only.
    let write_cache = if target.is_read_only() { 0 } else { 0x04 };
    let descriptors = if uses_descriptors(target) { 0x04 } else { 0 };
    let known: [(u8, u8, [u8; 2]); 4] = [
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
            bytes.extend([page, length]);
            let begin = if is_mask { [0, 0] } else { begin };
            bytes.extend(begin.into_iter().chain(repeat(0)).take(length.into()));
        }
    }
    match bytes.is_empty() {
        true => Err(Sense::INVALID_FIELD),
        false => Ok(bytes),
    }
}
