//! The genuine DLL's layer of requests over our file systems.

use std::path::PathBuf;
use std::sync::Arc;

use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_fs::links::VolumeNames;
use volfold_projector::folder::winfsp::abi::NtStatus;
use winfsp_double::{OPEN_REPARSE_POINT, Requests, list, wide};

use super::compare::{Comparison, compare};
use super::descriptor::{READ_ONLY, descriptor};
use super::genuine_host::{Genuine, dll};
use super::memory::MemoryFs;
use crate::common::fixtures::{ExpectedError, fixture, index};
use crate::harness::needs;
use crate::harness::{apply, note, test};

const READ: u32 = 1;
const ACCESS_DENIED: NtStatus = 0xC000_0022_u32.cast_signed();
const WRITE_PROTECTED: NtStatus = 0xC000_00A2_u32.cast_signed();
const NAME_NOT_FOUND: NtStatus = 0xC000_0034_u32.cast_signed();
const PATH_NOT_FOUND: NtStatus = 0xC000_003A_u32.cast_signed();

/// The DLL; without it the test is ignored.
pub(crate) fn needed() -> PathBuf {
    let dll = dll();
    needs("WinFsp's DLL", dll.is_some());
    dll.unwrap_or_default()
}

/// A volume with files, links in it and out of it.
fn linked() -> MemoryFs {
    let mut fs = MemoryFs::new().with_drives();
    let root = volfold_fs::NodeId(0);
    let docs = fs.directory(root, b"docs");
    let deep = fs.directory(docs, b"Deep");
    fs.file(docs, b"Letter.txt", b"letter");
    fs.file(deep, b"x", b"xx");
    fs.link(root, b"to-file", b"docs/Letter.txt");
    fs.link(deep, b"up", b"../Letter.txt");
    fs.link(root, b"to-folder", b"docs");
    fs.link(deep, b"absolute", b"/docs/Letter.txt");
    fs.link(deep, b"drive", b"C:/docs/Letter.txt");
    fs.link(deep, b"above", b"../../../../docs/Letter.txt");
    fs.link(deep, b"outside", b"../../../../etc/passwd");
    fs.link(root, b"share", b"//host/share");
    fs.link(root, b"loop-a", b"loop-b");
    fs.link(root, b"loop-b", b"loop-a");
    fs.link(root, b"chain", b"to-folder/Deep/up");
    fs
}

#[apply(test)]
fn every_fixture_is_shown_as_independent_tools_list_it() {
    let dll = needed();
    let mut all = Comparison::default();
    let mut volumes = 0;
    for fixture in index().fixtures.values() {
        for facts in fixture.volumes.iter().filter(|facts| facts.listing.is_some()) {
            let set = DiskSet::open(fixture.paths(), &OpenOptions::default())
                .unwrap_or_else(Incomplete::into_set);
            let volume = set
                .volumes()
                .iter()
                .find(|volume| volume.volume.extents[0].offset == facts.offset)
                .unwrap_or_else(|| panic!("{}: no volume at {}", fixture.name, facts.offset));
            let genuine = Genuine::new(&dll, volume.file_system().expect("a file system"));
            let sizes = [(65536, 65536), (4096, 1 << 20), (1024, 4096)][volumes % 3];
            let mut report = compare(&genuine, &facts.rows(), &facts.errors, sizes);
            for problem in &mut report.problems {
                *problem = format!("{} at {}: {problem}", fixture.name, facts.offset);
            }
            all.add(report);
            volumes += 1;
        }
    }
    note!(
        "{volumes} volumes, {} files, {} directories, {} links, {} streams, {} refused",
        all.files,
        all.directories,
        all.links,
        all.streams,
        all.refused
    );
    let shown: Vec<_> = all.problems.iter().take(40).collect();
    assert!(all.problems.is_empty(), "{} problems: {shown:#?}", all.problems.len());
    assert!(all.files > 6000 && all.links > 40 && all.streams > 3 && all.refused > 0);
}

