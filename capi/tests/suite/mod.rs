//! What the tests of C programs share.

pub(crate) mod fixtures;
pub(crate) mod install;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Whether `program` is there, which shows its version for `option`. Without it a test is skipped, but
/// in CI it fails unless `VOLFOLD_WITHOUT` names what is missing.
#[track_caller]
pub(crate) fn needs(program: &str, option: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(option).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    lacks_unless(found, Path::new(program).file_name().unwrap().to_str().unwrap())
}

#[track_caller]
fn lacks_unless(found: bool, what: &str) -> bool {
    if !found {
        let without = std::env::var("VOLFOLD_WITHOUT").unwrap_or_default();
        let is_named = without.split(',').any(|name| name.trim() == what);
        assert!(is_named || std::env::var_os("CI").is_none(), "CI lacks {what}");
        println!("skipped: needs {what}");
    }
    found
}

/// The program volfold, if mounts can be made here.
#[track_caller]
pub(crate) fn needs_mount() -> Option<PathBuf> {
    lacks_unless(Path::new("/dev/fuse").exists(), "/dev/fuse").then(install::program)
}

/// Runs `command`, which has to end with `code`.
#[track_caller]
pub(crate) fn run(command: &mut Command, code: i32) -> Output {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    output
}

/// Runs `program` under valgrind, which ends with 99 for errors and lost memory; `None` without it.
#[track_caller]
pub(crate) fn valgrind(program: &Path) -> Option<Command> {
    needs("valgrind", "--version").then(|| {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        // Threads that wait for work have their stacks still.
        command.args(["--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite"]);
        command.arg(program);
        command
    })
}

/// The compiler for Windows: of the folder that `tools/windows-toolchain.sh` makes, or the system's.
pub(crate) fn windows_compiler() -> String {
    let name = "x86_64-w64-mingw32-gcc";
    let folder = std::env::var_os("WINDOWS_TOOLCHAIN_DIR")
        .map_or_else(|| install::workspace().join("target/windows-toolchain"), PathBuf::from);
    let own = folder.join("bin").join(name);
    if own.is_file() { own.to_str().unwrap().to_owned() } else { name.to_owned() }
}

/// What the program `dump` has written.
#[derive(Default)]
pub(crate) struct Dump {
    /// Number, size and format.
    pub(crate) disks: Vec<String>,
    pub(crate) volumes: Vec<DumpedVolume>,
    /// Family, version and name of the machine.
    pub(crate) systems: Vec<String>,
}

pub(crate) struct DumpedVolume {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<DumpedEntry>,
}

pub(crate) struct DumpedEntry {
    pub(crate) kind: String,
    pub(crate) path: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) code: String,
}

impl Dump {
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut dump = Self::default();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = str::from_utf8(&bytes[..end]).unwrap();
            bytes = &bytes[end + 1..];
            let mut take = |length: usize| {
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                taken.to_vec()
            };
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let number = |index: usize| words[index].parse::<usize>().unwrap();
            match words[0] {
                "disk" => dump.disks.push(words[1..].join(" ")),
                "volume" => {
                    let (id, bytes) = (words[2].to_owned(), take(number(1)));
                    dump.volumes.push(DumpedVolume { id, bytes, entries: Vec::new() });
                }
                "system" => dump.systems.push(words[1..].join(" ")),
                "finding" => {}
                kind => {
                    let (path, bytes) = (take(number(2)), take(number(1)));
                    let code = words.get(3).copied().unwrap_or_default().to_owned();
                    let entry = DumpedEntry { kind: kind.to_owned(), path, bytes, code };
                    dump.volumes.last_mut().unwrap().entries.push(entry);
                }
            }
        }
        dump
    }
}
