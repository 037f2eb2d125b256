//! The requests of a driver for Windows, answered from a [`FileSystem`].
//!
//! Nothing changes while mounted, so the driver may keep every answer for ever. State is kept for
//! an open handle and for the listings of directories, the latter in a cache of bounded bytes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use volfold_block::error_chain;
use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{
    FileData, FileSystem, FsError, FsErrorKind, FsResult, NodeId, StreamInfo, StreamName,
    VolumeTree, wtf8,
};

use super::info::FileInfo;
use super::listing::{Listing, attribute, file_info, tag};
use super::security;
use crate::folder::status::{self, NtStatus, nt_status};
use crate::log::Log;

/// LIMIT: bytes of the listings of directories that are kept.
const LISTINGS: u64 = 24 << 20;

/// LIMIT: lines that failed requests write into the log of one volume.
const MAX_LOG_LINES: u32 = 10_000;

/// The units of a label, as Windows has them.
const MAX_LABEL: usize = 32;

/// The positions of `.` and `..` in a directory but the root; entries follow.
const DOTS: u64 = 2;

pub(super) const SEPARATOR: u16 = b'\\' as u16;
const STREAM: u16 = b':' as u16;

/// What listings are cached by: the bytes they take.
#[derive(Clone)]
struct ByMemory;

impl Weighter<NodeId, Arc<Listing>> for ByMemory {
    fn weight(&self, _node: &NodeId, listing: &Arc<Listing>) -> u64 {
        listing.memory().max(1)
    }
}

/// Why a path leads to nothing.
pub(crate) enum Lost {
    /// The status to answer.
    Status(NtStatus),
    /// A link stands in the way; the code unit at which its name begins.
    Link(u32),
}

impl From<NtStatus> for Lost {
    fn from(status: NtStatus) -> Self {
        Self::Status(status)
    }
}

/// What a path leads to.
pub(crate) struct Found {
    pub(crate) info: FileInfo,
    pub(crate) node: NodeId,
    /// The directories from the root to the node's own.
    pub(super) trail: Vec<NodeId>,
    /// The name of the stream after a colon.
    stream: Option<Vec<u16>>,
}

impl Found {
    /// Whether it is a link, and not a stream of one.
    pub(crate) fn is_link(&self) -> bool {
        self.info.reparse_tag == tag::SYMLINK && self.stream.is_none()
    }
}

/// What an open handle reads.
enum Content {
    Directory { trail: Vec<NodeId>, listing: OnceLock<Arc<Listing>> },
    File(OnceLock<Arc<dyn FileData>>),
    Stream(Arc<dyn FileData>),
}

/// An open handle.
pub(crate) struct Handle {
    pub(crate) node: NodeId,
    pub(crate) info: FileInfo,
    content: Content,
}

/// What is shown.
pub enum Shown {
    /// One volume, whose folder in the set is `name`.
    Volume {
        /// Its files.
        fs: Arc<dyn FileSystem>,
        /// Its folder, were the set shown.
        name: Vec<u8>,
    },
    /// A set: the top directories are its volumes.
    Set {
        /// Its files.
        tree: Arc<VolumeTree>,
        /// What the set is called.
        label: String,
        /// What tells it from other sets.
        serial: u32,
    },
}

/// What a driver is told once.
pub(crate) struct Facts {
    /// The name of the file system, in upper case.
    pub(crate) file_system: String,
    pub(crate) cluster_size: u32,
    /// As [`FileInfo::creation_time`].
    pub(crate) created: u64,
    pub(crate) serial: u32,
}

/// How large a volume is, and what it is called.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) size: u64,
    pub(crate) free: u64,
    /// At most 32 units.
    pub(crate) label: Vec<u16>,
}

/// How a listing went on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// The next entry was not taken.
    Full,
    /// There is no more.
    End,
    /// There is no more that can be read.
    Damaged(NtStatus),
}

