use std::sync::Arc;

use volfold_block::{BlockDevice, BlockErrorKind, Finding, MemoryDevice, Severity};

use super::block::{BLOCK, IDENTIFIER};
use super::*;
use crate::volume::basic;

/// Blocks of the volumes here.
const BLOCKS: usize = 64;

/// A volume whose block `n` holds bytes of `n`, with what is put into it.
struct Image(Vec<u8>);

impl Image {
    fn new() -> Self {
        Self((0..BLOCKS).flat_map(|number| vec![number as u8; BLOCK as usize]).collect())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A header at block `block`, and what it holds.
    fn list(&mut self, record: u32, block: usize, next: usize, body: &[u8]) {
        let at = block * BLOCK as usize;
        self.0[at..at + BLOCK as usize].fill(0);
        let places = [0, at as u64, (next * BLOCK as usize) as u64].map(u64::to_le_bytes).concat();
        let numbers = [1, record].map(u32::to_le_bytes).concat();
        self.put(at, &[&IDENTIFIER[..], &numbers, &places].concat());
        self.put(at + 128, body);
    }

    fn header(&mut self, catalog: usize) {
        let numbers = [1_u32, 1].map(u32::to_le_bytes).concat();
        let places = [0x1E00, 0x1E00, 0, (catalog * BLOCK as usize) as u64, 0];
        let places = places.map(u64::to_le_bytes).concat();
        self.put(0x1E00, &[&IDENTIFIER[..], &numbers, &places, &[7; 16], &[7; 16]].concat());
    }

    fn find(self, is_wanted: bool) -> (Vec<Volume>, Vec<Finding>) {
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(self.0));
        let region = crate::volume::Region {
            disk: 0,
            size: device.size(),
            device,
            start: 0,
            label: "disk".into(),
            partition: None,
            table_id: None,
        };
        let mut findings = Vec::new();
        let volumes = Vss.find(&[&basic::volume(region)], is_wanted, &mut findings);
        (volumes, findings)
    }
}

/// A copy with the store `number`, which is its place too.
fn copy(number: u8, flags: u64) -> Vec<u8> {
    let store = [number; 16];
    let size = (BLOCKS as u64 * BLOCK).to_le_bytes();
    let tail = [u64::from(number), flags, 116_444_736_000_000_000].map(u64::to_le_bytes).concat();
    [&2_u64.to_le_bytes()[..], &size, &store, &tail, &[0; 72]].concat()
}

/// Its store, whose lists lie in these blocks.
fn store(number: u8, table: usize, bitmap: usize, previous: usize) -> Vec<u8> {
    let place = |block: usize| (block as u64 * BLOCK).to_le_bytes();
    let head = [3_u64.to_le_bytes(), place(table)].concat();
    let lists = [[0; 8], [0; 8], place(bitmap), [0; 8], [0; 8], place(previous)].concat();
    [&head[..], &[number; 16], &lists, &[0; 48]].concat()
}

fn descriptor(original: u64, relative: u64, place: u64, flags: u32) -> Vec<u8> {
    let places = [original * BLOCK, relative * BLOCK, place * BLOCK].map(u64::to_le_bytes).concat();
    [places, [flags, 0].map(u32::to_le_bytes).concat()].concat()
}

/// Copies 1 and 2 with these descriptors, and bits in the bitmaps for these blocks.
fn image(first: &[Vec<u8>], second: &[Vec<u8>], marked: &[usize]) -> Image {
    let mut image = Image::new();
    image.header(60);
    let entries =
        [copy(2, 0x40), store(2, 50, 51, 52), copy(1, 0x40), store(1, 53, 52, 0)].concat();
    image.list(2, 60, 0, &entries);
    image.list(3, 50, 0, &second.concat());
    image.list(3, 53, 0, &first.concat());
    let mut bits = [0; BLOCKS / 8];
    marked.iter().for_each(|block| bits[block / 8] |= 1 << (block % 8));
    image.list(6, 51, 0, &bits);
    image.list(6, 52, 0, &bits);
    image
}

fn first_byte(volume: &Volume, block: u64) -> Result<u8, BlockErrorKind> {
    let mut byte = [0];
    let read = volume.device.read_at(block * BLOCK, &mut byte);
    read.map(|()| byte[0]).map_err(|error| error.kind())
}

