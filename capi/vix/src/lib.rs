//! volfold behind the functions of VixMntapi and VixDiskLib.
//!
//! A program that was written for these libraries is compiled with the headers in `capi/include`, or as
//! it is, and linked with this one: names, layouts, numbers and the order of calls are theirs, and
//! `docs/C.md` says what each function does here. Nothing is written to an image, so what would is
//! refused. A volume is mounted by the program `volfold`.
//!
//! Each function does its work in `errors::call`, which turns errors and panics into a code and keeps
//! the message for the thread. Handles are those of a [`Table`](volfold_capi_support::Table), and what
//! is freed by the caller is one of [`Blocks`](volfold_capi_support::Blocks), so that bad use is a code.
//!
//! **Safety** of every exported function: what C passes as a pointer to text, to memory or to a place
//! for a result is NULL or leads to what the header says. Handles, and pointers that are freed, may be
//! any numbers.

#![expect(
    unsafe_op_in_unsafe_fn,
    clippy::missing_safety_doc,
    reason = "the functions have one contract with C, which stands above; `foreign` heeds it"
)]
#![expect(non_snake_case, reason = "the functions and fields have the names of VixMntapi")]

pub mod asynchronous;
pub mod connection;
pub mod disk;
pub mod errors;
pub mod extents;
pub mod geometry;
pub mod info;
pub mod layout;
pub mod library;
pub mod log;
pub mod metadata;
pub mod mount;
pub mod mount_info;
mod objects;
pub mod refused;
pub mod set;
