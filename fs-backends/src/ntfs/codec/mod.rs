//! The decoders of compressed content: LZNT1, XPRESS Huffman and LZX.
//!
//! Each takes the stored bytes of one unit and fills all of `out`. Bytes that do not give exactly
//! that many are an error, never a shorter answer: whatever `out` then holds does not count.

use std::fmt;

pub(super) mod bits;
pub(super) mod huffman;
pub(super) mod lznt1;
pub(super) mod lzx;
pub(super) mod xpress;

/// What is wrong with compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

/// Repeats `length` bytes that lie `distance` before `at`, to `at`.
///
/// # Errors
/// If they begin before `out` or end after it.
fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) -> Result<usize, Broken> {
    const OUTSIDE: Broken = Broken("match leaves the unit");
    let from = at.checked_sub(distance).ok_or(OUTSIDE)?;
    let end = at.checked_add(length).filter(|end| *end <= out.len()).ok_or(OUTSIDE)?;
    if distance == 0 {
        return Err(OUTSIDE);
    }
    // Short matches as one step of fixed size: what it writes after `end` is written again.
    const SHORT: usize = 16;
    if length <= SHORT
        && distance >= length
        && let Some(bytes) = out.get(from..).and_then(<[u8]>::first_chunk::<SHORT>).copied()
        && let Some(to) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<SHORT>)
    {
        *to = bytes;
        return Ok(end);
    }
    if distance == 1 {
        let byte = out.get(from).copied().unwrap_or(0);
        out.get_mut(at..end).unwrap_or_default().fill(byte);
        return Ok(end);
    }
    // What is copied may itself be part of the copy: then it repeats, in steps that double.
    let mut done: usize = 0;
    while done < length {
        let step = distance.saturating_add(done).min(length.saturating_sub(done));
        let to = at.saturating_add(done);
        out.copy_within(from..from.saturating_add(step), to);
        done = done.saturating_add(step);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_repeats_what_it_overlaps() {
        for distance in 1..9_usize {
            for length in 0..40_usize {
                let mut out: Vec<u8> = (0..60).collect();
                let mut wanted = out.clone();
                for at in 10..10 + length {
                    wanted[at] = wanted[at - distance];
                }
                assert_eq!(copy_match(&mut out, 10, distance, length), Ok(10 + length));
                // What lies after the match is not given yet.
                assert_eq!(out[..10 + length], wanted[..10 + length], "{distance} {length}");
            }
        }
        let mut out = [0; 8];
        assert!(copy_match(&mut out, 4, 5, 1).is_err());
        assert!(copy_match(&mut out, 4, 0, 1).is_err());
        assert!(copy_match(&mut out, 4, 1, 5).is_err());
    }
}
