//! Compressed clusters.
//!
//! Specification: QEMU, docs/interop/qcow2.txt, "Compressed Clusters Descriptor". A cluster is one
//! deflate stream without a header (RFC 1951), or one frame of Zstandard (RFC 8878). Versions 2 and 3
//! tell where its sectors are, and not where in the last of them it ends; version 1 tells its bytes.
//!
//! Neither has a checksum as QEMU writes it. What does not end where it should, or does not give
//! exactly a cluster, is an error.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};
use volfold_block::{BlockDevice, BlockError, BlockResult, bytes_to_index};

use super::header::Compression;
use crate::zstd;

/// What a thread keeps for the next cluster.
#[derive(Default)]
struct Scratch {
    packed: Vec<u8>,
    inflater: Option<Decompress>,
}

thread_local! {
    /// Taken while in use: the device below may need a cluster of another image.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// One compressed cluster.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) file: &'a dyn BlockDevice,
    /// Where it begins.
    pub(super) at: u64,
    /// How many bytes it may have; at most two clusters, as the width of the field is.
    pub(super) length: u64,
    pub(super) compression: Compression,
}

impl Packed<'_> {
    /// Fills `out`, which has the size of a cluster.
    ///
    /// # Errors
    /// `Corrupt` if that is not what the compressed bytes give.
    pub(super) fn read(self, out: &mut [u8]) -> BlockResult<()> {
        // The last sector need not be there as a whole.
        let length = self.length.min(self.file.size().saturating_sub(self.at));
        if length == 0 {
            return Err(self.corrupt("compressed cluster lies behind the end of the file"));
        }
        let kept = SCRATCH.try_with(Cell::take);
        let mut scratch = kept.ok().flatten().unwrap_or_default();
        let Scratch { packed, inflater } = &mut scratch;
        packed.resize(bytes_to_index(length)?, 0);
        let result = self.file.read_at(self.at, packed).and_then(|()| match self.compression {
            Compression::Zlib => {
                self.inflate(inflater.get_or_insert_with(|| Decompress::new(false)), packed, out)
            }
            Compression::Zstd => zstd::decode(packed, out)?.map_err(|broken| {
                BlockError::corrupt(format!("compressed cluster {}", broken.words()), self.at, 0)
            }),
        });
        // A thread that is about to end keeps nothing.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        result
    }

    fn corrupt(self, sentence: &'static str) -> BlockError {
        BlockError::corrupt(sentence, self.at, 0)
    }

    fn inflate(self, inflater: &mut Decompress, data: &[u8], out: &mut [u8]) -> BlockResult<()> {
        inflater.reset(false);
        let status = inflater.decompress(data, out, FlushDecompress::Finish);
        let status = status.map_err(|error| {
            self.corrupt("compressed cluster cannot be inflated").because(error)
        })?;
        let is_whole = usize::try_from(inflater.total_out()).is_ok_and(|made| made == out.len());
        match status {
            Status::StreamEnd if is_whole => Ok(()),
            Status::StreamEnd => Err(self.corrupt("compressed cluster is too short")),
            _ if is_whole => Err(self.corrupt("compressed cluster does not end where it should")),
            _ => Err(self.corrupt("compressed cluster is cut short")),
        }
    }
}
