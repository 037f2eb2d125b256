//! One VMDK of a chain: its descriptor and its own extents, without the parent.

use std::path::Path;
use std::sync::Arc;

use crate::format::vmdk::descriptor::{
    Access, Descriptor, ExtentLine, ExtentType, MAX_DESCRIPTOR_BYTES,
};
use crate::format::vmdk::directory::TableBudget;
use crate::format::vmdk::disk::{DiskExtent, Source};
use crate::format::vmdk::header::{COWD_MAGIC, HEADER_BYTES, MAGIC, SparseHeader};
use crate::format::vmdk::sparse::SparseExtent;
use crate::locator::{Located, Locator};
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Finding, Span, byte_count,
    bytes_to_index, code,
};

/// The variants that hold no bytes but name a disk of the machine.
const HOST_DISKS: [&str; 6] = [
    "fullDevice",
    "partitionedDevice",
    "vmfsRaw",
    "vmfsRDM",
    "vmfsRawDeviceMap",
    "vmfsPassthroughRawDeviceMap",
];

/// One VMDK, opened but for its parent.
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) size: u64,
    pub(super) extents: Vec<DiskExtent>,
    pub(super) findings: Vec<Finding>,
}

impl Layer {
    /// Opens the VMDK in `file` and the extents it names.
    ///
    /// # Errors
    /// Why one of them cannot be read.
    pub(super) fn open(file: &Located, budget: &Arc<TableBudget>) -> BlockResult<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let length = file.device.size().min(byte_count(HEADER_BYTES));
        let start = bytes.get_mut(..bytes_to_index(length)?).unwrap_or_default();
        file.device.read_at(0, start)?;
        if start.starts_with(&COWD_MAGIC) {
            return Err(BlockError::unsupported(
                "is a COWD extent (the sparse format of ESX), which cannot be read yet",
            ));
        }
        if start.starts_with(&MAGIC) {
            return Self::open_embedded(file, SparseHeader::parse(start, 0)?, budget);
        }
        let text = read_text(&*file.device, 0, file.device.size())?;
        let descriptor = Descriptor::parse(&text, 0)?;
        Self::assemble(descriptor, &*file.files, budget)
    }

    /// Opens a sparse extent that has its descriptor within.
    fn open_embedded(
        file: &Located,
        header: SparseHeader,
        budget: &Arc<TableBudget>,
    ) -> BlockResult<Self> {
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
        let descriptor = Descriptor::parse(&text, at)?;
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
            layer.add(&line, String::new(), Source::NoAccess)?;
        } else {
            let device = Arc::clone(&file.device);
            let extent = SparseExtent::open(device, header, budget, &mut layer.findings)?;
            let source = Source::Sparse(extent);
            layer.check_size(&line, &source);
            layer.add(&line, String::new(), source)?;
        }
        Ok(layer)
    }

    fn empty(descriptor: Descriptor) -> BlockResult<Self> {
        if let Some(device) = &descriptor.create_type
            && HOST_DISKS.contains(&device.as_str())
        {
            return Err(BlockError::refused(format!(
                "stands for a disk of the machine it was made on ({device}); open that disk"
            )));
        }
        Ok(Self {
            size: descriptor.disk_size()?,
            descriptor,
            extents: Vec::new(),
            findings: Vec::new(),
        })
    }

    /// Opens every extent that `descriptor` names through `files`.
    fn assemble(
        descriptor: Descriptor,
        files: &dyn Locator,
        budget: &Arc<TableBudget>,
    ) -> BlockResult<Self> {
        let lines = descriptor.extents.clone();
        let mut layer = Self::empty(descriptor)?;
        for line in lines.iter().filter(|line| line.size > 0) {
            let name = if line.file.is_empty() {
                "extent".to_owned()
            } else {
                format!("extent {}", line.file)
            };
            let before = layer.findings.len();
            let source = layer.source(line, &name, files, budget)?;
            layer.check_size(line, &source);
            let found = layer.findings.split_off(before);
            layer.findings.extend(found.into_iter().map(|finding| finding.within(&name)));
            layer.add(line, name, source)?;
        }
        Ok(layer)
    }

    /// Opens the extent of `line`, which messages call `name`.
    fn source(
        &mut self,
        line: &ExtentLine,
        name: &str,
        files: &dyn Locator,
        budget: &Arc<TableBudget>,
    ) -> BlockResult<Source> {
        if line.access == Access::Forbidden {
            return Ok(Source::NoAccess);
        }
        if line.extent_type == ExtentType::Zero {
            return Ok(Source::Zero);
        }
        let file = files
            .open(Path::new(&line.file))
            .map_err(|error| missing("extent", &line.file, error))?;
        match &line.extent_type {
            ExtentType::Sparse => self
                .sparse(&file.device, budget)
                .map(Source::Sparse)
                .map_err(|error| error.within(name)),
            ExtentType::Flat { offset } => Ok(Source::Flat { file: file.device, offset: *offset }),
            ExtentType::Other(other) => Err(BlockError::unsupported(format!(
                "{name} is of the type {other}, which cannot be read yet"
            ))),
            ExtentType::Zero => Ok(Source::Zero),
        }
    }

    /// Opens the sparse extent in `file`, which a descriptor names.
    fn sparse(
        &mut self,
        file: &Arc<dyn BlockDevice>,
        budget: &Arc<TableBudget>,
    ) -> BlockResult<SparseExtent> {
        let mut bytes = [0; HEADER_BYTES];
        if file.size() < byte_count(HEADER_BYTES) {
            return Err(BlockError::corrupt("sparse header is cut short", 0, 0));
        }
        file.read_at(0, &mut bytes)?;
        let header = SparseHeader::parse(&bytes, 0)?;
        SparseExtent::open(Arc::clone(file), header, budget, &mut self.findings)
    }

    /// Makes messages of this layer begin with `part`.
    pub(super) fn prefix_messages(&mut self, part: &str) {
        let findings = std::mem::take(&mut self.findings);
        self.findings = findings.into_iter().map(|finding| finding.within(part)).collect();
        for extent in &mut self.extents {
            extent.name = if extent.name.is_empty() {
                part.to_owned()
            } else {
                format!("{part}: {}", extent.name)
            };
        }
    }

    /// Notes that an extent has less than its line promises.
    fn check_size(&mut self, line: &ExtentLine, source: &Source) {
        let (found, wanted) = match source {
            Source::Flat { file, offset } => (file.size(), offset.saturating_add(line.size)),
            Source::Sparse(extent) => (extent.size(), line.size),
            Source::Zero | Source::NoAccess => return,
        };
        if found < wanted {
            self.findings.push(Finding::warning(
                code::VMDK_EXTENT_SHORT,
                format!(
                    "the file has {found} of {wanted} bytes; what is missing \
                 cannot be read"
                ),
            ));
        }
    }

    /// Puts an extent after the others.
    fn add(&mut self, line: &ExtentLine, name: String, source: Source) -> BlockResult<()> {
        let start = self.extents.last().map_or(0, |last| last.span.end());
        let span = Span::new(start, line.size)
            .ok_or_else(|| BlockError::corrupt("extents are larger than a disk can be", 0, 0))?;
        if !span.is_empty() {
            self.extents.push(DiskExtent { span, name, source });
        }
        Ok(())
    }
}

/// What a failed search for the part `reference` means to the user.
pub(super) fn missing(part: &str, reference: &str, error: BlockError) -> BlockError {
    match error.kind() {
        BlockErrorKind::MissingPart => {
            BlockError::missing(format!("{part} {reference} is missing; put it beside the image"))
        }
        _ => error.within(&format!("{part} {reference}")),
    }
}

/// The bytes of a descriptor, which the caller knows to be inside the file.
fn read_text(file: &dyn BlockDevice, at: u64, size: u64) -> BlockResult<Vec<u8>> {
    if size > MAX_DESCRIPTOR_BYTES {
        let sentence = format!("descriptor has {size} bytes, more than {MAX_DESCRIPTOR_BYTES}");
        return Err(BlockError::unsupported(sentence).at(at));
    }
    let mut text = vec![0; bytes_to_index(size)?];
    file.read_at(at, &mut text)?;
    Ok(text)
}
