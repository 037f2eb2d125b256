//! Keys on the command line: every command with the key, without it and with a wrong one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::PASSWORD;
use crate::common::fixtures::{EncryptedFacts, fixture};
use crate::common::mounted::Folder;
use crate::common::needs_mount;
use crate::common::program::{Output, Scratch, VOLFOLD, program, run, text, volfold, within};
use crate::common::sha256;
use crate::export::Exporter;
use crate::harness::{apply, needs_programs, test};

/// An encrypted image, and files with its key and a wrong one.
struct Locked {
    facts: EncryptedFacts,
    image: PathBuf,
    /// `file:` and the path of each.
    key: String,
    wrong: String,
    scratch: Scratch,
}

impl Locked {
    fn new() -> Self {
        let scratch = Scratch::new("luks");
        let file = |name: &str, bytes: &str| {
            fs::write(scratch.join(name), bytes).expect("a key");
            format!("file:{}", text(&scratch.join(name)))
        };
        // As an editor writes it.
        let (key, wrong) = (file("key", &format!("{PASSWORD}\n")), file("wrong", "wrong"));
        let facts = fixture("luks").encrypted[0].clone();
        let image = fixture("luks").folder().join(&facts.file);
        Self { facts, image, key, wrong, scratch }
    }

    fn run(&self, before: &[&str], after: &[&str]) -> Output {
        let words = before.iter().copied().chain([text(&self.image)]);
        volfold(words.chain(after.iter().copied()))
    }
}

#[apply(test)]
fn every_command_opens_with_the_key_and_says_what_would_help_without() {
    let locked = Locked::new();
    let out = locked.scratch.join("out");
    let disk = locked.scratch.join("out.img");
    let volume = locked.facts.id.as_str();
    for (before, after) in [
        (&["list"][..], &[][..]),
        (&["ls", "-R"], &[]),
        (&["cat"], &["-p", "/LUKS1/README.txt"]),
        (&["hash"], &[]),
        (&["extract"], &["-o", text(&out)]),
        (&["check"], &[]),
        (&["info"], &[]),
        (&["convert"], &["--volume", volume, "-o", text(&disk)]),
    ] {
        let command = before[0];
        for keys in [&[][..], &["--key", &locked.wrong][..]] {
            let output = locked.run(before, &[after, keys].concat());
            assert!(matches!(output.code, Some(1 | 3)), "{command}: {output:?}");
            let told = format!("{}{}", output.text(), output.stderr);
            assert!(told.contains("locked"), "{command}: {told}");
            let is_wrong =
                told.contains(&format!("key 1 of 1 ({}) does not open it", locked.wrong));
            assert_eq!(is_wrong, !keys.is_empty(), "{command}: {told}");
            assert!(command != "extract" || !out.exists());
        }
        let keys = ["--key", &locked.wrong, "--key", &locked.key];
        let output = locked.run(before, &[after, &keys].concat()).code(0);
        assert_eq!(output.stderr, "", "{command}");
    }
    assert!(
        fs::read_to_string(out.join("LUKS1/README.txt")).expect("a file").contains("Every byte")
    );
    assert_eq!(sha256(&fs::read(&disk).expect("an image")), locked.facts.sha256);
}

#[apply(test)]
fn a_list_says_how_to_open_what_is_locked() {
    let locked = Locked::new();
    let list = locked.run(&["list"], &[]).code(3).text();
    assert!(list.contains("\nWhat is locked opens with its key: --key prompt"), "{list}");
    // Its bytes are locked too.
    assert!(!list.contains("can be had as bytes"), "{list}");
    let list = locked.run(&["list"], &["--key", &locked.key]).code(0).text();
    assert!(!list.contains("locked"), "{list}");
}

#[apply(test)]
fn json_tells_the_lock_and_the_keys_that_do_not_open_it() {
    let locked = Locked::new();
    let json = locked.run(&["list", "--json"], &["--key", &locked.wrong]).code(3).json();
    let volume = &json["volumes"][0];
    assert_eq!(volume["type"], "encrypted");
    assert_eq!(volume["locked"]["type"], "LUKS2");
    assert_eq!(volume["locked"]["keys"][0], "password");
    assert_eq!(volume["locked"]["detail"], "1 key slot");
    let reason = volume["reason"].as_str().expect("a reason");
    assert_eq!(reason, "locked: LUKS2, opened by a password or a key file (1 key slot)");
    assert_eq!(json["findings"][0]["code"], "key-wrong");
    let json = locked.run(&["list", "--json"], &["--key", &locked.key]).code(0).json();
    let volume = &json["volumes"][0];
    assert_eq!((&volume["readable"], &volume["type"]), (&true.into(), &"encrypted".into()));
    assert!(volume["locked"].is_null() && volume["file_system"]["type"] == "ext2");
}

