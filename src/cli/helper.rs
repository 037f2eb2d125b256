//! Calls by `mount`, from `/etc/fstab` too: `mount.volfold IMAGE FOLDER -o OPTIONS`.
//!
//! `mount -t fuse.volfold` runs `mount.fuse.volfold` if there is one, a link to this program; else
//! `mount.fuse`, which runs `volfold IMAGE FOLDER -o OPTIONS`. Either becomes `volfold mount`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The exit code of `mount` for one that failed.
pub(crate) const FAILED: u8 = 32;

/// The exit code of `mount` for a wrong call.
pub(crate) const WRONG_CALL: u8 = 1;

/// Options that `mount` knows, or that are of no matter for folders that nobody can write to.
const OF_MOUNT: &[&str] = &[
    "async",
    "atime",
    "auto",
    "bg",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "fg",
    "group",
    "iversion",
    "lazytime",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "noiversion",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "suid",
    "sync",
    "user",
];

/// Options of `volfold mount` without a value.
const FLAGS: &[&str] = &["allow-other", "guest", "raw", "snapshots", "system-files"];

/// Options of `volfold mount` with one.
const VALUES: &[&str] =
    &["allow-path", "cache-size", "key", "links", "only", "owner", "snapshot", "threads", "volume"];

/// The command that is also the name of a link to the program.
#[cfg(not(windows))]
const VMWARE_MOUNT: &str = "vmware-mount";

/// A call by `mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// These arguments of this program.
    Run(Vec<OsString>),
    /// `mount --fake`: nothing is to be done.
    Fake,
    /// What is wrong with it.
    Wrong(String),
}

/// How this program was called.
fn call() -> Option<&'static Call> {
    static CALL: OnceLock<Option<Call>> = OnceLock::new();
    CALL.get_or_init(|| translate(&std::env::args_os().collect::<Vec<_>>())).as_ref()
}

/// Whether `mount` called, and wants its own exit codes.
pub(crate) fn is_called_by_mount() -> bool {
    call().is_some()
}

/// The arguments of this program: its name, the command, and so on. Does not return where `mount`
/// wants nothing, or called wrongly.
pub(crate) fn arguments() -> Vec<OsString> {
    match call() {
        #[cfg(windows)]
        None => expanded(),
        #[cfg(not(windows))]
        None => with_command(std::env::args_os().collect()),
        Some(Call::Run(arguments)) => arguments.clone(),
        Some(Call::Fake) => std::process::exit(0),
        Some(Call::Wrong(line)) => {
            super::text::complain(format_args!("{line}"));
            std::process::exit(WRONG_CALL.into())
        }
    }
}

/// `words` with the command that a link of this name is.
#[cfg(not(windows))]
fn with_command(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().and_then(|program| Path::new(program).file_stem());
    if name == Some(OsStr::new(VMWARE_MOUNT)) {
        words.insert(1, VMWARE_MOUNT.into());
    }
    words
}

/// The arguments, `*.vmdk` as the files that it means: the shells of Windows leave that to the program.
#[cfg(windows)]
fn expanded() -> Vec<OsString> {
    // Where a file is called so, `disk[1].vhd` is no pattern that means `disk1.vhd`.
    let has_file_with_bracket = std::env::args_os().skip(1).any(|argument| {
        argument.as_encoded_bytes().contains(&b'[') && Path::new(&argument).exists()
    });
    if has_file_with_bracket { std::env::args_os().collect() } else { wild::args_os().collect() }
}

/// A process of this program with just these `arguments`.
///
/// # Errors
/// If the host does not tell where the program is.
pub(crate) fn own_process(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for argument in arguments {
        let argument = argument.as_ref();
        #[cfg(windows)]
        std::os::windows::process::CommandExt::raw_arg(&mut command, quoted(argument));
        #[cfg(not(windows))]
        command.arg(argument);
    }
    Ok(command)
}

