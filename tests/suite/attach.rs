//! Loop devices by `volfold attach`: the kernel's own file systems over them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::fixtures::fixture;
use crate::common::mounted::{Mounted, kernel_has};
use crate::common::program::{
    Output, Scratch, VOLFOLD, eventually, program, run, text, volfold, within,
};
use crate::common::sha256;
use crate::harness::{
    apply, is_program, needs, needs_path, needs_programs, note, part_needs, test,
};

/// Every `attach` clears what dead processes left, so only one test may have some.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to attach; without, the test is ignored.
fn needs_attach() -> MutexGuard<'static, ()> {
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["losetup", "mount"]);
    needs_path("/dev/fuse");
    needs_path("/dev/loop-control");
    ONE_AT_A_TIME.lock()
}

fn hash_of(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    sha256(&bytes)
}

/// What is attached; let go when dropped.
struct Attached {
    devices: Vec<PathBuf>,
}

impl Attached {
    fn new(disks: &[PathBuf], arguments: &[&str]) -> Self {
        let output = attach(disks, arguments).code(0);
        let first = |line: &str| PathBuf::from(line.split_whitespace().next().expect("a device"));
        Self { devices: output.text().lines().map(first).collect() }
    }

    fn device(&self) -> &Path {
        &self.devices[0]
    }

    /// The record that `volfold mounts` has of it.
    fn record(&self) -> Option<serde_json::Value> {
        let mounts = volfold(["mounts", "--json"]).code(0).json();
        let mounts = mounts["mounts"].as_array().expect("mounts").clone();
        let mut records = mounts.into_iter();
        records.find(|mount| {
            let mut devices = mount["devices"].as_array().expect("devices").iter();
            devices.any(|device| device.as_str() == Some(text(self.device())))
        })
    }

    fn pid(&self) -> Pid {
        let record = self.record().expect("a record");
        let pid = i32::try_from(record["pid"].as_i64().expect("a number")).expect("a number");
        Pid::from_raw(pid).expect("a process number")
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(self.record().expect("a record")["folder"].as_str().expect("a folder"))
    }

    fn detach(&self, arguments: &[&str]) -> Output {
        volfold([&["detach", text(self.device())][..], arguments].concat())
    }

    /// Whether the kernel still has the device.
    fn is_there(&self) -> bool {
        backing(self.device()).is_some()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = volfold(["detach", "--force", text(self.device())]);
        }
    }
}

fn attach(disks: &[PathBuf], arguments: &[&str]) -> Output {
    let disks = disks.iter().map(|disk| text(disk));
    volfold(["attach"].into_iter().chain(disks).chain(arguments.iter().copied()))
}

/// The file of a loop device, as the kernel tells.
fn backing(device: &Path) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()
}

/// Writes files of many sizes below `folder`, about 12 MiB.
fn write_tree(folder: &Path) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    };
    for number in 0..120_usize {
        let place = folder.join(format!("d{}/e{}", number % 7, number % 3));
        fs::create_dir_all(&place).expect("a folder");
        let length = [0, 1, 511, 4096, 70_001, 300_007][number % 6];
        fs::write(place.join(format!("file {number}")), noise(length)).expect("a file");
    }
    fs::write(folder.join("large"), noise(5 << 20)).expect("a file");
    let sparse = File::create(folder.join("sparse")).expect("a file");
    sparse.write_all_at(&noise(5000), 3 << 20).expect("a write");
}

/// The hash of every file below `folder`.
fn hashes(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(&place).expect("a listing").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
            if kind.is_dir() {
                open.push(path);
            } else {
                let inside = path.strip_prefix(folder).expect("below").to_path_buf();
                found.insert(inside, hash_of(&path));
            }
        }
    }
    found
}

