//! Keys.
//!
//! Specification: "Key node" of the registry file format specification.
//!
//! | offset | size | field            | rule                                                    |
//! |--------|------|------------------|---------------------------------------------------------|
//! | 0x00   | 2    | `signature`      | `nk`                                                    |
//! | 0x02   | 2    | `flags`          | 0x10 link, 0x20 name in Latin-1, 0x40 predefined handle |
//! | 0x04   | 8    | `last_written`   | FILETIME                                                |
//! | 0x0C   | 4    | `access`         | not looked at                                           |
//! | 0x10   | 4    | `parent`         | the key that it lies in; the root's is not looked at    |
//! | 0x14   | 4    | `subkeys`        | how many                                                |
//! | 0x18   | 4    | `volatile`       | not looked at: they are in no file                      |
//! | 0x1C   | 4    | `subkey_list`    | offset                                                  |
//! | 0x20   | 4    | `volatile_list`  | not looked at                                           |
//! | 0x24   | 4    | `values`         | how many, or the handle                                 |
//! | 0x28   | 4    | `value_list`     | offset                                                  |
//! | 0x2C   | 4    | `security`       | not looked at                                           |
//! | 0x30   | 4    | `class_name`     | offset                                                  |
//! | 0x34   | 20   | `largest`        | not looked at                                           |
//! | 0x48   | 2    | `name_length`    | in bytes                                                |
//! | 0x4A   | 2    | `class_length`   | in bytes                                                |
//! | 0x4C   |      | `name`           |                                                         |

use std::mem::{offset_of, size_of};

use volfold_block::{Finding, code};
use volfold_fs::{FsError, FsErrorKind, FsResult, Timestamp};
use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::cell::{Cell, NONE};
use super::filetime::filetime_to_timestamp;
use super::list::{Element, List};
use super::name::{self, Wanted};
use super::store::{Store, within};
use super::value::{Value, ValueKind};

/// LIMIT: keys that lie in each other, as in Windows.
const MAX_DEPTH: u32 = 512;

/// LIMIT: bytes of the name of a key; Windows allows 255 characters.
const MAX_NAME: u16 = 512;

/// LIMIT: subkeys of one key; the largest keys of Windows have some 100,000.
const MAX_SUBKEYS: u32 = 1 << 20;

/// LIMIT: values of one key; the largest keys of Windows have some 10,000.
const MAX_VALUES: u32 = 1 << 18;

/// LIMIT: damaged elements of one list that are told of, before the list is given up.
const MAX_FAILURES: u32 = 64;

const IS_LINK: u16 = 0x10;
const IS_LATIN_1: u16 = 0x20;
const IS_HANDLE: u16 = 0x40;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawKey {
    signature: [u8; 2],
    flags: U16<LE>,
    last_written: U64<LE>,
    access: U32<LE>,
    parent: U32<LE>,
    subkeys: U32<LE>,
    volatile: U32<LE>,
    subkey_list: U32<LE>,
    volatile_list: U32<LE>,
    values: U32<LE>,
    value_list: U32<LE>,
    security: U32<LE>,
    class_name: U32<LE>,
    largest: [u8; 20],
    name_length: U16<LE>,
    class_length: U16<LE>,
}
const _: () = assert!(offset_of!(RawKey, subkey_list) == 0x1C);
const _: () = assert!(offset_of!(RawKey, class_name) == 0x30);
const _: () = assert!(offset_of!(RawKey, name_length) == 0x48);
const _: () = assert!(size_of::<RawKey>() == 0x4C);

/// Where the name begins.
const NAME_AT: u64 = 0x4C;

/// A key of a hive.
#[derive(Clone)]
pub struct Key<'h> {
    store: &'h Store,
    offset: u32,
    depth: u32,
    path: String,
    name: Vec<u16>,
    flags: u16,
    last_written: u64,
    parent: u32,
    subkey_count: u32,
    subkey_list: u32,
    value_count: u32,
    value_list: u32,
    class_name: u32,
    class_length: u16,
}

impl<'h> Key<'h> {
    pub(super) fn root(store: &'h Store) -> FsResult<Self> {
        Self::read(store, store.base_block.root, 0).map_err(|error| within("root key", error))
    }

