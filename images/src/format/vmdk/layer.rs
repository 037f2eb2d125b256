//! One VMDK of a chain: its descriptor and its own extents, without the parent.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::vmdk::descriptor::{
    Access, Descriptor, ExtentLine, ExtentType, MAX_DESCRIPTOR_BYTES, TextKind, text_kind,
};
use crate::format::vmdk::directory::TableBudget;
use crate::format::vmdk::disk::{DiskExtent, LostExtent, Source};
use crate::format::vmdk::esx::{EsxSparse, SE_MAGIC};
use crate::format::vmdk::header::{COWD_MAGIC, HEADER_BYTES, MAGIC, SparseHeader};
use crate::format::vmdk::sparse::SparseExtent;
use crate::locator::{Located, Locator};
use crate::note::PartLog;
use crate::text::FileName;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Finding, FindingLog, Span,
    byte_count, bytes_to_index, code, keep,
};

/// The variants that hold no bytes but name a disk of the machine.
const HOST_DISKS: [&str; 2] = ["fullDevice", "partitionedDevice"];

/// How much is looked at to know a VMDK: as much as QEMU does, so that comments may come first.
const PROBE_BYTES: u64 = 512;

/// Whether the first bytes of `file` are those of a VMDK, of any kind.
///
/// # Errors
/// If they cannot be read.
pub(super) fn is_vmdk(file: &dyn BlockDevice) -> BlockResult<bool> {
    let mut bytes = vec![0; bytes_to_index(file.size().min(PROBE_BYTES))?];
    file.read_at(0, &mut bytes)?;
    let magics: [&[u8]; 3] = [&MAGIC, &COWD_MAGIC, &SE_MAGIC];
    let is_sparse = magics.iter().any(|magic| bytes.starts_with(magic));
    Ok(is_sparse || text_kind(&bytes) != TextKind::Other)
}

/// What a VMDK says of itself, before an extent is opened.
pub(super) struct Head {
    pub(super) descriptor: Descriptor,
    /// Where the descriptor is.
    at: u64,
    /// The header of the sparse extent that it is embedded in.
    header: Option<SparseHeader>,
}

impl Head {
    /// Reads the descriptor of the VMDK in `file`.
    ///
    /// # Errors
    /// Why it is none, or cannot be read.
    pub(super) fn read(file: &Located) -> BlockResult<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let length = file.device.size().min(byte_count(HEADER_BYTES));
        let start = bytes.get_mut(..bytes_to_index(length)?).unwrap_or_default();
        file.device.read_at(0, start)?;
        if start.starts_with(&COWD_MAGIC) || start.starts_with(&SE_MAGIC) {
            return Err(BlockError::unsupported(
                "is an extent of a snapshot of ESX; open its descriptor, the file without -delta",
            ));
        }
        if start.starts_with(&MAGIC) {
            return Self::read_embedded(file, SparseHeader::parse(start, 0)?);
        }
        if text_kind(start) == TextKind::Utf16 {
            return Err(BlockError::unsupported(
                "is a descriptor in UTF-16; save it as UTF-8, which VMware reads",
            ));
        }
        let text = read_text(&*file.device, 0, file.device.size())?;
        Ok(Self { descriptor: Descriptor::parse(&text, 0)?, at: 0, header: None })
    }

    /// Reads the descriptor in a sparse extent.
    fn read_embedded(file: &Located, header: SparseHeader) -> BlockResult<Self> {
        let part_of_split =
            || BlockError::missing("is an extent of a split image; open its descriptor");
        let (at, size) = header.descriptor.ok_or_else(part_of_split)?;
        let end = at.saturating_add(size);
        if end > file.device.size() {
            let sentence = "embedded descriptor is not inside the file";
            return Err(BlockError::corrupt(sentence, at, 0));
        }
        let text = read_text(&*file.device, at, size)?;
        // QUIRK: QEMU sets room for a descriptor aside in every extent and leaves it empty.
        if text.first() == Some(&0) {
            return Err(part_of_split());
        }
        Ok(Self { descriptor: Descriptor::parse(&text, at)?, at, header: Some(header) })
    }
}

/// What the layers of one image share.
pub(super) struct Shared {
    pub(super) budget: Arc<TableBudget>,
    pub(super) log: Arc<FindingLog>,
    pub(super) cache: Arc<CachePool>,
}

/// One VMDK, opened but for its parent.
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) size: u64,
    pub(super) extents: Vec<DiskExtent>,
    /// The names of the files that hold its bytes, but for its own.
    pub(super) files: Vec<String>,
}

