//! What `extract` makes of symbolic links: links of the host, copies, or nothing, and what it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

#[cfg(unix)]
use std::os::unix::fs::symlink;

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, text, volfold};
#[cfg(target_os = "linux")]
use crate::common::program::{VOLFOLD, program};
use crate::common::sha256;
#[cfg(target_os = "linux")]
use crate::harness::needs_programs;
use crate::harness::{apply, test};

/// What is taken of the volume `four`: wine needs minutes for folders with thousands of files.
const FOUR: [&str; 6] = ["-p", "/four/links", "-p", "/four/docs", "-p", "/four/README.txt"];

fn extract(disk: &Path, out: &Path, more: &[&str]) -> Output {
    let words = ["extract", text(disk), "-o", text(out)];
    volfold(words.iter().chain(more))
}

/// Everything below `folder`, with `/` in paths: folders are `d`, links `l`, files their hash.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let mut left = vec![(folder.to_path_buf(), String::new())];
    while let Some((next, above)) = left.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = format!("{above}/{}", entry.file_name().to_string_lossy());
            let facts = fs::symlink_metadata(entry.path()).expect("facts");
            let what = if facts.is_symlink() {
                "l".to_owned()
            } else if facts.is_dir() {
                left.push((entry.path(), path.clone()));
                "d".to_owned()
            } else {
                sha256(&fs::read(entry.path()).expect("a file"))
            };
            tree.insert(path, what);
        }
    }
    tree
}

/// The part of `tree` below `path`.
fn below(tree: &BTreeMap<String, String>, path: &str) -> BTreeMap<String, String> {
    let rest =
        |(key, what): (&String, &String)| Some((key.strip_prefix(path)?.to_owned(), what.clone()));
    tree.iter().filter_map(rest).filter(|(key, _)| key.starts_with('/')).collect()
}

#[apply(test)]
fn copies_take_the_place_of_links_on_wish() {
    let scratch = Scratch::new("links-files");
    let (disk, out) = (fixture("ext4").path(), scratch.join("out"));
    let said = extract(&disk, &out, &[&FOUR[..], &["--links", "files"]].concat()).code(0);
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    said.says("symbolic links were not copied: they lead to nothing that is on the images");
    let tree = tree(&out);
    assert!(tree.values().all(|what| what != "l"), "no link is made");
    for (link, target) in [
        ("/four/links/short", "/four/README.txt"),
        ("/four/links/absolute", "/four/docs/letter.txt"),
        ("/four/links/long", "/four/docs/notes/2025/June/monday.txt"),
    ] {
        assert!(tree.get(link).is_some_and(|what| what.len() == 64), "{link}");
        assert_eq!(tree.get(link), tree.get(target), "{link}");
    }
    let docs = below(&tree, "/four/docs");
    assert!(docs.len() > 3, "{docs:?}");
    assert_eq!(below(&tree, "/four/links/folder"), docs);
    for link in ["dangling", "loop", "60 bytes"] {
        assert!(!tree.contains_key(&format!("/four/links/{link}")), "{link}");
    }
    // Links of Windows are followed by its own names; what cannot be read is told as ever.
    let (disk, out) = (fixture("ntfs-symlinks").path(), scratch.join("ntfs"));
    extract(&disk, &out, &["--links", "files"]);
    let tree = self::tree(&out);
    for link in ["absolute", "relative", "wsl"] {
        let path = format!("/ntfs/links/{link}");
        assert_eq!(tree.get(&path), tree.get("/ntfs/docs/letter.txt"), "{link}");
    }
    assert_eq!(below(&tree, "/ntfs/links/junction"), below(&tree, "/ntfs/docs"));
}

#[apply(test)]
fn links_that_the_host_does_not_make_are_told_once() {
    let scratch = Scratch::new("links-told");
    let disk = fixture("ext4").path();
    let hidden = scratch.join("hide");
    let said = extract(&disk, &hidden, &[&FOUR[..], &["--links", "hide"]].concat()).code(0);
    assert_eq!(said.stderr, "");
    let hidden = tree(&hidden);
    if makes_links(&scratch) {
        let out = scratch.join("guest");
        let said = extract(&disk, &out, &FOUR).code(0);
        assert_eq!(said.stderr, "");
        // Each leads to what it means, through the host's own eyes.
        let read = |path: &str| fs::read(out.join(path)).expect(path);
        assert_eq!(read("four/links/absolute"), read("four/docs/letter.txt"));
        assert_eq!(read("four/links/folder/letter.txt"), read("four/docs/letter.txt"));
        assert_eq!(tree(&out).values().filter(|what| *what == "l").count(), 7);
        return;
    }
    let line = "7 symbolic links were left out: ";
    let ways = "--links files copies what they lead to, --links hide leaves them out";
    for (name, style, code) in [("none", &[][..], 0), ("guest", &["--links", "guest"], 3)] {
        let out = scratch.join(name);
        let said =
            extract(&disk, &out, &[&FOUR[..], style].concat()).code(code).says(line).says(ways);
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert_eq!(tree(&out), hidden, "all else is there");
    }
}

/// Whether this host makes links for this user; wine says that it does, and makes none.
fn makes_links(scratch: &Scratch) -> bool {
    let path = scratch.join("probe");
    #[cfg(unix)]
    let made = symlink("nowhere", &path);
    #[cfg(windows)]
    let made = std::os::windows::fs::symlink_file("nowhere", &path);
    let is_there = fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_symlink());
    let _ = fs::remove_file(&path);
    made.is_ok() && is_there
}

