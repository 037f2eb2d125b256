//! Parts of the log that no recipe makes at will: regions that are cut, intents that stay open.

use super::apply_inode;
use super::intents::Intents;
use super::items::{BufferItem, InodeItem, kind};
use super::record::Record;
use super::transactions::{Item, Transaction, Transactions};
use crate::error::{FsErrorKind, FsResult};
use crate::xfs::bytes::put;
use crate::xfs::superblock::Superblock;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;

/// The data of a record, operation by operation.
#[derive(Default)]
struct DataBuilder {
    bytes: Vec<u8>,
    operations: u32,
}

impl DataBuilder {
    fn operation(mut self, number: u32, flags: u8, region: &[u8]) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self.bytes.extend(u32::try_from(region.len()).unwrap().to_be_bytes());
        self.bytes.extend([0x69, flags, 0, 0]);
        self.bytes.extend(region);
        self.operations += 1;
        self
    }

    fn take(self, transactions: &mut Transactions) -> FsResult<Vec<Transaction>> {
        let mut committed = Vec::new();
        let record = Record::with_operations(7, self.operations);
        transactions.take(&record, &self.bytes, &mut |transaction| {
            committed.push(transaction);
            Ok(())
        })?;
        Ok(committed)
    }
}

/// The header of a transaction.
fn header() -> Vec<u8> {
    let mut bytes = b"NART".to_vec();
    bytes.resize(16, 0);
    bytes
}

/// The first region of an item of `kind` with `regions` regions.
fn first(kind: u16, regions: u16, rest: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &regions.to_le_bytes(), rest].concat()
}

fn item(regions: &[Vec<u8>]) -> Item {
    let mut data = DataBuilder::default().operation(1, START, b"").operation(1, 0, &header());
    for region in regions {
        data = data.operation(1, 0, region);
    }
    let committed = data.operation(1, COMMIT, b"").take(&mut Transactions::default()).unwrap();
    committed.into_iter().next().unwrap().items.into_iter().next().unwrap()
}

#[test]
fn regions_that_go_on_in_later_records_are_joined_and_only_commits_count() {
    let mut transactions = Transactions::default();
    let whole = first(kind::BUFFER, 2, b"map");
    let committed = DataBuilder::default()
        .operation(9, 0, b"of a transaction that began before the tail")
        .operation(1, START, b"")
        .operation(1, CONTINUE, &header()[..10])
        .operation(2, START, b"")
        .operation(2, 0, &header())
        .take(&mut transactions)
        .unwrap();
    assert!(committed.is_empty());
    let committed = DataBuilder::default()
        .operation(1, WAS_CONTINUED, &header()[10..])
        .operation(1, 0, &whole)
        .operation(1, CONTINUE, b"first half, ")
        .operation(1, WAS_CONTINUED, b"second half")
        .operation(2, 0, &first(kind::INODE, 1, b""))
        .operation(1, COMMIT, b"")
        .operation(2, WAS_CONTINUED, b"never committed")
        .take(&mut transactions)
        .unwrap();
    let [transaction] = committed.as_slice() else { panic!("{}", committed.len()) };
    assert_eq!((transaction.lsn, transaction.items.len()), (7, 1));
    let item = &transaction.items[0];
    assert_eq!(item.kind(), Some(kind::BUFFER));
    assert_eq!(item.region(1), b"first half, second half");
}

#[test]
fn operations_that_contradict_themselves_are_corrupt() {
    let begun = || DataBuilder::default().operation(1, START, b"");
    let mut cut = begun().operation(1, 0, &header());
    cut.bytes.pop();
    let mut more = begun();
    more.operations += 1;
    for data in [
        begun().operation(1, 0, b"no header, 16 b."),
        begun().operation(1, 0, &header()).operation(1, 0, &first(kind::BUFFER, 0, b"")),
        begun().operation(1, 0, &header()).operation(1, 0, &first(kind::BUFFER, 4097, b"")),
        begun().operation(1, 0, &header()).operation(1, WAS_CONTINUED, b"of nothing"),
        cut,
        more,
    ] {
        let error = data.take(&mut Transactions::default()).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
    }
}

#[test]
fn the_pieces_of_a_buffer_are_runs_of_bits() {
    let mut rest = vec![0; 20];
    rest[12..16].copy_from_slice(&1_u32.to_le_bytes());
    rest[16..20].copy_from_slice(&0x8000_0073_u32.to_le_bytes());
    let item = item(&[first(kind::BUFFER, 1, &rest)]);
    let parsed = BufferItem::parse(&item).unwrap();
    assert_eq!(parsed.runs(), [(0, 2), (4, 3), (31, 1)]);
    assert!(!parsed.is_cancelled() && !parsed.is_ignored());
}

