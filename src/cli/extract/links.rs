//! What symbolic links become: links of the host that lead where the guest means, copies of what
//! they lead to, or nothing.
//!
//! A target is always followed by the guest's names; on Windows the text of a link is then made of
//! the names that the host has for them, for one of two twins has another name there.

#[cfg(windows)]
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;

use parking_lot::Mutex;
use volfold_fs::links::{End, Guest, VolumeNames};
use volfold_fs::{FileSystem, FsError, FsErrorKind, FsResult, Name, NodeId, VolumeTree};
use volfold_projector::folder::links::link_text;
use volfold_projector::process::why_no_links;

use super::arguments::{ExtractArguments, LinkStyle};
use crate::cli::report::Report;

/// LIMIT: files and folders that are copied through links in one run: a few links to folders with
/// links to folders make any number of copies.
const MAX_COPIES: u64 = 200_000;

/// LIMIT: bytes that are copied through links in one run.
const MAX_COPIED: u64 = 64 << 30;

/// LIMIT: bytes of the path of a folder that is copied through a link, and so less than 2048 folders
/// in each other; hosts stop there.
pub(super) const MAX_PATH: usize = 4096;

/// The directories down to a place, from the root of the tree on, and their names.
type Trail = Vec<(NodeId, Vec<u8>)>;

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostLink {
    /// Where it leads, as the host writes it.
    pub(super) text: OsString,
    /// Whether that is a folder, which Windows wants to know; links of Unix have one kind.
    #[cfg(windows)]
    pub(super) is_to_folder: bool,
}

/// What was left out of links, to be told once.
#[derive(Default)]
struct LeftOut {
    /// Links that the host does not make; why, and the first of them.
    refused: u64,
    first: Option<(Vec<u8>, String)>,
    /// Links that lead to nothing on the images.
    dangling: u64,
    /// Links to a folder that they lie in.
    circles: u64,
    /// Links whose copies would lie too deep.
    too_deep: u64,
    /// Links whose copies would be too many.
    too_many: u64,
    first_of_many: Option<Vec<u8>>,
    copies: u64,
    copied: u64,
}

/// The links of a run.
pub(super) struct Links<'a> {
    tree: &'a VolumeTree,
    volumes: VolumeNames,
    style: Option<LinkStyle>,
    /// Whether they go into an archive.
    is_archive: bool,
    left_out: Mutex<LeftOut>,
}

impl<'a> Links<'a> {
    pub(super) fn new(
        arguments: &ExtractArguments,
        tree: &'a VolumeTree,
        volumes: VolumeNames,
    ) -> Self {
        let (style, is_archive) = (arguments.links, arguments.tar.is_some());
        Self { tree, volumes, style, is_archive, left_out: Mutex::default() }
    }

    /// What links become.
    pub(super) fn style(&self) -> LinkStyle {
        self.style.unwrap_or(LinkStyle::Guest)
    }

    /// The link at `path` of the guest as one of a POSIX system.
    ///
    /// # Errors
    /// `Refused` if no text leads where the guest means, or why the target cannot be read.
    pub(super) fn posix_target(&self, path: &[u8], link: NodeId) -> FsResult<Vec<u8>> {
        let target = self.tree.read_link(link)?.0;
        if self.style() != LinkStyle::Guest {
            return Ok(target);
        }
        let (own, depth) = place_of(path);
        let own = (own, self.tree.case(link));
        let dirs = || Some(nodes(&self.directory_of(path).ok()?));
        Ok(link_text(&self.guest(), own, depth, &target, dirs)?.bytes)
    }

