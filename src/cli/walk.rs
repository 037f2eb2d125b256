//! Finding paths in a tree, and walking below them.

use std::ops::ControlFlow;

use volfold::files::{Descent, Found, Search, Step};
use volfold_fs::links::Guest;
use volfold_fs::{DirCursor, FileSystem, FsError, FsErrorKind, FsResult, Metadata, Name, NodeId};
use volfold_projector::folder::names;

/// The node at `path` (`/<volume>/dir/file`), following links on the way; those at the end only if
/// `follow`. Names may also be written as a mount shows them.
pub(crate) fn resolve(guest: Guest<'_>, path: &[u8], follow: bool) -> FsResult<NodeId> {
    Ok(Search::new(guest, path).by(lookup).follow(follow).run()?.node)
}

/// As [`resolve`], with the path in the guest's own spelling, which may have other capitals, and no
/// `.` and `..`.
pub(crate) fn find(guest: Guest<'_>, path: &[u8], follow: bool) -> FsResult<Found> {
    Search::new(guest, path).by(lookup).follow(follow).spell().run()
}

/// What was `found`, without what lies in another part of it, and each once.
pub(crate) fn outermost(found: Vec<(Vec<u8>, FsResult<Found>)>) -> Vec<(Vec<u8>, FsResult<Found>)> {
    let reals: Vec<Option<Vec<u8>>> = found
        .iter()
        .map(|(_, found)| found.as_ref().ok().map(|found| found.real.clone()))
        .collect();
    let is_in = |inner: &[u8], outer: &[u8]| {
        let rest = inner.strip_prefix(outer.strip_suffix(b"/").unwrap_or(outer));
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let covers = |number: usize, real: &Vec<u8>| {
        reals.iter().enumerate().any(|(other, outer)| match outer {
            Some(outer) => {
                (outer == real && other < number) || (outer != real && is_in(real, outer))
            }
            None => false,
        })
    };
    let is_outermost = |number: usize| {
        reals.get(number).and_then(Option::as_ref).is_none_or(|real| !covers(number, real))
    };
    let numbered = found.into_iter().enumerate();
    numbered.filter(|(number, _)| is_outermost(*number)).map(|(_, found)| found).collect()
}

/// The entry `name` of `dir`, and its name; that may also be written as a mount shows it.
fn lookup(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> FsResult<(NodeId, Vec<u8>)> {
    let exact = tree.lookup(dir, Name::new(name));
    let shown = names::to_guest(name)
        .and_then(|guest| Some((tree.lookup(dir, Name::new(&guest)).ok()?, guest)));
    match (exact, shown) {
        (Ok(node), Some((other, _))) if node != other => Err(FsError::new(
            FsErrorKind::InvalidName,
            "two files may be meant, one is called so and one is shown so; give the other's own name, \
             or its name with a number",
        )),
        (Ok(node), _) => Ok((node, name.to_vec())),
        (Err(error), _) if error.kind() != FsErrorKind::NotFound => Err(error),
        (Err(_), Some(shown)) => Ok(shown),
        (Err(error), None) => numbered(tree, dir, name).ok_or(error),
    }
}

/// The entry of `dir` that Windows is shown as `name`, with the number of one of several names that
/// differ in case, or of one that is too long.
fn numbered(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> Option<(NodeId, Vec<u8>)> {
    let wanted: Vec<u16> = std::str::from_utf8(name).ok()?.encode_utf16().collect();
    names::has_number(&wanted).then_some(())?;
    let mut entries: Vec<(NodeId, Vec<u8>)> = Vec::new();
    tree.read_dir(dir, DirCursor::START, &mut |entry| {
        entries.push((entry.node, entry.name.as_bytes().to_vec()));
        ControlFlow::Continue(())
    })
    .ok()?;
    let guests: Vec<&[u8]> = entries.iter().map(|(_, name)| name.as_slice()).collect();
    let fold = |name: &[u16]| name.iter().map(|unit| names::fold(*unit)).collect::<Vec<_>>();
    let wanted = fold(&wanted);
    let mut hosts = names::disambiguate_case(&guests).into_iter();
    let (place, _) = hosts.find(|(_, host)| fold(host) == wanted)?;
    entries.into_iter().nth(place)
}

/// One node met on a walk.
pub(crate) struct Visit<'a> {
    /// Its path from the tree's root, with a leading `/`.
    pub(crate) path: &'a [u8],
    /// Its own name.
    pub(crate) name: &'a [u8],
    /// What is known of it.
    pub(crate) metadata: &'a Metadata,
    /// How many directories lie above it, below the start of the walk.
    pub(crate) depth: usize,
}

/// What a walk tells its owner.
pub(crate) enum Event<'a> {
    /// A node; a directory's comes before those of its entries.
    Node(Visit<'a>),
    /// A directory, or an entry, that could not be read.
    Failed(&'a [u8], FsError),
}

/// Walks everything below the directory `start`, whose own path is `path`, in the order of the
/// file system; `path` itself is not visited. With `recursive` false only its entries are.
///
/// # Errors
/// The first error that `visit` returns.
pub(crate) fn walk<E>(
    tree: &dyn FileSystem,
    start: NodeId,
    path: &[u8],
    recursive: bool,
    visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut descent = Descent::new(start, path);
    while let Some(step) = descent.step(tree) {
        let path = descent.path();
        match step {
            Step::Node(metadata) => {
                let (name, depth) = (descent.name(), descent.depth().saturating_sub(1));
                visit(Event::Node(Visit { path, name, metadata: &metadata, depth }))?;
                if !recursive {
                    descent.skip();
                }
            }
            Step::Failed(error) => visit(Event::Failed(path, error))?,
        }
    }
    Ok(())
}

/// The error of a `PATH` argument as a message.
pub(crate) fn path_error(path: &[u8], error: &FsError) -> String {
    let shown = String::from_utf8_lossy(path);
    let reason = volfold_block::error_chain(error);
    let hint = if error.kind() == FsErrorKind::NotFound {
        "; `volfold ls` shows what there is"
    } else {
        ""
    };
    format!("{shown}: {reason}{hint}")
}
