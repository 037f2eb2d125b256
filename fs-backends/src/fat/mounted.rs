//! A mounted FAT volume: how directories are listed, and content is found.

use std::sync::Arc;

use volfold_block::{BlockDevice, Code, Finding, FindingLog, byte_count, bytes_to_index, code};

use super::boot::{Boot, FatKind, Root, label_text};
use super::chain::{Chain, root_directory};
use super::dir::{Listing, MAX_DIRECTORY, RawEntry};
use super::probe;
use super::table::{Compared, Table};
use crate::clusters::chain::{ChainEnd, Link};
use crate::clusters::claims::{Claim, Claims};
use crate::clusters::content::{ChainCodes, Teller};
use crate::clusters::finding::{ENTRY, finding_of};
use crate::clusters::listings::Listings;
use crate::clusters::serial::serial_text;
use crate::code_page::CodePage;
use crate::driver::{ReadOptions, VolumeReader};
use crate::error::{FsError, FsResult};
use crate::extents::{BytesFile, ExtentFile, Extents};
use crate::kept::Memory;
use crate::node::{Attributes, CaseRule, FileData, FileKind, FsInfo, Metadata, NodeId};

pub(super) const ROOT: NodeId = NodeId(1);
const CHAIN_CODES: ChainCodes = ChainCodes {
    long: code::FAT_CHAIN_LONG,
    short: code::FAT_CHAIN_SHORT,
    crossed: code::FAT_CROSS_LINK,
};

/// A mounted FAT volume.
pub(super) struct FatFileSystem {
    pub(super) reader: VolumeReader,
    pub(super) boot: Boot,
    pub(super) info: FsInfo,
    pub(super) compared: Compared,
    pub(super) claims: Claims,
    /// What was noticed since the volume was mounted.
    pub(super) log: FindingLog,
    pub(super) options: ReadOptions,
    listings: Listings<Opened>,
}

/// A directory with its names.
pub(super) struct Opened {
    pub(super) extents: Extents,
    pub(super) listing: Listing,
    /// What could not be read, if the listing is not whole.
    pub(super) damage: Option<String>,
}

impl Memory for Opened {
    fn memory(&self) -> u64 {
        self.listing.memory()
    }
}

impl FatFileSystem {
    pub(super) fn mount(reader: VolumeReader, options: ReadOptions) -> FsResult<Self> {
        let (boot, mut findings) = probe::require(&*reader.metadata)?;
        let volume_size = reader.data.size();
        if boot.size > volume_size {
            findings.push(Finding::warning(
                code::FAT_TRUNCATED,
                format!("file system has {} bytes, its volume only {volume_size}", boot.size),
            ));
        }
        let is_closed = is_closed(&reader, &boot).unwrap_or_else(|error| {
            findings
                .push(Finding::warning(code::FAT_TABLE, format!("table cannot be read: {error}")));
            true
        });
        if boot.is_dirty || !is_closed {
            findings.push(Finding::warning(code::FAT_DIRTY, "volume was not closed cleanly"));
        }
        let info = FsInfo {
            uuid: boot.serial.map(serial_text),
            case: CaseRule::Insensitive,
            findings,
            ..FsInfo::new(boot.kind.id(), boot.cluster_size, boot.size)
        };
        let mut mounted = Self {
            reader,
            compared: Compared::new(&boot),
            claims: Claims::new(&boot.heap())?,
            log: FindingLog::new(),
            options,
            boot,
            info,
            listings: Listings::new()?,
        };
        match mounted.opened(ROOT) {
            Ok(root) => {
                // Like Windows and blkid, the label is the one in the root directory; that in the
                // boot sector is what it was when the volume was made.
                mounted.info.label = root.listing.label.as_ref().and_then(label_text);
            }
            Err(error) => {
                let finding = Finding::warning(
                    code::FAT_ROOT,
                    format!("root directory cannot be read: {error}"),
                );
                mounted.info.findings.push(finding);
                mounted.info.label = mounted.boot.label.clone();
            }
        }
        Ok(mounted)
    }

    /// The short entry of `node`.
    pub(super) fn entry(&self, node: NodeId) -> FsResult<RawEntry> {
        RawEntry::parse(&self.entry_bytes(node)?).ok_or_else(FsError::not_found)
    }

