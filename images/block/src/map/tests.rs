use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use crate::testing::{Noise, check_against_model, contents};
use crate::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Extent, ExtentKind, Map,
    Mapped, MemoryDevice, Piece, Place,
};

/// What a piece of a test map is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    At(usize),
    Stored(usize),
    Zero,
    Decode,
    Fail,
}

/// A map of any pieces over some members.
struct Pieces {
    members: Vec<Arc<dyn BlockDevice>>,
    /// Where the piece begins, what it is, and where it is.
    pieces: Vec<(u64, Kind, u64)>,
    size: u64,
    slow: bool,
    decoded: Mutex<Vec<u64>>,
}

const UNIT: usize = 1000;

fn unit_bytes(unit: u64) -> Vec<u8> {
    contents(unit ^ 0xD1, UNIT)
}

impl Pieces {
    fn new(members: Vec<Arc<dyn BlockDevice>>, pieces: &[(u64, Kind, u64)]) -> Self {
        let mut at = 0;
        let pieces = pieces.iter().map(|(length, kind, place)| {
            let start = at;
            at += length;
            (start, *kind, *place)
        });
        let pieces = pieces.collect();
        Self { members, pieces, size: at, slow: false, decoded: Mutex::default() }
    }
}

impl Map for Pieces {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let index = self.pieces.partition_point(|(start, ..)| *start <= offset) - 1;
        let (start, kind, place) = self.pieces[index];
        let end = self.pieces.get(index + 1).map_or(self.size, |next| next.0);
        let inside = offset - start;
        let place = match kind {
            Kind::At(member) => Place::At(&*self.members[member], place + inside),
            Kind::Stored(member) => Place::Stored(&*self.members[member], place + inside),
            Kind::Zero => Place::Zero,
            Kind::Decode => Place::Decode { unit: place, skip: inside },
            Kind::Fail => Place::Fail(BlockError::missing("this piece is lost")),
        };
        Ok(Piece::new(place, end - offset))
    }

    fn unit_size(&self, _unit: u64) -> usize {
        UNIT
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        self.decoded.lock().unwrap().push(unit);
        out.copy_from_slice(&unit_bytes(unit));
        Ok(())
    }

    fn decodes_slowly(&self) -> bool {
        self.slow
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Kind::At),
        2 => (0..2_usize).prop_map(Kind::Stored),
        1 => Just(Kind::Zero),
        2 => Just(Kind::Decode),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_map_reads_as_its_model(
        pieces in prop::collection::vec((1..900_u64, kinds(), 0..3000_u64), 1..40),
        seed: u64,
        cached: bool,
        slow: bool,
    ) {
        let bytes = [contents(1, 4000), contents(2, 4000), vec![0; 4000]];
        let members = vec![Noise::of(bytes[0].clone()), Noise::of(bytes[1].clone()), Noise::hole(4000)];
        let mut model = Vec::new();
        for (length, kind, place) in &pieces {
            let (length, place) = (*length as usize, *place as usize);
            match kind {
                Kind::At(n) | Kind::Stored(n) => model.extend(&bytes[*n][place..place + length]),
                Kind::Zero | Kind::Fail => model.resize(model.len() + length, 0),
                Kind::Decode => model.extend(&unit_bytes(place as u64)[..length]),
            }
        }
        let mut map = Pieces::new(members, &pieces);
        map.slow = slow;
        let pool = CachePool::new(1 << 20);
        let device = if cached { Mapped::cached(map, &pool) } else { Mapped::new(map) };
        check_against_model(&device, &model, 30, seed);
        device.will_need(0, u64::MAX);
    }
}

/// A device that notes what it is asked.
#[derive(Default)]
struct Noted {
    reads: Mutex<Vec<(u64, Vec<usize>)>>,
    hints: Mutex<Vec<(u64, u64)>>,
    fails: AtomicUsize,
}

impl BlockDevice for Noted {
    fn size(&self) -> u64 {
        1 << 20
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.read_vectored_at(offset, &mut [buf])
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        self.reads.lock().unwrap().push((offset, bufs.iter().map(|buf| buf.len()).collect()));
        if self.fails.load(Ordering::Relaxed) > 0 {
            return Err(BlockError::new(BlockErrorKind::Io, "broken"));
        }
        bufs.iter_mut().for_each(|buf| buf.fill(7));
        Ok(())
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.hints.lock().unwrap().push((offset, length));
    }
}

/// Chunks of 100 bytes of two members in turn, then a zero piece.
fn striped() -> (Arc<Noted>, Arc<Noted>, Pieces) {
    let (one, two) = (Arc::new(Noted::default()), Arc::new(Noted::default()));
    let pieces: Vec<_> =
        (0..8).map(|n| (100, Kind::At(n % 2), 1000 + (n as u64 / 2) * 100)).collect();
    (one.clone(), two.clone(), Pieces::new(vec![one, two], &pieces))
}

#[test]
fn pieces_that_follow_each_other_in_a_device_are_one_request() {
    let (one, two, map) = striped();
    let device = Mapped::new(map);
    device.read_at(50, &mut [0; 700]).unwrap();
    assert_eq!(*one.reads.lock().unwrap(), [(1050, vec![50, 100, 100, 100])]);
    assert_eq!(*two.reads.lock().unwrap(), [(1000, vec![100, 100, 100, 50])]);
    device.will_need(50, 100);
    assert_eq!(*one.hints.lock().unwrap(), [(1050, 50)]);
    assert_eq!(*two.hints.lock().unwrap(), [(1000, 50)]);
}

