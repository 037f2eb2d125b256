//! Bills as CycloneDX.
//!
//! Specification: CycloneDX 1.5, JSON (ECMA-424 is 1.6). The properties are those by which Trivy knows the
//! source package of a package.

use std::collections::HashMap;
use std::io;

use serde::Serialize;
use volfold::guest::packages::{Package, PackageKind};

use super::installed::{Installed, time};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compositions: Vec<Composition>,
}

/// What is said of how much a bill has.
#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assemblies: Vec<String>,
}

impl Composition {
    /// There may be more than what is told of these parts; without parts, than what is told at all.
    fn incomplete(assemblies: Vec<String>) -> Self {
        Self { aggregate: "incomplete", assemblies }
    }
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    tools: Tools<'a>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum ComponentType {
    Application,
    Library,
    OperatingSystem,
}

#[derive(Serialize)]
struct Component<'a> {
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    r#type: ComponentType,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Supplier<'a>>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property<'a>>,
}

#[derive(Serialize)]
struct Supplier<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    r#ref: String,
    depends_on: Vec<String>,
}

/// What is `installed`, as JSON.
///
/// # Errors
/// If it cannot be written as JSON, which does not happen.
pub(crate) fn cyclonedx(installed: &[Installed]) -> io::Result<String> {
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    let mut counts = HashMap::new();
    let mut compositions = Vec::new();
    if installed.is_empty() {
        compositions.push(Composition::incomplete(Vec::new()));
    }
    for system in installed {
        let own = distinct(
            format!("system:{}{}", system.system.volume, system.system.folder),
            &mut counts,
        );
        if system.is_incomplete {
            compositions.push(Composition::incomplete(vec![own.clone()]));
        }
        components.push(operating_system(system, own.clone()));
        let mut depends_on = Vec::new();
        for package in system.packages() {
            let reference = distinct(package.purl.clone(), &mut counts);
            components.push(component(package, reference.clone()));
            depends_on.push(reference);
        }
        dependencies.push(Dependency { r#ref: own, depends_on });
    }
    let bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.5",
        version: 1,
        metadata: Metadata {
            timestamp: time(installed),
            tools: Tools { components: [own_tool()] },
        },
        components,
        dependencies,
        compositions,
    };
    Ok(serde_json::to_string_pretty(&bom)? + "\n")
}

/// `reference`, with a number where it was there before.
fn distinct(reference: String, counts: &mut HashMap<String, u64>) -> String {
    let count = counts.entry(reference.clone()).or_default();
    *count = count.saturating_add(1);
    if *count == 1 { reference } else { format!("{reference}#{count}") }
}

fn own_tool() -> Component<'static> {
    Component {
        reference: None,
        r#type: ComponentType::Application,
        supplier: None,
        name: env!("CARGO_PKG_NAME"),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        description: None,
        purl: None,
        properties: Vec::new(),
    }
}

fn operating_system(system: &Installed, reference: String) -> Component<'_> {
    Component {
        reference: Some(reference),
        r#type: ComponentType::OperatingSystem,
        supplier: None,
        name: system.name(),
        version: system.version(),
        description: system.system.product.as_deref(),
        purl: None,
        properties: Vec::new(),
    }
}

fn component(package: &Package, reference: String) -> Component<'_> {
    let properties = [
        ("aquasecurity:trivy:SrcName", &package.source),
        ("aquasecurity:trivy:SrcVersion", &package.source_version),
    ];
    let properties = properties.into_iter().filter_map(|(name, value)| {
        let value = value.as_deref()?;
        Some(Property { name, value })
    });
    Component {
        reference: Some(reference),
        r#type: match package.kind {
            PackageKind::Windows | PackageKind::Appx => ComponentType::Application,
            _ => ComponentType::Library,
        },
        supplier: package.vendor.as_deref().map(|name| Supplier { name }),
        name: &package.name,
        version: Some(package.version.clone()).filter(|version| !version.is_empty()),
        description: None,
        purl: Some(&package.purl),
        properties: properties.collect(),
    }
}