#[test]
fn a_copy_is_its_own_store_then_the_newer_ones_then_the_volume() {
    let first = [descriptor(3, 20, 20, 0), descriptor(5, 30, 0, 1)];
    let second = [descriptor(3, 21, 21, 0), descriptor(4, 22, 22, 0), descriptor(30, 23, 23, 0)];
    let (volumes, findings) = image(&first, &second, &[8]).find(true);
    assert!(findings.is_empty(), "{findings:?}");
    let [older, newer] = volumes.as_slice() else { panic!("{} volumes", volumes.len()) };
    for (block, old, new) in [(2, 2, 2), (3, 20, 21), (4, 22, 22), (5, 23, 5), (9, 9, 9)] {
        assert_eq!((first_byte(older, block), first_byte(newer, block)), (Ok(old), Ok(new)));
    }
    assert_eq!(first_byte(older, 8), Err(BlockErrorKind::MissingPart));
    assert_eq!(newer.snapshot.as_ref().unwrap().suffix(), "1970-01-01T000000Z");
    let mut whole = vec![0; 8 * BLOCK as usize];
    older.device.read_at(0, &mut whole).unwrap();
    assert_eq!(whole[5 * BLOCK as usize], 23);
}

#[test]
fn what_is_not_wanted_is_told() {
    let (volumes, findings) = image(&[], &[], &[]).find(false);
    assert!(volumes.is_empty());
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].code, findings[0].severity), (code::SHADOW_COPIES, Severity::Info));
}

#[test]
fn a_list_that_contradicts_itself_gives_no_bytes() {
    // Moved to itself; a place that is no block; no bitmap for the end of the volume.
    let own = image(&[descriptor(3, 3, 0, 1)], &[], &[]).find(true).0;
    assert_eq!(first_byte(&own[0], 3), Err(BlockErrorKind::Corrupt));
    assert_eq!(first_byte(&own[0], 4), Ok(4));
    let mut odd = descriptor(3, 20, 20, 0);
    odd[0] = 1;
    let odd = image(&[odd], &[], &[]).find(true).0;
    assert_eq!(first_byte(&odd[0], 4), Err(BlockErrorKind::Corrupt));
    assert_eq!(first_byte(&odd[1], 4), Ok(4), "the newer copy does not need it");
    let mut short = image(&[], &[], &[]);
    short.header(60);
    short.list(2, 60, 0, &[copy(1, 0x40), store(1, 53, 0, 0)].concat());
    let short = short.find(true).0;
    assert_eq!(first_byte(&short[0], 4), Err(BlockErrorKind::Corrupt));
}

#[test]
fn lists_that_lead_back_to_themselves_end() {
    let mut table = image(&[], &[], &[]);
    table.list(3, 53, 54, &descriptor(3, 20, 20, 0));
    table.list(3, 54, 53, &descriptor(4, 21, 21, 0));
    let (volumes, _) = table.find(true);
    assert_eq!(first_byte(&volumes[0], 9), Err(BlockErrorKind::Corrupt));
    let mut catalog = image(&[], &[], &[]);
    catalog.list(2, 60, 60, &copy(1, 0));
    for (is_wanted, severity) in [(true, Severity::Error), (false, Severity::Info)] {
        let (volumes, findings) = Image(catalog.0.clone()).find(is_wanted);
        assert!(volumes.is_empty());
        assert_eq!(findings[0].code, code::SHADOW_COPIES_DAMAGED);
        assert_eq!(findings[0].severity, severity);
    }
}

#[test]
fn a_copy_that_needs_one_that_is_not_there_is_refused() {
    let mut gap = image(&[], &[], &[]);
    let entries = [copy(1, 0), store(1, 53, 52, 0), copy(3, 0), store(3, 50, 51, 0)].concat();
    gap.list(2, 60, 0, &entries);
    let (volumes, findings) = gap.find(true);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, code::SHADOW_COPY_REFUSED);
    assert_eq!((volumes[0].health, volumes[1].health), (Health::Failed, Health::Healthy));
    // Deleted ones are not shown, and are still needed.
    let mut deleted = image(&[], &[descriptor(4, 22, 22, 0)], &[]);
    let entries = [copy(1, 0), store(1, 53, 52, 0), copy(2, 0x100), store(2, 50, 51, 0)].concat();
    deleted.list(2, 60, 0, &entries);
    let (volumes, findings) = deleted.find(true);
    assert!(findings.is_empty() && volumes.len() == 1);
    assert_eq!(first_byte(&volumes[0], 4), Ok(22));
}
