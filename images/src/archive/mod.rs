//! Tar archives, whose members are read where they lie, without unpacking.
//!
//! Specification: POSIX.1-2024, `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU tar's
//! manual for long names, sparse members and sizes in base 256. Blocks of 512 bytes: a header, then
//! the bytes of the member, filled up to a whole block. Blocks of zeros end the archive.
//!
//! | offset | size | field    | rule                                                             |
//! |--------|------|----------|------------------------------------------------------------------|
//! | 0      | 100  | name     | up to a zero                                                     |
//! | 124    | 12   | size     | octal; if the first bit is set, the other 95 are a number        |
//! | 148    | 8    | checksum | octal: the sum of all bytes of the header, these taken as blanks |
//! | 156    | 1    | type     | `0`, zero, `7`: a file; `x`: fields of the next member; `L`: its name |
//! | 257    | 5    | magic    | `ustar`; older archives have none                                |
//! | 345    | 155  | prefix   | goes before the name, where the magic is POSIX's                 |

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Slice, byte_count, bytes_to_index, keep,
};

use crate::locator::{Located, Locator};

const BLOCK: usize = 512;

/// LIMIT: headers of one archive. A machine has some ten files.
const MAX_HEADERS: usize = 16_384;

/// LIMIT: bytes of the fields, or of the long name, of one member.
const MAX_FIELDS: u64 = 1 << 20;

/// A file in an archive.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name, with `/` between folders, and without `.` or empty ones.
    pub(crate) name: String,
    /// Where its bytes begin in the archive.
    pub(crate) at: u64,
    /// How many they are; the archive may end before.
    pub(crate) size: u64,
    /// Why it is not read where it lies.
    pub(crate) refusal: Option<&'static str>,
}

/// An archive, and the files in it.
struct Contents {
    file: Arc<dyn BlockDevice>,
    name: String,
    members: Vec<Member>,
}

/// A tar archive. It is the policy for the files that its members name: they lie in it.
#[derive(Clone)]
pub struct TarArchive {
    contents: Arc<Contents>,
    /// The members that references are made on behalf of. None of them is a part of itself.
    whole: Vec<usize>,
}

impl TarArchive {
    /// Reads what is in the archive `file`, and why not all of it can be told, if so; `None` if it is
    /// no archive.
    ///
    /// # Errors
    /// If the first header cannot be read, or is damaged.
    pub fn read(file: &Located) -> BlockResult<Option<(Self, Option<BlockError>)>> {
        if file.device.size() < byte_count(BLOCK) {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        keep(|| file.device.read_at(0, &mut block))?;
        let is_marked = block.get(257..262) == Some(b"ustar");
        if Header::parse(&block).is_none() && !is_marked {
            return Ok(None);
        }
        let mut members = Vec::new();
        let damage = walk(&*file.device, MAX_HEADERS, &mut |member| members.push(member)).err();
        if let Some(error) = damage.as_ref().filter(|_| members.is_empty()) {
            let line = error.message().to_owned();
            return Err(BlockError::corrupt(line, error.position().unwrap_or(0), 0));
        }
        let (file, name) = (Arc::clone(&file.device), file.name.clone());
        let contents = Arc::new(Contents { file, name, members });
        Ok(Some((Self { contents, whole: Vec::new() }, damage)))
    }

    /// The names of the members that are files, in their order. Of two with one name the later counts.
    pub fn names(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let members = self.contents.members.iter().rev();
        let later = members.map(|member| &member.name).filter(|name| seen.insert(*name));
        let mut names: Vec<String> = later.cloned().collect();
        names.reverse();
        names
    }

    /// The member number `index`.
    fn located(&self, index: usize) -> BlockResult<Located> {
        let Contents { file, name, members } = &*self.contents;
        let Some(member) = members.get(index) else {
            return Err(BlockError::missing("archive has no such member"));
        };
        if let Some(refusal) = member.refusal {
            return Err(BlockError::unsupported(format!("{}: {refusal}", member.name)));
        }
        let device = Slice::part(Arc::clone(file), member.at, member.size).map_err(|_| {
            let line = format!(
                "{} is cut off: the archive has {} of its {} bytes; copy it again",
                member.name,
                file.size().saturating_sub(member.at),
                member.size
            );
            BlockError::corrupt(line, member.at, 0)
        })?;
        let mut whole = self.whole.clone();
        whole.push(index);
        let files = Arc::new(Self { contents: Arc::clone(&self.contents), whole });
        let name = format!("{name}/{}", member.name);
        Ok(Located { device: Arc::new(device), name, files })
    }
}

impl Locator for TarArchive {
    /// The member of that name, or whose last name is that of `reference`.
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let wanted = plain(&reference.to_string_lossy());
        let last = wanted.rsplit('/').next().unwrap_or_default();
        let find = |is_it: &dyn Fn(&str) -> bool| {
            self.contents.members.iter().rposition(|member| is_it(&member.name))
        };
        let found = find(&|name| name == wanted)
            .or_else(|| find(&|name| name.rsplit('/').next() == Some(last)))
            .or_else(|| find(&|name| name.eq_ignore_ascii_case(&wanted)));
        match found {
            Some(index) if self.whole.contains(&index) => {
                let line = format!("{wanted} is the file itself, or one that it is a part of");
                Err(BlockError::refused(line))
            }
            Some(index) => self.located(index),
            None => Err(BlockError::missing(format!("{wanted} is not in the archive"))),
        }
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        for (index, member) in self.contents.members.iter().enumerate() {
            let found = Path::new(&member.name).extension();
            let fits = found.is_some_and(|it| it.eq_ignore_ascii_case(extension));
            if fits
                && !self.whole.contains(&index)
                && let Ok(file) = self.located(index)
                && visit(file).is_break()
            {
                return;
            }
        }
    }
}

