//! The lines of a file that is read piece by piece, and the fields in them.

use std::sync::Arc;

use volfold_fs::{FileData, FsError, FsErrorKind, FsResult};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// LIMIT: bytes of a line that are kept; the lines of real databases have less than 32 KiB.
const MAX_LINE: usize = 64 << 10;

/// LIMIT: bytes of a database; those of the largest systems have some 100 MiB.
const MAX_DATABASE: u64 = 1 << 30;

/// LIMIT: bytes of a value that is taken.
const MAX_VALUE: usize = 4096;

/// The lines of a file.
pub(super) struct Lines {
    file: Arc<dyn FileData>,
    piece: Vec<u8>,
    /// The next byte in the piece.
    next: usize,
    /// Where the next piece begins.
    offset: u64,
    line: Vec<u8>,
}

/// One line.
pub(super) struct Line<'a> {
    /// Where it begins.
    pub(super) at: u64,
    /// Its bytes, without the end of the line; of a long one the first.
    pub(super) bytes: &'a [u8],
    /// Whether it was longer than is kept.
    pub(super) is_cut: bool,
}

impl Lines {
    /// # Errors
    /// `Refused` if `file` is larger than is read.
    pub(super) fn new(file: Arc<dyn FileData>) -> FsResult<Self> {
        check_size(&*file)?;
        Ok(Self { file, piece: Vec::new(), next: 0, offset: 0, line: Vec::new() })
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Why the file cannot be read there.
    pub(super) fn next_line(&mut self) -> FsResult<Option<Line<'_>>> {
        self.line.clear();
        let left = u64::try_from(self.piece.len().saturating_sub(self.next)).unwrap_or(0);
        let at = self.offset.saturating_sub(left);
        let (mut is_cut, mut has_any) = (false, false);
        loop {
            if self.next >= self.piece.len() && !self.refill()? {
                break;
            }
            has_any = true;
            let rest = self.piece.get(self.next..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let room = MAX_LINE.saturating_sub(self.line.len());
            is_cut |= part.len() > room;
            self.line.extend(part.iter().take(room));
            let past_end = usize::from(end.is_some());
            self.next = self.next.saturating_add(part.len()).saturating_add(past_end);
            if end.is_some() {
                break;
            }
        }
        Ok(has_any.then_some(Line { at, bytes: &self.line, is_cut }))
    }

    /// Reads the next piece; whether there is one.
    fn refill(&mut self) -> FsResult<bool> {
        self.piece.resize(PIECE, 0);
        let count = self.file.read_at(self.offset, &mut self.piece);
        let count = count.inspect_err(|_| self.piece.clear())?;
        self.piece.truncate(count);
        self.next = 0;
        self.offset = self.offset.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count > 0)
    }
}

/// Refuses a database that is larger than is read.
pub(super) fn check_size(file: &dyn FileData) -> FsResult<()> {
    let size = file.size();
    if size > MAX_DATABASE {
        let line = format!("file has {size} bytes; at most {MAX_DATABASE} are looked at");
        return Err(FsError::new(FsErrorKind::Refused, line));
    }
    Ok(())
}

/// Fields with names that the reader knows.
#[derive(Default)]
pub(super) struct Fields {
    values: Vec<(&'static str, String)>,
    /// What is wrong with some.
    pub(super) damage: Vec<String>,
}

impl Fields {
    /// Takes the value of a field. One that cannot be used is damage.
    pub(super) fn set(&mut self, name: &'static str, value: &[u8], is_cut: bool) {
        let value = value.trim_ascii();
        if is_cut || value.len() > MAX_VALUE {
            self.damage.push(format!("field {name} has more than {MAX_VALUE} bytes"));
            return;
        }
        match str::from_utf8(value) {
            Ok(_) if self.get(name).is_some() => {
                self.damage.push(format!("field {name} is there twice"));
            }
            Ok(value) => self.values.push((name, value.to_owned())),
            Err(_) => self.damage.push(format!("field {name} is not UTF-8")),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of `name`, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file in memory.
    pub(crate) struct Bytes(pub(crate) Vec<u8>);

    impl FileData for Bytes {
        fn size(&self) -> u64 {
            u64::try_from(self.0.len()).unwrap()
        }

        fn memory(&self) -> u64 {
            0
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
            let from = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let count = from.len().min(buf.len());
            buf[..count].copy_from_slice(&from[..count]);
            Ok(count)
        }
    }

    #[test]
    fn lines_reach_across_pieces_and_long_ones_are_cut() {
        let long = vec![b'x'; PIECE * 3];
        let content = [b"one\n\n", long.as_slice(), b"\nlast"].concat();
        let mut lines = Lines::new(Arc::new(Bytes(content))).unwrap();
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push((line.at, line.bytes.len(), line.is_cut));
        }
        let end = u64::try_from(PIECE * 3).unwrap() + 6;
        assert_eq!(seen, [(0, 3, false), (4, 0, false), (5, MAX_LINE, true), (end, 4, false)]);
    }
}
