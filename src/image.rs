//! Which format a file is opened as.
//!
//! The content of a raw disk belongs to the guest, who may write the header of an image format into
//! its first sector, and so name files of the host. So a format that is found by content counts
//! without more only where the name of the file agrees; and a guest that writes the mark of
//! something foreign into its disk cannot hide the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Finding, MemoryDevice, code,
    error_chain,
};
use volfold_images::host;
#[cfg(feature = "compressed")]
use volfold_images::unpack;
use volfold_images::{
    BACKUPS, COMPRESSIONS, Compression, DiskImage, FORMATS, ImageContext, ImageFormat, Located,
    NoFiles, detect, join, open_as, without_part_number,
};

use crate::discover::holds_something;
use crate::signature::{Kind, Signature, Texture, signature_of, texture_of};

/// The fallback of [`FORMATS`].
const RAW: &str = "raw";

/// The formats that are known by the end of a file. A raw disk of whatever name may end that way, so the
/// name has to say that it is an image.
const BY_TRAILER: &[&str] = &["dmg"];

/// What the name of a file says of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameSays {
    /// That it is of this format.
    Yes,
    /// That it is a raw disk.
    Raw,
    /// Nothing.
    Nothing,
}

/// Opens the image in `file`, which lies at `path`: as `format`, or as what name and content say.
///
/// # Errors
/// Why it cannot be opened, or that it keeps no state as the one that `context` wants.
pub(crate) fn open(
    file: Located,
    path: &Path,
    format: Option<&str>,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    let Whole { file, path, parts, is_unpacked } = whole(file, path, format, context.cache())?;
    let image = open_newest(file, &path, format, context)?;
    let image = image.with_extents(parts).decoded(is_unpacked);
    match context.snapshot() {
        Some(wanted) if image.snapshot.is_none() => Err(no_snapshot(wanted)),
        _ => Ok(image),
    }
}

/// That an image keeps no snapshot that is called `wanted`.
pub(crate) fn no_snapshot(wanted: &str) -> BlockError {
    BlockError::missing(format!(
        "keeps no snapshot that is called {wanted}; `volfold list` shows those that exist"
    ))
}

/// How a file is compressed whose name ends in `extension`.
fn compression(extension: &str) -> Option<&'static Compression> {
    COMPRESSIONS.iter().find(|it| it.extensions.contains(&extension))
}

/// The end of the name of the file at `path`, in lower case, without the number of a part and the end for
/// what it was compressed with.
pub(crate) fn inner_extension(path: &Path) -> String {
    let whole = without_part_number(path).unwrap_or_else(|| path.to_path_buf());
    let outer = extension(&whole);
    match compression(&outer) {
        Some(_) => extension(&whole.with_extension("")),
        None => outer,
    }
}

/// A file with all that was done to it undone.
pub(crate) struct Whole {
    /// Its bytes.
    pub(crate) file: Located,
    /// Its path, without the number of a part and the end for what it was compressed with.
    pub(crate) path: PathBuf,
    /// The names of the parts that it was cut into, but for the first.
    pub(crate) parts: Vec<String>,
    /// Whether it was compressed.
    pub(crate) is_unpacked: bool,
}

/// What was cut or compressed into the file `file`, which lies at `path` and is opened as `format`.
///
/// # Errors
/// Why it cannot be put together, or not be read in place.
pub(crate) fn whole(
    file: Located,
    path: &Path,
    format: Option<&str>,
    pool: &Arc<CachePool>,
) -> BlockResult<Whole> {
    let (file, parts) = join(file, path)?;
    let whole = without_part_number(path).filter(|_| !parts.is_empty());
    let path = whole.as_deref().unwrap_or(path);
    let (file, unpacked) = match format {
        // Who wants the bytes of the file gets them.
        Some(RAW) => (file, None),
        _ => unpack(file, path, pool, &|start| refuse_others(path, start))?,
    };
    let is_unpacked = unpacked.is_some();
    Ok(Whole { file, path: unpacked.unwrap_or_else(|| path.into()), parts, is_unpacked })
}

/// The file itself: this build decodes nothing.
#[cfg(not(feature = "compressed"))]
fn unpack(
    file: Located,
    _path: &Path,
    _pool: &Arc<CachePool>,
    _is_worth_it: &dyn Fn(&[u8]) -> BlockResult<()>,
) -> BlockResult<(Located, Option<PathBuf>)> {
    Ok((file, None))
}

