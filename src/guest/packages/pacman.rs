//! The database of pacman: a file `desc` for each package.
//!
//! Specification: the sources of libalpm, `be_local.c`: a line `%NAME%`, lines of values, an empty line.
//! Times are seconds since 1970.

use std::sync::Arc;

use volfold_fs::{FileData, FsResult, Timestamp};

use super::collector::Collector;
use super::lines::{Fields, Lines};
use super::package::{Package, PackageKind};

const FIELDS: [&str; 6] =
    ["%NAME%", "%VERSION%", "%ARCH%", "%BASE%", "%PACKAGER%", "%INSTALLDATE%"];

/// Reads the package of the file `desc`; says whether there may be more.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn read(file: Arc<dyn FileData>, into: &mut Collector) -> FsResult<bool> {
    let mut lines = Lines::new(file)?;
    let mut fields = Fields::default();
    let mut field = None;
    while let Some(line) = lines.next_line()? {
        match field.take() {
            Some(name) => fields.set(name, line.bytes, line.is_cut),
            None => field = FIELDS.into_iter().find(|field| field.as_bytes() == line.bytes),
        }
    }
    for damage in &fields.damage {
        into.damaged(damage.clone());
    }
    let (Some(name), Some(version)) = (fields.text("%NAME%"), fields.text("%VERSION%")) else {
        into.damaged("name or version of the package is missing".to_owned());
        return Ok(true);
    };
    let mut package = Package::new(PackageKind::Alpm, name, version.clone());
    package.architecture = fields.text("%ARCH%");
    package.vendor = fields.text("%PACKAGER%");
    package.source = fields.text("%BASE%");
    package.source_version = package.source.is_some().then_some(version);
    let seconds = fields.text("%INSTALLDATE%").map(|seconds| seconds.parse::<u32>());
    match seconds {
        Some(Ok(seconds)) => {
            let time = Timestamp { seconds: i64::from(seconds), nanoseconds: 0 };
            package.installed = Some(time.to_string());
        }
        Some(Err(_)) => into.damaged("field %INSTALLDATE% is no time".to_owned()),
        None => {}
    }
    Ok(into.add(package))
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::Bytes;
    use super::super::purl::Distribution;
    use super::*;

    #[test]
    fn a_package_is_told_by_its_fields() {
        let text = b"%NAME%\nzlib\n\n%VERSION%\n1:1.3.1-2\n\n%BASE%\nzlib\n\n%ARCH%\nx86_64\n\n\
            %INSTALLDATE%\n1714555800\n\n%DEPENDS%\nglibc\n\n%NAME\n";
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        assert!(read(Arc::new(Bytes(text.to_vec())), &mut into).unwrap());
        read(Arc::new(Bytes(b"%NAME%\na\n".to_vec())), &mut into).unwrap();
        let (packages, findings) = into.end();
        assert_eq!(packages[0].version, "1:1.3.1-2");
        assert_eq!(packages[0].installed.as_deref(), Some("2024-05-01T09:30:00Z"));
        assert_eq!(findings.len(), 1);
    }
}
