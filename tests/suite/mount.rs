//! Mounts by the built program, seen as other programs see them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use volfold_fs::CaseRule;

use crate::common::fixtures::{Fixture, fixture, index};
use crate::common::mounted::Folder;
use crate::common::program::{Scratch, VOLFOLD, eventually, run, volfold, within};
use crate::common::{needs_mount, sha256};
use crate::conformance::host::HostFolder;
use crate::conformance::{Case, Random, Report, View};
use crate::harness::{apply, needs, needs_programs, note, test};

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// All files below `folder` by path, as `read` sees them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Result<Vec<u8>, io::Error>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a listing").flatten() {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path(), fs::read(entry.path()));
            }
        }
    }
    found
}

/// The folder name and case rule of the volume of `fixture` at `offset`.
fn volume_at(fixture: &Fixture, offset: u64) -> (String, CaseRule) {
    let list = volfold(
        ["list".as_ref(), "--json".as_ref()]
            .into_iter()
            .chain(fixture.paths().iter().map(|path| path.as_os_str())),
    );
    let list = list.code(0).json();
    let volumes = list["volumes"].as_array().expect("volumes");
    let volume = volumes
        .iter()
        .find(|volume| volume["extents"][0]["offset"].as_u64() == Some(offset))
        .expect("the volume");
    let kind = volume["file_system"]["type"].as_str().expect("a type");
    let is_xfs = kind == "xfs" && fixture.name != "xfs-ascii-ci";
    let is_sensitive = kind.starts_with("ext") || is_xfs;
    let case = if is_sensitive { CaseRule::Sensitive } else { CaseRule::Insensitive };
    (volume["name"].as_str().expect("a name").to_owned(), case)
}

#[apply(test)]
fn every_volume_conforms_through_a_mount() {
    needs_mount();
    let mut all = Report::default();
    let mut runs = 0;
    for fixture in index().fixtures.values() {
        if fixture.volumes.iter().all(|facts| facts.listing.is_none()) {
            continue;
        }
        let folder = Folder::new("conform");
        // The listings have targets as they are stored.
        folder.mount(&fixture.paths(), &["--links", "raw"]).code(0);
        for facts in fixture.volumes.iter().filter(|facts| facts.listing.is_some()) {
            let (name, rule) = volume_at(fixture, facts.offset);
            let path = folder.join(name);
            let report = within("the suite", move || {
                let rows = facts.rows();
                let fs = HostFolder::open(&path, rule).expect("the volume's folder");
                let name = format!("mount of {} at {}", fixture.name, facts.offset);
                let errors = &facts.errors;
                crate::conformance::run(&Case {
                    name,
                    fs: &fs,
                    rows: &rows,
                    errors,
                    view: View::Mount,
                })
            });
            all.add(report);
            runs += 1;
        }
        folder.unmount(&[]).code(0);
    }
    note!("{runs} volumes");
    all.assert_good();
    assert!(all.counts["holes"] > 0 && all.counts["hard links"] > 0, "{all}");
}

#[apply(test)]
fn volumes_of_several_disks_are_folders_whole_and_without_a_disk() {
    needs_mount();
    let mut all = Report::default();
    for (name, left_out) in [
        ("ldm-spanned", ""),
        ("ldm-4kn", ""),
        ("ldm-complex", "disk2.img"),
        ("ldm-gpt", "disk1.img"),
        ("ldm-mirrored", "disk1.img"),
    ] {
        let fixture = fixture(name);
        let mut disks = fixture.paths();
        disks.retain(|disk| left_out.is_empty() || !disk.ends_with(left_out));
        let folder = Folder::new("set");
        let code = if left_out.is_empty() { 0 } else { 3 };
        folder.mount(&disks, &[]).code(code);
        for facts in
            fixture.dynamic.iter().filter(|one| one.layout != "striped" || left_out.is_empty())
        {
            // By the letter where there is one, else by the label.
            let hint = facts.hint.as_ref().map(|hint| hint.trim_end_matches(':').to_owned());
            let path = folder.join(hint.or(facts.label.clone()).expect("a name"));
            let facts = facts.clone();
            let case = format!("mount of {name} without {left_out:?}: {}", facts.name);
            let report = within("the suite", move || {
                let rows = facts.rows();
                let rule = CaseRule::Insensitive;
                let fs = HostFolder::open(&path, rule).expect("the volume's folder");
                let errors = &[];
                crate::conformance::run(&Case {
                    name: case,
                    fs: &fs,
                    rows: &rows,
                    errors,
                    view: View::Mount,
                })
            });
            all.add(report);
        }
        folder.unmount(&[]).code(0);
    }
    all.assert_good();
}

