//! exFAT: the damaged images of exfatprogs, fixtures with parts overwritten, and volumes that `mkfs.exfat` and
//! exfat-fuse make here.

use std::collections::BTreeMap;
use std::path::Path;

use volfold::{DiskSet, Incomplete, OpenOptions};

#[cfg(target_os = "linux")]
use crate::common::compare;
use crate::common::corpus;
use crate::common::damage::{attack, step};
use crate::common::fixtures::fixture;
use crate::conformance::Random;
use crate::harness::{apply, test};

const ENTRY: usize = 32;

fn open(image: &Path) -> DiskSet {
    DiskSet::open([image], &OpenOptions::default()).unwrap_or_else(Incomplete::into_set)
}

/// What `check` reports of the only volume of `image`: each code, and how often.
fn reported(image: &Path) -> BTreeMap<&'static str, usize> {
    let set = open(image);
    let fs = set.volumes()[0].file_system().expect("a file system");
    let mut codes = BTreeMap::new();
    let mut count = |code: &'static str| *codes.entry(code).or_default() += 1;
    fs.info().findings.iter().for_each(|finding| count(finding.code.as_str()));
    fs.check(&mut |finding| count(finding.code.as_str())).expect("a check");
    codes
}

/// The faults are those that `fsck.exfat -n` 1.2.0 tells; what it calls clean is.
#[apply(test)]
fn the_damaged_images_of_exfatprogs_are_told() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let mut seen = 0;
    for (name, expected) in [
        ("bad_bitmap.img", &["exfat-bitmap", "exfat-lost-clusters"][..]),
        ("bad_file_size.img", &["exfat-chain-long", "exfat-chain-short", "exfat-lost-clusters"]),
        ("bad_num_chain.img", &["exfat-chain-short", "exfat-lost-clusters"]),
        ("bs_bad_csum.img", &["exfat-backup-boot"]),
        ("duplicate_clu.img", &["exfat-cross-link", "exfat-lost-clusters"]),
        ("large_file_invalid_clus.img", &["exfat-chain-short", "exfat-lost-clusters"]),
        (
            "file_invalid_clus.img",
            &[
                "exfat-chain-long",
                "exfat-chain-short",
                "exfat-cross-link",
                "exfat-directory",
                "exfat-entry-set",
                "exfat-lost-clusters",
            ],
        ),
        // Entries after the end of its directories, which fsck.exfat passes over.
        ("unused-dentries.img", &["exfat-directory"]),
        ("exfat_orphan.raw", &["exfat-lost-clusters"]),
        ("exfat_win.raw", &[]),
        ("fs-exfat.img", &[]),
    ] {
        let has_it = |entry: &&corpus::Entry| entry.files.iter().any(|file| file.name == name);
        let entry = manifest.entries.iter().find(has_it).expect(name);
        let found = reported(&corpus::unpack(&folder, entry).join(name));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}

/// Whether `sector` has nothing but entries of a directory.
fn is_directory(sector: &[u8]) -> bool {
    let is_entry = |entry: &[u8]| {
        matches!(entry[0], 0 | 0x01..=0x03 | 0x05 | 0x40 | 0x41 | 0x60 | 0x61)
            || matches!(entry[0], 0x81..=0x83 | 0x85 | 0xA0 | 0xC0 | 0xC1 | 0xE0 | 0xE1)
    };
    // The content of files repeats itself.
    let (entries, _) = sector.as_chunks::<ENTRY>();
    entries.iter().all(|entry| is_entry(entry))
        && entries.iter().any(|entry| entry[0] & 0x80 != 0)
        && entries.array_windows().any(|[one, other]| one != other)
}

#[apply(test)]
fn a_damaged_structure_is_told_or_refused() {
    let mut silent = Vec::new();
    for (name, all) in [("exfat-1k", 5), ("exfat", 9), ("exfat-fragmented", 9), ("exfat-odd", 150)]
    {
        let whole = std::fs::read(fixture(name).path()).expect(name);
        let field = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().expect("4 bytes"));
        let sector = 1 << whole[108];
        let (table, heap) = (field(80) as usize * sector, field(88) as usize * sector);
        let links = (table..heap).step_by(4).filter(|at| field(*at) != 0);
        let sectors = (heap..whole.len()).step_by(512);
        let directories: Vec<usize> =
            sectors.filter(|at| is_directory(&whole[*at..*at + 512])).collect();
        let mut random = Random(0x5EED_0020);
        let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
        for at in (0..120).chain(12 * sector..12 * sector + 120).step_by(step(all)) {
            places.push((at, vec![whole[at] ^ 1 << random.below(8)]));
        }
        for at in links.step_by(step(all * 2)) {
            for to in [
                0,
                1,
                2,
                7,
                u32::MAX,
                0xFFFF_FFF7,
                field(at).wrapping_add(1),
                field(at).wrapping_sub(1),
            ] {
                places.push((at, to.to_le_bytes().to_vec()));
            }
        }
        for (index, at) in directories.iter().enumerate() {
            for offset in (index % all..512).step_by(step(all * 7)) {
                // The text of the label is nowhere else.
                let entry = at + offset - offset % ENTRY;
                if whole[entry] != 0x83 {
                    let place = at + offset;
                    places.push((place, vec![whole[place] ^ 1 << random.below(8)]));
                    places.push((place, vec![random.below(256) as u8]));
                }
            }
        }
        // Names that are all zeros are seen by what comes after them.
        if name == "exfat-1k" {
            for [one, other] in directories.array_windows() {
                if other - one == 512 && whole[*other] & 0x80 != 0 {
                    places.push((*one, vec![0; 512]));
                    places.push((*one, vec![0xFF; 512]));
                }
            }
        }
        silent.extend(attack("exfat", name, &places));
    }
    assert!(silent.is_empty(), "{} in silence\n{}", silent.len(), silent.join("\n"));
}

