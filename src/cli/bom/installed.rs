//! What a bill is made of.

use std::env;

use volfold::guest::packages::Package;
use volfold::guest::{Family, GuestSystem};
use volfold_fs::Timestamp;

use crate::cli::text;

/// What is told of one system.
pub(crate) struct Installed {
    pub(crate) system: GuestSystem,
    /// Its packages, where they are asked for.
    pub(crate) packages: Option<Vec<Package>>,
    /// Whether there may be more packages than those, or newer ones.
    pub(crate) is_incomplete: bool,
}

impl Installed {
    /// `system` alone.
    pub(crate) fn system(system: GuestSystem) -> Self {
        Self { system, packages: None, is_incomplete: false }
    }

    pub(crate) fn packages(&self) -> &[Package] {
        self.packages.as_deref().unwrap_or_default()
    }

    /// What scanners know the system by: the id of a distribution, the product name of a Windows.
    pub(super) fn name(&self) -> &str {
        let system = &self.system;
        let (first, second) = match system.family {
            Family::Windows => (&system.product, &system.vendor),
            _ => (&system.vendor, &system.product),
        };
        let name = first.as_deref().or(second.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or(system.family.word())
    }

    /// Its version, of a Windows with the build.
    pub(super) fn version(&self) -> Option<String> {
        let system = &self.system;
        match (system.family, &system.version, &system.build) {
            (Family::Windows, Some(version), Some(build)) => Some(format!("{version}.{build}")),
            (Family::Windows, None, build) => build.clone(),
            (_, version, _) => version.clone(),
        }
    }
}

/// The time of a bill of `installed`: `SOURCE_DATE_EPOCH`, else that of the newest package.
pub(super) fn time(installed: &[Installed]) -> Option<String> {
    if let Ok(seconds) = env::var("SOURCE_DATE_EPOCH") {
        // The format has four digits for the year.
        match seconds.parse::<i64>() {
            Ok(seconds) if (0..253_402_300_800).contains(&seconds) => {
                return Some(Timestamp { seconds, nanoseconds: 0 }.to_string());
            }
            _ => text::complain(format_args!("SOURCE_DATE_EPOCH is not a number of seconds")),
        }
    }
    let packages = installed.iter().flat_map(Installed::packages);
    let newest = packages.filter_map(|package| package.installed.as_deref()).max()?;
    Some(if newest.contains('T') { newest.to_owned() } else { format!("{newest}T00:00:00Z") })
}
