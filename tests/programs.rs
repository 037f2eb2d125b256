//! Programs that know nothing of volfold, over a mount of the sample.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops by a panic")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The signature of the EICAR file, in two halves so that this file is not found itself.
const SIGNATURE: &str = concat!(
    "Eicar-Test:0:0:58354f2150254041505b345c505a58353428505e2937434329377d24",
    "45494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n"
);

/// A mount of the sample, freed at the end whatever happens.
struct Mounted {
    folder: PathBuf,
    scratch: PathBuf,
}

impl Mounted {
    fn new(name: &str) -> Self {
        let scratch = common::user_folder(&format!("volfold-{name}-{}", std::process::id()));
        let folder = scratch.join("mnt");
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk");
        let mut command = volfold();
        let output = limited(command.arg("mount").arg(sample).arg(&folder));
        assert!(output.status.success(), "mount: {output:?}");
        Self { folder, scratch }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let output = limited(volfold().arg("unmount").arg(&self.folder));
        if !output.status.success() {
            limited(volfold().args(["unmount", "--force"]).arg(&self.folder));
        }
        if !self.folder.exists() {
            let _ = fs::remove_dir_all(&self.scratch);
        }
    }
}

fn volfold() -> Command {
    Command::new(env!("CARGO_BIN_EXE_volfold"))
}

/// Runs `command` to its end, for a minute at most: a mount that hangs must not hang the tests.
fn limited(command: &mut Command) -> Output {
    let mut limited = Command::new("timeout");
    limited.args(["-s", "KILL", "60"]).arg(command.get_program()).args(command.get_args());
    limited.stdin(Stdio::null()).output().expect("the program starts")
}

fn start(program: &str, arguments: &[&Path]) -> Child {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60", program, "-a"]).args(arguments);
    command.stdin(Stdio::null()).spawn().expect("the program starts")
}

/// Path below the mount to SHA-256, of the sample's own list.
fn expected() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.sha256");
    let text = fs::read_to_string(file).expect("the list of the sample");
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let path = fields.next().expect("a path").trim_start_matches('/').to_owned();
            (path, fields.nth(1).expect("a digest").to_owned())
        })
        .collect()
}

/// The same of the copy at `folder`.
fn found(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let name = path.strip_prefix(folder).expect("a path below").display().to_string();
                files.insert(name, common::sha256(&fs::read(path).expect("a copy")));
            }
        }
    }
    files
}

#[test]
fn clamscan_finds_the_test_virus_in_every_volume() {
    if !common::needs_path("/dev/fuse") || !common::needs("clamscan") {
        return;
    }
    let mounted = Mounted::new("clamscan");
    let signatures = mounted.scratch.join("eicar.ndb");
    fs::write(&signatures, SIGNATURE).expect("a signature file");
    let mut scan = Command::new("clamscan");
    scan.args(["-r", "--no-summary", "-d"]).arg(signatures).arg(&mounted.folder);
    let output = limited(&mut scan);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "clamscan's code for a find\n{text}");
    for volume in ["Windows", "BOOT", "linux"] {
        let file = mounted.folder.join(volume).join("eicar.com");
        let line = format!("{}: Eicar-Test.UNOFFICIAL FOUND", file.display());
        assert!(text.contains(&line), "{volume}\n{text}");
    }
}

#[test]
fn copies_by_cp_rsync_tar_and_extract_hold_the_listed_files() {
    if !["cp", "rsync", "tar", "grep"].into_iter().all(common::needs)
        || !common::needs_path("/dev/fuse")
    {
        return;
    }
    let mounted = Mounted::new("copies");
    let (by_cp, by_rsync) = (mounted.scratch.join("cp"), mounted.scratch.join("rsync"));
    let (by_tar, extracted) = (mounted.scratch.join("tar"), mounted.scratch.join("extract"));
    let mut copies = [
        start("cp", &[&mounted.folder, &by_cp]),
        start("rsync", &[&mounted.folder.join(""), &by_rsync]),
    ];
    let archive = mounted.scratch.join("all.tar");
    let tar = limited(
        Command::new("tar")
            .arg("--sparse")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&mounted.folder)
            .arg("."),
    );
    let grep =
        limited(Command::new("grep").args(["-r", "-l", "on this disk"]).arg(&mounted.folder));
    for copy in &mut copies {
        assert!(copy.wait().expect("the copy ends").success());
    }
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    assert!(grep.status.success() && grep.stderr.is_empty(), "{grep:?}");
    fs::create_dir(&by_tar).expect("a folder");
    assert!(
        limited(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&by_tar))
            .status
            .success()
    );
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk");
    let extract = limited(volfold().arg("extract").arg(sample).arg("-o").arg(&extracted));
    assert!(extract.status.success(), "{extract:?}");
    let expected = expected();
    assert!(!expected.is_empty());
    for copy in [&by_cp, &by_rsync, &by_tar, &extracted] {
        assert_eq!(found(copy), expected, "{}", copy.display());
    }
}
