//! Arbitrary bytes as what a client of NBD sends, to an export with an overlay in memory.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use volfold_block::MemoryDevice;
use volfold_projector::block::nbd::Nbd;
use volfold_projector::block::overlay::Overlay;
use volfold_projector::block::serve::Stream;
use volfold_projector::block::{Content, Export};

struct Client(Cursor<Vec<u8>>);

impl Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Client {}

/// Serves a client that sends `data`.
pub fn run(data: &[u8]) {
    let device = Arc::new(MemoryDevice::new(vec![7; 100_000]));
    let overlay = Arc::new(Overlay::in_memory(device.clone(), 1 << 20));
    let export = |name: &str, content| Arc::new(Export::new(name, "", content));
    let exports =
        vec![export("a", Content::ReadOnly(device)), export("b", Content::Overlay(overlay))];
    let nbd = Nbd::new(exports, Arc::new(|_: &str| {}));
    let _ = nbd.serve(Box::new(Client(Cursor::new(data.to_vec()))));
}
