//! Units of systemd that show a volume: `home.mount`.
//!
//! Specification: systemd.syntax(7), systemd.mount(5).

use super::fstab::{self, Line};

/// The line of a table that says the same as the unit `text`; `None` if it does not say what is shown, or
/// where.
pub(super) fn parse(text: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(text);
    let mut line = Line::default();
    let mut is_mount = false;
    let mut whole = String::new();
    for part in text.lines().map(str::trim) {
        // A comment may stand between a line and what it goes on with.
        if part.starts_with(['#', ';']) {
            continue;
        }
        if let Some(begin) = part.strip_suffix('\\') {
            whole.push_str(begin);
            whole.push(' ');
            continue;
        }
        whole.push_str(part);
        let assignment = std::mem::take(&mut whole);
        if assignment.starts_with('[') {
            is_mount = assignment == "[Mount]";
            continue;
        }
        let Some((name, value)) = assignment.split_once('=').filter(|_| is_mount) else { continue };
        let value = value.trim().to_owned();
        match name.trim() {
            "What" => line.source = value,
            "Where" => line.directory = fstab::plain(&value),
            "Type" => line.kind = value,
            "Options" => line.options = value,
            _ => {}
        }
    }
    (!line.source.is_empty() && !line.directory.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_what_a_line_of_a_table_says() {
        let text = b"[Unit]\nWhat=no\n# x\n[Mount]\nWhat=/dev/sda1\nWhat = \\\n; a comment\n  LABEL=people\n\
            Where=/home\nType=ext4\nOptions=ro,nofail\n[Install]\nWhere=/no\n";
        let line = parse(text).unwrap();
        let Line { source, directory, kind, options } = line;
        assert_eq!(
            [source, directory, kind, options],
            ["LABEL=people", "/home", "ext4", "ro,nofail"]
        );
        assert_eq!(parse(b"[Mount]\nWhat=/dev/sda1\n"), None);
    }
}
