//! What every layer of volfold stands on, and nothing else.
//!
//! A [`BlockDevice`] gives bytes at positions. A [`Map`] says where the bytes of a device are, and
//! [`Mapped`] reads through it: image formats, volume layouts and overlays write a map, not a loop.
//! [`ByteReader`] reads structures whose layout varies, [`Span`] owns the arithmetic of offsets,
//! [`Finding`] is what a layer noticed and went on, [`guard`] turns a panic into an error.
//!
//! A device whose second half comes first, and its zeros nowhere:
//!
//! ```
//! use volfold_block::{BlockDevice, BlockResult, Map, Mapped, MemoryDevice, Piece, Place};
//!
//! struct Swapped(MemoryDevice);
//!
//! impl Map for Swapped {
//!     fn size(&self) -> u64 {
//!         3072
//!     }
//!
//!     fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
//!         Ok(match offset {
//!             0..1024 => Piece::new(Place::At(&self.0, 1024 + offset), 1024 - offset),
//!             1024..2048 => Piece::new(Place::At(&self.0, offset - 1024), 2048 - offset),
//!             _ => Piece::new(Place::Zero, 3072 - offset),
//!         })
//!     }
//! }
//!
//! # fn main() -> BlockResult<()> {
//! let bytes = [[1; 1024], [2; 1024]].concat();
//! let device = Mapped::new(Swapped(MemoryDevice::new(bytes)));
//! let mut read = [9; 1026];
//! device.read_at(1023, &mut read)?;
//! assert_eq!((read[0], read[1], read[1024], read[1025]), (2, 1, 1, 0));
//! # Ok(())
//! # }
//! ```
//!
//! [`ahead`] starts threads when a large request has units that are slow to decode, one less than
//! there are cores and at most four; [`ahead::set_threads`] with 0 forbids that.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub mod ahead;
mod buffer;
mod bytes;
mod cache;
mod confidence;
mod date;
mod device;
mod error;
mod finding;
mod guard;
mod keep;
mod map;
mod sector_cache;
mod span;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub mod code;

pub use buffer::ReadBuffer;
pub use bytes::{ByteReader, byte_count, bytes_to_index};
pub use cache::{CachePool, DeviceKey};
pub use code::{Code, CodeEntry};
pub use confidence::{Confidence, surest};
pub use date::date_of_day;
pub use device::{
    BlockDevice, Extent, ExtentKind, FileFacts, FileId, MemoryDevice, check_range, data_to_the_end,
    total_length,
};
pub use error::{BlockError, BlockErrorKind, BlockResult, error_chain};
pub use finding::{Finding, FindingLog, Severity};
pub use guard::{Panicked, guard};
pub use keep::{is_kept, keep};
pub use map::{Map, Mapped, Piece, Place, Slice, SliceOf};
pub use sector_cache::SectorCache;
pub use span::Span;
