//! Which programs are installed: uninstall keys, and packages of the Store.

use volfold_block::FindingLog;
use volfold_fs::FileSystem;

use crate::guest::hive::{Hive, Key};

use super::files::{Files, Notes};
use super::section::Section;

/// LIMIT: programs of one Windows; well above any that was seen.
const MAX_PROGRAMS: usize = 20_000;

/// LIMIT: user profiles whose programs are looked for.
const MAX_PROFILES: usize = 1000;

const UNINSTALL: &str = r"Microsoft\Windows\CurrentVersion\Uninstall";
const UNINSTALL_32: &str = r"WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall";
const PACKAGES: &str = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore\Applications";
const PROFILES: &str = r"Microsoft\Windows NT\CurrentVersion\ProfileList";

/// Who a program is installed for, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramScope {
    /// For all users.
    Machine,
    /// For all users, a program of 32 bits on a system of 64.
    Machine32,
    /// For the user with this profile folder, as the system names it.
    User(String),
    /// A package of the Store, for all users.
    Package,
}

/// A program that is installed. What was not written is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// The name of its key: a GUID for programs of the Windows Installer, the full name of a package.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its version, as it writes it.
    pub version: Option<String>,
    /// Who published it; of a package the hash of the publisher.
    pub publisher: Option<String>,
    /// When it was installed, as it was written: mostly year, month and day in eight digits.
    pub installed: Option<String>,
    /// `x64`, `x86`, `arm64` or `neutral`, where it is known.
    pub architecture: Option<String>,
    /// Who it is installed for.
    pub scope: ProgramScope,
    /// Whether Windows keeps it out of the list of programs: a part of another one.
    pub is_hidden: bool,
}

/// The programs of the Windows in `folder` of `fs`, whose hive `software` is at `notes.path`.
pub(super) fn read(fs: &dyn FileSystem, software: &Hive, notes: Notes<'_>) -> Vec<Program> {
    let mut found = Found { programs: Vec::new(), notes };
    found.uninstall(software, UNINSTALL, &ProgramScope::Machine, notes);
    found.uninstall(software, UNINSTALL_32, &ProgramScope::Machine32, notes);
    found.packages(software);
    for profile in profiles(software, notes) {
        let files = Files { fs };
        found.of_user(files, &profile, notes.told);
    }
    found.programs
}

struct Found<'n> {
    programs: Vec<Program>,
    notes: Notes<'n>,
}

impl Found<'_> {
    /// Adds `program`; says whether there may be more.
    fn add(&mut self, program: Program) -> bool {
        if self.programs.len() >= MAX_PROGRAMS {
            self.notes.odd(format!("more than {MAX_PROGRAMS} programs are installed"));
            return false;
        }
        self.programs.push(program);
        true
    }

    /// The programs in the subkeys of `path`.
    fn uninstall(&mut self, hive: &Hive, path: &str, scope: &ProgramScope, notes: Notes<'_>) {
        let Some(list) = notes.or_none(hive.key(path)) else { return };
        for key in list.subkeys() {
            let Some(key) = notes.or_none(key.map(Some)) else { continue };
            if let Some(program) = program(key, scope, notes)
                && !self.add(program)
            {
                return;
            }
        }
    }

    fn packages(&mut self, software: &Hive) {
        let notes = self.notes;
        let Some(list) = notes.or_none(software.key(PACKAGES)) else { return };
        for key in list.subkeys() {
            let Some(key) = notes.or_none(key.map(Some)) else { continue };
            if let Some(package) = package(&key.name())
                && !self.add(package)
            {
                return;
            }
        }
    }

    /// The programs of the user with the folder `profile`, if that is on this volume.
    fn of_user(&mut self, files: Files<'_>, profile: &str, told: &FindingLog) {
        let Some(folder) = below_drive(profile) else {
            self.notes.odd(format!("profile {profile} is not in a folder of a drive"));
            return;
        };
        let path = format!("{}/NTUSER.DAT", folder.replace('\\', "/"));
        let scope = ProgramScope::User(profile.to_owned());
        if let Some(hive) = files.hive(&path, told) {
            let path_in_hive = format!(r"Software\{UNINSTALL}");
            self.uninstall(&hive, &path_in_hive, &scope, Notes { path: &path, told });
        }
    }
}

