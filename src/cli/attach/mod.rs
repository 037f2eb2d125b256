//! `volfold attach`, `detach`: disks and volumes as block devices of this system.
//!
//! A process in the background serves them: to loop devices of Linux, or to the iSCSI initiator of
//! Windows. It ends when the last of the devices is let go. What a killed process left is found by its
//! record, and cleared by the next call.

use std::fs;
use std::io;
use std::path::PathBuf;

use volfold_projector::process;

use super::background;
use super::mount_record::log_file;
use super::outcome::Outcome;
use super::text;

#[cfg(target_os = "linux")]
mod linux;
mod shared;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use linux as host;
pub(crate) use shared::{AttachArguments, DetachArguments};
use shared::{FOLDER, record, records};
#[cfg(windows)]
use windows as host;

pub(crate) fn run(arguments: &AttachArguments) -> io::Result<Outcome> {
    if let (Some(log), Some(folder)) = (&arguments.background_log, &arguments.background_folder) {
        return Ok(host::serve(arguments, log, folder));
    }
    if let Err(error) = host::check_host() {
        text::complain(format_args!("{error}"));
        return Ok(Outcome::Nothing);
    }
    host::clear_dead();
    let begun = new_folder().and_then(|folder| Ok((log_file(&folder)?, folder)));
    let (log, folder) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            text::complain(format_args!("the folder of the devices cannot be made: {error}"));
            return Ok(Outcome::Nothing);
        }
    };
    let more = ["--background-folder".as_ref(), folder.as_os_str()];
    let started = background::start(&log, &more, &arguments.set.images.key);
    if !matches!(started, Ok(Outcome::Done | Outcome::Part)) {
        // Its process is gone, also where it could not say so. Until it writes one the record is ours.
        let left = records().filter(|record| record.folder == folder);
        for record in left {
            host::clear_failed(&record);
        }
    }
    started
}

pub(crate) fn detach(arguments: &DetachArguments) -> io::Result<Outcome> {
    Ok(host::detach(arguments))
}

/// The devices that `record` is of, as far as they are there, and what is to be told of it where that
/// is not the state of a mount.
#[cfg(windows)]
pub(crate) fn told_of(
    record: &super::mount_record::MountRecord,
) -> (Vec<String>, Option<&'static str>) {
    host::told_of(record)
}

/// An empty folder for one process, written down at once under our own number.
fn new_folder() -> io::Result<PathBuf> {
    let state = process::state_folder()?;
    for number in 0_u32.. {
        let folder = state.join(format!("{FOLDER}{number}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                record(&folder, Vec::new(), Vec::new(), None).write()?;
                return Ok(folder);
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