/// The argument between quotes, where no wildcard is expanded, as `CommandLineToArgvW` reads it.
#[cfg(windows)]
fn quoted(argument: &OsStr) -> OsString {
    use std::os::windows::ffi::{OsStrExt, OsStringExt};
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let mut line = vec![QUOTE];
    let mut backslashes = 0;
    for unit in argument.encode_wide() {
        if unit == QUOTE {
            // They escape themselves before a quote, and so is it.
            line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
        }
        backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
        line.push(unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
    OsString::from_wide(&line)
}

/// What a call by `mount` means; `None` for any other.
fn translate(given: &[OsString]) -> Option<Call> {
    let (program, rest) = given.split_first()?;
    let program = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let by_name = program == "mount.volfold" || program == "mount.fuse.volfold";
    // `mount.fuse` gives both, and then the options; no command has a separator in its name.
    let by_form = match rest {
        [image, _, option, _] => option == "-o" && image.as_encoded_bytes().contains(&b'/'),
        _ => false,
    };
    if !by_name && !by_form {
        return None;
    }
    Some(translate_words(rest).unwrap_or_else(Call::Wrong))
}

fn translate_words(words: &[OsString]) -> Result<Call, String> {
    let mut places = Vec::new();
    let (mut options, mut disks) = (vec![OsString::from("mount")], Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-f" | "--fake") => return Ok(Call::Fake),
            Some("-s" | "-v" | "-n" | "-w" | "-r") => {}
            Some("-t" | "-N") => {
                words.next();
            }
            Some("-o") => {
                let list = words.next().ok_or("-o needs a list of options")?;
                let list = list.to_str().ok_or("the options are not UTF-8")?;
                for option in split(list) {
                    translate_option(&option, &mut options, &mut disks)?;
                }
            }
            Some(option) if option.starts_with('-') && option.len() > 1 => {
                return Err(format!("{option}: is no option of a mount helper"));
            }
            _ => places.push(word.clone()),
        }
    }
    let [image, folder] = &places[..] else {
        return Err("give IMAGE and FOLDER, and options after -o".to_owned());
    };
    options.push("--".into());
    options.push(image.clone());
    options.append(&mut disks);
    options.push(folder.clone());
    options.insert(0, "volfold".into());
    Ok(Call::Run(options))
}

/// Adds what `option` means.
fn translate_option(
    option: &str,
    options: &mut Vec<OsString>,
    disks: &mut Vec<OsString>,
) -> Result<(), String> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let long = name.replace('_', "-");
    match value {
        Some(value) if long == "disk" => disks.push(value.into()),
        Some(value) if VALUES.contains(&long.as_str()) => {
            options.push(format!("--{long}={value}").into());
        }
        None if FLAGS.contains(&long.as_str()) => options.push(format!("--{long}").into()),
        None if name == "remount" => {
            return Err("remount: unmount it and mount it again".to_owned());
        }
        None if OF_MOUNT.contains(&name) || name == "users" || name == "_netdev" => {}
        // For other programs that read the table: `x-systemd.automount`.
        _ if name.starts_with("x-") || name.starts_with("X-") || name == "comment" => {}
        _ if name.is_empty() => {}
        _ => {
            return Err(format!(
                "{option}: unknown option; known are disk=, {}=, {}",
                VALUES.join("=, "),
                FLAGS.join(", ")
            ));
        }
    }
    Ok(())
}

/// The options of a list, at commas that are not quoted.
fn split(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    for character in list.chars() {
        match (character, options.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => options.push(String::new()),
            (character, Some(last)) => last.push(character),
            (_, None) => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<Call> {
        translate(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn runs(words: &[&str], wanted: &[&str]) {
        let wanted = wanted.iter().map(OsString::from).collect();
        assert_eq!(of(words), Some(Call::Run(wanted)), "{words:?}");
    }

    #[cfg(not(windows))]
    #[test]
    fn a_link_with_the_name_of_a_command_is_that_command() {
        let of = |words: &[&str]| with_command(words.iter().map(OsString::from).collect());
        assert_eq!(of(&["/usr/bin/vmware-mount", "-L"])[1..], ["vmware-mount", "-L"]);
        assert_eq!(of(&["/usr/bin/volfold", "list"])[1..], ["list"]);
    }

    #[test]
    fn calls_of_mount_become_the_command() {
        runs(
            &["/sbin/mount.volfold", "a.vmdk", "/mnt", "-n", "-o", "ro,nosuid,volume=A,volume=B"],
            &["volfold", "mount", "--volume=A", "--volume=B", "--", "a.vmdk", "/mnt"],
        );
        runs(
            &[
                "mount.fuse.volfold",
                "a",
                "/mnt",
                "-o",
                "allow_other,x-a=b,disk=\"b,c\",owner=guest,noauto",
                "-t",
                "fuse.volfold",
            ],
            &["volfold", "mount", "--allow-other", "--owner=guest", "--", "a", "b,c", "/mnt"],
        );
        runs(&["mount.volfold", "a", "/mnt"], &["volfold", "mount", "--", "a", "/mnt"]);
        runs(
            &["volfold", "/a", "/mnt", "-o", "rw,dev,suid"],
            &["volfold", "mount", "--", "/a", "/mnt"],
        );
        assert_eq!(of(&["mount.volfold", "-f", "a", "/mnt"]), Some(Call::Fake));
    }

    #[test]
    fn other_calls_stay_and_wrong_ones_are_named() {
        assert_eq!(of(&["volfold", "extract", "a", "-o", "b"]), None);
        assert_eq!(of(&["volfold", "extract", "-o", "b", "a"]), None);
        assert_eq!(of(&["volfold", "mount", "a", "b"]), None);
        for (words, reason) in [
            (&["mount.volfold", "a"][..], "IMAGE and FOLDER"),
            (&["mount.volfold", "a", "b", "-o", "uid=0"], "uid=0: unknown option"),
            (&["mount.volfold", "a", "b", "-o", "remount,ro"], "unmount it"),
            (&["mount.volfold", "a", "b", "--bind"], "--bind"),
        ] {
            match of(words) {
                Some(Call::Wrong(line)) => assert!(line.contains(reason), "{line}"),
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }
}
