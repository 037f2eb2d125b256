//! What clients wrote beside an image: what was flushed stays, and nothing else is ever written to.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, eventually, program, text, volfold};
use crate::common::sha256;
use crate::conformance::Random;
use crate::export::Exporter;
use crate::harness::{apply, needs, needs_path, needs_programs, note, test};

/// A disk of `mib` mebibytes without a file system.
fn image(scratch: &Scratch, mib: u64) -> PathBuf {
    let path = scratch.join("disk.raw");
    let bytes: Vec<u8> = (0..mib << 20).map(|at| (at / 512 % 251) as u8).collect();
    fs::write(&path, bytes).expect("an image");
    path
}

/// `volfold export IMAGE --overlay OVERLAY ARGUMENTS`, which is expected to end at once.
fn refused(image: &Path, overlay: &Path, arguments: &[&str]) -> Output {
    let words = ["export", text(image), "--nbd", "tcp:127.0.0.1:0", "--volume", "disk0"];
    volfold(words.iter().chain(&["--overlay", text(overlay)]).chain(arguments))
}

fn exporter(name: &str, images: &[PathBuf], overlay: &Path, arguments: &[&str]) -> Exporter {
    let own = ["--volume", "disk0", "--overlay", text(overlay)];
    Exporter::new(name, images, &[&own[..], arguments].concat())
}

/// Runs `commands` of qemu-io on the exported disk; whether all went well.
fn io(exporter: &Exporter, name: &str, commands: &[&str]) -> bool {
    let uri = exporter.uri(name);
    let mut arguments = vec!["-f", "raw"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(&uri);
    let output = program("qemu-io", &arguments);
    output.code == Some(0) && !output.text().contains("failed")
}

#[apply(test)]
fn only_regular_files_that_are_no_image_become_an_overlay() {
    let scratch = Scratch::new("targets");
    let image = image(&scratch, 2);
    let before = sha256(&fs::read(&image).expect("the image"));
    let (link, hard) = (scratch.join("link"), scratch.join("hard"));
    std::os::unix::fs::symlink(&image, &link).expect("a link");
    fs::hard_link(&image, &hard).expect("another name");
    for path in [&image, &link, &hard] {
        refused(&image, path, &[]).code(1).says("images are never written");
        refused(&image, path, &["--overlay-force"]).code(1).says("images are never written");
    }
    assert_eq!(sha256(&fs::read(&image).expect("the image")), before);
    let pipe = scratch.join("pipe");
    program("mkfifo", &[text(&pipe)]).code(0);
    for path in [&pipe, Path::new("/dev/null")] {
        refused(&image, path, &[]).code(1).says("take a regular file");
    }
    refused(&image, scratch.path(), &[]).code(1).says("is a folder");
    let other = scratch.join("letter");
    fs::write(&other, b"dear reader").expect("a file");
    refused(&image, &other, &["--overlay-force"]).code(1).says("not a volfold overlay");
    assert_eq!(fs::read(&other).expect("the file"), b"dear reader");

    // An extent that is empty, and would be taken for a new file.
    let (extent, descriptor) = (scratch.join("e.raw"), scratch.join("d.vmdk"));
    fs::write(&extent, b"").expect("an extent");
    let lines = "# Disk DescriptorFile\nversion=1\nCID=5181a839\nparentCID=ffffffff\n\
        createType=\"twoGbMaxExtentFlat\"\n\nRW 2048 FLAT \"disk.raw\" 0\nRW 2048 FLAT \"e.raw\" 0\n";
    fs::write(&descriptor, lines).expect("a descriptor");
    let output = refused(&descriptor, &extent, &[]);
    assert_ne!(output.code, Some(0), "{output:?}");
    assert_eq!(fs::read(&extent).expect("the extent"), b"");
}

#[apply(test)]
fn a_block_device_never_becomes_an_overlay() {
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["losetup"]);
    needs_path("/dev/loop-control");
    let scratch = Scratch::new("device");
    let image = image(&scratch, 2);
    for first in [b"VOLFOVL2".as_slice(), &[0; 8]] {
        File::options()
            .write(true)
            .open(&image)
            .and_then(|file| file.write_all_at(first, 0))
            .expect("write");
        let before = sha256(&fs::read(&image).expect("the image"));
        let device = program("losetup", &["-f", "--show", text(&image)]).code(0).text();
        let device = PathBuf::from(device.trim());
        let output = refused(&device, &device, &[]);
        program("losetup", &["-d", text(&device)]).code(0);
        output.code(1).says("never written");
        assert_eq!(sha256(&fs::read(&image).expect("the image")), before);
    }
}