/// The program in an uninstall key, `None` if it has no name: what is left of another one.
fn program(key: Key<'_>, scope: &ProgramScope, notes: Notes<'_>) -> Option<Program> {
    let id = key.name();
    let section = Section::of(key, notes);
    let name = section.text("DisplayName")?;
    let number = |name: &str| match section.is_number(name) {
        true => section.number(name),
        false => None,
    };
    let architecture = match scope {
        ProgramScope::Machine32 => Some("x86".to_owned()),
        _ => None,
    };
    Some(Program {
        id,
        name,
        version: section.text_or_number("DisplayVersion"),
        publisher: section.text("Publisher"),
        installed: section.text_or_number("InstallDate"),
        architecture,
        scope: scope.clone(),
        is_hidden: number("SystemComponent") == Some(1)
            || section.text_or_number("ParentKeyName").is_some(),
    })
}

/// The package with the full name `id`: `Name_Version_Architecture_Resource_Publisher`.
fn package(id: &str) -> Option<Program> {
    let mut parts = id.split('_');
    let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    let (_resource, publisher) = (parts.next()?, parts.next()?);
    if parts.next().is_some() || name.is_empty() {
        return None;
    }
    Some(Program {
        id: id.to_owned(),
        name: name.to_owned(),
        version: Some(version.to_owned()),
        publisher: Some(publisher.to_owned()),
        installed: None,
        architecture: Some(architecture.to_owned()),
        scope: ProgramScope::Package,
        is_hidden: false,
    })
}

/// The folders of the users, as the system names them.
fn profiles(software: &Hive, notes: Notes<'_>) -> Vec<String> {
    let Some(list) = notes.or_none(software.key(PROFILES)) else { return Vec::new() };
    let mut profiles = Vec::new();
    for key in list.subkeys() {
        if profiles.len() >= MAX_PROFILES {
            notes.odd(format!("more than {MAX_PROFILES} users have a profile"));
            break;
        }
        let Some(key) = notes.or_none(key.map(Some)) else { continue };
        // Services have theirs in the folder of Windows, without programs.
        if key.name().len() > "S-1-5-20".len() {
            profiles.extend(Section::of(key, notes).text("ProfileImagePath"));
        }
    }
    profiles
}

/// The path below the drive: `C:\Users\x` and `%SystemDrive%\Users\x` are `Users\x`.
fn below_drive(path: &str) -> Option<&str> {
    let (drive, rest) = path.split_once('\\')?;
    let is_drive = drive.eq_ignore_ascii_case("%SystemDrive%")
        || matches!(drive.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    (is_drive && !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_by_five_parts() {
        let calculator =
            package("Microsoft.WindowsCalculator_10.1906.55.0_x64__8wekyb3d8bbwe").unwrap();
        assert_eq!(calculator.name, "Microsoft.WindowsCalculator");
        assert_eq!(calculator.version.as_deref(), Some("10.1906.55.0"));
        assert_eq!(calculator.architecture.as_deref(), Some("x64"));
        assert_eq!(calculator.publisher.as_deref(), Some("8wekyb3d8bbwe"));
        assert_eq!(package("Deprovisioned"), None);
        assert_eq!(package("a_b_c_d_e_f"), None);
    }

    #[test]
    fn a_profile_lies_below_its_drive() {
        assert_eq!(below_drive(r"C:\Users\Ann"), Some(r"Users\Ann"));
        assert_eq!(
            below_drive(r"%SystemDrive%\Documents and Settings\Ann"),
            Some(r"Documents and Settings\Ann")
        );
        assert_eq!(below_drive(r"%systemroot%\system32\config"), None);
        assert_eq!(below_drive(r"\\server\share\Ann"), None);
        assert_eq!(below_drive("C:"), None);
    }
}
