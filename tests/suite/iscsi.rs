//! Disks and volumes given out by iSCSI, seen by initiators of others: libiscsi and QEMU.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::fixtures::{fixture, index};
use crate::common::program::{Scratch, VOLFOLD, eventually, program, text, volfold, wait};
use crate::common::sha256;
use crate::harness::{apply, needs_path, needs_programs, test};

/// QEMU's initiator, in a package of its own.
const QEMU_ISCSI: &str = "/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so";

/// A running `volfold export` that listens at a port of its own.
struct Exporter {
    child: Child,
    scratch: Scratch,
    /// The address of every target.
    urls: Vec<String>,
}

impl Exporter {
    fn new(name: &str, disks: &[PathBuf], arguments: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let child = Command::new(VOLFOLD)
            .arg("export")
            .args(disks)
            .args(["--iscsi", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(fs::File::create(scratch.join("out")).expect("a file"))
            .stderr(fs::File::create(scratch.join("log")).expect("a log"))
            .spawn()
            .expect("the program");
        let mut exporter = Self { child, scratch, urls: Vec::new() };
        let printed = |exporter: &Self| {
            let text = fs::read_to_string(exporter.scratch.join("out")).expect("the answer");
            let urls = text.lines().filter_map(|line| line.split_whitespace().next());
            urls.map(str::to_owned).collect::<Vec<_>>()
        };
        // The answer is printed at once, when the server listens.
        eventually("the addresses", || !printed(&exporter).is_empty());
        exporter.urls = printed(&exporter);
        exporter
    }

    fn url(&self) -> &str {
        &self.urls[0]
    }

    /// The addresses without the port, which changes.
    fn names(&self) -> Vec<&str> {
        self.urls.iter().filter_map(|url| url.splitn(4, '/').nth(3)).collect()
    }

    fn portal(&self) -> &str {
        self.url().split('/').nth(2).expect("a portal")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).expect("the log")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as Ctrl-C does.
    fn end(mut self) {
        kill_process(self.pid(), Signal::INT).expect("a signal");
        let code = wait(&mut self.child, "volfold export");
        // What is wrong with the disks was told.
        assert!(matches!(code, Some(0 | 3)), "{code:?}: {}", self.log());
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[apply(test)]
fn every_disk_and_volume_is_a_target_with_its_size() {
    needs_programs(&["iscsi-ls", "iscsi-readcapacity16", "iscsi-inq"]);
    let sample = fixture("sample").path();
    let exporter = Exporter::new("list", std::slice::from_ref(&sample), &[]);
    let set = volfold(["list".as_ref(), "--json".as_ref(), sample.as_os_str()]).code(0).json();
    let mut wanted = vec![("disk0", set["disks"][0]["size"].as_u64().expect("a size"))];
    for volume in set["volumes"].as_array().expect("volumes") {
        let id = volume["id"].as_str().expect("an id");
        wanted.push((id, volume["size"].as_u64().expect("a size")));
    }
    let discovered = format!("iscsi://{}/", exporter.portal());
    let listed = program("iscsi-ls", &["-s", &discovered]).code(0).text();
    assert_eq!(listed.matches("Lun:0").count(), wanted.len(), "{listed}");
    let mut serials = Vec::new();
    for ((id, size), url) in wanted.into_iter().zip(&exporter.urls) {
        assert!(url.ends_with(&format!(":{id}/0")), "{url} is not {id}");
        let name = url.split('/').nth(3).expect("a name");
        assert!(
            listed.contains(&format!("Target:{name} Portal:{}", exporter.portal())),
            "{listed}"
        );
        let capacity = program("iscsi-readcapacity16", &["-s", url]).code(0).text();
        assert_eq!(capacity.trim().parse(), Ok(size), "{url}");
        let arguments = ["-e", "1", "-c", "0x80", url];
        serials.push(program("iscsi-inq", &arguments).code(0).text());
    }
    exporter.end();
}

#[apply(test)]
fn names_are_the_same_in_every_run_and_differ_where_bytes_may() {
    let sample = fixture("sample").path();
    let names = |disk: &PathBuf, arguments: &[&str]| {
        let exporter = Exporter::new("names", std::slice::from_ref(disk), arguments);
        let names: Vec<String> = exporter.names().into_iter().map(str::to_owned).collect();
        exporter.end();
        names
    };
    let first = names(&sample, &[]);
    assert_eq!(names(&sample, &[]), first);
    let scratch = Scratch::new("names");
    let copy = scratch.copy(&sample);
    let others = [names(&copy, &[]), names(&sample, &["--overlay", "memory"])];
    for other in others.iter().flatten() {
        assert!(!first.contains(other), "{other}");
    }
}

#[apply(test)]
fn whole_disks_equal_those_of_qemu() {
    needs_programs(&["qemu-img"]);
    needs_path(QEMU_ISCSI);
    let (mut disks, mut unreadable) = (0, 0);
    for fixture in index().fixtures.values() {
        let [image] = &fixture.paths()[..] else { continue };
        let formats = [("vmdk", "vmdk"), ("img", "raw")];
        let extension = image.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let Some((_, format)) = formats.iter().find(|(end, _)| *end == extension) else { continue };
        let scratch = Scratch::new("qemu");
        let (ours, theirs) = (scratch.join("ours"), scratch.join("theirs"));
        let converted = ["convert", "-f", format, "-O", "raw", text(image), text(&theirs)];
        if program("qemu-img", &converted).code != Some(0) {
            continue;
        }
        let exporter = Exporter::new("whole", std::slice::from_ref(image), &["--volume", "disk0"]);
        let converted = ["convert", "-f", "raw", "-O", "raw", exporter.url(), text(&ours)];
        let copied = program("qemu-img", &converted);
        if copied.code != Some(0) {
            // QEMU takes damaged grains for zeros.
            let log = exporter.log();
            let expected = fixture.expect.as_ref().is_some_and(|expect| expect.reads.is_some());
            assert!(
                expected && log.contains("disk0: request at byte"),
                "{}: {log} {copied:?}",
                fixture.name
            );
            // A medium error: unrecovered read error.
            assert!(copied.stderr.contains("(3) ASCQ"), "{copied:?}");
            assert!(copied.stderr.contains("(0x1100)"), "{copied:?}");
            unreadable += 1;
            continue;
        }
        let (ours, theirs) = (fs::read(&ours).expect("a disk"), fs::read(&theirs).expect("a disk"));
        assert_eq!(sha256(&ours), sha256(&theirs), "{}", fixture.name);
        exporter.end();
        disks += 1;
    }
    assert!(disks > 20 && unreadable > 0, "{disks} disks, {unreadable} with damage");
}

#[apply(test)]
fn holes_are_told_and_read_as_zeros() {
    needs_programs(&["qemu-img"]);
    needs_path(QEMU_ISCSI);
    let sample = fixture("sample").path();
    let exporter = Exporter::new("holes", std::slice::from_ref(&sample), &["--volume", "disk0"]);
    let arguments = ["map", "--output", "json", "-f", "raw", exporter.url()];
    let map = program("qemu-img", &arguments).code(0).json();
    let map = map.as_array().expect("a map");
    for kind in [true, false] {
        assert!(map.iter().any(|one| one["zero"] == kind), "{map:?}");
    }
    let scratch = Scratch::new("holes");
    let raw = scratch.join("raw");
    program("qemu-img", &["convert", "-O", "raw", text(&sample), text(&raw)]).code(0);
    program("qemu-img", &["compare", "-f", "raw", exporter.url(), text(&raw)]).code(0);
    exporter.end();
}

/// Runs suites of libiscsi's conformance test; all must pass, none for want of a command.
fn conforms(exporter: &Exporter, suites: &[&str]) {
    for suite in suites {
        // The destructive ones find out that the unit is write-protected, or has an overlay.
        let arguments = ["-v", "-d", "-t", suite, exporter.url()];
        let output = program("iscsi-test-cu", &arguments);
        let said = output.text();
        assert_eq!(output.code, Some(0), "{suite}: {said}");
        let summary = said.lines().find(|line| line.trim_start().starts_with("tests "));
        let numbers: Vec<u32> = summary
            .expect("a summary")
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        // How many there are, were run, passed, failed.
        assert!(
            matches!(numbers[..4], [all, ran, good, 0] if all > 0 && ran == all && good == all)
        );
        assert_eq!(exporter.log(), "", "{suite}");
    }
}

#[apply(test)]
fn libiscsi_finds_no_fault_with_a_unit_that_is_write_protected() {
    needs_programs(&["iscsi-test-cu"]);
    let exporter = Exporter::new("suites", &[fixture("sample").path()], &["--volume", "disk0"]);
    let suites = [
        "ALL.Inquiry",
        "ALL.Mandatory",
        "ALL.ModeSense6",
        "ALL.NoMedia",
        "ALL.Prefetch10",
        "ALL.Prefetch16",
        "ALL.Read6",
        "ALL.Read10",
        "ALL.Read12",
        "ALL.Read16",
        "ALL.ReadCapacity10",
        "ALL.ReadCapacity16",
        "ALL.ReadOnly",
        "ALL.ReportSupportedOpcodes",
        "ALL.StartStopUnit",
        "ALL.TestUnitReady",
        "ALL.Verify10",
        "ALL.Verify12",
        "ALL.Verify16",
        "ALL.GetLBAStatus.Simple",
        "ALL.GetLBAStatus.BeyondEol",
        "ALL.iSCSIcmdsn",
        "ALL.iSCSIResiduals.Read10Invalid",
        "ALL.iSCSIResiduals.Read10Residuals",
        "ALL.iSCSIResiduals.Read12Residuals",
        "ALL.iSCSIResiduals.Read16Residuals",
    ];
    conforms(&exporter, &suites);
    exporter.end();
}

#[apply(test)]
fn libiscsi_finds_no_fault_with_a_unit_that_has_an_overlay() {
    needs_programs(&["iscsi-test-cu"]);
    let scratch = Scratch::new("suites");
    let image = scratch.join("disk.img");
    let file = fs::File::create(&image).expect("an image");
    file.set_len(64 << 20).expect("a size");
    let arguments = ["--volume", "disk0", "--overlay", "memory"];
    let exporter = Exporter::new("suites", std::slice::from_ref(&image), &arguments);
    conforms(&exporter, &["ALL"]);
    for suite in ["ALL.MultipathIO.Simple", "ALL.MultipathIO.Reset"] {
        let arguments = ["-d", "-t", suite, exporter.url(), exporter.url()];
        let output = program("iscsi-test-cu", &arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    exporter.end();
    assert!(fs::read(&image).expect("the image").iter().all(|byte| *byte == 0));
}

#[apply(test)]
fn nothing_can_be_written_without_an_overlay() {
    needs_programs(&["qemu-io"]);
    needs_path(QEMU_ISCSI);
    let exporter = Exporter::new("readonly", &[fixture("sample").path()], &["--volume", "disk0"]);
    let arguments = ["-f", "raw", "-c", "write 0 4096", exporter.url()];
    let output = program("qemu-io", &arguments);
    assert_ne!(output.code, Some(0), "{output:?}");
    exporter.end();
}

#[apply(test)]
fn an_overlay_keeps_what_is_written_and_the_image_stays() {
    needs_programs(&["qemu-io"]);
    needs_path(QEMU_ISCSI);
    let scratch = Scratch::new("overlay");
    let image = scratch.copy(&fixture("sample").path());
    let before = sha256(&fs::read(&image).expect("the image"));
    let sidecar = scratch.join("changes");
    let arguments = ["--volume", "BOOT", "--overlay", text(&sidecar)];
    let io = |exporter: &Exporter, commands: &[&str]| {
        let mut arguments = vec!["-f", "raw"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(exporter.url());
        program("qemu-io", &arguments)
    };
    // One write takes several sequences of data.
    let read = ["read -P 7 1024 9216", "read -P 0 65536 65536", "read -P 9 1M 2M"];
    let exporter = Exporter::new("overlay", std::slice::from_ref(&image), &arguments);
    let write = ["write -P 7 1024 9216", "write -z 65536 65536", "write -P 9 1M 2M", "flush"];
    io(&exporter, &write).code(0);
    let output = io(&exporter, &read).code(0);
    assert!(!output.text().contains("failed"), "{output:?}");
    exporter.end();

    let again = Exporter::new("again", std::slice::from_ref(&image), &arguments);
    let output = io(&again, &read).code(0);
    assert!(!output.text().contains("failed"), "{output:?}");
    again.end();
    assert_eq!(sha256(&fs::read(&image).expect("the image")), before, "the image is untouched");
}

#[apply(test)]
fn the_tail_of_an_odd_size_is_there_and_told() {
    needs_programs(&["qemu-img"]);
    needs_path(QEMU_ISCSI);
    let scratch = Scratch::new("odd");
    let image = scratch.join("odd.img");
    let bytes: Vec<u8> = (0..1_000_001_u32).map(|at| (at % 251) as u8 | 1).collect();
    fs::write(&image, &bytes).expect("an image");
    let exporter = Exporter::new("odd", std::slice::from_ref(&image), &["--volume", "disk0"]);
    assert!(exporter.log().contains("the last block of 512 bytes holds 65 bytes"));
    let ours = scratch.join("ours");
    program("qemu-img", &["convert", "-f", "raw", "-O", "raw", exporter.url(), text(&ours)])
        .code(0);
    let ours = fs::read(&ours).expect("a disk");
    assert_eq!(ours.len(), 1_000_448);
    let (inside, after) = ours.split_at(bytes.len());
    assert!(inside == bytes && after.iter().all(|byte| *byte == 0));
    exporter.end();
}

#[apply(test)]
fn only_those_who_know_the_secret_come_in() {
    needs_programs(&["iscsi-inq"]);
    let scratch = Scratch::new("chap");
    let secret = scratch.join("secret");
    fs::write(&secret, "open sesame 123\n").expect("a secret");
    let chap = format!("someone:{}", text(&secret));
    let exporter = Exporter::new("chap", &[fixture("sample").path()], &["--chap", &chap]);
    let url = |user: &str| exporter.url().replace("iscsi://", &format!("iscsi://{user}"));
    let inquire = |user: &str| program("iscsi-inq", &[&url(user)]);
    inquire("someone%open sesame 123@").code(0);
    let discover = format!("iscsi://someone%open sesame 123@{}/", exporter.portal());
    assert!(program("iscsi-ls", &[&discover]).code(0).text().contains("disk0"));
    let nobody = format!("iscsi://{}/", exporter.portal());
    assert!(!program("iscsi-ls", &[&nobody]).text().contains("disk0"));
    for wrong in ["", "someone%open sesame 124@", "somebody%open sesame 123@"] {
        assert_ne!(inquire(wrong).code, Some(0), "{wrong}");
    }
    assert!(exporter.log().contains("refused with status 0201"), "{}", exporter.log());
    exporter.end();
}

#[apply(test)]
fn headers_may_have_digests() {
    needs_programs(&["qemu-img"]);
    needs_path(QEMU_ISCSI);
    let sample = fixture("sample").path();
    let exporter = Exporter::new("digest", std::slice::from_ref(&sample), &["--volume", "disk0"]);
    let scratch = Scratch::new("digest");
    let raw = scratch.join("raw");
    program("qemu-img", &["convert", "-O", "raw", text(&sample), text(&raw)]).code(0);
    // Nothing but CRC32C is offered.
    let image = serde_json::json!({
        "driver": "raw",
        "file": {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": exporter.portal(),
            "target": exporter.url().split('/').nth(3),
            "lun": 0,
            "header-digest": "crc32c",
        },
    });
    let arguments = ["compare", "-f", "raw", &format!("json:{image}"), text(&raw)];
    program("qemu-img", &arguments).code(0);
    exporter.end();
}

#[apply(test)]
fn peers_that_send_nonsense_or_go_away_harm_themselves_only() {
    needs_programs(&["iscsi-inq"]);
    let exporter = Exporter::new("hostile", &[fixture("sample").path()], &["--volume", "disk0"]);
    let status = |field: &str| {
        let pid = exporter.pid().as_raw_nonzero();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let line = text.lines().find(|line| line.starts_with(field)).expect("a field");
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("one")
    };
    let files = || {
        let pid = exporter.pid().as_raw_nonzero();
        fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
    };
    program("iscsi-inq", &[exporter.url()]).code(0);
    eventually("quiet", || status("Threads") <= 4);
    let (threads, open, memory) = (status("Threads"), files(), status("VmRSS"));
    let name = exporter.url().split('/').nth(3).expect("a name");
    let mut stalled = TcpStream::connect(exporter.portal()).expect("a connection");
    stalled.write_all(&[0x43, 0x87]).expect("the begin of a login");
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..1000_u32 {
        let mut peer = TcpStream::connect(exporter.portal()).expect("a connection");
        peer.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        if round % 4 == 0 {
            continue;
        }
        let mut bytes = Vec::new();
        if round % 2 == 0 {
            let keys = format!("InitiatorName=iqn.peer-{round}\0TargetName={name}\0");
            bytes.extend(login(keys.as_bytes()));
            if round % 8 == 2 {
                // It goes away while 16 MiB are sent to it.
                bytes.extend(read_16_mib());
            }
        }
        // Nonsense in the place of a login, or of a command.
        for _ in 0..round % 197 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 56) as u8);
        }
        // It may have hung up already.
        let _ = peer.write_all(&bytes);
        if round % 2 == 0 {
            let mut answer = [0; 48];
            peer.read_exact(&mut answer).expect("the answer to the login");
            assert_eq!((answer[0], &answer[36..38]), (0x23, &[0, 0][..]));
        }
    }
    program("iscsi-inq", &[exporter.url()]).code(0);
    drop(stalled);
    eventually("an end of all connections", || status("Threads") <= threads && files() <= open);
    let grown = status("VmRSS").saturating_sub(memory);
    assert!(grown < 8 << 10, "{grown} KiB more are in use");
    exporter.end();
}

/// A login request that goes to the full feature phase with `keys`.
fn login(keys: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[0] = 0x43;
    bytes[1] = 0x80 | 1 << 2 | 3;
    bytes[7] = u8::try_from(keys.len()).expect("a short text");
    bytes[8] = 0x80;
    bytes.extend(keys);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The first command of a session: READ (10).
fn read_16_mib() -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..2].copy_from_slice(&[0x01, 0xC1]);
    bytes[20..24].copy_from_slice(&(16_u32 << 20).to_be_bytes());
    bytes[32] = 0x28;
    bytes[39] = 0x80;
    bytes
}

#[apply(test)]
fn wrong_usage_is_named() {
    let sample = fixture("sample").path();
    let export = |arguments: &[&str]| volfold([&["export", text(&sample)][..], arguments].concat());
    export(&[]).code(2).says("--iscsi");
    export(&["--iscsi", ""]).code(2).says("give HOST or HOST:PORT");
    export(&["--iscsi", "0.0.0.0:0"]).code(1).says("add --listen");
    export(&["--nbd", "tcp:127.0.0.1:0", "--chap", "a:b"]).code(2).says("--iscsi");
    let chap = |secret: &str| export(&["--iscsi", "127.0.0.1:0", "--chap", secret]);
    chap("someone").code(2).says("give USER:FILE");
    let scratch = Scratch::new("usage");
    let file = scratch.join("secret");
    let secret = format!("someone:{}", text(&file));
    chap(&secret).code(1).says("No such file");
    fs::write(&file, "short").expect("a file");
    chap(&secret).code(1).says("the secret has 5 bytes; it needs 12 to 255");
}