#[test]
fn files_of_changes_that_were_not_ended_are_doubted() {
    let intent = |kind: u16, id: u64, inode: u64| {
        let fields = [&[0; 4][..], &id.to_le_bytes(), &inode.to_le_bytes(), &[0; 24]].concat();
        item(&[first(kind, 1, &fields)])
    };
    let mut intents = Intents::default();
    for item in [
        intent(kind::MAP_INTENT, 1, 131),
        intent(kind::MAP_INTENT, 2, 132),
        intent(kind::ATTRIBUTE_INTENT, 3, 133),
        intent(kind::EXCHANGE_INTENT, 4, 134),
        intent(kind::MAP_DONE, 1, 0),
        intent(kind::EXCHANGE_DONE, 4, 0),
        // Free space alone.
        intent(kind::FREE_INTENT, 5, 135),
    ] {
        intents.take(&item).unwrap();
    }
    let doubts = intents.doubts();
    let mut files: Vec<_> = doubts.keys().copied().collect();
    files.sort_unstable();
    assert_eq!(files, [132, 133]);
    assert!(doubts[&133].contains("attributes"));
    let cut = item(&[first(kind::ATTRIBUTE_INTENT, 1, &[0; 8])]);
    assert_eq!(Intents::default().take(&cut).unwrap_err().kind(), FsErrorKind::Corrupt);
    for unknown in [item(&[first(0x1250, 1, &[0; 40])]), item(&[first(0x1239, 1, &[0; 40])])] {
        let error = Intents::default().take(&unknown).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Unsupported);
    }
    let mut many = Intents::default();
    let error = (0..1 << 17).find_map(|id| many.take(&intent(kind::MAP_INTENT, id, 131)).err());
    assert_eq!(error.unwrap().kind(), FsErrorKind::Unsupported);
}

#[test]
fn transactions_under_way_are_bounded_by_number_and_memory() {
    let begun = |count: u32| {
        (0..count).fold(DataBuilder::default(), |data, number| data.operation(number, START, b""))
    };
    begun(1 << 14).take(&mut Transactions::default()).unwrap();
    let error = begun((1 << 14) + 1).take(&mut Transactions::default()).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
    // Regions of a byte take more memory than that.
    let mut transactions = Transactions::default();
    let start = DataBuilder::default().operation(1, START, b"").operation(1, 0, &header());
    start.operation(1, 0, &first(kind::BUFFER, 4096, b"")).take(&mut transactions).unwrap();
    let piece = || (0..4095).fold(DataBuilder::default(), |data, _| data.operation(1, 0, b"a"));
    let more = || piece().operation(1, 0, &first(kind::BUFFER, 4096, b""));
    let error = (0..1000).find_map(|_| more().take(&mut transactions).err());
    assert_eq!(error.expect("an error").kind(), FsErrorKind::Unsupported);
}

/// A superblock of version 5 with inodes of 512 bytes.
fn superblock() -> Superblock {
    let mut bytes = vec![0; 512];
    let fields: [(usize, &[u8]); 14] = [
        (0x00, b"XFSB"),
        (0x04, &4096_u32.to_be_bytes()),
        (0x08, &4096_u64.to_be_bytes()),
        (0x54, &4096_u32.to_be_bytes()),
        (0x58, &1_u32.to_be_bytes()),
        (0x64, &0xB4A5_u16.to_be_bytes()),
        (0x66, &512_u16.to_be_bytes()),
        (0x68, &512_u16.to_be_bytes()),
        (0x78, &[12, 9]),
        (0x7A, &[9]),
        (0x7B, &[3]),
        (0x7C, &[12]),
        (0xC8, &0x18A_u32.to_be_bytes()),
        (0xD8, &1_u32.to_be_bytes()),
    ];
    for (at, field) in fields {
        put(&mut bytes, at, field).unwrap();
    }
    crate::xfs::checksum::store(&mut bytes, 0xE0).unwrap();
    Superblock::parse(&bytes, 0).unwrap()
}

#[test]
fn an_inode_is_changed_unless_that_on_the_volume_is_newer() {
    let superblock = superblock();
    let mut core = vec![0; 176];
    core[..2].copy_from_slice(b"NI");
    core[2..4].copy_from_slice(&0o100_644_u16.to_le_bytes());
    core[4..6].copy_from_slice(&[3, 2]);
    core[0x38..0x40].copy_from_slice(&5000_u64.to_le_bytes());
    let fields = [
        &(1 | InodeItem::DATA_EXTENTS).to_le_bytes()[..],
        &[0; 8],
        &131_u64.to_le_bytes(),
        &[0; 32],
    ];
    let logged = item(&[first(kind::INODE, 3, &fields.concat()), core.clone(), vec![0xEE; 16]]);
    let parsed = InodeItem::parse(&logged).unwrap();
    assert_eq!(parsed.inode, 131);
    let mut on_volume = vec![0; 512];
    on_volume[..2].copy_from_slice(b"IN");
    on_volume[0x60..0x64].copy_from_slice(&[1, 2, 3, 4]);
    on_volume[0x70..0x78].copy_from_slice(&9_u64.to_be_bytes());
    let mut newer = on_volume.clone();
    assert!(!apply_inode::apply(&superblock, &parsed, &logged, 8, &mut newer).unwrap());
    assert_eq!(newer, on_volume);
    assert!(apply_inode::apply(&superblock, &parsed, &logged, 9, &mut on_volume).unwrap());
    assert_eq!(on_volume[0x38..0x40], 5000_u64.to_be_bytes());
    assert_eq!(on_volume[0x60..0x64], [1, 2, 3, 4], "the link of a list stays");
    assert_eq!(on_volume[176..192], [0xEE; 16]);
    assert!(crate::xfs::checksum::is_good(&on_volume, 0x64));
    let mut nothing = vec![0; 512];
    let error = apply_inode::apply(&superblock, &parsed, &logged, 9, &mut nothing).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    let owners = InodeItem { fields: InodeItem::OWNERS, ..parsed };
    let error = apply_inode::apply(&superblock, &owners, &logged, 9, &mut on_volume).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
}
