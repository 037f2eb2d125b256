//! Which files of the host an image may name.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::file::HostFile;
use crate::host::identity::FileIdentity;
use crate::host::names;
#[cfg(unix)]
use crate::host::unix as os;
#[cfg(windows)]
use crate::host::windows as os;
use crate::locator::{Located, Locator};
use volfold_block::{BlockError, BlockErrorKind, BlockResult};

/// LIMIT: files of a folder that are looked at as the parent of an image that names it by an id.
const MAX_NEIGHBOURS: usize = 4096;

/// LIMIT: files that one name may mean.
const MAX_CANDIDATES: usize = 64;

/// The default policy: files beside the image, and below folders that the user named.
pub struct HostLocator {
    /// The folder of the file whose references are resolved.
    beside: PathBuf,
    allowed: Arc<[PathBuf]>,
    /// The file itself, and the images that it is a part of. None of them is a part of it.
    whole: Vec<FileIdentity>,
}

/// What a name may mean.
#[derive(Default)]
struct Search {
    /// Files of just that name.
    exact: Vec<PathBuf>,
    /// Files whose names differ in letter case only.
    similar: Vec<PathBuf>,
    /// A file that policy forbids.
    refused: Option<PathBuf>,
}

impl HostLocator {
    /// The policy for the references in the image at `image`. References may leave its folder only
    /// into the folders `allowed`, which must exist.
    ///
    /// # Errors
    /// `Io` if one of the folders cannot be resolved.
    pub fn new(image: &Path, allowed: &[PathBuf]) -> BlockResult<Self> {
        let canonical = |path: &Path| {
            os::real_path(path).map_err(|error| {
                let sentence = format!("folder {} cannot be resolved", os::shown(path));
                BlockError::new(BlockErrorKind::Io, sentence).because(error)
            })
        };
        let beside = canonical(parent_folder(image))?;
        let allowed = allowed.iter().map(|path| canonical(path)).collect::<BlockResult<_>>()?;
        let itself = std::fs::metadata(image).ok();
        let itself = itself.map(|metadata| FileIdentity::of(os::file_id(&metadata), image));
        let whole = itself.into_iter().collect();
        Ok(Self { beside, allowed, whole })
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.beside).chain(self.allowed.iter())
    }

    fn permits(&self, path: &Path) -> bool {
        path.parent() == Some(&self.beside)
            || self.allowed.iter().any(|folder| path.starts_with(folder))
    }

    /// Looks for what `reference` may mean: the path as given, then its last name beside the image
    /// and in each allowed folder; then other spellings of that name there.
    fn search(&self, reference: &Path) -> BlockResult<Search> {
        let wanted = os::host_path(reference);
        let Some(name) = wanted.file_name().filter(|name| os::is_plain(Path::new(name))) else {
            let shown = reference.display();
            return Err(BlockError::refused(format!("image names {shown}, which is no file")));
        };
        let mut found = Search::default();
        if os::may_ask(self.folders(), &wanted) {
            self.consider(&self.beside.join(&wanted), &mut found)?;
        }
        // An absolute path of another machine usually means the file beside the image.
        for folder in self.folders() {
            self.consider(&folder.join(name), &mut found)?;
        }
        if found.exact.is_empty()
            && let Some(name) = name.to_str()
        {
            for spelling in names::normal_forms(name) {
                for folder in self.folders() {
                    self.consider(&folder.join(&spelling), &mut found)?;
                }
            }
            if found.exact.is_empty() {
                self.search_similar(name, &mut found);
            }
        }
        Ok(found)
    }

    /// Adds the file at `candidate`, if there is one and policy allows it.
    fn consider(&self, candidate: &Path, found: &mut Search) -> BlockResult<()> {
        // Links are resolved before the policy looks, so none can lead outside.
        let real = match os::real_path(candidate) {
            Ok(real) => real,
            Err(error) if hides_a_file(&error) => {
                let sentence = format!("{} cannot be resolved", os::shown(candidate));
                return Err(BlockError::new(BlockErrorKind::Io, sentence).because(error));
            }
            Err(_) => return Ok(()),
        };
        if !self.permits(&real) {
            found.refused = Some(real);
        } else if found.exact.len() < MAX_CANDIDATES && !found.exact.contains(&real) {
            found.exact.push(real);
        }
        Ok(())
    }

    /// Adds files whose names are `name` but for the case of letters.
    fn search_similar(&self, name: &str, found: &mut Search) {
        let wanted = names::folded(name);
        for folder in self.folders() {
            // A folder that cannot be listed has nothing to offer.
            for path in files_in(folder, names::MAX_LISTED, |_| true) {
                let is_similar = |other: &OsStr| {
                    other.to_str().is_some_and(|other| names::folded(other) == wanted)
                };
                if found.similar.len() < MAX_CANDIDATES
                    && path.file_name().is_some_and(is_similar)
                    && let Ok(real) = os::real_path(&path)
                    && self.permits(&real)
                    && !found.similar.contains(&real)
                {
                    found.similar.push(real);
                }
            }
        }
    }

    /// Opens the file at the real path `real`; `None` if it is the image that names it, or one that
    /// the image is a part of.
    fn open_real(&self, real: &Path) -> BlockResult<Option<Located>> {
        let file = HostFile::open(real)?;
        if self.whole.contains(&file.identity) {
            return Ok(None);
        }
        let mut whole = self.whole.clone();
        whole.push(file.identity.clone());
        let beside = parent_folder(real).to_path_buf();
        let files = Arc::new(Self { beside, allowed: self.allowed.clone(), whole });
        let name = os::shown(real).into_owned();
        Ok(Some(Located { device: Arc::new(file), name, files }))
    }
}

