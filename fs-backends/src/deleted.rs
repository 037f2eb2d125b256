//! The tree that shows what was deleted.
//!
//! A driver gives each deleted file with the directory that it was in ([`FileSystem::deleted`]). A [`DeletedTree`] shows
//! these, and nothing else, as a file system of its own, so that a deleted file is never taken for a living one.
//! A driver gives the bytes of a file only if each cluster that it had is free now, and nobody else had one as well:
//! of two, nobody can say whose bytes they are. That something was written there and removed since, nobody
//! can see; that is why every such tree says what it is.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{Finding, byte_count, code};

use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::node::{
    CaseRule, Deleted, DeletedIn, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo,
    LinkTarget, LivingPath, Metadata, Name, NodeId, StreamName, Usage,
};

/// The directory of those whose own is not known any more, as The Sleuth Kit calls it.
const ORPHANS: &[u8] = b"$OrphanFiles";
/// LIMIT: deleted files and directories of one volume that are shown.
const MAX_DELETED: usize = 1 << 20;
/// LIMIT: how deep a deleted file may lie; those below are with the orphans.
const MAX_DEPTH: u32 = 512;

/// Node 1 is the root; the others count from there.
const ROOT: NodeId = NodeId(1);

/// A name, and whose it is.
type Child = (Box<[u8]>, NodeId);

struct Entry {
    metadata: Metadata,
    /// Its number for the file system; `None` for a directory that was not deleted.
    deleted: Option<NodeId>,
    children: Vec<Child>,
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
        let passed_over = files.deleted(&mut |found| {
            is_cut = builder.entries.len() >= MAX_DELETED;
            if is_cut {
                return ControlFlow::Break(());
            }
            builder.insert(found);
            ControlFlow::Continue(())
        })?;
        let entries = builder.finish();
        let mut info = files.info().clone();
        let case = std::mem::replace(&mut info.case, CaseRule::Sensitive);
        tell(&entries, passed_over, is_cut, &mut info.findings);
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
fn tell(entries: &[Entry], passed_over: u64, is_cut: bool, findings: &mut Vec<Finding>) {
    let is_file =
        |entry: &&Entry| entry.deleted.is_some() && entry.metadata.kind != FileKind::Directory;
    let all = entries.iter().filter(is_file).count();
    let is_lost = |entry: &&Entry| entry.metadata.unreadable.is_some();
    let lost = entries.iter().filter(is_file).filter(is_lost).count();
    let what = if all == 1 { "deleted file was" } else { "deleted files were" };
    let mut line = format!("{all} {what} found");
    if lost > 0 {
        line.push_str(&format!(", {lost} of them without content"));
    }
    if lost < all {
        line.push_str("; content is what lies in their place now, which may not be what it was");
    }
    if passed_over > 0 {
        line.push_str(&format!("; of {passed_over} more too little is left to show them"));
    }
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
    name: Box<[u8]>,
    /// `None` for the root, and until it is known.
    parent: Option<NodeId>,
    metadata: Metadata,
    deleted: Option<NodeId>,
}

/// Grows the tree, one deleted file after another.
struct Builder {
    entries: Vec<Growing>,
    /// The directories that are there, by the one above and their name.
    living: HashMap<(NodeId, Box<[u8]>), NodeId>,
    /// The last of them that was asked for.
    last: Option<(LivingPath, NodeId)>,
    /// What was deleted, by its number for the file system, or has deleted files in it.
    deleted: HashMap<NodeId, NodeId>,
}

impl Builder {
    fn new() -> Self {
        let mut builder = Self {
            entries: Vec::new(),
            living: HashMap::new(),
            last: None,
            deleted: HashMap::new(),
        };
        builder.add(b"", None, Metadata::new(ROOT, FileKind::Directory), None);
        builder
    }

