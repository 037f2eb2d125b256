//! `volfold explain`: what a code means, and what to do.

use std::fmt::Write as _;
use std::io;

use clap::Args;
use volfold_block::code;

use super::outcome::Outcome;
use super::text;

/// Explain a code that messages and JSON show in brackets
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold explain ext4-journal-not-replayed
  volfold explain                          all codes")]
pub(crate) struct ExplainArguments {
    /// The code; without it all codes
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Why a disk, volume or file could not be had.
struct FailureCode {
    code: &'static str,
    meaning: &'static str,
    advice: &'static str,
}

const fn failure(code: &'static str, meaning: &'static str, advice: &'static str) -> FailureCode {
    FailureCode { code, meaning, advice }
}

/// Every code of failures.
static FAILURES: &[FailureCode] = &[
    failure(
        "io",
        "The host could not read the image.",
        "Look at the message of the host; copy the image again, or read it from another place.",
    ),
    failure(
        "corrupt",
        "The bytes contradict the specification of the format, so nothing can be given in their place.",
        "Copy the image again, or take another backup. `volfold check` shows what else is damaged.",
    ),
    failure(
        "unsupported",
        "The bytes may be fine; this build does not read their format or feature.",
        "`volfold formats` shows what is read. `volfold attach` gives the bytes to the system's own driver.",
    ),
    failure(
        "out-of-range",
        "A structure points outside of the disk, volume or file.",
        "The image may be cut off: compare its size with the original.",
    ),
    failure(
        "missing-part",
        "Another file or disk is needed: a parent of a snapshot, an extent, a member of a volume.",
        "Give it with the others, or allow its folder with --allow-path.",
    ),
    failure(
        "refused",
        "A policy forbids it: a file outside of the folders that were allowed, bytes that two records claim.",
        "Read the message; --allow-path and --format allow what is known to be right.",
    ),
    failure(
        "not-found",
        "There is no such file or directory.",
        "`volfold ls` shows what there is.",
    ),
    failure(
        "not-a-directory",
        "A part of the path is no directory.",
        "`volfold ls` shows what there is.",
    ),
    failure(
        "is-a-directory",
        "The path is a directory, and a file was wanted.",
        "Use `volfold ls` or `volfold extract`.",
    ),
    failure("not-a-link", "The path is no symbolic link.", ""),
    failure("invalid-name", "No name can look like this on this file system.", ""),
    failure(
        "encrypted",
        "The content of the file is encrypted (EFS, ext4 encryption), and no key is known.",
        "Read it on the system that encrypted it.",
    ),
    failure(
        "ntfs-compressed",
        "NTFS content compressed in a way that is not known.",
        "Read it on Windows.",
    ),
    failure(
        "wof-compressed",
        "Content compressed by a form of the Windows overlay filter that is not known.",
        "Read it on Windows.",
    ),
    failure(
        "wof-wim",
        "The content lies in a WIM file, by the Windows overlay filter.",
        "Find the WIM file on the recovery volume and unpack it.",
    ),
    failure(
        "deduplicated",
        "The content lies in the chunk store of Windows data deduplication.",
        "Read it on a Windows Server with that feature.",
    ),
    failure(
        "cloud-placeholder",
        "The content is in the cloud (OneDrive and others); the volume has only a placeholder.",
        "Download it from the cloud.",
    ),
    failure(
        "offline-storage",
        "The content was moved to another storage tier.",
        "Recall it on the original system.",
    ),
    failure(
        "unknown-reparse-point",
        "The file has a reparse point of an unknown kind, which decides what it holds.",
        "",
    ),
    failure(
        "attribute-list",
        "The records that hold parts of the file cannot be followed.",
        "`chkdsk` on a copy may repair it.",
    ),
    failure(
        "overwritten",
        "The file was deleted, and its place on the volume was given to another one since, or to two deleted ones.",
        "A carving tool may find parts of it.",
    ),
    failure(
        "place-lost",
        "The file was deleted, and the volume does not keep where it was.",
        "A carving tool may find it.",
    ),
    failure(
        "unsupported-layout",
        "The content is stored in a form that this build does not read.",
        "",
    ),
    failure(
        "stopped",
        "The program that opened the disks stopped the work; what it had found until then is not given.",
        "",
    ),
    failure(
        "internal",
        "A fault of volfold itself.",
        "Please report it, with the message and, if you may, the image.",
    ),
    failure(
        "volume-not-read",
        "A volume on which there are files, or may well be, is not read: damaged, locked, or of a file system that this build does not read.",
        "The reason says which; `--key` opens what is locked, `volfold attach` or `volfold mount --raw` give the bytes of the rest.",
    ),
    failure(
        "volume-not-whole",
        "Parts of a volume that lies on several disks are missing, and with them bytes.",
        "Give the images of all its disks; `volfold list` names those that are missing.",
    ),
    failure(
        "special-file",
        "A device node, pipe, socket or link that the target cannot hold.",
        "--tar keeps device nodes and pipes.",
    ),
    failure(
        "exists",
        "Something stands under that name in the target, and is kept.",
        "--overwrite replaces files.",
    ),
    failure(
        "host",
        "The system that the files are written to refused.",
        "Look at its message: space, rights, names.",
    ),
];

pub(crate) fn run(arguments: &ExplainArguments) -> io::Result<Outcome> {
    let Some(wanted) = &arguments.code else {
        text::answer(all().as_bytes())?;
        return Ok(Outcome::Done);
    };
    let wanted = wanted.trim_matches(['[', ']']);
    match one(wanted) {
        Some(text) => {
            text::answer(text.as_bytes())?;
            Ok(Outcome::Done)
        }
        None => {
            let line = "no such code; `volfold explain` shows all";
            text::complain(format_args!("{wanted}: {line}"));
            Ok(Outcome::Nothing)
        }
    }
}

fn one(wanted: &str) -> Option<String> {
    let finding = code::ALL.iter().find(|entry| entry.code == *wanted);
    let failure = FAILURES.iter().find(|failure| failure.code == wanted);
    let mut text = String::new();
    if let Some(entry) = finding {
        let _ = writeln!(text, "{}\n  {}", entry.code, entry.meaning);
        if !entry.advice.is_empty() {
            let _ = writeln!(text, "  {}", entry.advice);
        }
        let _ = writeln!(text, "  {}", effect(entry.bears_on_content));
    } else {
        let failure = failure?;
        let _ = writeln!(text, "{}\n  {}", failure.code, failure.meaning);
        if !failure.advice.is_empty() {
            let _ = writeln!(text, "  {}", failure.advice);
        }
        let _ = writeln!(text, "  {}", effect(true));
    }
    Some(text)
}

fn effect(bears_on_content: bool) -> &'static str {
    if bears_on_content {
        "Commands that meet it end with exit code 3."
    } else {
        "What is read is whole all the same."
    }
}

