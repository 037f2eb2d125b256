//! What a volume holds: its driver, or why there is none.

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence, Finding, code, error_chain};
use volfold_fs::{FileSystemDriver, FsResult, ReadOptions, VolumeReader};

use crate::signature::{Kind, Signature, Texture, signature_of, texture_of};
use crate::volume::{Health, Volume, VolumeType};

/// A volume and the driver that knows its file system.
pub(crate) struct Discovered {
    pub(crate) volume: Volume,
    pub(crate) driver: Option<&'static dyn FileSystemDriver>,
    /// Why the volume has no driver.
    pub(crate) reason: Option<String>,
    /// Whether there are files, or may well be, that are not shown.
    pub(crate) is_left_out: bool,
}

/// The surest driver for `device`, and how sure it is.
pub(super) fn probe(
    device: &dyn BlockDevice,
) -> FsResult<Option<(Confidence, &'static dyn FileSystemDriver)>> {
    match volfold_fs::detect(device)? {
        Some(driver) => Ok(Some((driver.probe(device)?, driver))),
        None => Ok(None),
    }
}

/// What the file system is called that begins at the start of `device`, can be opened, and has the byte `at`
/// of it; all of it has to lie in the first `size` bytes.
pub(super) fn file_system_over(
    device: &Arc<dyn BlockDevice>,
    at: u64,
    size: u64,
) -> Option<&'static str> {
    let (confidence, driver) = probe(&**device).ok()??;
    if confidence != Confidence::Certain {
        return None;
    }
    let opened = driver.mount(VolumeReader::uncached(device.clone()), ReadOptions::default());
    let covered = opened.ok()?.info().size;
    (at < covered && covered <= size).then(|| driver.title())
}

/// Looks for the driver of `volume`.
pub(super) fn identify(volume: Volume, findings: &mut Vec<Finding>) -> Discovered {
    if let Some(lock) = &volume.lock {
        let reason = format!("locked: {}", lock.sentence());
        return Discovered { volume, driver: None, reason: Some(reason), is_left_out: true };
    }
    let (driver, reason, is_left_out) = match volfold_fs::detect(&*volume.device) {
        // A backup of what was there before something else.
        Ok(Some(driver)) if is_by_backup_alone(driver, &*volume.device) => {
            let (reason, is_left_out) = unknown(&volume);
            (None, Some(reason), is_left_out)
        }
        Ok(Some(driver)) => (Some(driver), None, false),
        Ok(None) => {
            let (reason, is_left_out) = unknown(&volume);
            (None, Some(reason), is_left_out)
        }
        Err(error) => {
            let line = error_chain(&error);
            // The manager has told already what its volume lacks.
            let is_told = volume.membership.is_some()
                || volume.snapshot.is_some()
                || volume.kind == VolumeType::Encrypted;
            if !is_told || volume.health != Health::Failed {
                let finding = Finding::error(code::VOLUME_UNREADABLE, line.clone());
                findings.push(finding.on_volume(&volume.id.0));
            }
            (None, Some(line), true)
        }
    };
    Discovered { volume, driver, reason, is_left_out }
}

/// Whether `driver` knows `device` by a backup alone, and its start is of something else.
fn is_by_backup_alone(driver: &dyn FileSystemDriver, device: &dyn BlockDevice) -> bool {
    let is_first = driver.probe(device).is_ok_and(|confidence| confidence != Confidence::No);
    let is_other =
        |signature: &Signature| signature.kind == Kind::Volume && !signature.names_what_is_read();
    !is_first && signature_of(device).is_ok_and(|found| found.is_some_and(is_other))
}

/// Why a volume is not shown: what is on it, or the words of its partition type; and whether there
/// are files on it, or may well be.
fn unknown(volume: &Volume) -> (String, bool) {
    let device = &*volume.device;
    if device.size() == 0 && volume.size > 0 {
        return ("lies past the end of the image".to_owned(), true);
    }
    // A device that cannot be read there says nothing of what it holds.
    match signature_of(device) {
        Ok(Some(signature)) if signature.kind == Kind::Volume => {
            return (signature.sentence(), signature.holds_files());
        }
        Ok(Some(signature)) => {
            return (format!("{}: begins as a {}", nothing_known(volume), signature.name), false);
        }
        _ => {}
    }
    let texture = texture_of(device).ok();
    let line = match texture.and_then(Texture::sentence) {
        Some(sentence) => format!("{}: {sentence}", nothing_known(volume)),
        None => nothing_known(volume),
    };
    // Blank is blank; anything else in a partition for files may be a damaged or encrypted volume,
    // and random bytes are one wherever they are.
    let is_left_out = match (texture, &volume.partition) {
        (Some(Texture::Random | Texture::Other), None) => true,
        (Some(Texture::Random | Texture::Other) | None, Some(partition)) => {
            partition.kind.is_for_files()
        }
        _ => false,
    };
    (line, is_left_out)
}

fn nothing_known(volume: &Volume) -> String {
    match volume.partition.as_ref().map(|partition| partition.kind) {
        None if volume.kind != VolumeType::WholeDisk => "no known file system".to_owned(),
        Some(kind) => match kind.title() {
            Some(title) => format!("no known file system (partition type {title})"),
            None => format!("no known file system (partition type {kind})"),
        },
        None => "no known file system or partition table".to_owned(),
    }
}
