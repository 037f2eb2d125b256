//! Programs in C, compiled against what `cargo xtask install-capi` installs, and what they do.
//!
//! What they read is compared with what other tools found in the same images: hashes and listings in
//! `tests/fixtures`. They also run under valgrind and with gcc's ThreadSanitizer.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod suite;

use std::path::{Path, PathBuf};
use std::process::Command;

use suite::fixtures::{Fixture, Row, fixture};
use suite::install::{Installed, installed, workspace};
use suite::{Dump, needs, needs_mount, run, sha256};

fn c_sources() -> PathBuf {
    workspace().join("capi/tests/c")
}

#[test]
fn the_header_is_as_cbindgen_makes_it() {
    if !needs("cbindgen", "--version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("volfold.h");
    let mut command = Command::new("cbindgen");
    command.args(["--quiet", "--config", "cbindgen.toml", "--output"]).arg(&made).arg(".");
    run(command.current_dir(workspace().join("capi")), 0);
    let made = std::fs::read_to_string(made).unwrap();
    let kept = std::fs::read_to_string(workspace().join("capi/include/volfold.h")).unwrap();
    assert!(made == kept, "capi/include/volfold.h is not that of the code: cargo xtask header");
}

#[test]
fn every_function_of_the_headers_is_exported() {
    let Some(installed) = installed() else { return };
    if !needs("nm", "--version") {
        return;
    }
    for (library, headers, starts) in [
        ("libvolfold.so", &["volfold.h"][..], &["volfold_"][..]),
        (
            "libvolfold_vix.so",
            &["volfold/vixDiskLib.h", "volfold/vixMntapi.h"],
            &["VixDiskLib_", "VixMntapi_"],
        ),
    ] {
        let library = installed.library(library);
        let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library), 0);
        let text = String::from_utf8(output.stdout).unwrap();
        let is_ours = |name: &&str| starts.iter().any(|start| name.starts_with(start));
        let mut exported: Vec<&str> =
            text.lines().filter_map(|line| line.split(' ').nth(2)).filter(is_ours).collect();
        let mut declared = Vec::new();
        for header in headers {
            let text = std::fs::read_to_string(installed.header(header)).unwrap();
            let mut before = String::new();
            // A name, a parenthesis, and no comment or macro before them.
            for line in text.lines().filter(|line| !line.trim_start().starts_with(['/', '#', '*']))
            {
                let name = line.split('(').next().unwrap_or_default();
                let name = name.rsplit([' ', '*']).next().unwrap_or_default();
                if line.contains('(') && is_ours(&name) {
                    before.clone_from(&name.to_owned());
                    declared.push(before.clone());
                }
            }
        }
        declared.sort_unstable();
        exported.sort_unstable();
        assert_eq!(declared, exported);
        assert!(declared.len() >= 45, "{declared:?}");
    }
}

/// What `dump` writes of the images at `paths`.
fn dump(installed: &Installed, fixture: &Fixture) -> Dump {
    let program = installed.compile("dump", "volfold");
    Dump::parse(&run(Command::new(program).args(fixture.paths()), 0).stdout)
}

/// Holds the tree of a volume in `dump` to a listing that another tool made.
fn check_tree(dump: &Dump, id: &str, rows: &[Row]) {
    let volume = dump.volumes.iter().find(|volume| volume.id == id);
    let volume = volume.unwrap_or_else(|| panic!("no volume {id}"));
    let mut checked = 0;
    for row in rows {
        let path = [b"/", row.path.as_slice()].concat();
        let found = volume.entries.iter().find(|entry| entry.path == path);
        let name = String::from_utf8_lossy(&row.path);
        let wanted = match row.kind.as_str() {
            "f" => "file",
            "d" => "directory",
            "l" => "link",
            "ads" => "stream",
            _ => continue,
        };
        let found = found.unwrap_or_else(|| panic!("{id}: no {name}"));
        if row.unreadable || found.kind == "refused" {
            continue;
        }
        assert_eq!(found.kind, wanted, "{name}");
        if let Some(digest) = &row.sha256 {
            assert_eq!((&sha256(&found.bytes), Some(found.bytes.len() as u64)), (digest, row.size));
            checked += 1;
        }
        if wanted == "link" {
            assert_eq!(found.bytes, row.extra, "{name}");
        }
    }
    assert!(checked > 0, "{id}: nothing was compared");
}

