//! Where the volumes of a system are seen: by paths, and in a mount.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use volfold::{DiskSet, Incomplete, OpenOptions};

use super::{ROOT, debian, ext4, info, root_of, shell, write};
use crate::common::mounted::Folder;
use crate::common::needs_mount;
use crate::common::program::{Scratch, text, volfold};
use crate::harness::{apply, test};

#[apply(test)]
fn files_are_read_by_their_paths() {
    let scratch = Scratch::new("guest-paths");
    let disks = debian(&scratch);
    let set = DiskSet::open(&disks, &OpenOptions::default()).unwrap_or_else(Incomplete::into_set);
    let root = set.volume("root").expect("the root");
    let notes = set.path("/people/ada/notes");
    assert_eq!(notes.read_to_string().expect("text"), "hello");
    assert_eq!(set.path("PEOPLE/ada").join("notes").read().expect("bytes"), b"hello");
    let hostname = root.path("/etc/hostname").expect("a path");
    assert_eq!(hostname.read_to_string().expect("text"), "web1.example.org\n");
    assert_eq!(hostname.parent().expect("a folder").file_name(), b"etc");
    assert!(!root.path("/etc/nothing").expect("a path").try_exists().expect("an answer"));
    let walked: Vec<(String, usize)> = root
        .path("/")
        .expect("a path")
        .walk()
        .min_depth(1)
        .filter_entry(|entry| {
            !["lost+found", "boot"].map(str::as_bytes).contains(&entry.file_name())
        })
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.path().to_string(), entry.depth()))
        .collect();
    let below = |path: &String| path.strip_prefix("/root").expect("below the volume").to_owned();
    let mut found: Vec<String> = walked.iter().map(|(path, _)| below(path)).collect();
    found.sort();
    let expected = [
        "/bin",
        "/etc",
        "/etc/fstab",
        "/etc/hostname",
        "/etc/localtime",
        "/etc/machine-id",
        "/etc/os-release",
        "/home",
        "/home/under",
        "/usr",
        "/usr/under",
        "/var",
        "/var/lib",
        "/var/lib/dpkg",
        "/var/lib/dpkg/status",
        "/var/log",
        "/var/log/empty",
    ];
    assert_eq!(found, expected);
    assert!(walked.iter().all(|(path, depth)| path.matches('/').count() == depth + 1));
    // A path that was made holds on to the volumes; a volume alone does not.
    let root = root.clone();
    drop(set);
    assert_eq!(notes.read().expect("bytes"), b"hello");
    drop((notes, hostname));
    let error = root.path("/etc").expect_err("the set is closed");
    assert_eq!(error.to_string(), "the set of the volume was closed");
}

#[apply(test)]
fn a_mount_shows_volumes_where_their_system_does() {
    needs_mount();
    let scratch = Scratch::new("guest-mount");
    let disks = debian(&scratch);
    let mounted = Folder::new("guest");
    let output = mounted.mount(&disks, &["--guest", "--json"]).code(3).json();
    let root = mounted.join("root");
    let read = |path: &str| fs::read_to_string(root.join(path));
    assert_eq!(read("home/ada/notes").expect("a file"), "hello");
    let release = read("etc/os-release").expect("by a link to another volume");
    assert!(release.contains("bookworm"));
    assert_eq!(fs::read(root.join("bin/sh")).expect("by two links"), shell());
    assert!(read("usr/under").is_err() && read("home/under").is_err(), "they are covered");
    // What belongs to a missing volume is an error, and no empty folder.
    let error = fs::read_dir(root.join("var/log")).map(Iterator::count).expect_err("missing");
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    let mut top: Vec<_> = fs::read_dir(mounted.path())
        .expect("the mount")
        .map(|it| it.expect("a name").file_name())
        .collect();
    top.sort();
    assert_eq!(top, ["root"]);
    let paths: Vec<&str> = output["volumes"]
        .as_array()
        .expect("volumes")
        .iter()
        .map(|volume| volume["paths"][0].as_str().expect("a path"))
        .collect();
    let expected = [root.join("home"), root.clone(), root.join("usr")];
    assert_eq!(paths, expected.iter().map(|path| text(path)).collect::<Vec<_>>());
    mounted.unmount(&[]).code(0);
    // The folder itself can be the root of the system.
    mounted.mount(&disks, &["--guest", "--only", "root"]).code(3);
    let read = |path: &str| fs::read_to_string(mounted.join(path));
    assert_eq!(read("home/ada/notes").expect("a file"), "hello");
    assert!(read("etc/os-release").expect("by a link to another volume").contains("bookworm"));
    assert_eq!(fs::read(mounted.join("bin/sh")).expect("by two links"), shell());
    assert!(fs::read_dir(mounted.join("var/log")).map(Iterator::count).is_err(), "missing");
    mounted.unmount(&[]).code(0);
    mounted
        .mount(&disks, &["--guest", "--only", "home"])
        .code(1)
        .says("/home of the system on root");
}

