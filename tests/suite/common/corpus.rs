//! The public corpus beside the checkout: real images, with facts found by independent tools.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::fixtures::{SparseWriter, part_name};
use super::{put_in_place, unpack_by_tool, user_folder};
use crate::harness::{needs, needs_programs};

/// `MANIFEST.json`, as far as the tests use it.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) entries: Vec<Entry>,
}

/// One image, or a collection of small ones.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) files: Vec<CorpusFile>,
    #[serde(default)]
    pub(crate) disks: Vec<CorpusDisk>,
    #[serde(default)]
    pub(crate) volumes: Vec<CorpusVolume>,
    /// The keys of an encrypted volume.
    #[serde(default)]
    pub(crate) keys: Vec<CorpusKey>,
    /// What an encrypted volume holds.
    pub(crate) decrypted: Option<CorpusDecrypted>,
    /// What ldmtool says of groups of dynamic disks.
    #[serde(default)]
    pub(crate) ldm: Vec<CorpusGroup>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusKey {
    pub(crate) kind: String,
    pub(crate) value: Option<String>,
}

/// What libbde reads of the first bytes of a volume.
#[derive(Debug, Deserialize)]
pub(crate) struct CorpusDecrypted {
    pub(crate) volume_size: u64,
    pub(crate) prefix_bytes: u64,
    pub(crate) prefix_sha256: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusGroup {
    pub(crate) name: String,
    pub(crate) guid: String,
    pub(crate) volumes: Vec<CorpusDynamicVolume>,
}

/// A volume of a group; sizes in sectors of 512 bytes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CorpusDynamicVolume {
    pub(crate) name: String,
    pub(crate) guid: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) size: u64,
    pub(crate) chunk_size: u64,
    pub(crate) hint: Option<String>,
    pub(crate) partitions: Vec<CorpusPartition>,
    #[serde(rename = "missing_disks")]
    pub(crate) missing_disks: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusPartition {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) disk: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusFile {
    pub(crate) name: String,
    pub(crate) stored: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusDisk {
    pub(crate) name: String,
    pub(crate) qemu_format: Option<String>,
    pub(crate) virtual_size: Option<u64>,
    /// The SHA-256 of the whole disk, as QEMU reads it.
    pub(crate) content_sha256: Option<String>,
}

impl CorpusDisk {
    /// Whether this build reads its format.
    pub(crate) fn is_read(&self) -> bool {
        const READ: [&str; 6] = ["dmg", "qcow2", "raw", "vhdx", "vmdk", "vpc"];
        self.qemu_format.as_deref().is_none_or(|format| READ.contains(&format))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusVolume {
    pub(crate) disk: Option<String>,
    pub(crate) offset: Option<u64>,
    /// The name of the volume in its group.
    pub(crate) volume: Option<String>,
    pub(crate) content_sha256: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) listings: Vec<CorpusListing>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CorpusListing {
    pub(crate) file: String,
    pub(crate) tool: String,
}

/// What a test lacks where the corpus is not beside the checkout.
const CORPUS: &str = "the public corpus";

/// The folder of the corpus; without it the test is ignored.
pub(crate) fn needed() -> PathBuf {
    let folder = folder();
    needs(CORPUS, folder.is_some());
    // Windows has no xz; the tests of Linux on the same machine have unpacked it, or nobody.
    if cfg!(windows) {
        needs(CORPUS, std::env::var_os("VOLFOLD_TEST_CACHE").is_some());
    } else {
        needs_programs(&["xz"]);
    }
    folder.unwrap_or_default()
}

/// The folder of the corpus, if it is there.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    folder.join("MANIFEST.json").is_file().then_some(folder)
}

/// The entries of the corpus in `folder`.
pub(crate) fn manifest(folder: &Path) -> Manifest {
    let bytes = fs::read(folder.join("MANIFEST.json")).expect("MANIFEST.json");
    serde_json::from_slice(&bytes).expect("MANIFEST.json")
}

/// Whether this build is meant to read `entry` as a whole.
pub(crate) fn in_scope(entry: &Entry) -> bool {
    const LEFT_OUT: [&str; 9] = [
        "ldm",
        "md",
        "lvm2",
        "bitlocker",
        "corrupt",
        "truncated",
        "missing-parent",
        "missing-extent",
        "large-virtual",
    ];
    entry.kind == "image"
        && !entry.tags.iter().any(|tag| LEFT_OUT.contains(&tag.as_str()))
        && entry.disks.iter().any(CorpusDisk::is_read)
}

/// Unpacks all files of `entry` beside each other and gives their folder.
pub(crate) fn unpack(corpus: &Path, entry: &Entry) -> PathBuf {
    let folder = user_folder("volfold-corpus").join(&entry.id);
    for file in &entry.files {
        let target = folder.join(&file.name);
        if fs::metadata(&target).is_ok_and(|facts| facts.len() == file.size) {
            continue;
        }
        fs::create_dir_all(target.parent().expect("a folder")).expect("the cache folder");
        let stored = corpus.join(&file.stored);
        let bytes = match stored.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => unpack_by_tool("xz", &stored),
            Some("gz") if !file.name.ends_with(".gz") => unpack_by_tool("gzip", &stored),
            Some("bz2") => unpack_by_tool("bzip2", &stored),
            _ => fs::read(&stored).expect("a stored file"),
        };
        let part = part_name(&target);
        let mut out = SparseWriter::create(&part);
        out.write(&bytes);
        assert_eq!(out.finish(), file.sha256, "{}", file.name);
        put_in_place(&part, &target);
    }
    folder
}
