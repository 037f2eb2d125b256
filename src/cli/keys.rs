//! Keys of locked volumes: from files, the environment, the terminal and open files.
//!
//! Never from an argument, which every user of the machine can read. What a file holds is tried as text
//! too, without its last line feed, since that is how passwords are kept in files. What only this process
//! can read (the terminal, open files) is handed on to one in the background by its stdin.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use volfold::volume::lock::{Key, KeyKind, KeyRequest, KeySource};
use volfold_block::{BlockError, BlockErrorKind, BlockResult};
use zeroize::Zeroizing;

use super::key_argument::{KeyArgument, KeyPlace};

/// LIMIT: bytes of a key; cryptsetup reads 8 MiB of a key file at most.
const MAX_KEY: usize = 8 << 20;

/// LIMIT: bytes of all keys that are handed on.
const MAX_HANDED: usize = 256 << 20;

/// Bytes that a key is read into first: more than most have.
const FIRST_READ: usize = 4096;

/// How often a person is asked for one volume.
const PROMPTS: usize = 3;

/// What is said where nobody can be asked.
const NO_TERMINAL: &str = "there is no terminal to ask at; give file:PATH, env:NAME or fd:N";

/// The bytes of a key, or why there are none.
type Loaded = Result<Zeroizing<Vec<u8>>, String>;

/// What a process in the foreground handed on: what each place holds that only it can read, in order. It goes
/// to the first who asks.
static HANDED: Mutex<Option<Vec<Loaded>>> = Mutex::new(None);

/// A key, as an argument names it.
struct Source {
    argument: KeyArgument,
    /// `key 2 of 3 (env:NAME)`.
    label: String,
    /// What it holds, once it was read; of a prompt only what was handed on.
    loaded: OnceLock<Loaded>,
    /// Whether a volume asked for it.
    is_used: AtomicBool,
}

impl Source {
    fn load(&self) -> &Loaded {
        self.loaded.get_or_init(|| load(&self.argument.place))
    }

    /// The key of `kind` that `bytes` are.
    fn key(&self, kind: KeyKind, bytes: &[u8]) -> Key {
        let key = Key::new(kind, bytes).from_origin(&*self.label);
        if self.argument.volume.is_some() { key.for_this_volume() } else { key }
    }

    /// Whether a person is asked for each volume.
    fn asks(&self) -> bool {
        self.argument.place == KeyPlace::Prompt && self.loaded.get().is_none()
    }
}

/// The keys that a command was given.
pub(crate) struct Keys {
    sources: Vec<Source>,
    /// Asks a person.
    ask: fn(&str) -> io::Result<String>,
}

/// One try: of which source, and as which kind.
#[derive(Clone, Copy)]
struct Try<'a> {
    source: &'a Source,
    kind: KeyKind,
}

impl Keys {
    /// The keys that `arguments` name.
    pub(crate) fn new(arguments: &[KeyArgument]) -> Self {
        let handed = HANDED.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut handed = handed.map(Vec::into_iter);
        let count = arguments.len();
        let source = |(index, argument): (usize, &KeyArgument)| {
            let given = match &mut handed {
                Some(handed) if argument.place.is_only_here() => handed.next(),
                _ => None,
            };
            Source {
                argument: argument.clone(),
                label: format!("key {} of {count} ({})", index + 1, argument.place),
                loaded: given.map(OnceLock::from).unwrap_or_default(),
                is_used: AtomicBool::new(false),
            }
        };
        let sources = arguments.iter().enumerate().map(source).collect();
        Self { sources, ask: |question| rpassword::prompt_password(question) }
    }

    /// The tries for `request`: those that need no person first.
    fn tries(&self, request: &KeyRequest<'_>) -> Vec<Try<'_>> {
        let is_its = |source: &&Source| source.argument.is_for(request.volume, request.name);
        let mut tries = Vec::new();
        for source in self.sources.iter().filter(is_its) {
            source.is_used.store(true, Ordering::Relaxed);
            let rounds = if source.asks() { PROMPTS } else { 1 };
            let kinds = request.lock.keys.iter().copied();
            let kinds = kinds.filter(|kind| source.argument.place.may_hold(*kind));
            let each: Vec<Try<'_>> = kinds.map(|kind| Try { source, kind }).collect();
            tries.extend(each.repeat(rounds));
        }
        tries.sort_by_key(|one| one.source.asks());
        tries
    }

    /// What a person answers; `None` if they leave the volume locked.
    fn asked(&self, request: &KeyRequest<'_>, one: Try<'_>) -> BlockResult<Option<Key>> {
        let (name, lock, kind) = (request.name, request.lock.kind, one.kind);
        let question = format!("{name} ({lock}), {kind} (empty: leave it locked): ");
        let text = (self.ask)(&question).map_err(|error| {
            let line = format!("{}: {NO_TERMINAL}", one.source.label);
            BlockError::new(BlockErrorKind::Io, line).because(error)
        })?;
        let text = Zeroizing::new(text);
        Ok((!text.is_empty()).then(|| one.source.key(kind, text.as_bytes())))
    }
}

impl KeySource for Keys {
    fn next_key(&self, request: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
        let tries = self.tries(request);
        let Some(one) = tries.get(request.attempt) else { return Ok(None) };
        let Try { source, kind } = one;
        if source.asks() {
            return self.asked(request, *one);
        }
        let bytes = source.load().as_ref().map_err(|reason| {
            BlockError::new(BlockErrorKind::Io, format!("{}: {reason}", source.label))
        })?;
        let bytes = match kind {
            KeyKind::KeyFile => &bytes[..],
            _ => without_line_end(bytes),
        };
        Ok(Some(source.key(*kind, bytes)))
    }

