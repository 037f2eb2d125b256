//! One installed package.

use serde::Serialize;

/// A package that is installed. What its database does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its whole version, as the database has it: with the epoch and the release where there are any.
    /// Empty where a program of Windows has none.
    pub version: String,
    /// The architecture, as the package system calls it: `amd64`, `x86_64`, `noarch`.
    pub architecture: Option<String>,
    /// The name of the source package that it was built from.
    pub source: Option<String>,
    /// The version of that source package.
    pub source_version: Option<String>,
    /// Who published it: the vendor, else the maintainer.
    pub vendor: Option<String>,
    /// When it was installed, in UTC: `2024-05-01T09:30:00Z`; a day alone where no more is known.
    /// The databases of dpkg and apk do not tell it.
    pub installed: Option<String>,
    /// What kind of package it is.
    pub kind: PackageKind,
    /// Its package URL: `pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12`.
    pub purl: String,
}

impl Package {
    /// A package of which only the name and the version are known.
    pub(super) fn new(kind: PackageKind, name: String, version: String) -> Self {
        Self {
            name,
            version,
            architecture: None,
            source: None,
            source_version: None,
            vendor: None,
            installed: None,
            kind,
            purl: String::new(),
        }
    }

    /// The bytes of text that it holds.
    pub(super) fn text_size(&self) -> usize {
        let optional =
            [&self.architecture, &self.source, &self.source_version, &self.vendor, &self.installed];
        let optional = optional.into_iter().flatten().map(String::len);
        [&self.name, &self.version, &self.purl].map(String::len).into_iter().chain(optional).sum()
    }
}

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageKind {
    /// A package of dpkg.
    Deb,
    /// A package of RPM.
    Rpm,
    /// A package of Alpine's apk.
    Apk,
    /// A package of Arch Linux's pacman.
    Alpm,
    /// A program with an uninstall key of Windows.
    Windows,
    /// An AppX package of Windows.
    Appx,
}

impl PackageKind {
    /// The word for it, as JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Alpm => "alpm",
            Self::Windows => "windows",
            Self::Appx => "appx",
        }
    }
}
