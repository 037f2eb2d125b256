//! Lists the volumes of a set of disk images: `cargo run --example volumes -- a.vmdk b.vmdk`.

use std::error::Error;

use volfold::{DiskSet, OpenOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let set = DiskSet::open(std::env::args_os().skip(1), &OpenOptions::default())?;
    for volume in set.volumes() {
        let shown = volume.reason.as_deref().unwrap_or("can be read");
        println!("{}  {}  {} bytes: {shown}", volume.name, volume.volume.id, volume.volume.size);
    }
    for finding in set.findings() {
        println!("{}: {finding}", finding.code);
    }
    Ok(())
}
