//! The forbidden edges of ARCHITECTURE.md, section 6, held against manifests and sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

use crate::harness::{apply, test};

mod imports;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folders of the product's crates.
const SOURCES: [&str; 5] =
    ["src", "images/block/src", "images/src", "fs-backends/src", "projector/src"];

/// A source file of the product.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    /// All of it.
    text: String,
    /// The code without comments, strings and `#[cfg(test)]` modules.
    code: String,
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source of the product; files that are modules of tests only are left out.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in SOURCES {
        files(&root().join(folder), &mut found);
    }
    let tests: Vec<PathBuf> = found.iter().flat_map(|path| test_modules(path)).collect();
    let product = found.into_iter().filter(|path| !tests.iter().any(|test| path.starts_with(test)));
    product
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source");
            let relative = path.strip_prefix(root()).expect("below the root");
            Source {
                path: relative.to_string_lossy().replace('\\', "/"),
                code: without_tests(&without_text(&text)),
                text,
            }
        })
        .collect()
}

/// The files of the modules that `path` declares for tests only: `#[cfg(test)] mod testing;`.
fn test_modules(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).expect("a source");
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().expect("a folder").to_path_buf(),
        _ => path.with_extension(""),
    };
    let mut modules = Vec::new();
    for part in text.split("#[cfg(test)]").skip(1) {
        // More attributes may stand between.
        let line = part
            .lines()
            .find(|line| !line.is_empty() && !line.starts_with("#["))
            .unwrap_or_default();
        let declared = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if let Some((_, name)) = declared {
            modules.push(folder.join(format!("{name}.rs")));
            modules.push(folder.join(name));
        }
    }
    modules
}

/// `text` with comments and the content of string literals taken out.
fn without_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += text[at..].find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with(b"'\"'") || rest.starts_with(b"'\\\"'") {
            at += if rest[1] == b'\\' { 4 } else { 3 };
        } else if let Some(end) = raw_string(rest) {
            at += end;
        } else if rest[0] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else {
            code.push(char::from(rest[0]));
            at += 1;
        }
    }
    code
}

/// The length of the raw string that `rest` begins with.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.strip_prefix(b"r")?.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close)?;
    Some(2 + hashes + end + close.len())
}

/// `code` without the blocks that follow `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        rest = &rest[start..];
        let open = rest.find(['{', ';']).unwrap_or(rest.len());
        let mut end = open + 1;
        if rest[open..].starts_with('{') {
            let mut depth = 1;
            for character in rest[end..].chars() {
                depth += i32::from(character == '{') - i32::from(character == '}');
                end += character.len_utf8();
                if depth == 0 {
                    break;
                }
            }
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

/// Whether `code` has `word` as a word of its own, or as the begin of a path if it ends in `::`.
fn names(code: &str, word: &str) -> bool {
    let inside = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(inside) && (word.ends_with(':') || !after.is_some_and(inside))
    })
}

/// Fails for every source outside `allowed` that names one of `words`.
fn only_in(words: &[&str], allowed: &[&str]) {
    let mut wrong = Vec::new();
    for source in sources() {
        if allowed.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for word in words.iter().filter(|word| names(&source.code, word)) {
            wrong.push(format!("{}: {word}", source.path));
        }
    }
    assert!(wrong.is_empty(), "only {allowed:?} may name these:\n{}", wrong.join("\n"));
}

/// Fails for every source below `place` that names one of `words`.
fn never_in(place: &str, words: &[&str]) {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with(place)) {
        for word in words.iter().filter(|word| names(&source.code, word)) {
            wrong.push(format!("{}: {word}", source.path));
        }
    }
    assert!(wrong.is_empty(), "{place} may not name these:\n{}", wrong.join("\n"));
}

/// The crates of ours that the manifest in `folder` names as dependencies of the product.
fn own_dependencies(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("Cargo.toml");
    let mut own = Vec::new();
    let mut counts = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            counts = section.ends_with("dependencies")
                && !section.contains("dev-")
                && !section.starts_with("workspace");
        } else if counts && line.starts_with("volfold") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            own.push(line[..end].to_owned());
        }
    }
    own.sort();
    own
}

