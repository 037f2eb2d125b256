//! FAT12, FAT16 and FAT32 by the crate `fatfs`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use fatfs::{Dir, FileSystem, FsOptions};
use volfold_block::BlockDevice;

use super::{Cursor, Fault, Said, Tree, Witness, digest, join};

pub(super) const WITNESS: Witness = Witness { name: "fatfs", driver: "fat", read, faults: FAULTS };

const FAULTS: &[Fault] = &[
    Fault {
        volume: "fat-dfir-fat32-small",
        path: "",
        reason: "refuses a FAT32 whose 16-bit count of sectors is used",
    },
    Fault {
        volume: "vmdk-truncated",
        path: "",
        reason: "gives up at the first cluster that is not in the image",
    },
];

/// The crate wants to be able to write.
struct Disk(io::BufReader<Cursor>);

impl Read for Disk {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for Disk {
    fn write(&mut self, _buf: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read(device: Arc<dyn BlockDevice>) -> Result<Tree, String> {
    let fs = FileSystem::new(Disk(Cursor::new(device)), FsOptions::new());
    let fs = fs.map_err(|error| error.to_string())?;
    let mut tree = Tree::new();
    walk(&fs.root_dir(), &[], &mut tree).map_err(|error| error.to_string())?;
    Ok(tree)
}

/// LIMIT: a directory that holds itself.
const DEPTH: usize = 64;

fn walk(dir: &Dir<'_, Disk>, folder: &[u8], tree: &mut Tree) -> io::Result<()> {
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = join(folder, name.as_bytes());
        let said = if entry.is_dir() {
            if path.iter().filter(|byte| **byte == b'/').count() < DEPTH {
                walk(&entry.to_dir(), &path, tree)?;
            }
            Said::Directory
        } else {
            let mut file = entry.to_file();
            digest(|buf| file.read(buf)).unwrap_or_else(|error| Said::Refused(error.to_string()))
        };
        tree.insert(path, said);
    }
    Ok(())
}
