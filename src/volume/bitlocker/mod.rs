//! Encrypted volumes of Windows (BitLocker), of Vista to 11, and To Go.
//!
//! A *volume master key* is kept several times in the metadata, each time encrypted by what a *protector* needs: a
//! password, a recovery key, a startup key in a file, or nothing while the protection is suspended. It opens the key
//! of the volume. The way to it:
//!
//! | module     | what                                                  |
//! |------------|-------------------------------------------------------|
//! | `metadata` | the boot sector, and the blocks that it leads to      |
//! | `entry`    | the entries of a block                                |
//! | `key`      | what opens a key                                      |
//! | `layout`   | where the bytes of the volume are                     |
//!
//! The ciphers are in [`cipher`](super::cipher).

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Finding, code};

use self::entry::{kind, value};
use self::key::KeyBytes;
use self::layout::VolumeLayout;
use self::metadata::{Boot, Found, Metadata, Protector, protection};
use crate::volume::cipher::Sectors;
use crate::volume::lock::{Key, KeyKind, Lock, Locked, Unlock, WorkBudget};
use crate::volume::refusal::Refusal;
use crate::volume::{
    Claim, GroupId, Health, Hidden, Layout, Region, Volume, VolumeId, VolumeManager, VolumeType,
    basic,
};

mod entry;
mod key;
mod layout;
mod metadata;
#[cfg(test)]
mod tests;

/// The volume manager for BitLocker.
pub struct BitLocker;

impl VolumeManager for BitLocker {
    fn id(&self) -> &'static str {
        "bitlocker"
    }

    fn title(&self) -> &'static str {
        "Windows encrypted volumes (BitLocker, To Go): by password, recovery key or startup key"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        // What has no start that can be read is none that is known.
        let has_start = region.device.read_at(0, &mut [0; 512]).is_ok();
        // What its start says that is not read is told when it is joined.
        if !has_start || matches!(metadata::boot(&*region.device), Ok(None)) {
            return Ok(None);
        }
        // Each volume is a group of its own; copies of one are told apart later.
        let group = GroupId(basic::volume(region.clone()).id.0);
        Ok(Some(Claim { group, hides: Hidden::Table, sector_size: None, damage: None }))
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

/// The volume in `region`.
fn volume(region: &Region, findings: &mut Vec<Finding>) -> Volume {
    let own = basic::volume(region.clone());
    let mut volume = Volume {
        id: VolumeId(format!("bitlocker:{}", own.fallback_name)),
        kind: VolumeType::Encrypted,
        layout: Layout::Simple,
        health: Health::Failed,
        ..own
    };
    if let Err(error) = lay_out(region, &mut volume, findings) {
        let refusal = Refusal::from(error);
        let line = format!("BitLocker volume is refused: {}", refusal.line);
        let finding = Finding::error(code::BITLOCKER_VOLUME_REFUSED, line.clone());
        findings.push(finding.on_volume(&volume.id.0));
        volume.health = Health::Failed;
        volume.device = refusal.device(volume.size, line);
    }
    volume
}

/// Makes `volume` what the metadata of `region` say.
fn lay_out(region: &Region, volume: &mut Volume, findings: &mut Vec<Finding>) -> BlockResult<()> {
    let none = || BlockError::corrupt("boot sector of BitLocker is gone", 0, 0);
    let boot: Boot = metadata::boot(&*region.device)?.ok_or_else(none)?;
    let Found { metadata, read, damaged } = Metadata::newest(&*region.device, &boot)?;
    volume.id = VolumeId(format!("bitlocker:{}", metadata.volume));
    for line in damaged {
        let line = format!("another copy of the metadata is used: {line}");
        let finding = Finding::warning(code::BITLOCKER_METADATA_DAMAGED, line);
        findings.push(finding.on_volume(&volume.id.0));
    }
    if metadata.version == 2 && !matches!(metadata.state, 1 | 2 | 4 | 5) {
        let line = format!("state {} of the encryption is not read", metadata.state);
        return Err(BlockError::unsupported(line));
    }
    metadata.method()?;
    let size = match (metadata.version, metadata.state) {
        // The partition may be larger, and an image without partitions cut short.
        (2, 4) => region.size.max(metadata.encrypted),
        _ => region.size,
    };
    let sector_size = u64::from(boot.sector_size);
    let layout = VolumeLayout { device: region.device.clone(), metadata, read, sector_size, size };
    if !layout.is_in_sectors() {
        return Err(BlockError::corrupt("places in the metadata are within sectors", 0, 0x20));
    }
    let there = region.device.size().min(size);
    if there < size {
        let line = format!("volume has {size} bytes, of which {there} are there");
        let finding = Finding::error(code::BITLOCKER_CUT_SHORT, line);
        findings.push(finding.on_volume(&volume.id.0));
    }
    volume.size = size;
    volume.health = if region.device.size() >= size { Health::Healthy } else { Health::Failed };
    let container = Container { layout };
    if container.layout.metadata.version == 2 && container.layout.metadata.state == 1 {
        volume.device = container.layout.open(None)?;
    } else if let Some(device) = container.open_suspended()? {
        volume.device = device;
    } else {
        let lock = lock(container);
        volume.device = Arc::new(Locked::new(size, &lock));
        volume.lock = Some(lock);
    }
    Ok(())
}