/// `name` with one kind of separator, and without what does not matter.
fn plain(name: &str) -> String {
    let name = name.replace('\\', "/");
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

/// What a header says.
struct Header {
    name: Vec<u8>,
    size: u64,
    kind: u8,
}

impl Header {
    /// The header in `block`; `None` if it is none.
    fn parse(block: &[u8; BLOCK]) -> Option<Self> {
        let checksum = number(block.get(148..156)?)?;
        let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
        let bytes = || block.iter().enumerate().map(byte);
        let sum: u64 = bytes().map(u64::from).sum();
        // QUIRK: old tars of Sun added the bytes as signed numbers.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        if checksum != sum && i64::try_from(checksum) != Ok(signed) {
            return None;
        }
        let mut name = until_zero(block.get(..100)?).to_vec();
        let prefix = until_zero(block.get(345..500)?);
        if block.get(257..263)? == b"ustar\0" && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        Some(Self { name, size: number(block.get(124..136)?)?, kind: *block.get(156)? })
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number in the field `bytes`.
fn number(bytes: &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 != 0 {
        // A negative one has the bit after it set as well.
        let start = Some(u64::from(first & 0x7F)).filter(|start| start & 0x40 == 0)?;
        return rest
            .iter()
            .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let text = str::from_utf8(until_zero(bytes)).ok()?.trim_matches(' ');
    let is_octal = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "" => Some(0),
        _ if is_octal => u64::from_str_radix(text, 8).ok(),
        _ => None,
    }
}

/// What the fields before a member say of it.
#[derive(Default)]
struct Fields {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Fields {
    /// Adds the records in `bytes`: `length key=value` and a line end, each.
    fn add(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = str::from_utf8(bytes.get(..blank)?).ok()?.parse().ok()?;
            let record = bytes.get(blank.checked_add(1)?..length.checked_sub(1)?)?;
            bytes = bytes.get(length..)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals.checked_add(1)?..)?);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => self.size = Some(str::from_utf8(value).ok()?.parse().ok()?),
                _ => self.is_sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Some(())
    }
}

/// Shows `visit` the files in the archive `file`, in their order, up to its end or to where it is
/// damaged.
///
/// # Errors
/// `Corrupt` if it is damaged or cut off, `Unsupported` if it has more than `max_headers` headers; what
/// comes before was shown.
pub(crate) fn walk(
    file: &dyn BlockDevice,
    max_headers: usize,
    visit: &mut dyn FnMut(Member),
) -> BlockResult<()> {
    keep(|| Walk { file, visit }.run(max_headers))
}

/// The name of the first member of the archive `file`; `None` if it is no archive.
///
/// # Errors
/// If it cannot be read.
#[cfg(feature = "backup")]
pub(crate) fn first_name(file: &dyn BlockDevice) -> BlockResult<Option<String>> {
    let mut block = [0; BLOCK];
    if file.size() < byte_count(BLOCK) {
        return Ok(None);
    }
    file.read_at(0, &mut block)?;
    let name = |header: Header| plain(&String::from_utf8_lossy(&header.name));
    Ok(Header::parse(&block).map(name))
}

/// The way through the headers of an archive.
struct Walk<'a> {
    file: &'a dyn BlockDevice,
    visit: &'a mut dyn FnMut(Member),
}

