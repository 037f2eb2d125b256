//! The list of mounts of the service, in TOML; its keys are called as the options of `mount`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::key_argument::{KeyArgument, KeyPlace};
use crate::cli::mount_record::{mount_folder, same_case};

/// The list of mounts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MountList {
    pub(super) mount: Vec<ListedMount>,
}

/// One mount of the list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListedMount {
    folder: Option<PathBuf>,
    letter: Option<String>,
    disks: Vec<PathBuf>,
    #[serde(alias = "volume")]
    volumes: Vec<String>,
    access: Option<String>,
    each: bool,
    raw: bool,
    mount_manager: bool,
    snapshots: bool,
    system_files: bool,
    format: Option<String>,
    allow_path: Vec<PathBuf>,
    key: Vec<String>,
    threads: Option<usize>,
}

/// LIMIT: bytes of a list.
const MAX_LIST: u64 = 1 << 20;

impl MountList {
    /// Reads the list at `path`.
    ///
    /// # Errors
    /// A line that says what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        Self::read_with_text(path).map(|(list, _)| list)
    }

    /// The same, and its text.
    ///
    /// # Errors
    /// As [`MountList::read`].
    pub(super) fn read_with_text(path: &Path) -> Result<(Self, String), String> {
        let shown = path.display();
        let text = read_text(path).map_err(|reason| format!("{shown}: {reason}"))?;
        let list = Self::parse(&text).map_err(|reason| format!("{shown}: {reason}"))?;
        Ok((list, text))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let list: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        let mut places = HashSet::new();
        for mount in &list.mount {
            mount.check()?;
            let place = mount.place();
            let folded = same_case(&place);
            let inside = |other: &&ListedMount| {
                let other = same_case(&other.place());
                other != folded && folded.starts_with(other)
            };
            if let Some(other) = list.mount.iter().find(inside) {
                let (place, other) = (place.display(), other.place());
                return Err(format!("{place}: lies in {}, which is mounted too", other.display()));
            }
            if !places.insert(folded) {
                return Err(format!("{}: is in the list twice", place.display()));
            }
        }
        Ok(list)
    }
}

/// The text of the list at `path`, within its bound.
///
/// # Errors
/// Why it is none.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(MAX_LIST + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_LIST) {
        return Err("is larger than a list of mounts can be (1 MiB)".to_owned());
    }
    Ok(text)
}

/// The file that the key `text` is in; a service has no terminal, and the list is no place for a secret.
fn key_file(text: &str) -> Result<PathBuf, String> {
    match KeyArgument::parse(text).map(|argument| argument.place) {
        Some(KeyPlace::File(path)) => Ok(path),
        _ => Err("key: give each as 'file:PATH', a file that SYSTEM can read".to_owned()),
    }
}

