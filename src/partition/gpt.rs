//! The GUID partition table: header and entries, and the backup of both.
//!
//! Specification: UEFI 2.10, section 5.3. Little-endian. The primary header is at LBA 1, the
//! backup in the last sector.
//!
//! | offset | size | field               | rule                                               |
//! |--------|------|---------------------|----------------------------------------------------|
//! | 0x00   | 8    | `signature`         | `EFI PART`                                         |
//! | 0x08   | 4    | `revision`          | not looked at                                      |
//! | 0x0C   | 4    | `header_size`       | 92 to the sector size                              |
//! | 0x10   | 4    | `header_crc32`      | of `header_size` bytes, this field taken as 0      |
//! | 0x14   | 4    | `reserved`          | not looked at                                      |
//! | 0x18   | 8    | `my_lba`            | where this header is                               |
//! | 0x20   | 8    | `alternate_lba`     | where the other header is                          |
//! | 0x28   | 8    | `first_usable_lba`  | not looked at                                      |
//! | 0x30   | 8    | `last_usable_lba`   | not looked at                                      |
//! | 0x38   | 16   | `disk_guid`         |                                                    |
//! | 0x48   | 8    | `entries_lba`       | the partition entry array                          |
//! | 0x50   | 4    | `entry_count`       | at most `MAX_ENTRIES`                            |
//! | 0x54   | 4    | `entry_size`        | 128 times a power of two, at most `MAX_ENTRY_SIZE` |
//! | 0x58   | 4    | `entries_crc32`     | of the whole array                                 |
//!
//! An entry:
//!
//! | offset | size | field        | rule                                         |
//! |--------|------|--------------|----------------------------------------------|
//! | 0x00   | 16   | `kind`       | all zero: unused                             |
//! | 0x10   | 16   | `guid`       |                                              |
//! | 0x20   | 8    | `first_lba`  |                                              |
//! | 0x28   | 8    | `last_lba`   | inclusive; not below `first_lba`             |
//! | 0x30   | 8    | `attributes` | bits, of which the upper 16 are the type's   |
//! | 0x38   | 72   | `name`       | UTF-16LE, ends at the first NUL              |

use std::mem::{offset_of, size_of};

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Finding, bytes_to_index, code, error_chain,
};
use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Guid, Partition, PartitionScheme, PartitionTable, PartitionType, mbr, read_bytes};

const SIGNATURE: [u8; 8] = *b"EFI PART";

/// LIMIT: entries of one table; writers use 128, the specification has no bound.
const MAX_ENTRIES: u32 = 4096;

/// LIMIT: bytes of one entry; writers use 128, the specification has no bound.
const MAX_ENTRY_SIZE: u32 = 4096;

/// LIMIT: bytes of the whole array, so that the two limits above do not multiply.
const MAX_ARRAY: u64 = 2 << 20;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 8],
    revision: U32<LE>,
    header_size: U32<LE>,
    header_crc32: U32<LE>,
    reserved: U32<LE>,
    my_lba: U64<LE>,
    alternate_lba: U64<LE>,
    first_usable_lba: U64<LE>,
    last_usable_lba: U64<LE>,
    disk_guid: [u8; 16],
    entries_lba: U64<LE>,
    entry_count: U32<LE>,
    entry_size: U32<LE>,
    entries_crc32: U32<LE>,
}
const _: () = assert!(size_of::<RawHeader>() == 92);
const _: () = assert!(offset_of!(RawHeader, disk_guid) == 0x38);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    kind: [u8; 16],
    guid: [u8; 16],
    first_lba: U64<LE>,
    last_lba: U64<LE>,
    attributes: U64<LE>,
    name: [U16<LE>; 36],
}
const _: () = assert!(size_of::<RawEntry>() == 0x80);

/// A header and its entries, with right checksums.
#[derive(Debug)]
struct HeaderCopy {
    disk_guid: Guid,
    alternate_lba: u64,
    entries_crc32: u32,
    partitions: Vec<Partition>,
    bad_entries: Vec<u32>,
}

