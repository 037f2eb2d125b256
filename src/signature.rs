//! What disks, volumes and files are that nothing here reads: named by their magic numbers.
//!
//! Source of the numbers: the specification of each format, and where there is none, what libblkid
//! and `file` look for. Magic numbers of two bytes are left out, since chance writes them too often.

use volfold_block::{BlockDevice, BlockResult};

/// What kind of thing a signature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A disk image in a format that this build does not read.
    Image,
    /// A file that has to be unpacked first.
    Archive,
    /// A file that holds no disk.
    File,
    /// What a disk or a volume may hold: a file system, a member of a pool, an encrypted volume.
    Volume,
}

/// A place in a device.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Bytes from the start.
    Start(u64),
    /// Bytes from the end.
    End(u64),
}

/// What is known by a magic number.
#[derive(Debug)]
pub(crate) struct Signature {
    /// What it is, as a noun: `QCOW2 image`.
    pub(crate) name: &'static str,
    /// What kind of thing it is.
    pub(crate) kind: Kind,
    /// What to do with it; words that follow a semicolon.
    pub(crate) advice: &'static str,
    /// The ends of file names that agree with it, without the dot.
    extensions: &'static [&'static str],
    /// The marks, all of which are there.
    marks: &'static [(At, &'static [u8])],
}

impl Signature {
    /// What it is and what to do, for a message: `LUKS volume, encrypted; ...`.
    pub(crate) fn sentence(&self) -> String {
        format!("{}; {}", self.name, self.advice)
    }

    /// Whether it names a file system that drivers of ours read where they are built in.
    pub(crate) fn names_what_is_read(&self) -> bool {
        ["NTFS", "FAT", "ext"].iter().any(|name| self.name.split(' ').next() == Some(name))
    }

    /// Whether it stands for files that are not read; swap space has none.
    pub(crate) fn holds_files(&self) -> bool {
        self.advice != SWAP
    }

    /// Whether it is of something that lies on disks, and its marks are long enough to be there by no
    /// chance.
    pub(crate) fn is_sure_volume(&self) -> bool {
        let length: usize = self.marks.iter().map(|(_, magic)| magic.len()).sum();
        self.kind == Kind::Volume && length >= 8
    }

    /// Whether disk images of some format have names that end in `extension`.
    pub(crate) fn is_image_extension(extension: &str) -> bool {
        let image = |signature: &&Self| signature.kind == Kind::Image;
        SIGNATURES.iter().filter(image).any(|image| image.extensions.contains(&extension))
    }

    /// Whether a file called `name` may well be one.
    pub(crate) fn agrees_with(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.extensions
            .iter()
            .any(|extension| lower.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.')))
    }
}

const CONVERT: &str =
    "convert it with `qemu-img convert -O raw`, or give `--format raw` to read its bytes";
const EXPORT: &str =
    "convert it with the program that made it, or give `--format raw` to read its bytes";
const UNPACK: &str = "unpack it first";
const NO_DISK: &str = "this is not a disk image";
const ATTACH: &str = "this build does not read it; `volfold attach`, then mount the device";
const POOL: &str =
    "this build does not read it; `volfold attach` all its members, then assemble them";

const fn image(
    name: &'static str,
    extensions: &'static [&'static str],
    marks: &'static [(At, &'static [u8])],
) -> Signature {
    Signature { name, kind: Kind::Image, advice: CONVERT, extensions, marks }
}

const fn foreign(
    name: &'static str,
    extensions: &'static [&'static str],
    marks: &'static [(At, &'static [u8])],
) -> Signature {
    Signature { name, kind: Kind::Image, advice: EXPORT, extensions, marks }
}

const fn archive(
    name: &'static str,
    extensions: &'static [&'static str],
    marks: &'static [(At, &'static [u8])],
) -> Signature {
    Signature { name, kind: Kind::Archive, advice: UNPACK, extensions, marks }
}

