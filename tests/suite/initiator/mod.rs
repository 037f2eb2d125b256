//! `attach` and `detach` on Windows, with a double in the place of PowerShell: what Windows' own
//! initiator does with what it is told can be seen on Windows alone.

#![cfg(debug_assertions)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, VOLFOLD, eventually, run, text};
use crate::harness::{apply, needs, test};

pub(crate) mod double;
mod login;

/// A user with a folder for records of their own.
struct User {
    scratch: Scratch,
}

impl User {
    fn new(name: &str) -> Self {
        Self { scratch: Scratch::new(name) }
    }

    fn volfold(&self, role: &str, arguments: &[&str]) -> Output {
        run(&mut self.command(role, arguments))
    }

    fn command(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(VOLFOLD);
        command
            .args(arguments)
            .env("LOCALAPPDATA", self.scratch.path())
            .env("VOLFOLD_TEST_POWERSHELL", std::env::current_exe().expect("this program"))
            .env(double::ROLE, role)
            .env(double::RECORD, self.record());
        command
    }

    fn record(&self) -> PathBuf {
        self.scratch.join("record")
    }

    /// What the double was given, call by call.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.record()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }

    /// What is left in the folder of the records, but logs.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.join("volfold")).expect("the folder of records");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".log")).collect()
    }

    fn pid(&self) -> String {
        let mounts = self.volfold("good", &["mounts", "--json"]).code(0).json();
        mounts["mounts"][0]["pid"].as_u64().expect("a process").to_string()
    }

    fn kill(&self) {
        let pid = self.pid();
        run(Command::new("taskkill").args(["/F", "/PID", &pid]));
        eventually("the end of the process", || {
            let mounts = self.volfold("good", &["mounts", "--json"]).code(0).json();
            mounts["mounts"][0]["state"] == "dead"
        });
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.command("good", &["detach", "all", "--force"]).output();
    }
}

fn disk() -> PathBuf {
    fixture("sample").path()
}

fn first_block(path: &Path) -> String {
    let cat = run(Command::new(VOLFOLD).args(["list", text(path), "--json"])).code(0);
    assert!(cat.json()["disks"][0]["size"].as_u64().is_some_and(|size| size > 512));
    HEXLOWER.encode(&fs::read(path).expect("the disk")[..512])
}

#[apply(test)]
fn attach_lets_windows_log_in_and_detach_lets_it_go() {
    let user = User::new("attach");
    let raw = fixture("ext4").path();
    let attached = user.volfold("good", &["attach", text(&raw)]).code(0);
    let lines: Vec<String> = attached.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with(r"\\.\PhysicalDrive7  disk 7: "), "{lines:?}");
    assert!(lines[0].ends_with(", read-only"), "{lines:?}");
    assert_eq!(lines[1..], [r"E:\", r"\\?\Volume{5eed0000-0000-0000-0000-100000000000}\"]);

    let told = user.told();
    let (asked, secret) = (&told[0]["asked"], told[0]["asked"]["secret"].as_str().expect("one"));
    let names = asked["targets"].as_array().expect("targets");
    assert_eq!((asked["address"].as_str(), names.len()), (Some("127.0.0.1"), 1));
    // What it was given lets in, and gives the bytes of the disk.
    let discovered = told[0]["discovered"]["Ok"].as_str().expect("names");
    assert!(discovered.contains(names[0].as_str().expect("a name")), "{discovered}");
    assert_eq!(told[0]["firsts"][0].as_str(), Some(first_block(&raw).as_str()));
    // The secret is where no other process sees it.
    let arguments = told[0]["arguments"].to_string();
    assert_eq!(secret.len(), 16);
    assert!(!arguments.contains(secret) && arguments.contains("-EncodedCommand"), "{arguments}");
    for entry in fs::read_dir(user.scratch.join("volfold")).expect("records") {
        let kept = fs::read(entry.expect("an entry").path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&kept).contains(secret), "the secret is kept nowhere");
    }

    let mounts = user.volfold("good", &["mounts", "--json"]).code(0).json();
    let mount = &mounts["mounts"][0];
    assert_eq!(
        (mount["state"].as_str(), mounts["mounts"].as_array().map(Vec::len)),
        (Some("mounted"), Some(1))
    );
    assert_eq!(mount["devices"][0], r"\\.\PhysicalDrive7");
    user.volfold("good", &["mounts"]).code(0);

    user.volfold("good", &["detach", "8"]).code(1).says("was not made by `volfold attach`");
    user.volfold("good", &["detach", r"\\.\PHYSICALDRIVE7"]).code(0);
    let last = user.told().pop().expect("a call");
    assert_eq!(
        (last["asked"]["action"].as_str(), &last["asked"]["targets"]),
        (Some("detach"), &asked["targets"])
    );
    assert_eq!(last["asked"]["portal"], true);
    assert_eq!(user.left(), [""; 0]);
    user.volfold("good", &["detach", "all"]).code(1).says("nothing is attached");
}

