//! What every layer of volfold stands on, and nothing else.
//!
//! A [`BlockDevice`] gives bytes at positions. A [`Map`] says where the bytes of a device are, and
//! [`Mapped`] reads through it: image formats, volume layouts and overlays write a map, not a loop.
//! [`ByteReader`] reads structures whose layout varies, [`Span`] owns the arithmetic of offsets,
//! [`Finding`] is what a layer noticed and went on, [`guard`] turns a panic into an error.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub mod ahead;
mod bytes;
mod cache;
mod confidence;
mod device;
mod error;
mod finding;
mod guard;
mod map;
mod sector_cache;
mod span;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub mod code;

pub use bytes::{ByteReader, byte_count, bytes_to_index};
pub use cache::{CachePool, DeviceKey};
pub use code::Code;
pub use confidence::{Confidence, surest};
pub use device::{
    BlockDevice, Extent, ExtentKind, MemoryDevice, check_range, data_to_the_end, total_length,
};
pub use error::{BlockError, BlockErrorKind, BlockResult, error_chain};
pub use finding::{Finding, Severity};
pub use guard::{Panicked, guard};
pub use map::{Map, Mapped, Piece, Place, Slice, SliceOf};
pub use sector_cache::SectorCache;
pub use span::Span;