/// Answers the requests for one volume of the host.
pub struct VolumeServer {
    pub(super) fs: Arc<dyn FileSystem>,
    tree: Option<Arc<VolumeTree>>,
    /// The folder of the one volume, where it is one.
    own: Vec<u8>,
    /// What links call the volumes.
    volumes: VolumeNames,
    label: Option<String>,
    serial: u32,
    root: NodeId,
    root_info: FileInfo,
    listings: Cache<NodeId, Arc<Listing>, ByMemory>,
    /// The one listing that is too large for the cache.
    large: Mutex<Option<(NodeId, Arc<Listing>)>>,
    /// Self-relative.
    security: Vec<u8>,
    /// Whether files have the guest's own descriptors, where there are any.
    guest_security: bool,
    figures: OnceLock<Figures>,
    log: Log,
    logged: AtomicU32,
}

impl VolumeServer {
    /// Answers for what is `shown`, whose links call the volumes what `volumes` tells. Every file has
    /// the self-relative descriptor `security`, or with [`VolumeServer::with_guest_security`] the
    /// guest's own.
    ///
    /// # Errors
    /// If the root directory cannot be read.
    pub fn new(shown: Shown, volumes: &VolumeNames, security: Vec<u8>, log: Log) -> FsResult<Self> {
        let (fs, tree, own, volumes, label, serial) = match shown {
            Shown::Volume { fs, name } => {
                let info = fs.info();
                let serial = serial_number(info.uuid.as_deref().unwrap_or_default());
                let label = info.label.clone();
                // No link leads out of it.
                let volumes = volumes.only(&name);
                (fs, None, name, volumes, label, serial)
            }
            Shown::Set { tree, label, serial } => {
                let fs: Arc<dyn FileSystem> = tree.clone();
                (fs, Some(tree), Vec::new(), volumes.clone(), Some(label), serial)
            }
        };
        let root = fs.root();
        let root_info = FileInfo {
            file_attributes: attribute::DIRECTORY,
            reparse_tag: 0,
            ..file_info(&fs.metadata(root)?)
        };
        Ok(Self {
            fs,
            tree,
            own,
            volumes,
            label,
            serial,
            root,
            root_info,
            listings: listings()?,
            large: Mutex::new(None),
            security,
            guest_security: false,
            figures: OnceLock::new(),
            log,
            logged: AtomicU32::new(0),
        })
    }

    /// The same with the guest's own descriptors, where the file system has them.
    #[must_use]
    pub fn with_guest_security(mut self, wanted: bool) -> Self {
        self.guest_security = wanted && self.fs.has_extended_attributes();
        self
    }

