//! The programs of a Windows as packages.

use volfold_fs::FileSystem;

use super::collector::Collector;
use super::package::{Package, PackageKind};
use crate::guest::windows::{Program, ProgramScope, installed_programs};

/// Reads the programs of the Windows in `folder` of `fs`.
pub(super) fn read(fs: &dyn FileSystem, folder: &str, into: &mut Collector) {
    let programs = installed_programs(fs, folder.trim_start_matches('/'), into.log());
    for program in programs {
        if !into.add(package(program)) {
            return;
        }
    }
}

fn package(program: Program) -> Package {
    let kind = match program.scope {
        ProgramScope::Package => PackageKind::Appx,
        _ => PackageKind::Windows,
    };
    let mut package = Package::new(kind, program.name, program.version.unwrap_or_default());
    package.architecture = program.architecture;
    package.vendor = program.publisher;
    package.installed = program.installed.as_deref().and_then(day);
    package
}

/// A day as `YYYYMMDD` with its parts apart. Windows writes others by its region, which is not known.
fn day(text: &str) -> Option<String> {
    let is_day = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest) = text.split_at_checked(4).filter(|_| is_day)?;
    let (month, day) = rest.split_at_checked(2)?;
    let is_date = ("01"..="12").contains(&month) && ("01"..="31").contains(&day);
    is_date.then(|| format!("{year}-{month}-{day}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_eight_digits() {
        assert_eq!(day("20240501").as_deref(), Some("2024-05-01"));
        assert_eq!(day("20241301"), None);
        assert_eq!(day("5/1/2024"), None);
        assert_eq!(day("2024050\u{e9}"), None);
    }
}
