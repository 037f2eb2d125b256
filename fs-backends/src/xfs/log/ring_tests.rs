//! Logs that end in all ways: emptied, at work, torn, damaged.

use std::sync::Arc;

use volfold_block::MemoryDevice;

use super::ends::{Dirty, Ends};
use super::walk::Walk;
use super::{BLOCK, Log};
use crate::error::{FsErrorKind, FsResult};
use crate::xfs::testing::{LogBuilder, lsn, transaction};

const UUID: [u8; 16] = *b"a file system of";
const BLOCKS: usize = 64;

fn log(builder: &LogBuilder) -> Log {
    let device = Arc::new(MemoryDevice::new(builder.bytes.clone()));
    let size = BLOCK * u64::try_from(BLOCKS).unwrap();
    Log::new(device, (0, size), UUID, true).unwrap()
}

/// A log with `count` records of a header and two blocks, in round `cycle` from block `at` on.
fn records(count: u32, (cycle, at): (u32, usize)) -> (LogBuilder, Vec<usize>) {
    let mut builder = LogBuilder::new(BLOCKS, UUID, (cycle, at));
    let items = [vec![0x36, 0x12, 1, 0], vec![7; 600]];
    let begins = (0..count).map(|number| builder.record(&transaction(number, &items)));
    let begins = begins.collect();
    (builder, begins)
}

fn dirty(builder: &LogBuilder) -> FsResult<Option<(Dirty, Walk)>> {
    let log = log(builder);
    match Ends::find(&log)?.0 {
        Ends::Clean => Ok(None),
        Ends::Dirty(ends) => {
            let walk = Walk::new(&log, &ends)?;
            Ok(Some((ends, walk)))
        }
    }
}

