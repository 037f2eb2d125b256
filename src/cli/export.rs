//! `volfold export`: disks and volumes as block devices of the network.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::Args;
use volfold::DiskSet;
use volfold_projector::export::{Content, Export};
use volfold_projector::nbd::Nbd;
use volfold_projector::overlay::Overlay;
use volfold_projector::serve::{Address, Server};
use volfold_projector::{Log, process};

use super::{Outcome, SetArguments, text};

/// The port of NBD.
const NBD_PORT: u16 = 10809;

/// Give out disks and volumes as block devices, by the NBD protocol
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold export disk.vmdk --nbd unix:/tmp/disk.sock
  volfold export disk.vmdk --nbd tcp:127.0.0.1 --volume gpt:1b2c3d4e-...
  qemu-img info nbd+unix:///disk0?socket=/tmp/disk.sock
  nbdcopy 'nbd+unix:///disk0?socket=/tmp/disk.sock' disk.raw

Every disk is an export (disk0, disk1, ...), and every volume by its id, also those whose file system
nobody here knows. Goes on until it is ended (Ctrl-C). Nothing is ever written to an image; with
--overlay clients may write, and what they write is kept beside it.")]
pub(crate) struct ExportArguments {
    /// Disk images that belong together
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Where to listen: unix:PATH or tcp:HOST[:PORT]; may be given several times
    #[arg(long, required = true, value_name = "ADDRESS", value_parser = parse_address)]
    nbd: Vec<Address>,
    /// Only this disk or volume (disk0, folder name or id); may be given several times
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Also listen where other machines can come
    #[arg(long)]
    listen: bool,
    /// Let clients write, and keep what they write in this file, or in `memory`
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// The most that an overlay may take
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_size)]
    overlay_limit: u64,
    #[command(flatten)]
    set: SetArguments,
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(place) = text.strip_prefix("tcp:").filter(|place| !place.is_empty()) {
        let found = place.parse::<SocketAddr>().ok();
        let found = found.or_else(|| place.to_socket_addrs().ok()?.next());
        let bare = place.trim_start_matches('[').trim_end_matches(']');
        let found = found.or_else(|| (bare, NBD_PORT).to_socket_addrs().ok()?.next());
        return found
            .map(Address::Tcp)
            .ok_or_else(|| format!("{place} is no address; give HOST or HOST:PORT"));
    }
    #[cfg(unix)]
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Address::Unix(path.into()));
    }
    Err(if cfg!(unix) { "give unix:PATH or tcp:HOST:PORT" } else { "give tcp:HOST:PORT" }
        .to_owned())
}

pub(crate) fn run(arguments: &ExportArguments) -> io::Result<Outcome> {
    let Some((set, mut outcome)) = arguments.set.open(&arguments.disks) else {
        return Ok(Outcome::Nothing);
    };
    match serve(arguments, &set, &mut outcome) {
        Ok(()) => Ok(outcome),
        Err(line) => {
            text::complain(format_args!("{line}"));
            Ok(Outcome::Nothing)
        }
    }
}

fn serve(arguments: &ExportArguments, set: &DiskSet, outcome: &mut Outcome) -> Result<(), String> {
    for address in arguments.nbd.iter().filter(|address| !address.is_local()) {
        if !arguments.listen {
            return Err(format!(
                "{address}: other machines could come there; add --listen to let them"
            ));
        }
        text::complain(format_args!(
            "{address}: every machine that comes there can read the disks"
        ));
    }
    let exports = chosen(arguments, set, outcome)?;
    let log: Log = Arc::new(|line: &str| text::complain(format_args!("{line}")));
    let nbd = Arc::new(Nbd { exports, log: log.clone() });
    let mut servers = Vec::new();
    for address in &arguments.nbd {
        let nbd = nbd.clone();
        let handler = Arc::new(move |stream, chosen: &dyn Fn()| nbd.serve(stream, chosen));
        let server = Server::listen(address, handler, log.clone());
        servers.push(server.map_err(|error| format!("{address}: cannot be listened at: {error}"))?);
    }
    let (end, ended) = channel();
    process::on_termination(move || end.send(()).unwrap_or_default())
        .map_err(|error| format!("signals cannot be taken: {error}"))?;
    let mut answer = Vec::new();
    for server in &servers {
        for export in &nbd.exports {
            let line = uri(server.address(), &export.name);
            let _ = writeln!(answer, "{line}  {}", export.description);
        }
    }
    // Whoever does not read what is printed still has the exports.
    let _ = text::answer(&answer);
    let _ = ended.recv();
    drop(servers);
    Ok(())
}

