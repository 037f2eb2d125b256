//! What winget and scoop are told: made from the packages, sent to them by a person.
//!
//! Schema of winget: 1.6.0, three files for each version. Of scoop: its `schema.json`.

use std::fmt::Write;
use std::fs;

use serde_json::json;

use super::archive::digest;
use super::msi::{PUBLISHER, UPGRADE_CODE, product_code};
use super::{Package, at};
use crate::Failure;

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
const IDENTIFIER: &str = "volfold.volfold";
const SCHEMA: &str = "1.6.0";
const SUMMARY: &str = "Opens sets of disk images and shows every volume on them as a folder";
const NOTES: &str = "Mounts need WinFsp 2.1 or newer: winget install WinFsp.WinFsp";

/// Text in YAML, in whatever characters.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One file of winget's: what all have, with `lines` between.
fn winget(package: &Package, kind: &str, lines: &str) -> String {
    let schema = kind.to_lowercase();
    format!(
        "# yaml-language-server: $schema=https://aka.ms/winget-manifest.{schema}.{SCHEMA}.schema.json\n\
         PackageIdentifier: {IDENTIFIER}\n\
         PackageVersion: {}\n\
         {lines}\
         ManifestType: {kind}\n\
         ManifestVersion: {SCHEMA}\n",
        quoted(package.version),
    )
}

/// Where a package of the release will be.
fn url(package: &Package, ending: &str) -> String {
    format!("{REPOSITORY}/releases/download/v{}/{}.{ending}", package.version, package.name())
}

fn winget_version(package: &Package) -> String {
    winget(package, "version", "DefaultLocale: en-US\n")
}

/// The MSI, whose SHA-256 is `msi`.
fn winget_installer(package: &Package, msi: &str) -> String {
    let code = quoted(&product_code(package));
    let lines = format!(
        "InstallerType: msi\n\
         Scope: machine\n\
         UpgradeBehavior: install\n\
         Commands:\n\
         - volfold\n\
         Dependencies:\n\
         \x20 PackageDependencies:\n\
         \x20 - PackageIdentifier: WinFsp.WinFsp\n\
         \x20   MinimumVersion: '2.1'\n\
         ProductCode: {code}\n\
         AppsAndFeaturesEntries:\n\
         - DisplayName: volfold\n\
         \x20 Publisher: {}\n\
         \x20 ProductCode: {code}\n\
         \x20 UpgradeCode: {}\n\
         Installers:\n\
         - Architecture: x64\n\
         \x20 InstallerUrl: {}\n\
         \x20 InstallerSha256: {}\n",
        quoted(PUBLISHER),
        quoted(UPGRADE_CODE),
        url(package, "msi"),
        msi.to_uppercase(),
    );
    winget(package, "installer", &lines)
}

fn winget_locale(package: &Package) -> String {
    let mut lines = String::from("PackageLocale: en-US\n");
    let rows = [
        ("Publisher", PUBLISHER),
        ("PackageName", "volfold"),
        ("PackageUrl", REPOSITORY),
        ("License", env!("CARGO_PKG_LICENSE")),
        ("ShortDescription", SUMMARY),
        ("InstallationNotes", NOTES),
    ];
    for (key, value) in rows {
        let _ = writeln!(lines, "{key}: {}", quoted(value));
    }
    lines.push_str("Tags:\n- disk-image\n- forensics\n- ntfs\n- vmdk\n");
    winget(package, "defaultLocale", &lines)
}

/// The zip, whose SHA-256 is `zip`.
fn scoop(package: &Package, zip: &str) -> serde_json::Value {
    let next = package.name().replace(package.version, "$version");
    let at_next = format!("{REPOSITORY}/releases/download/v$version/{next}.zip");
    json!({
        "version": package.version,
        "description": SUMMARY,
        "homepage": REPOSITORY,
        "license": "MIT|Apache-2.0",
        "notes": NOTES,
        "architecture": { "64bit": {
            "url": url(package, "zip"), "hash": zip, "extract_dir": package.name(),
        } },
        "bin": "volfold.exe",
        "checkver": { "github": REPOSITORY },
        "autoupdate": {
            "architecture": { "64bit": { "url": at_next, "extract_dir": next } },
            "hash": { "url": "$baseurl/SHA256SUMS" },
        },
    })
}

