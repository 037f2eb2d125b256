//! The images of a fixture as plain files, for programs that are no tests of ours.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::Failure;
use crate::steps;

/// What `tests/fixtures/INDEX.json` tells of every fixture; more stands there.
#[derive(Deserialize)]
struct Index {
    fixtures: std::collections::BTreeMap<String, Fixture>,
}

#[derive(Deserialize)]
struct Fixture {
    files: Vec<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    name: String,
    stored: String,
    size: u64,
}

/// Writes the images of the fixture `name` to `folder`, and their paths to stdout.
pub(crate) fn run(name: &str, folder: &str) -> Result<(), Failure> {
    let fixtures = steps::root().join("tests/fixtures");
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let path = fixtures.join("INDEX.json");
    let text = fs::read(&path).map_err(|error| at(&path, &error))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| at(&path, &error))?;
    let fixture = index.fixtures.get(name).ok_or_else(|| format!("no fixture {name}"))?;
    let folder = Path::new(folder);
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
    for file in &fixture.files {
        let (from, to) = (fixtures.join(&file.stored), folder.join(&file.name));
        let stored = File::open(&from).map_err(|error| at(&from, &error))?;
        let mut reader: Box<dyn io::Read> = Box::new(stored);
        if file.stored.ends_with(".gz") {
            reader = Box::new(GzDecoder::new(reader));
        }
        let mut out = File::create(&to).map_err(|error| at(&to, &error))?;
        let size = io::copy(&mut reader, &mut out).map_err(|error| at(&from, &error))?;
        if size != file.size {
            return Err(at(&from, &format!("holds {size} bytes, not {}", file.size)));
        }
        println!("{}", to.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_of_two_disks_is_unpacked() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("new");
        run("ldm-spanned", folder.to_str().unwrap()).unwrap();
        for name in ["disk1.img", "disk2.img"] {
            let bytes = fs::read(folder.join(name)).unwrap();
            assert_eq!(bytes.get(510..512), Some([0x55, 0xAA].as_slice()), "{name} has an MBR");
        }
        assert_eq!(run("none", "x").unwrap_err(), "no fixture none");
    }
}