/// An image of the file system `kind`, of `mib` MiB, with the tree of `source` in it.
fn make_volume(kind: &str, mib: u64, source: &Path, scratch: &Scratch) -> PathBuf {
    let image = scratch.join(format!("{kind}.img"));
    if kind == "squashfs" {
        program("mksquashfs", &[text(source), text(&image), "-quiet", "-no-progress"]).code(0);
        let file = File::options().write(true).open(&image).expect("the image");
        let size = file.metadata().expect("metadata").len();
        file.set_len(size.next_multiple_of(1 << 20)).expect("whole mebibytes");
        return image;
    }
    File::create(&image).expect("a file").set_len(mib << 20).expect("a length");
    program(&format!("mkfs.{kind}"), &["-q", text(&image)]).code(0);
    let mounted = Mounted::new(kind, "loop", &image);
    let copied = format!("cp -a '{}/.' '{}'", source.display(), mounted.path().display());
    program("sh", &["-c", &copied]).code(0);
    mounted.end();
    image
}

/// `content` as a spanned volume on two VMDK files, and its id.
fn spanned(content: &Path, scratch: &Scratch) -> (Vec<PathBuf>, String) {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/recipes/span.py");
    let made = program("python3", &["-B", text(&recipe), text(content), text(scratch.path())]);
    let id = made.code(0).text().trim().to_owned();
    let disks = ["disk1", "disk2"].map(|name| {
        let raw = scratch.join(format!("{name}.img"));
        let disk = scratch.join(format!("{name}.vmdk"));
        let converted = ["convert", "-f", "raw", "-O", "vmdk", text(&raw), text(&disk)];
        program("qemu-img", &converted).code(0);
        fs::remove_file(raw).expect("the raw disk");
        disk
    });
    (disks.to_vec(), id)
}

#[apply(test)]
fn file_systems_of_the_kernel_over_a_spanned_volume_give_every_file() {
    let _alone = needs_attach();
    needs_programs(&["python3", "qemu-img"]);
    let source = Scratch::new("source");
    write_tree(source.path());
    let wanted = hashes(source.path());
    for (kind, tool, mib, options) in [
        ("ext4", "mkfs.ext4", 64, "ro"),
        ("xfs", "mkfs.xfs", 320, "ro"),
        ("btrfs", "mkfs.btrfs", 128, "ro"),
        ("squashfs", "mksquashfs", 0, "ro"),
    ] {
        let can_mount = part_needs(&format!("{kind} of the kernel"), kernel_has(kind));
        if !part_needs(tool, is_program(tool)) || !can_mount {
            continue;
        }
        let scratch = Scratch::new(kind);
        let volume = make_volume(kind, mib, source.path(), &scratch);
        let (disks, id) = spanned(&volume, &scratch);
        let before: Vec<String> = disks.iter().map(|disk| hash_of(disk)).collect();
        let attached = Attached::new(&disks, &["--volume", &id]);
        assert_eq!(program("blockdev", &["--getro", text(attached.device())]).text(), "1\n");
        assert_eq!(hash_of(attached.device()), hash_of(&volume), "{kind}: the device");
        let mounted = Mounted::new(kind, options, attached.device());
        let folder = mounted.path().to_path_buf();
        let mut found = within("reads of the kernel", move || hashes(&folder));
        found.retain(|path, _| !path.starts_with("lost+found"));
        assert!(found == wanted, "{kind}: {} files, not {}", found.len(), wanted.len());
        mounted.end();
        attached.detach(&[]).code(0);
        assert!(!attached.is_there(), "{kind}");
        let after: Vec<String> = disks.iter().map(|disk| hash_of(disk)).collect();
        assert_eq!(before, after, "{kind}: the images are untouched");
    }
}

