use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use volfold_block::code::Code;
use volfold_block::{Finding, code};
use volfold_fs::{FileData, FsError, FsErrorKind, FsResult};

use super::testing::{
    MemoryFile, Tree, WRITTEN, Writer, file, log_entry, new_log, old_log, seal, seal_entry,
    set_sequences, sz,
};
use super::*;

mod logs;
mod values;

fn open(bytes: &[u8]) -> Hive {
    Hive::open(file(bytes), Vec::new()).unwrap()
}

/// The tree below `key`, as it was written.
fn tree(key: &Key<'_>) -> Tree {
    let mut tree = Tree { class: key.class_name().unwrap().unwrap_or_default(), ..Tree::default() };
    for value in key.values() {
        let value = value.unwrap();
        let kind = match value.kind() {
            ValueKind::Other(number) => number,
            kind => (0..12).find(|number| ValueKind::new(*number) == kind).unwrap(),
        };
        tree.values.push((value.name(), kind, value.data().unwrap()));
    }
    for (number, child) in key.subkeys().enumerate() {
        let child = child.unwrap();
        assert_eq!(child.last_written().seconds, 1_714_986_489);
        if number < 10 || number % 100 == 99 {
            let found = key.subkey(&child.name().to_lowercase()).unwrap().unwrap();
            assert_eq!(found.path(), child.path());
        }
        tree.keys.insert(child.name().to_uppercase(), (child.name(), self::tree(&child)));
    }
    tree
}

fn assert_same(read: &Tree, written: &Tree, path: &str) {
    assert_eq!(read.class, written.class, "{path}");
    assert_eq!(read.values, written.values, "{path}");
    let names = |tree: &Tree| tree.keys.values().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(read), names(written), "{path}");
    for (name, (_, child)) in &written.keys {
        assert_same(&read.keys[name].1, child, &format!("{path}\\{name}"));
    }
}

/// Keys of all sorts, one with 1,200 subkeys.
fn sample() -> Tree {
    let mut root = Tree::default();
    root.sz(r"Microsoft\Windows NT\CurrentVersion", "ProductName", "Windows Test");
    root.dword(r"Microsoft\Windows NT\CurrentVersion", "UBR", 4170);
    root.sz(r"Microsoft\Windows NT\CurrentVersion", "", "default");
    root.at("Empty");
    root.at("Class").class = "a class \u{444}".to_owned();
    root.sz("M\u{fc}ller \u{df}", "\u{dc}ber", "Latin-1");
    root.sz("\u{41f}\u{443}\u{441}\u{43a} \u{1f600}", "\u{43f}\u{443}\u{442}\u{44c}", "UTF-16");
    for length in [0, 1, 3, 4, 5, 8, 100, 16_343, 16_344, 16_345, 32_688, 32_689, 50_000] {
        let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        root.value("Data", &format!("{length} bytes"), 3, &data);
        root.value("Data", &format!("{length} others"), 0x1234_5678, &data);
    }
    for number in 0..1200 {
        root.dword(&format!(r"Many\Key {number:04}"), "Number", number);
    }
    root
}

#[test]
fn all_keys_and_values_are_read_from_every_version_and_kind_of_list() {
    let written = sample();
    for (minor, list) in [(2, *b"li"), (3, *b"lf"), (4, *b"lf"), (5, *b"lh"), (6, *b"lh")] {
        let bytes = Writer::new(minor, list).build(&written);
        let hive = open(&bytes);
        assert_eq!((hive.version(), hive.findings()), ((1, minor), Vec::new()));
        assert_eq!(hive.last_written(), filetime_to_timestamp(WRITTEN));
        assert_eq!(hive.file_name(), r"\SystemRoot\config\TEST");
        assert_same(&tree(&hive.root().unwrap()), &written, "");
    }
}