/// A volume on a loop device, mounted by exfat-fuse.
#[cfg(target_os = "linux")]
mod fuse {
    use std::path::{Path, PathBuf};

    use crate::common::program::{Scratch, program, text, within};

    pub(super) struct Mounted {
        device: String,
        folder: PathBuf,
    }

    impl Mounted {
        pub(super) fn new(image: &Path, scratch: &Scratch) -> Self {
            let folder = scratch.join("mounted");
            std::fs::create_dir_all(&folder).expect("a folder");
            let device = program("losetup", &["-f", "--show", text(image)]).code(0).text();
            let device = device.trim().to_owned();
            program("mount.exfat-fuse", &[&device, text(&folder)]).code(0);
            Self { device, folder }
        }

        pub(super) fn path(&self) -> &Path {
            &self.folder
        }

        /// Unmounts it, and waits until all is written.
        pub(super) fn end(self) {
            program("umount", &[text(&self.folder)]).code(0);
            let device = self.device.clone();
            // The program that served it has the device open until it is done.
            within("exfat-fuse", move || {
                while program("losetup", &["-d", &device]).code != Some(0)
                    || program("losetup", &[&device]).code == Some(0)
                {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
        }
    }
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn volumes_that_exfat_fuse_fills_read_back() {
    use crate::common::program::{Scratch, program, text};
    use crate::harness::{needs, needs_path, needs_programs};

    needs("root", rustix::process::geteuid().is_root());
    needs_path("/dev/fuse");
    needs_programs(&["losetup", "mkfs.exfat", "fsck.exfat", "mount.exfat-fuse"]);
    for (mib, cluster) in [(4, "1K"), (8, "4K"), (40, "64K"), (200, "1M"), (600, "32M")] {
        let scratch = Scratch::new("exfat");
        let image = scratch.join("volume");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(mib << 20).expect("a size");
        program("mkfs.exfat", &["-c", cluster, "-L", "made here", text(&image)]).code(0);
        let mounted = fuse::Mounted::new(&image, &scratch);
        let mut random = Random(mib);
        let mut wanted = BTreeMap::new();
        for folder in ["", "one", "one/two", "\u{fc}ber"] {
            std::fs::create_dir_all(mounted.path().join(folder)).expect("a folder");
            // The large clusters have room for few files.
            for number in 0..if mib == 600 { 2 } else { 12 } {
                let size = random.below(40_000) as usize;
                let bytes: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
                let path = Path::new(folder).join(format!("file number {number}"));
                std::fs::write(mounted.path().join(&path), &bytes).expect("a file");
                wanted.insert(path.to_str().expect("text").to_owned(), bytes);
            }
        }
        let facts = rustix::fs::statvfs(mounted.path()).expect("figures");
        let free = facts.f_bfree * facts.f_frsize;
        mounted.end();
        program("fsck.exfat", &["-n", text(&image)]).code(0);
        let set = open(&image);
        let fs = set.volumes()[0].file_system().expect("a file system");
        assert_eq!(fs.info().label.as_deref(), Some("made here"));
        let usage = fs.usage().expect("usage");
        assert_eq!(usage.size - usage.used, free, "{cluster}");
        let found = compare::walk(&*fs).expect("a walk");
        assert_eq!(found.len(), wanted.len() + 3, "{cluster}");
        for (path, bytes) in &wanted {
            let node = compare::find(&*fs, path.as_bytes()).expect(path);
            let file = fs.open(node, &volfold::fs::StreamName::MAIN).expect(path);
            let mut read = vec![0; bytes.len()];
            assert_eq!(file.size(), bytes.len() as u64, "{path}");
            file.read_at(0, &mut read).expect(path);
            assert!(read == *bytes, "{cluster}: {path}");
        }
        assert!(reported(&image).is_empty(), "{cluster}: {:?}", reported(&image));
    }
}
