//! The table of file systems of a Linux system, and which volumes of a set its lines mean.
//!
//! Specification: fstab(5) of util-linux.

use crate::set::volume::SetVolume;
use crate::volume::VolumeType;

use super::volume::GuestVolume;

/// LIMIT: lines that are looked at, and units that say the same; others are told.
pub(crate) const MAX_LINES: usize = 4096;

/// A line of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// What is mounted.
    pub(crate) source: String,
    /// Where: without empty parts, `.` and `..`, if it is a path.
    pub(crate) directory: String,
    /// The kind of file system.
    pub(crate) kind: String,
    /// Its options.
    pub(crate) options: String,
}

/// The lines of `text`, and whether there are more than are looked at.
pub(crate) fn parse(text: &[u8]) -> (Vec<Line>, bool) {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| {
        let mut words = line.split_whitespace().map(unescaped);
        Some(Line {
            source: words.next()?,
            directory: plain(&words.next()?),
            kind: words.next().unwrap_or_default(),
            options: words.next().unwrap_or_default(),
        })
    });
    let mut lines: Vec<Line> = lines.take(MAX_LINES.saturating_add(1)).collect();
    let has_more = lines.len() > MAX_LINES;
    lines.truncate(MAX_LINES);
    (lines, has_more)
}

/// `directory` without empty parts, `.` and `..`, if it is a path.
pub(crate) fn plain(directory: &str) -> String {
    if !directory.starts_with('/') {
        return directory.to_owned();
    }
    let mut plain = Vec::new();
    for part in directory.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    format!("/{}", plain.join("/"))
}

/// Why no volume is the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// A sentence.
    pub(crate) reason: String,
    /// Whether several may be it, as copies of a disk.
    pub(crate) is_ambiguous: bool,
}

impl From<&str> for Lack {
    fn from(reason: &str) -> Self {
        Self { reason: reason.to_owned(), is_ambiguous: false }
    }
}

impl Line {
    /// Whether it means memory on a disk.
    pub(crate) fn is_swap(&self) -> bool {
        self.kind == "swap"
    }

    /// The disk that it names by its place among the disks of the system, from 0, as `/dev/sda1` does.
    pub(crate) fn disk(&self) -> Option<usize> {
        Some(device_name(self.source.strip_prefix("/dev/")?)?.0)
    }

    /// Whether the system starts without what is mounted.
    pub(crate) fn may_fail(&self) -> bool {
        self.has_option("nofail")
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// Whether it means files that are shown at the start or at the first look, and not something of the
    /// kernel.
    pub(crate) fn shows_files(&self) -> bool {
        let waits = self.has_option("noauto") && !self.has_option("x-systemd.automount");
        let is_file_system = self.source.starts_with("/dev/")
            || self.source.contains('=')
            || self.why_no_volume().is_some();
        is_file_system && self.directory.starts_with('/') && !waits
    }

    /// Whether it says no place for its files, and is none that has no place.
    pub(crate) fn is_odd(&self) -> bool {
        !self.directory.starts_with('/')
            && !["none", "swap"].contains(&self.directory.as_str())
            && !self.is_swap()
    }

    /// Why it means no volume, as a sentence.
    pub(crate) fn why_no_volume(&self) -> Option<&'static str> {
        const NETWORK: [&str; 6] = ["cifs", "smbfs", "sshfs", "9p", "ceph", "glusterfs"];
        if self.has_option("bind") || self.has_option("rbind") {
            return Some("it is a directory that the system shows a second time");
        }
        if ["overlay", "aufs", "unionfs", "mergerfs", "fuse.mergerfs"].contains(&self.kind.as_str())
        {
            return Some("it is put together of other directories");
        }
        if self.source.starts_with('/') && !self.source.starts_with("/dev/") {
            return Some("it is in a file of the system");
        }
        let is_network = self.kind.starts_with("nfs") || NETWORK.contains(&self.kind.as_str());
        is_network.then_some("it is on another machine")
    }