#[apply(test)]
fn several_disks_go_one_by_one_and_a_second_attach_is_refused() {
    let user = User::new("attach-two");
    let (one, other) = (disk(), fixture("ext4").path());
    let attached = user.volfold("good", &["attach", text(&one), text(&other)]).code(0).text();
    assert!(
        attached.contains("PhysicalDrive7") && attached.contains("PhysicalDrive8"),
        "{attached}"
    );
    user.volfold("good", &["attach", text(&one), text(&other)])
        .code(1)
        .says(r"disk0: is attached already: \\.\PhysicalDrive7, \\.\PhysicalDrive8");
    // One process serves both, so what is in use of one of them stays.
    user.volfold("in-use", &["detach", "7", "--force"])
        .code(1)
        .says("`volfold detach all --force` ends all of it");
    user.volfold("good", &["detach", "7"]).code(0);
    let last = user.told().pop().expect("a call");
    assert_eq!(
        (last["asked"]["targets"].as_array().map(Vec::len), &last["asked"]["portal"]),
        (Some(1), &Value::Bool(false))
    );
    let mounts = user.volfold("good", &["mounts", "--json"]).code(0).json();
    assert_eq!(mounts["mounts"][0]["devices"], serde_json::json!([r"\\.\PhysicalDrive8"]));
    user.volfold("good", &["detach", "all"]).code(0);
    assert_eq!(user.left(), [""; 0]);
}

#[apply(test)]
fn a_disk_with_an_overlay_is_told_as_writable() {
    let user = User::new("attach-overlay");
    let attached = user.volfold("good", &["attach", text(&disk()), "--overlay", "memory"]).code(0);
    assert!(attached.text().contains(", changes go to the overlay"), "{attached:?}");
    user.volfold("good", &["detach", "7"]).code(0);
}

#[apply(test)]
fn what_goes_wrong_is_told_in_a_line_and_leaves_nothing() {
    let disk = disk();
    for (role, line) in [
        ("no-admin", "only an administrator may attach"),
        ("no-service", "Set-Service MSiSCSI -StartupType Manual"),
        ("no-portal", "does not take the address 127.0.0.1:"),
        ("wrong-secret", "disk0: Windows does not take it: login refused: 0201"),
        ("no-disk", "disk0: Windows does not take it: the disk does not appear"),
        ("garbage", "did not drive the iSCSI initiator: the term 'New-IscsiTargetPortal'"),
    ] {
        let user = User::new("attach-wrong");
        let said = user.volfold(role, &["attach", text(&disk)]).code(1).says(line);
        assert_eq!(said.stderr.lines().count(), 1, "{role}: {said:?}");
        // Where nobody knows what Windows has of it, the next call looks.
        let is_unclear = ["no-portal", "garbage"].contains(&role);
        assert_eq!(user.left().is_empty(), !is_unclear, "{role}: {:?}", user.left());
        let before = user.told().len();
        if is_unclear {
            user.volfold("good", &["attach", text(&disk)]).code(0);
            assert_eq!(user.told()[before]["asked"]["action"], "detach", "{role}");
            user.volfold("good", &["detach", "all"]).code(0);
            assert_eq!(user.left(), [""; 0], "{role}");
        }
    }
}

#[apply(test)]
fn volumes_that_do_not_show_are_told_with_the_disk() {
    let user = User::new("attach-offline");
    let attached = user.volfold("offline", &["attach", text(&disk())]).code(0);
    assert!(attached.text().contains("PhysicalDrive7"), "{attached:?}");
    attached.says("its volumes do not show: the disk has a signature collision");
    user.volfold("good", &["detach", "7"]).code(0);
}

