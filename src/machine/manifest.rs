//! The manifest of a machine that was packed (`.mf`): a hash of each of its files.
//!
//! Specification: DMTF DSP0243 2.1, section 5.1. Each line is `SHA256(name)= digest`, in the file that is
//! called as the descriptor is.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult};
use volfold_images::{Located, Locator};

use super::config::{MAX_DISKS, text};

/// LIMIT: files of one manifest: the disks, the descriptor and what else comes with them.
const MAX_FILES: usize = 2 * MAX_DISKS;

/// A file of a machine, and the hash that its manifest has of it.
#[non_exhaustive]
pub struct ManifestFile {
    /// Its name.
    pub name: String,
    /// The algorithm as the manifest writes it, in lower case: `sha1`, `sha256`.
    pub algorithm: String,
    /// The digest in lower case.
    pub digest: String,
    /// The descriptor, if it is that.
    own: Option<Arc<dyn BlockDevice>>,
    files: Arc<dyn Locator>,
}

impl ManifestFile {
    /// Its bytes.
    ///
    /// # Errors
    /// Why there are none.
    pub fn open(&self) -> BlockResult<Arc<dyn BlockDevice>> {
        match &self.own {
            Some(own) => Ok(Arc::clone(own)),
            None => self.files.open(Path::new(&self.name)).map(|file| file.device),
        }
    }
}

/// The files in the manifest beside `descriptor`, and how many of its lines are no hash of a file; none if
/// there is no manifest, or `descriptor` is none of OVF.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read(descriptor: &Located) -> BlockResult<Option<(Vec<ManifestFile>, usize)>> {
    let own = Path::new(Path::new(&descriptor.name).file_name().unwrap_or_default());
    if !own.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovf")) {
        return Ok(None);
    }
    let manifest = match descriptor.files.open(&own.with_extension("mf")) {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == BlockErrorKind::MissingPart => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = text(&manifest)?;
    let lines = String::from_utf8_lossy(&bytes);
    let (mut files, mut others) = (Vec::new(), 0);
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let Some((algorithm, name, digest)) = entry(line) else {
            others += 1;
            continue;
        };
        if files.len() == MAX_FILES {
            let line = format!("has hashes of more than {MAX_FILES} files");
            return Err(BlockError::unsupported(line));
        }
        files.push(ManifestFile {
            name: name.to_owned(),
            algorithm: algorithm.to_ascii_lowercase(),
            digest: digest.to_ascii_lowercase(),
            own: (own == Path::new(name)).then(|| Arc::clone(&descriptor.device)),
            files: Arc::clone(&descriptor.files),
        });
    }
    Ok(Some((files, others)))
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
