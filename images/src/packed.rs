//! Units that lie packed in a file, with buffers that a thread keeps for the next one.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};
use volfold_block::{BlockDevice, BlockResult, bytes_to_index};

thread_local! {
    /// Taken while in use: the device below may need a unit of another image.
    static PACKED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
    static INFLATER: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// Calls `work` with the `length` bytes of `file` at `at`. The caller has bounded `length`.
///
/// # Errors
/// If they cannot be read, and what `work` returns.
pub(crate) fn with_bytes<T>(
    file: &dyn BlockDevice,
    at: u64,
    length: u64,
    work: impl FnOnce(&[u8]) -> BlockResult<T>,
) -> BlockResult<T> {
    let kept = PACKED.try_with(Cell::take);
    let mut packed = kept.ok().flatten().unwrap_or_default();
    packed.resize(bytes_to_index(length)?, 0);
    let result = file.read_at(at, &mut packed).and_then(|()| work(&packed));
    // A thread that is about to end keeps nothing.
    let _ = PACKED.try_with(|kept| kept.set(Some(packed)));
    result
}

/// Why bytes do not inflate to what was expected.
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

/// Fills `out` with just what the zlib stream (RFC 1950) at the start of `packed` holds, whose checksum
/// is checked.
///
/// # Errors
/// Why it is something else.
pub(crate) fn inflate(packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let kept = INFLATER.try_with(Cell::take);
    let mut inflater = kept.ok().flatten().unwrap_or_else(|| Decompress::new(true));
    let result = inflate_with(&mut inflater, packed, out);
    let _ = INFLATER.try_with(|kept| kept.set(Some(inflater)));
    result
}

fn inflate_with(inflater: &mut Decompress, packed: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    inflater.reset(true);
    let status = inflater.decompress(packed, out, FlushDecompress::Finish);
    let mut status = status.map_err(|_| Broken::Damaged)?;
    let is_whole = |inflater: &Decompress| {
        usize::try_from(inflater.total_out()).is_ok_and(|made| made == out.len())
    };
    if status != Status::StreamEnd && is_whole(inflater) {
        // The end of the stream may not have been looked at, for there was no place left.
        let used = usize::try_from(inflater.total_in()).unwrap_or(packed.len());
        let rest = packed.get(used..).unwrap_or_default();
        let mut more = [0];
        let again = inflater.decompress(rest, &mut more, FlushDecompress::Finish);
        status = again.map_err(|_| Broken::Damaged)?;
        if !is_whole(inflater) {
            return Err(Broken::Long);
        }
    }
    match status {
        Status::StreamEnd if is_whole(inflater) => Ok(()),
        Status::StreamEnd => Err(Broken::Short),
        _ => Err(Broken::Cut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::deflate;

    #[test]
    fn a_stream_gives_just_what_is_wanted_or_an_error() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
        let packed = deflate(&bytes);
        let mut out = vec![0; bytes.len()];
        assert_eq!(inflate(&packed, &mut out), Ok(()));
        assert_eq!(out, bytes);
        let with_more = [&packed[..], &[7; 20]].concat();
        assert_eq!(inflate(&with_more, &mut out), Ok(()));
        assert_eq!(inflate(&packed, &mut vec![0; 9_999]), Err(Broken::Long));
        assert_eq!(inflate(&packed, &mut vec![0; 10_001]), Err(Broken::Short));
        assert_eq!(inflate(&packed[..packed.len() - 1], &mut out), Err(Broken::Cut));
        let mut damaged = packed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(inflate(&damaged, &mut out), Err(Broken::Damaged));
        assert_eq!(inflate(&[], &mut out), Err(Broken::Cut));
    }
}
