//! A mount as a process of the host: its folder, its record and its log, how it ends, and the places and
//! tables of the host that it lives with.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::process::Signal;

use crate::common::fixtures::fixture;
use crate::common::mounted::Folder;
use crate::common::needs_mount;
use crate::common::program::{Scratch, VOLFOLD, eventually, run, volfold, within};
use crate::harness::{apply, needs, needs_programs, test};

#[apply(test)]
fn mount_and_list_tell_where_each_volume_is() {
    needs_mount();
    let folder = Folder::new("paths");
    let sample = fixture("sample").path();
    let mounted = folder.mount(std::slice::from_ref(&sample), &["--json"]).code(0).json();
    assert_eq!(mounted["folder"].as_str(), folder.path().to_str());
    let sample = sample.as_os_str();
    // Other tests mount the same images.
    let is_told = |listed: &serde_json::Value, number: usize, wanted: &str| {
        let names = listed["volumes"][number]["mounted_as"].as_array().expect("names");
        names.iter().any(|name| name == wanted)
    };
    let listed = volfold(["list".as_ref(), sample, "--json".as_ref()]).code(0).json();
    for (number, name) in ["Windows", "BOOT", "linux"].into_iter().enumerate() {
        let wanted = folder.join(name);
        let wanted = wanted.to_str().expect("text");
        assert_eq!(mounted["volumes"][number]["name"], name);
        assert_eq!(mounted["volumes"][number]["paths"][0], wanted);
        assert!(is_told(&listed, number, wanted), "{listed}");
        assert_eq!(folder.record().expect("a record")["paths"][name][0], wanted);
    }
    let again = folder.mount(&[sample.into()], &["--json"]).code(1).json();
    assert!(again["folder"].is_null(), "{again}");
    let reason = again["failures"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("is mounted already"), "{reason}");
    folder.unmount(&[]).code(0);
    let listed = volfold(["list".as_ref(), sample, "--json".as_ref()]).code(0).json();
    let gone = folder.join("Windows");
    assert!(!is_told(&listed, 0, gone.to_str().expect("text")), "{listed}");
}

#[apply(test)]
fn a_mount_is_listed_with_its_log_and_its_folder_comes_and_goes() {
    needs_mount();
    let folder = Folder::new("listed");
    let sample = fixture("sample").path();
    assert!(!folder.path().exists());
    folder.mount(std::slice::from_ref(&sample), &[]).code(0);
    let path = folder.join("BOOT/README.txt");
    assert_eq!(within("a read", move || fs::read(path).expect("the file").len()), 188);
    let record = folder.record().expect("a record");
    assert_eq!(record["state"], "mounted");
    assert_eq!(record["images"][0].as_str(), sample.to_str());
    let volumes: Vec<_> = record["volumes"].as_array().expect("volumes").iter().collect();
    assert_eq!(volumes, ["Windows", "BOOT", "linux"]);
    let log = PathBuf::from(record["log"].as_str().expect("a log"));
    assert!(fs::read_to_string(&log).expect("the log").contains("mounted at"));
    let shown = volfold(["mounts"]).code(0).text();
    assert!(shown.contains(folder.path().to_str().expect("text")), "{shown}");
    folder.unmount(&[]).code(0);
    assert!(!folder.is_mounted() && !folder.path().exists(), "the folder was made for the mount");
    assert!(folder.record().is_none());
    folder.unmount(&[]).code(1).says("not a volfold mount");

    fs::create_dir(folder.path()).expect("a folder");
    folder.mount(&[sample], &[]).code(0);
    folder.unmount(&[]).code(0);
    assert!(folder.path().is_dir(), "the user's own folder stays");
}

