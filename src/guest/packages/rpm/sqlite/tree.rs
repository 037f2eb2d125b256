//! The rows of a table: a tree of pages.
//!
//! Specification: "Database File Format", 1.6. Big-endian; on page 1 the tree begins after the header of
//! the database.
//!
//! | offset | size | field    | rule                                                   |
//! |--------|------|----------|--------------------------------------------------------|
//! | 0x00   | 1    | `kind`   | 5: other pages, 13: rows                               |
//! | 0x03   | 2    | `cells`  |                                                        |
//! | 0x08   | 4    | `last`   | the page after those in the cells, where `kind` is 5   |
//! |        | 2 n  | offsets  | where in the page the cells are                        |

use std::collections::HashSet;
use std::ops::ControlFlow;

use volfold_block::{ByteReader, byte_count, bytes_to_index};
use volfold_fs::{FsError, FsResult};

use super::super::content::Budget;
use super::pages::Pages;
use super::row::variable;

/// Bytes of the header of a database, on its first page.
const DATABASE_HEADER: usize = 100;

/// What is met in a tree.
pub(super) enum Step<'a> {
    /// A row: its number, and its content.
    Row { number: u64, payload: &'a [u8] },
    /// A page or a row that cannot be read.
    Damaged(FsError),
}

/// What is done at each step.
type Visit<'v> = &'v mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

/// A tree of pages that is walked once.
pub(super) struct Tree<'a> {
    pages: &'a Pages,
    /// Pages that are still to be read, the next one last.
    open: Vec<u32>,
    /// LIMIT: every page is read once, so there are no more steps than pages.
    seen: HashSet<u32>,
    budget: Budget,
}

/// Where the content of a row is.
struct Cell<'a> {
    number: u64,
    size: u64,
    /// What is on the page of the row.
    local: &'a [u8],
    /// The page with what follows, 0 for none.
    overflow: u32,
}

impl<'a> Tree<'a> {
    /// The tree with the first page `root`.
    pub(super) fn new(pages: &'a Pages, root: u32) -> Self {
        let budget = Budget::new(pages.size());
        Self { pages, open: vec![root], seen: HashSet::new(), budget }
    }

    /// Visits every row, until `visit` breaks off. What is damaged does not end it.
    pub(super) fn for_each(&mut self, visit: Visit<'_>) {
        while let Some(number) = self.open.pop() {
            let walked = match self.seen.insert(number) {
                true => self.page(number, visit),
                false => Err(FsError::corrupt(format!("page {number} is in its table twice"))),
            };
            let flow = walked.unwrap_or_else(|error| visit(Step::Damaged(error)));
            if flow.is_break() {
                return;
            }
        }
    }

    fn page(&mut self, number: u32, visit: Visit<'_>) -> FsResult<ControlFlow<()>> {
        let page = self.pages.page(number)?;
        let start = if number == 1 { DATABASE_HEADER } else { 0 };
        let name = "page of a table";
        let header = page.get(start..).unwrap_or_default();
        let mut reader = ByteReader::new(name, header, 0);
        let kind = reader.u8()?;
        reader.skip(2)?;
        let cells = reader.u16_be()?;
        reader.skip(3)?;
        // Of rows, only the first page of a table may have none. It is the first that is read.
        if kind == 13 && cells == 0 && self.seen.len() > 1 {
            return Err(FsError::corrupt(format!("page {number} of a table is empty")));
        }
        match kind {
            5 => {
                let last = reader.u32_be()?;
                let mut children = Vec::new();
                for _ in 0..cells {
                    let offset = usize::from(reader.u16_be()?);
                    let cell = page.get(offset..).unwrap_or_default();
                    children.push(ByteReader::new(name, cell, 0).u32_be()?);
                }
                // In the order of the rows.
                self.open.push(last);
                self.open.extend(children.into_iter().rev());
                Ok(ControlFlow::Continue(()))
            }
            13 => {
                for _ in 0..cells {
                    let offset = usize::from(reader.u16_be()?);
                    let cell = page.get(offset..).unwrap_or_default();
                    let row = cell_at(cell, self.pages.usable());
                    let payload = row.and_then(|row| Ok((row.number, self.payload(&row)?)));
                    let flow = match &payload {
                        Ok((number, payload)) => visit(Step::Row { number: *number, payload }),
                        Err(error) => {
                            let line = format!("row on page {number}: {error}");
                            visit(Step::Damaged(FsError::corrupt(line)))
                        }
                    };
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
            _ => Err(FsError::corrupt(format!("page {number} is not a page of a table"))),
        }
    }

    /// The content of a row, with what is on other pages.
    fn payload(&mut self, cell: &Cell<'_>) -> FsResult<Vec<u8>> {
        self.budget.take(cell.size)?;
        let mut payload = Vec::with_capacity(bytes_to_index(cell.size)?);
        payload.extend(cell.local);
        let mut next = cell.overflow;
        // Every page adds some bytes, so the chain ends.
        while let Some(left) =
            cell.size.checked_sub(byte_count(payload.len())).filter(|left| *left > 0)
        {
            if next == 0 {
                return Err(FsError::corrupt("content of a row is cut short"));
            }
            let page = self.pages.page(next)?;
            let mut reader = ByteReader::new("overflow page", &page, 0);
            next = reader.u32_be()?;
            let count = bytes_to_index(left)?.min(reader.remaining());
            payload.extend(reader.take(count)?);
        }
        Ok(payload)
    }
}

/// The cell of a row, which begins with `bytes`, on a page of which `usable` bytes are used.
fn cell_at(bytes: &[u8], usable: u32) -> FsResult<Cell<'_>> {
    let mut reader = ByteReader::new("row of a table", bytes, 0);
    let size = variable(&mut reader)?;
    let number = variable(&mut reader)?;
    let local = local_size(size, u64::from(usable));
    let content = reader.take(bytes_to_index(local)?)?;
    let overflow = if local < size { reader.u32_be()? } else { 0 };
    Ok(Cell { number, size, local: content, overflow })
}

/// How much of a row of `size` bytes is on its own page, where pages have at least 480 bytes.
fn local_size(size: u64, usable: u64) -> u64 {
    let most = usable.saturating_sub(35);
    if size <= most {
        return size;
    }
    let least = (usable.saturating_sub(12).saturating_mul(32) / 255).saturating_sub(23);
    let on_others = usable.saturating_sub(4).max(1);
    let rest = size.saturating_sub(least).checked_rem(on_others).unwrap_or(0);
    let even = least.saturating_add(rest);
    if even <= most { even } else { least }
}
