//! The program `volfold`, which mounts: nothing that a mount needs is linked here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use crate::foreign;
use crate::open_set::SetOptions;

/// The variable that names the program.
const VARIABLE: &str = "VOLFOLD_PROGRAM";

/// LIMIT: bytes that are kept of what the program says of a failure.
const MAX_MESSAGE: usize = 16 << 10;

/// Why the program did not do what it was asked for.
#[derive(Debug)]
pub enum ProgramError {
    /// It was not found.
    Missing,
    /// It could not be started.
    NotStarted(PathBuf, io::Error),
    /// It ended without having done it; what it said.
    Failed(String),
    /// The set was opened with keys, which are not handed on.
    HasKeys,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "the program volfold was not found; name it by an option or by {VARIABLE}, or put it \
                 beside the library or on PATH"
            ),
            Self::NotStarted(path, error) => {
                write!(f, "{}: cannot be started: {error}", path.display())
            }
            Self::Failed(said) => f.write_str(said),
            Self::HasKeys => f.write_str(
                "a set that was opened with keys cannot be mounted: they are not handed on to the \
                 program volfold",
            ),
        }
    }
}

impl std::error::Error for ProgramError {}

/// What is to be mounted, and where.
pub struct MountRequest<'a> {
    /// The images.
    pub paths: &'a [PathBuf],
    /// How they were opened.
    pub options: &'a SetOptions,
    /// The names or ids of the volumes; none for all.
    pub volumes: &'a [String],
    /// The folder, which is made if it is missing.
    pub folder: &'a Path,
}

/// A volume that is mounted.
#[derive(Clone, Debug, Deserialize)]
pub struct MountedVolume {
    /// Its id.
    pub id: String,
    /// The name of its folder.
    pub name: String,
    /// Its folder, then what else programs may call it.
    pub paths: Vec<String>,
}

/// What was mounted.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The folder.
    pub folder: String,
    /// The log of the process that serves it.
    pub log: Option<String>,
    /// The volumes.
    pub volumes: Vec<MountedVolume>,
    /// Whether something that was asked for is missing, or may be older than it should.
    pub is_part: bool,
    /// What the program said, in lines.
    pub talk: String,
}

/// The answer of `volfold mount --json`, version 1.
#[derive(Deserialize)]
struct Answer {
    folder: Option<String>,
    log: Option<String>,
    #[serde(default)]
    volumes: Vec<MountedVolume>,
}

