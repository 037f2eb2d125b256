use volfold_block::{BlockDevice, BlockResult, MemoryDevice, Slice};

use super::*;
use crate::volume::lock::{Key, KeyKind, KeyRequest, Lock, Unlock, WorkBudget};
use crate::volume::{self, Claim, GroupId, Hidden};

/// Claims disks that begin with `MEMBER`, and joins them to one volume per group; a first
/// byte after the word names the group.
struct Joiner;

impl VolumeManager for Joiner {
    fn id(&self) -> &'static str {
        "joiner"
    }

    fn title(&self) -> &'static str {
        "a manager for tests"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let mut bytes = [0; 7];
        region.device.read_at(0, &mut bytes)?;
        let [word @ .., group] = bytes;
        let group = GroupId(char::from(group).to_string());
        Ok((word == *b"MEMBER").then_some(Claim {
            group,
            hides: Hidden::Partitions(vec![1]),
            sector_size: None,
            damage: None,
        }))
    }

    fn assemble(
        &self,
        group: &GroupId,
        members: &[Region],
        _findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        let mut volume = volume::basic::volume(members[0].clone());
        volume.id = VolumeId(format!("joined:{}:{}", group.0, members.len()));
        volume.device = Arc::new(MemoryDevice::new(vec![0; 512]));
        vec![volume]
    }
}

fn no_keys(_: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
    Ok(None)
}

fn disk(head: &[u8], partition: Option<(u8, u32)>) -> DiskSource {
    let mut bytes = vec![0; 64 * 512];
    bytes[..head.len()].copy_from_slice(head);
    if let Some((kind, first)) = partition {
        bytes[0x1BE + 4] = kind;
        bytes[0x1BE + 8..0x1BE + 12].copy_from_slice(&first.to_le_bytes());
        bytes[0x1BE + 12] = 16;
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    }
    DiskSource { device: Arc::new(MemoryDevice::new(bytes)), label: "disk".into() }
}

/// What is on `disks`, by `managers` and `keys`.
fn discover_with(
    disks: &[DiskSource],
    managers: &[&dyn VolumeManager],
    keys: &dyn KeySource,
) -> Discovery {
    discover(disks, managers, false, (keys, &WorkBudget::default()), &Monitor::default())
}

fn ids(discovery: &Discovery) -> Vec<&str> {
    discovery.volumes.iter().map(|found| found.volume.id.0.as_str()).collect()
}

#[test]
fn a_claimed_disk_joins_its_group_and_hides_its_partitions() {
    let disks = [disk(b"MEMBERa", Some((7, 8))), disk(b"", Some((7, 8))), disk(b"MEMBERa", None)];
    let discovery = discover_with(&disks, &[&Joiner], &no_keys);
    assert_eq!(ids(&discovery), ["disk1-p1", "joined:a:2"]);
}

/// Claims disks that begin with `WRAP`; the volume is what comes after the first 16 bytes.
struct Wrapper;

impl VolumeManager for Wrapper {
    fn id(&self) -> &'static str {
        "wrapper"
    }

    fn title(&self) -> &'static str {
        "a manager for tests"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let mut bytes = [0; 4];
        region.device.read_at(0, &mut bytes)?;
        let group = GroupId(region.label.to_string());
        Ok((bytes == *b"WRAP").then_some(Claim {
            group,
            hides: Hidden::Partitions(vec![]),
            sector_size: None,
            damage: None,
        }))
    }

    fn assemble(
        &self,
        group: &GroupId,
        members: &[Region],
        _findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        let mut volume = volume::basic::volume(members[0].clone());
        volume.id = VolumeId(format!("wrapped:{}", group.0));
        let size = volume.size - 16;
        volume.device = Arc::new(Slice::part(volume.device, 16, size).unwrap());
        volume.size = size;
        vec![volume]
    }
}

#[test]
fn members_in_volumes_of_an_earlier_manager_join_their_group() {
    let disks = [disk(b"WRAP............MEMBERa", None), disk(b"MEMBERa", None)];
    let discovery = discover_with(&disks, &[&Wrapper, &Joiner], &no_keys);
    assert_eq!(ids(&discovery), ["joined:a:2"]);
    let disks = [disk(&b"WRAP............".repeat(9), None)];
    let discovery = discover_with(&disks, &[&Wrapper], &no_keys);
    assert!(discovery.findings.iter().any(|finding| finding.code == "volumes-too-deep"));
}

