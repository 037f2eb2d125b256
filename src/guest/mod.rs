//! What the files of a volume say of the system that is installed on it.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub mod hive;

pub mod windows;
