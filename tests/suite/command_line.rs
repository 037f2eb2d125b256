//! The built program, command by command: its answer, its talk and its exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::common::fixtures::{Fixture, fixture, index};
#[cfg(unix)]
use crate::common::listing::Row;
use crate::common::program::{Output, Scratch, VOLFOLD, run, volfold};
use crate::common::sha256;
#[cfg(unix)]
use crate::harness::needs_programs;
use crate::harness::{apply, note, side_by_side, test};

/// Runs `volfold` with `arguments` in `folder`, so that its words hold no paths of this machine.
fn volfold_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut output = run(Command::new(VOLFOLD).args(arguments).current_dir(folder));
    // Parents and extents are named by whole paths.
    let folder = fs::canonicalize(folder).expect("the folder");
    let folder = format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR);
    let folder = folder.trim_start_matches(r"\\?\");
    let in_json = folder.replace('\\', r"\\");
    output.stderr = output.stderr.replace(folder, "");
    if let Ok(text) = std::str::from_utf8(&output.stdout) {
        output.stdout = text.replace(&in_json, "").replace(folder, "").into_bytes();
    }
    output
}

/// Runs `volfold` in the folder of the fixture `name`.
fn on(name: &str, arguments: &[&str]) -> Output {
    volfold_in(&fixture(name).folder(), arguments)
}

/// Compares `output` with `tests/golden/NAME.txt`, or writes that file with `UPDATE_GOLDEN=1`.
fn golden(name: &str, arguments: &[&str], output: &Output) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    let text = format!(
        "$ volfold {}\n{}--- stderr\n{}--- exit code {}\n",
        arguments.join(" "),
        output.text(),
        output.stderr,
        output.code.expect("an exit code")
    );
    // A folder's images are named with the separator of the host, which JSON escapes.
    let text = match cfg!(windows) {
        true => text.replace(".\\\\", "./").replace(".\\", "./"),
        false => text,
    };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("tests/golden");
        return;
    }
    let wanted = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 makes it", path.display()));
    assert!(text == wanted, "{name}: is\n{text}\nand was\n{wanted}\nUPDATE_GOLDEN=1 rewrites it");
}

