//! What is installed in the systems on the disks: `volfold info --packages`, and the same by the library.

use std::fs;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use volfold::block::BlockErrorKind;
use volfold::guest::packages::{Package, Packages};
use volfold::{DiskSet, Monitor, OpenOptions, Stage};

use crate::common::program::{Scratch, VOLFOLD, run, text, volfold};
use crate::guest::write;
use crate::harness::{apply, needs_programs, test};

const STATUS: &str = "\
Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: glibc (2.36-9+deb12u7)
Version: 2.36-9+deb12u7+b1
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Description: GNU C Library
 Contains the standard libraries.
 .
 And others.

Package: libc6
Status: install ok installed
Architecture: i386
Multi-Arch: same
Version: 2.36-9+deb12u7+b1

Package: curl
Status: hold ok installed
Architecture: amd64
Version: 7.88

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0

";

const RELEASE: &str =
    "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";

/// A system of `files`, on an ext4 volume.
fn system(scratch: &Scratch, release: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = scratch.join("root");
    write(&root, &[("etc/os-release", release.as_bytes())]);
    write(&root, files);
    volume(scratch, &root)
}

/// An ext4 volume of what is in `root`.
fn volume(scratch: &Scratch, root: &Path) -> PathBuf {
    needs_programs(&["mke2fs"]);
    let image = scratch.join("disk.img");
    let mut make = Command::new("mke2fs");
    run(make.args(["-q", "-F", "-t", "ext4", "-d"]).arg(root).arg(&image).arg("16M")).code(0);
    image
}

/// What is installed in the only system of `image`.
fn packages(image: &Path) -> Packages {
    let set = DiskSet::open([image], &OpenOptions::default()).expect("a set");
    let systems = &set.os_info().expect("the systems").systems;
    assert_eq!(systems.len(), 1);
    set.packages(&systems[0]).expect("the packages")
}

/// Name, version and architecture of each package, as one line each, sorted.
fn lines(packages: &[Package]) -> Vec<String> {
    let mut lines: Vec<String> = packages
        .iter()
        .map(|package| {
            let architecture = package.architecture.as_deref().unwrap_or("-");
            format!("{}\t{}\t{architecture}", package.name, package.version)
        })
        .collect();
    lines.sort();
    lines
}

/// The lines of `text`, sorted.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn purl<'a>(packages: &'a [Package], name: &str) -> &'a str {
    &packages.iter().find(|package| package.name == name).expect("a package").purl
}

#[apply(test)]
fn what_dpkg_has_installed_is_told_as_dpkg_itself_tells_it() {
    needs_programs(&["dpkg-query"]);
    let scratch = Scratch::new("packages-dpkg");
    let single: &[u8] = b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n";
    let files: [(&str, &[u8]); 3] = [
        ("var/lib/dpkg/status", STATUS.as_bytes()),
        ("var/lib/dpkg/status.d/tzdata", single),
        ("var/lib/dpkg/status.d/tzdata.md5sums", b"00  usr/share/zoneinfo/UTC\n"),
    ];
    let image = system(&scratch, RELEASE, &files);
    let told = packages(&image);
    assert_eq!(told.findings, []);
    let admin = format!("--admindir={}", text(&scratch.join("root/var/lib/dpkg")));
    let format = "-f${db:Status-Status} ${Package}\\t${Version}\\t${Architecture}\\n";
    let witness = run(Command::new("dpkg-query").args([admin.as_str(), "-W", format])).code(0);
    let installed: Vec<String> = witness
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .chain(["tzdata\t2024a\tall".to_owned()])
        .collect();
    assert_eq!(lines(&told.packages), sorted(&installed.join("\n")));
    assert_eq!(
        purl(&told.packages, "libc6"),
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u7%2Bb1?arch=amd64&distro=debian-12\
         &upstream=glibc%402.36-9%2Bdeb12u7"
    );
    assert_eq!(
        purl(&told.packages, "curl"),
        "pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12"
    );
    let shown = volfold(["info", "--packages", text(&image)]).code(0).text();
    assert_eq!(sorted(&shown), lines(&told.packages));
}

