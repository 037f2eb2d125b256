//! The numbers and the fixed structures of the NBD protocol, as its document `proto.md` names them.
//!
//! Source: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>. Big-endian.
//!
//! An option ("Fixed newstyle negotiation"), from the client:
//!
//! | offset | size | field    | rule                                        |
//! |--------|------|----------|---------------------------------------------|
//! | 0x00   | 8    | `magic`  | [`OPTION_MAGIC`]                            |
//! | 0x08   | 4    | `number` | one of [`option`]                           |
//! | 0x0C   | 4    | `length` | of the data that follows, at most [`MAX_OPTION`] |
//!
//! The reply to it ("Option reply"):
//!
//! | offset | size | field    |                                             |
//! |--------|------|----------|---------------------------------------------|
//! | 0x00   | 8    | `magic`  | [`OPTION_REPLY_MAGIC`]                      |
//! | 0x08   | 4    | `number` | that of the option                          |
//! | 0x0C   | 4    | `kind`   | one of [`reply`]                            |
//! | 0x10   | 4    | `length` | of the data that follows                    |
//!
//! A request ("Request message"):
//!
//! | offset | size | field     | rule                                       |
//! |--------|------|-----------|--------------------------------------------|
//! | 0x00   | 4    | `magic`   | [`REQUEST_MAGIC`]                          |
//! | 0x04   | 2    | `flags`   | of [`command_flag`], as the command has them |
//! | 0x06   | 2    | `command` | one of [`command`]                         |
//! | 0x08   | 8    | `cookie`  | comes back with the reply                  |
//! | 0x10   | 8    | `offset`  | inside the device                          |
//! | 0x18   | 4    | `length`  | inside the device; of data at most [`MAX_PAYLOAD`] |
//!
//! A simple reply, and the header of a chunk of a structured one:
//!
//! | offset | size | field    | | offset | size | field    |                |
//! |--------|------|----------|-|--------|------|----------|----------------|
//! | 0x00   | 4    | `magic`  | | 0x00   | 4    | `magic`  |                |
//! | 0x04   | 4    | `error`  | | 0x04   | 2    | `flags`  | [`chunk::DONE`] |
//! | 0x08   | 8    | `cookie` | | 0x06   | 2    | `kind`   | one of [`chunk`] |
//! |        |      |          | | 0x08   | 8    | `cookie` |                |
//! |        |      |          | | 0x10   | 4    | `length` | of what follows |

use std::mem::offset_of;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawOption {
    pub(super) magic: U64,
    pub(super) number: U32,
    pub(super) length: U32,
}
const _: () = assert!(offset_of!(RawOption, length) == 0x0C);
const _: () = assert!(size_of::<RawOption>() == 0x10);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawOptionReply {
    pub(super) magic: U64,
    pub(super) number: U32,
    pub(super) kind: U32,
    pub(super) length: U32,
}
const _: () = assert!(offset_of!(RawOptionReply, length) == 0x10);
const _: () = assert!(size_of::<RawOptionReply>() == 0x14);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawRequest {
    pub(super) magic: U32,
    pub(super) flags: U16,
    pub(super) command: U16,
    pub(super) cookie: [u8; 8],
    pub(super) offset: U64,
    pub(super) length: U32,
}
const _: () = assert!(offset_of!(RawRequest, command) == 0x06);
const _: () = assert!(offset_of!(RawRequest, offset) == 0x10);
const _: () = assert!(size_of::<RawRequest>() == 0x1C);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawSimpleReply {
    pub(super) magic: U32,
    pub(super) error: U32,
    pub(super) cookie: [u8; 8],
}
const _: () = assert!(offset_of!(RawSimpleReply, cookie) == 0x08);
const _: () = assert!(size_of::<RawSimpleReply>() == 0x10);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawChunk {
    pub(super) magic: U32,
    pub(super) flags: U16,
    pub(super) kind: U16,
    pub(super) cookie: [u8; 8],
    pub(super) length: U32,
}
const _: () = assert!(offset_of!(RawChunk, cookie) == 0x08);
const _: () = assert!(size_of::<RawChunk>() == 0x14);

/// `NBDMAGIC`, the first words of a server.
pub(super) const INIT_MAGIC: u64 = 0x4E42_444D_4147_4943;
/// `IHAVEOPT`, in front of every option.
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
/// In front of every reply to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_E889_0455_65A9;
/// `NBD_REQUEST_MAGIC`.
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// `NBD_SIMPLE_REPLY_MAGIC`.
pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// `NBD_STRUCTURED_REPLY_MAGIC`.
pub(super) const STRUCTURED_REPLY_MAGIC: u32 = 0x668E_33EF;

/// `NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES`, of the server and of the client.
pub(super) const HANDSHAKE_FLAGS: u16 = 1 | 2;
/// `NBD_FLAG_C_NO_ZEROES`.
pub(super) const NO_ZEROES: u32 = 2;

