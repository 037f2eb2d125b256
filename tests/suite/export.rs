//! Disks and volumes given out by NBD, seen by clients of others: libnbd and QEMU.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::fixtures::{fixture, index};
use crate::common::program::{Scratch, VOLFOLD, eventually, program, run, text, volfold, wait};
use crate::common::sha256;
use crate::harness::{apply, needs_programs, test};

/// A running `volfold export` that listens at a socket file.
pub(crate) struct Exporter {
    child: Child,
    scratch: Scratch,
}

impl Exporter {
    pub(crate) fn new(name: &str, disks: &[PathBuf], arguments: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let address = format!("unix:{}", scratch.join("nbd").display());
        let child = Command::new(VOLFOLD)
            .arg("export")
            .args(disks)
            .args(["--nbd", &address])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(scratch.join("log")).expect("a log"))
            .spawn()
            .expect("the program");
        let exporter = Self { child, scratch };
        let socket = exporter.socket();
        eventually("the socket", || UnixStream::connect(&socket).is_ok());
        exporter
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("nbd")
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("nbd+unix:///{}?socket={}", name.replace(':', "%3A"), self.socket().display())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).expect("the log")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) {
        kill_process(self.pid(), Signal::INT).expect("a signal");
        let code = wait(&mut self.child, "volfold export");
        // What is wrong with the disks was told.
        assert!(matches!(code, Some(0 | 3)), "{code:?}: {}", self.log());
        assert!(!self.socket().exists(), "the socket goes");
    }
}