    /// What links are resolved in.
    pub(super) fn guest(&self) -> Guest<'_> {
        Guest::set(self.tree, &self.volumes)
    }

    /// The link at `path` of the guest as one of this host.
    ///
    /// # Errors
    /// As [`Links::posix_target`].
    #[cfg(unix)]
    pub(super) fn host_link(&self, path: &[u8], link: NodeId) -> FsResult<HostLink> {
        use std::os::unix::ffi::OsStringExt;
        let text = OsString::from_vec(self.posix_target(path, link)?);
        Ok(HostLink { text })
    }

    /// The link at `path` of the guest as one of this host.
    ///
    /// # Errors
    /// `Refused` if no text leads where the guest means, or why the way to it cannot be read.
    #[cfg(windows)]
    pub(super) fn host_link(&self, path: &[u8], link: NodeId) -> FsResult<HostLink> {
        use crate::cli::host_names::HostNames;
        use volfold_projector::folder::names;

        let dirs = nodes(&self.directory_of(path)?);
        let target = self.tree.read_link(link)?.0;
        let way = self.guest().resolve(&dirs, &target, false)?;
        let refused = |reason| Err(FsError::new(FsErrorKind::Refused, reason));
        let mut text = vec![OsString::from(".."); dirs.len().saturating_sub(way.kept)];
        let below = way.dirs.iter().skip(way.kept.saturating_sub(1));
        for (dir, name) in below.zip(&way.names) {
            text.push(HostNames::of(self.tree, *dir).get(name));
        }
        let last = way.dirs.last().map_or_else(|| self.tree.root(), |dir| *dir);
        match &way.end {
            End::Here => {}
            End::Node(_, name) => text.push(HostNames::of(self.tree, last).get(name)),
            End::Missing(parts) => {
                let first = parts.first().map(Vec::as_slice).unwrap_or_default();
                if HostNames::of(self.tree, last).has_twin_of(first) {
                    return refused("leads to no file, but Windows would find one of that name");
                }
                text.extend(parts.iter().map(|part| names::to_host(part)));
            }
            End::Nowhere => return refused("it leads to nothing, or in a circle"),
        }
        let end = self.guest().resolve(&dirs, &target, true)?.end;
        let text = match text.is_empty() {
            true => ".".into(),
            false => text.join(OsStr::new("\\")),
        };
        Ok(HostLink { text, is_to_folder: end == End::Here })
    }

    /// What the link at `path` leads to, through further links, and its path without links.
    ///
    /// # Errors
    /// `NotFound` if that is nothing, or why a directory on the way cannot be read.
    pub(super) fn follow(&self, path: &[u8]) -> FsResult<(NodeId, Vec<u8>)> {
        let trail = self.directory_of(path)?;
        let here = trail.last().map_or_else(|| self.tree.root(), |(node, _)| *node);
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let target = self.tree.read_link(self.tree.lookup(here, Name::new(name))?)?.0;
        let way = self.guest().resolve(&nodes(&trail), &target, true)?;
        let mut names: Vec<Vec<u8>> =
            trail.into_iter().take(way.kept).skip(1).map(|(_, name)| name).collect();
        names.extend(way.names);
        let node = match way.end {
            End::Here => way.dirs.last().copied().unwrap_or_else(|| self.tree.root()),
            End::Node(node, name) => {
                names.push(name);
                node
            }
            End::Missing(_) => return Err(FsError::not_found()),
            End::Nowhere => {
                return Err(FsError::new(FsErrorKind::NotFound, "links lead in a circle"));
            }
        };
        Ok((node, [b"/", names.join(&b'/').as_slice()].concat()))
    }

    /// The directories down to the one that holds `path`, in which there are no links.
    fn directory_of(&self, path: &[u8]) -> FsResult<Trail> {
        let mut trail = vec![(self.tree.root(), Vec::new())];
        let mut parts: Vec<&[u8]> = parts_of(path).collect();
        parts.pop();
        for part in parts {
            let here = trail.last().map_or_else(|| self.tree.root(), |(node, _)| *node);
            trail.push((self.tree.lookup(here, Name::new(part))?, part.to_vec()));
        }
        Ok(trail)
    }

    /// Whether one more copy of `size` bytes, of what the link at `path` leads to, may be made.
    pub(super) fn may_copy(&self, path: &[u8], size: u64) -> bool {
        let mut left_out = self.left_out.lock();
        let copied = left_out.copied.saturating_add(size);
        if left_out.copies >= MAX_COPIES || copied > MAX_COPIED {
            left_out.too_many += 1;
            left_out.first_of_many.get_or_insert_with(|| path.to_vec());
            return false;
        }
        left_out.copies += 1;
        left_out.copied = copied;
        true
    }

    /// Takes note of a link that leads to nothing.
    pub(super) fn leads_nowhere(&self) {
        self.left_out.lock().dangling += 1;
    }

    /// Takes note of a link to a folder that it lies in.
    pub(super) fn leads_upwards(&self) {
        self.left_out.lock().circles += 1;
    }

    /// Takes note of a link to a folder whose copy would lie too deep.
    pub(super) fn leads_too_deep(&self) {
        self.left_out.lock().too_deep += 1;
    }

    /// Whether `error` means that the host makes no links, which then is told once; else it is one of
    /// the link at `path` alone.
    pub(super) fn is_refused(&self, path: &[u8], error: &io::Error) -> bool {
        let Some(reason) = why_none(error) else { return false };
        let mut left_out = self.left_out.lock();
        left_out.refused += 1;
        left_out.first.get_or_insert_with(|| (path.to_vec(), reason.to_owned()));
        true
    }

    /// Whether `error` means that no text leads where the link at `path` does, and nobody asked for
    /// links; that is then told once.
    pub(super) fn is_unasked(&self, path: &[u8], error: &FsError) -> bool {
        let is_it = self.style.is_none() && error.kind() == FsErrorKind::Refused;
        if is_it {
            let mut left_out = self.left_out.lock();
            left_out.refused += 1;
            left_out.first.get_or_insert_with(|| (path.to_vec(), error.to_string()));
        }
        is_it
    }

    /// What else may become of links that the host does not make.
    fn ways(&self) -> &'static str {
        match (self.is_archive, cfg!(unix)) {
            (false, _) => "--links files copies what they lead to, --links hide leaves them out",
            (true, true) => {
                "--links raw keeps them as they are stored, --links hide leaves them out"
            }
            (true, false) => "--links hide leaves them out",
        }
    }

    /// Tells what was left out.
    ///
    /// Where nobody asked for links that the host does not make, the run is complete without them: no
    /// file and no folder is missing.
    pub(super) fn tell(&self, report: &mut Report<'_>) {
        let left_out = std::mem::take(&mut *self.left_out.lock());
        if let Some((path, reason)) = &left_out.first {
            let ways = self.ways();
            let count = count_of(left_out.refused);
            let line = format!("{count} left out: {reason}; {ways}");
            match self.style {
                None => report.tell(&line),
                Some(_) => report.refused(path, "host", line),
            }
        }
        let (nowhere, circles) = (left_out.dangling, left_out.circles);
        let lead = they(nowhere, "leads", "lead");
        let lie = they(circles, "leads to a folder that it lies", "lead to a folder that they lie");
        let deep = they(left_out.too_deep, "is", "are");
        let too_deep = format!("{deep} at the end of a path of {MAX_PATH} bytes");
        let none = [
            (left_out.too_deep, too_deep),
            (nowhere, format!("{lead} to nothing that is on the images, or in a circle")),
            (circles, format!("{lie} in")),
        ];
        for (count, reason) in none.into_iter().filter(|(count, _)| *count > 0) {
            report.tell(&format!("{} not copied: {reason}", count_of(count)));
        }
        if let Some(path) = &left_out.first_of_many {
            let line = format!(
                "copies through links are more than {MAX_COPIES}, or than {} GiB; {} left out, \
                 this the first",
                MAX_COPIED >> 30,
                left_out.too_many
            );
            report.refused(path, "host", line);
        }
    }
}

