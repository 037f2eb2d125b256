//! What `extract` leaves behind: whole files, whatever happens, and links that stay inside.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::fixtures::fixture;
use crate::common::needs_mount;
use crate::common::program::{Output, Scratch, VOLFOLD, program, run, text, volfold, wait};
use crate::harness::{apply, needs, needs_programs, test};

fn extract(disk: &Path, out: &Path, more: &[&str]) -> Output {
    let words = ["extract", text(disk), "-o", text(out)];
    volfold(words.iter().chain(more))
}

/// Every path below `folder`, without links followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                left.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all
}

fn has_temporary(folder: &Path) -> bool {
    below(folder).iter().any(|path| text(path).ends_with(".part"))
}

#[apply(test)]
fn links_stay_inside_unless_they_are_wanted_as_stored() {
    let scratch = Scratch::new("extract-links");
    let disk = fixture("ext4").path();
    for (style, absolute) in
        [("guest", Some("../docs/letter.txt")), ("raw", Some("/docs/letter.txt")), ("hide", None)]
    {
        let out = scratch.join(style);
        extract(&disk, &out, &["--links", style]).code(0);
        let found = fs::read_link(out.join("four/links/absolute")).ok();
        assert_eq!(found.as_deref(), absolute.map(Path::new), "{style}");
    }
    let plain = scratch.join("plain");
    extract(&disk, &plain, &[]).code(0);
    assert!(fs::read(plain.join("four/links/absolute")).is_ok(), "the link leads to the file");
}

