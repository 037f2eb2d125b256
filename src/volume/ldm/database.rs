//! One copy of a group's database.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::problems::Problems;
use super::record::{Component, Disk, DiskGroup, Extent, Record, Unread, Volume};
use super::vblk::{self, RecordBytes};
use super::vmdb::{Counts, State, Vmdb};

/// LIMIT: records of each kind in one group; Windows' database of 1 MiB has room for 5,920 blocks.
const MAX_VOLUMES: usize = 4096;
const MAX_COMPONENTS: usize = 16_384;
const MAX_PARTITIONS: usize = 16_384;
const MAX_DISKS: usize = 1024;

/// The records of one copy of the database that are in force.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) group: Option<DiskGroup>,
    pub(super) volumes: BTreeMap<u64, Volume>,
    pub(super) components: BTreeMap<u64, Component>,
    pub(super) partitions: BTreeMap<u64, Extent>,
    pub(super) disks: BTreeMap<u64, Disk>,
    pub(super) problems: Problems,
}

impl Database {
    /// Reads the records after the header `vmdb` in `bytes`, a whole `config` region.
    pub(super) fn parse(vmdb: &Vmdb, bytes: &[u8]) -> Self {
        let mut database = Self::default();
        let blocks = bytes.get(vmdb.header_size..vmdb.size).unwrap_or_default();
        let first = vmdb.header_size.checked_div(vmdb.block_size).unwrap_or(0);
        let records = vblk::join(blocks, vmdb.block_size, first, &mut database.problems);
        for record in records.iter().filter(|record| in_force(vmdb.state, record)) {
            database.add(vmdb, record);
        }
        let counts = Counts {
            volumes: count(database.volumes.len()),
            components: count(database.components.len()),
            partitions: count(database.partitions.len()),
            disks: count(database.disks.len()),
        };
        if counts != vmdb.counts {
            database.problems.add("the numbers of records are not as its header says".into());
        }
        match &database.group {
            None => database.problems.add("there is no disk group record".into()),
            Some(group) if group.guid != vmdb.group_guid => {
                database.problems.add("header and disk group record are of two groups".into());
            }
            Some(_) => {}
        }
        database
    }

    fn add(&mut self, vmdb: &Vmdb, bytes: &RecordBytes) {
        let record = match Record::parse(bytes) {
            Ok((record, false)) => record,
            Ok((record, true)) => {
                self.problems.add(format!("record {} has bytes left over", name(&record)));
                record
            }
            Err(Unread::Unknown(kind)) => {
                self.problems.add(format!("there is a record of the unknown kind {kind:#04x}"));
                return;
            }
            Err(Unread::Damaged(line)) => {
                self.problems.add(line);
                return;
            }
        };
        if bytes.update != 0 && (vmdb.state == State::Clean || bytes.update > 2) {
            let name = name(&record);
            self.problems.add(format!("record {name} is marked as changing, and nothing changes"));
        }
        if common(&record).commit > vmdb.pending.max(vmdb.committed) {
            let name = name(&record);
            self.problems.add(format!("record {name} is newer than the database"));
        }
        let name = name(&record).to_owned();
        let put = match record {
            Record::Volume(one) => put(&mut self.volumes, MAX_VOLUMES, one.common.id, one),
            Record::Component(one) => put(&mut self.components, MAX_COMPONENTS, one.common.id, one),
            Record::Partition(one) => put(&mut self.partitions, MAX_PARTITIONS, one.common.id, one),
            Record::Disk(one) => put(&mut self.disks, MAX_DISKS, one.common.id, one),
            Record::DiskGroup(group) if self.group.is_none() => {
                self.group = Some(group);
                Ok(())
            }
            Record::DiskGroup(_) => Err("is there twice"),
        };
        if let Err(reason) = put {
            self.problems.add(format!("record {name} {reason}"));
        }
    }
}

/// An update first adds the new records and then takes the old ones away.
fn in_force(state: State, record: &RecordBytes) -> bool {
    match state {
        State::Change => record.update != 2,
        State::Commit => record.update != 1,
        State::Clean | State::Other(_) => true,
    }
}

/// Keeps the first of two records with one id, and `most` in all.
fn put<T>(map: &mut BTreeMap<u64, T>, most: usize, id: u64, value: T) -> Result<(), &'static str> {
    let is_full = map.len() >= most;
    match map.entry(id) {
        Entry::Occupied(_) => Err("is there twice"),
        Entry::Vacant(_) if is_full => Err("is one too many"),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn common(record: &Record) -> &super::record::Common {
    match record {
        Record::Volume(volume) => &volume.common,
        Record::Component(component) => &component.common,
        Record::Partition(extent) => &extent.common,
        Record::Disk(disk) => &disk.common,
        Record::DiskGroup(group) => &group.common,
    }
}

fn name(record: &Record) -> &str {
    &common(record).name
}