fn count_of(count: u64) -> String {
    match count {
        1 => "1 symbolic link was".to_owned(),
        count => format!("{count} symbolic links were"),
    }
}

/// `what` links do, of so many.
fn they(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("it {one}") } else { format!("they {many}") }
}

/// The volume of `path`, and how many directories of it lie above what is there.
fn place_of(path: &[u8]) -> (&[u8], usize) {
    let own = parts_of(path).next().unwrap_or_default();
    // The volume and the link itself are no directories in between.
    (own, parts_of(path).count().saturating_sub(2))
}

fn nodes(trail: &Trail) -> Vec<NodeId> {
    trail.iter().map(|(node, _)| *node).collect()
}

fn parts_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// Why the host makes no symbolic links at all, if that is what `error` means.
fn why_none(error: &io::Error) -> Option<&'static str> {
    if error.get_ref().is_some_and(|inner| inner.is::<NotMade>()) {
        return Some("this system makes none");
    }
    why_no_links(error)
}

/// The host said that it made a link, and there is none.
#[derive(Debug)]
pub(super) struct NotMade;

impl std::fmt::Display for NotMade {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the link was not made")
    }
}

impl std::error::Error for NotMade {}

impl From<NotMade> for io::Error {
    fn from(error: NotMade) -> Self {
        Self::new(io::ErrorKind::Unsupported, error)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use volfold_fs::{
        CaseRule, DirCursor, DirEntry, FileData, FileKind, FsInfo, LinkTarget, Metadata,
        StreamName, TreeVolume, Usage,
    };

    use super::*;

    /// Nodes by number: the directory that each lies in, its name, and where it leads if it is a link.
    struct Few(FsInfo, &'static [(u64, &'static str, Option<&'static str>)]);

    /// The root is 1; what ends with `/` is a directory.
    const NODES: &[(u64, &str, Option<&str>)] = &[
        (0, "/", None),
        (1, "README", None),
        (1, "readme", None),
        (1, "X/", None),
        (1, "x/", None),
        (5, "f", None),
        (1, "to-lower", Some("readme")),
        (1, "to-x", Some("x")),
        (1, "to-f", Some("/x/f")),
        (5, "up", Some("../../../../README")),
        (1, "con:", None),
        (5, "by-link", Some("../to-x/../con:")),
        (1, "circle", Some("circle")),
        (1, "away", Some("//host/share")),
        (1, "other", Some("D:/a")),
        (1, "none", Some("x/none/a.")),
        (1, "drive", Some("D:/x")),
    ];

    impl Few {
        fn name(&self, node: NodeId) -> &'static str {
            self.1[node.0 as usize - 1].1
        }

        fn link(&self, node: NodeId) -> Option<&'static str> {
            self.1[node.0 as usize - 1].2
        }

        fn kind(&self, node: NodeId) -> FileKind {
            match (self.name(node).ends_with('/'), self.link(node)) {
                (true, _) => FileKind::Directory,
                (_, Some(_)) => FileKind::Symlink,
                _ => FileKind::Regular,
            }
        }

        fn inside(&self, dir: NodeId) -> Vec<(NodeId, &'static str)> {
            let nodes = self.1.iter().zip(1..).filter(|((above, ..), _)| *above == dir.0);
            nodes.map(|((_, name, _), node)| (NodeId(node), name.trim_end_matches('/'))).collect()
        }
    }

