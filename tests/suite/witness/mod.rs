//! Second opinions: other crates read the same volumes by their own interfaces, and must see the same names,
//! sizes and bytes.
//!
//! What a witness is known to get wrong is a [`Fault`] with its reason; anything else that differs fails the
//! test, and so does a fault of a fixture that is no longer seen. The first witnesses are the listings beside
//! the images, by ntfs-3g, TSK, the kernel, wimlib and 7-Zip.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::catch_unwind;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::{BlockDevice, Confidence};
use volfold_fs::{DRIVERS, FileKind, FileSystem, ReadOptions, StreamName, VolumeReader};

use crate::common::compare::{hash, walk};
use crate::common::corpus;
use crate::common::fixtures::index;
use crate::harness::{apply, note, test};

mod ext4;
mod fat;
mod ntfs;

/// What one side says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Directory,
    File(u64, String),
    Link(Vec<u8>),
    /// A device, a socket, a pipe.
    Other,
    /// An error.
    Refused(String),
    /// Not compared, and why.
    Untold(&'static str),
}

/// All nodes below the root, by path.
type Tree = BTreeMap<Vec<u8>, Said>;

/// Something a witness is known to get wrong.
struct Fault {
    /// How the name of the volume begins, as [`volumes`] gives it.
    volume: &'static str,
    /// How the path begins; empty: the volume as a whole, and all in it.
    path: &'static str,
    reason: &'static str,
}

/// One crate that reads file systems.
struct Witness {
    name: &'static str,
    /// The id of the driver that it speaks about.
    driver: &'static str,
    read: fn(Arc<dyn BlockDevice>) -> Result<Tree, String>,
    faults: &'static [Fault],
}

#[apply(test)]
fn the_crate_ntfs_sees_the_same_in_every_fixture() {
    ntfs::WITNESS.agrees_on(fixtures(), true);
}

#[apply(test)]
fn the_crate_fatfs_sees_the_same_in_every_fixture() {
    fat::WITNESS.agrees_on(fixtures(), true);
}

#[apply(test)]
fn the_crate_ext4_view_sees_the_same_in_every_fixture() {
    ext4::WITNESS.agrees_on(fixtures(), true);
}

#[apply(test)]
fn the_crates_see_the_same_in_the_public_corpus() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let mut all = Vec::new();
    for entry in manifest.entries.iter().filter(|entry| corpus::in_scope(entry)) {
        let unpacked = corpus::unpack(&folder, entry);
        for disk in &entry.disks {
            let set = DiskSet::open(&[unpacked.join(&disk.name)], &OpenOptions::default())
                .unwrap_or_else(Incomplete::into_set);
            all.extend(volumes(&entry.id, &set));
        }
    }
    for witness in [&ntfs::WITNESS, &fat::WITNESS, &ext4::WITNESS] {
        witness.agrees_on(all.clone(), false);
    }
}

type Named = (String, Arc<dyn BlockDevice>);

/// Every volume of `set` that is whole, called `NAME VOLUME`.
fn volumes(name: &str, set: &DiskSet) -> Vec<Named> {
    let whole = set.volumes().iter().filter(|volume| volume.volume.device.size() > 0);
    whole
        .map(|volume| (format!("{name} {}", volume.volume.id.0), volume.volume.device.clone()))
        .collect()
}

fn fixtures() -> Vec<Named> {
    let open = |paths: &[std::path::PathBuf]| {
        DiskSet::open(paths, &OpenOptions::default()).unwrap_or_else(Incomplete::into_set)
    };
    let fixtures = index().fixtures.values();
    fixtures.flat_map(|fixture| volumes(&fixture.name, &open(&fixture.paths()))).collect()
}

