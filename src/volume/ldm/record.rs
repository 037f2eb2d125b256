//! The five kinds of records that Windows writes.
//!
//! Source: the Linux-NTFS project's LDM documentation; flags and the fields that it calls unknown
//! as Microsoft's `dmdiag` names them. Big-endian. A number marked `var` is one byte with its
//! length (at most 8) and as many bytes; a text marked `var` is one byte with its length and the
//! text. Positions and sizes count sectors of the disks.
//!
//! Every body begins with `id` (var number) and `name` (var text). `commit` is the transaction that
//! wrote the record.
//!
//! Volume, revision 5 (0x51):
//!
//! | size | field        | rule                                                                   |
//! |------|--------------|------------------------------------------------------------------------|
//! | var  | `type`       | text: `gen` or `raid5`                                                 |
//! | var  | `letter`     | text: `8000000000000000` where no drive letter is wanted, else empty   |
//! | 14   | `state`      | text, filled with NUL: `ACTIVE`, `SYNC`                                |
//! | 1    | `policy`     | of reading: 3 normal, 4 RAID; not looked at                            |
//! | var  | `number`     | of the volume, from 5; not looked at                                   |
//! | 4    | `flags`      | 0x01 write back, 0x02 write copy, 0x04 crashed, 0x10 always set, 0x200000 boot, 0x400000 system, 0x800000 retained partition |
//! | var  | `components` | how many                                                               |
//! | 8    | `commit`     |                                                                        |
//! | 8    | `unknown_tx` | a transaction or 0                                                     |
//! | var  | `size`       |                                                                        |
//! | 4    | `zeros`      |                                                                        |
//! | 1    | `partition`  | partition type: 7 NTFS, 6 FAT16 or raw, 0x0B FAT32                     |
//! | 16   | `guid`       | bytes in the order of the text                                         |
//! | var  | `id_1`       | if flag 0x08; unknown                                                  |
//! | var  | `id_2`       | if flag 0x20; unknown: an object that is gone                          |
//! | var  | `column`     | if flag 0x80: size of a column or of the first partition               |
//! | var  | `hint`       | if flag 0x02: text, the drive letter (`E:`) or mount point             |
//!
//! Component, revision 3 (0x32), also called a plex:
//!
//! | size | field        | rule                                                                   |
//! |------|--------------|------------------------------------------------------------------------|
//! | var  | `state`      | text: `ACTIVE`; others (`STALE`, `DETACHED`, ...) are not to be read   |
//! | 1    | `layout`     | 1 striped, 2 one after the other, 3 RAID-5                            |
//! | 4    | `flags`      | 0x02 recover, 0x04 failed I/O, 0x08 pending                            |
//! | var  | `partitions` | how many                                                               |
//! | 8    | `commit`     |                                                                        |
//! | 8    | `zeros`      |                                                                        |
//! | var  | `volume`     | id                                                                     |
//! | var  | `log`        | partition of a log; 0 seen                                             |
//! | var  | `chunk`      | if flag 0x10                                                           |
//! | var  | `columns`    | if flag 0x10                                                           |
//!
//! Partition, revision 3 (0x33), also called an extent or a subdisk:
//!
//! | size | field        | rule                                                                   |
//! |------|--------------|------------------------------------------------------------------------|
//! | 4    | `flags`      | 0x08 recover, 0x10 detached, 0x20 relocate, 0x100 original boot        |
//! | 8    | `commit`     |                                                                        |
//! | 8    | `start`      | from the disk's `public_start`                                         |
//! | 8    | `offset`     | in the column, or in the component where that has no columns           |
//! | var  | `size`       |                                                                        |
//! | var  | `component`  | id                                                                     |
//! | var  | `disk`       | id                                                                     |
//! | var  | `column`     | if flag 0x08, else 0                                                   |
//! | 8    | `unknown_tx` | if flag 0x20                                                           |
//! | var  | `unknown_40` | if flag 0x40 (Vista and later); 0 seen                                 |
//! | var  | `hidden`     | if flag 0x02                                                           |
//!
//! Disk, revisions 3 (0x34) and 4 (0x44):
//!
//! | size    | field     | rule                                                                   |
//! |---------|-----------|------------------------------------------------------------------------|
//! | var, 16 | `guid`    | revision 3: text; revision 4: bytes in the order of the text           |
//! | 16      | `guid_2`  | revision 4 only; not looked at                                         |
//! | var     | `device`  | text: what the disk was attached as; not looked at                     |
//! | 4       | `flags`   | 0x02 spare, 0x04 failing, 0x100 removed, 0x200 detached                |
//! | 8       | `commit`  |                                                                        |
//!
//! Disk group, revisions 3 (0x35) and 4 (0x45):
//!
//! | size    | field     | rule                                                                   |
//! |---------|-----------|------------------------------------------------------------------------|
//! | var, 16 | `guid`    | revision 3: text; revision 4: bytes                                    |
//! | 16      | `set`     | revision 4 only; not looked at                                         |
//! | 4       | `flags`   | zeros                                                                  |
//! | 8       | `commit`  |                                                                        |
//! | var     | `configs` | if flag 0x08: copies of the database; 0xFFFFFFFF all, 0 the default    |
//! | var     | `logs`    | if flag 0x08: copies of the log                                        |
//! | var     | `minors`  | if flag 0x10; not looked at                                            |
//!
//! Other kinds (6 is a disk access record of Veritas) and revisions are named and left out.