#[test]
fn a_key_is_found_by_its_path_without_regard_to_case() {
    let bytes = sample().build();
    let hive = open(&bytes);
    let key = hive.key(r"\microsoft\WINDOWS nt\CurrentVersion\").unwrap().unwrap();
    assert_eq!(key.path(), r"Microsoft\Windows NT\CurrentVersion");
    assert_eq!((key.value_count(), key.subkey_count()), (3, 0));
    assert_eq!(key.value("PRODUCTNAME").unwrap().unwrap().text().unwrap(), "Windows Test");
    assert_eq!(key.value("ubr").unwrap().unwrap().number().unwrap(), 4170);
    assert_eq!(key.value("").unwrap().unwrap().text().unwrap(), "default");
    assert!(key.value("other").unwrap().is_none());
    assert!(hive.key("m\u{dc}LLER \u{df}").unwrap().is_some());
    assert!(hive.key("Microsoft\\Windows").unwrap().is_none());
    assert!(hive.key("Many\\key 1200").unwrap().is_none());
    assert_eq!(hive.key("").unwrap().unwrap().name(), "ROOT");
}

#[test]
fn a_key_whose_hint_is_wrong_is_found_all_the_same() {
    for list in [*b"lf", *b"lh"] {
        let mut tree = Tree::default();
        tree.at("One");
        tree.at("Two");
        let mut bytes = Writer::new(5, list).build(&tree);
        let at = bytes.windows(4).position(|window| window[..2] == list).unwrap();
        bytes[at + 8..at + 12].copy_from_slice(b"xxxx");
        let hive = open(&bytes);
        assert!(hive.key("two").unwrap().is_some());
        assert_eq!(hive.findings(), []);
        assert!(hive.key("one").unwrap().is_some());
        let found: Vec<String> = hive.findings().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["key One: the list that has it has another hint of its name"]);
    }
}

#[test]
fn hints_of_names_beyond_ascii_depend_on_the_version_and_are_not_held_against_them() {
    let mut tree = Tree::default();
    tree.at("\u{df}one");
    let mut bytes = tree.build();
    let at = bytes.windows(2).position(|window| window == b"lh").unwrap();
    bytes[at + 8..at + 12].copy_from_slice(b"xxxx");
    let hive = open(&bytes);
    assert_eq!(hive.root().unwrap().subkeys().filter_map(Result::ok).count(), 1);
    assert_eq!(hive.findings(), []);
}

/// Two keys, one with two values; where their structures lie in the file.
struct Small {
    bytes: Vec<u8>,
    root: usize,
    list: usize,
    key: usize,
    value: usize,
    value_list: usize,
}

fn small() -> Small {
    let mut tree = Tree::default();
    tree.sz("Alpha", "Text", "some text");
    tree.dword("Alpha", "Number", 7);
    tree.at("Beta");
    let bytes = tree.build();
    let find = |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    let at = |field: usize| {
        let offset = u32::from_le_bytes(bytes[field..field + 4].try_into().unwrap());
        offset as usize + 4096 + 4
    };
    let key = find(b"Alpha") - 0x4C;
    let root = find(b"ROOT") - 0x4C;
    let (list, value) = (at(root + 0x1C), find(b"vk"));
    let value_list = at(key + 0x28);
    Small { list, key, value, value_list, root, bytes }
}

/// The error of reading all of the hive after `change`.
fn error_after(change: impl FnOnce(&mut Small)) -> FsError {
    let mut small = small();
    change(&mut small);
    let hive = open(&small.bytes);
    let errors = walk(&hive);
    assert!(!errors.is_empty(), "no error");
    errors.into_iter().next().unwrap()
}

/// Reads all of the hive within bounds, and gives the errors.
fn walk(hive: &Hive) -> Vec<FsError> {
    let mut errors = Vec::new();
    let mut open = match hive.root() {
        Ok(root) => vec![root],
        Err(error) => return vec![error],
    };
    let mut left = 3000;
    while let Some(key) = open.pop() {
        errors.extend(key.class_name().err());
        errors.extend(key.link_target().err());
        for value in key.values().take(200) {
            match value.and_then(|value| value.data().map(|_| value)) {
                Ok(value) => {
                    let _ = (value.text(), value.texts(), value.number(), value.name());
                }
                Err(error) => errors.push(error),
            }
        }
        for child in key.subkeys() {
            left -= 1;
            if left < 0 {
                return errors;
            }
            match child {
                Ok(child) => open.push(child),
                Err(error) => errors.push(error),
            }
        }
    }
    errors
}

fn assert_error(change: impl FnOnce(&mut Small), message: &str) {
    let error = error_after(change);
    assert_eq!(error.kind(), FsErrorKind::Corrupt, "{error}");
    assert!(error.message().ends_with(message), "{error}");
    assert!(error.message().contains("key"), "{error}");
}