impl Exporter {
    /// Kills it in the middle of what it does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        let _ = self.child.wait();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[apply(test)]
fn every_disk_and_volume_is_an_export_with_its_size() {
    needs_programs(&["nbdinfo"]);
    let exporter = Exporter::new("list", &[fixture("sample").path()], &[]);
    let listed = program("nbdinfo", &["--list", "--json", &exporter.uri("")]).code(0).json();
    let exports = listed["exports"].as_array().expect("exports");
    let listed: Vec<(&str, u64)> = exports
        .iter()
        .map(|one| {
            assert_eq!(one["is_read_only"], true);
            assert_eq!(one["can_multi_conn"], true);
            (one["export-name"].as_str().expect("text"), one["export-size"].as_u64().expect("size"))
        })
        .collect();
    let set = volfold(["list".as_ref(), "--json".as_ref(), fixture("sample").path().as_os_str()]);
    let set = set.code(0).json();
    let mut wanted = vec![("disk0", set["disks"][0]["size"].as_u64().expect("size"))];
    for volume in set["volumes"].as_array().expect("volumes") {
        let id = volume["id"].as_str().expect("an id");
        wanted.push((id, volume["size"].as_u64().expect("size")));
    }
    assert_eq!(listed, wanted);
    let size = program("nbdinfo", &["--size", &exporter.uri("")]).code(0).text();
    assert_eq!(size.trim(), wanted[0].1.to_string(), "who names no export gets the disk");
    exporter.end();
}

#[apply(test)]
fn whole_disks_equal_those_of_qemu() {
    needs_programs(&["nbdcopy", "qemu-img"]);
    let mut disks = 0;
    for fixture in index().fixtures.values() {
        let [image] = &fixture.paths()[..] else { continue };
        let formats = [("vmdk", "vmdk"), ("img", "raw")];
        let extension = image.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let Some((_, format)) = formats.iter().find(|(end, _)| *end == extension) else { continue };
        let scratch = Scratch::new("qemu");
        let theirs = scratch.join("theirs");
        let converted = ["convert", "-f", format, "-O", "raw", text(image), text(&theirs)];
        if program("qemu-img", &converted).code != Some(0) {
            continue;
        }
        let exporter = Exporter::new("whole", std::slice::from_ref(image), &["--volume", "disk0"]);
        let ours = scratch.join("ours");
        let copied = program("nbdcopy", &[&exporter.uri("disk0"), text(&ours)]);
        if copied.code != Some(0) {
            // QEMU takes damaged grains for zeros.
            let log = exporter.log();
            let expected = fixture.expect.as_ref().is_some_and(|expect| expect.reads.is_some());
            assert!(expected && log.contains("disk0: request at byte"), "{}: {log}", fixture.name);
            continue;
        }
        let (ours, theirs) = (fs::read(&ours).expect("a disk"), fs::read(&theirs).expect("a disk"));
        assert_eq!(sha256(&ours), sha256(&theirs), "{}", fixture.name);
        exporter.end();
        disks += 1;
    }
    assert!(disks > 20, "{disks} disks");
}

#[apply(test)]
fn holes_are_told_and_read_as_zeros() {
    needs_programs(&["nbdinfo", "qemu-img"]);
    let exporter = Exporter::new("holes", &[fixture("sample").path()], &["--volume", "disk0"]);
    let map = program("nbdinfo", &["--map", "--json", &exporter.uri("disk0")]).code(0).json();
    let map = map.as_array().expect("a map");
    let kinds: Vec<u64> = map.iter().map(|one| one["type"].as_u64().expect("a type")).collect();
    assert!(kinds.contains(&0) && kinds.contains(&3), "{kinds:?}");
    let scratch = Scratch::new("holes");
    let raw = scratch.join("raw");
    let sample = fixture("sample").path();
    program("qemu-img", &["convert", "-O", "raw", text(&sample), text(&raw)]).code(0);
    program("qemu-img", &["compare", "-f", "raw", &exporter.uri("disk0"), text(&raw)]).code(0);
    exporter.end();
}

#[apply(test)]
fn nothing_can_be_written_without_an_overlay() {
    needs_programs(&["qemu-io"]);
    let exporter = Exporter::new("readonly", &[fixture("sample").path()], &["--volume", "disk0"]);
    let arguments = ["-f", "raw", "-c", "write 0 4096", &exporter.uri("disk0")];
    let output = program("qemu-io", &arguments);
    assert_ne!(output.code, Some(0), "{output:?}");
    exporter.end();
}

#[apply(test)]
fn an_overlay_keeps_what_is_written_and_the_image_stays() {
    needs_programs(&["qemu-io"]);
    let scratch = Scratch::new("overlay");
    let image = scratch.copy(&fixture("sample").path());
    let before = sha256(&fs::read(&image).expect("the image"));
    let sidecar = scratch.join("changes");
    let arguments = ["--volume", "BOOT", "--overlay", text(&sidecar)];
    let boot = "mbr:5eed0099-18432";
    let io = |exporter: &Exporter, commands: &[&str]| {
        let uri = exporter.uri(boot);
        let mut arguments = vec!["-f", "raw"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(&uri);
        program("qemu-io", &arguments)
    };
    let read = ["read -P 7 1000 9000", "read -P 0 65536 65536"];
    let exporter = Exporter::new("overlay", std::slice::from_ref(&image), &arguments);
    io(&exporter, &["write -P 7 1000 9000", "write -z 65536 65536", "flush"]).code(0);
    let output = io(&exporter, &read).code(0);
    assert!(!output.text().contains("failed"), "{output:?}");
    exporter.end();

    let again = Exporter::new("again", std::slice::from_ref(&image), &arguments);
    let output = io(&again, &read).code(0);
    assert!(!output.text().contains("failed"), "{output:?}");
    again.end();
    assert_eq!(sha256(&fs::read(&image).expect("the image")), before, "the image is untouched");

    let export = ["export", text(&image), "--nbd", "tcp:127.0.0.1:0", "--volume", "linux"];
    let other = volfold(export.iter().chain(&["--overlay", text(&sidecar)]));
    other.code(1).says("belongs to another volume or to other images");
}

#[apply(test)]
fn peers_that_send_nonsense_or_go_away_harm_themselves_only() {
    needs_programs(&["nbdinfo"]);
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
    program("nbdinfo", &[&exporter.uri("disk0")]).code(0);
    eventually("quiet", || status("Threads") <= 4);
    let (threads, open) = (status("Threads"), files());
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..1000 {
        let mut peer = UnixStream::connect(exporter.socket()).expect("a connection");
        peer.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        if round % 4 == 0 {
            continue;
        }
        let mut greeting = [0; 18];
        peer.read_exact(&mut greeting).expect("a greeting");
        let mut bytes = vec![0, 0, 0, 3];
        if round % 2 == 0 {
            // An option with nonsense in it.
            bytes.extend(b"IHAVEOPT");
            bytes.extend((round % 12_u32).to_be_bytes());
            bytes.extend((round * 37).to_be_bytes());
        }
        for _ in 0..round % 97 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 56) as u8);
        }
        // It may have hung up already.
        let _ = peer.write_all(&bytes);
    }
    program("nbdinfo", &[&exporter.uri("disk0")]).code(0);
    eventually("an end of all connections", || status("Threads") <= threads && files() <= open);
    exporter.end();
}

#[apply(test)]
fn wrong_usage_is_named() {
    let sample = fixture("sample").path();
    let export = |arguments: &[&str]| volfold([&["export", text(&sample)][..], arguments].concat());
    export(&[]).code(2).says("--nbd");
    export(&["--nbd", "x"]).code(2).says("unix:PATH or tcp:HOST:PORT");
    export(&["--nbd", "tcp:0.0.0.0:0"]).code(1).says("add --listen");
    export(&["--nbd", "tcp:127.0.0.1:0", "--volume", "none"]).code(1).says("none: no such disk");
    let file = Scratch::new("usage");
    fs::write(file.join("file"), "x").expect("a file");
    let address = format!("unix:{}", file.join("file").display());
    export(&["--nbd", &address]).code(1).says("cannot listen on");
    let overlay = ["--nbd", "tcp:127.0.0.1:0", "--overlay", text(file.path())];
    export(&overlay).code(1).says("an overlay file is of one disk or volume");
}