use volfold_block::{BlockResult, ByteReader};

use super::problems::text;
use super::vblk::RecordBytes;
use crate::partition::Guid;

/// What every record has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) commit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) common: Common,
    pub(super) state: String,
    pub(super) flags: u32,
    pub(super) components: u64,
    pub(super) size: u64,
    pub(super) guid: String,
    pub(super) hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComponentLayout {
    Striped,
    Spanned,
    Raid5,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) common: Common,
    pub(super) state: String,
    pub(super) layout: ComponentLayout,
    pub(super) flags: u32,
    pub(super) partitions: u64,
    pub(super) volume: u64,
    pub(super) chunk: u64,
    pub(super) columns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) common: Common,
    pub(super) flags: u32,
    pub(super) start: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) component: u64,
    pub(super) disk: u64,
    pub(super) column: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) common: Common,
    pub(super) guid: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskGroup {
    pub(super) common: Common,
    pub(super) guid: String,
    /// Whether every disk is to hold a copy of the database.
    pub(super) all_configs: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Volume(Volume),
    Component(Component),
    Partition(Extent),
    Disk(Disk),
    DiskGroup(DiskGroup),
}

/// Why a record is not used.
pub(super) enum Unread {
    /// Its kind or revision is not known.
    Unknown(u8),
    /// It contradicts its layout.
    Damaged(String),
}

impl Record {
    /// Reads `bytes`; the second value says that bytes are left over.
    pub(super) fn parse(bytes: &RecordBytes) -> Result<(Self, bool), Unread> {
        let mut fields =
            Fields { reader: ByteReader::new("record", &bytes.body, 0), flags: bytes.flags };
        let parsed = match bytes.kind {
            0x51 => fields.volume().map(Self::Volume),
            0x32 => fields.component().map(Self::Component),
            0x33 => fields.partition().map(Self::Partition),
            0x34 | 0x44 => fields.disk(bytes.kind == 0x44).map(Self::Disk),
            0x35 | 0x45 => fields.disk_group(bytes.kind == 0x45).map(Self::DiskGroup),
            kind => return Err(Unread::Unknown(kind)),
        };
        let record = parsed.map_err(|error| {
            let at = error.position().unwrap_or(0);
            Unread::Damaged(format!("{:#04x} {} (byte {at})", bytes.kind, error.message()))
        })?;
        Ok((record, fields.reader.remaining() > 0))
    }
}

struct Fields<'a> {
    reader: ByteReader<'a>,
    flags: u8,
}

