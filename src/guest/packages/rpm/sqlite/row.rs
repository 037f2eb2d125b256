//! The values of a row.
//!
//! Specification: "Database File Format", 2.1: the size of the header, a type for each column, and the
//! values after them; sizes and types are numbers of variable length.

use volfold_block::{ByteReader, bytes_to_index};
use volfold_fs::{FsError, FsResult};

const NAME: &str = "row of the database";

/// LIMIT: columns that are stepped over; the tables that are read have five at most.
const MAX_COLUMNS: usize = 16;

/// A value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Number(i64),
    /// A number with a fraction, which nothing asks for.
    Real,
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// The value in the column `index` of a row with the content `payload`; `None` if the row has fewer.
///
/// # Errors
/// `Corrupt` if the row contradicts the format.
pub(super) fn column(payload: &[u8], index: usize) -> FsResult<Option<Value<'_>>> {
    let mut reader = ByteReader::new(NAME, payload, 0);
    let header_size = bytes_to_index(variable(&mut reader)?)?;
    let (header, values) = payload
        .split_at_checked(header_size)
        .ok_or_else(|| FsError::corrupt("row of the database has a header that is cut short"))?;
    let mut types = ByteReader::new(NAME, header, 0);
    variable(&mut types)?;
    let mut values = ByteReader::new(NAME, values, 0);
    for _ in 0..index.min(MAX_COLUMNS) {
        if types.remaining() == 0 {
            return Ok(None);
        }
        let kind = variable(&mut types)?;
        values.skip(size_of(kind)?)?;
    }
    if types.remaining() == 0 || index > MAX_COLUMNS {
        return Ok(None);
    }
    let kind = variable(&mut types)?;
    let bytes = values.take(size_of(kind)?)?;
    Ok(Some(match kind {
        0 => Value::Null,
        7 => Value::Real,
        8 => Value::Number(0),
        9 => Value::Number(1),
        1..=6 => Value::Number(number(bytes)),
        kind if kind & 1 == 0 => Value::Blob(bytes),
        _ => Value::Text(bytes),
    }))
}

/// The bytes of a value of the type `kind`.
fn size_of(kind: u64) -> FsResult<usize> {
    Ok(match kind {
        0 | 8 | 9 => 0,
        1..=4 => bytes_to_index(kind)?,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return Err(FsError::corrupt("row of the database has a value of no type")),
        kind => bytes_to_index(kind.saturating_sub(12) / 2)?,
    })
}

/// A number of up to eight bytes with a sign.
fn number(bytes: &[u8]) -> i64 {
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if is_negative { -1 } else { 0 };
    bytes.iter().fold(start, |number: i64, byte| number << 8 | i64::from(*byte))
}

/// A number of one to nine bytes: seven bits in each, the highest first, and eight in the ninth.
///
/// # Errors
/// `Corrupt` if it is cut short.
pub(super) fn variable(reader: &mut ByteReader<'_>) -> FsResult<u64> {
    let mut number: u64 = 0;
    for _ in 0..8 {
        let byte = reader.u8()?;
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Ok(number << 8 | u64::from(reader.u8()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_of_their_columns() {
        let row = [6, 0, 9, 0x0F, 2, 0x10, b'x', 0xFF, 0xFE, 7, 8];
        assert_eq!(column(&row, 0).unwrap(), Some(Value::Null));
        assert_eq!(column(&row, 1).unwrap(), Some(Value::Number(1)));
        assert_eq!(column(&row, 2).unwrap(), Some(Value::Text(b"x")));
        assert_eq!(column(&row, 3).unwrap(), Some(Value::Number(-2)));
        assert_eq!(column(&row, 4).unwrap(), Some(Value::Blob(&[7, 8])));
        assert_eq!(column(&row, 5).unwrap(), None);
        for length in 0..6 {
            assert!(column(&row[..length], 4).is_err(), "{length}");
        }
        assert!(column(&row[..10], 4).is_err());
        assert!(column(&[2, 10], 0).is_err());
    }

    #[test]
    fn numbers_of_variable_length_have_up_to_nine_bytes() {
        let read = |bytes: &[u8]| variable(&mut ByteReader::new(NAME, bytes, 0)).ok();
        assert_eq!(read(&[0x7F]), Some(127));
        assert_eq!(read(&[0x81, 0x00]), Some(128));
        assert_eq!(read(&[0xFF; 9]), Some(u64::MAX));
        assert_eq!(read(&[0xFF; 8]), None);
    }
}
