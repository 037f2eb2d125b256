//! The package of Windows Installer, by msitools' `wixl`: the folder in Program Files, and an entry in PATH.
//!
//! It registers no service: that needs a list of mounts. It stops the one that `volfold service install` made while
//! the program is replaced, and removes it with the program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::HEXUPPER;
use sha2::{Digest, Sha256};

use super::wine::Wine;
use super::{Package, at, files, output, same};
use crate::Failure;
use crate::steps;

/// The same in every version, or Windows keeps both the old and the new one.
pub(super) const UPGRADE_CODE: &str = "{6B1C2F0A-59B5-4B0E-9D0F-3C2B8E6A7D41}";

pub(super) const PUBLISHER: &str = "volfold contributors";

/// The name that the program gives its service.
const SERVICE: &str = "volfold";

/// Variables, which `wixl` does not know. `=-*`: set, remove with the program, for all users; `[~];`: at the end.
const ENVIRONMENT: &str = "Environment\tName\tValue\tComponent_\r\ns72\tl255\tL255\ts72\r\n\
    Environment\tEnvironment\r\nPath\t=-*PATH\t[~];[INSTALLDIR]\tPath\r\n";

/// The sequence that `wixl` makes, mended. The old version goes last: what both have stays, and so does the service.
const SEQUENCE: [&str; 3] = [
    "UPDATE InstallExecuteSequence SET Sequence = 6601 WHERE Action = 'RemoveExistingProducts'",
    "INSERT INTO InstallExecuteSequence (Action, Sequence) VALUES ('RemoveEnvironmentStrings', 3300)",
    "INSERT INTO InstallExecuteSequence (Action, Sequence) VALUES ('WriteEnvironmentStrings', 5200)",
];

