//! What the tests of backups share: builders that write them field by field.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use sha1::Sha1;
use twox_hash::XxHash64;
use volfold_block::{BlockDevice, BlockError, BlockResult, CachePool, Confidence, Finding, code};

use super::{Backup, BackupFormat};
use crate::context::ImageContext;
use crate::format::{DiskImage, ImageFormat};
use crate::locator::Located;
use crate::testing::{Files, read};

/// The first disk of a backup as an image, for tests that damage images.
pub(super) struct FirstDisk(pub(super) &'static dyn BackupFormat);

impl ImageFormat for FirstDisk {
    fn id(&self) -> &'static str {
        self.0.id()
    }

    fn title(&self) -> &'static str {
        self.0.title()
    }

    fn extensions(&self) -> &'static [&'static str] {
        self.0.extensions()
    }

    fn probe(&self, _file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(Confidence::Certain)
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let Backup { disks, damage } = self.0.open(file, context.cache())?;
        let first = disks.into_iter().next().ok_or_else(|| BlockError::missing("no disk"))?;
        let image = first.image?;
        for error in damage {
            image.log.add(Finding::error(code::BACKUP_BLOCKS_MISSING, error.message()));
        }
        Ok(image)
    }
}

/// The backup in `bytes`.
pub(super) fn open(format: &dyn BackupFormat, bytes: &[u8]) -> BlockResult<Backup> {
    let files = Files::default().with("x", bytes);
    format.open(&files.located("x"), &CachePool::new(1 << 20))
}

/// What each disk of `backup` is called and what it holds, or why it cannot be read.
pub(super) fn content(backup: &Backup) -> Vec<(String, Result<Vec<u8>, String>)> {
    let bytes = |image: &BlockResult<DiskImage>| {
        let image = image.as_ref().map_err(|error| error.message().to_owned())?;
        let size = usize::try_from(image.device.size()).unwrap();
        read(&*image.device, 0, size).map_err(|error| error.message().to_owned())
    };
    backup.disks.iter().map(|disk| (disk.name.clone(), bytes(&disk.image))).collect()
}

/// The codes of what is said of disk number `index`.
pub(super) fn codes(backup: &Backup, index: usize) -> Vec<&'static str> {
    let log = &backup.disks[index].image.as_ref().unwrap().log;
    log.all().iter().map(|finding| finding.code.as_str()).collect()
}

/// Writes a VMA backup.
pub(super) struct VmaBuilder {
    pub(super) header: Vec<u8>,
    pub(super) extents: Vec<Vec<u8>>,
}

const UUID: [u8; 16] = *b"0123456789abcdef";

impl VmaBuilder {
    /// One whose devices, from the first on, have these names and sizes.
    pub(super) fn new(devices: &[(&str, u64)]) -> Self {
        let mut header = vec![0; 12_288];
        header[..4].copy_from_slice(b"VMA\0");
        header[4..8].copy_from_slice(&1_u32.to_be_bytes());
        header[8..24].copy_from_slice(&UUID);
        let mut blobs = vec![0];
        for (index, (name, size)) in devices.iter().enumerate() {
            let at = 4096 + 32 * (index + 1);
            header[at..at + 4].copy_from_slice(&u32::try_from(blobs.len()).unwrap().to_be_bytes());
            header[at + 8..at + 16].copy_from_slice(&size.to_be_bytes());
            blobs.extend(u16::try_from(name.len() + 1).unwrap().to_le_bytes());
            blobs.extend(name.bytes().chain([0]));
        }
        blobs.resize(blobs.len().next_multiple_of(512), 0);
        let size = u32::try_from(header.len() + blobs.len()).unwrap();
        header[48..52].copy_from_slice(&12_288_u32.to_be_bytes());
        header[52..56].copy_from_slice(&u32::try_from(blobs.len()).unwrap().to_be_bytes());
        header[56..60].copy_from_slice(&size.to_be_bytes());
        header.extend(blobs);
        Self { header, extents: Vec::new() }
    }

    /// Adds an extent of `clusters`: the device, the number, and the bytes, at most 64 KiB.
    pub(super) fn extent(&mut self, clusters: &[(u8, u32, &[u8])]) {
        let mut extent = vec![0; 512];
        extent[..4].copy_from_slice(b"VMAE");
        extent[8..24].copy_from_slice(&UUID);
        let mut stored = 0_u16;
        for (index, (device, number, bytes)) in clusters.iter().enumerate() {
            let mut mask = 0_u16;
            for (bit, block) in bytes.chunks(4096).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    mask |= 1 << bit;
                    stored += 1;
                    extent.extend(block);
                    extent.resize(extent.len().next_multiple_of(512), 0);
                    extent.resize(512 + usize::from(stored) * 4096, 0);
                }
            }
            let at = 40 + 8 * index;
            extent[at..at + 2].copy_from_slice(&mask.to_be_bytes());
            extent[at + 3] = *device;
            extent[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        extent[6..8].copy_from_slice(&stored.to_be_bytes());
        self.extents.push(extent);
    }

    /// The file, with its checksums.
    pub(super) fn build(mut self) -> Vec<u8> {
        sign(&mut self.header, 32);
        for extent in &mut self.extents {
            let mut header = extent[..512].to_vec();
            sign(&mut header, 24);
            extent[..512].copy_from_slice(&header);
        }
        [vec![self.header], self.extents].concat().concat()
    }
}

/// Writes the MD5 of `bytes` to `at`.
fn sign(bytes: &mut [u8], at: usize) {
    bytes[at..at + 16].fill(0);
    let sum = Md5::digest(&*bytes);
    bytes[at..at + 16].copy_from_slice(&sum);
}

/// A file of a tar archive.
pub(super) fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(bytes);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

/// A block of `disk` and its checksum: SHA-1, or XXH64 if it `is_new`.
pub(super) fn block(disk: &str, number: u32, bytes: &[u8], is_new: bool) -> Vec<u8> {
    let name = format!("{disk}/{number:08}");
    let (end, sum) = if is_new {
        ("xxhash", format!("{:016X}", XxHash64::oneshot(0, bytes)))
    } else {
        let mut digits = String::new();
        for byte in Sha1::digest(bytes) {
            write!(digits, "{byte:02x}").unwrap();
        }
        ("checksum", digits)
    };
    [member(&name, bytes), member(&format!("{name}.{end}"), sum.as_bytes())].concat()
}

/// The description of a machine whose disks have these ids, names and sizes.
pub(super) fn description(disks: &[(&str, &str, Option<u64>)]) -> String {
    let one = |name: &str, value: &str| {
        format!("<member><name>{name}</name><value>{value}</value></member>")
    };
    let fields = |all: &[String]| format!("<struct>{}</struct>", all.concat());
    let mut objects = String::new();
    for (id, name, size) in disks {
        let name = name.replace('&', "&amp;");
        let size = size.map(|size| one("virtual_size", &size.to_string())).unwrap_or_default();
        let vdi = fields(&[one("uuid", "u"), one("name_label", &name), size]);
        let vbd = fields(&[one("VDI", id), one("type", "Disk")]);
        for (class, own, snapshot) in [("VDI", *id, vdi), ("VBD", "Ref:77", vbd)] {
            let all = [one("class", class), one("id", own), one("snapshot", &snapshot)];
            write!(objects, "<value>{}</value>", fields(&all)).unwrap();
        }
    }
    let array = format!("<array><data>{objects}</data></array>");
    let version = one("version", &fields(&[one("export_vsn", "2")]));
    format!("<value>{}</value>", fields(&[version, one("objects", &array)]))
}