#[apply(test)]
fn a_dirty_log_is_replayed_into_the_overlay_and_the_image_stays() {
    let _alone = needs_attach();
    needs_programs(&["python3", "qemu-img", "xfs_io"]);
    let source = Scratch::new("source");
    fs::write(source.join("old"), "there from the beginning").expect("a file");
    for (kind, mib, unreplayed) in [("ext4", 64, "ro,noload"), ("xfs", 320, "ro,norecovery")] {
        let tool = format!("mkfs.{kind}");
        let can_mount = part_needs(&format!("{kind} of the kernel"), kernel_has(kind));
        if !part_needs(&tool, is_program(&tool)) || !can_mount {
            continue;
        }
        let scratch = Scratch::new(kind);
        let volume = make_volume(kind, mib, source.path(), &scratch);
        let mounted = Mounted::new(kind, "loop", &volume);
        fs::create_dir(mounted.path().join("new")).expect("a folder");
        write_tree(&mounted.path().join("new"));
        program("sync", &["-f", text(mounted.path())]).code(0);
        fs::rename(mounted.path().join("new"), mounted.path().join("replayed")).expect("a rename");
        let mut wanted = hashes(mounted.path());
        wanted.retain(|path, _| !path.starts_with("lost+found"));
        program("xfs_io", &["-x", "-c", "shutdown -f", text(mounted.path())]).code(0);
        // The rename is in the log alone now; to unmount would write it to its place.
        let dirty = scratch.join("dirty.img");
        fs::copy(&volume, &dirty).expect("a copy");
        mounted.end();

        let (disks, id) = spanned(&dirty, &scratch);
        let before: Vec<String> = disks.iter().map(|disk| hash_of(disk)).collect();
        let plain = Attached::new(&disks, &["--volume", &id]);
        let mounted = Mounted::new(kind, unreplayed, plain.device());
        let is_dirty = !mounted.path().join("replayed").exists();
        assert!(is_dirty, "{kind}: the log was written back already");
        mounted.end();
        plain.detach(&[]).code(0);

        let sidecar = scratch.join("changes");
        let overlay = ["--volume", &id, "--overlay", text(&sidecar)];
        let attached = Attached::new(&disks, &overlay);
        assert_eq!(program("blockdev", &["--getro", text(attached.device())]).text(), "0\n");
        let mounted = Mounted::new(kind, "rw", attached.device());
        let mut found = hashes(mounted.path());
        found.retain(|path, _| !path.starts_with("lost+found"));
        assert!(found == wanted, "{kind}: {} files, not {}", found.len(), wanted.len());
        fs::write(mounted.path().join("later"), vec![7; 100_000]).expect("a write");
        fs::remove_dir_all(mounted.path().join("replayed/d1")).expect("a removal");
        let changed = hashes(mounted.path());
        let _ = program("fstrim", &[text(mounted.path())]);
        mounted.end();
        attached.detach(&[]).code(0);

        let again = Attached::new(&disks, &overlay);
        let mounted = Mounted::new(kind, "ro", again.device());
        assert!(hashes(mounted.path()) == changed, "{kind}: what was written stays");
        mounted.end();
        if kind == "ext4" {
            program("e2fsck", &["-fn", text(again.device())]).code(0);
        } else {
            program("xfs_repair", &["-n", text(again.device())]).code(0);
        }
        again.detach(&[]).code(0);
        let after: Vec<String> = disks.iter().map(|disk| hash_of(disk)).collect();
        assert_eq!(before, after, "{kind}: the images are untouched");
    }
}

#[apply(test)]
fn disks_have_their_sectors_and_their_partitions() {
    let _alone = needs_attach();
    needs_programs(&["blockdev", "partx"]);
    for name in ["gpt-4kn", "gpt-512", "sample"] {
        let fixture = fixture(name);
        let table = fixture.table.as_ref().expect("a table");
        let attached = Attached::new(&fixture.paths(), &[]);
        let [device, partitions @ ..] = &attached.devices[..] else { panic!("no device") };
        let figure = |option: &str, device: &Path| -> u64 {
            program("blockdev", &[option, text(device)]).text().trim().parse().expect("a number")
        };
        assert_eq!(figure("--getss", device), u64::from(table.sector_size), "{name}");
        assert_eq!(figure("--getsize64", device), fixture.disk.as_ref().expect("a disk").size);
        assert_eq!(partitions.len(), table.partitions.len(), "{name}: {partitions:?}");
        let mut whole = File::open(device).expect("the device");
        for (partition, facts) in partitions.iter().zip(&table.partitions) {
            assert!(text(partition).ends_with(&format!("p{}", facts.index)), "{partition:?}");
            let unit = u64::from(table.sector_size);
            let size = facts.sectors * unit;
            assert_eq!(figure("--getsize64", partition), size, "{name}: {partition:?}");
            assert_eq!(figure("--getro", partition), 1);
            let mut bytes = vec![0; size as usize];
            whole.seek(SeekFrom::Start(facts.start_lba * unit)).expect("a place");
            whole.read_exact(&mut bytes).expect("the bytes");
            assert_eq!(hash_of(partition), sha256(&bytes), "{name}: {partition:?}");
        }
        drop(whole);
        attached.detach(&[]).code(0);
        assert!(!partitions.iter().any(|partition| partition.exists()), "{name}");
    }
}

