//! Writes the seeds of the fuzz targets that serve a registry: `cargo run --example fuzz-seeds`.
//!
//! Each fixture becomes a seed of every target that has an entry for it, behind the byte that picks the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use volfold::partition::registry::SCHEMES;
use volfold::volume::registry::{MANAGERS, SNAPSHOT_MANAGERS};
use volfold::volume::{Region, basic};
use volfold_block::{BlockDevice, Confidence, MemoryDevice, surest};
use volfold_fs::DRIVERS;
use volfold_images::FORMATS;

/// Images above this size only slow the fuzzer down.
const MAX_SEED: u64 = 20 << 20;
/// Seeds of one entry: the smallest, one of each fixture.
const SEEDS: usize = 12;

/// Its bytes, its fixture and the file in that.
type Seed = (Vec<u8>, (String, String));

fn main() -> Result<(), Box<dyn Error>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut packed = Vec::new();
    files(&tests.join("fixtures"), &mut packed)?;
    let mut seeds: BTreeMap<(&str, usize), Vec<Seed>> = BTreeMap::new();
    for path in packed {
        let mut bytes = Vec::new();
        let decoder = flate2::read::GzDecoder::new(fs::File::open(&path)?);
        decoder.take(MAX_SEED + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SEED {
            continue;
        }
        let below = path.strip_prefix(tests.join("fixtures"))?.with_extension("");
        let mut parts = below.iter().map(|part| part.to_string_lossy().into_owned());
        let name = (parts.next().unwrap_or_default(), parts.collect::<String>());
        for place in entries(&bytes) {
            let chosen = seeds.entry(place).or_default();
            chosen.push((bytes.clone(), name.clone()));
            chosen.sort_by_key(|(bytes, _)| bytes.len());
            let mut fixtures = BTreeSet::new();
            chosen.retain(|(_, (fixture, _))| fixtures.insert(fixture.clone()));
            chosen.truncate(SEEDS);
        }
    }
    for ((target, entry), chosen) in seeds {
        let folder = tests.join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (bytes, (fixture, file)) in chosen {
            let seed = [&[u8::try_from(entry)?], bytes.as_slice()].concat();
            fs::write(folder.join(format!("{entry}-{fixture}{file}")), seed)?;
        }
    }
    Ok(())
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// The targets that have an entry for `bytes`, and its place in their registry.
fn entries(bytes: &[u8]) -> Vec<(&'static str, usize)> {
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
    let mut found = Vec::new();
    let formats = (0..FORMATS.len()).collect::<Vec<_>>();
    if let Ok(Some((_, index))) = surest(&formats, |index| FORMATS[index].probe(&*device)) {
        found.push(("image", index));
    }
    for (index, driver) in DRIVERS.iter().enumerate() {
        if driver.probe(&*device).is_ok_and(|confidence| confidence != Confidence::No) {
            found.push(("volume", index));
        }
    }
    for (index, scheme) in SCHEMES.iter().enumerate() {
        let reads = |sector| matches!(scheme.read(&*device, sector), Ok(Some(_)));
        if reads(512) || reads(4096) {
            found.push(("partition", index));
        }
    }
    let volume = basic::volume(region(&device));
    for (index, manager) in SNAPSHOT_MANAGERS.iter().enumerate() {
        if !manager.find(&[&volume], true, &mut Vec::new()).is_empty() {
            found.push(("snapshots", index));
        }
    }
    for (index, manager) in MANAGERS.iter().enumerate() {
        if matches!(manager.claim(&region(&device)), Ok(Some(_))) {
            found.push(("manager", index));
        }
    }
    found
}

/// `device` as a whole disk.
fn region(device: &Arc<dyn BlockDevice>) -> Region {
    Region {
        disk: 0,
        size: device.size(),
        device: device.clone(),
        start: 0,
        label: "seed".into(),
        partition: None,
        table_id: None,
    }
}