    fn add(
        &mut self,
        name: &[u8],
        parent: Option<NodeId>,
        metadata: Metadata,
        deleted: Option<NodeId>,
    ) -> NodeId {
        let node = NodeId(byte_count(self.entries.len()).saturating_add(ROOT.0));
        let metadata = Metadata { node, ..metadata };
        self.entries.push(Growing { name: name.into(), parent, metadata, deleted });
        node
    }

    fn insert(&mut self, found: Deleted) {
        let Deleted { parent, name, metadata } = found;
        let parent = match parent {
            DeletedIn::Living(path) => Some(self.living_directory(path)),
            DeletedIn::Deleted(number) => Some(self.deleted_directory(number)),
            DeletedIn::Unknown => None,
        };
        let number = metadata.node;
        let known = self.deleted.get(&number).copied().and_then(index_of);
        match known.and_then(|index| self.entries.get_mut(index)) {
            // Its files were met first.
            Some(known) if known.deleted.is_none() => {
                let node = known.metadata.node;
                *known = Growing {
                    name: name.into(),
                    parent,
                    metadata: Metadata { node, ..metadata },
                    deleted: Some(number),
                };
            }
            _ => {
                let node = self.add(&name, parent, metadata, Some(number));
                self.deleted.insert(number, node);
            }
        }
    }

    /// The directory at `path`, made where it is not there.
    fn living_directory(&mut self, path: LivingPath) -> NodeId {
        if let Some((last, node)) = &self.last
            && last.is(&path)
        {
            return *node;
        }
        let mut here = ROOT;
        for name in path.names() {
            let key = (here, Box::from(name));
            here = match self.living.get(&key) {
                Some(node) => *node,
                None => {
                    let metadata = Metadata::new(ROOT, FileKind::Directory);
                    let node = self.add(name, Some(here), metadata, None);
                    self.living.insert(key, node);
                    node
                }
            };
        }
        self.last = Some((path, here));
        here
    }

    /// The deleted directory that the file system calls `number`; it may be given later.
    fn deleted_directory(&mut self, number: NodeId) -> NodeId {
        if let Some(node) = self.deleted.get(&number) {
            return *node;
        }
        let name = format!("directory-{}", number.0);
        let metadata = Metadata::new(ROOT, FileKind::Directory);
        let node = self.add(name.as_bytes(), None, metadata, None);
        self.deleted.insert(number, node);
        node
    }

    fn finish(mut self) -> Vec<Entry> {
        self.end_at_the_root();
        let mut order: Vec<(NodeId, u32)> = Vec::new();
        for (entry, index) in self.entries.iter().zip(0_u32..).skip(1) {
            order.extend(entry.parent.map(|parent| (parent, index)));
        }
        // By name in each directory; of equal names those of directories that are there come first.
        let key = |(parent, index): &(NodeId, u32)| {
            let entry = usize::try_from(*index).ok().and_then(|index| self.entries.get(index));
            (*parent, entry.map(|entry| (&entry.name, entry.deleted.is_some())), *index)
        };
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        let mut children: Vec<Vec<Child>> = Vec::new();
        children.resize_with(self.entries.len(), Vec::new);
        for group in order.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((parent, _)) = group.first() else { continue };
            let named = group.iter().filter_map(|(_, index)| {
                let entry = self.entries.get(usize::try_from(*index).ok()?)?;
                Some((entry.name.clone(), entry.metadata.node))
            });
            let mut named: Vec<Child> = named.collect();
            tell_apart(&mut named);
            if let Some(place) = index_of(*parent).and_then(|index| children.get_mut(index)) {
                *place = named;
            }
        }
        let finish = |(entry, children): (Growing, Vec<Child>)| Entry {
            metadata: entry.metadata,
            deleted: entry.deleted,
            children,
        };
        self.entries.into_iter().zip(children).map(finish).collect()
    }

