//! What an NTFS volume records twice, compared over all of it: the clusters of all records with
//! each other and with `$Bitmap`, the records with the bitmap of the table, and sizes, marks and
//! names in each record.

use volfold_block::{Finding, FindingLog, byte_count, bytes_to_index, code};

use super::mounted::ROOT;
use super::node::Node;
use super::record::{Attribute, FileRecord, Form, kind};
use super::runs;
use super::stream::Content;
use super::volume::Volume;
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};
use crate::wtf8;

const MFT: u64 = 0;
const BITMAP: u64 = 6;
/// The first record that formatters leave unused and unmarked.
const FIRST_PLAIN_RECORD: u64 = 24;
/// LIMIT: records that are compared, and bytes of the bitmap that has a bit for each.
const MAX_RECORDS: u64 = 1 << 28;
const MAX_TABLE_BITMAP: u64 = MAX_RECORDS / 8;
/// LIMIT: clusters that are compared, a bit each.
const MAX_CLUSTERS: u64 = 1 << 32;
/// LIMIT: directories above a file whose names are given with it.
const MAX_DEPTH: usize = 64;
/// Records that are fetched together.
const BATCH: u64 = 512;
/// Bytes of `$Bitmap` that are compared at once.
const PIECE: usize = 64 * 1024;

/// Compares all of `volume`, and gives what contradicts itself to `report`.
pub(super) fn check_volume(volume: &Volume, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
    // What is found now counts, not what was met before; and each thing once.
    let fresh = Volume::open(volume.reader.clone(), volume.boot.clone())?;
    let mut check = Check::new(&fresh)?;
    check.records()?;
    check.bitmap()?;
    let Check { log, .. } = check;
    for finding in fresh.log.all().into_iter().chain(log.all()) {
        report(finding);
    }
    Ok(())
}

struct Check<'a> {
    volume: &'a Volume,
    log: FindingLog,
    /// The clusters that records have, a bit each.
    taken: Vec<u64>,
    clusters: u64,
    /// How many more are taken.
    budget: u64,
    /// Whether some were not.
    has_gaps: bool,
    /// Which records are in use by the bitmap of the table, a bit each.
    used: Vec<u8>,
}

impl<'a> Check<'a> {
    fn new(volume: &'a Volume) -> FsResult<Self> {
        let size = volume.boot.size.min(volume.reader.data.size());
        let clusters = size.checked_div(volume.boot.cluster_size).unwrap_or(0);
        if clusters > MAX_CLUSTERS || volume.records() > MAX_RECORDS {
            let line = "volume has more clusters or file records than are compared";
            return Err(FsError::unsupported(line));
        }
        let table = volume.node(MFT)?;
        let used = match volume.stream(&table, kind::BITMAP, &[])? {
            Some(stream) => volume.content_of(stream, MAX_TABLE_BITMAP)?,
            None => return Err(FsError::corrupt("master file table has no bitmap")),
        };
        Ok(Self {
            volume,
            log: FindingLog::new(),
            taken: vec![0; bytes_to_index(clusters.div_ceil(64))?],
            clusters,
            // LIMIT: a healthy volume has each cluster once; a hostile one may have all of them in
            // each of its records.
            budget: clusters.saturating_mul(4).saturating_add(1 << 20),
            has_gaps: false,
            used,
        })
    }

    fn records(&mut self) -> FsResult<()> {
        let count = self.volume.records();
        let mut first: u64 = 0;
        while first < count {
            let end = first.saturating_add(BATCH).min(count);
            let numbers: Vec<u64> = (first..end).collect();
            let mut read = vec![false; numbers.len()];
            let volume = self.volume;
            volume.each_record(&numbers, |index, record| {
                if let Some(read) = read.get_mut(index) {
                    *read = true;
                }
                self.record(record);
            });
            for (number, _) in numbers.iter().zip(&read).filter(|(_, is_read)| !**is_read) {
                if self.is_marked(*number) && *number >= FIRST_PLAIN_RECORD {
                    let line = format!("file record {number} is in use and cannot be read");
                    self.log.add(Finding::warning(code::NTFS_RECORD, line));
                }
            }
            first = end;
        }
        Ok(())
    }

    fn is_marked(&self, number: u64) -> bool {
        let byte = usize::try_from(number / 8).ok().and_then(|index| self.used.get(index));
        let bit = 1_u8.rotate_left(u32::try_from(number % 8).unwrap_or(0));
        byte.is_some_and(|byte| byte & bit != 0)
    }

