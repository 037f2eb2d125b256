use volfold_block::{BlockErrorKind, ExtentKind, MemoryDevice};

use super::*;

/// The overlay at `path`, of any identity.
fn open(below: Arc<dyn BlockDevice>, path: &Path, limit: u64) -> io::Result<Overlay> {
    Overlay::in_file(below, &OverlayFile::new(path, [7; 32], limit))
}

const SIZE: usize = 10 * 4096 + 512;

fn below() -> Arc<dyn BlockDevice> {
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
    Arc::new(MemoryDevice::new(bytes))
}

fn contents(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Changes at random places, on the overlay and on plain bytes.
fn change(overlay: &Overlay, model: &mut [u8], rounds: u32) {
    let mut state = 0x9E37_79B9_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..rounds {
        let offset = random(SIZE as u64);
        let length = random(12_000).min(SIZE as u64 - offset);
        let range = offset as usize..(offset + length) as usize;
        if round % 3 == 0 {
            overlay.write_zeroes(offset, length).unwrap();
            model[range].fill(0);
        } else {
            let bytes: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
            overlay.write(offset, &bytes).unwrap();
            model[range].copy_from_slice(&bytes);
        }
        assert_eq!(contents(overlay), model, "round {round}");
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("volfold-overlay-{}-{name}", std::process::id()))
}

#[test]
fn reads_see_the_changes_and_the_image_does_not() {
    let below = below();
    let before = contents(&*below);
    let mut model = before.clone();
    change(&Overlay::in_memory(below.clone(), 1 << 30), &mut model, 60);
    assert_eq!(contents(&*below), before);
}

#[test]
fn a_sidecar_is_taken_up_again_and_a_torn_record_is_left_out() {
    let path = path("again");
    let mut model = contents(&*below());
    let overlay = open(below(), &path, 1 << 30).unwrap();
    change(&overlay, &mut model, 40);
    let busy = open(below(), &path, 1 << 30).err().unwrap();
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    let mut whole = std::fs::read(&path).unwrap();
    overlay.write(0, &[1; 4096]).unwrap();
    drop(overlay);
    let again = open(below(), &path, 1 << 30).unwrap();
    assert_eq!(contents(&again)[..4096], [1; 4096]);
    drop(again);
    // A crash in the middle of the last record.
    whole.resize(whole.len() + 1000, 0);
    std::fs::write(&path, whole).unwrap();
    let torn = open(below(), &path, 1 << 30).unwrap();
    assert!(contents(&torn) == model);
    let [remark] = torn.remarks() else { panic!("{:?}", torn.remarks()) };
    assert!(remark.contains("the last 1000 bytes were not written whole"), "{remark}");
    let mut aside = path.clone().into_os_string();
    aside.push(".torn-1");
    assert_eq!(std::fs::read(&aside).unwrap().len(), 1000);
    std::fs::remove_file(aside).unwrap();
    drop(torn);
    let wanted = OverlayFile::new(&path, [8; 32], 1 << 30);
    let other = Overlay::in_file(below(), &wanted).err().unwrap();
    assert!(other.to_string().contains("belongs to another"), "{other}");
    std::fs::write(&path, b"no overlay").unwrap();
    assert!(open(below(), &path, 1 << 30).is_err());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_full_overlay_refuses_and_keeps_what_it_has() {
    let overlay = Overlay::in_memory(below(), 3 * 4096);
    overlay.write(0, &[1; 4096]).unwrap();
    overlay.write(0, &[2; 4096]).unwrap();
    overlay.write(8192, &[3; 4096]).unwrap();
    let full = overlay.write(4096, &[4; 4096]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(contents(&overlay)[..4096], [2; 4096]);
}

#[test]
fn zeros_without_end_take_no_memory() {
    let below: Arc<dyn BlockDevice> = Arc::new(Huge);
    let path = path("zeros");
    let overlay = open(below.clone(), &path, 64 << 10).unwrap();
    overlay.write_zeroes(0, Huge.size()).unwrap();
    overlay.write(1 << 40, &[9; 4096]).unwrap();
    let one_by_one = (0..4000).map(|block| overlay.write_zeroes(block * 8192, 4096));
    let full = one_by_one.filter_map(Result::err).next().unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    drop(overlay);
    let small = open(below.clone(), &path, 8 << 10).err().unwrap();
    assert_eq!(small.kind(), io::ErrorKind::StorageFull);
    let again = open(below, &path, 1 << 20).unwrap();
    let mut buf = [1; 8192];
    again.read_at((1 << 40) - 4096, &mut buf).unwrap();
    assert!(buf[..4096].iter().all(|byte| *byte == 0) && buf[4096..] == [9; 4096]);
    let after = again.extent_at((1 << 40) + 4096).unwrap();
    assert_eq!((after.kind, after.length), (ExtentKind::Zero, Huge.size() - (1 << 40) - 4096));
    std::fs::remove_file(path).unwrap();
}

/// Four tebibytes of ones.
struct Huge;

impl BlockDevice for Huge {
    fn size(&self) -> u64 {
        4 << 40
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        buf.fill(1);
        Ok(())
    }
}

/// Pseudo-random numbers below a bound.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    }
}

/// The records of the sidecar at `path`: where each begins, and what it is for.
fn records(path: &Path) -> Vec<(usize, Record)> {
    let bytes = std::fs::read(path).unwrap();
    let (header, start) = Header::read(&mut &bytes[..]).unwrap();
    let mut at = start as usize;
    let mut found = Vec::new();
    while let Some(record) = Record::parse(&bytes[at..], &header.salt, u64::MAX) {
        found.push((at, record));
        at += record.length() as usize;
    }
    assert_eq!(at, bytes.len());
    found
}

/// One block each, with its number in it.
fn write_blocks(overlay: &Overlay, blocks: std::ops::Range<u64>) {
    for block in blocks {
        overlay.write(block * BLOCK, &[block as u8 + 1; 4096]).unwrap();
    }
}

#[test]
fn no_bent_byte_loses_a_whole_record_in_silence() {
    let path = path("bent");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    write_blocks(&overlay, 0..10);
    overlay.flush().unwrap();
    drop(overlay);
    let good = std::fs::read(&path).unwrap();
    let whole = records(&path);
    let last = whole.last().unwrap().0;
    let mut random = numbers(7);
    for trial in 0..300 {
        let place = random(good.len() as u64) as usize;
        let mut bad = good.clone();
        bad[place] ^= 1 << random(8);
        std::fs::write(&path, &bad).unwrap();
        match open(below(), &path, 1 << 30) {
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{trial}: {error}");
                assert_eq!(std::fs::read(&path).unwrap(), bad, "{trial}: nothing is cut");
            }
            // Only the mark at the end can go, and that is told and kept.
            Ok(overlay) => {
                assert!(place >= last, "byte {place} of {}", good.len());
                let [remark] = overlay.remarks() else { panic!("{:?}", overlay.remarks()) };
                assert!(remark.contains("kept in"), "{remark}");
                let bytes = contents(&overlay);
                assert!((0..10).all(|block| bytes[block * 4096] == block as u8 + 1));
            }
        }
    }
    clear(&path);
}

/// Removes the sidecar and what was kept beside it.
fn clear(path: &Path) {
    std::fs::remove_file(path).unwrap();
    for number in 1..400 {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".torn-{number}"));
        let _ = std::fs::remove_file(name);
    }
}

