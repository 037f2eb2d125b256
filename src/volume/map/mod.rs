//! Mapping devices: many devices as one. General, for every volume manager.
//!
//! Each is a [`volfold_block::Map`] over members that are block devices themselves, so they nest: a
//! mirror of stripes, a stripe whose columns are concatenations. A member that is not there is an
//! [`Absent`], whose reads name it. Reads that cross members are served one member after the other
//! on the caller's thread, a column of a stripe by one vectored read: docs/PERFORMANCE.md has the
//! measurement.

mod concat;
mod galois;
mod member;
mod mirror;
mod raid10;
mod raid5;
mod raid6;
mod stripe;

pub use concat::Concat;
pub(crate) use concat::one_after_the_other;
pub(crate) use member::split;
pub use member::{Absent, Comparison, Redundancy, RedundantParts, Zeros};
pub use mirror::Mirror;
pub use raid5::{Raid5, Raid5Layout};
pub use raid6::{Raid6, Raid6Layout};
pub use raid10::{Raid10, Raid10Layout};
pub use stripe::Stripe;
pub use volfold_block::Slice;
