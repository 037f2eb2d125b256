//! NTFS by the crate `ntfs`: its walk through the indexes, and what it gives as content.

use std::io::BufReader;
use std::sync::Arc;

use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileNamespace};
use ntfs::{Ntfs, NtfsAttributeFlags, NtfsError, NtfsFile, NtfsReadSeek};
use volfold_block::BlockDevice;
use volfold_fs::wtf8;

use super::{Cursor, Fault, Said, Tree, Witness, digest, join};

pub(super) const WITNESS: Witness = Witness { name: "ntfs", driver: "ntfs", read, faults: FAULTS };

const FAULTS: &[Fault] = &[
    Fault {
        volume: "ntfs-colinfinck-testfs1",
        path: "many_subdirs/187",
        reason: "refuses a record without a fixup in a sector that holds nothing of it",
    },
    Fault {
        volume: "ntfs-fragmented",
        path: "big.bin",
        reason: "a stream whose runs lie in several records, by an attribute list, is empty",
    },
    Fault {
        volume: "ntfs-mft-fragmented",
        path: "small",
        reason: "an $MFT with an attribute list is read by the runs of its first record alone",
    },
    Fault {
        volume: "ntfs-symlinks",
        path: "links/interix",
        reason: "links of Interix are files of the attribute `system` with a signature: not known",
    },
    Fault {
        volume: "vss-1-vol",
        path: "System Volume Information/{",
        reason: "reads what lies past the initialised size; it is to be zeros",
    },
    Fault {
        volume: "vss-plaso-vsstest",
        path: "System Volume Information/{",
        reason: "reads what lies past the initialised size; it is to be zeros",
    },
    Fault {
        volume: "ntfs-valid-data-length",
        path: "vdl/valid to",
        reason: "reads what lies past the initialised size; it is to be zeros",
    },
];

/// Records of the file system itself; ours does not list them.
const SYSTEM: u64 = 16;

fn read(device: Arc<dyn BlockDevice>) -> Result<Tree, String> {
    let mut disk = Cursor::new(device);
    let ntfs = Ntfs::new(&mut disk).map_err(|error| error.to_string())?;
    let mut tree = Tree::new();
    let root = ntfs.root_directory(&mut disk).map_err(|error| error.to_string())?;
    walk(&ntfs, &mut disk, &root, &[], &mut tree).map_err(|error| error.to_string())?;
    Ok(tree)
}

fn walk(
    ntfs: &Ntfs,
    disk: &mut BufReader<Cursor>,
    dir: &NtfsFile<'_>,
    folder: &[u8],
    tree: &mut Tree,
) -> Result<(), NtfsError> {
    let index = dir.directory_index(disk)?;
    let mut entries = index.entries();
    while let Some(entry) = entries.next(disk) {
        let entry = entry?;
        let Some(name) = entry.key().transpose()? else { continue };
        let record = entry.file_reference().file_record_number();
        if record < SYSTEM || name.namespace() == NtfsFileNamespace::Dos {
            continue;
        }
        let path = join(folder, &wtf8::encode(wtf8::units_le(name.name().0)));
        let said = match ntfs.file(disk, record) {
            Ok(file) => match said(disk, &file) {
                Ok(Said::Directory) => {
                    walk(ntfs, disk, &file, &path, tree)?;
                    Said::Directory
                }
                Ok(said) => said,
                Err(error) => Said::Refused(error.to_string()),
            },
            Err(error) => Said::Refused(error.to_string()),
        };
        tree.insert(path, said);
    }
    Ok(())
}

/// The crate knows no reparse points, and gives compressed and encrypted streams as they are stored.
fn said(disk: &mut BufReader<Cursor>, file: &NtfsFile<'_>) -> Result<Said, NtfsError> {
    if file.info()?.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT) {
        return Ok(Said::Untold("a reparse point"));
    }
    if file.is_directory() {
        return Ok(Said::Directory);
    }
    let Some(data) = file.data(disk, "") else {
        return Ok(Said::Untold("no data"));
    };
    let data = data?;
    let attribute = data.to_attribute()?;
    let stored = NtfsAttributeFlags::COMPRESSED | NtfsAttributeFlags::ENCRYPTED;
    if attribute.flags().intersects(stored) {
        return Ok(Said::Untold("compressed or encrypted"));
    }
    let mut value = attribute.value(disk)?;
    digest(|buf| value.read(disk, buf))
}
