//! Compressed clusters.
//!
//! Specification: QEMU, docs/interop/qcow2.txt, "Compressed Clusters Descriptor". A cluster is one
//! deflate stream without a header (RFC 1951), or one frame of Zstandard (RFC 8878). Versions 2 and 3
//! tell where its sectors are, and not where in the last of them it ends; version 1 tells its bytes.
//!
//! Neither has a checksum as QEMU writes it. What does not end where it should, or does not give
//! exactly a cluster, is an error.

use volfold_block::{BlockDevice, BlockError, BlockResult};

use super::header::Compression;
use crate::deflate::{Form, inflate};
use crate::packed::with_bytes;
use crate::zstd;

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
        let broken = |words: &str| self.corrupt(format!("compressed cluster {words}"));
        with_bytes(self.file, self.at, length, |packed| match self.compression {
            Compression::Zlib => inflate(Form::Raw, packed, out).map_err(|why| broken(why.words())),
            Compression::Zstd => zstd::decode(packed, out)?.map_err(|why| broken(why.words())),
        })
    }

    fn corrupt(self, sentence: impl Into<String>) -> BlockError {
        BlockError::corrupt(sentence.into(), self.at, 0)
    }
}
