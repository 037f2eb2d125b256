//! Package URLs.
//!
//! Specification: Package-URL (ECMA-427), with its types `deb`, `rpm`, `apk`, `alpm` and `generic`. The
//! qualifier `upstream` names the source package, as Syft writes it and Grype reads it.

use std::fmt::Write as _;

use super::package::{Package, PackageKind};

/// The system that packages belong to, as it names itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    /// `debian`, `rhel`.
    pub(super) id: Option<String>,
    /// `12`, `9.3`.
    pub(super) version: Option<String>,
}

impl Distribution {
    /// What `distro` is in a package URL: `debian-12`.
    fn qualifier(&self) -> Option<String> {
        let id = self.id.as_deref()?;
        Some(match &self.version {
            Some(version) => format!("{id}-{version}"),
            None => id.to_owned(),
        })
    }

    /// The vendor, as package URLs of `kind` name it.
    fn namespace(&self, kind: PackageKind) -> Option<String> {
        let id = self.id.as_deref()?.to_lowercase();
        Some(match kind {
            PackageKind::Rpm if id == "rhel" => "redhat".to_owned(),
            PackageKind::Rpm if id.starts_with("opensuse") => "opensuse".to_owned(),
            _ => id,
        })
    }
}

/// The package URL of `package`, whose own is not looked at.
pub(super) fn of(package: &Package, distribution: &Distribution) -> String {
    let kind = package.kind;
    let is_windows = matches!(kind, PackageKind::Windows | PackageKind::Appx);
    let mut purl = format!("pkg:{}/", if is_windows { "generic" } else { kind.word() });
    if !is_windows && let Some(namespace) = distribution.namespace(kind) {
        let _ = write!(purl, "{}/", encoded(&namespace));
    }
    let is_lower = matches!(kind, PackageKind::Deb | PackageKind::Apk | PackageKind::Alpm);
    let name = if is_lower { package.name.to_lowercase() } else { package.name.clone() };
    purl.push_str(&encoded(&name));
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if kind == PackageKind::Rpm => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    if !version.is_empty() {
        let _ = write!(purl, "@{}", encoded(version));
    }
    // Sorted by their names, as the canonical form wants.
    let qualifiers = [
        ("arch", package.architecture.clone()),
        ("distro", distribution.qualifier().filter(|_| !is_windows)),
        ("epoch", epoch.filter(|epoch| *epoch != "0").map(str::to_owned)),
        ("upstream", upstream(package)),
    ];
    let mut separator = '?';
    for (name, value) in qualifiers {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(purl, "{separator}{name}={}", encoded(&value));
            separator = '&';
        }
    }
    purl
}

/// The source package, where its name or version is not that of the package.
fn upstream(package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    match (&package.source_version, package.kind) {
        (Some(version), PackageKind::Rpm) => Some(format!("{source}-{version}.src.rpm")),
        (Some(version), _) if *version != package.version => Some(format!("{source}@{version}")),
        _ => (*source != package.name).then(|| source.clone()),
    }
}

/// `text` with all but letters, digits and `.-_~:` of ASCII as `%XX`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' | b'-' | b'_' | b'~' | b':' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purl(kind: PackageKind, names: [&str; 3], change: impl Fn(&mut Package)) -> String {
        let [name, version, distribution] = names;
        let mut package = Package::new(kind, name.to_owned(), version.to_owned());
        change(&mut package);
        let (id, version) = match distribution.split_once(' ') {
            Some((id, version)) => (id, Some(version.to_owned())),
            None => (distribution, None),
        };
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        of(&package, &Distribution { id, version })
    }

    #[test]
    fn a_package_url_has_the_distribution_the_architecture_and_the_source() {
        let architecture = |name: &'static str| {
            move |package: &mut Package| package.architecture = Some(name.to_owned())
        };
        assert_eq!(
            purl(PackageKind::Deb, ["curl", "7.88", "debian 12"], architecture("amd64")),
            "pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12"
        );
        let source = |package: &mut Package| {
            package.source = Some("gcc-12".to_owned());
            package.source_version = Some("12.2".to_owned());
        };
        assert_eq!(
            purl(PackageKind::Deb, ["g++", "4:12.2", "ubuntu 24.04"], source),
            "pkg:deb/ubuntu/g%2B%2B@4:12.2?distro=ubuntu-24.04&upstream=gcc-12%4012.2"
        );
        assert_eq!(
            purl(PackageKind::Rpm, ["NetworkManager", "1:1.2-3.el9", "rhel 9.3"], |_| ()),
            "pkg:rpm/redhat/NetworkManager@1.2-3.el9?distro=rhel-9.3&epoch=1"
        );
        assert_eq!(
            purl(PackageKind::Rpm, ["bash", "0:5-1", "opensuse-leap 15.5"], |_| ()),
            "pkg:rpm/opensuse/bash@5-1?distro=opensuse-leap-15.5"
        );
        assert_eq!(
            purl(PackageKind::Alpm, ["pacman", "6.0.1-1", "arch"], architecture("x86_64")),
            "pkg:alpm/arch/pacman@6.0.1-1?arch=x86_64&distro=arch"
        );
        assert_eq!(
            purl(PackageKind::Windows, ["7-Zip 24 (x64)", "24.08", "Microsoft 10.0"], |_| ()),
            "pkg:generic/7-Zip%2024%20%28x64%29@24.08"
        );
        assert_eq!(purl(PackageKind::Apk, ["musl", "1", ""], |_| ()), "pkg:apk/musl@1");
    }
}
