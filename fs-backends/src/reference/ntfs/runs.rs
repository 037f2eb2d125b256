//! Mapping pairs: the compressed run list of a non-resident attribute.
//!
//! Each run is one byte of two nibbles, low the size of the length and high the size of the
//! location, then the length in clusters, then the location in clusters as a signed difference
//! to the location before. No location is a hole. A byte 0 ends the list.
//!
//! They are decoded here and not by the crate `ntfs`, which takes a difference of zero for a hole:
//! `$Boot`, whose first run begins at cluster 0, would read as zeros.

use volfold_block::{BlockResult, ByteReader};

use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};

/// Appends the runs in `bytes`, which lie at `position` of the volume, to `extents`, and says
/// how many clusters they have.
///
/// # Errors
/// `Corrupt` if a number is out of range.
pub(super) fn append(
    bytes: &[u8],
    position: u64,
    cluster_size: u64,
    extents: &mut Extents,
) -> FsResult<u64> {
    let mut reader = ByteReader::new("run list", bytes, position);
    let mut location: i64 = 0;
    let mut clusters: u64 = 0;
    while reader.remaining() > 0 {
        let at = reader.position();
        let corrupt = |what: &'static str| FsError::corrupt(what).at(at);
        let header = reader.u8()?;
        if header == 0 {
            break;
        }
        let length = number(&mut reader, header & 0x0F)?
            .and_then(|length| u64::try_from(length).ok())
            .filter(|length| *length > 0)
            .ok_or_else(|| corrupt("run has a length that cannot be"))?;
        let place = match header >> 4 {
            0 => None,
            size => {
                let step = number(&mut reader, size)?;
                location = step
                    .and_then(|step| location.checked_add(step))
                    .ok_or_else(|| corrupt("run has a location that cannot be"))?;
                let place = u64::try_from(location)
                    .ok()
                    .and_then(|location| location.checked_mul(cluster_size));
                Some(place.ok_or_else(|| corrupt("run lies before or far behind the volume"))?)
            }
        };
        let bytes = length
            .checked_mul(cluster_size)
            .ok_or_else(|| corrupt("run has a length that cannot be"))?;
        clusters = clusters.saturating_add(length);
        extents.push(place.map_or(Place::Hole, Place::At), bytes).map_err(|error| error.at(at))?;
    }
    Ok(clusters)
}

/// The next signed number of `size` bytes; `None` if that is more than 8.
fn number(reader: &mut ByteReader<'_>, size: u8) -> BlockResult<Option<i64>> {
    let bytes = reader.take(usize::from(size))?;
    let mut wide = match bytes.last() {
        Some(top) if top & 0x80 != 0 => [0xFF; 8],
        _ => [0; 8],
    };
    if bytes.len() > wide.len() {
        return Ok(None);
    }
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(Some(i64::from_le_bytes(wide)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    fn decode(bytes: &[u8]) -> FsResult<(u64, Extents)> {
        let mut extents = Extents::default();
        let clusters = append(bytes, 0x100, 4096, &mut extents)?;
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
        let lists: [&[u8]; 6] = [
            &[0x11, 0, 1],
            &[0x11, 0x80, 1],
            &[0x11, 1, 0x80],
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x18, 1, 1, 1, 1, 1, 1, 1, 0x70, 1],
            &[0x41, 1, 1],
        ];
        for list in lists {
            let error = decode(list).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt, "{list:x?}");
            assert!(error.position() >= Some(0x100));
        }
    }
}
