//! All that must hold before a change is taken. `.ci/run` installs what it needs first.

use std::env;
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
    ("features", steps::features),
    ("test", test),
    ("python", python),
    ("sample", sample),
    ("cases", steps::cases),
    ("documentation", documentation),
    ("windows", windows),
    ("packages", packages),
    ("fuzz", fuzz),
];

/// Runs the steps that are `named`, or all.
pub(crate) fn run(named: &[&str]) -> Result<(), Failure> {
    if let Some(other) = named.iter().find(|name| STEPS.iter().all(|(step, _)| step != *name)) {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("no step {other}; there are {}", names.join(", ")));
    }
    let mut times = Vec::new();
    for (name, step) in STEPS {
        if !named.is_empty() && !named.contains(name) {
            continue;
        }
        println!("\n== {name}");
        let start = Instant::now();
        step()?;
        times.push(format!("{name} {} s", start.elapsed().as_secs()));
    }
    println!("\n== done: {}", times.join(", "));
    Ok(())
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

/// The package for Python, over the library that the tests have left.
fn python() -> Result<(), Failure> {
    let built = steps::target_folder().join("debug");
    let mut command = Command::new(".ci/python");
    command.env("VOLFOLD_LIBRARY", built.join("deps/libvolfold_c.so"));
    steps::run(command.env("VOLFOLD_PROGRAM", built.join("volfold")))
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
