//! The requests of WinFsp, answered from a [`FileSystem`].
//!
//! Nothing changes while mounted, so the driver may keep every answer for ever. State is kept for
//! an open handle and for the listings of directories, the latter in a cache of bounded bytes.

use std::borrow::Cow;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use volfold_fs::{
    FileData, FileSystem, FsError, FsErrorKind, FsResult, NodeId, StreamInfo, StreamName, wtf8,
};
use volfold_images::error::error_chain;

use super::abi::{
    DirInfo, FileInfo, FileSystemPtr, Functions, Interface, IoStatusBlock, NtStatus, OpenFileInfo,
    VolumeInfo, VolumeParams, flags, valid,
};
use super::listing::{Listing, attribute, file_info, tag};
use super::page::Page;
use super::reparse;
use crate::status::{self, nt_status};
use crate::{Log, names, security};

/// LIMIT: bytes of the listings of directories that are kept.
const LISTINGS: u64 = 24 << 20;

/// LIMIT: lines that failed requests write into the log of one volume.
const MAX_LOG_LINES: u32 = 10_000;

/// The positions of `.` and `..` in a directory but the root; entries follow behind.
const DOTS: u64 = 2;

/// `FILE_WRITE_DATA | FILE_APPEND_DATA`.
const WRITE_ACCESS: u32 = 0x2 | 0x4;

const SEPARATOR: u16 = b'\\' as u16;
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
enum Lost {
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
struct Found<'a> {
    info: FileInfo,
    node: NodeId,
    /// The directories from the root to the node's own.
    trail: Vec<NodeId>,
    /// The name of the stream behind a colon.
    stream: Option<&'a [u16]>,
}

/// What an open handle reads.
enum Content {
    Directory { trail: Vec<NodeId>, listing: OnceLock<Arc<Listing>> },
    File(OnceLock<Arc<dyn FileData>>),
    Stream(Arc<dyn FileData>),
}

/// An open handle.
struct Handle {
    node: NodeId,
    info: FileInfo,
    content: Content,
}

/// Answers the requests for one volume.
pub struct VolumeServer {
    fs: Arc<dyn FileSystem>,
    root: NodeId,
    root_info: FileInfo,
    listings: Cache<NodeId, Arc<Listing>, ByMemory>,
    /// The one listing that is too large for the cache.
    large: Mutex<Option<(NodeId, Arc<Listing>)>>,
    /// Self-relative.
    security: Vec<u8>,
    /// Whether files have the guest's own descriptors, where there are any.
    guest_security: bool,
    figures: OnceLock<VolumeInfo>,
    functions: Functions,
    log: Log,
    logged: AtomicU32,
    /// Called when the driver ends the volume by itself.
    lost: Box<dyn Fn() + Send + Sync>,
}

/// What WinFsp calls; its context is a [`VolumeServer`].
pub static INTERFACE: Interface = Interface {
    get_volume_info: Some(get_volume_info),
    set_volume_label: Some(refuse),
    get_security_by_name: Some(get_security_by_name),
    create: Some(refuse),
    open: Some(open),
    overwrite: Some(refuse),
    cleanup: None,
    close: Some(close),
    read: Some(read),
    write: Some(refuse),
    flush: Some(flush),
    get_file_info: Some(get_file_info),
    set_basic_info: Some(refuse),
    set_file_size: Some(refuse),
    can_delete: Some(refuse),
    rename: Some(refuse),
    get_security: Some(get_security),
    set_security: Some(refuse),
    read_directory: Some(read_directory),
    resolve_reparse_points: Some(resolve_reparse_points),
    get_reparse_point: Some(get_reparse_point),
    set_reparse_point: Some(refuse),
    delete_reparse_point: Some(refuse),
    get_stream_info: Some(get_stream_info),
    get_dir_info_by_name: Some(get_dir_info_by_name),
    control: None,
    set_delete: Some(refuse),
    create_ex: None,
    overwrite_ex: None,
    get_ea: None,
    set_ea: Some(refuse),
    obsolete0: None,
    dispatcher_stopped: Some(dispatcher_stopped),
    reserved: [None; 31],
};