/// Writes the manifests for the zip and the MSI that are there.
pub(super) fn write(package: &Package) -> Result<(), Failure> {
    let file = |folder: &str, name: &str, text: String| {
        let folder = package.out.join(folder);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let path = folder.join(name);
        fs::write(&path, text).map_err(at(&path))
    };
    let msi = digest(&package.file("msi"))?;
    let zip = digest(&package.file("zip"))?;
    file("winget", &format!("{IDENTIFIER}.yaml"), winget_version(package))?;
    file("winget", &format!("{IDENTIFIER}.installer.yaml"), winget_installer(package, &msi))?;
    file("winget", &format!("{IDENTIFIER}.locale.en-US.yaml"), winget_locale(package))?;
    file("scoop", "volfold.json", format!("{:#}\n", scoop(package, &zip)))
}

#[cfg(test)]
mod tests {
    use yaml_rust2::{Yaml, YamlLoader};

    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn package() -> Package {
        Package {
            version: "1.2.3",
            triple: "x86_64-pc-windows-msvc".to_owned(),
            out: "/out".into(),
        }
    }

    fn parsed(text: &str) -> Yaml {
        let mut documents = YamlLoader::load_from_str(text).unwrap();
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    /// `required` of the published schemas.
    const ALWAYS: [&str; 4] =
        ["PackageIdentifier", "PackageVersion", "ManifestType", "ManifestVersion"];

    fn has(manifest: &Yaml, keys: &[&str]) {
        for key in ALWAYS.iter().chain(keys) {
            assert!(manifest[*key].as_str().is_some(), "{key} is a text: {manifest:?}");
        }
    }

    #[test]
    fn manifests_of_winget_have_what_its_schema_requires() {
        let package = package();
        let version = parsed(&winget_version(&package));
        has(&version, &["DefaultLocale"]);
        assert_eq!(version["ManifestType"].as_str(), Some("version"));
        assert_eq!(version["PackageVersion"].as_str(), Some("1.2.3"));

        let locale = parsed(&winget_locale(&package));
        has(&locale, &["PackageLocale", "Publisher", "PackageName", "License", "ShortDescription"]);
        assert_eq!(locale["ManifestType"].as_str(), Some("defaultLocale"));
        assert!(locale["ShortDescription"].as_str().unwrap().len() <= 256);
        assert!(locale["Tags"].as_vec().unwrap().len() <= 16);

        let installer = parsed(&winget_installer(&package, DIGEST));
        has(&installer, &["InstallerType", "ProductCode"]);
        assert_eq!(installer["InstallerType"].as_str(), Some("msi"));
        let one = &installer["Installers"][0];
        assert_eq!(one["Architecture"].as_str(), Some("x64"));
        assert_eq!(one["InstallerSha256"].as_str(), Some(DIGEST.to_uppercase().as_str()));
        let url = one["InstallerUrl"].as_str().unwrap();
        assert_eq!(
            url,
            "https://github.com/volfold/volfold/releases/download/v1.2.3/\
             volfold-1.2.3-x86_64-pc-windows-msvc.msi"
        );
        let entry = &installer["AppsAndFeaturesEntries"][0];
        assert_eq!(entry["UpgradeCode"].as_str(), Some(UPGRADE_CODE));
        let needs = &installer["Dependencies"]["PackageDependencies"][0];
        assert_eq!(needs["PackageIdentifier"].as_str(), Some("WinFsp.WinFsp"));
    }

    #[test]
    fn the_manifest_of_scoop_finds_this_version_and_the_next() {
        let package = package();
        let manifest = scoop(&package, DIGEST);
        for key in ["version", "homepage", "license"] {
            assert!(manifest[key].is_string(), "scoop requires {key}");
        }
        let now = &manifest["architecture"]["64bit"];
        assert_eq!(now["hash"], DIGEST);
        let next = &manifest["autoupdate"]["architecture"]["64bit"];
        for key in ["url", "extract_dir"] {
            let filled = next[key].as_str().unwrap().replace("$version", "1.2.3");
            assert_eq!(now[key], filled, "{key}");
        }
    }

    #[test]
    fn a_quote_in_a_text_stays_one() {
        let yaml = parsed(&format!("a: {}", quoted("it's: #1")));
        assert_eq!(yaml["a"].as_str(), Some("it's: #1"));
    }
}
