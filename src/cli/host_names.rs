//! The names that the entries of one directory get on this host.
//!
//! Windows takes names that differ in case only for one; all but the first of such twins get a
//! number, in the order of the guest's bytes, as below a mount.

use std::collections::HashMap;
#[cfg(any(windows, test))]
use std::collections::HashSet;
use std::ffi::OsString;

use volfold_fs::{FileSystem, NodeId};
use volfold_projector::names;

/// The names of one directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostNames {
    /// The guest's names of the twins that get a number.
    parted: HashMap<Vec<u8>, OsString>,
}

impl HostNames {
    /// The names of the entries of `dir`; what cannot be listed has no twins.
    #[cfg(windows)]
    pub(crate) fn of(tree: &dyn FileSystem, dir: NodeId) -> Self {
        use std::ops::ControlFlow;
        use std::os::windows::ffi::OsStringExt;

        let mut guests = Vec::new();
        // The walk tells of directories that cannot be read.
        let _ = tree.read_dir(dir, volfold_fs::DirCursor::START, &mut |entry| {
            guests.push(entry.name.as_bytes().to_vec());
            ControlFlow::Continue(())
        });
        let parted = part_twins(guests);
        let parted = parted.into_iter().map(|(guest, host)| (guest, OsString::from_wide(&host)));
        Self { parted: parted.collect() }
    }

    /// The names of the entries of `dir`: on Unix none are twins.
    #[cfg(not(windows))]
    pub(crate) fn of(_tree: &dyn FileSystem, _dir: NodeId) -> Self {
        Self::default()
    }

    /// The host's name of the entry that the guest calls `name`.
    pub(crate) fn get(&self, name: &[u8]) -> OsString {
        self.parted.get(name).cloned().unwrap_or_else(|| names::to_host(name))
    }
}

/// LIMIT: code units of a name, of every file system of Windows.
#[cfg(any(windows, test))]
const MAX_UNITS: usize = 255;

/// Those of the names `guests` that are not free on Windows without a number, with their names.
#[cfg(any(windows, test))]
fn part_twins(mut guests: Vec<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u16>)> {
    guests.sort();
    let mut taken = HashSet::with_capacity(guests.len());
    let mut late = Vec::new();
    for guest in guests {
        let mut units = Vec::with_capacity(guest.len());
        names::to_windows(&guest, &mut units);
        if units.len() > MAX_UNITS || !taken.insert(fold(&units)) {
            late.push((guest, units));
        }
    }
    let mut numbers: HashMap<Vec<u16>, usize> = HashMap::new();
    for (_, units) in &mut late {
        let number = numbers.entry(fold(units)).or_insert(1);
        let plain = std::mem::take(units);
        while units.is_empty() || !taken.insert(fold(units)) {
            *number += 1;
            let mut suffix = Vec::new();
            names::twin_suffix(*number, &mut suffix);
            units.clear();
            units.extend(&plain[..plain.len().min(MAX_UNITS - suffix.len())]);
            units.extend(suffix);
        }
    }
    late
}

/// `name` as Windows compares it.
#[cfg(any(windows, test))]
fn fold(name: &[u16]) -> Vec<u16> {
    let upper = |unit: &u16| {
        let mut upper = char::from_u32((*unit).into())?.to_uppercase();
        let single = upper.next().filter(|_| upper.next().is_none())?;
        u16::try_from(u32::from(single)).ok()
    };
    name.iter().map(|unit| upper(unit).unwrap_or(*unit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(guests: &[&str]) -> Vec<(String, String)> {
        let guests = guests.iter().map(|guest| guest.as_bytes().to_vec()).collect();
        let parted = part_twins(guests).into_iter();
        parted
            .map(|(guest, host)| {
                (String::from_utf8(guest).unwrap(), String::from_utf16(&host).unwrap())
            })
            .collect()
    }

    #[test]
    fn twins_get_numbers_in_the_order_of_their_bytes() {
        assert!(parted(&["a", "b", "A.txt", "con", "a.TXT2"]).is_empty());
        let wanted = [("Readme", "Readme\u{F132}"), ("readme", "readme\u{F133}")];
        let wanted: Vec<_> = wanted.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(parted(&["readme", "README", "Readme"]), wanted);
        assert_eq!(parted(&["Readme", "readme", "README"]), wanted);
        assert_eq!(parted(&["\u{C4}", "\u{E4}"]).len(), 1);
    }

    #[test]
    fn a_number_does_not_meet_a_name_that_is_there() {
        let host = parted(&["A", "a", "a\u{F132}"]);
        assert_eq!(host, [("a".to_owned(), "a\u{F133}".to_owned())]);
    }

    #[test]
    fn names_too_long_for_windows_are_cut_and_numbered() {
        let long = "\u{E4}".repeat(256);
        let [(guest, host)] = &parted(&[&long])[..] else { panic!("one name") };
        assert_eq!((guest, host.encode_utf16().count()), (&long, 255));
    }
}