impl VolumeServer {
    /// Answers for `fs`; every file has the self-relative descriptor `security`, or with
    /// [`VolumeServer::with_guest_security`] the guest's own. `lost` is called when the driver ends the volume by itself.
    ///
    /// # Errors
    /// If the root directory cannot be read.
    pub fn new(
        fs: Arc<dyn FileSystem>,
        security: Vec<u8>,
        functions: Functions,
        log: Log,
        lost: impl Fn() + Send + Sync + 'static,
    ) -> FsResult<Self> {
        let root = fs.root();
        let root_info = FileInfo {
            file_attributes: attribute::DIRECTORY,
            reparse_tag: 0,
            ..file_info(&fs.metadata(root)?)
        };
        // One directory of some ten thousand names must fit into a shard.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(1024)
            .weight_capacity(LISTINGS)
            .shards(1)
            .build()
            .map_err(|_| FsError::new(FsErrorKind::Io, "the cache of listings cannot be made"))?;
        let listings = Cache::with_options(
            options,
            ByMemory,
            quick_cache::DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Ok(Self {
            fs,
            root,
            root_info,
            listings,
            large: Mutex::new(None),
            security,
            guest_security: false,
            figures: OnceLock::new(),
            functions,
            log,
            logged: AtomicU32::new(0),
            lost: Box::new(lost),
        })
    }

    /// The same with the guest's own descriptors, where the file system has them.
    #[must_use]
    pub fn with_guest_security(mut self, wanted: bool) -> Self {
        self.guest_security = wanted && self.fs.has_extended_attributes();
        self
    }

    /// Who may do what with `node`.
    fn security(&self, node: NodeId) -> Cow<'_, [u8]> {
        if self.guest_security
            && let Ok(own) = self.fs.extended_attribute(node, b"system.ntfs_acl")
            && security::is_valid(&own)
        {
            return Cow::Owned(own);
        }
        Cow::Borrowed(&self.security)
    }

    /// What the driver is told of the volume.
    ///
    /// Data is cached only if `file_info_timeout` is infinite, and the other timeouts count only
    /// with their valid bits. `READ_ONLY_VOLUME` is an attribute that programs see; the refusing is
    /// done by the callbacks.
    pub fn params(&self) -> VolumeParams {
        let info = self.fs.info();
        let sectors = (info.cluster_size / 512).clamp(1, 128);
        let mut file_system_name = [0; 16];
        for (unit, slot) in info.kind.encode_utf16().zip(&mut file_system_name[..15]) {
            *slot = names::fold(unit);
        }
        VolumeParams {
            version: 504,
            sector_size: 512,
            sectors_per_allocation_unit: u16::try_from(sectors).unwrap_or(8),
            max_component_length: names::MAX_WINDOWS as u16,
            volume_creation_time: self.root_info.creation_time,
            volume_serial_number: serial_number(info.uuid.as_deref().unwrap_or_default()),
            transact_timeout: 0,
            irp_timeout: 600_000,
            irp_capacity: 0,
            file_info_timeout: u32::MAX,
            flags: flags::CASE_PRESERVED_NAMES
                | flags::UNICODE_ON_DISK
                | flags::PERSISTENT_ACLS
                | flags::REPARSE_POINTS
                | flags::NAMED_STREAMS
                | flags::READ_ONLY_VOLUME
                | flags::POST_CLEANUP_WHEN_MODIFIED_ONLY
                | flags::PASS_QUERY_DIRECTORY_FILE_NAME
                | flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2
                | flags::UM_NO_REPARSE_POINTS_DIR_CHECK
                | flags::ALLOW_OPEN_IN_KERNEL_MODE
                | flags::DIRECTORY_MARKER_AS_NEXT_OFFSET,
            prefix: [0; 192],
            file_system_name,
            valid: valid::VOLUME_INFO_TIMEOUT
                | valid::DIR_INFO_TIMEOUT
                | valid::SECURITY_TIMEOUT
                | valid::STREAM_INFO_TIMEOUT
                | valid::EA_TIMEOUT,
            volume_info_timeout: u32::MAX,
            dir_info_timeout: u32::MAX,
            security_timeout: u32::MAX,
            stream_info_timeout: u32::MAX,
            ea_timeout: u32::MAX,
            fsext_control_code: 0,
            reserved32: 0,
            reserved64: [0; 2],
        }
    }

