//! What is written down of mounts, where it is odd: too large, of another process, of another time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::fixtures::fixture;
use crate::common::needs_mount;
use crate::common::program::{Scratch, VOLFOLD, run, wait};
use crate::harness::{apply, test};

/// Two folders of records of one user, as after a change of `XDG_RUNTIME_DIR`.
struct Records {
    scratch: Scratch,
    folders: [PathBuf; 2],
}

impl Records {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let user = rustix::process::geteuid().as_raw();
        let folders = [scratch.join("run/volfold"), scratch.join(format!("tmp/volfold-{user}"))];
        folders.iter().for_each(|folder| fs::create_dir_all(folder).expect("a folder"));
        Self { scratch, folders }
    }

    fn volfold(&self) -> Command {
        let mut command = Command::new(VOLFOLD);
        command.env("TMPDIR", self.scratch.join("tmp"));
        command.env("XDG_RUNTIME_DIR", self.scratch.join("run"));
        command
    }

    /// What `mounts` tells of `folder`.
    fn told(&self, folder: &Path) -> Vec<Value> {
        let mut told = run(self.volfold().args(["mounts", "--json"])).code(0).json();
        let Value::Array(mut mounts) = told["mounts"].take() else { panic!("{told}") };
        mounts.retain(|mount| mount["folder"].as_str().map(Path::new) == Some(folder));
        mounts
    }
}

fn record(folder: &Path, pid: u32) -> String {
    let record = json!({
        "folder": folder, "images": [], "volumes": [], "pid": pid, "log": null,
        "remove_folder": false,
    });
    record.to_string()
}

/// The number of a process that has ended.
fn ended() -> u32 {
    let mut child = Command::new("true").spawn().expect("a process");
    child.wait().expect("its end");
    child.id()
}

#[apply(test)]
fn a_record_that_is_too_large_is_none() {
    let records = Records::new("large");
    let folder = records.scratch.join("mount");
    let file = records.folders[0].join("0.json");
    let text = record(&folder, std::process::id());
    fs::write(&file, &text).expect("a file");
    assert_eq!(records.told(&folder).len(), 1, "{text}");
    fs::write(&file, format!("{text}{}", " ".repeat(17 << 20))).expect("a file");
    assert_eq!(records.told(&folder).len(), 0);
}

#[apply(test)]
fn only_the_record_of_the_process_that_died_is_cleared() {
    let records = Records::new("two");
    let folder = records.scratch.join("mount");
    // The name of the file is that of the folder: FNV-1a of its path.
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    let bytes = folder.as_os_str().as_encoded_bytes();
    let name = format!("{:016x}.json", bytes.iter().fold(0xCBF2_9CE4_8422_2325, fold));
    let [first, second] = records.folders.each_ref().map(|folder| folder.join(&name));
    fs::write(&first, record(&folder, ended())).expect("a file");
    fs::write(&second, record(&folder, std::process::id())).expect("a file");
    let told = records.told(&folder);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["pid"], std::process::id());
    assert!(!first.exists() && second.exists(), "that of the living one stays");
}

#[apply(test)]
fn what_mounts_for_a_command_that_was_ended_does_not_stay() {
    needs_mount();
    let records = Records::new("alone");
    let folder = records.scratch.join("mount");
    let log = records.folders[0].join("alone.log");
    let mut command = records.volfold();
    command.arg("mount").arg("--background-log").arg(&log);
    command.arg(fixture("fat12").path()).arg(&folder);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a process");
    // As where the command was killed: nobody reads when it is ready.
    drop(child.stdout.take());
    assert_eq!(wait(&mut child, "a mount that nobody waits for"), Some(1));
    let said = fs::read_to_string(log).expect("a log");
    assert!(said.contains("ended before it was ready"), "{said}");
    assert!(records.told(&folder).is_empty() && !folder.exists());
}
