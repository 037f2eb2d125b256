//! Keys of locked volumes: from files, the environment and the terminal.
//!
//! Never from an argument, which every user of the machine can read. Each source is asked only for
//! the kinds of key that open the volume; what a file holds is also tried as a password, without
//! its last line feed, since that is how passwords are kept in files.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use volfold::volume::lock::{Key, KeyKind, KeyRequest, KeySource};
use volfold_block::{BlockError, BlockErrorKind, BlockResult};

/// The variable of the environment that holds a password or recovery key.
const VARIABLE: &str = "VOLFOLD_KEY";

/// LIMIT: bytes of a key file; cryptsetup reads 8 MiB at most.
const MAX_KEY_FILE: u64 = 8 << 20;

/// How often a person is asked for one volume.
const PROMPTS: usize = 3;

/// The keys that a command was given.
pub(crate) struct Keys {
    files: Vec<PathBuf>,
    variable: Option<String>,
    /// Asks a person; `None` where there is none.
    ask: Option<fn(&str) -> io::Result<String>>,
}

impl Keys {
    /// The keys in `files`, then that of the environment, then what a person types.
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        let has_person = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self {
            files,
            variable: std::env::var(VARIABLE).ok().filter(|key| !key.is_empty()),
            ask: has_person.then_some(|question: &str| rpassword::prompt_password(question)),
        }
    }

    /// The keys that need no person, for a lock that takes `kinds`.
    fn known(&self, kinds: &[KeyKind]) -> BlockResult<Vec<Key>> {
        let mut keys = Vec::new();
        for path in &self.files {
            let bytes = read_key_file(path)?;
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let text = text.strip_suffix(b"\r").unwrap_or(text).to_vec();
            for kind in kinds {
                keys.push(match kind {
                    KeyKind::KeyFile => Key::new(*kind, bytes.clone()),
                    _ => Key::new(*kind, text.clone()),
                });
            }
        }
        for kind in kinds.iter().filter(|kind| **kind != KeyKind::KeyFile) {
            keys.extend(self.variable.as_ref().map(|text| Key::new(*kind, text.as_bytes())));
        }
        Ok(keys)
    }
}

impl KeySource for Keys {
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
        let lock = request.lock;
        let known = self.known(&lock.keys)?;
        if let Some(key) = known.get(request.attempt) {
            return Ok(Some(key.clone()));
        }
        let typed: Vec<KeyKind> =
            lock.keys.iter().copied().filter(|kind| *kind != KeyKind::KeyFile).collect();
        let asked = request.attempt - known.len();
        let (Some(ask), Some(kind)) = (self.ask, typed.get(asked % typed.len().max(1))) else {
            return Ok(None);
        };
        if asked >= PROMPTS * typed.len() {
            return Ok(None);
        }
        let question =
            format!("{} ({}), {kind} (empty: leave it locked): ", request.volume, lock.kind);
        let text = ask(&question).map_err(|error| {
            BlockError::new(BlockErrorKind::Io, "cannot read from the terminal").because(error)
        })?;
        Ok((!text.is_empty()).then(|| Key::new(*kind, text)))
    }
}

/// The bytes of the key file at `path`.
fn read_key_file(path: &std::path::Path) -> BlockResult<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let shown = path.display();
    let bytes = read().map_err(|error| {
        BlockError::new(BlockErrorKind::Io, format!("key file {shown} cannot be read"))
            .because(error)
    })?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        let sentence = format!("key file {shown} is larger than 8 MiB");
        return Err(BlockError::new(BlockErrorKind::Unsupported, sentence));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use volfold::volume::lock::{Lock, Unlock};
    use volfold_block::BlockDevice;

    use super::*;

    struct Never;

    impl Unlock for Never {
        fn unlock(&self, _key: &Key) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            Ok(None)
        }
    }

    /// All keys that `keys` gives for a lock that takes `kinds`.
    fn all(keys: &Keys, kinds: &[KeyKind]) -> Vec<(KeyKind, Vec<u8>)> {
        let lock = Lock { kind: "double", keys: kinds.to_vec(), unlock: Arc::new(Never) };
        let next = |attempt| keys.next_key(&KeyRequest::new("v", &lock, attempt)).unwrap();
        (0..).map_while(next).map(|key| (key.kind(), key.bytes().to_vec())).collect()
    }

    #[test]
    fn files_come_first_then_the_environment_then_the_person() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, b"in a file\r\n").unwrap();
        let keys = Keys {
            files: vec![file],
            variable: Some("in the environment".to_owned()),
            ask: Some(|_| Ok("typed".to_owned())),
        };
        let (password, file) = (KeyKind::Password, KeyKind::KeyFile);
        let text = |kind, text: &str| (kind, text.as_bytes().to_vec());
        let expected = [
            text(password, "in a file"),
            text(file, "in a file\r\n"),
            text(password, "in the environment"),
            text(password, "typed"),
            text(password, "typed"),
            text(password, "typed"),
        ];
        assert_eq!(all(&keys, &[password, file]), expected);
        // A password opens nothing that wants a file.
        assert_eq!(all(&keys, &[file]), expected[1..2]);
    }

    #[test]
    fn a_person_may_leave_a_volume_locked_and_a_lost_file_is_named() {
        let keys = Keys { files: Vec::new(), variable: None, ask: Some(|_| Ok(String::new())) };
        assert_eq!(all(&keys, &[KeyKind::Password]), []);
        let keys = Keys { files: vec!["no/such/key".into()], variable: None, ask: None };
        let lock = Lock { kind: "double", keys: vec![KeyKind::KeyFile], unlock: Arc::new(Never) };
        let error = keys.next_key(&KeyRequest::new("v", &lock, 0)).unwrap_err();
        assert_eq!(error.message(), "key file no/such/key cannot be read");
    }
}
