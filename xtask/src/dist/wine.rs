//! Programs for Windows on a machine that is none.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::steps;

/// Where `tools/windows-toolchain.sh` puts the cross compiler and wine.
pub(super) fn toolchain() -> PathBuf {
    let given = std::env::var_os("WINDOWS_TOOLCHAIN_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| steps::target_folder().join("windows-toolchain"))
}

/// The wine of the toolchain.
pub(super) struct Wine {
    runner: PathBuf,
    prefix: Option<PathBuf>,
}

impl Wine {
    /// `None` on Windows, and where the toolchain has not been made.
    pub(super) fn find() -> Option<Self> {
        let runner = toolchain().join("bin/wine-run");
        (cfg!(not(windows)) && runner.is_file()).then_some(Self { runner, prefix: None })
    }

    /// With a Windows of its own, in `prefix`.
    pub(super) fn with_prefix(&self, prefix: PathBuf) -> Self {
        Self { runner: self.runner.clone(), prefix: Some(prefix) }
    }

    /// The Windows that a new one is copied from.
    pub(super) fn template(&self) -> PathBuf {
        toolchain().join("prefix")
    }

    /// Runs `program`. Its pipes are closed: the servers of wine would hold them open.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.runner);
        command.arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(prefix) = &self.prefix {
            command.env("WINEPREFIX", prefix);
        }
        command
    }
}
