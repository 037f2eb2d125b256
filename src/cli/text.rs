//! Words, numbers and times for people, and the two streams.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::LazyLock;

use volfold::info::kind_letter;
use volfold_fs::{FileKind, Metadata};

/// Writes `bytes` to stdout.
///
/// # Errors
/// If the reader is gone or the disk is full.
pub(crate) fn answer(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// One line of talk, with the program's name.
pub(crate) fn complain(message: fmt::Arguments<'_>) {
    // Without stderr there is no place to tell it.
    let _ = writeln!(io::stderr().lock(), "volfold: {}", plain(&message.to_string()));
}

/// Whether a terminal obeys `character`, or shows the others in another order or on another line.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with what a terminal obeys escaped: names are a guest's.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u32::from(character) {
            code if is_obeyed(character) && code < 0x100 => {
                escaped.push_str(&format!("\\x{code:02x}"))
            }
            code if is_obeyed(character) => escaped.push_str(&format!("\\u{{{code:x}}}")),
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// `bytes` as one field of a line: tab, line feed, carriage return and backslash are escaped, and
/// on a terminal all else that it obeys too. A terminal of Windows takes text alone, so
/// there what is not ASCII is escaped in a name that is no text.
pub(crate) fn field(bytes: &[u8]) -> Cow<'_, [u8]> {
    static TERMINAL: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal());
    field_for(bytes, *TERMINAL)
}

/// The same for a `terminal`, or for another reader.
fn field_for(bytes: &[u8], terminal: bool) -> Cow<'_, [u8]> {
    let is_misleading = |bytes: &[u8]| {
        let chunks = bytes.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
        chunks.filter(|character| !character.is_ascii()).any(is_obeyed)
    };
    if terminal && is_misleading(bytes) {
        let mut escaped = Vec::with_capacity(bytes.len() + 8);
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                let text = character.to_string();
                match !character.is_ascii() && is_obeyed(character) {
                    true => escaped.extend(plain(&text).bytes()),
                    false => escaped.extend_from_slice(&field_for(text.as_bytes(), terminal)),
                }
            }
            escaped.extend_from_slice(&field_for(chunk.invalid(), terminal));
        }
        return Cow::Owned(escaped);
    }
    let special = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b'\\');
    let no_text = cfg!(windows) && terminal && std::str::from_utf8(bytes).is_err();
    let control =
        |byte: u8| terminal && (byte < 0x20 || byte == 0x7F) || no_text && !byte.is_ascii();
    if !bytes.iter().any(|byte| special(*byte) || control(*byte)) {
        return Cow::Borrowed(bytes);
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        match byte {
            b'\t' => escaped.extend(b"\\t"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            b'\\' => escaped.extend(b"\\\\"),
            byte if control(*byte) => escaped.extend(format!("\\x{byte:02x}").into_bytes()),
            byte => escaped.push(*byte),
        }
    }
    Cow::Owned(escaped)
}

/// `path` as a shell takes it for one argument.
pub(crate) fn argument(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=@+".contains(c);
    let separator = |c: char| cfg!(windows) && c == '\\';
    if !text.is_empty() && text.chars().all(|c| plain(c) || separator(c)) {
        text
    } else if cfg!(windows) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let value = bytes as f64 / 1024_f64.powi(power as i32);
    format!("{value:.1} {}", UNITS[power - 1])
}

/// Bytes, or a number with K, M, G or T.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" | "KB" => 10,
        "M" | "MIB" | "MB" => 20,
        "G" | "GIB" | "GB" => 30,
        "T" | "TIB" | "TB" => 40,
        unit => return Err(format!("unit {unit} is not one of K, M, G, T")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text} is not a size, as 64M is"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too large"))
}

/// `drwxr-xr-x`; without a guest's mode what a mount would show.
pub(crate) fn mode(metadata: &Metadata) -> String {
    let directory = metadata.kind == FileKind::Directory;
    let mode = metadata.owner.map_or(if directory { 0o555 } else { 0o444 }, |owner| owner.mode);
    let kind = match kind_letter(metadata.kind) {
        'f' => '-',
        letter => letter,
    };
    let mut text = String::from(kind);
    // Set-user-ID, set-group-ID, and the sticky bit take the place of an `x`.
    for (shift, special, letters) in [(6, 0o4000, "sS"), (3, 0o2000, "sS"), (0, 0o1000, "tT")] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push_str(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => "-",
            (false, true) => "x",
            (true, true) => &letters[..1],
            (true, false) => &letters[1..],
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_control_characters() {
        assert_eq!(plain("a\u{1b}]0;x\u{7}b\nc\u{9b}"), "a\\x1b]0;x\\x07b\\x0ac\\x9b");
        assert_eq!(plain("Größe"), "Größe");
        assert_eq!(plain("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
        let name = "ö\u{9b}1m\u{202e}txt.exe\t\u{1b}".as_bytes();
        assert_eq!(&*field_for(name, true), "ö\\x9b1m\\u{202e}txt.exe\\t\\x1b".as_bytes());
        let elsewhere = field_for(name, false);
        assert!(
            elsewhere.ends_with(b"txt.exe\\t\x1b") && elsewhere.starts_with("ö\u{9b}".as_bytes())
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        for (path, shown) in
            [("a/b-1.vmdk", "a/b-1.vmdk"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(argument(Path::new(path)), shown);
        }
    }

    #[test]
    fn a_mode_is_shown_as_ls_shows_it() {
        for (bits, shown) in [
            (0o755, "-rwxr-xr-x"),
            (0o4755, "-rwsr-xr-x"),
            (0o6644, "-rwSr-Sr--"),
            (0o1777, "-rwxrwxrwt"),
            (0o1770, "-rwxrwx--T"),
        ] {
            let owner = Some(volfold_fs::Owner { uid: 0, gid: 0, mode: bits });
            let mut metadata = Metadata::new(volfold_fs::NodeId(1), FileKind::Regular);
            metadata.owner = owner;
            assert_eq!(mode(&metadata), shown);
        }
    }

    #[test]
    fn sizes_are_read_and_written_in_powers_of_1024() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("123"), Ok(123));
        assert!(parse_size("1X").is_err() && parse_size("M").is_err());
        assert!(parse_size("99999999T").is_err());
        assert_eq!(
            (size(5), size(1536), size(1 << 40)),
            ("5 B".into(), "1.5 KiB".into(), "1.0 TiB".into())
        );
    }
}
