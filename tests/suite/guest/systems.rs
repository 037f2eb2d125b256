//! Which systems are found, and what is told of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{ROOT, debian, ext4, info, root_of, shell, told, write};
use crate::common::program::{Scratch, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

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
