//! Blocks with checksums, and those of them that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, byte_count};

use super::node::{BLOCK_SIZE, Node};

/// LIMIT: nodes of trees that are kept, of all pools of a set: 4 MiB.
const KEPT: usize = 1024;

/// What a block is: each kind has a number that its checksum is mixed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum BlockKind {
    /// The superblock of a thin pool.
    ThinSuperblock,
    /// The superblock of a cache.
    CacheSuperblock,
    /// A node of a B-tree.
    Node,
    /// A block of an array.
    Array,
}

impl BlockKind {
    fn mix(self) -> u32 {
        match self {
            Self::ThinSuperblock => 160_774,
            Self::CacheSuperblock => 9_031_977,
            Self::Node => 121_107,
            Self::Array => 595_846_735,
        }
    }

    /// Where the number of the block is in it.
    fn number_at(self) -> usize {
        match self {
            Self::Array => 16,
            _ => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ThinSuperblock => "superblock of the thin pool",
            Self::CacheSuperblock => "superblock of the cache",
            Self::Node => "node of the tree",
            Self::Array => "block of the array",
        }
    }
}

/// The checksum of a block of `kind`: CRC-32C without the last inversion, mixed with the number of the kind.
pub(super) fn checksum(bytes: &[u8], kind: BlockKind) -> u32 {
    !crc32c::crc32c(bytes) ^ kind.mix()
}

/// A node with the number of its device and its block.
type Slot = Mutex<Option<(usize, u64, Arc<Node>)>>;

/// The nodes that are kept, each in the one slot that its number leads to.
pub(in super::super) struct Nodes {
    slots: Vec<Slot>,
    /// How many devices of metadata there are.
    owners: AtomicUsize,
}

impl Nodes {
    /// None yet.
    pub(in super::super) fn new() -> Self {
        let slots = (0..KEPT).map(|_| Mutex::new(None)).collect();
        Self { slots, owners: AtomicUsize::new(0) }
    }

    fn slot(&self, owner: usize, block: u64) -> Option<&Slot> {
        let spread = usize::try_from(block % 1_000_003).unwrap_or(0);
        let place = spread.wrapping_add(owner.wrapping_mul(31)).checked_rem(self.slots.len())?;
        self.slots.get(place)
    }

    fn get(&self, owner: usize, block: u64) -> Option<Arc<Node>> {
        let slot = self.slot(owner, block)?.lock();
        let (kept_owner, kept, node) = slot.as_ref()?;
        (*kept_owner == owner && *kept == block).then(|| node.clone())
    }

    fn keep(&self, owner: usize, block: u64, node: &Arc<Node>) {
        if let Some(slot) = self.slot(owner, block) {
            *slot.lock() = Some((owner, block, node.clone()));
        }
    }
}

/// The blocks of a device of metadata.
#[derive(Clone)]
pub(in super::super) struct Blocks {
    device: Arc<dyn BlockDevice>,
    count: u64,
    nodes: Arc<Nodes>,
    owner: usize,
}

impl Blocks {
    /// The blocks of `device`, whose nodes are kept in `nodes`.
    pub(in super::super) fn new(device: Arc<dyn BlockDevice>, nodes: Arc<Nodes>) -> Self {
        let count = device.size() / BLOCK_SIZE;
        let owner = nodes.owners.fetch_add(1, Ordering::Relaxed);
        Self { device, count, nodes, owner }
    }

    /// Reads the block `number`, which must be of `kind`.
    ///
    /// # Errors
    /// `Corrupt` where checksum or number are wrong, or why it cannot be read.
    pub(in super::super) fn read(&self, number: u64, kind: BlockKind) -> BlockResult<Vec<u8>> {
        let at = number.saturating_mul(BLOCK_SIZE);
        let corrupt =
            |what: &str, field| BlockError::corrupt(format!("{} {what}", kind.name()), at, field);
        if number >= self.count {
            return Err(corrupt("lies outside of the metadata", 0));
        }
        let mut bytes = vec![0; 4096];
        self.device.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new(kind.name(), &bytes, at);
        let sum = reader.u32_le()?;
        if bytes.get(4..).map(|rest| checksum(rest, kind)) != Some(sum) {
            return Err(corrupt("has a bad checksum", 0));
        }
        let mut reader = ByteReader::new(kind.name(), &bytes, at);
        reader.skip(kind.number_at())?;
        if reader.u64_le()? != number {
            return Err(corrupt("is of another place", byte_count(kind.number_at())));
        }
        Ok(bytes)
    }

    /// The node of a tree in the block `number`.
    ///
    /// # Errors
    /// As [`Blocks::read`], and `Corrupt` where it contradicts itself.
    pub(super) fn node(&self, number: u64) -> BlockResult<Arc<Node>> {
        if let Some(node) = self.nodes.get(self.owner, number) {
            return Ok(node);
        }
        let bytes = self.read(number, BlockKind::Node)?;
        let node = Arc::new(Node::parse(bytes, number.saturating_mul(BLOCK_SIZE))?);
        self.nodes.keep(self.owner, number, &node);
        Ok(node)
    }
}
