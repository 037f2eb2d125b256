//! Locked volumes: what they are, which kinds of key open them, and where keys come from.
//!
//! A manager that meets an encrypted volume answers with a [`Lock`]. Discovery asks the
//! [`KeySource`] of the set for keys until one opens it, none is left, or [`MAX_ATTEMPTS`] were
//! wrong. What was opened is looked into like any other device; what was not stays listed, and
//! every read of it is an error that says which kinds of key would help.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, error_chain};
use zeroize::Zeroizing;

/// LIMIT: keys that are tried on one volume; a source may have no end.
pub const MAX_ATTEMPTS: usize = 64;

/// LIMIT: what the keys of one set may cost, as [`WorkBudget`] counts: about a quarter of an hour. A header
/// says itself how much work a key is, and a hostile one asks for all there is.
pub const MAX_WORK: u64 = 1 << 30;

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyKind {
    /// Text that a person knows.
    Password,
    /// A long number that was written down for the day when the password is lost.
    RecoveryKey,
    /// The bytes of a file.
    KeyFile,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::RecoveryKey => "recovery key",
            Self::KeyFile => "key file",
        })
    }
}

/// A key. Its bytes are in no message and no `Debug` text, and are wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    kind: KeyKind,
    bytes: Zeroizing<Vec<u8>>,
    origin: Option<Arc<str>>,
    is_for_this: bool,
}

impl Key {
    /// A key of `kind`; text is UTF-8.
    pub fn new(kind: KeyKind, bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind, bytes: Zeroizing::new(bytes.into()), origin: None, is_for_this: false }
    }

    /// The key with what messages call it: where it comes from.
    #[must_use]
    pub fn from_origin(mut self, origin: impl Into<Arc<str>>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// The key, given for this volume alone and not tried on every one: who gave it bears what trying it
    /// takes.
    #[must_use]
    pub fn for_this_volume(mut self) -> Self {
        self.is_for_this = true;
        self
    }

    /// Whether it was given for this volume alone.
    pub fn is_for_this_volume(&self) -> bool {
        self.is_for_this
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What messages call it, where its source said.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What trying keys may still cost. One unit is about a microsecond: a round of PBKDF2, or 1 KiB of
/// the memory of Argon2 filled once.
#[derive(Debug)]
pub struct WorkBudget(AtomicU64);

impl Default for WorkBudget {
    fn default() -> Self {
        Self::new(MAX_WORK)
    }
}

impl WorkBudget {
    /// A budget of `units`.
    pub fn new(units: u64) -> Self {
        Self(AtomicU64::new(units))
    }

    /// What one of `among` volumes may use of it, so that none uses up what the others need. What is left of
    /// that goes on to the next by [`WorkBudget::give_back`].
    pub(crate) fn part(&self, among: usize) -> Self {
        let among = u64::try_from(among.max(1)).unwrap_or(u64::MAX);
        let share = |left: u64| left.checked_div(among).unwrap_or(0).max(LEAST_PART).min(left);
        let take = |left: u64| left.checked_sub(share(left));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Self::new(taken.map(share).unwrap_or(0))
    }

    /// Takes back what is left of `part`.
    pub(crate) fn give_back(&self, part: Self) {
        self.0.fetch_add(part.0.into_inner(), Ordering::Relaxed);
    }

    /// Takes `units` from it.
    ///
    /// # Errors
    /// `Refused` if there are not so many left.
    pub fn spend(&self, units: u64) -> BlockResult<()> {
        let less = |left: u64| left.checked_sub(units);
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        spent.map(|_| ()).map_err(|_| {
            BlockError::refused(
                "trying keys on the volumes of this set takes too long; give fewer keys, each for \
                 the volume that it opens, or fewer disks at once",
            )
        })
    }
}

/// LIMIT: what a volume may use where many share the work, as long as there is so much: four keys that take
/// what cryptsetup asks for by default.
const LEAST_PART: u64 = 1 << 24;

/// Opens a volume with a key.
pub trait Unlock: Send + Sync {
    /// The open volume; `None` if `key` is not its key. The work it takes comes from `work`.
    ///
    /// # Errors
    /// Why the volume cannot be read, whatever the key.
    fn unlock(&self, key: &Key, work: &WorkBudget) -> BlockResult<Option<Arc<dyn BlockDevice>>>;

    /// What opens the data of a volume whose header is [detached](Lock::is_detached); `None` if `key` is not
    /// its key.
    ///
    /// # Errors
    /// As [`Unlock::unlock`].
    fn unlock_detached(
        &self,
        _key: &Key,
        _work: &WorkBudget,
    ) -> BlockResult<Option<Box<dyn Opener>>> {
        Ok(None)
    }
}

/// Opens data that lie on another device than their header, of which nothing says on which.
pub trait Opener: Send + Sync {
    /// What is on `data`, a device of `size` bytes, if that is the right one, else any bytes.
    ///
    /// # Errors
    /// Why `data` cannot be it.
    fn over(&self, data: &Arc<dyn BlockDevice>, size: u64) -> BlockResult<Arc<dyn BlockDevice>>;
}

/// What a manager says of a locked volume.
#[derive(Clone)]
pub struct Lock {
    /// What it is: `LUKS2`.
    pub kind: &'static str,
    /// The kinds of key that open it.
    pub keys: Vec<KeyKind>,
    /// More for a person who looks for the key: `2 key slots`; empty if there is no more.
    pub detail: String,
    /// Whether a key counts by its bytes alone, so that the same bytes as another kind need no try.
    pub is_kind_alike: bool,
    /// Whether only its header is there, and its data lie on another device: it is opened by
    /// [`Unlock::unlock_detached`].
    pub is_detached: bool,
    /// Opens it.
    pub unlock: Arc<dyn Unlock>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("Lock");
        lock.field("kind", &self.kind).field("keys", &self.keys).field("detail", &self.detail);
        lock.finish_non_exhaustive()
    }
}

impl Lock {
    /// A lock of `kind` that keys of the kinds `keys` open by `unlock`.
    pub fn new(kind: &'static str, keys: Vec<KeyKind>, unlock: Arc<dyn Unlock>) -> Self {
        let (is_kind_alike, is_detached) = (false, false);
        Self { kind, keys, detail: String::new(), is_kind_alike, is_detached, unlock }
    }

    /// `LUKS2, opened by a password or a key file (2 key slots)`.
    pub fn sentence(&self) -> String {
        let kinds: Vec<String> = self.keys.iter().map(|kind| format!("a {kind}")).collect();
        let mut sentence = match kinds.as_slice() {
            [] => format!("{}, opened by no kind of key known here", self.kind),
            kinds => format!("{}, opened by {}", self.kind, kinds.join(" or ")),
        };
        if !self.detail.is_empty() {
            sentence.push_str(&format!(" ({})", self.detail));
        }
        sentence
    }
}

/// What a [`KeySource`] is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeyRequest<'a> {
    /// The id of the volume.
    pub volume: &'a str,
    /// What its folder is called as long as it is locked.
    pub name: &'a str,
    /// What it is.
    pub lock: &'a Lock,
    /// How many keys from this source were wrong already.
    pub attempt: usize,
}

