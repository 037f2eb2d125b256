//! Indexes: B-trees in `$INDEX_ROOT` and `$INDEX_ALLOCATION`. That of a directory is called `$I30`
//! and has names as its keys; those of other files have other names and keys.
//!
//! Source: the public documentation of NTFS (Microsoft's "Master File Table" pages and the
//! Linux-NTFS documentation). Little-endian.
//!
//! `$INDEX_ROOT`, before the node header:
//!
//! | offset | size | field        | rule                                                     |
//! |--------|------|--------------|----------------------------------------------------------|
//! | 0x00   | 4    | `kind`       | of the attribute that is indexed: 0x30 names, 0 none     |
//! | 0x04   | 4    | `collation`  | 1 file names, 0x10 numbers of 32 bits; not looked at     |
//! | 0x08   | 4    | `block_size` | a power of two, 512 to 65536                                |
//!
//! A block of `$INDEX_ALLOCATION`, before the node header at 0x18:
//!
//! | offset | size | field          | rule                                                   |
//! |--------|------|----------------|--------------------------------------------------------|
//! | 0x00   | 4    | `signature`    | `INDX`                                                 |
//! | 0x04   | 2    | `fixup_offset` | as in a file record                                    |
//! | 0x06   | 2    | `fixup_count`  |                                                        |
//! | 0x10   | 8    | `vcn`          | its place: clusters, or 512 bytes if blocks are smaller|
//!
//! Node header, and an entry:
//!
//! | offset | size | field        | rule                                                     |
//! |--------|------|--------------|----------------------------------------------------------|
//! | 0x00   | 4    | `entries`    | offset of the first entry from the node header           |
//! | 0x04   | 4    | `used`       | bytes from the node header                               |
//! | 0x00   | 8    | `reference`  | file reference; offset and length of data if not of names|
//! | 0x08   | 2    | `length`     | of the entry                                             |
//! | 0x0A   | 2    | `key_length` | of the `$FILE_NAME` at 0x10                              |
//! | 0x0C   | 2    | `flags`      | 1: its last 8 bytes are the place of a node below; 2: last |
//!
//! `$FILE_NAME`, as far as it is looked at:
//!
//! | offset | size | field         | rule                                                    |
//! |--------|------|---------------|---------------------------------------------------------|
//! | 0x38   | 4    | `attributes`  | 0x10000000 directory                                    |
//! | 0x40   | 1    | `name_length` | UTF-16 code units                                       |
//! | 0x41   | 1    | `name_space`  | 0 POSIX, 1 Windows, 2 8.3, 3 both                       |
//! | 0x42   | -    | `name`        |                                                         |

mod listing;
mod tree;

pub(super) use self::listing::Listing;
#[cfg(feature = "fuzzing")]
pub(super) use self::tree::touch;
pub(super) use self::tree::{I30, Index, Keys};
