//! Encrypted volumes of Linux (LUKS1, LUKS2).
//!
//! A *header* holds the *volume key* in *key slots*, each time encrypted by a key that is derived from
//! a passphrase. What follows the header is encrypted with the volume key, sector by sector.
//!
//! | module      | what                                                     |
//! |-------------|----------------------------------------------------------|
//! | `luks1`     | the header of LUKS1                                      |
//! | `luks2`     | the two binary headers of LUKS2, and which of them counts |
//! | `metadata`  | the metadata of LUKS2: key slots, digests, segments      |
//! | `container` | what both headers say, and how a key opens it            |
//! | `slot`      | a key slot: key material, splitter, digest               |
//! | `kdf`       | PBKDF2 and Argon2, within bounds                         |
//! | `hash`      | the hashes that headers name                             |
//!
//! The ciphers are in [`cipher`](super::cipher). A header says itself how much work a key is: each slot,
//! and all keys of a set together, are bounded.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Finding, code, error_chain};

use self::container::{Container, DataPlace, Detached, Header, LayOut};
use crate::partition;
use crate::volume::lock::{KeyKind, Lock, Locked, Unlock};
use crate::volume::map::Absent;
use crate::volume::refusal::Refusal;
use crate::volume::{
    Claim, Damage, GroupId, Health, Hidden, Layout, Region, Volume, VolumeExtent, VolumeId,
    VolumeManager, VolumeType, basic,
};

mod container;
mod hash;
mod kdf;
mod luks1;
mod luks2;
mod metadata;
mod slot;
mod text;

/// What a volume of LUKS1 begins with while the older tool encrypts it anew.
const REENCRYPTING: &[u8; 6] = b"LUKS\xDE\xAD";

/// The volume manager for LUKS1 and LUKS2.
pub struct Luks;

/// What a device begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Luks1,
    Luks2,
    /// A header of a version that nobody has written yet.
    Other(u16),
    Reencrypting,
}

/// Looks how `device` begins.
fn find(device: &dyn BlockDevice) -> BlockResult<Found> {
    let mut head = [0; 8];
    if device.size() < 4096 {
        return Ok(Found::Nothing);
    }
    device.read_at(0, &mut head)?;
    let [magic @ .., high, low] = head;
    let version = u16::from_be_bytes([high, low]);
    Ok(match version {
        1 | 2 if magic == *REENCRYPTING => Found::Reencrypting,
        _ if magic != *luks2::MAGIC => {
            if luks2::is_first_damaged(device)? {
                Found::Luks2
            } else {
                Found::Nothing
            }
        }
        1 => Found::Luks1,
        2 => Found::Luks2,
        // The first of two headers may be damaged there.
        _ if luks2::choose(device).is_ok() => Found::Luks2,
        other => Found::Other(other),
    })
}

/// Whether `region` is a disk that was partitioned after it was the volume `found`, whatever it begins with.
fn is_partitioned(region: &Region, found: Found) -> BlockResult<bool> {
    let device = &*region.device;
    let is_header = match found {
        // Where the mark of a partition table lies, a slot that is not used has zeros.
        Found::Luks1 => luks1::is_slot_used(device, luks1::SLOT_OF_MARK)?,
        Found::Luks2 => luks2::choose(device).is_ok(),
        _ => false,
    };
    if region.partition.is_some() || is_header {
        return Ok(false);
    }
    let table = partition::registry::read_table(device, device.sector_size())?;
    Ok(table.is_some_and(|table| !table.partitions.is_empty()))
}

/// What is wrong with the header of `device`, which begins as `found` says and has `size` bytes: what has no
/// checksum is damaged if it makes no sense.
fn damage(device: &dyn BlockDevice, size: u64, found: Found) -> Option<Damage> {
    let error = match found {
        Found::Luks1 => luks1::read(device, size).err()?,
        Found::Luks2 => luks2::choose(device).err()?,
        Found::Other(version) => unknown_version(version),
        Found::Nothing | Found::Reencrypting => return None,
    };
    Some(Damage { at: 0, reason: format!("header of LUKS: {}", error_chain(&error)) })
}