    fn left_over(&self) -> Vec<String> {
        let unused = self.sources.iter().filter(|source| !source.is_used.load(Ordering::Relaxed));
        let line = |source: &Source| match &source.argument.volume {
            Some(volume) => {
                format!("{} is for {volume}, and no locked volume is called so", source.label)
            }
            None => format!("{} is not needed: no volume is locked", source.label),
        };
        unused.map(line).collect()
    }
}

/// `bytes` without the line end after them.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// What `place` holds; a person is asked.
fn load(place: &KeyPlace) -> Loaded {
    let bytes = match place {
        KeyPlace::File(path) => read(path),
        KeyPlace::Fd(number) => match cfg!(unix) {
            true => read(format!("/dev/fd/{number}").as_ref()),
            false => Err("open files are not handed on here; give file:PATH".to_owned()),
        },
        KeyPlace::Env(name) => match std::env::var_os(name) {
            Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
            None => Err("is not in the environment".to_owned()),
        },
        KeyPlace::Prompt => Err(NO_TERMINAL.to_owned()),
    }?;
    if bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(bytes) }
}

/// The bytes of the file at `path`.
fn read(path: &Path) -> Loaded {
    let read = File::open(path).and_then(|file| read_to_end(file, MAX_KEY));
    let read = read.map_err(|error| format!("cannot be read: {error}"))?;
    read.ok_or_else(|| "is larger than 8 MiB".to_owned())
}

