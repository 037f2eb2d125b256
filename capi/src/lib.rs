//! volfold for C.
//!
//! `include/volfold.h` is the interface, and `docs/C.md` says how it is used. This crate has nothing for
//! Rust, where the crate `volfold` is the library: its functions are exported for C, and the header is
//! made of them by cbindgen.
//!
//! Each function does its work in `status::call`, which turns errors and panics into a status and
//! keeps the message for the thread. Handles are those of a [`Table`](volfold_capi_support::Table), so
//! wrong ones are refused; the structs that are given out are [`Blocks`](volfold_capi_support::Blocks).
//!
//! **Safety** of every exported function: what C passes as a pointer to text, to memory or to a place
//! for a result is NULL or leads to what the header says. Handles, and pointers that are freed, may be
//! any numbers.

#![expect(
    unsafe_op_in_unsafe_fn,
    clippy::missing_safety_doc,
    reason = "the functions have one contract with C, which stands above; `foreign` heeds it"
)]

pub mod directory;
pub mod disk;
pub mod file;
pub mod mount;
mod objects;
pub mod options;
pub mod set;
pub mod status;
pub mod types;
pub mod version;
pub mod volume;