#[apply(test)]
fn packages_that_are_stopped_are_an_error_and_no_shorter_list() {
    let scratch = Scratch::new("packages-stopped");
    let image = system(&scratch, RELEASE, &[("var/lib/dpkg/status", STATUS.as_bytes())]);
    let mut options = OpenOptions::default();
    options.monitor = Monitor::new(|progress| match progress.stage {
        Stage::Packages => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let set = DiskSet::open([image], &options).expect("a set");
    let system = &set.os_info().expect("the systems").systems[0];
    let error = set.packages(system).expect_err("it was stopped");
    assert_eq!(error.kind(), BlockErrorKind::Stopped);
}

#[apply(test)]
fn packages_are_told_within_their_system_only_where_they_are_asked_for() {
    let scratch = Scratch::new("packages-json");
    let image = system(&scratch, RELEASE, &[("var/lib/dpkg/status", STATUS.as_bytes())]);
    let answer = volfold(["info", "--json", text(&image)]).code(0).json();
    assert_eq!(answer["systems"][0].get("packages"), None);
    let answer = volfold(["info", "--packages", "--json", text(&image)]).code(0).json();
    let expected = json!({
        "name": "curl",
        "version": "7.88",
        "architecture": "amd64",
        "source": "curl",
        "source_version": "7.88",
        "vendor": null,
        "installed": null,
        "kind": "deb",
        "purl": "pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12",
    });
    assert_eq!(answer["systems"][0]["packages"][0], expected);
    volfold(["info", "--sbom", "spdx", "--json", text(&image)]).code(2);
}

#[apply(test)]
fn apk_and_pacman_are_told_and_a_damaged_record_costs_no_other() {
    let scratch = Scratch::new("packages-text");
    let apk: &[u8] =
        b"C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\nP:lost\n\nP:zlib\nV:1.3-r2\nA:x86_64\n\n";
    let desc: &[u8] =
        b"%NAME%\npacman\n\n%VERSION%\n6.1.0-3\n\n%ARCH%\nx86_64\n\n%INSTALLDATE%\n1714555800\n";
    let files: [(&str, &[u8]); 4] = [
        ("lib/apk/db/installed", apk),
        ("var/lib/pacman/local/pacman-6.1.0-3/desc", desc),
        ("var/lib/pacman/local/ALPM_DB_VERSION", b"9\n"),
        ("var/lib/pacman/local/empty-1-1/files", b""),
    ];
    let image = system(&scratch, "ID=alpine\nVERSION_ID=3.19.1\n", &files);
    let told = packages(&image);
    let expected = ["musl\t1.2.4-r2\tx86_64", "pacman\t6.1.0-3\tx86_64", "zlib\t1.3-r2\tx86_64"];
    assert_eq!(lines(&told.packages), expected);
    assert_eq!(
        purl(&told.packages, "musl"),
        "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1"
    );
    let findings: Vec<String> = told.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "/lib/apk/db/installed: package lost: name or version is missing (record at byte 41)",
            "/var/lib/pacman/local/empty-1-1/desc: the file of a package is missing",
        ]
    );
    assert!(told.findings.iter().all(|finding| finding.code.as_str() == "guest-unreadable"));
    volfold(["info", "--packages", text(&image)]).code(3).says("package lost");
}