#[apply(test)]
fn crates_depend_downwards_only() {
    assert_eq!(own_dependencies("images/block"), [""; 0]);
    assert_eq!(own_dependencies("images"), ["volfold-block"]);
    assert_eq!(own_dependencies("fs-backends"), ["volfold-block"]);
    assert_eq!(own_dependencies("projector"), ["volfold-block", "volfold-fs"]);
    assert_eq!(own_dependencies("capi/support"), ["volfold"]);
    for interface in ["capi", "capi/vix"] {
        assert_eq!(own_dependencies(interface), ["volfold", "volfold-capi-support"]);
    }
}

#[apply(test)]
fn the_interfaces_for_c_follow_pointers_in_few_places() {
    const PLACES: [&str; 4] = [
        "capi/support/src/blocks.rs",
        "capi/support/src/foreign.rs",
        "capi/vix/src/asynchronous.rs",
        "capi/vix/src/log.rs",
    ];
    for folder in ["capi/src", "capi/support/src", "capi/vix/src"] {
        let mut found = Vec::new();
        files(&root().join(folder), &mut found);
        for path in found {
            let text = fs::read_to_string(&path).expect("a source");
            let code = without_tests(&without_text(&text));
            let place = path.strip_prefix(root()).expect("below the root").to_string_lossy();
            let place = place.replace('\\', "/");
            let is_allowed = PLACES.contains(&place.as_str());
            let has_blocks = code.contains("unsafe {") || code.contains("unsafe impl");
            assert!(is_allowed || !has_blocks, "{place} has a block of unsafe code");
        }
    }
}

#[apply(test)]
fn the_projector_knows_no_backend() {
    never_in("projector/", &["DRIVERS", "ntfs", "fatfs", "ext4_view", "ext4", "FileSystemDriver"]);
}

#[apply(test)]
fn partition_knows_no_volumes_and_no_file_systems() {
    never_in("src/partition/", &["volfold_fs", "crate::volume", "VolumeManager", "MANAGERS"]);
}

#[apply(test)]
fn volume_knows_no_file_systems() {
    never_in("src/volume/", &["volfold_fs", "FileSystem", "FileSystemDriver", "DRIVERS"]);
}

#[apply(test)]
fn the_command_line_uses_the_facade_alone() {
    // `formats` reads the registries, as section 5 wants.
    for source in sources().iter().filter(|source| source.path.starts_with("src/cli/")) {
        if source.path != "src/cli/formats.rs" {
            never_in(&source.path, &["volfold_images::format", "crate::discover", "ImageFormat"]);
        }
    }
}

#[apply(test)]
fn hosts_error_numbers_stay_in_the_projector() {
    only_in(&["fuser", "libc", "Errno", "NTSTATUS"], &["projector/"]);
}

#[apply(test)]
fn the_argument_parser_stays_in_the_command_line() {
    only_in(&["clap", "clap_complete", "clap_mangen"], &["src/cli/"]);
}

#[apply(test)]
fn host_files_and_the_network_are_opened_in_three_places_only() {
    only_in(&["std::fs", "std::net"], &["images/src/host", "projector/", "src/cli/"]);
}

#[apply(test)]
fn outside_parsers_stay_out_of_the_product() {
    only_in(&["::ntfs::", "fatfs::", "ext4_view::"], &[]);
}

#[apply(test)]
fn unsafe_code_is_forbidden_outside_the_projector() {
    for file in [
        "src/lib.rs",
        "src/main.rs",
        "images/block/src/lib.rs",
        "images/src/lib.rs",
        "fs-backends/src/lib.rs",
    ] {
        let text = fs::read_to_string(root().join(file)).expect(file);
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file} does not forbid unsafe code");
    }
}

