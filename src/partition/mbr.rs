//! The master boot record, with the chain of extended boot records.
//!
//! Source: the "Legacy Master Boot Record" of the UEFI specification 2.10, section 5.2.1, and the
//! practice of DOS and Linux for extended partitions. Little-endian, one sector.
//!
//! | offset | size | field       | rule                                               |
//! |--------|------|-------------|----------------------------------------------------|
//! | 0x000  | 440  | `code`      | not looked at                                      |
//! | 0x1B8  | 4    | `signature` | the disk's id; 0: none                             |
//! | 0x1BC  | 2    | `unknown`   | 0 or 0x5A5A (copy protected)                       |
//! | 0x1BE  | 64   | `entries`   | four of 16 bytes, see `RawEntry`                 |
//! | 0x1FE  | 2    | `magic`     | 0x55 0xAA                                          |
//!
//! An entry:
//!
//! | offset | size | field       | rule                                               |
//! |--------|------|-------------|----------------------------------------------------|
//! | 0x0    | 1    | `status`    | 0x80 active, 0x00 not; anything else: no MBR       |
//! | 0x1    | 3    | `first_chs` | not looked at                                      |
//! | 0x4    | 1    | `kind`      | 0x05, 0x0F, 0x85: extended; 0xEE: GPT              |
//! | 0x5    | 3    | `last_chs`  | not looked at                                      |
//! | 0x8    | 4    | `first_lba` | of the disk; in an extended boot record of itself  |
//! | 0xC    | 4    | `sectors`   | 0: unused                                          |
//!
//! A kind of 0 with a place is in use: some programs hide partitions so.
//!
//! An extended boot record has the same shape. Its first entry is a logical partition, relative to
//! the record; its second is the next record, relative to the start of the extended partition. Some
//! programs leave garbage in the others and in `status`; as Linux does, the others count only where
//! they lie in the extended partition.

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockResult, Code, Finding, code, error_chain};
use zerocopy::byteorder::{LE, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Partition, PartitionScheme, PartitionTable, PartitionType, read_bytes};

/// The smallest sector; the record fits in it whatever the disk's sector size.
const RECORD_SIZE: usize = 512;

/// LIMIT: logical partitions of one disk. Linux stops at 256 partitions; the specification has no
/// bound.
const MAX_LOGICAL: u32 = 1024;

/// The first number that a logical partition can have.
const FIRST_LOGICAL: u32 = 5;

/// The type byte of the entry that protects a GPT.
pub(super) const PROTECTIVE: u8 = 0xEE;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawEntry {
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_lba: U32<LE>,
    sectors: U32<LE>,
}
const _: () = assert!(size_of::<RawEntry>() == 0x10);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    code: [u8; 0x1B8],
    signature: U32<LE>,
    unknown_1bc: [u8; 2],
    entries: [RawEntry; 4],
    magic: [u8; 2],
}
const _: () = assert!(size_of::<RawRecord>() == RECORD_SIZE);
const _: () = assert!(offset_of!(RawRecord, entries) == 0x1BE);

/// An entry that is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) kind: u8,
    pub(super) first_lba: u64,
    pub(super) sectors: u64,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }
}

/// A boot record whose entries are plausible.
pub(super) struct Record {
    pub(super) signature: u32,
    pub(super) entries: Vec<Entry>,
}

impl Record {
    /// Reads the record in the 512 bytes at `offset`; `None` if there is none.
    pub(super) fn read(device: &dyn BlockDevice, offset: u64) -> BlockResult<Option<Self>> {
        let bytes = read_bytes(device, offset, RECORD_SIZE)?;
        // The boot sector of a file system has the magic too, and code or text where the entries
        // would be.
        let plausible = |entry: &RawEntry| matches!(entry.status, 0x00 | 0x80);
        Ok(bytes.and_then(|bytes| Self::parse(&bytes, plausible)))
    }

    /// Reads the extended boot record at `offset`.
    fn read_extended(device: &dyn BlockDevice, offset: u64) -> BlockResult<Option<Self>> {
        let bytes = read_bytes(device, offset, RECORD_SIZE)?;
        Ok(bytes.and_then(|bytes| Self::parse(&bytes, |_| true)))
    }

