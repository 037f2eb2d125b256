//! The C interfaces: their header is made, and they are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, steps};

/// Both libraries: the package, what cargo calls it, what it is installed as, what it is for.
const LIBRARIES: [Library; 2] = [
    Library {
        package: "volfold-capi",
        built: "volfold_c",
        name: "volfold",
        file: "volfold",
        title: "Opens sets of disk images, their volumes, and the files in them",
        headers: "",
    },
    Library {
        package: "volfold-capi-vix",
        built: "volfold_vix",
        name: "volfold-vix",
        file: "volfold_vix",
        title: "The functions of VixDiskLib and VixMntapi, by volfold",
        headers: "volfold",
    },
];

/// The number of the interface, which the build scripts write into the libraries.
const INTERFACE: u32 = 0;

/// What the standard library of Rust needs of the system.
const SYSTEM_LIBRARIES: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

struct Library {
    package: &'static str,
    built: &'static str,
    name: &'static str,
    file: &'static str,
    title: &'static str,
    /// The folder of its headers below `include`.
    headers: &'static str,
}

/// Makes `capi/include/volfold.h` anew.
pub(crate) fn header() -> Result<(), Failure> {
    let folder = steps::root().join("capi");
    let mut command = Command::new("cbindgen");
    command.args(["--config", "cbindgen.toml", "--output", "include/volfold.h", "."]);
    steps::run(command.current_dir(folder))
}

/// Where and what is installed.
struct Wanted {
    prefix: PathBuf,
    destination: Option<PathBuf>,
    library_folder: String,
    profile: String,
    target: Option<String>,
    /// Libraries that were built before.
    libraries: Option<PathBuf>,
}

impl Wanted {
    fn parse(words: &[&str]) -> Result<Self, Failure> {
        let mut wanted = Self {
            prefix: "/usr/local".into(),
            destination: None,
            library_folder: "lib".to_owned(),
            profile: "dist".to_owned(),
            target: None,
            libraries: None,
        };
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            match *option {
                "--prefix" => wanted.prefix = value.into(),
                "--destdir" => wanted.destination = Some(value.into()),
                "--libdir" => wanted.library_folder = (*value).to_owned(),
                "--profile" => wanted.profile = (*value).to_owned(),
                "--target" => wanted.target = Some((*value).to_owned()),
                "--libraries" => wanted.libraries = Some(value.into()),
                other => return Err(format!("no option {other}; cargo xtask help lists them")),
            }
        }
        if !wanted.prefix.has_root() {
            return Err(format!("{}: the prefix is no whole path", wanted.prefix.display()));
        }
        Ok(wanted)
    }

    /// Where what belongs to `<prefix>/<folder>` is put.
    fn place(&self, folder: &str) -> PathBuf {
        let place = self.prefix.join(folder);
        match &self.destination {
            Some(destination) => destination.join(place.strip_prefix("/").unwrap_or(&place)),
            None => place,
        }
    }

    /// Builds both libraries, and says where they are.
    fn build(&self) -> Result<PathBuf, Failure> {
        if let Some(libraries) = &self.libraries {
            return Ok(libraries.clone());
        }
        let packages = LIBRARIES.iter().flat_map(|library| ["-p", library.package]);
        let mut words = vec!["build", "--locked", "--lib", "--profile", &self.profile];
        words.extend(packages);
        if let Some(target) = &self.target {
            words.extend(["--target", target]);
        }
        steps::cargo(&words)?;
        let folder = if self.profile == "dev" { "debug" } else { &self.profile };
        let target = self.target.as_deref().unwrap_or_default();
        Ok(steps::target_folder().join(target).join(folder))
    }
}

/// Installs the libraries, their headers and what pkg-config reads.
pub(crate) fn install(words: &[&str]) -> Result<(), Failure> {
    let wanted = Wanted::parse(words)?;
    let built = wanted.build()?;
    let headers = steps::root().join("capi/include");
    copy(&headers.join("volfold.h"), &wanted.place("include/volfold.h"))?;
    for name in ["vm_basic_types.h", "vixDiskLib.h", "vixMntapi.h"] {
        copy(&headers.join(name), &wanted.place("include/volfold").join(name))?;
    }
    for library in &LIBRARIES {
        library.install(&wanted, &built)?;
    }
    Ok(())
}

impl Library {
    fn install(&self, wanted: &Wanted, built: &Path) -> Result<(), Failure> {
        let folder = wanted.place(&wanted.library_folder);
        let Self { built: name, file, .. } = self;
        if built.join(format!("{name}.dll")).is_file() {
            // A library for imports names its DLL, so neither gets another name.
            copy(
                &built.join(format!("{name}.dll")),
                &wanted.place("bin").join(format!("{name}.dll")),
            )?;
            let imports = format!("lib{name}.dll.a");
            return copy(&built.join(&imports), &folder.join(&imports));
        }
        let version = env!("CARGO_PKG_VERSION");
        let whole = format!("lib{file}.so.{version}");
        copy(&built.join(format!("lib{name}.so")), &folder.join(&whole))?;
        link(&whole, &folder.join(format!("lib{file}.so.{INTERFACE}")))?;
        link(&whole, &folder.join(format!("lib{file}.so")))?;
        copy(&built.join(format!("lib{name}.a")), &folder.join(format!("lib{file}.a")))?;
        let text = self.pkg_config(wanted);
        let path = folder.join("pkgconfig").join(format!("{}.pc", self.name));
        make_folder_of(&path)?;
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn pkg_config(&self, wanted: &Wanted) -> String {
        let headers = match self.headers {
            "" => String::new(),
            folder => format!("/{folder}"),
        };
        format!(
            "prefix={}\n\
             libdir=${{prefix}}/{}\n\
             includedir=${{prefix}}/include\n\
             \n\
             Name: {}\n\
             Description: {}\n\
             Version: {}\n\
             Cflags: -I${{includedir}}{headers}\n\
             Libs: -L${{libdir}} -l{}\n\
             Libs.private: {SYSTEM_LIBRARIES}\n",
            wanted.prefix.display(),
            wanted.library_folder,
            self.name,
            self.title,
            env!("CARGO_PKG_VERSION"),
            self.file,
        )
    }
}

fn make_folder_of(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// Copies a file. One that is there is replaced, and not written to: a program may run with it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    make_folder_of(to)?;
    let _ = fs::remove_file(to);
    let failed = |error| format!("{} to {}: {error}", from.display(), to.display());
    fs::copy(from, to).map(drop).map_err(failed)
}

/// Makes a link at `path` to its neighbour `name`.
#[cfg(unix)]
fn link(name: &str, path: &Path) -> Result<(), Failure> {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(name, path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Copies the neighbour `name` to `path`.
#[cfg(not(unix))]
fn link(name: &str, path: &Path) -> Result<(), Failure> {
    copy(&path.with_file_name(name), path)
}
