//! What NTFS keeps of files beside their content, beside what ntfs-3g says of the same images.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::lgetxattr;
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_fs::{FileKind, FileSystem, FsErrorKind, Name, NodeId, StreamName};

use crate::common::compare::walk;
use crate::common::fixtures::fixture;
use crate::common::mounted::Folder;
use crate::common::program::Scratch;
use crate::harness::{apply, needs_path, needs_programs, note, test};

/// The names that ntfs-3g answers to, whatever the node.
const NAMES: [&str; 13] = [
    "system.ntfs_acl",
    "system.ntfs_attrib",
    "system.ntfs_attrib_be",
    "system.ntfs_times",
    "system.ntfs_times_be",
    "system.ntfs_crtime",
    "system.ntfs_crtime_be",
    "system.ntfs_reparse_data",
    "system.ntfs_object_id",
    "system.ntfs_dos_name",
    "system.ntfs_ea",
    "system.ntfs_efsinfo",
    "user.none",
];

const IMAGES: [&str; 6] =
    ["ntfs-plain", "ntfs-ads", "ntfs-symlinks", "ntfs-wsl", "ntfs-hardlinks", "ntfs-dos-names"];

/// A mount of ntfs-3g, which ends with this value.
pub(crate) struct Other(Child, Scratch);

impl Other {
    fn mounted(image: &Path) -> Self {
        Self::mounted_with(image, "ro,streams_interface=xattr")
    }

    pub(crate) fn mounted_with(image: &Path, options: &str) -> Self {
        let scratch = Scratch::new("ntfs-3g");
        let mut command = Command::new("timeout");
        command
            .args(["-s", "KILL", "60", "ntfs-3g", "-o"])
            .arg(format!("no_detach,noatime,{options}"))
            .args([image, scratch.path()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let other = Self(command.spawn().expect("ntfs-3g"), scratch);
        for _ in 0..500 {
            let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
            if table.contains(other.1.path().to_str().expect("a plain path")) {
                return other;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("ntfs-3g does not mount {}", image.display());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.1.path()).status();
        let _ = self.0.wait();
    }
}

impl Other {
    pub(crate) fn path(&self) -> &Path {
        self.1.path()
    }

    /// Makes the folder `name`, which stands for `target`.
    pub(crate) fn junction(&self, name: &str, target: &str) {
        let path = self.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(&path, "system.ntfs_reparse_data", &junction(target), flags)
            .expect("a junction by ntfs-3g");
    }
}

fn theirs(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; 128 << 10];
    let count = lgetxattr(path, OsStr::from_bytes(name), &mut value).ok()?;
    value.truncate(count);
    Some(value)
}

fn ours(fs: &dyn FileSystem, node: NodeId, name: &[u8]) -> Option<Vec<u8>> {
    match fs.extended_attribute(node, name) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), FsErrorKind::NotFound, "{error}");
            None
        }
    }
}

