//! Where a guest's links lead on the host: never out of the volumes that are shown.
//!
//! A link of the guest names a place of the guest. On the host the same text would name a place of
//! the host, so every target is made relative to the link, and `..` ends at the volume's root.

#[cfg(windows)]
pub(crate) use follow::follow;

use std::borrow::Cow;

use super::volume_names::VolumeNames;

/// What links call the one volume that a server shows; on Windows each has its own, and no link
/// leads from one into another.
#[cfg(windows)]
#[derive(Default)]
pub(crate) struct OwnNames {
    own: Vec<u8>,
    pub(crate) names: VolumeNames,
}

#[cfg(windows)]
impl OwnNames {
    /// What `volumes` tells of the folder `own`; the others are not shown.
    pub(crate) fn new(own: &[u8], volumes: &VolumeNames) -> Self {
        Self { own: own.to_vec(), names: volumes.only(own) }
    }

    /// A link of this volume.
    pub(crate) fn link(&self, depth: usize) -> LinkPlace<'_> {
        LinkPlace { own: &self.own, depth }
    }
}

/// A link, as far as it matters for where it leads.
#[derive(Clone, Copy)]
pub(crate) struct LinkPlace<'a> {
    /// The folder of its volume.
    pub(crate) own: &'a [u8],
    /// How many directories lie between it and the volume's root: 0 for a link in the root.
    pub(crate) depth: usize,
}

/// Where a target begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin<'a> {
    /// In the directory of the link.
    Here,
    /// In the root of the link's volume.
    Root,
    /// In the root of the volume that is shown as this folder.
    Volume(&'a [u8]),
}

/// The parts of a target.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    begin: Begin<'a>,
    parts: Vec<&'a [u8]>,
}

/// Takes a target of any guest apart: `a/b`, `/a/b`, `C:/a/b`, `Volume{...}/a/b`.
///
/// A drive letter that `volumes` does not know is taken for the link's own volume. What names
/// another machine (`//host/share`), or a volume that is not known or not shown, leads to one name
/// that cannot exist, for it holds a `/`.
fn parse<'a>(own: &[u8], target: &'a [u8], volumes: &'a VolumeNames) -> Target<'a> {
    let nowhere = || Target {
        begin: Begin::Root,
        parts: vec![if target.contains(&b'/') { target } else { b"/" }],
    };
    if target.starts_with(b"//") {
        return nowhere();
    }
    let end = target.iter().position(|byte| *byte == b'/').unwrap_or(target.len());
    let (first, rest) = target.split_at(end);
    let is_letter = matches!(first, [letter, b':'] if letter.is_ascii_alphabetic());
    let is_volume = first.starts_with(b"Volume{") && first.ends_with(b"}");
    let (begin, path) = match volumes.get(own, first) {
        Some(Some(folder)) if is_letter || is_volume => {
            (if folder == own { Begin::Root } else { Begin::Volume(folder) }, rest)
        }
        Some(None) if is_letter || is_volume => return nowhere(),
        _ if is_volume => return nowhere(),
        _ => match target {
            [letter, b':', rest @ ..] if letter.is_ascii_alphabetic() => (Begin::Root, rest),
            [b'/', ..] => (Begin::Root, target),
            _ => (Begin::Here, target),
        },
    };
    let parts =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    Target { begin, parts }
}

/// A way from a link to where it leads.
pub(crate) struct Way<'a> {
    /// The parts of the path from the link's directory, `..` among them.
    pub(crate) parts: Vec<&'a [u8]>,
    /// Whether the target as it is stored says the same on the host.
    pub(crate) is_as_stored: bool,
}

/// The way from the directory of `link` to `target`.
///
/// No prefix of the path leads above the root of the volume that it leads to, but the way through
/// the folder of all volumes to another one. `..` stands at its begin alone, where the directories
/// are those that the link lies in: after a name, which may be a link upwards, it takes that name
/// away instead.
pub(crate) fn way_inside<'a>(
    link: LinkPlace<'_>,
    target: &'a [u8],
    volumes: &'a VolumeNames,
) -> Way<'a> {
    let Target { begin, parts } = parse(link.own, target, volumes);
    let mut way = Way { parts: Vec::new(), is_as_stored: begin == Begin::Here };
    let mut here: usize = 0;
    match begin {
        Begin::Here => here = link.depth,
        Begin::Root => way.parts.resize(link.depth, b".."),
        Begin::Volume(folder) => {
            way.parts.resize(link.depth + 1, b"..");
            way.parts.push(folder);
        }
    }
    let begin = way.parts.len();
    for part in parts {
        if part != b".." {
            // One name with a `/` in it is no path on the host.
            way.is_as_stored &= !part.contains(&b'/');
            way.parts.push(part);
        } else if way.parts.len() > begin && way.parts.last().is_some_and(|last| *last != b"..") {
            way.is_as_stored = false;
            way.parts.pop();
        } else if let Some(above) = here.checked_sub(1) {
            here = above;
            way.parts.push(part);
        } else {
            way.is_as_stored = false;
        }
    }
    way
}

