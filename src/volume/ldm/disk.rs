//! One disk of a group: finding its private header, and reading its copy of the database.

use std::sync::Arc;

use volfold_block::{BlockDevice, Finding, bytes_to_index, code, error_chain};

use super::database::Database;
use super::privhead::{PrivateHeader, Unusable, read_sector};
use super::toc::{Span, Toc};
use super::vmdb::{Vmdb, log_is_dirty};
use crate::partition::{self, Partition, PartitionType};

/// The partition types of dynamic disks.
const MBR_DYNAMIC: u8 = 0x42;
const GPT_METADATA: &str = "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3";
const GPT_DATA: &str = "af9b60a0-1431-4f62-bc68-3311714a69ad";

/// Where Windows puts the second header, in bytes from the start of a database, and how large it
/// makes that; for disks whose other headers are lost.
const USUAL_SECOND: u64 = 0x740 * 512;
const USUAL_SIZE: u64 = 1 << 20;

/// The sector of the header that is before the first partition.
const MBR_HEADER: u64 = 6;

/// A disk whose partition table says that it is dynamic.
pub(super) struct DynamicDisk {
    /// The numbers of the partitions that are the group's.
    pub(super) hides: Vec<u32>,
    /// The private header that holds, if one is valid.
    pub(super) header: Option<PrivateHeader>,
    /// What is wrong with the headers.
    pub(super) findings: Vec<Finding>,
}

impl DynamicDisk {
    /// Looks whether `device` is a dynamic disk. Its sector size is the one under which a private
    /// header is valid.
    pub(super) fn find(device: &dyn BlockDevice) -> Option<Self> {
        let native = device.sector_size();
        let mut found: Option<Self> = None;
        for sector_size in [native, if native == 4096 { 512 } else { 4096 }] {
            // Who believes in partitions later tells of a table that cannot be read.
            let Ok(Some(table)) = partition::registry::read_table(device, sector_size) else {
                continue;
            };
            let own: Vec<&Partition> =
                table.partitions.iter().filter(|partition| is_dynamic(partition.kind)).collect();
            if own.is_empty() {
                continue;
            }
            let disk = Self::read(device, sector_size, &own);
            if disk.header.is_some() {
                return Some(disk);
            }
            found.get_or_insert(disk);
        }
        found
    }

    fn read(device: &dyn BlockDevice, sector_size: u32, own: &[&Partition]) -> Self {
        let (seen, valid, findings) = (Vec::new(), Vec::new(), Vec::new());
        let mut headers = Headers { device, sector_size, seen, valid, findings };
        for (place, is_sure) in places(device, sector_size, own) {
            headers.look(place, is_sure);
        }
        headers.follow();
        let (header, mut findings) = headers.choose();
        // Without a header nothing else tells what lies in the partitions.
        let hidden = if header.is_some() { own } else { &[] };
        if let Some(header) = &header {
            let end = header.config_start.saturating_add(header.config_size);
            if let Some(lost) = end.checked_sub(device.size()).filter(|lost| *lost > 0) {
                let line = format!("the image ends {lost} bytes before the disk's database does");
                findings.push(Finding::warning(code::LDM_CUT_SHORT, line));
            }
        }
        Self { hides: hidden.iter().map(|partition| partition.number).collect(), header, findings }
    }
}

/// The private header that is left on `device`, whose partition table knows of no dynamic
/// partition, if its database has volumes on this disk.
pub(super) fn leftover(device: &Arc<dyn BlockDevice>) -> Option<PrivateHeader> {
    let sector_size = device.sector_size();
    let last = device.size().checked_div(u64::from(sector_size).max(1))?.checked_sub(1)?;
    let headers = [MBR_HEADER, last].into_iter().filter_map(|lba| {
        let bytes = read_sector(&**device, lba, sector_size)?;
        PrivateHeader::parse(&bytes, sector_size, device.size()).ok()
    });
    for header in headers {
        let Some(copy) = read_copy(device, &header, &mut Vec::new()) else { continue };
        let database = Database::parse(&copy.vmdb, &copy.bytes);
        let mut own = database.disks.values().filter(|disk| disk.guid == header.disk_guid);
        let has_parts = own.any(|disk| {
            let mut parts = database.partitions.values();
            parts.any(|part| part.disk == disk.common.id)
        });
        if has_parts {
            return Some(header);
        }
    }
    None
}