/// Why a copy of the table is not used.
#[derive(Debug, PartialEq, Eq)]
struct Damage(&'static str);

impl HeaderCopy {
    /// Reads the copy whose header is in sector `lba`.
    fn read(
        device: &dyn BlockDevice,
        lba: u64,
        sector_size: u32,
    ) -> BlockResult<Result<Self, Damage>> {
        let sector = u64::from(sector_size);
        let Some(at) = lba.checked_mul(sector) else {
            return Ok(Err(Damage("lies outside the disk")));
        };
        let Some(bytes) = read_bytes(device, at, bytes_to_index(sector)?)? else {
            return Ok(Err(Damage("lies outside the disk")));
        };
        let header = match check_header(&bytes, lba) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        let length =
            u64::from(header.entry_count.get()).saturating_mul(header.entry_size.get().into());
        let start = header.entries_lba.get().saturating_mul(sector);
        let Some(array) = read_bytes(device, start, bytes_to_index(length)?)? else {
            return Ok(Err(Damage("has its entries outside the disk")));
        };
        if crc32fast::hash(&array) != header.entries_crc32.get() {
            return Ok(Err(Damage("has entries with a bad checksum")));
        }
        Ok(Ok(Self::parse_entries(header, &array, sector_size)))
    }

    fn parse_entries(header: &RawHeader, array: &[u8], sector_size: u32) -> Self {
        let sector = u64::from(sector_size);
        let entry_size = usize::try_from(header.entry_size.get()).unwrap_or(usize::MAX);
        let mut copy = Self {
            disk_guid: Guid(header.disk_guid),
            alternate_lba: header.alternate_lba.get(),
            entries_crc32: header.entries_crc32.get(),
            partitions: Vec::new(),
            bad_entries: Vec::new(),
        };
        for (number, bytes) in (1_u32..).zip(array.chunks_exact(entry_size)) {
            let Ok((raw, _)) = RawEntry::ref_from_prefix(bytes) else {
                break;
            };
            if raw.kind == [0; 16] {
                continue;
            }
            let first_lba = raw.first_lba.get();
            let Some(sectors) =
                raw.last_lba.get().checked_sub(first_lba).and_then(|n| n.checked_add(1))
            else {
                copy.bad_entries.push(number);
                continue;
            };
            let units: Vec<u16> = raw.name.iter().map(|unit| unit.get()).collect();
            let name = units.split(|unit| *unit == 0).next().map(String::from_utf16_lossy);
            copy.partitions.push(Partition {
                number,
                start: first_lba.saturating_mul(sector),
                size: sectors.saturating_mul(sector),
                first_lba,
                kind: PartitionType::Gpt(Guid(raw.kind)),
                guid: Some(Guid(raw.guid)),
                name: name.filter(|name| !name.is_empty()),
                attributes: raw.attributes.get(),
            });
        }
        copy
    }
}

/// Checks the header in the sector `bytes`, which was read from `lba`.
fn check_header(bytes: &[u8], lba: u64) -> Result<&RawHeader, Damage> {
    let (header, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| Damage("is cut short"))?;
    if header.signature != SIGNATURE {
        return Err(Damage("has a wrong signature"));
    }
    let size = usize::try_from(header.header_size.get()).unwrap_or(usize::MAX);
    let covered = bytes.get(..size).filter(|_| size >= size_of::<RawHeader>());
    let covered = covered.ok_or(Damage("has an impossible size"))?;
    let crc_at = offset_of!(RawHeader, header_crc32);
    let mut hasher = crc32fast::Hasher::new();
    for (at, byte) in covered.iter().enumerate() {
        let in_crc_field = at.checked_sub(crc_at).is_some_and(|inside| inside < 4);
        hasher.update(&[if in_crc_field { 0 } else { *byte }]);
    }
    if hasher.finalize() != header.header_crc32.get() {
        return Err(Damage("has a bad checksum"));
    }
    if header.my_lba.get() != lba {
        return Err(Damage("says that it lies elsewhere"));
    }
    let (count, size) = (header.entry_count.get(), header.entry_size.get());
    let array = u64::from(count).saturating_mul(size.into());
    if count > MAX_ENTRIES
        || !(128..=MAX_ENTRY_SIZE).contains(&size)
        || !size.is_power_of_two()
        || array > MAX_ARRAY
    {
        return Err(Damage("has an impossible entry array"));
    }
    Ok(header)
}

/// Reads GUID partition tables.
pub struct Gpt;

impl PartitionScheme for Gpt {
    fn id(&self) -> &'static str {
        "gpt"
    }

    fn title(&self) -> &'static str {
        "GPT, with protective and hybrid MBR"
    }

    fn read(
        &self,
        device: &dyn BlockDevice,
        sector_size: u32,
    ) -> BlockResult<Option<PartitionTable>> {
        let (record, unreadable) = match mbr::Record::read(device, 0) {
            Ok(record) => (record, None),
            Err(error) => (None, Some(error)),
        };
        let has_protective = record
            .as_ref()
            .is_some_and(|record| record.entries.iter().any(|e| e.kind == mbr::PROTECTIVE));
        let last_lba = device.size().checked_div(sector_size.into()).and_then(|n| n.checked_sub(1));
        let Some(last_lba) = last_lba.filter(|last| *last > 1) else {
            return Ok(None);
        };
        // A copy that cannot be read is damaged, and no reason to do without the other one.
        let read = |lba| {
            let copy = HeaderCopy::read(device, lba, sector_size);
            copy.unwrap_or(Err(Damage("cannot be read")))
        };
        let primary = read(1);
        let backup_lba = match &primary {
            Ok(copy) if copy.alternate_lba <= last_lba => copy.alternate_lba,
            _ => last_lba,
        };
        let backup = read(backup_lba);
        if let (Some(error), Err(_), Err(_)) = (&unreadable, &primary, &backup) {
            let line = error_chain(error);
            return Err(BlockError::new(error.kind(), line));
        }
        if primary.is_err() && backup.is_err() && !has_protective {
            return Ok(None);
        }
        let mut findings = Vec::new();
        if let Some(record) = &record
            && !record.entries.is_empty()
            && !has_protective
        {
            // The disk was partitioned anew by a tool that knows no GPT; what is left of the old
            // table must not win.
            return Ok(None);
        }
        match unreadable {
            Some(error) => {
                let line = format!("protective MBR cannot be read: {}", error_chain(&error));
                findings.push(Finding::warning(code::GPT_NO_PROTECTIVE_MBR, line));
            }
            None => note_record(record.as_ref(), &mut findings),
        }
        let signature_here = |damage: &Damage| *damage != Damage("has a wrong signature");
        if let (Err(first), Err(second)) = (&primary, &backup) {
            // With another sector size the header lies elsewhere.
            if !signature_here(first) && !signature_here(second) {
                return Ok(None);
            }
            findings.push(Finding::error(
                code::GPT_DAMAGED,
                format!("GPT is damaged: primary {}, backup {}", first.0, second.0),
            ));
        }
        Ok(Some(choose(primary, backup, sector_size, findings)))
    }
}