#[apply(test)]
fn paths_of_the_system_need_no_volume_s_name() {
    let scratch = Scratch::new("guest-system-paths");
    let disks = debian(&scratch);
    let of = |words: &[&str], path: &str| {
        let disks = disks.iter().map(|disk| text(disk));
        let words = words.iter().copied();
        volfold(words.chain(disks).chain(["-p", path]))
    };
    assert_eq!(of(&["cat"], "/home/ada/notes").code(0).text(), "hello");
    assert_eq!(of(&["cat"], "/etc/hostname").code(0).text(), "web1.example.org\n");
    assert!(of(&["cat"], "etc/os-release").code(0).text().contains("bookworm"), "by a link");
    assert_eq!(of(&["cat"], "/bin/sh").code(0).stdout, shell());
    // The names that the volumes have, and their labels.
    assert_eq!(of(&["ls"], "/home").code(0).text(), of(&["ls"], "/people").code(0).text());
    assert_eq!(of(&["ls"], "/usr/bin").code(0).text(), "dash\nsh\n");
    of(&["cat"], "/etc/nothing").code(1).says("no such file or directory");
    of(&["ls"], "/var/log").code(1).says("/dev/mapper/vg-var of /var/log is not shown");
    // Of two systems nobody knows which is meant.
    let other = scratch.join("other");
    write(&other, &[("etc/fstab", b""), ("etc/hostname", b"other")]);
    let second = ext4(&scratch, "second", &other, &["-L", "second"]);
    let disks: Vec<&str> = disks.iter().chain([&second]).map(|disk| text(disk)).collect();
    let words = ["cat"].into_iter().chain(disks.iter().copied());
    volfold(words.chain(["-p", "/etc/hostname"])).code(1).says("no such file");
}

#[apply(test)]
fn systems_that_show_each_other_and_themselves_stay_visible_and_end() {
    needs_mount();
    let scratch = Scratch::new("guest-each-other");
    let other = "99999999-8888-7777-6666-555555555555";
    let home = scratch.join("home");
    write(&home, &[("ada/notes", b"hello")]);
    let first = format!(
        "UUID={ROOT} / ext4 rw\nUUID={other} /mnt/other ext4 rw\nUUID={ROOT} /mnt/self ext4 rw\n\
         LABEL=people /home ext4 rw\n"
    );
    let second = format!(
        "UUID={other} / ext4 rw\nUUID={ROOT} /mnt/other ext4 rw\nLABEL=people /home ext4 rw\n\
         LABEL=people /data ext4 rw\n"
    );
    let disks = [
        root_of(&scratch, "first", &["-U", ROOT], &first),
        root_of(&scratch, "second", &["-U", other], &second),
        ext4(&scratch, "people", &home, &["-L", "people"]),
    ];
    let mounted = Folder::new("guest-each-other");
    let output = mounted.mount(&disks, &["--guest", "--json"]).json();
    assert_eq!(output["volumes"].as_array().expect("volumes").len(), 3);
    let read = |path: &str| fs::read_to_string(mounted.join(path));
    assert_eq!(read("first/etc/hostname").expect("the first"), "first");
    assert_eq!(read("second/etc/hostname").expect("the second"), "second");
    assert_eq!(read("first/home/ada/notes").expect("in one place"), "hello");
    // Everywhere else it is an error, and no empty folder.
    for place in
        ["first/mnt/other", "first/mnt/self", "second/mnt/other", "second/home", "second/data"]
    {
        let error = fs::read_dir(mounted.join(place)).map(Iterator::count).expect_err(place);
        assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "{place}");
    }
    mounted.unmount(&[]).code(0);
    // They call different volumes by one directory.
    let disks = disks.iter().map(|disk| text(disk));
    let output = volfold(["info"].into_iter().chain(disks));
    output.says("several volumes are /mnt/other, each for another system: first, second");
}