#[test]
fn a_damaged_cell_is_an_error_that_says_which_key() {
    let put = |at: fn(&Small) -> usize, bytes: &'static [u8]| {
        move |small: &mut Small| {
            let at = at(small);
            small.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        }
    };
    let size = |size: i32| Vec::leak(size.to_le_bytes().to_vec());
    assert_error(
        put(|s| s.key - 4, size(96)),
        "key Alpha: cell is not in use".rsplit(": ").next().unwrap(),
    );
    assert_error(put(|s| s.key - 4, size(-93)), "cell has an invalid size");
    assert_error(put(|s| s.key - 4, size(-8000)), "cell does not lie inside a bin");
    assert_error(put(|s| s.key - 4, size(-8)), "cell is too small for what it holds");
    assert_error(put(|s| s.key - 4, size(i32::MIN)), "cell does not lie inside a bin");
    assert_error(put(|s| s.list + 4, &[0x21, 0, 0, 0]), "cell has an odd place");
    assert_error(put(|s| s.list + 4, &[0, 0, 0, 1]), "offset lies outside of the bins of the hive");
    assert_error(put(|s| s.list + 4, &[0xF8, 0xFF, 0xFF, 0xFF]), "outside of the bins of the hive");
    assert_error(put(|s| s.list + 4, &[0, 0, 0, 0]), "cell is not in use");
    assert_error(put(|s| s.key, b"kn"), "root key: key has a wrong signature");
    assert_error(put(|s| s.key + 0x48, &[1, 2]), "key has a name that is too long");
    assert_error(put(|s| s.key + 2, &[0, 0]), "root key: name has an odd length");
    assert_error(put(|s| s.list, b"lx"), "root key: list of subkeys has a wrong signature");
    assert_error(put(|s| s.list + 2, &[0xFF, 0xFF]), "cell is too small for what it holds");
    assert_error(put(|s| s.list + 2, &[1, 0]), "root key: key has fewer subkeys than it counts");
    assert_error(put(|s| s.root + 0x14, &[1]), "root key: key has more subkeys than it counts");
    assert_error(put(|s| s.root + 0x14, &[0]), "root key: key has more subkeys than it counts");
    assert_error(put(|s| s.root + 0x1C, &[0xFF; 4]), "root key: cell has an odd place");
    assert_error(put(|s| s.key + 0x24, &[0]), "key Alpha: key has values that it does not count");
    assert_error(put(|s| s.key + 0x28, &[0xFF; 4]), "key Alpha: cell has an odd place");
    assert_error(
        put(|s| s.key + 0x10, &[8]),
        "key Alpha: key says that it lies in another key than the one that lists it",
    );
    assert_error(put(|s| s.value, b"kv"), "key Alpha: value has a wrong signature");
    assert_error(put(|s| s.value + 3, &[0xFF]), "key Alpha: value has a name that is too long");
    assert_error(
        put(|s| s.value + 4, &[200]),
        "key Alpha: value Text: cell is too small for what it holds",
    );
    assert_error(
        put(|s| s.value + 4, &[5, 0, 0, 0x80]),
        "value Text: data in place of its offset is longer than 4 bytes",
    );
    assert_error(
        put(|s| s.key + 0x24, &[200]),
        "key Alpha: list of values is shorter than the key counts",
    );
    assert_error(put(|s| s.value_list, &[4]), "key Alpha: cell has an odd place");
    assert_error(put(|s| s.root, b"xx"), "root key: key has a wrong signature");
    assert_error(put(|_| 4096, b"nibh"), "root key: cell does not lie inside a bin");
    assert_error(put(|_| 0x24, &[0, 16]), "root key: offset lies outside of the bins of the hive");
}

#[test]
fn a_count_of_none_with_an_offset_that_leads_to_no_list_is_in_order() {
    for (field, count) in [(0x1C, 0x14), (0x28, 0x24)] {
        for stale in [0x20_u32, 0x1000, 0x0FFF_FFF8] {
            let mut small = small();
            let beta = small.bytes.windows(4).position(|window| window == b"Beta").unwrap() - 0x4C;
            small.bytes[beta + field..beta + field + 4].copy_from_slice(&stale.to_le_bytes());
            assert_eq!(small.bytes[beta + count..beta + count + 4], [0; 4]);
            let hive = open(&small.bytes);
            assert!(walk(&hive).is_empty(), "{field:x} {stale:x}");
            assert_eq!(hive.findings(), []);
        }
    }
}

#[test]
fn a_damaged_key_does_not_hide_its_neighbours_nor_pass_for_missing() {
    let mut small = small();
    small.bytes[small.key] = b'x';
    let hive = open(&small.bytes);
    let root = hive.root().unwrap();
    let keys: Vec<_> = root.subkeys().collect();
    assert!(keys[0].is_err() && keys[1].as_ref().is_ok_and(|key| key.name() == "Beta"));
    assert!(root.subkey("beta").unwrap().is_some());
    let error = root.subkey("alpha").err().unwrap();
    assert_eq!(error.position(), Some(small.key as u64));
    assert!(root.subkey("gamma").is_err());
}

