//! Files of `NAME=value` lines, as `os-release` has them.
//!
//! Specification: os-release(5) of systemd. Values may be quoted as a shell does; `\` takes the
//! meaning of the next character away outside of single quotes.

use std::collections::BTreeMap;

/// The variables that `text` sets; the last line of one name counts.
pub(crate) fn parse(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let mut variables = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let name = name.trim().trim_start_matches("export ").trim();
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        if is_name(name) {
            variables.insert(name.to_owned(), unquoted(value.trim()));
        }
    }
    variables
}

/// The word that a shell reads at the beginning of `value`.
fn unquoted(value: &str) -> String {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.extend(characters.next()),
            (None, character) if character.is_whitespace() => break,
            _ => word.push(character),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let text = b"# a comment\nID=debian\nPRETTY_NAME=\"A \\\"b\\\" $x\"\nEMPTY=\n\
            ONE='it is \\ so'\nID=other # note\nbad name=1\nexport ARCH=\"a\"'b'\nnothing\n";
        let variables = parse(text);
        let expected = [
            ("ARCH", "ab"),
            ("EMPTY", ""),
            ("ID", "other"),
            ("ONE", "it is \\ so"),
            ("PRETTY_NAME", "A \"b\" $x"),
        ];
        let expected: BTreeMap<String, String> =
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(variables, expected);
    }
}
