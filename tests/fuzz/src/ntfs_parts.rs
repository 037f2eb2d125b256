//! Any bytes as one structure or one compressed unit of NTFS; the first byte chooses.

/// Parses the rest of `data` as the structure that its first byte picks.
pub fn run(data: &[u8]) {
    if let Some((part, data)) = data.split_first() {
        volfold_fs::ntfs::fuzzing::touch(*part, data);
    }
}
