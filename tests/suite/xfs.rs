//! XFS against what the kernel and `mkfs.xfs` made: attributes, names without regard to case, the log,
//! and damage, which is an error and never other bytes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use volfold::{DiskSet, OpenOptions};
use volfold_block::MemoryDevice;
use volfold_fs::{
    DRIVERS, DirCursor, FileKind, FileSystem, FileSystemDriver, FsErrorKind, FsResult, Name,
    NodeId, ReadOptions, StreamName, VolumeReader,
};

use crate::common::attributes;
use crate::common::compare;
use crate::common::corpus;
use crate::common::fixtures::{fixture, fixtures_folder};
use crate::common::listing;
use crate::common::program::{Scratch, text, volfold};
use crate::conformance::Random;
use crate::harness::{apply, note, test};

const SECTOR: usize = 512;

fn driver() -> &'static dyn FileSystemDriver {
    *DRIVERS.iter().find(|driver| driver.id() == "xfs").expect("the driver")
}

fn image(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name).path()).expect("a fixture")
}

fn mount(bytes: &[u8]) -> FsResult<Arc<dyn FileSystem>> {
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(bytes)));
    driver().mount(reader, ReadOptions::default())
}

fn find(fs: &dyn FileSystem, path: &str) -> FsResult<NodeId> {
    path.split('/').try_fold(fs.root(), |dir, part| fs.lookup(dir, Name::new(part)))
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[apply(test)]
fn attributes_are_those_that_the_kernel_lists() {
    let mut count = 0;
    for name in ["xfs", "xfs-1k", "xfs-large-counters", "xfs-parent", "xfs-dirty-log"] {
        let fs = mount(&image(name)).expect(name);
        count += attributes::compare(&*fs, name);
    }
    assert!(count > 400, "{count} attributes");
}

#[apply(test)]
fn names_of_ascii_ci_are_found_without_regard_to_case() {
    let fs = mount(&image("xfs-ascii-ci")).expect("a volume");
    for directory in ["few", "BLOCK", "mAnY"] {
        let dir = find(&*fs, directory).expect(directory);
        for (name, exact) in [("FILE-2", "File-2"), ("file-1", "File-1"), ("File-0", "File-0")] {
            let node = fs.lookup(dir, Name::new(name)).expect(name);
            assert_eq!(node, fs.lookup(dir, Name::new(exact)).expect(exact), "{directory}");
        }
        let absent = fs.lookup(dir, Name::new("File_0")).expect_err("absent");
        assert_eq!(absent.kind(), FsErrorKind::NotFound);
    }
    let exact = mount(&image("xfs-v4")).expect("a volume");
    assert!(find(&*exact, "MANY").is_err());
}

#[apply(test)]
fn the_log_is_applied_and_that_is_told() {
    let path = fixture("xfs-dirty-log").path();
    let output = volfold(["list", "--json", text(&path)]).code(0).json();
    let findings = output["findings"].as_array().expect("findings").clone();
    assert!(findings.iter().any(|finding| finding["code"] == "xfs-log-replayed"), "{findings:?}");
    let bytes = image("xfs-dirty-log");
    let fs = mount(&bytes).expect("a volume");
    assert!(find(&*fs, "names/last").is_ok() && find(&*fs, "names/early 2").is_err());
    // Without its log the same volume has the old names.
    let start = log_start(&bytes);
    let scratch = Scratch::new("xfs-log");
    let mut old = bytes.clone();
    old[start..start + 1368 * 4096].fill(0);
    let fs = mount(&old).expect("a volume");
    assert!(find(&*fs, "names/last").is_err() && find(&*fs, "names/early 2").is_ok());
    // That the log was wiped is told, for what it had is newer in other places.
    let target = scratch.join("wiped.img");
    std::fs::write(&target, &old).expect("an image");
    volfold(["ls", text(&target)]).code(3).says("[xfs-log-not-replayed]");
    // A log that cannot be followed is told, and the answer is not whole.
    let mut bent = bytes;
    for block in bent[start..start + 1368 * 4096].chunks_mut(SECTOR) {
        if block.starts_with(&[0xFE, 0xED, 0xBA, 0xBE]) {
            block[0x1C..0x20].fill(0xFF);
        }
    }
    let target = scratch.join("bent.img");
    std::fs::write(&target, &bent).expect("an image");
    let output = volfold(["ls", "--json", text(&target)]).code(3).json();
    let findings = output["findings"].as_array().expect("findings").clone();
    let told = |finding: &serde_json::Value| finding["code"] == "xfs-log-not-replayed";
    assert!(findings.iter().any(told), "{findings:?}");
}

/// The log was never gone round: where its end is zeros it was not written further.
#[apply(test)]
fn a_log_that_ends_after_any_record_gives_what_linux_makes_of_it() {
    let good = image("xfs-dirty-log");
    let start = log_start(&good);
    for block in [965, 1611, 2254] {
        let rows = fixtures_folder().join(format!("xfs-dirty-log.cut-{block}.tsv"));
        let rows = listing::load(&rows);
        let mut cut = good.clone();
        cut[start + block * SECTOR..start + 1368 * 4096].fill(0);
        let fs = mount(&cut).expect("a volume");
        let compared = compare::compare(&*fs, &rows).expect("a tree");
        assert!(compared.differences.is_empty(), "{block}: {:?}", compared.differences);
        assert!(compared.refused.is_empty() && compared.same > 100, "{block}");
        assert!(fs.findings().iter().all(|finding| finding.code == "xfs-log-replayed"));
        // With half of the record it is the same, and that it was torn is told.
        let half = start + (block + 4) * SECTOR;
        let mut torn = good.clone();
        torn[half..start + 1368 * 4096].fill(0);
        let fs = mount(&torn).expect("a volume");
        let compared = compare::compare(&*fs, &rows).expect("a tree");
        assert!(compared.differences.is_empty(), "{block}: {:?}", compared.differences);
        assert!(fs.findings().iter().any(|finding| finding.code == "xfs-log-torn"));
    }
}

#[apply(test)]
fn a_log_on_another_disk_of_the_set_is_applied() {
    let fixture = fixture("xfs-external-log");
    let rows = listing::load(&fixtures_folder().join("xfs-external-log.tsv"));
    let set = DiskSet::open(fixture.paths(), &OpenOptions::default()).expect("both disks");
    let volume =
        set.volumes().iter().find(|volume| volume.file_system().is_ok()).expect("a volume");
    let fs = volume.file_system().expect("a file system");
    let compared = compare::compare(&*fs, &rows).expect("a tree");
    assert!(compared.differences.is_empty() && compared.same == 3, "{:?}", compared.differences);
    assert!(fs.findings().iter().all(|finding| finding.code == "xfs-log-replayed"));
    // Alone it has its old files, and that is told.
    let data = fixture.paths().into_iter().find(|path| path.ends_with("data.img")).expect("a disk");
    let output = volfold(["ls", "--json", text(&data)]).code(3).json();
    let findings = output["findings"].as_array().expect("findings").clone();
    let told = |finding: &serde_json::Value| finding["code"] == "xfs-log-not-replayed";
    assert!(findings.iter().any(told), "{findings:?}");
}

#[apply(test)]
fn the_volume_that_hyper_v_made_has_the_files_that_are_listed() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry = manifest.entries.iter().find(|entry| entry.id == "vhdx-hyperv-xfs");
    let entry = entry.expect("the entry");
    let disk = corpus::unpack(&folder, entry).join(&entry.disks[0].name);
    let listed = &entry.volumes[0].listings.first().expect("a listing").file;
    let rows = listing::load(&folder.join(listed));
    let set = DiskSet::open([disk], &OpenOptions::default()).expect("a disk");
    let fs = set.volumes()[0].file_system().expect("a file system");
    let compared = compare::compare(&*fs, &rows).expect("a tree");
    assert!(compared.differences.is_empty(), "{:?}", compared.differences);
    assert!(compared.refused.is_empty() && compared.same > 4000, "{}", compared.same);
    assert!(fs.findings().is_empty());
}

