//! The manifest of a machine that was packed (`.mf`): a hash of each of its files.
//!
//! Specification: DMTF DSP0243 2.1, section 5.1. Each line is `SHA256(name)= digest`, in the file that is
//! called as the descriptor is.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockResult};
use volfold_images::Located;

use super::config::{MAX_DISKS, text};

/// A file of a machine, and the hash that its manifest has of it.
#[non_exhaustive]
pub struct ManifestFile {
    /// Its name.
    pub name: String,
    /// The algorithm as the manifest writes it, in lower case: `sha1`, `sha256`.
    pub algorithm: String,
    /// The digest in lower case.
    pub digest: String,
    /// Its bytes, or why there are none.
    pub bytes: BlockResult<Arc<dyn BlockDevice>>,
}

/// The files in the manifest beside `descriptor`; none if there is no manifest.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read(descriptor: &Located) -> BlockResult<Vec<ManifestFile>> {
    let own = Path::new(&descriptor.name).file_name().map(Path::new).unwrap_or(Path::new(""));
    let manifest = descriptor.files.open(&own.with_extension("mf"));
    let Ok(manifest) = manifest else { return Ok(Vec::new()) };
    let bytes = text(&manifest)?;
    let lines = String::from_utf8_lossy(&bytes);
    let open = |name: &Path| match name == own {
        true => Ok(Arc::clone(&descriptor.device)),
        false => descriptor.files.open(name).map(|file| file.device),
    };
    // The descriptor is one of its files.
    let entries = lines.lines().filter_map(entry).take(MAX_DISKS.saturating_mul(2));
    let file = |(algorithm, name, digest): (&str, &str, &str)| ManifestFile {
        name: name.to_owned(),
        algorithm: algorithm.to_ascii_lowercase(),
        digest: digest.to_ascii_lowercase(),
        bytes: open(Path::new(name)),
    };
    Ok(entries.map(file).collect())
}

/// Algorithm, name and digest of a line.
fn entry(line: &str) -> Option<(&str, &str, &str)> {
    let (algorithm, rest) = line.trim().split_once('(')?;
    // A name may have parentheses.
    let (name, digest) = rest.rsplit_once(')')?;
    let digest = digest.trim_start().strip_prefix('=')?.trim();
    Some((algorithm.trim(), name, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_ovf_tools_write_them() {
        assert_eq!(entry("SHA256(a (1).vmdk)= 0aF1"), Some(("SHA256", "a (1).vmdk", "0aF1")));
        assert_eq!(entry("SHA1 (x.ovf) =ff\r"), Some(("SHA1", "x.ovf", "ff")));
        assert_eq!(entry("no line"), None);
        assert_eq!(entry("SHA1(x) ff"), None);
    }
}