/// A folder of certificates as QEMU names them: of a server called `localhost` and of one client.
fn certificates(scratch: &Scratch, name: &str) -> PathBuf {
    let folder = scratch.join(name);
    fs::create_dir(&folder).expect("a folder");
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&folder);
        run(&mut command).code(0);
    };
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca-cert.pem -days 2 -subj /CN=ca",
    );
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost").expect("a file");
    for who in ["server", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {who}-key.pem -out {who}.csr -subj /CN={who}"
        ));
        openssl(&format!(
            "x509 -req -in {who}.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial \
             -out {who}-cert.pem -days 2 -extfile names"
        ));
    }
    folder
}

#[apply(test)]
fn with_tls_a_client_sees_nothing_without_it() {
    needs_programs(&["nbdinfo", "nbdcopy", "openssl", "qemu-img"]);
    let scratch = Scratch::new("tls");
    let [ours, foreign] = ["ours", "foreign"].map(|name| certificates(&scratch, name));
    let sample = fixture("sample").path();
    let exporter = Exporter::new("tls", &[sample], &["--tls", text(&ours), "--tls-verify"]);
    let uri = |folder: &Path| {
        let rest = format!("&tls-certificates={}&tls-hostname=localhost", folder.display());
        exporter.uri("disk0").replace("nbd+", "nbds+") + &rest
    };
    let plain = program("nbdinfo", &["--size", &exporter.uri("disk0")]);
    assert_eq!(plain.code, Some(1), "{plain:?}");
    assert!(plain.stderr.contains("TLS"), "{plain:?}");
    let listed = program("nbdinfo", &["--list", &exporter.uri("")]);
    assert!(listed.code == Some(1) && listed.stdout.is_empty(), "{listed:?}");
    let stranger = program("nbdinfo", &["--size", &uri(&foreign)]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");

    let info = program("nbdinfo", &["--json", &uri(&ours)]).code(0).json();
    assert_eq!(info["TLS"], true, "{info}");
    let (by_tls, by_qemu) = (scratch.join("tls.raw"), scratch.join("qemu.raw"));
    program("nbdcopy", &[&uri(&ours), text(&by_tls)]).code(0);
    let credentials =
        format!("tls-creds-x509,id=tls,endpoint=client,dir={},verify-peer=yes", ours.display());
    let image = format!(
        "driver=nbd,server.type=unix,server.path={},export=disk0,tls-creds=tls,tls-hostname=localhost",
        exporter.socket().display()
    );
    let arguments = ["convert", "--object", &credentials, "--image-opts", &image];
    program("qemu-img", &[&arguments[..], &["-O", "raw", text(&by_qemu)]].concat()).code(0);
    let plain = scratch.join("plain.raw");
    let sample = fixture("sample").path();
    program("qemu-img", &["convert", "-O", "raw", text(&sample), text(&plain)]).code(0);
    let plain = fs::read(plain).expect("a disk");
    assert!(fs::read(by_tls).expect("a copy") == plain, "nbdcopy");
    assert!(fs::read(by_qemu).expect("a copy") == plain, "QEMU");
    exporter.end();
}

#[apply(test)]
fn garbage_in_place_of_tls_ends_its_connection_only() {
    needs_programs(&["nbdinfo", "openssl"]);
    let scratch = Scratch::new("tls-garbage");
    let folder = certificates(&scratch, "ours");
    let disk = [fixture("sample").path()];
    let exporter = Exporter::new("tls-garbage", &disk, &["--tls", text(&folder)]);
    for garbage in [&b"\x16\x03\x01\xFF\xFF"[..], &[0; 4096], b"GET / HTTP/1.0\r\n\r\n"] {
        let mut socket = UnixStream::connect(exporter.socket()).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket.read_exact(&mut [0; 18]).expect("a greeting");
        socket.write_all(&1_u32.to_be_bytes()).expect("flags");
        socket.write_all(b"IHAVEOPT\0\0\0\x05\0\0\0\0").expect("NBD_OPT_STARTTLS");
        let mut reply = [0; 20];
        socket.read_exact(&mut reply).expect("a reply");
        assert_eq!(reply[12..16], [0, 0, 0, 1], "NBD_REP_ACK");
        let _ = socket.write_all(garbage);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.len() < 64, "an alert at most: {rest:?}");
    }
    let rest = format!("&tls-certificates={}&tls-hostname=localhost", folder.display());
    let uri = exporter.uri("disk0").replace("nbd+", "nbds+") + &rest;
    program("nbdinfo", &["--size", &uri]).code(0);
    let missing = scratch.join("nothing");
    let image = fixture("sample").path();
    volfold(["export", text(&image), "--nbd", "tcp:127.0.0.1:0", "--tls", text(&missing)])
        .code(1)
        .says("server-cert.pem");
    exporter.end();
}