impl<'a> KeyRequest<'a> {
    /// Asks for a key of the volume `volume`, called `name`, behind `lock`, after `attempt` wrong ones.
    pub fn new(volume: &'a str, name: &'a str, lock: &'a Lock, attempt: usize) -> Self {
        Self { volume, name, lock, attempt }
    }
}

/// Gives keys: from a file, the environment, a prompt, a callback. Never from an argument of a
/// command, which every user of the machine can read.
pub trait KeySource: Send + Sync {
    /// The next key to try for `request`; `None` if there are no more.
    ///
    /// # Errors
    /// Why this key cannot be had, as a sentence that names the source; the next one is asked for.
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>>;

    /// What is to be told of its keys, after every locked volume was asked for: those that are for a
    /// volume that is not there.
    fn left_over(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<F: Fn(&KeyRequest<'_>) -> BlockResult<Option<Key>> + Send + Sync> KeySource for F {
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
        self(request)
    }
}

/// What became of trying keys.
pub(crate) struct Opened<T> {
    /// The open volume; `None` if it stays locked.
    pub(crate) device: Option<T>,
    /// The keys that do not open it, as their source calls them.
    pub(crate) wrong: Vec<Arc<str>>,
    /// Why keys cannot be had.
    pub(crate) failed: Vec<String>,
    /// Why the first key that could not be tried to the end was not, if the volume stays locked.
    pub(crate) error: Option<BlockError>,
}

/// Opens the volume `id`, called `name`, with the keys of `source`. One that cannot be tried keeps no other
/// from being tried.
pub(crate) fn open(
    names: (&str, &str),
    lock: &Lock,
    source: &dyn KeySource,
    work: &WorkBudget,
) -> Opened<Arc<dyn BlockDevice>> {
    open_by(names, lock, source, &|key| lock.unlock.unlock(key, work))
}

/// The same by `unlock`.
pub(crate) fn open_by<T>(
    (id, name): (&str, &str),
    lock: &Lock,
    source: &dyn KeySource,
    unlock: &dyn Fn(&Key) -> BlockResult<Option<T>>,
) -> Opened<T> {
    let mut opened = Opened { device: None, wrong: Vec::new(), failed: Vec::new(), error: None };
    // And whether it is certain that it is wrong.
    let mut tried: Vec<(Key, bool)> = Vec::new();
    for attempt in 0..MAX_ATTEMPTS {
        let key = match source.next_key(&KeyRequest::new(id, name, lock, attempt)) {
            Ok(Some(key)) => key,
            Ok(None) => break,
            Err(error) => {
                let line = error_chain(&error);
                if !opened.failed.contains(&line) {
                    opened.failed.push(line);
                }
                continue;
            }
        };
        let is_same = |other: &Key| {
            let is_kind = lock.is_kind_alike || other.kind == key.kind;
            is_kind && other.bytes == key.bytes && other.is_for_this >= key.is_for_this
        };
        let before = tried.iter().find(|(other, _)| is_same(other)).map(|(_, is_wrong)| *is_wrong);
        let is_wrong = match before.map_or_else(|| unlock(&key), |_| Ok(None)) {
            Ok(Some(device)) => return Opened { device: Some(device), error: None, ..opened },
            Ok(None) => before.unwrap_or(true),
            Err(error) => {
                opened.error.get_or_insert(error);
                false
            }
        };
        if let Some(origin) = key.origin.as_ref().filter(|_| is_wrong)
            && !opened.wrong.contains(origin)
        {
            opened.wrong.push(origin.clone());
        }
        tried.push((key, is_wrong));
    }
    opened
}

/// The device of a volume that stays locked.
pub struct Locked {
    size: u64,
    sentence: String,
}

impl Locked {
    /// `size` bytes behind `lock`.
    pub fn new(size: u64, lock: &Lock) -> Self {
        Self { size, sentence: format!("is locked ({})", lock.sentence()) }
    }