    /// The record in `bytes`; `None` if it has no magic, or an entry that is not `plausible`.
    fn parse(bytes: &[u8], plausible: impl Fn(&RawEntry) -> bool) -> Option<Self> {
        let raw = RawRecord::ref_from_bytes(bytes).ok()?;
        if raw.magic != [0x55, 0xAA] {
            return None;
        }
        let entries = (1_u32..)
            .zip(raw.entries)
            .filter(|(_, raw)| {
                raw.sectors.get() != 0 && (raw.kind != 0 || raw.first_lba.get() != 0)
            })
            .map(|(slot, raw)| Entry {
                slot,
                kind: raw.kind,
                first_lba: raw.first_lba.get().into(),
                sectors: raw.sectors.get().into(),
            })
            .collect();
        raw.entries
            .iter()
            .all(plausible)
            .then_some(Self { signature: raw.signature.get(), entries })
    }
}

/// Reads master boot records.
pub struct Mbr;

impl PartitionScheme for Mbr {
    fn id(&self) -> &'static str {
        "mbr"
    }

    fn title(&self) -> &'static str {
        "MBR (DOS), with extended partitions"
    }

    fn read(
        &self,
        device: &dyn BlockDevice,
        sector_size: u32,
    ) -> BlockResult<Option<PartitionTable>> {
        let Some(record) = Record::read(device, 0)? else {
            return Ok(None);
        };
        if record.entries.is_empty() {
            return Ok(None);
        }
        let mut table = PartitionTable {
            scheme: self.id(),
            sector_size,
            disk_id: (record.signature != 0).then(|| format!("{:08x}", record.signature)),
            partitions: Vec::new(),
            findings: Vec::new(),
        };
        for entry in record.entries {
            if entry.is_extended() {
                read_logical(device, entry, &mut table);
            } else {
                push(&mut table, entry.slot, entry.first_lba, entry);
            }
        }
        table.partitions.sort_by_key(|partition| partition.number);
        Ok(Some(table))
    }
}

fn push(table: &mut PartitionTable, number: u32, first_lba: u64, entry: Entry) {
    let sector = u64::from(table.sector_size);
    table.partitions.push(Partition {
        number,
        start: first_lba.saturating_mul(sector),
        size: entry.sectors.saturating_mul(sector),
        first_lba,
        kind: PartitionType::Mbr(entry.kind),
        guid: None,
        name: None,
        attributes: 0,
    });
}

