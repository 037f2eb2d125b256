//! The text of the metadata: sections of values, by name.
//!
//! Source: `libdm/libdm-config.c` of lvm2.
//!
//! ```text
//! file    = { section | value }
//! section = name "{" { section | value } "}"
//! value   = name "=" ( number | string | "[" [ item { "," item } ] "]" )
//! ```
//!
//! A comment begins with `#` and ends with the line. In strings `\` stands before `"` and `\`.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// LIMIT: sections in sections; lvm2 writes four.
const MAX_DEPTH: usize = 16;

/// LIMIT: values of a text: what they take stays below 64 MB. A group of 10,000 volumes has 300,000.
const MAX_VALUES: usize = 1 << 19;

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A whole number.
    Number(i64),
    /// A string.
    Text(Cow<'a, str>),
    /// Numbers and strings.
    List(Vec<Self>),
    /// Values with names.
    Section(Section<'a>),
}

/// Values with names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Section<'a>(BTreeMap<Cow<'a, str>, Value<'a>>);

impl<'a> Section<'a> {
    /// Parses a whole text; zeros at its end are no part of it.
    ///
    /// # Errors
    /// What is wrong, as a sentence with the line.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        let mut parser = Parser { bytes: text.get(..end).unwrap_or(text), next: 0, values: 0 };
        parser.section(0).map_err(|problem| {
            let before = parser.bytes.get(..parser.next).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count();
            format!("line {} of the metadata {problem}", line.saturating_add(1))
        })
    }

    /// The section `name`.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.0.get(name) {
            Some(Value::Section(section)) => Some(section),
            _ => None,
        }
    }

    /// All sections, by name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_ref(), section)),
            _ => None,
        })
    }

    /// The string `name`.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number `name`, if it is not negative.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Value::Number(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number of sectors of 512 bytes `name`, in bytes.
    pub(super) fn sectors(&self, name: &str) -> Option<u64> {
        self.number(name)?.checked_mul(512)
    }

    /// The items of the list `name`; of a single value, that.
    pub(super) fn list(&self, name: &str) -> &[Value<'a>] {
        match self.0.get(name) {
            Some(Value::List(items)) => items,
            Some(single @ (Value::Text(_) | Value::Number(_))) => std::slice::from_ref(single),
            _ => &[],
        }
    }

    /// The strings of the list `name`.
    pub(super) fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.list(name).iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// Whether there is anything called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

type Parsed<T> = Result<T, &'static str>;

