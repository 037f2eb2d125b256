//! The callbacks for Dokan, through a double of its DLL.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ptr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_fs::links::VolumeNames;
use volfold_fs::{FileSystem, NodeId, wtf8};
use volfold_projector::folder::dokan::abi::{self, DokanOptions, NtStatus};
use volfold_projector::folder::dokan::{VolumeContext, callbacks};
use volfold_projector::folder::windows::{Shown as What, VolumeServer};
use windows_sys::Win32::Storage::FileSystem::WIN32_FIND_DATAW;
use winfsp_double::{DokanOpened, DokanVolume, dokan_functions, wide};

use super::compare::{follow, guest_name};
use super::descriptor::{READ_ONLY, descriptor};
use super::memory::MemoryFs;
use crate::common::fixtures::{fixture, index};
use crate::common::listing::Row;
use crate::harness::{apply, note, test};

const ROOT: NodeId = NodeId(0);
const READ: u32 = 1;
const OPEN: u32 = 1;
const OPEN_REPARSE_POINT: u32 = 0x20_0000;
const DIRECTORY: u32 = 0x10;
const REPARSE_POINT: u32 = 0x400;
const ACCESS_DENIED: NtStatus = 0xC000_0022_u32.cast_signed();
const WRITE_PROTECTED: NtStatus = 0xC000_00A2_u32.cast_signed();
const END_OF_FILE: NtStatus = 0xC000_0011_u32.cast_signed();

/// A volume of the double.
struct Shown {
    handle: abi::DokanHandle,
    // What the DLL uses.
    context: *mut VolumeContext,
    options: *mut DokanOptions,
    _point: Vec<u16>,
}

impl Shown {
    fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self::with_security(fs, READ_ONLY)
    }

    fn with_security(fs: Arc<dyn FileSystem>, sddl: &str) -> Self {
        let what = What::Volume { fs, name: Vec::new() };
        let log = Arc::new(|_: &str| {});
        let server = VolumeServer::new(what, &VolumeNames::default(), descriptor(sddl), log);
        let server = server.expect("a root directory");
        let context = VolumeContext::new(server, dokan_functions(), Box::new(|| {}));
        let point = wide("X:\0");
        let context = Box::into_raw(Box::new(context));
        // SAFETY: the context was just made.
        let options = Box::into_raw(unsafe { (*context).options(&point, 0) });
        let operations = (&raw const callbacks::OPERATIONS).cast_mut();
        let mut handle = ptr::null_mut();
        let create = dokan_functions().create_file_system;
        // SAFETY: all of it lives as long as the volume.
        let made = unsafe { create(options, operations, &raw mut handle) };
        assert_eq!(made, abi::result::SUCCESS);
        Self { handle, context, options, _point: point }
    }

    fn volume(&self) -> &DokanVolume {
        // SAFETY: the handle is closed when this is dropped.
        unsafe { DokanVolume::of(self.handle) }
    }

    fn open(&self, path: &[u16], access: u32) -> Result<DokanOpened, NtStatus> {
        self.volume().open(path, access, OPEN, 0)
    }

    /// The content at `path`.
    fn content(&self, path: &[u16], chunk: usize) -> Result<Vec<u8>, NtStatus> {
        let file = self.open(path, READ)?;
        let (mut all, mut buf) = (Vec::new(), vec![0xAA; chunk]);
        let result = loop {
            match self.volume().read(&file, all.len() as i64, &mut buf) {
                Ok(count) => all.extend_from_slice(&buf[..count]),
                Err(END_OF_FILE) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        let info = self.volume().metadata(&file).expect("metadata");
        self.volume().close(file);
        result?;
        let size = u64::from(info.nFileSizeHigh) << 32 | u64::from(info.nFileSizeLow);
        assert_eq!(size, all.len() as u64, "the content ends where the size says");
        Ok(all)
    }

    /// Every entry below the root by the guest's path, with its path here.
    fn walk(&self) -> BTreeMap<Vec<u8>, (Vec<u16>, WIN32_FIND_DATAW)> {
        let mut all = BTreeMap::new();
        let mut open = vec![(wide("\\"), Vec::new())];
        while let Some((path, guest)) = open.pop() {
            let directory = self.open(&path, READ).expect("a directory");
            assert!(directory.is_directory);
            let entries = self.volume().list(&directory);
            self.volume().close(directory);
            for entry in entries.expect("a listing") {
                let name: Vec<u16> = name_units(&entry);
                if name.iter().all(|unit| *unit == u16::from(b'.')) {
                    continue;
                }
                let mut below = path.clone();
                if below.len() > 1 {
                    below.push(u16::from(b'\\'));
                }
                below.extend(&name);
                let mut own = guest.clone();
                if !own.is_empty() {
                    own.push(b'/');
                }
                own.extend(guest_name(&name));
                if entry.dwFileAttributes & (DIRECTORY | REPARSE_POINT) == DIRECTORY {
                    open.push((below.clone(), own.clone()));
                }
                all.insert(own, (below, entry));
            }
        }
        all
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.volume().open_files(), 0, "every open has its close");
        }
        // SAFETY: the volume is closed once; nothing uses the two boxes any more.
        unsafe {
            (dokan_functions().close_handle)(self.handle);
            drop(Box::from_raw(self.options));
            drop(Box::from_raw(self.context));
        }
    }
}

