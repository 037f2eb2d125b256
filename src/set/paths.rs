//! How paths name the volumes of a set.

use super::DiskSet;

impl DiskSet {
    /// `given` as `/<volume>/dir/file`: with `/` as its separator around the volume, and with the
    /// folder name in place of what else the volume can be called: its id, a drive letter, the name
    /// with other capitals.
    ///
    /// `\` separates there where the volume is not called so, and the search for the rest takes it
    /// for a part of a name first.
    pub fn spell(&self, given: &[u8]) -> Vec<u8> {
        let path = match given {
            [a, b, b'?' | b'.', c, rest @ ..] if [a, b, c].into_iter().all(is_separator) => rest,
            path => path,
        };
        let path = without_separators(path);
        let named =
            |first: &[u8]| std::str::from_utf8(first).ok().and_then(|name| self.volume(name));
        let whole = first_part(path);
        let (first, below) = match (named(whole), letter(path)) {
            (Some(_), _) => path.split_at(whole.len()),
            (None, Some(letter)) => path.split_at(letter.len()),
            (None, None) => path.split_at(path.iter().position(is_separator).unwrap_or(path.len())),
        };
        let first = named(first).map_or(first, |volume| volume.name.as_bytes());
        // `C:Users` is below the root too: there is no folder that a guest's program works in.
        let below = without_separators(below);
        let separator: &[u8] = if below.is_empty() { b"" } else { b"/" };
        [b"/", first, separator, below].concat()
    }

    /// Why `wanted` names no volume of the set, where there is more to say than that.
    pub fn why_no_volume(&self, wanted: &str) -> Option<String> {
        let called = self.volumes_called(wanted);
        if called.len() > 1 {
            let names: Vec<&str> = called.iter().map(|volume| volume.name.as_str()).collect();
            return Some(format!("several volumes are called {wanted}: {}", names.join(", ")));
        }
        (called.is_empty() && letter(wanted.as_bytes()).is_some())
            .then(|| format!("the set does not tell which volume is {wanted}"))
    }
}

fn is_separator(byte: &u8) -> bool {
    matches!(*byte, b'/' | b'\\')
}

fn without_separators(path: &[u8]) -> &[u8] {
    let count = path.iter().take_while(|byte| is_separator(byte)).count();
    path.get(count..).unwrap_or_default()
}

/// The part of `path` that names the volume.
pub(crate) fn first_part(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or_default()
}

/// The drive letter that `path` begins with, and its colon.
fn letter(path: &[u8]) -> Option<&[u8]> {
    path.get(..2).filter(|first| matches!(first, [letter, b':'] if letter.is_ascii_alphabetic()))
}
