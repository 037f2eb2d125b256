//! Walks through directories, with the habits of the crate `walkdir`.

use std::fmt;

use volfold_fs::{FileKind, FileSystem, FsError, Metadata};

use super::descent::{Descent, Step};
use super::path::GuestPath;

/// A walk through everything at and below a path, in the order of the file system.
///
/// What cannot be read is an item too, and the walk goes on after it: a walk that gave no error has
/// seen everything. One that is [stopped](crate::Monitor) ends with that error.
pub struct Walk {
    start: Option<GuestPath>,
    root: GuestPath,
    descent: Option<Descent>,
    min_depth: usize,
    max_depth: usize,
}

/// What a walk met.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    path: GuestPath,
    metadata: Metadata,
    depth: usize,
}

/// What a walk could not read.
#[derive(Debug)]
pub struct WalkError {
    path: GuestPath,
    depth: usize,
    error: FsError,
}

impl GuestPath {
    /// Everything below, and what is here itself; a link here is followed, one below is not.
    pub fn walk(&self) -> Walk {
        Walk::new(self.clone())
    }

    /// The entries of the directory: a walk of depth 1.
    pub fn read_dir(&self) -> Walk {
        self.walk().min_depth(1).max_depth(1)
    }
}

impl Walk {
    fn new(start: GuestPath) -> Self {
        Self {
            root: start.clone(),
            start: Some(start),
            descent: None,
            min_depth: 0,
            max_depth: usize::MAX,
        }
    }

    /// Leaves out what lies less deep; the start has depth 0. Errors are never left out.
    #[must_use]
    pub fn min_depth(mut self, depth: usize) -> Self {
        self.min_depth = depth;
        self
    }

    /// Goes no deeper.
    #[must_use]
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }

    /// Leaves out the entries that `wanted` does not want, and all that lies below them.
    pub fn filter_entry<P: FnMut(&WalkEntry) -> bool>(self, wanted: P) -> FilterEntry<P> {
        FilterEntry { walk: self, wanted }
    }

    /// Does not go into the directory that came last; after anything else leaves the directory that
    /// it lies in.
    pub fn skip_current_dir(&mut self) {
        if let Some(descent) = &mut self.descent {
            descent.skip_or_leave();
        }
    }

    /// Does not go into the last entry, if it is a directory.
    fn stay_out(&mut self) {
        if let Some(descent) = &mut self.descent {
            descent.skip();
        }
    }

    /// What is at the start, and the way below it.
    fn begin(&mut self, start: GuestPath) -> Option<Result<WalkEntry, WalkError>> {
        let tree = start.tree();
        let found = tree.monitor.whole(|| {
            let found = tree.find(start.as_bytes(), true)?;
            Ok((tree.files.metadata(found.node)?, found))
        });
        match found {
            Ok((metadata, found)) => {
                if metadata.kind == FileKind::Directory && self.max_depth > 0 {
                    self.descent = Some(Descent::new(found.node, start.as_bytes()));
                }
                let entry = WalkEntry { path: start, metadata, depth: 0 };
                (self.min_depth == 0).then_some(Ok(entry))
            }
            Err(error) => Some(Err(WalkError { path: start, depth: 0, error })),
        }
    }
}

impl Iterator for Walk {
    type Item = Result<WalkEntry, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(start) = self.start.take()
            && let Some(item) = self.begin(start)
        {
            return Some(item);
        }
        let tree = self.root.tree();
        loop {
            let descent = self.descent.as_mut()?;
            let step = match tree.monitor.whole(|| Ok(descent.step(&tree.files))) {
                Ok(step) => step,
                Err(error) => {
                    let path = GuestPath::new(tree.clone(), descent.path().to_vec());
                    let depth = descent.depth();
                    self.descent = None;
                    return Some(Err(WalkError { path, depth, error }));
                }
            };
            let Some(step) = step else {
                self.descent = None;
                return None;
            };
            let path = GuestPath::new(tree.clone(), descent.path().to_vec());
            let depth = descent.depth();
            match step {
                Step::Failed(error) => return Some(Err(WalkError { path, depth, error })),
                Step::Node(metadata) => {
                    if depth >= self.max_depth {
                        descent.skip();
                    }
                    if depth >= self.min_depth {
                        return Some(Ok(WalkEntry { path, metadata, depth }));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A walk without some entries and what lies below them; see [`Walk::filter_entry`].
#[derive(Debug)]
pub struct FilterEntry<P> {
    walk: Walk,
    wanted: P,
}

impl<P> FilterEntry<P> {
    /// As [`Walk::skip_current_dir`].
    pub fn skip_current_dir(&mut self) {
        self.walk.skip_current_dir();
    }
}

impl<P: FnMut(&WalkEntry) -> bool> Iterator for FilterEntry<P> {
    type Item = Result<WalkEntry, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.walk.next()? {
                Ok(entry) if !(self.wanted)(&entry) => self.walk.stay_out(),
                item => return Some(item),
            }
        }
    }
}

impl WalkEntry {
    /// Its path.
    pub fn path(&self) -> &GuestPath {
        &self.path
    }

    /// The last part of the path.
    pub fn file_name(&self) -> &[u8] {
        self.path.file_name()
    }

    /// What is known of it; of a link itself, not of what it leads to.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// How deep it lies below the start, which has 0.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

impl WalkError {
    /// The directory, or entry, that could not be read.
    pub fn path(&self) -> &GuestPath {
        &self.path
    }

    /// How deep it lies below the start, which has 0.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Why.
    pub fn into_error(self) -> FsError {
        self.error
    }

    /// Why.
    pub fn error(&self) -> &FsError {
        &self.error
    }
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)
    }
}

impl std::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