#[test]
fn a_key_in_itself_and_a_list_in_itself_end() {
    let mut small = small();
    let own = (small.root - 4 - 4096) as u32;
    small.bytes[small.list + 4..small.list + 8].copy_from_slice(&own.to_le_bytes());
    small.bytes[small.root + 0x10..small.root + 0x14].copy_from_slice(&own.to_le_bytes());
    let hive = open(&small.bytes);
    let mut key = hive.root().unwrap();
    let mut depth = 0;
    let error = loop {
        let child = key.subkeys().next().unwrap();
        match child {
            Ok(child) => key = child,
            Err(error) => break error,
        }
        depth += 1;
    };
    assert_eq!(depth, 512);
    assert!(error.message().ends_with("keys lie in each other too deep"), "{error}");

    let mut small = self::small();
    let own = (small.list - 4 - 4096) as u32;
    small.bytes[small.list..small.list + 4].copy_from_slice(b"ri\x01\0");
    small.bytes[small.list + 4..small.list + 8].copy_from_slice(&own.to_le_bytes());
    let hive = open(&small.bytes);
    let errors = walk(&hive);
    assert_eq!(errors[0].message(), "root key: list of lists of subkeys lies in another one");
}

#[test]
fn content_that_looks_like_the_header_of_a_bin_hides_no_cell() {
    for fakes in [1, 8, 9] {
        let mut tree = Tree::default();
        tree.value("K", "V", 3, &[7; 60_000]);
        for number in 0..40 {
            tree.dword(&format!(r"K\Key {number}"), "Number", number);
        }
        // Before version 1.4 the data is one cell, and other cells follow in its bin.
        let mut bytes = Writer::new(3, *b"lf").build(&tree);
        let data = bytes.windows(60_000).position(|window| window == [7; 60_000]).unwrap();
        let first = data.next_multiple_of(4096);
        for page in (first..).step_by(4096).take(fakes) {
            bytes[page..page + 4].copy_from_slice(b"hbin");
            bytes[page + 4..page + 8].copy_from_slice(&(page as u32 - 4096).to_le_bytes());
            bytes[page + 8..page + 12].copy_from_slice(&4096_u32.to_le_bytes());
        }
        let errors = walk(&open(&bytes));
        assert_eq!(errors.is_empty(), fakes <= 8, "{errors:?}");
    }
}

#[test]
fn counts_beyond_any_real_one_are_refused_before_anything_is_read() {
    let counts = |field: usize| {
        let mut small = small();
        let at = small.root + field;
        small.bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        small.bytes
    };
    let bytes = counts(0x14);
    let hive = open(&bytes);
    let error = hive.key("nothing").err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
    assert_eq!(error.message(), "root key: key has more subkeys than are read");
    let bytes = counts(0x24);
    let hive = open(&bytes);
    let root = hive.root().unwrap();
    assert_eq!(root.values().count(), 1);
    let error = root.value("nothing").err().unwrap();
    assert_eq!(error.message(), "root key: key has more values than are read");
}

#[test]
fn what_is_no_hive_is_refused() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut bytes = small().bytes;
        change(&mut bytes);
        seal(&mut bytes);
        let error = Hive::open(file(bytes), Vec::new()).err().unwrap();
        (error.kind(), error.position())
    };
    assert_eq!(refused(|bytes| bytes[0] = b'x'), (FsErrorKind::Corrupt, Some(0)));
    assert_eq!(refused(|bytes| bytes[0x18] = 1), (FsErrorKind::Unsupported, Some(0x14)));
    assert_eq!(refused(|bytes| bytes[0x1C] = 6), (FsErrorKind::Corrupt, Some(0x1C)));
    assert_eq!(refused(|bytes| bytes[0x1C] = 9), (FsErrorKind::Unsupported, Some(0x1C)));
    assert_eq!(refused(|bytes| bytes[0x20] = 0), (FsErrorKind::Unsupported, Some(0x20)));
    assert_eq!(refused(|bytes| bytes[0x28] = 1), (FsErrorKind::Corrupt, Some(0x28)));
    assert_eq!(refused(|bytes| bytes[0x2B] = 0x80), (FsErrorKind::Corrupt, Some(0x28)));
    let error = Hive::open(file(*b"regf"), Vec::new()).err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
}

