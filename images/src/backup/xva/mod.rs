//! XVA, the export of a virtual machine that XenServer and XCP-ng make.
//!
//! Specification: xen-api, "The XenServer VM import/format"; what it leaves open is as
//! `ocaml/xapi/stream_vdi.ml` there writes and reads it. A tar archive: `ova.xml` describes the machine,
//! and each disk has a folder of blocks, each followed by its checksum.
//!
//! | member              | what it is                                                             |
//! |---------------------|------------------------------------------------------------------------|
//! | `Ref:3/00000000`    | a block of the disk `Ref:3`; the size of the first one is that of all but the last, and of holes |
//! | `Ref:3/00000000.checksum` | its SHA-1 in hexadecimal digits, up to XenServer 8.0             |
//! | `Ref:3/00000000.xxhash`   | its XXH64 (seed 0) in hexadecimal digits, since                  |
//!
//! The number of a block is a counter and no place: it goes up by one for every block, and by one more
//! for each block of zeros that is left out. The first block of a disk and its last one are never left
//! out. A block of 0 bytes is no part of the disk: it is written to keep a connection alive, takes a number,
//! and nothing else.

mod manifest;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER_PERMISSIVE;
use sha1::{Digest, Sha1};
use twox_hash::XxHash64;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Finding, Map, Mapped, Piece,
    Place, byte_count, bytes_to_index, check_range, code, keep,
};

use self::manifest::Vdi;
use super::{Backup, BackupDisk, BackupFormat, plain_name, unique_name};
use crate::archive::{Member, first_name, walk};
use crate::context::ImageContext;
use crate::format::DiskImage;
use crate::locator::Located;

/// LIMIT: headers of one archive: blocks of 4 TiB and their checksums. The notes of a block are smaller
/// than its header.
const MAX_HEADERS: usize = 1 << 23;

/// LIMIT: disks of one archive. XenServer has up to 255 for a machine, and as many for each snapshot.
const MAX_DISKS: usize = 4096;

/// LIMIT: bytes of the description of the machine.
const MAX_DESCRIPTION: u64 = 16 << 20;

/// LIMIT: bytes of a block, which is read whole when it is first asked for. Known writers use 1 MiB.
const MAX_BLOCK: u32 = 16 << 20;

/// The description of the machine.
const DESCRIPTION: &str = "ova.xml";

/// Reads XVA exports.
pub(crate) struct Xva;

impl BackupFormat for Xva {
    fn id(&self) -> &'static str {
        "xva"
    }

    fn title(&self) -> &'static str {
        "XVA (export of XenServer, XCP-ng)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["xva"]
    }

    fn probe(&self, file: &Located) -> BlockResult<bool> {
        let first = first_name(&*file.device)?;
        // Who packed it anew may have put anything first.
        let is_called_so = || file.name.to_ascii_lowercase().ends_with(".xva");
        Ok(first
            .is_some_and(|name| name == DESCRIPTION || name.starts_with("Ref:") || is_called_so()))
    }

    fn open(&self, file: &Located, pool: &Arc<CachePool>) -> BlockResult<Backup> {
        let mut found = Found::default();
        let walked = walk(&*file.device, MAX_HEADERS, &mut |member| found.add(member));
        let mut damage: Vec<BlockError> = walked.err().into_iter().collect();
        damage.extend(found.damage.take());
        let is_whole = damage.is_empty();
        let described = found.description.map(|(at, size)| description(&*file.device, at, size));
        let described = match described.unwrap_or_else(|| Err(BlockError::missing("is missing"))) {
            Ok(described) => described,
            Err(error) => {
                damage.push(error.within(DESCRIPTION));
                Vec::new()
            }
        };
        let (mut names, mut folders) = (HashSet::new(), HashSet::new());
        let mut disks = Vec::new();
        for (folder, notes) in found.disks {
            let vdi = described.iter().find(|vdi| vdi.id == folder);
            let name = unique_name(&shown(&folder, vdi), &mut names);
            let image = Blocks::of(notes, &file.device, vdi.and_then(|vdi| vdi.size), is_whole);
            let image =
                image.map(|(blocks, findings)| open_disk(file, &name, blocks, findings, pool));
            disks.push(BackupDisk { name, image });
            folders.insert(folder);
        }
        for vdi in described.iter().filter(|vdi| vdi.is_disk).take(MAX_DISKS) {
            if folders.insert(vdi.id.clone()) {
                let name = unique_name(&shown(&vdi.id, Some(vdi)), &mut names);
                let line = "the export has no block of it; copy or make the export again";
                disks.push(BackupDisk { name, image: Err(BlockError::missing(line)) });
            }
        }
        if disks.is_empty() && damage.is_empty() {
            return Err(BlockError::missing("XVA export holds no disk"));
        }
        Ok(Backup { disks, damage })
    }
}