#[apply(test)]
fn the_debian_that_runs_this_is_told_as_its_own_tools_tell_it() {
    needs_programs(&["dpkg-query", "sh"]);
    let scratch = Scratch::new("packages-host");
    let files = ["var/lib/dpkg/status", "etc/os-release"];
    let read = |name: &&str| fs::read(Path::new("/").join(name)).expect("a file of Debian");
    let contents = files.each_ref().map(read);
    let files: Vec<(&str, &[u8])> =
        files.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
    write(&scratch.join("root"), &files);
    let image = volume(&scratch, &scratch.join("root"));
    let set = DiskSet::open([&image], &OpenOptions::default()).expect("a set");
    let system = &set.os_info().expect("the systems").systems[0];
    let script = ". /etc/os-release; printf '%s\\n' \"$PRETTY_NAME\" \"$ID\" \"$VERSION_ID\"";
    let witness = run(Command::new("sh").args(["-c", script])).code(0).text();
    let told = [&system.product, &system.vendor, &system.version];
    let told: Vec<&str> = told.into_iter().map(|it| it.as_deref().unwrap_or_default()).collect();
    assert_eq!(told, witness.lines().collect::<Vec<_>>());
    let format = "-f${db:Status-Status} ${Package}\\t${Version}\\t${Architecture}\\n";
    let witness = run(Command::new("dpkg-query").args(["-W", format])).code(0).text();
    let installed = witness.lines().filter_map(|line| line.strip_prefix("installed "));
    let installed: Vec<String> = installed.map(str::to_owned).collect();
    let told = set.packages(system).expect("the packages");
    assert_eq!(told.findings, []);
    assert!(installed.len() > 50);
    assert_eq!(lines(&told.packages), sorted(&installed.join("\n")));
}

#[apply(test)]
fn what_pacman_has_installed_is_told_as_pacman_itself_tells_it() {
    needs_programs(&["pacman", "fakeroot"]);
    let scratch = Scratch::new("packages-pacman");
    let (root, config) = (scratch.join("root"), scratch.join("pacman.conf"));
    write(&root, &[("etc/os-release", b"ID=arch\nPRETTY_NAME=\"Arch Linux\"\n")]);
    fs::create_dir_all(root.join("var/lib/pacman")).expect("a folder");
    fs::write(&config, "[options]\nArchitecture = x86_64\nSigLevel = Never\n").expect("a file");
    let mut archives = Vec::new();
    for (name, version, architecture) in [
        ("alpha", "2:1.0-3", "any"),
        ("c++-tool", "1.2.r3.gabcdef-1", "x86_64"),
        ("lib32-z", "1-1", "any"),
    ] {
        let folder = scratch.join(name);
        let about = format!(
            "pkgname = {name}\npkgbase = {name}\npkgver = {version}\npkgdesc = x\nbuilddate = 1714555800\n\
             packager = Example <a@example.org>\nsize = 1\narch = {architecture}\nlicense = MIT\n"
        );
        write(&folder, &[(".PKGINFO", about.as_bytes()), (&format!("opt/{name}"), b"x")]);
        let archive = scratch.join(format!("{name}.pkg.tar"));
        let mut tar = Command::new("tar");
        tar.args(["--format=gnu", "-cf"]).arg(&archive).arg("-C").arg(&folder);
        run(tar.args([".PKGINFO", "opt"])).code(0);
        archives.push(archive);
    }
    let pacman = |words: &[&str]| {
        let mut command = Command::new("fakeroot");
        command.args(["pacman", "--noconfirm"]);
        command.arg("--config").arg(&config).arg("--root").arg(&root);
        command.arg("--dbpath").arg(root.join("var/lib/pacman")).args(words);
        command.env("LC_ALL", "C");
        command
    };
    run(pacman(&["-U"]).args(&archives)).code(0);
    run(&mut pacman(&["-R", "lib32-z"])).code(0);
    let witness = run(&mut pacman(&["-Qi"])).code(0).text();
    let field = |record: &str, wanted: &str| -> String {
        let mut lines = record.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.trim_end() == wanted).expect("a field");
        found.1.trim().to_owned()
    };
    let expected: Vec<String> = witness
        .split("\n\n")
        .filter(|record| !record.trim().is_empty())
        .map(|record| {
            ["Name", "Version", "Architecture"].map(|name| field(record, name)).join("\t")
        })
        .collect();
    assert_eq!(expected.len(), 2);
    let told = packages(&volume(&scratch, &root));
    assert_eq!(told.findings, []);
    assert_eq!(lines(&told.packages), sorted(&expected.join("\n")));
    assert_eq!(purl(&told.packages, "alpha"), "pkg:alpm/arch/alpha@2:1.0-3?arch=any&distro=arch");
}