impl Layer {
    /// Opens the VMDK in `file`, which has `head`, and the extents it names. Messages call it
    /// `part`, or nothing if that is empty.
    ///
    /// # Errors
    /// Why none of its bytes can be read. Where it is some of them, there is a finding.
    pub(super) fn open(
        file: &Located,
        head: Head,
        part: &str,
        shared: &Shared,
    ) -> BlockResult<Self> {
        match head.header {
            Some(header) => {
                Self::open_embedded(file, head.descriptor, head.at, header, part, shared)
            }
            None => Self::assemble(head.descriptor, &*file.files, part, shared),
        }
    }

    /// Opens a sparse extent that has its descriptor within, at `at`.
    fn open_embedded(
        file: &Located,
        descriptor: Descriptor,
        at: u64,
        header: SparseHeader,
        part: &str,
        shared: &Shared,
    ) -> BlockResult<Self> {
        let line = match descriptor.extents.as_slice() {
            [line] if line.extent_type == ExtentType::Sparse => line.clone(),
            _ => {
                let sentence = "embedded descriptor does not name the file itself as its extent";
                return Err(BlockError::corrupt(sentence, at, 0));
            }
        };
        let mut layer = Self::empty(descriptor)?;
        // The extent is this file, whatever it was called when the descriptor was written.
        if line.access == Access::Forbidden {
            layer.add(&line, part.to_owned(), Source::NoAccess)?;
        } else {
            let log = PartLog::new(&shared.log, part);
            let device = Arc::clone(&file.device);
            let extent = SparseExtent::open(device, header, &shared.budget, &log)?;
            let source = Source::Sparse(Box::new(extent));
            check_size(&line, 0, &source, &log);
            layer.add(&line, part.to_owned(), source)?;
        }
        Ok(layer)
    }

    fn empty(descriptor: Descriptor) -> BlockResult<Self> {
        if let Some(device) = &descriptor.create_type
            && HOST_DISKS.iter().any(|known| known.eq_ignore_ascii_case(device))
        {
            return Err(BlockError::refused(format!(
                "stands for a disk of the machine it was made on ({device}); open that disk"
            )));
        }
        Ok(Self {
            size: descriptor.disk_size()?,
            descriptor,
            extents: Vec::new(),
            files: Vec::new(),
        })
    }

    /// Opens every extent that `descriptor` names through `files`. One that cannot be had is an
    /// error where it lies, as long as another one is there.
    fn assemble(
        descriptor: Descriptor,
        files: &dyn Locator,
        part: &str,
        shared: &Shared,
    ) -> BlockResult<Self> {
        let lines = descriptor.extents.clone();
        let mut layer = Self::empty(descriptor)?;
        let mut first_lost = None;
        let mut has_files = false;
        let mut flat_files = BTreeMap::new();
        for line in lines.iter().filter(|line| line.size > 0) {
            let name = extent_name(part, &line.file);
            let log = PartLog::new(&shared.log, &name);
            let source = match layer.source(line, files, shared, &log) {
                Ok(source) => source,
                Err(error) => {
                    let lost = LostExtent::new(&error);
                    first_lost.get_or_insert((lost.clone(), extent_name("", &line.file), error));
                    Source::Lost(lost)
                }
            };
            has_files |=
                matches!(&source, Source::Flat { .. } | Source::Sparse(_) | Source::Esx(_));
            check_size(line, layer.end(), &source, &log);
            if let Source::Flat { file, offset } = &source {
                let end = offset.saturating_add(line.size);
                let (_, used, _) =
                    flat_files.entry(&line.file.shown).or_insert((file.size(), 0, log.clone()));
                *used = end.max(*used);
            }
            if let Source::Lost(lost) = &source {
                log.add(Finding::error(
                    code::VMDK_EXTENT_LOST,
                    format!("{lost}; its {} bytes of the disk are errors", line.size),
                ));
            }
            layer.add(line, name, source)?;
        }
        if let Some((lost, name, error)) = first_lost
            && !has_files
        {
            return Err(lost.explain(&name, error));
        }
        for (size, used, log) in flat_files.into_values() {
            if size > used {
                log.add(Finding::warning(
                    code::VMDK_EXTENT_LONG,
                    format!("the file has {size} bytes, and the descriptor uses {used} of them"),
                ));
            }
        }
        Ok(layer)
    }