#[apply(test)]
fn the_label_of_a_foreign_disk_takes_no_path_from_the_system() {
    let scratch = Scratch::new("guest-foreign-label");
    let mut disks = debian(&scratch);
    let foreign = scratch.join("foreign-files");
    write(&foreign, &[("hostname", b"foreign\n"), ("ada/notes", b"foreign"), ("sh", b"foreign")]);
    for label in ["etc", "Bin", "people"] {
        disks.push(ext4(&scratch, &format!("foreign-{label}"), &foreign, &["-L", label]));
    }
    let cat = |path: &str, code: i32| {
        let disks = disks.iter().map(|disk| text(disk));
        volfold(["cat"].into_iter().chain(disks).chain(["-p", path])).code(code)
    };
    assert_eq!(cat("/etc/hostname", 0).text(), "web1.example.org\n");
    assert_eq!(cat("/bin/sh", 0).stdout, shell());
    // Two volumes have the label by which the table names one of them.
    cat("/home/ada/notes", 1).says("it may be any of");
    // The foreign ones are there by names of their own.
    assert_eq!(cat("etc-2/hostname", 0).text(), "foreign\n");
    assert_eq!(cat("Bin-2/sh", 0).text(), "foreign");
}

/// What `cat DISKS -p PATH` gives, or the reason why not.
fn cat(disks: &[PathBuf], path: &str) -> Result<String, String> {
    let disks = disks.iter().map(|disk| text(disk));
    let output = volfold(["cat"].into_iter().chain(disks).chain(["-p", path]));
    if output.code == Some(0) { Ok(output.text()) } else { Err(output.stderr) }
}

#[apply(test)]
fn a_missing_volume_is_no_other_one_and_no_directory_below_it() {
    let scratch = Scratch::new("guest-nothing-below");
    let boot = scratch.join("boot-files");
    write(&boot, &[("vmlinuz", b"kernel"), ("efi/stale", b"stale")]);
    let foreign = scratch.join("foreign-files");
    write(&foreign, &[("file", b"foreign")]);
    let table = format!(
        "UUID={ROOT} / ext4 rw\nLABEL=boot /boot ext4 rw\nUUID=ABCD-1234 /boot/efi vfat rw\n\
         LABEL=homes //home/. ext4 rw\n/srv/data.img /data ext4 loop\n"
    );
    let disks = [
        root_of(&scratch, "nothing", &["-U", ROOT], &table),
        ext4(&scratch, "boot", &boot, &["-L", "boot"]),
        ext4(&scratch, "foreign", &foreign, &["-L", "home"]),
    ];
    assert_eq!(cat(&disks, "/boot/vmlinuz").as_deref(), Ok("kernel"));
    for (path, reason) in [
        ("/home/file", "LABEL=homes of /home is not shown"),
        ("home/file", "LABEL=homes of /home is not shown"),
        ("/boot/efi/stale", "UUID=ABCD-1234 of /boot/efi is not shown"),
        ("/boot/efi", "UUID=ABCD-1234 of /boot/efi is not shown"),
        ("/data/x", "/srv/data.img of /data is not shown: it is in a file of the system"),
    ] {
        let error = cat(&disks, path).expect_err(path);
        assert!(error.contains(reason), "{path}: {error}");
    }
    // The same by the library.
    let set = DiskSet::open(&disks, &OpenOptions::default()).expect("a set");
    let error = set.path("/boot/efi/stale").read().expect_err("it is missing");
    assert!(error.to_string().contains("of /boot/efi is not shown"), "{error}");
    // By the volume's own name what lies below is there.
    assert_eq!(cat(&disks, "home-2/file").as_deref(), Ok("foreign"));
    assert!(set.volumes_called("home").is_empty());
    assert_eq!(set.path("/nothing/home").read_dir().count(), 0);
}

#[apply(test)]
fn a_volume_is_found_where_a_link_leads_to_its_place() {
    let scratch = Scratch::new("guest-linked-place");
    let root = scratch.join("root-files");
    let table =
        format!("UUID={ROOT} / ext4 rw\nLABEL=homes /home ext4 rw\nLABEL=homes /home ext4 rw\n");
    write(
        &root,
        &[("etc/fstab", table.as_bytes()), ("etc/hostname", b"x"), ("var/home/file", b"stale")],
    );
    symlink("var/home", root.join("home")).expect("a link");
    let homes = scratch.join("homes-files");
    write(&homes, &[("file", b"right")]);
    let disks = [
        ext4(&scratch, "linked", &root, &["-L", "linked", "-U", ROOT]),
        ext4(&scratch, "homes", &homes, &["-L", "homes"]),
    ];
    for path in ["/home/file", "/var/home/file", "homes/file"] {
        assert_eq!(cat(&disks, path).as_deref(), Ok("right"), "{path}");
    }
    info(&disks, 0);
    // A directory that is called as the id of a disk.
    fs::create_dir_all(root.join("disk1")).expect("a folder");
    fs::write(root.join("disk1/file"), "own").expect("a file");
    let disks = [ext4(&scratch, "linked-2", &root, &["-U", ROOT]), disks[1].clone()];
    assert_eq!(cat(&disks, "/disk1/file").as_deref(), Ok("own"));
}