#[test]
fn a_partition_past_the_end_is_listed_with_what_there_is() {
    let discovery = discover_with(&[disk(b"", Some((7, 60)))], &[], &no_keys);
    let found = &discovery.volumes[0];
    assert_eq!((found.volume.size, found.volume.device.size()), (16 * 512, 4 * 512));
    assert_eq!(found.volume.health, Health::Failed);
    assert_eq!(discovery.findings[0].code, "partition-past-end");
    assert!(found.reason.as_deref().is_some_and(|reason| reason.contains("NTFS/exFAT")));
}

#[test]
fn a_protective_mbr_without_its_gpt_is_an_error() {
    let discovery = discover_with(&[disk(b"", Some((0xEE, 1)))], &[], &no_keys);
    assert!(discovery.findings.iter().any(|finding| finding.code == "gpt-damaged"));
}

#[test]
fn an_empty_disk_is_one_volume_of_no_known_kind() {
    let discovery = discover_with(&[disk(b"", None)], &[], &no_keys);
    assert_eq!(ids(&discovery), ["disk0"]);
    assert_eq!(discovery.disks[0].scheme, None);
}

/// Claims disks that begin with `LOCKED`; the key is the byte that all others are mixed with.
struct Strongbox;

struct Mixed(Arc<dyn BlockDevice>);

impl Unlock for Mixed {
    fn unlock(&self, key: &Key, _work: &WorkBudget) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        let mut bytes = vec![0; 64 * 512];
        self.0.read_at(0, &mut bytes)?;
        let [mix] = *key.bytes() else { return Ok(None) };
        let bytes: Vec<u8> = bytes[512..].iter().map(|byte| byte ^ mix).collect();
        let fits = bytes.starts_with(b"open");
        Ok(fits.then(|| -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(bytes)) }))
    }
}

impl VolumeManager for Strongbox {
    fn id(&self) -> &'static str {
        "strongbox"
    }

    fn title(&self) -> &'static str {
        "a manager for tests"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let mut bytes = [0; 6];
        region.device.read_at(0, &mut bytes)?;
        let group = GroupId(region.disk.to_string());
        Ok((bytes == *b"LOCKED").then_some(Claim {
            group,
            hides: Hidden::Partitions(vec![]),
            sector_size: None,
            damage: None,
        }))
    }

    fn assemble(
        &self,
        group: &GroupId,
        members: &[Region],
        _findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        let mut volume = volume::basic::volume(members[0].clone());
        volume.id = VolumeId(format!("strongbox:{}", group.0));
        let unlock = Arc::new(Mixed(volume.device.clone()));
        volume.lock = Some(Lock::new("strongbox", vec![KeyKind::KeyFile], unlock));
        vec![volume]
    }
}

fn strongbox() -> [DiskSource; 1] {
    let mut bytes = vec![0; 64 * 512];
    bytes[..6].copy_from_slice(b"LOCKED");
    bytes[512..516].copy_from_slice(b"open");
    bytes[512..].iter_mut().for_each(|byte| *byte ^= 0x5A);
    [DiskSource { device: Arc::new(MemoryDevice::new(bytes)), label: "disk".into() }]
}

#[test]
fn a_locked_volume_stays_listed_and_says_what_opens_it() {
    let discovery = discover_with(&strongbox(), &[&Strongbox], &no_keys);
    let [found] = discovery.volumes.as_slice() else { panic!("one volume") };
    let reason = "locked: strongbox, opened by a key file";
    assert_eq!(found.reason.as_deref(), Some(reason));
    assert!(found.volume.lock.is_some() && found.driver.is_none());
    let error = found.volume.device.read_at(0, &mut [0]).unwrap_err();
    assert_eq!(error.message(), "is locked (strongbox, opened by a key file)");
    assert!(discovery.findings.is_empty());
}

#[test]
fn the_right_key_opens_a_locked_volume() {
    let keys = |request: &KeyRequest<'_>| {
        assert_eq!(request.volume, "strongbox:0");
        let keys = [[1], [0x5A]];
        Ok(keys.get(request.attempt).map(|key| Key::new(KeyKind::KeyFile, *key)))
    };
    let discovery = discover_with(&strongbox(), &[&Strongbox], &keys);
    let [found] = discovery.volumes.as_slice() else { panic!("one volume") };
    assert!(found.volume.lock.is_none());
    let mut bytes = [0; 4];
    found.volume.device.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, *b"open");
}

#[test]
fn a_key_that_cannot_be_had_is_told() {
    let keys = |_: &KeyRequest<'_>| Err(volfold_block::BlockError::missing("key file is gone"));
    let discovery = discover_with(&strongbox(), &[&Strongbox], &keys);
    assert!(discovery.volumes[0].volume.lock.is_some());
    assert_eq!(discovery.findings[0].message, "key file is gone");
}