    /// Whether it names `volume` by a tag that this does not have.
    pub(crate) fn contradicts(&self, volume: &SetVolume) -> bool {
        tag(&self.source).is_some_and(|(tag, value)| !has_tag(volume, tag, &value))
    }
}

/// A word, with `\040` and its like taken for the character of that number.
fn unescaped(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The tag of a source, by its name in either of its forms, and its value: `UUID=x`,
/// `/dev/disk/by-uuid/x`.
fn tag(source: &str) -> Option<(&'static str, String)> {
    const TAGS: [(&str, &str); 4] = [
        ("UUID", "by-uuid"),
        ("LABEL", "by-label"),
        ("PARTUUID", "by-partuuid"),
        ("PARTLABEL", "by-partlabel"),
    ];
    if let Some((name, value)) = source.split_once('=') {
        let tag = TAGS.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name))?;
        return Some((tag.0, value.trim_matches(['"', '\'']).to_owned()));
    }
    let (folder, value) = source.strip_prefix("/dev/disk/")?.split_once('/')?;
    let tag = TAGS.iter().find(|(_, own)| *own == folder)?;
    Some((tag.0, udev_decoded(value)))
}

/// A name in `/dev/disk`, in which udev writes `\x20` for a character.
fn udev_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = match rest {
            [b'\\', b'x', digits @ ..] => digits.get(..2),
            _ => None,
        };
        let value = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which of `volumes` the system on `root` means by `source`.
///
/// Copies of a disk have the same tags: then the one on the disk of `root` is meant. A device is named by
/// the place of its disk among those that the system had; `root_disk` is the one that it has for its root,
/// if it names that so.
///
/// # Errors
/// Why none is.
pub(crate) fn volume_of<'a>(
    source: &str,
    volumes: &'a [GuestVolume<'a>],
    root: &SetVolume,
    root_disk: Option<usize>,
) -> Result<&'a GuestVolume<'a>, Lack> {
    if let Some((tag, value)) = tag(source) {
        return only(volumes.iter().filter(|volume| has_tag(volume.set, tag, &value)), root);
    }
    let name = source.strip_prefix("/dev/").unwrap_or(source);
    let is_node = name.strip_prefix("md").is_some_and(|rest| rest.starts_with(char::is_numeric));
    if is_node || name.contains('/') {
        let is_named = |volume: &&GuestVolume<'_>| is_called(volume.set, name);
        return only(volumes.iter().filter(is_named), root);
    }
    let Some((disk, partition)) = device_name(name) else {
        return Err("the name of a device that is not known".into());
    };
    let own = root.volume.extents.first().map(|extent| extent.disk);
    let disk = match (root_disk, own) {
        (Some(named), Some(own)) if named == disk => own,
        (Some(named), Some(own)) if named != own => {
            return Err("the disks of the set are not in the order of the system".into());
        }
        _ => disk,
    };
    let is_there = |volume: &&GuestVolume<'_>| {
        let number = volume.set.volume.partition.as_ref().map(|partition| partition.number);
        let extents = &volume.set.volume.extents;
        // What is in an encrypted partition, or on several, is not what its device has.
        let is_plain = !matches!(volume.set.volume.kind, VolumeType::Encrypted | VolumeType::Raid);
        is_plain && number == partition && extents.iter().all(|extent| extent.disk == disk)
    };
    only(volumes.iter().filter(is_there), root)
}

/// Which of `volumes` was encrypted on the device that the system on `root` calls `source`.
///
/// # Errors
/// Why none is.
pub(crate) fn opened_of<'a>(
    source: &str,
    volumes: &'a [GuestVolume<'a>],
    root: &SetVolume,
) -> Result<&'a GuestVolume<'a>, Lack> {
    let Some((tag, value)) = tag(source) else {
        return Err("its encrypted device is named by its place alone".into());
    };
    let is_it = |volume: &&GuestVolume<'_>| {
        let own = &volume.set.volume;
        let uuid = own.id.0.strip_prefix("luks:").unwrap_or_default();
        own.kind == VolumeType::Encrypted
            && match tag {
                "UUID" => uuid.eq_ignore_ascii_case(&value),
                // The label in a header is not kept.
                "LABEL" => false,
                _ => has_partition_tag(volume.set, tag, &value),
            }
    };
    only(volumes.iter().filter(is_it), root)
}

