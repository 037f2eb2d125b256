//! The log, and damage of all parts.

use super::testing::{
    BAT_AT, BLOCKS_AT, EntryBuilder, LOG_AT, LOG_BYTES, METADATA_AT, VhdxBuilder, put, put_checksum,
};
use super::tests::{BLOCK, base, check, child, codes};
use super::*;
use crate::hostile::{Bent, Outcome, outcome};
use crate::testing::{Files, read};

const GUID: [u8; 16] = [0x77; 16];

/// The log of an image in use: an entry that maps block 1 of the disk to the block of the file that
/// block 0 had, and one that takes block 0 away.
fn dirty() -> (VhdxBuilder, Vec<u8>) {
    let (mut base, mut disk) = base();
    let bytes = base.build();
    let mut table = bytes[BAT_AT..BAT_AT + 4096].to_vec();
    let (first, rest) = table.split_at_mut(8);
    rest[..8].copy_from_slice(first);
    let entry = |sequence, tail, changes| EntryBuilder {
        guid: GUID,
        sequence,
        tail,
        flushed: bytes.len() as u64,
        last: bytes.len() as u64,
        changes,
    };
    let first = entry(5, 8192, vec![(BAT_AT as u64, Ok(table.clone()))]).build();
    table[..8].fill(0);
    let sector = [0xA5; 4096].to_vec();
    let second = vec![
        (BAT_AT as u64, Ok(table)),
        (BLOCKS_AT as u64 + 4096, Ok(sector)),
        (BLOCKS_AT as u64 + 16384, Err(8192)),
    ];
    let second = entry(6, 8192, second).build();
    let mut log = vec![0; LOG_BYTES];
    // What is left of an older one.
    put(&mut log, 0, &entry(3, 0, vec![(0, Err(4096))]).build());
    put(&mut log, 8192, &first);
    put(&mut log, 8192 + first.len(), &second);
    base.log = Some((GUID, log));
    let block = disk[..BLOCK].to_vec();
    disk[BLOCK..2 * BLOCK].copy_from_slice(&block);
    disk[..BLOCK].fill(0);
    disk[BLOCK + 4096..BLOCK + 8192].fill(0xA5);
    disk[BLOCK + 16384..BLOCK + 24576].fill(0);
    (base, disk)
}

#[test]
fn a_log_is_applied_in_memory() {
    let (builder, disk) = dirty();
    let image = check(&Files::default().with("a.vhdx", builder.build()), "a.vhdx", &disk);
    assert_eq!(codes(&image), ["vhdx-log-replayed"]);
    assert!(image.log.all()[0].to_string().starts_with("2 entries of the log"));
}

#[test]
fn a_log_goes_around_its_end() {
    let (mut builder, disk) = dirty();
    let (_, log) = builder.log.as_mut().unwrap();
    // The second entry begins 8 KiB before the end.
    log.rotate_right(LOG_BYTES - 8192 - 16384);
    let at = LOG_BYTES - 16384;
    for (place, length) in [(at, 8192), (LOG_BYTES - 8192, 12288)] {
        let mut entry: Vec<u8> = (0..length).map(|one| log[(place + one) % LOG_BYTES]).collect();
        put(&mut entry, 12, &u32::try_from(at).unwrap().to_le_bytes());
        put_checksum(&mut entry, 4);
        entry.iter().enumerate().for_each(|(one, byte)| log[(place + one) % LOG_BYTES] = *byte);
    }
    let image = check(&Files::default().with("a.vhdx", builder.build()), "a.vhdx", &disk);
    assert_eq!(codes(&image), ["vhdx-log-replayed"]);
}

#[test]
fn a_torn_entry_ends_the_log_and_a_log_without_a_sequence_is_an_error() {
    let (mut builder, _) = dirty();
    let log = builder.log.as_mut().unwrap();
    log.1[8192 + 8192 + 300] ^= 1;
    let image = Files::default().with("a.vhdx", builder.build()).open("a.vhdx").unwrap();
    // The entry that is lost frees the first block, which the second one has by now.
    let told = ["vhdx-log-replayed", "vhdx-log-torn", "image-blocks-overlap"];
    assert_eq!(codes(&image), told);
    assert!(read(&*image.device, 0, 1).is_err());
    // The first entry, which the second one leads back to.
    let (mut builder, _) = dirty();
    builder.log.as_mut().unwrap().1[8192 + 5000] ^= 1;
    builder.log.as_mut().unwrap().1[..4096].fill(0);
    let error = Files::default().with("a.vhdx", builder.build()).error("a.vhdx");
    assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(LOG_AT as u64)));
    assert_eq!(error.2, "VHDX log is not empty and has no valid sequence of entries");
    let (mut builder, _) = dirty();
    builder.log.as_mut().unwrap().0 = [1; 16];
    assert_eq!(Files::default().with("a.vhdx", builder.build()).error("a.vhdx").2, error.2);
    // A file that was to grow.
    let (mut builder, _) = dirty();
    let length = builder.build().len();
    let (_, log) = builder.log.as_mut().unwrap();
    let entry = &mut log[16384..16384 + 12288];
    put(entry, 0x38, &((length + BLOCK) as u64).to_le_bytes());
    put_checksum(entry, 4);
    let image = Files::default().with("a.vhdx", builder.build()).open("a.vhdx").unwrap();
    assert_eq!(codes(&image), ["vhdx-log-replayed", "vhdx-file-short"]);
    // A file that was longer.
    let bytes = dirty().0.build();
    let cut = Files::default().with("a.vhdx", &bytes[..bytes.len() - 512]).error("a.vhdx");
    assert!(cut.2.starts_with("file ends early: it has "), "{}", cut.2);
}