#[test]
fn a_hive_that_is_cut_off_says_so_and_reads_what_there_is() {
    let bytes = sample().build();
    let cut = &bytes[..bytes.len() - 5000];
    let hive = open(cut);
    assert_eq!(hive.findings()[0].code, code::HIVE_CUT_SHORT);
    // The list of the root's subkeys is in the last bin.
    assert_eq!(hive.root().unwrap().subkey_count(), 7);
    let error = hive.key("Microsoft").err().unwrap();
    assert_eq!(error.message(), "root key: hive ends early");
    let list = hive.root().unwrap();
    assert_eq!(list.subkeys().count(), 1);
}

/// A file that counts what is read of it.
struct Counting {
    inner: MemoryFile,
    read: Arc<AtomicU64>,
}

impl FileData for Counting {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn memory(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.read_at(offset, buf)
    }
}

#[test]
fn a_large_hive_is_not_read_whole() {
    let mut tree = Tree::default();
    for number in 0..2000 {
        tree.value(&format!(r"Filler\{number:05}"), "Data", 3, &[3; 16_000]);
    }
    tree.sz(r"Microsoft\Windows NT\CurrentVersion", "ProductName", "Windows Test");
    let bytes = tree.build();
    assert!(bytes.len() > 30 << 20);
    let read = Arc::new(AtomicU64::new(0));
    let counting = Counting { inner: MemoryFile(bytes), read: read.clone() };
    let hive = Hive::open(Arc::new(counting), Vec::new()).unwrap();
    let key = hive.key(r"Microsoft\Windows NT\CurrentVersion").unwrap().unwrap();
    assert_eq!(key.value("ProductName").unwrap().unwrap().text().unwrap(), "Windows Test");
    assert!(read.load(Ordering::Relaxed) < 256 << 10, "{read:?}");
}

/// Bytes without a pattern.
fn noise(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let mut tree = sample();
    tree.keys.remove("MANY");
    tree.at("Data").values.retain(|(_, _, data)| data.len() < 200 || data.len() == 16_345);
    for number in 0..30 {
        tree.dword(&format!(r"Some\Key {number}"), "Number", number);
    }
    let mut writer = Writer::new(5, *b"lh");
    writer.leaf = 7;
    let bytes = writer.build(&tree);
    let mut state = 0x1234_5678_9ABC_DEF1;
    for _ in 0..500 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + noise(&mut state) % 4 {
            let at = noise(&mut state) as usize % bytes.len();
            bytes[at] = match noise(&mut state) % 3 {
                0 => 0xFF,
                1 => bytes[at].wrapping_add(1),
                _ => noise(&mut state) as u8,
            };
        }
        if noise(&mut state).is_multiple_of(8) {
            bytes.truncate(noise(&mut state) as usize % bytes.len());
        }
        if let Ok(hive) = Hive::open(file(bytes), Vec::new()) {
            walk(&hive);
        }
    }
}

/// The hive `tests/hives/NAME.gz`, and the rows of its listing.
fn stored(name: &str) -> (Vec<u8>, Vec<String>) {
    let path = format!("{}/tests/hives/{name}", env!("CARGO_MANIFEST_DIR"));
    let packed = std::fs::File::open(format!("{path}.gz")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
    let listing = std::fs::read_to_string(format!("{path}.tsv")).unwrap();
    (bytes, listing.lines().map(str::to_owned).collect())
}

/// A row for every value of `key` and of all below it, and for keys without values, as the listings
/// have them.
fn rows(key: &Key<'_>, found: &mut Vec<String>) {
    let path = key.path();
    let values: Vec<Value<'_>> = key.values().map(Result::unwrap).collect();
    for value in &values {
        let data = value.data().unwrap();
        let digest: String =
            Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        let kind = match value.kind() {
            ValueKind::Other(number) => number,
            kind => (0..12).find(|number| ValueKind::new(*number) == kind).unwrap(),
        };
        found.push(format!("{path}\t{}\t{kind}\t{}\t{digest}", value.name(), data.len()));
    }
    if values.is_empty() {
        found.push(format!("{path}\t-\t-\t-\t-"));
    }
    for child in key.subkeys() {
        rows(&child.unwrap(), found);
    }
}

#[test]
fn hives_of_libhivex_read_as_python_registry_reads_them() {
    for name in ["software-11", "software-nt4", "system-10"] {
        let (bytes, listing) = stored(name);
        let mut found = Vec::new();
        rows(&open(&bytes).root().unwrap(), &mut found);
        let missing: Vec<_> = listing.iter().filter(|row| !found.contains(row)).collect();
        let strange: Vec<_> = found.iter().filter(|row| !listing.contains(row)).collect();
        assert!(missing.is_empty() && strange.is_empty(), "{name}: {missing:?}, {strange:?}");
        assert_eq!(found.len(), listing.len(), "{name}");
    }
}