/// `NBD_OPT_*`.
pub(super) mod option {
    pub(in super::super) const EXPORT_NAME: u32 = 1;
    pub(in super::super) const ABORT: u32 = 2;
    pub(in super::super) const LIST: u32 = 3;
    pub(in super::super) const STARTTLS: u32 = 5;
    pub(in super::super) const INFO: u32 = 6;
    pub(in super::super) const GO: u32 = 7;
    pub(in super::super) const STRUCTURED_REPLY: u32 = 8;
    pub(in super::super) const LIST_META_CONTEXT: u32 = 9;
    pub(in super::super) const SET_META_CONTEXT: u32 = 10;
}

/// `NBD_REP_*`.
pub(super) mod reply {
    pub(in super::super) const ACK: u32 = 1;
    pub(in super::super) const SERVER: u32 = 2;
    pub(in super::super) const INFO: u32 = 3;
    pub(in super::super) const META_CONTEXT: u32 = 4;
    pub(in super::super) const ERR_UNSUP: u32 = 1 << 31 | 1;
    pub(in super::super) const ERR_INVALID: u32 = 1 << 31 | 3;
    pub(in super::super) const ERR_TLS_REQD: u32 = 1 << 31 | 5;
    pub(in super::super) const ERR_UNKNOWN: u32 = 1 << 31 | 6;
    pub(in super::super) const ERR_TOO_BIG: u32 = 1 << 31 | 9;
}

/// `NBD_INFO_*`.
pub(super) mod info {
    pub(in super::super) const EXPORT: u16 = 0;
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const DESCRIPTION: u16 = 2;
    pub(in super::super) const BLOCK_SIZE: u16 = 3;
}

/// `NBD_FLAG_*` of an export.
pub(super) mod flag {
    pub(in super::super) const HAS_FLAGS: u16 = 1;
    pub(in super::super) const READ_ONLY: u16 = 1 << 1;
    pub(in super::super) const SEND_FLUSH: u16 = 1 << 2;
    pub(in super::super) const SEND_FUA: u16 = 1 << 3;
    pub(in super::super) const SEND_TRIM: u16 = 1 << 5;
    pub(in super::super) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(in super::super) const SEND_DF: u16 = 1 << 7;
    pub(in super::super) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(in super::super) const SEND_CACHE: u16 = 1 << 10;
}

/// `NBD_CMD_*`.
pub(super) mod command {
    pub(in super::super) const READ: u16 = 0;
    pub(in super::super) const WRITE: u16 = 1;
    pub(in super::super) const DISC: u16 = 2;
    pub(in super::super) const FLUSH: u16 = 3;
    pub(in super::super) const TRIM: u16 = 4;
    pub(in super::super) const CACHE: u16 = 5;
    pub(in super::super) const WRITE_ZEROES: u16 = 6;
    pub(in super::super) const BLOCK_STATUS: u16 = 7;
}

/// `NBD_CMD_FLAG_*`.
pub(super) mod command_flag {
    pub(in super::super) const FUA: u16 = 1;
    pub(in super::super) const NO_HOLE: u16 = 1 << 1;
    pub(in super::super) const DF: u16 = 1 << 2;
    pub(in super::super) const REQ_ONE: u16 = 1 << 3;
    pub(in super::super) const FAST_ZERO: u16 = 1 << 4;
}

/// `NBD_REPLY_TYPE_*` and the flag of the last chunk.
pub(super) mod chunk {
    pub(in super::super) const DONE: u16 = 1;
    pub(in super::super) const NONE: u16 = 0;
    pub(in super::super) const OFFSET_DATA: u16 = 1;
    pub(in super::super) const OFFSET_HOLE: u16 = 2;
    pub(in super::super) const BLOCK_STATUS: u16 = 5;
    pub(in super::super) const ERROR: u16 = 1 << 15 | 1;
    pub(in super::super) const ERROR_OFFSET: u16 = 1 << 15 | 2;
}

/// The error numbers of replies: Linux's, on every system.
pub(super) mod error {
    pub(in super::super) const PERM: u32 = 1;
    pub(in super::super) const IO: u32 = 5;
    pub(in super::super) const INVAL: u32 = 22;
    pub(in super::super) const NOSPC: u32 = 28;
    pub(in super::super) const OVERFLOW: u32 = 75;
    pub(in super::super) const NOTSUP: u32 = 95;
}

/// `NBD_STATE_HOLE` and `NBD_STATE_ZERO` of `base:allocation`.
pub(super) const STATE_HOLE: u32 = 1;
pub(super) const STATE_ZERO: u32 = 2;

/// The one metadata context there is.
pub(super) const ALLOCATION: &str = "base:allocation";

/// LIMIT: bytes of one read or write; the protocol recommends at least this.
pub(super) const MAX_PAYLOAD: u32 = 32 << 20;
/// LIMIT: bytes of an option; a name has at most 4096.
pub(super) const MAX_OPTION: u32 = 64 << 10;