    /// What is where the short entry of `node` is.
    pub(super) fn entry_bytes(&self, node: NodeId) -> FsResult<[u8; ENTRY]> {
        let position = node
            .0
            .checked_mul(byte_count(ENTRY))
            .filter(|position| self.can_hold_entries(*position))
            .ok_or_else(FsError::not_found)?;
        let mut bytes = [0; ENTRY];
        self.reader.metadata.read_at(position, &mut bytes)?;
        Ok(bytes)
    }

    fn can_hold_entries(&self, position: u64) -> bool {
        let in_root = match self.boot.root {
            Root::Fixed { position: start, length } => {
                position.checked_sub(start).is_some_and(|offset| offset < length)
            }
            Root::Chain(_) => false,
        };
        let end = position.saturating_add(byte_count(ENTRY));
        (in_root || position >= self.boot.data) && end <= self.reader.metadata.size()
    }

    /// The 8.3 name of `entry`, for messages.
    pub(super) fn short_name(&self, entry: &RawEntry) -> String {
        entry.short_name(self.options.code_page)
    }

    pub(super) fn is_fat32(&self) -> bool {
        self.boot.kind == FatKind::Fat32
    }

    /// The first cluster of the root directory; 0 if it has a place of its own.
    fn root_cluster(&self) -> u32 {
        match self.boot.root {
            Root::Fixed { .. } => 0,
            Root::Chain(first) => first,
        }
    }

    /// The names of the directory `dir`.
    ///
    /// # Errors
    /// `NotADirectory`; `Corrupt` if its clusters are those of another; why it cannot be read.
    pub(super) fn opened(&self, dir: NodeId) -> FsResult<Arc<Opened>> {
        self.listings.get(dir, || self.read_directory(dir))
    }

    fn read_directory(&self, dir: NodeId) -> FsResult<Opened> {
        let device = &*self.reader.metadata;
        let entry = if dir == ROOT { None } else { Some(self.entry(dir)?) };
        let (first, chain) = match &entry {
            None => (self.root_cluster(), root_directory(device, &self.boot, &self.compared)?),
            Some(entry) if !entry.is_directory() => return Err(FsError::not_a_directory()),
            Some(entry) => {
                let first = entry.first_cluster(self.is_fat32());
                (first, self.boot.follow_directory(device, &self.compared, first)?)
            }
        };
        let name =
            entry.map_or_else(|| "root directory".to_owned(), |entry| self.short_name(&entry));
        let note = |code, line: &str| self.log.add(finding_of(dir, &name, code, line));
        note_tables(&chain, &note);
        let mut fault = match chain.end {
            ChainEnd::Whole(Link::Next(_)) => Some("is longer than 524,288 entries"),
            end => end.fault(),
        };
        let mut opened = list(device, chain.extents, self.options.code_page)?;
        if dir != ROOT {
            // Before its clusters are taken: what is refused takes nothing from whom it belongs to.
            self.check_dots(dir, first, &opened.listing, &note)?;
        }
        if first != 0 {
            match self.claims.take(&self.boot.heap(), dir, first, &opened.extents) {
                Claim::Whole => {}
                Claim::UpTo(offset) if offset > 0 => {
                    opened.extents.truncate(offset);
                    opened = list(device, opened.extents, self.options.code_page)?;
                    fault = Some("leads into the clusters of another file");
                    note(code::FAT_CROSS_LINK, "cluster chain leads into that of another file");
                }
                Claim::TooMany => {
                    return Err(FsError::unsupported("volume has too many directories"));
                }
                Claim::UpTo(_) | Claim::Foreign => {
                    note(code::FAT_CROSS_LINK, "directory has the clusters of another");
                    return Err(FsError::corrupt("directory has the clusters of another"));
                }
            }
        }
        if let Some(damage) = &opened.damage {
            note(code::FAT_DIRECTORY, &format!("directory can be read in part only: {damage}"));
        }
        // A directory that ends before its chain is whole, however long the chain is.
        let is_too_long = matches!(chain.end, ChainEnd::Whole(Link::Next(_)));
        let fault = fault.filter(|_| !(is_too_long && opened.listing.is_ended));
        if let Some(fault) = fault.filter(|_| opened.damage.is_none()) {
            if !opened.listing.is_ended {
                opened.damage = Some(format!("its cluster chain {fault}"));
            }
            note(code::FAT_CHAIN_SHORT, &format!("cluster chain of the directory {fault}"));
        }
        for short in &opened.listing.lost_long_names {
            let line = format!(
                "the long name before {short} is damaged or of another entry; the short name is used"
            );
            note(code::FAT_LONG_NAME, &line);
        }
        for name in &opened.listing.given_names {
            let line =
                format!("an entry without a name, or with that of another, is shown as {name}");
            note(code::FAT_NAME, &line);
        }
        if opened.listing.has_more {
            note(
                code::FAT_DIRECTORY,
                "names lie after the end of the directory, and are not listed",
            );
        }
        self.name_directories(first, &opened);
        Ok(opened)
    }