const fn file(name: &'static str, marks: &'static [(At, &'static [u8])]) -> Signature {
    Signature { name, kind: Kind::File, advice: NO_DISK, extensions: &[], marks }
}

const fn volume(name: &'static str, marks: &'static [(At, &'static [u8])]) -> Signature {
    Signature { name, kind: Kind::Volume, advice: ATTACH, extensions: &[], marks }
}

const fn pool(name: &'static str, marks: &'static [(At, &'static [u8])]) -> Signature {
    Signature { name, kind: Kind::Volume, advice: POOL, extensions: &[], marks }
}

const fn locked(
    name: &'static str,
    advice: &'static str,
    marks: &'static [(At, &'static [u8])],
) -> Signature {
    Signature { name, kind: Kind::Volume, advice, extensions: &[], marks }
}

const LUKS: &str = "`volfold attach`, then `cryptsetup open`";
const BITLOCKER: &str = "`volfold attach`, then `cryptsetup bitlkOpen` or `dislocker`";
const SWAP: &str = "there are no files on it";

use At::{End, Start};

/// Everything that is named.
static SIGNATURES: &[Signature] = &[
    // Disk images.
    image("QCOW2 image", &["qcow2", "qcow"], &[(Start(0), b"QFI\xFB\0\0\0\x02")]),
    image("QCOW2 image", &["qcow2", "qcow"], &[(Start(0), b"QFI\xFB\0\0\0\x03")]),
    image("QCOW image", &["qcow"], &[(Start(0), b"QFI\xFB\0\0\0\x01")]),
    image("QED image", &["qed"], &[(Start(0), b"QED\0")]),
    image("VHDX image", &["vhdx", "avhdx"], &[(Start(0), b"vhdxfile")]),
    image("VHD image", &["vhd", "avhd", "vpc"], &[(Start(0), b"conectix")]),
    image("VHD image", &["vhd", "avhd", "vpc"], &[(End(512), b"conectix")]),
    image("VHD image", &["vhd", "avhd", "vpc"], &[(End(511), b"conectix")]),
    image("VDI image", &["vdi"], &[(Start(64), b"\x7F\x10\xDA\xBE")]),
    image("VMDK image", &["vmdk"], &[(Start(0), b"KDMV")]),
    image("VMDK image (COWD)", &["vmdk"], &[(Start(0), b"COWD")]),
    image("VMDK image (SESparse)", &["vmdk"], &[(Start(0), b"\xBE\xBA\xFE\xCA\0\0\0\0")]),
    image("Bochs image", &["img"], &[(Start(0), b"Bochs Virtual HD Image")]),
    image("compressed loop image", &[], &[(Start(0), b"#!/bin/sh\n#V2.0 Format")]),
    image("Apple disk image", &["dmg"], &[(End(512), b"koly\0\0\0\x04")]),
    foreign("Apple sparse bundle or image", &["sparseimage"], &[(Start(0), b"sprs\0\0\0\x03")]),
    foreign("EWF image", &["e01", "s01"], &[(Start(0), b"EVF\x09\x0D\x0A\xFF\0")]),
    foreign("EWF 2 image", &["ex01"], &[(Start(0), b"EVF2\r\n\x81\0")]),
    foreign("EWF logical evidence file", &["l01"], &[(Start(0), b"LVF\x09\x0D\x0A\xFF\0")]),
    foreign("AFF image", &["aff"], &[(Start(0), b"AFF10\r\n\0")]),
    foreign("Android sparse image", &["img", "simg"], &[(Start(0), b"\x3A\xFF\x26\xED\x01\0")]),
    foreign("Partclone image", &["img"], &[(Start(0), b"partclone-image\0")]),
    foreign("ntfsclone image", &["img"], &[(Start(0), b"\0ntfsclone-image")]),
    foreign("Partimage image", &["000"], &[(Start(0), b"PaRtImAgE-VoLuMe")]),
    foreign("FSArchiver archive", &["fsa"], &[(Start(0), b"FsArCh_")]),
    Signature {
        advice: "give it alone, by a name that ends in .vma",
        ..foreign("Proxmox VMA backup", &["vma"], &[(Start(0), b"VMA\0\0\0\0\x01")])
    },
    foreign("Acronis backup", &["tib", "tibx"], &[(Start(0), b"\xB4\x6E\x68\x44")]),
    foreign("Ghost image", &["gho"], &[(Start(0), b"\xFE\xEF\x01\x01")]),
    foreign("ISO of Nero", &["nrg"], &[(End(12), b"NER5")]),
    // Archives and compressed files.
    Signature {
        advice: "unpack it first, with `gunzip -k`; by a name that ends in .gz it may be read in place",
        ..archive("gzip file", &["gz", "tgz"], &[(Start(0), b"\x1F\x8B\x08")])
    },
    Signature {
        advice: "unpack it first, with `xz -dk`; by a name that ends in .xz it may be read in place",
        ..archive("xz file", &["xz", "txz"], &[(Start(0), b"\xFD7zXZ\0")])
    },
    Signature {
        advice: "unpack it first, with `bunzip2 -k`; by a name that ends in .bz2 it may be read in place",
        ..archive("bzip2 file", &["bz2", "tbz"], &[(Start(0), b"BZh"), (Start(4), b"1AY&SY")])
    },
    Signature {
        advice: "unpack it first, with `zstd -dk`; by a name that ends in .zst it may be read in place",
        ..archive("Zstandard file", &["zst"], &[(Start(0), b"\x28\xB5\x2F\xFD")])
    },
    archive("LZ4 file", &["lz4"], &[(Start(0), b"\x04\x22\x4D\x18")]),
    archive("lzip file", &["lz"], &[(Start(0), b"LZIP\x01")]),
    archive("lzop file", &["lzo"], &[(Start(0), b"\x89LZO\0\r\n\x1A\n")]),
    archive("ZIP archive", &["zip", "aff4"], &[(Start(0), b"PK\x03\x04")]),
    archive("ZIP archive", &["zip"], &[(Start(0), b"PK\x05\x06")]),
    archive("7-Zip archive", &["7z"], &[(Start(0), b"7z\xBC\xAF\x27\x1C")]),
    archive("RAR archive", &["rar"], &[(Start(0), b"Rar!\x1A\x07")]),
    Signature {
        advice: "unpack it first, or give it alone, by a name that ends in .ova or .xva",
        ..archive(
            "tar archive, as OVA and XVA files are",
            &["tar", "ova", "xva"],
            &[(Start(257), b"ustar")],
        )
    },
    archive("cabinet file", &["cab"], &[(Start(0), b"MSCF\0\0\0\0")]),
    archive("cpio archive", &["cpio"], &[(Start(0), b"07070")]),
    archive("ar archive", &["a", "deb"], &[(Start(0), b"!<arch>\n")]),
    archive("RPM package", &["rpm"], &[(Start(0), b"\xED\xAB\xEE\xDB")]),
    archive("WIM file", &["wim", "esd", "swm"], &[(Start(0), b"MSWIM\0\0\0")]),
    // Files that lie beside images.
    file("PDF file", &[(Start(0), b"%PDF-")]),
    file("PNG picture", &[(Start(0), b"\x89PNG\r\n\x1A\n")]),
    file("JPEG picture", &[(Start(0), b"\xFF\xD8\xFF")]),
    file("GIF picture", &[(Start(0), b"GIF8")]),
    file("ELF program", &[(Start(0), b"\x7FELF")]),
    file("SQLite database", &[(Start(0), b"SQLite format 3\0")]),
    file("memory of a VMware machine", &[(Start(0), b"\xD2\xBE\xD2\xBE")]),
    file("memory of a VMware machine", &[(Start(0), b"\xD0\xBE\xD2\xBE")]),
    file("Hyper-V configuration file", &[(Start(0), b"\x01HyperVStorage")]),
    file("Windows registry hive", &[(Start(0), b"regf")]),
    file("Windows event log", &[(Start(0), b"ElfFile\0")]),
    file("Windows crash dump", &[(Start(0), b"PAGEDU64")]),
    file("Windows crash dump", &[(Start(0), b"PAGEDUMP")]),
    file("overlay file", &[(Start(0), b"volfold overlay")]),
    // What is encrypted.
    locked("LUKS1 volume, encrypted", LUKS, &[(Start(0), b"LUKS\xBA\xBE\0\x01")]),
    locked("LUKS2 volume, encrypted", LUKS, &[(Start(0), b"LUKS\xBA\xBE\0\x02")]),
    locked("LUKS2 volume, its first header damaged", LUKS, &[(Start(0x4000), b"SKUL\xBA\xBE")]),
    locked("BitLocker volume, encrypted", BITLOCKER, &[(Start(3), b"-FVE-FS-")]),
    locked(
        "BitLocker To Go volume, encrypted",
        BITLOCKER,
        &[(Start(3), b"MSWIN4.1"), (Start(424), b"\x3B\xD6\x67\x49\x29\x2E\xD8\x4A")],
    ),
    // What lies on several disks.
    pool("LVM2 physical volume", &[(Start(0), b"LABELONE"), (Start(24), b"LVM2 001")]),
    pool("LVM2 physical volume", &[(Start(512), b"LABELONE"), (Start(536), b"LVM2 001")]),
    pool("LVM2 physical volume", &[(Start(1024), b"LABELONE"), (Start(1048), b"LVM2 001")]),
    pool("LVM2 physical volume", &[(Start(1536), b"LABELONE"), (Start(1560), b"LVM2 001")]),
    pool("member of a Linux MD RAID (1.1)", &[(Start(0), b"\xFC\x4E\x2B\xA9\x01\0\0\0")]),
    pool("member of a Linux MD RAID (1.2)", &[(Start(4096), b"\xFC\x4E\x2B\xA9\x01\0\0\0")]),
    pool("member of an Intel Matrix RAID", &[(End(1024), b"Intel Raid ISM Cfg Sig. ")]),
    pool("member of a DDF RAID", &[(End(512), b"\xDE\x11\xDE\x11")]),
    pool("member of a bcachefs file system", &[(Start(4120), b"\xC6\x85\x73\xF6\x66\xCE\x90\xA9")]),
    pool("bcache device", &[(Start(4120), b"\xC6\x85\x73\xF6\x4E\x1A\x45\xCA")]),
    pool("Oracle ASM disk", &[(Start(32), b"ORCLDISK")]),
    pool("Ceph BlueStore device", &[(Start(0), b"bluestore block device")]),
    pool("Storage Spaces disk", &[(Start(0), b"SPACEDB ")]),
    pool("Storage Spaces disk", &[(Start(4096), b"SPACEDB ")]),
    pool("VMFS volume", &[(Start(0x0010_0000), b"\x0D\xD0\x01\xC0")]),
    pool("GFS2 file system", &[(Start(0x1_0000), b"\x01\x16\x19\x70\0\0\0\x01")]),
    // Swap.
    locked("swap space", SWAP, &[(Start(4086), b"SWAPSPACE2")]),
    locked("swap space", SWAP, &[(Start(4086), b"SWAP-SPACE")]),
    locked("swap space", SWAP, &[(Start(8182), b"SWAPSPACE2")]),
    locked("swap space", SWAP, &[(Start(16374), b"SWAPSPACE2")]),
    locked("swap space", SWAP, &[(Start(65526), b"SWAPSPACE2")]),
    locked("hibernated memory", SWAP, &[(Start(4086), b"S1SUSPEND\0")]),
    locked("hibernated memory", SWAP, &[(Start(4086), b"LINHIB0001")]),
    // File systems.
    volume("NTFS file system", &[(Start(3), b"NTFS    "), (Start(510), b"\x55\xAA")]),
    volume("exFAT file system", &[(Start(3), b"EXFAT   ")]),
    volume("ReFS file system", &[(Start(3), b"ReFS\0\0\0\0")]),
    volume("FAT file system", &[(Start(82), b"FAT32   ")]),
    volume("FAT file system", &[(Start(54), b"FAT16   ")]),
    volume("FAT file system", &[(Start(54), b"FAT12   ")]),
    volume("Btrfs file system", &[(Start(0x1_0040), b"_BHRfS_M")]),
    volume("XFS file system", &[(Start(0), b"XFSB")]),
    volume("F2FS file system", &[(Start(1024), b"\x10\x20\xF5\xF2")]),
    volume("JFS file system", &[(Start(0x8000), b"JFS1")]),
    volume("ReiserFS file system", &[(Start(0x1_0034), b"ReIsEr2Fs")]),
    volume("ReiserFS file system", &[(Start(0x1_0034), b"ReIsEr3Fs")]),
    volume("ReiserFS file system", &[(Start(0x1_0034), b"ReIsErFs")]),
    volume("ReiserFS file system", &[(Start(0x2034), b"ReIsErFs")]),
    volume("Reiser4 file system", &[(Start(0x1_0000), b"ReIsEr4")]),
    volume("NILFS2 file system", &[(Start(1024), b"\x02\0\0\0\0\0\x34\x34")]),
    volume("APFS container", &[(Start(32), b"NXSB")]),
    volume("HFS+ file system", &[(Start(1024), b"H+\0\x04")]),
    volume("HFSX file system", &[(Start(1024), b"HX\0\x05")]),
    volume("HFS file system", &[(Start(1024), b"BD"), (Start(1024 + 14), b"\0\x03")]),
    volume("UFS1 file system", &[(Start(0x2000 + 1372), b"\x54\x19\x01\0")]),
    volume("UFS1 file system", &[(Start(0x2000 + 1372), b"\0\x01\x19\x54")]),
    volume("UFS2 file system", &[(Start(0x1_0000 + 1372), b"\x19\x01\x54\x19")]),
    volume("UFS2 file system", &[(Start(0x1_0000 + 1372), b"\x19\x54\x01\x19")]),
    volume("SquashFS file system", &[(Start(0), b"hsqs")]),
    volume("SquashFS file system", &[(Start(0), b"sqsh")]),
    volume("EROFS file system", &[(Start(1024), b"\xE2\xE1\xF5\xE0")]),
    volume("cramfs file system", &[(Start(0), b"\x45\x3D\xCD\x28")]),
    volume("romfs file system", &[(Start(0), b"-rom1fs-")]),
    volume("OCFS2 file system", &[(Start(4096), b"OCFSV2")]),
    volume("OCFS2 file system", &[(Start(2048), b"OCFSV2")]),
    volume("OCFS2 file system", &[(Start(1024), b"OCFSV2")]),
    volume("HPFS file system", &[(Start(0x2000), b"\x49\xE8\x95\xF9")]),
    volume("BeFS file system", &[(Start(544), b"1SFB")]),
    volume("VxFS file system", &[(Start(0x2000), b"\xF5\xFC\x01\xA5")]),
    volume("CD or DVD (ISO 9660)", &[(Start(0x8001), b"CD001")]),
    volume("UDF file system", &[(Start(0x8001), b"BEA01"), (Start(0x8801), b"NSR0")]),
    volume(
        "ext file system",
        &[(Start(1080), b"\x53\xEF\x01\0\x01\0"), (Start(1100), b"\x01\0\0\0")],
    ),
    volume("Apple partition map", &[(Start(0), b"ER\x02\0"), (Start(512), b"PM\0\0")]),
    volume(
        "BSD disk label",
        &[(Start(512), b"\x57\x45\x56\x82"), (Start(644), b"\x57\x45\x56\x82")],
    ),
];

/// LIMIT: bytes that are looked at for a text or an even mix of bytes.
const TEXTURE: usize = 64 << 10;

/// How a device begins, where nothing is known by a magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texture {
    /// There is nothing.
    Empty,
    /// Zeros alone.
    Zeros,
    /// All bytes alike often, as in what is encrypted, compressed, or wiped with random bytes.
    Random,
    /// Printable text alone.
    Text,
    /// An HTML page.
    Html,
    /// An XML document.
    Xml,
    /// A pointer of Git LFS to a file that is elsewhere.
    LfsPointer,
    /// Anything else.
    Other,
}

impl Texture {
    /// What it is, as a noun with what to do about it; `None` for [`Texture::Other`].
    pub(crate) fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::Empty => "empty, 0 bytes",
            Self::Zeros => "zeros at its start",
            Self::Random => "random bytes: encrypted, compressed, or wiped",
            Self::Text => "text; this is not a disk image",
            Self::Html => "HTML page; this is not a disk image, a download may have failed",
            Self::Xml => "XML document; this is not a disk image",
            Self::LfsPointer => "Git LFS pointer; fetch the file itself with `git lfs pull`",
            Self::Other => return None,
        })
    }

    /// Whether no disk can look like this.
    pub(crate) fn is_no_disk(self) -> bool {
        matches!(self, Self::Empty | Self::Text | Self::Html | Self::Xml | Self::LfsPointer)
    }
}

