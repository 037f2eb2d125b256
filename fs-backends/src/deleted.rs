//! What was deleted: what drivers tell of it, and the tree that shows it.
//!
//! A driver gives each deleted file with the path that it had ([`FileSystem::deleted`]). A [`DeletedTree`] shows
//! these, and nothing else, as a file system of its own, so that a deleted file is never taken for a living one.
//! A file gives its bytes only if each unit that it had is free now and no other deleted file had it as well:
//! of two, nobody can say whose bytes they are. That something was written there and removed since, nobody
//! can see; that is why every such tree says what it is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{Finding, byte_count, code};

use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::node::{
    CaseRule, Deleted, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget,
    Metadata, Name, NodeId, ORPHANS, StreamName, Usage,
};

/// LIMIT: deleted files and directories of one volume that are shown, and the runs of units of all of them.
const MAX_DELETED: usize = 1 << 20;
const MAX_PLACES: usize = 1 << 22;
/// LIMIT: names in one path.
const MAX_DEPTH: usize = 256;

/// Node 1 is the root; the others count from there.
const ROOT: NodeId = NodeId(1);

struct Entry {
    metadata: Metadata,
    /// Its number for the file system; `None` for a directory that was not deleted.
    deleted: Option<NodeId>,
    children: Vec<(Box<[u8]>, NodeId)>,
}

/// The deleted files of a file system, below the directories that they were in.
pub struct DeletedTree {
    files: Arc<dyn FileSystem>,
    info: FsInfo,
    case: CaseRule,
    entries: Vec<Entry>,
}

impl DeletedTree {
    /// Looks for what was deleted on `files`.
    ///
    /// # Errors
    /// As [`FileSystem::deleted`].
    pub fn new(files: Arc<dyn FileSystem>) -> FsResult<Self> {
        let mut builder = Builder::new();
        let mut is_cut = false;
        files.deleted(&mut |found| {
            is_cut = builder.is_full();
            if is_cut {
                return ControlFlow::Break(());
            }
            builder.insert(found);
            ControlFlow::Continue(())
        })?;
        builder.refuse_shared();
        let entries = builder.finish();
        let mut info = files.info().clone();
        let case = std::mem::replace(&mut info.case, CaseRule::Sensitive);
        tell(&entries, is_cut, &mut info.findings);
        Ok(Self { files, info, case, entries })
    }

    fn entry(&self, node: NodeId) -> FsResult<&Entry> {
        let index = index_of(node);
        index.and_then(|index| self.entries.get(index)).ok_or_else(FsError::not_found)
    }

    fn directory(&self, node: NodeId) -> FsResult<&Entry> {
        let entry = self.entry(node)?;
        let is_directory = entry.metadata.kind == FileKind::Directory;
        is_directory.then_some(entry).ok_or_else(FsError::not_a_directory)
    }
}

/// Says what the tree of `entries` is.
fn tell(entries: &[Entry], is_cut: bool, findings: &mut Vec<Finding>) {
    let is_file = |entry: &&Entry| entry.metadata.kind != FileKind::Directory;
    let all = entries.iter().filter(is_file).count();
    let is_lost = |entry: &&Entry| entry.metadata.unreadable.is_some();
    let lost = entries.iter().filter(is_file).filter(is_lost).count();
    let what = if all == 1 { "deleted file was" } else { "deleted files were" };
    let line = format!(
        "{all} {what} found, {lost} of them without content; others have what lies in their place now, \
         which may not be what it was"
    );
    findings.push(Finding::info(code::DELETED_FILES, line));
    if is_cut {
        let line = format!("no more than {MAX_DELETED} deleted files are shown");
        findings.push(Finding::warning(code::DELETED_FILES_LEFT_OUT, line));
    }
}

fn index_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(ROOT.0)?).ok()
}