    fn record(&mut self, record: &FileRecord<'_>) {
        let number = record.number();
        if record.is_in_use() != self.is_marked(number) && number >= FIRST_PLAIN_RECORD {
            let line = match record.is_in_use() {
                true => "record is in use, and free by the bitmap of the table",
                false => "record is free, and in use by the bitmap of the table",
            };
            self.note(record, code::NTFS_RECORD, line);
        }
        if !record.is_in_use() {
            return;
        }
        for attribute in record.attributes() {
            match attribute {
                Ok(attribute) => self.attribute(record, &attribute),
                Err(error) => self.note(record, code::NTFS_RECORD, &error.to_string()),
            }
        }
        if record.is_node() {
            self.node(record);
        }
    }

    /// Puts the streams of the base record `record` together, which notes what does not fit.
    fn node(&self, record: &FileRecord<'_>) {
        if let Err(error) = Node::read(self.volume, record) {
            self.note(record, code::NTFS_RECORD, &error.to_string());
            return;
        }
        let mut streams = Vec::new();
        let visited = self.volume.visit(
            record,
            |entry| entry.lowest_vcn == 0,
            |attribute| {
                if attribute.lowest_vcn() == 0 && matches!(attribute.form, Form::NonResident(_)) {
                    streams.push((attribute.kind, attribute.name.to_vec()));
                }
                Ok(())
            },
        );
        if let Err(error) = visited {
            self.note(record, code::NTFS_RECORD, &error.to_string());
        }
        // A hostile list names one attribute over and over.
        streams.sort_unstable();
        streams.dedup();
        for (kind, name) in streams.iter().filter(|(kind, _)| *kind != kind::ATTRIBUTE_LIST) {
            if let Err(error) = self.volume.stream(record, *kind, name) {
                self.note(record, code::NTFS_RECORD, &error.to_string());
            }
        }
    }

    /// Takes the clusters of one attribute.
    fn attribute(&mut self, record: &FileRecord<'_>, attribute: &Attribute<'_>) {
        let Form::NonResident(piece) = &attribute.form else { return };
        let cluster_size = self.volume.boot.cluster_size;
        let mut extents = Extents::default();
        let appended =
            runs::append(piece.runs, attribute.position, cluster_size, Place::Hole, &mut extents);
        if let Err(error) = appended {
            self.note(record, code::NTFS_RECORD, &error.to_string());
        }
        let mut offset: u64 = 0;
        let (mut shared, mut outside) = (0_u64, 0_u64);
        while let Some((place, length)) = extents.at(offset) {
            offset = offset.saturating_add(length);
            let Place::At(position) = place else { continue };
            let first = position.checked_div(cluster_size).unwrap_or(u64::MAX);
            let end = first.saturating_add(length.checked_div(cluster_size).unwrap_or(0));
            let inside = end.min(self.clusters);
            outside = outside.saturating_add(end.saturating_sub(inside.max(first)));
            let wanted = inside.saturating_sub(first);
            if wanted > self.budget {
                let line = "too many of the clusters before are shared to compare its own";
                self.note(record, code::NTFS_CROSS_LINK, line);
                self.has_gaps = true;
                return;
            }
            self.budget = self.budget.saturating_sub(wanted);
            for cluster in first..inside {
                if !self.take(cluster) {
                    shared = shared.saturating_add(1);
                }
            }
        }
        if shared > 0 {
            let line = format!("{shared} of its clusters are another file's too");
            self.note(record, code::NTFS_CROSS_LINK, &line);
        }
        // Past the end of a volume that is cut short everything is, and that is told already.
        if outside > 0 && self.volume.boot.size <= self.volume.reader.data.size() {
            let line = format!("{outside} of its clusters lie outside the volume");
            self.note(record, code::NTFS_RECORD, &line);
        }
    }