    /// Compares `.` and `..` of the directory `dir`, whose chain begins with `first`, with the entry
    /// that leads to it.
    fn check_dots(
        &self,
        dir: NodeId,
        first: u32,
        listing: &Listing,
        note: &dyn Fn(Code, &str),
    ) -> FsResult<()> {
        let cluster = |entry: &RawEntry| entry.first_cluster(self.is_fat32());
        if listing.own.as_ref().map(cluster) != Some(first) {
            let what = "directory does not begin with an entry for itself";
            note(code::FAT_DIRECTORY, what);
            return Err(FsError::corrupt(what).at(self.boot.heap().position(first)?));
        }
        let Some(parent) = self.claims.parent_of(dir, first) else { return Ok(()) };
        let is_root = |cluster: u32| cluster == 0 || cluster == self.root_cluster();
        match listing.above.as_ref().map(cluster) {
            Some(above) if above == parent || (is_root(above) && is_root(parent)) => Ok(()),
            // QUIRK: some writers name the directory itself, which says nothing of another.
            Some(above) if above == first => {
                note(code::FAT_DIRECTORY, "entry `..` of the directory leads to itself");
                Ok(())
            }
            Some(above) if !is_root(above) && self.is_directory_at(above) => {
                let what = "directory belongs to another one by its entry `..`";
                note(code::FAT_DIRECTORY, what);
                Err(FsError::corrupt(what).at(self.boot.heap().position(first)?))
            }
            _ => {
                note(code::FAT_DIRECTORY, "entry `..` of the directory is wrong");
                Ok(())
            }
        }
    }

    /// Whether `cluster` begins with the entry for itself that a directory begins with.
    pub(super) fn is_directory_at(&self, cluster: u32) -> bool {
        self.dots_at(cluster).is_some_and(|(own, _)| own == cluster)
    }

    /// The clusters of the entries `.` and `..` that `cluster` begins with, of the second only if
    /// there is one.
    fn dots_at(&self, cluster: u32) -> Option<(u32, Option<u32>)> {
        // Each may have a long name.
        let mut bytes = [0; 4 * ENTRY];
        let position = self
            .boot
            .heap()
            .position(cluster)
            .ok()
            .filter(|_| self.boot.heap().has_cluster(cluster))?;
        self.reader.metadata.read_at(position, &mut bytes).ok()?;
        let listing = Listing::parse(&bytes, self.options.code_page);
        let cluster = |entry: &RawEntry| entry.first_cluster(self.is_fat32());
        Some((listing.own.as_ref().map(cluster)?, listing.above.as_ref().map(cluster)))
    }

    /// Notes whose the directories in `opened` are, which itself begins with `first`.
    fn name_directories(&self, first: u32, opened: &Opened) {
        for listed in opened.listing.entries.iter().filter(|listed| listed.raw.is_directory()) {
            let below = listed.raw.first_cluster(self.is_fat32());
            if let Some(node) = opened.node(listed.offset)
                && self.boot.heap().has_cluster(below)
                && !self.claims.name_directory(node, below, first)
                && !self.claims_by_dots(node, below, first)
            {
                let name = String::from_utf8_lossy(&listed.name);
                let line = "directory has the clusters of another";
                self.log.add(finding_of(node, &name, code::FAT_CROSS_LINK, line));
            }
        }
    }

    /// Gives the chain that begins with `below` to `node` after another name for it was met, if its
    /// entry `..` tells that only `parent`, which names `node`, can have it.
    fn claims_by_dots(&self, node: NodeId, below: u32, parent: u32) -> bool {
        let above = self.dots_at(below).and_then(|(_, above)| above);
        above == Some(parent) && self.claims.rename_directory(node, below, parent)
    }