/// An entry while the tree grows.
struct Growing {
    metadata: Metadata,
    deleted: Option<NodeId>,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

impl Growing {
    fn new(metadata: Metadata, deleted: Option<NodeId>) -> Self {
        Self { metadata, deleted, children: BTreeMap::new() }
    }
}

/// Grows the tree, one deleted file after another.
struct Builder {
    entries: Vec<Growing>,
    /// Start and end of the places of all, and whose they are.
    places: Vec<(u64, u64, NodeId)>,
}

impl Builder {
    fn new() -> Self {
        let root = Metadata::new(ROOT, FileKind::Directory);
        Self { entries: vec![Growing::new(root, None)], places: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_DELETED || self.places.len() >= MAX_PLACES
    }

    fn finish(self) -> Vec<Entry> {
        let finish = |entry: Growing| Entry {
            metadata: entry.metadata,
            deleted: entry.deleted,
            children: entry.children.into_iter().collect(),
        };
        self.entries.into_iter().map(finish).collect()
    }

    fn get(&self, node: NodeId) -> Option<&Growing> {
        self.entries.get(index_of(node)?)
    }

    fn get_mut(&mut self, node: NodeId) -> Option<&mut Growing> {
        self.entries.get_mut(index_of(node)?)
    }

    fn insert(&mut self, found: Deleted) {
        let Deleted { path, metadata, places } = found;
        let deleted = Some(metadata.node);
        let Some((name, above)) = path.split_last() else { return };
        let lost = [ORPHANS.to_vec()];
        let above = if above.len() > MAX_DEPTH { &lost } else { above };
        let Some(dir) = self.directory_at(above) else { return };
        let own = self.get(dir).and_then(|dir| dir.children.get(&**name).copied());
        if metadata.kind == FileKind::Directory
            && let Some(known) = own.and_then(|known| self.get_mut(known))
            && known.metadata.kind == FileKind::Directory
            && known.deleted.is_none()
        {
            // Its files were met first.
            known.metadata = Metadata { node: known.metadata.node, ..metadata };
            known.deleted = deleted;
            return;
        }
        let added = self
            .free_name(dir, name)
            .and_then(|name| self.add(dir, &name, Growing::new(metadata, deleted)));
        if let Some(node) = added {
            let places = places.into_iter().filter(|place| !place.is_empty());
            self.places.extend(places.map(|place| (place.start, place.end, node)));
        }
    }

    /// Adds an entry called `name` to `dir`.
    fn add(&mut self, dir: NodeId, name: &[u8], entry: Growing) -> Option<NodeId> {
        let node = NodeId(byte_count(self.entries.len()).saturating_add(ROOT.0));
        self.get_mut(dir)?.children.insert(name.into(), node);
        let metadata = Metadata { node, ..entry.metadata };
        self.entries.push(Growing { metadata, ..entry });
        Some(node)
    }

    /// The directory at `path`, made where it is not there.
    fn directory_at(&mut self, path: &[Vec<u8>]) -> Option<NodeId> {
        let mut here = ROOT;
        for name in path {
            let known = self.get(here)?.children.get(&**name).copied();
            let is_directory = |node: &NodeId| {
                self.get(*node).is_some_and(|entry| entry.metadata.kind == FileKind::Directory)
            };
            here = match known.filter(is_directory) {
                Some(node) => node,
                None => {
                    let name = self.free_name(here, name)?;
                    let metadata = Metadata::new(ROOT, FileKind::Directory);
                    self.add(here, &name, Growing::new(metadata, None))?
                }
            };
        }
        Some(here)
    }

    /// `name`, or where `dir` has that, `name~2` and so on.
    fn free_name(&self, dir: NodeId, name: &[u8]) -> Option<Vec<u8>> {
        let children = &self.get(dir)?.children;
        if !children.contains_key(name) {
            return Some(name.to_vec());
        }
        let numbered = |number: u64| [name, format!("~{number}").as_bytes()].concat();
        let is_taken = |number: u64| children.contains_key(&*numbered(number));
        // Numbers are given in their order, so the first that is free is found by halving.
        let mut high: u64 = 2;
        while is_taken(high) {
            high = high.saturating_mul(2);
        }
        let mut low: u64 = 1;
        while low.saturating_add(1) < high {
            let middle = low.midpoint(high);
            if is_taken(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(numbered(high))
    }

    /// Refuses the content of those that have a place of another one.
    fn refuse_shared(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable();
        let mut last: Option<(u64, NodeId)> = None;
        for (start, end, node) in places {
            if let Some((_, other)) = last.filter(|(reach, other)| start < *reach && *other != node)
            {
                self.refuse(node);
                self.refuse(other);
            }
            if last.is_none_or(|(reach, _)| end > reach) {
                last = Some((end, node));
            }
        }
    }

    fn refuse(&mut self, node: NodeId) {
        if let Some(entry) = self.get_mut(node) {
            let reason = FsErrorKind::Undecodable(Reason::OVERWRITTEN);
            entry.metadata.unreadable.get_or_insert(reason);
        }
    }
}

/// Whether `name` is `wanted`, which is in lower case, without regard to case.
fn is_alike(name: &[u8], wanted: &str) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| name.to_lowercase() == wanted)
}

impl FileSystem for DeletedTree {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.files.findings();
        // Those of the file system at its mount are in both.
        let own = self.info.findings.get(self.files.info().findings.len()..);
        findings.extend(own.unwrap_or_default().iter().cloned());
        findings
    }

