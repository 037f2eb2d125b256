//! What an image format is, and what its images are opened with.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Confidence, FindingLog, Place,
    Span, surest,
};

use crate::format::image::{DiskImage, Lineage};
use crate::locator::{Located, Locator};
use crate::note::PartLog;

/// One image format.
pub trait ImageFormat: Send + Sync {
    /// The lower-case name: `vmdk`.
    fn id(&self) -> &'static str;

    /// What the format is called in tables: `VMDK (hosted)`.
    fn title(&self) -> &'static str;

    /// The ends of names that such files have, in lower case and without the dot: `vmdk`.
    fn extensions(&self) -> &'static [&'static str];

    /// Looks at the first bytes of `file`.
    ///
    /// # Errors
    /// Only if they cannot be read; a strange file is [`Confidence::No`].
    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence>;

    /// Opens the image in `file`, with the other files it names.
    ///
    /// # Errors
    /// Why the image cannot be read.
    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage>;

    /// What the image in `file` says of its parts and its parent. `None` for a format whose images
    /// name no other files.
    ///
    /// # Errors
    /// Why the image cannot be read.
    fn lineage(&self, _file: &Located) -> BlockResult<Option<Lineage>> {
        Ok(None)
    }
}

/// Opens what an image says is encrypted.
pub trait Decryption: Send + Sync {
    /// `file`, the image `called`, as it was before it was encrypted with LUKS: sectors of 512 bytes, which
    /// are counted from its begin. `header` is that of LUKS.
    ///
    /// # Errors
    /// Why it cannot be opened: no key, or a wrong one.
    fn luks(
        &self,
        called: &str,
        header: Arc<dyn BlockDevice>,
        file: &Arc<dyn BlockDevice>,
    ) -> BlockResult<Arc<dyn BlockDevice>>;
}

/// LIMIT: images of a chain. VMware allows 32 snapshots, Hyper-V 50.
pub const MAX_CHAIN: usize = 64;

/// LIMIT: files that are looked at for one parent that is known by an identifier alone.
const MAX_LOOKS: usize = 8192;

/// What an image is opened with.
pub struct ImageContext {
    formats: &'static [&'static dyn ImageFormat],
    cache: Arc<CachePool>,
    log: Arc<FindingLog>,
    snapshot: Option<String>,
    decryption: Option<Arc<dyn Decryption>>,
    /// The names of the files of the images that this one is below of, the given one first.
    above: Vec<String>,
    /// What messages call this image; empty if it is the one that was given.
    part: String,
}

impl ImageContext {
    /// Opens images of any of `formats`. What is expensive to decode is kept in `cache`.
    pub(crate) fn of(formats: &'static [&'static dyn ImageFormat], cache: &Arc<CachePool>) -> Self {
        Self {
            formats,
            cache: Arc::clone(cache),
            log: Arc::default(),
            snapshot: None,
            decryption: None,
            above: Vec::new(),
            part: String::new(),
        }
    }

    /// The same for the state that the image calls `snapshot`, by its name or its id.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: Option<&str>) -> Self {
        self.snapshot = snapshot.map(str::to_owned);
        self
    }

    /// The same, with what opens images that are encrypted.
    #[must_use]
    pub fn with_decryption(mut self, decryption: Arc<dyn Decryption>) -> Self {
        self.decryption = Some(decryption);
        self
    }

    /// What opens images that are encrypted.
    ///
    /// # Errors
    /// `Unsupported` if nothing does.
    pub fn decryption(&self) -> BlockResult<&dyn Decryption> {
        self.decryption.as_deref().ok_or_else(|| {
            BlockError::unsupported(
                "is encrypted with LUKS; decrypt it with `qemu-img convert`, which asks for its \
                 secret",
            )
        })
    }

    /// Where decoded units are kept.
    pub fn cache(&self) -> &Arc<CachePool> {
        &self.cache
    }

    /// What was noticed of all images of the chain.
    pub fn log(&self) -> &Arc<FindingLog> {
        &self.log
    }

    /// Where what is noticed of this image goes.
    pub fn part_log(&self) -> PartLog {
        PartLog::new(&self.log, &self.part)
    }

    /// The snapshot within the image that is wanted.
    pub fn snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// The file that the image in `child` calls `called` and knows by an identifier alone: the first
    /// file with one of `extensions` that it may name and of which `is_it` says so.
    ///
    /// # Errors
    /// `MissingPart` if there is none.
    pub fn find_by_id(
        &self,
        child: &Located,
        extensions: &[&str],
        called: &str,
        is_it: &dyn Fn(&Located) -> bool,
    ) -> BlockResult<Located> {
        let (mut found, mut looks) = (None, MAX_LOOKS);
        for extension in extensions {
            child.files.neighbours(extension, &mut |file| {
                let Some(left) = looks.checked_sub(1) else { return ControlFlow::Break(()) };
                looks = left;
                if file.name == child.name || !is_it(&file) {
                    return ControlFlow::Continue(());
                }
                found = Some(file);
                ControlFlow::Break(())
            });
            if found.is_some() {
                break;
            }
        }
        found.ok_or_else(|| match looks {
            0 => BlockError::unsupported(format!(
                "{called} is not among the first {MAX_LOOKS} files; give its folder alone"
            )),
            _ => BlockError::missing(format!(
                "{called} is missing; put it beside the image, or allow its folder with --allow-path"
            )),
        })
    }

    /// Opens the image in `parent`, which the one in `child` calls `called` (`parent base.vhd`), as
    /// one of the format whose id is `declared`. Where none is declared its own name has to tell the
    /// format, or it may name no other files: its content belongs to a guest.
    ///
    /// # Errors
    /// Why it cannot be opened, or that it is one of the images above it.
    pub fn open_parent(
        &self,
        child: &Located,
        mut parent: Located,
        called: &str,
        declared: Option<&str>,
    ) -> BlockResult<DiskImage> {
        let mut above = self.above.clone();
        above.push(child.name.clone());
        if above.contains(&parent.name) {
            let sentence = format!("{called} is also a child of this image");
            return Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
        }
        if above.len() >= MAX_CHAIN {
            let sentence = format!("chain of parents is longer than {MAX_CHAIN} images");
            return Err(BlockError::unsupported(sentence));
        }
        let part = match self.part.as_str() {
            "" => called.to_owned(),
            part => format!("{part}: {called}"),
        };
        let context = Self {
            formats: self.formats,
            cache: Arc::clone(&self.cache),
            log: Arc::clone(&self.log),
            snapshot: None,
            decryption: self.decryption.clone(),
            above,
            part,
        };
        let formats = self.formats;
        let format = match declared {
            Some(id) => formats.iter().find(|format| format.id() == id).copied(),
            None => detect(formats, &parent)?,
        };
        let format = format.ok_or_else(|| {
            let id = declared.unwrap_or("of no known format");
            BlockError::unsupported(format!("{called} is said to be {id}, which is not read"))
        })?;
        if declared.is_none() && !is_called_as(&parent.name, format) {
            parent.files = Arc::new(NoFiles { format: format.id() });
        }
        format.open(&parent, &context).map_err(|error| error.within(called))
    }
}

