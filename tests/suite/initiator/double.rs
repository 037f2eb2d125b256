//! A double of `powershell.exe`: this program again, started by `volfold` in its place.
//!
//! It reads what a script that drives the initiator reads, logs in to the targets as Windows would, and
//! answers as the script does, or as one that fails. What it was given is in a file for the test.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::login::Session;

/// The variable that makes this program the double, and says how it behaves.
pub(crate) const ROLE: &str = "VOLFOLD_DOUBLE_OF_POWERSHELL";

/// The file that it writes what it was given to, one JSON value in a line.
pub(super) const RECORD: &str = "VOLFOLD_DOUBLE_RECORD";

/// What answers as the role says.
pub(crate) fn main(role: &str) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut asked = String::new();
    std::io::stdin().read_to_string(&mut asked).expect("stdin");
    let asked: Value = serde_json::from_str(&asked).expect("JSON on stdin");
    let (mut facts, answer) = match role {
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "garbage" => {
            println!("Es wurde kein Befehl gefunden\nvolfold:{{\"targets\":");
            eprintln!("the term 'New-IscsiTargetPortal' is not recognized");
            return ExitCode::FAILURE;
        }
        "no-admin" => (json!(null), failed("administrator", "not an administrator")),
        "no-service" => (json!(null), failed("service", "it is disabled")),
        "no-portal" => (json!(null), failed("portal", "Connection Failed.")),
        _ if asked["action"] == "attach" => attach(role, &asked),
        _ => detach(role, &asked),
    };
    if facts.is_null() {
        facts = json!({});
    }
    facts["arguments"] = json!(arguments);
    facts["asked"] = asked;
    let record = std::env::var_os(RECORD).expect("a file for the record");
    let mut record = OpenOptions::new().create(true).append(true).open(record).expect("a record");
    writeln!(record, "{facts}").expect("a record");
    // Noise that a profile or a module may make.
    println!("WARNING: noise\nvolfold:{answer}\n");
    ExitCode::SUCCESS
}

fn failed(step: &str, error: &str) -> Value {
    json!({ "targets": [], "step": step, "error": error })
}

fn attach(role: &str, asked: &Value) -> (Value, Value) {
    let text = |name: &str| asked[name].as_str().expect("a text");
    let port = asked["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let secret = if role == "wrong-secret" { "not the secret..." } else { text("secret") };
    let login = (text("user"), secret);
    let discovered = Session::login(text("address"), port, None, login)
        .map(|mut session| session.send_targets());
    let (mut firsts, mut targets) = (Vec::<String>::new(), Vec::new());
    for (number, name) in asked["targets"].as_array().expect("targets").iter().enumerate() {
        let name = name.as_str().expect("a name");
        let session = Session::login(text("address"), port, Some(name), login);
        let disk = number + 7;
        targets.push(match session {
            Err(error) => json!({ "name": name, "disk": null, "paths": [], "error": error }),
            Ok(_) if role == "no-disk" => {
                json!({ "name": name, "disk": null, "error": "the disk does not appear" })
            }
            Ok(mut session) => {
                firsts.push(HEXLOWER.encode(&session.read_first()));
                let volume = format!(r"\\?\Volume{{5eed000{number}-0000-0000-0000-100000000000}}\");
                let offline = if role == "offline" { "the disk has a signature collision" } else { "" };
                json!({ "name": name, "disk": disk, "paths": ["E:\\", volume], "offline": offline, "error": "" })
            }
        });
    }
    (json!({ "discovered": discovered, "firsts": firsts }), json!({ "targets": targets }))
}

fn detach(role: &str, asked: &Value) -> (Value, Value) {
    let names = asked["targets"].as_array().expect("targets").iter();
    let error = if role == "in-use" { "The session cannot be logged out." } else { "" };
    let targets: Vec<Value> = names.map(|name| json!({ "name": name, "error": error })).collect();
    (Value::Null, json!({ "targets": targets }))
}