/// The exports of the set that the arguments choose.
fn chosen(
    arguments: &ExportArguments,
    set: &DiskSet,
    outcome: &mut Outcome,
) -> Result<Vec<Arc<Export>>, String> {
    let mut wanted: Vec<&str> = arguments.volume.iter().map(String::as_str).collect();
    let mut all = Vec::new();
    for (index, disk) in set.disks().iter().enumerate() {
        let description =
            format!("{}, {} disk, {}", disk.path.display(), disk.format, text::size(disk.size));
        all.push((format!("disk{index}"), String::new(), description, disk.device.clone()));
    }
    for volume in set.volumes() {
        let size = text::size(volume.volume.device.size());
        let description = format!("{}, {size}", volume.name);
        let device = volume.volume.device.clone();
        all.push((volume.volume.id.0.clone(), volume.name.clone(), description, device));
    }
    if !arguments.volume.is_empty() {
        all.retain(|(id, name, ..)| {
            let place = wanted.iter().position(|wanted| wanted == id || wanted == name);
            place.map(|place| wanted.remove(place)).is_some()
        });
        for missing in wanted {
            text::complain(format_args!(
                "{missing}: no such disk or volume; `volfold list` shows names and ids"
            ));
            *outcome = Outcome::Part;
        }
    }
    if all.is_empty() {
        return Err("there is nothing to give out".to_owned());
    }
    if arguments.overlay.as_ref().is_some_and(|path| path.as_os_str() != "memory") && all.len() != 1
    {
        return Err("an overlay file is of one disk or volume; choose it with --volume".to_owned());
    }
    all.into_iter()
        .map(|(name, _, description, device)| {
            let content = match &arguments.overlay {
                None => Content::ReadOnly(device),
                Some(path) if path.as_os_str() == "memory" => {
                    Content::Overlay(Arc::new(Overlay::in_memory(device, arguments.overlay_limit)))
                }
                Some(path) => {
                    let identity =
                        set.identity(&name).map_err(|error| format!("{name}: {error}"))?;
                    let overlay =
                        Overlay::in_file(device, path, &identity, arguments.overlay_limit);
                    let overlay =
                        overlay.map_err(|error| format!("{}: {error}", path.display()))?;
                    Content::Overlay(Arc::new(overlay))
                }
            };
            Ok(Arc::new(Export { name, description, content }))
        })
        .collect()
}

/// The address of an export as NBD's URIs write it.
fn uri(address: &Address, name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    match address {
        #[cfg(unix)]
        Address::Unix(socket) => format!("nbd+unix:///{path}?socket={}", socket.display()),
        Address::Tcp(address) => format!("nbd://{address}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_or_places_of_the_network() {
        let tcp = |text: &str| parse_address(text).unwrap();
        assert_eq!(tcp("tcp:127.0.0.1:99").to_string(), "tcp:127.0.0.1:99");
        assert_eq!(tcp("tcp:127.0.0.1").to_string(), "tcp:127.0.0.1:10809");
        assert_eq!(tcp("tcp:[::1]:99").to_string(), "tcp:[::1]:99");
        assert!(tcp("tcp:127.1.2.3:9").is_local() && !tcp("tcp:0.0.0.0:9").is_local());
        for wrong in ["", "unix:", "tcp:", "x", "127.0.0.1:99"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_escaped_in_addresses() {
        let address = parse_address("tcp:127.0.0.1:99").unwrap();
        assert_eq!(uri(&address, "gpt:a b"), "nbd://127.0.0.1:99/gpt:a%20b");
    }
}
