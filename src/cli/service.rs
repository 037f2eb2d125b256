//! `volfold service`: mounts that Windows starts and ends.
//!
//! The service is this program; each mount of its list is a process of its own, started by `mount`
//! and ended by `unmount`, so that one image cannot take the others down.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::Deserialize;
use volfold_fs::Timestamp;
use volfold_projector::process::{self, service};

use super::outcome::Outcome;
use super::text;

/// How often a mount that failed is tried again; its image may be on a disk that comes later.
const RETRY: Duration = Duration::from_secs(60);

/// LIMIT: bytes of the log after which it is begun anew.
const MAX_LOG: u64 = 4 << 20;

/// Mount by a service of Windows, as SYSTEM, from the start of the machine on
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold service install mounts.toml
  volfold service uninstall

The list, in TOML; volumes and access may be left out:

  [[mount]]
  folder = 'C:\\mnt\\web'
  disks = ['D:\\machines\\web.vmdk']
  volumes = ['System']
  access = 'everyone'

Both need an administrator. The list is copied to %ProgramData%\\volfold, where the log is too.")]
pub(crate) struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Subcommand)]
enum ServiceCommand {
    /// Register and start the service
    Install {
        /// The list of mounts
        list: PathBuf,
    },
    /// Free all its folders, stop it and remove it
    Uninstall,
    /// What Windows starts
    #[command(hide = true)]
    Run,
}

/// The list of mounts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MountList {
    mount: Vec<ListedMount>,
}

/// One mount of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedMount {
    folder: PathBuf,
    disks: Vec<PathBuf>,
    #[serde(default)]
    volumes: Vec<String>,
    access: Option<String>,
}

impl MountList {
    /// Reads the list at `path`.
    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let list: Self = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        for mount in &list.mount {
            // The service's working folder is not the user's.
            for path in mount.disks.iter().chain([&mount.folder]) {
                if !path.is_absolute() {
                    return Err(format!("{shown}: {}: give the whole path", path.display()));
                }
            }
            if mount.disks.is_empty() {
                return Err(format!("{shown}: {}: has no disks", mount.folder.display()));
            }
            if let Some(access) = &mount.access
                && !["me", "everyone", "guest"].contains(&access.as_str())
            {
                return Err(format!(
                    "{shown}: access {access:?} is neither me, everyone nor guest"
                ));
            }
        }
        Ok(list)
    }
}

pub(crate) fn run(arguments: &ServiceArguments) -> io::Result<Outcome> {
    let result = match &arguments.command {
        ServiceCommand::Install { list } => install(list),
        ServiceCommand::Uninstall => service::uninstall().map_err(|error| refused(&error)),
        ServiceCommand::Run => service::run(serve).map_err(|error| {
            format!("this is what Windows starts, `volfold service install` registers it: {error}")
        }),
    };
    Ok(match result {
        Ok(()) => Outcome::Done,
        Err(line) => {
            text::complain(format_args!("{line}"));
            Outcome::Nothing
        }
    })
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("the service: {error}; run as administrator"),
        _ => format!("the service: {error}"),
    }
}

fn install(list: &Path) -> Result<(), String> {
    MountList::read(list)?;
    let folder = service::system_folder().map_err(|error| refused(&error))?;
    fs::copy(list, folder.join("service.toml")).map_err(|error| refused(&error))?;
    service::install(vec!["service".into(), "run".into()]).map_err(|error| refused(&error))
}

/// What the service does until it is told to stop. Windows shows the error as the service's own.
fn serve(stop: &Receiver<()>) -> io::Result<()> {
    let folder = service::system_folder()?;
    let mut log = Log { path: folder.join("service.log") };
    let list = match MountList::read(&folder.join("service.toml")) {
        Ok(list) => list.mount,
        Err(line) => {
            log.line(&line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
    };
    let mut waiting: Vec<&ListedMount> = list.iter().collect();
    let mut mounted = Vec::new();
    loop {
        waiting.retain(|mount| {
            let done = mount.start(&mut log);
            if done {
                mounted.push(*mount);
            }
            !done
        });
        let told = if waiting.is_empty() {
            stop.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            stop.recv_timeout(RETRY)
        };
        if told != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    for mount in mounted {
        mount.end(&mut log);
    }
    Ok(())
}

impl ListedMount {
    fn start(&self, log: &mut Log) -> bool {
        let mut command = vec![OsString::from("mount")];
        for volume in &self.volumes {
            command.extend(["--volume".into(), volume.into()]);
        }
        if let Some(access) = &self.access {
            command.extend(["--access".into(), access.into()]);
        }
        command.push("--".into());
        command.extend(self.disks.iter().map(|disk| disk.into()));
        command.push((&self.folder).into());
        self.call(&command, log)
    }

    fn end(&self, log: &mut Log) {
        self.call(&["unmount".into(), "--".into(), (&self.folder).into()], log);
    }

    /// Calls this program; whether it did at least a part.
    fn call(&self, arguments: &[OsString], log: &mut Log) -> bool {
        let run = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(arguments).stdin(Stdio::null());
            process::detach(&mut command);
            command.output()
        };
        match run() {
            Ok(output) => {
                for line in String::from_utf8_lossy(&output.stderr).lines() {
                    log.line(line);
                }
                let verb = arguments.first().map(|verb| verb.display().to_string());
                let verb = verb.unwrap_or_default();
                log.line(&format!("{verb} {}: {}", self.folder.display(), output.status));
                matches!(output.status.code(), Some(0 | 3))
            }
            Err(error) => {
                log.line(&format!("{}: {error}", self.folder.display()));
                false
            }
        }
    }
}

/// The service's log file; a line that cannot be written is lost.
struct Log {
    path: PathBuf,
}

impl Log {
    fn line(&mut self, line: &str) {
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > MAX_LOG) {
            let _ = fs::remove_file(&self.path);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        let time = text::time(Timestamp { seconds, nanoseconds: 0 });
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).append(true);
        let opened = process::open_writable(&self.path, options, &process::ImageFiles::default());
        if let Ok(mut file) = opened {
            let _ = writeln!(file, "{time} {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MountList, String> {
        let name = format!("volfold-service-{}-{:x}.toml", std::process::id(), text.len());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        let list = MountList::read(&path);
        fs::remove_file(path).unwrap();
        list
    }

    #[test]
    fn a_list_names_folders_disks_volumes_and_readers() {
        let list = read(
            "[[mount]]\nfolder = 'C:\\m'\ndisks = ['D:\\a.vmdk']\nvolumes = ['S']\n\
             access = 'everyone'\n[[mount]]\nfolder = 'C:\\n'\ndisks = ['D:\\b']\n",
        )
        .unwrap();
        assert_eq!(list.mount.len(), 2);
        assert_eq!(list.mount[0].disks, [PathBuf::from(r"D:\a.vmdk")]);
        assert!(list.mount[1].volumes.is_empty());
    }

    #[test]
    fn a_list_that_is_wrong_is_refused_with_the_reason() {
        for (text, reason) in [
            ("[[mount]]\nfolder = 'm'\ndisks = ['D:\\a']", "whole path"),
            ("[[mount]]\nfolder = 'C:\\m'\ndisks = []", "has no disks"),
            ("[[mount]]\nfolder = 'C:\\m'\ndisks = ['D:\\a']\naccess = 'x'", "neither"),
            ("[[mount]]\nfolder = 'C:\\m'\ndisk = ['D:\\a']", "unknown field"),
            ("x", "expected"),
        ] {
            let line = read(text).err().expect(text);
            assert!(line.contains(reason), "{line}");
        }
    }
}
