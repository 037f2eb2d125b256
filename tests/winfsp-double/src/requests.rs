//! Requests as the driver makes them, and the rules of the DLL between it and the callbacks.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering;

use volfold_projector::folder::winfsp::abi::{
    DirInfo, FileInfo, FileSystemPtr, IoStatusBlock, NtStatus, OpenFileInfo, StreamInfo,
    VolumeInfo, flags, nt_status,
};

use crate::{Volume, reparse_path, volume};

/// `FILE_OPEN_REPARSE_POINT`.
pub const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

const REPARSE: NtStatus = 0x104;
const BUFFER_OVERFLOW: NtStatus = nt_status(0x8000_0005);
const INVALID_DEVICE_REQUEST: NtStatus = nt_status(0xC000_0010);
const NO_SUCH_LINK_TARGET: NtStatus = nt_status(0xC000_0280);
const CANCELLED: NtStatus = nt_status(0xC000_0120);
const ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

/// How often the host follows links on one path.
const MAX_LINKS: usize = 64;

/// The bytes that the DLL gives for a name or a reparse point.
const BUFFER: usize = 16 << 10;

/// What an open gave.
#[derive(Clone, Debug)]
pub struct Opened {
    /// For later requests.
    pub handle: u64,
    /// As the open told it.
    pub info: FileInfo,
    /// The access that was granted.
    pub granted: u32,
    /// The name as the file system spells it; empty if it said nothing.
    pub name: Vec<u16>,
    /// The path that links led to; that of the request if there were none.
    pub path: Vec<u16>,
}

/// One record of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Vec<u16>,
    /// What is told of it.
    pub info: FileInfo,
    /// The marker that goes on behind it.
    pub next: u64,
}

/// A way to put requests to a volume. Paths do not end with 0.
pub trait Requests: Sync {
    /// Opens what is there, once: `Err(Ok(path))` where a link leads to another path.
    ///
    /// # Errors
    /// The status, or the path to go on with.
    fn open_once(
        &self,
        path: &[u16],
        access: u32,
        options: u32,
    ) -> Result<Opened, Result<Vec<u16>, NtStatus>>;
    /// Closes a handle.
    fn close(&self, handle: u64);
    /// Reads into `buf`.
    ///
    /// # Errors
    /// The status.
    fn read(&self, handle: u64, offset: u64, buf: &mut [u8]) -> Result<usize, NtStatus>;
    /// Fills `buf` with records of a directory, behind `marker`.
    ///
    /// # Errors
    /// The status.
    fn list_page(
        &self,
        handle: u64,
        marker: Option<u64>,
        buf: &mut [u64],
    ) -> Result<usize, NtStatus>;
    /// The record of one name.
    ///
    /// # Errors
    /// The status.
    fn by_name(&self, handle: u64, name: &[u16]) -> Result<Listed, NtStatus>;
    /// The metadata.
    ///
    /// # Errors
    /// The status.
    fn info(&self, handle: u64) -> Result<FileInfo, NtStatus>;
    /// The security descriptor.
    ///
    /// # Errors
    /// The status.
    fn security(&self, handle: u64) -> Result<Vec<u8>, NtStatus>;
    /// The streams with their sizes, in a buffer of `room` bytes.
    ///
    /// # Errors
    /// The status.
    fn streams(&self, handle: u64, room: usize) -> Result<Vec<(Vec<u16>, u64)>, NtStatus>;
    /// The reparse data of the open file at `path`.
    ///
    /// # Errors
    /// The status.
    fn reparse_point(&self, handle: u64, path: &[u16]) -> Result<Vec<u8>, NtStatus>;
    /// The figures of the volume.
    ///
    /// # Errors
    /// The status.
    fn volume_info(&self) -> Result<VolumeInfo, NtStatus>;

    /// Opens what is there, through links as the host follows them.
    ///
    /// # Errors
    /// The status.
    fn open(&self, path: &[u16], access: u32, options: u32) -> Result<Opened, NtStatus> {
        let mut path = path.to_vec();
        for _ in 0..MAX_LINKS {
            match self.open_once(&path, access, options) {
                Ok(opened) => return Ok(Opened { path, ..opened }),
                Err(Ok(target)) => path = target,
                Err(Err(status)) => return Err(status),
            }
        }
        Err(NO_SUCH_LINK_TARGET)
    }
}