    /// Takes `cluster`; whether it was free.
    fn take(&mut self, cluster: u64) -> bool {
        let bit = 1_u64.rotate_left(u32::try_from(cluster % 64).unwrap_or(0));
        let word = usize::try_from(cluster / 64).ok().and_then(|word| self.taken.get_mut(word));
        let Some(word) = word else { return true };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Compares the clusters that records have with those that `$Bitmap` says are in use.
    fn bitmap(&mut self) -> FsResult<()> {
        let record = self.volume.node(BITMAP)?;
        let stream = self.volume.stream(&record, kind::DATA, &[])?;
        let stream = stream.ok_or_else(|| FsError::corrupt("$Bitmap has no $DATA"))?;
        let bytes = self.clusters / 8;
        if stream.size < bytes {
            return Err(FsError::corrupt("$Bitmap is shorter than the volume"));
        }
        let (mut free, mut first_free) = (0_u64, None);
        let (mut lost, mut first_lost) = (0_u64, None);
        let mut piece = vec![0; PIECE];
        let mut at: u64 = 0;
        // The bits of a last byte that is not whole are left out.
        while at < bytes {
            let length = bytes.saturating_sub(at).min(byte_count(piece.len()));
            let buf = piece.get_mut(..bytes_to_index(length)?).unwrap_or_default();
            match &stream.content {
                Content::Resident(value) => {
                    let value = value.get(bytes_to_index(at)?..).unwrap_or_default();
                    for (to, from) in buf.iter_mut().zip(value) {
                        *to = *from;
                    }
                }
                Content::Runs(runs) => {
                    runs.read(&*self.volume.reader.data, at, buf)?;
                    let valid = bytes_to_index(stream.valid.saturating_sub(at).min(length))?;
                    buf.get_mut(valid..).unwrap_or_default().fill(0);
                }
            }
            for (marked, number) in buf.iter().zip(at..) {
                let taken = self.taken_byte(number);
                let (only_taken, only_marked) = (taken & !marked, marked & !taken);
                if only_taken != 0 {
                    free = free.saturating_add(only_taken.count_ones().into());
                    first_free.get_or_insert(number.saturating_mul(8));
                }
                if only_marked != 0 && !self.has_gaps {
                    lost = lost.saturating_add(only_marked.count_ones().into());
                    first_lost.get_or_insert(number.saturating_mul(8));
                }
            }
            at = at.saturating_add(length);
        }
        if let Some(first) = first_free {
            let line = format!("{free} clusters of files are free by $Bitmap, first near {first}");
            self.log.add(Finding::warning(code::NTFS_BITMAP, line));
        }
        if let Some(first) = first_lost {
            let line = format!("{lost} clusters in use belong to no file, first near {first}");
            self.log.add(Finding::info(code::NTFS_LOST_CLUSTERS, line));
        }
        Ok(())
    }

    /// Eight bits of `taken`.
    fn taken_byte(&self, number: u64) -> u8 {
        let word = usize::try_from(number / 8).ok().and_then(|word| self.taken.get(word));
        let bytes = word.map(|word| word.to_le_bytes()).unwrap_or_default();
        let index = usize::try_from(number % 8).unwrap_or(0);
        bytes.get(index).copied().unwrap_or(0)
    }

    fn note(&self, record: &FileRecord<'_>, code: volfold_block::Code, line: &str) {
        let line = format!("file record {}: {line}", record.number());
        let finding = Finding::warning(code, line).at(record.position());
        self.log.add(match self.path_of(record) {
            Some(path) => finding.on_path(&path),
            None => finding,
        });
    }

    /// A path of the file of `record`, as far as its directories can be read.
    fn path_of(&self, record: &FileRecord<'_>) -> Option<String> {
        let base = record.base().number();
        let mut owned = if record.is_node() { None } else { Some(self.volume.node(base).ok()?) };
        let mut parts = Vec::new();
        for _ in 0..MAX_DEPTH {
            let here = owned.as_ref().unwrap_or(record);
            if here.number() == ROOT {
                break;
            }
            let Some(name) = here.file_name() else { break };
            let part = wtf8::encode(wtf8::units_le(name.name));
            parts.push(String::from_utf8_lossy(&part).into_owned());
            let Ok(parent) = self.volume.node(name.parent.number()) else { break };
            owned = Some(parent);
        }
        parts.reverse();
        (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use volfold_block::MemoryDevice;

    use super::super::tests::volume;
    use super::super::{NtfsFileSystem, ReadOptions, VolumeReader};
    use super::*;

    #[test]
    fn clusters_that_were_not_compared_are_not_called_lost() {
        let Some(image) = volume() else {
            return;
        };
        let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(image)));
        let fs = NtfsFileSystem::mount(reader, ReadOptions::default()).unwrap();
        let mut check = Check::new(&fs.volume).unwrap();
        check.budget = 10;
        check.records().unwrap();
        check.bitmap().unwrap();
        let found = check.log.all();
        assert!(found.iter().all(|finding| finding.code == code::NTFS_CROSS_LINK), "{found:?}");
        assert!(!found.is_empty() && check.has_gaps);
    }
}
