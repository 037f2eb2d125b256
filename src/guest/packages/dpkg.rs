//! The database of dpkg: paragraphs of fields.
//!
//! Specification: deb-control(5) for the form; dpkg(1) and dpkg-query(1) for `Status`, whose third word
//! is the state; Debian Policy 5.6.1 for the version in `Source`. Images without dpkg have a file for each
//! package in `status.d`, without a state.
//!
//! Changes that dpkg had not yet written into `status` when it was interrupted are in `updates`: a file for
//! each, whose name is a number, in their order. The paragraph in it stands for that of its package. Source:
//! dpkg, `lib/dpkg/dbmodify.c`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use volfold_fs::{FileData, FsResult};

use super::collector::Collector;
use super::lines::{Fields, Line, Lines};
use super::package::{Package, PackageKind};

const FIELDS: [&str; 7] =
    ["Package", "Status", "Version", "Architecture", "Multi-Arch", "Source", "Maintainer"];

/// LIMIT: paragraphs in `updates`; dpkg writes all into `status` after 250.
const MAX_UPDATES: usize = 10_000;

/// What of a paragraph tells its package from others.
type PackageId = (String, Option<String>);

/// A paragraph of `updates`.
struct Update {
    path: String,
    at: u64,
    fields: Fields,
}

/// Changes that are not in `status` yet.
#[derive(Default)]
pub(super) struct Updates {
    newest: BTreeMap<PackageId, Update>,
    /// The architectures of those that are installed for one alone, by their names.
    only: HashMap<String, Option<String>>,
}

impl Updates {
    /// Takes in the change in `file`, later than all before it; the collector is at its path, `path`.
    ///
    /// # Errors
    /// Why the rest of the file cannot be read.
    pub(super) fn take(
        &mut self,
        path: &str,
        file: Arc<dyn FileData>,
        into: &Collector,
    ) -> FsResult<()> {
        let mut has_any = false;
        paragraphs(file, |at, fields| {
            has_any = true;
            let Some(name) = fields.text("Package") else {
                into.damaged(format!("package without a name (record at byte {at})"));
                return true;
            };
            if self.newest.len() >= MAX_UPDATES {
                into.damaged(format!("only {MAX_UPDATES} changes are applied"));
                return false;
            }
            let architecture = fields.text("Architecture");
            if !is_for_several(&fields)
                && let Some(other) = self.only.insert(name.clone(), architecture.clone())
                && other != architecture
            {
                self.newest.remove(&(name.clone(), other));
            }
            let update = Update { path: path.to_owned(), at, fields };
            self.newest.insert((name, architecture), update);
            true
        })?;
        if !has_any {
            into.damaged("change of a package is empty".to_owned());
        }
        Ok(())
    }

    /// Whether the paragraph `fields` of `status` is an older one of a package that was changed.
    fn replaces(&self, fields: &Fields) -> bool {
        let Some(name) = fields.text("Package") else { return false };
        if !is_for_several(fields) && self.only.contains_key(&name) {
            return true;
        }
        self.newest.contains_key(&(name, fields.text("Architecture")))
    }

    /// Adds the packages of all changes.
    pub(super) fn add(&self, into: &mut Collector) {
        for update in self.newest.values() {
            into.enter(&update.path);
            if !end(update.at, &update.fields, into) {
                return;
            }
        }
    }
}

/// Whether a package may be installed for several architectures at once.
fn is_for_several(fields: &Fields) -> bool {
    fields.get("Multi-Arch") == Some("same")
}

/// Reads the packages that `file` has as installed.
///
/// # Errors
/// Why the rest of the file cannot be read.
pub(super) fn read(file: Arc<dyn FileData>, into: &mut Collector) -> FsResult<()> {
    read_older(file, &Updates::default(), into)
}

/// The same but for the packages that `updates` has newer.
///
/// # Errors
/// Why the rest of the file cannot be read.
pub(super) fn read_older(
    file: Arc<dyn FileData>,
    updates: &Updates,
    into: &mut Collector,
) -> FsResult<()> {
    paragraphs(file, |at, fields| updates.replaces(&fields) || end(at, &fields, into))
}

/// Gives `each` every paragraph of `file`, and the byte that it begins at, until it says that there is
/// nothing more to do.
///
/// # Errors
/// Why the rest of the file cannot be read.
fn paragraphs(file: Arc<dyn FileData>, mut each: impl FnMut(u64, Fields) -> bool) -> FsResult<()> {
    let mut lines = Lines::new(file)?;
    let mut paragraph: Option<(u64, Fields)> = None;
    while let Some(line) = lines.next_line()? {
        if line.bytes.trim_ascii().is_empty() {
            if let Some((at, fields)) = paragraph.take()
                && !each(at, fields)
            {
                return Ok(());
            }
            continue;
        }
        let (_, fields) = paragraph.get_or_insert_with(|| (line.at, Fields::default()));
        take(&line, fields);
    }
    if let Some((at, fields)) = paragraph {
        each(at, fields);
    }
    Ok(())
}

/// Takes the field of a line, if it is one that is asked for.
fn take(line: &Line<'_>, fields: &mut Fields) {
    // A line that goes on, of a field that is not asked for.
    if line.bytes.starts_with(b" ") || line.bytes.starts_with(b"\t") {
        return;
    }
    let Some(colon) = line.bytes.iter().position(|byte| *byte == b':') else {
        fields.damage.push("a line is no field".to_owned());
        return;
    };
    let (name, value) = line.bytes.split_at(colon);
    let known = FIELDS.into_iter().find(|field| field.as_bytes().eq_ignore_ascii_case(name));
    if let Some(field) = known {
        fields.set(field, value.get(1..).unwrap_or_default(), line.is_cut);
    }
}