/// The golden files: a name, the fixture in whose folder the command runs, the arguments, the code.
const GOLDEN: &[(&str, &str, &[&str], i32)] = &[
    ("list-sample", "sample", &["list", "sample.vmdk"], 0),
    ("list-sample-json", "sample", &["list", "sample.vmdk", "--json"], 0),
    ("list-gpt", "gpt-512", &["list", "gpt-512.img"], 0),
    ("list-gpt-json", "gpt-512", &["list", "gpt-512.img", "--json"], 0),
    ("list-gpt-4kn", "gpt-4kn", &["list", "gpt-4kn.img"], 0),
    ("list-gpt-primary-damaged", "gpt-primary-damaged", &["list", "gpt-primary-damaged.img"], 0),
    ("list-gpt-backup-damaged", "gpt-backup-damaged", &["list", "gpt-backup-damaged.img"], 0),
    ("list-gpt-both-damaged", "gpt-both-damaged", &["list", "gpt-both-damaged.img"], 3),
    ("list-gpt-hybrid", "gpt-hybrid-mbr", &["list", "gpt-hybrid-mbr.img", "--json"], 0),
    ("list-mbr-extended", "mbr-extended", &["list", "mbr-extended.img"], 0),
    ("list-mbr-extended-loop", "mbr-extended-loop", &["list", "mbr-extended-loop.img"], 3),
    ("list-mbr-odd-entries", "mbr-odd-entries", &["list", "mbr-odd-entries.img"], 3),
    ("list-empty-disk", "empty-disk", &["list", "empty-disk.img"], 0),
    ("list-chain", "vmdk-chain", &["list", "grandchild.vmdk"], 0),
    ("list-whole-disk", "ntfs-plain", &["list", "ntfs-plain.img", "--json"], 0),
    ("list-ldm", "ldm-spanned", &["list", "disk1.img", "disk2.img"], 0),
    ("list-ldm-folder", "ldm-complex", &["list", "."], 0),
    ("list-ldm-degraded", "ldm-raid5", &["list", "disk1.img", "disk2.img", "disk4.img"], 3),
    ("list-ldm-failed", "ldm-spanned", &["list", "disk2.img", "--json"], 3),
    ("list-ldm-verify", "ldm-mirrored", &["list", ".", "--verify"], 0),
    ("list-ldm-stale", "ldm-stale", &["list", "."], 3),
    ("list-lvm", "lvm-guest", &["list", "disk0.img", "disk1.img"], 0),
    ("list-lvm-degraded", "lvm-layouts", &["list", "disk0.img", "disk1.img", "disk3.img"], 3),
    ("list-md", "md-lvm", &["list", "."], 0),
    ("list-md-degraded", "md-lvm", &["list", "disk0.img", "disk1.img", "disk3.img"], 3),
    ("list-md-verify", "md-partitioned", &["list", ".", "--verify"], 0),
    ("list-md-partitioned-json", "md-partitioned", &["list", ".", "--json"], 0),
    ("list-lvm-snapshot-json", "lvm-snapshot", &["list", ".", "--json"], 3),
    ("ls-volumes", "sample", &["ls", "sample.vmdk"], 0),
    ("ls-long", "sample", &["ls", "sample.vmdk", "-l", "-p", "/linux"], 0),
    ("ls-recursive", "sample", &["ls", "sample.vmdk", "-R"], 0),
    ("ls-json", "sample", &["ls", "sample.vmdk", "--json", "-p", "/linux"], 0),
    ("ls-file", "sample", &["ls", "sample.vmdk", "-l", "-p", "/BOOT/README.txt"], 0),
    ("ls-missing", "sample", &["ls", "sample.vmdk", "-p", "/BOOT/none"], 1),
    ("ls-no-volume", "sample", &["ls", "sample.vmdk", "-p", "/none"], 1),
    ("ls-devices", "ext4-devices", &["ls", "ext4-devices.img", "-l", "-p", "/ext/dev"], 0),
    ("cat-link", "sample", &["cat", "sample.vmdk", "-p", "/linux/link to the letter"], 0),
    ("cat-missing", "sample", &["cat", "sample.vmdk", "-p", "/BOOT/none"], 1),
    ("cat-directory", "sample", &["cat", "sample.vmdk", "-p", "/BOOT/Documents"], 1),
    ("cat-below-file", "sample", &["cat", "sample.vmdk", "-p", "/BOOT/eicar.com/x"], 1),
    ("hash-json", "sample", &["hash", "sample.vmdk", "--json", "-p", "/BOOT/Documents"], 0),
    ("hash-refused", "ntfs-encrypted", &["hash", "ntfs-encrypted.img"], 3),
    ("bad-extent-missing", "vmdk-extent-missing", &["list", "disk.vmdk"], 1),
    ("bad-parent-missing", "vmdk-parent-missing", &["list", "child.vmdk"], 1),
    ("bad-cid", "vmdk-cid-mismatch", &["list", "child.vmdk"], 1),
    ("bad-truncated", "vmdk-truncated", &["list", "disk.vmdk"], 3),
    ("bad-stream-truncated", "vmdk-stream-truncated", &["list", "disk.vmdk"], 0),
    ("bad-twice", "sample", &["list", "sample.vmdk", "./sample.vmdk"], 0),
];

#[apply(test)]
fn answers_are_those_of_the_golden_files() {
    side_by_side(GOLDEN, |(name, place, arguments, code)| {
        let output = on(place, arguments);
        assert_eq!(output.code, Some(*code), "{name}: {output:?}");
        assert!(!output.stderr.contains("panicked") && !output.stderr.contains("gave up"));
        golden(name, arguments, &output);
    });
}

#[apply(test)]
fn every_golden_file_has_its_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in fs::read_dir(folder).expect("tests/golden").flatten() {
        let stem = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        let known = GOLDEN.iter().any(|(name, ..)| *name == stem) || stem == "formats";
        assert!(known, "tests/golden/{stem}.txt is of no command");
    }
}