/// A GUID for `what`, always the same: version 8 of RFC 9562, from SHA-256.
fn guid(what: &str) -> String {
    let digest = Sha256::digest(format!("volfold MSI: {what}"));
    let digits: Vec<char> = HEXUPPER.encode(&digest).chars().collect();
    let part = |from: usize, to: usize| -> String {
        digits.get(from..to).unwrap_or_default().iter().collect()
    };
    let (a, b, c, d, e) = (part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    format!("{{{a}-{b}-8{c}-A{d}-{e}}}")
}

/// What Windows calls this version: another one for each, so that it replaces the old one.
pub(super) fn product_code(package: &Package) -> String {
    code_of(package, package.version)
}

fn code_of(package: &Package, version: &str) -> String {
    guid(&format!("product {version} {}", package.triple))
}

/// The three numbers: Windows Installer knows no `-rc.1`.
pub(super) fn product_version(version: &str) -> &str {
    version.split(['-', '+']).next().unwrap_or(version)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An id for a file: what MSI allows, and unlike every other.
fn id(path: &str) -> String {
    let safe: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let digest = guid(path);
    format!("f_{safe}_{}", digest.get(1..9).unwrap_or_default())
}

/// The component of the file at `path`. A component's GUID must never stand for another file.
fn component(package: &Package, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (id, guid) = (id(path), guid(&format!("component {path}")));
    let source = escaped(&format!("{}/{path}", package.name()));
    let mut out = format!(
        "<Component Id=\"{id}\" Guid=\"{guid}\" Win64=\"yes\">\n\
         <File Id=\"{id}\" Name=\"{}\" Source=\"{source}\" KeyPath=\"yes\"/>\n",
        escaped(name),
    );
    if path == "volfold.exe" {
        let _ = writeln!(
            out,
            "<ServiceControl Id=\"Service\" Name=\"{SERVICE}\" Stop=\"both\" Remove=\"uninstall\" Wait=\"yes\"/>"
        );
    }
    out.push_str("</Component>\n");
    out
}

/// The source of the MSI that calls itself `version`: every file of the folder, each a component of its own.
fn source(package: &Package, version: &str, paths: &[String]) -> Result<String, Failure> {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut references = String::new();
    for path in paths {
        let below = path.split_once('/').map_or("", |(below, _)| below);
        if path.matches('/').count() > 1 {
            return Err(format!("{path}: lies deeper than one folder"));
        }
        folders.entry(below).or_default().push(path);
        let _ = writeln!(references, "<ComponentRef Id=\"{}\"/>", id(path));
    }
    let mut tree = String::new();
    for (name, paths) in &folders {
        let parts: String = paths.iter().map(|path| component(package, path)).collect();
        if name.is_empty() {
            tree.push_str(&parts);
        } else {
            let name = escaped(name);
            let _ =
                write!(tree, "<Directory Id=\"d_{name}\" Name=\"{name}\">\n{parts}</Directory>\n");
        }
    }
    let text = include_str!("../../templates/volfold.wxs.in")
        .replace("@PRODUCT_CODE@", &code_of(package, version))
        .replace("@UPGRADE_CODE@", UPGRADE_CODE)
        .replace("@PATH_GUID@", &guid("component PATH"))
        .replace("@PUBLISHER@", PUBLISHER)
        .replace("@VERSION@", product_version(version))
        .replace("@DESCRIPTION@", "Shows the volumes of disk images as folders")
        .replace("@REPOSITORY@", env!("CARGO_PKG_REPOSITORY"))
        .replace("@FILES@", &tree)
        .replace("@REFERENCES@", &references);
    Ok(text)
}

/// Makes the MSI of the folder.
pub(super) fn make(package: &Package) -> Result<(), Failure> {
    make_version(package, package.version, &package.file("msi"))
}

fn make_version(package: &Package, version: &str, path: &Path) -> Result<(), Failure> {
    let temp = tempfile::tempdir().map_err(at(path))?;
    let write = |name: &str, text: &str| {
        let file = temp.path().join(name);
        fs::write(&file, text).map_err(at(&file)).map(|()| file)
    };
    let paths = files(&package.folder())?;
    let wxs = write("volfold.wxs", &source(package, version, &paths)?)?;
    // It takes no absolute paths of files.
    let mut wixl = Command::new("wixl");
    wixl.current_dir(&package.out).args(["--arch", "x64", "--output"]).arg(path).arg(wxs);
    steps::run(&mut wixl)?;
    let table = write("Environment.idt", ENVIRONMENT)?;
    steps::run(Command::new("msibuild").arg(path).arg("-i").arg(table))?;
    for query in SEQUENCE {
        steps::run(Command::new("msibuild").arg(path).args(["-q", query]))?;
    }
    Ok(())
}

/// The rows of a table of the MSI.
fn table(path: &Path, name: &str) -> Result<String, Failure> {
    output(Command::new("msiinfo").arg("export").arg(path).arg(name))
}

/// The MSI holds the files of the folder, and says what it has to do beside copying them.
pub(super) fn check(package: &Package) -> Result<(), Failure> {
    let path = package.file("msi");
    let version = product_version(package.version);
    let wanted = [
        ("Property", format!("ProductCode\t{}", product_code(package))),
        ("Property", format!("ProductVersion\t{version}")),
        ("Property", format!("UpgradeCode\t{UPGRADE_CODE}")),
        ("Property", "ALLUSERS\t1".to_owned()),
        ("Environment", "Path\t=-*PATH\t[~];[INSTALLDIR]\tPath".to_owned()),
        // 0x02 and 0x20: stop when it is installed and removed; 0x80: remove when it is removed. None starts.
        ("ServiceControl", format!("Service\t{SERVICE}\t162\t\t1\t{}", id("volfold.exe"))),
        ("Upgrade", format!("{UPGRADE_CODE}\t\t{version}\t\t1\t\tWIX_UPGRADE_DETECTED")),
        ("InstallExecuteSequence", "RemoveExistingProducts\t\t6601".to_owned()),
        ("InstallExecuteSequence", "WriteEnvironmentStrings\t\t5200".to_owned()),
    ];
    for (name, row) in wanted {
        if !table(&path, name)?.lines().any(|line| line.trim_end() == row) {
            return Err(format!("{}: table {name} lacks `{row}`", path.display()));
        }
    }
    let temp = tempfile::tempdir().map_err(at(&path))?;
    output(Command::new("msiextract").arg("--directory").arg(temp.path()).arg(&path))?;
    // Newer versions of msitools know where ProgramFiles64Folder is.
    let places = ["volfold", "Program Files/volfold"].map(|place| temp.path().join(place));
    let installed = places.iter().find(|place| place.is_dir());
    same(&package.folder(), installed.ok_or_else(|| format!("{}: no folder", path.display()))?)
}

/// Installs the MSI in a Windows of its own, then a newer one, and removes that: what Windows Installer makes of it.
pub(super) fn check_installed(package: &Package, wine: &Wine) -> Result<(), Failure> {
    const NEXT: &str = "99.0.0";
    const SERVICES: &str = r"HKLM\System\CurrentControlSet\Services";
    const PRODUCTS: &str = r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall";
    let path = package.file("msi");
    let temp = tempfile::tempdir().map_err(at(&path))?;
    let prefix = temp.path().join("prefix");
    steps::run(Command::new("cp").arg("-a").arg(wine.template()).arg(&prefix))?;
    let wine = wine.with_prefix(prefix.clone());
    let installer =
        |verb: &str, msi: &Path| steps::run(wine.command("msiexec").arg(verb).arg(msi).arg("/qn"));
    let says = |words: &[&str], wanted: &str, is_there: bool| {
        let file = temp.path().join("said");
        let out = fs::File::create(&file).map_err(at(&file))?;
        // `cmd` ends with 0 even if there is no such program.
        steps::run(wine.command("cmd").arg("/c").args(words).stdout(out))?;
        let said = fs::read_to_string(&file).map_err(at(&file))?;
        if said.contains(wanted) == is_there {
            return Ok(());
        }
        let not = if is_there { "not " } else { "" };
        Err(format!("{}: `{wanted}` is {not}in what {words:?} says: {said}", path.display()))
    };
    let folder = prefix.join("drive_c/Program Files/volfold");
    let version = format!("volfold {}", package.version);

    installer("/i", &path)?;
    same(&package.folder(), &folder)?;
    // By its name alone: found by PATH.
    says(&["volfold", "--version"], &version, true)?;
    let program = r"binPath=C:\Program Files\volfold\volfold.exe";
    steps::run(wine.command("sc").args(["create", SERVICE, program]))?;

    let next = temp.path().join("next.msi");
    make_version(package, NEXT, &next)?;
    installer("/i", &next)?;
    same(&package.folder(), &folder)?;
    says(&["reg", "query", PRODUCTS, "/s"], &code_of(package, NEXT), true)?;
    says(&["reg", "query", PRODUCTS, "/s"], &product_code(package), false)?;
    says(&["reg", "query", SERVICES], &format!(r"\{SERVICE}"), true)?;

    installer("/x", &next)?;
    says(&["volfold", "--version"], &version, false)?;
    says(&["reg", "query", SERVICES], &format!(r"\{SERVICE}"), false)?;
    if folder.exists() {
        return Err(format!("{}: leaves {}", path.display(), folder.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &'static str) -> Package {
        Package { version, triple: "x86_64-pc-windows-msvc".to_owned(), out: "/out".into() }
    }

    #[test]
    fn codes_change_with_the_version_only() {
        let (old, new) = (package("0.1.0"), package("0.2.0"));
        assert_eq!(product_code(&old), product_code(&package("0.1.0")));
        assert_ne!(product_code(&old), product_code(&new));
        let paths = ["volfold.exe".to_owned()];
        let texts = [old, new].map(|package| source(&package, package.version, &paths).unwrap());
        let [old, new] = texts;
        let guids = |text: &str| -> Vec<String> {
            let is_guid = |line: &&str| line.contains("Guid=") || line.contains("UpgradeCode=");
            text.lines().filter(is_guid).map(|line| line.trim().to_owned()).collect()
        };
        assert_eq!(guids(&old).len(), 3);
        assert_eq!(guids(&old), guids(&new), "a component keeps its GUID");
    }

    #[test]
    fn a_guid_has_its_form() {
        let guid = guid("x");
        let inner = guid.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
        let lengths: Vec<usize> = inner.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(inner.chars().all(|c| c == '-' || (c.is_ascii_hexdigit() && !c.is_lowercase())));
        assert_eq!((inner.as_bytes()[14], inner.as_bytes()[19]), (b'8', b'A'));
    }

    #[test]
    fn every_file_is_a_component_that_the_feature_names() {
        let paths = ["README.md", "docs/a&b.md", "volfold.exe"].map(str::to_owned);
        let text = source(&package("0.1.0"), "0.1.0", &paths).unwrap();
        assert!(!text.contains('@'), "every place is filled: {text}");
        assert_eq!(text.matches("<File ").count(), 3);
        assert_eq!(text.matches("<ComponentRef ").count(), 4);
        assert!(text.contains("Name=\"a&amp;b.md\""));
        assert_eq!(text.matches("<ServiceControl ").count(), 1);
        assert!(!text.contains("ServiceInstall") && !text.contains("Start="));
        assert!(source(&package("0.1.0"), "0.1.0", &["a/b/c".to_owned()]).is_err());
    }

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(product_version("0.2.0-rc.1"), "0.2.0");
        assert_eq!(product_version("1.2.3"), "1.2.3");
    }
}
