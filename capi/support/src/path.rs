//! Paths in a volume.

use std::collections::VecDeque;

use volfold::fs::{CaseRule, FileKind, FileSystem, FsError, FsErrorKind, FsResult, Name, NodeId};

/// LIMIT: links followed on the way to one path, as Linux.
const MAX_LINKS: u32 = 40;

/// LIMIT: parts of a path, with those of the links on it.
const MAX_PARTS: usize = 1 << 16;

/// The node at `path` (`/a/b`), and its path without links but, perhaps, its last part. Links on the way
/// are followed inside the volume; one at the end only if `follow`.
///
/// # Errors
/// As [`FileSystem::lookup`], and `Unsupported` for a link that leads to a drive.
pub fn find(files: &dyn FileSystem, path: &[u8], follow: bool) -> FsResult<(NodeId, Vec<u8>)> {
    let mut left: VecDeque<Vec<u8>> = parts(path).collect();
    let mut trail: Vec<(NodeId, Vec<u8>)> = Vec::new();
    let mut links = 0_u32;
    while let Some(part) = left.pop_front() {
        let here = trail.last().map_or_else(|| files.root(), |(node, _)| *node);
        match part.as_slice() {
            b"." => continue,
            b".." => {
                trail.pop();
                continue;
            }
            _ => {}
        }
        let node = files.lookup(here, Name::new(&part))?;
        let is_on_the_way = follow || !left.is_empty();
        if !is_on_the_way || files.metadata(node)?.kind != FileKind::Symlink {
            trail.push((node, part));
            continue;
        }
        links = links.saturating_add(1);
        let target = files.read_link(node)?.0;
        if links > MAX_LINKS || left.len() > MAX_PARTS {
            return Err(FsError::new(FsErrorKind::NotFound, "links lead in a circle"));
        }
        // Only guests that compare names without regard to case have drives in their links.
        if files.info().case == CaseRule::Insensitive && leads_out(&target) {
            return Err(FsError::unsupported("a link on the way leads to another volume"));
        }
        if target.starts_with(b"/") {
            trail.clear();
        }
        let inner: Vec<Vec<u8>> = parts(&target).collect();
        inner.into_iter().rev().for_each(|part| left.push_front(part));
    }
    let node = trail.last().map_or_else(|| files.root(), |(node, _)| *node);
    let mut real: Vec<u8> = Vec::new();
    for (_, name) in &trail {
        real.push(b'/');
        real.extend_from_slice(name);
    }
    if real.is_empty() {
        real.push(b'/');
    }
    Ok((node, real))
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}

/// Whether `target` begins with a drive, a volume or a share of Windows.
fn leads_out(target: &[u8]) -> bool {
    let start = target.strip_prefix(b"/").unwrap_or(target);
    let has_drive = matches!(start, [letter, b':', ..] if letter.is_ascii_alphabetic());
    let is_special = [&b"//"[..], b"/??/", b"Volume{", b"/Volume{"];
    has_drive || is_special.iter().any(|start| target.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_with_a_drive_lead_out() {
        for target in ["C:/a", "/C:/a", "//server/share", "/??/C:/a", "Volume{1}/a"] {
            assert!(leads_out(target.as_bytes()), "{target}");
        }
        for target in ["../a", "/Users/a", "a/b:c", "1:x"] {
            assert!(!leads_out(target.as_bytes()), "{target}");
        }
    }
}