/// The byte where the log begins, in a volume of one group.
fn log_start(bytes: &[u8]) -> usize {
    let field = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    usize::try_from(field(0x30)).expect("a block") * 4096
}

/// What a walk found: the hash of every file, or `None` where it was refused.
fn walk(fs: &dyn FileSystem) -> BTreeMap<Vec<u8>, Option<String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(fs.root(), Vec::new())];
    while let Some((dir, path)) = open.pop() {
        let mut entries = Vec::new();
        let listed = fs.read_dir(dir, DirCursor::START, &mut |entry| {
            entries.push((entry.name.as_bytes().to_vec(), entry.node, entry.kind));
            ControlFlow::Continue(())
        });
        let mut whole = path.clone();
        whole.push(b'/');
        found.insert(whole.clone(), listed.is_ok().then(String::new));
        for (name, node, kind) in entries {
            let path = [whole.as_slice(), &name].concat();
            match kind {
                FileKind::Directory => open.push((node, path)),
                FileKind::Regular => drop(found.insert(path, content(fs, node))),
                FileKind::Symlink => {
                    let target = fs.read_link(node).ok();
                    found.insert(path, target.map(|target| sha256(&target.0)));
                }
                _ => {}
            }
        }
    }
    found
}

fn content(fs: &dyn FileSystem, node: NodeId) -> Option<String> {
    let file = fs.open(node, &StreamName::MAIN).ok()?;
    let mut bytes = vec![0; usize::try_from(file.size()).ok().filter(|&size| size < 8 << 20)?];
    let count = file.read_at(0, &mut bytes).ok()?;
    Some(sha256(&bytes[..count]))
}

