//! The test images in `tests/fixtures`, unpacked into a folder of this user and this index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::listing::{self, Row};
use super::sha256;

/// `tests/fixtures/INDEX.json`; images/recipes/README.md says what the fields mean.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) fixtures: BTreeMap<String, Fixture>,
}

/// One test image.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fixture {
    #[serde(skip)]
    pub(crate) name: String,
    /// The files that a user names.
    pub(crate) open: Vec<String>,
    pub(crate) files: Vec<StoredFile>,
    pub(crate) disk: Option<DiskFacts>,
    pub(crate) table: Option<TableFacts>,
    #[serde(default)]
    pub(crate) volumes: Vec<VolumeFacts>,
    pub(crate) expect: Option<Expected>,
    /// The listing of what was deleted, of a volume alone.
    pub(crate) deleted: Option<String>,
    /// Volumes that lie on several disks.
    #[serde(default)]
    pub(crate) dynamic: Vec<DynamicFacts>,
    /// Logical volumes of LVM2.
    #[serde(default)]
    pub(crate) logical: Vec<LogicalFacts>,
    /// Shadow copies.
    #[serde(default)]
    pub(crate) copies: Vec<CopyFacts>,
    /// BitLocker volumes.
    #[serde(default)]
    pub(crate) bitlocker: Vec<BitLockerFacts>,
    /// Encrypted volumes.
    #[serde(default)]
    pub(crate) encrypted: Vec<EncryptedFacts>,
    /// Arrays of MD, and logical volumes on them.
    #[serde(default)]
    pub(crate) arrays: Vec<LogicalFacts>,
}

/// A shadow copy.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CopyFacts {
    /// The GUID of its store.
    pub(crate) store: String,
    pub(crate) time: i64,
    pub(crate) size: u64,
    /// Of its bytes, with zeros for blocks of which nothing was kept.
    pub(crate) sha256: String,
    /// How many blocks those are.
    pub(crate) lost: u64,
    pub(crate) listing: String,
}

/// A BitLocker volume.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BitLockerFacts {
    /// The image that it lies in.
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) keys: Vec<BitLockerKey>,
}

/// A key of it: `password`, `recovery-key`, or `key-file`, whose value is in hexadecimal.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BitLockerKey {
    pub(crate) kind: String,
    pub(crate) value: String,
}

/// An encrypted volume.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EncryptedFacts {
    /// The image that it lies in.
    pub(crate) file: String,
    /// The image that has its header, if that is another one.
    pub(crate) header: Option<String>,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// The keys that open it, in hexadecimal.
    pub(crate) keys: Vec<String>,
    /// Why no byte of it is given out.
    pub(crate) refused: Option<String>,
}

/// A logical volume, or an array.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LogicalFacts {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) layout: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) health: String,
    /// Its health without one of the files.
    pub(crate) without: BTreeMap<String, String>,
    /// The SHA-256 of what Linux reads without one of the files, where nothing says that it is old.
    #[serde(default)]
    pub(crate) otherwise: BTreeMap<String, String>,
    /// Why no byte of it is given out.
    pub(crate) refused: Option<String>,
}

/// A volume of a group of disks.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DynamicFacts {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) layout: String,
    pub(crate) plexes: usize,
    pub(crate) columns: Option<usize>,
    pub(crate) chunk_size: Option<u64>,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) hint: Option<String>,
    pub(crate) health: String,
    /// Its health without one of the files.
    pub(crate) without: BTreeMap<String, String>,
    pub(crate) listing: String,
    pub(crate) label: Option<String>,
}