struct Parser<'a> {
    bytes: &'a [u8],
    next: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.next).copied()
    }

    fn step(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    /// The next byte that is neither space nor of a comment.
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.step();
                    }
                }
                byte if byte.is_ascii_whitespace() => self.step(),
                byte => return Some(byte),
            }
        }
    }

    fn count(&mut self) -> Parsed<()> {
        self.values = self.values.saturating_add(1);
        if self.values > MAX_VALUES { Err("is one of too many values") } else { Ok(()) }
    }

    /// The values up to the end of the section, or of the text.
    fn section(&mut self, depth: usize) -> Parsed<Section<'a>> {
        if depth > MAX_DEPTH {
            return Err("has sections in too many sections");
        }
        let mut section = Section::default();
        loop {
            match self.token() {
                None if depth == 0 => return Ok(section),
                Some(b'}') if depth > 0 => {
                    self.step();
                    return Ok(section);
                }
                None => return Err("is the last, and a section is not closed"),
                Some(_) => {}
            }
            self.count()?;
            let name = self.name()?;
            let value = match self.token() {
                Some(b'{') => {
                    self.step();
                    Value::Section(self.section(depth.saturating_add(1))?)
                }
                Some(b'=') => {
                    self.step();
                    self.value()?
                }
                _ => return Err("has a name without a value"),
            };
            if section.0.insert(name, value).is_some() {
                return Err("has a name that was there before");
            }
        }
    }

    fn name(&mut self) -> Parsed<Cow<'a, str>> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let start = self.next;
        let is_of_name = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-' | b'/')
        };
        while self.peek().is_some_and(is_of_name) {
            self.step();
        }
        let name = self.bytes.get(start..self.next).and_then(|name| std::str::from_utf8(name).ok());
        name.filter(|name| !name.is_empty())
            .map(Cow::Borrowed)
            .ok_or("has no name where one belongs")
    }

    fn value(&mut self) -> Parsed<Value<'a>> {
        if self.token() != Some(b'[') {
            return self.item();
        }
        self.step();
        let mut items = Vec::new();
        loop {
            if self.token() == Some(b']') {
                self.step();
                return Ok(Value::List(items));
            }
            self.count()?;
            items.push(self.item()?);
            match self.token() {
                Some(b',') => self.step(),
                Some(b']') => {}
                _ => return Err("has a list that is not closed"),
            }
        }
    }

    fn item(&mut self) -> Parsed<Value<'a>> {
        if self.token() == Some(b'"') {
            return self.string().map(Value::Text);
        }
        let start = self.next;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        {
            self.step();
        }
        let digits =
            self.bytes.get(start..self.next).and_then(|text| std::str::from_utf8(text).ok());
        // lvm2 takes a leading zero for octal and never writes one.
        let is_plain =
            |digits: &&str| *digits == "0" || !digits.trim_start_matches('-').starts_with('0');
        let number = digits.filter(is_plain).and_then(|digits| digits.parse().ok());
        number.map(Value::Number).ok_or("has a value that is neither a number nor a string")
    }

    /// A string in quotes.
    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.step();
        let start = self.next;
        let mut is_plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.step();
                    self.step();
                }
                Some(_) => self.step(),
                None => return Err("has a string that is not closed"),
            }
        }
        let bytes = self.bytes.get(start..self.next).unwrap_or_default();
        self.step();
        let text = std::str::from_utf8(bytes).map_err(|_| "has a string that is no UTF-8")?;
        if is_plain {
            return Ok(Cow::Borrowed(text));
        }
        let mut plain = String::with_capacity(text.len());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
        }
        Ok(Cow::Owned(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_lists_and_comments_are_read() {
        let text = b"# made\nvg { id = \"a\\\"b\\\\\" # x\n seqno=3\nstatus = [\"READ\", \"WRITE\"]\n\
            tags = []\n one = \"x\"\n 1-lv.a+b { big = 9223372036854775807 minus = -5 } }\nversion = 1\0junk{";
        let text = Section::parse(text).unwrap();
        let group = text.section("vg").unwrap();
        assert_eq!(group.text("id"), Some("a\"b\\"));
        assert_eq!((group.number("seqno"), text.number("version")), (Some(3), Some(1)));
        assert_eq!(group.words("status").collect::<Vec<_>>(), ["READ", "WRITE"]);
        assert_eq!(group.words("one").collect::<Vec<_>>(), ["x"]);
        assert!(group.list("tags").is_empty() && group.has("tags") && !group.has("flags"));
        let inner = group.section("1-lv.a+b").unwrap();
        assert_eq!((inner.number("big"), inner.number("minus")), (Some(i64::MAX as u64), None));
        assert_eq!(group.sections().count(), 1);
    }

    #[test]
    fn what_is_no_metadata_is_an_error_with_its_line() {
        for (text, problem) in [
            ("a = 1\nb { c = 2", "line 2 of the metadata is the last, and a section is not closed"),
            ("a = \"x", "line 1 of the metadata has a string that is not closed"),
            ("a = [1, 2", "line 1 of the metadata has a list that is not closed"),
            ("a = [1 2]", "line 1 of the metadata has a list that is not closed"),
            ("a = 1\n\na = 2", "line 3 of the metadata has a name that was there before"),
            ("a 1", "line 1 of the metadata has a name without a value"),
            ("= 1", "line 1 of the metadata has no name where one belongs"),
            ("}", "line 1 of the metadata has no name where one belongs"),
            ("a = 010", "line 1 of the metadata has a value that is neither a number nor a string"),
            ("a = 1x", "line 1 of the metadata has a value that is neither a number nor a string"),
            (
                "a = 9223372036854775808",
                "line 1 of the metadata has a value that is neither a number nor a string",
            ),
        ] {
            assert_eq!(Section::parse(text.as_bytes()).unwrap_err(), problem);
        }
        assert!(Section::parse(b"a = \"\xFF\"").unwrap_err().ends_with("no UTF-8"));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = "a {".repeat(100_000);
        assert!(Section::parse(deep.as_bytes()).unwrap_err().contains("too many sections"));
        let long = format!("a = [{}]", "1,".repeat(MAX_VALUES + 1));
        assert!(Section::parse(long.as_bytes()).unwrap_err().contains("too many values"));
    }
}
