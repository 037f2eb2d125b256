//! Packed runs: ADC, zlib, bzip2, LZFSE, LZMA.
//!
//! zlib, bzip2 and xz have checksums of their own. ADC and LZFSE have none; what does not give exactly
//! the bytes of the run is an error for all of them.
//!
//! ADC (Apple Data Compression), as it is decoded everywhere: one byte tells what comes next.
//!
//! | bits of the byte | what comes                                                              |
//! |------------------|-------------------------------------------------------------------------|
//! | 1nnnnnnn         | n + 1 bytes as they are                                                 |
//! | 00nnnndd, 1 byte | a copy of n + 3 bytes, from d (10 bits) + 1 bytes back                  |
//! | 01nnnnnn, 2 bytes| a copy of n + 4 bytes, from d (16 bits, the highest first) + 1 back     |

use std::cell::Cell;
use std::io::{self, Read, Write};

use bzip2::{Decompress, Status};
use lzfse_rust::LzfseRingDecoder;
use lzma_rust2::XzReader;
use volfold_block::{BlockResult, guard};

use super::runs::Kind;
use crate::deflate::{Broken, Form, inflate};

/// LIMIT: memory for one xz stream, in KiB: the dictionary of `xz -9` is 64 MiB. Of that no more is
/// touched than the run has bytes.
const MAX_XZ_MEMORY: u32 = 66 << 10;

thread_local! {
    /// Kept for the next run, for it is large.
    static LZFSE: Cell<Option<Box<LzfseRingDecoder>>> = const { Cell::new(None) };
}

/// Fills `out` with what `packed`, of the kind `kind`, holds.
///
/// # Errors
/// Why that is not just as much.
pub(super) fn unpack(kind: Kind, packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    match kind {
        Kind::Adc => adc(packed, out),
        Kind::Zlib => inflate(Form::Zlib, packed, out),
        Kind::Bzip2 => guarded(|| bzip2(packed, out)),
        Kind::Lzfse => guarded(|| lzfse(packed, out)),
        Kind::Lzma => guarded(|| xz(packed, out)),
        Kind::Zero | Kind::Ignored | Kind::Raw | Kind::Unknown(_) => Err(Broken::Damaged),
    }
}

/// Calls `work`, which uses code of others: if that panics the run is damaged.
fn guarded(work: impl FnOnce() -> Result<(), Broken>) -> Result<(), Broken> {
    let result: BlockResult<Result<(), Broken>> = guard("a packed run", || Ok(work()));
    result.unwrap_or(Err(Broken::Damaged))
}

fn adc(packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let mut made: usize = 0;
    let mut bytes = packed.iter().copied();
    while made < out.len() {
        let first = bytes.next().ok_or(Broken::Cut)?;
        let mut next = || bytes.next().map(usize::from).ok_or(Broken::Cut);
        let bits = usize::from(first);
        let (count, back) = match first {
            0x80.. => (bits & 0x7F, None),
            0x40.. => (bits & 0x3F, Some(next()? << 8 | next()?)),
            _ => (bits >> 2, Some((bits & 3) << 8 | next()?)),
        };
        let more: usize = match first {
            0x80.. => 1,
            0x40.. => 4,
            _ => 3,
        };
        let end = made.saturating_add(count).saturating_add(more);
        if end > out.len() {
            return Err(Broken::Long);
        }
        for at in made..end {
            let byte = match back {
                None => bytes.next().ok_or(Broken::Cut)?,
                Some(back) => {
                    let from = at.checked_sub(back.saturating_add(1)).ok_or(Broken::Damaged)?;
                    out.get(from).copied().ok_or(Broken::Damaged)?
                }
            };
            *out.get_mut(at).ok_or(Broken::Long)? = byte;
        }
        made = end;
    }
    Ok(())
}

fn bzip2(packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let mut stream = Decompress::new(false);
    let (mut rest, mut made): (&[u8], usize) = (packed, 0);
    loop {
        let before = (stream.total_in(), stream.total_out());
        // Past the last byte there is a place for one that should not be there.
        let mut more = [0];
        let is_whole = made == out.len();
        let place = if is_whole { &mut more[..] } else { out.get_mut(made..).unwrap_or_default() };
        let status = stream.decompress(rest, place).map_err(|_| Broken::Damaged)?;
        let used = stream.total_in().saturating_sub(before.0);
        let count = stream.total_out().saturating_sub(before.1);
        if is_whole && count > 0 {
            return Err(Broken::Long);
        }
        rest = usize::try_from(used).ok().and_then(|used| rest.get(used..)).unwrap_or_default();
        made = made.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        match status {
            Status::StreamEnd if made == out.len() => return Ok(()),
            Status::StreamEnd => return Err(Broken::Short),
            _ if used == 0 && count == 0 => return Err(Broken::Cut),
            _ => {}
        }
    }
}

/// A buffer that takes no more bytes than it has.
struct Exact<'a> {
    rest: &'a mut [u8],
}

impl Write for Exact<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let place = std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len());
        let (place, rest) = place.ok_or(io::ErrorKind::WriteZero)?;
        place.copy_from_slice(bytes);
        self.rest = rest;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lzfse(mut packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let kept = LZFSE.try_with(Cell::take);
    let mut decoder = kept.ok().flatten().unwrap_or_default();
    let mut place = Exact { rest: out };
    decoder.decode(&mut packed, &mut place).map_err(|_| Broken::Damaged)?;
    // What an error or a panic left behind is not used again.
    let _ = LZFSE.try_with(|kept| kept.set(Some(decoder)));
    if place.rest.is_empty() { Ok(()) } else { Err(Broken::Short) }
}

fn xz(packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let mut reader = XzReader::new_mem_limit(packed, false, MAX_XZ_MEMORY);
    reader.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Short,
        _ => Broken::Damaged,
    })?;
    // The checksum comes past the last byte.
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Broken::Long),
        Err(_) => Err(Broken::Damaged),
    }
}
