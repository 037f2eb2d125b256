//! All that must hold before a change is taken. `.ci/run` installs what it needs first.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

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
];

/// [`WINDOWS`] waits for wine more than it computes, so these run beside it.
const BESIDE: &[Step] = &[
    ("python", python),
    ("sample", sample),
    ("cases", steps::cases),
    ("documentation", documentation),
    ("fuzz", fuzz),
];

const WINDOWS: &str = "windows";

/// Of what [`WINDOWS`] has left.
const LAST: &[Step] = &[("packages", packages)];

/// Runs the steps that are `named`, or all.
pub(crate) fn run(named: &[&str]) -> Result<(), Failure> {
    let names: Vec<&str> = [STEPS, BESIDE, LAST].concat().iter().map(|(name, _)| *name).collect();
    if let Some(other) = named.iter().find(|name| **name != WINDOWS && !names.contains(name)) {
        return Err(format!("no step {other}; there are {}, {WINDOWS}", names.join(", ")));
    }
    let is_asked = |name: &str| named.is_empty() || named.contains(&name);
    let mut times = Vec::new();
    let mut run_all = |steps: &[Step]| -> Result<(), Failure> {
        for (name, step) in steps.iter().filter(|(name, _)| is_asked(name)) {
            println!("\n== {name}");
            let start = Instant::now();
            step()?;
            times.push(format!("{name} {} s", start.elapsed().as_secs()));
        }
        Ok(())
    };
    run_all(STEPS)?;
    let windows = is_asked(WINDOWS).then(Windows::begin).transpose()?;
    run_all(BESIDE)?;
    let took = windows.map(Windows::end).transpose()?;
    run_all(LAST)?;
    times.extend(took.map(|took| format!("{WINDOWS} {} s", took.as_secs())));
    println!("\n== done: {}", times.join(", "));
    Ok(())
}

/// The step for Windows while it runs; ended with this value.
struct Windows {
    child: Child,
    start: Instant,
}

impl Windows {
    fn begin() -> Result<Self, Failure> {
        println!("\n== {WINDOWS} begins; what it says follows when it ends");
        let at = |error| format!("{WINDOWS}: {error}");
        let log = File::create(Self::log()).map_err(at)?;
        let mut command = Command::new(".ci/windows");
        command.current_dir(steps::root()).env("VOLFOLD_WITHOUT", without());
        command.stdout(log.try_clone().map_err(at)?).stderr(log);
        Ok(Self { child: command.spawn().map_err(at)?, start: Instant::now() })
    }

    fn log() -> PathBuf {
        steps::target_folder().join("windows.log")
    }

    fn end(mut self) -> Result<Duration, Failure> {
        let status = self.child.wait().map_err(|error| format!("{WINDOWS}: {error}"))?;
        let log = fs::read(Self::log()).map_err(|error| format!("{WINDOWS}: {error}"))?;
        println!("\n== {WINDOWS}\n{}", String::from_utf8_lossy(&log));
        if status.success() {
            Ok(self.start.elapsed())
        } else {
            Err(format!(".ci/windows: {status}"))
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // Its trap ends what it has begun; none of it matters once another step has failed.
        let pid = self.child.id().to_string();
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = Command::new("kill").arg(pid).status();
        }
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
