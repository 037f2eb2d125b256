//! One device of an array: what of its data is read.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, Slice, bytes_to_index};

use super::superblock::{BadBlockLog, Superblock};
use crate::volume::Region;
use crate::volume::map::{Absent, one_after_the_other};

/// LIMIT: places in a log of bad blocks: 4 KiB of 8 bytes.
const MAX_BAD: usize = 512;

/// A device that has a superblock of the array.
pub(super) struct Member<'a> {
    pub(super) region: &'a Region,
    pub(super) superblock: Superblock,
    /// Runs of bytes of the data that the device lost, ascending: first byte and end.
    bad: Vec<(u64, u64)>,
}

/// The data of a member, as far as it is read.
pub(super) struct Data {
    pub(super) device: Arc<dyn BlockDevice>,
    /// Whether every byte is there.
    pub(super) is_whole: bool,
    /// Whether the image ends before the data does.
    pub(super) is_cut_short: bool,
}

impl<'a> Member<'a> {
    /// The member on `region` with this `superblock`.
    ///
    /// # Errors
    /// If its log of bad blocks cannot be read: then nobody knows what is bad.
    pub(super) fn read(region: &'a Region, superblock: Superblock) -> BlockResult<Self> {
        let bad = match superblock.bad_blocks {
            Some(log) => bad_blocks(&*region.device, log, superblock.data_offset)?,
            None => Vec::new(),
        };
        Ok(Self { region, superblock, bad })
    }

    /// What messages call it.
    pub(super) fn what(&self) -> String {
        match &self.region.partition {
            Some(partition) => format!("{}, partition {}", self.region.label, partition.number),
            None => self.region.label.to_string(),
        }
    }

    /// The first `size` bytes of its data; what must not be read of them is an error.
    ///
    /// # Errors
    /// `Corrupt` if there is less room on the device.
    pub(super) fn data(&self, size: u64) -> BlockResult<Data> {
        let own = &self.superblock;
        if size > own.data_size {
            let line = format!(
                "{} has room for {} bytes of data, the array needs {size}",
                self.what(),
                own.data_size
            );
            return Err(BlockError::corrupt(line, 0, 0));
        }
        let there = self.region.device.size().saturating_sub(own.data_offset).min(size);
        let recovered = own.recovered.unwrap_or(size).min(size);
        let what = self.what();
        let mut lost: Vec<(u64, u64, String)> = Vec::new();
        for (start, end) in self.bad.iter().filter(|(start, _)| *start < there.min(recovered)) {
            let reason = format!("{what} has these blocks in its log of bad blocks");
            lost.push((*start, (*end).min(there.min(recovered)), reason));
        }
        if recovered < there {
            lost.push((recovered, there, format!("{what} was not rebuilt that far")));
        }
        if there < size {
            lost.push((there, size, format!("the image {what} ends before the data")));
        }
        let is_whole = lost.is_empty();
        let mut parts: Vec<Arc<dyn BlockDevice>> = Vec::new();
        let mut next = 0;
        for (start, end, reason) in lost {
            parts.extend(self.slice(next, start)?);
            parts.push(Arc::new(Absent::new(end.saturating_sub(start), reason)));
            next = end;
        }
        parts.extend(self.slice(next, size)?);
        let device = one_after_the_other(parts)?;
        Ok(Data { device, is_whole, is_cut_short: there < size })
    }

    /// Why some of the first `size` bytes of its data are not read: a sentence without its object.
    pub(super) fn reason_in_part(&self, size: u64) -> String {
        let own = &self.superblock;
        let there = self.region.device.size().saturating_sub(own.data_offset);
        let recovered = own.recovered.unwrap_or(size);
        let bad = self.bad.iter().filter(|(start, _)| *start < size);
        let bad = bad.fold(0_u64, |sum, (start, end)| {
            sum.saturating_add((*end).min(size).saturating_sub(*start))
        });
        if there < size {
            format!("the image ends after {there} of {size} bytes of its data")
        } else if recovered < size {
            format!("it was being rebuilt, {recovered} of {size} bytes were done")
        } else {
            format!("{bad} bytes are in its log of bad blocks")
        }
    }

    /// The bytes of its data from `start` to `end`; `None` if there are none.
    fn slice(&self, start: u64, end: u64) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        let length = end.saturating_sub(start);
        if length == 0 {
            return Ok(None);
        }
        let at = self.superblock.data_offset.saturating_add(start);
        Ok(Some(Arc::new(Slice::part(self.region.device.clone(), at, length)?)))
    }
}

/// The runs of bytes in the `log` of bad blocks on `device`, counted from `data_offset`.
///
/// Source: `super_1_load` of `drivers/md/md.c`. Entries of 8 bytes, little-endian: the upper 54 bits are
/// the first sector on the device, the lower 10 how many; all bits set end the list.
fn bad_blocks(
    device: &dyn BlockDevice,
    log: BadBlockLog,
    data_offset: u64,
) -> BlockResult<Vec<(u64, u64)>> {
    let mut bytes = vec![0; bytes_to_index(log.size)?.min(MAX_BAD * 8)];
    device.read_at(log.offset, &mut bytes)?;
    let mut reader = ByteReader::new("log of bad blocks", &bytes, log.offset);
    let mut runs: Vec<(u64, u64)> = Vec::new();
    while reader.remaining() >= 8 {
        let entry = reader.u64_le()?;
        if entry == u64::MAX {
            break;
        }
        let unit = 512_u64.checked_shl(u32::from(log.shift)).filter(|unit| *unit >= 512);
        let run = unit.and_then(|unit| {
            let start = (entry >> 10).checked_mul(unit)?;
            Some((start, start.checked_add((entry & 0x3FF).checked_mul(unit)?)?))
        });
        let Some((start, end)) = run else {
            return Err(reader.corrupt("has a place past the end of every device"));
        };
        runs.push((start.saturating_sub(data_offset), end.saturating_sub(data_offset)));
    }
    runs.sort_unstable();
    // Runs that touch are one.
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in runs.into_iter().filter(|(start, end)| start < end) {
        match joined.last_mut() {
            Some((_, last)) if *last >= start => *last = end.max(*last),
            _ => joined.push((start, end)),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    fn read(entries: &[u64], shift: u8) -> BlockResult<Vec<(u64, u64)>> {
        let mut bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        bytes.resize(4096, 0xFF);
        bad_blocks(&MemoryDevice::new(bytes), BadBlockLog { offset: 0, size: 4096, shift }, 1024)
    }

    #[test]
    fn runs_are_counted_from_the_data_and_joined_where_they_touch() {
        let run = |sector: u64, count: u64| sector << 10 | count;
        assert_eq!(read(&[], 0).unwrap(), []);
        let found = read(&[run(12, 4), run(2, 2), run(4, 1), run(0, 1), run(1, 2)], 0).unwrap();
        assert_eq!(found, [(0, 1536), (5120, 7168)]);
        assert_eq!(read(&[run(2, 1)], 3).unwrap(), [(7168, 11264)]);
    }

    #[test]
    fn a_place_past_every_device_is_damage() {
        assert!(read(&[u64::MAX - 1], 60).is_err());
        assert!(read(&[1 << 10 | 1], 200).is_err());
    }
}