#[apply(test)]
fn the_programs_of_a_windows_are_told_as_libhivex_reads_them() {
    needs_programs(&["hivexregedit", "hivexget"]);
    let scratch = Scratch::new("packages-windows");
    let hive = scratch.join("root/Windows/System32/config/SOFTWARE");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hives/software-11.gz");
    let mut bytes = Vec::new();
    let packed = fs::File::open(fixture).expect("a hive");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("gzip");
    write(&scratch.join("root"), &[("Windows/System32/config/SOFTWARE", &bytes)]);
    let keys = [
        (r"Microsoft\Windows\CurrentVersion\Uninstall\7-Zip", "7-Zip 23.01 (x64)", "23.01"),
        (
            r"Microsoft\Windows\CurrentVersion\Uninstall\{90160000-008C-0000-1000-0000000FF1CE}",
            "Gr\u{fc}\u{df}e \u{65e5}\u{672c} Office",
            "16.0.4266.1001",
        ),
        (r"WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\Old", "Old program", "1.0"),
    ];
    let mut changes = "Windows Registry Editor Version 5.00\n".to_owned();
    for (key, name, version) in keys {
        let text = |text: &str| {
            let bytes = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
            let bytes: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
            format!("hex(1):{}", bytes.join(","))
        };
        // The parents of a key are not made for it; those that are there stay.
        for (end, _) in key.match_indices('\\') {
            changes.push_str(&format!("\n[\\{}]\n", &key[..end]));
        }
        changes.push_str(&format!(
            "\n[\\{key}]\n\"DisplayName\"={}\n\"DisplayVersion\"={}\n\"Publisher\"={}\n",
            text(name),
            text(version),
            text("Example"),
        ));
    }
    let file = scratch.join("changes.reg");
    fs::write(&file, changes).expect("a file");
    run(Command::new("hivexregedit").arg("--merge").arg(&hive).arg(&file)).code(0);
    let get = |key: &str, value: &str| {
        let mut command = Command::new("hivexget");
        run(command.arg(&hive).arg(key).arg(value)).code(0).text().trim_end().to_owned()
    };
    let witness: Vec<String> = keys
        .iter()
        .map(|(key, ..)| {
            let architecture = if key.starts_with("WOW") { "x86" } else { "-" };
            format!("{}\t{}\t{architecture}", get(key, "DisplayName"), get(key, "DisplayVersion"))
        })
        .collect();
    let told = packages(&volume(&scratch, &scratch.join("root")));
    assert_eq!(lines(&told.packages), sorted(&witness.join("\n")));
    assert_eq!(get(keys[0].0, "DisplayName"), keys[0].1);
}

/// The database of RPM's own form that RPM 4.20 made (`tests/packages/make`), and what it tells of it.
#[apply(test)]
fn a_database_of_rpms_own_form_is_told_as_rpm_itself_tells_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let mut database = Vec::new();
    let packed = fs::File::open(folder.join("rpm-ndb.gz")).expect("a database");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut database).expect("gzip");
    let witness = fs::read_to_string(folder.join("rpm-ndb.tsv")).expect("a list");
    let scratch = Scratch::new("packages-ndb");
    let release = "ID=opensuse-leap\nVERSION_ID=\"15.6\"\n";
    let image = system(&scratch, release, &[("usr/lib/sysimage/rpm/Packages.db", &database)]);
    let told = packages(&image);
    assert_eq!(told.findings, []);
    assert_eq!(lines(&told.packages), sorted(&witness));
}