/// A volume of ext4 with what is in `folder`.
#[cfg(target_os = "linux")]
fn volume_of(scratch: &Scratch, folder: &Path) -> PathBuf {
    needs_programs(&["mke2fs"]);
    let disk = scratch.join("disk.img");
    let words = ["-q", "-t", "ext4", "-L", "v", "-d", text(folder), text(&disk), "32M"];
    program("mke2fs", &words).code(0);
    disk
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn copies_through_a_long_chain_of_links_have_an_end() {
    needs_programs(&["bash"]);
    let scratch = Scratch::new("links-chain");
    let guest = scratch.join("guest");
    // By the one bound, and by the other.
    for number in 0..3000 {
        let name = if number < 1500 { "n" } else { "a-name-that-is-longer" };
        let folder = guest.join(number.to_string());
        fs::create_dir_all(&folder).expect("a folder");
        symlink(format!("../{}", number + 1), folder.join(name)).expect("a link");
    }
    let disk = volume_of(&scratch, &guest);
    let out = scratch.join("out");
    // 150 MiB of memory that can be written to, stacks of threads and all.
    let script = r#"ulimit -d 153600; exec "$0" extract "$1" -p /v/0 -o "$2" --links files"#;
    let said = program("bash", &["-c", script, VOLFOLD, text(&disk), text(&out)]).code(0);
    let said = said.says("1 symbolic link was not copied: it is at the end of a path of 4096");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn streams_of_what_links_lead_to_are_copied_with_it() {
    needs_programs(&["ntfscp"]);
    let scratch = Scratch::new("links-streams");
    let disk = scratch.copy(&fixture("ntfs-symlinks").path());
    let stream = scratch.join("stream");
    fs::write(&stream, "in a stream").expect("a file");
    let words = ["-N", "more", text(&disk), text(&stream), "docs/letter.txt"];
    program("ntfscp", &words).code(0);
    let out = scratch.join("out");
    extract(&disk, &out, &["--links", "files", "--streams"]);
    for path in ["docs/letter.txt", "links/absolute", "links/relative", "links/junction/letter.txt"]
    {
        let copied = fs::read_to_string(out.join("ntfs").join(format!("{path}:more")));
        assert_eq!(copied.ok().as_deref(), Some("in a stream"), "{path}");
    }
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn links_that_no_text_leads_by_are_told_once_of_an_archive_too() {
    let scratch = Scratch::new("links-tar");
    let guest = scratch.join("guest");
    fs::create_dir_all(guest.join("a")).expect("a folder");
    fs::write(guest.join("a/file"), "x").expect("a file");
    // A host would go up from where the guest has nothing.
    symlink("/nowhere/../a/file", guest.join("through-nothing")).expect("a link");
    let disk = volume_of(&scratch, &guest);
    let archive = scratch.join("out.tar");
    let archive = |more: &[&str]| {
        let _ = fs::remove_file(&archive);
        let words = ["extract", text(&disk), "--tar", text(&archive)];
        volfold(words.iter().chain(more))
    };
    let (line, ways) = ("1 symbolic link was left out: ", "--links hide leaves them out");
    for said in [extract(&disk, &scratch.join("out"), &[]), archive(&[])] {
        let said = said.code(0).says(line).says(ways);
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    }
    // Who asks for links is told of each.
    archive(&["--links", "guest"]).code(3).says("/v/through-nothing: ");
    assert_eq!(archive(&["--links", "raw"]).code(0).stderr, "");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn copies_of_folders_in_each_other_have_an_end_and_stay_inside() {
    let scratch = Scratch::new("links-circles");
    let guest = scratch.join("guest");
    for folder in ["a/deep", "b", "outer"] {
        fs::create_dir_all(guest.join(folder)).expect("a folder");
    }
    for file in ["a/one", "b/two", "a/deep/three"] {
        fs::write(guest.join(file), file).expect("a file");
    }
    fs::write(scratch.join("secret"), "of the host").expect("a file");
    for (link, target) in [
        ("self", "."),
        ("a/up", ".."),
        ("a/to-b", "../b"),
        ("b/to-a", "/a"),
        ("a/deep/above", "../../a"),
        ("outer/host", "../../../../../../../../../../../../../secret"),
        ("outer/etc", "/etc/passwd"),
        ("outer/over-link", "../a/to-b/two"),
    ] {
        symlink(target, guest.join(link)).expect("a link");
    }
    let disk = volume_of(&scratch, &guest);
    let out = scratch.join("out");
    let said = extract(&disk, &out, &["--links", "files"]).code(0);
    let tree = tree(&out);
    let has = |path: &str| tree.contains_key(path);
    assert!(tree.values().all(|what| what != "l"));
    assert_eq!(tree.get("/v/outer/over-link"), tree.get("/v/b/two"));
    assert!(has("/v/a/to-b/two") && has("/v/b/to-a/deep/three"), "{tree:?}");
    assert!(!has("/v/a/to-b/to-a") && !has("/v/b/to-a/to-b"), "{tree:?}");
    assert!(!has("/v/self") && !has("/v/a/up") && !has("/v/a/deep/above"), "{tree:?}");
    assert!(!has("/v/outer/host") && !has("/v/outer/etc"), "{tree:?}");
    assert!(said.stderr.contains("lead to a folder that they lie in"), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 2, "{said:?}");
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 4, "nothing is outside");
}
