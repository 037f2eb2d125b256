//! Code pages: what the bytes of 8.3 names mean, which the volume does not say.

use std::fmt;
use std::str::FromStr;

use encoding_rs::Encoding;
use oem_cp::code_table::DECODING_TABLE_CP_MAP;
use oem_cp::code_table_type::TableType;

use crate::error::{FsError, FsErrorKind};

/// A code page of DOS or Windows.
#[derive(Clone, Copy)]
pub struct CodePage {
    number: u16,
    table: Table,
}

#[derive(Clone, Copy)]
enum Table {
    /// Of DOS, a byte for a letter.
    Dos(&'static TableType),
    /// Of Windows, some with two bytes for a letter.
    Windows(&'static Encoding),
}

/// The code pages that are not in the tables of DOS.
const WINDOWS: [(u16, &Encoding); 13] = [
    (932, encoding_rs::SHIFT_JIS),
    (936, encoding_rs::GBK),
    (949, encoding_rs::EUC_KR),
    (950, encoding_rs::BIG5),
    (1250, encoding_rs::WINDOWS_1250),
    (1251, encoding_rs::WINDOWS_1251),
    (1252, encoding_rs::WINDOWS_1252),
    (1253, encoding_rs::WINDOWS_1253),
    (1254, encoding_rs::WINDOWS_1254),
    (1255, encoding_rs::WINDOWS_1255),
    (1256, encoding_rs::WINDOWS_1256),
    (1257, encoding_rs::WINDOWS_1257),
    (1258, encoding_rs::WINDOWS_1258),
];

impl CodePage {
    /// The code page `number`, `None` if it is not known.
    pub fn of(number: u16) -> Option<Self> {
        let of_windows = || {
            let found = WINDOWS.iter().find(|(own, _)| *own == number);
            found.map(|(_, encoding)| Table::Windows(encoding))
        };
        let table = DECODING_TABLE_CP_MAP.get(&number).map(Table::Dos).or_else(of_windows)?;
        Some(Self { number, table })
    }

    /// `bytes` as UTF-16. A byte without a meaning becomes U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> Vec<u16> {
        match self.table {
            Table::Dos(table) => table.decode_string_lossy(bytes).encode_utf16().collect(),
            Table::Windows(encoding) => {
                let (text, _) = encoding.decode_without_bom_handling(bytes);
                text.encode_utf16().collect()
            }
        }
    }
}

/// 437, that of DOS in the United States, which Linux takes if nothing else is said.
impl Default for CodePage {
    fn default() -> Self {
        static TABLE: TableType = TableType::Complete(&oem_cp::code_table::DECODING_TABLE_CP437);
        Self { number: 437, table: Table::Dos(&TABLE) }
    }
}

impl FromStr for CodePage {
    type Err = FsError;

    fn from_str(text: &str) -> Result<Self, FsError> {
        text.parse().ok().and_then(Self::of).ok_or_else(|| {
            let line = format!("{text:?} is no code page that is known: 437, 850, 852, 866, 932, 1250, 1251, 1252 are");
            FsError::new(FsErrorKind::InvalidName, line)
        })
    }
}

impl PartialEq for CodePage {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for CodePage {}

impl fmt::Debug for CodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodePage({})", self.number)
    }
}

impl fmt::Display for CodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: &str, bytes: &[u8]) -> String {
        let page: CodePage = number.parse().unwrap();
        String::from_utf16(&page.decode(bytes)).unwrap()
    }

    #[test]
    fn one_byte_means_other_letters_in_other_code_pages() {
        for (number, bytes, wanted) in [
            ("437", &b"\x8E\x9A\xE1"[..], "\u{c4}\u{dc}\u{df}"),
            ("850", b"\x9D\xD5", "\u{d8}\u{131}"),
            ("852", b"\xA5\x86", "\u{105}\u{107}"),
            ("866", b"\x8F\xE0\xA8", "\u{41f}\u{440}\u{438}"),
            ("932", b"\x83\x65\x83\x58", "\u{30c6}\u{30b9}"),
            ("1250", b"\xB9", "\u{105}"),
            ("1251", b"\xCF", "\u{41f}"),
            ("1252", b"\x80", "\u{20ac}"),
        ] {
            assert_eq!(text(number, bytes), wanted, "{number}");
            assert_eq!(text(number, b"PLAIN~1"), "PLAIN~1", "{number}");
        }
        for number in ["", "0", "65001", "x437", "99999"] {
            assert!(number.parse::<CodePage>().is_err(), "{number}");
        }
    }
}
