//! The hashes that an image keeps of its disk, compared with those of the bytes that are read.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use indicatif::ProgressBar;
use md5::Md5;
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use volfold::{Disk, DiskSet, ManifestFile};
use volfold_block::{BlockDevice, BlockResult, Finding, ReadBuffer, Span, code, error_chain};

use super::report::Report;
use super::text;

/// How much is read at once: enough units that several cores decode them.
const PIECE: u64 = 4 << 20;

/// A disk whose hashes were compared.
#[derive(Serialize)]
pub(super) struct DiskJson {
    index: usize,
    path: String,
    hashes: Vec<HashJson>,
    checksums: ChecksumsJson,
}

/// A file of a packed machine, of which the manifest has a hash.
#[derive(Serialize)]
pub(super) struct FileJson {
    /// The file with the manifest, or of it.
    machine: String,
    name: String,
    algorithm: String,
    recorded: String,
    /// `null` where not all can be read.
    found: Option<String>,
}

/// The checksums of regions that the image keeps.
#[derive(Default, Serialize)]
struct ChecksumsJson {
    agreeing: usize,
    differing: usize,
    unreadable: usize,
}

/// A hash that the image keeps, and that of what was read; `null` where not all can be read.
#[derive(Serialize)]
struct HashJson {
    algorithm: &'static str,
    recorded: String,
    found: Option<String>,
}

/// Compares the hashes of all disks of `set` that have some, and tells of each.
pub(super) fn compare(
    set: &DiskSet,
    report: &mut Report<'_>,
    progress: &ProgressBar,
) -> Vec<DiskJson> {
    let with_hashes = set.disks().iter().enumerate();
    let has_some =
        |disk: &Disk| !disk.recorded_hashes.is_empty() || !disk.region_checksums.is_empty();
    let with_hashes = with_hashes.filter(|(_, disk)| has_some(disk));
    with_hashes.map(|(index, disk)| compare_disk(index, disk, report, progress)).collect()
}

/// Compares the hashes that manifests have of files, and tells of each.
pub(super) fn compare_files(
    set: &DiskSet,
    report: &mut Report<'_>,
    progress: &ProgressBar,
) -> Vec<FileJson> {
    let mut files = Vec::new();
    for manifest in set.manifests() {
        let machine = manifest.path.display().to_string();
        if manifest.other_lines > 0 {
            let count = manifest.other_lines;
            let line =
                format!("{machine}: lines of its manifest that are no hash of a file: {count}");
            report.finding(Finding::error(code::IMAGE_HASH_NOT_COMPARED, line));
        }
        for file in &manifest.files {
            let ManifestFile { name, algorithm, digest: recorded, .. } = file;
            progress.set_message(name.clone());
            let whole = format!("{machine}: {name}");
            let found = match digest(file, progress) {
                Ok(found) => Some(found),
                Err(reason) => {
                    let line =
                        format!("{whole}: the hash in the manifest is not compared: {reason}");
                    report.finding(Finding::error(code::IMAGE_HASH_NOT_COMPARED, line));
                    None
                }
            };
            if let Some(found) = &found
                && found != recorded
            {
                let line =
                    format!("{whole}: {algorithm} is {found}, and the manifest has {recorded}");
                report.finding(Finding::error(code::IMAGE_HASH_DIFFERS, line));
            }
            let (name, algorithm) = (name.clone(), algorithm.clone());
            let (machine, recorded) = (machine.clone(), recorded.clone());
            files.push(FileJson { machine, name, algorithm, recorded, found });
        }
    }
    files
}

/// The digest of `file` by the algorithm of its manifest.
fn digest(file: &ManifestFile, progress: &ProgressBar) -> Result<String, String> {
    fn of<D: Digest>(device: &dyn BlockDevice, progress: &ProgressBar) -> BlockResult<String> {
        let mut digest = D::new();
        read(device, Span::below(device.size()), progress, &mut |bytes| digest.update(bytes))?;
        Ok(HEXLOWER.encode(&digest.finalize()))
    }
    let device = file.open().map_err(|error| error_chain(&error))?;
    let device = &*device;
    let digest = match file.algorithm.as_str() {
        "sha1" => of::<Sha1>(device, progress),
        "sha256" => of::<Sha256>(device, progress),
        "sha512" => of::<Sha512>(device, progress),
        other => return Err(format!("{other} is not known")),
    };
    digest.map_err(|error| error_chain(&error))
}

fn compare_disk(
    index: usize,
    disk: &Disk,
    report: &mut Report<'_>,
    progress: &ProgressBar,
) -> DiskJson {
    progress.set_message(disk.path.display().to_string());
    let checksums = compare_regions(index, disk, report, progress);
    let hashes = match disk.recorded_hashes.is_empty() {
        true => Vec::new(),
        false => compare_hashes(index, disk, report, progress),
    };
    DiskJson { index, path: disk.path.display().to_string(), hashes, checksums }
}