/// The one of `found` that is meant by the system on `root`.
fn only<'a>(
    found: impl Iterator<Item = &'a GuestVolume<'a>>,
    root: &SetVolume,
) -> Result<&'a GuestVolume<'a>, Lack> {
    let found: Vec<&GuestVolume<'_>> = found.collect();
    let disks = |volume: &SetVolume| -> Vec<usize> {
        volume.volume.extents.iter().map(|extent| extent.disk).collect()
    };
    let own: Vec<&&GuestVolume<'_>> =
        found.iter().filter(|volume| disks(volume.set) == disks(root)).collect();
    match (&found[..], &own[..]) {
        ([only], _) => Ok(*only),
        (_, [only]) => Ok(**only),
        ([], _) => Err("there is no such volume that can be read".into()),
        _ => {
            let names: Vec<&str> = found.iter().map(|volume| volume.set.name.as_str()).collect();
            let reason = format!("it may be any of {}", names.join(", "));
            Err(Lack { reason, is_ambiguous: true })
        }
    }
}

/// Whether `volume` is a logical volume that the system has as `/dev/` and `name`: `vg/lv`,
/// `mapper/vg-lv` with every hyphen of a name written twice, or by one of its ids; or what was encrypted
/// and is called by the UUID.
fn is_called(volume: &SetVolume, name: &str) -> bool {
    let own = &volume.volume;
    if own.kind == VolumeType::Encrypted {
        let named = name.strip_prefix("mapper/").or(name.strip_prefix("disk/by-id/dm-name-"));
        let uuid = named.and_then(|name| name.strip_prefix("luks-"));
        return uuid.is_some_and(|uuid| own.id.0.strip_prefix("luks:") == Some(uuid));
    }
    if own.kind == VolumeType::Raid {
        return is_array(volume, name);
    }
    let Some(group) = own.membership.as_ref().filter(|_| own.kind == VolumeType::Logical) else {
        return false;
    };
    let doubled = |name: &str| name.replace('-', "--");
    let mapped = format!("{}-{}", doubled(&group.group), doubled(&group.name));
    let plain = |id: &str| id.replace('-', "");
    let uuid = own.id.0.strip_prefix("lvm:").map(plain).unwrap_or_default();
    if let Some(name) = name.strip_prefix("disk/by-id/") {
        let by_uuid = name.strip_prefix("dm-uuid-LVM-");
        return name.strip_prefix("dm-name-") == Some(&mapped)
            || by_uuid == Some(&format!("{}{uuid}", plain(&group.group_id)));
    }
    match name.strip_prefix("mapper/") {
        Some(name) => name == mapped,
        None => name.split_once('/') == Some((&group.group, &group.name)),
    }
}

/// Whether `volume` is an array of MD, or a partition of one, that the system has as `/dev/` and `name`:
/// `md/name`, `md0`, `md0p1`, or by its UUID or name.
fn is_array(volume: &SetVolume, name: &str) -> bool {
    let own = &volume.volume;
    let Some(array) = &own.membership else {
        return false;
    };
    let number = own.partition.as_ref().map(|partition| partition.number);
    let with = |base: String, mark: &str| match number {
        Some(number) => format!("{base}{mark}{number}"),
        None => base,
    };
    // The name that it was made with, or that of its node.
    let is_number = array.name.bytes().all(|byte| byte.is_ascii_digit());
    let is_old = array.group == array.name;
    name == with(format!("md/{}", array.name), "p")
        || (is_old && name == with(array.name.clone(), "p"))
        || (is_number && name == with(format!("md{}", array.name), "p"))
        || name == with(format!("disk/by-id/md-uuid-{}", array.group_id), "-part")
        || name == with(format!("disk/by-id/md-name-{}", array.group), "-part")
}