fn unknown_version(version: u16) -> BlockError {
    BlockError::unsupported(format!("version {version} of LUKS is not read"))
}

/// Reads the header of `region`, and tells what is odd about it.
fn read(region: &Region, id: &str, findings: &mut Vec<Finding>) -> BlockResult<Header> {
    let device = &*region.device;
    match find(device)? {
        Found::Luks1 => luks1::read(device, region.size),
        Found::Luks2 => {
            let chosen = luks2::choose(device)?;
            if let Some(error) = &chosen.damaged {
                let line = format!("the other header is used: {}", error_chain(error));
                findings.push(Finding::warning(code::LUKS_HEADER_DAMAGED, line).on_volume(id));
            }
            if chosen.is_other_older {
                let line = "the newer of its two headers is used";
                findings.push(Finding::info(code::LUKS_HEADERS_DIFFER, line).on_volume(id));
            }
            metadata::parse(&chosen.header, region.size, DataPlace::Here)
        }
        Found::Reencrypting => Err(BlockError::unsupported(
            "it is being encrypted anew; let `cryptsetup-reencrypt` finish that on a copy",
        )),
        Found::Other(version) => Err(unknown_version(version)),
        Found::Nothing => Err(BlockError::corrupt("header of LUKS is gone", 0, 0)),
    }
}

/// The UUID in the header of `region`, whatever else can be read of it: letters, digits and hyphens.
fn uuid(region: &Region) -> Option<String> {
    let mut bytes = [0; 0xD0];
    region.device.read_at(0, &mut bytes).ok()?;
    let mut uuid = text::of_field(bytes.get(0xA8..)?);
    if uuid.is_empty() {
        uuid = luks2::choose(&*region.device).ok()?.header.uuid;
    }
    let is_uuid = uuid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_uuid && !uuid.is_empty()).then_some(uuid)
}

/// The volume in `region`.
fn volume(region: &Region, findings: &mut Vec<Finding>) -> Volume {
    let own = basic::volume(region.clone());
    let uuid = uuid(region);
    let id = match &uuid {
        Some(uuid) => format!("luks:{uuid}"),
        None => format!("luks:{}", own.fallback_name),
    };
    let name = uuid.map_or_else(|| own.fallback_name.clone(), |uuid| format!("luks-{uuid}"));
    let empty: Arc<dyn BlockDevice> = Arc::new(Absent::new(0, "is not read"));
    let mut volume = Volume {
        id: VolumeId(id.clone()),
        fallback_name: name,
        kind: VolumeType::Encrypted,
        layout: Layout::Simple,
        health: Health::Failed,
        device: empty,
        ..own
    };
    match read(region, &id, findings) {
        Ok(header) => unlockable(&mut volume, region, header, findings),
        Err(error) => {
            if let Some(lock) = detached(&region.device) {
                let line = format!("LUKS volume is refused: {error}");
                volume.device = Refusal::from(error).device(volume.size, line);
                volume.lock = Some(lock);
                return volume;
            }
            let refusal = Refusal::from(error);
            let line = format!("LUKS volume is refused: {}", refusal.line);
            findings.push(Finding::error(code::LUKS_VOLUME_REFUSED, line.clone()).on_volume(&id));
            volume.device = refusal.device(volume.size, line);
        }
    }
    volume
}

/// Makes `volume` what `header` of `region` says.
fn unlockable(volume: &mut Volume, region: &Region, header: Header, findings: &mut Vec<Finding>) {
    for (number, reason) in &header.refused {
        let line = format!("key slot {number} is not tried: {reason}");
        findings.push(Finding::warning(code::LUKS_SLOT_REFUSED, line).on_volume(&volume.id.0));
    }
    let there = |segment: &container::Segment| {
        segment.length.min(region.device.size().saturating_sub(segment.offset))
    };
    let is_whole = header.segments.iter().all(|segment| there(segment) == segment.length);
    volume.health = if is_whole { Health::Healthy } else { Health::Failed };
    volume.size = header.size();
    let extent = |segment: &container::Segment| VolumeExtent {
        disk: region.disk,
        offset: region.start.saturating_add(segment.offset),
        length: there(segment),
    };
    volume.extents = header.segments.iter().map(extent).collect();
    let (kind, detail) = (header.kind, detail(&header));
    let device = region.device.clone();
    let lock = lock(kind, detail, Container { device: device.clone(), data: device, header });
    volume.device = Arc::new(Locked::new(volume.size, &lock));
    volume.lock = Some(lock);
}