    /// Gives those to the orphans that lead nowhere, in a circle, or too deep.
    fn end_at_the_root(&mut self) {
        // The depth of each, once it is known.
        let mut depths: Vec<Option<u32>> = vec![None; self.entries.len()];
        let mut lost: Vec<usize> = Vec::new();
        for start in 0..self.entries.len() {
            let (mut chain, mut here, mut met) = (Vec::new(), start, HashSet::new());
            let above = loop {
                if let Some(Some(depth)) = depths.get(here) {
                    break Some(*depth);
                }
                let parent = self.entries.get(here).and_then(|entry| entry.parent);
                if here == 0 || !met.insert(here) {
                    break (here == 0).then_some(0);
                }
                chain.push(here);
                match parent.and_then(index_of) {
                    Some(parent) => here = parent,
                    None => break None,
                }
            };
            let mut depth = above;
            for index in chain.into_iter().rev() {
                let own = match depth {
                    Some(above) if above < MAX_DEPTH => above.saturating_add(1),
                    // The topmost of them is an orphan, below which the others lie.
                    _ => {
                        lost.push(index);
                        2
                    }
                };
                depth = Some(own);
                if let Some(place) = depths.get_mut(index) {
                    *place = Some(own);
                }
            }
            if let Some(place) = depths.get_mut(0) {
                *place = Some(0);
            }
        }
        if lost.is_empty() {
            return;
        }
        let orphans = self.living_directory(LivingPath::default().join(ORPHANS));
        for index in lost {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.parent = Some(orphans);
            }
        }
    }
}