fn name_units(entry: &WIN32_FIND_DATAW) -> Vec<u16> {
    entry.cFileName.iter().copied().take_while(|unit| *unit != 0).collect()
}

/// What differs between the volume and the listing of an independent tool.
fn compare(shown: &Shown, rows: &[Row], refused: &dyn Fn(&Row) -> bool) -> (usize, Vec<String>) {
    let found = shown.walk();
    let (mut read, mut problems) = (0, Vec::new());
    let digest = |bytes: &[u8]| HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
    for row in rows {
        let name = String::from_utf8_lossy(&row.path).into_owned();
        let mut problem = |line: String| problems.push(format!("{name}: {line}"));
        let (path, wanted) = match row.kind.as_str() {
            "f" | "d" | "l" => {
                let Some((path, entry)) = found.get(&row.path) else {
                    problem("not found".to_owned());
                    continue;
                };
                let kind = entry.dwFileAttributes & (DIRECTORY | REPARSE_POINT);
                let good = match row.kind.as_str() {
                    "f" => kind == 0,
                    "d" => kind == DIRECTORY,
                    _ => kind & REPARSE_POINT != 0 && entry.dwReserved0 == 0xA000_000C,
                };
                if !good {
                    problem(format!("is of kind {kind:#x}"));
                }
                match row.kind.as_str() {
                    "f" => (path.clone(), Some(row)),
                    // A link opens as what it leads to, in the listing of the other tool.
                    "l" => match follow(&row.path, &row.extra, rows) {
                        Some(target) => {
                            let is_it = |row: &&Row| row.path == target && row.kind == "f";
                            let Some(file) = rows.iter().find(is_it) else { continue };
                            (path.clone(), Some(file))
                        }
                        None => (path.clone(), None),
                    },
                    _ => continue,
                }
            }
            "ads" => {
                let colon = row.path.iter().rposition(|byte| *byte == b':').expect("path:stream");
                let (file, stream) = (&row.path[..colon], &row.path[colon + 1..]);
                let mut path = found.get(file).map_or_else(|| wide("\\"), |(path, _)| path.clone());
                path.push(u16::from(b':'));
                path.extend(wtf8::decode(stream).expect("text"));
                (path, Some(row))
            }
            _ => continue,
        };
        match (shown.content(&path, 65536), wanted) {
            (Ok(_), None) => problem("was read though it leads to nothing".to_owned()),
            (Ok(bytes), Some(file)) => {
                read += 1;
                if file.size.is_some_and(|size| size != bytes.len() as u64) {
                    problem(format!("{} bytes, not {:?}", bytes.len(), file.size));
                } else if file.sha256.as_ref().is_some_and(|sha| *sha != digest(&bytes)) {
                    problem("has other bytes".to_owned());
                }
            }
            (Err(status), Some(file)) if !refused(file) => problem(format!("status {status:#x}")),
            (Err(_), _) => {}
        }
    }
    (read, problems)
}