/// Follows the chain of extended boot records in the extended partition `extended`.
fn read_logical(device: &dyn BlockDevice, extended: Entry, table: &mut PartitionTable) {
    let sector = u64::from(table.sector_size);
    let mut number = table
        .partitions
        .iter()
        .map(|partition| partition.number.saturating_add(1))
        .max()
        .unwrap_or(0)
        .max(FIRST_LOGICAL);
    let mut seen = Vec::new();
    let mut record_lba = extended.first_lba;
    let note = |table: &mut PartitionTable, code: Code, sentence: String| {
        table.findings.push(Finding::warning(code, sentence));
    };
    loop {
        if seen.contains(&record_lba) {
            note(table, code::MBR_EXTENDED_LOOP, "chain of extended boot records is a loop".into());
            return;
        }
        if number.saturating_sub(FIRST_LOGICAL) >= MAX_LOGICAL {
            note(
                table,
                code::MBR_EXTENDED_TOO_LONG,
                format!("chain of extended boot records has more than {MAX_LOGICAL} links"),
            );
            return;
        }
        seen.push(record_lba);
        let record = match Record::read_extended(device, record_lba.saturating_mul(sector)) {
            Ok(Some(record)) => record,
            Ok(None) => {
                let line = format!("extended boot record at sector {record_lba} is not there");
                note(table, code::MBR_EXTENDED_BROKEN, line);
                return;
            }
            Err(error) => {
                let reason = error_chain(&error);
                let line =
                    format!("extended boot record at sector {record_lba} cannot be read: {reason}");
                note(table, code::MBR_EXTENDED_BROKEN, line);
                return;
            }
        };
        let end = extended.first_lba.saturating_add(extended.sectors);
        for entry in record.entries.iter().filter(|entry| !entry.is_extended()) {
            let first = record_lba.saturating_add(entry.first_lba);
            let is_inside = first.saturating_add(entry.sectors) <= end;
            // The first two are where they belong; one that leaves the extended partition is shown
            // as it is.
            if entry.slot > 2 && (!is_inside || entry.kind == 0 || first <= record_lba) {
                continue;
            }
            push(table, number, first, *entry);
            number = number.saturating_add(1);
        }
        let is_next = |entry: &&Entry| {
            let first = extended.first_lba.saturating_add(entry.first_lba);
            entry.is_extended() && (entry.slot <= 2 || first < end)
        };
        match record.entries.iter().find(is_next) {
            Some(next) => record_lba = extended.first_lba.saturating_add(next.first_lba),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::MemoryDevice;

    /// Writes boot records onto a disk of `sectors` sectors.
    struct MbrBuilder(Vec<u8>);

    impl MbrBuilder {
        fn new(sectors: usize) -> Self {
            Self(vec![0; sectors * 512])
        }

        fn record(mut self, lba: usize, entries: &[(u8, u32, u32)]) -> Self {
            let at = lba * 512;
            for (slot, (kind, first, count)) in entries.iter().enumerate() {
                let entry = &mut self.0[at + 0x1BE + slot * 16..][..16];
                entry[4] = *kind;
                entry[8..12].copy_from_slice(&first.to_le_bytes());
                entry[12..16].copy_from_slice(&count.to_le_bytes());
            }
            self.0[at + 0x1FE..at + 0x200].copy_from_slice(&[0x55, 0xAA]);
            self
        }

        fn byte(mut self, at: usize, value: u8) -> Self {
            self.0[at] = value;
            self
        }

        fn table(self) -> Option<PartitionTable> {
            super::super::registry::read_table(&MemoryDevice::new(self.0), 512).unwrap()
        }
    }

    fn lbas(table: &PartitionTable) -> Vec<(u32, u64, u64)> {
        table.partitions.iter().map(|part| (part.number, part.first_lba, part.size / 512)).collect()
    }

    fn codes(table: &PartitionTable) -> Vec<&str> {
        table.findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn logical_partitions_count_from_five_and_are_relative_to_their_record() {
        let table = MbrBuilder::new(100)
            .record(0, &[(7, 1, 9), (5, 20, 60)])
            .record(20, &[(0x83, 1, 9), (5, 20, 20)])
            .record(40, &[(0x83, 2, 8)])
            .table()
            .unwrap();
        assert_eq!(lbas(&table), [(1, 1, 9), (5, 21, 9), (6, 42, 8)]);
        assert!(table.findings.is_empty());
    }

    #[test]
    fn a_loop_in_the_extended_chain_is_a_finding() {
        let table = MbrBuilder::new(100)
            .record(0, &[(5, 20, 60)])
            .record(20, &[(0x83, 1, 9), (5, 20, 20)])
            .record(40, &[(0x83, 2, 8), (5, 0, 20)])
            .table()
            .unwrap();
        assert_eq!(lbas(&table), [(5, 21, 9), (6, 42, 8)]);
        assert_eq!(codes(&table), ["mbr-extended-loop"]);
    }

    #[test]
    fn a_chain_that_leaves_the_disk_is_a_finding() {
        let table = MbrBuilder::new(100)
            .record(0, &[(5, 20, 60)])
            .record(20, &[(0x83, 1, 9), (5, u32::MAX, 20)])
            .table()
            .unwrap();
        assert_eq!(lbas(&table), [(5, 21, 9)]);
        assert_eq!(codes(&table), ["mbr-extended-broken"]);
    }

    #[test]
    fn overlaps_and_partitions_past_the_end_are_findings() {
        let table = MbrBuilder::new(100).record(0, &[(7, 1, 50), (7, 30, 90)]).table().unwrap();
        assert_eq!(codes(&table), ["partition-past-end", "partitions-overlap"]);
    }

    #[test]
    fn code_where_the_entries_would_be_is_no_table() {
        assert!(MbrBuilder::new(8).record(0, &[(7, 1, 5)]).byte(0x1BE, 0x33).table().is_none());
        assert!(MbrBuilder::new(8).record(0, &[(7, 1, 5)]).byte(0x1FF, 0).table().is_none());
        assert!(MbrBuilder::new(8).record(0, &[]).table().is_none());
    }
}
