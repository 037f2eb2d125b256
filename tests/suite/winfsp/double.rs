//! The callbacks through our own double, which holds them to the rules of the DLL.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use volfold_fs::links::VolumeNames;
use volfold_fs::{FileSystem, NodeId};
use volfold_projector::folder::names;
use volfold_projector::folder::windows::{Shown as What, VolumeServer};
use volfold_projector::folder::winfsp::abi::{FileSystemPtr, Interface, NtStatus};
use volfold_projector::folder::winfsp::{VolumeContext, callbacks};
use winfsp_double::{Double, OPEN_REPARSE_POINT, Requests, functions, list, walk, wide};

use super::compare::{compare, content};
use super::memory::{Faults, MemoryFs, chance};
use crate::common::fixtures::fixture;
use crate::harness::{apply, test};

const ROOT: NodeId = NodeId(0);
const READ: u32 = 1;
const BUFFER_OVERFLOW: NtStatus = 0x8000_0005_u32.cast_signed();
const INVALID_PARAMETER: NtStatus = 0xC000_000D_u32.cast_signed();
const END_OF_FILE: NtStatus = 0xC000_0011_u32.cast_signed();
const NAME_NOT_FOUND: NtStatus = 0xC000_0034_u32.cast_signed();
const PATH_NOT_FOUND: NtStatus = 0xC000_003A_u32.cast_signed();
const WRITE_PROTECTED: NtStatus = 0xC000_00A2_u32.cast_signed();
const IS_A_DIRECTORY: NtStatus = 0xC000_00BA_u32.cast_signed();
const CORRUPT: NtStatus = 0xC000_0102_u32.cast_signed();
const NOT_A_DIRECTORY: NtStatus = 0xC000_0103_u32.cast_signed();
const CANCELLED: NtStatus = 0xC000_0120_u32.cast_signed();

/// A volume of the double that shows `fs`.
pub(crate) struct Shown {
    fs: FileSystemPtr,
    double: Double,
    context: *mut VolumeContext,
    stopped: bool,
}

// SAFETY: the double may be used on any thread.
unsafe impl Sync for Shown {}

impl Shown {
    pub(crate) fn new(fs: Arc<dyn FileSystem>) -> Self {
        // Longer than the 1024 bytes that the DLL has at first; only its head is looked at.
        let security = [&[1, 0, 4, 0x80][..], &[0; 1500]].concat();
        let log = Arc::new(|_: &str| {});
        let what = What::Volume { fs, name: Vec::new() };
        let server = VolumeServer::new(what, &VolumeNames::default(), security, log);
        let server = server.expect("a root directory");
        let context = Box::new(VolumeContext::new(server, functions(), Box::new(|| {})));
        let params = context.params();
        let device: Vec<u16> = wide("WinFsp.Disk\0");
        let mut fs: FileSystemPtr = ptr::null_mut();
        let functions = functions();
        // SAFETY: as the projector does it.
        unsafe {
            let table: *const Interface = &raw const callbacks::INTERFACE;
            let status = (functions.create)(device.as_ptr(), &raw const params, table, &raw mut fs);
            assert_eq!(status, 0, "FspFileSystemCreate");
            let context = Box::into_raw(context);
            (*fs).user_context = context.cast::<c_void>();
            assert_eq!((functions.start_dispatcher)(fs, 0), 0, "FspFileSystemStartDispatcher");
            Self { fs, double: Double::new(fs), context, stopped: false }
        }
    }

    /// What requests are put to.
    pub(crate) fn requests(&self) -> &Double {
        &self.double
    }

