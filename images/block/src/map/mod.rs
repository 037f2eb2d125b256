//! Say where, read once: what an image format, a volume layout or an overlay has to write.
//!
//! A [`Map`] answers one question: where are the bytes at an offset, and how far do they lie
//! together? [`Mapped`] is the device over it. It splits a request at the borders of pieces, joins
//! pieces that follow each other in one device into one request, decodes units once and keeps them
//! in the shared cache, and derives holes and hints from the same answers, so that none of them can
//! disagree with a read.
//!
//! ```text
//!  read_at(offset, buf)
//!    locate -> At(disk 1, 4096), 64 KiB      -+- one vectored read of disk 1
//!    locate -> At(disk 2, 4096), 64 KiB       |  one read of disk 2
//!    locate -> At(disk 1, 69632), 64 KiB     -+
//!    locate -> Zero, 1 MiB                       filled
//!    locate -> Decode { unit: 7, skip: 512 }     from the cache, or decoded into it
//!    locate -> Fail(error)                       the request fails, and nothing else does
//! ```

mod mapped;
mod place;
mod request;
mod slice;
#[cfg(test)]
mod tests;
mod units;

pub use mapped::Mapped;
pub use place::{Map, Piece, Place};
pub use slice::{Slice, SliceOf};
