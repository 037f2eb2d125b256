//! What tables, units and types of partitions say of directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{ROOT, USR, ext4, info, root_of, shell, told, write};
use crate::common::fixtures::fixture;
use crate::common::program::{Scratch, VOLFOLD, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

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

#[apply(test)]
fn a_table_that_is_longer_than_what_is_looked_at_is_told() {
    let scratch = Scratch::new("guest-long-table");
    let table = format!("UUID={ROOT} / ext4 rw\n{}", "tmpfs /tmp tmpfs rw\n".repeat(4096));
    let disk = root_of(&scratch, "long", &["-U", ROOT], &(table + "LABEL=homes /home ext4 rw\n"));
    let answer = info(std::slice::from_ref(&disk), 3);
    assert_eq!(told(&answer), ["only the first 4096 lines of /etc/fstab are looked at"]);
    volfold(["hash", text(&disk)]).code(3).says("only the first 4096 lines");
}

#[apply(test)]
fn what_the_system_encrypted_is_shown_where_its_tables_say() {
    needs_programs(&["mke2fs"]);
    let luks = fixture("luks");
    let key = ["--key", "env:LUKS_KEY"];
    for (number, (crypttab, source)) in [
        (
            "home_crypt UUID=10c50003-0000-4000-8000-000000000001 none luks\n",
            "/dev/mapper/home_crypt",
        ),
        ("", "/dev/mapper/luks-10c50003-0000-4000-8000-000000000001"),
        ("x UUID=10c50003-0000-4000-8000-000000000001\n", "/dev/disk/by-id/dm-name-x"),
        ("", "LABEL=LUKS3"),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new("crypttab");
        let folder = scratch.join("root");
        let fstab = format!("LABEL=r / ext4 defaults 0 1\n{source} /home ext2 defaults 0 2\n");
        write(
            &folder,
            &[
                ("etc/os-release", b"ID=debian\nNAME=Debian\n"),
                ("etc/fstab", fstab.as_bytes()),
                ("etc/crypttab", crypttab.as_bytes()),
                ("home/under", b"is covered"),
                ("var/lib/dpkg/status", b""),
                ("bin/sh", &shell()),
            ],
        );
        let root = ext4(&scratch, "root", &folder, &["-L", "r"]);
        let home = luks.folder().join(&luks.encrypted[2].file);
        let mut command = Command::new(VOLFOLD);
        command.args(["info", "--json"]).args([&root, &home]).env("LUKS_KEY", "a secret of LUKS");
        let answer = run(command.args(key)).code(0).json();
        let points = answer["systems"][0]["mount_points"].as_array().expect("points");
        let home_point = points.iter().find(|point| point["path"] == "/home").expect("/home");
        assert_eq!(home_point["volume"], luks.encrypted[2].id.as_str(), "{number}");
        assert_eq!((&home_point["source"], &home_point["reason"]), (&source.into(), &Value::Null));
        // Locked, it is missing: no file of it is taken for absent.
        let answer = info(&[root, home], 3);
        let told = told(&answer).join("\n");
        assert!(told.contains("which the system shows in /home, is missing"), "{told}");
    }
}