#[apply(test)]
fn formats_are_those_of_the_registries() {
    let output = volfold(["formats"]).code(0);
    golden("formats", &["formats"], &output);
    let json = volfold(["formats", "--json"]).code(0).json();
    let ids = |key: &str| -> Vec<String> {
        let entries = json[key].as_array().expect("a list");
        entries.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(json["version"], 1);
    assert_eq!(ids("file_systems"), volfold_fs::DRIVERS.iter().map(|d| d.id()).collect::<Vec<_>>());
    let formats = volfold_images::FORMATS.iter().map(|format| format.id());
    let backups = volfold_images::BACKUPS.iter().map(|format| format.id());
    assert_eq!(ids("image_formats"), formats.chain(backups).collect::<Vec<_>>());
}

#[apply(test)]
fn every_command_explains_itself() {
    let help = volfold(["--help"]).code(0).text();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    let mounts = if cfg!(target_os = "linux") { 3 } else { 0 };
    assert!(commands.len() >= 8 + mounts, "{commands:?}");
    side_by_side(&commands, |command| {
        let help = volfold([*command, "--help"]).code(0).text();
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains("Usage: volfold"), "{command}: {help}");
    });
    let version = volfold(["--version"]).code(0).text();
    assert!(version.starts_with("volfold "), "{version}");
    assert!(volfold(["man"]).code(0).text().contains(".TH volfold"));
    side_by_side(&["bash", "zsh", "fish", "elvish", "powershell"], |shell| {
        let script = volfold(["completions", *shell]).code(0).text();
        assert!(script.len() > 1000 && script.contains("extract"), "{shell}");
    });
}

