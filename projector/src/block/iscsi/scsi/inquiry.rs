//! INQUIRY: what the device is, and its pages of vital product data.
//!
//! Specification: SPC-4, sections 6.6 and 7.8; SBC-3, section 6.6.

use super::sense::Sense;
use super::{Action, Cdb, MAX_TRANSFER, MAX_UNMAP, MAX_UNMAP_DESCRIPTORS};
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
    let page = cdb.byte(2);
    if cdb.byte(1) & 0x01 == 0 {
        return match page {
            0 => Ok(cdb.send(standard(target, is_there), 3, 2)),
            _ => Err(Sense::INVALID_FIELD),
        };
    }
    let mut bytes = vec![if is_there { 0 } else { 0x7F }, page, 0, 0];
    match page {
        0x00 => bytes.extend(if is_there { &PAGES[..] } else { &PAGES[..1] }),
        _ if !is_there => return Err(Sense::NO_SUCH_UNIT),
        0x80 => bytes.extend(serial(target).bytes()),
        0x83 => identification(target, &mut bytes),
        0xB0 => block_limits(target, &mut bytes),
        0xB1 => {
            // No medium that turns.
            bytes.extend([0, 1]);
            bytes.resize(64, 0);
        }
        // Unmapping by each command that can, with blocks that read as zeros then; thin.
        0xB2 => bytes.extend([0, 0x80 | 0x40 | 0x20 | 0x04, 2, 0]),
        _ => return Err(Sense::INVALID_FIELD),
    }
    let length = (bytes.len() - 4) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    Ok(cdb.send(bytes, 3, 2))
}

fn standard(target: &Target, is_there: bool) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[0] = if is_there { 0 } else { 0x7F };
    // SPC-4; the form of this data, and that units are numbered by the hierarchy.
    bytes[2] = 0x06;
    bytes[3] = 0x10 | 0x02;
    bytes[4] = (bytes.len() - 5) as u8;
    // Commands may wait.
    bytes[7] = 0x02;
    bytes[8..16].copy_from_slice(VENDOR);
    let number = target.export.name.strip_prefix("disk");
    let is_disk = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let product = if is_disk { "disk" } else { "volume" };
    bytes[16..36].fill(b' ');
    bytes[16..16 + product.len()].copy_from_slice(product.as_bytes());
    let revision = env!("CARGO_PKG_VERSION").as_bytes();
    let length = revision.len().min(4);
    bytes[32..32 + length].copy_from_slice(&revision[..length]);
    for (place, standard) in bytes[58..].chunks_mut(2).zip(STANDARDS) {
        place.copy_from_slice(&standard.to_be_bytes());
    }
    bytes
}

/// The serial number, unique to the disk or volume.
fn serial(target: &Target) -> String {
    target.identity.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The page of identification: of the unit by the vendor's and by a locally assigned number, of the
/// port by its number and name.
fn identification(target: &Target, bytes: &mut Vec<u8>) {
    let mut add = |code_set: u8, kind: u8, identifier: &[u8]| {
        bytes.extend([code_set, kind, 0, identifier.len() as u8]);
        bytes.extend(identifier);
    };
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    const UTF_8: u8 = 3;
    /// iSCSI, and that the protocol is told.
    const PROTOCOL: u8 = 0x50;
    const OF_PORT: u8 = 0x80 | 0x10;
    let mut local = [0; 8];
    local.copy_from_slice(&target.identity[..8]);
    // Locally assigned.
    local[0] = 0x30 | local[0] & 0x0F;
    add(BINARY, 0x03, &local);
    add(ASCII, 0x01, &[VENDOR, serial(target).as_bytes()].concat());
    add(BINARY | PROTOCOL, OF_PORT | 0x04, &[0, 0, 0, 1]);
    let mut port = format!("{},t,0x0001\0", target.name).into_bytes();
    port.resize(port.len() + padding(port.len()), 0);
    add(UTF_8 | PROTOCOL, OF_PORT | 0x08, &port);
}

fn block_limits(target: &Target, bytes: &mut Vec<u8>) {
    let blocks = |length: u64| (length / target.block) as u32;
    // A WRITE SAME of no blocks is none of all blocks.
    bytes.extend([0x01, 0]);
    bytes.extend((blocks(GRANULARITY).max(1) as u16).to_be_bytes());
    bytes.extend(blocks(MAX_TRANSFER).to_be_bytes());
    bytes.extend(blocks(1 << 20).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(blocks(MAX_UNMAP).to_be_bytes());
    bytes.extend(MAX_UNMAP_DESCRIPTORS.to_be_bytes());
    bytes.extend(blocks(GRANULARITY).max(1).to_be_bytes());
    bytes.extend(0x8000_0000_u32.to_be_bytes());
    bytes.extend(u64::from(blocks(MAX_TRANSFER)).to_be_bytes());
    bytes.resize(64, 0);
}
