//! The disks and volumes of a set as block devices.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sha2::{Digest, Sha256};
use volfold::{DiskSet, SetVolume};
use volfold_block::{BlockDevice, Code, Finding, code};
use volfold_projector::block::overlay::{BaseFile, Overlay, OverlayFile};
use volfold_projector::block::{Content, Export};
use volfold_projector::process::ImageFiles;

use super::text;

/// A disk or volume that can be exported.
pub(crate) struct Device {
    /// `disk0`, or the id of the volume.
    pub(crate) id: String,
    /// The folder name of the volume; a disk has none.
    pub(crate) name: String,
    /// What Windows or Linux calls the volume: `C:`, `Volume{...}`, `vg/lv`.
    guest_names: Vec<String>,
    /// What its file is called; no two of a set have one name, but a disk and the volume that
    /// takes all of it.
    pub(crate) file_name: String,
    /// What it is, for people.
    pub(crate) description: String,
    pub(crate) device: Arc<dyn BlockDevice>,
    /// The disks that it lies on, by number.
    disks: Vec<usize>,
    /// The size of a logical sector in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) sector_size: u32,
    /// Whether it is a disk with partitions.
    #[cfg(target_os = "linux")]
    pub(crate) is_partitioned: bool,
}

impl Device {
    /// Whether `name` is its folder name, its id, or what its system calls it, without regard to case.
    fn is_called(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        self.id.to_lowercase() == folded
            || self.name.to_lowercase() == folded
            || self.is_of_guest(name)
    }

    /// Whether `name` is what its system calls it.
    fn is_of_guest(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        self.guest_names.iter().any(|own| own.to_lowercase() == folded)
    }
}

/// All disks and volumes of `set`.
pub(crate) fn devices(set: &DiskSet) -> Vec<Device> {
    let mut all = Vec::new();
    for (index, disk) in set.disks().iter().enumerate() {
        let id = format!("disk{index}");
        all.push(Device {
            name: String::new(),
            guest_names: Vec::new(),
            file_name: format!("{id}.img"),
            description: format!(
                "{}, {} disk, {}",
                disk.path.display(),
                disk.format,
                text::size(disk.size)
            ),
            device: disk.device.clone(),
            disks: vec![index],
            #[cfg(target_os = "linux")]
            sector_size: disk.sector_size,
            #[cfg(target_os = "linux")]
            is_partitioned: disk.partition_scheme.is_some(),
            id,
        });
    }
    let stems = stems(set);
    for (volume, stem) in set.volumes().iter().zip(stems) {
        let device = volume.volume.device.clone();
        all.push(Device {
            id: volume.volume.id.0.clone(),
            name: volume.name.clone(),
            guest_names: volume.guest_names().into_iter().chain(volume.group_name()).collect(),
            file_name: format!("{stem}.img"),
            description: format!("{}, {}", volume.name, text::size(device.size())),
            disks: volume.volume.extents.iter().map(|extent| extent.disk).collect(),
            #[cfg(target_os = "linux")]
            sector_size: sector_size(set, volume),
            #[cfg(target_os = "linux")]
            is_partitioned: false,
            device,
        });
    }
    all
}

/// The sector size of the disks that hold `volume`.
#[cfg(target_os = "linux")]
fn sector_size(set: &DiskSet, volume: &SetVolume) -> u32 {
    let disks = volume.volume.extents.iter().filter_map(|extent| set.disks().get(extent.disk));
    disks.map(|disk| disk.sector_size).max().unwrap_or(512)
}

/// What the file of each volume is called: as its folder, unless a disk is called so.
fn stems(set: &DiskSet) -> Vec<String> {
    let disks = (0..set.disks().len()).map(|index| format!("disk{index}"));
    let volumes = set.volumes().iter().map(|volume| volume.name.to_lowercase());
    let mut taken: HashSet<String> = disks.chain(volumes).collect();
    let mut stem = |name: &str, id: &str| {
        let folded = name.to_lowercase();
        let index = folded.strip_prefix("disk").and_then(|index| index.parse::<usize>().ok());
        let is_disk = index
            .is_some_and(|index| index < set.disks().len() && folded == format!("disk{index}"));
        // The volume that takes a whole disk has the id of the disk, and its bytes.
        if !is_disk || name == id {
            return name.to_owned();
        }
        let free = (2_u32..).map(|number| format!("{name}-{number}"));
        let mut free = free.filter(|free| taken.insert(free.to_lowercase()));
        free.next().unwrap_or_else(|| name.to_owned())
    };
    set.volumes().iter().map(|volume| stem(&volume.name, volume.id())).collect()
}

/// Keeps those of `devices` that `wanted` names, all if it is empty: by id, folder name, or what
/// Windows calls a volume, without regard to case. The names that none has, or more than one.
pub(crate) fn choose<'a>(devices: &mut Vec<Device>, wanted: &'a [String]) -> Vec<&'a str> {
    let mut left: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if !wanted.is_empty() {
        // Copies of a disk have one letter.
        let copies = |wanted: &str| devices.iter().filter(|one| one.is_of_guest(wanted)).count();
        let (clear, unclear) = left.into_iter().partition(|wanted| copies(wanted) <= 1);
        left = clear;
        devices.retain(|device| {
            let place = left.iter().position(|wanted| device.is_called(wanted));
            place.map(|place| left.remove(place)).is_some()
        });
        left.extend::<Vec<&str>>(unclear);
    }
    left
}

