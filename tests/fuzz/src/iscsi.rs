//! Arbitrary bytes as what an initiator of iSCSI sends: from its first word on, or once it has logged in
//! to a target, to one with an overlay, or to discover, by the first byte.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use volfold_block::MemoryDevice;
use volfold_projector::block::iscsi::{Iscsi, Target};
use volfold_projector::block::overlay::Overlay;
use volfold_projector::block::serve::Stream;
use volfold_projector::block::{Content, Export};

struct Initiator(Cursor<Vec<u8>>);

impl Read for Initiator {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Initiator {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Initiator {}

/// A login to the full feature phase.
fn login(key: &str) -> Vec<u8> {
    let keys = format!("InitiatorName=i\0{key}\0");
    let mut bytes = vec![0; 48];
    bytes[..2].copy_from_slice(&[0x43, 0x87]);
    bytes[7] = keys.len() as u8;
    bytes.extend(keys.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Serves an initiator that sends `data` after the login that its first byte picks.
pub fn run(data: &[u8]) {
    let device = Arc::new(MemoryDevice::new(vec![7; 100_000]));
    let overlay = Arc::new(Overlay::in_memory(device.clone(), 1 << 20));
    let target = |name: &str, content| {
        let export = Export::new(name, name, content);
        Target::new(Arc::new(export), "s", [1; 16])
    };
    let targets =
        vec![target("a", Content::ReadOnly(device)), target("b", Content::Overlay(overlay))];
    let iscsi = Iscsi::new(targets, None, Arc::new(|_: &str| {}));
    let Some((how, data)) = data.split_first() else { return };
    let mut says = match how {
        1 => login("TargetName=iqn.2026-11.io.volfold:s:a"),
        2 => login("TargetName=iqn.2026-11.io.volfold:s:b"),
        3 => login("SessionType=Discovery"),
        _ => Vec::new(),
    };
    says.extend(data);
    let _ = iscsi.serve(Box::new(Initiator(Cursor::new(says))));
}
