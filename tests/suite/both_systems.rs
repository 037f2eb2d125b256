//! The program for Windows gives the answers of the program for Linux.
//!
//! Runs on Linux. `VOLFOLD_EXE` names the program for Windows and `VOLFOLD_EXE_RUNNER` what runs it
//! (wine); `.ci/windows` sets both. Without them there is nothing to compare.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use volfold_projector::folder::names;

use crate::common::program::{Output, Scratch, VOLFOLD, run};
use crate::common::{corpus, fixtures, sha256};
use crate::harness::{apply, needs, note, test};

/// Above this number of files wine takes minutes: it reads a whole folder for each new name in it.
const MAX_EXTRACTED: u64 = 600;

/// The two programs that are to agree.
struct Both {
    exe: PathBuf,
    runner: PathBuf,
}

impl Both {
    /// Both; without the one for Windows the test is ignored.
    fn needed() -> Self {
        let [exe, runner] = ["VOLFOLD_EXE", "VOLFOLD_EXE_RUNNER"].map(|name| {
            let value = std::env::var_os(name);
            needs("a program for Windows", value.is_some());
            PathBuf::from(value.unwrap_or_default())
        });
        Self { exe: fs::canonicalize(&exe).expect("the program for Windows"), runner }
    }

    /// What the programs for Linux and for Windows answer to `arguments` in `folder`.
    fn run(&self, folder: &Path, arguments: &[OsString]) -> [Output; 2] {
        let linux = run(Command::new(VOLFOLD).args(arguments).current_dir(folder));
        let windows = self.run_windows(folder, arguments, || {});
        [without_paths(linux, folder), without_paths(windows, folder)]
    }

    /// What the program for Windows answers; `prepare` comes before each try.
    ///
    /// Once in some thousand starts wine itself ends by a signal, which no program of Windows can.
    fn run_windows(&self, folder: &Path, arguments: &[OsString], prepare: impl Fn()) -> Output {
        let mut tries = 0;
        loop {
            prepare();
            let output = run(Command::new(&self.runner)
                .arg(&self.exe)
                .args(arguments)
                .env("LC_ALL", "C.UTF-8")
                .current_dir(folder));
            tries += 1;
            if output.code.is_some() || tries == 3 {
                return output;
            }
            note!("wine was ended by a signal: {arguments:?}");
        }
    }

    /// Fails unless both give the same answer, the same talk and the same code; gives the answer.
    #[track_caller]
    fn same(&self, folder: &Path, arguments: &[OsString]) -> Output {
        let [linux, windows] = self.run(folder, arguments);
        assert_eq!(linux.code, windows.code, "{arguments:?}: {linux:?} {windows:?}");
        assert_eq!(linux.stderr, windows.stderr, "{arguments:?}");
        assert!(linux.stdout == windows.stdout, "{arguments:?} differ in {}", folder.display());
        linux
    }
}

/// `output` with paths as both systems would write them below `folder`.
fn without_paths(mut output: Output, folder: &Path) -> Output {
    let folder = fs::canonicalize(folder).expect("the folder");
    let linux = format!("{}/", folder.display());
    let windows = format!("Z:{}", linux.replace('/', "\\"));
    let in_json = windows.replace('\\', "\\\\");
    let clean = |text: &str| text.replace(&in_json, "").replace(&windows, "").replace(&linux, "");
    output.stderr = clean(&output.stderr);
    if let Ok(text) = std::str::from_utf8(&output.stdout) {
        output.stdout = clean(text).into_bytes();
    }
    output
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// `list`, `ls`, `hash`, `cat` and `extract` of the disk `disk` in `folder`.
fn compare(both: &Both, folder: &Path, disk: &str) -> u64 {
    both.same(folder, &words(&["list", disk]));
    both.same(folder, &words(&["list", disk, "--json"]));
    both.same(folder, &words(&["ls", disk, "-lR"]));
    let hash = both.same(folder, &words(&["hash", disk]));
    let mut files = 0;
    for (number, line) in hash.stdout.split(|byte| *byte == b'\n').enumerate() {
        let Some(end) = line.iter().position(|byte| *byte == b'\t') else { continue };
        files += 1;
        let path = &line[..end];
        // Some of them; those of other letters than English ones in any case.
        let text = std::str::from_utf8(path);
        let wanted = number % 200 == 0 || (!path.is_ascii() && number % 10 == 0);
        if wanted && text.is_ok() && !path.contains(&b'\\') {
            let mut arguments = words(&["cat", disk, "-p"]);
            arguments.push(OsString::from_vec(path.to_vec()));
            both.same(folder, &arguments);
        }
    }
    if files <= MAX_EXTRACTED {
        extract(both, folder, disk);
    }
    files
}

/// What was extracted, by the guest's paths: a kind, content or target, and a time.
type Tree = BTreeMap<Vec<u8>, (char, Vec<u8>, i64)>;

fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![(root.to_path_buf(), Vec::new())];
    while let Some((folder, above)) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let mut name = name.into_vec();
            // The number of a twin: U+F130 and up.
            while let [rest @ .., 0xEF, 0x84, 0xB0..=0xB9] = name.as_slice() {
                name.truncate(rest.len());
            }
            let guest = names::to_guest(&name).unwrap_or(name);
            let path = [above.as_slice(), b"/", &guest].concat();
            let facts = entry.metadata().expect("metadata");
            let file = entry.path();
            let found = if facts.is_symlink() {
                ('l', fs::read_link(&file).expect("a link").into_os_string().into_vec(), 0)
            } else if facts.is_dir() {
                folders.push((file, path.clone()));
                ('d', Vec::new(), facts.mtime())
            } else {
                let content = fs::read(&file).expect("a file");
                ('f', sha256(&content).into_bytes(), facts.mtime())
            };
            let twin = tree.insert(path, found);
            assert!(twin.is_none(), "{} is there twice", entry.path().display());
        }
    }
    tree
}

