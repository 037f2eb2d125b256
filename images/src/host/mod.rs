//! Files of the host, opened read-only and shared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
use crate::host::unix as os;
#[cfg(windows)]
use crate::host::windows as os;
use crate::locator::Located;
use volfold_block::{BlockError, BlockResult};

mod drive;
mod file;
mod handle;
mod identity;
mod names;
mod policy;
#[cfg(unix)]
mod unix;
mod watch;
#[cfg(windows)]
mod windows;

pub use crate::host::file::HostFile;
pub use crate::host::policy::HostLocator;
use crate::host::policy::{Nowhere, parent_folder};

/// Opens the image at `path`, which the user named, with the default policy for what it names.
///
/// # Errors
/// As [`HostFile::open`] and [`HostLocator::new`].
pub fn open_image_file(path: &Path, allowed: &[PathBuf]) -> BlockResult<Located> {
    let device = Arc::new(HostFile::open(path)?);
    if os::is_drive(path) {
        let files = Arc::new(Nowhere);
        return Ok(Located { device, name: path.display().to_string(), files });
    }
    // A link to an image stands for the image: its parts lie beside the real file.
    let real = os::real_path(path).unwrap_or_else(|_| path.to_path_buf());
    let files = Arc::new(HostLocator::new(&real, allowed)?);
    Ok(Located { device, name: path.display().to_string(), files })
}

/// `path` with all links resolved, so that two names of one file are the same; `path` itself where
/// there is no such file.
pub fn real_path(path: &Path) -> PathBuf {
    os::real_path(path).unwrap_or_else(|_| path.to_path_buf())
}

/// What [`Located::name`] is of the file at `path` when an image names it.
pub fn located_name(path: &Path) -> String {
    os::shown(&real_path(path)).into_owned()
}

/// LIMIT: files of a folder that are looked at.
const MAX_FILES: usize = 4096;

/// The files in the folder `path`, sorted by name, without those below its own folders; `None` if
/// it is no folder.
///
/// # Errors
/// `Io` if the folder cannot be read, `Unsupported` if it has too many files.
pub fn files_of_folder(path: &Path) -> BlockResult<Option<Vec<PathBuf>>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        // A link to nothing may stand for a disk that is missing.
        let is_file_or_gone = match std::fs::metadata(&file) {
            Ok(metadata) => metadata.is_file(),
            Err(_) => std::fs::symlink_metadata(&file).is_ok(),
        };
        if is_file_or_gone {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(BlockError::unsupported(format!(
                "folder has more than {MAX_FILES} files; give the images themselves"
            )));
        }
    }
    files.sort();
    Ok(Some(files))
}