#[apply(test)]
fn an_initiator_that_hangs_is_waited_for_but_not_for_ever() {
    let user = User::new("attach-hang");
    let disk = disk();
    let mut command = user.command("hang", &["attach", text(&disk)]);
    run(command.env("VOLFOLD_TEST_INITIATOR", "2"))
        .code(1)
        .says("the iSCSI initiator of Windows gave no answer in 2 s");
    // Nobody knows what Windows has of it; the next call clears it.
    assert!(!user.left().is_empty());
    user.volfold("good", &["attach", text(&disk)]).code(0);
    let told = user.told();
    assert_eq!(
        (&told[0]["asked"]["action"], &told[1]["asked"]["action"]),
        (&"detach".into(), &"attach".into())
    );
    let mut command = user.command("hang", &["detach", "7"]);
    run(command.env("VOLFOLD_TEST_INITIATOR", "2")).code(1).says("gave no answer in 2 s");
    // What Windows has of it is not known, so it is not forgotten by force either.
    let mut command = user.command("hang", &["detach", "7", "--force"]);
    run(command.env("VOLFOLD_TEST_INITIATOR", "2")).code(1).says("gave no answer in 2 s");
    // It is there still.
    user.volfold("good", &["detach", "7"]).code(0);
    assert_eq!(user.left(), [""; 0]);
}

#[apply(test)]
fn a_disk_in_use_goes_by_force_alone() {
    let user = User::new("attach-in-use");
    user.volfold("good", &["attach", text(&disk())]).code(0);
    user.volfold("in-use", &["detach", "7"])
        .code(1)
        .says(r"\\.\PhysicalDrive7: is in use: The session cannot be logged out.");
    user.volfold("in-use", &["detach", "7", "--force"]).code(0).says("it ends anyway");
    assert_eq!(user.left(), [""; 0]);
}

#[apply(test)]
fn what_a_killed_process_leaves_is_cleared_by_the_next_call() {
    let user = User::new("attach-killed");
    for way in ["detach", "attach"] {
        user.volfold("good", &["attach", text(&disk())]).code(0);
        user.kill();
        let before = user.told().len();
        match way {
            "detach" => user.volfold("good", &["detach", "7"]).code(0),
            _ => user.volfold("good", &["attach", text(&disk())]).code(0),
        };
        let told = user.told();
        assert_eq!(told[before]["asked"]["action"], "detach", "{way}: Windows logs out");
        if way == "attach" {
            user.volfold("good", &["detach", "all"]).code(0);
        }
        assert_eq!(user.left(), [""; 0], "{way}");
    }
}

#[apply(test)]
fn a_process_without_a_session_ends_by_itself() {
    let user = User::new("attach-idle");
    let disk = disk();
    let mut command = user.command("good", &["attach", text(&disk)]);
    run(command.env("VOLFOLD_TEST_IDLE", "1")).code(0);
    eventually("the end of the process", || user.left().is_empty());
    assert_eq!(user.told().pop().expect("a call")["asked"]["action"], "detach");
}

#[apply(test)]
fn what_another_user_wrote_down_is_shown_and_not_followed() {
    let user = User::new("others");
    // An administrator reads the records of others, whose files may be anything.
    let records = user.scratch.join("users/mallory/AppData/Local/volfold");
    let folder = user.scratch.join("trap");
    for folder in [&records, &folder] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let served = r#"{"address": "127.0.0.1", "port": 1, "targets": [{"name": "x", "disk": 7}]}"#;
    fs::write(folder.join("iscsi.json"), served).expect("a file");
    fs::write(folder.join("alive"), "").expect("a file");
    let record = serde_json::json!({
        "folder": folder, "images": [], "volumes": ["disk0"], "pid": std::process::id(),
        "log": null, "remove_folder": true, "attached": true,
    });
    fs::write(records.join("0.json"), record.to_string()).expect("a file");
    let mut command = user.command("good", &["mounts", "--json"]);
    let mounts = run(command.env("PUBLIC", user.scratch.join("users/Public"))).code(0).json();
    let mounts = mounts["mounts"].as_array().expect("mounts");
    needs("the rights of an administrator", !mounts.is_empty());
    let told = (mounts[0]["mounted_by"].as_str(), mounts[0]["state"].as_str());
    assert_eq!(told, (Some("other"), Some("mounted")), "{mounts:?}");
    assert_eq!(mounts[0]["devices"], serde_json::json!([]), "no file of theirs is read");
}
