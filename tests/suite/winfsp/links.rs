//! Links beside twins: what Windows opens through a link is what the guest means by it.
//!
//! Trees are random; what a link means is found by a model of the guest in this file, which knows
//! nothing of how links are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use volfold_fs::NodeId;
#[cfg(target_env = "gnu")]
use volfold_fs::links::VolumeNames;
#[cfg(target_env = "gnu")]
use volfold_fs::{FileSystem, TreeVolume, VolumeTree};
use winfsp_double::{OPEN_REPARSE_POINT, Requests, list, wide};

use super::memory::{MemoryFs, chance};
use crate::harness::{apply, test};

const ROOT: NodeId = NodeId(0);
const READ: u32 = 1;
const DIRECTORY: u32 = 0x10;
const REPARSE_POINT: u32 = 0x400;
const SEPARATOR: u16 = b'\\' as u16;

/// Names that are one to Windows, or none, or what another one is shown as.
const NAMES: &[&[u8]] = &[
    b"README",
    b"readme",
    b"Readme",
    b"x",
    b"X",
    b"a:b",
    b"a\xEF\x80\xBAb",
    b"CON",
    b"con",
    b"dot.",
    b"space ",
    b"\xFFbad",
    "\u{E4}".as_bytes(),
    "\u{C4}".as_bytes(),
    "readme\u{F132}".as_bytes(),
    &[b'l'; 256],
    &[b'L'; 256],
];

/// What the guest has at a path.
enum Guest {
    Directory(BTreeMap<Vec<u8>, u64>),
    File,
    Link(Vec<u8>),
}

/// A volume as the guest knows it: nodes by their numbers, the root is 0.
struct Model {
    nodes: BTreeMap<u64, Guest>,
    /// The directory of each node.
    parents: BTreeMap<u64, u64>,
}

impl Model {
    /// The node that the link `link` leads to, as Linux follows it.
    fn follow(&self, link: u64) -> Option<u64> {
        let mut here = self.parents[&link];
        let mut rest = vec![(link, Vec::new())];
        let mut links = 0;
        while let Some((node, name)) = rest.pop() {
            let node = match name.as_slice() {
                b"" => Some(node),
                b".." => Some(if here == 0 { 0 } else { self.parents[&here] }),
                name => match &self.nodes[&here] {
                    Guest::Directory(names) => names.get(name).copied(),
                    _ => None,
                },
            }?;
            match &self.nodes[&node] {
                Guest::Directory(_) => here = node,
                Guest::File if rest.is_empty() => return Some(node),
                Guest::File => return None,
                Guest::Link(target) => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        here = 0;
                    }
                    let parts = target.split(|byte| *byte == b'/');
                    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
                    rest.extend(parts.into_iter().rev().map(|part| (0, part.to_vec())));
                }
            }
        }
        Some(here)
    }
}

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = chance(self.0);
        (self.0 >> 16) as usize % end
    }
}

/// A random volume, and what the guest knows of it.
fn volume(seed: u64) -> (MemoryFs, Model) {
    let mut dice = Dice(seed);
    let mut fs = MemoryFs::new();
    let mut nodes = BTreeMap::from([(0, Guest::Directory(BTreeMap::new()))]);
    let (mut parents, mut directories) = (BTreeMap::new(), vec![0]);
    for _ in 0..40 {
        let dir = directories[dice.below(directories.len())];
        let name = NAMES[dice.below(NAMES.len())];
        let Some(Guest::Directory(names)) = nodes.get_mut(&dir) else { continue };
        if names.contains_key(name) {
            continue;
        }
        let at = NodeId(dir);
        let (node, guest) = match dice.below(5) {
            0 | 1 => (fs.directory(at, name), Guest::Directory(BTreeMap::new())),
            2 => (fs.file(at, name, format!("{dir} {name:?}").as_bytes()), Guest::File),
            _ => {
                let target = target(&mut dice);
                (fs.link(at, name, &target), Guest::Link(target))
            }
        };
        names.insert(name.to_vec(), node.0);
        parents.insert(node.0, dir);
        if matches!(guest, Guest::Directory(_)) {
            directories.push(node.0);
        }
        nodes.insert(node.0, guest);
    }
    (fs, Model { nodes, parents })
}

/// The text of a random link.
fn target(dice: &mut Dice) -> Vec<u8> {
    let mut text = Vec::new();
    if dice.below(4) == 0 {
        text.push(b'/');
    }
    for number in 0..=dice.below(3) {
        if number > 0 {
            text.push(b'/');
        }
        match dice.below(5) {
            0 => text.extend(b".."),
            _ => text.extend(NAMES[dice.below(NAMES.len())]),
        }
    }
    text
}