#[test]
fn a_log_of_entries_that_overlap_costs_a_bounded_time() {
    // Each sector claims to be an entry of the whole log.
    let mut log = vec![0; LOG_BYTES];
    for at in (0..LOG_BYTES).step_by(4096) {
        let head =
            EntryBuilder { guid: GUID, sequence: 1, tail: 0, flushed: 0, last: 0, changes: vec![] };
        put(&mut log, at, &head.build()[..64]);
        put(&mut log, at + 8, &u32::try_from(LOG_BYTES).unwrap().to_le_bytes());
    }
    let mut builder = base().0;
    builder.log = Some((GUID, log));
    let error = Files::default().with("a.vhdx", builder.build()).error("a.vhdx");
    assert_eq!(error.2, "VHDX log has entries that overlap too often");
}

#[test]
fn no_damage_ends_in_other_bytes_without_a_word() {
    let (plain, plain_disk) = base();
    let (mut dirty, mut dirty_disk) = dirty();
    // The base, whose log is empty, in fewer bytes: one block at the end of the disk.
    let mut small = VhdxBuilder::new(2 * BLOCK as u64, BLOCK);
    small.write(BLOCK, &plain_disk[..BLOCK]);
    let small_disk = [vec![0; BLOCK], plain_disk[..BLOCK].to_vec()].concat();
    dirty.blocks.remove(&3);
    dirty.size = 3 * BLOCK as u64;
    dirty_disk.truncate(3 * BLOCK);
    let (_, log) = dirty.log.as_mut().unwrap();
    // The table in the log still has block 3, which the disk no longer has.
    let entries = 8192..8192 + 8192 + 16384;
    let files = Files::default().with("base.vhdx", plain.build());
    let log_used = LOG_AT + entries.start..LOG_AT + entries.end;
    let fix = |entry: &mut [u8]| {
        put(entry, 0x30, &[0; 8]);
        put_checksum(entry, 4);
    };
    fix(&mut log[8192..16384]);
    fix(&mut log[16384..16384 + 12288]);
    let headers = (64 << 10..(64 << 10) + 4096).chain(128 << 10..(128 << 10) + 4096);
    let tables = [192 << 10, 256 << 10]
        .into_iter()
        .flat_map(|at: usize| (at..at + 0x60).chain((at + 0x60..at + (64 << 10)).step_by(509)));
    let protected: Vec<usize> = (0..8).chain(headers).chain(tables).collect();
    let metadata = (METADATA_AT..METADATA_AT + 0xC0)
        .chain(METADATA_AT + (64 << 10)..METADATA_AT + (64 << 10) + 60);
    let open: Vec<usize> = metadata.chain(BAT_AT..BAT_AT + 40).collect();
    for (name, bytes, disk, more) in [
        ("a.vhdx", small.build(), &small_disk, 0..0),
        ("d.vhdx", dirty.build(), &dirty_disk, log_used),
    ] {
        let whole = Bent::new(&bytes);
        let outcome = |bent| outcome(&Vhdx, &files, name, bent, disk);
        assert_eq!(outcome(whole.clone()), Outcome::Same);
        for size in (0..bytes.len()).step_by(512) {
            assert!(outcome(whole.cut(size)) != Outcome::Silent, "{name} cut at {size}");
        }
        let more = more.step_by(3);
        for (index, at) in protected.iter().copied().chain(more).enumerate() {
            let mask = [1, 0x80, 0xFF][index % 3];
            let found = outcome(whole.changed(at, mask));
            assert!(found != Outcome::Silent, "{name} with another byte at {at:#x}");
        }
        // The metadata and the table have no checksum; all that counts is that it ends.
        for at in &open {
            for mask in [1, 0x80, 0xFF] {
                outcome(whole.changed(*at, mask));
            }
        }
    }
    let (child, child_disk) = child();
    let whole = Bent::new(&child.build());
    assert_eq!(outcome(&Vhdx, &files, "c.vhdx", whole.clone(), &child_disk), Outcome::Same);
    for at in METADATA_AT + 0xC0..METADATA_AT + 0xE0 {
        outcome(&Vhdx, &files, "c.vhdx", whole.changed(at, 0xFF), &child_disk);
    }
    for at in (METADATA_AT + (64 << 10)..METADATA_AT + (64 << 10) + 600).step_by(2) {
        outcome(&Vhdx, &files, "c.vhdx", whole.changed(at, 0xFF), &child_disk);
    }
}