/// What the disk in `folder` is called: by its folder, which is unique, and by its own name.
fn shown(folder: &str, vdi: Option<&Vdi>) -> String {
    let name = vdi.map(|vdi| plain_name(&vdi.name)).unwrap_or_default();
    let folder = plain_name(folder);
    if name.is_empty() { folder } else { format!("{folder} {name}") }
}

/// The disk that has these `blocks`.
fn open_disk(
    file: &Located,
    name: &str,
    blocks: Blocks,
    findings: Vec<Finding>,
    pool: &Arc<CachePool>,
) -> DiskImage {
    let context = ImageContext::of(&[], pool);
    findings.into_iter().for_each(|finding| context.log().add(finding));
    let part = Located {
        device: Arc::clone(&file.device),
        name: format!("{}/{name}", file.name),
        files: Arc::clone(&file.files),
    };
    DiskImage::new("xva", Arc::new(Mapped::new(XvaDisk { blocks })), &part, &context)
}

/// The disks that the description at `at` of `file` has.
fn description(file: &dyn BlockDevice, at: u64, size: u64) -> BlockResult<Vec<Vdi>> {
    if size > MAX_DESCRIPTION {
        return Err(BlockError::unsupported(format!("has {size} bytes")));
    }
    check_range(at, bytes_to_index(size)?, file.size())?;
    let mut bytes = vec![0; bytes_to_index(size)?];
    keep(|| file.read_at(at, &mut bytes))?;
    manifest::read(&bytes)
}

/// How the checksum of a block is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Sha1,
    Xxh64,
}

/// A block, as its header in the archive tells.
#[derive(Clone, Copy, Debug)]
struct Block {
    number: u32,
    size: u32,
    at: u64,
    /// Where its checksum is.
    sum: Option<SumAt>,
    state: State,
}

/// A checksum, as its header in the archive tells.
#[derive(Clone, Copy, Debug)]
struct SumAt {
    kind: Sum,
    at: u64,
}

/// What becomes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Only its checksum is there.
    Lost,
    /// There are several of one number.
    Repeated,
}

/// What the archive has of one disk, in its order.
#[derive(Default)]
struct Notes {
    blocks: Vec<Block>,
    /// Checksums that do not follow their block.
    sums: Vec<(u32, SumAt)>,
    /// Whether the numbers of the blocks go up.
    is_ordered: bool,
    /// Why the disk is not read.
    refusal: Option<&'static str>,
}

impl Notes {
    fn new() -> Self {
        Self { is_ordered: true, ..Self::default() }
    }

    /// Adds the member `number` of the disk, which is a block or of the checksum `kind`.
    fn add(&mut self, number: u32, kind: Option<Sum>, member: &Member) {
        self.refusal = self.refusal.or(member.refusal);
        let Some(kind) = kind else {
            let size = u32::try_from(member.size).unwrap_or(u32::MAX);
            self.is_ordered &= self.blocks.last().is_none_or(|last| last.number < number);
            let block = Block { number, size, at: member.at, sum: None, state: State::Good };
            self.blocks.push(block);
            return;
        };
        let sum = SumAt { kind, at: member.at };
        match self.blocks.last_mut() {
            Some(last) if last.number == number && last.sum.is_none() => last.sum = Some(sum),
            _ => self.sums.push((number, sum)),
        }
    }

