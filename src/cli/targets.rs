//! The disks and volumes of a set as iSCSI targets.

use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use volfold::DiskSet;
use volfold_projector::block::Export;
use volfold_projector::block::iscsi::Target;

/// An iSCSI target for every one of `exports` of `set`; `say` is told what is to be known of them.
///
/// Initiators take what has the same name or number for the same disk, by whatever way they come. So
/// both are made of the places of the images too, for snapshots look alike, and of the `overlay`.
pub(crate) fn targets(
    set: &DiskSet,
    exports: &[Arc<Export>],
    overlay: Option<&Path>,
    say: &dyn Fn(&str),
) -> Vec<Target> {
    let mut whole = Sha256::new();
    for disk in set.disks() {
        let path = std::fs::canonicalize(&disk.path).unwrap_or_else(|_| disk.path.clone());
        whole.update(path.as_os_str().as_encoded_bytes());
        whole.update(disk.size.to_le_bytes());
    }
    if let Some(overlay) = overlay {
        whole.update(b"overlay");
        whole.update(overlay.as_os_str().as_encoded_bytes());
    }
    // Where a disk cannot be read, its place and size must do.
    whole.update(set.identity().unwrap_or_default());
    let whole: [u8; 32] = whole.finalize().into();
    let name = HEXLOWER.encode(&whole[..4]);
    let mut targets = Vec::new();
    for export in exports {
        let mut one = Sha256::new();
        one.update(whole);
        one.update(export.name.as_bytes());
        let one: [u8; 32] = one.finalize().into();
        let mut identity = [0; 16];
        identity.copy_from_slice(&one[..16]);
        let target = Target::new(export.clone(), &name, identity);
        if let Some(remark) = target.remark() {
            say(&format!("{}: by iSCSI, {remark}", export.name));
        }
        targets.push(target);
    }
    targets
}