/// Makes packages and installs them into the database in `folder`; what `rpm` tells of it.
fn rpm_database(scratch: &Scratch, folder: &Path) -> String {
    needs_programs(&["rpm", "rpmbuild"]);
    let top = scratch.join("build");
    fs::create_dir_all(folder).expect("a folder");
    let rpm = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["--define", "_db_backend sqlite"]);
        command.arg("--define").arg(format!("_topdir {}", text(&top)));
        command.arg("--dbpath").arg(folder);
        run(command.args(arguments)).code(0).text()
    };
    rpm("rpm", &["--initdb"]);
    for (name, more) in [("alpha", "Epoch: 3"), ("c++tool", "Vendor: Example, Inc."), ("many", "")]
    {
        let spec = scratch.join(format!("{name}.spec"));
        // The header of the last one needs pages of its own.
        let count = if name == "many" { 2000 } else { 1 };
        let content = format!(
            "Name: {name}\nVersion: 1.2\nRelease: 3.el9\nSummary: x\nLicense: MIT\nBuildArch: noarch\n\
             {more}\n%description\nx\n%install\nmkdir -p %{{buildroot}}/opt/{name}\n\
             for n in $(seq {count}); do : > %{{buildroot}}/opt/{name}/file-$n; done\n\
             %files\n/opt/{name}\n"
        );
        fs::write(&spec, content).expect("a file");
        rpm("rpmbuild", &["-bb", "--quiet", text(&spec)]);
        let package = top.join(format!("RPMS/noarch/{name}-1.2-3.el9.noarch.rpm"));
        rpm("rpm", &["-i", "--justdb", "--nodeps", text(&package)]);
    }
    rpm("rpm", &["-qa", "--qf", "%{NAME}\\t%{EVR}\\t%{ARCH}\\n"])
}

#[apply(test)]
fn what_rpm_has_installed_is_told_as_rpm_itself_tells_it() {
    let scratch = Scratch::new("packages-rpm");
    let folder = scratch.join("root/var/lib/rpm");
    let witness = rpm_database(&scratch, &folder);
    let image = system(&scratch, "ID=rhel\nVERSION_ID=9.3\n", &[]);
    let told = packages(&image);
    assert_eq!(told.findings, []);
    assert_eq!(told.packages.len(), 3);
    assert_eq!(lines(&told.packages), sorted(&witness));
    assert_eq!(
        purl(&told.packages, "alpha"),
        "pkg:rpm/redhat/alpha@1.2-3.el9?arch=noarch&distro=rhel-9.3&epoch=3\
         &upstream=alpha-1.2-3.el9.src.rpm"
    );
    let tool = told.packages.iter().find(|package| package.name == "c++tool").expect("it");
    assert_eq!(tool.vendor.as_deref(), Some("Example, Inc."));
    assert!(tool.installed.as_ref().is_some_and(|time| time.len() == 20));
}

#[apply(test)]
fn changes_that_are_only_in_the_log_of_a_database_are_applied() {
    needs_programs(&["sqlite3"]);
    let scratch = Scratch::new("packages-log");
    let folder = scratch.join("database");
    rpm_database(&scratch, &folder);
    // A connection that stays open keeps its changes in the log; the copy is what a power cut leaves.
    let copy = scratch.join("root/var/lib/rpm");
    fs::create_dir_all(&copy).expect("a folder");
    let database = folder.join("rpmdb.sqlite");
    let commands = format!(
        "pragma journal_mode=wal; pragma wal_autocheckpoint=0; delete from Packages where hnum=1;\n\
         .shell cp {0} {0}-wal {1}\n",
        text(&database),
        text(&copy)
    );
    let script = scratch.join("script");
    fs::write(&script, commands).expect("a file");
    run(Command::new("sqlite3").arg(&database).arg(format!(".read {}", text(&script)))).code(0);
    assert!(fs::metadata(copy.join("rpmdb.sqlite-wal")).expect("a log").len() > 0);
    let image = system(&scratch, "ID=fedora\nVERSION_ID=39\n", &[]);
    let told = packages(&image);
    assert_eq!(told.findings, []);
    assert_eq!(lines(&told.packages), ["c++tool\t1.2-3.el9\tnoarch", "many\t1.2-3.el9\tnoarch"]);
}

