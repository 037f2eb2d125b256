//! The packages: a zip and an MSI for Windows, a tar.gz for others, the manifests of winget and scoop.

mod archive;
mod licences;
mod manifests;
mod msi;
mod stage;
mod wine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::steps;

/// Windows, as Linux builds it.
pub(crate) const CROSS: &str = "x86_64-pc-windows-gnu";

/// Whether the cross compiler and wine are here.
pub(crate) fn has_toolchain() -> bool {
    wine::toolchain().join("env.sh").is_file()
}

/// What is packed: one version of the program for one target.
struct Package {
    version: &'static str,
    triple: String,
    /// Where the packages go; below it is the folder that they hold.
    out: PathBuf,
}

impl Package {
    fn name(&self) -> String {
        format!("volfold-{}-{}", self.version, self.triple)
    }

    /// What is in the packages.
    fn folder(&self) -> PathBuf {
        self.out.join(self.name())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.out.join(format!("{}.{ending}", self.name()))
    }

    fn is_for_windows(&self) -> bool {
        self.triple.contains("-windows-")
    }

    fn program(&self) -> PathBuf {
        self.folder().join(if self.is_for_windows() { "volfold.exe" } else { "volfold" })
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Options {
    target: Option<String>,
    out: PathBuf,
    profile: String,
    /// Packed in place of one that is built for it.
    program: Option<PathBuf>,
    parts: Parts,
    sign: Option<Signature>,
}

#[derive(Debug, PartialEq)]
enum Parts {
    All,
    /// Fills the folder. For a system that cannot make every package.
    Stage,
    /// Packs a folder that another run has filled.
    Pack,
}

/// How `osslsigncode` signs.
#[derive(Debug, Default, PartialEq)]
struct Signature {
    certificate: PathBuf,
    password_file: Option<PathBuf>,
    timestamp: Option<String>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, Failure> {
        let mut options = Self {
            target: None,
            out: steps::target_folder().join("packages"),
            profile: "dist".to_owned(),
            program: None,
            parts: Parts::All,
            sign: None,
        };
        let mut signature = Signature::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().map(|v| (*v).to_owned()).ok_or(format!("{word} lacks its value"));
            match *word {
                "--target" => options.target = Some(value()?),
                "--out" => options.out = steps::root().join(value()?),
                "--profile" => options.profile = value()?,
                "--program" => options.program = Some(steps::root().join(value()?)),
                "--stage" => options.parts = Parts::Stage,
                "--pack" => options.parts = Parts::Pack,
                "--sign" => signature.certificate = value()?.into(),
                "--password-file" => signature.password_file = Some(value()?.into()),
                "--timestamp" => signature.timestamp = Some(value()?),
                other => return Err(format!("dist: unknown option {other}")),
            }
        }
        if signature != Signature::default() {
            if signature.certificate.as_os_str().is_empty() {
                return Err("dist: --password-file and --timestamp need --sign".to_owned());
            }
            options.sign = Some(signature);
        }
        Ok(options)
    }
}

/// `cargo xtask dist`.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    let Options { target, out, profile, program, parts, sign } = Options::parse(words)?;
    let triple = target.map_or_else(host, Ok)?;
    let package = Package { version: env!("CARGO_PKG_VERSION"), triple, out };
    fs::create_dir_all(&package.out).map_err(at(&package.out))?;
    if parts != Parts::Pack {
        let program = program.map_or_else(|| stage::build(&package, &profile), Ok)?;
        stage::fill(&package, &program)?;
    }
    if parts != Parts::Stage {
        pack(&package, sign.as_ref())?;
    }
    Ok(())
}

