//! VMware's configuration of a machine (`.vmx`), and of its snapshots (`.vmsd`).
//!
//! Specification: none. Lines of `key = "value"`, keys without regard to case, in the encoding that
//! `.encoding` names; `|22` in a value is the character 0x22. A disk is `scsi0:0.fileName` with
//! `scsi0:0.present`; what is in a drive has a `deviceType` of `cdrom` or `atapi-cdrom`. In the
//! `.vmsd` beside it `snapshot0.displayName` and `.uid` tell of a snapshot, `snapshot0.disk0.fileName`
//! and `.node` of its disks as they were then.

use std::collections::BTreeMap;
use std::path::Path;

use volfold_block::{BlockError, BlockResult};
use volfold_images::{Located, TextEncoding};

use super::config::{MAX_DISKS, MAX_SNAPSHOTS, Machine, MachineDisk, MachineSnapshot, text};

/// The kinds of controllers that disks are attached to.
const CONTROLLERS: [&str; 4] = ["scsi", "sata", "ide", "nvme"];

/// What is asked of a configuration, by key in lower case, as raw bytes.
#[derive(Default)]
struct Lines {
    values: BTreeMap<String, Vec<u8>>,
    encoding: TextEncoding,
}

impl Lines {
    fn parse(bytes: &[u8]) -> Self {
        let mut values = BTreeMap::new();
        for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = line.trim_ascii();
            let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (key, value) = line.split_at(at);
            let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            let key = String::from_utf8_lossy(key.trim_ascii()).to_ascii_lowercase();
            if !line.starts_with(b"#") {
                values.insert(key, unescaped(value));
            }
        }
        let label = values.get(".encoding").map(|label| String::from_utf8_lossy(label));
        let encoding = label.map(|label| TextEncoding::of(&label)).unwrap_or_default();
        Self { values, encoding }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.values.get(&key.to_ascii_lowercase()).map(|value| self.encoding.decode(value))
    }

    fn says(&self, key: &str, word: &str) -> bool {
        self.text(key).is_some_and(|value| value.eq_ignore_ascii_case(word))
    }
}

/// A value without its escapes: `|` and two hexadecimal digits.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'|');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// The machine that `bytes` configure; its snapshots are in the file beside `path` that ends in `vmsd`.
pub(super) fn read(
    bytes: &[u8],
    file: &Located,
    path: &Path,
    snapshot: Option<&str>,
) -> BlockResult<Machine> {
    let lines = Lines::parse(bytes);
    if lines.values.keys().any(|key| key.starts_with("encryption.")) {
        return Err(BlockError::encrypted(
            "is the configuration of a machine that is encrypted by VMware; decrypt the machine",
        ));
    }
    let past = Snapshots::beside(file, path);
    let mut machine = Machine { snapshots: past.known.clone(), ..Machine::default() };
    if let Some(wanted) = snapshot
        && let Some(number) = MachineSnapshot::find(&past.known, wanted)?
    {
        machine.snapshot = past.known.get(number).cloned();
        machine.disks = past.disks(number);
        return Ok(machine);
    }
    let slots = lines.values.keys().filter_map(|key| key.strip_suffix(".filename"));
    for slot in slots.filter(|slot| is_slot(slot)) {
        let kind = lines.text(&format!("{slot}.devicetype")).unwrap_or_default();
        let is_present = !lines.says(&format!("{slot}.present"), "false");
        let name = lines.values.get(&format!("{slot}.filename")).map(Vec::as_slice);
        let file = lines.encoding.file_name(name.unwrap_or_default());
        let is_disk = kind.to_ascii_lowercase().contains("disk") || kind.is_empty();
        // A drive may be called so in older ones, without a type.
        let is_medium =
            [".iso", ".flp"].iter().any(|end| file.shown.to_ascii_lowercase().ends_with(end));
        if is_present && is_disk && !is_medium && !file.is_empty() {
            machine.disks.push(MachineDisk { slot: slot.to_owned(), file, format: None });
        }
    }
    Ok(machine)
}

/// Whether `slot` is one of a controller for disks: `scsi0:0`.
fn is_slot(slot: &str) -> bool {
    CONTROLLERS.iter().any(|name| {
        let rest = slot.strip_prefix(name).and_then(|rest| rest.split_once(':'));
        rest.is_some_and(|(bus, unit)| [bus, unit].iter().all(|it| it.parse::<u16>().is_ok()))
    })
}

/// The snapshots of a machine, as its `.vmsd` tells.
#[derive(Default)]
struct Snapshots {
    lines: Lines,
    known: Vec<MachineSnapshot>,
}