#[apply(test)]
fn no_source_file_leads_back_to_itself_by_what_it_imports() {
    let mut found = Vec::new();
    for folder in SOURCES {
        let below = |source: Source| {
            let place = source.path.strip_prefix(folder)?.strip_prefix('/')?.to_owned();
            Some((place, source.text))
        };
        let mut library: BTreeMap<String, String> =
            sources().into_iter().filter_map(below).collect();
        let mut program = BTreeMap::new();
        // The program is a crate of its own beside the library.
        if library.contains_key("main.rs") {
            let is_program = |place: &str| place == "main.rs" || place.starts_with("cli/");
            program = library.clone();
            program.retain(|place, _| is_program(place));
            library.retain(|place, _| !is_program(place));
        }
        for files in [library, program] {
            let arrows = imports::arrows(&files);
            assert!(files.len() < 3 || !arrows.is_empty(), "{folder}: nothing imports anything");
            for circle in imports::circles(&arrows) {
                let files: BTreeSet<&str> = circle.iter().map(|(from, ..)| from.as_str()).collect();
                found.push(format!(
                    "{folder}: {}",
                    files.into_iter().collect::<Vec<_>>().join(", ")
                ));
                let mut items: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
                for (from, to, item) in circle {
                    items.entry((from, to)).or_default().push(item);
                }
                found.extend(items.iter().map(|((from, to), items)| {
                    format!("    {from} -> {to}: {}", items.join(", "))
                }));
            }
        }
    }
    assert!(found.is_empty(), "these import each other in a circle:\n{}", found.join("\n"));
}

#[apply(test)]
fn no_type_has_a_name_that_the_standard_library_uses_everywhere() {
    // The prelude, and the traits of `std::io`.
    const TAKEN: &[&str] = &[
        "AsMut",
        "AsRef",
        "Box",
        "Clone",
        "Copy",
        "Default",
        "DoubleEndedIterator",
        "Drop",
        "Eq",
        "Err",
        "ExactSizeIterator",
        "Extend",
        "Fn",
        "FnMut",
        "FnOnce",
        "From",
        "FromIterator",
        "Into",
        "IntoIterator",
        "Iterator",
        "None",
        "Ok",
        "Option",
        "Ord",
        "PartialEq",
        "PartialOrd",
        "Read",
        "Result",
        "Seek",
        "Send",
        "Sized",
        "Some",
        "String",
        "Sync",
        "ToOwned",
        "ToString",
        "TryFrom",
        "TryInto",
        "Unpin",
        "Vec",
        "Write",
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        let file = syn::parse_file(&source.text).expect("a source");
        let mut types = Types(Vec::new());
        types.visit_file(&file);
        let taken = types.0.into_iter().filter(|name| TAKEN.contains(&name.as_str()));
        wrong.extend(taken.map(|name| format!("{}: {name}", source.path)));
    }
    assert!(wrong.is_empty(), "these names mean something else:\n{}", wrong.join("\n"));
}

/// The names of the types and traits of a file.
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Union(item) => Some(&item.ident),
            syn::Item::Mod(item) if imports::is_for_tests(&item.attrs) => return,
            _ => None,
        };
        self.0.extend(name.map(ToString::to_string));
        syn::visit::visit_item(self, item);
    }
}

#[apply(test)]
fn panics_are_caught_in_one_place() {
    only_in(
        &["catch_unwind"],
        &[
            "images/block/src/guard.rs",
            // A job nobody waits for: there is no request to fail.
            "images/block/src/ahead.rs",
            // Panics may not go through the frames of a DLL.
            "projector/src/folder/winfsp/callbacks.rs",
        ],
    );
}

#[apply(test)]
fn the_checks_see_code_and_nothing_else() {
    let text = "use std::fs; // libc\nlet a = \"fuser\"; /* clap */ let b = r#\"x\"y\"#;\n\
                #[cfg(test)]\nmod tests { fn f() { libc(); } }\nfn g() {}";
    let code = without_tests(&without_text(text));
    assert!(names(&code, "std::fs") && names(&code, "g"));
    for word in ["libc", "fuser", "clap", "x", "tests"] {
        assert!(!names(&code, word), "{word} in {code}");
    }
    assert!(!names("my_clap", "clap") && !names("clapping", "clap"));
}