#[apply(test)]
fn a_stopped_run_leaves_whole_files_alone_and_goes_on() {
    let scratch = Scratch::new("extract-stop");
    let disk = fixture("sample").path();
    let out = scratch.join("out");
    for delay in [0, 2, 5, 10, 20, 40] {
        let _ = fs::remove_dir_all(&out);
        let mut child = Command::new(VOLFOLD)
            .args(["extract", text(&disk), "-o", text(&out)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("volfold starts");
        std::thread::sleep(Duration::from_millis(delay));
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        wait(&mut child, "volfold extract");
        if !out.is_dir() {
            continue;
        }
        assert!(!has_temporary(&out), "a signal leaves nothing half-written");
        let again = extract(&disk, &out, &["--resume"]).code(0);
        assert_eq!(again.stderr, "");
        let whole = scratch.join("whole");
        let _ = fs::remove_dir_all(&whole);
        extract(&disk, &whole, &[]).code(0);
        program("diff", &["-r", text(&out), text(&whole)]).code(0);
    }
}

#[apply(test)]
fn a_killed_run_leaves_no_cut_file_under_its_name() {
    let scratch = Scratch::new("extract-kill");
    let disk = fixture("sample").path();
    let whole = scratch.join("whole");
    extract(&disk, &whole, &[]).code(0);
    let out = scratch.join("out");
    for delay in [1, 3, 6, 12, 24] {
        let mut child = Command::new(VOLFOLD)
            .args(["extract", text(&disk), "-o", text(&out), "--resume"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("volfold starts");
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        wait(&mut child, "volfold extract");
        if !out.is_dir() {
            continue;
        }
        for path in
            below(&out).iter().filter(|path| path.is_file() && !text(path).ends_with(".part"))
        {
            let same = whole.join(path.strip_prefix(&out).expect("below"));
            assert_eq!(
                fs::read(path).expect("a file"),
                fs::read(same).expect("a file"),
                "{}",
                path.display()
            );
        }
    }
    extract(&disk, &out, &["--resume"]).code(0);
    assert!(!has_temporary(&out));
    program("diff", &["-r", text(&out), text(&whole)]).code(0);
}

#[apply(test)]
fn what_is_there_is_kept_unless_it_may_be_replaced() {
    let scratch = Scratch::new("extract-merge");
    let disk = fixture("sample").path();
    let out = scratch.join("out");
    let readme = out.join("BOOT/README.txt");
    fs::create_dir_all(out.join("BOOT")).expect("a folder");
    fs::write(&readme, "mine").expect("a file");
    let outside = scratch.join("outside.txt");
    fs::write(&outside, "outside").expect("a file");
    symlink(&outside, out.join("BOOT/eicar.com")).expect("a link");
    extract(&disk, &out, &[]).code(1).says("--merge");
    let kept = extract(&disk, &out, &["--merge"]).code(3);
    assert!(kept.stderr.contains("/BOOT/README.txt: is there already; kept"), "{}", kept.stderr);
    assert_eq!(fs::read(&readme).expect("a file"), b"mine");
    let resumed = extract(&disk, &out, &["--resume"]).code(3);
    assert!(resumed.stderr.contains("is not the same; kept"), "{}", resumed.stderr);
    extract(&disk, &out, &["--merge", "--overwrite"]).code(0);
    assert_eq!(fs::read(&readme).expect("a file").len(), 188);
    assert_eq!(fs::read(&outside).expect("a file"), b"outside", "no link is followed");
    assert_eq!(fs::read(out.join("BOOT/eicar.com")).expect("a file").len(), 68);
    volfold(["extract", text(&disk), "-o", text(&out), "--overwrite"]).code(2);
}

#[apply(test)]
fn a_full_host_ends_the_run_at_once() {
    needs("root", rustix::process::geteuid().is_root());
    let scratch = Scratch::new("extract-full");
    let small = scratch.join("small");
    fs::create_dir(&small).expect("a folder");
    let mounted = program("mount", &["-t", "tmpfs", "-o", "size=128k", "none", text(&small)]);
    needs("the right to mount", mounted.code == Some(0));
    let output = extract(&fixture("sample").path(), &small.join("out"), &[]);
    let clean = !has_temporary(&small);
    program("umount", &[text(&small)]).code(0);
    let output = output.code(3).says("files are complete").says("--resume");
    assert!(output.stderr.lines().count() < 8, "{}", output.stderr);
    assert!(clean, "nothing half-written stays");
}

#[apply(test)]
fn an_archive_holds_what_the_volume_has() {
    needs_programs(&["tar"]);
    needs("root", rustix::process::geteuid().is_root());
    let scratch = Scratch::new("extract-tar");
    for (name, volume) in [("ext4", "four"), ("ext4-devices", "ext"), ("ntfs-hardlinks", "ntfs")] {
        let disk = fixture(name).path();
        let archive = scratch.join(format!("{name}.tar"));
        let output = volfold(["extract", text(&disk), "--tar", text(&archive), "--links", "raw"]);
        output.code(0);
        let out = scratch.join(name);
        fs::create_dir(&out).expect("a folder");
        program("tar", &["-xpf", text(&archive), "-C", text(&out), "--numeric-owner"]).code(0);
        for row in fixture(name).volumes[0].rows() {
            let path = out.join(volume).join(String::from_utf8_lossy(&row.path).as_ref());
            let shown = path.display();
            match row.kind.as_str() {
                "f" => {
                    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
                    assert_eq!(Some(crate::common::sha256(&bytes)), row.sha256, "{shown}");
                    let found = fs::metadata(&path).expect("metadata").mtime();
                    assert_eq!(Some(found), row.mtime, "{shown}");
                }
                "l" => assert_eq!(
                    fs::read_link(&path).expect("a link").as_os_str().as_encoded_bytes(),
                    row.extra,
                    "{shown}"
                ),
                "c" | "b" | "p" => {
                    assert!(fs::symlink_metadata(&path).is_ok(), "{shown} is in the archive");
                }
                _ => {}
            }
        }
        let again = volfold(["extract", text(&disk), "--tar", text(&archive)]);
        again.code(1).says("give a new file");
    }
    let stdout = volfold(["extract", text(&fixture("sample").path()), "--tar", "-"]).code(0);
    let archive = scratch.join("stdout.tar");
    fs::write(&archive, &stdout.stdout).expect("a file");
    let listed = program("tar", &["-tf", text(&archive)]).code(0);
    assert!(listed.text().lines().any(|line| line == "BOOT/README.txt"), "{}", listed.text());
}

#[apply(test)]
fn owners_and_modes_are_kept_on_request() {
    needs("root", rustix::process::geteuid().is_root());
    let scratch = Scratch::new("extract-keep");
    let disk = fixture("ext4").path();
    let (plain, kept) = (scratch.join("plain"), scratch.join("kept"));
    extract(&disk, &plain, &[]).code(0);
    extract(&disk, &kept, &["--owners", "--modes"]).code(0);
    let listed =
        run(Command::new(VOLFOLD).args(["ls", "-R", "--json", text(&disk)])).code(0).json();
    let mut compared = 0;
    for entry in listed["entries"].as_array().expect("entries") {
        let path = entry["path"].as_str().expect("a path").trim_start_matches('/');
        if entry["uid"].is_null() || entry["type"] == "l" || entry["path_hex"].is_string() {
            continue;
        }
        let metadata = fs::symlink_metadata(kept.join(path)).expect(path);
        let mode = u32::from_str_radix(entry["mode"].as_str().expect("a mode"), 8).expect("octal");
        assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
        assert_eq!(u64::from(metadata.uid()), entry["uid"].as_u64().expect("a number"), "{path}");
        compared += 1;
    }
    assert!(compared > 10);
    let bits = scratch.join("bits");
    extract(&disk, &bits, &["--modes"]).code(0);
    for path in below(&bits).iter().filter(|path| !path.is_symlink()) {
        let mode = fs::symlink_metadata(path).expect("metadata").mode();
        assert_eq!(mode & 0o6000, 0, "{}", path.display());
    }
}

/// A folder of the host that takes names for one which differ in case only.
#[apply(test)]
fn names_that_the_host_takes_for_one_are_never_mixed_up() {
    needs("root", rustix::process::geteuid().is_root());
    needs_mount();
    needs_programs(&["mke2fs", "mkntfs", "lowntfs-3g"]);
    let scratch = Scratch::new("ignores-case");
    let tree = scratch.join("tree");
    let files = ["README", "readme", "Dir/f", "Dir/only", "dir/f", "other"];
    for file in files {
        let path = tree.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, file).expect("a file");
    }
    let (image, host, folder) =
        (scratch.join("twins.img"), scratch.join("host.img"), scratch.join("host"));
    let arguments = ["-q", "-F", "-t", "ext4", "-L", "twins", "-d"];
    run(Command::new("mke2fs").args(arguments).arg(&tree).arg(&image).arg("2M")).code(0);
    fs::File::create(&host).and_then(|file| file.set_len(16 << 20)).expect("a disk");
    run(Command::new("mkntfs").args(["-q", "-F"]).arg(&host)).code(0);
    fs::create_dir(&folder).expect("a folder");
    let options = ["-o", "ignore_case"];
    run(Command::new("lowntfs-3g").args(options).arg(&host).arg(&folder)).code(0);
    for (number, more) in
        [&[][..], &["--merge"], &["--merge", "--overwrite"], &["--resume"]].into_iter().enumerate()
    {
        let out = folder.join(format!("{number}"));
        let said = extract(&image, &out, more).code(3);
        assert!(said.stderr.contains("[exists]") || more.is_empty(), "{said:?}");
        let root = out.join("twins");
        for (name, wanted) in [("README", "README"), ("Dir/f", "Dir/f"), ("Dir/only", "Dir/only")] {
            let found = fs::read_to_string(root.join(name)).expect("the first of the two");
            assert_eq!(found, wanted, "{more:?}");
        }
        assert_eq!(fs::read_to_string(root.join("other")).ok().as_deref(), Some("other"));
    }
    let out = folder.join("paths");
    let paths = ["-p", "/twins/Dir", "-p", "/twins/dir", "--merge", "--overwrite"];
    extract(&image, &out, &paths).code(3).says("[exists]");
    assert_eq!(fs::read_to_string(out.join("twins/Dir/f")).ok().as_deref(), Some("Dir/f"));
    run(Command::new("umount").arg(&folder)).code(0);
}
