//! A disk written into one file that other tools read.
//!
//! What is never written is an image that was opened: the file is a new one, of the caller. Holes and
//! blocks of zeros take no room in it.

mod qcow2;
mod raw;
mod vmdk;
mod writer;

use std::io::{self, Seek, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ExtentKind, byte_count, bytes_to_index,
};

use qcow2::Qcow2Writer;
use raw::RawWriter;
use vmdk::VmdkWriter;
use writer::{BLOCK, Writer};

/// How much is read at once; a multiple of [`BLOCK`].
const PIECE: u64 = 4 << 20;

/// Pieces that were read and not yet written.
const AHEAD: usize = 2;

/// A format that disks are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The bytes of the disk, with holes.
    Raw,
    /// QCOW2, version 3.
    Qcow2,
    /// VMDK, `monolithicSparse`.
    Vmdk,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Qcow2, Self::Vmdk];

    /// The id of the format, as of those that are read.
    pub fn id(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
        }
    }
}

/// A part of the disk, from its first block on.
struct Part {
    offset: u64,
    bytes: Vec<u8>,
}

/// Writes the bytes of `device` into `out`, which is empty, as `target`; a descriptor calls the file
/// `name`. `progress` is told how far it is.
///
/// # Errors
/// What of the device could not be read, with its position, or `Io` if `out` cannot be written;
/// `Unsupported` if the format has no room for so large a disk.
pub fn write(
    device: &dyn BlockDevice,
    target: Target,
    name: &str,
    out: &mut (impl Write + Seek),
    progress: &(dyn Fn(u64) + Sync),
) -> BlockResult<()> {
    let size = device.size();
    let mut writer: Box<dyn Writer + '_> = match target {
        Target::Raw => Box::new(RawWriter::new(out, size)),
        Target::Qcow2 if size > qcow2::MAX_SIZE => {
            let line = "disk is too large for a QCOW2 with clusters of 64 KiB; take --format raw";
            return Err(BlockError::unsupported(line));
        }
        Target::Qcow2 => Box::new(Qcow2Writer::new(out, size).map_err(unwritable)?),
        Target::Vmdk => Box::new(VmdkWriter::new(out, size, name)?),
    };
    let (full, parts) = sync_channel(AHEAD);
    let (empty, buffers) = sync_channel(AHEAD.saturating_add(2));
    thread::scope(|scope| {
        scope.spawn(move || read_all(device, &full, &buffers));
        for part in parts {
            let Part { offset, bytes } = part?;
            progress(offset);
            let first = offset / BLOCK;
            let block = bytes_to_index(BLOCK)?;
            for (bytes, number) in bytes.chunks(block).zip(first..) {
                if !is_zero(bytes) {
                    writer.block(number, bytes).map_err(unwritable)?;
                }
            }
            // The reader may have ended.
            let _ = empty.try_send(bytes);
        }
        writer.finish().map_err(unwritable)
    })?;
    progress(size);
    Ok(())
}

/// Compares `written` with `device`, byte by byte.
///
/// # Errors
/// `Internal` with the first position where they differ, or why one of them cannot be read.
pub fn compare(
    device: &dyn BlockDevice,
    written: &dyn BlockDevice,
    progress: &dyn Fn(u64),
) -> BlockResult<()> {
    let (size, found) = (device.size(), written.size());
    let differs = |line: String| Err(BlockError::new(BlockErrorKind::Internal, line));
    // Formats that count in sectors round up.
    if found < size || found.saturating_sub(size) >= 512 {
        return differs(format!("the file holds a disk of {found} bytes, not of {size}"));
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut offset = 0;
    while offset < size {
        let zeros = zero_run(device, offset)?.min(zero_run(written, offset)?);
        if zeros > 0 {
            offset = offset.saturating_add(zeros);
            continue;
        }
        let length = bytes_to_index(PIECE.min(size.saturating_sub(offset)))?;
        one.resize(length, 0);
        other.resize(length, 0);
        device.read_at(offset, &mut one)?;
        written.read_at(offset, &mut other)?;
        if let Some(place) = one.iter().zip(&other).position(|(one, other)| one != other) {
            let at = offset.saturating_add(byte_count(place));
            return differs(format!("the file differs from the disk at byte {at}"));
        }
        offset = offset.saturating_add(byte_count(length));
        progress(offset);
    }
    progress(size);
    Ok(())
}

/// How many zeros a hole has at `offset`; 0 where there are bytes.
fn zero_run(device: &dyn BlockDevice, offset: u64) -> BlockResult<u64> {
    let extent = device.extent_at(offset)?;
    Ok(if extent.kind == ExtentKind::Zero { extent.length } else { 0 })
}

/// Reads all that is no hole, part for part, into `full`, with the `buffers` that come back.
fn read_all(
    device: &dyn BlockDevice,
    full: &SyncSender<BlockResult<Part>>,
    buffers: &Receiver<Vec<u8>>,
) {
    let size = device.size();
    let mut offset = 0;
    while offset < size {
        let part = next_part(device, &mut offset, buffers.try_recv().unwrap_or_default());
        let is_error = part.is_err();
        let Some(part) = part.transpose() else { return };
        if full.send(part).is_err() || is_error {
            return;
        }
    }
}

/// The next bytes from `offset` on, in whole blocks, in `buffer`; `offset` is behind them then. `None`
/// if there is nothing but holes.
fn next_part(
    device: &dyn BlockDevice,
    offset: &mut u64,
    mut buffer: Vec<u8>,
) -> BlockResult<Option<Part>> {
    let size = device.size();
    // Whole blocks of holes are stepped over.
    while *offset < size {
        let end = offset.saturating_add(zero_run(device, *offset)?);
        let next = if end >= size { size } else { end.saturating_sub(end % BLOCK) };
        if next <= *offset {
            break;
        }
        *offset = next;
    }
    if *offset >= size {
        return Ok(None);
    }
    let length = PIECE.min(size.saturating_sub(*offset));
    buffer.resize(bytes_to_index(length)?, 0);
    device.read_at(*offset, &mut buffer)?;
    let part = Part { offset: *offset, bytes: buffer };
    *offset = offset.saturating_add(length);
    Ok(Some(part))
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

fn unwritable(error: io::Error) -> BlockError {
    BlockError::new(BlockErrorKind::Io, "cannot be written").because(error)
}
