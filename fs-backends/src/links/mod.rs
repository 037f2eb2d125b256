//! Where a guest's links lead: never out of the volumes that are shown.
//!
//! A link of the guest names a place of the guest, which may be on another volume of the set; `..`
//! ends at the volume's root.

mod resolve;
mod volume_names;

pub use resolve::{Destination, End, Guest};
pub use volume_names::VolumeNames;

use crate::node::CaseRule;

/// Where a target begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin<'a> {
    /// In the directory of the link.
    Here,
    /// In the root of the link's volume.
    Root,
    /// In the root of the volume that is shown as this folder.
    Volume(&'a [u8]),
}

/// The parts of a target.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Where it begins.
    pub begin: Begin<'a>,
    /// The names from there on; `..` is among them, `.` is not.
    pub parts: Vec<&'a [u8]>,
}

/// Takes a target of any guest apart: `a/b`, `/a/b`, `C:/a/b`, `Volume{...}/a/b`.
///
/// Only guests that compare names without regard to `case` have drives: on others `a:b` is a file. A
/// drive letter that `volumes` does not know is taken for the link's own volume. What names
/// another machine (`//host/share`), or a volume that is not known or not shown, leads to one name
/// that cannot exist, for it holds a `/`.
pub fn parse<'a>(
    own: &[u8],
    case: CaseRule,
    target: &'a [u8],
    volumes: &'a VolumeNames,
) -> Target<'a> {
    let nowhere = || Target {
        begin: Begin::Root,
        parts: vec![if target.contains(&b'/') { target } else { b"/" }],
    };
    if target.starts_with(b"//") && case == CaseRule::Insensitive {
        return nowhere();
    }
    let end = target.iter().position(|byte| *byte == b'/').unwrap_or(target.len());
    let (first, rest) = target.split_at(end);
    let has_drives = case == CaseRule::Insensitive;
    let is_letter = has_drives && matches!(first, [letter, b':'] if letter.is_ascii_alphabetic());
    let is_volume = has_drives && first.starts_with(b"Volume{") && first.ends_with(b"}");
    let (begin, path) = match volumes.get(own, first) {
        Some(Some(folder)) if is_letter || is_volume => {
            (if folder == own { Begin::Root } else { Begin::Volume(folder) }, rest)
        }
        Some(None) if is_letter || is_volume => return nowhere(),
        _ if is_volume => return nowhere(),
        _ => match target {
            [letter, b':', rest @ ..] if has_drives && letter.is_ascii_alphabetic() => {
                (Begin::Root, rest)
            }
            [b'/', ..] => (Begin::Root, target),
            _ => (Begin::Here, target),
        },
    };
    let parts =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    Target { begin, parts }
}
