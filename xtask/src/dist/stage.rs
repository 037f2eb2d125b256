//! The folder that the packages hold: the program, completions, manual page, licences, documents.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::wine::{self, Wine};
use super::{CROSS, Package, at, licences};
use crate::Failure;
use crate::steps;

/// Makes the folder anew, for the program at `built`.
pub(super) fn fill(package: &Package, built: &Path) -> Result<(), Failure> {
    let folder = package.folder();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    let part = |name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(at(&folder)).map(|()| folder)
    };
    let (docs, completions) = (part("docs")?, part("completions")?);
    copy(built, &package.program())?;
    let bytes = fs::read(built).map_err(at(built))?;
    if let Some(name) = foreign_library(&bytes) {
        return Err(format!("{}: needs {name}, which many a Windows lacks", built.display()));
    }
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&steps::root().join(name), &folder.join(name))?;
    }
    for name in ["CODES.md", "LUKS.md", "PERFORMANCE.md", "VOLUMES.md", "WINDOWS.md"] {
        copy(&steps::root().join("docs").join(name), &docs.join(name))?;
    }
    licences::write(package, &folder.join("LICENSES-OF-LIBRARIES.txt"))?;
    let shells: &[(&str, &str)] = if package.is_for_windows() {
        &[("powershell", "volfold.ps1"), ("bash", "volfold.bash")]
    } else {
        &[("bash", "volfold.bash"), ("zsh", "_volfold"), ("fish", "volfold.fish")]
    };
    for (shell, name) in shells {
        say(package, &["completions", shell], &completions.join(name))?;
    }
    if !package.is_for_windows() {
        say(package, &["man"], &part("man")?.join("volfold.1"))?;
    }
    runs(package)
}

/// Builds the program, with the kept cross compiler where that takes one.
pub(super) fn build(package: &Package, profile: &str) -> Result<PathBuf, Failure> {
    let words = ["build", "--locked", "--package", "volfold", "--bin", "volfold"];
    let mut cargo = steps::cargo_command(&words);
    cargo.args(["--profile", profile, "--target", &package.triple]);
    if package.triple.ends_with("-msvc") {
        // Many a Windows lacks the run-time library of Visual C++.
        let name = package.triple.to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), "-Ctarget-feature=+crt-static");
    }
    if package.triple == CROSS && cfg!(target_os = "linux") {
        let environment = wine::toolchain().join("env.sh");
        if !environment.is_file() {
            steps::program("tools/windows-toolchain.sh", &[])?;
        }
        let mut shell = Command::new("bash");
        shell.args(["-c", ". \"$0\" && exec \"$@\""]).arg(environment);
        shell.arg(cargo.get_program()).args(cargo.get_args());
        // They would stand in for those of the target.
        shell.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo = shell;
    }
    steps::run(&mut cargo)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let name = package.program();
    let name = name.file_name().unwrap_or(OsStr::new("volfold"));
    Ok(steps::target_folder().join(&package.triple).join(folder).join(name))
}

/// A run-time library of a compiler that the program imports. Its name is in the table of imports.
fn foreign_library(program: &[u8]) -> Option<&'static str> {
    let libraries = ["VCRUNTIME140.dll", "libgcc_s_seh-1.dll", "libwinpthread-1.dll"];
    let imports = |name: &&str| memchr::memmem::find(program, name.as_bytes()).is_some();
    libraries.into_iter().find(imports)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(at(from))
}

/// The program of the folder, if this machine can run it.
fn program(package: &Package) -> Option<Command> {
    if package.is_for_windows() && cfg!(not(windows)) {
        return Some(Wine::find()?.command(package.program()));
    }
    Some(Command::new(package.program()))
}

/// Writes what the program prints to `file`. No pipe: wine's server would hold it open.
fn say(package: &Package, words: &[&str], file: &Path) -> Result<(), Failure> {
    let mut command = program(package).ok_or("wine is needed to run the program; see tools/")?;
    let out = File::create(file).map_err(at(file))?;
    steps::run(command.args(words).stdout(out))
}

/// The program of the folder starts and tells its version.
fn runs(package: &Package) -> Result<(), Failure> {
    let file = package.out.join("version.txt");
    say(package, &["--version"], &file)?;
    let said = fs::read_to_string(&file).map_err(at(&file))?;
    fs::remove_file(&file).map_err(at(&file))?;
    let first = said.lines().next().unwrap_or_default();
    if first != format!("volfold {}", package.version) {
        return Err(format!("{}: says `{first}`", package.program().display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_the_library_of_its_compiler_is_found_out() {
        assert_eq!(foreign_library(b"MZ..KERNEL32.dll\0"), None);
        assert_eq!(foreign_library(b"..VCRUNTIME140.dll\0"), Some("VCRUNTIME140.dll"));
    }
}