/// The sectors where headers may be, and whether one must be there.
fn places(device: &dyn BlockDevice, sector_size: u32, own: &[&Partition]) -> Vec<(u64, bool)> {
    let sector = u64::from(sector_size).max(1);
    let metadata = own.iter().filter(|partition| partition.kind.to_string() == GPT_METADATA);
    let mut places = Vec::new();
    for partition in metadata {
        let sectors = partition.size.checked_div(sector).unwrap_or(0);
        let last = partition.first_lba.saturating_add(sectors).saturating_sub(1);
        places.push((last, true));
        let second = USUAL_SECOND.checked_div(sector).unwrap_or(0);
        places.push((partition.first_lba.saturating_add(second), false));
    }
    if own.iter().any(|partition| matches!(partition.kind, PartitionType::Mbr(_))) {
        let sectors = device.size().checked_div(sector).unwrap_or(0);
        places.push((MBR_HEADER, true));
        // An image that was enlarged has its last header somewhere inside.
        places.push((sectors.saturating_sub(1), false));
        let past = USUAL_SIZE.saturating_sub(USUAL_SECOND).checked_div(sector).unwrap_or(0);
        places.push((sectors.saturating_sub(past), false));
    }
    places
}

/// The copies of the private header.
struct Headers<'a> {
    device: &'a dyn BlockDevice,
    sector_size: u32,
    seen: Vec<u64>,
    valid: Vec<(u64, PrivateHeader)>,
    findings: Vec<Finding>,
}

impl Headers<'_> {
    fn look(&mut self, lba: u64, is_sure: bool) {
        if self.seen.contains(&lba) {
            return;
        }
        let sector = read_sector(self.device, lba, self.sector_size);
        let parsed = match &sector {
            Some(bytes) => PrivateHeader::parse(bytes, self.sector_size, self.device.size()),
            None => Err(Some("cannot be read")),
        };
        match parsed {
            Ok(header) => {
                self.seen.push(lba);
                self.valid.push((lba, header));
            }
            Err(reason) if !is_sure && (sector.is_none() || reason.is_none()) => {}
            Err(reason) => {
                self.seen.push(lba);
                let reason = reason.unwrap_or("is not there");
                let line = format!("the private header in sector {lba} {reason}");
                self.findings.push(Finding::warning(code::LDM_HEADER_DAMAGED, line));
            }
        }
    }

    /// Looks at the places that the headers name.
    fn follow(&mut self) {
        let sector = u64::from(self.sector_size);
        for (_, header) in self.valid.clone() {
            let start = header.config_start.checked_div(sector).unwrap_or(0);
            for copy in header.copies {
                self.look(start.saturating_add(copy), true);
            }
        }
    }

    /// The newest of the headers that speak of one disk in one group: the disk and group of the
    /// first place. Others are left from a time before the disk was made anew, when updates were
    /// counted by themselves.
    fn choose(mut self) -> (Option<PrivateHeader>, Vec<Finding>) {
        let Some((_, first)) = self.valid.first() else {
            return (None, self.findings);
        };
        let is_own = |header: &PrivateHeader| {
            header.disk_guid == first.disk_guid && header.group_guid == first.group_guid
        };
        let own = self.valid.iter().map(|(_, header)| header).filter(|header| is_own(header));
        let Some(chosen) = own.max_by_key(|one| one.sequence).cloned() else {
            return (None, self.findings);
        };
        for (lba, header) in &self.valid {
            if header.disk_guid != chosen.disk_guid || header.group_guid != chosen.group_guid {
                let line = format!(
                    "the private header in sector {lba} is of another disk or group ({}), and is \
                     not used",
                    header.group_name
                );
                self.findings.push(Finding::warning(code::LDM_HEADERS_DIFFER, line));
                continue;
            }
            let same = header.config_start == chosen.config_start
                && header.public_start == chosen.public_start;
            if !same || header.sequence != chosen.sequence {
                let line = format!(
                    "the private header in sector {lba} is of update {}, another is of {}; the \
                     newer one is used",
                    header.sequence, chosen.sequence
                );
                self.findings.push(Finding::warning(code::LDM_HEADERS_DIFFER, line));
            }
        }
        (Some(chosen), self.findings)
    }
}