/// Refuses text, and a tar archive that is called one, of which only `start` has been unpacked: a folder
/// may have many that take long. `path` is the compressed file's.
fn refuse_others(path: &Path, start: &[u8]) -> BlockResult<()> {
    let device = MemoryDevice::new(start);
    let texture = texture_of(&device)?;
    if texture.is_no_disk() && !start.is_empty() {
        let text = texture.sentence().unwrap_or_default();
        return Err(BlockError::unsupported(format!("compressed {text}")));
    }
    let is_archive = |signature: &&Signature| signature.kind == Kind::Archive;
    let is_tar = extension(&path.with_extension("")) == "tar";
    match signature_of(&device)?.filter(is_archive) {
        Some(archive) if is_tar => Err(BlockError::unsupported(archive.sentence())),
        _ => Ok(()),
    }
}

/// The same, in the state that the format gives.
fn open_newest(
    mut file: Located,
    path: &Path,
    format: Option<&str>,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    if let Some(format) = format {
        return open_as(format, &file, context);
    }
    let found = detect(&file)?;
    if found.id() == RAW {
        return open_raw(&file, path, context);
    }
    match name_says(path, found) {
        NameSays::Yes => {}
        NameSays::Raw => {
            if let Some(disk) = open_nested(&file, found, context)? {
                return Ok(disk);
            }
            file.files = Arc::new(NoFiles { format: found.id() });
        }
        NameSays::Nothing => file.files = Arc::new(NoFiles { format: found.id() }),
    }
    found.open(&file, context)
}

/// Whether the file at `path` is called as images are.
pub(crate) fn is_called_as_image(path: &Path) -> bool {
    let extension = extension(path);
    let knows = |format: &&dyn ImageFormat| format.extensions().contains(&extension.as_str());
    FORMATS.iter().any(knows) || Signature::is_image_extension(&extension)
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Whether what the file at `path` says of other files counts, if it is an image of a format whose
/// images name others.
pub(crate) fn may_name_others(path: &Path) -> bool {
    let extension = extension(path);
    let mut formats = FORMATS.iter().filter(|format| format.id() != RAW);
    !is_called_flat(path) && formats.any(|format| format.extensions().contains(&extension.as_str()))
}

/// The ends of the names of the files that may be snapshots of the image at `path`.
pub(crate) fn extensions_of_snapshots(path: &Path) -> &'static [&'static str] {
    let extension = extension(path);
    let mut formats = FORMATS.iter().filter(|format| format.id() != RAW);
    let found = formats.find(|format| format.extensions().contains(&extension.as_str()));
    // What has a name of its own may be an extent.
    found.map_or(&["vmdk"], |format| format.extensions())
}

/// Whether the file at `path` is called as the bytes of a disk are that a descriptor names.
fn is_called_flat(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["-flat", "-rdm", "-rdmp"].iter().any(|end| stem.ends_with(end))
}

/// Whether what is at `path` is a raw disk by its name, the content of which belongs to a guest.
pub(crate) fn is_called_raw(path: &Path) -> bool {
    // A device has no name of its own; what is on it is a disk.
    let is_device = host::is_device(path);
    let raw = FORMATS.iter().find(|format| format.id() == RAW);
    let extension = extension(path);
    is_called_flat(path)
        || is_device
        || raw.is_some_and(|raw| raw.extensions().contains(&extension.as_str()))
}

fn name_says(path: &Path, found: &dyn ImageFormat) -> NameSays {
    let extension = extension(path);
    if is_called_raw(path) {
        NameSays::Raw
    } else if found.extensions().contains(&extension.as_str()) {
        NameSays::Yes
    } else if BY_TRAILER.contains(&found.id()) {
        NameSays::Raw
    } else {
        NameSays::Nothing
    }
}

/// The raw disk `file`, which begins as an image of `found` does; `None` if there is nothing on a raw
/// disk of these bytes, as images of clouds are called `.img` whatever they are.
fn open_nested(
    file: &Located,
    found: &dyn ImageFormat,
    context: &ImageContext,
) -> BlockResult<Option<DiskImage>> {
    let image = open_as(RAW, file, context)?;
    if !holds_something(&*image.device) {
        return Ok(None);
    }
    let id = found.id();
    image.log.add(Finding::warning(
        code::NESTED_FORMAT,
        format!(
            "begins as {} does, and is read as a raw disk because of its name; if it is an \
             image in this format, give --format {id}",
            found.title()
        ),
    ));
    Ok(Some(image))
}

