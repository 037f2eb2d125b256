//! ext2, ext3 and ext4 by the crate `ext4-view`, which goes by paths.

use std::error::Error;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Path, PathBuf};
use volfold_block::BlockDevice;

use super::{Fault, Said, Tree, Witness, digest, join};

pub(super) const WITNESS: Witness =
    Witness { name: "ext4-view", driver: "ext4", read, faults: FAULTS };

/// The block number 0 of a hole in a block map is taken for a place.
const HOLE: &str = "refuses files with holes in a block map";

const FAULTS: &[Fault] = &[
    Fault { volume: "ext2-1k", path: "sparse/", reason: HOLE },
    Fault { volume: "ext2-1k", path: "zeros.bin", reason: HOLE },
    Fault { volume: "ext3", path: "sparse/", reason: HOLE },
    Fault { volume: "ext3", path: "zeros.bin", reason: HOLE },
    Fault { volume: "ext4-no-extents", path: "sparse/", reason: HOLE },
    Fault { volume: "ext4-no-extents", path: "zeros.bin", reason: HOLE },
    Fault { volume: "ext4-inline-data", path: "", reason: "does not know the feature inline_data" },
    Fault { volume: "ext4-attributes", path: "", reason: "does not know inline_data and ea_inode" },
    Fault { volume: "ext4-deleted", path: "", reason: "does not know the feature inline_data" },
    Fault {
        volume: "ext-view-test-disk1",
        path: "encrypted_dir",
        reason: "refuses an encrypted directory; the names of ours are as stored",
    },
    Fault {
        volume: "ext4-times",
        path: "times/year",
        reason: "refuses files whose time is outside 1970 to 2038",
    },
];

struct Device(Arc<dyn BlockDevice>);

impl Ext4Read for Device {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.0.read_at(start_byte, dst)?)
    }
}

fn read(device: Arc<dyn BlockDevice>) -> Result<Tree, String> {
    let fs = Ext4::load(Box::new(Device(device))).map_err(|error| error.to_string())?;
    let mut tree = Tree::new();
    let mut open = vec![(Vec::new(), PathBuf::new("/"))];
    while let Some((folder, path)) = open.pop() {
        if let Err(error) = list(&fs, &folder, &path, &mut tree, &mut open) {
            tree.insert(folder, Said::Refused(error.to_string()));
        }
    }
    Ok(tree)
}

fn list(
    fs: &Ext4,
    folder: &[u8],
    path: &PathBuf,
    tree: &mut Tree,
    open: &mut Vec<(Vec<u8>, PathBuf)>,
) -> Result<(), Ext4Error> {
    for entry in fs.read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.as_ref()) {
            continue;
        }
        let shown = join(folder, name.as_ref());
        let said = said(fs, entry.path().as_path());
        if said == Ok(Said::Directory) {
            open.push((shown.clone(), entry.path()));
        }
        tree.insert(shown, said.unwrap_or_else(Said::Refused));
    }
    Ok(())
}

fn said(fs: &Ext4, path: Path<'_>) -> Result<Said, String> {
    let ask = || -> Result<Said, Ext4Error> {
        Ok(match fs.symlink_metadata(path)?.file_type() {
            FileType::Directory => Said::Directory,
            FileType::Symlink => Said::Link(fs.read_link(path)?.as_ref().to_vec()),
            FileType::Regular => {
                let mut file = fs.open(path)?;
                digest(|buf| file.read_bytes(buf))?
            }
            _ => Said::Other,
        })
    };
    ask().map_err(|error| error.to_string())
}