/// The path of every node as Windows lists it. Names are told apart by their nodes.
fn paths(requests: &dyn Requests) -> BTreeMap<u64, (Vec<u16>, u32)> {
    let mut all = BTreeMap::new();
    let mut open = vec![wide("\\")];
    while let Some(path) = open.pop() {
        let directory = requests.open(&path, READ, 0).expect("a directory");
        let (records, _) = list(requests, directory.handle, 65536).expect("a listing");
        requests.close(directory.handle);
        let mut names = BTreeSet::new();
        for record in records {
            if record.name.iter().all(|unit| *unit == u16::from(b'.')) {
                continue;
            }
            let upper = String::from_utf16_lossy(&record.name).to_uppercase();
            assert!(names.insert(upper), "two names are one to Windows");
            let mut below = path.clone();
            if below.len() > 1 {
                below.push(SEPARATOR);
            }
            below.extend(&record.name);
            let kind = record.info.file_attributes & (DIRECTORY | REPARSE_POINT);
            if kind == DIRECTORY {
                open.push(below.clone());
            }
            all.insert(record.info.index_number, (below, kind));
        }
    }
    all
}

/// The node that is opened at `path`.
fn opened(requests: &dyn Requests, path: &[u16]) -> Option<u64> {
    let opened = requests.open(path, READ, 0).ok()?;
    requests.close(opened.handle);
    Some(opened.info.index_number)
}

/// Follows every link of the volume, and every name below those that lead to directories.
///
/// `number` gives the host's number of a node.
fn check(requests: &dyn Requests, model: &Model, number: &dyn Fn(u64) -> u64) -> (usize, usize) {
    let paths = paths(requests);
    let (mut whole, mut below) = (0, 0);
    for (node, guest) in &model.nodes {
        let Guest::Link(text) = guest else { continue };
        let (path, kind) = &paths[&number(*node)];
        let shown = String::from_utf16_lossy(path);
        let text = String::from_utf8_lossy(text);
        let wanted = model.follow(*node);
        let is_directory =
            wanted.is_some_and(|node| matches!(model.nodes[&node], Guest::Directory(_)));
        assert_eq!(*kind & DIRECTORY != 0, is_directory, "{shown} -> {text}");
        let found = opened(requests, path);
        assert_eq!(found, wanted.map(number), "{shown} -> {text}");
        whole += usize::from(found.is_some());
        let Some(Guest::Directory(names)) = wanted.and_then(|node| model.nodes.get(&node)) else {
            continue;
        };
        for child in names.values() {
            if matches!(model.nodes[child], Guest::Link(_)) {
                continue;
            }
            let own = &paths[&number(*child)].0;
            let name = own.rsplit(|unit| *unit == SEPARATOR).next().expect("a name");
            let path = [path, &[SEPARATOR][..], name].concat();
            let shown = String::from_utf16_lossy(&path);
            assert_eq!(opened(requests, &path), Some(number(*child)), "{shown}");
            below += 1;
        }
        // The link itself can always be opened.
        let own = requests.open(path, 0x80, OPEN_REPARSE_POINT).expect("the link itself");
        requests.close(own.handle);
    }
    (whole, below)
}

/// What is done with a volume that is shown.
type Look<'a> = &'a mut dyn FnMut(&dyn Requests);