impl DiskImage {
    /// The image in `file`, of the format `id`, which is the disk `device` and nothing else.
    pub fn new(
        id: &'static str,
        device: Arc<dyn BlockDevice>,
        file: &Located,
        context: &ImageContext,
    ) -> Self {
        Self {
            device,
            format: id,
            variant: None,
            chain: vec![file.name.clone()],
            extents: Vec::new(),
            is_decoded: false,
            snapshots: Vec::new(),
            snapshot: None,
            recorded_hashes: Vec::new(),
            region_checksums: Vec::new(),
            log: Arc::clone(context.log()),
        }
    }
}

/// The one of `formats` that `file` is of: of those whose mark it has the one that its name is of, else
/// the one that is surest. Of some formats the start is a guest's, who may write the mark of another.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn detect(
    formats: &'static [&'static dyn ImageFormat],
    file: &Located,
) -> BlockResult<Option<&'static dyn ImageFormat>> {
    for format in formats.iter().filter(|format| is_called_as(&file.name, **format)) {
        if format.probe(&*file.device)? >= Confidence::Likely {
            return Ok(Some(*format));
        }
    }
    Ok(surest(formats, |format| format.probe(&*file.device))?.map(|(_, format)| format))
}

/// Whether the file `name` ends as those of `format` do.
fn is_called_as(name: &str, format: &dyn ImageFormat) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default().to_string_lossy();
    format.extensions().contains(&extension.to_ascii_lowercase().as_str())
}

/// The policy for an image whose name does not say that it is one.
pub struct NoFiles {
    /// The id of the format that its content has.
    pub format: &'static str,
}

impl Locator for NoFiles {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let Self { format } = self;
        Err(BlockError::refused(format!(
            "names the file {}, and its own name does not say that it is an image; if it is one, \
             give --format {format}",
            reference.display()
        )))
    }
}

/// What shows through the holes of an image: its parent, or zeros.
#[derive(Clone, Default)]
pub struct Backing(Option<Arc<dyn BlockDevice>>);

impl Backing {
    /// The disk of `parent`.
    pub fn of(parent: Option<&DiskImage>) -> Self {
        Self(parent.map(|parent| Arc::clone(&parent.device)))
    }

    /// Whether there is a parent.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Where the `length` bytes at `offset` of a hole are, and how far. Past the end of a shorter
    /// parent there are zeros.
    pub fn place(&self, offset: u64, length: u64) -> (Place<'_>, u64) {
        let parent = self.0.as_deref();
        match parent.and_then(|parent| Some((parent, Span::between(offset, parent.size())?))) {
            Some((parent, span)) if !span.is_empty() => {
                (Place::At(parent, offset), length.min(span.length()))
            }
            _ => (Place::Zero, length),
        }
    }
}