#[apply(test)]
fn folders_that_cannot_be_used_are_refused() {
    needs_mount();
    let disks = [fixture("sample").path()];
    let folder = Folder::mounted("folders", &disks);
    folder.mount(&disks, &[]).code(1).says("is mounted already; free it with `volfold unmount");
    assert!(folder.is_mounted());
    folder.unmount(&[]).code(0);

    fs::create_dir(folder.path()).expect("a folder");
    fs::write(folder.join("x"), "x").expect("a file");
    folder.mount(&disks, &[]).code(1).says("is not empty; give an empty or new folder");
    fs::remove_dir_all(folder.path()).expect("remove");
    fs::write(folder.path(), "x").expect("a file");
    folder.mount(&disks, &[]).code(1).says("is not a folder");
    fs::remove_file(folder.path()).expect("remove");

    let below = folder.join("not/there");
    let output = volfold(["mount".as_ref(), disks[0].as_os_str(), below.as_os_str()]);
    output.code(1).says("the folder above it is not there");
    assert!(!folder.path().exists(), "nothing is left");
}

#[apply(test)]
fn a_folder_in_use_is_freed_by_force_only() {
    needs_mount();
    let folder = Folder::mounted("busy", &[fixture("sample").path()]);
    let path = folder.join("linux/Pictures/stripes.bin");
    let file = within("open", move || File::open(path).expect("the file"));
    folder.unmount(&[]).code(1).says("is in use; end the programs that use it, or add --force");
    assert!(folder.is_mounted());
    let pid = folder.pid();
    let forced = folder.unmount(&["--force"]);
    assert!(matches!(forced.code, Some(0 | 3)), "{forced:?}");
    assert!(!folder.is_mounted());
    within("a read and a close", move || {
        let _ = file.read_at(&mut [0; 4096], 200_000);
        drop(file);
    });
    eventually("the end of the process", || !Path::new(&format!("/proc/{pid}")).exists());
}

#[apply(test)]
fn a_mount_whose_process_was_killed_is_dead_until_it_is_cleared() {
    needs_mount();
    let folder = Folder::mounted("killed", &[fixture("sample").path()]);
    folder.signal(Signal::KILL);
    eventually("the death", || folder.record().is_some_and(|record| record["state"] == "dead"));
    let path = folder.join("BOOT");
    let error = within("an access", move || fs::metadata(path).expect_err("nobody answers"));
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTCONN));
    assert!(volfold(["mounts"]).code(0).text().contains("its process has died; free it"));
    folder.unmount(&[]).code(0);
    assert!(!folder.is_mounted() && folder.record().is_none() && !folder.path().exists());
}

#[apply(test)]
fn signals_end_a_mount_in_order() {
    needs_mount();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut folder = Folder::new("signals");
        folder.mount_in_foreground(&[fixture("sample").path()]);
        let path = folder.join("BOOT/eicar.com");
        assert_eq!(within("a read", move || fs::read(path).expect("the file").len()), 68);
        folder.signal(signal);
        assert_eq!(folder.foreground_code(), Some(0), "{signal:?}");
        assert!(!folder.is_mounted() && !folder.path().exists(), "{signal:?}");
        assert!(folder.record().is_none());
    }
    let folder = Folder::mounted("background", &[fixture("sample").path()]);
    folder.signal(Signal::TERM);
    eventually("the end", || !folder.is_mounted() && !folder.path().exists());
    eventually("the end of the record", || folder.record().is_none());
}