    /// What links are resolved in.
    pub(super) fn guest(&self) -> Guest<'_> {
        match &self.tree {
            Some(tree) => Guest::set(tree, &self.volumes),
            None => Guest::volume(&*self.fs, &self.own, &self.volumes),
        }
    }

    /// Who may do what with `node`.
    pub(crate) fn security(&self, node: NodeId) -> Cow<'_, [u8]> {
        if self.guest_security
            && let Ok(own) = self.fs.extended_attribute(node, b"system.ntfs_acl")
            && security::is_valid(&own)
        {
            return Cow::Owned(own);
        }
        Cow::Borrowed(&self.security)
    }

    /// What the driver is told of the volume once.
    pub(crate) fn facts(&self) -> Facts {
        let info = self.fs.info();
        let kind = if self.tree.is_some() { "volfold" } else { info.kind };
        Facts {
            file_system: kind.to_uppercase(),
            cluster_size: info.cluster_size,
            created: self.root_info.creation_time,
            serial: self.serial,
        }
    }

    /// The serial number of the volume.
    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn log_and_status(&self, what: &str, node: NodeId, error: &FsError) -> NtStatus {
        let expected = matches!(error.kind(), FsErrorKind::NotFound | FsErrorKind::NotADirectory);
        if !expected {
            self.note(what, node, &error_chain(error));
        }
        nt_status(error.kind())
    }

    /// Writes down that `what` was done with `node` and failed.
    pub(super) fn note(&self, what: &str, node: NodeId, reason: &str) {
        if self.logged.fetch_add(1, Ordering::Relaxed) >= MAX_LOG_LINES {
            return;
        }
        let volume = self.tree.as_ref().and_then(|tree| tree.volume_name(node));
        let volume = String::from_utf8_lossy(volume.unwrap_or(&self.own));
        let number = node.0 & (u64::MAX >> 16);
        (self.log)(&format!("{what} of file {number} of {volume}: {reason}"));
    }

    /// The names of the directory that `trail` ends with.
    pub(super) fn listing(&self, trail: &[NodeId]) -> Result<Arc<Listing>, NtStatus> {
        let dir = trail.last().copied().unwrap_or(self.root);
        let large = self.large.lock().as_ref().filter(|(node, _)| *node == dir).cloned();
        if let Some((_, listing)) = large {
            return Ok(listing);
        }
        let listing = self
            .listings
            .get_or_insert_with(&dir, || Listing::read(self.guest(), trail).map(Arc::new))
            .map_err(|error| self.log_and_status("listing", dir, &error))?;
        if listing.memory() >= LISTINGS / 2 {
            *self.large.lock() = Some((dir, listing.clone()));
        }
        Ok(listing)
    }

    /// Walks `path`, which begins with a separator; `spelled` gets it as the guest spells it.
    pub(crate) fn walk(
        &self,
        path: &[u16],
        mut spelled: Option<&mut Vec<u16>>,
    ) -> Result<Found, Lost> {
        let mut found = Found {
            info: self.root_info,
            node: self.root,
            trail: Vec::with_capacity(8),
            stream: None,
        };
        let mut at = 0;
        let mut is_below = false;
        while at < path.len() {
            if path[at] == SEPARATOR {
                at += 1;
                continue;
            }
            let rest = &path[at..];
            let end = rest.iter().position(|unit| *unit == SEPARATOR).unwrap_or(rest.len());
            let (name, stream) = split_stream(&rest[..end]);
            if name.is_empty() && !is_below {
                // `\:stream` is a stream of the root.
                found.stream = stream.map(<[u16]>::to_vec);
                return Ok(found);
            }
            let is_last = at + end == path.len();
            found.trail.push(found.node);
            let listing = self.listing(&found.trail)?;
            let entry = listing.find(name).map_err(|kind| match kind {
                FsErrorKind::NotFound if is_last => status::OBJECT_NAME_NOT_FOUND,
                FsErrorKind::NotFound => status::OBJECT_PATH_NOT_FOUND,
                kind => nt_status(kind),
            })?;
            (found.node, found.info) = (entry.node, entry.info);
            found.stream = stream.map(<[u16]>::to_vec);
            if let Some(spelled) = &mut spelled {
                spelled.push(SEPARATOR);
                spelled.extend_from_slice(listing.name(entry));
                spelled.extend_from_slice(&rest[name.len()..end]);
            }
            if !is_last {
                if found.info.reparse_tag == tag::SYMLINK {
                    return Err(Lost::Link(u32::try_from(at).unwrap_or(0)));
                }
                if found.info.file_attributes & attribute::DIRECTORY == 0 || stream.is_some() {
                    return Err(status::OBJECT_PATH_NOT_FOUND.into());
                }
            }
            is_below = true;
            at += end;
        }
        Ok(found)
    }

    pub(crate) fn open(&self, found: Found) -> Result<Handle, NtStatus> {
        let Found { mut info, node, mut trail, stream } = found;
        let is_directory = info.file_attributes & attribute::DIRECTORY != 0;
        let content = match stream {
            Some(name) => {
                let (stream, data) = self.stream(node, &name)?;
                info.file_size = stream.size;
                info.allocation_size = stream.size;
                info.file_attributes &= !attribute::DIRECTORY;
                Content::Stream(data)
            }
            None if is_directory && info.reparse_tag == 0 => {
                trail.push(node);
                Content::Directory { trail, listing: OnceLock::new() }
            }
            None => Content::File(OnceLock::new()),
        };
        Ok(Handle { node, info, content })
    }

    fn stream(
        &self,
        node: NodeId,
        name: &[u16],
    ) -> Result<(StreamInfo, Arc<dyn FileData>), NtStatus> {
        let streams =
            self.fs.streams(node).map_err(|error| self.log_and_status("streams", node, &error))?;
        let is_wanted = |stream: &StreamInfo| {
            let units = wtf8::decode(&stream.name.0);
            units.is_some_and(|units| super::listing::same(&units, name))
        };
        let stream = streams.into_iter().find(is_wanted).ok_or(status::OBJECT_NAME_NOT_FOUND)?;
        let data = self.fs.open(node, &stream.name);
        let data = data.and_then(|data| of_size(data, stream.size));
        let data = data.map_err(|error| self.log_and_status("stream", node, &error))?;
        Ok((stream, data))
    }

    /// The content of the handle; opened at the first read.
    fn data<'a>(&self, handle: &'a Handle) -> Result<&'a Arc<dyn FileData>, NtStatus> {
        let opened = match &handle.content {
            Content::Directory { .. } => return Err(nt_status(FsErrorKind::IsADirectory)),
            Content::Stream(data) => return Ok(data),
            Content::File(opened) => opened,
        };
        if let Some(data) = opened.get() {
            return Ok(data);
        }
        let data = self.fs.open(handle.node, &StreamName::MAIN);
        let data = data.and_then(|data| of_size(data, handle.info.file_size));
        let data = data.map_err(|error| self.log_and_status("open", handle.node, &error))?;
        Ok(opened.get_or_init(|| data))
    }

    pub(crate) fn read(
        &self,
        handle: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<u32, NtStatus> {
        let data = self.data(handle)?;
        let wanted = data.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        if wanted == 0 {
            return Err(status::END_OF_FILE);
        }
        let count = data.read_at(offset, &mut buf[..wanted]).and_then(|count| {
            if count == wanted {
                Ok(count)
            } else {
                Err(FsError::corrupt("content ends before the size of the file").at(offset))
            }
        });
        let count = count.map_err(|error| self.log_and_status("read", handle.node, &error))?;
        u32::try_from(count).map_err(|_| nt_status(FsErrorKind::Io))
    }

    /// Gives the entries of a directory from the position `from` on to `take`, with the position
    /// after each, until it takes no more.
    pub(crate) fn read_directory(
        &self,
        handle: &Handle,
        from: u64,
        take: &mut dyn FnMut(&FileInfo, &[u16], u64) -> bool,
    ) -> Result<Page, NtStatus> {
        let Content::Directory { trail, listing } = &handle.content else {
            return Err(nt_status(FsErrorKind::NotADirectory));
        };
        let listing = match listing.get() {
            Some(listing) => listing,
            None => {
                let read = self.listing(trail)?;
                listing.get_or_init(|| read)
            }
        };
        let dots = if handle.node == self.root { 0 } else { DOTS };
        for at in from..dots {
            let name = [u16::from(b'.'); 2];
            let name = if at == 0 { &name[..1] } else { &name[..] };
            if !take(&handle.info, name, at + 1) {
                return Ok(Page::Full);
            }
        }
        let skipped = usize::try_from(from.saturating_sub(dots)).unwrap_or(usize::MAX);
        let positions = from.max(dots) + 1..;
        let entries = listing.entries().get(skipped..).unwrap_or_default();
        for (entry, next) in entries.iter().zip(positions) {
            if !take(&entry.info, listing.name(entry), next) {
                return Ok(Page::Full);
            }
        }
        Ok(listing.damage().map_or(Page::End, |kind| Page::Damaged(nt_status(kind))))
    }

    /// Gives the entry that `name` names in the directory of `handle` to `take`.
    pub(crate) fn find_in(
        &self,
        handle: &Handle,
        name: &[u16],
        take: impl FnOnce(&FileInfo, &[u16]),
    ) -> Result<(), NtStatus> {
        let Content::Directory { trail, .. } = &handle.content else {
            return Err(nt_status(FsErrorKind::NotADirectory));
        };
        let listing = self.listing(trail)?;
        let entry = listing.find(name).map_err(nt_status)?;
        take(&entry.info, listing.name(entry));
        Ok(())
    }

    /// Gives size, allocated size and name of each stream of `handle` to `take`, until it takes no
    /// more; whether it took all. The main stream has no name.
    pub(crate) fn each_stream(
        &self,
        handle: &Handle,
        take: &mut dyn FnMut(u64, u64, &[u16]) -> bool,
    ) -> Result<bool, NtStatus> {
        let is_directory = handle.info.file_attributes & attribute::DIRECTORY != 0;
        let info = match &handle.content {
            Content::Stream(_) => self
                .fs
                .metadata(handle.node)
                .map(|metadata| file_info(&metadata))
                .map_err(|error| self.log_and_status("metadata", handle.node, &error))?,
            _ => handle.info,
        };
        if !is_directory && !take(info.file_size, info.allocation_size, &[]) {
            return Ok(false);
        }
        let streams = self
            .fs
            .streams(handle.node)
            .map_err(|error| self.log_and_status("streams", handle.node, &error))?;
        for stream in streams.into_iter().filter(|stream| !stream.name.0.is_empty()) {
            // What Windows keeps a compressed file in; it does not list it either.
            if stream.name.0 == b"WofCompressedData" {
                continue;
            }
            let Some(name) = wtf8::decode(&stream.name.0) else {
                continue;
            };
            if !take(stream.size, stream.size, &name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How large the volume is; asked for once.
    pub(crate) fn figures(&self) -> Result<&Figures, NtStatus> {
        if let Some(figures) = self.figures.get() {
            return Ok(figures);
        }
        let statistics = self
            .fs
            .statistics(self.root)
            .map_err(|error| self.log_and_status("statistics", self.root, &error))?;
        let label = self.label.as_deref().unwrap_or_default();
        Ok(self.figures.get_or_init(|| Figures {
            size: statistics.size,
            free: statistics.size.saturating_sub(statistics.used),
            label: label.encode_utf16().take(MAX_LABEL).collect(),
        }))
    }
}

/// The cache of listings, in one shard: a directory of some ten thousand names must fit.
fn listings() -> FsResult<Cache<NodeId, Arc<Listing>, ByMemory>> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(1024)
        .weight_capacity(LISTINGS)
        .shards(1)
        .build()
        .map_err(|_| FsError::new(FsErrorKind::Io, "the cache of listings cannot be made"))?;
    Ok(Cache::with_options(
        options,
        ByMemory,
        quick_cache::DefaultHashBuilder::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    ))
}

/// `data`, if it is as long as programs were told.
///
/// INVARIANT: the cache manager fills what a read lacks up to the size it knows with zeros.
fn of_size(data: Arc<dyn FileData>, size: u64) -> FsResult<Arc<dyn FileData>> {
    if data.size() == size {
        Ok(data)
    } else {
        Err(FsError::corrupt("two sizes are recorded for the file"))
    }
}

/// Parts `name:stream` and `name:stream:$DATA`; a main stream that is named as such is none.
fn split_stream(part: &[u16]) -> (&[u16], Option<&[u16]>) {
    let mut pieces = part.split(|unit| *unit == STREAM);
    let name = pieces.next().unwrap_or_default();
    (name, pieces.next().filter(|stream| !stream.is_empty()))
}

/// The 32 bits that Windows shows as the volume's serial number: the last 8 digits of `uuid`.
fn serial_number(uuid: &str) -> u32 {
    let digits: Vec<u8> = uuid.bytes().filter(u8::is_ascii_hexdigit).collect();
    let last = digits.get(digits.len().saturating_sub(8)..).unwrap_or_default();
    std::str::from_utf8(last).ok().and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_the_last_eight_digits() {
        assert_eq!(serial_number("1A2B3C4D5E6F7081"), 0x5E6F_7081);
        assert_eq!(serial_number("12AB-CD34"), 0x12AB_CD34);
        assert_eq!(serial_number(""), 0);
    }

    #[test]
    fn streams_are_parted_from_names() {
        let wide = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        for (part, name, stream) in [
            ("a", "a", None),
            ("a:s", "a", Some("s")),
            ("a:s:$DATA", "a", Some("s")),
            ("a::$DATA", "a", None),
            (":s", "", Some("s")),
        ] {
            let part = wide(part);
            let (own, found) = split_stream(&part);
            assert_eq!(own, wide(name));
            assert_eq!(found.map(<[u16]>::to_vec), stream.map(wide));
        }
    }

    #[test]
    fn times_count_from_1601() {
        use volfold_fs::Timestamp;

        use super::super::listing::file_time;
        let time = |seconds, nanoseconds| file_time(Timestamp { seconds, nanoseconds });
        assert_eq!(time(0, 0), 116_444_736_000_000_000);
        assert_eq!(time(1, 199), 116_444_736_010_000_001);
        assert_eq!(time(-11_644_473_601, 0), 0);
        assert_eq!(time(i64::MAX, 0), i64::MAX as u64);
    }
}
