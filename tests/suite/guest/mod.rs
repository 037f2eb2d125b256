//! The systems on the disks: `volfold info`, and the same by the library.

mod places;
mod systems;
mod table;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::program::{Scratch, run, volfold};
use crate::harness::needs_programs;

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
pub(crate) fn write(folder: &Path, files: &[(&str, &[u8])]) {
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

/// What `answer` tells, as sentences.
fn told(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().expect("findings").iter();
    findings.map(|finding| finding["message"].as_str().expect("a message")).collect()
}