/// Notes what the MBR beside a GPT says.
fn note_record(record: Option<&mbr::Record>, findings: &mut Vec<Finding>) {
    match record {
        None => findings.push(Finding::warning(
            code::GPT_NO_PROTECTIVE_MBR,
            "GPT has no protective MBR; the GPT is used",
        )),
        Some(record) => {
            let others = record.entries.iter().filter(|e| e.kind != mbr::PROTECTIVE).count();
            if others > 0 {
                findings.push(Finding::new(
                    volfold_block::Severity::Info,
                    code::GPT_HYBRID_MBR,
                    format!("MBR beside the GPT names {others} partitions too; the GPT is used"),
                ));
            }
        }
    }
}

/// Takes the primary copy if it is whole, else the backup.
fn choose(
    primary: Result<HeaderCopy, Damage>,
    backup: Result<HeaderCopy, Damage>,
    sector_size: u32,
    mut findings: Vec<Finding>,
) -> PartitionTable {
    let copy = match (primary, backup) {
        (Ok(primary), Ok(backup)) => {
            if primary.entries_crc32 != backup.entries_crc32 {
                findings.push(Finding::warning(
                    code::GPT_COPIES_DIFFER,
                    "primary and backup GPT differ; the primary is used",
                ));
            }
            Some(primary)
        }
        (Ok(primary), Err(damage)) => {
            findings.push(Finding::warning(
                code::GPT_BACKUP_DAMAGED,
                format!("backup GPT header {}", damage.0),
            ));
            Some(primary)
        }
        (Err(damage), Ok(backup)) => {
            findings.push(Finding::warning(
                code::GPT_PRIMARY_DAMAGED,
                format!("primary GPT header {}; the backup is used", damage.0),
            ));
            Some(backup)
        }
        (Err(_), Err(_)) => None,
    };
    for number in copy.iter().flat_map(|copy| &copy.bad_entries) {
        findings.push(Finding::warning(
            code::GPT_BAD_ENTRY,
            format!("GPT entry {number} ends before it begins"),
        ));
    }
    PartitionTable {
        scheme: "gpt",
        sector_size,
        disk_id: copy.as_ref().map(|copy| copy.disk_guid.to_string()),
        partitions: copy.map(|copy| copy.partitions).unwrap_or_default(),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::registry::read_table;
    use volfold_block::MemoryDevice;

    /// A GPT disk of 256 sectors with 4 entries, of which the tests bend single bytes.
    struct GptBuilder {
        disk: Vec<u8>,
        sector: usize,
    }

    impl GptBuilder {
        fn new(sector: usize) -> Self {
            let mut builder = Self { disk: vec![0; sector * 256], sector };
            let mut entries = vec![0; 512];
            for (slot, (first, last)) in [(40_u64, 79_u64), (80, 99)].into_iter().enumerate() {
                let entry = &mut entries[slot * 128..][..128];
                entry[..16].fill(0x11);
                entry[16..32].fill(0x21 + slot as u8);
                entry[32..40].copy_from_slice(&first.to_le_bytes());
                entry[40..48].copy_from_slice(&last.to_le_bytes());
                entry[56..60].copy_from_slice(&[b'a' + slot as u8, 0, 0, 0]);
            }
            builder.disk[2 * sector..][..512].copy_from_slice(&entries);
            builder.disk[254 * sector..][..512].copy_from_slice(&entries);
            builder.header(1, 255, 2, &entries);
            builder.header(255, 1, 254, &entries);
            builder.mbr(&[0xEE])
        }

        fn header(&mut self, lba: u64, other: u64, entries_lba: u64, entries: &[u8]) {
            let at = lba as usize * self.sector;
            let header = &mut self.disk[at..][..92];
            header[..8].copy_from_slice(b"EFI PART");
            header[12..16].copy_from_slice(&92_u32.to_le_bytes());
            header[24..32].copy_from_slice(&lba.to_le_bytes());
            header[32..40].copy_from_slice(&other.to_le_bytes());
            header[56..72].fill(0x33);
            header[72..80].copy_from_slice(&entries_lba.to_le_bytes());
            header[80..84].copy_from_slice(&4_u32.to_le_bytes());
            header[84..88].copy_from_slice(&128_u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
            self.seal(lba);
        }

        fn seal(&mut self, lba: u64) {
            let at = lba as usize * self.sector;
            self.disk[at + 16..at + 20].fill(0);
            let crc = crc32fast::hash(&self.disk[at..at + 92]);
            self.disk[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }

        fn mbr(mut self, kinds: &[u8]) -> Self {
            self.disk[..512].fill(0);
            for (slot, kind) in kinds.iter().enumerate() {
                self.disk[0x1BE + slot * 16 + 4] = *kind;
                self.disk[0x1BE + slot * 16 + 8] = 1 + 40 * slot as u8;
                self.disk[0x1BE + slot * 16 + 12] = 9;
            }
            self.disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
            self
        }

        fn flip(mut self, at: usize) -> Self {
            self.disk[at] ^= 0xFF;
            self
        }

        fn table(self) -> Option<PartitionTable> {
            read_table(&MemoryDevice::new(self.disk), self.sector as u32).unwrap()
        }
    }

    fn codes(table: &PartitionTable) -> Vec<&str> {
        table.findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn a_whole_table_is_read_with_both_sector_sizes() {
        for sector in [512, 4096] {
            let table = GptBuilder::new(sector).table().unwrap();
            assert_eq!((table.scheme, codes(&table)), ("gpt", vec![]));
            let [first, second] = table.partitions.try_into().unwrap();
            assert_eq!((first.start, first.size), (40 * sector as u64, 40 * sector as u64));
            assert_eq!((second.number, second.name.as_deref()), (2, Some("b")));
            assert_eq!(second.guid, Some(Guid([0x22; 16])));
        }
    }

    #[test]
    fn a_damaged_primary_gives_way_to_the_backup() {
        for at in [512, 512 + 16, 2 * 512] {
            let table = GptBuilder::new(512).flip(at).table().unwrap();
            assert_eq!(codes(&table), ["gpt-primary-damaged"], "byte {at}");
            assert_eq!(table.partitions.len(), 2);
        }
    }

    #[test]
    fn a_damaged_backup_is_a_finding() {
        let table = GptBuilder::new(512).flip(255 * 512 + 60).table().unwrap();
        assert_eq!(codes(&table), ["gpt-backup-damaged"]);
        assert_eq!(table.partitions.len(), 2);
    }

    #[test]
    fn two_damaged_copies_are_an_error_and_no_partitions() {
        let table = GptBuilder::new(512).flip(512 + 60).flip(255 * 512 + 60).table().unwrap();
        assert_eq!(codes(&table), ["gpt-damaged"]);
        assert!(table.partitions.is_empty());
    }

    #[test]
    fn an_mbr_without_the_protective_entry_wins_over_an_old_gpt() {
        assert_eq!(GptBuilder::new(512).mbr(&[0x07]).table().unwrap().scheme, "mbr");
    }

    #[test]
    fn a_hybrid_mbr_is_noted_and_the_gpt_used() {
        let table = GptBuilder::new(512).mbr(&[0xEE, 0x07]).table().unwrap();
        assert_eq!((table.scheme, codes(&table)), ("gpt", vec!["gpt-hybrid-mbr"]));
    }

    #[test]
    fn counts_beyond_the_limits_are_damage() {
        for (field, value) in [(80, u32::MAX), (84, 64), (84, 1 << 31), (12, 13), (12, u32::MAX)] {
            let mut builder = GptBuilder::new(512);
            builder.disk[512 + field..][..4].copy_from_slice(&value.to_le_bytes());
            builder.seal(1);
            assert_eq!(codes(&builder.table().unwrap()), ["gpt-primary-damaged"], "{field}");
        }
    }

    #[test]
    fn an_entry_that_ends_before_it_begins_is_skipped_and_noted() {
        let mut builder = GptBuilder::new(512);
        builder.disk[2 * 512 + 40..][..8].copy_from_slice(&3_u64.to_le_bytes());
        let entries = builder.disk[2 * 512..][..512].to_vec();
        builder.header(1, 255, 2, &entries);
        let table = builder.table().unwrap();
        assert_eq!(codes(&table), ["gpt-copies-differ", "gpt-bad-entry"]);
        assert_eq!(table.partitions.len(), 1);
    }
}
