//! Frames of Zstandard (RFC 8878), with a decoder that a thread keeps for the next one.

use std::cell::Cell;

use volfold_block::{BlockResult, guard};
use zrip::{DecompressContext, DecompressError};

/// What a frame begins with.
pub(crate) const MAGIC: &[u8] = b"\x28\xB5\x2F\xFD";

/// LIMIT: bytes of a buffer that is kept; those of larger frames are given back.
const MAX_KEPT: usize = 4 << 20;

/// What a thread keeps.
#[derive(Default)]
struct Decoder {
    context: DecompressContext,
    bytes: Vec<u8>,
}

thread_local! {
    static DECODER: Cell<Option<Box<Decoder>>> = const { Cell::new(None) };
}

/// Why a frame does not give what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It contradicts RFC 8878, or has more bytes than wanted.
    Damaged,
    /// It has fewer bytes than wanted.
    Short,
    /// Its bytes have another checksum than it says.
    Checksum,
}

impl Broken {
    /// What to say of the unit: it `is damaged`.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Damaged => "is damaged",
            Self::Short => "is too short",
            Self::Checksum => "has a bad checksum",
        }
    }
}

/// Fills `out` with just what the frame at the start of `packed` holds. Its checksum is checked, if it
/// has one.
///
/// # Errors
/// `Err` within if it is something else, and `Internal` if the decoder gave up.
pub(crate) fn decode(packed: &[u8], out: &mut [u8]) -> BlockResult<Result<(), Broken>> {
    let Some(frame) = packed.strip_prefix(MAGIC) else { return Ok(Err(Broken::Damaged)) };
    // What an error leaves behind is not used again.
    let kept = DECODER.try_with(Cell::take);
    let mut decoder = kept.ok().flatten().unwrap_or_default();
    let Decoder { context, bytes } = &mut *decoder;
    bytes.clear();
    let decoded: BlockResult<_> = guard("a frame of Zstandard", || {
        Ok(context.decompress_after_magic_into(frame, bytes, out.len()))
    });
    let result = match decoded? {
        Ok(_) if bytes.len() == out.len() => {
            out.copy_from_slice(bytes);
            Ok(())
        }
        Ok(_) => Err(Broken::Short),
        Err(DecompressError::ChecksumMismatch { .. }) => Err(Broken::Checksum),
        Err(_) => Err(Broken::Damaged),
    };
    if result.is_ok() {
        bytes.truncate(0);
        bytes.shrink_to(MAX_KEPT);
        // A thread that is about to end keeps nothing.
        let _ = DECODER.try_with(|kept| kept.set(Some(decoder)));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::decoding::FrameDecoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    /// Text that repeats itself near and far, and numbers between.
    fn text(size: usize) -> Vec<u8> {
        let mut number: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut bytes = Vec::new();
        while bytes.len() < size {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            bytes.extend_from_slice(format!("cluster {} of {number:x}\n", number % 31).as_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    #[test]
    fn a_frame_gives_just_what_is_wanted_or_an_error() {
        let bytes = text(200_000);
        let mut frame = compress_to_vec(&bytes[..], CompressionLevel::Fastest);
        let mut out = vec![0; bytes.len()];
        assert_eq!(decode(&frame, &mut out).unwrap(), Ok(()));
        assert!(out == bytes);
        let with_more = [&frame[..], &[7; 20]].concat();
        assert_eq!(decode(&with_more, &mut out).unwrap(), Ok(()));
        assert_eq!(decode(&frame, &mut out[1..]).unwrap(), Err(Broken::Damaged));
        assert_eq!(decode(&frame, &mut vec![0; 200_001]).unwrap(), Err(Broken::Short));
        assert_eq!(decode(&frame[..frame.len() - 1], &mut out).unwrap(), Err(Broken::Damaged));
        assert_eq!(decode(&[], &mut out).unwrap(), Err(Broken::Damaged));
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&frame, &mut out).unwrap(), Err(Broken::Checksum));
    }

    /// What two decoders take they take for the same bytes, whatever was done to them.
    #[test]
    fn another_decoder_reads_the_same() {
        let bytes = text(20_000);
        let mut frame = compress_to_vec(&bytes[..], CompressionLevel::Fastest);
        // Without the checksum, which would end most of them.
        assert_eq!(frame[4] & 4, 4);
        frame[4] ^= 4;
        frame.truncate(frame.len() - 4);
        let (mut other, mut taken) = (FrameDecoder::new(), 0);
        let (mut ours, mut theirs) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        for at in 0..frame.len() {
            for flip in [1, 8, 128] {
                let mut bent = frame.clone();
                bent[at] ^= flip;
                let by_other = other.decode_all(&bent, &mut theirs);
                let (by_us, by_other) = (decode(&bent, &mut ours).unwrap(), by_other);
                if by_us == Ok(()) && by_other.is_ok_and(|made| made == bytes.len()) {
                    assert!(ours == theirs, "byte {at} by {flip}");
                    taken += 1;
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