    fn failed(&self, what: &str, node: NodeId, error: &FsError) -> NtStatus {
        let expected = matches!(error.kind(), FsErrorKind::NotFound | FsErrorKind::NotADirectory);
        if !expected && self.logged.fetch_add(1, Ordering::Relaxed) < MAX_LOG_LINES {
            (self.log)(&format!("{what} of file {}: {}", node.0, error_chain(error)));
        }
        nt_status(error.kind())
    }

    /// The names of the directory that `trail` ends with.
    fn listing(&self, trail: &[NodeId]) -> Result<Arc<Listing>, NtStatus> {
        let dir = trail.last().copied().unwrap_or(self.root);
        let large = self.large.lock().as_ref().filter(|(node, _)| *node == dir).cloned();
        if let Some((_, listing)) = large {
            return Ok(listing);
        }
        let listing = self
            .listings
            .get_or_insert_with(&dir, || Listing::read(&*self.fs, trail).map(Arc::new))
            .map_err(|error| self.failed("listing", dir, &error))?;
        if listing.memory() >= LISTINGS / 2 {
            *self.large.lock() = Some((dir, listing.clone()));
        }
        Ok(listing)
    }

    /// Walks `path`, which begins with a separator; `spelled` gets it as the guest spells it.
    fn walk<'a>(
        &self,
        path: &'a [u16],
        mut spelled: Option<&mut Vec<u16>>,
    ) -> Result<Found<'a>, Lost> {
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
                found.stream = stream;
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
            (found.node, found.info, found.stream) = (entry.node, entry.info, stream);
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

    fn open(&self, found: Found<'_>) -> Result<Handle, NtStatus> {
        let Found { mut info, node, mut trail, stream } = found;
        let is_directory = info.file_attributes & attribute::DIRECTORY != 0;
        let content = match stream {
            Some(name) => {
                let (stream, data) = self.stream(node, name)?;
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
            self.fs.streams(node).map_err(|error| self.failed("streams", node, &error))?;
        let is_wanted = |stream: &StreamInfo| {
            let units = wtf8::decode(&stream.name.0);
            units.is_some_and(|units| super::listing::same(&units, name))
        };
        let stream = streams.into_iter().find(is_wanted).ok_or(status::OBJECT_NAME_NOT_FOUND)?;
        let data = self
            .fs
            .open(node, &stream.name)
            .map_err(|error| self.failed("stream", node, &error))?;
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
        let data = self.fs.open(handle.node, &StreamName::MAIN).and_then(|data| {
            // INVARIANT: the cache manager fills what a read lacks up to the size it knows with
            // zeros.
            if data.size() == handle.info.file_size {
                Ok(data)
            } else {
                Err(FsError::corrupt("two sizes are recorded for the file"))
            }
        });
        let data = data.map_err(|error| self.failed("open", handle.node, &error))?;
        Ok(opened.get_or_init(|| data))
    }

    fn read(&self, handle: &Handle, offset: u64, buf: &mut [u8]) -> Result<u32, NtStatus> {
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
        let count = count.map_err(|error| self.failed("read", handle.node, &error))?;
        u32::try_from(count).map_err(|_| nt_status(FsErrorKind::Io))
    }

    fn read_directory(
        &self,
        handle: &Handle,
        from: u64,
        page: &mut Page<'_>,
    ) -> Result<(), NtStatus> {
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
            if !page.push(&handle.info, name, at + 1) {
                return page.full();
            }
        }
        let skipped = usize::try_from(from.saturating_sub(dots)).unwrap_or(usize::MAX);
        let positions = from.max(dots) + 1..;
        let entries = listing.entries().get(skipped..).unwrap_or_default();
        for (entry, next) in entries.iter().zip(positions) {
            if !page.push(&entry.info, listing.name(entry), next) {
                return page.full();
            }
        }
        match listing.damage() {
            // What there is has been given; now it is time to say that it is not all.
            Some(kind) if page.is_empty() => Err(nt_status(kind)),
            Some(_) => Ok(()),
            None => {
                page.end();
                Ok(())
            }
        }
    }

    fn find_in(&self, handle: &Handle, name: &[u16], page: &mut Page<'_>) -> Result<(), NtStatus> {
        let Content::Directory { trail, .. } = &handle.content else {
            return Err(nt_status(FsErrorKind::NotADirectory));
        };
        let listing = self.listing(trail)?;
        let entry = listing.find(name).map_err(nt_status)?;
        page.push(&entry.info, listing.name(entry), 0);
        Ok(())
    }

    fn stream_page(&self, handle: &Handle, page: &mut Page<'_>) -> Result<(), NtStatus> {
        let is_directory = handle.info.file_attributes & attribute::DIRECTORY != 0;
        let info = match &handle.content {
            Content::Stream(_) => self
                .fs
                .metadata(handle.node)
                .map(|metadata| file_info(&metadata))
                .map_err(|error| self.failed("metadata", handle.node, &error))?,
            _ => handle.info,
        };
        if !is_directory && !page.push_stream(info.file_size, info.allocation_size, &[]) {
            return Err(status::BUFFER_OVERFLOW);
        }
        let streams = self
            .fs
            .streams(handle.node)
            .map_err(|error| self.failed("streams", handle.node, &error))?;
        for stream in streams.into_iter().filter(|stream| !stream.name.0.is_empty()) {
            let Some(name) = wtf8::decode(&stream.name.0) else {
                continue;
            };
            if !page.push_stream(stream.size, stream.size, &name) {
                return Err(status::BUFFER_OVERFLOW);
            }
        }
        page.end();
        Ok(())
    }

    fn figures(&self) -> Result<VolumeInfo, NtStatus> {
        if let Some(figures) = self.figures.get() {
            return Ok(*figures);
        }
        let statistics = self
            .fs
            .statistics(self.root)
            .map_err(|error| self.failed("statistics", self.root, &error))?;
        let mut volume_label = [0; 32];
        let label = self.fs.info().label.clone().unwrap_or_default();
        let units: Vec<u16> = label.encode_utf16().take(volume_label.len()).collect();
        volume_label[..units.len()].copy_from_slice(&units);
        Ok(*self.figures.get_or_init(|| VolumeInfo {
            total_size: statistics.size,
            free_size: statistics.size.saturating_sub(statistics.used),
            volume_label_length: u16::try_from(units.len() * 2).unwrap_or(0),
            volume_label,
        }))
    }

    /// The reparse data of the node at `path`, in the form of `REPARSE_DATA_BUFFER`.
    fn reparse_data(
        &self,
        node: NodeId,
        info: &FileInfo,
        path: &[u16],
    ) -> Result<Vec<u8>, NtStatus> {
        match info.reparse_tag {
            0 => Err(nt_status(FsErrorKind::NotALink)),
            tag::SYMLINK => {
                let target = self
                    .fs
                    .read_link(node)
                    .map_err(|error| self.failed("link target", node, &error))?;
                let parts = path.split(|unit| *unit == SEPARATOR).filter(|part| !part.is_empty());
                reparse::symlink(parts.count().saturating_sub(1), &target.0)
                    .ok_or(status::IO_REPARSE_DATA_INVALID)
            }
            other => Ok(reparse::empty(other)),
        }
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

/// The server that `fs` was made with.
///
/// # Safety
/// `fs` must be a file system of the DLL whose context is a server that outlives it.
unsafe fn server<'a>(fs: FileSystemPtr) -> &'a VolumeServer {
    // SAFETY: by the contract of this function.
    unsafe { &*(*fs).user_context.cast::<VolumeServer>() }
}

/// The code units of a string that ends with 0.
///
/// # Safety
/// `text` must point to such a string that outlives the request.
unsafe fn wide<'a>(text: *const u16) -> &'a [u16] {
    let mut length = 0;
    // SAFETY: by the contract of this function there is a 0 before the end.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: the units up to the 0 were just read.
    unsafe { std::slice::from_raw_parts(text, length) }
}

/// The status of `work`; a panic in it is damage of what was read.
fn answer(work: impl FnOnce() -> Result<(), NtStatus>) -> NtStatus {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => status::SUCCESS,
        Ok(Err(status)) => status,
        Err(_) => nt_status(FsErrorKind::Corrupt),
    }
}

/// Copies `bytes` to `buffer`, whose size `size` tells; then `size` is that of `bytes`.
///
/// # Safety
/// `size` must be null or valid, `buffer` null or of that size.
unsafe fn give(
    bytes: &[u8],
    buffer: *mut c_void,
    size: *mut usize,
    too_small: NtStatus,
) -> Result<(), NtStatus> {
    if size.is_null() {
        return Ok(());
    }
    // SAFETY: `size` is valid by the contract of this function.
    let room = unsafe { std::ptr::replace(size, bytes.len()) };
    if room < bytes.len() {
        return Err(too_small);
    }
    if !buffer.is_null() {
        // SAFETY: `buffer` holds `room` bytes, which is enough.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
    }
    Ok(())
}

unsafe extern "C" fn refuse() -> NtStatus {
    status::MEDIA_WRITE_PROTECTED
}

unsafe extern "C" fn get_volume_info(fs: FileSystemPtr, out: *mut VolumeInfo) -> NtStatus {
    answer(|| {
        // SAFETY: the DLL passes what `FspFileSystemCreate` was given, and valid pointers.
        unsafe { *out = server(fs).figures()? };
        Ok(())
    })
}

unsafe extern "C" fn get_security_by_name(
    fs: FileSystemPtr,
    path: *const u16,
    attributes: *mut u32,
    descriptor: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, path) = unsafe { (server(fs), wide(path)) };
        let (value, result) = match server.walk(path, None) {
            Ok(found) => (found.info.file_attributes, Ok(found.node)),
            Err(Lost::Link(index)) => (index, Err(status::REPARSE)),
            Err(Lost::Status(status)) => return Err(status),
        };
        if !attributes.is_null() {
            // SAFETY: valid if it is not null.
            unsafe { *attributes = value };
        }
        let node = result?;
        if size.is_null() {
            return Ok(());
        }
        // SAFETY: descriptor and size are null or valid.
        unsafe { give(&server.security(node), descriptor, size, status::BUFFER_OVERFLOW) }
    })
}

