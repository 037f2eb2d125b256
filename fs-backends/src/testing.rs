//! What the tests of the backends share: volumes made by tools of the host, and a walk.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use volfold_block::MemoryDevice;

use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::{FsErrorKind, FsResult};
use crate::node::{DirCursor, FileData, FileKind, FileSystem, Metadata, Name, NodeId, StreamName};

/// A folder of the host that goes with the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(kind: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("volfold-{kind}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs a tool in the folder; false if it is not there.
    pub(super) fn run(&self, tool: &str, arguments: &[&str]) -> bool {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let output = Command::new(tool)
            .args(arguments)
            .env("PATH", path)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            // Windows has none of these tools; its tests of whole volumes are the conformance suite's.
            assert!(cfg!(windows) || std::env::var_os("CI").is_none(), "{tool} is needed");
            println!("skipped: needs {tool}");
            return false;
        };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{tool} {arguments:?}: {text}");
        true
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Makes the file `image` of `size` zero bytes.
    pub(super) fn blank(&self, size: u64) {
        let file = fs::File::create(self.0.join("image")).unwrap();
        file.set_len(size).unwrap();
    }

    pub(super) fn image(&self) -> Vec<u8> {
        fs::read(self.0.join("image")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes without a pattern that an offset by some blocks would hide.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// Mounts the volume of `bytes`; what can be mounted is identified the same way.
pub(super) fn mount(
    driver: &dyn FileSystemDriver,
    bytes: impl Into<Arc<[u8]>>,
) -> FsResult<Arc<dyn FileSystem>> {
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(bytes)));
    let fs = driver.mount(reader.clone(), ReadOptions::default())?;
    let identity = driver.identify(reader).unwrap();
    let info = fs.info();
    assert_eq!(identity, Identity::new(info.label.clone(), info.uuid.clone()));
    Ok(fs)
}

/// The node at `path`.
pub(super) fn find(fs: &dyn FileSystem, path: &str) -> FsResult<NodeId> {
    let mut parts = path.split('/');
    parts.try_fold(fs.root(), |dir, part| fs.lookup(dir, Name::new(part)))
}

/// All bytes of `file`, read in pieces of an odd size.
pub(super) fn content(file: &dyn FileData) -> FsResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 7001];
    loop {
        match file.read_at(bytes.len() as u64, &mut piece)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

pub(super) fn read(fs: &dyn FileSystem, path: &str) -> FsResult<Vec<u8>> {
    let file = fs.open(find(fs, path)?, &StreamName::MAIN)?;
    content(&*file)
}

/// The name, the node and the metadata that a listing gave.
pub(super) type Listed = (Vec<u8>, NodeId, Option<Metadata>);

/// One directory, fetched in pieces of `piece` names.
pub(super) fn list(fs: &dyn FileSystem, dir: NodeId, piece: usize) -> FsResult<Vec<Listed>> {
    let mut names = Vec::new();
    let mut next = DirCursor::START;
    loop {
        let start = names.len();
        fs.read_dir(dir, next, &mut |entry| {
            let name = entry.name.as_bytes().to_vec();
            names.push((name, entry.node, entry.metadata.cloned()));
            next = entry.next;
            match names.len() - start < piece {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if names.len() - start < piece {
            return Ok(names);
        }
    }
}

/// The content of every file, by path; every name is looked up on the way.
pub(super) fn tree(fs: &dyn FileSystem) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![(fs.root(), String::new())];
    while let Some((dir, path)) = open.pop() {
        for (name, node, metadata) in list(fs, dir, 3).unwrap() {
            assert_eq!(fs.lookup(dir, Name::new(&name)).unwrap(), node);
            let metadata = metadata.unwrap();
            assert_eq!(fs.metadata(node).unwrap(), metadata);
            let path = format!("{path}{}", String::from_utf8(name).unwrap());
            if metadata.kind == FileKind::Directory {
                open.push((node, format!("{path}/")));
            } else {
                let file = fs.open(node, &StreamName::MAIN).unwrap();
                assert_eq!(file.size(), metadata.size);
                files.insert(path, content(&*file).unwrap());
            }
        }
    }
    files
}

/// Asks for everything that a hostile volume could answer badly, within bounds.
pub(super) fn exercise(driver: &dyn FileSystemDriver, bytes: Vec<u8>) {
    let Ok(fs) = mount(driver, bytes) else {
        return;
    };
    let _ = fs.usage();
    let mut open = vec![fs.root()];
    let mut left = 300;
    while let Some(node) = open.pop() {
        let _ = fs.read_dir(node, DirCursor::START, &mut |entry| {
            left -= 1;
            open.push(entry.node);
            let _ = fs.lookup(node, entry.name);
            match left > 0 {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        if left <= 0 {
            break;
        }
        let _ = fs.metadata(node);
        let _ = fs.read_link(node);
        let mut streams = vec![StreamName::MAIN];
        streams.extend(fs.streams(node).into_iter().flatten().map(|info| info.name));
        for stream in streams.iter().take(8) {
            if let Ok(file) = fs.open(node, stream) {
                let mut buf = vec![0; 65536];
                let _ = file.read_at(0, &mut buf);
                let _ = file.read_at(file.size().saturating_sub(9), &mut buf[..32]);
                let _ = file.extent_at(file.size() / 2);
            }
        }
    }
}

/// `exercise` on `count` copies of `image` with some bytes of `range` bent.
pub(super) fn exercise_bent(
    driver: &dyn FileSystemDriver,
    image: &[u8],
    range: std::ops::Range<usize>,
    count: u64,
) {
    for round in 0..count {
        let mut bytes = image.to_vec();
        let numbers = noise(8 * 16, round * 7919 + 3);
        for number in numbers.chunks(8).take(1 + round as usize % 16) {
            let number = u64::from_le_bytes(number.try_into().unwrap());
            let at = range.start + (number >> 16) as usize % range.len();
            bytes[at] = match number & 3 {
                0 => 0xFF,
                1 => 0,
                2 => bytes[at] ^ (1 << (number >> 8 & 7)),
                _ => (number >> 8) as u8,
            };
        }
        exercise(driver, bytes);
    }
}

pub(super) fn kind_of<T>(result: FsResult<T>) -> FsErrorKind {
    result.err().expect("an error").kind()
}

/// The hashes that `debugfs` prints for `commands`, lines of `dx_hash`, in order; `None` if it is not
/// there.
#[cfg(feature = "ext4")]
pub(super) fn hashes_of_debugfs(folder: &str, commands: &str) -> Option<Vec<u32>> {
    let scratch = Scratch::new(folder);
    fs::write(scratch.0.join("image"), vec![0; 1 << 20]).unwrap();
    fs::write(scratch.0.join("commands"), commands).unwrap();
    if !scratch.run("mke2fs", &["-q", "-F", "-t", "ext2", "image"]) {
        return None;
    }
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new("debugfs")
        .args(["-f", "commands", "image"])
        .env("PATH", path)
        .current_dir(&scratch.0)
        .output()
        .unwrap();
    // The names are printed too, with whatever bytes they have.
    let hash = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let (_, rest) = text.rsplit_once(" is 0x")?;
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        u32::from_str_radix(&digits, 16).ok()
    };
    Some(output.stdout.split(|byte| *byte == b'\n').filter_map(hash).collect())
}
