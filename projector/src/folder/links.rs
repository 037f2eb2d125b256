//! The text of a link on a host whose names are the guest's.
//!
//! A link of the guest names a place of the guest. On the host the same text would name a place of
//! the host, so every target is made relative to the link, and `..` ends at the volume's root.

use std::borrow::Cow;

use volfold_fs::links::{Begin, End, Guest, Target, VolumeNames, parse};
use volfold_fs::{CaseRule, FsError, FsErrorKind, FsResult, NodeId};

use super::names;

/// A link, as far as it matters for where it leads.
#[derive(Clone, Copy)]
struct LinkPlace<'a> {
    /// The folder of its volume.
    own: &'a [u8],
    /// How its volume compares names.
    case: CaseRule,
    /// How many directories lie between it and the volume's root: 0 for a link in the root.
    depth: usize,
}

/// A way from a link to where it leads.
struct Way<'a> {
    /// The parts of the path from the link's directory, `..` among them.
    parts: Vec<&'a [u8]>,
    /// Whether the target as it is stored says the same on the host.
    is_as_stored: bool,
    /// Whether `..` took a name away, which is right only if that names a directory and no link.
    takes_away: bool,
}

/// The way from the directory of `link` to `target`.
///
/// No prefix of the path leads above the root of the volume that it leads to, but the way through
/// the folder of all volumes to another one. `..` stands at its begin alone, where the directories
/// are those that the link lies in: after a name, which may be a link upwards, it takes that name
/// away instead.
fn way_inside<'a>(link: LinkPlace<'_>, target: &'a [u8], volumes: &'a VolumeNames) -> Way<'a> {
    let Target { begin, parts } = parse(link.own, link.case, target, volumes);
    let mut way = Way { parts: Vec::new(), is_as_stored: begin == Begin::Here, takes_away: false };
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
            (way.is_as_stored, way.takes_away) = (false, true);
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

/// The text of a link.
pub struct LinkText {
    /// Where the guest means, from the link's own directory.
    pub bytes: Vec<u8>,
    /// Whether it begins with `..`, or was made of where other links lead, so that it is right for one
    /// place alone.
    pub climbs: bool,
}

/// The text, on a host of the Unix kind, of a link with the guest's `target` that lies `depth`
/// directories below the root of the volume shown as the folder `own`, which compares names by
/// `case`. `dirs` gives the directories of the link from the root on, if they are known.
///
/// # Errors
/// `Refused` if no text leads where the guest means, or why something on the way cannot be read.
pub fn link_text(
    guest: &Guest<'_>,
    (own, case): (&[u8], CaseRule),
    depth: usize,
    target: &[u8],
    dirs: impl FnOnce() -> Option<Vec<NodeId>>,
) -> FsResult<LinkText> {
    let way = way_inside(LinkPlace { own, case, depth }, target, guest.names());
    let climbs = way.parts.first().is_some_and(|part| *part == b"..");
    if way.is_as_stored {
        return Ok(LinkText { bytes: target.to_vec(), climbs });
    }
    if way.takes_away
        && let Some(text) = way_there(guest, dirs(), target, &way.parts.join(&b'/'))?
    {
        return Ok(text);
    }
    let takes_away = way.takes_away;
    let parts: Vec<Cow<'_, [u8]>> = way
        .parts
        .into_iter()
        .map(|part| if part == b".." { Cow::Borrowed(part) } else { names::to_unix(part) })
        .collect();
    let path = parts.join(&b'/');
    let climbs = climbs || takes_away;
    Ok(LinkText { bytes: if path.is_empty() { b".".to_vec() } else { path }, climbs })
}

/// The way from a link in the last one of `dirs` to where its `target` leads, if `text` does not
/// lead there.
fn way_there(
    guest: &Guest<'_>,
    dirs: Option<Vec<NodeId>>,
    target: &[u8],
    text: &[u8],
) -> FsResult<Option<LinkText>> {
    let refused = |reason| Err(FsError::new(FsErrorKind::Refused, reason));
    let Some(dirs) = dirs else {
        return refused("it is not known where the link lies");
    };
    let wanted = guest.resolve(&dirs, target, false)?;
    if guest.resolve(&dirs, text, false)?.is_same(&wanted) {
        return Ok(None);
    }
    let ups = dirs.len().saturating_sub(wanted.kept);
    let mut parts: Vec<Cow<'_, [u8]>> = vec![Cow::Borrowed(b".."); ups];
    let mut names = wanted.names;
    match wanted.end {
        End::Here => {}
        End::Node(_, name) => names.push(name),
        End::Missing(missing) => names.extend(missing),
        End::Nowhere => return refused("it leads to nothing, or in a circle"),
    }
    parts.extend(names.iter().map(|name| names::to_unix(name)));
    let bytes = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
    Ok(Some(LinkText { bytes, climbs: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way<'a>(depth: usize, target: &'a str, volumes: &'a VolumeNames) -> Way<'a> {
        way_inside(
            LinkPlace { own: b"System", case: CaseRule::Insensitive, depth },
            target.as_bytes(),
            volumes,
        )
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