#[apply(test)]
fn keys_come_from_the_environment_and_from_open_files() {
    let locked = Locked::new();
    let ls = |keys: &[&str]| {
        let mut command = Command::new(VOLFOLD);
        command.arg("ls").arg(&locked.image).args(keys).env("LUKS_KEY", PASSWORD);
        run(&mut command)
    };
    ls(&["--key", "env:LUKS_KEY"]).code(0);
    ls(&["--key", "env:NO_SUCH_KEY"]).code(1).says("key 1 of 1 (env:NO_SUCH_KEY): is not in the");
    ls(&["--key", "file:/no/such/key"]).code(1).says("cannot be read: No such file");
    ls(&["--key", "file:/dev/null"]).code(1).says("is empty");
    // What cannot be had keeps no other key from being tried, and is told.
    let output = ls(&["--key", "file:/no/such/key", "--key", "env:LUKS_KEY"]).code(3);
    output.says("key 1 of 2 (file:/no/such/key): cannot be read");
    let path = locked.key.strip_prefix("file:").expect("a file");
    let line = format!("exec {VOLFOLD} ls {} --key fd:7 7<{path}", text(&locked.image));
    program("sh", &["-c", &line]).code(0);
    // By id and by name, whatever their case; for a volume that is not there.
    let name = locked.facts.id.replace(':', "-").to_uppercase();
    ls(&["--key", &format!("{name}=env:LUKS_KEY")]).code(0);
    ls(&["--key", &format!("{}=env:LUKS_KEY", locked.facts.id)]).code(0);
    let output = ls(&["--key", "other=env:LUKS_KEY"]).code(1);
    output.says("key 1 of 1 (env:LUKS_KEY) is for other, and no locked volume is called so");
}

#[apply(test)]
fn a_person_is_asked_at_a_terminal_alone() {
    needs_programs(&["setsid"]);
    let locked = Locked::new();
    let words = [VOLFOLD, "ls", text(&locked.image), "--key", "prompt"];
    let output = program("setsid", &[&["-w"], &words[..]].concat()).code(1);
    output.says("key 1 of 1 (prompt): there is no terminal to ask at; give file:PATH");
}

/// Runs a program at a terminal of its own, and answers each question once nothing is shown of what is typed.
const TERMINAL: &str = r#"
import os, pty, sys, termios, time
answers = sys.argv[1].split("|")
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    sys.stdout.buffer.write(part)
    shown += part
    if answers and shown.endswith(b"): "):
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, answers.pop(0).encode() + b"\n")
        shown = b""
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// `volfold` with `words` at a terminal, where a person gives `answers`.
fn at_a_terminal(answers: &str, words: &[&str]) -> Output {
    needs_programs(&["python3"]);
    let output = program("python3", &[&["-c", TERMINAL, answers, VOLFOLD], words].concat());
    assert!(!output.text().contains(PASSWORD), "{output:?}");
    output
}

#[apply(test)]
fn a_person_who_is_asked_may_mistype_or_leave_it_locked() {
    let locked = Locked::new();
    let words = ["ls", text(&locked.image), "--key", "prompt"];
    let question = "(LUKS2), password (empty: leave it locked): ";
    let output = at_a_terminal(&format!("wrong|{PASSWORD}"), &words).code(0);
    let told = output.text();
    assert!(told.matches(question).count() == 2 && told.contains("LUKS1/"), "{told}");
    let told = at_a_terminal("", &words).code(1).text();
    assert!(told.matches(question).count() == 1 && !told.contains("does not open"), "{told}");
    let told = at_a_terminal("1|2|3", &words).code(1).text();
    assert!(told.matches(question).count() == 3 && told.contains("does not open it"), "{told}");
}

