//! The disks and volumes of a set as block devices.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use volfold::{DiskSet, SetVolume};
use volfold_block::BlockDevice;
use volfold_projector::block::overlay::Overlay;
use volfold_projector::block::{Content, Export};

use super::text;

/// A disk or volume that can be exported.
pub(crate) struct Device {
    /// `disk0`, or the id of the volume.
    pub(crate) id: String,
    /// The folder name of the volume; a disk has none.
    pub(crate) name: String,
    /// What its file is called; no two of a set have one name, but a disk and the volume that
    /// takes all of it.
    pub(crate) file_name: String,
    /// What it is, for people.
    pub(crate) description: String,
    pub(crate) device: Arc<dyn BlockDevice>,
    /// The size of a logical sector in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) sector_size: u32,
    /// Whether it is a disk with partitions.
    #[cfg(target_os = "linux")]
    pub(crate) is_partitioned: bool,
}

/// All disks and volumes of `set`.
pub(crate) fn devices(set: &DiskSet) -> Vec<Device> {
    let mut all = Vec::new();
    for (index, disk) in set.disks().iter().enumerate() {
        let id = format!("disk{index}");
        all.push(Device {
            name: String::new(),
            file_name: format!("{id}.img"),
            description: format!(
                "{}, {} disk, {}",
                disk.path.display(),
                disk.format,
                text::size(disk.size)
            ),
            device: disk.device.clone(),
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
            file_name: format!("{stem}.img"),
            description: format!("{}, {}", volume.name, text::size(device.size())),
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

/// Keeps those of `devices` that `wanted` names by id or folder name, all if it is empty. The
/// names that none has.
pub(crate) fn choose<'a>(devices: &mut Vec<Device>, wanted: &'a [String]) -> Vec<&'a str> {
    let mut left: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if !wanted.is_empty() {
        devices.retain(|device| {
            let named = |wanted: &&str| *wanted == device.id || *wanted == device.name;
            let place = left.iter().position(named);
            place.map(|place| left.remove(place)).is_some()
        });
    }
    left
}

/// What the file of `volume`, one of the set's, is called.
pub(crate) fn file_name<'a>(devices: &'a [Device], volume: &SetVolume) -> &'a str {
    let is_it = |device: &&Device| device.id == volume.volume.id.0 && device.name == volume.name;
    devices.iter().find(is_it).map(|device| device.file_name.as_str()).unwrap_or_default()
}

/// Whether changes are taken, and where they are kept.
#[derive(Args)]
pub(crate) struct OverlayArguments {
    /// Make the device writable, and keep what is written in this file, or in `memory`
    #[arg(long, value_name = "FILE")]
    pub(crate) overlay: Option<PathBuf>,
    /// The most that an overlay may take
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_size)]
    overlay_limit: u64,
}

impl OverlayArguments {
    /// Whether changes are taken.
    #[cfg(target_os = "linux")]
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

    /// `device` of `set`, exported as `name`, with its overlay.
    pub(crate) fn export(
        &self,
        set: &DiskSet,
        device: &Device,
        name: String,
    ) -> Result<Arc<Export>, String> {
        let bytes = device.device.clone();
        let content = match &self.overlay {
            None => Content::ReadOnly(bytes),
            Some(_) if self.in_memory() => {
                Content::Overlay(Arc::new(Overlay::in_memory(bytes, self.overlay_limit)))
            }
            Some(path) => {
                let identity = set.identity(&device.id);
                let identity = identity.map_err(|error| format!("{}: {error}", device.id))?;
                let overlay = Overlay::in_file(bytes, path, &identity, self.overlay_limit);
                let overlay = overlay.map_err(|error| format!("{}: {error}", path.display()))?;
                if overlay.lost() > 0 {
                    text::complain(format_args!(
                        "{}: the last {} were not written whole, and are left out",
                        path.display(),
                        text::size(overlay.lost())
                    ));
                }
                Content::Overlay(Arc::new(overlay))
            }
        };
        Ok(Arc::new(Export::new(name, device.description.clone(), content)))
    }
}