impl Witness {
    /// Compares all `volumes` that the witness speaks about.
    fn agrees_on(&self, volumes: Vec<Named>, all_faults: bool) {
        let driver = DRIVERS.iter().find(|driver| driver.id() == self.driver).expect("a driver");
        let (mut problems, mut met) = (Vec::new(), vec![0_usize; self.faults.len()]);
        let (mut seen, mut nodes) = (0, 0);
        for (name, device) in volumes {
            let probed = driver.probe(&*device).unwrap_or(Confidence::No);
            let mounted =
                driver.mount(VolumeReader::uncached(device.clone()), ReadOptions::default());
            let Ok(fs) = mounted else { continue };
            if probed == Confidence::No {
                continue;
            }
            let told = catch_unwind(std::panic::AssertUnwindSafe(|| (self.read)(device)));
            let differences = match told.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(theirs) => {
                    nodes += theirs.len();
                    compare(&ours(&*fs), &theirs)
                }
                Err(error) => vec![(Vec::new(), format!("it refuses the volume: {error}"))],
            };
            seen += 1;
            for (path, line) in differences {
                let fault = self.faults.iter().position(|fault| {
                    name.starts_with(fault.volume) && path.starts_with(fault.path.as_bytes())
                });
                match fault {
                    Some(fault) => met[fault] += 1,
                    None => problems.push(format!("{name}: {}: {line}", path.escape_ascii())),
                }
            }
        }
        note!("{}: {nodes} nodes of {seen} volumes", self.name);
        for (fault, count) in self.faults.iter().zip(&met) {
            note!(
                "{}: {} /{}: {count} times: {}",
                self.name,
                fault.volume,
                fault.path,
                fault.reason
            );
            if all_faults && *count == 0 && index().fixtures.contains_key(fault.volume) {
                problems.push(format!("{} /{}: no longer at fault", fault.volume, fault.path));
            }
        }
        let count = problems.len();
        problems.truncate(200);
        assert!(count == 0, "{}: {count} differences\n{}", self.name, problems.join("\n"));
        assert!(seen > 2, "{}: {seen} volumes", self.name);
    }
}

/// What our driver says.
fn ours(fs: &dyn FileSystem) -> Tree {
    let found = walk(fs).unwrap_or_default();
    let said = |found: &crate::common::compare::Found| match found.kind {
        FileKind::Directory => Said::Directory,
        FileKind::Regular => {
            let read = fs
                .open(found.node, &StreamName::MAIN)
                .and_then(|data| Ok(Said::File(data.size(), hash(&*data)?)));
            read.unwrap_or_else(|error| Said::Refused(error.to_string()))
        }
        FileKind::Symlink => fs
            .read_link(found.node)
            .map_or_else(|error| Said::Refused(error.to_string()), |target| Said::Link(target.0)),
        _ => Said::Other,
    };
    found.iter().map(|(path, found)| (path.clone(), said(found))).collect()
}

/// What differs, by path. Of a node that is untold only the name counts.
fn compare(ours: &Tree, theirs: &Tree) -> Vec<(Vec<u8>, String)> {
    let mut differences = Vec::new();
    for (path, theirs) in theirs {
        match ours.get(path) {
            None => differences.push((path.clone(), format!("only the crate has it: {theirs:?}"))),
            Some(_) if matches!(theirs, Said::Untold(_)) => {}
            Some(ours) if ours == theirs => {}
            Some(ours) => {
                differences.push((path.clone(), format!("{ours:?}, the crate says {theirs:?}")));
            }
        }
    }
    let missing = ours.keys().filter(|path| !theirs.contains_key(*path));
    differences.extend(missing.map(|path| (path.clone(), "the crate lacks it".to_owned())));
    differences
}

/// The size and the SHA-256 of what `read` gives until it gives nothing.
fn digest<E>(mut read: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<Said, E> {
    let (mut digest, mut size, mut buf) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let count = read(&mut buf)?;
        if count == 0 {
            return Ok(Said::File(size, HEXLOWER.encode(&digest.finalize())));
        }
        size += count as u64;
        digest.update(&buf[..count]);
    }
}

/// `NAME` in the folder `path`.
fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// A device as a file of `std`.
struct Cursor {
    device: Arc<dyn BlockDevice>,
    position: u64,
}

impl Cursor {
    fn new(device: Arc<dyn BlockDevice>) -> io::BufReader<Self> {
        io::BufReader::with_capacity(16 << 10, Self { device, position: 0 })
    }
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.device.size().saturating_sub(self.position);
        let count = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        self.device.read_at(self.position, &mut buf[..count]).map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.device.size().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