/// What keeps the volume locked.
fn lock(container: Container) -> Lock {
    let protectors = container.layout.metadata.protectors();
    let has = |protection| protectors.iter().any(|own| own.protection == protection);
    let kinds = [
        (protection::RECOVERY_KEY, KeyKind::RecoveryKey),
        (protection::PASSWORD, KeyKind::Password),
        (protection::STARTUP_KEY, KeyKind::KeyFile),
    ];
    let keys = kinds.iter().filter(|(own, _)| has(*own)).map(|(_, kind)| *kind).collect();
    let title = |own: &Protector<'_>| match own.protection {
        protection::RECOVERY_KEY => format!("recovery key {}", own.id),
        protection::PASSWORD => "password".to_owned(),
        protection::STARTUP_KEY => format!("startup key {}.bek", own.id),
        0x0100 => "TPM of its machine".to_owned(),
        0x0500 => "TPM of its machine with a PIN".to_owned(),
        0x0300 | 0x0600 | 0x0700 => "TPM of its machine with a startup key".to_owned(),
        other => format!("protector {other:#06x}"),
    };
    let titles: Vec<String> = protectors.iter().map(title).collect();
    drop(protectors);
    let detail = titles.join(", ");
    Lock { detail, ..Lock::new("BitLocker", keys, Arc::new(container)) }
}

/// A volume whose key is not known yet.
struct Container {
    layout: VolumeLayout,
}

impl Container {
    /// The volume, opened by the volume master key `master`; `None` if it is another one's.
    fn open(&self, master: &[u8]) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        let metadata = &self.layout.metadata;
        let entries = metadata.entries();
        let keys = entries.iter().filter(|entry| entry.kind == kind::VOLUME_KEY);
        let Some(key) = keys.filter_map(|entry| key::decrypt(entry, master)).next() else {
            return Ok(None);
        };
        let sectors = u32::try_from(self.layout.sector_size).ok().and_then(Sectors::in_512);
        let sectors = sectors.ok_or_else(|| BlockError::unsupported("sectors are not read"))?;
        let cipher = metadata.method()?.with_key(&key, sectors)?;
        self.layout.open(Some(&cipher)).map(Some)
    }

    /// The volume if its protection is suspended: the key lies beside it.
    fn open_suspended(&self) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        for own in self.layout.metadata.protectors() {
            let is_clear = own.protection == protection::CLEAR;
            let key = own.entries.iter().find_map(key::plain).filter(|_| is_clear);
            if let Some(master) = key.and_then(|key| own.master_key(&key))
                && let Some(device) = self.open(&master)?
            {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }
}

impl Protector<'_> {
    /// The volume master key that `key` opens.
    fn master_key(&self, key: &[u8]) -> Option<KeyBytes> {
        self.entries.iter().find_map(|entry| key::decrypt(entry, key))
    }

    /// What `secret` is stretched with.
    fn salt(&self) -> Option<[u8; 16]> {
        let stretch = self.entries.iter().find(|entry| entry.value == value::STRETCH_KEY)?;
        stretch.bytes.get(4..)?.first_chunk::<16>().copied()
    }

    /// The key that protects it, of `key`; `None` if that is none of its kind.
    fn key_of(&self, key: &Key, work: &WorkBudget) -> BlockResult<Option<KeyBytes>> {
        let text = key::text_of(key.bytes());
        let text = text.as_ref().map(|text| text.as_str());
        let secret = match (self.protection, key.kind()) {
            (protection::PASSWORD, KeyKind::Password) => text.map(key::of_password),
            (protection::RECOVERY_KEY, KeyKind::Password | KeyKind::RecoveryKey) => {
                text.and_then(key::of_recovery_key).map(|key| key::hashed(&key))
            }
            (protection::STARTUP_KEY, KeyKind::KeyFile) => {
                return Ok(key::of_startup_file(key.bytes()));
            }
            _ => None,
        };
        match (secret, self.salt()) {
            (Some(secret), Some(salt)) => key::stretched(&secret, salt, work).map(Some),
            _ => Ok(None),
        }
    }
}

impl Unlock for Container {
    fn unlock(&self, key: &Key, work: &WorkBudget) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        let open = |own: &Protector<'_>| {
            let key = own.key_of(key, work)?;
            let master = key.and_then(|key| own.master_key(&key));
            master.map_or(Ok(None), |master| self.open(&master))
        };
        let mut failed = None;
        for own in self.layout.metadata.protectors() {
            match open(&own) {
                Ok(Some(device)) => return Ok(Some(device)),
                Ok(None) => {}
                // Another protector may still be whole.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}
