//! The libraries, installed as `cargo xtask install-capi` does it, and programs compiled against them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::{needs, run};

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder with what cargo has built for these tests.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace());
    // What is set for the package under test is of no use to another cargo.
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    }) {
        command.env_remove(name);
    }
    command
}

/// The program volfold, beside what was built for these tests; it is built if it is not there.
pub(crate) fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let path = built().parent().unwrap().join("volfold");
        if !path.is_file() {
            run(cargo().args(["build", "--quiet", "--package", "volfold", "--bin", "volfold"]), 0);
        }
        path
    };
    PROGRAM.get_or_init(find).clone()
}

/// Runs `cargo xtask install-capi` with the libraries that were built for these tests; `None` where the
/// programs compiled with it cannot be made.
pub(crate) fn install(arguments: &[&str]) -> Option<()> {
    let tools = [("gcc", "--version"), ("pkg-config", "--version")];
    if !tools.iter().all(|(tool, option)| needs(tool, option)) {
        return None;
    }
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "install-capi", "--libraries"]);
    run(command.arg(built()).args(arguments), 0);
    Some(())
}

/// The libraries in a folder of their own.
pub(crate) struct Installed {
    folder: tempfile::TempDir,
    /// Held while a program is compiled: tests share programs.
    compiling: Mutex<()>,
}

/// The libraries, installed once for all tests.
pub(crate) fn installed() -> Option<&'static Installed> {
    static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
    let install = || {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        install(&["--prefix", folder.path().to_str().unwrap()])?;
        Some(Installed { folder, compiling: Mutex::new(()) })
    };
    INSTALLED.get_or_init(install).as_ref()
}

impl Installed {
    pub(crate) fn library(&self, name: &str) -> PathBuf {
        self.folder.path().join("lib").join(name)
    }

    pub(crate) fn header(&self, name: &str) -> PathBuf {
        self.folder.path().join("include").join(name)
    }

    /// What pkg-config says of `package`.
    fn flags(&self, package: &str, options: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.library("pkgconfig")).args(options).arg(package);
        let output = run(&mut command, 0);
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn gcc(&self, name: &str, output: &str, package: &str, options: &[&str]) -> Command {
        let mut command = Command::new("gcc");
        command.args(["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-pthread"]);
        command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(options);
        command.args(self.flags(package, &["--cflags"]));
        command.arg("-I").arg(self.folder.path().join("include/volfold"));
        command.arg(workspace().join("capi/tests/c").join(format!("{name}.c")));
        command.arg("-o").arg(self.folder.path().join(output));
        command
    }

    /// The program `name`, compiled by what pkg-config says of `package`.
    pub(crate) fn compile(&self, name: &str, package: &str) -> PathBuf {
        self.build(name, name, package, &[])
    }

    fn build(&self, name: &str, output: &str, package: &str, options: &[&str]) -> PathBuf {
        let _held = self.compiling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let program = self.folder.path().join(output);
        if !program.is_file() {
            let mut command = self.gcc(name, output, package, options);
            let place = format!("-Wl,-rpath,{}", self.library("").display());
            run(command.args(self.flags(package, &["--libs"])).arg(place), 0);
        }
        program
    }

    /// The same for ThreadSanitizer; `None` where it is not there.
    #[track_caller]
    pub(crate) fn compile_for_threads(&self, name: &str, package: &str) -> Option<PathBuf> {
        let has_it = run_quietly(Command::new("gcc").args(["-print-file-name=libtsan.so"]))
            .is_some_and(|path| Path::new(path.trim()).is_absolute());
        super::lacks_unless(has_it, "libtsan")
            .then(|| self.build(name, &format!("{name}-tsan"), package, &["-fsanitize=thread"]))
    }

    /// The program `name` with the library in it.
    pub(crate) fn compile_static(&self, name: &str) -> PathBuf {
        let _held = self.compiling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let output = format!("{name}-static");
        let mut command = self.gcc(name, &output, "volfold", &[]);
        command.arg(self.library("libvolfold.a"));
        let all = self.flags("volfold", &["--libs", "--static"]);
        run(command.args(all.iter().filter(|flag| *flag != "-lvolfold")), 0);
        self.folder.path().join(output)
    }
}

fn run_quietly(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
