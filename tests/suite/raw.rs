//! Disks and volumes as files of a mount, compared with QEMU's view of the images.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom as SparseSeek;
use rustix::io::Errno;

use crate::common::fixtures::{Fixture, fixture, index};
use crate::common::mounted::Folder;
use crate::common::program::{Scratch, program, text, volfold, within};
use crate::common::{needs_mount, sha256};
use crate::harness::{apply, needs_programs, note, test};

/// The whole disk of `image` as QEMU reads it; `None` where it does not.
fn by_qemu(image: &Path) -> Option<Vec<u8>> {
    let format = match image.extension()?.to_str()? {
        "vmdk" => "vmdk",
        "img" => "raw",
        _ => return None,
    };
    let scratch = Scratch::new("qemu");
    let raw = scratch.join("raw");
    let converted =
        program("qemu-img", &["convert", "-f", format, "-O", "raw", text(image), text(&raw)]);
    (converted.code == Some(0)).then(|| fs::read(&raw).expect("a disk"))
}

fn list(disks: &[PathBuf]) -> serde_json::Value {
    let mut arguments = vec!["list", "--json"];
    arguments.extend(disks.iter().map(|disk| text(disk)));
    volfold(arguments).json()
}

/// The content of every file in `FOLDER/.raw`, by name.
fn raw_files(folder: &Folder) -> BTreeMap<String, Result<Vec<u8>, std::io::Error>> {
    let path = folder.join(".raw");
    within("reads of raw files", move || {
        let entries = fs::read_dir(&path).expect("a listing").map(|entry| entry.expect("an entry"));
        let read = entries.map(|entry| {
            let name = entry.file_name().into_string().expect("text");
            let size = entry.metadata().expect("metadata").len();
            let content = fs::read(entry.path());
            assert!(
                content.as_ref().is_ok_and(|bytes| bytes.len() as u64 == size) || content.is_err()
            );
            (name, content)
        });
        read.collect()
    })
}

/// The bytes of the partitions that the recipe put on a disk, by their offset.
fn partitions(fixture: &Fixture) -> BTreeMap<u64, u64> {
    let mut found: BTreeMap<u64, u64> =
        fixture.volumes.iter().map(|volume| (volume.offset, volume.size)).collect();
    if let Some(table) = &fixture.table {
        for partition in &table.partitions {
            let unit = u64::from(table.sector_size);
            found.insert(partition.start_lba * unit, partition.sectors * unit);
        }
    }
    found
}

#[apply(test)]
fn with_raw_files_what_is_odd_is_told_all_the_same() {
    needs_mount();
    let scratch = Scratch::new("raw-odd");
    let [first, second] = &fixture("ldm-spanned").paths()[..] else { panic!("two disks") };
    let cut = scratch.join("cut.img");
    let bytes = fs::read(first).expect("the first disk");
    fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).expect("a cut disk");
    for disks in [vec![cut.clone(), second.clone()], vec![cut.clone()]] {
        let folder = Folder::new("raw-odd");
        let said = folder.mount(&disks, &["--raw", "--json"]).code(3).json();
        let findings = said["findings"].as_array().expect("findings");
        assert!(findings.iter().any(|finding| finding["code"] == "partition-past-end"), "{said}");
        folder.unmount(&[]).code(0);
    }
    let folder = Folder::new("raw-none");
    let said = folder.mount(&[fixture("sample").path()], &["--volume", "none", "--json"]).code(1);
    assert_eq!(said.json()["failures"][0]["path"], "none");
}