/// What a file is whose name ends in `extension`, if that is no raw disk.
fn promised_by(extension: &str) -> Option<&'static str> {
    let image = FORMATS.iter().find(|it| it.id() != RAW && it.extensions().contains(&extension));
    let backup = BACKUPS.iter().find(|it| it.extensions().contains(&extension));
    let title = image.map(|format| format.title());
    let title = title.or_else(|| backup.map(|format| format.title()));
    title.or_else(|| compression(extension).map(|it| it.title)).or(match extension {
        "lzma" => Some("LZMA"),
        "ova" => Some("OVA"),
        _ => None,
    })
}

/// The raw disk `file`, unless it is something that is known to be none.
fn open_raw(file: &Located, path: &Path, context: &ImageContext) -> BlockResult<DiskImage> {
    let image = open_as(RAW, file, context)?;
    if let Some(title) = promised_by(&extension(path)).filter(|_| !is_called_flat(path)) {
        image.log.add(Finding::warning(
            code::NAME_WITHOUT_CONTENT,
            format!(
                "is called as {title} is, and has none of its marks; it is read as a raw disk, and \
                 its begin or end may be missing or damaged"
            ),
        ));
    }
    // What cannot be read here becomes a finding of discovery, which reads the same places.
    let Ok(signature) = signature_of(&*image.device) else {
        return Ok(image);
    };
    let foreign = match signature {
        Some(signature) if signature.kind == Kind::Volume => return Ok(image),
        Some(signature) => signature.sentence(),
        None => match texture_of(&*image.device) {
            Ok(texture) if texture.is_no_disk() => texture.sentence().unwrap_or_default().into(),
            _ => return Ok(image),
        },
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let agrees = signature.is_some_and(|signature| signature.agrees_with(&name));
    if agrees || !holds_something(&*image.device) {
        return Err(BlockError::unsupported(foreign));
    }
    image.log.add(Finding::warning(
        code::FOREIGN_MARK,
        format!("begins as something else does ({foreign}), and is read as the raw disk that it holds too"),
    ));
    Ok(image)
}

/// Whether the raw file at `path` of a folder, with the bytes `device`, is a disk: it has partitions
/// or a file system, be it one that is not read; or it is called as an image, and not blank.
pub(crate) fn may_be_disk(path: &Path, device: &dyn BlockDevice) -> bool {
    let is_unread =
        |signature: &Signature| signature.kind == Kind::Volume && signature.holds_files();
    let is_blank = |texture| matches!(texture, Texture::Empty | Texture::Zeros);
    holds_something(device)
        || signature_of(device).is_ok_and(|signature| signature.is_some_and(is_unread))
        || (is_called_as_image(path) && !texture_of(device).is_ok_and(is_blank))
}

/// Why the file at `path`, met in a folder, is no disk though it was looked at; `None` if it is
/// called as an image, or cannot be taken for granted, so that `error` is a failure.
pub(crate) fn is_beside_the_point(path: &Path, error: &BlockError) -> Option<String> {
    // Of a machine all disks would be left out.
    let is_machine = ["ova", "xva"].contains(&inner_extension(path).as_str());
    let may_be_a_disk = is_called_as_image(path) || is_machine;
    let is_foreign = error.kind() == BlockErrorKind::Unsupported;
    let is_known_companion = COMPANIONS.contains(&extension(path).as_str());
    (is_known_companion || (is_foreign && !may_be_a_disk)).then(|| error_chain(error))
}

/// The ends of names of what lies beside the disks of a machine.
const COMPANIONS: &[&str] = &[
    "vmx",
    "vmxf",
    "vmsd",
    "vmsn",
    "vmss",
    "vmem",
    "nvram",
    "vmtx",
    "vbox",
    "vbox-prev",
    "log",
    "txt",
    "md",
    "json",
    "xml",
    "ovf",
    "mf",
    "cert",
    "lck",
    "hlog",
    "vswp",
    "vmcx",
    "vmrs",
    "vmgs",
    "md5",
    "sha1",
    "sha256",
    "sha512",
    "asc",
    "sig",
    "nfo",
    "html",
    "pdf",
    "csv",
    "tsv",
    "yaml",
    "yml",
];
