//! INQUIRY: what the device is, and its pages of vital product data.
//!
//! Specification: SPC-4, sections 6.6 and 7.8; SBC-3, section 6.6.

use std::mem::offset_of;

use data_encoding::HEXLOWER;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use super::command::{
    Action, Cdb, MAX_TRANSFER, MAX_UNMAP, MAX_UNMAP_DESCRIPTORS, RawInquiry, send,
};
use super::sense::Sense;
use crate::block::iscsi::pdu::padding;
use crate::block::iscsi::target::Target;

const VENDOR: &[u8; 8] = b"VOLFOLD ";

/// The standards that are kept: SAM-4, iSCSI, SPC-4, SBC-3.
const STANDARDS: [u16; 4] = [0x0080, 0x0960, 0x0460, 0x04C0];

/// Pages of vital product data.
const PAGES: [u8; 6] = [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2];

/// Overlays keep blocks of this size; smaller holes are better not made.
const GRANULARITY: u64 = 4096;

pub(super) fn inquiry(target: &Target, cdb: Cdb, is_there: bool) -> Result<Action, Sense> {
    let raw: RawInquiry = cdb.raw();
    if raw.flags & 0x01 == 0 {
        return match raw.page {
            0 => Ok(send(standard(target, is_there).as_bytes().to_vec(), raw.allocation)),
            _ => Err(Sense::INVALID_FIELD),
        };
    }
    let page = match raw.page {
        0x00 if is_there => PAGES.to_vec(),
        0x00 => vec![0x00],
        _ if !is_there => return Err(Sense::NO_SUCH_UNIT),
        0x80 => serial(target).into_bytes(),
        0x83 => identification(target),
        0xB0 => block_limits(target).as_bytes().to_vec(),
        // No medium that turns.
        0xB1 => [&[0, 1][..], &[0; 58]].concat(),
        // Unmapping by each command that can, with blocks that read as zeros then; thin.
        0xB2 => vec![0, 0x80 | 0x40 | 0x20 | 0x04, 2, 0],
        _ => return Err(Sense::INVALID_FIELD),
    };
    let length = u16::try_from(page.len()).unwrap_or(u16::MAX).to_be_bytes();
    let bytes = [&[peripheral(is_there), raw.page][..], &length, &page].concat();
    Ok(send(bytes, raw.allocation))
}

/// The peripheral qualifier and type: a block device, or no unit there.
fn peripheral(is_there: bool) -> u8 {
    if is_there { 0 } else { 0x7F }
}

/// Standard INQUIRY data: SPC-4, section 6.6.2.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStandard {
    peripheral: u8,
    removable: u8,
    version: u8,
    format: u8,
    additional_length: u8,
    flags: [u8; 3],
    vendor: [u8; 8],
    product: [u8; 16],
    revision: [u8; 4],
    vendor_specific: [u8; 20],
    reserved: [u8; 2],
    standards: [U16; 8],
    reserved_74: [u8; 22],
}
const _: () = assert!(offset_of!(RawStandard, vendor) == 8);
const _: () = assert!(offset_of!(RawStandard, revision) == 32);
const _: () = assert!(offset_of!(RawStandard, standards) == 58);
const _: () = assert!(size_of::<RawStandard>() == 96);

fn standard(target: &Target, is_there: bool) -> RawStandard {
    let number = target.export.name.strip_prefix("disk");
    let is_disk = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let [sam, iscsi, spc, sbc] = STANDARDS.map(U16::new);
    RawStandard {
        peripheral: peripheral(is_there),
        removable: 0,
        // SPC-4; the form of this data, and that units are numbered by the hierarchy.
        version: 0x06,
        format: 0x10 | 0x02,
        // The bytes after this one.
        additional_length: 96 - 5,
        // Commands may wait.
        flags: [0, 0, 0x02],
        vendor: *VENDOR,
        product: text(if is_disk { "disk" } else { "volume" }),
        revision: text(env!("CARGO_PKG_VERSION")),
        vendor_specific: [0; 20],
        reserved: [0; 2],
        standards: [sam, iscsi, spc, sbc, U16::ZERO, U16::ZERO, U16::ZERO, U16::ZERO],
        reserved_74: [0; 22],
    }
}

/// `text` filled up with spaces, or cut.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    for (place, byte) in bytes.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    bytes
}

/// The serial number, unique to the disk or volume.
fn serial(target: &Target) -> String {
    HEXLOWER.encode(&target.identity)
}

/// The page of identification: of the unit by the vendor's and by a locally assigned number, of the
/// port by its number and name.
fn identification(target: &Target) -> Vec<u8> {
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    const UTF_8: u8 = 3;
    /// iSCSI, and that the protocol is told.
    const PROTOCOL: u8 = 0x50;
    const OF_PORT: u8 = 0x80 | 0x10;
    let mut bytes = Vec::new();
    let mut add = |code_set: u8, kind: u8, identifier: &[u8]| {
        let length = u8::try_from(identifier.len()).unwrap_or(u8::MAX);
        bytes.extend([code_set, kind, 0, length]);
        bytes.extend(identifier);
    };
    let [first, b, c, d, e, f, g, h, ..] = target.identity;
    // Locally assigned.
    add(BINARY, 0x03, &[0x30 | first & 0x0F, b, c, d, e, f, g, h]);
    add(ASCII, 0x01, &[VENDOR, serial(target).as_bytes()].concat());
    add(BINARY | PROTOCOL, OF_PORT | 0x04, &[0, 0, 0, 1]);
    let mut port = format!("{},t,0x0001\0", target.name).into_bytes();
    port.resize(port.len().saturating_add(padding(port.len())), 0);
    add(UTF_8 | PROTOCOL, OF_PORT | 0x08, &port);
    bytes
}

/// The page of block limits, after its header: SBC-3, section 6.6.4.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlockLimits {
    flags: u8,
    max_compare_and_write: u8,
    granularity: U16,
    max_transfer: U32,
    optimal_transfer: U32,
    max_prefetch: U32,
    max_unmap: U32,
    max_unmap_descriptors: U32,
    unmap_granularity: U32,
    unmap_alignment: U32,
    max_write_same: U64,
    reserved: [u8; 20],
}
const _: () = assert!(offset_of!(RawBlockLimits, max_unmap) == 20 - 4);
const _: () = assert!(offset_of!(RawBlockLimits, max_write_same) == 36 - 4);
const _: () = assert!(size_of::<RawBlockLimits>() == 64 - 4);

fn block_limits(target: &Target) -> RawBlockLimits {
    let granularity = target.blocks_in(GRANULARITY).max(1);
    RawBlockLimits {
        // A WRITE SAME of no blocks is none of all blocks.
        flags: 0x01,
        max_compare_and_write: 0,
        granularity: u16::try_from(granularity).unwrap_or(u16::MAX).into(),
        max_transfer: target.blocks_in(MAX_TRANSFER).into(),
        optimal_transfer: target.blocks_in(1 << 20).into(),
        max_prefetch: U32::ZERO,
        max_unmap: target.blocks_in(MAX_UNMAP).into(),
        max_unmap_descriptors: MAX_UNMAP_DESCRIPTORS.into(),
        unmap_granularity: granularity.into(),
        // It is valid, and 0.
        unmap_alignment: 0x8000_0000.into(),
        max_write_same: u64::from(target.blocks_in(MAX_TRANSFER)).into(),
        reserved: [0; 20],
    }
}