/// Whether `findings` say that the volume `id` is refused, so that there is no byte of it.
pub(crate) fn is_refused(findings: &[Finding], id: &str) -> bool {
    const REFUSED: [Code; 6] = [
        code::LDM_VOLUME_REFUSED,
        code::LVM_VOLUME_REFUSED,
        code::MD_VOLUME_REFUSED,
        code::LUKS_VOLUME_REFUSED,
        code::BITLOCKER_VOLUME_REFUSED,
        code::SHADOW_COPY_REFUSED,
    ];
    let is_it = |finding: &Finding| finding.volume.as_deref() == Some(id);
    findings.iter().any(|finding| REFUSED.contains(&finding.code) && is_it(finding))
}

/// What the file of `volume`, one of the set's, is called.
pub(crate) fn file_name<'a>(devices: &'a [Device], volume: &SetVolume) -> &'a str {
    let is_it = |device: &&Device| device.id == volume.volume.id.0 && device.name == volume.name;
    devices.iter().find(is_it).map(|device| device.file_name.as_str()).unwrap_or_default()
}

/// The files that all disks of `set` are made of and those that were `given` for it, be they the
/// configuration of a machine: none of them may ever be written.
pub(crate) fn image_files(set: &DiskSet, given: &[PathBuf]) -> ImageFiles {
    let files = set.disks().iter().flat_map(|disk| &disk.files);
    let files = files.map(|file| (PathBuf::from(&file.name), file.facts.id));
    ImageFiles::new(files.chain(given.iter().map(|path| (path.clone(), None))))
}

/// The files that the disks of `device` are made of, and how they are now.
fn base_files(set: &DiskSet, device: &Device) -> Vec<BaseFile> {
    let is_of = |index: &usize| device.disks.contains(index);
    let disks = set.disks().iter().zip(0..).filter(|(_, index)| is_of(index));
    let mut files: Vec<BaseFile> = Vec::new();
    for file in disks.flat_map(|(disk, _)| &disk.files) {
        let facts = file.facts;
        let base = BaseFile { name: file.name.clone(), size: facts.size, modified: facts.modified };
        if !files.contains(&base) {
            files.push(base);
        }
    }
    files
}

/// What tells `device` from others, whatever it is called and given with: a SHA-256 of its size, and
/// of its first and last mebibyte. What of these cannot be read counts as such.
fn identity(device: &dyn BlockDevice) -> [u8; 32] {
    const PIECE: u64 = 1 << 20;
    const STEP: usize = 4096;
    let size = device.size();
    let mut hash = Sha256::new();
    hash.update(size.to_le_bytes());
    let mut piece = vec![0; usize::try_from(PIECE.min(size)).unwrap_or(0)];
    for start in [0, size.saturating_sub(PIECE)] {
        if device.read_at(start, &mut piece).is_err() {
            for (block, at) in piece.chunks_mut(STEP).zip((start..).step_by(STEP)) {
                if device.read_at(at, block).is_err() {
                    block.fill(0);
                    hash.update(b"unreadable");
                }
            }
        }
        hash.update(&piece);
    }
    hash.finalize().into()
}

/// Whether changes are taken, and where they are kept.
#[derive(Args)]
pub(crate) struct OverlayArguments {
    /// Make the device writable, and keep what is written in this file, or in `memory`
    #[arg(long, value_name = "FILE")]
    pub(crate) overlay: Option<PathBuf>,
    /// Take the overlay up also where the image was changed since, or the overlay is damaged; what is
    /// wrong is told
    #[arg(long, requires = "overlay")]
    overlay_force: bool,
    /// The most that changes in an overlay may take
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_size)]
    overlay_limit: u64,
}

impl OverlayArguments {
    /// Whether changes are taken.
    #[cfg(any(target_os = "linux", windows))]
    pub(crate) fn is_given(&self) -> bool {
        self.overlay.is_some()
    }

    fn in_memory(&self) -> bool {
        self.overlay.as_ref().is_some_and(|path| path.as_os_str() == "memory")
    }

    /// Whether the overlay can be of `count` disks and volumes; else why not.
    pub(crate) fn check(&self, count: usize) -> Result<(), String> {
        if self.overlay.is_some() && !self.in_memory() && count != 1 {
            let line = "an overlay file is of one disk or volume; choose it with --volume";
            return Err(line.to_owned());
        }
        Ok(())
    }

    /// `device` of `set`, exported as `name`, with its overlay; `say` is told what is noticed.
    pub(crate) fn export(
        &self,
        set: &DiskSet,
        device: &Device,
        name: String,
        say: &dyn Fn(&str),
    ) -> Result<Arc<Export>, String> {
        let bytes = device.device.clone();
        let content = match &self.overlay {
            None => Content::ReadOnly(bytes),
            Some(_) if self.in_memory() => {
                Content::Overlay(Arc::new(Overlay::in_memory(bytes, self.overlay_limit)))
            }
            Some(path) => {
                let mut wanted = OverlayFile::new(path, identity(&*bytes), self.overlay_limit);
                wanted.files = base_files(set, device);
                wanted.images = image_files(set, &[]);
                wanted.force = self.overlay_force;
                let shown = path.display();
                let overlay = Overlay::in_file(bytes, &wanted);
                let overlay = overlay.map_err(|error| format!("{shown}: {error}"))?;
                for remark in overlay.remarks() {
                    say(&format!("{shown}: {remark}"));
                }
                Content::Overlay(Arc::new(overlay))
            }
        };
        Ok(Arc::new(Export::new(name, device.description.clone(), content)))
    }
}
