//! The images in `tests/fixtures`, and what other tools found in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde::Deserialize;

use super::install::workspace;
use super::sha256;

#[derive(Deserialize)]
struct Index {
    fixtures: BTreeMap<String, Fixture>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Fixture {
    #[serde(skip)]
    name: String,
    /// The files that a user names.
    open: Vec<String>,
    files: Vec<StoredFile>,
    #[serde(default)]
    pub(crate) volumes: Vec<VolumeFacts>,
    #[serde(default)]
    pub(crate) dynamic: Vec<DynamicFacts>,
}

#[derive(Clone, Deserialize)]
struct StoredFile {
    name: String,
    stored: String,
    sha256: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct VolumeFacts {
    #[serde(default)]
    pub(crate) errors: Vec<ExpectedError>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ExpectedError {
    pub(crate) path: String,
    pub(crate) code: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct DynamicFacts {
    pub(crate) id: String,
    pub(crate) sha256: String,
    pub(crate) listing: String,
}

fn folder() -> PathBuf {
    workspace().join("tests/fixtures")
}

/// The test image called `name`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let text = std::fs::read(folder().join("INDEX.json")).unwrap();
    let index: Index = serde_json::from_slice(&text).unwrap();
    let found = index.fixtures.get(name).unwrap_or_else(|| panic!("no fixture {name}")).clone();
    Fixture { name: name.to_owned(), ..found }
}

impl Fixture {
    /// The unpacked files that a user names.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        static LOCK: Mutex<()> = Mutex::new(());
        // The first test that wants it unpacks it.
        let _held = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let target = unpacked().join(&self.name);
        for file in &self.files {
            let path = target.join(&file.name);
            if !path.is_file() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let bytes = contents(&folder().join(&file.stored));
                assert_eq!(sha256(&bytes), file.sha256, "{}", file.stored);
                std::fs::write(&path, bytes).unwrap();
            }
        }
        self.open.iter().map(|name| target.join(name)).collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.paths().swap_remove(0)
    }
}

/// Where images are unpacked, by this process alone.
fn unpacked() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()).path()
}

/// The bytes of a file, unpacked if it is compressed.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return bytes;
    }
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
    std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
    unpacked
}

/// One row of a listing.
pub(crate) struct Row {
    pub(crate) path: Vec<u8>,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
    pub(crate) unreadable: bool,
    pub(crate) kind: String,
    pub(crate) extra: Vec<u8>,
}

/// The rows of the listing called `name`.
pub(crate) fn rows(name: &str) -> Vec<Row> {
    let bytes = contents(&folder().join(name));
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let row = |line: &[u8]| {
        let columns: Vec<Vec<u8>> = line.split(|byte| *byte == b'\t').map(unescaped).collect();
        let text = |index: usize| String::from_utf8_lossy(&columns[index]).into_owned();
        Row {
            path: columns[0].clone(),
            size: text(1).parse().ok(),
            sha256: Some(text(2)).filter(|digest| digest.len() == 64),
            unreadable: text(2) == "unreadable",
            kind: text(3),
            extra: columns[5].clone(),
        }
    };
    lines.skip(1).map(row).collect()
}

fn unescaped(column: &[u8]) -> Vec<u8> {
    let mut rest = column.iter();
    let mut bytes = Vec::new();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == &b'\\') {
            (_, true) => match rest.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => b'\\',
            },
            (byte, _) => *byte,
        });
    }
    bytes
}
