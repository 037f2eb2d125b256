//! Mapping pairs: the compressed run list of a non-resident attribute.
//!
//! Each run is one byte of two nibbles, low the size of the length and high the size of the
//! location, then the length in clusters, then the location in clusters as a signed difference
//! to the location before. No location is a hole, which only sparse and compressed attributes have.
//! A byte 0 ends the list.

use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};

/// Appends the runs in `bytes`, which lie at `position` of the volume, to `extents`, and says
/// how many clusters they have. A run without a location is a `hole`.
///
/// # Errors
/// `Corrupt` if a number is out of range or the list is cut short.
pub(super) fn append(
    bytes: &[u8],
    position: u64,
    cluster_size: u64,
    hole: Place,
    extents: &mut Extents,
) -> FsResult<u64> {
    let mut rest = bytes;
    let mut location: i64 = 0;
    let mut clusters: u64 = 0;
    while let Some((header, body)) = rest.split_first() {
        if *header == 0 {
            break;
        }
        let corrupt = |what: &'static str| {
            let used = bytes.len().saturating_sub(rest.len());
            FsError::corrupt(what).at(position.saturating_add(volfold_block::byte_count(used)))
        };
        let (length_size, location_size) = (usize::from(header & 0x0F), usize::from(header >> 4));
        let short = || corrupt("run list is cut short");
        let (length, body) = body.split_at_checked(length_size).ok_or_else(short)?;
        let (step, body) = body.split_at_checked(location_size).ok_or_else(short)?;
        let length = number(length)
            .and_then(|length| u64::try_from(length).ok())
            .filter(|length| *length > 0)
            .ok_or_else(|| corrupt("run has an invalid length"))?;
        let place = if step.is_empty() {
            hole
        } else {
            location = number(step)
                .and_then(|step| location.checked_add(step))
                .ok_or_else(|| corrupt("run has an invalid location"))?;
            let place = u64::try_from(location)
                .ok()
                .and_then(|location| location.checked_mul(cluster_size));
            Place::At(place.ok_or_else(|| corrupt("run lies outside the volume"))?)
        };
        let bytes =
            length.checked_mul(cluster_size).ok_or_else(|| corrupt("run has an invalid length"))?;
        clusters = clusters.saturating_add(length);
        extents.push(place, bytes).map_err(|error| error.at(position))?;
        rest = body;
    }
    Ok(clusters)
}

/// The signed number in `bytes`; `None` if there are more than 8 or none.
fn number(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last()? & 0x80 != 0;
    let mut wide = if negative { [0xFF; 8] } else { [0; 8] };
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;
    use crate::testing::noise;

    fn decode(bytes: &[u8]) -> FsResult<(u64, Extents)> {
        let mut extents = Extents::default();
        let clusters = append(bytes, 0x100, 4096, Place::Hole, &mut extents)?;
        Ok((clusters, extents))
    }

    #[test]
    fn locations_are_differences_with_a_sign() {
        let bytes = [0x11, 4, 0x20, 0x01, 2, 0x11, 1, 0xFF, 0x21, 1, 0, 1, 0];
        let (clusters, extents) = decode(&bytes).unwrap();
        assert_eq!(clusters, 8);
        assert_eq!(extents.at(0), Some((Place::At(0x20 * 4096), 4 * 4096)));
        assert_eq!(extents.at(5 * 4096), Some((Place::Hole, 4096)));
        assert_eq!(extents.at(6 * 4096), Some((Place::At(0x1F * 4096), 4096)));
        assert_eq!(extents.at(7 * 4096), Some((Place::At(0x11F * 4096), 4096)));
        assert_eq!(extents.at(8 * 4096), None);
    }

    #[test]
    fn a_run_at_cluster_zero_is_no_hole() {
        let (_, extents) = decode(&[0x11, 2, 0, 0]).unwrap();
        assert_eq!(extents.at(0), Some((Place::At(0), 8192)));
    }

    #[test]
    fn hostile_runs_are_corrupt() {
        let lists: [&[u8]; 8] = [
            &[0x11, 0, 1],
            &[0x11, 0x80, 1],
            &[0x11, 1, 0x80],
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x91, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x18, 1, 1, 1, 1, 1, 1, 1, 0x70, 1],
            &[0x41, 1, 1],
            &[0x10, 1],
        ];
        for list in lists {
            let error = decode(list).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt, "{list:x?}");
            assert!(error.position() >= Some(0x100));
        }
    }

    /// The shortest form of `value` with its sign.
    fn shortest(value: i64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes().to_vec();
        while bytes.len() > 1 {
            let [.., before, last] = bytes[..] else { break };
            if (last == 0 && before & 0x80 == 0) || (last == 0xFF && before & 0x80 != 0) {
                bytes.pop();
            } else {
                break;
            }
        }
        bytes
    }

    #[test]
    fn any_run_list_comes_back_as_it_was_encoded() {
        for round in 0..200 {
            let numbers = noise(16 * 60, round * 31 + 7);
            let numbers: Vec<u64> = numbers
                .chunks(8)
                .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
                .collect();
            let (mut bytes, mut wanted, mut before) = (Vec::new(), Vec::new(), 0_i64);
            for pair in numbers.chunks(2) {
                let length = (pair[0] >> 8) % (1 << (1 + pair[0] % 24)) + 1;
                let size = shortest(length as i64);
                if pair[0] & 0x70 == 0 {
                    bytes.push(size.len() as u8);
                    bytes.extend(size);
                    wanted.push((None, length));
                } else {
                    let place = ((pair[1] >> 8) % (1 << (1 + pair[1] % 40))) as i64;
                    let step = shortest(place - before);
                    before = place;
                    bytes.push((step.len() << 4 | size.len()) as u8);
                    bytes.extend(size);
                    bytes.extend(step);
                    wanted.push((Some(place as u64), length));
                }
            }
            bytes.push(0);
            let (clusters, extents) = decode(&bytes).unwrap();
            assert_eq!(clusters, wanted.iter().map(|(_, length)| length).sum::<u64>());
            let mut at = 0;
            for (place, length) in wanted {
                for offset in [0, length * 4096 / 2, length * 4096 - 1] {
                    let (found, rest) = extents.at(at + offset).unwrap();
                    assert_eq!(found.offset(), place.map(|place| place * 4096 + offset));
                    assert!(rest >= length * 4096 - offset, "neighbours are joined");
                }
                at += length * 4096;
            }
            assert_eq!(extents.end(), at);
        }
    }
}