    /// The blocks by their numbers, each once, with their checksums.
    fn into_blocks(mut self) -> BlockResult<Vec<Block>> {
        if let Some(refusal) = self.refusal {
            return Err(BlockError::unsupported(refusal));
        }
        self.blocks.sort_by_key(|block| block.number);
        self.blocks.dedup_by(|next, first| {
            let is_same = next.number == first.number;
            if is_same {
                first.state = State::Repeated;
                // A block of another size moves all that come after it.
                first.size = if first.size == next.size { first.size } else { u32::MAX };
            }
            is_same
        });
        let mut lost = Vec::new();
        for (number, sum) in self.sums {
            let found = self.blocks.binary_search_by_key(&number, |block| block.number);
            match found.ok().and_then(|index| self.blocks.get_mut(index)) {
                Some(block) => block.sum = block.sum.or(Some(sum)),
                None => lost.push(number),
            }
        }
        lost.sort_unstable();
        lost.dedup();
        let lost = lost.into_iter().map(|number| Block {
            number,
            size: 0,
            at: 0,
            sum: None,
            state: State::Lost,
        });
        self.blocks.extend(lost);
        self.blocks.sort_by_key(|block| block.number);
        Ok(self.blocks)
    }
}

/// What is found on the way through an archive.
#[derive(Default)]
struct Found {
    description: Option<(u64, u64)>,
    disks: BTreeMap<String, Notes>,
    damage: Option<BlockError>,
}

impl Found {
    /// Notes `member` if it is a part of a disk, or the description.
    fn add(&mut self, member: Member) {
        if member.name == DESCRIPTION {
            self.description.get_or_insert((member.at, member.size));
            return;
        }
        let Some((folder, number, kind)) = part_of_disk(&member.name) else { return };
        if !self.disks.contains_key(folder) {
            if self.disks.len() >= MAX_DISKS {
                let line = format!("XVA export has more than {MAX_DISKS} disks");
                self.damage.get_or_insert(BlockError::unsupported(line));
                return;
            }
            self.disks.insert(folder.to_owned(), Notes::new());
        }
        if let Some(notes) = self.disks.get_mut(folder) {
            notes.add(number, kind, &member);
        }
    }
}

/// The folder of the disk that the member `name` is a part of, the number of the block, and the kind of
/// checksum that it is; `None` if it is something else.
fn part_of_disk(name: &str) -> Option<(&str, u32, Option<Sum>)> {
    let (folder, file) = name.rsplit_once('/')?;
    let (digits, kind) = match file.split_once('.') {
        None => (file, None),
        Some((digits, "checksum")) => (digits, Some(Sum::Sha1)),
        Some((digits, "xxhash")) => (digits, Some(Sum::Xxh64)),
        Some(_) => return None,
    };
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    Some((folder, number, kind))
}

/// The blocks of one disk, as a device of which only the places of blocks may be read.
struct Blocks {
    file: Arc<dyn BlockDevice>,
    size: u64,
    /// The size of every block but the last, not 0.
    block_size: u32,
    /// By their numbers, which are counted without those that are no part of the disk.
    blocks: Vec<Block>,
    /// A bit for each of `blocks`: its checksum fits.
    proven: Vec<AtomicU64>,
    /// Where the last block ends.
    end: u64,
}

