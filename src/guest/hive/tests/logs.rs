//! Logs of hives that were in use.

use super::*;

/// Three states of a hive; the last is larger.
fn states() -> [Vec<u8>; 3] {
    let mut tree = Tree::default();
    tree.sz("State", "Name", "first");
    tree.value("State", "Filler", 3, &[1; 9000]);
    let first = tree.build();
    tree.at("State").values[0].2 = sz("later");
    let second = tree.build();
    tree.at("State").values[0].2 = sz("third");
    tree.value("State", "More", 3, &[2; 30_000]);
    [first, second, tree.build()]
}

/// `hive` as a write that did not end leaves it.
fn dirty(hive: &[u8]) -> Vec<u8> {
    let mut bytes = hive.to_vec();
    set_sequences(&mut bytes, 8, 7);
    bytes
}

fn state(primary: &[u8], logs: &[&[u8]]) -> (String, Vec<(Code, String)>) {
    let logs = logs.iter().map(|log| file(*log)).collect();
    let hive = Hive::open(file(primary), logs).unwrap();
    let key = hive.key("State").unwrap().unwrap();
    let name = key.value("Name").unwrap().unwrap().text().unwrap();
    if name == "third" {
        assert_eq!(key.value("More").unwrap().unwrap().data().unwrap(), [2; 30_000]);
    }
    let told = |finding: &Finding| (finding.code, finding.to_string());
    (name, hive.findings().iter().map(told).collect())
}

#[test]
fn the_entries_of_both_logs_are_applied_in_their_order() {
    let [first, second, third] = states();
    let one = log_entry(&first, &second, 7);
    let two = log_entry(&second, &third, 8);
    let both = new_log(&first, 7, &[one.clone(), two.clone()]);
    let (earlier, later) = (new_log(&first, 7, &[one]), new_log(&second, 8, &[two]));
    let primary = dirty(&first);
    let applied = |count: u32| {
        (code::HIVE_LOG_APPLIED, format!("{count} entries of the log were applied in memory"))
    };
    assert_eq!(state(&primary, &[&both]), ("third".into(), vec![applied(2)]));
    assert_eq!(state(&primary, &[&both, &[]]), ("third".into(), vec![applied(2)]));
    assert_eq!(state(&primary, &[&earlier, &later]), ("third".into(), vec![applied(2)]));
    assert_eq!(state(&primary, &[&later, &earlier]), ("third".into(), vec![applied(2)]));
    assert_eq!(state(&primary, &[&earlier]), ("later".into(), vec![applied(1)]));
    // A clean hive is newer than its logs.
    assert_eq!(state(&first, &[&both]), ("first".into(), Vec::new()));
}

#[test]
fn what_older_entries_left_in_a_log_is_not_applied() {
    let [first, second, third] = states();
    let log = new_log(&first, 7, &[log_entry(&first, &second, 7), log_entry(&second, &third, 6)]);
    let (name, told) = state(&dirty(&first), &[&log]);
    assert_eq!((name.as_str(), told.len(), told[0].0), ("later", 1, code::HIVE_LOG_APPLIED));
    // A log that the primary file has already.
    let log = new_log(&first, 6, &[log_entry(&first, &second, 6)]);
    let (name, told) = state(&dirty(&first), &[&log]);
    assert_eq!((name.as_str(), told[0].0), ("first", code::HIVE_DIRTY));
}

#[test]
fn a_damaged_entry_ends_what_is_applied_and_is_told() {
    let [first, second, third] = states();
    let one = log_entry(&first, &second, 7);
    let entry = 512 + one.len() as u64;
    let two = log_entry(&second, &third, 8);
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, u64, &str); 6] = [
        (|entry| entry[600] ^= 1, 0x18, "log entry has a bad hash"),
        (|entry| entry[33] ^= 1, 0x20, "header of a log entry has a bad hash"),
        (|entry| entry[4] = 1, 0x04, "log entry has an invalid size"),
        (|entry| entry.truncate(1024), 0x04, "log entry has an invalid size"),
        (
            |entry| {
                entry[16] = 1;
                seal_entry(entry);
            },
            0x10,
            "log entry has an invalid size of bins",
        ),
        (
            |entry| {
                entry[43] = 0x70;
                seal_entry(entry);
            },
            0x28,
            "log entry has an invalid page",
        ),
    ];
    for (change, field, message) in cases {
        let mut two = two.clone();
        change(&mut two);
        let log = new_log(&first, 7, &[one.clone(), two]);
        let (name, told) = state(&dirty(&first), &[&log]);
        let line = format!("log 1: {message} (at byte {})", entry + field);
        assert_eq!((name.as_str(), &told[0]), ("later", &(code::HIVE_LOG_DAMAGED, line)));
    }
}

#[test]
fn a_log_after_a_gap_is_told_and_not_applied() {
    let [first, second, third] = states();
    let earlier = new_log(&first, 7, &[log_entry(&first, &second, 7)]);
    let later = new_log(&second, 9, &[log_entry(&second, &third, 9)]);
    let (name, told) = state(&dirty(&first), &[&earlier, &later]);
    let line = "log 2: log does not follow the entries that were applied (at byte 0)".to_owned();
    assert_eq!((name.as_str(), &told[0]), ("later", &(code::HIVE_LOG_DAMAGED, line)));
}