#[apply(test)]
fn every_attribute_has_the_value_that_ntfs_3g_gives() {
    needs_path("/dev/fuse");
    needs_programs(&["ntfs-3g"]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in IMAGES {
        let image = fixture(name).path();
        let set = DiskSet::open(std::slice::from_ref(&image), &OpenOptions::default())
            .unwrap_or_else(Incomplete::into_set);
        let fs = set.volumes()[0].file_system().expect(name);
        let other = Other::mounted(&image);
        for (path, found) in walk(&*fs).expect(name) {
            let host = other.1.path().join(OsStr::from_bytes(&path));
            let shown = String::from_utf8_lossy(&path);
            let listed = fs.extended_attributes(found.node).expect(name);
            let mut names: Vec<Vec<u8>> = NAMES.map(|name| name.as_bytes().to_vec()).to_vec();
            names.extend(listed.iter().filter(|name| name.starts_with(b"user.")).cloned());
            for attribute in names {
                let key = String::from_utf8_lossy(&attribute).into_owned();
                // Linux gives `user.` of files and directories only.
                let is_plain = host.is_file() || host.is_dir();
                if key.starts_with("user.") && (host.is_symlink() || !is_plain) {
                    continue;
                }
                let (ours, theirs) =
                    (ours(&*fs, found.node, &attribute), theirs(&host, &attribute));
                assert_eq!(ours, theirs, "{name}: {shown}: {key}");
                let is_listed = listed.contains(&attribute);
                assert!(is_listed == ours.is_some() || key.ends_with("_be"), "{shown}: {key}");
                if ours.is_some() {
                    *counts.entry(key).or_default() += 1;
                }
            }
        }
    }
    note!("{counts:#?}");
    for name in ["acl", "attrib", "times", "crtime", "reparse_data", "ea", "dos_name", "object_id"]
    {
        assert!(counts.contains_key(&format!("system.ntfs_{name}")), "{name}: {counts:?}");
    }
    assert!(counts.keys().any(|name| name.starts_with("user.")), "{counts:?}");
}

#[apply(test)]
fn a_mount_gives_the_attributes_and_lists_the_streams() {
    needs_path("/dev/fuse");
    let image = fixture("ntfs-ads").path();
    let set = DiskSet::open(std::slice::from_ref(&image), &OpenOptions::default())
        .unwrap_or_else(Incomplete::into_set);
    let fs = set.volumes()[0].file_system().expect("a file system");
    let folder = Folder::mounted("attributes", &[image]);
    let mut streams = 0;
    for (path, found) in walk(&*fs).expect("all names") {
        let host = folder.join("ntfs").join(OsStr::from_bytes(&path));
        let listed = fs.extended_attributes(found.node).expect("names");
        for name in &listed {
            let ours = ours(&*fs, found.node, name);
            assert_eq!(theirs(&host, name), ours, "{}", String::from_utf8_lossy(name));
        }
        let mut list = vec![0; 4096];
        let count = rustix::fs::llistxattr(&host, &mut list).expect("a list");
        list.truncate(count);
        let mounted: Vec<&[u8]> =
            list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        let wanted: Vec<&[u8]> =
            listed.iter().map(Vec::as_slice).filter(|name| name.starts_with(b"user.")).collect();
        assert_eq!(mounted, wanted);
        streams += mounted.len();
        assert_eq!(theirs(&host, b"security.selinux"), None);
    }
    assert!(streams > 3, "{streams}");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn a_name_of_the_8_3_form_is_found_and_not_listed() {
    let set = DiskSet::open(&[fixture("ntfs-dos-names").path()], &OpenOptions::default())
        .unwrap_or_else(Incomplete::into_set);
    let fs = set.volumes()[0].file_system().expect("a file system");
    let all = walk(&*fs).expect("all names");
    let dir = all[&b"dos"[..]].node;
    let mut found = 0;
    for (path, node) in &all {
        let Some(short) = ours(&*fs, node.node, b"system.ntfs_dos_name") else { continue };
        assert!(short.contains(&b'~'), "{}", String::from_utf8_lossy(&short));
        assert_eq!(fs.lookup(dir, Name::new(&short)).ok(), Some(node.node));
        let lower = short.to_ascii_lowercase();
        assert_eq!(fs.lookup(dir, Name::new(&lower)).ok(), Some(node.node));
        assert!(!all.contains_key(&[b"dos/", short.as_slice()].concat()), "{path:?}");
        found += 1;
    }
    assert_eq!(found, 150);
    for name in ["Case", "case", "CASE"] {
        let path = format!("dos/{name}").into_bytes();
        assert_eq!(fs.lookup(dir, Name::new(name)).ok(), Some(all[&path].node), "{name}");
    }
    assert!(fs.lookup(dir, Name::new("cAsE")).is_ok(), "any of the three");
}

/// ntfs-3g lists all of them but `$MFT`, which TSK reads, and does not open those of `$Extend`.
#[apply(test)]
fn the_files_of_the_file_system_are_listed_on_wish() {
    needs_path("/dev/fuse");
    needs_programs(&["ntfs-3g"]);
    needs_programs(&["icat"]);
    for name in ["ntfs-plain", "ntfs-mft-fragmented", "ntfs-wsl"] {
        let image = fixture(name).path();
        let mut options = OpenOptions::default();
        let volume = |options: &OpenOptions| {
            let set = DiskSet::open(std::slice::from_ref(&image), options)
                .unwrap_or_else(Incomplete::into_set);
            set.volumes()[0].file_system().expect(name)
        };
        let plain = walk(&*volume(&options)).expect(name);
        options.mount.system_files = true;
        let fs = volume(&options);
        let other = Other::mounted_with(&image, "ro,show_sys_files");
        let mut files = 0;
        for (path, found) in walk(&*fs).expect(name) {
            let shown = format!("{name}: {}", path.escape_ascii());
            assert_eq!(plain.contains_key(&path), !path.starts_with(b"$"), "{shown}");
            if plain.contains_key(&path) || found.kind == FileKind::Directory {
                continue;
            }
            let data = fs.open(found.node, &StreamName::MAIN).expect(&shown);
            let mut bytes = vec![0; usize::try_from(data.size()).expect("a small file")];
            assert_eq!(data.read_at(0, &mut bytes).expect(&shown), bytes.len(), "{shown}");
            let theirs = match path.as_slice() {
                b"$MFT" => {
                    let output = Command::new("icat").arg(&image).arg("0").output();
                    Some(output.expect("icat").stdout)
                }
                _ => std::fs::read(other.1.path().join(OsStr::from_bytes(&path))).ok(),
            };
            assert_eq!(theirs.is_none(), path.starts_with(b"$Extend/"), "{shown}");
            assert!(theirs.unwrap_or_default() == bytes, "{shown}");
            files += 1;
        }
        assert_eq!(files, 13, "{name}");
    }
}

/// The reparse data of a junction (MS-FSCC 2.1.2.5).
fn junction(target: &str) -> Vec<u8> {
    let units: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = u16::try_from(units.len()).expect("a short target");
    let mut data = 0xA000_0003_u32.to_le_bytes().to_vec();
    for field in [length + 12, 0, 0, length, length + 2, 0] {
        data.extend(field.to_le_bytes());
    }
    data.extend(units);
    data.extend([0; 4]);
    data
}

/// The volumes of a disk with two partitions, at these bytes; the second is of `ntfs-wsl`.
const STARTS: [u64; 2] = [1 << 20, 20 << 20];

/// `disk` with an MBR of the signature 5eed0005 and the volumes `images` at [`STARTS`].
fn write_disk(disk: &Path, images: [&Path; 2]) {
    let file = std::fs::File::create(disk).expect("a disk");
    file.set_len(48 << 20).expect("its size");
    let mut mbr = vec![0; 512];
    mbr[0x1B8..0x1BC].copy_from_slice(&0x5eed_0005_u32.to_le_bytes());
    for (index, (image, start)) in images.into_iter().zip(STARTS).enumerate() {
        let bytes = std::fs::read(image).expect("an image");
        file.write_all_at(&bytes, start).expect("a volume");
        let entry = &mut mbr[0x1BE + 16 * index..][..16];
        entry[4] = 7;
        let sectors = |bytes: u64| u32::try_from(bytes / 512).expect("a small disk").to_le_bytes();
        entry[8..12].copy_from_slice(&sectors(start));
        entry[12..].copy_from_slice(&sectors(bytes.len() as u64));
    }
    mbr[510..].copy_from_slice(&[0x55, 0xAA]);
    file.write_all_at(&mbr, 0).expect("the MBR");
}

#[apply(test)]
fn a_junction_to_another_volume_of_the_set_leads_into_its_folder() {
    needs_path("/dev/fuse");
    needs_programs(&["ntfs-3g"]);
    let scratch = Scratch::new("junctions");
    let image = scratch.copy(&fixture("ntfs-plain").path());
    let places = [
        ("there", r"\??\Volume{5eed0005-0000-0000-0000-400100000000}\docs"),
        ("root", r"\??\Volume{5EED0005-0000-0000-0000-400100000000}\"),
        ("here", r"\??\Volume{5eed0005-0000-0000-0000-100000000000}\docs"),
        ("letter", r"\??\C:\docs"),
        ("nowhere", r"\??\Volume{5eed0006-0000-0000-0000-100000000000}\docs"),
    ];
    let other = Other::mounted_with(&image, "rw");
    for (name, target) in places {
        other.junction(&format!("docs/{name}"), target);
    }
    drop(other);
    let disk = scratch.join("disk.img");
    write_disk(&disk, [&image, &fixture("ntfs-wsl").path()]);
    // The volume's own list of them, which ntfs-3g kept.
    let set = DiskSet::open([&disk], &OpenOptions::default()).expect("a set");
    let files = set.volume("Plain volume").expect("the volume").file_system().expect("NTFS");
    let mut listed: Vec<(String, String)> = files
        .mounted_folders()
        .expect("the list")
        .into_iter()
        .map(|one| (one.path, one.target.0))
        .map(|(path, target)| (String::from_utf8(path), String::from_utf8(target)))
        .map(|(path, target)| (path.expect("a path"), target.expect("a target")))
        .collect();
    listed.sort();
    let mut expected = places.map(|(name, target)| {
        let target = target.trim_start_matches(r"\??\").replace('\\', "/");
        (format!("/docs/{name}"), target)
    });
    expected.sort();
    assert_eq!(listed, expected);
    let folder = Folder::mounted("junctions", &[disk]);
    let docs = folder.path().join("Plain volume/docs");
    let lead = |name: &str| std::fs::read_link(docs.join(name)).expect(name);
    assert_eq!(lead("there"), Path::new("../../ntfs/docs"));
    assert_eq!(lead("root"), Path::new("../../ntfs"));
    assert_eq!(lead("here"), Path::new("../docs"));
    assert_eq!(lead("letter"), Path::new("../docs"));
    for name in ["nowhere", "there/nowhere"] {
        assert!(std::fs::metadata(docs.join(name)).is_err(), "{name}");
    }
    let read = |path: &str| std::fs::read(folder.path().join(path)).expect(path);
    let bytes = read("ntfs/docs/letter.txt");
    for name in ["there/letter.txt", "root/docs/letter.txt", "here/letter.txt"] {
        assert!(read(&format!("Plain volume/docs/{name}")) == bytes, "{name}");
    }
}