    /// Opens the extent of `line`.
    fn source(
        &mut self,
        line: &ExtentLine,
        files: &dyn Locator,
        shared: &Shared,
        log: &PartLog,
    ) -> BlockResult<Source> {
        if line.access == Access::Forbidden {
            return Ok(Source::NoAccess);
        }
        if line.extent_type == ExtentType::Zero {
            return Ok(Source::Zero);
        }
        let file = open_named(files, &line.file)?;
        self.files.push(file.name);
        match &line.extent_type {
            ExtentType::Sparse => {
                sparse(&file.device, shared, log).map(Box::new).map(Source::Sparse)
            }
            ExtentType::Esx => {
                EsxSparse::open(&file.device, &shared.cache).map(Box::new).map(Source::Esx)
            }
            ExtentType::Flat { offset } => Ok(Source::Flat { file: file.device, offset: *offset }),
            // A copy has the bytes of the disk; on VMFS itself the file does, too.
            ExtentType::Mapped if file.device.size() >= line.size => {
                Ok(Source::Flat { file: file.device, offset: 0 })
            }
            ExtentType::Mapped => Err(BlockError::refused(
                "stands for a disk of the machine it was made on, and has not its bytes; open that \
                 disk, or a copy of it",
            )),
            ExtentType::Other(other) => Err(BlockError::unsupported(format!(
                "is of the type {other}, which cannot be read yet"
            ))),
            ExtentType::Zero => Ok(Source::Zero),
        }
    }

    /// Where the next extent begins.
    fn end(&self) -> u64 {
        self.extents.last().map_or(0, |last| last.span.end())
    }

    /// Puts an extent after the others.
    fn add(&mut self, line: &ExtentLine, name: String, source: Source) -> BlockResult<()> {
        let start = self.end();
        let span = Span::new(start, line.size)
            .ok_or_else(|| BlockError::corrupt("extents are larger than a disk can be", 0, 0))?;
        if !span.is_empty() {
            self.extents.push(DiskExtent { span, name, source });
        }
        Ok(())
    }
}

/// What messages call the extent in `file` of the layer `part`.
fn extent_name(part: &str, file: &FileName) -> String {
    let name = if file.is_empty() { "extent".to_owned() } else { format!("extent {}", file.shown) };
    if part.is_empty() { name } else { format!("{part}: {name}") }
}

/// Opens the first file that `name` may mean.
///
/// # Errors
/// Why there is none, or why it cannot be opened.
pub(super) fn open_named(files: &dyn Locator, name: &FileName) -> BlockResult<Located> {
    let mut first = None;
    for spelling in &name.spellings {
        match files.open(spelling) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == BlockErrorKind::MissingPart => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| BlockError::missing("no file is named")))
}

/// Opens the sparse extent in `file`, which a descriptor names.
fn sparse(
    file: &Arc<dyn BlockDevice>,
    shared: &Shared,
    log: &PartLog,
) -> BlockResult<SparseExtent> {
    let mut bytes = [0; HEADER_BYTES];
    if file.size() < byte_count(HEADER_BYTES) {
        return Err(BlockError::corrupt("sparse header is cut short", 0, 0));
    }
    file.read_at(0, &mut bytes)?;
    let header = SparseHeader::parse(&bytes, 0)?;
    SparseExtent::open(Arc::clone(file), header, &shared.budget, log)
}

/// Notes that an extent and its line have different sizes.
///
/// `start` is where it begins on the disk.
fn check_size(line: &ExtentLine, start: u64, source: &Source, log: &PartLog) {
    match source {
        Source::Flat { file, offset } => {
            let (found, wanted) = (file.size(), offset.saturating_add(line.size));
            if found < wanted {
                let there = found.saturating_sub(*offset);
                log.add(
                    Finding::warning(
                        code::VMDK_EXTENT_SHORT,
                        format!(
                            "the file has {found} of {wanted} bytes; what is missing cannot be read"
                        ),
                    )
                    .at(start.saturating_add(there)),
                );
            }
        }
        Source::Sparse(extent) => {
            let (found, wanted) = (extent.size(), line.size);
            // QUIRK: some writers round the size in the header up to a whole grain.
            if found < wanted || found.saturating_sub(wanted) >= extent.grain_size() {
                log.add(Finding::warning(
                    code::VMDK_SIZES_DIFFER,
                    format!("the header tells of {found} bytes, and the descriptor of {wanted}"),
                ));
            }
        }
        Source::Esx(extent) => {
            let (found, wanted) = (extent.size(), line.size);
            if found < wanted || found.saturating_sub(wanted) >= extent.grain_size() {
                log.add(Finding::warning(
                    code::VMDK_SIZES_DIFFER,
                    format!("the header tells of {found} bytes, and the descriptor of {wanted}"),
                ));
            }
        }
        Source::Zero | Source::NoAccess | Source::Lost(_) => {}
    }
}

/// The bytes of a descriptor, which the caller knows to be inside the file.
fn read_text(file: &dyn BlockDevice, at: u64, size: u64) -> BlockResult<Vec<u8>> {
    if size > MAX_DESCRIPTOR_BYTES {
        let sentence = format!("descriptor has {size} bytes, more than {MAX_DESCRIPTOR_BYTES}");
        return Err(BlockError::unsupported(sentence).at(at));
    }
    let mut text = vec![0; bytes_to_index(size)?];
    keep(|| file.read_at(at, &mut text))?;
    Ok(text)
}