    /// The key in the cell at `offset`, without its path.
    fn read(store: &'h Store, offset: u32, depth: u32) -> FsResult<Self> {
        let cell = Cell::locate(store, offset)?;
        let mut bytes = [0; size_of::<RawKey>()];
        cell.read(store, 0, &mut bytes)?;
        let raw = match RawKey::ref_from_bytes(&bytes) {
            Ok(raw) if raw.signature == *b"nk" => raw,
            _ => return Err(cell.corrupt("key has a wrong signature", 0)),
        };
        let name_length = raw.name_length.get();
        if name_length > MAX_NAME {
            return Err(cell.corrupt("key has a name that is too long", 0x48));
        }
        let name = cell.bytes(store, NAME_AT, name_length.into())?;
        let flags = raw.flags.get();
        let name = name::decode(&name, flags & IS_LATIN_1 != 0)
            .map_err(|error| cell.corrupt(error.message().to_owned(), NAME_AT))?;
        Ok(Self {
            store,
            offset,
            depth,
            path: String::new(),
            name,
            flags,
            last_written: raw.last_written.get(),
            parent: raw.parent.get(),
            subkey_count: raw.subkeys.get(),
            subkey_list: raw.subkey_list.get(),
            value_count: raw.values.get(),
            value_list: raw.value_list.get(),
            class_name: raw.class_name.get(),
            class_length: raw.class_length.get(),
        })
    }

    /// The subkey in the cell at `offset`.
    fn child(&self, offset: u32) -> FsResult<Self> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(self.error(FsError::corrupt("keys lie in each other too deep")));
        }
        let mut child = Self::read(self.store, offset, depth).map_err(|error| self.error(error))?;
        let name = child.name();
        child.path = match self.path.as_str() {
            "" => name,
            path => format!("{path}\\{name}"),
        };
        if child.parent != self.offset {
            let line = "key says that it lies in another key than the one that lists it";
            return Err(child.error(FsError::corrupt(line)));
        }
        Ok(child)
    }

    /// The subkey that `element` of a list means. That the list has another hint of its name than the name
    /// gives is told: Windows, which believes the hint, would not find it.
    fn listed(&self, element: Element) -> FsResult<Self> {
        let child = self.child(element.offset)?;
        let own = Wanted::new(&child.name());
        if own.has_hints() && !element.hint.allows(&own) {
            let line =
                format!("key {}: the list that has it has another hint of its name", child.path);
            self.store.told.add(Finding::warning(code::GUEST_INCOMPLETE, line));
        }
        Ok(child)
    }

    /// `error` with the path of the key.
    fn error(&self, error: FsError) -> FsError {
        match self.path.as_str() {
            "" => within("root key", error),
            path => within(&format!("key {path}"), error),
        }
    }

    /// Its name; unpaired surrogates are replaced.
    pub fn name(&self) -> String {
        name::to_text(&self.name)
    }

    /// The UTF-16 code units of its name.
    pub fn name_units(&self) -> &[u16] {
        &self.name
    }

    /// The names from below the root to this key, separated by `\`; empty for the root itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// When it was last changed.
    pub fn last_written(&self) -> Timestamp {
        filetime_to_timestamp(self.last_written)
    }

    /// Whether Windows goes on elsewhere where a path leads through the key; see
    /// [`Key::link_target`].
    pub fn is_link(&self) -> bool {
        self.flags & IS_LINK != 0
    }

    /// Whether the key stands for one that Windows makes up, as `Perflib\009`. It has no values.
    pub fn is_predefined_handle(&self) -> bool {
        self.flags & IS_HANDLE != 0
    }

    /// How many subkeys it says to have.
    pub fn subkey_count(&self) -> u32 {
        self.subkey_count
    }

    /// How many values it says to have.
    pub fn value_count(&self) -> u32 {
        if self.is_predefined_handle() { 0 } else { self.value_count }
    }

    /// Where the key leads, in the names of the kernel (`\Registry\Machine\...`), if it is a link.
    ///
    /// # Errors
    /// `Corrupt` if it is a link without a target, or why that cannot be read.
    pub fn link_target(&self) -> FsResult<Option<String>> {
        if !self.is_link() {
            return Ok(None);
        }
        match self.value("SymbolicLinkValue")? {
            Some(value) if value.kind() == ValueKind::Link => value.text().map(Some),
            _ => Err(self.error(FsError::corrupt("key is a link without a target"))),
        }
    }

    /// Its class name, `None` if it has none.
    ///
    /// # Errors
    /// `Corrupt` if it does not fit into its cell or is no UTF-16, or why it cannot be read.
    pub fn class_name(&self) -> FsResult<Option<String>> {
        if self.class_length == 0 || self.class_name == NONE {
            return Ok(None);
        }
        let read = || {
            let cell = Cell::locate(self.store, self.class_name)?;
            let bytes = cell.bytes(self.store, 0, self.class_length.into())?;
            let units = name::decode(&bytes, false)
                .map_err(|_| cell.corrupt("class name has an odd length", 0))?;
            String::from_utf16(&units).map_err(|_| cell.corrupt("class name is not UTF-16", 0))
        };
        read().map(Some).map_err(|error| self.error(error))
    }

    /// Its subkeys, in the order of their names. A damaged one is an error, and those after it are
    /// given all the same.
    pub fn subkeys(&self) -> Subkeys<'_, 'h> {
        let elements = Elements::new(self);
        Subkeys { elements, failures: 0 }
    }

    /// The subkey `name`, without regard to case; `None` only if every subkey could be read and none
    /// is called so.
    ///
    /// # Errors
    /// Why the subkey, or one that may be it, cannot be read.
    pub fn subkey(&self, name: &str) -> FsResult<Option<Self>> {
        let wanted = Wanted::new(name);
        if wanted.has_hints() {
            let mut failures = 0_u32;
            for element in Elements::new(self) {
                let child = match element {
                    Ok(element) if !element.hint.allows(&wanted) => continue,
                    element => element.and_then(|element| self.child(element.offset)),
                };
                match child {
                    Ok(child) if wanted.is(&child.name) => return Ok(Some(child)),
                    Ok(_) => {}
                    // What is damaged is told below.
                    Err(_) => failures = failures.saturating_add(1),
                }
                if failures > MAX_FAILURES {
                    break;
                }
            }
        }
        first_or_error(self.subkeys(), |child| wanted.is(&child.name))
    }

    /// The key at `path` below this one, its parts separated by `\`, without regard to case; `None`
    /// if there is none.
    ///
    /// # Errors
    /// Why a key on the way cannot be read; `Unsupported` for a path that leads through a link.
    pub fn descendant(&self, path: &str) -> FsResult<Option<Self>> {
        let mut key = self.clone();
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            if let Some(target) = key.link_target()? {
                let line = format!("key is a link to {target}");
                return Err(key.error(FsError::unsupported(line)));
            }
            match key.subkey(part)? {
                Some(child) => key = child,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// Its values, in the order that they were made. A damaged one is an error, and those after it
    /// are given all the same.
    pub fn values(&self) -> Values<'_, 'h> {
        Values { key: self, list: None, next: 0, failures: 0 }
    }

    /// The value `name`, without regard to case, the empty name for the default value; `None` only
    /// if every value could be read and none is called so, or if the hive says that it is deleted.
    ///
    /// # Errors
    /// Why the value, or one that may be it, cannot be read.
    pub fn value(&self, name: &str) -> FsResult<Option<Value<'h>>> {
        let wanted = Wanted::new(name);
        let found = first_or_error(self.values(), |value| wanted.is(value.name_units()))?;
        Ok(found.filter(|value| !value.is_tombstone()))
    }
}