    impl FileSystem for Few {
        fn info(&self) -> &FsInfo {
            &self.0
        }

        fn usage(&self) -> FsResult<Usage> {
            Ok(Usage::new(&self.0, 0))
        }

        fn root(&self) -> NodeId {
            NodeId(1)
        }

        fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
            let found =
                self.inside(dir).into_iter().find(|one| one.1.as_bytes() == name.as_bytes());
            found.map(|one| one.0).ok_or_else(FsError::not_found)
        }

        fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
            Ok(Metadata::new(node, self.kind(node)))
        }

        fn read_dir(
            &self,
            dir: NodeId,
            _from: DirCursor,
            emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
        ) -> FsResult<()> {
            for ((node, name), next) in self.inside(dir).into_iter().zip(1..) {
                let (name, kind) = (Name::new(name), self.kind(node));
                let entry = DirEntry { name, node, kind, metadata: None, next: DirCursor(next) };
                if emit(entry).is_break() {
                    break;
                }
            }
            Ok(())
        }

        fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
            let target = self.link(node).ok_or_else(FsError::not_a_link)?;
            Ok(LinkTarget(target.as_bytes().to_vec()))
        }

        fn open(&self, _node: NodeId, _stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
            Err(FsError::not_found())
        }
    }

    fn tree() -> VolumeTree {
        let open = || {
            let mut info = FsInfo::new("few", 512, 0);
            // Guests with drives have no case.
            info.case = CaseRule::Insensitive;
            Ok(Arc::new(Few(info, NODES)) as Arc<dyn FileSystem>)
        };
        VolumeTree::new(vec![TreeVolume::new("v", open), TreeVolume::new("data", open)])
    }

    fn links(tree: &VolumeTree) -> Links<'_> {
        let mut volumes = VolumeNames::default();
        volumes.add("D:", Some("data"));
        Links { tree, volumes, style: None, is_archive: false, left_out: Mutex::default() }
    }

    #[test]
    fn links_are_followed_by_the_guests_names_and_lead_nowhere_else() {
        let tree = tree();
        let links = links(&tree);
        for (link, end) in [
            ("/v/to-lower", "/v/readme"),
            ("/v/to-x", "/v/x"),
            ("/v/to-f", "/v/x/f"),
            ("/v/x/up", "/v/README"),
            // `..` after a link upwards takes the name away: `../con:`.
            ("/v/x/by-link", "/v/con:"),
        ] {
            let (_, path) = links.follow(link.as_bytes()).unwrap_or_else(|e| panic!("{link}: {e}"));
            assert_eq!(String::from_utf8(path).unwrap(), end, "{link}");
        }
        for link in ["/v/circle", "/v/away", "/v/other", "/v/none"] {
            let error = links.follow(link.as_bytes()).err().unwrap();
            assert_eq!(error.kind(), FsErrorKind::NotFound, "{link}");
        }
    }

    #[test]
    fn paths_through_links_of_windows_lead_where_the_guest_means() {
        let tree = tree();
        let links = links(&tree);
        let find = |path: &[u8]| crate::cli::walk::find(links.guest(), path, true);
        let found = find(b"/v/drive/f").unwrap();
        assert_eq!((found.path, found.real), (b"/v/drive/f".to_vec(), b"/data/x/f".to_vec()));
        for path in [b"/v/away".as_slice(), b"/v/other", b"/v/circle", b"/v/none/b"] {
            let error = find(path).err().unwrap();
            assert_eq!(error.kind(), FsErrorKind::NotFound, "{}", path.escape_ascii());
        }
    }

    #[cfg(windows)]
    #[test]
    fn links_of_the_host_have_the_names_that_the_host_has() {
        let tree = tree();
        let links = links(&tree);
        for (link, text, is_to_folder) in [
            ("/v/to-lower", "readme\u{F132}", false),
            ("/v/to-x", "x\u{F132}", true),
            ("/v/to-f", "x\u{F132}\\f", false),
            ("/v/x/up", "..\\README", false),
            ("/v/x/by-link", "..\\con\u{F03A}", false),
            ("/v/circle", "circle", false),
            ("/v/other", "..\\data\\a", false),
            ("/v/none", "x\u{F132}\\none\\a\u{F02E}", false),
        ] {
            let node = crate::cli::walk::resolve(links.guest(), link.as_bytes(), false).unwrap();
            let made = links.host_link(link.as_bytes(), node).unwrap();
            assert_eq!(
                (made.text.to_str(), made.is_to_folder),
                (Some(text), is_to_folder),
                "{link}"
            );
        }
        let node = crate::cli::walk::resolve(links.guest(), b"/v/away", false).unwrap();
        let made = links.host_link(b"/v/away", node).unwrap();
        assert!(!made.text.to_str().unwrap().contains(['\\', '/']), "one name: {made:?}");
    }

    #[test]
    fn copies_through_links_have_an_end() {
        let tree = tree();
        let links = links(&tree);
        assert!(links.may_copy(b"/v/a", MAX_COPIED));
        assert!(!links.may_copy(b"/v/b", 1), "bytes");
        assert!(links.may_copy(b"/v/c", 0));
        links.left_out.lock().copies = MAX_COPIES;
        assert!(!links.may_copy(b"/v/d", 0), "files");
        let mut report = Report::default();
        links.tell(&mut report);
        assert!(report.is_part(), "the run is not complete");
    }
}
