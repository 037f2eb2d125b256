//! The characters of descriptors and configurations.
//!
//! Specification: none. They say in which encoding their writer kept them, by the name that the
//! writer's system has for it; VMware writes `UTF-8`, or the code page of Windows.

use std::path::PathBuf;

use encoding_rs::{Encoding, WINDOWS_1252};

/// Names of encodings that the web does not have, and what it calls them.
const OTHER_LABELS: [(&str, &str); 14] = [
    ("windows-932", "shift_jis"),
    ("cp932", "shift_jis"),
    ("shift_jisx0213", "shift_jis"),
    ("windows-936", "gbk"),
    ("cp936", "gbk"),
    ("ms936", "gbk"),
    ("euc-cn", "gbk"),
    ("cp949", "euc-kr"),
    ("ms949", "euc-kr"),
    ("cp950", "big5"),
    ("ms950", "big5"),
    ("windows-950", "big5"),
    ("big5hkscs", "big5"),
    ("utf8", "utf-8"),
];

/// How the bytes of a descriptor become text.
#[derive(Clone, Copy, Default)]
pub struct TextEncoding(Option<&'static Encoding>);

impl TextEncoding {
    /// The encoding of a descriptor that calls it `label`.
    pub fn of(label: &str) -> Self {
        let label = label.trim().to_ascii_lowercase();
        let known = OTHER_LABELS.iter().find(|(name, _)| *name == label);
        let label = known.map_or(label.as_str(), |(_, label)| label);
        // Lines and quotes are found before the text is decoded.
        Self(Encoding::for_label(label.as_bytes()).filter(|known| known.is_ascii_compatible()))
    }

    /// The text in `bytes`: by the encoding that the descriptor names if it is one, else UTF-8, else
    /// windows-1252, which every byte is a character of.
    pub fn decode(self, bytes: &[u8]) -> String {
        let decode = |encoding: &'static Encoding| {
            encoding.decode_without_bom_handling_and_without_replacement(bytes)
        };
        if let Some(text) = self.0.and_then(decode) {
            return text.into_owned();
        }
        match str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
        }
    }

    /// The name of a file in `bytes`, and other ways in which the host may write it.
    pub fn file_name(self, bytes: &[u8]) -> FileName {
        let shown = self.decode(bytes);
        let mut spellings = vec![PathBuf::from(&shown)];
        let mut add = |spelling: PathBuf| {
            if !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        };
        // The descriptor may have been edited since its encoding was noted.
        if let Ok(text) = str::from_utf8(bytes) {
            add(PathBuf::from(text));
        }
        // The file may have come here by a way that did not translate its name.
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            add(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)));
        }
        FileName { shown, spellings }
    }
}

/// A file as a descriptor names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileName {
    /// What messages call it.
    pub shown: String,
    /// What it may be called here, the likeliest first.
    pub spellings: Vec<PathBuf>,
}

impl FileName {
    /// Whether no file is named.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(label: &str, bytes: &[u8], text: &str) {
        assert_eq!(TextEncoding::of(label).decode(bytes), text, "{label}");
    }

    #[test]
    fn the_encodings_of_windows_are_known_by_all_their_names() {
        check("GBK", b"\xCA\xFD\xBE\xDD", "\u{6570}\u{636E}");
        check("windows-936", b"\xCA\xFD", "\u{6570}");
        check("Shift_JIS", b"\x95\x5C", "\u{8868}");
        check("windows-932", b"\x95\x5C", "\u{8868}");
        check("Big5", b"\xB8\xEA", "\u{8CC7}");
        check("windows-950", b"\xB8\xEA", "\u{8CC7}");
        check("EUC-KR", b"\xC7\xD1", "\u{D55C}");
        check("windows-949", b"\xC7\xD1", "\u{D55C}");
        check("windows-1250", b"\xB3", "\u{142}");
        check("windows-1251", b"\xC4\xE8", "\u{414}\u{438}");
        check("windows-1253", b"\xE4", "\u{3B4}");
        check("windows-1258", b"\xFE", "\u{20AB}");
        check("UTF-8", "\u{E9}".as_bytes(), "\u{E9}");
    }

    #[test]
    fn bytes_that_are_not_in_the_encoding_are_utf8_or_windows_1252() {
        check("UTF-8", b"gr\xFC\xDFe \x80", "gr\u{FC}\u{DF}e \u{20AC}");
        check("GBK", b"\xFF\xFF", "\u{FF}\u{FF}");
        check("no such encoding", "\u{E9}".as_bytes(), "\u{E9}");
        check("", b"\xE9", "\u{E9}");
    }

    #[test]
    fn a_name_is_looked_for_decoded_and_as_it_is() {
        let name = TextEncoding::of("Shift_JIS").file_name(b"\x95\x5C.vmdk");
        assert_eq!(name.shown, "\u{8868}.vmdk");
        assert_eq!(name.spellings[0], PathBuf::from("\u{8868}.vmdk"));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(name.spellings[1].as_os_str().as_bytes(), b"\x95\x5C.vmdk");
        }
        // UTF-8 that was noted as GBK, as an editor leaves it.
        let name = TextEncoding::of("GBK").file_name("\u{6570}.vmdk".as_bytes());
        assert!(name.spellings.contains(&PathBuf::from("\u{6570}.vmdk")));
        assert_eq!(TextEncoding::of("").file_name(b"a.vmdk").spellings.len(), 1);
    }
}