#[apply(test)]
fn a_set_is_one_volume_whose_directories_are_as_independent_tools_list_them() {
    let dll = needed();
    let sample = fixture("sample");
    let set =
        DiskSet::open(sample.paths(), &OpenOptions::default()).unwrap_or_else(Incomplete::into_set);
    let (mut rows, mut errors, mut sizes) = (Vec::new(), Vec::new(), (0, 0));
    for facts in sample.volumes.iter().filter(|facts| facts.listing.is_some()) {
        let is_it =
            |volume: &&Arc<volfold::SetVolume>| volume.volume.extents[0].offset == facts.offset;
        let volume = set.volumes().iter().find(is_it).expect("the volume");
        let usage = volume.file_system().and_then(|fs| fs.usage()).expect("figures");
        sizes = (sizes.0 + usage.size, sizes.1 + usage.size - usage.used);
        let name = volume.name.as_bytes();
        let mut own = facts.rows();
        for row in &mut own {
            // A link to the volume's root is one to a directory above its own.
            if let (b'/', "l") = (row.extra.first().copied().unwrap_or(0), row.kind.as_str()) {
                let depth = row.path.iter().filter(|byte| **byte == b'/').count();
                row.extra = [b"../".repeat(depth), row.extra[1..].to_vec()].concat();
            }
            row.path = [name, b"/", &row.path].concat();
        }
        let mut root = own[0].clone();
        root.path = name.to_vec();
        (root.kind, root.extra) = ("d".to_owned(), Vec::new());
        (root.size, root.sha256, root.mtime) = (None, None, None);
        rows.push(root);
        rows.extend(own);
        errors.extend(facts.errors.iter().map(|error| ExpectedError {
            path: format!("{}/{}", volume.name, error.path),
            ..error.clone()
        }));
    }
    let genuine = Genuine::set(&dll, set.tree(|_| true), &VolumeNames::default());
    let report = compare(&genuine, &rows, &errors, (65536, 65536));
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.files > 20 && report.directories > 6 && report.links > 0);
    let info = genuine.volume_info().expect("figures");
    assert_eq!((info.total_size, info.free_size), sizes);
    let label = &info.volume_label[..usize::from(info.volume_label_length) / 2];
    assert_eq!(String::from_utf16_lossy(label), "set");
    // The guest hides the root of NTFS; nothing hides the volume here.
    let root = genuine.open(&wide("\\windows"), READ, 0).expect("a volume");
    assert_eq!(root.info.file_attributes, 0x10);
    genuine.close(root.handle);
}

#[apply(test)]
fn nobody_gets_the_right_to_write() {
    let dll = needed();
    let genuine = Genuine::new(&dll, Arc::new(linked()));
    let path = wide("\\docs\\letter.TXT");
    // Data, append, extended attributes, attributes.
    for access in [0x2, 0x4, 0x10, 0x100] {
        let refused = genuine.open(&path, access, 0).map(|opened| genuine.close(opened.handle));
        assert_eq!(refused, Err(ACCESS_DENIED), "{access:#x}");
    }
    let opened = genuine.open(&path, 0x0200_0000, 0).expect("MAXIMUM_ALLOWED");
    assert_eq!(opened.granted & (0x2 | 0x4 | 0x10 | 0x100), 0, "{:#x}", opened.granted);
    assert_eq!(opened.granted & 0x1, 1, "may read");
    assert_eq!(String::from_utf16_lossy(&opened.name), "\\docs\\Letter.txt");
    genuine.close(opened.handle);
}

/// Owners and privileged users get more than a descriptor says: deleting, other owners.
#[apply(test)]
fn what_is_granted_beyond_reading_changes_nothing() {
    let dll = needed();
    let genuine = Genuine::with_security(&dll, Arc::new(linked()), "O:BAG:BAD:P(A;;FA;;;WD)");
    let path = wide("\\docs\\Letter.txt");
    let write = genuine.open(&path, 0x2, 0);
    assert_eq!(write.map(|opened| opened.handle), Err(WRITE_PROTECTED), "to write");
    // FILE_CREATE, FILE_OPEN_IF, FILE_OVERWRITE_IF.
    for disposition in [2, 3, 5_u32] {
        let made = genuine.open(&wide("\\docs\\new.txt"), READ, disposition << 24);
        assert_eq!(made.map(|opened| opened.handle), Err(WRITE_PROTECTED), "{disposition}");
    }
    let opened = genuine.open(&path, 0x1_0180, 0).expect("DELETE and WRITE_ATTRIBUTES");
    let before = genuine.info(opened.handle);
    for (what, status) in genuine.changes(opened.handle, &path) {
        assert_eq!(status, WRITE_PROTECTED, "{what}: {status:#x}");
    }
    assert_eq!(genuine.info(opened.handle), before);
    // A failed overwrite closes the handle.
    assert_eq!(genuine.overwrite(opened.handle, &path), WRITE_PROTECTED);
}

#[apply(test)]
fn readers_without_the_right_are_refused() {
    let dll = needed();
    // Only Guests may.
    let genuine = Genuine::with_security(&dll, Arc::new(linked()), "O:SYG:SYD:P(A;;FR;;;BG)");
    let refused = genuine.open(&wide("\\docs\\Letter.txt"), READ, 0);
    assert_eq!(refused.map(|opened| opened.handle), Err(ACCESS_DENIED));
}

#[apply(test)]
fn the_guests_own_descriptors_decide_where_they_can() {
    let dll = needed();
    // Only Guests may; only Guests may, cut short; none at all.
    let own = descriptor("O:SYG:SYD:P(A;;FR;;;BG)");
    let mut fs = MemoryFs::new();
    let root = volfold_fs::NodeId(0);
    let closed = fs.file(root, b"closed", b"x");
    fs.descriptor(closed, &own);
    let bent = fs.file(root, b"bent", b"x");
    fs.descriptor(bent, &own[..own.len() - 4]);
    fs.file(root, b"open", b"x");
    let genuine = Genuine::with_guest_security(&dll, Arc::new(fs));
    let refused = genuine.open(&wide("\\closed"), READ, 0);
    assert_eq!(refused.map(|opened| opened.handle), Err(ACCESS_DENIED));
    for path in ["\\bent", "\\open"] {
        let file = genuine.open(&wide(path), READ, 0).expect("the volume's descriptor");
        assert_ne!(genuine.security(file.handle).expect("a descriptor"), own, "{path}");
        genuine.close(file.handle);
    }
}