/// The signature of `device`, the first of the table that fits.
///
/// # Errors
/// If the device cannot be read where one could be; places past its end are no error.
pub(crate) fn signature_of(device: &dyn BlockDevice) -> BlockResult<Option<&'static Signature>> {
    let mut reader = Places { device, block: None };
    for signature in SIGNATURES {
        let mut fits = true;
        for (at, magic) in signature.marks {
            fits = fits && reader.has(*at, magic)?;
        }
        if fits {
            return Ok(Some(signature));
        }
    }
    if is_zfs(&mut reader)? {
        return Ok(Some(&ZFS));
    }
    if is_md_at_the_end(&mut reader)? {
        return Ok(Some(&MD_AT_THE_END));
    }
    Ok(None)
}

static ZFS: Signature = pool("ZFS pool member", &[]);
static MD_AT_THE_END: Signature = pool("member of a Linux MD RAID (0.90 or 1.0)", &[]);

/// Whether one of the uberblocks of the first label is there: magic 0x00bab10c in either byte
/// order, in slots of 1 KiB from 128 KiB on.
fn is_zfs(reader: &mut Places<'_>) -> BlockResult<bool> {
    let slots = (128..256_u64).map(|slot| slot << 10);
    for at in slots {
        if reader.has(Start(at), b"\x0C\xB1\xBA\0\0\0\0\0")?
            || reader.has(Start(at), b"\0\0\0\0\0\xBA\xB1\x0C")?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Superblock 1.0 lies 8 KiB or a little more before the end, at a multiple of 4 KiB; superblock
/// 0.90 at the last multiple of 64 KiB that leaves 64 KiB.
fn is_md_at_the_end(reader: &mut Places<'_>) -> BlockResult<bool> {
    const MAGIC: &[u8] = b"\xFC\x4E\x2B\xA9";
    let size = reader.device.size();
    let (Some(new), Some(old)) = (size.checked_sub(8 << 10), size.checked_sub(64 << 10)) else {
        return Ok(false);
    };
    let (new, old) = (new & !0xFFF, old & !0xFFFF);
    Ok(reader.has(Start(new), MAGIC)? || reader.has(Start(old), MAGIC)?)
}

/// Reads of a few bytes, of which many lie side by side.
struct Places<'a> {
    device: &'a dyn BlockDevice,
    /// The block read last, and where it begins.
    block: Option<(u64, Vec<u8>)>,
}

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;

impl Places<'_> {
    /// Whether `magic` stands at `at`. It must not cross a multiple of [`BLOCK`].
    fn has(&mut self, at: At, magic: &[u8]) -> BlockResult<bool> {
        let size = self.device.size();
        let place = match at {
            Start(place) => Some(place),
            End(before) => size.checked_sub(before),
        };
        let Some(place) = place.filter(|place| *place < size) else {
            return Ok(false);
        };
        let start = place - place % BLOCK;
        let kept = self.block.as_ref().is_some_and(|(kept, _)| *kept == start);
        if !kept {
            let length = usize::try_from(BLOCK.min(size - start)).unwrap_or(0);
            let mut bytes = vec![0; length];
            self.device.read_at(start, &mut bytes)?;
            self.block = Some((start, bytes));
        }
        let (_, bytes) = self.block.as_ref().map_or((0, [].as_slice()), |(at, b)| (*at, b));
        let from = usize::try_from(place - start).unwrap_or(usize::MAX);
        Ok(bytes.get(from..).is_some_and(|rest| rest.starts_with(magic)))
    }
}