fn has_tag(volume: &SetVolume, tag: &str, value: &str) -> bool {
    let own = &volume.identity;
    match tag {
        "UUID" => own.uuid.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(value)),
        "LABEL" => own.label.as_deref() == Some(value),
        // What is in an encrypted partition is not what its device has.
        _ if volume.volume.kind == VolumeType::Encrypted => false,
        _ => has_partition_tag(volume, tag, value),
    }
}

/// Whether the partition that `volume` lies in has this tag.
fn has_partition_tag(volume: &SetVolume, tag: &str, value: &str) -> bool {
    let same = |own: Option<&str>| own.is_some_and(|own| own.eq_ignore_ascii_case(value));
    let partition = volume.volume.partition.as_ref();
    match tag {
        "PARTLABEL" => partition.and_then(|it| it.name.as_deref()) == Some(value),
        _ => {
            let Some(partition) = partition else {
                return false;
            };
            let guid = partition.guid.map(|guid| guid.to_string());
            // The kernel gives the partitions of an MBR the number after the disk's signature.
            let own = volume.id().strip_prefix("mbr:").and_then(|id| id.split_once('-'));
            let of_mbr = own.map(|(signature, _)| format!("{signature}-{:02x}", partition.number));
            same(guid.as_deref()) || same(of_mbr.as_deref())
        }
    }
}

/// The disk, by its place in the set, and the partition that the kernel calls `name`: `sda1`, `vdb`,
/// `nvme0n1p2`, `mmcblk0p1`.
fn device_name(name: &str) -> Option<(usize, Option<u32>)> {
    for numbered in ["nvme", "mmcblk"] {
        if let Some(rest) = name.strip_prefix(numbered) {
            let (disk, partition) = match rest.split_once('p') {
                Some((disk, partition)) => (disk, Some(partition.parse().ok()?)),
                None => (rest, None),
            };
            let disk = disk.split('n').next()?.parse().ok()?;
            return Some((disk, partition));
        }
    }
    let rest = ["xvd", "sd", "hd", "vd"].iter().find_map(|kind| name.strip_prefix(kind))?;
    let letters = rest.find(|it: char| !it.is_ascii_lowercase()).unwrap_or(rest.len());
    let (letters, number) = rest.split_at(letters);
    // `a` is the first, `aa` comes after `z`.
    let disk = letters.bytes().try_fold(0_usize, |sum, letter| {
        sum.checked_mul(26)?.checked_add(usize::from(letter - b'a') + 1)
    })?;
    let partition = if number.is_empty() { None } else { Some(number.parse().ok()?) };
    Some((disk.checked_sub(1)?, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_words_and_comments_have_none() {
        let text = b"# x\n\nUUID=a-b  /mnt/a\\040b ext4 defaults 0 1\n  /dev/sda2 none swap sw\nproc /proc proc\n";
        let (lines, has_more) = parse(text);
        assert!(!has_more);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].directory, "/mnt/a b");
        assert!(lines[0].shows_files() && !lines[0].is_swap());
        assert!(lines[1].is_swap() && !lines[1].shows_files());
        assert!(!lines[2].shows_files());
    }

    #[test]
    fn the_kernel_s_names_of_devices_are_places_in_the_set() {
        for (name, expected) in [
            ("sda1", Some((0, Some(1)))),
            ("vdb", Some((1, None))),
            ("sdaa12", Some((26, Some(12)))),
            ("nvme0n1p2", Some((0, Some(2)))),
            ("nvme1n1", Some((1, None))),
            ("mmcblk0p1", Some((0, Some(1)))),
            ("sd", None),
            ("sda1x", None),
            ("md0", None),
            ("sdzzzzzzzzzzzzzzzzzzzz", None),
        ] {
            assert_eq!(device_name(name), expected, "{name}");
        }
    }

    #[test]
    fn a_tag_may_be_written_as_a_device() {
        let expected = Some(("LABEL", "my disk".to_owned()));
        assert_eq!(tag("LABEL=\"my disk\""), expected);
        assert_eq!(tag("/dev/disk/by-label/my\\x20disk"), expected);
        assert_eq!(tag("/dev/sda1"), None);
        assert_eq!(tag("/dev/disk/by-id/x"), None);
    }
}