#[apply(test)]
fn a_killed_process_leaves_nothing_after_a_second_try() {
    let _alone = needs_attach();
    let sample = [fixture("sample").path()];

    let killed = Attached::new(&sample, &["--volume", "linux"]);
    let folder = killed.folder();
    kill_process(killed.pid(), Signal::KILL).expect("a signal");
    eventually("a dead record", || killed.record().is_some_and(|record| record["state"] == "dead"));
    let shown = volfold(["mounts"]).code(0).text();
    let way =
        format!("its process has died; free it: volfold detach {}", killed.device().display());
    assert!(shown.contains(&way), "{shown}");
    let mut device = File::open(killed.device()).expect("the device");
    device.seek(SeekFrom::Start(4 << 20)).expect("a place");
    assert!(device.read_exact(&mut [0; 4096]).is_err(), "nobody answers");
    drop(device);
    killed.detach(&[]).code(0);
    assert!(!killed.is_there() && !folder.exists() && killed.record().is_none());

    let killed = Attached::new(&sample, &["--volume", "linux"]);
    let folder = killed.folder();
    kill_process(killed.pid(), Signal::KILL).expect("a signal");
    eventually("a dead record", || killed.record().is_some_and(|record| record["state"] == "dead"));
    // The next one clears, and may get the same device and folder.
    let next = Attached::new(&sample, &["--volume", "linux"]);
    assert_eq!(next.folder(), folder);
    let of_folder = |device: &PathBuf| backing(device).is_some_and(|file| file.contains("attach-"));
    let devices = fs::read_dir("/sys/block").expect("devices").flatten();
    let devices = devices.map(|entry| Path::new("/dev").join(entry.file_name()));
    assert_eq!(devices.filter(of_folder).collect::<Vec<_>>(), [next.device()]);
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the table of mounts");
    assert_eq!(table.matches(text(&folder)).count(), 1, "{table}");
    next.detach(&[]).code(0);
    assert!(!folder.exists());
}

#[apply(test)]
fn a_killed_process_under_a_mounted_file_system_is_named_and_cleared() {
    let _alone = needs_attach();
    needs("ext4 of the kernel", kernel_has("ext4"));
    let sample = [fixture("sample").path()];
    let killed = Attached::new(&sample, &["--volume", "linux"]);
    let folder = killed.folder();
    let mounted = Mounted::new("ext4", "ro", killed.device());
    kill_process(killed.pid(), Signal::KILL).expect("a signal");
    eventually("a dead record", || killed.record().is_some_and(|record| record["state"] == "dead"));
    let place = format!("is mounted at {}", mounted.path().display());
    let output = attach(&sample, &["--volume", "BOOT"]).code(0).says(&place).says("volfold detach");
    let other = output.text();
    let other = other.split_whitespace().next().expect("a device");
    volfold(["detach", other]).code(0);
    killed.detach(&[]).code(1).says(&place);
    mounted.end();
    killed.detach(&[]).code(0);
    assert!(!killed.is_there() && !folder.exists());
}