/// The first of `items` that `is_wanted`; where none is, the first error among them.
fn first_or_error<T>(
    items: impl Iterator<Item = FsResult<T>>,
    is_wanted: impl Fn(&T) -> bool,
) -> FsResult<Option<T>> {
    let mut failure = None;
    for item in items {
        match item {
            Ok(item) if is_wanted(&item) => return Ok(Some(item)),
            Ok(_) => {}
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

/// The elements of the lists of subkeys of a key, as many as the key says to have.
struct Elements<'k, 'h> {
    key: &'k Key<'h>,
    state: ElementState,
    left: u32,
    /// Whether a list could not be read, so that the count cannot be held against the lists.
    has_lost: bool,
}

enum ElementState {
    Start,
    /// The rest of the leaf, and the leaves after it.
    Within(std::vec::IntoIter<Element>, std::vec::IntoIter<u32>),
    Done,
}

impl<'k, 'h> Elements<'k, 'h> {
    fn new(key: &'k Key<'h>) -> Self {
        let has_none = key.subkey_count == 0 && key.subkey_list == NONE;
        let state = if has_none { ElementState::Done } else { ElementState::Start };
        Self { key, state, left: key.subkey_count, has_lost: false }
    }

    /// The next leaf, or the lists of the key at the start.
    fn advance(&mut self) -> FsResult<()> {
        let store = self.key.store;
        let state = std::mem::replace(&mut self.state, ElementState::Done);
        if matches!(state, ElementState::Start) && self.key.subkey_count > MAX_SUBKEYS {
            self.has_lost = true;
            return Err(FsError::unsupported("key has more subkeys than are read"));
        }
        self.state = match state {
            ElementState::Start => match List::read(store, self.key.subkey_list) {
                Ok(List::Leaf(leaf)) => {
                    ElementState::Within(leaf.into_iter(), Vec::new().into_iter())
                }
                Ok(List::Root(lists)) => {
                    ElementState::Within(Vec::new().into_iter(), lists.into_iter())
                }
                // QUIRK: a key that lost its last subkey may keep an offset at which there is no list.
                Err(_) if self.key.subkey_count == 0 => ElementState::Done,
                Err(error) => {
                    self.has_lost = true;
                    return Err(error);
                }
            },
            ElementState::Within(_, mut lists) => match lists.next() {
                Some(list) => match List::read_leaf(store, list) {
                    Ok(leaf) => ElementState::Within(leaf.into_iter(), lists),
                    Err(error) => {
                        self.has_lost = true;
                        self.state = ElementState::Within(Vec::new().into_iter(), lists);
                        return Err(error);
                    }
                },
                None => ElementState::Done,
            },
            ElementState::Done => ElementState::Done,
        };
        let is_done = matches!(self.state, ElementState::Done);
        if is_done && self.left > 0 && !self.has_lost {
            self.has_lost = true;
            return Err(FsError::corrupt("key has fewer subkeys than it counts"));
        }
        Ok(())
    }
}

impl Iterator for Elements<'_, '_> {
    type Item = FsResult<Element>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let ElementState::Within(leaf, _) = &mut self.state
                && let Some(element) = leaf.next()
            {
                let Some(left) = self.left.checked_sub(1) else {
                    self.state = ElementState::Done;
                    let error = FsError::corrupt("key has more subkeys than it counts");
                    return Some(Err(self.key.error(error)));
                };
                self.left = left;
                return Some(Ok(element));
            }
            if matches!(self.state, ElementState::Done) {
                return None;
            }
            if let Err(error) = self.advance() {
                return Some(Err(self.key.error(error)));
            }
        }
    }
}

/// The subkeys of a key; see [`Key::subkeys`].
pub struct Subkeys<'k, 'h> {
    elements: Elements<'k, 'h>,
    failures: u32,
}

impl<'h> Iterator for Subkeys<'_, 'h> {
    type Item = FsResult<Key<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failures > MAX_FAILURES {
            return None;
        }
        let key = self.elements.key;
        let item = self.elements.next()?.and_then(|element| key.listed(element));
        Some(item.map_err(|error| count_failure(&mut self.failures, key, error)))
    }
}

