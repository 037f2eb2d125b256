//! Proxmox VE's configuration of a virtual machine (`100.conf`).
//!
//! Specification: the manual page `qm.conf(5)`. Lines of `key: value`; `scsi0: STORAGE:VOLUME,options`
//! is a disk, VOLUME may be a path. Sections in brackets are snapshots, whose disks have the same names:
//! an image keeps the state itself.

use std::path::PathBuf;

use volfold_images::FileName;

use super::config::{Machine, MachineDisk};

/// The kinds of slots that disks are attached to.
const SLOTS: [&str; 5] = ["scsi", "virtio", "sata", "ide", "unused"];

/// The endings that the file of a volume may have.
const ENDINGS: [&str; 4] = ["", ".raw", ".qcow2", ".vmdk"];

/// The machine that `bytes` configure; `None` if it is another file of that name.
pub(super) fn read(bytes: &[u8]) -> Option<Machine> {
    let text = str::from_utf8(bytes).ok()?;
    let mut machine = Machine::default();
    let now = text.lines().take_while(|line| !line.starts_with('['));
    for line in now {
        let Some((slot, value)) = line.split_once(": ") else { continue };
        let number = SLOTS.iter().find_map(|name| slot.strip_prefix(name));
        if number.is_none_or(|number| number.parse::<u16>().is_err()) {
            continue;
        }
        let (volume, options) = value.trim().split_once(',').unwrap_or((value.trim(), ""));
        if volume == "none" || options.split(',').any(|option| option == "media=cdrom") {
            continue;
        }
        let path = volume.split_once(':').map_or(volume, |(_, path)| path);
        let name = path.rsplit('/').next().unwrap_or(path);
        if !name.is_empty() {
            let spellings = ENDINGS.iter().map(|end| PathBuf::from(format!("{name}{end}")));
            let file = FileName { shown: volume.to_owned(), spellings: spellings.collect() };
            machine.disks.push(MachineDisk { slot: slot.to_owned(), file, format: None });
        }
    }
    (!machine.disks.is_empty()).then_some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_volumes_of_storages() {
        let text = "bootdisk: scsi0\nide2: none,media=cdrom\nsata0: local:iso/cd.iso,media=cdrom\n\
            name: web\nscsi0: local-lvm:vm-100-disk-0,size=32G\nscsihw: virtio-scsi-pci\n\
            virtio1: local:100/vm-100-disk-1.qcow2,cache=none\n\n[before]\nscsi0: local:old\n";
        let machine = read(text.as_bytes()).unwrap();
        let names: Vec<_> = machine
            .disks
            .iter()
            .map(|disk| (disk.slot.as_str(), disk.file.spellings[1].to_str().unwrap()))
            .collect();
        let wanted = [("scsi0", "vm-100-disk-0.raw"), ("virtio1", "vm-100-disk-1.qcow2.raw")];
        assert_eq!(names, wanted);
        assert!(read(b"[main]\nide: 1\nkey: value\n").is_none());
    }
}