#[apply(test)]
fn inode_numbers_tell_files_apart_and_stay() {
    needs_mount();
    let disks = ["ntfs-hardlinks", "ext3", "fat12"].map(|name| fixture(name).path());
    let folder = Folder::mounted("inodes", &disks);
    let root = folder.path().to_path_buf();
    let walk = move || {
        let mut found = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a listing").flatten() {
                let facts = fs::symlink_metadata(entry.path()).expect("metadata");
                if facts.is_dir() {
                    open.push(entry.path());
                }
                found.insert(entry.path(), (facts.ino(), facts.nlink(), facts.is_dir()));
            }
        }
        found
    };
    let first = within("a walk", walk.clone());
    assert_eq!(first, within("a second walk", walk));
    let mut by_number: BTreeMap<u64, Vec<&PathBuf>> = BTreeMap::new();
    for (path, (number, ..)) in &first {
        by_number.entry(*number).or_default().push(path);
    }
    for (number, paths) in &by_number {
        let (_, links, directory) = first[paths[0]];
        assert!(paths.len() == 1 || !directory, "{paths:?} are {number}");
        assert!(directory || links as usize >= paths.len(), "{paths:?}: {links} links");
    }
    let names = ["docs/three.txt", "four.txt", "links/one.txt", "links/two.txt"];
    let numbers: BTreeSet<_> =
        names.iter().map(|name| first[&folder.join("ntfs").join(name)]).collect();
    assert_eq!(numbers.len(), 1, "four names of one file");
    assert_eq!(numbers.first().expect("one").1, 4, "st_nlink");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn statfs_tells_the_figures_of_each_volume() {
    needs_mount();
    let sample = fixture("sample").path();
    let list = volfold(["list".as_ref(), sample.as_os_str(), "--json".as_ref()]).code(0).json();
    let folder = Folder::mounted("statfs", &[sample]);
    let mut sizes = BTreeSet::new();
    for volume in list["volumes"].as_array().expect("volumes") {
        let name = volume["name"].as_str().expect("a name");
        let path = folder.join(name);
        let figures = within("statfs", move || rustix::fs::statvfs(path).expect("statfs"));
        let size = figures.f_blocks * figures.f_frsize;
        let facts = &volume["file_system"];
        let unit = facts["cluster_size"].as_u64().expect("a cluster size");
        assert_eq!(figures.f_frsize, unit, "{name}");
        assert_eq!(size, facts["size"].as_u64().expect("a size") / unit * unit, "{name}");
        let used = facts["used"].as_u64().expect("used");
        assert!(size - figures.f_bfree * unit >= used / unit * unit, "{name}: {used}");
        sizes.insert((size, unit, figures.f_bfree));
    }
    assert_eq!(sizes.len(), 3, "all differ: {sizes:?}");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn nothing_can_be_written() {
    needs_mount();
    let folder = Folder::mounted("readonly", &[fixture("sample").path()]);
    let linux = folder.join("linux");
    let errors = within("writes", move || {
        let file = linux.join("README.txt");
        let new = linux.join("new");
        [
            ("write", File::options().write(true).open(&file).err()),
            ("append", File::options().append(true).open(&file).err()),
            ("truncate", File::options().write(true).truncate(true).open(&file).err()),
            ("create", File::create(&new).err()),
            ("mkdir", fs::create_dir(&new).err()),
            ("unlink", fs::remove_file(&file).err()),
            ("rmdir", fs::remove_dir(linux.join("Empty folder")).err()),
            ("chmod", fs::set_permissions(&file, PermissionsExt::from_mode(0o777)).err()),
            ("rename", fs::rename(&file, &new).err()),
            ("link", fs::hard_link(&file, &new).err()),
            ("symlink", std::os::unix::fs::symlink("x", &new).err()),
            ("utimes", {
                let opened = File::open(&file).expect("a file to read");
                opened.set_modified(std::time::UNIX_EPOCH).err()
            }),
        ]
    });
    for (what, error) in errors {
        let error = error.unwrap_or_else(|| panic!("{what} was done"));
        assert_eq!(errno(&error), Some(Errno::ROFS), "{what}: {error}");
    }
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn names_that_are_not_there_stay_away() {
    needs_mount();
    let folder = Folder::mounted("absent", &[fixture("sample").path()]);
    let root = folder.path().to_path_buf();
    within("lookups", move || {
        for name in ["none", "linux/none", "BOOT/none", "linux/readme.TXT", "Windows/none/below"] {
            for _ in 0..3 {
                let error = fs::metadata(root.join(name)).expect_err(name);
                assert_eq!(errno(&error), Some(Errno::NOENT), "{name}");
            }
        }
        assert!(fs::metadata(root.join("Windows/readme.TXT")).is_ok(), "NTFS knows no case");
        let error = fs::metadata(root.join("linux/README.txt/x")).expect_err("a file");
        assert_eq!(errno(&error), Some(Errno::NOTDIR));
    });
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn what_cannot_be_decoded_is_refused_with_a_number_that_says_why() {
    needs_mount();
    let folder = Folder::mounted(
        "refused",
        &["ntfs-compressed", "ntfs-encrypted"].map(|name| fixture(name).path()),
    );
    let root = folder.path().to_path_buf();
    let found = within("reads", move || {
        let mut found = BTreeMap::new();
        for (path, read) in contents(&root) {
            if let Err(error) = read {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                found.insert(name, errno(&error).expect("a number"));
            }
        }
        found
    });
    assert_eq!(found.get("valid to 5000.bin"), Some(&Errno::NOKEY), "{found:?}");
    for error in &fixture("ntfs-compressed").volumes[0].errors {
        let name = error.path.rsplit('/').next().expect("a name");
        // Or the bytes are right; the suite has seen to that.
        assert!(found.get(name).is_none_or(|e| *e == Errno::OPNOTSUPP), "{name}: {found:?}");
    }
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn links_lead_where_the_guest_means_or_as_stored_or_are_left_out() {
    needs_mount();
    let disks = [fixture("ext4").path()];
    let folder = Folder::new("links");
    let target = |name: &str| {
        let path = folder.join("four").join("links").join(name);
        within("a link", move || fs::read_link(path).ok())
    };
    folder.mount(&disks, &[]).code(0);
    assert_eq!(target("absolute"), Some("../docs/letter.txt".into()));
    assert_eq!(target("short"), Some("../README.txt".into()), "inside, so as it is stored");
    let absolute = folder.join("four/links/absolute");
    let letter = folder.join("four/docs/letter.txt");
    let same = within("the files", move || fs::read(absolute).ok() == fs::read(letter).ok());
    assert!(same, "the link leads to the guest's file");
    folder.unmount(&[]).code(0);

    folder.mount(&disks, &["--links", "raw"]).code(0);
    assert_eq!(target("absolute"), Some("/docs/letter.txt".into()));
    folder.unmount(&[]).code(0);

    folder.mount(&disks, &["--links", "hide"]).code(0);
    assert_eq!(target("absolute"), None);
    let links = folder.join("four/links");
    let is_link = |entry: io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_symlink())
    };
    let left = within("a listing", move || {
        let names = fs::read_dir(links).expect("a listing");
        names.map(is_link).collect::<Vec<_>>()
    });
    assert!(!left.is_empty() && !left.contains(&true), "{left:?}");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn paths_behind_two_dashes_are_paths() {
    needs_mount();
    let folder = Folder::new("dashes");
    let disk = fixture("sample").path();
    let mount = ["mount".as_ref(), "--".as_ref(), disk.as_os_str(), folder.path().as_os_str()];
    volfold(mount).code(0);
    assert!(folder.is_mounted());
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn chosen_volumes_are_shown_alone() {
    needs_mount();
    let disks = [fixture("sample").path()];
    let folder = Folder::new("chosen");
    folder.mount(&disks, &["--volume", "BOOT"]).code(0);
    let root = folder.path().to_path_buf();
    let names = within("a listing", move || {
        let entries = fs::read_dir(root).expect("a listing").flatten();
        entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
    });
    assert_eq!(names, ["BOOT"]);
    folder.unmount(&[]).code(0);
    folder.mount(&disks, &["--volume", "none"]).code(1).says("none: no such volume");
    assert!(!folder.path().exists(), "nothing is left");
}

#[apply(test)]
fn files_belong_to_the_mounting_user_or_with_an_option_to_the_guests() {
    needs_mount();
    let disk = [fixture("ext4").path()];
    // mke2fs gives lost+found to root, with mode 0700.
    for (arguments, mode, user) in [
        (&[][..], 0o555, rustix::process::geteuid().as_raw()),
        (&["--owner", "guest"][..], 0o700, 0),
    ] {
        let folder = Folder::new("owner");
        folder.mount(&disk, arguments).code(0);
        let root = folder.path().to_path_buf();
        let facts = within("metadata", move || {
            let volume = fs::read_dir(root).expect("volumes").flatten().next();
            let found = volume.expect("a volume").path().join("lost+found");
            fs::metadata(found).expect("lost+found")
        });
        assert_eq!((facts.mode() & 0o7777, facts.uid()), (mode, user));
    }
}

#[apply(test)]
fn what_is_left_of_an_image_that_was_cut_is_no_longer_given() {
    needs_mount();
    let scratch = Scratch::new("truncated");
    let fat = fixture("fat16");
    let image = scratch.copy(&fat.path());
    let folder = Folder::mounted("truncated", std::slice::from_ref(&image));
    File::options().write(true).open(&image).and_then(|file| file.set_len(1 << 20)).expect("cut");
    let root = folder.join("SIXTEEN");
    let read = within("reads", {
        let root = root.clone();
        move || contents(&root)
    });
    let mut lost = 0;
    for row in fat.volumes[0].rows().iter().filter(|row| row.kind == "f") {
        let path = root.join(String::from_utf8_lossy(&row.path).as_ref());
        match read.get(&path) {
            // What the kernel or the cache had before the change.
            Some(Ok(bytes)) => assert_eq!(Some(sha256(bytes)), row.sha256, "{}", path.display()),
            Some(Err(error)) => {
                assert_eq!(errno(error), Some(Errno::IO), "{}", path.display());
                lost += 1;
            }
            // Its directory could not be read.
            None => lost += 1,
        }
    }
    assert!(lost > 0);
    let log = PathBuf::from(folder.record().expect("a record")["log"].as_str().expect("a log"));
    let log = fs::read_to_string(log).expect("the log");
    assert!(log.contains("while it was open"), "{log}");
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn an_image_that_is_removed_while_mounted_is_read_on() {
    needs_mount();
    let scratch = Scratch::new("removed");
    let ntfs = fixture("ntfs-512");
    let image = scratch.copy(&ntfs.path());
    let folder = Folder::mounted("removed", std::slice::from_ref(&image));
    fs::remove_file(&image).expect("remove");
    let root = folder.join("ntfs");
    let read = within("reads", {
        let root = root.clone();
        move || contents(&root)
    });
    let rows = ntfs.volumes[0].rows();
    for row in rows.iter().filter(|row| row.kind == "f") {
        let path = root.join(String::from_utf8_lossy(&row.path).as_ref());
        let bytes = read[&path].as_ref().expect("content");
        assert_eq!(Some(sha256(bytes)), row.sha256, "{}", path.display());
    }
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn a_bad_image_does_not_hide_a_good_one() {
    needs_mount();
    let folder = Folder::new("part");
    let disks = [fixture("vmdk-parent-missing").path(), fixture("sample").path()];
    folder.mount(&disks, &[]).code(3).says("child.vmdk").says("base.vmdk");
    let path = folder.join("linux/empty.txt");
    assert_eq!(within("a read", move || fs::read(path).expect("the file").len()), 0);
    folder.unmount(&[]).code(0);
    folder.mount(&disks[..1], &[]).code(1).says("base.vmdk");
    assert!(!folder.path().exists(), "nothing is left");
}

#[apply(test)]
fn names_do_not_depend_on_the_order_of_the_images() {
    needs_mount();
    let mut disks = ["gpt-512", "gpt-4kn", "mbr-extended"].map(|name| fixture(name).path());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let folder = Folder::mounted("twins", &disks);
        let root = folder.path().to_path_buf();
        seen.push(within("reads", move || {
            let all = contents(&root);
            let relative = |path: &PathBuf| path.strip_prefix(&root).expect("below").to_path_buf();
            let hash = |bytes: &Result<Vec<u8>, _>| sha256(bytes.as_ref().expect("content"));
            all.iter().map(|(path, bytes)| (relative(path), hash(bytes))).collect::<Vec<_>>()
        }));
        folder.unmount(&[]).code(0);
        disks.reverse();
    }
    assert_eq!(seen[0], seen[1]);
    let volumes: BTreeSet<_> = seen[0].iter().filter_map(|(path, _)| path.iter().next()).collect();
    assert_eq!(volumes.len(), 4, "four volumes of one label: {volumes:?}");
}

/// How long many readers read.
fn load_time() -> Duration {
    Duration::from_secs(if std::env::var_os("VOLFOLD_LONG").is_some() { 60 } else { 4 })
}

/// The files of a volume below `root`, and their hashes.
fn targets(fixture: &Fixture, root: &Path) -> Vec<(PathBuf, String)> {
    let rows = fixture.volumes[0].rows();
    let files = rows.iter().filter(|row| row.kind == "f").filter_map(|row| {
        let path = root.join(String::from_utf8_lossy(&row.path).as_ref());
        Some((path, row.sha256.clone()?))
    });
    files.collect()
}

#[apply(test)]
fn many_readers_read_the_right_bytes_until_the_folder_is_freed_by_force() {
    needs_mount();
    let (ntfs, ext4) = (fixture("ntfs-plain"), fixture("ext4"));
    let folder = Folder::mounted("load", &[ntfs.path(), ext4.path()]);
    let mut files = targets(&ntfs, &folder.join("Plain volume"));
    files.extend(targets(&ext4, &folder.join("four")));
    let files = Arc::new(files);
    let (ending, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..64)
        .map(|reader| {
            let (files, ending, count) = (files.clone(), ending.clone(), count.clone());
            thread::spawn(move || {
                let mut numbers = Random(reader + 1);
                while !ending.load(Ordering::Relaxed) {
                    let (path, hash) = &files[numbers.below(files.len() as u64) as usize];
                    match fs::read(path) {
                        Ok(bytes) => assert_eq!(sha256(&bytes), *hash, "{}", path.display()),
                        Err(_) if ending.load(Ordering::Relaxed) => {}
                        Err(error) => panic!("{}: {error}", path.display()),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut killed = 0;
    while start.elapsed() < load_time() {
        // A reader that is killed in the middle of its requests harms nobody.
        let mut cat = Command::new("cat")
            .args(files.iter().take(500).map(|(path, _)| path))
            .stdout(Stdio::null())
            .spawn()
            .expect("cat");
        thread::sleep(Duration::from_millis(100));
        let _ = cat.kill();
        eventually("the end of a killed reader", || cat.try_wait().is_ok_and(|end| end.is_some()));
        killed += 1;
    }
    let pid = folder.pid();
    ending.store(true, Ordering::Relaxed);
    let forced = folder.unmount(&["--force"]);
    assert!(matches!(forced.code, Some(0 | 3)), "{forced:?}");
    eventually("the end of all readers", || readers.iter().all(|reader| reader.is_finished()));
    for reader in readers {
        reader.join().expect("right bytes");
    }
    note!("{} files read, {killed} readers killed", count.load(Ordering::Relaxed));
    assert!(!folder.is_mounted());
    eventually("the end of the process", || !Path::new(&format!("/proc/{pid}")).exists());
}

/// A mount of another user, which only root can free in need.
struct Foreign(PathBuf);

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[apply(test)]
fn an_ordinary_user_mounts_through_fusermount3() {
    needs_mount();
    needs_programs(&["fusermount3"]);
    // Without root all other tests here are this test.
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["runuser"]);
    // A host may keep FUSE for root.
    let mode = fs::metadata("/dev/fuse").expect("/dev/fuse").mode();
    needs("a /dev/fuse that ordinary users may open", mode & 0o006 == 0o006);
    const NOBODY: u32 = 65_534;
    let scratch = Scratch::new("user");
    fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let program = scratch.copy(Path::new(VOLFOLD));
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
    let image = scratch.copy(&fixture("sample").path());
    fs::set_permissions(&image, PermissionsExt::from_mode(0o644)).expect("chmod");
    let home = scratch.join("home");
    fs::create_dir(&home).expect("a folder");
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("chown");
    let folder = home.join("mount");
    let _guard = Foreign(folder.clone());
    let as_user = |arguments: &[&Path]| {
        let mut command = Command::new("runuser");
        command.args(["-u", "nobody", "--"]).args(arguments).env_remove("XDG_RUNTIME_DIR");
        run(command.env("TMPDIR", &home).current_dir(scratch.path()))
    };
    as_user(&[&program, Path::new("mount"), &image, &folder]).code(0);
    let file = folder.join("linux/Pictures/noise.bin");
    let read = as_user(&[Path::new("cat"), &file]).code(0);
    assert_eq!(read.stdout.len(), 12_000);
    let facts = as_user(&[Path::new("stat"), Path::new("-c"), Path::new("%u %a"), &file]).code(0);
    assert_eq!(facts.text().trim(), format!("{NOBODY} 444"));
    let listed = as_user(&[&program, Path::new("mounts"), Path::new("--json")]).code(0).json();
    assert_eq!(listed["mounts"][0]["state"], "mounted");
    as_user(&[&program, Path::new("unmount"), &folder]).code(0);
    assert!(!folder.exists(), "the folder was made for the mount");
}

#[apply(test)]
fn the_size_of_a_link_is_the_length_of_its_target() {
    needs_mount();
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("links");
    let tree = scratch.join("tree/usr/lib/deep/er");
    fs::create_dir_all(&tree).expect("folders");
    let long = format!("/{}", "long/".repeat(100));
    for (name, target) in [
        ("short", "/e"),
        ("alternative", "/etc/alternatives/editor"),
        ("up", "../../x"),
        ("long", &long),
    ] {
        std::os::unix::fs::symlink(target, tree.join(name)).expect("a link");
    }
    let image = scratch.join("links.img");
    let source = scratch.join("tree");
    let arguments = ["-q", "-F", "-t", "ext4", "-L", "links", "-d"];
    run(Command::new("mke2fs").args(arguments).arg(&source).arg(&image).arg("4M")).code(0);
    for style in ["guest", "raw"] {
        let folder = Folder::new("links");
        folder.mount(std::slice::from_ref(&image), &["--links", style]).code(0);
        let place = folder.join("links/usr/lib/deep/er");
        let mut links = 0;
        // A listing tells of them first, and a lookup alone must tell the same.
        for name in ["long", "short", "alternative", "up"] {
            let facts = fs::symlink_metadata(place.join(name)).expect("facts");
            let target = fs::read_link(place.join(name)).expect("a target");
            assert_eq!(facts.len(), target.as_os_str().len() as u64, "{style}: {name}");
            links += 1;
        }
        for entry in fs::read_dir(&place).expect("a listing").flatten() {
            let target = fs::read_link(entry.path()).expect("a target");
            assert_eq!(entry.metadata().expect("facts").len(), target.as_os_str().len() as u64);
            links += 1;
        }
        assert_eq!(links, 8);
        folder.unmount(&[]).code(0);
    }
}

/// The host itself, in the folder that the image was made of, says where links lead.
#[apply(test)]
fn a_link_leads_where_the_guest_means() {
    needs_mount();
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("climbing");
    let tree = scratch.join("tree");
    fs::create_dir_all(tree.join("dir/deep")).expect("folders");
    for (name, text) in [("f", "top"), ("dir/f", "in dir"), ("a:b", "no drive"), ("b", "b")] {
        fs::write(tree.join(name), text).expect("a file");
    }
    let links = [
        ("to-deep", "dir/deep"),
        ("up", "to-deep/../f"),
        ("plain", "dir/../f"),
        ("drive", "a:b"),
        ("slashes", "//f"),
    ];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, tree.join(name)).expect("a link");
    }
    let image = scratch.join("climbing.img");
    let arguments = ["-q", "-F", "-t", "ext4", "-L", "climbing", "-d"];
    run(Command::new("mke2fs").args(arguments).arg(&tree).arg(&image).arg("4M")).code(0);
    let folder = Folder::mounted("climbing", &[image]);
    for (name, _) in &links[1..4] {
        let wanted = fs::read_to_string(tree.join(name)).expect("the host reads it");
        let found = fs::read_to_string(folder.join("climbing").join(name));
        assert_eq!(found.ok(), Some(wanted), "{name}");
    }
    let up = fs::read_link(folder.join("climbing/up")).expect("a target");
    assert_eq!(up, Path::new("dir/f"), "without the link that it goes up from");
    assert_eq!(fs::read_to_string(folder.join("climbing/slashes")).ok().as_deref(), Some("top"));
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn no_file_is_left_out_because_of_its_attributes() {
    needs_mount();
    needs_programs(&["rsync"]);
    let folder = Folder::mounted("attributes", &[fixture("ntfs-512").path()]);
    let scratch = Scratch::new("attributes");
    let mut files = 0;
    for (path, bytes) in contents(folder.path()) {
        let mut list = vec![0; 1 << 16];
        let length = rustix::fs::llistxattr(&path, &mut list[..]).expect("a list of attributes");
        for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name = String::from_utf8_lossy(name).into_owned();
            assert_ne!(name, "user.WofCompressedData");
            let mut value = vec![0; 1 << 16];
            rustix::fs::lgetxattr(&path, name.as_str(), &mut value[..])
                .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
        }
        files += usize::from(bytes.is_ok());
    }
    let copy = scratch.join("copy");
    let words = [folder.path().join(""), copy.clone()];
    let _ = run(Command::new("rsync").arg("-aHX").args(words));
    let copied = contents(&copy);
    assert_eq!(copied.len(), files, "all that can be read is copied");
    folder.unmount(&[]).code(0);
}