#[apply(test)]
fn a_device_that_is_in_use_stays_until_it_is_free() {
    let _alone = needs_attach();
    needs("ext4 of the kernel", kernel_has("ext4"));
    let sample = [fixture("sample").path()];
    let attached = Attached::new(&sample, &["--volume", "linux"]);
    let (folder, pid) = (attached.folder(), attached.pid());
    let mounted = Mounted::new("ext4", "ro", attached.device());
    attached.detach(&[]).code(1).says("free it with `umount");
    assert!(mounted.path().join("README.txt").exists());
    attached.detach(&["--force"]).code(0);
    let read = fs::read(mounted.path().join("README.txt")).expect("it is still there");
    assert!(!read.is_empty());
    mounted.end();
    eventually("the end", || !attached.is_there() && !folder.exists());
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    eventually("the end of the process", || !Path::new(&process).exists());
}

#[apply(test)]
fn a_device_that_others_let_go_ends_its_process_and_so_does_a_signal() {
    let _alone = needs_attach();
    let sample = [fixture("sample").path()];
    for by_signal in [false, true] {
        let attached = Attached::new(&sample, &["--volume", "linux", "--volume", "BOOT"]);
        let [one, two] = &attached.devices[..] else { panic!("{:?}", attached.devices) };
        let (folder, pid) = (attached.folder(), attached.pid());
        if by_signal {
            kill_process(pid, Signal::TERM).expect("a signal");
        } else {
            program("losetup", &["-d", text(one)]).code(0);
            assert!(folder.exists() && backing(two).is_some(), "one is left");
            program("losetup", &["-d", text(two)]).code(0);
        }
        eventually("the end", || !folder.exists());
        assert!(backing(one).is_none() && backing(two).is_none());
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        eventually("the end of the process", || !Path::new(&process).exists());
    }
}

#[apply(test)]
fn all_that_is_attached_is_freed_at_once() {
    let _alone = needs_attach();
    needs_programs(&["unshare"]);
    // Apart from what this user has attached.
    let script = "set -e; mount -t tmpfs tmpfs /run; \
        \"$0\" detach all && exit 9; \
        \"$0\" attach \"$1\" >/dev/null; \"$0\" attach \"$1\" --volume BOOT >/dev/null; \
        \"$0\" mounts; \"$0\" detach all; \"$0\" mounts; ls -d /run/volfold/attach-* && exit 8; exit 0";
    let sample = fixture("sample").path();
    let output = program("unshare", &["-m", "sh", "-c", script, VOLFOLD, text(&sample)]);
    let output = output.code(0).says("nothing is attached");
    let shown = output.text();
    assert_eq!(shown.matches("devices: /dev/loop").count(), 2, "{shown}");
}

#[apply(test)]
fn bytes_that_cannot_be_had_are_errors_of_the_device() {
    let _alone = needs_attach();
    let attached = Attached::new(&[fixture("vmdk-truncated").path()], &[]);
    let device = attached.device().to_path_buf();
    let (good, bad) = within("reads", move || {
        let device = File::open(device).expect("the device");
        let places = (0..4 << 20).step_by(4096);
        let read = |place: u64| device.read_exact_at(&mut [0; 4096], place);
        let failed = places.filter_map(|place| read(place).err()).collect::<Vec<_>>();
        (1024 - failed.len(), failed)
    });
    assert!(good > 0 && !bad.is_empty(), "{good} good, {} bad", bad.len());
    let io = |error: &std::io::Error| Errno::from_io_error(error) == Some(Errno::IO);
    assert!(bad.iter().all(io), "{bad:?}");
    attached.detach(&[]).code(0);
}

#[apply(test)]
fn bytes_after_the_last_sector_are_named() {
    let _alone = needs_attach();
    let scratch = Scratch::new("odd");
    let image = scratch.join("odd.img");
    fs::write(&image, vec![7; 10_000]).expect("an image");
    let output = attach(&[image], &[]).code(0).says("lacks the last 272 bytes");
    let device = PathBuf::from(output.text().split_whitespace().next().expect("a device"));
    let attached = Attached { devices: vec![device] };
    assert_eq!(fs::read(attached.device()).expect("the device"), [7; 9728]);
    let folder = attached.folder();
    volfold(["unmount", text(&folder)]).code(1).says("`volfold detach` frees it");
    attached.detach(&[]).code(0);
}

