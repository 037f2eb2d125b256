//! The names that the entries of one directory get on this host.
//!
//! Windows takes names that differ in case only for one; all but the first of such twins get a
//! number, in the order of the guest's bytes, as below a mount.

use std::collections::HashMap;
use std::ffi::OsString;

use volfold_fs::{FileSystem, NodeId};
use volfold_projector::folder::names;

/// The names of one directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostNames {
    /// The guest's names of the twins that get a number.
    numbered: HashMap<Vec<u8>, OsString>,
    /// All names as Windows compares them.
    #[cfg(windows)]
    folded: std::collections::HashSet<Vec<u16>>,
}

impl HostNames {
    /// The names of the entries of `dir`; what cannot be listed has no twins.
    #[cfg(windows)]
    pub(crate) fn of(tree: &dyn FileSystem, dir: NodeId) -> Self {
        use std::ops::ControlFlow;
        use std::os::windows::ffi::OsStringExt;

        let mut guests: Vec<Vec<u8>> = Vec::new();
        // The walk tells of directories that cannot be read.
        let _ = tree.read_dir(dir, volfold_fs::DirCursor::START, &mut |entry| {
            guests.push(entry.name.as_bytes().to_vec());
            ControlFlow::Continue(())
        });
        let names: Vec<&[u8]> = guests.iter().map(Vec::as_slice).collect();
        let numbered = names::disambiguate_case(&names).into_iter();
        let numbered =
            numbered.map(|(place, host)| (guests[place].clone(), OsString::from_wide(&host)));
        let numbered: HashMap<Vec<u8>, OsString> = numbered.collect();
        let host = |guest: &Vec<u8>| match numbered.get(guest) {
            Some(host) => folded(host),
            None => folded(&names::to_host(guest)),
        };
        let folded = guests.iter().map(host).collect();
        Self { numbered, folded }
    }

    /// Whether Windows would find a file by what it makes of `name`.
    #[cfg(windows)]
    pub(crate) fn has_twin_of(&self, name: &[u8]) -> bool {
        self.folded.contains(&folded(&names::to_host(name)))
    }

    /// The names of the entries of `dir`: on Unix none are twins.
    #[cfg(not(windows))]
    pub(crate) fn of(_tree: &dyn FileSystem, _dir: NodeId) -> Self {
        Self::default()
    }

    /// The host's name of the entry that the guest calls `name`.
    pub(crate) fn get(&self, name: &[u8]) -> OsString {
        self.numbered.get(name).cloned().unwrap_or_else(|| names::to_host(name))
    }
}

/// `name` as Windows compares it.
#[cfg(windows)]
fn folded(name: &std::ffi::OsStr) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    name.encode_wide().map(names::fold).collect()
}