/// Compares the hashes of the whole disk.
fn compare_hashes(
    index: usize,
    disk: &Disk,
    report: &mut Report<'_>,
    progress: &ProgressBar,
) -> Vec<HashJson> {
    let found = match digests(&*disk.device, progress) {
        Ok(found) => Some(found),
        Err(error) => {
            let reason = error_chain(&error);
            let line = format!(
                "the hash that was recorded when the image was made cannot be compared: {reason}"
            );
            report.finding(Finding::error(code::IMAGE_HASH_NOT_COMPARED, line).on_disk(index));
            None
        }
    };
    let mut hashes = Vec::new();
    for hash in &disk.recorded_hashes {
        let algorithm = hash.algorithm;
        let found = found.as_ref().map(|found| match algorithm {
            "md5" => found.md5.clone(),
            _ => found.sha1.clone(),
        });
        match &found {
            Some(value) if *value == hash.value => {
                let line = format!("{algorithm} of the disk is as it was recorded: {value}");
                report.finding(Finding::info(code::IMAGE_HASH_AGREES, line).on_disk(index));
            }
            Some(value) => {
                let line = format!(
                    "{algorithm} of the disk is {value}, and {} was recorded when the image was made",
                    hash.value
                );
                report.finding(Finding::error(code::IMAGE_HASH_DIFFERS, line).on_disk(index));
            }
            None => {}
        }
        hashes.push(HashJson { algorithm, recorded: hash.value.clone(), found });
    }
    hashes
}

/// Compares the checksums of regions.
fn compare_regions(
    index: usize,
    disk: &Disk,
    report: &mut Report<'_>,
    progress: &ProgressBar,
) -> ChecksumsJson {
    let mut result = ChecksumsJson::default();
    for region in &disk.region_checksums {
        let start = region.pieces.first().map_or(0, |piece| piece.start());
        match checksum(&*disk.device, &region.pieces, progress) {
            Ok(found) if found == region.crc32 => result.agreeing += 1,
            Ok(found) => {
                result.differing += 1;
                let line = format!(
                    "CRC-32 of the region from byte {start} on is {found:08x}, and {:08x} was \
                     recorded when the image was made",
                    region.crc32
                );
                report.finding(Finding::error(code::IMAGE_HASH_DIFFERS, line).on_disk(index));
            }
            Err(error) => {
                result.unreadable += 1;
                let line = format!(
                    "the CRC-32 of the region from byte {start} on cannot be compared: {}",
                    error_chain(&error)
                );
                report.finding(Finding::error(code::IMAGE_HASH_NOT_COMPARED, line).on_disk(index));
            }
        }
    }
    if result.agreeing > 0 {
        let line = format!("the CRC-32 of {} regions is as it was recorded", result.agreeing);
        report.finding(Finding::info(code::IMAGE_HASH_AGREES, line).on_disk(index));
    }
    result
}

fn checksum(device: &dyn BlockDevice, pieces: &[Span], progress: &ProgressBar) -> BlockResult<u32> {
    let mut sum = crc32fast::Hasher::new();
    for piece in pieces {
        read(device, *piece, progress, &mut |bytes| sum.update(bytes))?;
    }
    Ok(sum.finalize())
}

/// Calls `take` with all bytes of `span`, one part after the other.
fn read(
    device: &dyn BlockDevice,
    span: Span,
    progress: &ProgressBar,
    take: &mut dyn FnMut(&[u8]),
) -> BlockResult<()> {
    let mut buf = ReadBuffer::new(PIECE.min(span.length()) as usize);
    let mut offset = span.start();
    while offset < span.end() {
        let count = PIECE.min(span.end() - offset);
        let piece = &mut buf[..count as usize];
        device.read_at(offset, piece)?;
        take(piece);
        offset += count;
        progress.inc(count);
    }
    Ok(())
}

/// The hashes of a whole disk.
struct Digests {
    md5: String,
    sha1: String,
}

fn digests(device: &dyn BlockDevice, progress: &ProgressBar) -> BlockResult<Digests> {
    let (mut md5, mut sha1) = (Md5::new(), Sha1::new());
    read(device, Span::below(device.size()), progress, &mut |bytes| {
        md5.update(bytes);
        sha1.update(bytes);
    })?;
    Ok(Digests { md5: HEXLOWER.encode(&md5.finalize()), sha1: HEXLOWER.encode(&sha1.finalize()) })
}

/// Adds a line for `file` if its hash is as the manifest has it.
pub(super) fn human_file(text: &mut String, file: &FileJson) {
    let FileJson { machine, name, algorithm, recorded, found } = file;
    if found.as_ref() == Some(recorded) {
        let line = format!("{machine}: {name}: {algorithm} {recorded}, as the manifest has it");
        let _ = writeln!(text, "{}", text::plain(&line));
    }
}

/// Adds a line for each hash of `disk` that is as it was recorded.
pub(super) fn human(text: &mut String, disk: &DiskJson) {
    for hash in &disk.hashes {
        if hash.found.as_ref() == Some(&hash.recorded) {
            let (index, algorithm, value) = (disk.index, hash.algorithm, &hash.recorded);
            let _ = writeln!(text, "disk{index}: {algorithm} {value}, as it was recorded");
        }
    }
    let ChecksumsJson { agreeing, .. } = disk.checksums;
    if agreeing > 0 {
        let index = disk.index;
        let _ = writeln!(text, "disk{index}: CRC-32 of {agreeing} regions, as it was recorded");
    }
}