/// `text` as code units.
pub fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// All records of a directory, in pages of `page` bytes, and how many pages they took.
///
/// # Errors
/// The status.
pub fn list(
    requests: &dyn Requests,
    handle: u64,
    page: usize,
) -> Result<(Vec<Listed>, usize), NtStatus> {
    let mut buf = vec![0_u64; page / 8];
    let (mut all, mut pages, mut marker): (Vec<Listed>, _, _) = (Vec::new(), 0, None);
    loop {
        let used = requests.list_page(handle, marker, &mut buf)?;
        let (records, end) = parse_page(&buf, used);
        pages += 1;
        marker = records.last().map(|record| record.next);
        assert!(end || marker.is_some(), "a page without progress");
        all.extend(records);
        if end {
            return Ok((all, pages));
        }
    }
}

/// The records of a page of which `used` bytes count, and whether it holds the end.
pub fn parse_page(buf: &[u64], used: usize) -> (Vec<Listed>, bool) {
    let bytes: Vec<u8> = buf.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (mut records, mut at) = (Vec::new(), 0);
    let head = size_of::<DirInfo>();
    while at + 2 <= used {
        let size = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        if size == 0 {
            return (records, true);
        }
        assert!(size >= head && at + size <= used, "a record leaves the page");
        // SAFETY: `head` bytes are there, and `DirInfo` is plain data.
        let info = unsafe { bytes.as_ptr().add(at).cast::<DirInfo>().read_unaligned() };
        let name = bytes[at + head..at + size].as_chunks::<2>().0;
        records.push(Listed {
            name: name.iter().map(|unit| u16::from_le_bytes(*unit)).collect(),
            info: info.file_info,
            next: info.next_offset,
        });
        at += size.next_multiple_of(8);
    }
    (records, used == 0)
}

/// Requests to a volume of the double.
pub struct Double {
    fs: FileSystemPtr,
}

// SAFETY: the DLL's own threads use a file system at once in the same way.
unsafe impl Send for Double {}
// SAFETY: as above.
unsafe impl Sync for Double {}

/// Held while a request runs.
struct Running<'a>(&'a Volume);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Double {
    /// Requests to `fs`.
    ///
    /// # Safety
    /// `fs` must be a volume of the double that outlives the value.
    pub unsafe fn new(fs: FileSystemPtr) -> Self {
        Self { fs }
    }

    fn volume(&self) -> &Volume {
        // SAFETY: by the contract of `new`.
        unsafe { volume(self.fs) }
    }

    /// Opens without their close.
    pub fn open_handles(&self) -> u64 {
        self.volume().open.load(Ordering::SeqCst)
    }

    /// Lets a request in, if the volume is not being stopped.
    fn enter(&self) -> Result<Running<'_>, NtStatus> {
        let volume = self.volume();
        volume.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(volume);
        if volume.stopping.load(Ordering::SeqCst) { Err(CANCELLED) } else { Ok(running) }
    }

    /// The attributes by `GetSecurityByName`, called as the DLL does: with 1024 bytes, and again
    /// with what it asks for. `Err(Ok(index))` where a link stands in the way.
    fn attributes(&self, name: &[u16]) -> Result<u32, Result<u32, NtStatus>> {
        let get =
            self.volume().interface.get_security_by_name.ok_or(Err(INVALID_DEVICE_REQUEST))?;
        let mut attributes = 0;
        let mut room = 1024;
        for attempt in 0..2 {
            let mut descriptor = vec![0_u8; room];
            let mut size = room;
            // SAFETY: all are valid, and the size is that of the buffer.
            let status = unsafe {
                let buffer = descriptor.as_mut_ptr().cast::<c_void>();
                get(self.fs, name.as_ptr(), &raw mut attributes, buffer, &raw mut size)
            };
            match status {
                BUFFER_OVERFLOW if attempt == 0 => {
                    assert!(size > room, "asks for less than it had");
                    room = size;
                }
                REPARSE => return Err(Ok(attributes)),
                status if status < 0 => return Err(Err(status)),
                _ => {
                    assert!(size <= room && descriptor[0] == 1, "no security descriptor");
                    return Ok(attributes);
                }
            }
        }
        Err(Err(BUFFER_OVERFLOW))
    }

    /// Where the links of `name` from the unit `index` on lead.
    fn resolve(&self, name: &[u16], index: u32, last: bool) -> Result<Vec<u16>, NtStatus> {
        let resolve =
            self.volume().interface.resolve_reparse_points.ok_or(INVALID_DEVICE_REQUEST)?;
        let mut buffer = vec![0_u8; BUFFER];
        let mut size = BUFFER;
        let mut status = IoStatusBlock::default();
        // SAFETY: all are valid, and the size is that of the buffer.
        let result = unsafe {
            let out = buffer.as_mut_ptr().cast::<c_void>();
            let last = u8::from(last);
            resolve(self.fs, name.as_ptr(), index, last, &raw mut status, out, &raw mut size)
        };
        if result < 0 {
            return Err(result);
        }
        buffer.truncate(size);
        reparse_path(status.information, &buffer)
    }

    fn context(handle: u64) -> *mut c_void {
        assert!(handle != 0, "a handle without its context");
        ptr::with_exposed_provenance_mut(usize::try_from(handle).expect("a 64-bit host"))
    }
}