unsafe extern "C" fn open(
    fs: FileSystemPtr,
    path: *const u16,
    _options: u32,
    granted: u32,
    context: *mut *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, path) = unsafe { (server(fs), wide(path)) };
        let mut spelled = Vec::with_capacity(path.len() + 8);
        let found = match server.walk(path, Some(&mut spelled)) {
            Ok(found) => found,
            Err(Lost::Link(_)) => return Err(status::OBJECT_PATH_NOT_FOUND),
            Err(Lost::Status(status)) => return Err(status),
        };
        if spelled.is_empty() {
            spelled.extend_from_slice(path);
        }
        let is_directory = found.info.file_attributes & attribute::DIRECTORY != 0;
        if granted & WRITE_ACCESS != 0 && !is_directory {
            // The cache manager would take the bytes and lose them later.
            return Err(status::MEDIA_WRITE_PROTECTED);
        }
        let handle = Box::new(server.open(found)?);
        // SAFETY: both are valid; `info` lies in the beginning of an `OpenFileInfo`.
        unsafe {
            *info = handle.info;
            give_name(&spelled, info.cast());
            *context = Box::into_raw(handle).cast();
        }
        Ok(())
    })
}

/// Writes `name`, a path as the guest spells it, to where programs are shown it from.
///
/// # Safety
/// `out` must be valid with a buffer of the size that it tells.
unsafe fn give_name(name: &[u16], out: *mut OpenFileInfo) {
    // SAFETY: by the contract of this function; the buffer holds `room` units.
    unsafe {
        let room = usize::from((*out).normalized_name_size) / 2;
        let Ok(size) = u16::try_from(2 * name.len()) else {
            return;
        };
        if name.len() <= room && !(*out).normalized_name.is_null() {
            std::ptr::copy_nonoverlapping(name.as_ptr(), (*out).normalized_name, name.len());
            (*out).normalized_name_size = size;
        }
    }
}

