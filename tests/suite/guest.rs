//! The systems on the disks: `volfold info`, and the same by the library.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use volfold::{DiskSet, Incomplete, OpenOptions};

use crate::common::mounted::Folder;
use crate::common::needs_mount;
use crate::common::program::{Scratch, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

const ROOT: &str = "11111111-2222-3333-4444-555555555555";
const USR: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// The beginning of an ELF file for x86-64, and nothing after it.
fn shell() -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1, 1]);
    header[16..20].copy_from_slice(&[3, 0, 62, 0]);
    header
}

/// Writes `files` below `folder`.
fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
    }
}

/// An ext4 volume of what is in `folder`.
fn ext4(scratch: &Scratch, name: &str, folder: &Path, identity: &[&str]) -> PathBuf {
    let image = scratch.join(format!("{name}.img"));
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4"]).args(identity).arg("-d").arg(folder).arg(&image);
    run(make.arg("8M")).code(0);
    image
}

/// A system whose `/usr` is on a volume of its own, as the one before Debian 12 could be.
fn debian(scratch: &Scratch) -> Vec<PathBuf> {
    needs_programs(&["mke2fs"]);
    let (root, usr, home) = (scratch.join("root"), scratch.join("usr"), scratch.join("home"));
    let fstab = format!(
        "# <file system> <mount point> <type> <options> <dump> <pass>\n\
         UUID={ROOT} / ext4 errors=remount-ro 0 1\n\
         LABEL=people /home ext4 defaults 0 2\n\
         UUID={USR} /usr ext4 defaults 0 2\n\
         /dev/mapper/vg-var /var/log ext4 defaults 0 2\n\
         UUID=99999999-2222-3333-4444-555555555555 /srv ext4 nofail 0 2\n\
         /swapfile none swap sw 0 0\n\
         tmpfs /tmp tmpfs defaults 0 0\n\
         /home/shared /srv/shared none bind 0 0\n"
    );
    write(
        &root,
        &[
            ("etc/fstab", fstab.as_bytes()),
            ("etc/hostname", b"web1.example.org\n"),
            ("etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
            ("boot/vmlinuz-6.1.0-18-amd64", b"kernel"),
            ("boot/initrd.img-6.1.0-18-amd64", b""),
            ("var/lib/dpkg/status", b""),
            ("var/log/empty", b""),
            ("usr/under", b"is covered"),
            ("home/under", b"is covered"),
        ],
    );
    symlink("../usr/lib/os-release", root.join("etc/os-release")).expect("a link");
    symlink("/usr/share/zoneinfo/Europe/Berlin", root.join("etc/localtime")).expect("a link");
    symlink("usr/bin", root.join("bin")).expect("a link");
    let release: &[u8] =
        b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
        VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nID=debian\n";
    write(&usr, &[("lib/os-release", release), ("bin/dash", &shell())]);
    symlink("dash", usr.join("bin/sh")).expect("a link");
    write(&home, &[("ada/notes", b"hello")]);
    vec![
        ext4(scratch, "root", &root, &["-L", "root", "-U", ROOT]),
        ext4(scratch, "usr", &usr, &["-L", "usr", "-U", USR]),
        ext4(scratch, "home", &home, &["-L", "people"]),
    ]
}

fn info(disks: &[PathBuf], code: i32) -> Value {
    let disks = disks.iter().map(|disk| disk.as_os_str().to_owned());
    let arguments = ["info".into(), "--json".into()];
    volfold(arguments.into_iter().chain(disks)).code(code).json()
}

#[apply(test)]
fn a_linux_system_is_told_though_it_lies_on_several_volumes() {
    let scratch = Scratch::new("guest-linux");
    let disks = debian(&scratch);
    let answer = info(&disks, 3);
    let finding = &answer["findings"][0];
    assert_eq!(finding["code"], "guest-volume-missing");
    let expected = "the volume /dev/mapper/vg-var, which the system shows in /var/log, is missing: there is no \
        such volume that can be read";
    assert_eq!(finding["message"], expected);
    let expected = json!({
        "volume": "disk1",
        "folder": "/",
        "is_default": true,
        "family": "linux",
        "vendor": "debian",
        "product": "Debian GNU/Linux 12 (bookworm)",
        "edition": null,
        "version": "12",
        "build": null,
        "architecture": "x86_64",
        "host_name": "web1",
        "domain": "example.org",
        "time_zone": "Europe/Berlin",
        "installed": null,
        "machine_id": "0123456789abcdef0123456789abcdef",
        "kernels": ["6.1.0-18-amd64"],
        "package_system": "dpkg",
        "swap_files": ["/swapfile"],
    });
    let system = &answer["systems"][0];
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&system[key], value, "{key}");
    }
    let points: Vec<(String, Option<&str>, bool)> = system["mount_points"]
        .as_array()
        .expect("mount points")
        .iter()
        .map(|point| {
            let path = point["path"].as_str().expect("a path").to_owned();
            (path, point["volume"].as_str(), point["reason"].is_null())
        })
        .collect();
    let expected = [
        ("/", Some("disk1"), true),
        ("/home", Some("disk0"), true),
        ("/usr", Some("disk2"), true),
        ("/srv", None, false),
        ("/var/log", None, false),
        ("/srv/shared", None, false),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(path, volume, is)| (path.to_owned(), volume, is)).collect();
    assert_eq!(points, expected);
    // For people the same.
    let disks: Vec<&str> = disks.iter().map(|disk| text(disk)).collect();
    let shown = volfold(["info"].iter().copied().chain(disks)).code(3).text();
    for line in [
        "Debian GNU/Linux 12 (bookworm)",
        "  host name    web1.example.org",
        "               /usr  usr (UUID=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee)",
        "               /srv  - (UUID=99999999-2222-3333-4444-555555555555): \
         there is no such volume that can be read",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[apply(test)]
fn what_a_missing_volume_would_tell_is_not_told() {
    let scratch = Scratch::new("guest-missing");
    let disks = debian(&scratch);
    let answer = info(&disks[..1], 3);
    let system = &answer["systems"][0];
    assert_eq!(system["host_name"], "web1");
    let findings = answer["findings"].as_array().expect("findings");
    let unread = findings.iter().find(|finding| finding["code"] == "guest-unreadable");
    let told = unread.expect("a finding")["message"].as_str().expect("a message");
    let expected = "what is told of the system is incomplete: /etc/os-release: the volume \
        UUID=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee of /usr is not shown: there is no such volume that \
        can be read";
    assert_eq!(told, expected);
    assert_eq!((&system["product"], &system["architecture"]), (&Value::Null, &Value::Null));
    let usr = &system["mount_points"][2];
    assert_eq!((&usr["path"], &usr["volume"]), (&json!("/usr"), &Value::Null));
    assert_eq!(usr["reason"], "there is no such volume that can be read");
    let missing = findings.iter().filter(|finding| finding["code"] == "guest-volume-missing");
    assert_eq!(missing.count(), 3, "/home, /usr and /var/log, but not /srv, which may be missing");
    // Volumes without the root are no system.
    assert_eq!(info(&disks[1..], 0)["systems"], json!([]));
}

#[apply(test)]
fn of_copies_of_a_volume_the_one_that_is_meant_is_not_guessed() {
    let scratch = Scratch::new("guest-copies");
    let mut disks = debian(&scratch);
    let copy = scratch.join("usr-copy.img");
    fs::copy(&disks[1], &copy).expect("a copy");
    disks.push(copy);
    let system = &info(&disks, 3)["systems"][0];
    let usr = &system["mount_points"][2];
    assert_eq!(usr["volume"], Value::Null);
    assert_eq!(usr["reason"], "it may be any of usr, usr-2");
    assert_eq!(system["product"], Value::Null);
    let disks = disks.iter().map(|disk| text(disk));
    let output = volfold(["info"].into_iter().chain(disks)).code(3);
    output.says("/usr, is not shown: it may be any of usr, usr-2 [guest-volume-ambiguous]");
}

#[apply(test)]
fn systems_of_two_machines_are_both_told() {
    let scratch = Scratch::new("guest-two");
    let mut disks = debian(&scratch);
    let other = scratch.join("other");
    let release: &[u8] = b"CentOS release 6.10 (Final)\n";
    let network: &[u8] = b"NETWORKING=yes\nHOSTNAME=old.example.org\n";
    write(
        &other,
        &[
            ("etc/redhat-release", release),
            ("etc/sysconfig/network", network),
            ("etc/sysconfig/clock", b"ZONE=\"America/New_York\"\n"),
            ("bin/sh", &shell()),
            ("var/lib/rpm/Packages", b""),
            ("lib/modules/2.6.32-754.el6.x86_64/modules.dep", b""),
        ],
    );
    disks.push(ext4(&scratch, "a-first", &other, &["-L", "old"]));
    let answer = info(&disks, 3);
    let systems = answer["systems"].as_array().expect("systems");
    let told: Vec<Value> = systems
        .iter()
        .map(|it| json!([it["product"], it["host_name"], it["time_zone"], it["package_system"]]))
        .collect();
    let expected = [
        json!(["CentOS release 6.10 (Final)", "old", "America/New_York", "rpm"]),
        json!(["Debian GNU/Linux 12 (bookworm)", "web1", "Europe/Berlin", "dpkg"]),
    ];
    assert_eq!(told, expected);
    assert_eq!(systems[0]["version"], "6.10");
    assert_eq!(systems[0]["kernels"], json!(["2.6.32-754.el6.x86_64"]));
    assert_eq!(systems[0]["is_default"], Value::Null, "nobody knows which is started");
    // The lists of packages say whose they are.
    let disks: Vec<&str> = disks.iter().map(|disk| text(disk)).collect();
    let shown = volfold(["info", "--packages"].into_iter().chain(disks)).code(3).text();
    let expected = [
        "# CentOS release 6.10 (Final), old (disk0), /",
        "",
        "# Debian GNU/Linux 12 (bookworm), root (disk2), /",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
}

#[apply(test)]
fn a_file_that_cannot_be_read_is_told_and_not_taken_for_missing() {
    let scratch = Scratch::new("guest-damaged");
    let disks = debian(&scratch);
    let root = &disks[0];
    let debugfs = |request: &str| {
        let mut command = Command::new("debugfs");
        run(command.args(["-w", "-R", request]).arg(root)).code(0)
    };
    needs_programs(&["debugfs"]);
    // The tree of its extents is none any more.
    debugfs("set_inode_field /etc/hostname block[0] 0x12345678");
    let answer = info(&disks, 3);
    assert_eq!(answer["systems"][0]["host_name"], Value::Null);
    assert_eq!(answer["systems"][0]["product"], "Debian GNU/Linux 12 (bookworm)");
    let findings = answer["findings"].as_array().expect("findings");
    let told = findings.iter().find(|finding| finding["code"] == "guest-unreadable");
    let told = told.expect("a finding")["message"].as_str().expect("a message").to_owned();
    assert!(told.contains("/etc/hostname"), "{told}");
}

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
fn a_root_is_itself_whatever_its_table_calls_it() {
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("guest-root");
    let root = scratch.join("root");
    let fstab = b"/dev/sda3 / ext4 rw 0 1\n/dev/cdrom /media/cdrom iso9660 noauto,ro 0 0\n";
    write(&root, &[("etc/fstab", fstab), ("etc/hostname", b"box\n")]);
    let disk = ext4(&scratch, "box", &root, &["-L", "box"]);
    let answer = info(&[disk], 0);
    let points = &answer["systems"][0]["mount_points"];
    let expected =
        json!([{ "path": "/", "source": "/dev/sda3", "volume": "disk0", "reason": null }]);
    assert_eq!(points, &expected);
}

/// The root of a system with this table, as the volume `name`.
fn root_of(scratch: &Scratch, name: &str, identity: &[&str], fstab: &str) -> PathBuf {
    needs_programs(&["mke2fs"]);
    let root = scratch.join(format!("{name}-root"));
    write(&root, &[("etc/fstab", fstab.as_bytes()), ("etc/hostname", name.as_bytes())]);
    for folder in ["mnt/other", "mnt/self", "home", "data", "boot"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    ext4(scratch, name, &root, &[&["-L", name], identity].concat())
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
fn a_volume_that_is_named_by_the_place_of_its_disk_is_told() {
    let scratch = Scratch::new("guest-by-place");
    let data = scratch.join("data-files");
    write(&data, &[("file", b"of another machine")]);
    let table = format!("UUID={ROOT} / ext4 rw\n/dev/sdb /data ext4 rw\n");
    let root = root_of(&scratch, "a-root", &["-U", ROOT], &table);
    let foreign = ext4(&scratch, "foreign", &data, &["-L", "foreign"]);
    let answer = info(&[root, foreign.clone()], 3);
    assert_eq!(answer["findings"][0]["code"], "guest-volume-guessed");
    assert_eq!(answer["systems"][0]["mount_points"][1]["volume"], "disk1");
    // Where the table names the disk of the root and that is elsewhere, nothing is taken for anything.
    let table = "/dev/sdb / ext4 rw\n/dev/sda /data ext4 rw\n";
    let root = root_of(&scratch, "b-root", &[], table);
    let answer = info(&[root, foreign], 3);
    assert_eq!(answer["findings"][0]["code"], "guest-volume-missing");
    let reason = &answer["systems"][0]["mount_points"][1]["reason"];
    assert_eq!(reason, "the disks of the set are not in the order of the system");
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

#[apply(test)]
fn what_a_table_says_of_directories_is_told_where_it_is_odd() {
    let scratch = Scratch::new("guest-odd-table");
    let (old, new) = (scratch.join("old-files"), scratch.join("new-files"));
    write(&old, &[("which", b"old")]);
    write(&new, &[("which", b"new")]);
    let table = format!(
        "UUID={USR} / ext4 rw\nLABEL=old /data ext4 rw\nLABEL=new /data/ ext4 rw\n\
         LABEL=apart /nowhere ext4 rw\nserver:/homes /home nfs rw\n/data /mnt/self none bind\n\
         LABEL=away /mnt/other ext4 noauto\n"
    );
    let disks = [
        root_of(&scratch, "odd", &["-U", ROOT], &table),
        ext4(&scratch, "old", &old, &["-L", "old"]),
        ext4(&scratch, "new", &new, &["-L", "new"]),
        ext4(&scratch, "apart", &new, &["-L", "apart"]),
    ];
    let answer = info(&disks, 3);
    let told: Vec<&str> = answer["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["message"].as_str().expect("a message"))
        .collect();
    let expected = [
        &*format!("the table of the system names UUID={USR} for its root"),
        "the volume LABEL=apart is not shown in /nowhere: no such file or directory",
    ];
    assert_eq!(told, expected);
    let cat = |path: &str, code: i32| {
        let disks = disks.iter().map(|disk| text(disk));
        volfold(["cat"].into_iter().chain(disks).chain(["-p", path])).code(code)
    };
    assert_eq!(cat("/data/which", 0).text(), "new", "the last one covers the first");
    assert_eq!(cat("old/which", 0).text(), "old");
    cat("/home/x", 1).says("it is on another machine");
    cat("/mnt/self/x", 1).says("a directory that the system shows a second time");
    cat("/mnt/other/x", 1).says("no such file");
}

/// What `answer` tells, as sentences.
fn told(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().expect("findings").iter();
    findings.map(|finding| finding["message"].as_str().expect("a message")).collect()
}

#[apply(test)]
fn what_a_file_system_noticed_is_told_with_the_systems_on_it() {
    let scratch = Scratch::new("guest-file-system");
    let disks = debian(&scratch);
    let image = fs::read(&disks[0]).expect("an image");
    fs::write(&disks[0], &image[..image.len() - (1 << 20)]).expect("one that is cut short");
    let disk = text(&disks[0]);
    let listed = volfold(["list", "--json", disk]).code(3).json();
    let codes = |answer: &Value| -> Vec<String> {
        let findings = answer["findings"].as_array().expect("findings").iter();
        findings.map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect()
    };
    let answer = info(&disks[..1], 3);
    assert!(!codes(&listed).is_empty());
    for code in codes(&listed) {
        assert!(codes(&answer).contains(&code), "{code}: {:?}", codes(&answer));
    }
    for finding in listed["findings"].as_array().expect("findings") {
        if finding["code"] != "guest-volume-missing" {
            let code = format!("[{}]", finding["code"].as_str().expect("a code"));
            volfold(["info", disk]).code(3).says(&code);
        }
    }
}

/// A root with this `/etc/os-release`, made by `make` at its path, and nothing else that says what it is.
fn with_release(scratch: &Scratch, name: &str, make: impl Fn(&Path)) -> Value {
    needs_programs(&["mke2fs"]);
    let root = scratch.join(format!("{name}-root"));
    write(&root, &[("etc/hostname", b"box\n"), ("usr/share/empty", b"")]);
    make(&root.join("etc/os-release"));
    info(&[ext4(scratch, name, &root, &["-L", name])], 3)
}

#[apply(test)]
fn a_release_file_that_tells_nothing_is_told_and_the_system_is_still_one() {
    let scratch = Scratch::new("guest-release");
    let link = |target: &'static str| move |path: &Path| symlink(target, path).expect("a link");
    let incomplete = "what is told of the system is incomplete: /etc/os-release: ";
    let large = vec![b'#'; (4 << 20) + 1];
    let answers = [
        (
            with_release(&scratch, "loop", link("os-release")),
            "/etc/os-release is a link that leads to nothing, or in a circle".to_owned(),
        ),
        (
            with_release(&scratch, "folder", |path| fs::create_dir(path).expect("a folder")),
            format!("{incomplete}is a directory"),
        ),
        (
            with_release(&scratch, "dangling", link("../usr/lib/os-release")),
            "/etc/os-release is a link that leads to nothing, or in a circle".to_owned(),
        ),
        (
            with_release(&scratch, "large", |path| fs::write(path, &large).expect("a file")),
            format!(
                "{incomplete}file has 4194305 bytes, more than the 4194304 that are read at once"
            ),
        ),
        (
            with_release(&scratch, "empty", |path| fs::write(path, b"").expect("a file")),
            "/etc/os-release names no system".to_owned(),
        ),
    ];
    for (answer, line) in answers {
        assert_eq!(told(&answer), [line]);
        assert_eq!(answer["systems"][0]["host_name"], "box");
        assert_eq!(answer["systems"][0]["product"], Value::Null);
    }
}

#[apply(test)]
fn every_command_tells_that_a_volume_of_the_system_is_missing() {
    let scratch = Scratch::new("guest-lacks");
    let table = format!("UUID={ROOT} / ext4 rw\nLABEL=people /home ext4 rw\n");
    let root = root_of(&scratch, "box", &["-U", ROOT], &table);
    let files = scratch.join("data-files");
    write(&files, &[("file", b"x")]);
    let data = ext4(&scratch, "data", &files, &["-L", "other"]);
    let of = |words: &[&str], more: &[&str]| {
        let disks = [text(&root), text(&data)];
        volfold(words.iter().copied().chain(disks).chain(more.iter().copied()))
    };
    let word = "LABEL=people, which the system shows in /home, is missing";
    let target = scratch.join("target");
    let wholes: [(&[&str], &[&str]); 5] = [
        (&["ls", "-R"], &[]),
        (&["hash"], &[]),
        (&["check"], &[]),
        (&["info"], &[]),
        (&["extract"], &["-o", text(&target)]),
    ];
    for (words, more) in wholes {
        of(words, more).code(3).says(word);
    }
    let json = of(&["hash", "--json"], &[]).code(3).json();
    assert_eq!(json["findings"][0]["code"], "guest-volume-missing");
    let listed = of(&["list", "--json"], &[]).code(3).json();
    assert_eq!(listed["findings"][0]["code"], "guest-volume-missing");
    // Of the system's own volume a file is whole, and so are the bytes of a disk.
    of(&["cat"], &["-p", "/box/etc/hostname"]).code(0).says(word);
    of(&["ls"], &["-p", "/box/etc"]).code(0).says(word);
    let copy = scratch.join("copy.raw");
    volfold(["convert", text(&root), "-o", text(&copy)]).code(0).says(word);
    // What lies elsewhere has nothing to do with it.
    let other = of(&["hash"], &["-p", "/other"]).code(0);
    assert!(!other.stderr.contains("people"));
    let other = of(&["check"], &["--volume", "other"]).code(0);
    assert!(!other.stderr.contains("people"));
}

/// The files of a root with units that show volumes, some of them enabled.
fn root_with_units(scratch: &Scratch) -> PathBuf {
    needs_programs(&["mke2fs"]);
    let root = scratch.join("root");
    let unit = |what: &str, directory: &str, options: &str| {
        format!(
            "[Unit]\nDescription=x\n[Mount]\nWhat={what}\nWhere={directory}\nOptions={options}\n"
        )
    };
    let units = [
        ("etc/systemd/system/home.mount", unit("LABEL=people", "/home", "rw")),
        ("usr/lib/systemd/system/data.mount", unit("LABEL=data", "/data", "rw")),
        ("etc/systemd/system/off.mount", unit("LABEL=off", "/off", "rw")),
        ("etc/systemd/system/gone.mount", unit("LABEL=gone", "/gone", "rw")),
        ("etc/systemd/system/gone.mount.d/more.conf", "[Mount]\nOptions=ro\n".to_owned()),
        ("etc/systemd/system/run.mount", unit("tmpfs", "/run", "")),
        ("etc/systemd/system/odd.mount", "[Mount]\nWhere=/odd\n".to_owned()),
    ];
    let units: Vec<(&str, &[u8])> =
        units.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    write(&root, &units);
    let table = b"LABEL=old /home ext4 rw\n".as_slice();
    let system = "etc/systemd/system";
    write(&root, &[("etc/fstab", table), ("home/x", b""), ("data/x", b""), ("gone/x", b"")]);
    fs::create_dir_all(root.join(system).join("local-fs.target.wants")).expect("a folder");
    fs::create_dir_all(root.join(system).join("multi-user.target.requires")).expect("a folder");
    for (folder, name, target) in [
        ("local-fs.target.wants", "home.mount", "../home.mount"),
        ("local-fs.target.wants", "run.mount", "../run.mount"),
        ("local-fs.target.wants", "odd.mount", "../odd.mount"),
        ("local-fs.target.wants", "masked.mount", "/usr/lib/systemd/system/masked.mount"),
        ("multi-user.target.requires", "data.automount", "/usr/lib/systemd/system/data.automount"),
        ("multi-user.target.requires", "gone.mount", "/etc/systemd/system/gone.mount"),
        ("multi-user.target.requires", "away.mount", "/etc/systemd/system/away.mount"),
    ] {
        symlink(target, root.join(system).join(folder).join(name)).expect("a link");
    }
    symlink("/dev/null", root.join(system).join("masked.mount")).expect("a link");
    root
}

#[apply(test)]
fn units_that_are_enabled_are_mount_points_as_lines_of_the_table_are() {
    let scratch = Scratch::new("guest-units");
    let root = root_with_units(&scratch);
    let (home, data) = (scratch.join("home"), scratch.join("data"));
    write(&home, &[("ada/notes", b"hello")]);
    write(&data, &[("file", b"data")]);
    let disks = [
        ext4(&scratch, "a-root", &root, &["-L", "root"]),
        ext4(&scratch, "b-home", &home, &["-L", "people"]),
        ext4(&scratch, "c-data", &data, &["-L", "data"]),
    ];
    let answer = info(&disks, 3);
    let points: Vec<(&str, &str, &Value)> = answer["systems"][0]["mount_points"]
        .as_array()
        .expect("mount points")
        .iter()
        .map(|it| {
            (it["path"].as_str().expect("a"), it["source"].as_str().expect("b"), &it["volume"])
        })
        .collect();
    let expected = [
        ("/data", "LABEL=data", &json!("disk2")),
        ("/gone", "LABEL=gone", &Value::Null),
        ("/home", "LABEL=people", &json!("disk1")),
    ];
    assert_eq!(points, expected);
    let expected = [
        "the volume LABEL=gone, which the system shows in /gone, is missing: there is no such volume \
         that can be read",
        "the enabled unit away.mount is missing",
        "/etc/systemd/system/gone.mount.d changes a unit, which is not looked at",
        "the enabled unit odd.mount does not say what is shown",
    ];
    assert_eq!(told(&answer), expected);
    let paths = disks.iter().map(|disk| text(disk));
    let words = ["cat"].into_iter().chain(paths).chain(["-p", "/home/ada/notes"]);
    assert_eq!(volfold(words).code(0).text(), "hello");
}

/// A GPT disk with a partition for each of `parts`: its type, its own GUID, its attributes, its content.
fn gpt(scratch: &Scratch, parts: &[(&str, &str, &str, PathBuf)]) -> PathBuf {
    needs_programs(&["sgdisk"]);
    let disk = scratch.join("gpt.img");
    let size = 8 << 20;
    let mut bytes = vec![0; (parts.len() + 2) * size];
    fs::write(&disk, &bytes).expect("a disk");
    let mut make = Command::new("sgdisk");
    for (index, (kind, guid, attributes, _)) in parts.iter().enumerate() {
        let (number, start) = (index + 1, (index + 1) * size / 512);
        make.arg("-n").arg(format!("{number}:{start}:+8M"));
        make.arg("-t").arg(format!("{number}:{kind}")).arg("-u").arg(format!("{number}:{guid}"));
        if !attributes.is_empty() {
            make.arg("-A").arg(format!("{number}:{attributes}"));
        }
    }
    run(make.arg(&disk)).code(0);
    bytes = fs::read(&disk).expect("the disk");
    for (index, (.., image)) in parts.iter().enumerate() {
        let image = fs::read(image).expect("an image");
        bytes[(index + 1) * size..][..image.len()].copy_from_slice(&image);
    }
    fs::write(&disk, bytes).expect("a disk");
    disk
}

#[apply(test)]
fn partitions_are_shown_by_their_types_where_no_table_names_the_directory() {
    const ROOT_TYPE: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";
    const SRV: &str = "3b8f8425-20e0-4f3b-907f-1a25a76f98e8";
    const VAR: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";
    const TMP: &str = "7ec6f557-3bc5-4aca-b293-16ef5df639d1";
    const USR_TYPE: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
    // By the machine id below, as systemd computes it.
    const OWN_VAR: &str = "c0c46eff-e386-4746-a2bd-0962cd326ea2";
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("guest-types");
    let root = scratch.join("root");
    write(
        &root,
        &[
            ("etc/fstab", b"LABEL=own-srv /srv/ ext4 noauto\n"),
            ("etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
            ("usr/not-empty", b""),
        ],
    );
    for folder in ["home", "srv", "var"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let files = scratch.join("files");
    write(&files, &[("which", b"content"), ("tmp/x", b"")]);
    fs::create_dir_all(scratch.join("tmp-files")).expect("a folder");
    let part = |number: u8, kind: &'static str, attributes: &'static str, folder: &Path| {
        let name = format!("part{number}");
        let guid = format!("00000000-0000-4000-8000-00000000000{number}");
        (kind, guid, attributes, ext4(&scratch, &name, folder, &["-L", &name]))
    };
    let mut parts = vec![
        part(1, ROOT_TYPE, "", &root),
        part(2, HOME, "set:63", &files),
        part(3, HOME, "", &files),
        part(4, HOME, "", &files),
        part(5, SRV, "", &files),
        part(6, VAR, "", &files),
        part(7, VAR, "", &files),
        part(8, TMP, "", &scratch.join("tmp-files")),
        part(9, USR_TYPE, "", &files),
    ];
    parts[6].1 = OWN_VAR.to_owned();
    let given: Vec<(&str, &str, &str, PathBuf)> = parts
        .iter()
        .map(|(kind, guid, bits, image)| (*kind, &**guid, *bits, image.clone()))
        .collect();
    let disk = gpt(&scratch, &given);
    let answer = info(std::slice::from_ref(&disk), 0);
    let points: Vec<[&str; 3]> = answer["systems"][0]["mount_points"]
        .as_array()
        .expect("mount points")
        .iter()
        .map(|it| ["path", "source", "volume"].map(|key| it[key].as_str().expect("text")))
        .collect();
    let expected = [
        ["/home", "gpt-auto", "gpt:00000000-0000-4000-8000-000000000003"],
        ["/var", "gpt-auto", "gpt:c0c46eff-e386-4746-a2bd-0962cd326ea2"],
        ["/var/tmp", "gpt-auto", "gpt:00000000-0000-4000-8000-000000000008"],
    ];
    assert_eq!(points, expected);
    assert_eq!(told(&answer), Vec::<&str>::new());
    assert_eq!(volfold(["cat", text(&disk), "-p", "/home/which"]).code(0).text(), "content");
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

#[apply(test)]
fn a_disk_whose_file_system_is_no_longer_known_is_told() {
    let scratch = Scratch::new("guest-no-magic");
    let disk = root_of(&scratch, "magic", &[], "");
    let mut bytes = fs::read(&disk).expect("the disk");
    bytes[1080] ^= 0xFF;
    fs::write(&disk, bytes).expect("the disk");
    for command in ["list", "ls", "hash", "check"] {
        let output = volfold([command, text(&disk)]);
        assert_ne!(output.code, Some(0), "{command}");
    }
    volfold(["hash", text(&disk)]).says("no known file system or partition table");
}