/// The program.
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The program: the one that is `given`, else the one that `VOLFOLD_PROGRAM` names, else one beside
    /// this library or in the folder `bin` beside its own, else one on PATH.
    ///
    /// # Errors
    /// [`ProgramError::Missing`], or that what was named is not there.
    pub fn find(given: Option<&Path>) -> Result<Self, ProgramError> {
        let named = given.map(Path::to_path_buf).or_else(|| {
            let variable = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
            variable.map(PathBuf::from)
        });
        if let Some(path) = named {
            // Not every host tells that a program is not there when it is started.
            return match path.metadata() {
                Ok(facts) if facts.is_file() => Ok(Self { path }),
                Ok(_) => Err(ProgramError::NotStarted(path, io::ErrorKind::IsADirectory.into())),
                Err(error) => Err(ProgramError::NotStarted(path, error)),
            };
        }
        let name = format!("volfold{}", std::env::consts::EXE_SUFFIX);
        let library = foreign::own_library();
        let folder = library.as_deref().and_then(Path::parent);
        let beside = folder.map(|folder| folder.join(&name));
        let bin = folder.and_then(Path::parent).map(|above| above.join("bin").join(&name));
        let search = std::env::var_os("PATH").unwrap_or_default();
        // What stands relative in PATH depends on where the process is.
        let on_path = std::env::split_paths(&search).filter(|folder| folder.is_absolute());
        let on_path = on_path.map(|folder| folder.join(&name));
        let found = beside.into_iter().chain(bin).chain(on_path).find(|path| path.is_file());
        found.map(|path| Self { path }).ok_or(ProgramError::Missing)
    }

    /// Mounts, and returns when the folder can be read.
    ///
    /// # Errors
    /// Why nothing is mounted.
    pub fn mount(&self, request: &MountRequest<'_>) -> Result<Mounted, ProgramError> {
        let SetOptions {
            allowed,
            cache_size,
            format,
            snapshot,
            snapshots,
            system_files,
            as_is,
            deleted,
            keys,
            ..
        } = request.options;
        if !keys.is_empty() {
            return Err(ProgramError::HasKeys);
        }
        let mut command = Command::new(&self.path);
        command.args(["mount", "--json", "--cache-size"]).arg(cache_size.to_string());
        for folder in allowed {
            command.arg("--allow-path").arg(folder);
        }
        if let Some(format) = format {
            command.arg("--format").arg(format);
        }
        // Values that may begin with a dash.
        command.args(snapshot.iter().map(|name| format!("--snapshot={name}")));
        command.args(request.volumes.iter().map(|name| format!("--volume={name}")));
        if *snapshots {
            command.arg("--snapshots");
        }
        if *system_files {
            command.arg("--system-files");
        }
        if *as_is {
            command.arg("--as-is");
        }
        if *deleted {
            command.arg("--deleted");
        }
        let SetOptions { time_zone, code_page, .. } = request.options;
        command.arg(format!("--time-zone={time_zone}")).arg(format!("--code-page={code_page}"));
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        command.args(request.paths.iter().map(|path| absolute(path)));
        let (code, output) = self.run(command.arg(absolute(request.folder)))?;
        let talk = said(&output);
        let answer: Option<Answer> = serde_json::from_slice(&output.stdout).ok();
        match (code, answer) {
            (Some(0 | 3), Some(Answer { folder: Some(folder), log, volumes })) => {
                Ok(Mounted { folder, log, volumes, is_part: code == Some(3), talk })
            }
            _ => Err(ProgramError::Failed(talk)),
        }
    }

    /// Frees `folder`, and returns when the images are closed; with `force` also while files in it are
    /// open.
    ///
    /// # Errors
    /// Why it is not freed.
    pub fn unmount(&self, folder: &Path, force: bool) -> Result<(), ProgramError> {
        let mut command = Command::new(&self.path);
        command.arg("unmount");
        if force {
            command.arg("--force");
        }
        command.arg(std::path::absolute(folder).unwrap_or_else(|_| folder.into()));
        match self.run(&mut command)? {
            // 3: it is free, and programs read on from what they have open.
            (Some(0 | 3), _) => Ok(()),
            (_, output) => Err(ProgramError::Failed(said(&output))),
        }
    }

    fn run(&self, command: &mut Command) -> Result<(Option<i32>, Output), ProgramError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output =
            command.output().map_err(|error| ProgramError::NotStarted(self.path.clone(), error))?;
        Ok((output.status.code(), output))
    }
}

/// What the program said.
fn said(output: &Output) -> String {
    let kept = output.stderr.get(..MAX_MESSAGE).unwrap_or(&output.stderr);
    let text = String::from_utf8_lossy(kept).trim().to_owned();
    if text.is_empty() { format!("the program volfold ended: {}", output.status) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Program::find(Some(Path::new("/nonexistent/volfold"))).err().unwrap();
        assert!(error.to_string().starts_with("/nonexistent/volfold: cannot be started"));
    }

    #[test]
    fn keys_are_not_handed_on() {
        use volfold::volume::lock::{Key, KeyKind};
        let keys = vec![Key::new(KeyKind::Password, "secret")];
        let options = SetOptions { keys, ..SetOptions::default() };
        let program = Program::find(Some(&std::env::current_exe().unwrap())).unwrap();
        let folder = Path::new("x");
        let request = MountRequest { paths: &[], options: &options, volumes: &[], folder };
        assert!(matches!(program.mount(&request), Err(ProgramError::HasKeys)));
    }
}
