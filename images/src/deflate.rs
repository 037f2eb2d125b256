//! Streams of deflate (RFC 1951), each of which is unpacked as a whole.

use std::cell::Cell;

use fdeflate::Decompressor;
use flate2::{Decompress, FlushDecompress, Status};
use volfold_block::{BlockResult, guard};

/// How a stream lies in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// With a head, and with a checksum at its end (RFC 1950).
    Zlib,
    /// By itself.
    Raw,
}

/// Why bytes do not unpack to what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// They contradict RFC 1950 or 1951, or the checksum at their end.
    Damaged,
    /// They end before the stream does.
    Cut,
    /// The stream has fewer bytes than wanted.
    Short,
    /// The stream has more bytes than wanted.
    Long,
}

impl Broken {
    /// What to say of the unit: it `cannot be inflated`.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Damaged => "cannot be inflated",
            Self::Cut => "is cut short",
            Self::Short => "is too short",
            Self::Long => "is longer than it should be",
        }
    }
}

/// Fills `out` with just what the stream at the start of `packed` holds.
///
/// # Errors
/// Why it is something else.
#[cfg_attr(
    not(any(test, feature = "dmg", feature = "ewf", feature = "qcow2")),
    expect(dead_code, reason = "a grain of VMDK may be shorter than its place")
)]
pub(crate) fn inflate(form: Form, packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    match inflate_some(form, packed, out)? {
        made if made == out.len() => Ok(()),
        _ => Err(Broken::Short),
    }
}

/// The same for a stream that may have fewer bytes than `out`: how many it has. What is behind them in
/// `out` is anything.
///
/// # Errors
/// Why it is something else, never `Short`.
pub(crate) fn inflate_some(form: Form, packed: &[u8], out: &mut [u8]) -> Result<usize, Broken> {
    match quickly(form, packed, out) {
        Some(made) => Ok(made),
        None => carefully(form, packed, out),
    }
}

/// By `fdeflate`, which does not say enough of what it refuses. Of a stream without a checksum it wants
/// four bytes more in its place, whatever they are.
fn quickly(form: Form, packed: &[u8], out: &mut [u8]) -> Option<usize> {
    const HEAD: [u8; 2] = [0x78, 0x01];
    let decode = || -> BlockResult<Option<usize>> {
        let mut stream = Decompressor::new();
        if form == Form::Raw {
            stream.ignore_adler32();
            if stream.read(&HEAD, out, 0, false).is_err() {
                return Ok(None);
            }
        }
        let made = stream.read(packed, out, 0, true).ok().map(|(_, made)| made);
        Ok(made.filter(|_| stream.is_done()))
    };
    guard("a stream of deflate", decode).ok().flatten()
}

thread_local! {
    /// Taken while in use.
    static INFLATER: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// By `zlib-rs`.
fn carefully(form: Form, packed: &[u8], out: &mut [u8]) -> Result<usize, Broken> {
    let kept = INFLATER.try_with(Cell::take);
    let mut inflater = kept.ok().flatten().unwrap_or_else(|| Decompress::new(true));
    inflater.reset(form == Form::Zlib);
    let result = inflate_with(&mut inflater, packed, out);
    // A thread that is about to end keeps nothing.
    let _ = INFLATER.try_with(|kept| kept.set(Some(inflater)));
    result
}

fn inflate_with(inflater: &mut Decompress, packed: &[u8], out: &mut [u8]) -> Result<usize, Broken> {
    let made = |inflater: &Decompress| usize::try_from(inflater.total_out()).unwrap_or(usize::MAX);
    let status = inflater.decompress(packed, out, FlushDecompress::Finish);
    let mut status = status.map_err(|_| Broken::Damaged)?;
    if status != Status::StreamEnd && made(inflater) == out.len() {
        // The end of the stream may not have been looked at, for there was no place left.
        let used = usize::try_from(inflater.total_in()).unwrap_or(packed.len());
        let rest = packed.get(used..).unwrap_or_default();
        let again = inflater.decompress(rest, &mut [0], FlushDecompress::Finish);
        status = again.map_err(|_| Broken::Damaged)?;
        if made(inflater) > out.len() {
            return Err(Broken::Long);
        }
    }
    match status {
        Status::StreamEnd => Ok(made(inflater)),
        _ => Err(Broken::Cut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn bytes() -> Vec<u8> {
        (0..10_000_u32).map(|at| (at * at / 7 % 251) as u8).collect()
    }

    fn packed(form: Form, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match form {
            Form::Zlib => crate::testing::deflate(bytes),
            Form::Raw => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn a_stream_gives_just_what_is_wanted_or_an_error() {
        for form in [Form::Zlib, Form::Raw] {
            let bytes = bytes();
            let packed = packed(form, &bytes);
            let mut out = vec![0; bytes.len()];
            for more in [0, 1, 2, 3, 4, 5, 20] {
                out.fill(0);
                let with_more = [&packed[..], &vec![0xFF; more]].concat();
                assert_eq!(inflate(form, &with_more, &mut out), Ok(()), "{form:?} {more}");
                assert!(out == bytes, "{form:?} {more}");
            }
            assert_eq!(inflate(form, &packed, &mut vec![0; 9_999]), Err(Broken::Long));
            assert_eq!(inflate(form, &packed, &mut vec![0; 10_001]), Err(Broken::Short));
            assert_eq!(inflate_some(form, &packed, &mut vec![0; 10_001]), Ok(10_000));
            for size in 0..packed.len() {
                assert!(inflate(form, &packed[..size], &mut out).is_err(), "{form:?} {size}");
            }
        }
        let mut damaged = packed(Form::Zlib, &bytes());
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(inflate(Form::Zlib, &damaged, &mut vec![0; 10_000]), Err(Broken::Damaged));
    }

    /// What both decoders take they take for the same bytes, whatever was done to them.
    #[test]
    fn both_decoders_read_the_same() {
        let bytes = bytes();
        let packed = [packed(Form::Raw, &bytes), vec![0; 8]].concat();
        let (mut quick, mut careful) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        let mut taken = 0;
        for at in 0..packed.len() {
            for flip in [1, 8, 128] {
                let mut bent = packed.clone();
                bent[at] ^= flip;
                let by_quick = quickly(Form::Raw, &bent, &mut quick);
                let by_careful = carefully(Form::Raw, &bent, &mut careful);
                if let (Some(one), Ok(other)) = (by_quick, by_careful) {
                    assert_eq!(one, other, "byte {at} by {flip}");
                    assert!(quick[..one] == careful[..one], "byte {at} by {flip}");
                    taken += 1;
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