#[test]
fn a_program_reads_volumes_and_files_as_other_tools_do() {
    let Some(installed) = installed() else { return };
    let sample = dump(installed, &fixture("sample"));
    assert_eq!(sample.volumes.len(), 3);
    for (number, listing) in ["Windows", "BOOT", "linux"].iter().enumerate() {
        let rows = suite::fixtures::rows(&format!("sample.{listing}.tsv"));
        check_tree(&sample, &sample.volumes[number].id, &rows);
    }
    let streams = dump(installed, &fixture("ntfs-ads"));
    check_tree(&streams, &streams.volumes[0].id, &suite::fixtures::rows("ntfs-ads.tsv"));
    let chain = fixture("vmdk-chain");
    let disk = dump(installed, &chain);
    assert_eq!(disk.disks, ["0 4194304 vmdk"]);
    check_tree(&disk, &disk.volumes[0].id, &suite::fixtures::rows("vmdk-chain.tsv"));
}

#[test]
fn files_that_cannot_be_decoded_are_refused_with_their_code() {
    let Some(installed) = installed() else { return };
    let links = fixture("ntfs-symlinks");
    let dump = dump(installed, &links);
    let volume = &dump.volumes[0];
    assert!(!links.volumes[0].errors.is_empty());
    for error in &links.volumes[0].errors {
        let path = format!("/{}", error.path);
        let found = volume.entries.iter().find(|entry| entry.path == path.as_bytes());
        let found = found.unwrap_or_else(|| panic!("no {path}"));
        assert_eq!((found.kind.as_str(), found.code.as_str()), ("refused", error.code.as_str()));
    }
}

#[test]
fn volumes_over_several_disks_have_the_bytes_of_their_fixtures() {
    let Some(installed) = installed() else { return };
    for name in ["ldm-spanned", "ldm-mirrored", "ldm-raid5"] {
        let set = fixture(name);
        let dump = dump(installed, &set);
        assert!(!set.dynamic.is_empty());
        for wanted in &set.dynamic {
            let found = dump.volumes.iter().find(|volume| volume.id == wanted.id);
            let found = found.unwrap_or_else(|| panic!("{name}: no {}", wanted.id));
            assert_eq!(sha256(&found.bytes), wanted.sha256, "{name}: {}", wanted.id);
            check_tree(&dump, &wanted.id, &suite::fixtures::rows(&wanted.listing));
        }
    }
}

#[test]
fn a_program_that_is_linked_statically_reads_the_same() {
    let Some(installed) = installed() else { return };
    let sample = fixture("sample").paths();
    let own = run(Command::new(installed.compile_static("dump")).args(&sample), 0).stdout;
    let shared = run(Command::new(installed.compile("dump", "volfold")).args(&sample), 0).stdout;
    assert!(own == shared);
}

/// A file with the mark of a VMDK and nothing in it.
fn broken_image(folder: &Path) -> PathBuf {
    let path = folder.join("broken.vmdk");
    std::fs::write(&path, [b"KDMV".as_slice(), &[0xFF; 1020]].concat()).unwrap();
    path
}

#[test]
fn bad_use_is_a_status_and_leaks_nothing() {
    let Some(installed) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let broken = broken_image(folder.path());
    let sample = fixture("sample").path();
    let program = installed.compile("misuse", "volfold");
    assert_eq!(run(Command::new(&program).args([&sample, &broken]), 0).stdout, b"done\n");
    if let Some(mut valgrind) = suite::valgrind(&program) {
        run(valgrind.args([&sample, &broken]), 0);
    }
}

#[test]
fn keys_open_an_encrypted_volume() {
    let Some(installed) = installed() else { return };
    let program = installed.compile("keys", "volfold");
    let image = &fixture("luks").paths()[0];
    let output = run(Command::new(program).arg(image).arg("a secret of LUKS"), 0);
    assert_eq!(output.stdout, b"done\n");
}

