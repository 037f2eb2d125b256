//! `volfold formats`: what this build reads.

use std::fmt::Write as _;
use std::io;

use clap::Args;
use serde::Serialize;
use volfold::CONFIGURATIONS;
use volfold::partition::registry::SCHEMES;
use volfold::volume::registry::{MANAGERS, SNAPSHOT_MANAGERS};
use volfold_fs::DRIVERS;
use volfold_images::{BACKUPS, COMPRESSIONS, FORMATS};

use super::outcome::Outcome;
use super::text;

/// Show what this build reads: image formats, what may be around them, partitions, volumes, file systems
#[derive(Args)]
#[command(after_help = "Example:\n  volfold formats --json")]
pub(crate) struct FormatsArguments {
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    title: &'static str,
}

#[derive(Serialize)]
struct FormatsJson {
    version: u32,
    image_formats: Vec<Entry>,
    /// What may be around an image.
    containers: Vec<Entry>,
    machine_configurations: Vec<Entry>,
    partition_schemes: Vec<Entry>,
    volume_managers: Vec<Entry>,
    file_systems: Vec<Entry>,
}

pub(crate) fn run(arguments: &FormatsArguments) -> io::Result<Outcome> {
    let formats = FormatsJson {
        version: 1,
        image_formats: entries(
            FORMATS
                .iter()
                .map(|format| (format.id(), format.title()))
                .chain(BACKUPS.iter().map(|format| (format.id(), format.title()))),
        ),
        containers: entries(
            [("ova", "OVA (packed machine)")]
                .into_iter()
                .chain(COMPRESSIONS.iter().map(|compression| (compression.id, compression.title))),
        ),
        machine_configurations: entries(CONFIGURATIONS.iter().copied()),
        partition_schemes: entries(SCHEMES.iter().map(|scheme| (scheme.id(), scheme.title()))),
        volume_managers: entries(
            [("basic", "partitions and whole disks")]
                .into_iter()
                .chain(MANAGERS.iter().map(|manager| (manager.id(), manager.title())))
                .chain(SNAPSHOT_MANAGERS.iter().map(|manager| (manager.id(), manager.title()))),
        ),
        file_systems: entries(DRIVERS.iter().map(|driver| (driver.id(), driver.title()))),
    };
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&formats)?)
    } else {
        let mut text = String::new();
        for (heading, entries) in [
            ("Image formats", &formats.image_formats),
            ("Around images", &formats.containers),
            ("Configurations of machines", &formats.machine_configurations),
            ("Partition schemes", &formats.partition_schemes),
            ("Volume managers", &formats.volume_managers),
            ("File systems", &formats.file_systems),
        ] {
            let _ = writeln!(text, "{heading}:");
            for entry in entries {
                let _ = writeln!(text, "  {:<9}  {}", entry.id, entry.title);
            }
        }
        text
    };
    text::answer(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn entries(pairs: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<Entry> {
    pairs.map(|(id, title)| Entry { id, title }).collect()
}