#[apply(test)]
fn a_full_overlay_is_an_error_and_harms_nothing_else() {
    let _alone = needs_attach();
    let sample = [fixture("sample").path()];
    let arguments = ["--volume", "linux", "--overlay", "memory", "--overlay-limit", "64K"];
    let attached = Attached::new(&sample, &arguments);
    let before = hash_of(attached.device());
    let mut file = File::options().write(true).open(attached.device()).expect("the device");
    let written = file.write_all(&vec![1; 1 << 20]).and_then(|()| file.sync_all());
    let error = written.expect_err("no space");
    note!("{error}");
    drop(file);
    attached.detach(&[]).code(0);
    let again = Attached::new(&sample, &["--volume", "linux"]);
    assert_eq!(hash_of(again.device()), before);
    again.detach(&[]).code(0);
}

#[apply(test)]
fn what_cannot_be_attached_is_named() {
    let _alone = needs_attach();
    let sample = [fixture("sample").path()];
    attach(&sample, &["--volume", "none"]).code(1).says("none: no such disk or volume");
    attach(&["/nothing/there.vmdk".into()], &[]).code(1).says("/nothing/there.vmdk: ");
    let sidecar = Scratch::new("sidecar");
    let file = sidecar.join("file");
    fs::write(&file, "x").expect("a file");
    let overlay = ["--volume", "linux", "--overlay", text(&file)];
    attach(&sample, &overlay).code(1).says("not a volfold overlay");
    let overlay = ["--volume", "linux", "--volume", "BOOT", "--overlay", text(&file)];
    attach(&sample, &overlay).code(1).says("an overlay file is of one disk or volume");
    volfold(["detach", "/dev/null"]).code(1).says("was not made by `volfold attach`");
    let records = volfold(["mounts", "--json"]).code(0).text();
    assert!(!records.contains("attach-"), "{records}");

    // A loop device of another program stays.
    let image = sidecar.join("image");
    File::create(&image).expect("a file").set_len(1 << 20).expect("a length");
    let device = program("losetup", &["-f", "--show", text(&image)]).code(0).text();
    volfold(["detach", device.trim()]).code(1).says("was not made by `volfold attach`");
    program("losetup", &["-d", device.trim()]).code(0);

    if part_needs("runuser", is_program("runuser")) {
        let program = format!("'{VOLFOLD}' attach '{}'", sample[0].display());
        let output =
            run(Command::new("runuser").args(["-u", "nobody", "--", "sh", "-c", &program]));
        // Where nobody may read the program, this says nothing.
        if output.code != Some(126) {
            output.code(1).says("loop devices need root (sudo) or the group disk");
        }
    }
}

#[apply(test)]
fn the_kernel_mounts_what_was_encrypted() {
    let _one = needs_attach();
    let luks = fixture("luks");
    let facts = &luks.encrypted[0];
    let scratch = Scratch::new("attach-luks");
    fs::write(scratch.join("key"), "a secret of LUKS\n").expect("a key");
    // The process in the background reads a pipe of the foreground by way of its stdin.
    let line = format!(
        "cat {} | (exec 7<&0 </dev/null; {VOLFOLD} attach {} --volume {} --key fd:7)",
        text(&scratch.join("key")),
        text(&luks.folder().join(&facts.file)),
        facts.id
    );
    let output = program("sh", &["-c", &line]).code(0);
    let device = PathBuf::from(output.text().split_whitespace().next().expect("a device"));
    let attached = Attached { devices: vec![device] };
    assert_eq!(hash_of(attached.device()), facts.sha256);
    if kernel_has("ext2") {
        let mounted = Mounted::new("ext2", "ro", attached.device());
        let read = fs::read_to_string(mounted.path().join("README.txt")).expect("a file");
        assert!(read.contains("Every byte"));
        mounted.end();
    }
    attached.detach(&[]).code(0);
}