impl Blocks {
    /// The blocks that `notes` of `file` tell of, and what is to be said of them. The disk has `size` bytes,
    /// if that is known. Whether the archive `is_whole` decides what a number that is not there means.
    fn of(
        notes: Notes,
        file: &Arc<dyn BlockDevice>,
        size: Option<u64>,
        is_whole: bool,
    ) -> BlockResult<(Self, Vec<Finding>)> {
        let corrupt = |line: String| Err(BlockError::new(BlockErrorKind::Corrupt, line));
        if !notes.is_ordered && !is_whole {
            return corrupt(
                "its blocks are in no order and the export is damaged, so holes cannot be told from \
                 what is missing"
                    .to_owned(),
            );
        }
        let mut blocks = notes.into_blocks()?;
        let first = blocks.first().filter(|first| first.number == 0);
        let block_size = match first.map(|first| first.size) {
            Some(size) if (1..=MAX_BLOCK).contains(&size) && size % 512 == 0 => size,
            Some(size) => return corrupt(format!("its first block has {size} bytes")),
            None => {
                return corrupt("its first block, which tells their size, is missing".to_owned());
            }
        };
        let last = blocks.len().saturating_sub(1);
        let mut fillers: u32 = 0;
        for (index, block) in blocks.iter_mut().enumerate() {
            let number = block.number;
            block.number = number.saturating_sub(fillers);
            match block.size {
                _ if block.state == State::Lost => block.size = block_size,
                0 => {
                    // One that lost its bytes would move all that come after it.
                    if let Err(error) = prove(&**file, block, &[]) {
                        return Err(error.within(&format!("its block {number}, which is empty")));
                    }
                    fillers = fillers.saturating_add(1);
                }
                size if size == block_size || (index == last && size < block_size) => {}
                _ if block.state == State::Repeated => {
                    return corrupt(format!("its block {number} is there with several sizes"));
                }
                size => {
                    let line =
                        format!("its block {number} has {size} bytes, the first one {block_size}");
                    return corrupt(line);
                }
            }
        }
        blocks.retain(|block| block.size > 0);
        let end = blocks.last().map_or(0, |last| {
            u64::from(last.number)
                .saturating_mul(block_size.into())
                .saturating_add(last.size.into())
        });
        if let Some(lost) = blocks.iter().find(|block| block.state == State::Lost)
            && size != Some(end)
        {
            // If it had 0 bytes all that come after it have other places.
            let number = lost.number;
            return corrupt(format!("its block {number} is missing, its checksum is there"));
        }
        let findings = findings(&blocks, size, end, is_whole);
        let proven = blocks.chunks(64).map(|_| AtomicU64::new(0)).collect();
        let (file, size) = (Arc::clone(file), size.unwrap_or(end));
        Ok((Self { file, size, block_size, blocks, proven, end }, findings))
    }

    /// The block that has the byte at `offset` and its index, or how far there is none.
    fn find(&self, offset: u64) -> Result<(usize, Block), u64> {
        let number = offset.checked_div(self.block_size.into()).unwrap_or(0);
        let index = self.blocks.partition_point(|block| u64::from(block.number) < number);
        match self.blocks.get(index) {
            Some(block) if u64::from(block.number) == number => Ok((index, *block)),
            Some(next) => Err(self.start(next).saturating_sub(offset)),
            None => Err(u64::MAX),
        }
    }

    /// Where `block` begins on the disk.
    fn start(&self, block: &Block) -> u64 {
        u64::from(block.number).saturating_mul(self.block_size.into())
    }