#[apply(test)]
fn wrong_usage_has_an_exit_code_of_its_own() {
    for arguments in [
        &["list"][..],
        &[],
        &["none"],
        &["cat", "disk.vmdk"],
        &["extract", "disk.vmdk"],
        &["list", "disk.vmdk", "--cache-size", "many"],
        &["ls", "disk.vmdk", "-l", "--json"],
        &["completions", "cobol"],
    ] {
        let output = volfold(arguments).code(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
}

#[apply(test)]
fn hashes_are_those_of_the_sample_and_of_all_listings() {
    let sample = on("sample", &["hash", "sample.vmdk"]).code(0);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.sha256");
    assert_eq!(sample.text(), fs::read_to_string(shipped).expect("samples/sample.sha256"));
    let fixtures: Vec<_> = index().fixtures.values().collect();
    let files: usize = side_by_side(&fixtures, |fixture| hashes_of(fixture)).into_iter().sum();
    note!("{files} files");
    assert!(files > 6000);
}

/// Compares the hashes of the only volume of `fixture` with its listing; gives how many files there are.
fn hashes_of(fixture: &Fixture) -> usize {
    let [facts] = fixture.volumes.as_slice() else { return 0 };
    if facts.listing.is_none() {
        return 0;
    }
    let mut arguments = vec!["hash"];
    arguments.extend(fixture.open.iter().map(String::as_str));
    let output = volfold_in(&fixture.folder(), &arguments);
    let volume = volume_name(&fixture.name);
    let mut wanted: Vec<(Vec<u8>, String)> = Vec::new();
    let mut refused = 0;
    for row in facts.rows() {
        let path = String::from_utf8_lossy(&row.path).into_owned();
        let error = facts.errors.iter().find(|error| error.path == path);
        if let Some(error) = error
            && output.stderr.contains(&format!("/{volume}/{path}: "))
        {
            assert!(output.stderr.contains(&format!("[{}]", error.code)), "{output:?}");
            refused += 1;
            continue;
        }
        if row.kind == "f" {
            let line = format!("\t{}\t{}", row.size.expect("a size"), row.sha256.expect("a hash"));
            wanted.push((field(&[volume.as_bytes(), b"/", &row.path].concat()), line));
        }
    }
    let mut wanted: Vec<Vec<u8>> =
        wanted.into_iter().map(|(path, rest)| [b"/", &*path, rest.as_bytes()].concat()).collect();
    wanted.sort();
    let mut lines: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.pop(), Some(&b""[..]), "the last line ends");
    lines.sort_unstable();
    assert!(lines == wanted, "{}: {} lines, not {}", fixture.name, lines.len(), wanted.len());
    assert_eq!(output.code, Some(if refused > 0 { 3 } else { 0 }), "{}", fixture.name);
    assert_eq!(output.stderr.lines().count(), refused, "{}: {}", fixture.name, output.stderr);
    lines.len()
}

/// The folder name of the only volume with a listing of the fixture `name`.
fn volume_name(name: &str) -> String {
    let fixture = fixture(name);
    let mut arguments = vec!["list", "--json"];
    arguments.extend(fixture.open.iter().map(String::as_str));
    let list = volfold_in(&fixture.folder(), &arguments).json();
    let volumes = list["volumes"].as_array().expect("volumes");
    let readable = volumes.iter().find(|volume| volume["readable"] == true).expect("a volume");
    readable["name"].as_str().expect("a name").to_owned()
}

/// `path` as a field of a line.
fn field(path: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    for byte in path {
        match byte {
            b'\t' => field.extend(b"\\t"),
            b'\n' => field.extend(b"\\n"),
            b'\r' => field.extend(b"\\r"),
            b'\\' => field.extend(b"\\\\"),
            byte => field.push(*byte),
        }
    }
    field
}

#[apply(test)]
fn one_file_is_written_whole_by_name_id_and_links() {
    let cat = |path: &str| on("sample", &["cat", "sample.vmdk", "-p", path]);
    let stripes = cat("/Windows/Pictures/stripes.bin").code(0).stdout;
    let row = fixture("sample").volumes[0]
        .rows()
        .into_iter()
        .find(|row| row.path == b"Pictures/stripes.bin");
    assert_eq!(Some(sha256(&stripes)), row.expect("a row").sha256);
    assert_eq!(cat("/mbr:5eed0099-2048/Pictures/stripes.bin").code(0).stdout, stripes);
    assert_eq!(cat("Windows/pictures/STRIPES.BIN").code(0).stdout, stripes, "NTFS knows no case");
    assert!(cat("/BOOT/empty.txt").code(0).stdout.is_empty());
    let letter = cat("/linux/Documents/letter.txt").code(0).stdout;
    assert_eq!(cat("/linux/link to the letter").code(0).stdout, letter);
    assert_eq!(cat("/linux/Pictures/../Documents/./letter.txt").code(0).stdout, letter);
    assert_eq!(cat("/linux/../../../linux/Documents/letter.txt").code(1).stdout, b"");

    let links = |path: &str| on("ntfs-symlinks", &["cat", "ntfs-symlinks.img", "-p", path]);
    let letter = links("/ntfs/docs/letter.txt").code(0).stdout;
    for link in ["links/relative", "links/folder/letter.txt", "links/wsl", "links/interix"] {
        assert_eq!(links(&format!("/ntfs/{link}")).code(0).stdout, letter, "{link}");
    }
}

#[apply(test)]
fn a_refused_file_gives_its_reason_and_no_bytes() {
    let output =
        on("ntfs-encrypted", &["cat", "ntfs-encrypted.img", "-p", "/ntfs/vdl/valid to 5000.bin"]);
    let output = output.code(1).says("/ntfs/vdl/valid to 5000.bin: content is encrypted");
    assert!(output.stdout.is_empty());
    for error in &fixture("ntfs-compressed").volumes[0].errors {
        let path = format!("/ntfs/{}", error.path);
        let output = on("ntfs-compressed", &["cat", "ntfs-compressed.img", "-p", &path]);
        if output.code != Some(0) {
            let output = output.code(1).says(&error.code);
            assert!(output.stdout.is_empty());
        }
    }
}

#[apply(test)]
fn an_alternate_stream_is_read_by_its_path_and_extracted_if_wanted() {
    let ads = fixture("ntfs-ads");
    let rows = ads.volumes[0].rows();
    let streams: Vec<_> = rows.iter().filter(|row| row.kind == "ads").collect();
    assert!(!streams.is_empty());
    for row in &streams {
        let path = format!("/ntfs/{}", String::from_utf8_lossy(&row.path));
        let output = on("ntfs-ads", &["cat", "ntfs-ads.img", "-p", &path]).code(0);
        assert_eq!(Some(sha256(&output.stdout)), row.sha256, "{path}");
        let none = format!("{path}.none");
        assert!(on("ntfs-ads", &["cat", "ntfs-ads.img", "-p", &none]).code(1).stdout.is_empty());
    }
    #[cfg(unix)]
    for arguments in [&["--streams"][..], &["--streams", "-p", "/ntfs/docs"], &[]] {
        let (scratch, output) = extract("ntfs-ads", arguments);
        output.code(0);
        for row in &streams {
            use std::os::unix::ffi::OsStrExt;
            let path = scratch.join("out/ntfs").join(std::ffi::OsStr::from_bytes(&row.path));
            let is_asked =
                arguments.len() == 1 || (arguments.len() == 3 && row.path.starts_with(b"docs"));
            let found = fs::read(&path).ok().map(|bytes| sha256(&bytes));
            assert_eq!(found, row.sha256.clone().filter(|_| is_asked), "{}", path.display());
        }
    }
}

/// Extracts from the fixture `name` into `out` of a new folder.
fn extract(name: &str, arguments: &[&str]) -> (Scratch, Output) {
    let scratch = Scratch::new("extract");
    let out = scratch.join("out");
    let fixture = fixture(name);
    let mut all = vec!["extract"];
    all.extend(fixture.open.iter().map(String::as_str));
    all.extend(["-o", out.to_str().expect("text")]);
    all.extend(arguments);
    let output = volfold_in(&fixture.folder(), &all);
    (scratch, output)
}

#[cfg(unix)]
fn compare_extracted(rows: &[Row], root: &Path) {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::os::unix::fs::MetadataExt;
    for row in rows {
        let path = root.join(std::ffi::OsStr::from_bytes(&row.path));
        let shown = path.display();
        match row.kind.as_str() {
            "f" => {
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert_eq!(Some(sha256(&bytes)), row.sha256, "{shown}");
            }
            "d" => assert!(fs::symlink_metadata(&path).expect("a folder").is_dir(), "{shown}"),
            "l" => {
                let target = fs::read_link(&path).expect("a link").into_os_string().into_vec();
                assert_eq!(target, row.extra, "{shown}");
                continue;
            }
            _ => continue,
        }
        if let Some(mtime) = row.mtime {
            let found = fs::symlink_metadata(&path).expect("metadata").mtime();
            assert_eq!(found, mtime, "{shown}");
        }
    }
}

#[cfg(unix)]
#[apply(test)]
fn extracted_files_have_their_content_times_links_and_holes() {
    use std::os::unix::fs::MetadataExt;
    let as_stored = &["--links", "raw"];
    let (scratch, output) = extract("sample", as_stored);
    output.code(0);
    for (facts, name) in fixture("sample").volumes.iter().zip(["Windows", "BOOT", "linux"]) {
        compare_extracted(&facts.rows(), &scratch.join("out").join(name));
    }
    for name in ["ext4", "ext2-1k", "ntfs-hardlinks", "fat12"] {
        let (scratch, output) = extract(name, as_stored);
        output.code(0);
        let root = scratch.join("out").join(volume_name(name));
        compare_extracted(&fixture(name).volumes[0].rows(), &root);
        let facts = |path: &str| fs::metadata(root.join(path)).expect("metadata");
        if name == "ext4" {
            for sparse in ["sparse/islands.bin", "sparse/hole at the begin.bin"] {
                let facts = facts(sparse);
                assert!(facts.blocks() * 512 < facts.size() / 4, "{sparse} keeps its holes");
            }
        }
        if name == "ntfs-hardlinks" {
            let names = ["docs/three.txt", "four.txt", "links/one.txt", "links/two.txt"];
            assert!(names.iter().all(|name| facts(name).ino() == facts("four.txt").ino()));
            assert_eq!(facts("four.txt").nlink(), 4);
        }
    }
}

#[apply(test)]
fn parts_can_be_extracted_into_an_empty_folder_only() {
    let (scratch, output) =
        extract("sample", &["-p", "/BOOT/README.txt", "-p", "/mbr:5eed0099-26624/Documents/2025"]);
    output.code(0);
    let out = scratch.join("out");
    assert_eq!(fs::read(out.join("BOOT/README.txt")).expect("the file").len(), 188);
    assert_eq!(fs::read_dir(out.join("BOOT")).expect("a folder").count(), 1);
    let report = out.join("linux/Documents/2025/July/report.txt");
    assert_eq!(fs::read(report).expect("the file").len(), 10_400);
    let sample = fixture("sample").path();
    let again = volfold(["extract".as_ref(), sample.as_os_str(), "-o".as_ref(), out.as_os_str()]);
    again.code(1).says("is not empty; give a new or empty folder");

    let (scratch, output) = extract("sample", &["-p", "/BOOT/none", "-p", "/BOOT/eicar.com"]);
    output.code(3).says("/BOOT/none: no such file");
    assert_eq!(fs::read(scratch.join("out/BOOT/eicar.com")).expect("the file").len(), 68);
    extract("sample", &["-p", "/none"]).1.code(1).says("/none: no such file");
}

#[apply(test)]
fn what_cannot_be_extracted_is_named_and_left_out() {
    let (scratch, output) = extract("ntfs-encrypted", &[]);
    let output = output.code(3).says("/ntfs/vdl/valid to 5000.bin: ").says("[encrypted]");
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(!scratch.join("out/ntfs/vdl/valid to 5000.bin").exists());
    assert!(scratch.join("out/ntfs/vdl/all valid.bin").exists());
    let (scratch, output) = extract("ext4-devices", &[]);
    let output = output.code(3).says("/ext/dev/null: is a device node, pipe or socket; left out");
    assert_eq!(output.stderr.lines().count(), 4, "{}", output.stderr);
    assert!(!scratch.join("out/ext/dev/null").exists());
    assert!(scratch.join("out/ext/docs/letter.txt").exists());
}

/// A copy of the ext2 fixture in which `old` is `new` wherever it stands.
fn patched(scratch: &Scratch, patches: &[(&[u8], &[u8])]) -> PathBuf {
    let image = scratch.copy(&fixture("ext2-1k").path());
    let mut bytes = fs::read(&image).expect("the image");
    for (old, new) in patches {
        assert_eq!(old.len(), new.len());
        let mut count = 0;
        for at in 0..bytes.len() - old.len() {
            if bytes[at..].starts_with(old) {
                bytes[at..at + old.len()].copy_from_slice(new);
                count += 1;
            }
        }
        assert!(count > 0, "{} is in the image", old.escape_ascii());
    }
    fs::write(&image, bytes).expect("the image");
    image
}

#[apply(test)]
fn no_name_of_a_guest_leads_outside() {
    let names = [&b"../../ev.x"[..], b"/ev/il/x.y", b"..\0\0\0\0\0\0\0\0", b"sizes/../x"];
    side_by_side(&names, |bad| {
        let scratch = Scratch::new("outside");
        let image = patched(&scratch, &[(b"README.txt", bad)]);
        let out = scratch.join("a/b/out");
        let output =
            volfold(["extract".as_ref(), image.as_os_str(), "-o".as_ref(), out.as_os_str()]);
        let shown = bad.escape_ascii();
        assert!(matches!(output.code, Some(0 | 1 | 3)), "{shown}: {output:?}");
        assert!(!output.stderr.contains("gave up"), "{shown}: {output:?}");
        for (folder, wanted) in [("", 2), ("a", 1), ("a/b", 1)] {
            let count = fs::read_dir(scratch.join(folder)).expect("a folder").count();
            assert_eq!(count, wanted, "{shown}: {folder} has something new");
        }
        assert!(!Path::new("/ev").exists());
        for entry in fs::read_dir(&out).expect("the output").flatten() {
            assert_eq!(entry.file_name(), "two", "{shown}: beside the volume's folder");
        }
        let listed = volfold(["ls".as_ref(), image.as_os_str(), "-R".as_ref()]);
        assert!(matches!(listed.code, Some(0 | 3)), "{shown}: {listed:?}");
    });
}

/// Every command that reads images, on `disks`.
fn every_command(folder: &Path, disks: &[&str]) -> Vec<(&'static str, Output)> {
    let scratch = Scratch::new("out");
    let out = scratch.join("out");
    let commands: [(&str, &[&str]); 5] = [
        ("list", &[]),
        ("ls", &["-R"]),
        ("hash", &[]),
        ("cat", &["-p", "/BOOT/README.txt"]),
        // A volume without links: not every host makes them.
        ("extract", &["-p", "/BOOT", "-o", out.to_str().expect("text")]),
    ];
    side_by_side(&commands, |(command, rest)| {
        let arguments: Vec<&str> = [&[*command], disks, rest].concat();
        (*command, volfold_in(folder, &arguments))
    })
}

/// A folder with a good image and bad ones, and what is to be said of each.
fn bad_images() -> (Scratch, Vec<(&'static str, &'static str)>) {
    let scratch = Scratch::new("bad");
    scratch.copy(&fixture("sample").path());
    fs::write(scratch.join("empty.img"), "").expect("a file");
    fs::create_dir(scratch.join("folder")).expect("a folder");
    for (name, part) in [
        ("vmdk-extent-missing", "disk.vmdk"),
        ("vmdk-parent-missing", "child.vmdk"),
        ("vmdk-cid-mismatch", "child.vmdk"),
        ("vmdk-cid-mismatch", "base.vmdk"),
    ] {
        let folder = scratch.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(fixture(name).folder().join(part), folder.join(part)).expect("a copy");
    }
    let bad = vec![
        ("none.img", "cannot be opened: "),
        ("empty.img", "image is empty"),
        ("folder", "folder holds no disk image"),
        ("vmdk-extent-missing/disk.vmdk", "disk-flat.vmdk is missing"),
        ("vmdk-parent-missing/child.vmdk", "base.vmdk is missing"),
        ("vmdk-cid-mismatch/child.vmdk", "base.vmdk was changed"),
    ];
    (scratch, bad)
}

#[apply(test)]
fn bad_images_are_one_line_and_an_exit_code() {
    let (scratch, bad) = bad_images();
    side_by_side(&bad, |(image, reason)| {
        for (command, output) in every_command(scratch.path(), &[image]) {
            let output = output.code(1).says(reason);
            assert!(output.stdout.is_empty(), "{command} {image}: {output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{command} {image}: {output:?}");
            let start = format!("volfold: {image}: ");
            assert!(output.stderr.starts_with(&start), "{command} {image}: {output:?}");
        }
        for (command, output) in every_command(scratch.path(), &[image, "sample.vmdk"]) {
            let output = output.code(3).says(reason);
            assert!(command == "extract" || output.text().len() > 60, "{command}: {output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{command} {image}: {output:?}");
        }
    });
}

#[apply(test)]
fn a_vmdk_cut_at_any_place_is_an_error_or_the_right_bytes() {
    let scratch = Scratch::new("cut");
    let sample = fs::read(fixture("sample").path()).expect("the sample");
    let shipped = on("sample", &["hash", "sample.vmdk"]).code(0).text();
    for cut in [1, 100, 511, 512, 1024, 4096, 70_000, 162_048, 300_000, 323_584, 324_095] {
        fs::write(scratch.join("cut.vmdk"), &sample[..cut]).expect("a file");
        let output = volfold_in(scratch.path(), &["hash", "cut.vmdk"]);
        assert!(matches!(output.code, Some(0 | 1 | 3)), "{cut}: {output:?}");
        assert!(!output.stderr.contains("gave up"), "{cut}: {output:?}");
        for line in output.text().lines() {
            assert!(shipped.contains(line), "{cut}: {line}");
        }
    }
}

#[cfg(unix)]
#[apply(test)]
fn an_image_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("mode");
    let image = scratch.copy(&fixture("sample").path());
    fs::set_permissions(&image, PermissionsExt::from_mode(0o000)).expect("chmod");
    // Root may read everything.
    if fs::File::open(&image).is_ok() {
        return;
    }
    for (_, output) in every_command(scratch.path(), &["sample.vmdk"]) {
        output.code(1).says("volfold: sample.vmdk: ").says("ermission denied");
    }
}

