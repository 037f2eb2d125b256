//! Windows on disks: partitions with hives that libhivex made, found by way of a set.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use volfold::guest::{Family, GuestSystem};
use volfold::{DiskSet, OpenOptions};

use crate::harness::{apply, test};

const SIGNATURE: u32 = 0x085B_7ABE;
const FIRST: u64 = 1 << 20;
/// Where the letter C: of the hive `system-10` lies.
const SECOND: u64 = 0x0650_0000;
const SIZE: usize = 16 << 20;

fn hive(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/hives/{name}.gz"));
    let mut bytes = Vec::new();
    let packed = fs::File::open(path).expect("a hive");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// A FAT volume with these files.
fn volume(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![0; SIZE]);
    fatfs::format_volume(&mut bytes, fatfs::FormatVolumeOptions::new()).expect("a volume");
    let volume = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new()).expect("a volume");
    for (path, content) in files {
        let root = volume.root_dir();
        let folders: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        for at in folders {
            root.create_dir(&path[..at]).expect("a folder");
        }
        root.create_file(path).expect("a file").write_all(content).expect("its content");
    }
    drop(volume);
    bytes.into_inner()
}

/// A disk with two partitions: what starts, and a Windows.
fn disk(boot: &[(&str, Vec<u8>)], windows: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut disk = vec![0; SECOND as usize + SIZE];
    disk[440..444].copy_from_slice(&SIGNATURE.to_le_bytes());
    for (entry, start) in [(446, FIRST), (462, SECOND)] {
        disk[entry + 4] = 0x06;
        disk[entry + 8..entry + 12].copy_from_slice(&((start / 512) as u32).to_le_bytes());
        disk[entry + 12..entry + 16].copy_from_slice(&((SIZE / 512) as u32).to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[FIRST as usize..][..SIZE].copy_from_slice(&volume(boot));
    disk[SECOND as usize..][..SIZE].copy_from_slice(&volume(windows));
    disk
}

fn windows(folder: &str, software: &str) -> Vec<(String, Vec<u8>)> {
    vec![
        (format!("{folder}/System32/config/SOFTWARE"), hive(software)),
        (format!("{folder}/System32/config/SYSTEM"), hive("system-10")),
    ]
}

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, Vec<u8>)> {
    files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect()
}

/// Where C: and D: are, and why not.
fn letters(system: &GuestSystem) -> Vec<(&str, Option<&str>, Option<&str>)> {
    system
        .mount_points
        .iter()
        .map(|point| (point.path.as_str(), point.volume.as_deref(), point.reason.as_deref()))
        .collect()
}

#[apply(test)]
fn a_windows_knows_its_letters_and_that_it_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("disk.img");
    let files = windows("Windows", "software-11");
    fs::write(&image, disk(&[("Boot/BCD", hive("bcd"))], &borrowed(&files))).expect("an image");
    let set = DiskSet::open([&image], &OpenOptions::default()).expect("a set");
    let info = set.os_info().expect("the systems");
    assert_eq!(info.findings, []);
    let [system] = &info.systems[..] else { panic!("{:?}", info.systems) };
    assert_eq!((system.family, system.folder.as_str()), (Family::Windows, "/Windows"));
    assert_eq!(system.product.as_deref(), Some("Windows 11 Pro"));
    assert_eq!(system.build.as_deref(), Some("26100.4170"));
    assert_eq!(system.architecture.as_deref(), Some("x86_64"));
    assert_eq!(system.host_name.as_deref(), Some("desktop-1a2b3c4"));
    assert_eq!(system.time_zone.as_deref(), Some("W. Europe Standard Time"));
    assert_eq!(system.installed.as_deref(), Some("2024-05-06T09:08:09Z"));
    assert_eq!(system.swap_files, [r"C:\pagefile.sys"]);
    assert_eq!(system.is_default, Some(true));
    let own = format!("mbr:{SIGNATURE:08x}-{}", SECOND / 512);
    assert_eq!(system.volume, own);
    let expected =
        [("C:", Some(own.as_str()), None), ("D:", None, Some("no volume of the set is it"))];
    assert_eq!(letters(system), expected);
}

#[apply(test)]
fn copies_of_a_disk_are_told_and_not_chosen_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = windows("Windows", "software-11");
    let bytes = disk(&[("Boot/BCD", hive("bcd"))], &borrowed(&files));
    let images = ["one.img", "two.img"].map(|name| folder.path().join(name));
    for image in &images {
        fs::write(image, &bytes).expect("an image");
    }
    let set = DiskSet::open(&images, &OpenOptions::default()).expect("a set");
    let info = set.os_info().expect("the systems");
    assert_eq!(info.systems.len(), 2);
    let several = Some("several volumes of the set are it, as copies of a disk");
    for system in &info.systems {
        assert_eq!(system.is_default, None);
        assert!(letters(system).contains(&("C:", None, several)), "{:?}", system.mount_points);
    }
}

#[apply(test)]
fn boot_ini_says_which_of_two_systems_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("disk.img");
    let boot_ini = b"[boot loader]\r\ndefault=multi(0)disk(0)rdisk(0)partition(2)\\WINNT\r\n\
        [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(2)\\WINNT=\"NT\"\r\n";
    let mut files = windows("WINNT", "software-nt4");
    files.extend(windows("WINDOWS", "software-11"));
    let disk = disk(&[("boot.ini", boot_ini.to_vec())], &borrowed(&files));
    fs::write(&image, disk).expect("an image");
    let set = DiskSet::open([&image], &OpenOptions::default()).expect("a set");
    let info = set.os_info().expect("the systems");
    let systems: Vec<_> = info
        .systems
        .iter()
        .map(|system| (system.folder.as_str(), system.product.as_deref(), system.is_default))
        .collect();
    let expected = [
        ("/WINNT", Some("Windows NT 4.0"), Some(true)),
        ("/WINDOWS", Some("Windows 11 Pro"), Some(false)),
    ];
    assert_eq!(systems, expected);
}