#[apply(test)]
fn every_disk_and_volume_is_a_file_with_its_bytes() {
    needs_mount();
    needs_programs(&["qemu-img"]);
    let (mut disks, mut volumes) = (0, 0);
    for fixture in index().fixtures.values() {
        let [image] = &fixture.paths()[..] else { continue };
        let Some(theirs) = by_qemu(image) else { continue };
        let listed = list(std::slice::from_ref(image));
        if listed["disks"][0].is_null() {
            continue;
        }
        let folder = Folder::new("files");
        let mounted = folder.mount(std::slice::from_ref(image), &["--raw"]);
        assert!(matches!(mounted.code, Some(0 | 3)), "{}: {mounted:?}", fixture.name);
        let mut files = raw_files(&folder);
        let disk = match files.remove("disk0.img").expect("the disk") {
            Ok(disk) => disk,
            Err(error) => {
                // QEMU takes damaged grains for zeros.
                let expected = fixture.expect.as_ref().is_some_and(|one| one.reads.is_some());
                assert!(expected, "{}: {error}", fixture.name);
                assert_eq!(Errno::from_io_error(&error), Some(Errno::IO), "{}", fixture.name);
                continue;
            }
        };
        assert!(disk == theirs, "{}: the disk", fixture.name);
        disks += 1;
        for (offset, size) in partitions(fixture) {
            let mut all = listed["volumes"].as_array().expect("volumes").iter();
            let volume = all.find(|one| one["extents"][0]["offset"].as_u64() == Some(offset));
            let Some(volume) = volume else { continue };
            let name = volume["name"].as_str().expect("a name");
            // A partition that leaves its disk has the bytes that are there.
            let [start, end] = [offset, offset + size].map(|at| theirs.len().min(at as usize));
            let wanted = &theirs[start..end];
            let bytes = match files.remove(&format!("{name}.img")) {
                Some(bytes) => bytes.expect("the bytes of a volume"),
                None if name == "disk0" => disk.clone(),
                None => panic!("{}: no file for {name}", fixture.name),
            };
            // Of a file system without partitions the disk may be the larger one.
            let whole = volume["type"] == "whole-disk";
            assert!(bytes == wanted || (whole && bytes == theirs), "{}: {name}", fixture.name);
            volumes += 1;
        }
        folder.unmount(&[]).code(0);
    }
    note!("{disks} disks, {volumes} volumes");
    assert!(disks > 40 && volumes > 40, "{disks} disks, {volumes} volumes");
}

#[apply(test)]
fn volumes_of_several_disks_are_files_with_the_bytes_that_were_put_in() {
    needs_mount();
    let mut volumes = 0;
    for fixture in index().fixtures.values().filter(|fixture| !fixture.dynamic.is_empty()) {
        let listed = list(&fixture.paths());
        let folder = Folder::new("sets");
        let mounted = folder.mount(&fixture.paths(), &["--raw"]);
        assert!(matches!(mounted.code, Some(0 | 3)), "{}: {mounted:?}", fixture.name);
        let files = raw_files(&folder);
        for facts in &fixture.dynamic {
            let mut all = listed["volumes"].as_array().expect("volumes").iter();
            let volume = all.find(|one| one["id"].as_str() == Some(facts.id.as_str()));
            let name = volume.expect("the volume")["name"].as_str().expect("a name");
            let bytes = files[&format!("{name}.img")].as_ref().expect("the bytes of a volume");
            assert_eq!(sha256(bytes), facts.sha256, "{}: {name}", fixture.name);
            volumes += 1;
        }
        for (index, path) in fixture.paths().iter().enumerate() {
            let disk = files[&format!("disk{index}.img")].as_ref().expect("the bytes of a disk");
            assert!(*disk == fs::read(path).expect("a disk"), "{}: disk{index}", fixture.name);
        }
        folder.unmount(&[]).code(0);
    }
    note!("{volumes} volumes");
    assert!(volumes > 20, "{volumes} volumes");
}

/// The runs of holes and data of the file at `path`, as `SEEK_HOLE` and `SEEK_DATA` tell them.
fn runs(path: &Path) -> Vec<(u64, u64, bool)> {
    let mut file = File::open(path).expect("a file");
    let size = file.seek(SeekFrom::End(0)).expect("the size");
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let hole = rustix::fs::seek(&file, SparseSeek::Hole(at)).expect("SEEK_HOLE");
        let (end, is_hole) = if hole > at {
            (hole, false)
        } else {
            match rustix::fs::seek(&file, SparseSeek::Data(at)) {
                Ok(data) => (data, true),
                Err(error) => {
                    assert_eq!(error, Errno::NXIO);
                    (size, true)
                }
            }
        };
        assert!(end > at, "{} goes nowhere at {at}", path.display());
        found.push((at, end - at, is_hole));
        at = end;
    }
    found
}

