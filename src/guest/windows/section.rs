//! A key of a hive that is asked for values which may be missing.

use crate::guest::hive::{Hive, Key, Value, ValueKind};

use super::files::Notes;

/// A key, or the lack of it. What cannot be read is told and counts as missing.
pub(super) struct Section<'h, 'n> {
    key: Option<Key<'h>>,
    notes: Notes<'n>,
}

impl<'h, 'n> Section<'h, 'n> {
    /// The key at `path` of `hive`, which may be missing.
    pub(super) fn open(hive: &'h Hive, path: &str, notes: Notes<'n>) -> Self {
        Self { key: notes.or_none(hive.key(path)), notes }
    }

    /// The key at `path` of `hive`; that it is missing is told.
    pub(super) fn required(hive: &'h Hive, path: &str, notes: Notes<'n>) -> Self {
        let key = hive.key(path);
        if matches!(key, Ok(None)) {
            notes.missing(&format!("key {path}"));
        }
        Self { key: notes.or_none(key), notes }
    }

    /// The section of `key`.
    pub(super) fn of(key: Key<'h>, notes: Notes<'n>) -> Self {
        Self { key: Some(key), notes }
    }

    /// The lack of a key.
    pub(super) fn none(notes: Notes<'n>) -> Self {
        Self { key: None, notes }
    }

    /// The key, if it is there.
    pub(super) fn key(&self) -> Option<&Key<'h>> {
        self.key.as_ref()
    }

    fn value(&self, name: &str) -> Option<Value<'h>> {
        let key = self.key.as_ref()?;
        self.notes.or_none(key.value(name))
    }

    /// The text of the value `name`, `None` also if it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        self.notes.or_none(value.text().map(Some)).filter(|text| !text.is_empty())
    }

    /// The text of the value `name`, or its number as text: programs write either.
    pub(super) fn text_or_number(&self, name: &str) -> Option<String> {
        match self.is_number(name) {
            true => self.number(name).map(|number| number.to_string()),
            false => self.text(name),
        }
    }

    /// Whether the value `name` is there and is a number by its kind.
    pub(super) fn is_number(&self, name: &str) -> bool {
        let kinds = [ValueKind::Dword, ValueKind::DwordBigEndian, ValueKind::Qword];
        self.value(name).is_some_and(|value| kinds.contains(&value.kind()))
    }

    /// The texts of the value `name`.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.value(name).map(|value| self.notes.or_none(value.texts().map(Some)));
        texts.flatten().unwrap_or_default()
    }

    /// The number in the value `name`.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        self.notes.or_none(value.number().map(Some))
    }

    /// The number of 4 bytes in the value `name`, as one with a sign.
    pub(super) fn signed(&self, name: &str) -> Option<i32> {
        let number = u32::try_from(self.number(name)?).ok()?;
        Some(number.cast_signed())
    }

    /// The bytes of the value `name`.
    pub(super) fn data(&self, name: &str) -> Option<Vec<u8>> {
        let value = self.value(name)?;
        self.notes.or_none(value.data().map(Some))
    }
}