#[apply(test)]
fn every_fixture_is_shown_by_dokan_as_independent_tools_list_it() {
    let (mut volumes, mut read, mut all) = (0, 0, Vec::new());
    for fixture in index().fixtures.values() {
        for facts in fixture.volumes.iter().filter(|facts| facts.listing.is_some()) {
            let set = DiskSet::open(fixture.paths(), &OpenOptions::default())
                .unwrap_or_else(Incomplete::into_set);
            let at =
                |volume: &&Arc<volfold::SetVolume>| volume.volume.extents[0].offset == facts.offset;
            let volume = set.volumes().iter().find(at).expect("a volume");
            let shown = Shown::new(volume.file_system().expect("a file system"));
            let refused = |row: &Row| {
                let path = String::from_utf8_lossy(&row.path);
                row.unreadable || facts.errors.iter().any(|error| error.path == path)
            };
            let (count, problems) = compare(&shown, &facts.rows(), &refused);
            let named = |line: &String| format!("{} at {}: {line}", fixture.name, facts.offset);
            all.extend(problems.iter().map(named));
            (volumes, read) = (volumes + 1, read + count);
        }
    }
    note!("{volumes} volumes, {read} files, links and streams");
    let shown: Vec<_> = all.iter().take(40).collect();
    assert!(all.is_empty(), "{} problems: {shown:#?}", all.len());
    assert!(read > 6000, "{read}");
}

/// A volume with a file, a directory and links.
fn small() -> MemoryFs {
    let mut fs = MemoryFs::new();
    let docs = fs.directory(ROOT, b"docs");
    let file = fs.file(docs, b"Letter.txt", b"letter");
    fs.stream(file, b"side", b"stream");
    fs.file(docs, b"letter.TXT", b"twin");
    fs.link(ROOT, b"to-dir", b"docs");
    fs.link(ROOT, b"to-twin", b"docs/letter.TXT");
    fs.link(ROOT, b"loop", b"loop/x");
    fs
}

#[apply(test)]
fn dokan_opens_links_as_what_they_lead_to_and_lists_them_as_links() {
    let shown = Shown::new(Arc::new(small()));
    assert_eq!(shown.content(&wide("\\to-dir\\Letter.txt"), 3).as_deref(), Ok(&b"letter"[..]));
    assert_eq!(shown.content(&wide("\\TO-DIR\\..\\to-twin"), 64).map(|bytes| bytes.len()), Ok(4));
    assert_eq!(shown.content(&wide("\\to-twin"), 64).as_deref(), Ok(&b"twin"[..]));
    assert!(shown.content(&wide("\\loop"), 64).is_err());
    let directory = shown.open(&wide("\\to-dir"), READ).expect("the directory");
    assert!(directory.is_directory);
    assert_eq!(shown.volume().list(&directory).map(|list| list.len()), Ok(4), "with dots");
    shown.volume().close(directory);
    let link = shown.volume().open(&wide("\\to-dir"), READ, OPEN, OPEN_REPARSE_POINT);
    let link = link.expect("the link itself");
    let info = shown.volume().metadata(&link).expect("metadata");
    assert_eq!(info.dwFileAttributes & REPARSE_POINT, REPARSE_POINT);
    shown.volume().close(link);
    let file = shown.open(&wide("\\docs\\Letter.txt"), READ).expect("a file");
    let streams = shown.volume().streams(&file).expect("streams");
    assert_eq!(streams, [("::$DATA".to_owned(), 6), (":side:$DATA".to_owned(), 6)]);
    shown.volume().close(file);
}

#[apply(test)]
fn dokan_gives_nobody_more_than_the_descriptor() {
    let path = wide("\\docs\\Letter.txt");
    let shown = Shown::new(Arc::new(small()));
    for access in [0x2, 0x4, 0x10, 0x100, 0x4000_0000] {
        let refused = shown.open(&path, access).map(|opened| shown.volume().close(opened));
        assert_eq!(refused, Err(ACCESS_DENIED), "{access:#x}");
    }
    let file = shown.open(&path, 0x8000_0000).expect("GENERIC_READ");
    let dacl = shown.volume().security(&file, 4).expect("the access list alone");
    assert!(dacl.len() < descriptor(READ_ONLY).len(), "without owner and group");
    shown.volume().close(file);
    for disposition in [0, 2, 4, 5] {
        let made = shown.volume().open(&path, READ, disposition, 0);
        assert_eq!(made.map(|opened| shown.volume().close(opened)), Err(WRITE_PROTECTED));
    }
    let made = shown.volume().open(&wide("\\docs\\new"), READ, 3, 0);
    assert_eq!(made.map(|opened| shown.volume().close(opened)), Err(WRITE_PROTECTED));
    let there = shown.volume().open(&path, READ, 3, 0).expect("a file that is there");
    shown.volume().close(there);
    // Only Guests may.
    let shown = Shown::with_security(Arc::new(small()), "O:SYG:SYD:P(A;;FR;;;BG)");
    assert_eq!(shown.open(&path, READ).map(|_| ()), Err(ACCESS_DENIED));
    // Whoever may write by the guest's descriptor may not.
    let shown = Shown::with_security(Arc::new(small()), "O:BAG:BAD:P(A;;FA;;;WD)");
    assert_eq!(shown.open(&path, 0x2).map(|_| ()), Err(WRITE_PROTECTED));
    let kinds = [("\\docs", 0x40), ("\\docs\\Letter.txt", 0x1)];
    for (path, option) in kinds {
        assert!(shown.volume().open(&wide(path), READ, OPEN, option).is_err(), "{path}");
    }
}