    fn usage(&self) -> FsResult<Usage> {
        self.files.usage()
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let children = &self.directory(dir)?.children;
        let place = children.binary_search_by(|(own, _)| (**own).cmp(name.as_bytes()));
        if let Some((_, node)) = place.ok().and_then(|place| children.get(place)) {
            return Ok(*node);
        }
        let wanted = name.to_text().to_lowercase();
        let alike = children.iter().find(|(name, _)| is_alike(name, &wanted));
        let alike = alike.filter(|_| self.case == CaseRule::Insensitive);
        alike.map(|(_, node)| *node).ok_or_else(FsError::not_found)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        Ok(self.entry(node)?.metadata.clone())
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let children = &self.directory(dir)?.children;
        let skipped = usize::try_from(from.0).unwrap_or(usize::MAX);
        let rest = children.get(skipped..).unwrap_or_default();
        for ((name, node), next) in rest.iter().zip(from.0.saturating_add(1)..) {
            let metadata = &self.entry(*node)?.metadata;
            let entry = DirEntry {
                name: Name::new(name),
                node: *node,
                kind: metadata.kind,
                metadata: Some(metadata),
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        match self.entry(node)? {
            Entry { metadata, deleted: Some(deleted), .. }
                if metadata.kind == FileKind::Symlink =>
            {
                self.files.read_deleted_link(*deleted)
            }
            _ => Err(FsError::not_a_link()),
        }
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let entry = self.entry(node)?;
        if entry.metadata.kind == FileKind::Directory {
            return Err(FsError::is_a_directory());
        }
        let deleted = entry.deleted.filter(|_| *stream == StreamName::MAIN);
        let deleted = deleted.ok_or_else(FsError::not_found)?;
        match entry.metadata.unreadable {
            None => self.files.open_deleted(deleted),
            Some(FsErrorKind::Undecodable(reason)) => Err(FsError::undecodable(reason)),
            Some(FsErrorKind::Encrypted) => Err(FsError::encrypted()),
            Some(_) => Err(FsError::corrupt("what is left of the deleted file contradicts itself")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extents::BytesFile;
    use crate::testing::{find, kind_of, list, read};

    /// A file system that knows what was deleted, and nothing else; the content of each file is its number.
    struct Fake(FsInfo, Vec<Deleted>);

    impl FileSystem for Fake {
        fn info(&self) -> &FsInfo {
            &self.0
        }

        fn usage(&self) -> FsResult<Usage> {
            Err(FsError::not_found())
        }

        fn root(&self) -> NodeId {
            ROOT
        }

        fn lookup(&self, _: NodeId, _: Name<'_>) -> FsResult<NodeId> {
            Err(FsError::not_found())
        }

        fn metadata(&self, _: NodeId) -> FsResult<Metadata> {
            Err(FsError::not_found())
        }

        fn read_dir(
            &self,
            _: NodeId,
            _: DirCursor,
            _: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
        ) -> FsResult<()> {
            Ok(())
        }

        fn read_link(&self, _: NodeId) -> FsResult<LinkTarget> {
            Err(FsError::not_a_link())
        }

        fn deleted(&self, visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<()> {
            let _ = self.1.iter().cloned().try_for_each(visit);
            Ok(())
        }

        fn open_deleted(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
            Ok(Arc::new(BytesFile::new(node.0.to_string().into_bytes())))
        }

        fn open(&self, _: NodeId, _: &StreamName) -> FsResult<Arc<dyn FileData>> {
            Err(FsError::not_found())
        }
    }

    fn deleted(number: u64, path: &str, kind: FileKind, places: &[(u64, u64)]) -> Deleted {
        let path = path.split('/').map(|name| name.as_bytes().to_vec()).collect();
        let metadata = Metadata::new(NodeId(number), kind);
        Deleted { path, metadata, places: places.iter().map(|(start, end)| *start..*end).collect() }
    }

    fn tree(files: Vec<Deleted>) -> DeletedTree {
        let info = FsInfo { case: CaseRule::Insensitive, ..FsInfo::new("fake", 1, 1) };
        DeletedTree::new(Arc::new(Fake(info, files))).unwrap()
    }

    fn text(tree: &DeletedTree, path: &str) -> FsResult<String> {
        Ok(String::from_utf8(read(tree, path)?).unwrap())
    }

    fn names(tree: &DeletedTree, dir: NodeId) -> Vec<String> {
        let names = list(tree, dir, 7).unwrap().into_iter();
        names.map(|(name, ..)| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn equal_names_are_told_apart_and_directories_are_one() {
        let tree = tree(vec![
            deleted(10, "dir/a", FileKind::Regular, &[]),
            deleted(11, "dir/a", FileKind::Regular, &[]),
            deleted(12, "dir", FileKind::Directory, &[]),
            deleted(13, "dir/a", FileKind::Regular, &[]),
            deleted(14, "dir/a/below", FileKind::Regular, &[]),
            deleted(15, "dir", FileKind::Regular, &[]),
        ]);
        assert_eq!(names(&tree, ROOT), ["dir", "dir~2"]);
        assert_eq!(names(&tree, find(&tree, "dir").unwrap()), ["a", "a~2", "a~3", "a~4"]);
        for (path, wanted) in
            [("dir/a", "10"), ("DIR/A~2", "11"), ("dir/a~3", "13"), ("dir~2", "15")]
        {
            assert_eq!(text(&tree, path).unwrap(), wanted);
        }
        assert_eq!(text(&tree, "dir/a~4/below").unwrap(), "14");
        assert_eq!(kind_of(text(&tree, "dir")), FsErrorKind::IsADirectory);
        assert_eq!(kind_of(text(&tree, "dir/none")), FsErrorKind::NotFound);
    }

    #[test]
    fn of_two_that_had_one_place_neither_is_given() {
        let tree = tree(vec![
            deleted(10, "first", FileKind::Regular, &[(0, 10), (50, 60)]),
            deleted(11, "apart", FileKind::Regular, &[(10, 20)]),
            deleted(12, "second", FileKind::Regular, &[(30, 55)]),
            deleted(13, "inside", FileKind::Regular, &[(100, 101)]),
            deleted(14, "around", FileKind::Regular, &[(90, 200)]),
            deleted(15, "later", FileKind::Regular, &[(150, 160)]),
        ]);
        let gone = FsErrorKind::Undecodable(Reason::OVERWRITTEN);
        for name in ["first", "second", "inside", "around", "later"] {
            assert_eq!(kind_of(text(&tree, name)), gone, "{name}");
        }
        assert_eq!(text(&tree, "apart").unwrap(), "11");
        let line = &tree.findings()[0].message;
        assert!(
            line.starts_with("6 deleted files were found, 5 of them without content"),
            "{line}"
        );
    }

    #[test]
    fn a_directory_is_listed_from_any_entry_on() {
        let file = |number| deleted(number, &format!("{number:03}"), FileKind::Regular, &[]);
        let tree = tree((0..100).map(file).collect());
        let wanted: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
        assert_eq!(names(&tree, ROOT), wanted);
    }
}
