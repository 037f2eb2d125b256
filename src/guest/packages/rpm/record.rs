//! The package that a header tells of.

use volfold_fs::{FsError, FsResult, Timestamp};

use super::header::{Header, Tag};
use crate::guest::packages::collector::Collector;
use crate::guest::packages::package::{Package, PackageKind};

/// Adds the package with the header `blob`, which `place` names; says whether there may be more.
pub(super) fn add(blob: &[u8], place: &str, into: &mut Collector) -> bool {
    match Header::parse(blob).and_then(|header| Ok((package(&header)?, header.check()))) {
        Ok((package, check)) => {
            // It may be that of another package, and is all that is known of this one.
            if let Err(error) = check {
                into.damaged(format!("package {}: header {place}: {error}", package.name));
            }
            into.add(package)
        }
        Err(error) => {
            into.damaged(format!("header {place}: {error}"));
            true
        }
    }
}

fn package(header: &Header<'_>) -> FsResult<Package> {
    let needed = |tag, what: &str| {
        header.text(tag)?.ok_or_else(|| FsError::corrupt(format!("package header has no {what}")))
    };
    let name = needed(Tag::NAME, "name")?;
    let version = needed(Tag::VERSION, "version")?;
    let release = needed(Tag::RELEASE, "release")?;
    let version = match header.number(Tag::EPOCH)? {
        Some(epoch) => format!("{epoch}:{version}-{release}"),
        None => format!("{version}-{release}"),
    };
    let mut package = Package::new(PackageKind::Rpm, name, version);
    package.architecture = header.text(Tag::ARCHITECTURE)?;
    package.vendor = match header.text(Tag::VENDOR)? {
        Some(vendor) => Some(vendor),
        None => header.text(Tag::PACKAGER)?,
    };
    package.installed = header
        .number(Tag::INSTALL_TIME)?
        .map(|seconds| Timestamp { seconds: i64::from(seconds), nanoseconds: 0 }.to_string());
    if let Some((source, version)) = header.text(Tag::SOURCE)?.as_deref().and_then(source) {
        package.source = Some(source);
        package.source_version = Some(version);
    }
    Ok(package)
}

/// Name and version of the source package in the file `name`: `bash-5.2.15-3.el9.src.rpm`.
fn source(name: &str) -> Option<(String, String)> {
    let stem = name.strip_suffix(".rpm")?;
    let stem = stem.strip_suffix(".src").or_else(|| stem.strip_suffix(".nosrc"))?;
    let mut parts = stem.rsplitn(3, '-');
    let (release, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_owned(), format!("{version}-{release}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_package_is_named_by_its_file() {
        let expected = ("gcc-c++".to_owned(), "13.2-1.fc39".to_owned());
        assert_eq!(source("gcc-c++-13.2-1.fc39.src.rpm"), Some(expected));
        assert_eq!(source("(none)"), None);
        assert_eq!(source("bash-5.src.rpm"), None);
    }
}