    fn error(&self) -> BlockError {
        BlockError::new(BlockErrorKind::Refused, self.sentence.clone())
    }
}

impl BlockDevice for Locked {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        if buf.is_empty() { Ok(()) } else { Err(self.error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use volfold_block::MemoryDevice;

    use super::*;

    struct Sesame;

    impl Unlock for Sesame {
        fn unlock(
            &self,
            key: &Key,
            work: &WorkBudget,
        ) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            work.spend(1)?;
            let opened = || -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(vec![7; 512])) };
            Ok((key.bytes() == b"sesame").then(opened))
        }
    }

    fn lock() -> Lock {
        let keys = vec![KeyKind::Password, KeyKind::KeyFile];
        Lock::new("double", keys, Arc::new(Sesame))
    }

    #[test]
    fn keys_are_tried_until_one_opens() {
        let keys = ["open", "sesame", "never asked for"];
        let asked = AtomicUsize::new(0);
        let source = |request: &KeyRequest<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(keys.get(request.attempt).map(|key| Key::new(KeyKind::Password, *key)))
        };
        let work = WorkBudget::default();
        let device = open(("v", "n"), &lock(), &source, &work).device.unwrap();
        assert_eq!((device.size(), asked.load(Ordering::Relaxed)), (512, 2));
        let none = |_: &KeyRequest<'_>| Ok(None);
        assert!(open(("v", "n"), &lock(), &none, &work).device.is_none());
    }

    #[test]
    fn a_source_without_end_is_asked_a_bounded_number_of_times() {
        let asked = AtomicUsize::new(0);
        let source = |_: &KeyRequest<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(Some(Key::new(KeyKind::Password, "wrong").from_origin("a callback")))
        };
        let work = WorkBudget::new(1);
        // The same key is tried once.
        let opened = open(("v", "n"), &lock(), &source, &work);
        assert!(opened.device.is_none() && opened.wrong == ["a callback".into()]);
        assert_eq!(asked.load(Ordering::Relaxed), MAX_ATTEMPTS);
    }

    #[test]
    fn the_same_bytes_as_another_kind_are_tried_again_only_where_the_kind_counts() {
        let kinds = [KeyKind::Password, KeyKind::KeyFile];
        let source = |request: &KeyRequest<'_>| {
            Ok(kinds.get(request.attempt).map(|kind| Key::new(*kind, "wrong")))
        };
        let mut lock = lock();
        let tries = |lock: &Lock| {
            let work = WorkBudget::default();
            open(("v", "n"), lock, &source, &work);
            MAX_WORK - work.0.into_inner()
        };
        assert_eq!(tries(&lock), 2);
        lock.is_kind_alike = true;
        assert_eq!(tries(&lock), 1);
    }

    #[test]
    fn work_has_an_end() {
        let work = WorkBudget::new(2);
        let source = |request: &KeyRequest<'_>| {
            Ok(Some(Key::new(KeyKind::Password, request.attempt.to_string())))
        };
        let opened = open(("v", "n"), &lock(), &source, &work);
        assert_eq!(opened.error.unwrap().kind(), BlockErrorKind::Refused);
    }

    /// Cannot be tried with `broken`, else as [`Sesame`].
    struct Broken;

    impl Unlock for Broken {
        fn unlock(
            &self,
            key: &Key,
            work: &WorkBudget,
        ) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            match key.bytes() {
                b"broken" => Err(BlockError::corrupt("slot is broken", 0, 0)),
                _ => Sesame.unlock(key, work),
            }
        }
    }

    #[test]
    fn a_key_that_cannot_be_tried_keeps_no_other_from_being_tried() {
        let lock = Lock::new("double", vec![KeyKind::Password], Arc::new(Broken));
        let with = |keys: &'static [&str]| {
            let source = |request: &KeyRequest<'_>| {
                let key = keys.get(request.attempt);
                Ok(key.map(|key| Key::new(KeyKind::Password, *key).from_origin(*key)))
            };
            open(("v", "n"), &lock, &source, &WorkBudget::default())
        };
        let opened = with(&["broken", "sesame"]);
        assert!(opened.device.is_some() && opened.error.is_none());
        // The first error is told, and no key is called wrong that may be right.
        let opened = with(&["wrong", "broken", "broken"]);
        assert_eq!(opened.error.unwrap().message(), "slot is broken");
        assert_eq!(opened.wrong, ["wrong".into()]);
    }

    #[test]
    fn the_same_bytes_for_this_volume_alone_are_tried_again() {
        let source = |request: &KeyRequest<'_>| {
            let key = Key::new(KeyKind::Password, "wrong");
            Ok(match request.attempt {
                0 => Some(key),
                1 | 2 => Some(key.for_this_volume()),
                _ => None,
            })
        };
        let work = WorkBudget::new(10);
        open(("v", "n"), &lock(), &source, &work);
        assert_eq!(work.0.into_inner(), 8);
    }

    #[test]
    fn no_volume_uses_up_what_the_others_need() {
        let work = WorkBudget::default();
        // Each uses all of its part.
        for among in (1..=10).rev() {
            let part = work.part(among);
            let left = part.0.load(Ordering::Relaxed);
            assert!(left.abs_diff(MAX_WORK / 10) < 10, "{among}: {left}");
            assert!(part.spend(left).is_ok() && part.spend(1).is_err());
            work.give_back(part);
        }
        assert_eq!(work.part(1).0.into_inner(), 0);
        // What one does not use goes on, and of many each has a least part.
        let work = WorkBudget::default();
        let part = work.part(2);
        part.spend(1).unwrap();
        work.give_back(part);
        assert_eq!(work.part(1).0.into_inner(), MAX_WORK - 1);
        assert_eq!(WorkBudget::default().part(4096).0.into_inner(), LEAST_PART);
        assert_eq!(WorkBudget::new(7).part(4096).0.into_inner(), 7);
    }

    #[test]
    fn a_locked_volume_gives_no_byte_and_says_what_would_help() {
        let device = Locked::new(4096, &lock());
        let error = device.read_at(0, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Refused);
        assert_eq!(error.message(), "is locked (double, opened by a password or a key file)");
    }

    #[test]
    fn a_key_is_in_no_debug_text() {
        let text = format!("{:?}", Key::new(KeyKind::Password, "sesame"));
        assert_eq!(text, "Key { kind: Password, .. }");
    }
}
