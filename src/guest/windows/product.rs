//! Which Windows it is: `SOFTWARE\Microsoft\Windows NT\CurrentVersion`.

use volfold_fs::Timestamp;

use crate::guest::hive::{Hive, filetime_to_timestamp};

use super::files::Notes;
use super::section::Section;

const CURRENT_VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

/// The first build of Windows 11.
const WINDOWS_11: u32 = 22_000;

/// Whether a Windows is for workplaces or for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProductRole {
    /// For workplaces.
    Client,
    /// For servers.
    Server,
}

/// Which Windows it is. What the hive does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Product {
    /// What it is called: `Windows 11 Pro`.
    pub name: Option<String>,
    /// `ProductName` as it is written: Windows 11 calls itself `Windows 10` there, and Windows NT has none.
    pub recorded_name: Option<String>,
    /// `EditionID`: `Professional`.
    pub edition: Option<String>,
    /// `InstallationType`: `Client`, `Server`, `Server Core`.
    pub installation_type: Option<String>,
    /// For what it is, as far as this hive tells.
    pub role: Option<ProductRole>,
    /// Major and minor version: 10.0, 6.1.
    pub version: Option<(u32, u32)>,
    /// The build: 26100.
    pub build: Option<u32>,
    /// The number of the last update.
    pub update: Option<u32>,
    /// `DisplayVersion`, before that `ReleaseId`: `24H2`.
    pub release: Option<String>,
    /// `CSDVersion`: `Service Pack 3`.
    pub service_pack: Option<String>,
    /// When it was installed, or brought to this release.
    pub installed: Option<Timestamp>,
    /// Where its folder is, in its own names: `C:\Windows`.
    pub system_root: Option<String>,
}

impl Product {
    /// What the hive `software` says.
    pub(super) fn read(software: &Hive, notes: Notes<'_>) -> Self {
        let section = Section::required(software, CURRENT_VERSION, notes);
        let recorded_name = section.text("ProductName");
        let edition = section.text("EditionID");
        let installation_type = section.text("InstallationType");
        let role = role(installation_type.as_deref(), edition.as_deref(), recorded_name.as_deref());
        let version = version(&section);
        let build = build(&section);
        let name = name(recorded_name.as_deref(), version, build, role);
        Self {
            name,
            recorded_name,
            edition,
            installation_type,
            role,
            version,
            build,
            update: section.number("UBR").and_then(|number| u32::try_from(number).ok()),
            release: section.text("DisplayVersion").or_else(|| section.text("ReleaseId")),
            service_pack: section.text("CSDVersion"),
            installed: installed(&section),
            system_root: section.text("SystemRoot"),
        }
    }
}

/// For what it is, by the first that tells.
fn role(
    installation_type: Option<&str>,
    edition: Option<&str>,
    name: Option<&str>,
) -> Option<ProductRole> {
    let is_server = match (installation_type, edition, name) {
        (Some(kind), ..) => kind != "Client",
        // A client's may be `Enterprise` too.
        (_, Some(edition), _) if edition.starts_with("Server") => true,
        (.., Some(name)) => name.contains("Server"),
        _ => return None,
    };
    Some(if is_server { ProductRole::Server } else { ProductRole::Client })
}

fn version(section: &Section<'_, '_>) -> Option<(u32, u32)> {
    let number = |name| section.number(name).and_then(|number| u32::try_from(number).ok());
    if let Some(major) = number("CurrentMajorVersionNumber") {
        return Some((major, number("CurrentMinorVersionNumber").unwrap_or(0)));
    }
    let text = section.text("CurrentVersion")?;
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn build(section: &Section<'_, '_>) -> Option<u32> {
    // QUIRK: in Windows 2000 to 2003 `CurrentBuild` says that it is obsolete.
    let names = ["CurrentBuildNumber", "CurrentBuild"];
    names.iter().find_map(|name| section.text(name)?.trim().parse().ok())
}

fn installed(section: &Section<'_, '_>) -> Option<Timestamp> {
    if let Some(ticks) = section.number("InstallTime").filter(|ticks| *ticks != 0) {
        return Some(filetime_to_timestamp(ticks));
    }
    let seconds = section.number("InstallDate").filter(|seconds| *seconds != 0)?;
    Some(Timestamp { seconds: i64::try_from(seconds).ok()?, nanoseconds: 0 })
}

fn name(
    recorded: Option<&str>,
    version: Option<(u32, u32)>,
    build: Option<u32>,
    role: Option<ProductRole>,
) -> Option<String> {
    match recorded {
        // QUIRK: Windows 11 kept the name of Windows 10 there.
        Some(name)
            if build.is_some_and(|build| build >= WINDOWS_11)
                && role != Some(ProductRole::Server) =>
        {
            Some(match name.strip_prefix("Windows 10") {
                Some(edition) => format!("Windows 11{edition}"),
                None => name.to_owned(),
            })
        }
        Some(name) => Some(name.to_owned()),
        // Windows NT has the version alone.
        None => match version {
            Some((major @ 3..=4, minor)) => Some(format!("Windows NT {major}.{minor}")),
            _ => None,
        },
    }
}