/// The handle of `context`.
///
/// # Safety
/// `context` must come from [`open`] and not have gone to [`close`].
unsafe fn handle<'a>(context: *mut c_void) -> &'a Handle {
    // SAFETY: by the contract of this function.
    unsafe { &*context.cast::<Handle>() }
}

unsafe extern "C" fn close(_fs: FileSystemPtr, context: *mut c_void) {
    // SAFETY: the DLL closes what it opened once.
    drop(unsafe { Box::from_raw(context.cast::<Handle>()) });
}

unsafe extern "C" fn read(
    fs: FileSystemPtr,
    context: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the buffer is the caller's, mapped, of `length` bytes.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            *transferred = server(fs).read(handle(context), offset, buf)?;
        }
        Ok(())
    })
}

unsafe extern "C" fn flush(
    _fs: FileSystemPtr,
    context: *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    if !context.is_null() && !info.is_null() {
        // SAFETY: both are valid if they are not null; a flush of the volume has no handle.
        unsafe { *info = handle(context).info };
    }
    status::SUCCESS
}

unsafe extern "C" fn get_file_info(
    _fs: FileSystemPtr,
    context: *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    // SAFETY: as for every callback.
    unsafe { *info = handle(context).info };
    status::SUCCESS
}

unsafe extern "C" fn get_security(
    fs: FileSystemPtr,
    context: *mut c_void,
    descriptor: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: as for every callback.
    answer(|| unsafe {
        let own = server(fs).security(handle(context).node);
        give(&own, descriptor, size, status::BUFFER_OVERFLOW)
    })
}

