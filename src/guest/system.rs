//! What is told of a system.

use serde::Serialize;
use volfold_block::Finding;

/// The systems of a set.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct OsInfo {
    /// Every system that is installed, the one that is started by default first.
    pub systems: Vec<GuestSystem>,
    /// What could not be read, or contradicts itself.
    pub findings: Vec<Finding>,
}

impl OsInfo {
    /// The only system, or the only one that is started by default; `None` for the disks of two machines.
    pub fn only_default(&self) -> Option<&GuestSystem> {
        if let [system] = &self.systems[..] {
            return Some(system);
        }
        let mut defaults = self.systems.iter().filter(|system| system.is_default == Some(true));
        defaults.next().filter(|_| defaults.next().is_none())
    }
}

/// One installed system. What it does not tell, or cannot be read, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuestSystem {
    /// The id of the volume that its own folder is on.
    pub volume: String,
    /// That folder, from the root of the volume: `/Windows`; `/` for Linux.
    pub folder: String,
    /// Whether the boot loader starts it when nobody chooses.
    pub is_default: Option<bool>,
    /// What kind of system it is.
    pub family: Family,
    /// Who made it, as it names them: `Microsoft`, `debian`.
    pub vendor: Option<String>,
    /// What it calls itself: `Windows Server 2022 Standard`, `Debian GNU/Linux 12 (bookworm)`.
    pub product: Option<String>,
    /// The edition: `ServerStandard`, `server`.
    pub edition: Option<String>,
    /// The version: `10.0`, `12`.
    pub version: Option<String>,
    /// The build, with the number of the update: `20348.2402`.
    pub build: Option<String>,
    /// What the processor is called in target triples: `x86_64`, `i686`, `aarch64`.
    pub architecture: Option<String>,
    /// The name of the machine.
    pub host_name: Option<String>,
    /// The DNS domain that it is in.
    pub domain: Option<String>,
    /// The time zone, as the system names it.
    pub time_zone: Option<String>,
    /// When it was installed, in UTC: `2024-05-01T09:30:00Z`.
    pub installed: Option<String>,
    /// The id that it gives itself: `/etc/machine-id`, `MachineGuid`.
    pub machine_id: Option<String>,
    /// The versions of the kernels that are there to be started.
    pub kernels: Vec<String>,
    /// How its programs are installed.
    pub package_system: Option<PackageSystem>,
    /// Files that hold memory: page, swap and hibernation files.
    pub swap_files: Vec<String>,
    /// Where it shows volumes.
    pub mount_points: Vec<MountPoint>,
}

/// A kind of system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Family {
    /// Windows NT and what came after it.
    Windows,
    /// Linux.
    Linux,
    /// FreeBSD and its relatives.
    Bsd,
    /// Something else, which has files that tell its name.
    #[default]
    Other,
}

impl Family {
    /// The word for it, as JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Linux => "linux",
            Self::Bsd => "bsd",
            Self::Other => "other",
        }
    }
}

/// How programs are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageSystem {
    /// The keys of Windows by which programs are removed, and AppX.
    Windows,
    /// Debian's dpkg.
    Dpkg,
    /// RPM.
    Rpm,
    /// Alpine's apk.
    Apk,
    /// Arch Linux's pacman.
    Pacman,
}

impl PackageSystem {
    /// The word for it, as JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Pacman => "pacman",
        }
    }
}

/// A place where a system shows a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MountPoint {
    /// Where: `C:`, `C:\Data`, `/home`.
    pub path: String,
    /// What the system's own table names: `UUID=...`, a partition of a disk.
    pub source: String,
    /// The id of the volume of the set that is meant.
    pub volume: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
}

impl MountPoint {
    /// Why nothing is shown there, as a sentence.
    pub fn not_shown(&self) -> String {
        let Self { path, source, reason, .. } = self;
        let reason = reason.as_deref().unwrap_or("it is not known which it is");
        format!("the volume {source} of {path} is not shown: {reason}")
    }

    /// What paths call the volume that is not there. The folder of no volume has `<` in its name.
    pub(crate) fn name_of_missing(&self) -> String {
        format!("{} <not shown>", self.path.trim_matches('/').replace('/', "-"))
    }
}