/// Both extract the same; of links, which wine does not make, the program for Windows tells once.
fn extract(both: &Both, folder: &Path, disk: &str) {
    let scratch = Scratch::new("both");
    let outputs = ["linux", "windows"].map(|name| scratch.join(name));
    let [linux, windows] = outputs.clone();
    let arguments = |output: &Path| {
        let mut arguments = words(&["extract", disk, "-o"]);
        arguments.push(output.into());
        arguments
    };
    let linux_said = run(Command::new(VOLFOLD).args(arguments(&linux)).current_dir(folder));
    let windows_said = both.run_windows(folder, &arguments(&windows), || {
        let _ = fs::remove_dir_all(&windows);
    });
    // A disk without a readable volume.
    if linux_said.code == Some(1) {
        assert_eq!((windows_said.code, &windows_said.stderr), (Some(1), &linux_said.stderr));
        return;
    }
    assert!(linux.is_dir() && windows.is_dir(), "{disk}: {linux_said:?} {windows_said:?}");
    let (linux, windows) = (tree(&linux), tree(&windows));
    let links = linux.values().filter(|found| found.0 == 'l').count();
    let expected: Tree = linux
        .iter()
        .filter(|(_, found)| found.0 != 'l')
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for (path, found) in &expected {
        let shown = path.escape_ascii();
        let Some(other) = windows.get(path) else {
            panic!("{disk}: Windows lacks {shown}: {windows_said:?}");
        };
        assert_eq!((found.0, &found.1), (other.0, &other.1), "{disk}: {shown}");
        // FILETIME begins in 1601.
        if found.2 > -11_644_473_600 {
            assert_eq!(found.2, other.2, "{disk}: the time of {shown}");
        }
    }
    assert_eq!(expected.len(), windows.len(), "{disk}: Windows has more");
    let left_out = windows_said.stderr.lines().filter(|line| line.contains("symbolic link"));
    assert_eq!(left_out.count(), usize::from(links > 0), "{disk}: {windows_said:?}");
    assert!(windows_said.stderr.contains(&format!("{links} symbolic link")) || links == 0);
    assert_eq!(windows_said.code, linux_said.code, "{disk}: {windows_said:?}");
    let other = windows_said.stderr.lines().filter(|line| !line.contains("symbolic link"));
    assert_eq!(other.count(), linux_said.stderr.lines().count(), "{disk}: {windows_said:?}");
}

#[apply(test)]
fn the_sample_and_the_fixtures_read_the_same() {
    let both = Both::needed();
    for name in [
        "sample",
        "ext4",
        "ext2-1k",
        "fat16",
        "ntfs-plain",
        "ntfs-ads",
        "ntfs-symlinks",
        "ntfs-hardlinks",
        "ntfs-encrypted",
        "vmdk-chain",
    ] {
        let fixture = fixtures::fixture(name);
        let disk = fixture.open.first().expect("a disk");
        note!("{name}: {} files", compare(&both, &fixture.folder(), disk));
    }
}

#[apply(test)]
fn the_public_corpus_reads_the_same() {
    let both = Both::needed();
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    for entry in manifest.entries.iter().filter(|entry| corpus::in_scope(entry)) {
        let unpacked = corpus::unpack(&folder, entry);
        for disk in &entry.disks {
            let files = compare(&both, &unpacked, &disk.name);
            note!("{}/{}: {files} files", entry.id, disk.name);
        }
    }
}