#[apply(test)]
fn links_lead_to_files_inside_the_volume() {
    let dll = needed();
    let genuine = Genuine::new(&dll, Arc::new(linked()));
    for (path, target) in [
        ("\\to-file", "\\docs\\Letter.txt"),
        ("\\docs\\deep\\UP", "\\docs\\Letter.txt"),
        ("\\to-folder\\letter.txt", "\\docs\\letter.txt"),
        ("\\TO-FOLDER\\deep\\up", "\\docs\\Letter.txt"),
        ("\\docs\\Deep\\absolute", "\\docs\\Letter.txt"),
        ("\\docs\\Deep\\drive", "\\docs\\Letter.txt"),
        ("\\docs\\Deep\\above", "\\docs\\Letter.txt"),
        ("\\chain", "\\docs\\Letter.txt"),
    ] {
        let opened = genuine.open(&wide(path), READ, 0);
        let opened = opened.unwrap_or_else(|status| panic!("{path}: {status:#x}"));
        assert_eq!(String::from_utf16_lossy(&opened.path), target, "{path}");
        let mut buf = [0; 16];
        let count = genuine.read(opened.handle, 0, &mut buf).expect("bytes");
        assert_eq!(&buf[..count], b"letter", "{path}");
        genuine.close(opened.handle);
    }
    for path in ["\\docs\\Deep\\outside", "\\share", "\\share\\x", "\\loop-a", "\\loop-b\\x"] {
        let status = genuine.open(&wide(path), READ, 0).map(|opened| opened.path);
        let status = status.expect_err(path);
        let good = [NAME_NOT_FOUND, PATH_NOT_FOUND, 0xC000_0280_u32.cast_signed()];
        assert!(good.contains(&status), "{path}: {status:#x}");
        let own = genuine.open(&wide(path), READ, OPEN_REPARSE_POINT);
        assert_eq!(own.is_ok(), !path.ends_with('x'), "{path}: the link itself");
        if let Ok(own) = own {
            genuine.close(own.handle);
        }
    }
}

#[apply(test)]
fn a_directory_is_paged_and_goes_on_behind_any_marker() {
    let dll = needed();
    let mut fs = MemoryFs::new();
    let many = fs.directory(volfold_fs::NodeId(0), b"many");
    for number in 0..1000 {
        fs.file(many, format!("file {number:04}").as_bytes(), b"");
    }
    let genuine = Genuine::new(&dll, Arc::new(fs));
    let directory = genuine.open(&wide("\\MANY"), READ, 0).expect("the directory");
    let (all, one) = list(&genuine, directory.handle, 1 << 20).expect("a listing");
    assert_eq!((all.len(), one), (1002, 1));
    for page in [720, 4096, 65536] {
        let (paged, pages) = list(&genuine, directory.handle, page).expect("a listing");
        assert!(pages > 1 && paged == all, "pages of {page} bytes");
    }
    let mut buf = [0; 128];
    for at in [0, 1, 2, 500, 1000] {
        let used =
            genuine.list_page(directory.handle, Some(all[at].next), &mut buf).expect("a page");
        let (records, _) = winfsp_double::parse_page(&buf, used);
        assert_eq!(records[0], all[at + 1], "behind {at}");
    }
    let named = genuine.by_name(directory.handle, &wide("FILE 0042")).expect("one name");
    assert_eq!(String::from_utf16_lossy(&named.name), "file 0042");
    assert_eq!(
        genuine.by_name(directory.handle, &wide("nothing")),
        Err(0xC000_000F_u32.cast_signed())
    );
    genuine.close(directory.handle);
}

#[apply(test)]
fn the_volume_and_its_descriptor_are_told() {
    let dll = needed();
    let genuine = Genuine::new(&dll, Arc::new(linked()));
    let info = genuine.volume_info().expect("figures");
    let label = &info.volume_label[..usize::from(info.volume_label_length) / 2];
    assert_eq!(String::from_utf16_lossy(label), "memory");
    assert_eq!((info.total_size, info.free_size), (1 << 30, (1 << 30) - (1 << 20)));
    let file = genuine.open(&wide("\\docs\\Letter.txt"), 0x2_0080, 0).expect("READ_CONTROL");
    let found = genuine.security(file.handle).expect("a descriptor");
    assert_eq!(found, descriptor(READ_ONLY));
    assert_eq!(genuine.streams(file.handle, 0).expect("streams"), [(Vec::new(), 6)]);
    genuine.close(file.handle);
}
