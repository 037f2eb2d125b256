//! `volfold export`: disks and volumes as block devices of the network.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::{ArgGroup, Args};
use volfold::DiskSet;
use volfold_projector::block::Export;
use volfold_projector::block::iscsi::{Chap, Iscsi};
use volfold_projector::block::nbd::{Nbd, Tls};
use volfold_projector::block::serve::{Address, Server};
use volfold_projector::{Log, process};

use super::devices::{self, OverlayArguments};
use super::outcome::Outcome;
use super::paths::not_named;
use super::set::SetArguments;
use super::targets::targets;
use super::text;

/// The port of NBD.
const NBD_PORT: u16 = 10809;

/// The port of iSCSI.
const ISCSI_PORT: u16 = 3260;

/// LIMIT: bytes of a file with a secret.
const MAX_SECRET_FILE: u64 = 4096;

/// Export disks and volumes as block devices, by NBD and iSCSI
#[derive(Args)]
#[command(group = ArgGroup::new("protocol").required(true).multiple(true).args(["nbd", "iscsi"]))]
#[command(after_help = "\
Examples:
  volfold export disk.vmdk --nbd unix:/tmp/disk.sock
  volfold export disk.vmdk --nbd tcp:127.0.0.1 --volume gpt:1b2c3d4e-...
  qemu-img info nbd+unix:///disk0?socket=/tmp/disk.sock
  nbdcopy 'nbd+unix:///disk0?socket=/tmp/disk.sock' disk.raw

  volfold export disk.vmdk --nbd tcp:0.0.0.0 --listen --tls /etc/pki/volfold --tls-verify

  volfold export disk.vmdk --iscsi 127.0.0.1
  iscsi-ls -s iscsi://127.0.0.1/
  qemu-img info iscsi://127.0.0.1/iqn.2026-11.io.volfold:4f5e6d7c:disk0/0

On Windows, as administrator, the initiator of the system takes a disk or volume:
  Start-Service MSiSCSI
  New-IscsiTargetPortal -TargetPortalAddress 127.0.0.1
  Connect-IscsiTarget -NodeAddress iqn.2026-11.io.volfold:4f5e6d7c:disk0
or, in a command prompt:
  iscsicli QAddTargetPortal 127.0.0.1
  iscsicli QLoginTarget iqn.2026-11.io.volfold:4f5e6d7c:disk0

Every disk is an export (disk0, disk1, ...), and every volume by its id, also those whose file
system is not known. Goes on until it is ended (Ctrl-C). Nothing is ever written to an image;
with --overlay clients may write, and what they write is kept beside it.")]
pub(crate) struct ExportArguments {
    /// Disk images that belong together
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Where to listen for NBD: unix:PATH or tcp:HOST[:PORT]; may be given several times
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    nbd: Vec<Address>,
    /// Where to listen for iSCSI: HOST[:PORT]; may be given several times
    #[arg(long, value_name = "ADDRESS", value_parser = parse_iscsi_address)]
    iscsi: Vec<Address>,
    /// Require CHAP login of iSCSI initiators with the secret in FILE (12 bytes or more; for Windows
    /// 12 to 16)
    #[arg(long, value_name = "USER:FILE", requires = "iscsi", value_parser = parse_chap)]
    chap: Option<(String, PathBuf)>,
    /// Require TLS of NBD clients; FOLDER holds server-cert.pem and server-key.pem
    #[arg(long, value_name = "FOLDER", requires = "nbd")]
    tls: Option<PathBuf>,
    /// With --tls: require a client certificate that one of ca-cert.pem in FOLDER signed
    #[arg(long, requires = "tls")]
    tls_verify: bool,
    /// Only this disk or volume (disk0, folder name or id); may be given several times
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Also listen on addresses that are reachable from other machines
    #[arg(long)]
    listen: bool,
    #[command(flatten)]
    overlay: OverlayArguments,
    #[command(flatten)]
    set: SetArguments,
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(place) = text.strip_prefix("tcp:").filter(|place| !place.is_empty()) {
        return network_address(place, NBD_PORT);
    }
    #[cfg(unix)]
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Address::Unix(path.into()));
    }
    Err(if cfg!(unix) { "give unix:PATH or tcp:HOST:PORT" } else { "give tcp:HOST:PORT" }
        .to_owned())
}

fn parse_iscsi_address(text: &str) -> Result<Address, String> {
    network_address(text.strip_prefix("tcp:").unwrap_or(text), ISCSI_PORT)
}

/// An address of the network, with or without a port.
fn network_address(place: &str, port: u16) -> Result<Address, String> {
    let found = place.parse::<SocketAddr>().ok();
    let found = found.or_else(|| place.to_socket_addrs().ok()?.next());
    let bare = place.trim_start_matches('[').trim_end_matches(']');
    let is_named = !bare.is_empty();
    let found = found.or_else(|| (bare, port).to_socket_addrs().ok()?.next().filter(|_| is_named));
    found
        .map(Address::Tcp)
        .ok_or_else(|| format!("{place} is not an address; give HOST or HOST:PORT"))
}