/// Counts `error`; the one that is too many says so.
fn count_failure(failures: &mut u32, key: &Key<'_>, error: FsError) -> FsError {
    *failures = failures.saturating_add(1);
    match *failures > MAX_FAILURES {
        true => key.error(FsError::corrupt("key has too many damaged subkeys or values")),
        false => error,
    }
}

/// The values of a key; see [`Key::values`].
pub struct Values<'k, 'h> {
    key: &'k Key<'h>,
    /// The cell of the list, once it was needed.
    list: Option<Cell>,
    next: u32,
    failures: u32,
}

impl<'h> Values<'_, 'h> {
    /// Whether the key says to have no values, and has a list of some.
    fn has_uncounted(&self) -> bool {
        let key = self.key;
        if key.value_count != 0 || key.is_predefined_handle() || key.value_list == NONE {
            return false;
        }
        // QUIRK: a key that lost its last value may keep an offset at which there is no list.
        let first = || {
            let mut offset = [0; 4];
            Cell::locate(key.store, key.value_list)?.read(key.store, 0, &mut offset)?;
            Value::read(key.store, u32::from_le_bytes(offset), &key.path)
        };
        first().is_ok()
    }

    /// The value with the number `number`.
    fn read(&mut self, number: u32) -> FsResult<Value<'h>> {
        let key = self.key;
        if key.value_count > MAX_VALUES {
            return Err(FsError::unsupported("key has more values than are read"));
        }
        let list = match self.list {
            Some(list) => list,
            None => {
                let list = Cell::locate(key.store, key.value_list)?;
                if u64::from(key.value_count).saturating_mul(4) > list.length() {
                    let line = "list of values is shorter than the key counts";
                    return Err(list.corrupt(line, 0));
                }
                *self.list.insert(list)
            }
        };
        let mut offset = [0; 4];
        list.read(key.store, u64::from(number).saturating_mul(4), &mut offset)?;
        Value::read(key.store, u32::from_le_bytes(offset), &key.path)
    }
}

impl<'h> Iterator for Values<'_, 'h> {
    type Item = FsResult<Value<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == 0 && self.has_uncounted() {
            self.next = u32::MAX;
            return Some(Err(self
                .key
                .error(FsError::corrupt("key has values that it does not count"))));
        }
        if self.next >= self.key.value_count() || self.failures > MAX_FAILURES {
            return None;
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        let item = self.read(number);
        if self.list.is_none() {
            // Without the list there are no values.
            self.next = u32::MAX;
        }
        let key = self.key;
        Some(item.map_err(|error| {
            let error = key.error(error);
            if error.kind() == FsErrorKind::Corrupt {
                return count_failure(&mut self.failures, key, error);
            }
            error
        }))
    }
}