impl Snapshots {
    /// Those of the machine whose configuration is in `file`, at `path`.
    fn beside(file: &Located, path: &Path) -> Self {
        let name = path.with_extension("vmsd");
        let beside = name.file_name().and_then(|name| file.files.open(Path::new(name)).ok());
        let Some(bytes) = beside.and_then(|beside| text(&beside).ok()) else {
            return Self::default();
        };
        let lines = Lines::parse(&bytes);
        let count = lines.text("snapshot.numsnapshots").and_then(|count| count.parse().ok());
        let known = (0..count.unwrap_or(0).min(MAX_SNAPSHOTS)).map_while(|number| {
            let text = |key: &str| lines.text(&format!("snapshot{number}.{key}"));
            let name = text("displayname").unwrap_or_default();
            Some(MachineSnapshot { id: text("uid")?, name })
        });
        Self { known: known.collect(), lines }
    }

    /// The disks of the one with this number.
    fn disks(&self, number: usize) -> Vec<MachineDisk> {
        let disks = (0..MAX_DISKS).map(|disk| format!("snapshot{number}.disk{disk}"));
        let disks = disks.map_while(|disk| {
            let name = self.lines.values.get(&format!("{disk}.filename"))?;
            let slot = self.lines.text(&format!("{disk}.node")).unwrap_or(disk);
            Some(MachineDisk { slot, file: self.lines.encoding.file_name(name), format: None })
        });
        disks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use volfold_block::MemoryDevice;
    use volfold_images::Locator;

    struct Beside(Option<&'static str>);

    impl Locator for Beside {
        fn open(&self, reference: &Path) -> BlockResult<Located> {
            match self.0.filter(|_| reference == Path::new("vm.vmsd")) {
                Some(text) => Ok(located(text, None)),
                None => Err(BlockError::missing("no such file")),
            }
        }
    }

    fn located(text: &str, snapshots: Option<&'static str>) -> Located {
        Located {
            device: Arc::new(MemoryDevice::new(text.as_bytes())),
            name: "vm.vmx".to_owned(),
            files: Arc::new(Beside(snapshots)),
        }
    }

    fn disks(
        text: &str,
        snapshots: Option<&'static str>,
        wanted: Option<&str>,
    ) -> Vec<(String, String)> {
        let file = located(text, snapshots);
        let machine = read(text.as_bytes(), &file, Path::new("/x/vm.vmx"), wanted).unwrap();
        machine.disks.into_iter().map(|disk| (disk.slot, disk.file.shown)).collect()
    }

    const VMX: &str = ".encoding = \"UTF-8\"\nscsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\n\
        scsi0:0.fileName = \"web-000002.vmdk\"\nscsi0:1.fileName = \"two |22quoted|22.vmdk\"\n\
        SCSI0:1.Present=\"TRUE\"\nscsi0:2.fileName = \"gone.vmdk\"\nscsi0:2.present = \"FALSE\"\n\
        ide1:0.fileName = \"/iso/cd.iso\"\nide1:0.deviceType = \"cdrom-image\"\n\
        sata0:1.fileName = \"auto detect\"\nsata0:1.deviceType = \"cdrom-raw\"\n\
        nvme0:0.fileName = \"fast.vmdk\"\n#scsi0:9.fileName = \"no.vmdk\"\nfloppy0.fileName = \"a.flp\"\n";

    #[test]
    fn disks_are_those_that_are_present_and_no_media() {
        let found = disks(VMX, None, None);
        let wanted = [
            ("nvme0:0", "fast.vmdk"),
            ("scsi0:0", "web-000002.vmdk"),
            ("scsi0:1", "two \"quoted\".vmdk"),
        ];
        assert_eq!(found, wanted.map(|(slot, file)| (slot.to_owned(), file.to_owned())));
    }

    #[test]
    fn a_snapshot_has_the_files_of_its_time() {
        let snapshots = "snapshot.numSnapshots = \"2\"\nsnapshot0.uid = \"1\"\n\
            snapshot0.displayName = \"before the update\"\nsnapshot0.numDisks = \"1\"\n\
            snapshot0.disk0.fileName = \"web.vmdk\"\nsnapshot0.disk0.node = \"scsi0:0\"\n\
            snapshot1.uid = \"2\"\nsnapshot1.displayName = \"later\"\n\
            snapshot1.disk0.fileName = \"web-000001.vmdk\"\nsnapshot1.disk0.node = \"scsi0:0\"\n";
        let of = |wanted| disks(VMX, Some(snapshots), Some(wanted));
        let one = |file: &str| vec![("scsi0:0".to_owned(), file.to_owned())];
        assert_eq!(of("before the update"), one("web.vmdk"));
        assert_eq!(of("2"), one("web-000001.vmdk"));
        assert_eq!(of("none").len(), 3, "it may be one within the images");
        assert_eq!(disks(VMX, None, Some("later")).len(), 3);
    }

    #[test]
    fn a_machine_that_is_encrypted_says_so() {
        let text = "encryption.keySafe = \"vmware:key\"\nencryption.data = \"x\"\n";
        let error = read(text.as_bytes(), &located(text, None), Path::new("a.vmx"), None);
        assert_eq!(error.unwrap_err().kind(), volfold_block::BlockErrorKind::Encrypted);
    }
}