fn all() -> String {
    let findings = code::ALL.iter().map(|entry| entry.code.as_str());
    let failures = FAILURES.iter().map(|failure| failure.code);
    let mut codes: Vec<&str> = findings.chain(failures).collect();
    codes.sort_unstable();
    codes.into_iter().filter_map(one).collect::<Vec<_>>().join("\n")
}

/// The page docs/CODES.md.
#[cfg(test)]
fn page() -> String {
    let mut text = String::from(
        "# Codes\n\n\
         Messages show a code in brackets, JSON has it as `code`. A code keeps its meaning in all versions;\n\
         `volfold explain CODE` prints what stands here. This page is made by a test of `volfold explain`;\n\
         `UPDATE_GOLDEN=1 cargo test --lib --bins` writes it.\n\n\
         ## Findings\n\n\
         What was noticed while the rest is read. \"3\" in the column EXIT: what is read may be less or older than\n\
         what there was, so commands that meet it end with exit code 3.\n\n\
         | code | exit | meaning | what to do |\n|---|---|---|---|\n",
    );
    for entry in code::ALL {
        let exit = if entry.bears_on_content { "3" } else { "" };
        let _ =
            writeln!(text, "| `{}` | {exit} | {} | {} |", entry.code, entry.meaning, entry.advice);
    }
    text.push_str(
        "\n## Failures\n\nWhy an image, a volume or a file could not be had. Commands end with exit code 3, or with 1 if\n\
         nothing could be had.\n\n| code | meaning | what to do |\n|---|---|---|\n",
    );
    for failure in FAILURES {
        let _ = writeln!(text, "| `{}` | {} | {} |", failure.code, failure.meaning, failure.advice);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use volfold_fs::{FsErrorKind, Reason};

    use super::*;

    #[test]
    fn the_page_of_codes_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CODES.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
        assert!(kept == page(), "docs/CODES.md is old; UPDATE_GOLDEN=1 writes it anew");
    }

    #[test]
    fn every_kind_of_failure_is_explained() {
        use FsErrorKind::{
            Corrupt, Encrypted, Internal, InvalidName, Io, IsADirectory, MissingPart,
            NotADirectory, NotALink, NotFound, OutOfRange, Refused, Undecodable, Unsupported,
        };
        let reasons = Reason::ALL.iter().map(|reason| Undecodable(*reason));
        let kinds = [
            Io,
            Corrupt,
            Unsupported,
            OutOfRange,
            MissingPart,
            Refused,
            NotFound,
            NotADirectory,
            IsADirectory,
            NotALink,
            InvalidName,
            Encrypted,
            Internal,
        ];
        for kind in kinds.into_iter().chain(reasons) {
            assert!(one(kind.code()).is_some(), "{} is not explained", kind.code());
        }
    }

    #[test]
    fn no_code_has_two_meanings() {
        let findings = code::ALL.iter().map(|entry| entry.code.as_str());
        let mut seen = HashSet::new();
        for code in findings.chain(FAILURES.iter().map(|failure| failure.code)) {
            assert!(seen.insert(code), "{code} stands twice");
        }
        assert_eq!(one("no-such-code"), None);
    }
}