/// The way from the directory of a link to its `target`, in parts: `..` at its begin alone, then names
/// of the guest. One with a `/` in it cannot exist. The link lies `depth` directories below the root of
/// the volume shown as the folder `own`.
pub fn way_on_host(own: &[u8], depth: usize, target: &[u8], volumes: &VolumeNames) -> Vec<Vec<u8>> {
    let way = way_inside(LinkPlace { own, depth }, target, volumes);
    way.parts.into_iter().map(<[u8]>::to_vec).collect()
}

/// The text of a link on a host of the Unix kind: where the guest's `target` leads, from a link that
/// lies `depth` directories below the root of the volume shown as the folder `own`.
pub fn target_on_host(own: &[u8], depth: usize, target: &[u8], volumes: &VolumeNames) -> Vec<u8> {
    let way = way_inside(LinkPlace { own, depth }, target, volumes);
    if way.is_as_stored {
        return target.to_vec();
    }
    let parts: Vec<Cow<'_, [u8]>> = way
        .parts
        .into_iter()
        .map(|part| if part == b".." { Cow::Borrowed(part) } else { super::names::to_unix(part) })
        .collect();
    let path = parts.join(&b'/');
    if path.is_empty() { b".".to_vec() } else { path }
}

/// Windows wants to know of a link whether it leads to a directory.
#[cfg(windows)]
mod follow {
    use volfold_fs::{FileKind, FileSystem, FsResult, Metadata, Name, NodeId};

    use super::{Begin, OwnNames, Target, parse};

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
        volumes: &OwnNames,
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
                    let Target { begin, parts: new } = parse(&volumes.own, &target, &volumes.names);
                    steps += new.len();
                    if links > MAX_LINKS || steps > MAX_PARTS {
                        return Ok(None);
                    }
                    if begin != Begin::Here {
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

    fn way<'a>(depth: usize, target: &'a str, volumes: &'a VolumeNames) -> Way<'a> {
        way_inside(LinkPlace { own: b"System", depth }, target.as_bytes(), volumes)
    }

    #[test]
    fn no_target_leads_out_of_the_volume() {
        let cases: [(usize, &str, &str); 15] = [
            (0, "a/b", "a/b"),
            (2, "../a", "../a"),
            (1, "../../../etc/passwd", "../etc/passwd"),
            (0, "../x", "x"),
            (2, "/etc/passwd", "../../etc/passwd"),
            (0, "/", ""),
            (1, "C:/Users", "../Users"),
            (1, "c:", ".."),
            (1, "c:x", "../x"),
            (1, "a/../../../b", "../b"),
            (2, "a/b/../../c/../d", "d"),
            (2, "up/../../etc", "../etc"),
            (3, "./a//b/", "a/b"),
            (1, "//host/share", "..///host/share"),
            (1, "Volume{1}/", "../Volume{1}/"),
        ];
        let volumes = VolumeNames::default();
        for (depth, target, path) in cases {
            let way = way(depth, target, &volumes);
            assert_eq!(way.parts.join(&b'/'), path.as_bytes(), "{depth} {target}");
            let same = target == path && !target.contains("//") && !target.contains('{');
            assert!(!way.is_as_stored || same || target == "./a//b/", "{target}");
        }
        // One name with `/` in it, which no directory has.
        assert_eq!(way(0, "//host/share", &volumes).parts.len(), 1);
        assert_eq!(way(0, "Volume{1}", &volumes).parts, [b"/"]);
    }

    #[test]
    fn volumes_of_the_set_are_found_by_letter_and_number() {
        let mut volumes = VolumeNames::default();
        volumes.add("C:", Some("System"));
        volumes.add("D:", Some("Data"));
        volumes.add("E:", None);
        volumes.add("Volume{5EED0001-0000-0000-0000-100000000000}", Some("Data"));
        for folder in ["Copy", "System", "Other copy"] {
            volumes.add("Volume{5eed0003-0000-0000-0000-100000000000}", Some(folder));
        }
        for folder in ["Copy", "Other copy"] {
            volumes.add("G:", Some(folder));
        }
        let cases: [(usize, &str, &str); 11] = [
            (1, "Volume{5eed0003-0000-0000-0000-100000000000}/a", "../a"),
            (0, "G:/a", ""),
            (1, "C:/a", "../a"),
            (1, "d:/a", "../../Data/a"),
            (0, "D:", "../Data"),
            (0, "D:/../../a/b/..", "../Data/a"),
            (2, "Volume{5eed0001-0000-0000-0000-100000000000}/a", "../../../Data/a"),
            (1, "F:/a", "../a"),
            (0, "E:/a", "E:/a"),
            (0, "E:", "/"),
            (0, "Volume{5eed0002-0000-0000-0000-100000000000}/a", ""),
        ];
        for (depth, target, path) in cases {
            let way = way(depth, target, &volumes);
            assert!(!way.is_as_stored, "{target}");
            if path.is_empty() {
                assert_eq!(way.parts, [target.as_bytes()], "one name");
            } else {
                assert_eq!(way.parts.join(&b'/'), path.as_bytes(), "{depth} {target}");
            }
        }
    }
}
