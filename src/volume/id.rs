//! The name of a volume.

use std::fmt;

use serde::Serialize;

/// What names a volume, whatever the order of the arguments: `gpt:<partition guid>`,
/// `mbr:<signature>-<first lba>`, `ldm:<volume guid>`, `lvm:<volume uuid>`, `md:<array uuid>`, else `disk0-p2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct VolumeId(pub String);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