#[apply(test)]
fn the_background_process_holds_nothing_of_who_started_it() {
    needs_mount();
    needs_programs(&["sh", "flock"]);
    let folder = Folder::new("inherited");
    let lock = Scratch::new("inherited");
    let script =
        r#"cd "$4"; exec 9>lock; flock -n 9 || exit 5; exec 300>other; "$1" mount "$2" "$3""#;
    let sample = fixture("sample").path();
    let words = [
        Path::new("-c"),
        Path::new(script),
        Path::new("sh"),
        Path::new(VOLFOLD),
        &sample,
        folder.path(),
        lock.path(),
    ];
    run(Command::new("bash").args(words)).code(0);
    let free = run(Command::new("flock").arg("-n").arg(lock.join("lock")).arg("true"));
    assert_eq!(free.code, Some(0), "the lock is free");
    let process = PathBuf::from(format!("/proc/{}", folder.pid()));
    for entry in fs::read_dir(process.join("fd")).expect("its files").flatten() {
        let target = fs::read_link(entry.path()).expect("a file");
        assert!(!target.starts_with(lock.path()), "{}", target.display());
    }
    assert_eq!(fs::read_link(process.join("cwd")).expect("its folder"), Path::new("/"));
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn an_image_of_more_extents_than_the_soft_limit_is_opened() {
    needs_programs(&["bash"]);
    let scratch = Scratch::new("extents");
    let mut lines = "# Disk DescriptorFile\nversion=1\nCID=5181a839\nparentCID=ffffffff\n\
        createType=\"twoGbMaxExtentFlat\"\n\n"
        .to_owned();
    for number in 0..90 {
        fs::write(scratch.join(format!("e{number}")), [0; 4096]).expect("an extent");
        lines.push_str(&format!("RW 8 FLAT \"e{number}\" 0\n"));
    }
    let image = scratch.join("d.vmdk");
    fs::write(&image, lines).expect("a descriptor");
    let script = r#"ulimit -Sn 40; exec "$0" list --json "$1""#;
    let words = [Path::new("-c"), Path::new(script), Path::new(VOLFOLD), &image];
    let listed = run(Command::new("bash").args(words)).json();
    assert_eq!(listed["disks"][0]["size"].as_u64(), Some(90 * 4096), "{listed}");
}

#[apply(test)]
fn a_folder_is_freed_and_mounted_through_links() {
    needs_mount();
    let folder = Folder::mounted("through", &[fixture("sample").path()]);
    let scratch = Scratch::new("through");
    let (first, second) = (scratch.join("first"), scratch.join("second"));
    std::os::unix::fs::symlink(folder.path(), &first).expect("a link");
    std::os::unix::fs::symlink("first", &second).expect("a link to a link");
    volfold(["unmount".as_ref(), second.as_os_str()]).code(0);
    assert!(!folder.is_mounted());
    // The link of a dead mount, which answers nobody.
    let folder = Folder::new("through-dead");
    fs::create_dir(folder.path()).expect("a folder");
    let link = scratch.join("dead");
    std::os::unix::fs::symlink(folder.path(), &link).expect("a link");
    let mounted =
        volfold(["mount".as_ref(), fixture("sample").path().as_os_str(), link.as_os_str()]);
    mounted.code(0);
    assert!(folder.is_mounted() && folder.record().is_some(), "known by its own name");
    folder.signal(Signal::KILL);
    eventually("the end", || folder.record().is_none_or(|record| record["state"] == "dead"));
    volfold(["unmount".as_ref(), link.as_os_str()]).code(0);
    assert!(!folder.is_mounted());
}

/// Runs `script` with mounts of its own, and with `/run` of its own, as `options` of tmpfs say; `$V` is
/// the program, `$IMAGE` the sample, `$1` a folder.
pub(crate) fn apart(name: &str, options: &str, script: &str) -> crate::common::program::Output {
    needs_mount();
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["unshare", "bash"]);
    let scratch = Scratch::new(name);
    let script = format!("mount -t tmpfs -o {options} none /run && {script}");
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "bash", "-c", &script, "bash"]);
    command.arg(scratch.path()).env("V", VOLFOLD).env("IMAGE", fixture("sample").path());
    command.env("TMPDIR", scratch.path()).env_remove("XDG_RUNTIME_DIR");
    run(&mut command)
}

#[apply(test)]
fn without_a_place_in_run_a_mount_works_and_is_found() {
    let script = r#""$V" mount "$IMAGE" "$1/m" && ls "$1/m/Windows" >/dev/null && "$V" mounts && "$V" unmount "$1/m""#;
    let output = apart("read-only-run", "ro", script).code(0);
    assert!(output.text().contains("/m  mounted  pid "), "{output:?}");
}

