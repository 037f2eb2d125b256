//! All that must hold before a change is taken. `.ci/run` installs what it needs first.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{Failure, dist, steps};

/// A step and its name.
type Step = (&'static str, fn() -> Result<(), Failure>);

/// In the order of how soon each fails.
const STEPS: &[Step] = &[
    ("format", steps::format),
    ("workflows", steps::workflows),
    ("licences", licences),
    ("package", package),
    ("lints", steps::lints),
    ("test", test),
    ("features", steps::features),
    ("sample", sample),
    ("cases", steps::cases),
    ("documentation", documentation),
    ("windows", windows),
    ("packages", packages),
    ("fuzz", fuzz),
];

/// Steps that run beside the one for Windows, whose tests wait for each other and for wine more than they
/// compute.
const BESIDE_WINDOWS: &[&str] = &["features", "documentation"];

/// Runs the steps that are `named`, or all.
pub(crate) fn run(named: &[&str]) -> Result<(), Failure> {
    if let Some(other) = named.iter().find(|name| STEPS.iter().all(|(step, _)| step != *name)) {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("no step {other}; there are {}", names.join(", ")));
    }
    let mut times = Vec::new();
    for (name, step) in STEPS {
        let is_wanted = match named {
            [] => !BESIDE_WINDOWS.contains(name),
            named => named.contains(name),
        };
        if !is_wanted {
            continue;
        }
        println!("\n== {name}");
        let start = Instant::now();
        match *name {
            "windows" if named.is_empty() => beside(BESIDE_WINDOWS, *step)?,
            _ => step()?,
        }
        times.push(format!("{name} {} s", start.elapsed().as_secs()));
    }
    println!("\n== done: {}", times.join(", "));
    Ok(())
}

/// Runs the steps `named` in a process of their own while `step` runs, and prints after it what they said.
fn beside(named: &[&str], step: fn() -> Result<(), Failure>) -> Result<(), Failure> {
    let failed = |error| format!("{}: {error}", named.join(", "));
    let log = steps::target_folder().join("beside.log");
    let output = File::create(&log).map_err(failed)?;
    let both = output.try_clone().map_err(failed)?;
    // Tests of `step` may have deadlines, and its builds would be waited for.
    let mut command = Command::new("nice");
    command.env("CARGO_TARGET_DIR", steps::target_folder().join("beside"));
    command.args(["-n", "10"]).arg(env::current_exe().map_err(failed)?).arg("ci").args(named);
    let mut child = command.stdout(output).stderr(both).spawn().map_err(failed)?;
    let done = step();
    let status = child.wait().map_err(failed)?;
    print!("{}", fs::read_to_string(&log).map_err(failed)?);
    done?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(io::Error::other(status.to_string()))),
    }
}

/// What this system cannot show, though it is CI: tests that need it are ignored, all others fail.
fn without() -> String {
    let mut without = vec!["a program for Windows"];
    if !steps::root().join("../shared/corpus/MANIFEST.json").is_file() {
        without.push("the public corpus");
    }
    let given = env::var("VOLFOLD_WITHOUT").unwrap_or_default();
    [without.join(", "), given].join(", ")
}

/// Every test. One that cannot run fails.
fn test() -> Result<(), Failure> {
    let mut command = steps::cargo_command(&["test", "--workspace", "--locked"]);
    steps::run(command.env("CI", "true").env("VOLFOLD_WITHOUT", without()))
}

/// As the README shows it.
fn sample() -> Result<(), Failure> {
    steps::cargo(&["run", "--release", "--", "ls", "-lR", "samples/sample.vmdk"])
}

fn documentation() -> Result<(), Failure> {
    let mut command = steps::cargo_command(&["doc", "--workspace", "--no-deps", "--locked"]);
    steps::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Advisories need a database from the network, so they are not asked for.
fn licences() -> Result<(), Failure> {
    steps::cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"])
}

/// Every crate can be published: its files are there, and what it depends on has a version.
fn package() -> Result<(), Failure> {
    let own = ["--exclude", "volfold-winfsp-double", "--exclude", "xtask"];
    let words = ["package", "--workspace", "--no-verify", "--locked", "--allow-dirty"];
    steps::cargo(&[&words[..], &own].concat())
}

fn windows() -> Result<(), Failure> {
    let mut command = Command::new(".ci/windows");
    steps::run(command.env("VOLFOLD_WITHOUT", without()))
}

/// The packages, of programs that the tests have left: what is shipped is built for the release.
fn packages() -> Result<(), Failure> {
    let mut targets = vec![("debug/volfold".to_owned(), Vec::new())];
    // Made by the step for Windows, where it can be.
    if dist::has_toolchain() {
        targets.push((format!("{}/debug/volfold.exe", dist::CROSS), vec!["--target", dist::CROSS]));
    }
    for (program, mut words) in targets {
        let program = steps::target_folder().join(program);
        let program = program.to_string_lossy();
        if Path::new(&*program).is_file() {
            words.extend(["--program", &program]);
        }
        words.extend(["--profile", "dev"]);
        dist::run(&words)?;
    }
    Ok(())
}

fn fuzz() -> Result<(), Failure> {
    steps::fuzz(&["--seconds", "8"])
}