#[test]
fn bad_use_of_the_vix_functions_is_a_code_and_leaks_nothing() {
    let Some(installed) = installed() else { return };
    let sample = fixture("sample").path();
    let program = installed.compile("vix_misuse", "volfold-vix");
    assert_eq!(run(Command::new(&program).arg(&sample), 0).stdout, b"done\n");
    if let Some(mut valgrind) = suite::valgrind(&program) {
        run(valgrind.arg(&sample), 0);
    }
}

#[test]
fn reading_under_valgrind_is_clean() {
    let Some(installed) = installed() else { return };
    let program = installed.compile("dump", "volfold");
    if let Some(mut valgrind) = suite::valgrind(&program) {
        let dumped = run(valgrind.args(fixture("ldm-spanned").paths()), 0).stdout;
        let plain = run(Command::new(&program).args(fixture("ldm-spanned").paths()), 0).stdout;
        assert!(dumped == plain);
    }
}

#[test]
fn four_threads_share_a_set_that_is_closed_under_them() {
    let Some(installed) = installed() else { return };
    let sample = fixture("sample").path();
    let program = installed.compile("threads", "volfold");
    for _ in 0..5 {
        assert_eq!(run(Command::new(&program).arg(&sample), 0).stdout, b"done\n");
    }
    let Some(program) = installed.compile_for_threads("threads", "volfold") else { return };
    // Only the program was compiled for it: what the library does with memory is not looked at.
    let mut command = Command::new(program);
    command.env("TSAN_OPTIONS", "ignore_noninstrumented_modules=1 exitcode=66");
    assert_eq!(run(command.arg(&sample), 0).stdout, b"done\n");
}

#[test]
fn the_layouts_are_those_of_the_headers() {
    let Some(installed) = installed() else { return };
    run(&mut Command::new(installed.compile("layout", "volfold")), 0);
}

#[test]
fn the_headers_compile_for_windows_with_its_layouts() {
    let compiler = suite::windows_compiler();
    // `.ci/windows` makes the compiler, and does the same.
    if Command::new(&compiler).arg("--version").output().is_err() {
        println!("skipped: needs {compiler}");
        return;
    }
    for source in ["layout", "dump", "misuse", "mount", "vix", "vix_misuse", "vix_system"] {
        let mut command = Command::new(&compiler);
        command.args(["-fsyntax-only", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]);
        command.arg(workspace().join("capi/include"));
        run(command.arg(c_sources().join(format!("{source}.c"))), 0);
    }
}