#[apply(test)]
fn times_out_of_the_ordinary_are_extracted() {
    let (scratch, output) = extract("ext4-times", &["-p", "/ext/times"]);
    output.code(0);
    for row in fixture("ext4-times").volumes[0].rows().iter().filter(|row| row.kind == "f") {
        let path = scratch.join("out/ext").join(String::from_utf8_lossy(&row.path).as_ref());
        let modified = fs::metadata(&path).and_then(|facts| facts.modified()).expect("a time");
        let seconds = row.mtime.expect("a time");
        // Half of all file systems of hosts end in 2106 or 2446.
        if (0..=4_102_444_800).contains(&seconds) {
            let nanoseconds = 123_456_789;
            let wanted = UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), nanoseconds);
            assert_eq!(modified, wanted, "{}", path.display());
        }
    }
}

#[cfg(unix)]
#[apply(test)]
fn a_reader_that_goes_away_is_no_failure() {
    needs_programs(&["sh"]);
    let image = fixture("ext4").path();
    let script =
        "\"$0\" ls \"$1\" -R | head -n 1; \"$0\" cat \"$1\" -p /four/sizes/1mib+1.bin | head -c 1";
    let output = run(Command::new("sh").args(["-c", script, VOLFOLD]).arg(image));
    assert!(output.stderr.is_empty(), "{output:?}");
}