#[test]
fn a_damaged_record_can_be_read_around_and_its_bytes_are_errors() {
    let path = path("around");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    write_blocks(&overlay, 0..4);
    drop(overlay);
    let (at, record) = records(&path)[1];
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at + RECORD_HEADER + 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = open(below(), &path, 1 << 30).err().unwrap().to_string();
    assert!(refused.contains("4096 bytes of the device are damaged"), "{refused}");
    let mut wanted = OverlayFile::new(&path, [7; 32], 1 << 30);
    wanted.force = true;
    let forced = Overlay::in_file(below(), &wanted).unwrap();
    let [remark] = forced.remarks() else { panic!("{:?}", forced.remarks()) };
    assert!(remark.contains("what is whole is read"), "{remark}");
    let mut block = [0; 4096];
    let error = forced.read_at(record.blocks.start(), &mut block).unwrap_err();
    assert_eq!(error.kind(), BlockErrorKind::Corrupt);
    for whole in [0, 2, 3] {
        forced.read_at(whole * BLOCK, &mut block).unwrap();
        assert_eq!(block, [whole as u8 + 1; 4096]);
    }
    // What covers it makes it whole again.
    forced.write(BLOCK, &[9; 4096]).unwrap();
    drop(forced);
    let whole = open(below(), &path, 1 << 30).unwrap();
    assert_eq!(contents(&whole)[4096..8192], [9; 4096]);
    let [remark] = whole.remarks() else { panic!("{:?}", whole.remarks()) };
    assert!(remark.contains("all written again since"), "{remark}");
    clear(&path);
}