/// The runs that `qemu-img map` tells of `image`.
fn runs_by_qemu(image: &Path) -> Vec<(u64, u64, bool)> {
    let map = program("qemu-img", &["map", "--output=json", text(image)]).code(0).json();
    let mut found: Vec<(u64, u64, bool)> = Vec::new();
    for one in map.as_array().expect("a map") {
        let number = |key: &str| one[key].as_u64().expect("a number");
        let (start, length) = (number("start"), number("length"));
        let is_hole = one["data"] == false;
        match found.last_mut() {
            Some((_, last, kind)) if *kind == is_hole => *last += length,
            _ => found.push((start, length, is_hole)),
        }
    }
    found
}

#[apply(test)]
fn holes_are_those_that_qemu_tells_of() {
    needs_mount();
    needs_programs(&["qemu-img"]);
    let mut images = vec![
        fixture("sample").path(),
        fixture("vmdk-monolithic-sparse").path(),
        fixture("vmdk-split-sparse").path(),
        fixture("vmdk-stream-optimized").path(),
        fixture("vmdk-chain").path(),
    ];
    // Larger, with islands.
    let scratch = Scratch::new("islands");
    let (raw, sparse) = (scratch.join("raw"), scratch.join("islands.vmdk"));
    let file = File::create(&raw).expect("a file");
    file.set_len(3 << 30).expect("a length");
    for place in [0, 70 << 10, 1 << 30, (3 << 30) - 4096] {
        file.write_all_at(&[9; 4096], place).expect("an island");
    }
    let made = ["convert", "-f", "raw", "-O", "vmdk", text(&raw), text(&sparse)];
    program("qemu-img", &made).code(0);
    images.push(sparse);
    let mut holes = 0;
    for image in &images {
        let folder = Folder::new("holes");
        folder.mount(std::slice::from_ref(image), &["--raw"]).code(0);
        let path = folder.join(".raw/disk0.img");
        let (ours, facts) =
            within("seeks", move || (runs(&path), fs::metadata(&path).expect("metadata")));
        let theirs = runs_by_qemu(image);
        assert_eq!(ours, theirs, "{}", image.display());
        let data: u64 = theirs.iter().filter(|one| !one.2).map(|one| one.1).sum();
        assert_eq!(facts.blocks(), data.div_ceil(512), "{}", image.display());
        holes += theirs.iter().filter(|one| one.2).count();
        folder.unmount(&[]).code(0);
    }
    assert!(holes > 8, "{holes} holes");
}