/// Gives each entry of `named`, which are sorted, that is called as another a name of its own: `NAME~2`.
fn tell_apart(named: &mut [Child]) {
    let is_twin = |pair: &[Child]| matches!(pair, [(one, _), (other, _)] if one == other);
    if !named.windows(2).any(is_twin) {
        return;
    }
    let mut taken: HashSet<Box<[u8]>> = named.iter().map(|(name, _)| name.clone()).collect();
    let (mut last, mut number) = (Box::default(), 1_u64);
    for (at, (name, _)) in named.iter_mut().enumerate() {
        if at == 0 || *name != last {
            (last, number) = (name.clone(), 1);
            continue;
        }
        loop {
            number = number.saturating_add(1);
            let own = [&*last, format!("~{number}").as_bytes()].concat().into_boxed_slice();
            if taken.insert(own.clone()) {
                *name = own;
                break;
            }
        }
    }
    named.sort();
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

    /// That of the file system: what contradicts itself there bears on what is free.
    fn check(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        self.files.check(report)
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

    fn number(&self, node: NodeId) -> u64 {
        self.entry(node).ok().and_then(|entry| entry.deleted).map_or(0, |deleted| deleted.0)
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        match self.entry(node)? {
            Entry { metadata: Metadata { unreadable: Some(_), .. }, .. } => {
                Err(FsError::undecodable(Reason::OVERWRITTEN))
            }
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
            // The file system has better words for it.
            Some(_) => Err(self.files.open_deleted(deleted).err().unwrap_or_else(|| {
                FsError::corrupt("what is left of the deleted file contradicts itself")
            })),
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

        fn deleted(&self, visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<u64> {
            let _ = self.1.iter().cloned().try_for_each(visit);
            Ok(3)
        }

        fn open_deleted(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
            Ok(Arc::new(BytesFile::new(node.0.to_string().into_bytes())))
        }

        fn open(&self, _: NodeId, _: &StreamName) -> FsResult<Arc<dyn FileData>> {
            Err(FsError::not_found())
        }
    }

    fn living(path: &str) -> DeletedIn {
        let parts = path.split('/').filter(|part| !part.is_empty());
        DeletedIn::Living(parts.fold(LivingPath::default(), |path, part| path.join(part)))
    }

    fn deleted(number: u64, parent: DeletedIn, name: &str, kind: FileKind) -> Deleted {
        let metadata = Metadata::new(NodeId(number), kind);
        Deleted { parent, name: name.into(), metadata }
    }

    fn file(number: u64, parent: DeletedIn, name: &str) -> Deleted {
        deleted(number, parent, name, FileKind::Regular)
    }

    fn directory(number: u64, parent: DeletedIn, name: &str) -> Deleted {
        deleted(number, parent, name, FileKind::Directory)
    }

    fn below(number: u64) -> DeletedIn {
        DeletedIn::Deleted(NodeId(number))
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
    fn equal_names_are_told_apart_and_each_file_is_in_its_own_directory() {
        let tree = tree(vec![
            file(10, living("dir"), "a"),
            file(11, living("dir"), "a"),
            file(12, below(14), "of the first"),
            directory(13, living(""), "dir"),
            directory(14, living(""), "gone"),
            directory(15, living(""), "gone"),
            file(16, below(15), "of the second"),
            file(17, living("dir"), "a~2"),
            file(18, living(""), "dir"),
            file(19, below(13), "x"),
        ]);
        let in_dir = |path: &str| names(&tree, find(&tree, path).unwrap());
        assert_eq!(names(&tree, ROOT), ["dir", "dir~2", "dir~3", "gone", "gone~2"]);
        assert_eq!(in_dir("dir"), ["a", "a~2", "a~3"]);
        assert_eq!(in_dir("dir~2"), ["x"]);
        assert_eq!(in_dir("gone"), ["of the first"]);
        assert_eq!(in_dir("gone~2"), ["of the second"]);
        for (path, wanted) in
            [("dir/a", "10"), ("DIR/A~3", "11"), ("dir/a~2", "17"), ("dir~3", "18")]
        {
            assert_eq!(text(&tree, path).unwrap(), wanted);
        }
        assert_eq!(kind_of(text(&tree, "dir")), FsErrorKind::IsADirectory);
        assert_eq!(kind_of(text(&tree, "dir/none")), FsErrorKind::NotFound);
        assert_eq!(tree.number(find(&tree, "gone/of the first").unwrap()), 12);
        let line = &tree.findings()[0].message;
        assert!(
            line.starts_with("7 deleted files were found; content") && line.contains("of 3 more"),
            "{line}"
        );
    }

    #[test]
    fn what_leads_nowhere_is_an_orphan() {
        let tree = tree(vec![
            file(10, DeletedIn::Unknown, "lost"),
            directory(11, below(12), "ring"),
            directory(12, below(11), "of two"),
            directory(13, below(13), "own"),
            file(14, below(12), "in the ring"),
            file(15, below(99), "of one that is never given"),
        ]);
        assert_eq!(names(&tree, ROOT), ["$OrphanFiles"]);
        let orphans = names(&tree, find(&tree, "$OrphanFiles").unwrap());
        assert_eq!(orphans.len(), 4, "{orphans:?}");
        assert!(
            orphans.contains(&"directory-99".to_owned()) && orphans.contains(&"own".to_owned())
        );
        let ring = if orphans.contains(&"ring".to_owned()) { "ring/of two" } else { "of two" };
        let path = format!("$OrphanFiles/{ring}/in the ring");
        assert_eq!(text(&tree, &path).unwrap(), "14");
    }

    #[test]
    fn a_file_that_lies_too_deep_is_not_lost() {
        let mut files = vec![directory(1000, living(""), "d")];
        files.extend((1001..3000).map(|number| directory(number, below(number - 1), "d")));
        files.push(file(1, below(2999), "deep"));
        let tree = tree(files);
        let (mut open, mut found) = (vec![ROOT], 0);
        while let Some(dir) = open.pop() {
            for (_, node, metadata) in list(&tree, dir, 7).unwrap() {
                match metadata.unwrap().kind {
                    FileKind::Directory => open.push(node),
                    _ => found += 1,
                }
            }
        }
        assert_eq!(found, 1);
    }

    #[test]
    fn a_directory_is_listed_from_any_entry_on() {
        let one = |number| file(number, living(""), &format!("{number:03}"));
        let tree = tree((0..100).map(one).collect());
        let wanted: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
        assert_eq!(names(&tree, ROOT), wanted);
    }
}
