//! The licences of the libraries in the program: most of them want their text to go with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{Package, at, output};
use crate::Failure;
use crate::steps;

/// What `cargo metadata` tells.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Library>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Library {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: String,
    /// `None`: a crate of this workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

/// `None` is a dependency of the program itself; the others only help to build and test it.
#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Metadata {
    /// The libraries of others that end up in the program.
    fn linked(&self) -> Vec<&Library> {
        let own = self.packages.iter().find(|library| library.name == "volfold");
        let mut waiting: Vec<&str> = own.map(|library| library.id.as_str()).into_iter().collect();
        let mut seen: BTreeSet<&str> = waiting.iter().copied().collect();
        while let Some(id) = waiting.pop() {
            let nodes = self.resolve.nodes.iter().filter(|node| node.id == id);
            for dependency in nodes.flat_map(|node| &node.deps) {
                let is_linked = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if is_linked && seen.insert(&dependency.pkg) {
                    waiting.push(&dependency.pkg);
                }
            }
        }
        let is_of_others = |library: &&Library| library.source.is_some();
        let linked = self.packages.iter().filter(|library| seen.contains(library.id.as_str()));
        linked.filter(is_of_others).collect()
    }
}

/// Writes the names and licences of the libraries to `file`, each text once.
pub(super) fn write(package: &Package, file: &Path) -> Result<(), Failure> {
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let said = output(steps::cargo_command(&words).arg(&package.triple))?;
    let metadata: Metadata = serde_json::from_str(&said).map_err(at(Path::new("metadata")))?;
    let libraries = metadata.linked();
    let mut out = String::from("The program contains these libraries:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for library in &libraries {
        let name = format!("{} {}", library.name, library.version);
        let licence = library.license.as_deref().unwrap_or("see its text");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {name}: {licence}");
        for text in texts_of(library)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in &texts {
        let _ = write!(out, "\n{}\n{}\n\n{text}\n", "-".repeat(80), names.join(", "));
    }
    fs::write(file, out).map_err(at(file))
}

/// The files of a library that hold its licence.
fn texts_of(library: &Library) -> Result<Vec<String>, Failure> {
    const BEGIN: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
    let manifest = Path::new(&library.manifest_path);
    let folder = manifest.parent().unwrap_or(manifest);
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase());
        let is_one = name.is_some_and(|name| BEGIN.iter().any(|begin| name.starts_with(begin)));
        if is_one && path.is_file() {
            let text = fs::read(&path).map_err(at(&path))?;
            texts.push(String::from_utf8_lossy(&text).replace("\r\n", "\n").trim().to_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_helps_to_build_is_not_in_the_program() {
        let library = |id: &str, source: Option<&str>| {
            serde_json::json!({
                "id": id, "name": id, "version": "1.0.0", "license": "MIT", "source": source,
                "manifest_path": format!("/{id}/Cargo.toml"),
            })
        };
        let dependency = |id: &str, kind: Option<&str>| serde_json::json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "packages": [
                library("volfold", None), library("part", None), library("linked", Some("r")),
                library("builds", Some("r")), library("tests", Some("r")),
            ],
            "resolve": { "nodes": [
                { "id": "volfold", "deps": [
                    dependency("part", None), dependency("builds", Some("build")),
                    dependency("tests", Some("dev")),
                ] },
                { "id": "part", "deps": [dependency("linked", None)] },
                { "id": "linked", "deps": [] },
            ] },
        }))
        .unwrap();
        let linked: Vec<&str> = metadata.linked().iter().map(|l| l.name.as_str()).collect();
        assert_eq!(linked, ["linked"]);
    }
}