/// Whether `path` is there and no regular file: a block device, a drive.
pub fn is_device(path: &Path) -> bool {
    os::is_drive(path) || std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Whether `path` is a file without a byte.
pub fn is_empty_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// Where VirtualBox keeps what is newer than an image, beside it.
const SNAPSHOTS: &str = "Snapshots";

/// The files in the folder of the file at `path`, and in a folder `Snapshots` beside it, whose names
/// end in `extension`, sorted in each; none if `path` is no file.
///
/// # Errors
/// As [`files_of_folder`].
pub fn files_beside(path: &Path, extension: &str) -> BlockResult<Vec<PathBuf>> {
    let path = real_path(path);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let folder = parent_folder(&path);
    let mut files = files_of_folder(folder)?.unwrap_or_default();
    files.extend(files_of_folder(&folder.join(SNAPSHOTS))?.unwrap_or_default());
    files.retain(|file| file.extension().is_some_and(|it| it.eq_ignore_ascii_case(extension)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use volfold_block::{BlockDevice, BlockErrorKind, ExtentKind, keep};

    /// A folder with an image in its sub-folder `in`, removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("volfold-host-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("in")).unwrap();
            fs::create_dir_all(path.join("out")).unwrap();
            let folder = Self(fs::canonicalize(path).unwrap());
            folder.write("in/image", b"image");
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).unwrap();
        }

        fn resolve(&self, reference: &str, allowed: &[&str]) -> BlockResult<Located> {
            let allowed: Vec<_> = allowed.iter().map(|name| self.path(name)).collect();
            let image = open_image_file(&self.path("in/image"), &allowed).unwrap();
            image.files.open(Path::new(reference))
        }

        #[track_caller]
        fn refuses(&self, reference: &str, kind: BlockErrorKind) -> String {
            let error = self.resolve(reference, &[]).err().expect("an error");
            assert_eq!(error.kind(), kind, "{error}");
            error.message().to_owned()
        }

        #[track_caller]
        fn gives(&self, reference: &str, allowed: &[&str], wanted: &[u8]) {
            let located = self.resolve(reference, allowed).unwrap();
            assert_eq!(contents(&*located.device), wanted);
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn contents(device: &dyn BlockDevice) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(device.size()).unwrap()];
        device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn one_run_of_a_file_is_read_into_several_places() {
        let folder = Folder::new();
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        folder.write("in/run", &bytes);
        let file = HostFile::open(&folder.path("in/run")).unwrap();
        // More places than a host may take at once, and empty ones.
        let mut places: Vec<Vec<u8>> = (0..40).map(|number| vec![0; number % 7 * 300]).collect();
        let mut bufs: Vec<&mut [u8]> = places.iter_mut().map(Vec::as_mut_slice).collect();
        file.read_vectored_at(5000, &mut bufs).unwrap();
        let read = places.concat();
        assert_eq!(read[..], bytes[5000..5000 + read.len()]);
        let (mut one, mut other) = ([0; 10], [0; 10]);
        let error = file.read_vectored_at(99_990, &mut [&mut one, &mut other]).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
        file.read_vectored_at(99_980, &mut [&mut one, &mut other]).unwrap();
    }

    #[test]
    fn a_file_beside_the_image_is_found() {
        let folder = Folder::new();
        folder.write("in/part", b"part");
        folder.gives("part", &[], b"part");
        folder.gives("./part", &[], b"part");
        folder.gives(".\\part", &[], b"part");
        let absolute = folder.path("in/part");
        folder.gives(absolute.to_str().unwrap(), &[], b"part");
    }

    #[test]
    fn a_path_of_another_machine_means_the_file_beside_the_image() {
        let folder = Folder::new();
        folder.write("in/part", b"part");
        folder.gives("/no/such/folder/part", &[], b"part");
        folder.gives("C:\\Virtual Machines\\a\\part", &[], b"part");
        folder.gives("..\\a\\part", &[], b"part");
        folder.gives("in/image/part", &[], b"part");
    }

    #[test]
    fn a_missing_file_is_named_as_the_image_names_it() {
        let folder = Folder::new();
        let no_text = if cfg!(unix) { "a\0b" } else { "a" };
        for reference in ["part", "/a/part", "sub\\part", no_text] {
            let sentence = folder.refuses(reference, BlockErrorKind::MissingPart);
            let wanted = format!("{reference} is missing; put it beside the image");
            assert_eq!(sentence, wanted);
        }
    }

    #[test]
    fn a_file_outside_is_refused_until_its_folder_is_allowed() {
        let folder = Folder::new();
        folder.write("out/part", b"part");
        let absolute = folder.path("out/part");
        for reference in ["../out/part", "..\\out\\part", absolute.to_str().unwrap()] {
            let sentence = folder.refuses(reference, BlockErrorKind::Refused);
            let option = format!("--allow-path {}", os::shown(&folder.path("out")));
            assert!(sentence.ends_with(&option), "{sentence}");
            folder.gives(reference, &["out"], b"part");
        }
        folder.gives("/another/machine/part", &["out"], b"part");
        // The files that an allowed file names may lie beside it.
        folder.write("out/base", b"base");
        let part = folder.resolve("part", &["out"]).unwrap();
        assert_eq!(contents(&*part.files.open(Path::new("base")).unwrap().device), b"base");
    }

    #[test]
    fn a_reference_to_no_file_is_refused() {
        let folder = Folder::new();
        for reference in ["", ".", "..", "/", "../..", "\\"] {
            folder.refuses(reference, BlockErrorKind::Refused);
        }
    }

    #[test]
    fn a_folder_is_no_image() {
        let folder = Folder::new();
        fs::create_dir(folder.path("in/part")).unwrap();
        let sentence = folder.refuses("part", BlockErrorKind::Unsupported);
        assert_eq!(sentence, "is a folder, not an image");
        assert!(open_image_file(&folder.path("in"), &[]).is_err());
    }

    #[test]
    fn an_allowed_folder_has_to_be_there() {
        let folder = Folder::new();
        let error = open_image_file(&folder.path("in/image"), &[folder.path("none")]).err();
        assert_eq!(error.unwrap().kind(), BlockErrorKind::Io);
        let error = open_image_file(&folder.path("in/none"), &[]).err();
        assert_eq!(error.unwrap().kind(), BlockErrorKind::MissingPart);
    }

    #[test]
    fn a_file_that_shrinks_is_another_file() {
        let folder = Folder::new();
        let path = folder.path("in/image");
        folder.write("in/image", &[7; 4096]);
        let file = HostFile::open(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
        let mut buf = [0; 600];
        for offset in [400, 401] {
            let error = file.read_at(offset, &mut buf).unwrap_err();
            assert_eq!((error.kind(), error.position()), (BlockErrorKind::Io, Some(offset)));
            assert!(error.message().contains("was changed by another program"), "{error}");
        }
        // What is gone is not said to be zeros.
        assert_eq!(file.extent_at(2000).unwrap().kind, ExtentKind::Data);
        let error = file.read_at(3500, &mut buf).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
    }

    /// Waits until a change of a file gets another time than one before.
    fn let_time_pass() {
        std::thread::sleep(std::time::Duration::from_millis(30));
    }

    #[test]
    fn a_file_that_is_written_to_gives_no_more_bytes() {
        use std::io::{Seek, SeekFrom, Write};
        let folder = Folder::new();
        let path = folder.path("in/image");
        folder.write("in/image", &[7; 8192]);
        let_time_pass();
        let file = HostFile::open(&path).unwrap();
        let mut buf = [0; 600];
        for _ in 0..3 {
            file.read_at(400, &mut buf).unwrap();
            let_time_pass();
        }
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.seek(SeekFrom::Start(5000)).unwrap();
        writer.write_all(&[8; 100]).unwrap();
        drop(writer);
        // Where the host answers slowly, it is asked rarely.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while file.read_at(400, &mut buf).is_ok() {
            assert!(std::time::Instant::now() < deadline, "the change was not noticed");
            let_time_pass();
        }
        for _ in 0..3 {
            let error = file.read_at(400, &mut buf).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::Io);
            let error = file.read_vectored_at(400, &mut [&mut buf]).unwrap_err();
            assert!(error.message().contains("was changed"), "{error}");
        }
        // A new handle is of the new file.
        HostFile::open(&path).unwrap().read_at(5000, &mut buf[..100]).unwrap();
        assert_eq!(buf[..100], [8; 100]);
    }

    #[test]
    fn bytes_that_are_kept_are_checked_each_time() {
        let folder = Folder::new();
        let path = folder.path("in/image");
        folder.write("in/image", &[7; 4096]);
        let_time_pass();
        let file = HostFile::open(&path).unwrap();
        // The answer of the host is fresh, and good for some time.
        file.read_at(0, &mut [0; 10]).unwrap();
        fs::write(&path, [8; 4096]).unwrap();
        let error = keep(|| file.read_at(0, &mut [0; 10])).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Io);
        assert!(file.read_at(0, &mut [0; 10]).is_err());
    }

    #[test]
    fn another_file_of_the_name_does_not_matter() {
        let folder = Folder::new();
        folder.write("in/image", &[7; 4096]);
        let file = HostFile::open(&folder.path("in/image")).unwrap();
        folder.write("in/new", &[8; 9000]);
        if fs::rename(folder.path("in/new"), folder.path("in/image")).is_ok() {
            let_time_pass();
            let mut buf = [0; 10];
            keep(|| file.read_at(100, &mut buf)).unwrap();
            assert_eq!(buf, [7; 10]);
        }
    }

    #[test]
    fn a_name_is_found_in_another_form_or_letter_case() {
        let folder = Folder::new();
        folder.write("in/gro\u{308}sse-s001.vmdk", b"decomposed");
        folder.write("in/disk-S001.VMDK", b"case");
        folder.gives("gr\u{F6}sse-s001.vmdk", &[], b"decomposed");
        folder.gives("C:\\vm\\GR\u{D6}SSE-s001.vmdk", &[], b"decomposed");
        folder.gives("Disk-s001.vmdk", &[], b"case");
        folder.write("out/Part.vmdk", b"out");
        folder.gives("part.vmdk", &["out"], b"out");
        folder.refuses("part.vmdk", BlockErrorKind::MissingPart);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_two_files_that_differ_in_letter_case_none_is_guessed() {
        let folder = Folder::new();
        folder.write("in/a.vmdk", b"1");
        folder.write("in/A.VMDK", b"2");
        let sentence = folder.refuses("A.vmdk", BlockErrorKind::MissingPart);
        assert_eq!(sentence, "A.vmdk is missing; 2 files differ from it in letter case only");
        folder.gives("A.VMDK", &[], b"2");
        let image = open_image_file(&folder.path("in/image"), &[]).unwrap();
        assert_eq!(image.files.candidates(Path::new("A.vmdk")).unwrap().len(), 2);
    }

    #[test]
    fn an_image_is_no_part_of_itself() {
        let folder = Folder::new();
        let sentence = folder.refuses("image", BlockErrorKind::Refused);
        assert!(sentence.contains("is the image itself"), "{sentence}");
        // Nor of what it is made of.
        folder.write("in/part", b"part");
        let part = folder.resolve("part", &[]).unwrap();
        assert!(part.files.open(Path::new("image")).is_err());
        assert!(part.files.open(Path::new("part")).is_err());
        // Another file of its name is another file.
        folder.write("out/image", b"other");
        folder.gives("image", &["out"], b"other");
    }

    #[test]
    fn all_files_that_may_be_meant_are_offered() {
        let folder = Folder::new();
        folder.write("in/part", b"in");
        folder.write("out/part", b"out");
        let image = open_image_file(&folder.path("in/image"), &[folder.path("out")]).unwrap();
        let found = image.files.candidates(Path::new("../out/part")).unwrap();
        let found: Vec<_> = found.iter().map(|located| contents(&*located.device)).collect();
        assert_eq!(found, [&b"out"[..], b"in"]);
        let mut seen = Vec::new();
        folder.write("in/b.VMDK", b"");
        folder.write("out/a.vmdk", b"");
        image.files.neighbours("vmdk", &mut |file| {
            seen.push(file.name);
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(seen.len(), 2);
        assert!(seen[0].ends_with("b.VMDK") && seen[1].ends_with("a.vmdk"));
    }

    #[test]
    fn the_extents_of_a_file_cover_it_and_never_call_data_zero() {
        let folder = Folder::new();
        let path = folder.path("in/image");
        let size = 8 << 20;
        let mut wanted = vec![0; size];
        wanted[1 << 20..2 << 20].fill(3);
        wanted[size - 1] = 4;
        {
            use std::io::{Seek, SeekFrom, Write};
            let mut file = File::create(&path).unwrap();
            file.seek(SeekFrom::Start(1 << 20)).unwrap();
            file.write_all(&wanted[1 << 20..2 << 20]).unwrap();
            file.seek(SeekFrom::Start(u64::try_from(size - 1).unwrap())).unwrap();
            file.write_all(&[4]).unwrap();
        }
        let file = HostFile::open(&path).unwrap();
        let mut at = 0;
        while at < file.size() {
            let extent = file.extent_at(at).unwrap();
            let end = at + extent.length;
            assert!(extent.length > 0 && end <= file.size());
            if extent.kind == ExtentKind::Zero {
                let range = usize::try_from(at).unwrap()..usize::try_from(end).unwrap();
                assert!(wanted[range].iter().all(|byte| *byte == 0));
            }
            at = end;
        }
        assert!(file.extent_at(at).is_err());
        assert!(contents(&file) == wanted);
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        use super::*;

        #[test]
        fn a_link_is_judged_by_where_it_leads() {
            let folder = Folder::new();
            folder.write("in/part", b"part");
            folder.write("out/secret", b"secret");
            symlink("part", folder.path("in/good")).unwrap();
            symlink("../out/secret", folder.path("in/bad")).unwrap();
            symlink("../out", folder.path("in/folder")).unwrap();
            symlink("loop", folder.path("in/loop")).unwrap();
            folder.gives("good", &[], b"part");
            folder.gives("bad", &["out"], b"secret");
            folder.refuses("bad", BlockErrorKind::Refused);
            folder.refuses("folder/secret", BlockErrorKind::Refused);
            folder.refuses("loop", BlockErrorKind::Io);
        }

        #[test]
        fn a_link_to_an_image_stands_for_the_image() {
            let folder = Folder::new();
            folder.write("in/part", b"part");
            symlink("../in/image", folder.path("out/link")).unwrap();
            let image = open_image_file(&folder.path("out/link"), &[]).unwrap();
            assert_eq!(contents(&*image.device), b"image");
            let part = image.files.open(Path::new("part")).unwrap();
            assert_eq!(contents(&*part.device), b"part");
        }

        #[test]
        fn pipes_sockets_and_character_devices_are_no_images() {
            let folder = Folder::new();
            let status = std::process::Command::new("mkfifo").arg(folder.path("in/pipe")).status();
            assert!(status.unwrap().success());
            let _socket = UnixListener::bind(folder.path("in/socket")).unwrap();
            symlink("/dev/zero", folder.path("in/zero")).unwrap();
            let sentence = "is neither a file nor a block device";
            for name in ["pipe", "socket"] {
                assert_eq!(folder.refuses(name, BlockErrorKind::Unsupported), sentence);
            }
            folder.refuses("zero", BlockErrorKind::Refused);
            let error = HostFile::open(Path::new("/dev/zero")).err().unwrap();
            assert_eq!(error.message(), sentence);
        }
    }

    #[cfg(windows)]
    mod windows {
        use std::os::windows::fs::OpenOptionsExt;

        use super::*;

        /// The locator of an image in `folder`.
        fn locator(folder: &Folder) -> HostLocator {
            HostLocator::new(&folder.path("in/image"), &[]).unwrap()
        }

        #[test]
        fn no_image_makes_windows_call_a_server_or_a_device() {
            let folder = Folder::new();
            let locator = locator(&folder);
            let letter = os::shown(&folder.0).chars().next().unwrap();
            let other = if letter == 'X' { 'Y' } else { 'X' };
            for reference in [
                r"\\server\share\part",
                "//server/share/part",
                r"\/server/share/part",
                r"\\?\UNC\server\share\part",
                r"\\.\PhysicalDrive0",
                r"\\.\PhysicalDrive0\part",
                r"\\.\pipe\part",
                r"\\?\GLOBALROOT\Device\Harddisk0\part",
                r"\\?\Volume{5eed0001-0000-4000-8000-000000000002}\part",
                r"\??\C:\part",
                r"a\NUL\part",
                r"..\CON\part",
                r"a:b\part",
                r"a::$DATA\part",
                &format!("{letter}:part"),
                &format!("{other}:part"),
                &format!(r"{other}:\part"),
                &format!(r"\\?\{other}:\part"),
            ] {
                assert!(!os::may_ask(locator.folders(), Path::new(reference)), "{reference}");
            }
            for reference in ["part", r"..\a\part", r"\a\part", &format!(r"{letter}:\a\part")] {
                assert!(os::may_ask(locator.folders(), Path::new(reference)), "{reference}");
            }
        }

        #[test]
        fn of_such_a_path_the_last_name_counts() {
            let folder = Folder::new();
            folder.write("in/part", b"part");
            for reference in [
                r"\\server\share\part",
                "//server/share/part",
                r"\\?\UNC\server\share\part",
                r"\\.\pipe\part",
                r"\\?\GLOBALROOT\Device\Harddisk0\part",
                r"C:part",
                r"X:\a\part",
            ] {
                folder.gives(reference, &[], b"part");
            }
        }

        #[test]
        fn names_of_devices_and_streams_are_refused() {
            let folder = Folder::new();
            folder.write("in/part", b"part");
            for reference in [
                "NUL",
                "CON",
                "nul.vmdk",
                "COM1",
                r"a\NUL",
                "aa:b",
                "part:stream",
                "part::$DATA",
                "part.",
                "part ",
                "pa*t",
                r"\\.\PhysicalDrive0",
                r"\\?\PhysicalDrive0",
            ] {
                folder.refuses(reference, BlockErrorKind::Refused);
            }
        }

        #[test]
        fn a_running_machine_keeps_its_disk() {
            let folder = Folder::new();
            let path = folder.path("in/image");
            let _writer = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let file = HostFile::open(&path).unwrap();
            assert_eq!(contents(&file), b"image");
            // Our handle keeps no program from writing, renaming or deleting.
            fs::OpenOptions::new().write(true).open(&path).unwrap();
            fs::rename(&path, folder.path("in/other")).unwrap();
            fs::remove_file(folder.path("in/other")).unwrap();
        }

        #[test]
        fn a_locked_image_is_named_as_such() {
            let folder = Folder::new();
            let path = folder.path("in/image");
            let _owner = fs::OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
            let error = HostFile::open(&path).err().unwrap();
            assert_eq!(error.kind(), BlockErrorKind::Io);
            assert!(error.message().starts_with("is locked by another program"), "{error}");
        }

        #[test]
        fn paths_may_be_long() {
            let folder = Folder::new();
            let deep = (0..8).fold(folder.path("in"), |path, _| path.join("a".repeat(100)));
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("image"), b"deep").unwrap();
            fs::write(deep.join("part"), b"part").unwrap();
            let path = PathBuf::from(os::shown(&deep.join("image")).into_owned());
            assert!(!os::shown(&path).starts_with(r"\\?"));
            let image = open_image_file(&path, &[]).unwrap();
            assert_eq!(contents(&*image.device), b"deep");
            let part = image.files.open(Path::new(r"..\image\part")).unwrap();
            assert_eq!(contents(&*part.device), b"part");
            assert!(!part.name.starts_with(r"\\?"), "{}", part.name);
        }

        #[test]
        fn devices_are_no_images() {
            for name in ["NUL", "CON", r"\\.\NUL", r"\\.\pipe\volfold-none"] {
                assert!(open_image_file(Path::new(name), &[]).is_err(), "{name}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn holes_of_a_file_are_known_where_the_host_knows_them() {
        let folder = Folder::new();
        let path = folder.path("in/image");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        let file = HostFile::open(&path).unwrap();
        // A host without holes calls it data.
        let extent = file.extent_at(5).unwrap();
        assert_eq!(extent.length, (1 << 20) - 5);
    }
}
