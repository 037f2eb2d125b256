//! What the commands are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR");
    root().join(given.unwrap_or_else(|| "target".into()))
}

/// Runs `name` in the workspace.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Result<(), Failure> {
    run(Command::new(name).args(arguments))
}

/// Runs the cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    run(&mut cargo_command(arguments))
}

pub(crate) fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs `command` in the workspace, or where it says.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let arguments = command.get_args().map(|word| word.to_string_lossy());
    let shown = [command.get_program().to_string_lossy()].into_iter().chain(arguments);
    let shown = shown.collect::<Vec<_>>().join(" ");
    if command.get_current_dir().is_none() {
        command.current_dir(root());
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// What to run before every commit.
pub(crate) fn check() -> Result<(), Failure> {
    format()?;
    lints()?;
    cargo(&["test", "--workspace", "--lib", "--bins", "--quiet"])?;
    cargo(&["test", "--test", "suite", "--", "layering", "--quiet"])
}

pub(crate) fn format() -> Result<(), Failure> {
    cargo(&["fmt", "--all", "--check"])
}

pub(crate) fn lints() -> Result<(), Failure> {
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

/// Each feature by itself, and none; all of them, and the default ones, are what everything else is built
/// with. The resolver leaves the features of what only tests depend on alone.
pub(crate) fn features() -> Result<(), Failure> {
    let mut arguments = vec!["hack", "check", "--each-feature"];
    arguments.extend(["--exclude-all-features", "--exclude-features", "default"]);
    // The features of the others are those that these two hand on.
    for library in ["volfold", "volfold-projector"] {
        arguments.extend(["-p", library]);
    }
    cargo(&arguments)
}

pub(crate) fn fuzz(arguments: &[&str]) -> Result<(), Failure> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
    let (seconds, targets) = match arguments {
        ["--seconds", seconds, targets @ ..] => (number(seconds)?, targets),
        ["--hours", hours, targets @ ..] => (number(hours)?.saturating_mul(3600), targets),
        targets => (15, targets),
    };
    program("tests/fuzz/run", &[&[seconds.to_string().as_str()], targets].concat())
}

/// The cases beside the checkout that are known to hold; without them, nothing.
pub(crate) fn cases() -> Result<(), Failure> {
    let script = root().join("../shared/cases/run.py");
    if !script.is_file() {
        println!("there are no cases beside the checkout");
        return Ok(());
    }
    let list = root().join("tests/cases-that-hold.txt");
    let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let ids = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    cargo(&["build", "--release", "--locked"])?;
    let mut command = Command::new("python3");
    command.arg(script).args(["--binary", "target/release/volfold"]).args(ids);
    run(&mut command)
}

/// What only GitHub's runners run, looked at here.
pub(crate) fn workflows() -> Result<(), Failure> {
    let folder = target_folder().join("workflows");
    let at = |error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(at)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root().join("tools/workflows").join(name), folder.join(name)).map_err(at)?;
    }
    // The grammar's own bindings to Node are not used: nothing is compiled.
    let words = ["ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"];
    run(Command::new("npm").arg("--prefix").arg(&folder).args(words))?;
    let mut check = Command::new("node");
    run(check.arg("tools/workflows/check.cjs").env("NODE_PATH", folder.join("node_modules")))
}
