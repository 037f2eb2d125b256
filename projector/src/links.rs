//! Where a guest's links lead on the host: never out of their volume.
//!
//! A link of the guest names a place of the guest. On the host the same text would name a place of
//! the host, so every target is made relative to the link, and `..` ends at the volume's root.

#[cfg(windows)]
pub(crate) use follow::follow;

/// The parts of a target.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    /// Whether it begins at the volume's root.
    rooted: bool,
    parts: Vec<&'a [u8]>,
}

/// Takes a target of any guest apart: `a/b`, `/a/b`, `C:/a/b`.
///
/// A drive letter is taken for the link's own volume. What names another machine (`//host/share`)
/// or a volume by its number leads to one name that cannot exist, for it holds a `/`.
fn parse(target: &[u8]) -> Target<'_> {
    if target.starts_with(b"//") || target.starts_with(b"Volume{") {
        return Target {
            rooted: false,
            parts: vec![if target.is_empty() { b"/" } else { target }],
        };
    }
    let (rooted, path) = match target {
        [letter, b':', rest @ ..] if letter.is_ascii_alphabetic() => (true, rest),
        [b'/', ..] => (true, target),
        _ => (false, target),
    };
    let parts =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    Target { rooted, parts }
}

/// A way from a link to where it leads.
pub(crate) struct Way<'a> {
    /// The parts of the path from the link's directory, `..` among them.
    pub(crate) parts: Vec<&'a [u8]>,
    /// Whether the target as it is stored says the same on the host.
    pub(crate) is_as_stored: bool,
}

/// The way from the directory of a link to `target`.
///
/// `depth` is how many directories lie between the link and the volume's root: 0 for a link in the
/// root. No prefix of the path leads above the root.
pub(crate) fn way_inside(depth: usize, target: &[u8]) -> Way<'_> {
    let Target { rooted, parts } = parse(target);
    let mut way = Way { parts: Vec::new(), is_as_stored: !rooted };
    let mut here = depth;
    if rooted {
        way.parts.resize(depth, b"..");
        here = 0;
    }
    for part in parts {
        if part != b".." {
            here += 1;
        } else if here == 0 {
            way.is_as_stored = false;
            continue;
        } else {
            here -= 1;
        }
        // One name with a `/` in it is no path on the host.
        way.is_as_stored &= !part.contains(&b'/');
        way.parts.push(part);
    }
    way
}

/// Windows wants to know of a link whether it leads to a directory.
#[cfg(windows)]
mod follow {
    use volfold_fs::{FileKind, FileSystem, FsResult, Metadata, Name, NodeId};

    use super::{Target, parse};

    /// LIMIT: links that are followed on one path, as in Linux.
    const MAX_LINKS: usize = 40;

    /// LIMIT: parts of all targets of one path together.
    const MAX_PARTS: usize = 1024;

    /// What the link `link` in the directory that `trail` ends with leads to, through further links;
    /// `None` if that is nowhere. `trail` holds the directories from the root on.
    ///
    /// # Errors
    /// Why a directory on the way cannot be read.
    pub(crate) fn follow(
        fs: &dyn FileSystem,
        trail: &[NodeId],
        link: NodeId,
    ) -> FsResult<Option<Metadata>> {
        let mut trail = trail.to_vec();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut next = Some(link);
        let (mut links, mut steps) = (0, 0);
        loop {
            if let Some(node) = next.take() {
                let metadata = fs.metadata(node)?;
                if metadata.kind != FileKind::Symlink {
                    if parts.is_empty() {
                        return Ok(Some(metadata));
                    }
                    trail.push(node);
                } else {
                    links += 1;
                    let target = fs.read_link(node)?.0;
                    let Target { rooted, parts: new } = parse(&target);
                    steps += new.len();
                    if links > MAX_LINKS || steps > MAX_PARTS {
                        return Ok(None);
                    }
                    if rooted {
                        trail.truncate(1);
                    }
                    parts.extend(new.into_iter().rev().map(<[u8]>::to_vec));
                }
            }
            let here = trail.last().copied().unwrap_or_else(|| fs.root());
            match parts.pop() {
                None => return fs.metadata(here).map(Some),
                Some(part) if part == b".." => {
                    if trail.len() > 1 {
                        trail.pop();
                    }
                }
                Some(part) => match fs.lookup(here, Name::new(&part)) {
                    Ok(node) => next = Some(node),
                    Err(_) => return Ok(None),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_leads_out_of_the_volume() {
        let cases: [(usize, &str, &str); 12] = [
            (0, "a/b", "a/b"),
            (2, "../a", "../a"),
            (1, "../../../etc/passwd", "../etc/passwd"),
            (0, "../x", "x"),
            (2, "/etc/passwd", "../../etc/passwd"),
            (0, "/", ""),
            (1, "C:/Users", "../Users"),
            (1, "c:", ".."),
            (1, "a/../../../b", "a/../../b"),
            (3, "./a//b/", "a/b"),
            (1, "//host/share", "//host/share"),
            (1, "Volume{1}/", "Volume{1}/"),
        ];
        for (depth, target, path) in cases {
            let way = way_inside(depth, target.as_bytes());
            assert_eq!(way.parts.join(&b'/'), path.as_bytes(), "{depth} {target}");
            let same = target == path && !target.contains("//") && !target.contains('{');
            assert!(!way.is_as_stored || same || target == "./a//b/", "{target}");
        }
        // One name with `/` in it, which no directory has.
        assert_eq!(way_inside(1, b"//host/share").parts.len(), 1);
    }
}