#[test]
fn a_base_block_with_a_bad_checksum_is_taken_from_the_newest_log() {
    let [first, second, third] = states();
    let mut primary = dirty(&first);
    primary[0x28..0x2C].fill(0xEE);
    let earlier = new_log(&first, 7, &[log_entry(&first, &second, 7)]);
    let later = new_log(&first, 9, &[log_entry(&first, &third, 9)]);
    assert_eq!(state(&primary, &[&later, &earlier]).0, "third");
    // Without a log only what can be is used.
    let error = Hive::open(file(primary), Vec::new()).err().unwrap();
    assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(0x28)));
    let mut primary = first.clone();
    primary[0x1FC] ^= 1;
    let (name, told) = state(&primary, &[]);
    let codes: Vec<Code> = told.iter().map(|(code, _)| *code).collect();
    let expected = ["hive-header-damaged", "hive-dirty"];
    assert_eq!(
        (name.as_str(), codes),
        ("first", vec![code::HIVE_HEADER_DAMAGED, code::HIVE_DIRTY])
    );
    assert!(told.iter().map(|(code, _)| code.as_str()).eq(expected));
}

#[test]
fn a_log_of_the_old_form_is_applied() {
    let [first, _, third] = states();
    let log = old_log(&first, &third);
    let (name, told) = state(&dirty(&first), &[&log]);
    assert_eq!((name.as_str(), told.len(), told[0].0), ("third", 1, code::HIVE_LOG_APPLIED));
    let (name, told) = state(&dirty(&first), &[&[], &log]);
    assert_eq!((name.as_str(), told[0].0), ("third", code::HIVE_LOG_APPLIED));
    let mut primary = dirty(&first);
    primary[0x1FC] ^= 1;
    assert_eq!(state(&primary, &[&log]).0, "third");

    // Of another time.
    let mut other = log.clone();
    other[0x0C] ^= 1;
    seal(&mut other);
    let (name, told) = state(&dirty(&first), &[&other]);
    assert_eq!((name.as_str(), told[0].0), ("first", code::HIVE_DIRTY));

    // Not written to its end.
    let (name, told) = state(&dirty(&first), &[&log[..log.len() - 1]]);
    let line = format!("log 1: log ends before its last sector (at byte {})", log.len() - 1);
    assert_eq!((name.as_str(), &told[0]), ("first", &(code::HIVE_LOG_DAMAGED, line)));
    assert_eq!(told[1].0, code::HIVE_DIRTY);
    let mut half = log.clone();
    set_sequences(&mut half, 9, 8);
    let (_, told) = state(&dirty(&first), &[&half]);
    assert_eq!(told[0].1, "log 1: log was not written to its end (at byte 0)");
    let mut bare = log;
    bare[512] = b'X';
    assert_eq!(state(&dirty(&first), &[&bare]).1[0].1, "log 1: log has no bitmap (at byte 512)");
}

#[test]
fn the_second_log_of_the_old_form_is_used_where_it_is_newer() {
    let [first, second, third] = states();
    let mut stale = old_log(&first, &second);
    stale[0x0C..0x14].copy_from_slice(&(WRITTEN - 10).to_le_bytes());
    seal(&mut stale);
    let mut newer = old_log(&first, &third);
    newer[0x0C..0x14].copy_from_slice(&(WRITTEN + 10).to_le_bytes());
    seal(&mut newer);
    assert_eq!(state(&dirty(&first), &[&stale, &newer]).0, "third");
    assert_eq!(state(&dirty(&first), &[&newer, &stale]).0, "first");
    assert_eq!(state(&dirty(&first), &[&old_log(&first, &second), &newer]).0, "later");
}

#[test]
fn damaged_logs_are_told_or_harmless() {
    let [first, second, third] = states();
    let one = new_log(&first, 7, &[log_entry(&first, &second, 7)]);
    let two = new_log(&second, 8, &[log_entry(&second, &third, 8)]);
    let old = old_log(&first, &third);
    let mut state = 0xABCD_EF01_2345_6789;
    for round in 0..600 {
        let mut logs =
            if round % 2 == 0 { vec![one.clone(), two.clone()] } else { vec![old.clone()] };
        for log in &mut logs {
            // Mostly in what is not pages.
            let at = noise(&mut state) as usize % 1200.min(log.len());
            log[at] = noise(&mut state) as u8;
            seal(log);
            if round % 3 == 0 && round % 2 == 0 {
                seal_entry(&mut log[512..]);
            }
        }
        let logs: Vec<Arc<dyn FileData>> = logs.into_iter().map(file).collect();
        if let Ok(hive) = Hive::open(file(dirty(&first)), logs) {
            let applied = hive.findings().iter().any(|told| told.code == code::HIVE_LOG_APPLIED);
            let dirty = hive.findings().iter().any(|told| told.code == code::HIVE_DIRTY);
            assert!(applied != dirty, "{:?}", hive.findings());
            walk(&hive);
        }
    }
}