#[apply(test)]
fn dokan_is_told_the_volume() {
    let shown = Shown::new(Arc::new(small()));
    let (label, serial, kind, flags) = shown.volume().volume().expect("the volume");
    assert_eq!((label.as_str(), serial, kind.as_str()), ("memory", 0xDEAD_BEEF, "EXT4"));
    assert_eq!(flags & 0x8_0000, 0x8_0000, "read-only");
    assert_eq!(shown.volume().space(), Ok((1 << 30, (1 << 30) - (1 << 20))));
}

#[apply(test)]
fn the_program_mounts_by_dokan_where_it_is_told_or_winfsp_is_missing() {
    let place = super::program::Place::new("dokan");
    let disks = fixture("sample").paths();
    let mount = |more: &[&str]| {
        let mut arguments = vec![OsStr::new("mount")];
        arguments.extend(disks.iter().map(|disk| disk.as_os_str()));
        arguments.push(place.folder.as_os_str());
        arguments.extend(more.iter().map(OsStr::new));
        let mut command = place.command(&arguments);
        command.env("VOLFOLD_TEST_DOKAN", super::program::double());
        command
    };
    let told = || {
        let file = place.scratch.join("report.dokan");
        crate::common::program::eventually("the report", || file.is_file());
        let text = std::fs::read_to_string(&file).expect("a report");
        std::fs::remove_file(file).expect("a report");
        text
    };
    let wanted = format!("BOOT\nWindows\nlinux\n{}", place.plain());
    crate::common::program::run(&mut mount(&["--projector", "dokan"])).code(0);
    assert_eq!(told(), wanted);
    place.unmount().code(0);
    assert!(!place.folder.exists(), "the folder was made by `mount` and goes");
    let mut command = mount(&[]);
    crate::common::program::run(command.env("VOLFOLD_TEST_WINFSP", "C:\\none.dll")).code(0);
    assert_eq!(told(), wanted);
    place.unmount().code(0);
    let mut command = mount(&["--projector", "dokan"]);
    let refused = crate::common::program::run(command.env("VOLFOLD_DOUBLE_NO_DRIVER", "1"));
    refused.code(1).says("Dokan's driver is not loaded");
}

#[apply(test)]
fn what_dokan_mounts_is_told_by_its_device_too() {
    let place = super::program::Place::new("dokan-names");
    let disk = fixture("sample").path();
    for (more, below) in [(&[][..], true), (&["--each"], false), (&["--mount-manager"], true)] {
        let arguments = ["mount".as_ref(), disk.as_os_str(), place.folder.as_os_str()];
        let mut command = place.command(&arguments);
        command.args(["--json", "--projector", "dokan"]).args(more);
        command.env("VOLFOLD_TEST_DOKAN", super::program::double());
        let said = crate::common::program::run(&mut command).code(0).json();
        let log = place.mounts()[0]["log"].as_str().map(std::fs::read_to_string);
        let log = log.expect("a log").expect("the log");
        place.unmount().code(0);
        // The double tells it nothing.
        let is_told = log.contains("the Mount Manager tells no name for it");
        assert_eq!(is_told, more == ["--mount-manager"], "{log}");
        let volumes = said["volumes"].as_array().expect("volumes");
        assert_eq!(volumes.len(), 3);
        for (number, volume) in (1..).zip(volumes) {
            let name = volume["name"].as_str().expect("a name");
            // The double counts its volumes.
            let (number, below) = if below { (1, name) } else { (number, "") };
            let device = format!(r"\Device\Volume{{5eedd0ca-0000-0000-0000-{number:012}}}");
            let folder = format!(r"{}\{name}", place.plain());
            let paths = [folder, format!(r"\\?\GLOBALROOT{device}\{below}")];
            assert_eq!(volume["paths"], serde_json::json!(paths), "{more:?}");
        }
    }
}