/// The bytes of one write of the test with kills.
const PIECE: u64 = 16 << 10;

#[apply(test)]
fn what_was_flushed_is_there_after_any_kill() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("kills");
    let image = image(&scratch, 4);
    let overlay = scratch.join("changes");
    let mut random = Random(11);
    // What was flushed to each place, and what was written there after it.
    let mut flushed: BTreeMap<u64, u8> = BTreeMap::new();
    let mut later: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let (mut written, mut seen) = (0, 0);
    for round in 0..60_u32 {
        let exporter = exporter("kill", std::slice::from_ref(&image), &overlay, &[]);
        let device = exporter.uri("disk0");
        if round % 10 == 9 {
            seen += check(&exporter, &flushed, &later);
        }
        let mut client = Command::new("qemu-io")
            .args(["-f", "raw", &device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("qemu-io");
        let mut input = client.stdin.take().expect("its input");
        let mut places = Vec::new();
        let mut script = String::new();
        for number in 0..20_u32 {
            let place = random.below(64) * PIECE;
            let value = u8::try_from((round * 20 + number) % 251 + 1).expect("a byte");
            script.push_str(&format!("write -P {value} {place} {PIECE}\nflush\nread 0 512\n"));
            places.push((place, value));
        }
        let pause = Duration::from_micros(random.below(30_000));
        let writer = thread::spawn(move || drop(input.write_all(script.as_bytes())));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            exporter.kill();
        });
        let output = BufReader::new(client.stdout.take().expect("its output"));
        // A read that was answered says that the flush before it was.
        let answered = output.lines().map_while(Result::ok);
        let answered = answered.filter(|line| line.contains("read 512/512")).count();
        killer.join().expect("the killer");
        writer.join().expect("the writer");
        let _ = client.kill();
        let _ = client.wait();
        written += answered;
        for (number, (place, value)) in places.into_iter().enumerate() {
            if number < answered {
                flushed.insert(place, value);
                later.remove(&place);
            } else {
                later.entry(place).or_default().push(value);
            }
        }
    }
    let exporter = exporter("kill", std::slice::from_ref(&image), &overlay, &[]);
    seen += check(&exporter, &flushed, &later);
    // How many depends on how busy the machine is.
    assert!(written > 10, "{written} flushed writes in 60 rounds");
    note!("{written} writes were flushed, {seen} places looked at");
    exporter.end();
}

/// Reads every place; each holds what was flushed last, or what was written after it. How many.
fn check(
    exporter: &Exporter,
    flushed: &BTreeMap<u64, u8>,
    later: &BTreeMap<u64, Vec<u8>>,
) -> usize {
    let mut commands = Vec::new();
    for (place, value) in flushed {
        if !later.contains_key(place) {
            commands.push(format!("read -P {value} {place} {PIECE}"));
        }
    }
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    assert!(io(exporter, "disk0", &commands), "a flushed write is lost");
    for (place, values) in later {
        let known = values.iter().chain(flushed.get(place));
        let one = known.map(|value| format!("read -P {value} {place} {PIECE}"));
        let one = one.filter(|command| io(exporter, "disk0", &[command.as_str()])).count();
        assert!(one > 0 || !flushed.contains_key(place), "{place} is none of what was written");
    }
    commands.len()
}

