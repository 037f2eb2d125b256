//! Listings: what independent tools found in a volume, as tab-separated text.

use std::path::Path;

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The path without a leading `/`, raw bytes.
    pub(crate) path: Vec<u8>,
    /// `None` where it does not apply.
    pub(crate) size: Option<u64>,
    /// `None` where it does not apply or the tool could not read the content.
    pub(crate) sha256: Option<String>,
    /// The tool could not read the content.
    pub(crate) unreadable: bool,
    /// `f`, `d`, `l`, `p`, `c`, `b`, `s`, `ads` or `reparse`.
    pub(crate) kind: String,
    /// Seconds since 1970.
    pub(crate) mtime: Option<i64>,
    /// The target of a link, `major,minor` of a device, the tag of a reparse point.
    pub(crate) extra: Vec<u8>,
}

/// The rows of the listing in `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Row> {
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let header = lines.next().expect("a listing has a header");
    assert_eq!(header, b"path\tsize\tsha256\ttype\tmtime\textra");
    lines.map(parse_row).collect()
}

/// The rows of the listing in the file at `path`.
pub(crate) fn load(path: &Path) -> Vec<Row> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut text = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut text).expect("a whole gzip file");
        return parse(&text);
    }
    parse(&bytes)
}

fn parse_row(line: &[u8]) -> Row {
    let columns: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    let [path, size, sha256, kind, mtime, extra] = columns[..] else {
        panic!("row has {} columns: {}", columns.len(), line.escape_ascii());
    };
    let text = |column: &[u8]| String::from_utf8(column.to_vec()).expect("text");
    let number = |column: &[u8]| text(column).split('.').next().and_then(|n| n.parse::<i64>().ok());
    Row {
        path: unescape(path),
        size: number(size).and_then(|size| size.try_into().ok()),
        sha256: (sha256.len() == 64).then(|| text(sha256)),
        unreadable: sha256 == b"unreadable",
        kind: text(kind),
        mtime: number(mtime),
        extra: unescape(extra),
    }
}

/// The bytes that a column stands for.
pub(crate) fn unescape(column: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(column.len());
    let mut rest = column.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'\\') => b'\\',
                other => panic!("unknown escape {other:?}"),
            },
            byte => *byte,
        });
    }
    bytes
}
