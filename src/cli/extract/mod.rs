//! `volfold extract`: files out of the images, with their times and holes.
//!
//! Everything is created below one folder ([`Output`]), from names made legal for the host; links
//! are made last. So no name and no link of a guest can lead outside.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use volfold_projector::process;

use super::outcome::Outcome;
use super::progress;
use super::text;
use super::walk::outermost;

mod arguments;
mod copies;
mod copy;
mod finish;
#[cfg(unix)]
mod keep;
mod links;
mod output;
mod pax;
mod place;
mod stop;
mod tar;
mod times;

pub(crate) use arguments::ExtractArguments;
use copy::Extraction;
use output::Output;
use stop::Stop;

pub(crate) fn run(arguments: &ExtractArguments) -> io::Result<Outcome> {
    let all = [OsString::from("/")];
    let paths = if arguments.path.is_empty() { &all[..] } else { &arguments.path };
    let mut opened = match arguments.set.open_tree(&arguments.disks, paths) {
        Ok(opened) => opened,
        Err(mut report) => {
            report.end();
            return Ok(Outcome::Nothing);
        }
    };
    let progress = progress::spinner();
    opened.report.say_by({
        let progress = progress.clone();
        move |line| progress.suspend(|| text::complain(format_args!("{line}")))
    });
    let stop = Stop::default();
    if let Err(error) = process::on_termination({
        let stop = stop.clone();
        move || stop.by_signal()
    }) {
        text::complain(format_args!("no signal handler: a signal ends this at once: {error}"));
    }
    if let Some(file) = &arguments.tar {
        return tar::run(arguments, file, opened, &progress, &stop);
    }
    let found = outermost(opened.find_all());
    let folder = arguments.output.as_deref().unwrap_or(Path::new("."));
    let may_have_files = arguments.merge || arguments.resume;
    let output = match open_folder(folder, may_have_files) {
        Ok(output) => output,
        Err(error) => {
            text::complain(format_args!("{}: {error}", folder.display()));
            return Ok(Outcome::Nothing);
        }
    };
    let extraction =
        Extraction::new(arguments, &opened.set, &opened.tree, opened.report, &progress, &stop);
    let (files, report) = extraction.run(&output, &found);
    opened.report = report;
    progress.finish_and_clear();
    let failed = opened.report.is_part();
    let outcome = opened.end();
    if let Some(reason) = stop.reason() {
        let again = "`--resume` goes on in the folder";
        text::complain(format_args!("{reason}; {files} files are complete; {again}"));
        return Ok(if files == 0 { Outcome::Nothing } else { Outcome::Part });
    }
    Ok(if failed && files == 0 { Outcome::Nothing } else { outcome })
}

/// The folder `folder`, made if it is not there.
fn open_folder(folder: &Path, may_have_files: bool) -> io::Result<Output> {
    let output = Output::open(folder)?;
    if !may_have_files && !output.is_empty()? {
        let line = "is not empty; give a new or empty folder, or --merge to add to what is there, \
                    or --resume to go on";
        return Err(io::Error::other(line));
    }
    Ok(output)
}