/// The sectors where metadata begins.
fn metadata(bytes: &[u8]) -> Vec<usize> {
    let is_metadata = |block: &[u8]| {
        block.starts_with(b"IN")
            || [&b"XFSB"[..], b"XDB3", b"XDD3", b"BMA3", b"XSLM", b"XARM"]
                .iter()
                .any(|magic| block.starts_with(magic))
            || matches!(block[8..10], [0x3D | 0x3E, 0xF1 | 0xFF | 0xBE] | [0x3B, 0xEE])
    };
    let sectors = bytes.chunks(SECTOR).enumerate();
    sectors.filter(|(_, block)| is_metadata(block)).map(|(index, _)| index * SECTOR).collect()
}

#[apply(test)]
fn damaged_metadata_is_an_error_and_never_other_bytes() {
    for name in ["xfs", "xfs-1k", "xfs-large-counters"] {
        let good = image(name);
        let expected = walk(&*mount(&good).expect(name));
        assert!(expected.values().all(Option::is_some), "{name}");
        let places = metadata(&good);
        let (mut refused, mut whole) = (0, 0);
        let mut random = Random(0x5EED_0001);
        for _ in 0..120 {
            let mut bent = good.clone();
            let place = places[random.below(places.len() as u64) as usize];
            for _ in 0..=random.below(4) {
                let at = place + random.below(SECTOR as u64) as usize;
                bent[at] ^= 1 << random.below(8);
            }
            let Ok(fs) = mount(&bent) else {
                refused += 1;
                continue;
            };
            let found = walk(&*fs);
            for (path, expected) in &expected {
                // What is missing was named by the directory, or one above it, as not whole.
                let shown = String::from_utf8_lossy(path);
                match found.get(path) {
                    Some(Some(hash)) => {
                        assert_eq!(Some(hash), expected.as_ref(), "{name}: {shown}")
                    }
                    Some(None) => refused += 1,
                    None => assert!(is_below_damage(&found, path), "{name}: {shown} at {place}"),
                }
            }
            assert!(found.keys().all(|path| expected.contains_key(path)), "{name}");
            whole += 1;
        }
        note!("{name}: {whole} mounted, {refused} refused");
        assert!(whole > 60 && refused > 20, "{name}: {whole} mounted, {refused} refused");
    }
}

fn is_below_damage(found: &BTreeMap<Vec<u8>, Option<String>>, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    ends.map(|(end, _)| &path[..=end]).any(|above| found.get(above) == Some(&None))
        || ends_in_file(found, path)
}

/// Whether some part of `path` is a name whose inode could not be read, and so has no kind.
fn ends_in_file(found: &BTreeMap<Vec<u8>, Option<String>>, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    ends.map(|(end, _)| &path[..end]).any(|above| found.get(above) == Some(&None))
}

#[apply(test)]
fn any_byte_of_a_dirty_log_may_be_wrong_without_harm() {
    let good = image("xfs-dirty-log");
    let start = log_start(&good);
    let used: Vec<usize> = (start..start + 1368 * 4096)
        .step_by(SECTOR)
        .filter(|&at| good[at..at + SECTOR].iter().any(|&byte| byte != 0))
        .collect();
    let mut random = Random(0x5EED_0002);
    for _ in 0..60 {
        let mut bent = good.clone();
        for _ in 0..=random.below(6) {
            let place = used[random.below(used.len() as u64) as usize];
            bent[place + random.below(SECTOR as u64) as usize] = random.below(256) as u8;
        }
        if let Ok(fs) = mount(&bent) {
            walk(&*fs);
            assert!(
                fs.findings().iter().any(|finding| finding.code.as_str().starts_with("xfs-log"))
            );
        }
    }
}

#[apply(test)]
fn a_volume_whose_first_superblock_is_damaged_is_read_by_another() {
    let mut bytes = image("xfs");
    let expected = walk(&*mount(&bytes).expect("a volume"));
    bytes[0xE1] ^= 1;
    let fs = mount(&bytes).expect("a volume");
    let told = fs.findings().iter().any(|finding| finding.code == "xfs-backup-superblock");
    assert!(told && walk(&*fs) == expected);
    bytes[..4096].fill(0);
    let device = MemoryDevice::new(bytes.as_slice());
    let driver = volfold_fs::detect(&device).expect("a volume").expect("a driver");
    assert_eq!(driver.id(), "xfs");
    assert_eq!(walk(&*mount(&bytes).expect("a volume")), expected);
}

#[apply(test)]
fn a_volume_that_ends_early_is_told_and_what_is_missing_is_an_error() {
    let good = image("xfs");
    let expected = walk(&*mount(&good).expect("a volume"));
    let cut = &good[..20 << 20];
    let fs = mount(cut).expect("a volume");
    assert!(fs.findings().iter().any(|finding| finding.code == "xfs-cut-short"));
    for (path, found) in walk(&*fs) {
        assert!(found.is_none() || expected.get(&path) == Some(&found));
    }
}