fn parse_chap(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once(':') {
        Some((user, file)) if !user.is_empty() && !file.is_empty() => {
            Ok((user.to_owned(), file.into()))
        }
        _ => Err("give USER:FILE".to_owned()),
    }
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
    for address in arguments.nbd.iter().chain(&arguments.iscsi) {
        if !address.is_local() && !arguments.listen {
            return Err(format!(
                "{address}: this address is reachable from other machines; add --listen to allow that"
            ));
        }
        let is_open = match arguments.nbd.contains(address) {
            true => !arguments.tls_verify,
            false => arguments.chap.is_none(),
        };
        if !address.is_local() && is_open {
            text::complain(format_args!(
                "{address}: every machine that can reach this address can read the disks"
            ));
        }
    }
    let chap = arguments.chap.as_ref().map(|(user, file)| chap(user, file)).transpose()?;
    let tls = arguments.tls.as_ref().map(|folder| Tls::from_folder(folder, arguments.tls_verify));
    let tls = tls.transpose()?;
    let exports = chosen(arguments, set, outcome)?;
    let log: Log = Arc::new(|line: &str| text::complain(format_args!("{line}")));
    let complain = |line: &str| text::complain(format_args!("{line}"));
    let targets = match arguments.iscsi.is_empty() {
        true => Vec::new(),
        false => targets(set, &exports, arguments.overlay.overlay.as_deref(), &complain),
    };
    let default = default_export(&exports);
    let nbd = Arc::new(Nbd::new(exports, log.clone()).with_default(default).with_tls(tls));
    let iscsi = Arc::new(Iscsi::new(targets, chap, log.clone()));
    let mut servers = Vec::new();
    let mut answer = Vec::new();
    let listen = |address: &Address, handler| {
        let server = Server::listen(address, handler, log.clone());
        server.map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    for address in &arguments.nbd {
        let nbd = nbd.clone();
        let server = listen(address, Arc::new(move |stream| nbd.serve(stream)))?;
        servers.push(server);
    }
    for address in &arguments.iscsi {
        let iscsi = iscsi.clone();
        let server = listen(address, Arc::new(move |stream| iscsi.serve(stream)))?;
        servers.push(server);
    }
    let (end, ended) = channel();
    process::on_termination(move || end.send(()).unwrap_or_default())
        .map_err(|error| format!("no signal handler: {error}"))?;
    let (of_nbd, of_iscsi) = servers.split_at(arguments.nbd.len());
    for server in of_nbd {
        for export in nbd.exports() {
            let line = uri(server.address(), &export.name, nbd.requires_tls());
            let _ = writeln!(answer, "{line}  {}", export.description);
        }
    }
    for server in of_iscsi {
        for (target, export) in iscsi.targets().iter().zip(nbd.exports()) {
            let place = server.address().to_string();
            let place = place.trim_start_matches("tcp:");
            let line = format!("iscsi://{place}/{}/0", target.name());
            let _ = writeln!(answer, "{line}  {}", export.description);
        }
    }
    // Without a reader of what is printed there still are the exports.
    let _ = text::answer(&answer);
    let _ = ended.recv();
    drop(servers);
    Ok(())
}

/// The name of the export for clients that name none: the only one, else the only disk.
fn default_export(exports: &[Arc<Export>]) -> Option<String> {
    let is_disk = |name: &str| {
        name.strip_prefix("disk").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut disks = exports.iter().filter(|export| is_disk(&export.name));
    match (exports, disks.next(), disks.next()) {
        ([only], ..) | (_, Some(only), None) => Some(only.name.clone()),
        _ => None,
    }
}

/// The user and the secret in the first line of `file`.
fn chap(user: &str, file: &Path) -> Result<Chap, String> {
    let read = || {
        let mut secret = Vec::new();
        std::fs::File::open(file)?.take(MAX_SECRET_FILE).read_to_end(&mut secret)?;
        Ok(secret)
    };
    let secret = read().map_err(|error: io::Error| format!("{}: {error}", file.display()))?;
    let line = secret.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    Chap::new(user, line).map_err(|reason| format!("{}: {reason}", file.display()))
}

/// The exports of the set that the arguments choose.
fn chosen(
    arguments: &ExportArguments,
    set: &DiskSet,
    outcome: &mut Outcome,
) -> Result<Vec<Arc<Export>>, String> {
    let mut all = devices::devices(set);
    for missing in devices::choose(&mut all, &arguments.volume) {
        text::complain(format_args!("{}", not_named(set, missing)));
        *outcome = Outcome::Part;
    }
    if all.is_empty() {
        return Err("no disk or volume to export".to_owned());
    }
    let overlay = &arguments.overlay;
    overlay.check(all.len())?;
    let say = |line: &str| text::complain(format_args!("{line}"));
    all.iter().map(|device| overlay.export(set, device, device.id.clone(), &say)).collect()
}

/// The address of an export as NBD's URIs write it.
fn uri(address: &Address, name: &str, is_encrypted: bool) -> String {
    let scheme = if is_encrypted { "nbds" } else { "nbd" };
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
        Address::Unix(socket) => format!("{scheme}+unix:///{path}?socket={}", socket.display()),
        Address::Tcp(address) => format!("{scheme}://{address}/{path}"),
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
        let iscsi = |text: &str| parse_iscsi_address(text).unwrap();
        assert_eq!(iscsi("127.0.0.1").to_string(), "tcp:127.0.0.1:3260");
        assert_eq!(iscsi("tcp:[::1]:99").to_string(), "tcp:[::1]:99");
        assert!(parse_iscsi_address("").is_err() && parse_iscsi_address("tcp:").is_err());
    }

    #[test]
    fn names_are_escaped_in_addresses() {
        let address = parse_address("tcp:127.0.0.1:99").unwrap();
        assert_eq!(uri(&address, "gpt:a b", false), "nbd://127.0.0.1:99/gpt:a%20b");
    }
}
