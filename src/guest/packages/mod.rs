//! What is installed in a system, as the databases of its package systems tell.
//!
//! Every database that is there is read: of dpkg, RPM, apk and pacman, and the uninstall keys and AppX
//! packages of a Windows. What cannot be read is a finding, and costs no other package; so is that there is
//! no database, one that is not read, or no package in any.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod apk;
mod collector;
mod database;
mod dpkg;
mod lines;
mod package;
mod pacman;
mod places;
mod purl;
mod rpm;
mod windows;

use std::sync::Arc;

use serde::Serialize;
use volfold_block::Finding;
use volfold_fs::FileData;

pub use database::DatabaseFormat;
pub use package::{Package, PackageKind};

use super::linux;
use super::system::{Family, GuestSystem};
use super::volume::GuestVolume;
use crate::monitor::Monitor;
use collector::Collector;
use places::Places;
use purl::Distribution;

/// The packages of a system.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Packages {
    /// Every package that is installed, sorted by kind, name and version.
    pub packages: Vec<Package>,
    /// What could not be read, so that packages may be missing.
    pub findings: Vec<Finding>,
}

/// The packages in the database `file`; `log` is the write-ahead log beside one of `RpmSqlite`. As no
/// system is known, package URLs have no distribution.
pub fn read_database(
    format: DatabaseFormat,
    file: Arc<dyn FileData>,
    log: Option<Arc<dyn FileData>>,
) -> Packages {
    let mut collector = Collector::new(Distribution::default(), &Monitor::default());
    database::read(format, file, log, &mut collector);
    end(collector, None)
}

/// The packages of `system`, one of those on `volumes`. What `monitor` stops is no answer.
pub(crate) fn find(
    volumes: &[GuestVolume<'_>],
    system: &GuestSystem,
    monitor: &Monitor,
) -> Packages {
    let (id, version) = match system.family {
        Family::Windows => (None, None),
        _ => (system.vendor.clone(), system.version.clone()),
    };
    let mut collector = Collector::new(Distribution { id, version }, monitor);
    match volumes.iter().find(|volume| volume.id().0 == system.volume) {
        Some(volume) if system.family == Family::Windows => {
            collector.enter(&system.folder);
            windows::read(&*volume.files, &system.folder, &mut collector);
        }
        Some(volume) => {
            let tree = linux::tree_of_system(volume, volumes, system);
            Places::new(&tree, &mut collector).read();
        }
        None => {
            collector.enter(&system.folder);
            collector.damaged(format!("the volume {} cannot be read", system.volume));
        }
    }
    // No list is taken for that of a system without anything.
    if collector.is_silent() {
        collector.enter(&system.folder);
        collector
            .incomplete("no package is installed, as the databases of the system tell".to_owned());
    }
    end(collector, Some(&system.volume))
}

fn end(collector: Collector, volume: Option<&str>) -> Packages {
    let (packages, mut findings) = collector.end();
    if let Some(volume) = volume {
        findings = findings.into_iter().map(|finding| finding.on_volume(volume)).collect();
    }
    Packages { packages, findings }
}