/// Makes the packages and looks whether they hold what they should.
fn pack(package: &Package, sign: Option<&Signature>) -> Result<(), Failure> {
    if !package.is_for_windows() {
        archive::tar_gz(package)?;
        archive::check_tar_gz(package)?;
        return archive::checksums(&package.out);
    }
    if let Some(sign) = sign {
        signed(&package.program(), sign)?;
    }
    archive::zip(package)?;
    archive::check_zip(package)?;
    msi::make(package)?;
    if let Some(sign) = sign {
        signed(&package.file("msi"), sign)?;
    }
    msi::check(package)?;
    if let Some(wine) = wine::Wine::find() {
        msi::check_installed(package, &wine)?;
    } else if cfg!(not(windows)) {
        println!("not installed for a test: there is no wine");
    }
    manifests::write(package)?;
    archive::checksums(&package.out)
}

/// Puts a signature into `file`.
fn signed(file: &Path, sign: &Signature) -> Result<(), Failure> {
    let unsigned = file.with_extension("unsigned");
    fs::rename(file, &unsigned).map_err(at(file))?;
    let mut command = Command::new("osslsigncode");
    command.args(["sign", "-h", "sha256", "-n", "volfold", "-i", env!("CARGO_PKG_REPOSITORY")]);
    command.arg("-pkcs12").arg(&sign.certificate);
    if let Some(file) = &sign.password_file {
        command.arg("-readpass").arg(file);
    }
    if let Some(url) = &sign.timestamp {
        command.args(["-ts", url]);
    }
    steps::run(command.arg("-in").arg(&unsigned).arg("-out").arg(file))?;
    fs::remove_file(&unsigned).map_err(at(&unsigned))
}

/// The target that this machine builds for.
fn host() -> Result<String, Failure> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(steps::root()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{name}: prints what is not UTF-8"))
}

/// Names `path` in an error.
fn at<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Failure {
    move |error| format!("{}: {error}", path.display())
}

/// Every file below `folder`, by its path from there with `/`, sorted.
fn files(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(below) = folders.pop() {
        let place = folder.join(&below);
        for entry in fs::read_dir(&place).map_err(at(&place))? {
            let entry = entry.map_err(at(&place))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| format!("{}: odd name", place.display()))?;
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let kind = entry.file_type().map_err(at(&place))?;
            if kind.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Fails unless `left` and `right` hold the same files with the same bytes.
fn same(left: &Path, right: &Path) -> Result<(), Failure> {
    let names = files(left)?;
    if names != files(right)? {
        return Err(format!("{}: other files than in {}", right.display(), left.display()));
    }
    for name in names {
        let read = |folder: &Path| fs::read(folder.join(&name)).map_err(at(folder));
        if read(left)? != read(right)? {
            return Err(format!("{}: {name} has other bytes", right.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_values() {
        let options = Options::parse(&["--target", "t", "--stage", "--profile", "dev"]).unwrap();
        assert_eq!(options.target.as_deref(), Some("t"));
        assert_eq!(options.parts, Parts::Stage);
        assert_eq!(options.profile, "dev");
        assert_eq!(options.sign, None);
        let signs = Options::parse(&["--sign", "a.pfx", "--timestamp", "http://t"]).unwrap();
        let sign = signs.sign.unwrap();
        assert_eq!((sign.certificate, sign.timestamp), ("a.pfx".into(), Some("http://t".into())));
    }

    #[test]
    fn wrong_options_are_refused() {
        assert_eq!(Options::parse(&["--target"]).unwrap_err(), "--target lacks its value");
        assert_eq!(Options::parse(&["--fast"]).unwrap_err(), "dist: unknown option --fast");
        let alone = Options::parse(&["--timestamp", "http://t"]).unwrap_err();
        assert!(alone.contains("need --sign"), "{alone}");
    }

    #[test]
    fn folders_that_differ_in_a_byte_or_a_file_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let (left, right) = (temp.path().join("l"), temp.path().join("r"));
        for folder in [&left, &right] {
            fs::create_dir_all(folder.join("sub")).unwrap();
            fs::write(folder.join("sub/a"), "1").unwrap();
        }
        same(&left, &right).unwrap();
        fs::write(right.join("sub/a"), "2").unwrap();
        assert!(same(&left, &right).unwrap_err().contains("sub/a has other bytes"));
        fs::write(right.join("b"), "").unwrap();
        assert!(same(&left, &right).unwrap_err().contains("other files"));
    }
}