    /// Fills `buf` with the bytes of `block`, which is number `index`, from `skip` on.
    ///
    /// # Errors
    /// `Corrupt` if the block does not match its checksum.
    fn read_block(
        &self,
        index: usize,
        block: &Block,
        skip: u64,
        buf: &mut [u8],
    ) -> BlockResult<()> {
        let bit = 1_u64.wrapping_shl(u32::try_from(index % 64).unwrap_or(0));
        let proven = self.proven.get(index / 64);
        let is_proven = proven.is_none_or(|word| word.load(Ordering::Relaxed) & bit != 0)
            || block.sum.is_none();
        if is_proven {
            return self.file.read_at(block.at.saturating_add(skip), buf);
        }
        let size = bytes_to_index(block.size.into())?;
        if buf.len() == size {
            keep(|| self.file.read_at(block.at, buf))?;
            prove(&*self.file, block, buf)?;
        } else {
            let mut whole = vec![0; size];
            keep(|| self.file.read_at(block.at, &mut whole))?;
            prove(&*self.file, block, &whole)?;
            let start = bytes_to_index(skip)?;
            let part = start.checked_add(buf.len()).and_then(|end| whole.get(start..end));
            let part = part.ok_or_else(|| BlockError::out_of_range(skip, 1, block.size.into()))?;
            buf.copy_from_slice(part);
        }
        if let Some(word) = proven {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Compares `bytes`, which are those of `block` of the archive `file`, with its checksum.
///
/// # Errors
/// `Corrupt` if they have another one.
fn prove(file: &dyn BlockDevice, block: &Block, bytes: &[u8]) -> BlockResult<()> {
    let Some(sum) = block.sum else { return Ok(()) };
    let mut digits = [0; 40];
    let length = if sum.kind == Sum::Sha1 { 40 } else { 16 };
    let digits = digits.get_mut(..length).unwrap_or_default();
    keep(|| file.read_at(sum.at, digits))?;
    let wanted = HEXLOWER_PERMISSIVE.decode(digits.trim_ascii());
    let is_it = wanted.is_ok_and(|wanted| match sum.kind {
        Sum::Sha1 => wanted == Sha1::digest(bytes).as_slice(),
        Sum::Xxh64 => wanted == XxHash64::oneshot(0, bytes).to_be_bytes(),
    });
    if is_it {
        return Ok(());
    }
    let line = "block of the XVA export does not match its checksum; copy the export again";
    Err(BlockError::corrupt(line, block.at, 0))
}

/// What is to be said of `blocks`, the last of which ends at `end` of a disk of `size` bytes.
fn findings(blocks: &[Block], size: Option<u64>, end: u64, is_whole: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has = |state| blocks.iter().any(|block| block.state == state);
    if has(State::Repeated) {
        let line = "the export has blocks of it more than once; these are errors";
        findings.push(Finding::error(code::BACKUP_BLOCKS_REPEATED, line));
    }
    if has(State::Lost) {
        let line = "the export has checksums of blocks that are not there; these are errors";
        findings.push(Finding::error(code::BACKUP_BLOCKS_MISSING, line));
    }
    match size {
        Some(size) if end < size => {
            let line = format!(
                "the blocks in the export end at byte {end} of {size}, though the last one is never \
                 left out; what is missing is an error"
            );
            findings.push(Finding::error(code::BACKUP_BLOCKS_MISSING, line));
        }
        Some(size) if end > size => {
            let line = format!(
                "ova.xml says that it has {size} bytes, and its blocks end at {end}; those past the \
                 size are not shown"
            );
            findings.push(Finding::warning(code::BACKUP_SIZE_DOUBTFUL, line));
        }
        None => {
            let so = if is_whole { "its size is" } else { "the export is damaged, and its size" };
            let line = format!("{so} taken from its last block: ova.xml does not tell it");
            findings.push(Finding::warning(code::BACKUP_SIZE_DOUBTFUL, line));
        }
        Some(_) => {}
    }
    findings
}

impl BlockDevice for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (index, block) =
                self.find(offset).map_err(|_| BlockError::out_of_range(offset, 1, self.end))?;
            let skip = offset.saturating_sub(self.start(&block));
            let left = u64::from(block.size).saturating_sub(skip);
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            if length == 0 {
                return Err(BlockError::out_of_range(offset, 1, self.end));
            }
            let (part, after) = rest.split_at_mut(length);
            self.read_block(index, &block, skip, part)?;
            offset = offset.saturating_add(byte_count(length));
            rest = after;
        }
        Ok(())
    }
}

/// A disk in an export.
struct XvaDisk {
    blocks: Blocks,
}

impl Map for XvaDisk {
    fn size(&self) -> u64 {
        self.blocks.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let fail = |line: &'static str, length| {
            let error = BlockError::new(BlockErrorKind::Corrupt, line);
            Ok(Piece::new(Place::Fail(error), length))
        };
        if offset >= self.blocks.end {
            let line = "block is not in the XVA export, which is cut off; copy the export again";
            return fail(line, u64::MAX);
        }
        let (_, block) = match self.blocks.find(offset) {
            Ok(found) => found,
            Err(length) => return Ok(Piece::new(Place::Zero, length)),
        };
        let skip = offset.saturating_sub(self.blocks.start(&block));
        let left = u64::from(block.size).saturating_sub(skip);
        let end = block.at.saturating_add(block.size.into());
        match block.state {
            State::Lost => fail("block of the XVA export is missing, its checksum is there", left),
            State::Repeated => fail("block is in the XVA export more than once", left),
            State::Good if end > self.blocks.file.size() => {
                fail("block of the XVA export is cut off; copy the export again", left)
            }
            State::Good => Ok(Piece::new(Place::Stored(&self.blocks, offset), left)),
        }
    }
}