impl ListedMount {
    fn check(&self) -> Result<(), String> {
        match (&self.folder, &self.letter) {
            (Some(_), None) => {}
            (None, Some(letter)) => {
                let name = letter.strip_suffix(':').unwrap_or(letter);
                if name.len() != 1 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                    return Err(format!("letter {letter:?}: give one letter, as in 'X:'"));
                }
                if self.mount_manager || self.raw || self.each {
                    let line = "mount_manager, raw and each are for a folder, not for a letter";
                    return Err(format!("{letter}: {line}"));
                }
            }
            _ => return Err("each [[mount]] needs a folder or a letter, and not both".to_owned()),
        }
        let shown = self.place();
        if self.disks.is_empty() {
            return Err(format!("{}: has no disks; give disks = ['...']", shown.display()));
        }
        // The service's working folder is not the user's.
        let keys = self.key.iter().map(|key| key_file(key)).collect::<Result<Vec<_>, _>>()?;
        let named = [&self.disks, &self.allow_path, &keys].into_iter().flatten();
        for path in named.chain(&self.folder) {
            if !path.is_absolute() {
                return Err(format!("{}: give the whole path", path.display()));
            }
        }
        match self.access.as_deref() {
            None | Some("me" | "everyone" | "guest") => Ok(()),
            Some(access) => Err(format!("access {access:?} is neither me, everyone nor guest")),
        }
    }

    /// The folder or drive, as `mount` writes it down.
    pub(super) fn place(&self) -> PathBuf {
        match (&self.folder, &self.letter) {
            (Some(folder), _) => mount_folder(folder),
            (None, Some(letter)) => {
                format!("{}:", letter.trim_end_matches(':').to_ascii_uppercase()).into()
            }
            (None, None) => PathBuf::new(),
        }
    }

    /// The images, as the list has them.
    pub(super) fn disks(&self) -> &[PathBuf] {
        &self.disks
    }

    /// What the program is called with for it.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("mount")];
        let mut add = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        for volume in &self.volumes {
            add("--volume", volume.into());
        }
        self.allow_path.iter().for_each(|value| add("--allow-path", value.into()));
        self.key.iter().for_each(|value| add("--key", value.into()));
        for (name, value) in
            [("--access", &self.access), ("--format", &self.format), ("--letter", &self.letter)]
        {
            value.iter().for_each(|value| add(name, value.into()));
        }
        if let Some(threads) = self.threads {
            add("--threads", threads.to_string().into());
        }
        for (name, wanted) in [
            ("--each", self.each),
            ("--raw", self.raw),
            ("--mount-manager", self.mount_manager),
            ("--snapshots", self.snapshots),
            ("--system-files", self.system_files),
        ] {
            arguments.extend(wanted.then(|| name.into()));
        }
        arguments.push("--".into());
        arguments.extend(self.disks.iter().map(|disk| disk.into()));
        arguments.extend(self.folder.iter().map(|folder| folder.into()));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_folders_disks_volumes_and_readers() {
        let list = MountList::parse(
            "[[mount]]\nfolder = 'C:\\m'\ndisks = ['D:\\a.vmdk']\nvolumes = ['S']\n\
             access = 'everyone'\n[[mount]]\nfolder = 'C:\\n'\ndisks = ['D:\\b']\n",
        )
        .unwrap();
        assert_eq!(list.mount.len(), 2);
        assert_eq!(list.mount[0].disks, [PathBuf::from(r"D:\a.vmdk")]);
        assert_eq!(list.mount[1].arguments(), ["mount", "--", r"D:\b", r"C:\n"]);
    }

    #[test]
    fn every_key_is_an_option_of_mount() {
        let list = MountList::parse(
            "[[mount]]\nfolder = 'C:\\m'\ndisks = ['D:\\a', 'D:\\b']\nvolumes = ['S', 'T']\n\
             access = 'guest'\neach = true\nraw = true\nmount_manager = true\n\
             snapshots = true\nsystem_files = true\nformat = 'raw'\nallow_path = ['E:\\p']\nkey = ['S=file:E:\\k']\n\
             threads = 3\n[[mount]]\nletter = 'x'\ndisks = ['D:\\c']\nvolume = ['U']",
        )
        .unwrap();
        let arguments = list.mount[0].arguments();
        let text: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(
            text.join(" "),
            r"mount --volume S --volume T --allow-path E:\p --key S=file:E:\k --access guest --format raw --threads 3 --each --raw --mount-manager --snapshots --system-files -- D:\a D:\b C:\m"
        );
        let drive = &list.mount[1];
        assert_eq!(drive.place(), PathBuf::from("X:"));
        assert_eq!(drive.arguments(), ["mount", "--volume", "U", "--letter", "x", "--", r"D:\c"]);
    }

    #[test]
    fn a_list_that_is_wrong_is_refused_with_the_reason() {
        let m = "[[mount]]\nfolder = 'C:\\m'\ndisks = ['D:\\a']\n";
        for (text, reason) in [
            ("[[mount]]\nfolder = 'm'\ndisks = ['D:\\a']", "whole path"),
            (&format!("{m}key = ['file:k']"), "k: give the whole path"),
            (&format!("{m}key = ['prompt']"), "key: give each as 'file:PATH'"),
            (&format!("{m}allow_path = ['p']"), "p: give the whole path"),
            ("[[mount]]\nfolder = 'C:\\m'\ndisks = []", "has no disks"),
            ("[[mount]]\nfolder = 'C:\\m'", "has no disks"),
            (&format!("{m}access = 'x'"), "neither"),
            ("[[mount]]\nfolder = 'C:\\m'\ndisk = ['D:\\a']", "unknown field `disk`, expected"),
            (&format!("{m}letters = 'X:'"), "`mount_manager`"),
            (&format!("{m}letter = 'X:'"), "not both"),
            ("[[mount]]\ndisks = ['D:\\a']", "needs a folder or a letter"),
            ("[[mount]]\nletter = 'XY:'\ndisks = ['D:\\a']", "one letter"),
            ("[[mount]]\nletter = 'X:'\nraw = true\ndisks = ['D:\\a']", "are for a folder"),
            (&format!("{m}{}", m.replace("C:\\m", "c:\\M")), "twice"),
            (&[m, m].concat().replacen("\\m", "\\\u{e4}", 1).replace("\\m", "\\\u{c4}"), "twice"),
            (&format!("{m}{}", m.replace("C:\\m", "c:\\M\\n")), "lies in"),
            ("x", "expected"),
        ] {
            let line = MountList::parse(text).expect_err(text);
            assert!(line.contains(reason), "{line}");
        }
    }
}