#[test]
fn neighbours_are_one_read_into_one_buffer_and_one_hint() {
    let noted = Arc::new(Noted::default());
    let pieces = [(100, Kind::At(0), 0), (50, Kind::Stored(0), 100), (10, Kind::At(0), 150)];
    let device = Mapped::new(Pieces::new(vec![noted.clone()], &pieces));
    device.read_at(10, &mut [0; 145]).unwrap();
    device.read_vectored_at(0, &mut [&mut [0; 20], &mut [], &mut [0; 140]]).unwrap();
    device.will_need(0, 160);
    assert_eq!(*noted.reads.lock().unwrap(), [(10, vec![145]), (0, vec![20, 140])]);
    assert_eq!(*noted.hints.lock().unwrap(), [(0, 160)]);
}

/// Gives 9 for what cannot be read, but not at one offset.
struct Rescuer(Pieces);

impl Map for Rescuer {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        self.0.locate(offset, wanted)
    }

    fn rescue(&self, offset: u64, buf: &mut [u8], error: BlockError) -> BlockResult<()> {
        if offset == 300 {
            return Err(error.within("the last word"));
        }
        buf.fill(9);
        Ok(())
    }
}

#[test]
fn a_failed_piece_is_rescued_and_only_that_piece() {
    let (one, _, map) = striped();
    one.fails.store(1, Ordering::Relaxed);
    let device = Mapped::new(Rescuer(map));
    let mut buf = [0; 300];
    device.read_at(0, &mut buf).unwrap();
    let model = [[9; 100], [7; 100], [9; 100]].concat();
    assert_eq!(buf[..], model);
    device.read_vectored_at(0, &mut [&mut [0; 10], &mut [0; 90]]).unwrap();

    let (_, two, map) = striped();
    two.fails.store(1, Ordering::Relaxed);
    let error = Mapped::new(Rescuer(map)).read_at(300, &mut [0; 5]).unwrap_err();
    assert_eq!(error.message(), "the last word: broken");
}

#[test]
fn a_lost_piece_fails_its_own_requests_before_anything_is_read() {
    let noted = Arc::new(Noted::default());
    let pieces = [(100, Kind::At(0), 0), (100, Kind::Fail, 0), (100, Kind::At(0), 0)];
    let device = Mapped::new(Pieces::new(vec![noted.clone()], &pieces));
    let error = device.read_at(50, &mut [0; 200]).unwrap_err();
    assert_eq!(error.message(), "this piece is lost");
    assert!(noted.reads.lock().unwrap().is_empty());
    device.read_at(200, &mut [0; 100]).unwrap();
    assert_eq!(device.extent_at(100).unwrap().kind, ExtentKind::Data);
}

#[test]
fn known_data_is_told_as_one_extent() {
    let members: Vec<Arc<dyn BlockDevice>> =
        vec![Arc::new(MemoryDevice::new(vec![1; 300])), Noise::hole(300)];
    let pieces = [
        (100, Kind::Stored(0), 0),
        (100, Kind::Fail, 0),
        (100, Kind::Decode, 0),
        (100, Kind::At(1), 0),
        (100, Kind::At(0), 0),
        (100, Kind::Stored(1), 0),
    ];
    let device = Mapped::new(Pieces::new(members, &pieces));
    assert_eq!(device.extent_at(50).unwrap(), Extent { kind: ExtentKind::Data, length: 250 });
    assert_eq!(device.extent_at(310).unwrap(), Noise::zero(90));
    assert_eq!(device.extent_at(400).unwrap(), Extent { kind: ExtentKind::Data, length: 100 });
    assert_eq!(device.extent_at(599).unwrap(), Extent { kind: ExtentKind::Data, length: 1 });
}

#[test]
fn units_are_decoded_once_also_when_several_cores_decode() {
    let pieces: Vec<_> = (0..40).map(|unit| (UNIT as u64, Kind::Decode, unit)).collect();
    let mut map = Pieces::new(Vec::new(), &pieces);
    map.slow = true;
    let device = Mapped::cached(map, &CachePool::new(1 << 20));
    let mut buf = vec![0; 40 * UNIT];
    for _ in 0..3 {
        device.read_at(0, &mut buf).unwrap();
        let model: Vec<u8> = (0..40).flat_map(unit_bytes).collect();
        assert!(buf == model);
    }
    let mut decoded = device.map().decoded.lock().unwrap().clone();
    decoded.sort_unstable();
    assert_eq!(decoded, (0..40).collect::<Vec<u64>>());
}

/// Answers nothing.
struct Empty;

impl Map for Empty {
    fn size(&self) -> u64 {
        10
    }

    fn locate(&self, _offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        Ok(Piece::new(Place::Zero, 0))
    }
}

#[test]
fn an_empty_piece_is_a_fault_of_ours_and_no_endless_loop() {
    let device = Mapped::new(Empty);
    assert_eq!(device.read_at(0, &mut [0; 5]).unwrap_err().kind(), BlockErrorKind::Internal);
    assert_eq!(device.extent_at(0).unwrap_err().kind(), BlockErrorKind::Internal);
    device.will_need(0, 10);
}