#[apply(test)]
fn a_damaged_record_is_refused_and_nothing_is_cut() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("damaged");
    let image = image(&scratch, 8);
    let overlay = scratch.join("changes");
    let server = exporter("damaged", std::slice::from_ref(&image), &overlay, &[]);
    let writes = ["write -P 65 1M 64k", "flush", "write -P 66 2M 64k", "write -P 67 3M 64k"];
    assert!(io(&server, "disk0", &writes));
    server.end();
    let good = fs::read(&overlay).expect("the overlay");
    let mut bad = good.clone();
    bad[3000] ^= 0x40;
    fs::write(&overlay, &bad).expect("write");
    let refused = refused(&image, &overlay, &[]).code(1).says("whole records follow");
    assert!(refused.stderr.contains("--overlay-force"), "{refused:?}");
    assert_eq!(fs::read(&overlay).expect("the overlay"), bad, "it is as it was");

    let forced = exporter("forced", std::slice::from_ref(&image), &overlay, &["--overlay-force"]);
    assert!(io(&forced, "disk0", &["read -P 66 2M 64k", "read -P 67 3M 64k"]));
    assert!(!io(&forced, "disk0", &["read 1M 64k"]), "what is damaged is an error");
    assert!(forced.log().contains("what is whole is read"), "{}", forced.log());
    forced.end();

    // A crash in the middle of the last record.
    fs::write(&overlay, &good[..good.len() - 1000]).expect("write");
    let torn = exporter("torn", std::slice::from_ref(&image), &overlay, &[]);
    assert!(io(&torn, "disk0", &["read -P 65 1M 64k", "read -P 66 2M 64k"]));
    let log = torn.log();
    assert!(log.contains("were not written whole") && log.contains("changes.torn-1"), "{log}");
    torn.end();
    let kept = fs::read(scratch.join("changes.torn-1")).expect("what was cut");
    assert!(kept.len() > 60_000 && good.windows(kept.len()).any(|part| part == kept));
}

#[apply(test)]
fn an_overlay_is_not_laid_over_an_image_that_was_changed() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("changed");
    let image = image(&scratch, 16);
    let overlay = scratch.join("changes");
    let server = exporter("changed", std::slice::from_ref(&image), &overlay, &[]);
    assert!(io(&server, "disk0", &["write -P 65 9M 64k", "write -z 12M 1M", "flush"]));
    server.end();
    let kept = fs::read(&overlay).expect("the overlay");
    let file = OpenOptions::new().write(true).open(&image).expect("the image");
    let modified = file.metadata().and_then(|facts| facts.modified()).expect("a time");
    let original = fs::read(&image).expect("the image");
    for (place, keeps_time) in
        [(9_450_000, false), (14 << 20, false), (9_450_000, true), ((12 << 20) + 5, true)]
    {
        file.write_all_at(b"changed", place).expect("write");
        if keeps_time {
            file.set_modified(modified).expect("a time");
        }
        refused(&image, &overlay, &[]).code(1).says("image that was changed since");
        assert_eq!(fs::read(&overlay).expect("the overlay"), kept);
        let forced =
            exporter("forced", std::slice::from_ref(&image), &overlay, &["--overlay-force"]);
        assert!(forced.log().contains("laid over an image that was changed"), "{}", forced.log());
        assert!(io(&forced, "disk0", &["read -P 65 9M 64k"]));
        forced.end();
        file.write_all_at(&original[place as usize..][..7], place).expect("write");
        file.set_modified(modified).expect("a time");
    }
    exporter("whole", std::slice::from_ref(&image), &overlay, &[]).end();
}

#[apply(test)]
fn a_set_in_another_order_or_with_a_disk_more_is_the_same() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("order");
    let image = scratch.copy(&fixture("sample").path());
    let boot = "mbr:5eed0099-18432";
    let overlay = scratch.join("changes");
    let arguments = ["--volume", boot, "--overlay", text(&overlay)];
    let server = Exporter::new("order", std::slice::from_ref(&image), &arguments);
    assert!(io(&server, boot, &["write -P 7 65536 4096", "flush"]));
    server.end();
    // Its path comes first, so that all disks get other numbers.
    let more = scratch.join("a.raw");
    fs::write(&more, vec![3; 1 << 20]).expect("a disk");
    for disks in [[more.clone(), image.clone()], [image.clone(), more]] {
        let server = Exporter::new("order", &disks, &arguments);
        assert!(io(&server, boot, &["read -P 7 65536 4096"]), "{}", server.log());
        server.end();
    }
    let disk = refused(&image, &overlay, &[]);
    disk.code(1).says("belongs to another volume");
}

#[apply(test)]
fn what_is_overwritten_goes_and_the_same_limit_does_again() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("limit");
    let image = image(&scratch, 4);
    let overlay = scratch.join("changes");
    let limit = ["--overlay-limit", "1200K"];
    for round in 1..4_u8 {
        let server = exporter("limit", std::slice::from_ref(&image), &overlay, &limit);
        assert!(overlay.metadata().expect("the overlay").len() < 1_200 << 10);
        let writes = vec![format!("write -P {round} 0 1M"); 8];
        let writes: Vec<&str> = writes.iter().map(String::as_str).chain(["flush"]).collect();
        assert!(io(&server, "disk0", &writes), "{}", server.log());
        assert!(!io(&server, "disk0", &["write -P 9 2M 1M"]), "the limit holds");
        assert!(io(&server, "disk0", &[&format!("read -P {round} 0 1M"), "flush"]));
        server.end();
    }
}