#[apply(test)]
fn a_berkeley_database_of_either_byte_order_is_told() {
    needs_programs(&["sqlite3", "db5.3_load"]);
    for order in ["1234", "4321"] {
        let scratch = Scratch::new("packages-berkeley");
        let folder = scratch.join("database");
        let witness = rpm_database(&scratch, &folder);
        // The headers as RPM made them, as a database of the older kind.
        let database = folder.join("rpmdb.sqlite");
        let query = "select printf('%08x', hnum), hex(blob) from Packages";
        let rows = run(Command::new("sqlite3").arg(&database).arg(query)).code(0).text();
        let mut dump = format!(
            "VERSION=3\nformat=bytevalue\ntype=hash\ndb_lorder={order}\ndb_pagesize=4096\nHEADER=END\n \
             00000000\n 03000000\n"
        );
        for row in rows.lines() {
            let (number, blob) = row.split_once('|').expect("two columns");
            // Keys are in the order of the machine, which the load leaves as they are.
            let number = u32::from_str_radix(number, 16).expect("a number");
            let number = if order == "1234" { number.swap_bytes() } else { number };
            dump.push_str(&format!(" {number:08x}\n {}\n", blob.to_lowercase()));
        }
        dump.push_str("DATA=END\n");
        let (loaded, root) = (scratch.join("dump"), scratch.join("root/var/lib/rpm"));
        fs::write(&loaded, dump).expect("a file");
        fs::create_dir_all(&root).expect("a folder");
        let mut load = Command::new("db5.3_load");
        run(load.arg("-f").arg(&loaded).arg(root.join("Packages"))).code(0);
        let image = system(&scratch, "ID=centos\nVERSION_ID=7\n", &[]);
        let told = packages(&image);
        assert_eq!(told.findings, [], "{order}");
        assert_eq!(lines(&told.packages), sorted(&witness), "{order}");
    }
}

/// The bill of materials of `image`, with or without a time of its own.
fn bill(image: &Path, kind: &str, time: Option<&str>) -> Value {
    let mut command = Command::new(VOLFOLD);
    command.args(["info", "--sbom", kind]).arg(image);
    command.env_remove("SOURCE_DATE_EPOCH");
    if let Some(time) = time {
        command.env("SOURCE_DATE_EPOCH", time);
    }
    let first = run(&mut command).code(0);
    assert_eq!(first.stdout, run(&mut command).code(0).stdout, "the same disks, the same bytes");
    first.json()
}

