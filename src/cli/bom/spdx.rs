//! Bills as SPDX.
//!
//! Specification: SPDX 2.3, JSON. `sourceInfo` names the source package in the words of Trivy, which reads
//! it there.

use std::io;

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use volfold::guest::packages::{Package, PackageKind};

use super::installed::{Installed, time};

/// What is said where nothing is known.
const NOTHING: &str = "NOASSERTION";

/// What is said of a system, or a bill, that may have more than is told.
const INCOMPLETE: &str = "This list is incomplete: not all that is installed could be read.";

/// The time of a bill without any, which the format does not allow.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
    document_namespace: String,
    creation_info: CreationInfo,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: [&'static str; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    packages: Vec<SpdxPackage<'a>>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage<'a> {
    name: &'a str,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    primary_package_purpose: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalReference<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalReference<'a> {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// What is `installed`, as JSON.
///
/// # Errors
/// If it cannot be written as JSON, which does not happen.
pub(crate) fn spdx(installed: &[Installed]) -> io::Result<String> {
    let mut content = Content { packages: Vec::new(), relationships: Vec::new() };
    let mut number: u64 = 0;
    if installed.is_empty() {
        content.relate(DOCUMENT, "DESCRIBES", NOTHING);
    }
    for (index, system) in installed.iter().enumerate() {
        let own = format!("SPDXRef-OperatingSystem-{index}");
        content.relate(DOCUMENT, "DESCRIBES", &own);
        content.packages.push(operating_system(system, &own));
        if system.is_incomplete {
            // The format's word for what is known not to be known.
            content.relate(&own, "CONTAINS", NOTHING);
        }
        for package in system.packages() {
            number = number.saturating_add(1);
            let id = format!("SPDXRef-Package-{number}");
            content.relate(&own, "CONTAINS", &id);
            content.packages.push(spdx_package(package, id));
        }
    }
    let created = time(installed).unwrap_or_else(|| NO_TIME.to_owned());
    let mut hash = Sha256::new();
    hash.update(&created);
    hash.update(serde_json::to_vec(&content)?);
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: "volfold",
        comment: is_incomplete(installed).then_some(INCOMPLETE),
        document_namespace: format!(
            "https://spdx.org/spdxdocs/volfold-{}",
            HEXLOWER.encode(&hash.finalize())
        ),
        creation_info: CreationInfo {
            created,
            creators: [concat!("Tool: volfold-", env!("CARGO_PKG_VERSION"))],
        },
        content,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Whether there may be more than a bill of `installed` tells.
fn is_incomplete(installed: &[Installed]) -> bool {
    installed.is_empty() || installed.iter().any(|system| system.is_incomplete)
}

/// The id of the bill itself.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

impl Content<'_> {
    fn relate(&mut self, one: &str, relationship_type: &'static str, other: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: one.to_owned(),
            relationship_type,
            related_spdx_element: other.to_owned(),
        });
    }
}

fn operating_system<'a>(system: &'a Installed, id: &str) -> SpdxPackage<'a> {
    SpdxPackage {
        name: system.name(),
        id: id.to_owned(),
        version_info: system.version(),
        comment: system.is_incomplete.then_some(INCOMPLETE),
        supplier: None,
        download_location: NOTHING,
        files_analyzed: false,
        source_info: None,
        license_concluded: NOTHING,
        license_declared: NOTHING,
        copyright_text: NOTHING,
        primary_package_purpose: "OPERATING-SYSTEM",
        external_refs: Vec::new(),
    }
}

fn spdx_package(package: &Package, id: String) -> SpdxPackage<'_> {
    let source = package.source.as_ref().zip(package.source_version.as_ref());
    SpdxPackage {
        name: &package.name,
        id,
        version_info: Some(package.version.clone()).filter(|version| !version.is_empty()),
        comment: None,
        supplier: package.vendor.as_deref().map(supplier),
        download_location: NOTHING,
        files_analyzed: false,
        source_info: source.map(|(name, version)| format!("built package from: {name} {version}")),
        license_concluded: NOTHING,
        license_declared: NOTHING,
        copyright_text: NOTHING,
        primary_package_purpose: match package.kind {
            PackageKind::Windows | PackageKind::Appx => "APPLICATION",
            _ => "LIBRARY",
        },
        external_refs: vec![ExternalReference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: &package.purl,
        }],
    }
}

/// `Name <mail>` as `Organization: Name (mail)`.
fn supplier(vendor: &str) -> String {
    let parts = vendor.split_once('<').and_then(|(name, mail)| {
        let mail = mail.strip_suffix('>')?.trim();
        let name = name.trim();
        (!name.is_empty() && !mail.is_empty()).then_some((name, mail))
    });
    match parts {
        Some((name, mail)) => format!("Organization: {name} ({mail})"),
        None => format!("Organization: {vendor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_in_parentheses() {
        assert_eq!(supplier("Ada <a@b.org>"), "Organization: Ada (a@b.org)");
        assert_eq!(supplier("Red Hat, Inc."), "Organization: Red Hat, Inc.");
        assert_eq!(supplier("<a@b.org>"), "Organization: <a@b.org>");
    }
}
