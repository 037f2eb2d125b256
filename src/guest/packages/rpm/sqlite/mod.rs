//! `rpmdb.sqlite`: a database of SQLite whose table `Packages` has the headers.
//!
//! Specification: "Database File Format" of SQLite; the table as RPM's `sqlite.c` makes it: `hnum` and
//! `blob`. Indexes and free pages are not looked at.

mod pages;
mod row;
mod tree;
mod wal;

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_fs::{FileData, FsError, FsResult};

use self::pages::Pages;
use self::row::{Value, column};
use self::tree::{Step, Tree};
use super::record;
use crate::guest::packages::collector::Collector;
use crate::guest::packages::lines::check_size;

/// The table with the headers.
const TABLE: &str = "Packages";

/// Reads the packages of the database `file`, with the changes in the write-ahead log `log`.
///
/// # Errors
/// If it is no such database, has no such table, or why it cannot be read at all.
pub(in crate::guest::packages) fn read(
    file: Arc<dyn FileData>,
    log: Option<Arc<dyn FileData>>,
    into: &mut Collector,
) -> FsResult<()> {
    check_size(&*file)?;
    if let Some(log) = &log {
        check_size(&**log)?;
    }
    let pages = Pages::open(file, log)?;
    if let Some(damage) = pages.damage() {
        into.damaged(damage.to_owned());
    }
    let root = table(&pages, into)?;
    Tree::new(&pages, root).for_each(&mut |step| match step {
        Step::Row { number, payload } => {
            let place = format!("in row {number}");
            match column(payload, 1) {
                Ok(Some(Value::Blob(blob))) => match record::add(blob, &place, into) {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                },
                Ok(_) => {
                    into.damaged(format!("{place} of table {TABLE} there is no header"));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    into.damaged(format!("{place} of table {TABLE}: {error}"));
                    ControlFlow::Continue(())
                }
            }
        }
        Step::Damaged(error) => {
            into.unreadable(&error);
            ControlFlow::Continue(())
        }
    });
    Ok(())
}

/// The first page of the table.
fn table(pages: &Pages, into: &mut Collector) -> FsResult<u32> {
    let mut root = None;
    Tree::new(pages, 1).for_each(&mut |step| match step {
        Step::Row { payload, .. } => match root_in(payload) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(page)) => {
                root = Some(page);
                ControlFlow::Break(())
            }
            Err(error) => {
                into.unreadable(&error);
                ControlFlow::Continue(())
            }
        },
        Step::Damaged(error) => {
            into.unreadable(&error);
            ControlFlow::Continue(())
        }
    });
    root.ok_or_else(|| FsError::corrupt(format!("database has no table {TABLE}")))
}

/// The first page of the table, if this row of the schema is about it: type, name, name of the table,
/// first page, and the text of the statement.
fn root_in(payload: &[u8]) -> FsResult<Option<u32>> {
    let is = |index, text: &str| -> FsResult<bool> {
        let value = column(payload, index)?;
        Ok(matches!(value, Some(Value::Text(value)) if value == text.as_bytes()))
    };
    if !is(0, "table")? || !is(1, TABLE)? {
        return Ok(None);
    }
    match column(payload, 3)? {
        Some(Value::Number(page)) if page > 0 => Ok(u32::try_from(page).ok()),
        _ => Err(FsError::corrupt(format!("table {TABLE} has no first page"))),
    }
}

#[cfg(test)]
mod tests;
