//! Programs that know nothing of volfold, over a mount of the sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::common::mounted::Folder;
use crate::common::program::{Output, Scratch, run, volfold};
use crate::harness::{apply, needs_path, needs_programs, test};

/// The signature of the EICAR file, in two halves so that this file is not found itself.
const SIGNATURE: &str = concat!(
    "Eicar-Test:0:0:58354f2150254041505b345c505a58353428505e2937434329377d24",
    "45494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n"
);

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk")
}

fn program(name: &str, arguments: &[&Path]) -> Output {
    run(Command::new(name).args(arguments))
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
                files.insert(name, crate::common::sha256(&fs::read(path).expect("a copy")));
            }
        }
    }
    files
}

#[apply(test)]
fn clamscan_finds_the_test_virus_in_every_volume() {
    needs_path("/dev/fuse");
    needs_programs(&["clamscan"]);
    let scratch = Scratch::new("signatures");
    let signatures = scratch.join("eicar.ndb");
    fs::write(&signatures, SIGNATURE).expect("a signature file");
    let folder = Folder::mounted("clamscan", &[sample()]);
    let options = ["-r", "--no-summary", "-d"].map(Path::new);
    let output = program("clamscan", &[&options[..], &[&signatures, folder.path()]].concat());
    let text = output.text();
    assert_eq!(output.code, Some(1), "clamscan's code for a find\n{text}");
    for volume in ["Windows", "BOOT", "linux"] {
        let file = folder.join(volume).join("eicar.com");
        let line = format!("{}: Eicar-Test.UNOFFICIAL FOUND", file.display());
        assert!(text.contains(&line), "{volume}\n{text}");
    }
}

#[apply(test)]
fn cp_rsync_tar_and_grep_at_once_and_extract_give_the_listed_files() {
    needs_programs(&["cp", "rsync", "tar", "grep"]);
    needs_path("/dev/fuse");
    let folder = Folder::mounted("copies", &[sample()]);
    let scratch = Scratch::new("copies-out");
    let [by_cp, by_rsync, by_tar, extracted] =
        ["cp", "rsync", "tar", "extract"].map(|name| scratch.join(name));
    let archive = scratch.join("all.tar");
    let (mount, below) = (folder.path(), folder.join(""));
    let word = Path::new;
    thread::scope(|scope| {
        let all = [
            scope.spawn(|| program("cp", &[word("-a"), mount, &by_cp])),
            scope.spawn(|| program("rsync", &[word("-a"), &below, &by_rsync])),
            scope.spawn(|| {
                let options = ["--sparse", "-cf"].map(Path::new);
                program("tar", &[&options[..], &[&archive, word("-C"), mount, word(".")]].concat())
            }),
            scope.spawn(|| program("grep", &[word("-r"), word("-l"), word("on this disk"), mount])),
        ];
        for one in all {
            let output = one.join().expect("the thread ends");
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        }
    });
    fs::create_dir(&by_tar).expect("a folder");
    program("tar", &[word("-xf"), &archive, word("-C"), &by_tar]).code(0);
    let sample = sample();
    volfold([word("extract"), &sample, word("-o"), &extracted]).code(0);
    let expected = expected();
    assert!(!expected.is_empty());
    for copy in [&by_cp, &by_rsync, &by_tar, &extracted] {
        assert_eq!(found(copy), expected, "{}", copy.display());
    }
}

#[apply(test)]
fn tar_with_sparse_fails_over_what_cannot_be_decoded_and_writes_no_zeros() {
    needs_path("/dev/fuse");
    needs_programs(&["tar"]);
    let fixture = crate::common::fixtures::fixture("ntfs-encrypted");
    let folder = Folder::mounted("sparse", &[fixture.path()]);
    let scratch = Scratch::new("sparse-out");
    let archive = scratch.join("all.tar");
    let options = ["--sparse", "-cf"].map(Path::new);
    let arguments = [&options[..], &[&archive, Path::new("-C"), folder.path(), Path::new(".")]];
    let output = program("tar", &arguments.concat());
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("Required key not available"), "{output:?}");
}