/// The lock of `container`.
fn lock(kind: &'static str, detail: String, container: impl Unlock + 'static) -> Lock {
    let keys = vec![KeyKind::Password, KeyKind::KeyFile];
    Lock { detail, is_kind_alike: true, ..Lock::new(kind, keys, Arc::new(container)) }
}

/// The lock of the volume whose header is on `device`, and whose data are not; `None` if that is no header
/// which can be used so.
fn detached(device: &Arc<dyn BlockDevice>) -> Option<Lock> {
    let lay_out: Arc<LayOut> = match find(&**device).ok()? {
        Found::Luks1 => {
            let bytes = luks1::bytes(&**device).ok()?;
            Arc::new(move |size| luks1::parse(&bytes, size, DataPlace::Elsewhere))
        }
        Found::Luks2 => {
            let header = luks2::choose(&**device).ok()?.header;
            Arc::new(move |size| metadata::parse(&header, size, DataPlace::Elsewhere))
        }
        _ => return None,
    };
    let header = lay_out(u64::MAX).ok()?;
    let (kind, detail) = (header.kind, format!("{}, header detached", detail(&header)));
    let container = Detached { device: device.clone(), header, lay_out };
    Some(Lock { is_detached: true, ..lock(kind, detail, container) })
}

/// The lock of an image whose bytes are encrypted in their places in `file`, and the UUID in its `header`,
/// which is one of LUKS1.
///
/// # Errors
/// Why the image cannot be read.
pub(crate) fn of_image(
    header: Arc<dyn BlockDevice>,
    file: &Arc<dyn BlockDevice>,
) -> BlockResult<(String, Lock)> {
    if find(&*header)? != Found::Luks1 {
        return Err(BlockError::unsupported("its header is none of LUKS1"));
    }
    // The header says where the data of a device would begin, which is of no matter here.
    let mut own = luks1::read(&*header, u64::MAX)?;
    for segment in &mut own.segments {
        (segment.offset, segment.length) = (0, file.size());
    }
    let (kind, detail) = (own.kind, detail(&own));
    let mut uuid = [0; 40];
    header.read_at(0xA8, &mut uuid)?;
    let container = Container { device: header, data: file.clone(), header: own };
    Ok((text::of_field(&uuid), lock(kind, detail, container)))
}

/// What a person who looks for the key may want to know.
fn detail(header: &Header) -> String {
    let slots = match header.slots() {
        1 => "1 key slot".to_owned(),
        many => format!("{many} key slots"),
    };
    match header.tokens.as_slice() {
        [] => slots,
        tokens => format!("{slots}; tokens are not used: {}", tokens.join(", ")),
    }
}

impl VolumeManager for Luks {
    fn id(&self) -> &'static str {
        "luks"
    }

    fn title(&self) -> &'static str {
        "Linux encrypted volumes (LUKS1, LUKS2): by password or key file"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let found = find(&*region.device)?;
        if found == Found::Nothing || is_partitioned(region, found)? {
            return Ok(None);
        }
        // Each volume is a group of its own, copies of one too.
        let (Region { disk, start, label, .. }, uuid) = (region, uuid(region).unwrap_or_default());
        let group = GroupId(format!("{uuid} {disk} {start} {label}"));
        let damage = damage(&*region.device, region.size, found);
        Ok(Some(Claim { group, hides: Hidden::Table, sector_size: None, damage }))
    }

    fn assemble(
        &self,
        _group: &GroupId,
        members: &[Region],
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        members.iter().map(|region| volume(region, findings)).collect()
    }
}
