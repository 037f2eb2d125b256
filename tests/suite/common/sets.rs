//! Sets whose volumes lie on several disks: what the tests of all volume managers share.

use std::path::PathBuf;

use volfold::volume::Health;
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};
use volfold_block::{BlockDevice, BlockErrorKind, Finding};

pub(crate) fn open(paths: &[PathBuf]) -> DiskSet {
    DiskSet::open(paths, &OpenOptions::default()).unwrap_or_else(Incomplete::into_set)
}

pub(crate) fn find<'a>(set: &'a DiskSet, id: &str) -> &'a SetVolume {
    let volume = set.volumes().iter().find(|volume| volume.id() == id);
    volume.unwrap_or_else(|| panic!("no {id}: {:?}", set.findings()))
}

pub(crate) fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

pub(crate) fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Failed => "failed",
    }
}

pub(crate) fn bytes_of(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(0, &mut bytes).expect("all bytes");
    bytes
}

/// Reads `device` in small blocks: each is as in `whole`, or an error whose message `is_told` accepts. Gives
/// how many were read.
pub(crate) fn check_blocks(
    device: &dyn BlockDevice,
    whole: &[u8],
    place: &str,
    is_told: impl Fn(&str) -> bool,
) -> usize {
    let (mut good, mut block) = (0, vec![0; 4096]);
    for (offset, wanted) in (0..).step_by(4096).zip(whole.chunks(4096)) {
        let block = &mut block[..wanted.len()];
        match device.read_at(offset, block) {
            Ok(()) => {
                assert!(block == wanted, "{place}: wrong bytes at {offset}");
                good += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), BlockErrorKind::MissingPart, "{place}: {error}");
                assert!(is_told(error.message()), "{place}: {error}");
            }
        }
    }
    good
}