    fn stop(&mut self) {
        // SAFETY: the volume is there.
        unsafe { (functions().stop_dispatcher)(self.fs) };
        self.stopped = true;
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if !thread::panicking() && !self.stopped {
            assert_eq!(self.double.open_handles(), 0, "every open has its close");
        }
        // SAFETY: the server is freed after the last callback.
        unsafe {
            (functions().stop_dispatcher)(self.fs);
            (functions().delete)(self.fs);
            drop(Box::from_raw(self.context));
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn status_of(shown: &Shown, path: &str) -> Result<(), NtStatus> {
    let opened = shown.double.open(&wide(path), READ, 0)?;
    shown.double.close(opened.handle);
    Ok(())
}

#[apply(test)]
fn volumes_conform_through_the_double() {
    for (name, sizes) in
        [("ntfs-ads", (65536, 65536)), ("fat32", (720, 4096)), ("ext4", (1 << 20, 1000))]
    {
        let fixture = fixture(name);
        let set = volfold::DiskSet::open(fixture.paths(), &volfold::OpenOptions::default())
            .unwrap_or_else(volfold::Incomplete::into_set);
        let shown = Shown::new(set.volumes()[0].file_system().expect("a file system"));
        let facts = &fixture.volumes[0];
        let report = compare(&shown.double, &facts.rows(), &facts.errors, sizes);
        assert!(report.problems.is_empty(), "{name}: {:#?}", report.problems);
        assert!(report.files > 5, "{name}");
    }
}

#[apply(test)]
fn reads_at_every_alignment_give_the_bytes_and_the_end() {
    let mut fs = MemoryFs::new();
    let bytes = pattern(5000);
    fs.file(ROOT, b"file", &bytes);
    fs.file(ROOT, b"empty", b"");
    let shown = Shown::new(Arc::new(fs));
    let file = shown.double.open(&wide("\\file"), READ, 0).expect("a file");
    let mut buf = vec![0; 6000];
    for offset in (0..64).chain([511, 512, 4095, 4096, 4999]) {
        for length in [1, 7, 512, 1000, 4096, 6000] {
            let count = shown.double.read(file.handle, offset as u64, &mut buf[..length]);
            let wanted = &bytes[offset..bytes.len().min(offset + length)];
            assert_eq!(count, Ok(wanted.len()), "{offset} {length}");
            assert_eq!(&buf[..wanted.len()], wanted, "{offset} {length}");
        }
    }
    for offset in [5000, 5001, 1 << 40, u64::MAX] {
        assert_eq!(shown.double.read(file.handle, offset, &mut buf), Err(END_OF_FILE));
    }
    let empty = shown.double.open(&wide("\\empty"), READ, 0).expect("a file");
    assert_eq!(shown.double.read(empty.handle, 0, &mut buf), Err(END_OF_FILE));
    let root = shown.double.open(&wide("\\"), READ, 0).expect("the root");
    assert_eq!(shown.double.read(root.handle, 0, &mut buf), Err(IS_A_DIRECTORY));
    assert_eq!(shown.double.list_page(file.handle, None, &mut [0; 64]), Err(NOT_A_DIRECTORY));
    for handle in [file, empty, root] {
        shown.double.close(handle.handle);
    }
}

#[apply(test)]
fn pages_of_any_size_give_one_listing() {
    let mut fs = MemoryFs::new();
    let many = fs.directory(ROOT, b"many");
    for number in 0..300 {
        fs.file(many, "x".repeat(1 + number % 200).as_bytes(), b"");
        fs.file(many, format!("n{number}").as_bytes(), b"");
    }
    fs.file(many, &[b'y'; 255], b"");
    let shown = Shown::new(Arc::new(fs));
    let many = shown.double.open(&wide("\\many"), READ, 0).expect("a directory");
    let (all, _) = list(&shown.double, many.handle, 1 << 20).expect("a listing");
    assert_eq!(all.len(), 603);
    for page in [624, 632, 1000, 4096, 65536] {
        let (paged, _) = list(&shown.double, many.handle, page).expect("a listing");
        assert_eq!(paged, all, "pages of {page} bytes");
    }
    assert_eq!(list(&shown.double, many.handle, 96), Err(BUFFER_OVERFLOW), "no record fits");
    // Behind every record in turn, and behind the end.
    for pair in all.windows(2) {
        let mut buf = [0; 128];
        let used = shown.double.list_page(many.handle, Some(pair[0].next), &mut buf);
        let (records, _) = winfsp_double::parse_page(&buf, used.expect("a page"));
        assert_eq!(records[0], pair[1]);
    }
    for marker in [all[602].next, all[602].next + 1, u64::MAX / 2] {
        let mut buf = [0; 128];
        let used = shown.double.list_page(many.handle, Some(marker), &mut buf).expect("a page");
        let (records, end) = winfsp_double::parse_page(&buf, used);
        assert!(records.is_empty() && end);
    }
    for name in ["N17", "n17", &"X".repeat(200), &"Y".repeat(255)] {
        let found = shown.double.by_name(many.handle, &wide(name)).expect("one name");
        let listed = all.iter().find(|listed| listed.name == found.name).expect("it is listed");
        assert_eq!((found.info, found.next), (listed.info, 0), "{name}");
    }
    assert_eq!(shown.double.by_name(many.handle, &wide("n999")), Err(NAME_NOT_FOUND));
    shown.double.close(many.handle);
}

#[apply(test)]
fn names_that_windows_does_not_bear_are_shown_and_found() {
    let guest: Vec<&[u8]> = vec![
        b"a:b",
        b"a\\b",
        b"CON",
        b"nul.txt",
        b"dots..",
        b"space ",
        b"Twin",
        b"twin",
        b"TWIN",
        b"\xFF\xFEbad",
        b"\xED\xA0\x80",
        b"q?*",
        "\u{E4}\u{1F600}".as_bytes(),
        &[b'z'; 255],
    ];
    let mut fs = MemoryFs::new();
    for name in &guest {
        fs.file(ROOT, name, name);
    }
    let shown = Shown::new(Arc::new(fs));
    let root = shown.double.open(&wide("\\"), READ, 0).expect("the root");
    let (all, _) = list(&shown.double, root.handle, 4096).expect("a listing");
    shown.double.close(root.handle);
    assert_eq!(all.len(), guest.len());
    let mut folded = BTreeSet::new();
    let mut buf = [0; 512];
    for listed in &all {
        let shown_name = String::from_utf16_lossy(&listed.name);
        assert!(folded.insert(shown_name.to_uppercase()), "{shown_name} is another's too");
        let bad =
            |unit: &u16| *unit < 0x20 || br#""*/:<>?\|"#.iter().any(|b| u16::from(*b) == *unit);
        assert!(!listed.name.iter().any(bad), "{shown_name}");
        let path: Vec<u16> = wide("\\").into_iter().chain(listed.name.iter().copied()).collect();
        let file = shown.double.open(&path, READ, 0).expect("a name that was listed");
        assert_eq!((file.info, file.name), (listed.info, path), "{shown_name}");
        let count = shown.double.read(file.handle, 0, &mut buf).expect("bytes");
        shown.double.close(file.handle);
        // The content is the guest's name.
        let mut units = Vec::new();
        names::to_windows(&buf[..count], &mut units);
        assert!(listed.name.starts_with(&units), "{shown_name}");
    }
}

#[apply(test)]
fn streams_are_listed_and_read() {
    let mut fs = MemoryFs::new();
    let file = fs.file(ROOT, b"file", b"main");
    fs.stream(file, b"one", b"first");
    fs.stream(file, b"Zone.Identifier", b"zone");
    let shown = Shown::new(Arc::new(fs));
    let path = wide("\\FILE:zone.identifier");
    assert_eq!(content(&shown.double, &path, 2).map(|(size, _)| size), Ok(4));
    let stream = shown.double.open(&path, READ, 0).expect("a stream");
    assert_eq!(stream.info.file_size, 4);
    let main = shown.double.open(&wide("\\file::$DATA"), READ, 0).expect("the main stream");
    assert_eq!(main.info.file_size, 4);
    for handle in [&stream, &main] {
        let found = shown.double.streams(handle.handle, 4096).expect("streams");
        let names: Vec<_> = found.iter().map(|(name, size)| (name.clone(), *size)).collect();
        let wanted = [("", 4), ("Zone.Identifier", 4), ("one", 5)];
        assert_eq!(names, wanted.map(|(name, size)| (wide(name), size)));
    }
    // A page that holds some is refused, not cut short in silence.
    assert_eq!(shown.double.streams(main.handle, 40), Err(BUFFER_OVERFLOW));
    assert_eq!(status_of(&shown, "\\file:none"), Err(NAME_NOT_FOUND));
    assert_eq!(status_of(&shown, "\\file:one\\x"), Err(PATH_NOT_FOUND));
    shown.double.close(stream.handle);
    shown.double.close(main.handle);
}

#[apply(test)]
fn links_are_resolved_inside_the_volume() {
    let mut fs = MemoryFs::new();
    let docs = fs.directory(ROOT, b"docs");
    fs.file(docs, b"letter", b"letter");
    fs.link(ROOT, b"file", b"docs/letter");
    fs.link(docs, b"absolute", b"/docs/letter");
    fs.link(docs, b"above", b"../../../docs/letter");
    fs.link(ROOT, b"folder", b"./docs/.");
    fs.link(ROOT, b"loop", b"loop");
    fs.link(ROOT, b"host", b"//host/share");
    fs.link(docs, b"passwd", b"../../../etc/passwd");
    for number in 0..40 {
        let target = if number == 39 { "docs".to_owned() } else { format!("chain{}", number + 1) };
        fs.link(ROOT, format!("chain{number}").as_bytes(), target.as_bytes());
    }
    let shown = Shown::new(Arc::new(fs));
    for path in
        ["\\file", "\\docs\\absolute", "\\docs\\above", "\\folder\\letter", "\\chain20\\letter"]
    {
        assert_eq!(content(&shown.double, &wide(path), 64).map(|found| found.0), Ok(6), "{path}");
    }
    for path in ["\\loop", "\\loop\\x", "\\host", "\\docs\\passwd", "\\chain0", "\\file\\x"] {
        assert!(status_of(&shown, path).is_err(), "{path}");
    }
    let folder = shown.double.open(&wide("\\folder"), READ, OPEN_REPARSE_POINT).expect("a link");
    assert_eq!(folder.info.file_attributes & 0x410, 0x410, "a link to a directory is one");
    let data = shown.double.reparse_point(folder.handle, &wide("\\folder")).expect("data");
    assert_eq!(data[..4], 0xA000_000C_u32.to_le_bytes());
    shown.double.close(folder.handle);
}

#[apply(test)]
fn every_call_that_would_write_is_refused() {
    let table = &callbacks::INTERFACE;
    let calls = [
        table.set_volume_label,
        table.create,
        table.overwrite,
        table.write,
        table.set_basic_info,
        table.set_file_size,
        table.can_delete,
        table.rename,
        table.set_security,
        table.set_reparse_point,
        table.delete_reparse_point,
        table.set_delete,
        table.set_ea,
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let call = call.unwrap_or_else(|| panic!("call {number} is not set"));
        // SAFETY: these callbacks look at no argument.
        assert_eq!(unsafe { call() }, WRITE_PROTECTED, "call {number}");
    }
    let mut fs = MemoryFs::new();
    fs.file(ROOT, b"file", b"x");
    let shown = Shown::new(Arc::new(fs));
    for access in [2, 4, 6] {
        let opened = shown.double.open(&wide("\\file"), access, 0);
        assert_eq!(opened.map(|opened| opened.handle), Err(WRITE_PROTECTED));
    }
}

#[apply(test)]
fn descriptor_and_figures_are_those_of_the_volume() {
    let shown = Shown::new(Arc::new(MemoryFs::new()));
    let root = shown.double.open(&wide("\\"), READ, 0).expect("the root");
    assert_eq!(shown.double.security(root.handle).expect("a descriptor").len(), 1504);
    assert_eq!(shown.double.info(root.handle), Ok(root.info));
    shown.double.close(root.handle);
    let info = shown.double.volume_info().expect("figures");
    assert_eq!((info.total_size, info.volume_label_length), (1 << 30, 12));
    // A second mount point is refused.
    let place = std::env::temp_dir().join(format!("volfold-double-{}", std::process::id()));
    let place = wide(&format!("{}\0", place.display()));
    // SAFETY: the volume is there, the names end with 0.
    let set =
        || unsafe { (functions().set_mount_point_ex)(shown.fs, place.as_ptr(), ptr::null_mut()) };
    assert_eq!([set(), set()], [0, INVALID_PARAMETER]);
}

/// A volume of some files in some directories.
fn populated() -> MemoryFs {
    let mut fs = MemoryFs::new();
    for outer in 0..8 {
        let dir = fs.directory(ROOT, format!("dir {outer}").as_bytes());
        fs.link(dir, b"link", b"../dir 0/file 0");
        for inner in 0..40 {
            fs.file(dir, format!("file {inner}").as_bytes(), &pattern(inner * 700));
        }
    }
    fs
}

#[apply(test)]
fn failing_requests_fail_alone() {
    let sound = Shown::new(Arc::new(populated()));
    let lines = walk(&sound.double, 4096, 1000).expect("a sound volume");
    for seed in 0..12 {
        let faults = Faults { seed, every: 3 + seed % 9 * 5 };
        let fs: Arc<dyn FileSystem> = Arc::new(populated().with_faults(faults));
        let shown = Shown::new(fs.clone());
        thread::scope(|scope| {
            for client in 0..3 {
                let (shown, lines) = (&shown, &lines);
                scope.spawn(move || seeded_requests(shown, lines, seed << 8 | client));
            }
        });
        drop(shown);
        assert_eq!(Arc::strong_count(&fs), 1, "nothing holds the volume any more");
    }
}

/// Requests by chance: each gives what a sound volume gives, or a status.
fn seeded_requests(shown: &Shown, sound: &std::collections::BTreeMap<String, String>, seed: u64) {
    let paths: Vec<(&String, &String)> = sound.iter().collect();
    let mut state = seed;
    let mut counts = [0_u64; 2];
    for _ in 0..400 {
        state = chance(state);
        let (path, line) = paths[state as usize % paths.len()];
        let path = wide(path);
        let result = match shown.double.open(&path, READ, OPEN_REPARSE_POINT) {
            Err(status) => Err(status),
            Ok(opened) => {
                let told: Vec<&str> = line.split(' ').collect();
                let size: u64 = told[1].parse().expect("a size");
                // Without its metadata an entry tells only what it is.
                assert!([0, size].contains(&opened.info.file_size), "{line}");
                let mut buf = [0xEE; 900];
                let offset = (state >> 20) % (size + 1);
                let result = if opened.info.file_attributes & 0x10 != 0 {
                    list(&shown.double, opened.handle, 2048).map(|(all, _)| assert!(all.len() > 2))
                } else {
                    shown.double.read(opened.handle, offset, &mut buf).map(|count| {
                        let right = (offset..).take(count).map(|at| (at % 251) as u8);
                        assert!(right.eq(buf[..count].iter().copied()), "a wrong byte");
                    })
                };
                shown.double.close(opened.handle);
                result
            }
        };
        counts[usize::from(result.is_ok())] += 1;
        if let Err(status) = result {
            let not_a_link = 0xC000_0275_u32.cast_signed();
            // What a panic gives: a fault of ours, not damage.
            let internal = 0xC000_00E5_u32.cast_signed();
            let good = [CORRUPT, END_OF_FILE, NAME_NOT_FOUND, not_a_link, IS_A_DIRECTORY, internal];
            assert!(good.contains(&status), "{status:#x}");
        }
    }
    assert!(counts[1] > 0, "some requests succeed: {counts:?}");
}

#[apply(test)]
fn a_stop_under_load_waits_for_requests_and_lets_none_in_later() {
    for _ in 0..5 {
        let mut shown = Shown::new(Arc::new(populated()));
        let walks = AtomicU64::new(0);
        let fs = shown.fs as usize;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // SAFETY: the volume is deleted after these threads.
                    let double = unsafe { Double::new(fs as FileSystemPtr) };
                    let status = loop {
                        match walk(&double, 4096, 1000) {
                            Ok(_) => walks.fetch_add(1, Ordering::SeqCst),
                            Err(status) => break status,
                        };
                    };
                    assert_eq!(status, CANCELLED);
                });
            }
            while walks.load(Ordering::SeqCst) < 4 {
                thread::yield_now();
            }
            shown.stop();
        });
        let refused = shown.double.open(&wide("\\"), READ, 0).map(|opened| opened.handle);
        assert_eq!(refused, Err(CANCELLED));
    }
}