#[test]
fn the_example_of_the_documents_compiles() {
    if !needs("gcc", "--version") {
        return;
    }
    let text = std::fs::read_to_string(workspace().join("docs/C.md")).unwrap();
    let example = text.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("example.c");
    std::fs::write(&source, example).unwrap();
    let mut command = Command::new("gcc");
    command.args(["-fsyntax-only", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    run(command.arg(workspace().join("capi/include")).arg(source), 0);
}

#[test]
fn the_sequence_of_the_readme_runs() {
    let Some(installed) = installed() else { return };
    let text = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let sequence = text.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("readme");
    std::fs::write(program.with_extension("c"), sequence).unwrap();
    let program = installed.compile(program.to_str().unwrap(), "volfold");
    let output = run(Command::new(program).current_dir(workspace()), 0).stdout;
    assert!(output.starts_with(b"This volume is part of volfold's sample image."));
}

#[test]
fn the_headers_are_those_of_cxx_too() {
    if !needs("g++", "--version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("all.cc");
    std::fs::write(&source, "#include \"vixMntapi.h\"\n#include \"volfold.h\"\n").unwrap();
    let mut command = Command::new("g++");
    command.args([
        "-fsyntax-only",
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-I",
    ]);
    run(command.arg(workspace().join("capi/include")).arg(source), 0);
}

#[test]
fn a_program_mounts_a_set_and_frees_it() {
    let Some(installed) = installed() else { return };
    let Some(volfold) = needs_mount() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mounted");
    let mut command = Command::new(installed.compile("mount", "volfold"));
    command.env("VOLFOLD_PROGRAM", volfold).arg(&place).arg(fixture("sample").path());
    assert_eq!(run(&mut command, 0).stdout, b"done\n");
    assert!(!place.exists());
}

/// Runs `vix` over the set of `images`, of which each of the volumes has the same file `name`, with and without
/// mounts; where the guest has the volumes, in lines.
fn vix(images: &[PathBuf], name: &str, volumes: usize, digest: &str) -> Option<String> {
    let installed = installed()?;
    let program = installed.compile("vix", "volfold-vix");
    let arguments = |command: &mut Command, mode: &str| {
        command.args([mode, name]).arg(volumes.to_string()).args(images);
    };
    let mut look = Command::new(&program);
    arguments(&mut look, "look");
    run(&mut look, 0);
    if let Some(mut valgrind) = suite::valgrind(&program) {
        arguments(&mut valgrind, "look");
        run(&mut valgrind, 0);
    }
    let volfold = needs_mount()?;
    let folder = tempfile::tempdir().unwrap();
    let mut mount = Command::new(&program);
    arguments(&mut mount, "mount");
    mount.env("VOLFOLD_PROGRAM", volfold).env("TMPDIR", folder.path());
    let output = run(&mut mount, 0);
    let read = output.stdout;
    assert!(!read.is_empty() && read.len().is_multiple_of(volumes));
    for file in read.chunks(read.len() / volumes) {
        assert_eq!(sha256(file), digest);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    Some(String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_way_of_a_vix_program_leads_to_a_file_of_a_spanned_volume() {
    let set = fixture("ldm-spanned");
    let rows = suite::fixtures::rows(&set.dynamic[0].listing);
    let row = rows.iter().find(|row| row.path == b"big.bin").unwrap();
    let places = vix(&set.paths(), "big.bin", 1, row.sha256.as_ref().unwrap());
    assert!(places.is_none_or(|places| places == "place E:\\\n"));
}

#[test]
fn the_way_of_a_vix_program_leads_to_a_file_of_a_chain() {
    let rows = suite::fixtures::rows("vmdk-chain.tsv");
    let row = rows.iter().find(|row| row.kind == "f" && !row.path.contains(&b'/')).unwrap();
    let name = str::from_utf8(&row.path).unwrap();
    vix(&fixture("vmdk-chain").paths(), name, 1, row.sha256.as_ref().unwrap());
}

#[test]
fn the_way_of_a_vix_program_leads_to_files_of_three_file_systems() {
    let listings = ["Windows", "BOOT", "linux"];
    let rows = listings.map(|name| suite::fixtures::rows(&format!("sample.{name}.tsv")));
    let digests = rows.iter().flatten().filter(|row| row.path == b"README.txt");
    let digests: Vec<&String> = digests.filter_map(|row| row.sha256.as_ref()).collect();
    assert!(digests.len() == 3 && digests.iter().all(|digest| *digest == digests[0]));
    vix(&fixture("sample").paths(), "README.txt", 3, digests[0]);
}

/// An ext4 volume with a small Linux system, made by mke2fs; `None` without it.
fn linux_system(folder: &Path) -> Option<PathBuf> {
    needs("mke2fs", "-V").then(|| {
        let mut shell = vec![0; 64];
        shell[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1, 1]);
        shell[16..20].copy_from_slice(&[3, 0, 62, 0]);
        let release = b"NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        let files: [(&str, &[u8]); 4] = [
            ("etc/os-release", release),
            ("etc/hostname", b"web1\n"),
            ("etc/fstab", b"UUID=11111111-2222-3333-4444-555555555555 / ext4 defaults 0 1\n"),
            ("bin/sh", &shell),
        ];
        let root = folder.join("root");
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let image = folder.join("linux.img");
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-t", "ext4", "-U", "11111111-2222-3333-4444-555555555555", "-d"]);
        run(make.arg(root).arg(&image).arg("8M"), 0);
        image
    })
}

/// A disk with one FAT partition and a Windows on it, whose hives libhivex made; `None` without the tools.
fn windows_system(folder: &Path) -> Option<PathBuf> {
    /// What the hive has of C:: the signature of its disk, and its first byte.
    const PLACE: (u32, usize) = (0x085B_7ABE, 0x0650_0000);
    const SIZE: usize = 16 << 20;
    let tools = [("mkfs.fat", "--help"), ("mcopy", "--version"), ("mmd", "--version")];
    if !tools.iter().all(|(tool, option)| needs(tool, option)) {
        return None;
    }
    let volume = folder.join("volume.img");
    run(Command::new("mkfs.fat").arg("-C").arg(&volume).arg((SIZE >> 10).to_string()), 0);
    for part in ["Windows", "Windows/System32", "Windows/System32/config"] {
        run(Command::new("mmd").arg("-i").arg(&volume).arg(format!("::{part}")), 0);
    }
    for (hive, name) in [("software-11", "SOFTWARE"), ("system-10", "SYSTEM")] {
        let bytes = suite::fixtures::contents(&workspace().join(format!("tests/hives/{hive}.gz")));
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        let place = format!("::Windows/System32/config/{name}");
        run(Command::new("mcopy").arg("-i").arg(&volume).arg(file).arg(place), 0);
    }
    let (signature, start) = PLACE;
    let sectors = |bytes: usize| u32::try_from(bytes / 512).unwrap().to_le_bytes();
    let mut disk = vec![0; start + SIZE];
    disk[440..444].copy_from_slice(&signature.to_le_bytes());
    disk[450] = 0x06;
    disk[454..458].copy_from_slice(&sectors(start));
    disk[458..462].copy_from_slice(&sectors(SIZE));
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[start..].copy_from_slice(&std::fs::read(volume).unwrap());
    let image = folder.join("disk.img");
    std::fs::write(&image, disk).unwrap();
    Some(image)
}

#[test]
fn a_windows_is_told_with_its_letter() {
    let Some(installed) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = windows_system(folder.path()) else { return };
    let told = run(Command::new(installed.compile("vix_system", "volfold-vix")).arg(&image), 0);
    let told = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told, "1 10.0 1 Microsoft|Professional|C:\\Windows\n");
    let dump = run(Command::new(installed.compile("dump", "volfold")).arg(&image), 0);
    assert_eq!(Dump::parse(&dump.stdout).systems, ["1 10.0 desktop-1a2b3c4"]);
}

#[test]
fn the_system_of_a_set_is_told_without_a_mount() {
    let Some(installed) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = linux_system(folder.path()) else { return };
    let dump = run(Command::new(installed.compile("dump", "volfold")).arg(&image), 0);
    assert_eq!(Dump::parse(&dump.stdout).systems, ["2 12 web1"]);
    let told = run(Command::new(installed.compile("vix_system", "volfold-vix")).arg(&image), 0);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "255 12.0 1 debian|Debian GNU/Linux|/\n");
    let sample = fixture("sample").path();
    let told = run(Command::new(installed.compile("vix_system", "volfold-vix")).arg(&sample), 0);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "0 0.0 0 ||\n");
    let places = vix(&[image], "etc/hostname", 1, &sha256(b"web1\n"));
    assert!(places.is_none_or(|places| places == "place /\n"));
}

#[test]
fn the_library_is_found_by_its_name_and_leaves_nothing_else_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = suite::install::install(&[
        "--prefix",
        "/opt/volfold",
        "--destdir",
        folder.path().to_str().unwrap(),
        "--libdir",
        "lib64",
    ]) else {
        return;
    };
    let base = folder.path().join("opt/volfold");
    let text = std::fs::read_to_string(base.join("lib64/pkgconfig/volfold.pc")).unwrap();
    assert!(text.starts_with("prefix=/opt/volfold\nlibdir=${prefix}/lib64\n"), "{text}");
    for name in ["libvolfold.so", "libvolfold.so.0", "libvolfold.a", "libvolfold_vix.so.0"] {
        assert!(base.join("lib64").join(name).is_file(), "{name}");
    }
    assert!(base.join("include/volfold/vixMntapi.h").is_file());
}