fn is_dynamic(kind: PartitionType) -> bool {
    match kind {
        PartitionType::Mbr(byte) => byte == MBR_DYNAMIC,
        PartitionType::Gpt(guid) => [GPT_METADATA, GPT_DATA].contains(&guid.to_string().as_str()),
    }
}

/// A copy of the database on one disk, not yet taken apart.
pub(super) struct DatabaseCopy {
    pub(super) vmdb: Vmdb,
    /// The whole `config` region; copies that are the same share it.
    pub(super) bytes: Arc<Vec<u8>>,
    /// Whether the log has an entry that is not committed.
    pub(super) is_log_dirty: bool,
}

/// Reads the newest usable copy of the database on the disk with `header`.
pub(super) fn read_copy(
    device: &Arc<dyn BlockDevice>,
    header: &PrivateHeader,
    findings: &mut Vec<Finding>,
) -> Option<DatabaseCopy> {
    let mut tried: Vec<Span> = Vec::new();
    let mut failures = Vec::new();
    for toc in tocs(&**device, header, findings) {
        if tried.contains(&toc.config) {
            continue;
        }
        tried.push(toc.config);
        match read_region(&**device, toc.config) {
            Err(reason) => failures.push(reason),
            Ok(bytes) => match Vmdb::parse(&bytes) {
                Err(reason) => failures.push(format!("it {reason}")),
                Ok(vmdb) => {
                    for reason in failures {
                        let line = format!("a copy of the database is not used: {reason}");
                        findings.push(Finding::warning(code::LDM_DATABASE_DAMAGED, line));
                    }
                    let log = toc.log.and_then(|log| read_region(&**device, log).ok());
                    let is_log_dirty = log.is_some_and(|log| log_is_dirty(&log));
                    return Some(DatabaseCopy { vmdb, bytes: Arc::new(bytes), is_log_dirty });
                }
            },
        }
    }
    let reason = if failures.is_empty() {
        "it has no table of contents".to_owned()
    } else {
        failures.join("; ")
    };
    let line = format!("the disk's copy of the database cannot be used: {reason}");
    findings.push(Finding::warning(code::LDM_DATABASE_DAMAGED, line));
    None
}

/// The valid tables of contents, the newest first.
fn tocs(device: &dyn BlockDevice, header: &PrivateHeader, findings: &mut Vec<Finding>) -> Vec<Toc> {
    let sector = u64::from(header.sector_size).max(1);
    let start = header.config_start.checked_div(sector).unwrap_or(0);
    let sectors = header.config_size.checked_div(sector).unwrap_or(0);
    let mut places: Vec<(u64, bool)> = header.tocs.iter().map(|place| (*place, true)).collect();
    for usual in [1, 2, sectors.saturating_sub(3), sectors.saturating_sub(2)] {
        if !header.tocs.contains(&usual) {
            places.push((usual, false));
        }
    }
    let mut tocs = Vec::new();
    for (place, is_sure) in places.into_iter().filter(|(place, _)| *place < sectors) {
        let lba = start.saturating_add(place);
        let parsed: Result<Toc, Unusable> = match read_sector(device, lba, header.sector_size) {
            Some(bytes) => Toc::parse(&bytes, header),
            None => Err(Some("cannot be read")),
        };
        match parsed {
            Ok(toc) => tocs.push(toc),
            Err(None) if !is_sure => {}
            Err(reason) => {
                let reason = reason.unwrap_or("is not there");
                let line = format!("the table of contents in sector {lba} {reason}");
                findings.push(Finding::warning(code::LDM_TOC_DAMAGED, line));
            }
        }
    }
    // Those of one update keep their order.
    tocs.sort_by_key(|toc| std::cmp::Reverse(toc.sequence));
    tocs
}

/// All bytes of a region; the private header bounds its size.
fn read_region(device: &dyn BlockDevice, span: Span) -> Result<Vec<u8>, String> {
    let size = bytes_to_index(span.size).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; size];
    device.read_at(span.start, &mut bytes).map_err(|error| error_chain(&error))?;
    Ok(bytes)
}
