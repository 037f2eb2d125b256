//! Paths inside the images as arguments: whatever case and separators they are given with.

use volfold::{DiskSet, OpenOptions};
use volfold_fs::Name;

use crate::common::fixtures::fixture;
#[cfg(target_os = "linux")]
use crate::common::program::run;
use crate::common::program::{Output, Scratch, text, volfold};
#[cfg(target_os = "linux")]
use crate::harness::needs_programs;
use crate::harness::{apply, test};

fn on(name: &str, arguments: &[&str]) -> Output {
    let disks = fixture(name).paths();
    let mut words = vec![arguments[0]];
    words.extend(disks.iter().map(|disk| text(disk)));
    words.extend(&arguments[1..]);
    volfold(words)
}

/// What `ls -R` answers, and what `hash` answers, without the hashes.
fn listed(name: &str, path: &str) -> (String, Vec<String>) {
    let ls = on(name, &["ls", "-R", "-p", path]).code(0).text();
    let hash = on(name, &["hash", "-p", path]).code(0).text();
    let paths = hash.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned);
    (ls, paths.collect())
}

#[apply(test)]
fn case_and_separators_are_the_guests_where_it_has_none_of_its_own() {
    let wanted = listed("sample", "/Windows/Documents");
    assert!(wanted.0.starts_with("/Windows/Documents/2025/\n"), "{}", wanted.0);
    assert_eq!(wanted.1.len(), 4);
    for path in [
        "/windows/DOCUMENTS",
        "WINDOWS/documents/",
        r"\windows\documents",
        r"\windows\documents\",
        r"Windows\Documents",
        "//windows//./documents//2025/..",
        r"\\windows\\.\documents\2025\..\",
        "/MBR:5EED0099-2048/documents",
    ] {
        assert_eq!(listed("sample", path), wanted, "{path}");
    }
    // FAT has no case either, and letters of other languages have one.
    let wanted = listed("sample", "/BOOT/Documents/Gr\u{fc}\u{df}e.txt");
    assert_eq!(wanted.1, ["/BOOT/Documents/Gr\u{fc}\u{df}e.txt"]);
    assert_eq!(listed("sample", "/boot/DOCUMENTS/GR\u{dc}\u{df}E.TXT"), wanted);
    on("sample", &["ls", "-p", "/linux/documents"]).code(1).says("no such file or directory");
    assert_eq!(
        listed("sample", r"\LINUX\Documents\").0.lines().next(),
        Some("/linux/Documents/2025/")
    );
}

#[apply(test)]
fn every_command_takes_them() {
    let letter = on("sample", &["cat", "-p", "/Windows/Documents/letter.txt"]).code(0).stdout;
    let cat = on("sample", &["cat", "-p", r"\windows\documents\LETTER.TXT"]).code(0);
    assert!(!letter.is_empty() && cat.stdout == letter);
    let scratch = Scratch::new("paths");
    for (name, path) in
        [("dir", r"\WINDOWS\documents\2025"), ("file", "/windows/DOCUMENTS/2025/july/REPORT.TXT")]
    {
        let out = scratch.join(name);
        on("sample", &["extract", "-p", path, "-o", text(&out)]).code(0);
        let report = out.join("Windows").join("Documents").join("2025").join("July");
        let names = std::fs::read_dir(report).expect("the guest's spelling");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(names, ["report.txt"], "{name}");
        let spelled = std::fs::read_dir(out).expect("a folder").next().expect("one").expect("one");
        assert_eq!(spelled.file_name(), "Windows");
    }
    let whole = on("sample", &["check", "--volume", "Windows"]).code(0).text();
    assert_eq!(on("sample", &["check", "--volume", "WINDOWS"]).code(0).text(), whole);
    on("sample", &["check", "--volume", "Z:"]).says("the set does not tell which volume is Z:");
    let streams = on("ntfs-ads", &["ls", "-R"]).code(0);
    assert!(!streams.stdout.is_empty());
}

#[apply(test)]
fn drive_letters_are_those_that_the_set_tells() {
    let wanted = listed("ldm-simple", "/D/");
    assert!(wanted.0.starts_with("/D/"), "{}", wanted.0);
    for path in ["D:", "d:", "D:/", r"d:\", r"\\?\D:\", "/D:/", "/d"] {
        assert_eq!(listed("ldm-simple", path), wanted, "{path}");
    }
    let file = listed("ldm-simple", "/D/readme.txt");
    assert_eq!(file.1.len(), 1);
    assert_eq!(listed("ldm-simple", r"d:\README.TXT"), file);
    assert_eq!(listed("ldm-simple", "d:README.TXT"), file);
    for (name, path, reason) in [
        ("ldm-simple", r"C:\Users", "the set does not tell which volume is C:"),
        ("sample", "c:/Windows", "the set does not tell which volume is c:"),
        ("sample", r"\nothing\there", "no such file or directory"),
    ] {
        let said = on(name, &["ls", "-p", path]).code(1).says(reason);
        said.says("`volfold ls` shows what there is");
    }
}

#[apply(test)]
fn a_letter_that_two_volumes_have_is_no_answer() {
    for path in ["E:", r"e:\readme.txt"] {
        let letter = &path[..2];
        on("ldm-two-groups", &["hash", "-p", path])
            .code(1)
            .says(&format!("several volumes are called {letter}: E, E-2"));
    }
    // A name is exact.
    assert!(!on("ldm-two-groups", &["ls", "-p", "/e-2"]).code(0).stdout.is_empty());
    on("ldm-two-groups", &["check", "--volume", "e:"])
        .says("several volumes are called e:: E, E-2");
}

#[apply(test)]
fn a_name_with_a_backslash_is_found_where_the_host_allows_it() {
    let (name, odd) = ("ext2-1k", r"names/back\slash:colon*star?.txt");
    let volume = on(name, &["ls"]).code(0).text().trim().trim_end_matches('/').to_owned();
    let wanted = 16;
    if cfg!(unix) {
        let cat = on(name, &["cat", "-p", &format!("/{volume}/{odd}")]).code(0);
        assert_eq!(cat.stdout.len(), wanted, "as the guest writes it");
        on(name, &["cat", "-p", &format!(r"/{volume}/docs\letter.txt")]).code(0);
    }
    // On any host the byte may be written as a mount shows it.
    let escaped = odd.replace('\\', "\u{F05C}");
    let cat = on(name, &["cat", "-p", &format!("/{volume}/{escaped}")]).code(0);
    assert_eq!(cat.stdout.len(), wanted);
    on(name, &["ls", "-p", &format!(r"/{volume}/docs\none")])
        .code(1)
        .says("no such file or directory");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn a_backslash_separates_in_what_was_asked_and_not_in_links_of_a_guest_without_it() {
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("link-backslash");
    let files = scratch.join("files");
    std::fs::create_dir_all(files.join("a")).expect("a folder");
    std::fs::write(files.join("a/b"), "the file of a folder").expect("a file");
    std::os::unix::fs::symlink(r"a\b", files.join("link")).expect("a link");
    let image = scratch.join("a.img");
    let mut make = std::process::Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-L", "v", "-d", text(&files), text(&image), "4M"]);
    run(&mut make).code(0);
    let cat = |path: &str| volfold(["cat", text(&image), "-p", path]);
    assert_eq!(cat(r"/v/a\b").code(0).text(), "the file of a folder");
    cat("/v/link").code(1).says("no such file or directory");
    // It can be told for what it is.
    std::fs::write(files.join(r"a\b"), "the file that the link means").expect("a file");
    run(&mut make).code(0);
    assert_eq!(cat("/v/link").code(0).text(), "the file that the link means");
}

#[apply(test)]
fn a_short_name_is_told_as_the_long_one() {
    let folder = "/ntfs/dos";
    let set = DiskSet::open(&[fixture("ntfs-dos-names").path()], &OpenOptions::default());
    let files = set.ok().and_then(|set| set.volumes()[0].file_system().ok()).expect("files");
    let dir = files.lookup(files.root(), Name::new(b"dos")).expect("a folder");
    let long = "A rather long name 000 of a file.text";
    let node = files.lookup(dir, Name::new(long.as_bytes())).expect("a file");
    let attributes = files.extended_attribute(node, b"system.ntfs_dos_name");
    let short = String::from_utf8(attributes.expect("a short name")).expect("letters");
    let hash = on("ntfs-dos-names", &["hash", "-p", &format!("{folder}/{short}")]).code(0).text();
    assert!(hash.starts_with(&format!("{folder}/{long}\t")), "{short}: {hash}");
}

#[apply(test)]
fn a_path_through_links_is_copied_to_its_own_place() {
    let scratch = Scratch::new("paths-links");
    let out = scratch.join("out");
    on("ext4", &["extract", "-p", "/four/links/folder/letter.txt", "-o", text(&out)]).code(0);
    assert!(out.join("four").join("docs").join("letter.txt").is_file());
    assert!(!out.join("four").join("links").exists(), "a link has its place elsewhere");
    let up = on("ext4", &["hash", "-p", "/four/links/folder/../README.txt"]).code(0).text();
    assert!(up.starts_with("/four/README.txt\t"), "`..` is that of the folder: {up}");
}

/// An ext4 volume called `odd` with these files, whose content is their path.
#[cfg(target_os = "linux")]
fn odd(scratch: &Scratch, files: &[&str]) -> std::path::PathBuf {
    let tree = scratch.join("tree");
    for file in files {
        let path = tree.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, file).expect("a file");
    }
    let image = scratch.join("odd.img");
    let arguments = ["-q", "-F", "-t", "ext4", "-L", "odd", "-d"];
    let mut command = std::process::Command::new("mke2fs");
    run(command.args(arguments).arg(&tree).arg(&image).arg("2M")).code(0);
    image
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn a_backslash_of_a_name_is_never_taken_for_a_separator_of_the_same_path() {
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("backslash");
    let image = odd(&scratch, &[r"b\s", "b/s", "b/t", r"dir/a\b/c"]);
    let cat = |path: &str| volfold(["cat", text(&image), "-p", path]);
    for path in [r"/odd/b\s", r"odd/b\s", r"\odd\b\s", r"odd\b\s", r"/odd\b\s", r"\ODD/b\s"] {
        assert_eq!(cat(path).code(0).text(), r"b\s", "{path}");
    }
    for (path, wanted) in [
        ("/odd/b/s", "b/s"),
        (r"\odd\b\t", "b/t"),
        (r"/odd/b\t", "b/t"),
        (r"\odd\dir\a\b\c", r"dir/a\b/c"),
        (r"odd\dir\..\b\t", "b/t"),
        (r"\\?\odd\b\t", "b/t"),
    ] {
        assert_eq!(cat(path).code(0).text(), wanted, "{path}");
    }
    cat(r"\odd\b\u").code(1).says("no such file or directory");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn names_as_windows_is_shown_them_lead_to_the_same_files() {
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("numbered");
    let files =
        ["README", "readme", "Dir/one", "dir/two", "CON", "\u{F043}ON", "\u{1FA0}", "\u{1FA8}"];
    let image = odd(&scratch, &files);
    let cat = |path: &str| volfold(["cat", text(&image), "-p", path]);
    for (path, wanted) in [
        ("/odd/README", "README"),
        ("/odd/readme\u{F132}", "readme"),
        ("/odd/dir\u{F132}/two", "dir/two"),
        ("/odd/\u{1FA8}\u{F132}", "\u{1FA8}"),
        ("/odd/CON", "CON"),
    ] {
        assert_eq!(cat(path).code(0).text(), wanted, "{path}");
    }
    // Called so, and what `CON` is shown as.
    cat("/odd/\u{F043}ON").code(1).says("two files may be meant");
    cat("/odd/readme\u{F133}").code(1).says("no such file or directory");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn what_was_found_by_its_number_is_extracted() {
    needs_programs(&["mke2fs"]);
    let scratch = Scratch::new("numbered-extract");
    let image = odd(&scratch, &["CON/a", "\u{F043}ON/b"]);
    for (number, path, file) in [
        (0, "/odd/CON/a", "CON/a"),
        (1, "/odd/\u{F043}ON\u{F132}/b", "\u{F043}ON/b"),
        (2, "/odd/\u{F043}ON\u{F132}", "\u{F043}ON/b"),
    ] {
        let out = scratch.join(number.to_string());
        volfold(["extract", text(&image), "-p", path, "-o", text(&out)]).code(0);
        let copied = std::fs::read_to_string(out.join("odd").join(file));
        assert_eq!(copied.ok().as_deref(), Some(file), "{path}");
    }
}

#[apply(test)]
fn a_path_in_another_one_is_extracted_once() {
    let scratch = Scratch::new("overlap");
    let folder = scratch.join("out");
    let arguments = |folder: &std::path::Path| -> Vec<String> {
        let paths = ["/Windows/Documents/2025/June", r"\windows\documents", "/WINDOWS/Documents/"];
        let mut words = vec!["extract".to_owned()];
        words.extend(paths.iter().flat_map(|path| ["-p".to_owned(), (*path).to_owned()]));
        words.extend(["-o".to_owned(), text(folder).to_owned()]);
        words
    };
    let words = arguments(&folder);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = on("sample", &words).code(0);
    assert_eq!(said.stderr, "");
    let whole = on("sample", &["hash", "-p", "/Windows/Documents"]).code(0).text();
    for line in whole.lines() {
        let path = line.split('\t').next().expect("a path").trim_start_matches('/');
        assert!(folder.join(path).is_file(), "{path}");
    }
}
