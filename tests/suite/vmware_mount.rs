//! `volfold mount --only`, and `volfold vmware-mount`, which stands on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::slice::from_ref;

use crate::common::fixtures::fixture;
use crate::common::mounted::Folder;
use crate::common::needs_mount;
use crate::common::program::{Scratch, run, text, volfold};
use crate::harness::{apply, needs_programs, test};
use crate::mount_process::apart;

/// An ext4 volume with links of each kind.
fn with_links(scratch: &Scratch) -> PathBuf {
    needs_programs(&["mke2fs"]);
    let (files, image) = (scratch.join("files"), scratch.join("links.img"));
    fs::create_dir_all(files.join("etc/deep/er")).expect("folders");
    fs::write(files.join("etc/passwd"), "of the guest").expect("a file");
    for (link, target) in [
        ("absolute", "/etc/passwd"),
        ("up", "../../etc/passwd"),
        ("etc/deep/er/absolute", "/etc/passwd"),
        ("etc/deep/er/up", "../../passwd"),
        ("etc/deep/er/far", "../../../../../../etc/passwd"),
        ("etc/deep/er/through", "../er/absolute/../passwd"),
        ("etc/deep/er/round", "../../../absolute-folder/passwd"),
        ("absolute-folder", "/etc"),
    ] {
        symlink(target, files.join(link)).expect("a link");
    }
    let mut make = Command::new("mke2fs");
    run(make
        .args(["-q", "-F", "-t", "ext4", "-L", "links", "-d"])
        .arg(&files)
        .arg(&image)
        .arg("8M"))
    .code(0);
    image
}

#[apply(test)]
fn a_volume_is_the_folder_itself() {
    needs_mount();
    let scratch = Scratch::new("only-links");
    let image = with_links(&scratch);
    let folder = Folder::new("only");
    let json = folder.mount(from_ref(&image), &["--only", "links", "--json"]).code(0).json();
    assert_eq!(json["volumes"][0]["paths"][0], text(folder.path()));
    for link in [
        "absolute",
        "up",
        "etc/deep/er/absolute",
        "etc/deep/er/up",
        "etc/deep/er/far",
        "etc/deep/er/round",
    ] {
        let content = fs::read_to_string(folder.join(link));
        assert_eq!(content.expect(link), "of the guest", "{link}");
    }
    // The target is a name below a file, as the guest sees it too.
    assert!(fs::read(folder.join("etc/deep/er/through")).is_err());
    folder.unmount(&[]).code(0);
    folder.mount(from_ref(&image), &["--only", "nothing"]).code(1).says("no such volume");
    folder.mount(from_ref(&image), &["--only", "links", "--volume", "links"]).code(2);
    folder.mount(from_ref(&image), &["--only", "links", "--flat"]).code(2);
    // All of its names do.
    for name in ["LINKS", "disk0"] {
        folder.mount(from_ref(&image), &["--only", name]).code(0);
        assert!(folder.join("etc/passwd").exists(), "{name}");
        folder.unmount(&[]).code(0);
    }
}

#[apply(test)]
fn a_volume_that_cannot_be_shown_leaves_no_empty_folder() {
    needs_mount();
    let scratch = Scratch::new("only-broken");
    let image = scratch.join("swap.img");
    needs_programs(&["mkswap"]);
    fs::File::create(&image).and_then(|file| file.set_len(1 << 20)).expect("a file");
    run(Command::new("mkswap").arg("-q").arg(&image)).code(0);
    let folder = Folder::new("only-broken");
    folder.mount(&[image], &["--only", "disk0"]).code(1).says("not shown");
    assert!(!folder.path().exists());
}

/// The disk of the sample as the table of partitions that scripts look at.
const TABLE: &str = "\
Nr      Start       Size Type Id Sytem                   
-- ---------- ---------- ---- -- ------------------------
 1       2048      16384 BIOS 07 NTFS/exFAT
 2      18432       8192 BIOS 0e FAT16
 3      26624      16384 BIOS 83 Linux
";

#[apply(test)]
fn scripts_for_vmware_mount_go_on() {
    needs_programs(&["qemu-img"]);
    // The first partition is meant where no number is given. A second `-x` is no failure.
    let script = r#"set -e; cd "$1"; ln -s "$V" vmware-mount; M="$1/vmware-mount"
        $M -p "$IMAGE"; $M -L; $M "$IMAGE" "$1/one"; $M -r "$IMAGE" 3 "$1/three"
        cat one/eicar.com >/dev/null; ls -d three/lost+found; $M -L; $M -l "$IMAGE" | sort
        $M -d "$1/one"; ls -d one 2>/dev/null || echo freed; $M -k "$IMAGE"; ls three 2>/dev/null || echo freed
        $M -f "$IMAGE" "$1/one"; ls one; qemu-img convert -O raw "$IMAGE" raw; cmp one/flat raw
        $M -x; $M -x; ls one 2>/dev/null || echo freed"#;
    let output = apart("vmware-mount", "size=8M", script).code(0);
    let sample = fixture("sample").path();
    let (text, disk) = (output.text(), text(&sample));
    let rest = text.strip_prefix(TABLE).unwrap_or_else(|| panic!("{text}"));
    let expected = format!(
        "No mounted disks.\nthree/lost+found\nDisks with mounted partitions:\n\n{disk}\n \
         1 FOLDER/one\n 3 FOLDER/three\nfreed\nfreed\nflat\nfreed\n"
    );
    let folder = rest.lines().find_map(|line| line.strip_prefix(" 1 ")?.strip_suffix("/one"));
    assert_eq!(rest.replace(folder.expect("the folder"), "FOLDER"), expected);
}

#[apply(test)]
fn wrong_calls_of_vmware_mount_say_what_is_wrong() {
    let sample = fixture("sample").path();
    let disk = text(&sample);
    for (words, code, line) in [
        (&["-p", "/nothing.vmdk"][..], 1, "cannot be opened"),
        (&["/nothing.vmdk", "/m"], 1, "cannot be opened"),
        (&[disk, "9", "/m"], 1, "has no partition 9"),
        (&[disk, "first", "/m"], 2, "NUMBER is that of a partition"),
        (&["-h", "server", "-u", "root", disk, "/m"], 2, "disks of other machines are not read"),
        (&["-p", "-L"], 2, "cannot be used with"),
        (&["-x", disk], 2, "takes no DISK"),
        (&[], 2, "give DISK"),
    ] {
        volfold(["vmware-mount"].iter().chain(words)).code(code).says(line);
    }
    assert_eq!(volfold(["vmware-mount", "-p", disk]).code(0).text(), TABLE);
}
