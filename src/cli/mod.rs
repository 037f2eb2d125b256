//! The command line: arguments, messages, exit codes.
//!
//! stdout is the answer, stderr is talk. The commands use the facade of the library alone.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod allocated;
#[cfg(any(target_os = "linux", windows))]
mod attach;
mod background;
mod bom;
mod cat;
mod check;
mod content;
mod convert;
mod devices;
mod explain;
mod export;
mod extract;
mod formats;
mod hash;
mod helper;
mod host_names;
mod info;
mod key_argument;
mod keys;
mod list;
mod ls;
mod mount;
mod mount_host;
mod mount_record;
mod mount_set;
mod mounts;
mod outcome;
mod paths;
mod progress;
mod recorded;
mod report;
#[cfg(windows)]
mod service;
mod set;
mod targets;
mod text;
mod unmount;
mod vmware_mount;
mod walk;

use outcome::Outcome;

const AFTER_HELP: &str = "\
Examples:
  volfold list disk.vmdk
  volfold mount disk.vmdk /mnt/disk      then: ls /mnt/disk; volfold unmount /mnt/disk
  volfold ls disk.vmdk -p /System/Users
  volfold extract disk.vmdk -p /System/Users -o saved

Exit codes: 0 done, 1 nothing done, 2 wrong usage, 3 done in part.";

/// The licence of WinFsp wants its notice where users see it.
#[cfg(windows)]
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nFolders by WinFsp - Windows File System Proxy, Copyright (C) Bill Zissimopoulos\n",
    "https://github.com/winfsp/winfsp"
);
#[cfg(not(windows))]
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Opens disk images and shows the volumes on them as folders; never writes to an image.
#[derive(Parser)]
#[command(name = "volfold", version = VERSION, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::ListArguments),
    Info(info::InfoArguments),
    Mount(mount::MountArguments),
    Unmount(unmount::UnmountArguments),
    Mounts(mounts::MountsArguments),
    VmwareMount(vmware_mount::VmwareMountArguments),
    #[cfg(any(target_os = "linux", windows))]
    Attach(attach::AttachArguments),
    #[cfg(any(target_os = "linux", windows))]
    Detach(attach::DetachArguments),
    #[cfg(windows)]
    Service(service::ServiceArguments),
    Ls(ls::LsArguments),
    Cat(cat::CatArguments),
    Check(check::CheckArguments),
    Extract(extract::ExtractArguments),
    Convert(convert::ConvertArguments),
    Export(export::ExportArguments),
    Hash(hash::HashArguments),
    Explain(explain::ExplainArguments),
    Formats(formats::FormatsArguments),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  volfold completions bash > ~/.bash_completion.d/volfold")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  volfold man | man -l -")]
    Man,
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    quiet_panics();
    volfold_projector::process::raise_file_limit();
    match run(Arguments::parse_from(helper::arguments()).command) {
        Ok(outcome) if helper::is_called_by_mount() => match outcome {
            Outcome::Nothing => ExitCode::from(helper::FAILED),
            Outcome::Done | Outcome::Part => ExitCode::SUCCESS,
        },
        Ok(outcome) => outcome.into(),
        // The reader of our answer went away (`| head`); that is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            text::complain(format_args!("cannot write to standard output: {error}"));
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> std::io::Result<Outcome> {
    match command {
        Command::List(arguments) => list::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Mount(arguments) if arguments.has_no_disk() => {
            usage_error("mount", "give at least one DISK and, after it, the FOLDER")
        }
        Command::Mount(arguments) => match arguments.contradiction() {
            Some(line) => usage_error("mount", &line),
            None => mount::run(&arguments),
        },
        Command::Unmount(arguments) => unmount::run(&arguments),
        Command::Mounts(arguments) => mounts::run(&arguments),
        Command::VmwareMount(arguments) => match arguments.contradiction() {
            Some(line) => usage_error("vmware-mount", line),
            None => vmware_mount::run(&arguments),
        },
        #[cfg(any(target_os = "linux", windows))]
        Command::Attach(arguments) => attach::run(&arguments),
        #[cfg(any(target_os = "linux", windows))]
        Command::Detach(arguments) => attach::detach(&arguments),
        #[cfg(windows)]
        Command::Service(arguments) => service::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Extract(arguments) if arguments.copies_links_into_an_archive() => {
            usage_error("extract", "an archive holds links as such; --links files is for --output")
        }
        Command::Extract(arguments) => extract::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Hash(arguments) => hash::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Formats(arguments) => formats::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "volfold", &mut script);
            text::answer(&script)?;
            Ok(Outcome::Done)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            text::answer(&page)?;
            Ok(Outcome::Done)
        }
    }
}

/// A panic inside a reader is caught and becomes the error of its request, which tells that it is a
/// bug; one line with the place is enough.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        text::complain(format_args!("internal error at {place}; this is a bug, please report it"));
    }));
}

/// Ends the program as the argument parser does for wrong usage of `command`.
fn usage_error(command: &str, line: &str) -> ! {
    let mut arguments = Arguments::command();
    let known = arguments.find_subcommand_mut(command);
    let error =
        clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, format!("{line}\n"));
    match known {
        Some(command) => error.with_cmd(command).exit(),
        None => error.exit(),
    }
}