impl DynamicFacts {
    /// The listing of the volume.
    pub(crate) fn rows(&self) -> Vec<Row> {
        listing::load(&fixtures_folder().join(&self.listing))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredFile {
    pub(crate) name: String,
    pub(crate) stored: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// The whole virtual disk.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DiskFacts {
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TableFacts {
    pub(crate) scheme: String,
    pub(crate) sector_size: u32,
    pub(crate) partitions: Vec<PartitionFacts>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PartitionFacts {
    pub(crate) index: u32,
    pub(crate) start_lba: u64,
    pub(crate) sectors: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct VolumeFacts {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) label: Option<String>,
    pub(crate) uuid: Option<String>,
    pub(crate) cluster_size: Option<u32>,
    pub(crate) listing: Option<String>,
    /// What there is without the journal.
    pub(crate) stale_listing: Option<String>,
    #[serde(default)]
    pub(crate) errors: Vec<ExpectedError>,
}

/// A file whose content is refused by a reader that cannot decode it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ExpectedError {
    pub(crate) path: String,
    pub(crate) code: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Expected {
    /// Codes that must be among the findings.
    #[serde(default)]
    pub(crate) findings: Vec<String>,
    /// The kind of error that opening must give.
    pub(crate) kind: Option<String>,
    /// What the message must name.
    pub(crate) names: Option<String>,
    /// What reads may give.
    pub(crate) reads: Option<String>,
}

impl Fixture {
    /// The folder with the unpacked files.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = cache_folder().join(&self.name);
        for file in &self.files {
            unpack(file, &folder.join(&file.name));
        }
        folder
    }

    /// The unpacked files that a user names.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let folder = self.folder();
        self.open.iter().map(|name| folder.join(name)).collect()
    }

    /// The one file that a user names.
    pub(crate) fn path(&self) -> PathBuf {
        let paths = self.paths();
        assert_eq!(paths.len(), 1, "{} has one image", self.name);
        paths[0].clone()
    }
}

impl VolumeFacts {
    /// The listing of the volume.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let name = self.listing.as_ref().expect("a volume with a listing");
        listing::load(&fixtures_folder().join(name))
    }
}

/// All test images.
pub(crate) fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index: Index = serde_json::from_slice(&index_bytes()).expect("INDEX.json");
        for (name, fixture) in &mut index.fixtures {
            fixture.name.clone_from(name);
        }
        index
    })
}

/// The test image called `name`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let found = index().fixtures.get(name);
    found.unwrap_or_else(|| panic!("no fixture {name}")).clone()
}

/// `tests/fixtures`.
pub(crate) fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn index_bytes() -> Vec<u8> {
    fs::read(fixtures_folder().join("INDEX.json")).expect("tests/fixtures/INDEX.json")
}

/// Where the images are unpacked: one folder for each user and each state of the index.
fn cache_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let digest = sha256(&index_bytes());
        super::user_folder("volfold-fixtures").join(&digest[..16])
    })
}

/// Unpacks `file` to `target`, if it is not there. Other test processes may do so at this time;
/// the file appears at once and whole.
fn unpack(file: &StoredFile, target: &Path) {
    if fs::metadata(target).is_ok_and(|facts| facts.len() == file.size) {
        return;
    }
    let stored = fixtures_folder().join(&file.stored);
    let packed = fs::read(&stored).unwrap_or_else(|error| panic!("{}: {error}", stored.display()));
    fs::create_dir_all(target.parent().expect("a folder")).expect("the cache folder");
    let part = part_name(target);
    let mut out = SparseWriter::create(&part);
    if file.stored.ends_with(".gz") {
        let mut bytes = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(packed.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut bytes).expect("a whole gzip file");
        out.write(&bytes);
    } else {
        out.write(&packed);
    }
    let digest = out.finish();
    assert_eq!(digest, file.sha256, "{} does not belong to INDEX.json", file.stored);
    super::put_in_place(&part, target);
}

/// A name beside `target` that no other process or thread takes.
pub(crate) fn part_name(target: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}-{number}.part", std::process::id()));
    PathBuf::from(name)
}

/// Writes a file with holes where there are zeros, and hashes it on the way.
pub(crate) struct SparseWriter {
    file: File,
    size: u64,
    digest: sha2::Sha256,
}

const BLOCK: usize = 64 << 10;

impl SparseWriter {
    pub(crate) fn create(path: &Path) -> Self {
        let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { file, size: 0, digest: sha2::Digest::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.digest, bytes);
        for block in bytes.chunks(BLOCK) {
            if block != &[0; BLOCK][..block.len()] {
                self.file.seek(SeekFrom::Start(self.size)).expect("seek");
                self.file.write_all(block).expect("write to the cache folder");
            }
            self.size += block.len() as u64;
        }
    }

    /// Sets the size and gives the SHA-256 of all bytes.
    pub(crate) fn finish(self) -> String {
        self.file.set_len(self.size).expect("set the size");
        HEXLOWER.encode(&sha2::Digest::finalize(self.digest))
    }
}