/// The files in `folder` that are wanted, at most `limit`, sorted by name; none if it cannot be
/// listed.
fn files_in(folder: &Path, limit: usize, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.take(names::MAX_LISTED).map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| is_wanted(path)).take(limit).collect();
    files.sort();
    files
}

/// The folder that `path` is in.
pub(super) fn parent_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The policy for what has no folder: a drive.
pub(super) struct Nowhere;

impl Locator for Nowhere {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let shown = reference.display();
        Err(BlockError::refused(format!("a drive names {shown}, and no file lies beside a drive")))
    }
}

/// Whether a path may be there though it could not be resolved. A folder of another machine that
/// this user may not enter is not such a case: what counts is the file beside the image.
fn hides_a_file(error: &std::io::Error) -> bool {
    !matches!(
        error.kind(),
        std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::PermissionDenied
            | std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::InvalidFilename
    )
}

impl Locator for HostLocator {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let shown = reference.display();
        let found = self.search(reference)?;
        let mut is_itself = false;
        let similar = if found.similar.len() == 1 { found.similar.as_slice() } else { &[] };
        for real in found.exact.iter().chain(similar) {
            match self.open_real(real)? {
                Some(located) => return Ok(located),
                None => is_itself = true,
            }
        }
        Err(match found.refused {
            _ if is_itself => BlockError::refused(format!(
                "image names {shown}, and the file of that name is the image itself or made of it; allow the folder of another one with --allow-path"
            )),
            Some(real) => BlockError::refused(format!(
                "image names {}, which is outside its folder; allow it with --allow-path {}",
                os::shown(&real),
                os::shown(parent_folder(&real))
            )),
            None if found.similar.len() > 1 => BlockError::missing(format!(
                "{shown} is missing; {} files differ from it in letter case only",
                found.similar.len()
            )),
            None => BlockError::missing(format!("{shown} is missing; put it beside the image")),
        })
    }

    fn candidates(&self, reference: &Path) -> BlockResult<Vec<Located>> {
        let found = self.search(reference)?;
        let opened = found.exact.iter().chain(&found.similar).filter_map(|real| {
            // One that cannot be opened may not be the one that is meant.
            self.open_real(real).ok().flatten()
        });
        let opened: Vec<_> = opened.collect();
        if opened.is_empty() { self.open(reference).map(|one| vec![one]) } else { Ok(opened) }
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        for folder in self.folders() {
            let has_it = |path: &Path| {
                path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
            };
            for path in files_in(folder, MAX_NEIGHBOURS, has_it) {
                if let Ok(real) = os::real_path(&path)
                    && self.permits(&real)
                    && let Ok(Some(located)) = self.open_real(&real)
                    && visit(located).is_break()
                {
                    return;
                }
            }
        }
    }
}