#[apply(test)]
fn bytes_that_cannot_be_had_are_errors_and_those_around_them_are_there() {
    needs_mount();
    let image = fixture("vmdk-truncated").path();
    let folder = Folder::new("errors");
    folder.mount(&[image], &["--raw", "--volume", "disk0"]).code(0);
    let path = folder.join(".raw/disk0.img");
    let (good, bad) = within("reads", move || {
        let file = File::open(path).expect("the file");
        let size = file.metadata().expect("metadata").len();
        let (mut good, mut bad) = (0, Vec::new());
        for place in (0..size).step_by(4096) {
            match file.read_exact_at(&mut [0; 4096], place) {
                Ok(()) => good += 1,
                Err(error) => bad.push(Errno::from_io_error(&error).expect("a number")),
            }
        }
        (good, bad)
    });
    assert!(good > 0 && !bad.is_empty(), "{good} good, {} bad", bad.len());
    assert!(bad.iter().all(|error| *error == Errno::IO), "{bad:?}");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn what_nobody_reads_is_named_with_the_way_to_its_bytes() {
    needs_mount();
    let image = fixture("unknown-file-system").path();
    // Random bytes may be an encrypted volume.
    let listed = volfold(["list", text(&image)]).code(3).text();
    let folder = Folder::new("unknown");
    folder
        .mount(std::slice::from_ref(&image), &[])
        .code(1)
        .says("; with --raw its bytes are .raw/");
    // The command of `list`, as it stands there.
    let line = listed.lines().find(|line| line.contains("--raw")).expect("a way");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let words = words.iter().map(|word| match *word {
        "FOLDER" => text(folder.path()),
        word => word,
    });
    volfold(words).code(0).says("shown as .raw/");
    let files = raw_files(&folder);
    let [(_, bytes)] = &files.iter().collect::<Vec<_>>()[..] else { panic!("{files:?}") };
    let volume = &list(std::slice::from_ref(&image))["volumes"][0];
    let place = |key: &str| volume["extents"][0][key].as_u64().expect("a number") as usize;
    let (start, length) = (place("offset"), place("length"));
    let disk = fs::read(&image).expect("the disk");
    assert!(bytes.as_ref().expect("bytes")[..] == disk[start..start + length]);
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn volumes_that_are_called_like_disks_or_the_folder_keep_apart() {
    needs_mount();
    needs_programs(&["mkfs.ext4", "sfdisk"]);
    let scratch = Scratch::new("names");
    let image = scratch.join("disk.img");
    let mut disk = File::create(&image).expect("a disk");
    disk.set_len(16 << 20).expect("a length");
    let table = scratch.join("table");
    fs::write(&table, "label: dos\n2048,8192\n10240,8192\n18432,8192\n").expect("a table");
    let made = format!("sfdisk -q '{}' < '{}'", image.display(), table.display());
    program("sh", &["-c", &made]).code(0);
    for (label, start) in [("DISK0", 2048), ("disk0-2", 10240), (".raw", 18432)] {
        let part = scratch.join("part");
        File::create(&part).and_then(|file| file.set_len(8192 * 512)).expect("a file");
        program("mkfs.ext4", &["-q", "-F", "-L", label, text(&part)]).code(0);
        disk.seek(SeekFrom::Start(start * 512)).expect("a place");
        disk.write_all(&fs::read(&part).expect("a volume")).expect("a write");
    }
    let folder = Folder::new("names");
    folder.mount(std::slice::from_ref(&image), &["--raw"]).code(0);
    let files = raw_files(&folder);
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(names, [".raw_.img", "DISK0-3.img", "disk0-2.img", "disk0.img"]);
    let whole = fs::read(&image).expect("the disk");
    for (name, start) in [("DISK0-3.img", 2048), ("disk0-2.img", 10240), (".raw_.img", 18432)] {
        let bytes = files[name].as_ref().expect("bytes");
        assert!(bytes[..] == whole[start * 512..(start + 8192) * 512], "{name}");
    }
    let top = folder.path().to_path_buf();
    let mut shown = within("a listing", move || {
        let entries = fs::read_dir(top).expect("a listing").map(|entry| entry.expect("an entry"));
        entries.map(|entry| entry.file_name().into_string().expect("text")).collect::<Vec<_>>()
    });
    shown.sort();
    assert_eq!(shown, [".raw", ".raw_", "DISK0", "disk0-2"]);
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn a_letter_that_two_volumes_have_shows_neither_of_them() {
    needs_mount();
    let disks = fixture("ldm-two-groups").paths();
    for raw in [&["--raw"][..], &[]] {
        let asked = [&["--json", "--volume", "e:"], raw].concat();
        let folder = Folder::new("two-letters");
        let line = "several volumes are called e:: E, E-2";
        let said = folder.mount(&disks, &asked).code(1).says(line);
        let failures = said.json()["failures"].take();
        let told = failures.as_array().expect("failures").iter();
        assert_eq!(told.filter(|failure| failure["path"] == "e:").count(), 1, "{failures}");

        let said = folder.mount(&disks, &[&asked[..], &["--volume", "E-2"]].concat()).code(3);
        let json = said.says(line).json();
        assert_eq!(json["volumes"].as_array().map(Vec::len), Some(1), "{json}");
        assert_eq!(json["volumes"][0]["name"], "E-2");
        assert!(!folder.join("E").exists() && folder.join("E-2").exists());
        assert!(!folder.join(".raw/E.img").exists());
        folder.unmount(&[]).code(0);
    }
}