#[apply(test)]
fn a_bill_of_materials_has_the_system_and_its_packages() {
    let scratch = Scratch::new("packages-bill");
    let image = system(&scratch, RELEASE, &[("var/lib/dpkg/status", STATUS.as_bytes())]);
    let bom = bill(&image, "cyclonedx", None);
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
    assert_eq!(bom["metadata"].get("timestamp"), None);
    let components = bom["components"].as_array().expect("components");
    assert_eq!(components.len(), 4);
    let system = &components[0];
    assert_eq!(system["type"], "operating-system");
    assert_eq!((&system["name"], &system["version"]), (&json!("debian"), &json!("12")));
    let purl = "pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12";
    assert_eq!(components[1]["purl"], purl);
    assert_eq!(bom["dependencies"][0]["ref"], system["bom-ref"]);
    assert_eq!(bom["dependencies"][0]["dependsOn"][0], components[1]["bom-ref"]);
    let bom = bill(&image, "cyclonedx", Some("1714555800"));
    assert_eq!(bom["metadata"]["timestamp"], "2024-05-01T09:30:00Z");

    let spdx = bill(&image, "spdx", Some("1714555800"));
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    assert_eq!(spdx["creationInfo"]["created"], "2024-05-01T09:30:00Z");
    let packages = spdx["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), 4);
    assert_eq!(packages[0]["primaryPackagePurpose"], "OPERATING-SYSTEM");
    assert_eq!(packages[1]["externalRefs"][0]["referenceLocator"], purl);
    assert_eq!(packages[3]["name"], "libc6");
    let relations = spdx["relationships"].as_array().expect("relationships");
    assert_eq!(relations[0]["relationshipType"], "DESCRIBES");
    assert_eq!(relations[1]["relationshipType"], "CONTAINS");
}

#[apply(test)]
fn a_bill_is_valid_for_the_tools_of_spdx() {
    needs_programs(&["pyspdxtools"]);
    let scratch = Scratch::new("packages-spdx");
    let image = system(&scratch, RELEASE, &[("var/lib/dpkg/status", STATUS.as_bytes())]);
    let file = scratch.join("bill.spdx.json");
    fs::write(&file, bill(&image, "spdx", None).to_string()).expect("a file");
    run(Command::new("pyspdxtools").arg("--infile").arg(&file)).code(0);
}

/// The findings, as sentences with their paths.
fn told(packages: &Packages) -> Vec<String> {
    packages.findings.iter().map(ToString::to_string).collect()
}

#[apply(test)]
fn changes_of_an_interrupted_dpkg_count_and_an_older_status_does_not() {
    let scratch = Scratch::new("packages-interrupted");
    let change = |name: &str, version: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        )
    };
    let (first, second) = (change("curl", "8.0"), change("curl", "8.1"));
    let new = change("new", "1");
    let mut files: Vec<(&str, &[u8])> = vec![
        ("var/lib/dpkg/status", STATUS.as_bytes()),
        ("var/lib/dpkg/updates/0000", first.as_bytes()),
        ("var/lib/dpkg/updates/0001", second.as_bytes()),
        ("var/lib/dpkg/updates/0002", new.as_bytes()),
        ("var/lib/dpkg/updates/tmp.i", b"Package: half"),
    ];
    let both = packages(&system(&scratch, RELEASE, &files));
    assert_eq!(both.findings, []);
    let c = "2.36-9+deb12u7+b1";
    let libraries = [format!("libc6\t{c}\tamd64"), format!("libc6\t{c}\ti386")];
    let mut expected = vec!["curl\t8.1\tamd64".to_owned()];
    expected.extend(libraries);
    expected.push("new\t1\tamd64".to_owned());
    assert_eq!(lines(&both.packages), expected);
    // A change that cannot be used, and one whose name is of another length.
    let scratch = Scratch::new("packages-odd-change");
    files.extend([
        ("var/lib/dpkg/updates/0003", b"Version: 3\n".as_slice()),
        ("var/lib/dpkg/updates/00040", b""),
    ]);
    let folder = "/var/lib/dpkg/updates";
    let expected = [
        format!("{folder}: changes have names of different lengths, which dpkg refuses"),
        format!("{folder}/0003: package without a name (record at byte 0)"),
        format!("{folder}/00040: change of a package is empty"),
    ];
    assert_eq!(told(&packages(&system(&scratch, RELEASE, &files))), expected);
    let scratch = Scratch::new("packages-old-status");
    let image = system(&scratch, RELEASE, &[("var/lib/dpkg/status-old", STATUS.as_bytes())]);
    let expected = [
        "/var/lib/dpkg/status: file is missing; status-old beside it, which is older, is not read",
        "/: no package database that can be read was found",
    ];
    assert_eq!(told(&packages(&image)), expected);
}

/// A system: its name, its files, and what is told of it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a [u8])], &'a [&'a str]);

