//! The database of Alpine's apk: records of lines `X:value`.
//!
//! Specification: "Apk spec" of the Alpine wiki, and apk-package(5): `P` is the name, `V` the version,
//! `A` the architecture, `o` the origin, `m` the maintainer; an empty line ends a record.

use std::sync::Arc;

use volfold_fs::{FileData, FsResult};

use super::collector::Collector;
use super::lines::{Fields, Lines};
use super::package::{Package, PackageKind};

const FIELDS: [&str; 5] = ["P", "V", "A", "o", "m"];

/// Reads the packages of the database `file`.
///
/// # Errors
/// Why the rest of the file cannot be read.
pub(super) fn read(file: Arc<dyn FileData>, into: &mut Collector) -> FsResult<()> {
    let mut lines = Lines::new(file)?;
    let mut record: Option<(u64, Fields)> = None;
    while let Some(line) = lines.next_line()? {
        if line.bytes.is_empty() {
            if let Some((at, fields)) = record.take()
                && !end(at, &fields, into)
            {
                return Ok(());
            }
            continue;
        }
        let (_, fields) = record.get_or_insert_with(|| (line.at, Fields::default()));
        let Some((name, [b':', value @ ..])) = line.bytes.split_at_checked(1) else {
            fields.damage.push("a line is no field".to_owned());
            continue;
        };
        if let Some(field) = FIELDS.into_iter().find(|field| field.as_bytes() == name) {
            fields.set(field, value, line.is_cut);
        }
    }
    if let Some((at, fields)) = record {
        end(at, &fields, into);
    }
    Ok(())
}

/// Adds the package of a record; says whether there may be more.
fn end(at: u64, fields: &Fields, into: &mut Collector) -> bool {
    let name = fields.text("P");
    let who = name.as_deref().unwrap_or("without a name");
    for damage in &fields.damage {
        into.damaged(format!("package {who}: {damage} (record at byte {at})"));
    }
    let (Some(name), Some(version)) = (fields.text("P"), fields.text("V")) else {
        into.damaged(format!("package {who}: name or version is missing (record at byte {at})"));
        return true;
    };
    let mut package = Package::new(PackageKind::Apk, name, version.clone());
    package.architecture = fields.text("A");
    package.vendor = fields.text("m");
    package.source = fields.text("o");
    package.source_version = package.source.is_some().then_some(version);
    into.add(package)
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::Bytes;
    use super::super::purl::Distribution;
    use super::*;

    #[test]
    fn a_record_ends_at_an_empty_line_and_a_damaged_one_is_told() {
        let text = b"C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nm:Ada <a@b.org>\nF:lib\n\
            R:ld-musl-x86_64.so.1\nZ:Q1def=\n\nP:broken\nx\n\nP:zlib\nV:1.3-r2\n";
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        read(Arc::new(Bytes(text.to_vec())), &mut into).unwrap();
        let (packages, findings) = into.end();
        let names: Vec<_> = packages.iter().map(|it| (&*it.name, &*it.version)).collect();
        assert_eq!(names, [("musl", "1.2.4-r2"), ("zlib", "1.3-r2")]);
        assert_eq!(packages[0].vendor.as_deref(), Some("Ada <a@b.org>"));
        assert_eq!(findings.len(), 2);
        assert!(findings[1].message.contains("broken: name or version is missing"));
    }
}
