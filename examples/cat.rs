//! Prints one file of a disk image: `cargo run --example cat -- sample.vmdk Windows docs/a.txt`.

use std::error::Error;
use std::io::{Write, stdout};

use volfold::fs::{Name, StreamName};
use volfold::{DiskSet, OpenOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args();
    let (_, image, volume, path) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next());
    let usage = "usage: cat IMAGE VOLUME PATH";
    let set = DiskSet::open([image.ok_or(usage)?], &OpenOptions::default())?;
    let volume = set.volume(&volume.ok_or(usage)?).ok_or("no such volume")?;
    let files = volume.file_system()?;
    let mut node = files.root();
    for name in path.ok_or(usage)?.split('/').filter(|name| !name.is_empty()) {
        node = files.lookup(node, Name::new(name))?;
    }
    let content = files.open(node, &StreamName::MAIN)?;
    let (mut offset, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        let count = content.read_at(offset, &mut piece)?;
        if count == 0 {
            return Ok(());
        }
        stdout().write_all(&piece[..count])?;
        offset += count as u64;
    }
}