/// All that `file` has; `None` if that are more than `limit` bytes. Nothing of it is left in memory that was
/// given up on the way, as a vector that grows leaves it.
fn read_to_end(mut file: impl Read, limit: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(vec![0; FIRST_READ]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if length > limit {
            return Ok(None);
        }
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; length * 2]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// What a process in the background cannot read itself of `arguments`, for its stdin: for each place 1
/// and the length and bytes of the key, or 0 and those of the reason why there is none. A person is asked
/// here. `None` if there is nothing.
pub(crate) fn to_hand_on(arguments: &[KeyArgument]) -> Option<Zeroizing<Vec<u8>>> {
    let only_here = arguments.iter().filter(|argument| argument.place.is_only_here());
    let load = |argument: &KeyArgument| match argument.place {
        KeyPlace::Prompt => ask_before(argument.volume.as_deref()),
        _ => load(&argument.place),
    };
    let all: Vec<Loaded> = only_here.map(load).collect();
    let length = |loaded: &Loaded| 9 + loaded.as_ref().map_or_else(String::len, |key| key.len());
    // All at once: a vector that grows leaves copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(all.iter().map(length).sum()));
    for loaded in &all {
        let (mark, part) = match loaded {
            Ok(key) => (1, &key[..]),
            Err(reason) => (0, reason.as_bytes()),
        };
        bytes.push(mark);
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// What a person answers before the volumes are known.
fn ask_before(volume: Option<&str>) -> Loaded {
    let question = format!("key of {} (empty: none): ", volume.unwrap_or("the locked volumes"));
    let text = rpassword::prompt_password(question);
    let text = text.map_err(|error| format!("{NO_TERMINAL}: {error}"))?;
    if text.is_empty() {
        Err("no answer".to_owned())
    } else {
        Ok(Zeroizing::new(text.into_bytes()))
    }
}

/// Takes in what the process in the foreground handed on by `stdin`.
///
/// # Errors
/// If it was cut short.
pub(crate) fn take_handed(stdin: impl Read) -> io::Result<()> {
    let bytes = read_to_end(stdin, MAX_HANDED)?.ok_or(io::ErrorKind::FileTooLarge)?;
    let handed = parse_handed(&bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
    *HANDED.lock().unwrap_or_else(PoisonError::into_inner) = Some(handed);
    Ok(())
}

fn parse_handed(mut bytes: &[u8]) -> Option<Vec<Loaded>> {
    let mut handed = Vec::new();
    while let Some((mark, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_at_checked(8)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        handed.push(match mark {
            1 => Ok(Zeroizing::new(part.to_vec())),
            _ => Err(String::from_utf8_lossy(part).into_owned()),
        });
        bytes = rest;
    }
    Some(handed)
}

/// Writes `keys` to the process that reads them by `stdin`.
///
/// # Errors
/// If it has ended.
pub(crate) fn hand_on(keys: &[u8], mut stdin: impl Write) -> io::Result<()> {
    stdin.write_all(keys).and_then(|()| stdin.flush())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use volfold::volume::lock::{Lock, Unlock, WorkBudget};
    use volfold_block::BlockDevice;

    use super::*;

    struct Never;

    impl Unlock for Never {
        fn unlock(
            &self,
            _key: &Key,
            _work: &WorkBudget,
        ) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            Ok(None)
        }
    }

    fn arguments(words: &[String]) -> Vec<KeyArgument> {
        words.iter().map(|word| KeyArgument::parse(word).unwrap()).collect()
    }

    /// All keys that `keys` gives for a lock that takes `kinds`, or why there is none.
    fn all(keys: &Keys, kinds: &[KeyKind]) -> Vec<Result<(KeyKind, String), String>> {
        let lock = Lock::new("double", kinds.to_vec(), Arc::new(Never));
        let next = |attempt| keys.next_key(&KeyRequest::new("luks:v", "name", &lock, attempt));
        let told = |key: BlockResult<Key>| match key {
            Ok(key) => Ok((key.kind(), String::from_utf8(key.bytes().to_vec()).unwrap())),
            Err(error) => Err(error.message().to_owned()),
        };
        (0..8).map_while(|attempt| next(attempt).transpose()).map(told).collect()
    }

    #[test]
    fn files_are_tried_as_text_and_as_bytes_and_people_are_asked_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, b"in a file\r\n").unwrap();
        let words = ["prompt".to_owned(), format!("file:{}", file.display())];
        let mut keys = Keys::new(&arguments(&words));
        keys.ask = |_| Ok("typed".to_owned());
        let (password, file) = (KeyKind::Password, KeyKind::KeyFile);
        let text = |kind, text: &str| Ok((kind, text.to_owned()));
        let expected = [
            text(password, "in a file"),
            text(file, "in a file\r\n"),
            text(password, "typed"),
            text(password, "typed"),
            text(password, "typed"),
        ];
        assert_eq!(all(&keys, &[password, file]), expected);
        // A password opens nothing that wants a file.
        assert_eq!(all(&keys, &[file]), expected[1..2]);
        keys.ask = |_| Ok(String::new());
        assert_eq!(all(&keys, &[password]), expected[..1]);
        keys.ask = |_| Err(io::ErrorKind::NotFound.into());
        let told = all(&keys, &[password])[1].clone().unwrap_err();
        assert_eq!(told, format!("key 1 of 2 (prompt): {NO_TERMINAL}"));
    }

    #[test]
    fn a_key_for_another_volume_is_not_tried_and_told() {
        let words = ["other=env:PATH".to_owned(), "name=env:NO_SUCH_NAME".to_owned()];
        let keys = Keys::new(&arguments(&words));
        let told = "key 2 of 2 (env:NO_SUCH_NAME): is not in the environment";
        assert_eq!(all(&keys, &[KeyKind::Password])[..1], [Err(told.to_owned())]);
        let left = "key 1 of 2 (env:PATH) is for other, and no locked volume is called so";
        assert_eq!(keys.left_over(), [left]);
    }

    /// Gives one byte at a time, and is interrupted now and then.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match self.0.split_first() {
                Some(_) if self.1 => Err(io::ErrorKind::Interrupted.into()),
                Some((byte, rest)) => {
                    buf[0] = *byte;
                    self.0 = rest;
                    Ok(1)
                }
                None => Ok(0),
            }
        }
    }

    #[test]
    fn a_key_is_read_whole_or_not_at_all() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 9999, 10_000] {
            let wanted: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
            let read = read_to_end(Slow(&wanted, false), 10_000).unwrap().expect("not too large");
            assert!(*read == wanted, "{length}");
            let again = read_to_end(&wanted[..], 10_000).unwrap().expect("not too large");
            assert!(*again == wanted, "{length}");
        }
        assert!(read_to_end(&[1; 10_001][..], 10_000).unwrap().is_none());
    }

    #[test]
    fn a_key_that_names_its_volume_is_for_it_alone() {
        let words = ["name=env:PATH".to_owned(), "env:PATH".to_owned()];
        let keys = Keys::new(&arguments(&words));
        let lock = Lock::new("double", vec![KeyKind::Password], Arc::new(Never));
        let next = |attempt| {
            keys.next_key(&KeyRequest::new("luks:v", "name", &lock, attempt)).unwrap().unwrap()
        };
        assert!(next(0).is_for_this_volume() && !next(1).is_for_this_volume());
    }

    #[test]
    fn what_is_handed_on_comes_as_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, b"bytes\n").unwrap();
        let open = File::open(&file).unwrap();
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let words = ["env:PATH".to_owned(), format!("fd:{}", open.as_raw_fd())];
            let handed = to_hand_on(&arguments(&words)).unwrap();
            let [Ok(key)] = &parse_handed(&handed).unwrap()[..] else { panic!("one key") };
            assert_eq!(key[..], b"bytes\n"[..]);
            assert!(parse_handed(&handed[..handed.len() - 1]).is_none());
        }
        drop(open);
        assert!(to_hand_on(&arguments(&["env:PATH".to_owned()])).is_none());
    }
}