impl Walk<'_> {
    fn run(&mut self, max_headers: usize) -> BlockResult<()> {
        let (mut at, mut fields) = (0_u64, Fields::default());
        for _ in 0..max_headers {
            let mut block = [0; BLOCK];
            if self.file.size().checked_sub(at).is_none_or(|left| left < byte_count(BLOCK)) {
                let line = "archive ends without its end mark, and may be cut off; copy it again";
                return Err(BlockError::corrupt(line, self.file.size(), 0));
            }
            self.file.read_at(at, &mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let header = Header::parse(&block).ok_or_else(|| {
                let line = "tar header is damaged; the files after it cannot be found: copy the \
                            archive again";
                BlockError::corrupt(line, at, 0)
            })?;
            let data_at = at.saturating_add(byte_count(BLOCK));
            let size = match header.kind {
                // Links and devices have no bytes.
                b'1'..=b'6' => 0,
                b'x' | b'g' | b'L' | b'K' => header.size,
                _ => fields.size.unwrap_or(header.size),
            };
            match header.kind {
                b'x' => {
                    let bytes = self.fields(data_at, size)?;
                    fields.add(&bytes).ok_or_else(|| {
                        BlockError::corrupt("extended header of tar is damaged", data_at, 0)
                    })?;
                }
                b'L' => fields.name = Some(until_zero(&self.fields(data_at, size)?).to_vec()),
                b'g' | b'K' => {}
                kind => {
                    let fields = std::mem::take(&mut fields);
                    self.show(kind, data_at, size, header.name, fields);
                }
            }
            let padded = size.checked_next_multiple_of(byte_count(BLOCK));
            at = data_at.saturating_add(padded.unwrap_or(u64::MAX));
        }
        Err(BlockError::unsupported(format!(
            "archive has more than {max_headers} files; unpack it with `tar -xf`"
        )))
    }

    /// Shows the member of the type `kind`.
    fn show(&mut self, kind: u8, at: u64, size: u64, name: Vec<u8>, fields: Fields) {
        let refusal = match kind {
            b'1'..=b'6' | b'V' | b'D' => return,
            b'S' => Some("is stored with its holes left out; unpack it with `tar -xf`"),
            b'M' => Some("began in another archive; unpack both with `tar -xMf`"),
            _ if fields.is_sparse => {
                Some("is stored with its holes left out; unpack it with `tar -xf`")
            }
            _ => None,
        };
        let name = plain(&String::from_utf8_lossy(&fields.name.unwrap_or(name)));
        if !name.is_empty() {
            (self.visit)(Member { name, at, size, refusal });
        }
    }

    /// The bytes of a member that is about the next one.
    fn fields(&self, at: u64, size: u64) -> BlockResult<Vec<u8>> {
        if size > MAX_FIELDS || at.saturating_add(size) > self.file.size() {
            let line = format!("tar header tells {size} bytes of the next member");
            return Err(BlockError::new(BlockErrorKind::Corrupt, line).at(at));
        }
        let mut bytes = vec![0; bytes_to_index(size)?];
        self.file.read_at(at, &mut bytes)?;
        Ok(bytes)
    }
}