#[test]
fn bytes_that_a_client_wrote_are_not_taken_for_records() {
    let path = path("forged");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    write_blocks(&overlay, 0..1);
    drop(overlay);
    // A record as it lies in another overlay, which a client may write, and the end cut off in it.
    let other = self::path("forger");
    let overlay = open(below(), &other, 1 << 30).unwrap();
    write_blocks(&overlay, 0..2);
    drop(overlay);
    let (at, _) = records(&other)[1];
    let forged = std::fs::read(&other).unwrap()[at..].to_vec();
    let overlay = open(below(), &path, 1 << 30).unwrap();
    overlay.write(BLOCK, &[&forged[..4144], &[0; 4048][..]].concat()).unwrap();
    drop(overlay);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let torn = open(below(), &path, 1 << 30).unwrap();
    assert_eq!(torn.remarks().len(), 1);
    assert_eq!(contents(&torn)[4096..8192], contents(&*below())[4096..8192]);
    clear(&path);
    clear(&other);
}

#[test]
fn an_image_that_was_changed_since_is_refused() {
    let path = path("changed");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    let file = |name: &str, size, modified| BaseFile { name: name.to_owned(), size, modified };
    let mut wanted = OverlayFile::new(&path, [7; 32], 1 << 30);
    wanted.files = vec![file("a/disk.vmdk", 10, Some(time)), file("a/disk-s1.vmdk", 9, Some(time))];
    let overlay = Overlay::in_file(below(), &wanted).unwrap();
    overlay.write(4 * BLOCK + 5, b"new").unwrap();
    overlay.write_zeroes(6 * BLOCK, 2 * BLOCK).unwrap();
    drop(overlay);
    let refuses = |wanted: &OverlayFile, below: Arc<dyn BlockDevice>, reason: &str| {
        let error = Overlay::in_file(below.clone(), wanted).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
        let forced = OverlayFile { force: true, ..wanted.clone() };
        let forced = Overlay::in_file(below, &forced).unwrap();
        assert!(forced.remarks()[0].contains(reason), "{:?}", forced.remarks());
    };
    // In another folder, in another order, and with one more they are the same.
    let mut moved = wanted.clone();
    moved.files = vec![
        file("b/other.vmdk", 1, None),
        file("b/disk-s1.vmdk", 9, Some(time)),
        file("b/disk.vmdk", 10, Some(time)),
    ];
    assert!(Overlay::in_file(below(), &moved).unwrap().remarks().is_empty());
    let later = Some(time + std::time::Duration::from_millis(1));
    let mut other = wanted.clone();
    other.files[1].modified = later;
    refuses(&other, below(), "a/disk-s1.vmdk was changed: it was written 0.001 s later");
    other.files[1] = file("a/disk-s1.vmdk", 8, Some(time));
    refuses(&other, below(), "a/disk-s1.vmdk was changed: 8 bytes, were 9");
    other.files.pop();
    refuses(&other, below(), "a/disk-s1.vmdk was a part of it and is missing");
    for block in [4, 6, 7] {
        let mut bytes = contents(&*below());
        bytes[block * 4096 + 4000] ^= 1;
        let reason = format!("hold other bytes now: {}", block * 4096);
        refuses(&wanted, Arc::new(MemoryDevice::new(bytes)), &reason);
    }
    clear(&path);
}

#[test]
fn what_is_overwritten_takes_no_place() {
    let path = path("again-and-again");
    let overlay = open(below(), &path, 6 * 4096).unwrap();
    for round in 0..100 {
        overlay.write(0, &[round; 4 * 4096]).unwrap();
        overlay.write_zeroes(0, 4096).unwrap();
    }
    overlay.flush().unwrap();
    let mut model = contents(&*below());
    model[4096..4 * 4096].fill(99);
    model[..4096].fill(0);
    assert_eq!(contents(&overlay), model);
    drop(overlay);
    assert!(path.metadata().unwrap().len() > 100 * 4 * 4096);
    let again = open(below(), &path, 6 * 4096).unwrap();
    assert!(path.metadata().unwrap().len() < 5 * 4096);
    assert_eq!(contents(&again), model);
    change(&again, &mut model, 1);
    let busy = open(below(), &path, 1 << 30).err().unwrap();
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    drop(again);
    assert_eq!(contents(&open(below(), &path, 1 << 30).unwrap()), model);
    clear(&path);
}