/// Random volumes; `show` gives requests to one.
fn check_random(show: &dyn Fn(MemoryFs, Look<'_>)) {
    let mut all = (0, 0);
    for seed in 0..90 {
        let (fs, model) = volume(seed);
        show(fs, &mut |requests| {
            let (whole, below) = check(requests, &model, &|node| node);
            all = (all.0 + whole, all.1 + below);
        });
    }
    assert!(all.0 > 150 && all.1 > 100, "{all:?} links and names below links");
}

#[apply(test)]
fn links_beside_twins_lead_where_the_guest_means_in_the_double() {
    check_random(&|fs, look| look(super::double::Shown::new(Arc::new(fs)).requests()));
}

#[cfg(target_env = "gnu")]
#[apply(test)]
fn links_beside_twins_lead_where_the_guest_means() {
    let dll = super::genuine::needed();
    check_random(&|fs, look| {
        look(&super::genuine_host::Genuine::new(&dll, Arc::new(fs)));
    });
}

/// A set of volumes, the first of which is that of the model.
#[cfg(target_env = "gnu")]
fn set(volumes: Vec<(&str, MemoryFs)>) -> VolumeTree {
    let volumes = volumes.into_iter().map(|(name, fs)| {
        let fs: Arc<dyn FileSystem> = Arc::new(fs);
        TreeVolume::new(name, move || Ok(fs.clone()))
    });
    VolumeTree::new(volumes.collect())
}

#[cfg(target_env = "gnu")]
#[apply(test)]
fn links_lead_where_the_guest_means_in_every_volume_of_a_set() {
    let dll = super::genuine::needed();
    for seed in 100..130 {
        let (first, model) = volume(seed);
        let (second, _) = volume(seed + 1000);
        let tree = set(vec![("System", first), ("system", second)]);
        let genuine = super::genuine_host::Genuine::set(&dll, tree, &VolumeNames::default());
        check(&genuine, &model, &|node| 1 << 48 | node);
    }
}

/// A reader of all that a link gives: bytes, or none.
#[cfg(target_env = "gnu")]
fn text(requests: &dyn Requests, path: &str) -> Option<String> {
    let file = requests.open(&wide(path), READ, 0).ok()?;
    let mut buf = [0; 64];
    let count = requests.read(file.handle, 0, &mut buf);
    requests.close(file.handle);
    Some(String::from_utf8_lossy(&buf[..count.ok()?]).into_owned())
}

#[cfg(target_env = "gnu")]
#[apply(test)]
fn links_lead_from_one_volume_of_a_set_into_another_by_its_letter() {
    let dll = super::genuine::needed();
    let mut system = MemoryFs::new().with_drives();
    let users = system.directory(ROOT, b"Users");
    system.link(users, b"to-data", b"D:/x/File");
    system.link(users, b"to-data-lower", b"d:/x/file");
    system.link(users, b"to-number", b"Volume{1}/X/File");
    system.link(users, b"to-own", b"C:/own");
    system.link(users, b"to-unknown", b"E:/own");
    system.link(users, b"to-hidden", b"F:/own");
    system.link(users, b"above", b"../../../own");
    system.link(users, b"to-folder", b"D:/x");
    system.file(ROOT, b"own", b"own");
    let mut data = MemoryFs::new().with_drives();
    let [lower, upper] = [&b"x"[..], b"X"].map(|name| data.directory(ROOT, name));
    data.file(lower, b"File", b"x/File");
    data.file(lower, b"file", b"x/file");
    data.file(upper, b"File", b"X/File");
    data.link(upper, b"back", b"C:/own");
    let mut names = VolumeNames::default();
    names.add("C:", Some("System"));
    names.add("D:", Some("Data"));
    names.add("F:", None);
    names.add("Volume{1}", Some("Data"));
    let tree = set(vec![("System", system), ("Data", data)]);
    let genuine = super::genuine_host::Genuine::set(&dll, tree, &names);
    for (path, wanted) in [
        ("\\System\\Users\\to-data", Some("x/File")),
        ("\\System\\Users\\to-data-lower", Some("x/file")),
        ("\\System\\Users\\to-number", Some("X/File")),
        ("\\System\\Users\\to-own", Some("own")),
        ("\\System\\Users\\to-unknown", Some("own")),
        ("\\System\\Users\\to-hidden", None),
        ("\\System\\Users\\above", Some("own")),
        ("\\System\\Users\\to-folder\\File", Some("x/File")),
        ("\\Data\\X\\back", Some("own")),
    ] {
        assert_eq!(text(&genuine, path).as_deref(), wanted, "{path}");
    }
}

#[cfg(target_env = "gnu")]
#[apply(test)]
fn a_link_to_nothing_never_leads_to_a_twin_and_keeps_its_text_where_it_can() {
    let dll = super::genuine::needed();
    let mut fs = MemoryFs::new();
    fs.file(ROOT, b"readme", b"lower");
    fs.link(ROOT, b"dangling-twin", b"README");
    fs.link(ROOT, b"dangling", b"no/such:file");
    fs.link(ROOT, b"no-drive", b"a:b");
    fs.file(ROOT, b"a:b", b"no drive");
    fs.link(ROOT, b"up-from-a-link", b"to-dir/../readme");
    let dir = fs.directory(ROOT, b"dir");
    let deep = fs.directory(dir, b"deep");
    fs.file(dir, b"readme", b"in dir");
    fs.link(ROOT, b"to-dir", b"dir/deep");
    fs.file(deep, b"x", b"");
    let genuine = super::genuine_host::Genuine::new(&dll, Arc::new(fs));
    assert_eq!(text(&genuine, "\\dangling-twin"), None, "Windows would open readme");
    assert_eq!(text(&genuine, "\\dangling"), None);
    assert_eq!(text(&genuine, "\\no-drive").as_deref(), Some("no drive"));
    assert_eq!(text(&genuine, "\\up-from-a-link").as_deref(), Some("in dir"));
    let link = genuine.open(&wide("\\dangling"), 0x80, OPEN_REPARSE_POINT).expect("the link");
    let data = genuine.reparse_point(link.handle, &wide("\\dangling")).expect("its text");
    genuine.close(link.handle);
    let units = data[20..].as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    assert_eq!(String::from_utf16_lossy(&units.collect::<Vec<_>>()), "no\\such\u{F03A}file");
    let link = genuine.open(&wide("\\dangling-twin"), 0x80, OPEN_REPARSE_POINT).expect("the link");
    assert!(genuine.reparse_point(link.handle, &wide("\\dangling-twin")).is_err());
    genuine.close(link.handle);
}