impl Fields<'_> {
    fn var(&mut self) -> BlockResult<u64> {
        let length = self.reader.u8()?;
        if length > 8 {
            return Err(self.reader.corrupt("has a number of more than 8 bytes"));
        }
        let bytes = self.reader.take(usize::from(length))?;
        Ok(bytes.iter().fold(0, |number, byte| (number << 8_u32) | u64::from(*byte)))
    }

    fn var_text(&mut self) -> BlockResult<String> {
        let length = self.reader.u8()?;
        self.reader.take(usize::from(length)).map(text)
    }

    fn guid(&mut self) -> BlockResult<String> {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.reader.array::<16>()?;
        let [i, j, k, l, m, n, o, p] = rest;
        // The type shows GUIDs that are stored as Microsoft does elsewhere.
        let stored = Guid([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]);
        Ok(stored.to_string())
    }

    fn optional(&mut self, flag: u8) -> BlockResult<Option<u64>> {
        if self.flags & flag == 0 { Ok(None) } else { self.var().map(Some) }
    }

    fn volume(&mut self) -> BlockResult<Volume> {
        let (id, name) = (self.var()?, self.var_text()?);
        let _type = self.var_text()?;
        let _letter = self.var_text()?;
        let state = text(self.reader.take(14)?);
        let _policy = self.reader.u8()?;
        let _number = self.var()?;
        let flags = self.reader.u32_be()?;
        let components = self.var()?;
        let commit = self.reader.u64_be()?;
        let _unknown_tx = self.reader.u64_be()?;
        let size = self.var()?;
        let _zeros = self.reader.u32_be()?;
        let _partition = self.reader.u8()?;
        let guid = self.guid()?;
        for flag in [0x08, 0x20, 0x80] {
            self.optional(flag)?;
        }
        let hint = if self.flags & 0x02 == 0 { None } else { Some(self.var_text()?) };
        let common = Common { id, name, commit };
        Ok(Volume { common, state, flags, components, size, guid, hint })
    }

    fn component(&mut self) -> BlockResult<Component> {
        let (id, name) = (self.var()?, self.var_text()?);
        let state = self.var_text()?;
        let layout = match self.reader.u8()? {
            1 => ComponentLayout::Striped,
            2 => ComponentLayout::Spanned,
            3 => ComponentLayout::Raid5,
            _ => return Err(self.reader.corrupt("has an unknown layout")),
        };
        let flags = self.reader.u32_be()?;
        let partitions = self.var()?;
        let commit = self.reader.u64_be()?;
        let _zeros = self.reader.u64_be()?;
        let volume = self.var()?;
        let _log = self.var()?;
        let chunk = self.optional(0x10)?.unwrap_or(0);
        let columns = self.optional(0x10)?.unwrap_or(0);
        let common = Common { id, name, commit };
        Ok(Component { common, state, layout, flags, partitions, volume, chunk, columns })
    }

    fn partition(&mut self) -> BlockResult<Extent> {
        let (id, name) = (self.var()?, self.var_text()?);
        let flags = self.reader.u32_be()?;
        let commit = self.reader.u64_be()?;
        let start = self.reader.u64_be()?;
        let offset = self.reader.u64_be()?;
        let size = self.var()?;
        let component = self.var()?;
        let disk = self.var()?;
        let column = self.optional(0x08)?.unwrap_or(0);
        if self.flags & 0x20 != 0 {
            self.reader.u64_be()?;
        }
        self.optional(0x40)?;
        self.optional(0x02)?;
        let common = Common { id, name, commit };
        Ok(Extent { common, flags, start, offset, size, component, disk, column })
    }

    fn disk(&mut self, binary: bool) -> BlockResult<Disk> {
        let (id, name) = (self.var()?, self.var_text()?);
        let guid = if binary { self.guid()? } else { self.var_text()? };
        if binary {
            self.reader.skip(16)?;
        }
        let _device = self.var_text()?;
        let _flags = self.reader.u32_be()?;
        let commit = self.reader.u64_be()?;
        Ok(Disk { common: Common { id, name, commit }, guid: guid.to_ascii_lowercase() })
    }

    fn disk_group(&mut self, binary: bool) -> BlockResult<DiskGroup> {
        let (id, name) = (self.var()?, self.var_text()?);
        let guid = if binary { self.guid()? } else { self.var_text()? };
        if binary {
            self.reader.skip(16)?;
        }
        let _flags = self.reader.u32_be()?;
        let commit = self.reader.u64_be()?;
        let configs = self.optional(0x08)?;
        self.optional(0x08)?;
        self.optional(0x10)?;
        // Without the number the default holds, and Windows' default is a copy on every disk.
        let all_configs = configs.is_none_or(|copies| copies == 0 || copies == 0xFFFF_FFFF);
        let common = Common { id, name, commit };
        Ok(DiskGroup { common, guid: guid.to_ascii_lowercase(), all_configs })
    }
}
