//! Requests through the genuine DLL: its own code between the driver and our callbacks, with the
//! access checks of a real token. Only the driver is missing.

use std::cell::RefCell;
use std::env;
use std::os::windows::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use super::descriptor::{READ_ONLY, descriptor};
use volfold_fs::links::VolumeNames;
use volfold_fs::{FileSystem, VolumeTree};
use volfold_projector::folder::windows::{Shown, VolumeServer};
use volfold_projector::folder::winfsp::abi::{
    FileInfo, FspFileSystem, NtStatus, VolumeInfo, VolumeParams, flags, nt_status,
};
use volfold_projector::folder::winfsp::{Library, VolumeContext, callbacks};
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::Security::{
    DuplicateToken, SecurityImpersonation, TOKEN_DUPLICATE, TOKEN_QUERY,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use winfsp_double::{Listed, Opened, Requests, parse_streams, reparse_path};
use winfsp_wrs_sys::{FSP_FSCTL_TRANSACT_REQ as Request, FSP_FSCTL_TRANSACT_RSP as Response};

/// Where `.ci/winfsp` puts the DLL.
const DLL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/winfsp/winfsp-x64.dll");

/// `FSP_FSCTL_TRANSACT_REQ_SIZEMAX`, and that of responses.
const BUFFER: usize = 16 << 10;

const REPARSE: NtStatus = 0x104;
const OPEN: u32 = 1 << 24;
const FSCTL_GET_REPARSE_POINT: u32 = 0x0009_00A8;

type Operation = unsafe extern "C" fn(*mut FspFileSystem, *mut Request, *mut Response) -> NtStatus;

/// The genuine DLL's operations.
struct Operations {
    create: Operation,
    close: Operation,
    read: Operation,
    query_directory: Operation,
    query_information: Operation,
    query_security: Operation,
    query_stream_information: Operation,
    query_volume_information: Operation,
    file_system_control: Operation,
    overwrite: Operation,
    write: Operation,
    set_information: Operation,
    set_ea: Operation,
    set_volume_information: Operation,
    set_security: Operation,
}

/// The DLL, if it is here.
pub(crate) fn dll() -> Option<PathBuf> {
    let path = env::var_os("VOLFOLD_WINFSP_DLL").map_or_else(|| PathBuf::from(DLL), PathBuf::from);
    path.is_file().then_some(path)
}

/// A volume whose requests go through the genuine DLL.
pub(crate) struct Genuine {
    fs: Box<FspFileSystem>,
    /// What the callbacks use; its address is the context of `fs`.
    _context: Box<VolumeContext>,
    operations: Operations,
    token: HANDLE,
}

// SAFETY: the DLL's operations may run on any thread; the token is only read.
unsafe impl Send for Genuine {}
// SAFETY: as above.
unsafe impl Sync for Genuine {}

/// One volume.
fn one(fs: Arc<dyn FileSystem>) -> Shown {
    Shown::Volume { fs, name: Vec::new() }
}

impl Genuine {
    /// Shows `fs` through the DLL at `dll`, with a descriptor that lets everybody read.
    pub(crate) fn new(dll: &std::path::Path, fs: Arc<dyn FileSystem>) -> Self {
        Self::with_security(dll, fs, READ_ONLY)
    }

    /// As [`Genuine::new`]; the guest's own descriptors decide where there are any.
    pub(crate) fn with_guest_security(dll: &std::path::Path, fs: Arc<dyn FileSystem>) -> Self {
        Self::make(dll, one(fs), &VolumeNames::default(), READ_ONLY, true)
    }

    /// As [`Genuine::new`], with the descriptor that `sddl` describes.
    pub(crate) fn with_security(
        dll: &std::path::Path,
        fs: Arc<dyn FileSystem>,
        sddl: &str,
    ) -> Self {
        Self::make(dll, one(fs), &VolumeNames::default(), sddl, false)
    }

    /// Shows a set, whose links call the volumes what `names` tells.
    pub(crate) fn set(dll: &std::path::Path, tree: VolumeTree, names: &VolumeNames) -> Self {
        let shown = Shown::Set { tree: Arc::new(tree), label: "set".to_owned(), serial: 0x5EED };
        Self::make(dll, shown, names, READ_ONLY, false)
    }

    fn make(
        dll: &std::path::Path,
        shown: Shown,
        names: &VolumeNames,
        sddl: &str,
        guest_security: bool,
    ) -> Self {
        let library = Library::load(dll).unwrap_or_else(|error| panic!("{error}"));
        let log = Arc::new(|_: &str| {});
        let server = VolumeServer::new(shown, names, descriptor(sddl), log);
        let server = server.expect("a root directory").with_guest_security(guest_security);
        let context = Box::new(VolumeContext::new(server, library.functions(), Box::new(|| {})));
        let params: VolumeParams = context.params();
        // SAFETY: numbers, pointers and optional functions may all be 0.
        let mut fs: Box<FspFileSystem> = Box::new(unsafe { std::mem::zeroed() });
        fs.interface = &raw const callbacks::INTERFACE;
        fs.user_context = ptr::from_ref::<VolumeContext>(&context).cast_mut().cast();
        fs.um_file_context_is_user_context2 =
            u8::from(params.flags & flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2 != 0);
        Self { fs, _context: context, operations: operations(dll), token: token() }
    }

    /// Puts one request: `fill` writes it, `take` reads the answer. `name` lies in the buffer.
    fn ask<T>(
        &self,
        operation: Operation,
        name: &[u16],
        fill: impl FnOnce(&mut Request),
        take: impl FnOnce(&Response, *const u8) -> T,
    ) -> Result<(NtStatus, T), NtStatus> {
        thread_local! {
            static BUFFERS: RefCell<(Vec<u64>, Vec<u64>)> =
                RefCell::new((vec![0; BUFFER / 8], vec![0; BUFFER / 8]));
        }
        BUFFERS.with_borrow_mut(|(request, response)| {
            let request = request.as_mut_ptr().cast::<Request>();
            let response = response.as_mut_ptr().cast::<Response>();
            // SAFETY: both have 16 KiB, aligned, and the DLL writes no more; the heads and the name
            // are all that it reads.
            unsafe {
                ptr::write_bytes(request, 0, 1);
                ptr::write_bytes(response, 0, 1);
                let buffer = (&raw mut (*request).Buffer).cast::<u16>();
                assert!(size_of::<Request>() + 2 * name.len() + 2 <= BUFFER, "a short name");
                ptr::copy_nonoverlapping(name.as_ptr(), buffer, name.len());
                *buffer.add(name.len()) = 0;
                (*request).FileName.Size = u16::try_from(2 * name.len() + 2).expect("short");
                fill(&mut *request);
                (*response).Size = u16::try_from(size_of::<Response>()).expect("small");
                (*response).Kind = (*request).Kind;
                let fs = ptr::from_ref::<FspFileSystem>(&self.fs).cast_mut();
                let status = operation(fs, request, response);
                if status < 0 {
                    return Err(status);
                }
                let buffer = (&raw const (*response).Buffer).cast::<u8>();
                Ok((status, take(&*response, buffer)))
            }
        })
    }
}

impl Genuine {
    /// What every request answers that would change the open file or its volume, by name.
    pub(crate) fn changes(&self, handle: u64, path: &[u16]) -> Vec<(String, NtStatus)> {
        let operations = &self.operations;
        let mut bytes = [0_u8; 64];
        let mut all = Vec::new();
        let mut put = |what: &str, operation, name: &[u16], fill: &mut dyn FnMut(&mut Request)| {
            let answer = self.ask(operation, name, |request| fill(request), |_, _| ());
            all.push((what.to_owned(), answer.map_or_else(|status| status, |(status, ())| status)));
        };
        // Every one of these parts begins with the context of the file and that of the handle.
        put("write", operations.write, &[], &mut |request| {
            request.Kind = 6;
            request.Req.Write.UserContext2 = handle;
            request.Req.Write.Address = bytes.as_mut_ptr().expose_provenance() as u64;
            request.Req.Write.Length = 64;
        });
        // FileBasic-, FileDisposition-, FileAllocation-, FileEndOfFile-, FileDispositionEx-.
        for class in [4, 13, 19, 20, 64] {
            let name = format!("set information {class}");
            put(&name, operations.set_information, path, &mut |request| {
                request.Kind = 8;
                request.Req.SetInformation.UserContext2 = handle;
                request.Req.SetInformation.FileInformationClass = class;
                match class {
                    4 => request.Req.SetInformation.Info.Basic.FileAttributes = 0x20,
                    13 => {
                        // SAFETY: the union is plain data.
                        unsafe { request.Req.SetInformation.Info.Disposition.set_Delete(1) };
                    }
                    64 => request.Req.SetInformation.Info.DispositionEx.Flags = 1,
                    _ => request.Req.SetInformation.Info.EndOfFile.FileSize = 1,
                }
            });
        }
        put("rename", operations.set_information, path, &mut |request| {
            request.Kind = 8;
            request.Req.SetInformation.UserContext2 = handle;
            request.Req.SetInformation.FileInformationClass = 10;
            let size = u16::try_from(2 * path.len() + 2).expect("a short name");
            // The DLL wants another name: the same from its second unit on would be none.
            request.Req.SetInformation.Info.Rename.NewFileName.Offset = 0;
            request.Req.SetInformation.Info.Rename.NewFileName.Size = size;
        });
        put("set security", operations.set_security, &[], &mut |request| {
            request.Kind = 20;
            request.Req.SetSecurity.UserContext2 = handle;
            request.Req.SetSecurity.SecurityInformation = 4;
        });
        put("set extended attributes", operations.set_ea, &[], &mut |request| {
            request.Kind = 10;
            request.Req.SetEa.UserContext2 = handle;
        });
        put("set label", operations.set_volume_information, path, &mut |request| {
            request.Kind = 13;
            // FileFsLabelInformation
            request.Req.SetVolumeInformation.FsInformationClass = 2;
        });
        // FSCTL_SET_REPARSE_POINT and FSCTL_DELETE_REPARSE_POINT
        for code in [0x0009_00A4, 0x0009_00AC] {
            let name = format!("control {code:#x}");
            put(&name, operations.file_system_control, path, &mut |request| {
                request.Kind = 15;
                request.Req.FileSystemControl.UserContext2 = handle;
                request.Req.FileSystemControl.FsControlCode = code;
            });
        }
        all
    }

    /// What an open answers that empties a file which is there; the handle is closed by it.
    pub(crate) fn overwrite(&self, handle: u64, path: &[u16]) -> NtStatus {
        let fill = |request: &mut Request| {
            request.Kind = 2;
            request.Req.Overwrite.UserContext2 = handle;
        };
        let answer = self.ask(self.operations.overwrite, path, fill, |_, _| ());
        answer.map_or_else(|status| status, |(status, ())| status)
    }
}

impl Drop for Genuine {
    fn drop(&mut self) {
        // SAFETY: the token is ours.
        unsafe { CloseHandle(self.token) };
    }
}

/// The units at `offset` of the answer's buffer.
fn units(buffer: *const u8, offset: u16, size: u16) -> Vec<u16> {
    let bytes = bytes(buffer, offset, size);
    bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect()
}

fn bytes(buffer: *const u8, offset: u16, size: u16) -> Vec<u8> {
    assert!(size_of::<Response>() + usize::from(offset) + usize::from(size) <= BUFFER);
    // SAFETY: the answer has room for it.
    unsafe { std::slice::from_raw_parts(buffer.add(usize::from(offset)), usize::from(size)) }
        .to_vec()
}

impl Requests for Genuine {
    fn open_once(
        &self,
        path: &[u16],
        access: u32,
        options: u32,
    ) -> Result<Opened, Result<Vec<u16>, NtStatus>> {
        let fill = |request: &mut Request| {
            request.Kind = 1;
            // SAFETY: the union is plain data, of which this request is a part.
            let create = unsafe { &mut request.Req.Create };
            // The high byte is the disposition.
            create.CreateOptions = if options >> 24 == 0 { OPEN | options } else { options };
            create.DesiredAccess = access;
            create.ShareAccess = 7;
            let process = u64::from(std::process::id());
            create.AccessToken = self.token.expose_provenance() as u64 | process << 32;
            create.set_UserMode(1);
            create.set_HasTraversePrivilege(1);
            let colon = path.iter().position(|unit| *unit == u16::from(b':'));
            create.NamedStream = colon.map_or(0, |at| u16::try_from(2 * at).expect("a short name"));
        };
        let take = |response: &Response, buffer: *const u8| {
            // SAFETY: the two forms of the answer are plain data, told apart by the status.
            let (opened, reparse) =
                unsafe { (response.Rsp.Create.Opened, response.Rsp.Create.Reparse.Buffer) };
            // SAFETY: the layout test says that they are one.
            let info: FileInfo = unsafe { std::mem::transmute(opened.FileInfo) };
            if response.IoStatus.Information > 1 {
                let data = bytes(buffer, reparse.Offset, reparse.Size);
                return (opened, info, Some((response.IoStatus.Information, data)), Vec::new());
            }
            let name = opened.FileName;
            (opened, info, None, units(buffer, name.Offset, name.Size))
        };
        match self.ask(self.operations.create, path, fill, take) {
            Err(status) => Err(Err(status)),
            Ok((REPARSE, (_, _, Some((tag, data)), _))) => Err(reparse_path(tag as usize, &data)),
            Ok((REPARSE, _)) => Err(Err(nt_status(0xC000_0279))),
            Ok((_, (opened, info, _, name))) => Ok(Opened {
                handle: opened.UserContext2,
                info,
                granted: opened.GrantedAccess,
                name,
                path: path.to_vec(),
            }),
        }
    }

    fn close(&self, handle: u64) {
        let fill = |request: &mut Request| {
            request.Kind = 4;
            request.Req.Close.UserContext2 = handle;
        };
        self.ask(self.operations.close, &[], fill, |_, _| ()).expect("close is not refused");
    }

    fn read(&self, handle: u64, offset: u64, buf: &mut [u8]) -> Result<usize, NtStatus> {
        let fill = |request: &mut Request| {
            request.Kind = 5;
            // SAFETY: the union is plain data.
            let read = unsafe { &mut request.Req.Read };
            read.UserContext2 = handle;
            read.Address = buf.as_mut_ptr().expose_provenance() as u64;
            read.Offset = offset;
            read.Length = u32::try_from(buf.len()).expect("a short read");
        };
        let take = |response: &Response, _: *const u8| response.IoStatus.Information as usize;
        Ok(self.ask(self.operations.read, &[], fill, take)?.1)
    }

    fn list_page(
        &self,
        handle: u64,
        marker: Option<u64>,
        buf: &mut [u64],
    ) -> Result<usize, NtStatus> {
        let marker: Vec<u16> = marker
            .map(|marker| {
                let bytes = marker.to_le_bytes();
                bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect()
            })
            .unwrap_or_default();
        let fill = |request: &mut Request| {
            request.Kind = 14;
            // SAFETY: the union is plain data.
            let query = unsafe { &mut request.Req.QueryDirectory };
            query.UserContext2 = handle;
            query.Address = buf.as_mut_ptr().expose_provenance() as u64;
            query.Length = u32::try_from(8 * buf.len()).expect("a small page");
            query.Marker.Size = u16::try_from(2 * marker.len()).expect("eight bytes");
        };
        let take = |response: &Response, _: *const u8| response.IoStatus.Information as usize;
        Ok(self.ask(self.operations.query_directory, &marker, fill, take)?.1)
    }

    fn by_name(&self, handle: u64, name: &[u16]) -> Result<Listed, NtStatus> {
        let mut buf = vec![0_u64; 512];
        let fill = |request: &mut Request| {
            request.Kind = 14;
            // SAFETY: the union is plain data.
            let query = unsafe { &mut request.Req.QueryDirectory };
            query.UserContext2 = handle;
            query.Address = buf.as_mut_ptr().expose_provenance() as u64;
            query.Length = 4096;
            query.Pattern.Size = u16::try_from(2 * name.len() + 2).expect("a short name");
            query.set_PatternIsFileName(1);
        };
        let take = |response: &Response, _: *const u8| response.IoStatus.Information as usize;
        let used = self.ask(self.operations.query_directory, name, fill, take)?.1;
        let (records, end) = winfsp_double::parse_page(&buf, used);
        assert!(end && records.len() <= 1, "one record and the end");
        records.into_iter().next().ok_or(nt_status(0xC000_000F))
    }

    fn info(&self, handle: u64) -> Result<FileInfo, NtStatus> {
        let fill = |request: &mut Request| {
            request.Kind = 7;
            request.Req.QueryInformation.UserContext2 = handle;
        };
        // SAFETY: the layout test says that they are one.
        let take = |response: &Response, _: *const u8| unsafe {
            std::mem::transmute::<_, FileInfo>(response.Rsp.QueryInformation.FileInfo)
        };
        Ok(self.ask(self.operations.query_information, &[], fill, take)?.1)
    }

    fn security(&self, handle: u64) -> Result<Vec<u8>, NtStatus> {
        let fill = |request: &mut Request| {
            request.Kind = 19;
            request.Req.QuerySecurity.UserContext2 = handle;
        };
        let take = |response: &Response, buffer: *const u8| {
            // SAFETY: the union is plain data.
            let place = unsafe { response.Rsp.QuerySecurity.SecurityDescriptor };
            bytes(buffer, place.Offset, place.Size)
        };
        Ok(self.ask(self.operations.query_security, &[], fill, take)?.1)
    }

    fn streams(&self, handle: u64, _room: usize) -> Result<Vec<(Vec<u16>, u64)>, NtStatus> {
        let fill = |request: &mut Request| {
            request.Kind = 21;
            request.Req.QueryStreamInformation.UserContext2 = handle;
        };
        let take = |response: &Response, buffer: *const u8| {
            // SAFETY: the union is plain data.
            let place = unsafe { response.Rsp.QueryStreamInformation.Buffer };
            parse_streams(&bytes(buffer, place.Offset, place.Size))
        };
        Ok(self.ask(self.operations.query_stream_information, &[], fill, take)?.1)
    }

    fn reparse_point(&self, handle: u64, path: &[u16]) -> Result<Vec<u8>, NtStatus> {
        let fill = |request: &mut Request| {
            request.Kind = 15;
            // SAFETY: the union is plain data.
            let control = unsafe { &mut request.Req.FileSystemControl };
            control.UserContext2 = handle;
            control.FsControlCode = FSCTL_GET_REPARSE_POINT;
        };
        let take = |response: &Response, buffer: *const u8| {
            // SAFETY: the union is plain data.
            let place = unsafe { response.Rsp.FileSystemControl.Buffer };
            bytes(buffer, place.Offset, place.Size)
        };
        Ok(self.ask(self.operations.file_system_control, path, fill, take)?.1)
    }

    fn volume_info(&self) -> Result<VolumeInfo, NtStatus> {
        let fill = |request: &mut Request| request.Kind = 12;
        // SAFETY: the layout test says that they are one.
        let take = |response: &Response, _: *const u8| unsafe {
            std::mem::transmute::<_, VolumeInfo>(response.Rsp.QueryVolumeInformation.VolumeInfo)
        };
        Ok(self.ask(self.operations.query_volume_information, &[], fill, take)?.1)
    }
}

/// The operations of the DLL at `dll`, which is loaded.
fn operations(dll: &std::path::Path) -> Operations {
    let name: Vec<u16> = dll.file_name().expect("a file name").encode_wide().chain([0]).collect();
    // SAFETY: the name ends with 0; the DLL stays loaded.
    let module = unsafe { GetModuleHandleW(name.as_ptr()) };
    assert!(!module.is_null(), "the DLL is loaded");
    let find = |name: &str| -> Operation {
        let name = format!("FspFileSystemOp{name}\0");
        // SAFETY: the name ends with 0, and the headers declare all operations so.
        unsafe {
            let address = GetProcAddress(module, name.as_ptr());
            let address = address.unwrap_or_else(|| panic!("{name} is missing"));
            std::mem::transmute::<unsafe extern "system" fn() -> isize, Operation>(address)
        }
    };
    Operations {
        create: find("Create"),
        close: find("Close"),
        read: find("Read"),
        query_directory: find("QueryDirectory"),
        query_information: find("QueryInformation"),
        query_security: find("QuerySecurity"),
        query_stream_information: find("QueryStreamInformation"),
        query_volume_information: find("QueryVolumeInformation"),
        file_system_control: find("FileSystemControl"),
        overwrite: find("Overwrite"),
        write: find("Write"),
        set_information: find("SetInformation"),
        set_ea: find("SetEa"),
        set_volume_information: find("SetVolumeInformation"),
        set_security: find("SetSecurity"),
    }
}

/// A token of this process that an access check can be made with.
fn token() -> HANDLE {
    let (mut own, mut copy): (HANDLE, HANDLE) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both places are valid; the first token is closed once.
    unsafe {
        let opened =
            OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY | TOKEN_DUPLICATE, &raw mut own);
        assert!(opened != 0, "the token of the process");
        assert!(DuplicateToken(own, SecurityImpersonation, &raw mut copy) != 0, "a copy of it");
        CloseHandle(own);
    }
    copy
}