#[apply(test)]
fn without_any_place_the_message_says_which_and_what_to_do() {
    let script = r#"mkdir "$1/t" && mount -t tmpfs -o ro none "$1/t" && TMPDIR="$1/t" "$V" mount "$IMAGE" "$1/m""#;
    let output = apart("no-place", "ro", script).code(1);
    for word in ["/run/volfold: ", "/t/volfold-0: ", "XDG_RUNTIME_DIR", "--foreground"] {
        assert!(output.stderr.contains(word), "no {word} in {output:?}");
    }
}

#[apply(test)]
fn all_folders_are_freed_at_once() {
    let script = r#""$V" mount "$IMAGE" "$1/a" && "$V" mount "$IMAGE" "$1/b" && "$V" unmount --all
        rc=$?; ls "$1"; "$V" mounts; "$V" unmount --all; echo "then $?"; exit $rc"#;
    let output = apart("all", "size=8M", script).code(0).says("nothing is mounted");
    assert_eq!(output.text(), "then 1\n", "folders and records are gone");
}

#[apply(test)]
fn a_mount_of_another_namespace_is_shown_and_ended() {
    // Made where others do not see it, and freed from outside.
    let script = r#"unshare -m --propagation private "$V" mount "$IMAGE" "$1/a" || exit 9
        "$V" mounts; "$V" unmount "$1/a"; rc=$?; "$V" mounts; exit $rc"#;
    let output = apart("elsewhere", "size=8M", script).code(0);
    assert!(output.text().contains("/a  elsewhere  pid "), "{output:?}");
    assert_eq!(output.text().matches("  elsewhere  ").count(), 1, "then it is gone");
    // Made before others got mounts of their own, which have it too.
    let script = r#""$V" mount "$IMAGE" "$1/b" || exit 9
        unshare -m --propagation private sleep 60 >/dev/null 2>&1 & sleep 0.5
        "$V" unmount "$1/b"; rc=$?; "$V" mounts; kill $!; exit $rc"#;
    let output = apart("holders", "size=8M", script).code(0).says("ends there too");
    assert!(!output.text().contains("pid"), "{output:?}");
}

#[apply(test)]
fn the_table_of_mounts_can_have_volfold() {
    let script = r#"ln -s "$V" "$1/mount.volfold"; mkdir "$1/m"; M="$1/mount.volfold"
        "$M" "$IMAGE" "$1/m" -n -o ro,nofail,volume=Windows,x-a=b || exit 9
        ls "$1/m"; "$M" "$IMAGE" "$1/m" -o rw; echo "again $?"; umount "$1/m"
        "$M" "$IMAGE" "$1/m" -o uid=5; echo "wrong $?"; "$M" "$1/none" "$1/m"; echo "failed $?"
        ls "$1/m"; exit 0"#;
    let output = apart("helper", "size=8M", script).code(0).says("uid=5: unknown option");
    assert_eq!(output.text(), "Windows\nagain 0\nwrong 1\nfailed 32\n", "{output:?}");
}

#[apply(test)]
fn mount_finds_the_program_by_its_type() {
    needs_programs(&["mount.fuse3"]);
    // The helper looks for programs in the folders of the system only.
    let script = r#"mkdir "$1/m"; mount -t tmpfs none /usr/local/bin; ln -s "$V" /usr/local/bin/volfold
        echo "$IMAGE $1/m fuse.volfold ro,volume=BOOT 0 0" >"$1/fstab"
        mount -T "$1/fstab" "$1/m" || exit 9; ls "$1/m"; umount "$1/m""#;
    let output = apart("by-type", "size=8M", script).code(0);
    assert_eq!(output.text(), "BOOT\n", "{output:?}");
}