/// How `device` begins.
///
/// # Errors
/// If its start cannot be read.
pub(crate) fn texture_of(device: &dyn BlockDevice) -> BlockResult<Texture> {
    let length = device.size().min(TEXTURE as u64);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    device.read_at(0, &mut bytes)?;
    Ok(texture(&bytes))
}

fn texture(bytes: &[u8]) -> Texture {
    if bytes.is_empty() {
        return Texture::Empty;
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Texture::Zeros;
    }
    if is_text(bytes) {
        return kind_of_text(bytes);
    }
    // Of 64 KiB of random bytes each value has 256, give or take 16; five times that is allowed.
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let even = |count: &u32| (176..=336).contains(count);
    if bytes.len() == TEXTURE && counts.iter().all(even) { Texture::Random } else { Texture::Other }
}

/// UTF-8 or a code page of one byte, without control characters; zeros at the end are allowed.
fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = bytes.get(..end).unwrap_or(bytes);
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x1B | 0x20..=0x7E | 0x80..);
    let ascii = text.iter().filter(|byte| byte.is_ascii()).count();
    let is_mostly_ascii = ascii.saturating_mul(10) >= text.len().saturating_mul(9);
    text.iter().all(printable) && (is_mostly_ascii || std::str::from_utf8(text).is_ok())
}

