//! The packages that were found, and what could not be read.

use volfold_block::{Finding, FindingLog, code, error_chain};
use volfold_fs::FsError;

use super::package::{Package, PackageKind};
use super::purl::{self, Distribution};
use crate::monitor::{Monitor, Stage};

/// LIMIT: packages of one system; the largest that were seen have some ten thousand.
const MAX_PACKAGES: usize = 500_000;

/// LIMIT: bytes of text in the packages of one system.
const MAX_TEXT: usize = 128 << 20;

/// Takes packages in, and tells of those that are none.
pub(super) struct Collector {
    distribution: Distribution,
    path: String,
    packages: Vec<Package>,
    text_size: usize,
    told: FindingLog,
    monitor: Monitor,
}

impl Collector {
    pub(super) fn new(distribution: Distribution, monitor: &Monitor) -> Self {
        Self {
            distribution,
            path: String::new(),
            packages: Vec::new(),
            text_size: 0,
            told: FindingLog::new(),
            monitor: monitor.clone(),
        }
    }

    /// From now on the file at `path` is read.
    pub(super) fn enter(&mut self, path: &str) {
        path.clone_into(&mut self.path);
    }

    /// What findings are added to.
    pub(super) fn log(&self) -> &FindingLog {
        &self.told
    }

    /// Adds `package`, whose package URL is made here; says whether there may be more.
    pub(super) fn add(&mut self, mut package: Package) -> bool {
        let is_text = |text: &str| !text.chars().any(char::is_control);
        let may_lack_version = matches!(package.kind, PackageKind::Windows | PackageKind::Appx);
        if package.name.is_empty() || !is_text(&package.name) || !is_text(&package.version) {
            let (name, version) = (&package.name, &package.version);
            self.damaged(format!(
                "package {name:?} with the version {version:?} has no valid name"
            ));
            return true;
        }
        if package.version.is_empty() && !may_lack_version {
            self.damaged(format!("package {} has no version", package.name));
            return true;
        }
        package.purl = purl::of(&package, &self.distribution);
        let text_size = self.text_size.saturating_add(package.text_size());
        if self.packages.len() >= MAX_PACKAGES || text_size > MAX_TEXT {
            let count = self.packages.len();
            self.damaged(format!("more than {count} packages are installed; the rest is left out"));
            return false;
        }
        self.text_size = text_size;
        self.packages.push(package);
        self.monitor.count(Stage::Packages, self.packages.len())
    }

    /// Tells that the file, or the rest of it, cannot be read.
    pub(super) fn unreadable(&self, error: &FsError) {
        self.damaged(error_chain(error));
    }

    /// Tells of a part of the file that cannot be used.
    pub(super) fn damaged(&self, line: String) {
        self.told.add(Finding::error(code::GUEST_UNREADABLE, line).on_path(&self.path));
    }

    /// Tells that what the system should have is not there, or not known.
    pub(super) fn incomplete(&self, line: String) {
        self.told.add(Finding::warning(code::GUEST_INCOMPLETE, line).on_path(&self.path));
    }

    /// Whether nothing was found, and nothing told of.
    pub(super) fn is_silent(&self) -> bool {
        self.packages.is_empty() && self.told.all().is_empty()
    }

    /// The packages by name, and what could not be read.
    pub(super) fn end(self) -> (Vec<Package>, Vec<Finding>) {
        let mut packages = self.packages;
        packages.sort_by(|one, other| {
            let key = |package: &Package| (package.kind, package.name.clone());
            key(one).cmp(&key(other)).then_with(|| {
                (&one.version, &one.architecture, &one.vendor, &one.installed).cmp(&(
                    &other.version,
                    &other.architecture,
                    &other.vendor,
                    &other.installed,
                ))
            })
        });
        (packages, self.told.all())
    }
}