    /// The content of the file `node`; what is odd about it is given to `note`.
    ///
    /// # Errors
    /// Why the table cannot be read.
    pub(super) fn content(
        &self,
        node: NodeId,
        entry: &RawEntry,
        note: &dyn Fn(Code, &str),
    ) -> FsResult<Arc<dyn FileData>> {
        let size = entry.size();
        let first = entry.first_cluster(self.is_fat32());
        if size == 0 {
            if first != 0 {
                note(code::FAT_CHAIN_LONG, "file has the size 0, and a cluster chain");
            }
            return Ok(Arc::new(BytesFile::new(Vec::new())));
        }
        let chain = self.boot.follow(&*self.reader.metadata, &self.compared, first, size)?;
        note_tables(&chain, note);
        let mut extents = chain.extents;
        let teller = Teller { codes: &CHAIN_CODES, note, log: &self.log };
        teller.tell_end(chain.end, extents.end(), size);
        let volume = (&self.claims, &self.boot.heap());
        teller.keep_own(volume, (node, first), &mut extents, size)?;
        Ok(Arc::new(ExtentFile::new(self.reader.data.clone(), extents, size, size)?))
    }

    pub(super) fn describe(&self, node: NodeId, entry: &RawEntry) -> Metadata {
        let size = if entry.is_directory() { 0 } else { entry.size() };
        let cluster = u64::from(self.boot.cluster_size);
        Metadata {
            size,
            allocated: size.checked_next_multiple_of(cluster).unwrap_or(size),
            times: entry.times(&self.options.time_zone),
            attributes: Some(Attributes(entry.attributes())),
            ..Metadata::new(node, kind(entry))
        }
    }
}

/// Tells where the two tables differ along `chain`, or one of them could not be read.
fn note_tables(chain: &Chain, note: &dyn Fn(Code, &str)) {
    if let Some(cluster) = chain.differing {
        let line = format!("the two tables differ about its cluster {cluster}");
        note(code::FAT_TABLES_DIFFER, &line);
    }
    if let Some(position) = chain.replaced {
        let line = format!("table cannot be read at byte {position}; the other one is used");
        note(code::FAT_TABLE_COPY, &line);
    }
}

/// Reads the directory in `extents`. Where a part of it cannot be read, the names before that
/// part are listed.
pub(super) fn list(device: &dyn BlockDevice, extents: Extents, page: CodePage) -> FsResult<Opened> {
    // LIMIT: a chain ends with the cluster that reaches `MAX_DIRECTORY`.
    let length = extents.end().min(MAX_DIRECTORY);
    let mut bytes = vec![0; bytes_to_index(length)?];
    let mut damage = None;
    if let Err(error) = extents.read(device, 0, &mut bytes) {
        let sector = 512;
        let mut readable: usize = 0;
        for (piece, offset) in bytes.chunks_mut(sector).zip((0..).step_by(sector)) {
            if extents.read(device, offset, piece).is_err() {
                break;
            }
            readable = readable.saturating_add(piece.len());
        }
        bytes.truncate(readable);
        damage = Some(error);
    }
    let listing = Listing::parse(&bytes, page);
    if listing.entries.is_empty()
        && !listing.is_ended
        && let Some(error) = damage
    {
        return Err(error);
    }
    let damage = damage.filter(|_| !listing.is_ended);
    Ok(Opened { extents, listing, damage: damage.map(|error| error.to_string()) })
}

fn kind(entry: &RawEntry) -> FileKind {
    if entry.is_directory() { FileKind::Directory } else { FileKind::Regular }
}

/// Whether the second entry of the table says that the volume was closed and read without errors.
fn is_closed(reader: &VolumeReader, boot: &Boot) -> FsResult<bool> {
    let flags = Table::new(&*reader.metadata, boot).entry(1)?;
    Ok(match boot.kind {
        FatKind::Fat12 => true,
        FatKind::Fat16 => flags & 0x8000 != 0,
        FatKind::Fat32 => flags & 0x0800_0000 != 0,
    })
}

impl Opened {
    /// The node whose short entry is at `offset` of the directory.
    pub(super) fn node(&self, offset: u64) -> Option<NodeId> {
        self.extents.position(offset)?.checked_div(byte_count(ENTRY)).map(NodeId)
    }
}
