//! How a Windows is set up: its hive `SYSTEM`.

use crate::guest::hive::Hive;

use super::files::Notes;
use super::product::ProductRole;
use super::section::Section;

/// Which of the control sets a Windows uses for what; a number of 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlSets {
    /// The one that it ran with last.
    pub current: u32,
    /// The one that it starts with.
    pub default: u32,
    /// The one that it failed to start with.
    pub failed: u32,
    /// The one that it last started well with.
    pub last_known_good: u32,
}

/// The time zone of a Windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeZone {
    /// The name of the time zone's key: `W. Europe Standard Time`. Since Vista.
    pub key: Option<String>,
    /// The name of standard time, in the language of the system, or `@tzres.dll,-322`.
    pub standard_name: Option<String>,
    /// The name of daylight saving time, the same way.
    pub daylight_name: Option<String>,
    /// Minutes that UTC is ahead of local time, without what follows.
    pub bias: Option<i32>,
    /// Minutes to be added in standard time.
    pub standard_bias: Option<i32>,
    /// Minutes to be added in daylight saving time.
    pub daylight_bias: Option<i32>,
    /// The sum that counted when the system ran last.
    pub active_bias: Option<i32>,
}

/// A page file that a Windows uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageFile {
    /// Its path; the drive `?:` is the one of the system.
    pub path: String,
    /// Its first size in MiB; 0 means that the system chooses.
    pub initial: Option<u32>,
    /// Its largest size in MiB; 0 means that the system chooses.
    pub maximum: Option<u32>,
}

/// How a Windows is set up. What the hive does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// The control sets; all that follows is of the current one.
    pub control_sets: Option<ControlSets>,
    /// The NetBIOS name.
    pub computer_name: Option<String>,
    /// The name in DNS.
    pub host_name: Option<String>,
    /// The domain in DNS.
    pub domain: Option<String>,
    /// The time zone.
    pub time_zone: Option<TimeZone>,
    /// `AMD64`, `x86`, `ARM64`, `IA64`.
    pub architecture: Option<String>,
    /// `WinNT`, `ServerNT`, or `LanmanNT` on a domain controller.
    pub product_type: Option<String>,
    /// The page files that are set up.
    pub page_files: Vec<PageFile>,
    /// Whether it may hibernate.
    pub hibernation: Option<bool>,
}

impl Machine {
    /// What the hive `system` says.
    pub(super) fn read(system: &Hive, notes: Notes<'_>) -> Self {
        let Some(sets) = control_sets(system, notes) else { return Self::default() };
        let set = format!("ControlSet{:03}", sets.current);
        let section = |path: &str| Section::open(system, &format!(r"{set}\{path}"), notes);
        let control = Section::required(system, &format!(r"{set}\Control"), notes);
        if control.key().is_none() {
            return Self { control_sets: Some(sets), ..Self::default() };
        }
        let network = section(r"Services\Tcpip\Parameters");
        let memory = section(r"Control\Session Manager\Memory Management");
        Self {
            control_sets: Some(sets),
            computer_name: section(r"Control\ComputerName\ComputerName").text("ComputerName"),
            host_name: network.text("Hostname").or_else(|| network.text("NV Hostname")),
            domain: network.text("Domain").or_else(|| network.text("NV Domain")),
            time_zone: time_zone(&section(r"Control\TimeZoneInformation")),
            architecture: section(r"Control\Session Manager\Environment")
                .text("PROCESSOR_ARCHITECTURE"),
            product_type: section(r"Control\ProductOptions").text("ProductType"),
            page_files: memory
                .texts("PagingFiles")
                .iter()
                .filter_map(|line| page_file(line))
                .collect(),
            hibernation: section(r"Control\Power").number("HibernateEnabled").map(|on| on != 0),
        }
    }

    /// For what the system is, by its product type.
    pub fn role(&self) -> Option<ProductRole> {
        match self.product_type.as_deref()? {
            "WinNT" => Some(ProductRole::Client),
            "ServerNT" | "LanmanNT" => Some(ProductRole::Server),
            _ => None,
        }
    }
}

fn control_sets(system: &Hive, notes: Notes<'_>) -> Option<ControlSets> {
    let select = Section::required(system, "Select", notes);
    select.key()?;
    let number = |name: &str| {
        let number = select.number(name).and_then(|number| u32::try_from(number).ok());
        number.unwrap_or(0)
    };
    let sets = ControlSets {
        current: number("Current"),
        default: number("Default"),
        failed: number("Failed"),
        last_known_good: number("LastKnownGood"),
    };
    if sets.current == 0 {
        notes.missing(r"value Current of the key Select");
        return None;
    }
    Some(sets)
}

fn time_zone(section: &Section<'_, '_>) -> Option<TimeZone> {
    section.key()?;
    Some(TimeZone {
        key: section.text("TimeZoneKeyName"),
        standard_name: section.text("StandardName"),
        daylight_name: section.text("DaylightName"),
        bias: section.signed("Bias"),
        standard_bias: section.signed("StandardBias"),
        daylight_bias: section.signed("DaylightBias"),
        active_bias: section.signed("ActiveTimeBias"),
    })
}

/// `C:\pagefile.sys 150 500`: a path and two sizes, which may be missing.
fn page_file(line: &str) -> Option<PageFile> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let with_sizes = || {
        let (rest, maximum) = line.rsplit_once(' ')?;
        let (path, initial) = rest.trim_end().rsplit_once(' ')?;
        let (initial, maximum) = (initial.parse().ok()?, maximum.parse().ok()?);
        let path = path.trim_end().to_owned();
        Some(PageFile { path, initial: Some(initial), maximum: Some(maximum) })
    };
    let bare = || PageFile { path: line.to_owned(), initial: None, maximum: None };
    Some(with_sizes().unwrap_or_else(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_file_has_a_path_and_two_sizes() {
        let parts = |line| page_file(line).map(|file| (file.path, file.initial, file.maximum));
        let named = |path: &str, initial, maximum| Some((path.to_owned(), initial, maximum));
        assert_eq!(parts(r"?:\pagefile.sys"), named(r"?:\pagefile.sys", None, None));
        assert_eq!(parts(r"C:\a b.sys 150 500"), named(r"C:\a b.sys", Some(150), Some(500)));
        assert_eq!(parts(r"C:\a 5"), named(r"C:\a 5", None, None));
        assert_eq!(parts(" "), None);
    }
}