unsafe extern "C" fn read_directory(
    fs: FileSystemPtr,
    context: *mut c_void,
    _pattern: *const u16,
    marker: *const u16,
    buffer: *mut c_void,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback. With `DIRECTORY_MARKER_AS_NEXT_OFFSET` the marker is a
        // `u64`; nothing is said of its alignment.
        unsafe {
            let from = if marker.is_null() { 0 } else { marker.cast::<u64>().read_unaligned() };
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            let mut page = Page::new(buf);
            server(fs).read_directory(handle(context), from, &mut page)?;
            *transferred = u32::try_from(page.used).unwrap_or(0);
        }
        Ok(())
    })
}

unsafe extern "C" fn get_dir_info_by_name(
    fs: FileSystemPtr,
    context: *mut c_void,
    name: *const u16,
    out: *mut DirInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the DLL gives room for a name of 255 units.
        unsafe {
            let room = size_of::<DirInfo>() + 2 * names::MAX_WINDOWS;
            let buf = std::slice::from_raw_parts_mut(out.cast::<u8>(), room);
            server(fs).find_in(handle(context), wide(name), &mut Page::single(buf))
        }
    })
}

unsafe extern "C" fn get_stream_info(
    fs: FileSystemPtr,
    context: *mut c_void,
    buffer: *mut c_void,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            let mut page = Page::new(buf);
            let result = server(fs).stream_page(handle(context), &mut page);
            *transferred = u32::try_from(page.used).unwrap_or(0);
            result
        }
    })
}

unsafe extern "C" fn get_reparse_point(
    fs: FileSystemPtr,
    context: *mut c_void,
    path: *const u16,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        unsafe {
            let handle = handle(context);
            let data = server(fs).reparse_data(handle.node, &handle.info, wide(path))?;
            give(&data, buffer, size, status::BUFFER_TOO_SMALL)
        }
    })
}

unsafe extern "C" fn resolve_reparse_points(
    fs: FileSystemPtr,
    path: *const u16,
    index: u32,
    resolve_last: u8,
    io_status: *mut IoStatusBlock,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: the arguments of the request are handed through; the callback takes no context.
    unsafe {
        let resolve = server(fs).functions.resolve_reparse_points;
        let none = std::ptr::null_mut();
        resolve(fs, reparse_point_by_name, none, path, index, resolve_last, io_status, buffer, size)
    }
}

unsafe extern "C" fn reparse_point_by_name(
    fs: FileSystemPtr,
    _context: *mut c_void,
    path: *const u16,
    _is_directory: u8,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        unsafe {
            let (server, path) = (server(fs), wide(path));
            let found = match server.walk(path, None) {
                Ok(found) => found,
                Err(Lost::Link(_)) => return Err(status::OBJECT_PATH_NOT_FOUND),
                Err(Lost::Status(status)) => return Err(status),
            };
            let data = server.reparse_data(found.node, &found.info, path)?;
            give(&data, buffer, size, status::BUFFER_TOO_SMALL)
        }
    })
}

unsafe extern "C" fn dispatcher_stopped(fs: FileSystemPtr, normally: u8) {
    if normally == 0 {
        // SAFETY: as for every callback.
        let _ = catch_unwind(AssertUnwindSafe(|| (unsafe { server(fs) }.lost)()));
    }
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