#[apply(test)]
fn a_server_ends_without_its_socket_file_and_leaves_what_took_its_place() {
    let scratch = Scratch::new("gone");
    let image = image(&scratch, 2);
    for signal in [Signal::TERM, Signal::INT] {
        let server = exporter("gone", std::slice::from_ref(&image), Path::new("memory"), &[]);
        let socket = server.socket();
        fs::remove_file(&socket).expect("the socket");
        fs::write(&socket, b"another's").expect("a file in its place");
        let pid = server.pid();
        kill_process(pid, signal).expect("a signal");
        eventually("the end", || {
            let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            status.map_or(true, |status| status.contains(") Z "))
        });
        assert_eq!(fs::read(&socket).expect("the file"), b"another's");
    }
}

/// A mounted file system that goes with this value.
struct Mounted(PathBuf);

impl Mounted {
    fn new(arguments: &[&str], folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("a folder");
        program("mount", &[arguments, &[text(&folder)]].concat()).code(0);
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[apply(test)]
fn a_full_disk_refuses_and_what_was_refused_does_not_come_back() {
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["qemu-io", "mount"]);
    let scratch = Scratch::new("full");
    let image = image(&scratch, 8);
    let small = Mounted::new(&["-t", "tmpfs", "-o", "size=2M", "none"], scratch.join("small"));
    let overlay = small.0.join("changes");
    let server = exporter("full", std::slice::from_ref(&image), &overlay, &[]);
    assert!(io(&server, "disk0", &["write -P 65 1M 1M", "flush"]));
    assert!(!io(&server, "disk0", &["write -P 66 3M 2M"]), "there is no room for it");
    // What is smaller still fits.
    assert!(io(&server, "disk0", &["write -P 67 6M 256k", "flush", "read -P 65 1M 1M"]));
    server.kill();
    program("mount", &["-o", "remount,size=16M", text(&small.0)]).code(0);
    let server = exporter("full", std::slice::from_ref(&image), &overlay, &[]);
    assert!(io(&server, "disk0", &["read -P 65 1M 1M", "read -P 67 6M 256k"]));
    assert!(!io(&server, "disk0", &["read -P 66 3M 4k"]), "it was refused");
    assert!(!server.log().contains("not written whole"), "{}", server.log());
    server.end();
}

#[apply(test)]
fn once_writing_back_failed_no_flush_says_that_all_is_well() {
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["qemu-io", "mount", "losetup", "mke2fs"]);
    needs_path("/dev/loop-control");
    let scratch = Scratch::new("lost");
    let image = image(&scratch, 16);
    let small = Mounted::new(&["-t", "tmpfs", "-o", "size=4M", "none"], scratch.join("small"));
    // More than there is room for: the host takes what is written, and fails to write it back.
    let disk = small.0.join("disk");
    File::create(&disk).and_then(|file| file.set_len(32 << 20)).expect("a disk");
    program("mke2fs", &["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", text(&disk)])
        .code(0);
    let device = program("losetup", &["-f", "--show", text(&disk)]).code(0).text();
    let device = device.trim();
    let mounted = Mounted::new(&["-t", "ext4", device], scratch.join("mounted"));
    let overlay = mounted.0.join("changes");
    let server = exporter("lost", std::slice::from_ref(&image), &overlay, &[]);
    assert!(io(&server, "disk0", &["write -P 65 0 64k", "flush"]), "{}", server.log());
    // The host may notice at once, or only when it writes back.
    let _ = io(&server, "disk0", &["write -P 66 1M 12M"]);
    for _ in 0..3 {
        assert!(!io(&server, "disk0", &["flush"]), "a flush after one that failed");
    }
    assert!(!io(&server, "disk0", &["write -f -P 67 0 4k"]), "nor a write that is flushed");
    assert!(io(&server, "disk0", &["read -P 65 0 64k"]), "what is there is read");
    server.kill();
    drop(mounted);
    program("losetup", &["-d", device]).code(0);
}