/// Adds the package of a paragraph; says whether there may be more.
fn end(at: u64, fields: &Fields, into: &mut Collector) -> bool {
    let name = fields.text("Package");
    let who = match &name {
        Some(name) => format!("package {name}"),
        None => "package without a name".to_owned(),
    };
    for damage in &fields.damage {
        into.damaged(format!("{who}: {damage} (record at byte {at})"));
    }
    let state = fields.get("Status").map(|status| status.split_whitespace().nth(2).unwrap_or(""));
    match state {
        None | Some("installed" | "triggers-awaited" | "triggers-pending") => {}
        Some("not-installed" | "config-files") => return true,
        Some(state) => {
            into.damaged(format!("{who} is not wholly installed, and left out: {state:?}"));
            return true;
        }
    }
    let (Some(name), Some(version)) = (name, fields.text("Version")) else {
        into.damaged(format!("{who}: name or version is missing (record at byte {at})"));
        return true;
    };
    let mut package = Package::new(PackageKind::Deb, name.clone(), version.clone());
    package.architecture = fields.text("Architecture");
    package.vendor = fields.text("Maintainer");
    let (source, source_version) = match fields.text("Source") {
        Some(source) => match source.split_once('(') {
            Some((source, version)) => {
                let version = version.trim_end_matches(')').trim().to_owned();
                (source.trim().to_owned(), version)
            }
            None => (source, version),
        },
        None => (name, version),
    };
    package.source = Some(source);
    package.source_version = Some(source_version);
    into.add(package)
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::Bytes;
    use super::super::purl::Distribution;
    use super::*;

    fn parse(text: &[u8]) -> (Vec<Package>, Vec<String>) {
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        read(Arc::new(Bytes(text.to_vec())), &mut into).unwrap();
        let (packages, findings) = into.end();
        (packages, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_installed_is_told_with_its_source() {
        let (packages, findings) = parse(
            b"Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-9)\n\
            Version: 2.36-9+b1\nArchitecture: amd64\nDescription: a\n b\n .\n c:d\n\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            package: held\nstatus: hold ok triggers-pending\nversion: 2\n",
        );
        assert_eq!(findings, Vec::<String>::new());
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["held", "libc6"]);
        assert_eq!(packages[1].source.as_deref(), Some("glibc"));
        assert_eq!(packages[1].source_version.as_deref(), Some("2.36-9"));
        assert_eq!(packages[0].source.as_deref(), Some("held"));
    }

    #[test]
    fn a_change_stands_for_the_older_record_of_its_package() {
        let change = |name: &str, more: &str| {
            format!("Package: {name}\nStatus: install ok installed\n{more}\n")
        };
        let changes = [
            change("a", "Version: 2\nArchitecture: amd64\n"),
            change("a", "Version: 3\nArchitecture: all\n"),
            change("lib", "Version: 2\nArchitecture: i386\nMulti-Arch: same\n"),
            "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n".to_owned(),
            change("new", "Version: 1\n"),
            String::new(),
        ];
        let status = [
            change("a", "Version: 1\nArchitecture: amd64\n"),
            change("lib", "Version: 1\nArchitecture: amd64\nMulti-Arch: same\n"),
            change("lib", "Version: 1\nArchitecture: i386\nMulti-Arch: same\n"),
            change("gone", "Version: 1\n"),
        ];
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        let mut updates = Updates::default();
        for (number, change) in changes.into_iter().enumerate() {
            let path = format!("updates/{number}");
            into.enter(&path);
            updates.take(&path, Arc::new(Bytes(change.into_bytes())), &into).unwrap();
        }
        into.enter("status");
        let status = Arc::new(Bytes(status.concat().into_bytes()));
        read_older(status, &updates, &mut into).unwrap();
        updates.add(&mut into);
        let (packages, findings) = into.end();
        let told: Vec<_> = packages
            .iter()
            .map(|it| (&*it.name, &*it.version, it.architecture.as_deref()))
            .collect();
        let expected = [
            ("a", "3", Some("all")),
            ("lib", "1", Some("amd64")),
            ("lib", "2", Some("i386")),
            ("new", "1", None),
        ];
        assert_eq!(told, expected);
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, ["updates/5: change of a package is empty"]);
    }

    #[test]
    fn a_damaged_record_is_told_and_does_not_lose_the_others() {
        let (packages, findings) = parse(
            b"Package: a\nStatus: install ok installed\n\n\
            Package: b\nStatus: install ok half-installed\nVersion: 1\n\n\
            Package: c\nnothing\nStatus: install ok installed\nVersion: 1\xff\n\n\
            Package: d\nStatus: install ok installed\nVersion: 4\n\n\
            Version: 5\nStatus: install ok installed",
        );
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["d"]);
        assert_eq!(
            findings,
            [
                ": package a: name or version is missing (record at byte 0)",
                ": package b is not wholly installed, and left out: \"half-installed\"",
                ": package c: a line is no field (record at byte 98)",
                ": package c: field Version is not UTF-8 (record at byte 98)",
                ": package c: name or version is missing (record at byte 98)",
                ": package without a name: name or version is missing (record at byte 211)",
            ]
        );
    }
}