/// How many records are whole, and why those after them are not.
fn walked(builder: &LogBuilder) -> (u64, Option<(bool, String)>) {
    let (_, walk) = dirty(builder).unwrap().expect("a dirty log");
    let mut count = 0;
    walk.each(&log(builder), &mut |_, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    let stopped = walk.stopped.map(|stopped| (stopped.is_torn, stopped.why.message().to_owned()));
    (count, stopped)
}

#[test]
fn a_log_ends_where_its_newest_record_does() {
    for start in [(1, 0), (1, 7), (5, 0), (5, 30), (5, 62), (5, 63)] {
        let (mut builder, _) = records(5, start);
        let (ends, _) = dirty(&builder).unwrap().unwrap();
        let head = u64::try_from(builder.next()).unwrap();
        assert_eq!((ends.tail, ends.head), (u64::try_from(start.1).unwrap(), head));
        assert_eq!(walked(&builder), (5, None), "{start:?}");
        builder.unmount();
        assert!(dirty(&builder).unwrap().is_none(), "{start:?}");
    }
}

#[test]
fn damage_before_the_end_is_told_with_what_is_lost() {
    for start in [(1, 0), (5, 30), (5, 50)] {
        // A byte of the header, of the data, and a block of zeros.
        for (block, at, bytes) in
            [(0, 0x2F, &[0xA5][..]), (1, 100, &[0xA5]), (1, 0, &[0; 512][..]), (0, 0, &[0; 512])]
        {
            let (mut builder, begins) = records(5, start);
            let place = (begins[1] + block) % BLOCKS;
            builder.block(place)[at..at + bytes.len()].copy_from_slice(bytes);
            let (count, stopped) = walked(&builder);
            let (is_torn, why) = stopped.expect("a reason");
            assert_eq!(count, 1, "{start:?}");
            // In the first round a block of zeros is one that was not written.
            assert_eq!(is_torn, start.0 == 1 && bytes.len() > 1, "{start:?}: {why}");
            assert!(why.contains("of which 3 are whole"), "{why}");
        }
    }
}

#[test]
fn a_record_that_was_not_written_to_its_end_is_torn() {
    for start in [(1, 0), (5, 30), (5, 49), (5, 50)] {
        let (mut builder, begins) = records(5, start);
        let place = (begins[4] + 1) % BLOCKS;
        let round = u32::from_be_bytes(builder.block(place)[..4].try_into().unwrap());
        builder.block(place).fill(0);
        builder.block(place)[..4].copy_from_slice(&(round - 1).to_be_bytes());
        let (count, stopped) = walked(&builder);
        let (is_torn, why) = stopped.expect("a reason");
        assert!(count == 4 && is_torn && why.contains("not written"), "{start:?}: {count} {why}");
    }
}

#[test]
fn the_tail_is_that_of_a_record_with_a_good_checksum() {
    let (mut builder, begins) = records(4, (5, 30));
    // Had it counted, nothing before it would.
    builder.tail = lsn(5, builder.next());
    let last = builder.record(&transaction(9, &[]));
    assert_eq!(walked(&builder).0, 1);
    builder.block(last)[0x150] ^= 1;
    assert_eq!(walked(&builder).0, 1, "what is after the header's fields is not summed");
    builder.block(last)[0x20] ^= 1;
    let (count, stopped) = walked(&builder);
    assert!(count == 4 && !stopped.unwrap().0, "{begins:?}");
}

#[test]
fn a_tail_that_cannot_be_is_corrupt() {
    for tail in [lsn(5, 40), lsn(4, 10), lsn(6, 3), lsn(3, 50), lsn(5, 64), lsn(4, 33)] {
        let mut builder = LogBuilder::new(BLOCKS, UUID, (5, 30));
        builder.tail = tail;
        builder.record(&transaction(1, &[]));
        builder.bytes.truncate(BLOCKS * 512);
        let error = dirty(&builder).err();
        let is_after = tail == lsn(4, 33);
        assert_eq!(error.map(|error| error.kind()), (!is_after).then_some(FsErrorKind::Corrupt));
    }
}

#[test]
fn a_log_without_records_was_wiped() {
    let mut builder = LogBuilder::new(BLOCKS, UUID, (1, 0));
    assert_eq!(dirty(&builder).err().unwrap().kind(), FsErrorKind::Corrupt);
    builder.bytes.fill(0xA5);
    assert_eq!(dirty(&builder).err().unwrap().kind(), FsErrorKind::Corrupt);
}

#[test]
fn an_old_record_of_an_unmount_does_not_hide_what_comes_after_damage() {
    for start in [(1, 0), (5, 20)] {
        let mut builder = LogBuilder::new(BLOCKS, UUID, start);
        builder.unmount();
        builder.tail = lsn(start.0, builder.next());
        let first = builder.record(&transaction(1, &[]));
        let last = builder.record(&transaction(2, &[]));
        builder.block(first).fill(0);
        let (count, stopped) = walked(&builder);
        assert!(count == 0 && stopped.is_some(), "{start:?}");
        builder.block(last)[0x20] ^= 1;
        let (count, stopped) = walked(&builder);
        assert!(count == 0 && stopped.is_some(), "{start:?}");
    }
}

#[test]
fn the_oldest_records_may_lie_below_those_that_were_under_way() {
    // From block 10 round to block 7; the tail is the first, and blocks 7 to 13 are new and no records.
    let (mut builder, begins) = records(20, (5, 10));
    assert_eq!((begins[1], begins[19], builder.next()), (13, 3, 6));
    for block in 6..14 {
        builder.block(block).fill(0);
        builder.block(block)[..4].copy_from_slice(&6_u32.to_be_bytes());
    }
    let (count, stopped) = walked(&builder);
    assert!(count == 18 && stopped.is_some(), "{count}");
    // Damage elsewhere is no such thing.
    builder.block(begins[9]).fill(0);
    assert_eq!(walked(&builder).0, 7);
    let whole = records(20, (5, 10)).0;
    assert_eq!(walked(&whole), (20, None));
}