#[apply(test)]
fn a_person_is_asked_before_a_mount_goes_to_the_background() {
    needs_mount();
    let locked = Locked::new();
    let folder = Folder::new("luks");
    let words = ["mount", text(&locked.image), text(folder.path()), "--key", "prompt"];
    let told = at_a_terminal(PASSWORD, &words).code(0).text();
    assert!(told.contains("key of the locked volumes (empty: none): "), "{told}");
    let file = folder.join("LUKS1/README.txt");
    let read = within("a read", move || fs::read_to_string(file).expect("a file"));
    assert!(read.contains("Every byte"));
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn a_key_in_clear_is_refused_and_not_repeated() {
    let locked = Locked::new();
    for word in [PASSWORD, "pass:S3cret", "LUKS1=S3cret"] {
        let output = locked.run(&["ls"], &["--key", word]).code(2);
        let output = output.says("where a key is, not the key itself");
        assert!(!output.stderr.contains(word) && !output.stderr.contains("S3cret"), "{output:?}");
    }
}

#[apply(test)]
fn a_mount_in_the_background_is_handed_the_key_out_of_sight() {
    needs_mount();
    let locked = Locked::new();
    let path = locked.key.strip_prefix("file:").expect("a file");
    for key in ["fd:7", "env:LUKS_KEY", &locked.key] {
        let folder = Folder::new("luks");
        // What it is handed comes from a pipe, which only one process can read.
        let line = format!(
            "cat {path} | (exec 7<&0 </dev/null; LUKS_KEY='{PASSWORD}' {VOLFOLD} mount {} {} --key {key})",
            text(&locked.image),
            text(folder.path()),
        );
        program("sh", &["-c", &line]).code(0);
        let file = folder.join("LUKS1/README.txt");
        let read = within("a read", move || fs::read_to_string(file).expect("a file"));
        assert!(read.contains("Every byte"));
        let words = fs::read(format!("/proc/{}/cmdline", folder.pid())).expect("its arguments");
        assert!(!String::from_utf8_lossy(&words).contains(PASSWORD));
        let record = folder.record().expect("a record").to_string();
        assert!(!record.contains(PASSWORD), "{record}");
        folder.unmount(&[]).code(0);
    }
    let folder = Folder::new("luks");
    let output =
        folder.mount(std::slice::from_ref(&locked.image), &["--key", &locked.wrong]).code(1);
    output.says("does not open it");
}

#[apply(test)]
fn raw_files_of_a_mount_have_what_was_encrypted() {
    needs_mount();
    let locked = Locked::new();
    let folder = Folder::new("luks");
    folder.mount(std::slice::from_ref(&locked.image), &["--raw", "--key", &locked.key]).code(0);
    let file = folder.join(".raw/LUKS1.img");
    let read = within("a read", move || fs::read(file).expect("a file"));
    assert_eq!(sha256(&read), locked.facts.sha256);
    folder.unmount(&[]).code(0);
}

#[apply(test)]
fn an_export_serves_what_was_encrypted() {
    needs_programs(&["qemu-img"]);
    let locked = Locked::new();
    let keys = ["--volume", &locked.facts.id, "--key", &locked.key];
    let exporter = Exporter::new("luks", std::slice::from_ref(&locked.image), &keys);
    let out = locked.scratch.join("out.img");
    let uri = exporter.uri(&locked.facts.id);
    program("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, text(&out)]).code(0);
    assert_eq!(sha256(&fs::read(&out).expect("an image")), locked.facts.sha256);
    exporter.end();
}

#[apply(test)]
fn what_cryptsetup_encrypts_now_is_read() {
    needs_programs(&["cryptsetup", "truncate"]);
    let scratch = Scratch::new("luks");
    let plain = fixture("ext2-1k").path();
    let wanted = fs::read(&plain).expect("an image");
    fs::write(scratch.join("key"), PASSWORD).expect("a key");
    let key = scratch.join("key");
    // As it is by default, but for the time that a key takes.
    let image = scratch.copy(&plain);
    program("truncate", &["-s", "+32M", text(&image)]).code(0);
    let words = ["reencrypt", "-q", "--encrypt", "--type", "luks2", "--reduce-device-size", "32M"];
    let quick = ["--pbkdf", "argon2id", "--pbkdf-memory", "32768", "--iter-time", "100"];
    let last = ["--key-file", text(&key), text(&image)];
    program("cryptsetup", &[&words[..], &quick, &last].concat()).code(0);
    let out = scratch.join("out.img");
    let key = format!("file:{}", text(&key));
    let id = program("cryptsetup", &["luksUUID", text(&image)]).code(0).text();
    let id = format!("luks:{}", id.trim());
    volfold(["convert", text(&image), "--volume", &id, "--key", &key, "-o", text(&out)]).code(0);
    assert!(fs::read(&out).expect("an image").starts_with(&wanted));
}