fn result(status: NtStatus) -> Result<(), NtStatus> {
    if status < 0 { Err(status) } else { Ok(()) }
}

impl Requests for Double {
    fn open_once(
        &self,
        path: &[u16],
        access: u32,
        options: u32,
    ) -> Result<Opened, Result<Vec<u16>, NtStatus>> {
        let _running = self.enter().map_err(Err)?;
        let volume = self.volume();
        let table = &volume.interface;
        // The genuine DLL refuses every open otherwise, on a volume that is only read too.
        if table.create.is_none() || table.overwrite.is_none() {
            return Err(Err(INVALID_DEVICE_REQUEST));
        }
        let name: Vec<u16> = path.iter().copied().chain([0]).collect();
        let follow = options & OPEN_REPARSE_POINT == 0;
        let attributes = match self.attributes(&name) {
            Ok(attributes) => attributes,
            Err(Ok(index)) => return Err(self.resolve(&name, index, follow)),
            Err(Err(status)) => return Err(Err(status)),
        };
        if attributes & ATTRIBUTE_REPARSE_POINT != 0 && follow {
            let last = path.iter().rposition(|unit| *unit == u16::from(b'\\')).unwrap_or(0) + 1;
            return Err(self.resolve(&name, u32::try_from(last).unwrap_or(0), true));
        }
        let mut context = ptr::null_mut();
        let mut buffer = vec![0_u16; BUFFER / 2];
        let mut info = OpenFileInfo {
            file_info: FileInfo::default(),
            normalized_name: buffer.as_mut_ptr(),
            normalized_name_size: u16::try_from(BUFFER).expect("a small buffer"),
        };
        let open = table.open.ok_or(Err(INVALID_DEVICE_REQUEST))?;
        // SAFETY: all are valid; the metadata lies in the beginning of an `OpenFileInfo`.
        let status = unsafe {
            let info = (&raw mut info).cast::<FileInfo>();
            open(self.fs, name.as_ptr(), options, access, &raw mut context, info)
        };
        result(status).map_err(Err)?;
        assert!(
            !context.is_null()
                || volume.params.flags & flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2 == 0
        );
        volume.open.fetch_add(1, Ordering::SeqCst);
        let told = usize::from(info.normalized_name_size);
        buffer.truncate(if told < BUFFER { told / 2 } else { 0 });
        Ok(Opened {
            handle: context.expose_provenance() as u64,
            info: info.file_info,
            granted: access,
            name: buffer,
            path: path.to_vec(),
        })
    }

    fn close(&self, handle: u64) {
        let Ok(_running) = self.enter() else { return };
        let volume = self.volume();
        if let Some(close) = volume.interface.close {
            // SAFETY: the handle comes from `open` and is closed once.
            unsafe { close(self.fs, Self::context(handle)) };
        }
        let before = volume.open.fetch_sub(1, Ordering::SeqCst);
        assert!(before != 0, "closed more often than opened");
    }

