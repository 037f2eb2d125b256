//! Volumes with parts of them overwritten: every answer is that of the whole volume, an error, or told of.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use volfold_block::{BlockDevice, BlockError, BlockResult};
use volfold_fs::{
    DRIVERS, DirCursor, FileKind, FileSystem, FsResult, Metadata, Name, NodeId, ReadOptions,
    StreamName, VolumeReader,
};

use super::fixtures::fixture;
use crate::harness::note;

/// A volume with some bytes in the place of its own.
struct Bent {
    whole: Arc<[u8]>,
    at: usize,
    bytes: Vec<u8>,
}

impl BlockDevice for Bent {
    fn size(&self) -> u64 {
        self.whole.len() as u64
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let length = buf.len() as u64;
        let out = || BlockError::out_of_range(offset, length, self.size());
        let start = usize::try_from(offset).map_err(|_| out())?;
        let end = start.checked_add(buf.len()).filter(|&end| end <= self.whole.len());
        buf.copy_from_slice(&self.whole[start..end.ok_or_else(out)?]);
        let from = self.at.max(start);
        let to = (self.at + self.bytes.len()).min(start + buf.len());
        if from < to {
            let bytes = &self.bytes[from - self.at..to - self.at];
            buf[from - start..to - start].copy_from_slice(bytes);
        }
        Ok(())
    }
}

fn mount(driver: &str, device: impl BlockDevice + 'static) -> FsResult<Arc<dyn FileSystem>> {
    let driver = DRIVERS.iter().find(|known| known.id() == driver).expect("the driver");
    driver.mount(VolumeReader::uncached(Arc::new(device)), ReadOptions::default())
}

/// What is known of a path, part by part; `None` is refused.
type Parts = BTreeMap<(Vec<u8>, &'static str), Option<String>>;

fn sum(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes)[..8])
}

fn described(metadata: &Metadata) -> String {
    let Metadata { kind, size, allocated, links, times, owner, device, attributes, .. } = metadata;
    format!("{kind:?} {size} {allocated} {links} {times:?} {owner:?} {device:?} {attributes:?}")
}

/// Everything that `fs` says.
fn state(fs: &dyn FileSystem) -> Parts {
    let mut parts = Parts::new();
    let mut open = vec![(fs.root(), Vec::new())];
    while let Some((node, path)) = open.pop() {
        let metadata = fs.metadata(node).ok();
        parts.insert((path.clone(), "metadata"), metadata.as_ref().map(described));
        for name in fs.extended_attributes(node).into_iter().flatten() {
            let value = fs.extended_attribute(node, &name).ok().map(|value| sum(&value));
            let path = [path.as_slice(), b" @", &name].concat();
            parts.insert((path, "attribute"), value);
        }
        let names = fs.extended_attributes(node).ok().map(|names| sum(&names.concat()));
        parts.insert((path.clone(), "attributes"), names);
        let kind = metadata.map(|metadata| metadata.kind);
        if kind == Some(FileKind::Symlink) {
            let target = fs.read_link(node).ok().map(|target| sum(&target.0));
            parts.insert((path.clone(), "target"), target);
        }
        if matches!(kind, Some(FileKind::Regular)) {
            parts.insert((path.clone(), "content"), content(fs, node));
        }
        if kind == Some(FileKind::Directory) && path.len() < 400 {
            let mut names = Vec::new();
            let listed = fs.read_dir(node, DirCursor::START, &mut |entry| {
                names.push((entry.name.as_bytes().to_vec(), entry.node));
                ControlFlow::Continue(())
            });
            parts.insert((path.clone(), "names"), listed.ok().map(|()| String::new()));
            for (name, found) in names {
                let path = [path.as_slice(), b"/", &name].concat();
                let by_name = fs.lookup(node, Name::new(&name)).ok();
                parts
                    .insert((path.clone(), "by name"), by_name.map(|it| (it == found).to_string()));
                open.push((found, path));
            }
        }
    }
    parts
}

fn content(fs: &dyn FileSystem, node: NodeId) -> Option<String> {
    let file = fs.open(node, &StreamName::MAIN).ok()?;
    let mut bytes = vec![0; usize::try_from(file.size().min(1 << 20)).ok()?];
    let count = file.read_at(0, &mut bytes).ok()?;
    Some(format!("{} {}", file.size(), sum(&bytes[..count])))
}

/// What became of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Every answer is as before.
    Same,
    /// Some are errors, and the others as before.
    Refused,
    /// Something may be wrong, and a finding says so.
    Told,
    /// This is wrong, and nothing says so.
    Silent(String),
}

fn answer(expected: &Parts, fs: &FsResult<Arc<dyn FileSystem>>) -> Answer {
    let Ok(fs) = fs else { return Answer::Refused };
    let found = state(&**fs);
    if fs.findings().iter().any(|finding| finding.bears_on_content()) {
        return Answer::Told;
    }
    let mut refused = false;
    for (key, value) in expected {
        match found.get(key) {
            Some(other) if other == value => {}
            Some(None) => refused = true,
            None if is_hidden(&found, &key.0) => refused = true,
            other => return Answer::Silent(shown(key, value, other)),
        }
    }
    if let Some((key, value)) = found.iter().find(|(key, _)| !expected.contains_key(*key)) {
        return Answer::Silent(shown(key, &None, Some(value)));
    }
    if refused { Answer::Refused } else { Answer::Same }
}

fn shown(key: &(Vec<u8>, &str), value: &Option<String>, other: Option<&Option<String>>) -> String {
    let path = String::from_utf8_lossy(&key.0).into_owned();
    format!("{path}: {} was {value:?} and is {other:?}", key.1)
}

/// Whether something above `path`, or of it, was refused, so that what is there cannot be seen.
fn is_hidden(found: &Parts, path: &[u8]) -> bool {
    let ends = (0..=path.len()).filter(|&end| matches!(path.get(end), None | Some(b'/' | b' ')));
    ends.map(|end| path[..end].to_vec()).any(|above| {
        ["names", "metadata", "attributes"]
            .into_iter()
            .any(|part| found.get(&(above.clone(), part)) == Some(&None))
    })
}

/// Whether every place is tried, and not some of them.
pub(crate) fn step(sample: usize) -> usize {
    if std::env::var_os("VOLFOLD_ALL_BITS").is_some() { 1 } else { sample }
}

/// Overwrites each of `places` of the fixture `name` in turn, and gives what is wrong in silence.
pub(crate) fn attack(driver: &str, name: &str, places: &[(usize, Vec<u8>)]) -> Vec<String> {
    let whole: Arc<[u8]> = std::fs::read(fixture(name).path()).expect(name).into();
    let bent = |at: usize, bytes: Vec<u8>| Bent { whole: whole.clone(), at, bytes };
    let expected = state(&*mount(driver, bent(0, Vec::new())).expect(name));
    assert!(expected.values().all(Option::is_some), "{name}");
    let mut counts = [0; 3];
    let mut silent = Vec::new();
    for (at, bytes) in places {
        match answer(&expected, &mount(driver, bent(*at, bytes.clone()))) {
            Answer::Same => counts[0] += 1,
            Answer::Refused => counts[1] += 1,
            Answer::Told => counts[2] += 1,
            Answer::Silent(what) => silent.push(format!("{name}: at {at:#x}: {what}")),
        }
    }
    let [same, refused, told] = counts;
    note!("{name}: {same} the same, {refused} refused, {told} told, {} silent", silent.len());
    silent
}