fn kind_of_text(bytes: &[u8]) -> Texture {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let bytes = bytes.trim_ascii_start();
    let begins =
        |word: &[u8]| bytes.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"version https://git-lfs") {
        Texture::LfsPointer
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Texture::Html
    } else if begins(b"<?xml") {
        Texture::Xml
    } else {
        Texture::Text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use volfold_block::MemoryDevice;

    use super::*;

    fn device(size: usize, marks: &[(At, &[u8])]) -> MemoryDevice {
        let mut bytes = vec![0; size];
        for (at, magic) in marks {
            let at = match at {
                Start(at) => *at as usize,
                End(before) => size - *before as usize,
            };
            bytes[at..at + magic.len()].copy_from_slice(magic);
        }
        MemoryDevice::new(bytes)
    }

    #[test]
    fn every_entry_is_found_by_its_marks_alone() {
        for signature in SIGNATURES {
            let found = signature_of(&device(2 << 20, signature.marks)).unwrap();
            assert_eq!(found.map(|found| found.name), Some(signature.name));
            for (at, magic) in signature.marks {
                let Start(at) = at else { continue };
                assert!(
                    at % BLOCK + magic.len() as u64 <= BLOCK,
                    "{} crosses a block",
                    signature.name
                );
            }
            let whole: usize = signature.marks.iter().map(|(_, magic)| magic.len()).sum();
            assert!(whole >= 3, "{} is too weak", signature.name);
        }
    }

    #[test]
    fn a_device_that_ends_before_a_mark_has_it_not() {
        for size in [0, 1, 511, 512, 513, 4096, 65_535] {
            assert!(signature_of(&device(size, &[])).unwrap().is_none());
        }
    }

    #[test]
    fn zfs_and_md_are_found_where_they_lie() {
        let size = 3 << 20;
        for (mark, name) in [
            ((Start(0x2_0000 + 5 * 1024), b"\x0C\xB1\xBA\0\0\0\0\0".as_slice()), ZFS.name),
            ((Start(0x2_0000), b"\0\0\0\0\0\xBA\xB1\x0C"), ZFS.name),
            ((Start(size as u64 - 0x2000), b"\xFC\x4E\x2B\xA9"), MD_AT_THE_END.name),
            ((Start(size as u64 - 0x1_0000), b"\xFC\x4E\x2B\xA9"), MD_AT_THE_END.name),
        ] {
            let found = signature_of(&device(size, &[mark])).unwrap();
            assert_eq!(found.map(|found| found.name), Some(name));
        }
    }

    #[test]
    fn what_has_no_magic_number_is_told_by_its_bytes() {
        let random: Vec<u8> = (0..TEXTURE as u64)
            .map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let program: Vec<u8> = (0..TEXTURE).map(|at| (at % 200) as u8).collect();
        for (bytes, expected) in [
            (b"".as_slice(), Texture::Empty),
            (&[0; 5000], Texture::Zeros),
            (&random, Texture::Random),
            (&program, Texture::Other),
            (b"root:x:0:0:root:/root:/bin/bash\n", Texture::Text),
            ("Größe und Länge\n".as_bytes(), Texture::Text),
            (b"\n <!DOCTYPE HTML><html>", Texture::Html),
            (b"\xEF\xBB\xBF<?xml version=\"1.0\"?>", Texture::Xml),
            (b"version https://git-lfs.github.com/spec/v1\n", Texture::LfsPointer),
            (b"\xEB\x58\x90MSDOS5.0", Texture::Other),
        ] {
            assert_eq!(texture(bytes), expected, "{:?}", &bytes[..bytes.len().min(30)]);
        }
    }

    #[test]
    fn names_of_files_agree_or_do_not() {
        let qcow2 =
            signature_of(&device(1 << 20, &[(Start(0), b"QFI\xFB\0\0\0\x03")])).unwrap().unwrap();
        assert!(qcow2.agrees_with("disk.QCOW2") && !qcow2.agrees_with("disk.img"));
        assert!(!qcow2.agrees_with("qcow2"));
        assert!(
            SIGNATURES.iter().map(|signature| signature.kind as u8).collect::<HashSet<_>>().len()
                == 4
        );
    }
}