#[test]
fn an_overlay_is_written_anew_while_it_is_read_and_written() {
    let path = path("anew");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    let mut model = contents(&*below());
    change(&overlay, &mut model, 20);
    let mut count = 0;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..2000 {
                assert_eq!(contents(&overlay), model);
            }
        });
        while !reader.is_finished() {
            let mut log = overlay.log.lock();
            let changed = overlay.changed();
            let sidecar = changed.sidecar.as_ref().unwrap();
            let header = overlay.header.as_ref().unwrap();
            match compact(changed, sidecar, header, log.end) {
                Ok(compacted) => {
                    (log.end, log.sequence) = (compacted.end, compacted.sequence);
                    count += 1;
                }
                // Where a reader still has the file before the last one open, its name is not free.
                Err(error) if cfg!(windows) => {
                    let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::AlreadyExists];
                    assert!(kinds.contains(&error.kind()), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(count > 0);
    change(&overlay, &mut model, 20);
    drop(overlay);
    assert_eq!(contents(&open(below(), &path, 1 << 30).unwrap()), model);
    clear(&path);
}

/// A device whose bytes change, and one of whose blocks may be unreadable.
struct Unsteady {
    bytes: Mutex<Vec<u8>>,
    unreadable: Option<u64>,
}

impl BlockDevice for Unsteady {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let end = offset + buf.len() as u64;
        if self.unreadable.is_some_and(|block| offset < block + BLOCK && end > block) {
            return Err(volfold_block::BlockError::new(BlockErrorKind::Io, "bad sector"));
        }
        buf.copy_from_slice(&self.bytes.lock()[offset as usize..end as usize]);
        Ok(())
    }
}

#[test]
fn an_overlay_that_is_written_anew_keeps_what_was_below() {
    let path = path("evidence");
    let bytes = contents(&*below());
    let device = Arc::new(Unsteady { bytes: Mutex::new(bytes), unreadable: None });
    let overlay = open(device.clone(), &path, 1 << 30).unwrap();
    overlay.write(2 * BLOCK + 5, b"new").unwrap();
    overlay.write_zeroes(5 * BLOCK, 3 * BLOCK).unwrap();
    overlay.write(6 * BLOCK, &[1; 4096]).unwrap();
    // The image is changed below it meanwhile, and nobody notices.
    device.bytes.lock()[6 * 4096] ^= 1;
    let mut log = overlay.log.lock();
    let (changed, header) = (overlay.changed(), overlay.header.as_ref().unwrap());
    let sidecar = changed.sidecar.as_ref().unwrap();
    let compacted = compact(changed, sidecar, header, log.end).unwrap();
    (log.end, log.sequence) = (compacted.end, compacted.sequence);
    drop(log);
    overlay.flush().unwrap();
    drop(overlay);
    let error = open(device.clone(), &path, 1 << 30).err().unwrap().to_string();
    assert!(error.contains(&format!("hold other bytes now: {}", 6 * 4096)), "{error}");
    device.bytes.lock()[6 * 4096] ^= 1;
    assert!(open(device, &path, 1 << 30).unwrap().remarks().is_empty());
    clear(&path);
}

/// 40 tebibytes of one byte, with another at one place.
struct Bent(u8, u64);

impl BlockDevice for Bent {
    fn size(&self) -> u64 {
        40 << 40
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        buf.fill(self.0);
        let place = self.1.checked_sub(offset).and_then(|place| buf.get_mut(place as usize));
        place.into_iter().for_each(|byte| *byte ^= 1);
        Ok(())
    }
}

#[test]
fn zeros_that_are_written_anew_keep_all_of_what_was_below() {
    let path = path("zeros-anew");
    let far = 33 << 40;
    // More bases than one record takes, and some that are further away than a record counts.
    let overlay = open(Arc::new(Bent(1, u64::MAX)), &path, 1 << 30).unwrap();
    for start in [0, 20 << 20, far] {
        overlay.write(start, &vec![7; 20 << 20]).unwrap();
    }
    overlay.write_zeroes(0, 40 << 40).unwrap();
    drop(overlay);
    drop(open(Arc::new(Bent(1, u64::MAX)), &path, 1 << 30).unwrap());
    assert!(path.metadata().unwrap().len() < 1 << 20, "it was written anew");
    for bent in [5, (40 << 20) - 1, far, far + (20 << 20) - 1] {
        let error = open(Arc::new(Bent(1, bent)), &path, 1 << 30).err().unwrap().to_string();
        let block = bent - bent % BLOCK;
        assert!(error.contains(&format!("hold other bytes now: {block}")), "{error}");
    }
    assert!(open(Arc::new(Bent(1, u64::MAX)), &path, 1 << 30).unwrap().remarks().is_empty());
    clear(&path);
}

#[test]
fn a_block_that_was_replaced_is_not_read_below_again() {
    let bytes = contents(&*below());
    let device = Unsteady { bytes: Mutex::new(bytes), unreadable: Some(3 * BLOCK) };
    let overlay = Overlay::in_memory(Arc::new(device), 1 << 30);
    assert!(overlay.write(3 * BLOCK + 1, b"part").is_err());
    overlay.write(3 * BLOCK, &[7; 4096]).unwrap();
    overlay.write(3 * BLOCK + 1, b"part").unwrap();
    let mut block = [0; 6];
    overlay.read_at(3 * BLOCK, &mut block).unwrap();
    assert_eq!(&block, b"\x07part\x07");
}

#[test]
fn another_beginning_of_the_image_can_be_forced() {
    let path = path("forced");
    drop(open(below(), &path, 1 << 30).unwrap());
    let mut wanted = OverlayFile::new(&path, [8; 32], 1 << 30);
    let error = Overlay::in_file(below(), &wanted).err().unwrap().to_string();
    assert!(error.contains("belongs to another") && error.contains("--overlay-force"), "{error}");
    wanted.force = true;
    let forced = Overlay::in_file(below(), &wanted).unwrap();
    assert!(forced.remarks()[0].contains("its beginning or end"), "{:?}", forced.remarks());
    drop(forced);
    let smaller = Arc::new(MemoryDevice::new(vec![0; 4096]));
    assert!(Overlay::in_file(smaller, &wanted).is_err());
    clear(&path);
}

#[cfg(windows)]
#[test]
fn what_a_crash_left_between_two_names_is_taken_up_again() {
    let path = path("between");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    let mut model = contents(&*below());
    change(&overlay, &mut model, 5);
    drop(overlay);
    let aside = path.with_file_name(format!("{}.before", path.file_name().unwrap().display()));
    std::fs::rename(&path, &aside).unwrap();
    assert_eq!(contents(&open(below(), &path, 1 << 30).unwrap()), model);
    assert!(!aside.exists());
    // Beside the one that took its name it serves no more; what is not ours stays.
    std::fs::copy(&path, &aside).unwrap();
    drop(open(below(), &path, 1 << 30).unwrap());
    assert!(!aside.exists());
    std::fs::write(&aside, b"a file of the user").unwrap();
    drop(open(below(), &path, 1 << 30).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(contents(&open(below(), &path, 1 << 30).unwrap()), contents(&*below()));
    assert!(aside.exists());
    std::fs::remove_file(aside).unwrap();
    clear(&path);
}

#[test]
fn overlays_of_other_formats_are_refused_by_name() {
    let path = path("formats");
    for (bytes, reason) in [
        (&b"VOLFOVL1 and more"[..], "format 1, of an older volfold"),
        (b"VOLFOVL7", "format 7, which this volfold does not know"),
        (b"VOLFOVL2", "header is damaged"),
        (b"KDMV", "not a volfold overlay"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(below(), &path, 1 << 30).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    clear(&path);
}

#[test]
fn once_writing_back_failed_nothing_is_safe_any_more() {
    let path = path("failed");
    let overlay = open(below(), &path, 1 << 30).unwrap();
    overlay.write(0, &[1; 4096]).unwrap();
    overlay.flush().unwrap();
    overlay.has_failed.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(overlay.flush().is_err());
        assert!(overlay.write(0, &[2; 4096]).is_err());
        assert!(overlay.write_zeroes(0, 4096).is_err());
    }
    assert_eq!(contents(&overlay)[..4096], [1; 4096]);
    clear(&path);
}

#[cfg(unix)]
#[test]
fn a_lock_that_a_starting_program_still_has_is_waited_for() {
    let path = path("starting");
    drop(open(below(), &path, 1 << 30).unwrap());
    let file = File::open(&path).unwrap();
    file.try_lock().unwrap();
    // What a child has between its fork and the program that it runs.
    let copy = file.try_clone().unwrap();
    drop(file);
    let child = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(copy);
    });
    assert!(open(below(), &path, 1 << 30).is_ok());
    child.join().unwrap();
    clear(&path);
}
