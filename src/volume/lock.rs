//! Locked volumes: what they are, which kinds of key open them, and where keys come from.
//!
//! A manager that meets an encrypted volume answers with a [`Lock`]. Discovery asks the
//! [`KeySource`] of the set for keys until one opens it, none is left, or [`MAX_ATTEMPTS`] were
//! wrong. What was opened is looked into like any other device; what was not stays listed, and
//! every read of it is an error that says which kinds of key would help.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult};

/// LIMIT: keys that are tried on one volume; a source may have no end.
pub const MAX_ATTEMPTS: usize = 64;

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

/// A key. Its bytes are in no message and no `Debug` text.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    kind: KeyKind,
    bytes: Vec<u8>,
}

impl Key {
    /// A key of `kind`; text is UTF-8.
    pub fn new(kind: KeyKind, bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind, bytes: bytes.into() }
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Opens a volume with a key.
pub trait Unlock: Send + Sync {
    /// The open volume; `None` if `key` is not its key.
    ///
    /// # Errors
    /// Why the volume cannot be read, whatever the key.
    fn unlock(&self, key: &Key) -> BlockResult<Option<Arc<dyn BlockDevice>>>;
}

/// What a manager says of a locked volume.
#[derive(Clone)]
pub struct Lock {
    /// What it is: `LUKS2`.
    pub kind: &'static str,
    /// The kinds of key that open it.
    pub keys: Vec<KeyKind>,
    /// Opens it.
    pub unlock: Arc<dyn Unlock>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("kind", &self.kind).field("keys", &self.keys).finish()
    }
}

impl Lock {
    /// `LUKS2, opened by a password or a key file`.
    pub fn sentence(&self) -> String {
        let kinds: Vec<String> = self.keys.iter().map(|kind| format!("a {kind}")).collect();
        match kinds.as_slice() {
            [] => format!("{}, opened by no kind of key known here", self.kind),
            kinds => format!("{}, opened by {}", self.kind, kinds.join(" or ")),
        }
    }
}

/// What a [`KeySource`] is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeyRequest<'a> {
    /// The id of the volume.
    pub volume: &'a str,
    /// What it is.
    pub lock: &'a Lock,
    /// How many keys from this source were wrong already.
    pub attempt: usize,
}

impl<'a> KeyRequest<'a> {
    /// Asks for a key of the volume `volume` behind `lock`, after `attempt` wrong ones.
    pub fn new(volume: &'a str, lock: &'a Lock, attempt: usize) -> Self {
        Self { volume, lock, attempt }
    }
}

/// Gives keys: from a file, the environment, a prompt, a callback. Never from an argument of a
/// command, which every user of the machine can read.
pub trait KeySource: Send + Sync {
    /// The next key to try for `request`; `None` if there are no more.
    ///
    /// # Errors
    /// Why no key can be had, as a sentence that names the source.
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>>;
}

impl<F: Fn(&KeyRequest<'_>) -> BlockResult<Option<Key>> + Send + Sync> KeySource for F {
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
        self(request)
    }
}

/// Opens the volume `id` with the keys of `source`. `Ok(None)` leaves it locked.
///
/// # Errors
/// Why the volume or a key cannot be read.
pub(crate) fn open(
    id: &str,
    lock: &Lock,
    source: &dyn KeySource,
) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
    for attempt in 0..MAX_ATTEMPTS {
        let Some(key) = source.next_key(&KeyRequest::new(id, lock, attempt))? else {
            return Ok(None);
        };
        if let Some(device) = lock.unlock.unlock(&key)? {
            return Ok(Some(device));
        }
    }
    Ok(None)
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
        fn unlock(&self, key: &Key) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            let opened = || -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(vec![7; 512])) };
            Ok((key.bytes() == b"sesame").then(opened))
        }
    }

    fn lock() -> Lock {
        let keys = vec![KeyKind::Password, KeyKind::KeyFile];
        Lock { kind: "double", keys, unlock: Arc::new(Sesame) }
    }

    #[test]
    fn keys_are_tried_until_one_opens() {
        let keys = ["open", "sesame", "never asked for"];
        let asked = AtomicUsize::new(0);
        let source = |request: &KeyRequest<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(keys.get(request.attempt).map(|key| Key::new(KeyKind::Password, *key)))
        };
        let device = open("v", &lock(), &source).unwrap().unwrap();
        assert_eq!((device.size(), asked.load(Ordering::Relaxed)), (512, 2));
        let none = |_: &KeyRequest<'_>| Ok(None);
        assert!(open("v", &lock(), &none).unwrap().is_none());
    }

    #[test]
    fn a_source_without_end_is_asked_a_bounded_number_of_times() {
        let asked = AtomicUsize::new(0);
        let source = |_: &KeyRequest<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(Some(Key::new(KeyKind::Password, "wrong")))
        };
        assert!(open("v", &lock(), &source).unwrap().is_none());
        assert_eq!(asked.load(Ordering::Relaxed), MAX_ATTEMPTS);
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