#[apply(test)]
fn no_list_is_taken_for_that_of_a_system_without_packages() {
    let gentoo: &[(&str, &[u8])] = &[("var/db/pkg/sys-libs/glibc-2.38/PF", b"glibc-2.38\n")];
    let none = "/: no package database that can be read was found";
    let cases: [Case<'_>; 5] = [
        ("none", &[], &[none]),
        (
            "gentoo",
            gentoo,
            &[
                "/var/db/pkg: the package database of Gentoo's Portage or pkg of BSD is not read",
                none,
            ],
        ),
        (
            "empty",
            &[("var/lib/dpkg/status", b"")],
            &["/: no package is installed, as the databases of the system tell"],
        ),
        (
            "folder",
            &[("var/lib/dpkg/status/x", b"")],
            &["/var/lib/dpkg/status: is a directory", none],
        ),
        (
            "file",
            &[("var/lib/pacman/local", b"")],
            &["/var/lib/pacman/local: not a directory", none],
        ),
    ];
    for (name, files, expected) in cases {
        let scratch = Scratch::new(&format!("packages-without-{name}"));
        let image = system(&scratch, "ID=other\n", files);
        assert_eq!(told(&packages(&image)), expected, "{name}");
        let image = text(&image);
        volfold(["info", image]).code(0);
        let shown = volfold(["info", "--packages", image]).code(3);
        assert_eq!(shown.text(), "");
        shown.says(expected[0].split_once(": ").expect("a path").1);
        let json = volfold(["info", "--packages", "--json", image]).code(3).json();
        assert_eq!(json["findings"].as_array().expect("findings").len(), expected.len());
        let bom = volfold(["info", "--sbom", "cyclonedx", image]).code(3).json();
        let own = &bom["components"][0]["bom-ref"];
        assert_eq!(
            bom["compositions"],
            json!([{ "aggregate": "incomplete", "assemblies": [own] }])
        );
        let spdx = volfold(["info", "--sbom", "spdx", image]).code(3).json();
        assert!(spdx["comment"].as_str().expect("a comment").contains("incomplete"));
        assert_eq!(spdx["packages"][0]["comment"], spdx["comment"]);
        let related = &spdx["relationships"][1]["relatedSpdxElement"];
        assert_eq!(related, "NOASSERTION");
    }
    // Disks without a system.
    let scratch = Scratch::new("packages-no-system");
    let data = scratch.join("data");
    write(&data, &[("file", b"x")]);
    let image = volume(&scratch, &data);
    volfold(["info", text(&image)]).code(0);
    volfold(["info", "--packages", text(&image)]).code(3).says("no installed system was found");
    let bom = volfold(["info", "--sbom", "cyclonedx", text(&image)]).code(3).json();
    assert_eq!(bom["compositions"], json!([{ "aggregate": "incomplete" }]));
    let spdx = volfold(["info", "--sbom", "spdx", text(&image)]).code(3).json();
    assert_eq!(spdx["relationships"][0]["relatedSpdxElement"], "NOASSERTION");
}

#[apply(test)]
fn a_header_of_rpm_that_was_changed_is_told_and_costs_no_other() {
    let scratch = Scratch::new("packages-rpm-changed");
    let folder = scratch.join("root/var/lib/rpm");
    rpm_database(&scratch, &folder);
    let database = folder.join("rpmdb.sqlite");
    let mut bytes = fs::read(&database).expect("a database");
    let source = b"alpha-1.2-3.el9.src.rpm";
    let places: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(source)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 5].copy_from_slice(b"omega");
    }
    fs::write(&database, bytes).expect("a database");
    let told = packages(&system(&scratch, "ID=rhel\nVERSION_ID=9.3\n", &[]));
    assert_eq!(told.packages.len(), 3);
    let findings: Vec<String> = told.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("package alpha: header "), "{findings:?}");
    assert!(findings[0].ends_with("package header has another SHA-256 than it records"));
}