    fn read(&self, handle: u64, offset: u64, buf: &mut [u8]) -> Result<usize, NtStatus> {
        let _running = self.enter()?;
        let read = self.volume().interface.read.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut count, length) = (0, u32::try_from(buf.len()).expect("a short read"));
        // SAFETY: the length is that of the buffer.
        let status = unsafe {
            let out = buf.as_mut_ptr().cast();
            read(self.fs, Self::context(handle), out, offset, length, &raw mut count)
        };
        result(status)?;
        assert!(count <= length, "more bytes than the buffer holds");
        Ok(count as usize)
    }

    fn list_page(
        &self,
        handle: u64,
        marker: Option<u64>,
        buf: &mut [u64],
    ) -> Result<usize, NtStatus> {
        let _running = self.enter()?;
        let volume = self.volume();
        let read = volume.interface.read_directory.ok_or(INVALID_DEVICE_REQUEST)?;
        assert!(volume.params.flags & flags::DIRECTORY_MARKER_AS_NEXT_OFFSET != 0);
        let marker = marker.as_ref().map_or(ptr::null(), |marker| ptr::from_ref(marker).cast());
        let (mut used, length) = (0, u32::try_from(8 * buf.len()).expect("a small page"));
        // SAFETY: the length is that of the buffer; the marker is null or valid.
        let status = unsafe {
            let (out, handle) = (buf.as_mut_ptr().cast(), Self::context(handle));
            read(self.fs, handle, ptr::null(), marker, out, length, &raw mut used)
        };
        result(status)?;
        assert!(used <= length, "more bytes than the buffer holds");
        Ok(used as usize)
    }

    fn by_name(&self, handle: u64, name: &[u16]) -> Result<Listed, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_dir_info_by_name.ok_or(INVALID_DEVICE_REQUEST)?;
        let name: Vec<u16> = name.iter().copied().chain([0]).collect();
        let mut buf = vec![0_u64; (size_of::<DirInfo>() + 2 * 255).div_ceil(8)];
        // SAFETY: the buffer holds a record with the longest name.
        let status =
            unsafe { get(self.fs, Self::context(handle), name.as_ptr(), buf.as_mut_ptr().cast()) };
        result(status)?;
        let (records, _) = parse_page(&buf, 8 * buf.len());
        records.into_iter().next().ok_or(INVALID_DEVICE_REQUEST)
    }

    fn info(&self, handle: u64) -> Result<FileInfo, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_file_info.ok_or(INVALID_DEVICE_REQUEST)?;
        let mut info = FileInfo::default();
        // SAFETY: both are valid.
        result(unsafe { get(self.fs, Self::context(handle), &raw mut info) })?;
        Ok(info)
    }

    fn security(&self, handle: u64) -> Result<Vec<u8>, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_security.ok_or(INVALID_DEVICE_REQUEST)?;
        let mut bytes = vec![0_u8; BUFFER];
        let mut size = bytes.len();
        // SAFETY: the size is that of the buffer.
        let status = unsafe {
            get(self.fs, Self::context(handle), bytes.as_mut_ptr().cast(), &raw mut size)
        };
        result(status)?;
        bytes.truncate(size);
        Ok(bytes)
    }

    fn streams(&self, handle: u64, room: usize) -> Result<Vec<(Vec<u16>, u64)>, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_stream_info.ok_or(INVALID_DEVICE_REQUEST)?;
        let mut buf = vec![0_u8; room];
        let (mut used, length) = (0, u32::try_from(room).expect("a small page"));
        // SAFETY: the length is that of the buffer.
        let status = unsafe {
            let out = buf.as_mut_ptr().cast();
            get(self.fs, Self::context(handle), out, length, &raw mut used)
        };
        result(status)?;
        Ok(parse_streams(&buf[..used as usize]))
    }

    fn reparse_point(&self, handle: u64, path: &[u16]) -> Result<Vec<u8>, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_reparse_point.ok_or(INVALID_DEVICE_REQUEST)?;
        let name: Vec<u16> = path.iter().copied().chain([0]).collect();
        let mut bytes = vec![0_u8; BUFFER];
        let mut size = bytes.len();
        // SAFETY: the size is that of the buffer.
        let status = unsafe {
            let (out, handle) = (bytes.as_mut_ptr().cast(), Self::context(handle));
            get(self.fs, handle, name.as_ptr(), out, &raw mut size)
        };
        result(status)?;
        bytes.truncate(size);
        Ok(bytes)
    }

    fn volume_info(&self) -> Result<VolumeInfo, NtStatus> {
        let _running = self.enter()?;
        let get = self.volume().interface.get_volume_info.ok_or(INVALID_DEVICE_REQUEST)?;
        // SAFETY: numbers may all be 0; the place is valid.
        unsafe {
            let mut info: VolumeInfo = std::mem::zeroed();
            result(get(self.fs, &raw mut info))?;
            Ok(info)
        }
    }
}

/// The names and sizes of records as `FspFileSystemAddStreamInfo` writes them.
pub fn parse_streams(bytes: &[u8]) -> Vec<(Vec<u16>, u64)> {
    let head = size_of::<StreamInfo>();
    let (mut streams, mut at) = (Vec::new(), 0);
    while at + head <= bytes.len() {
        let size = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        if size == 0 {
            break;
        }
        let name = bytes[at + head..at + size].as_chunks::<2>().0;
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at + 8..at + 16]);
        streams.push((
            name.iter().map(|unit| u16::from_le_bytes(*unit)).collect(),
            u64::from_le_bytes(number),
        ));
        at += size.next_multiple_of(8);
    }
    streams
}
