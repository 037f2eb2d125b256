//! Any pieces as a map, against a model of it: plain and vectored reads, extents, hints.

use std::sync::Arc;

use volfold_block::testing::{Noise, check_against_model, contents};
use volfold_block::{BlockDevice, BlockError, BlockResult, CachePool, Map, Mapped, Piece, Place};

const UNIT: usize = 300;
const MEMBER: usize = 1000;

#[derive(Clone, Copy)]
enum Kind {
    At(usize),
    Stored,
    Zero,
    Decode,
}

/// Pieces in order, each with where it begins and where it is.
struct Pieces {
    members: [Arc<dyn BlockDevice>; 3],
    pieces: Vec<(u64, Kind, u64)>,
    size: u64,
}

impl Map for Pieces {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let next = self.pieces.partition_point(|(start, ..)| *start <= offset);
        let (start, kind, place) = self.pieces[next - 1];
        let end = self.pieces.get(next).map_or(self.size, |next| next.0);
        let inside = offset - start;
        let place = match kind {
            Kind::At(member) => Place::At(&*self.members[member], place + inside),
            Kind::Stored => Place::Stored(&*self.members[0], place + inside),
            Kind::Zero => Place::Zero,
            Kind::Decode => Place::Decode { unit: place, skip: inside },
        };
        Ok(Piece::new(place, end - offset))
    }

    fn unit_size(&self, _unit: u64) -> usize {
        UNIT
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        out.copy_from_slice(&contents(unit, UNIT));
        Ok(())
    }

    fn decodes_slowly(&self) -> bool {
        self.size.is_multiple_of(2)
    }

    fn rescue(&self, _offset: u64, buf: &mut [u8], _error: BlockError) -> BlockResult<()> {
        buf.fill(0x77);
        Ok(())
    }
}

/// Takes four bytes of `data` for each piece: kind, length, place.
pub fn run(data: &[u8]) {
    let [seed, data @ ..] = data else { return };
    let one = contents(1, MEMBER);
    // The third member fails, and `rescue` stands in for it.
    let members =
        [Noise::of(one.clone()), Noise::hole(MEMBER), Noise::broken(3, MEMBER, 0..MEMBER as u64)];
    let (mut pieces, mut model) = (Vec::new(), Vec::new());
    for piece in data.chunks_exact(4).take(200) {
        let length = usize::from(piece[1]) + 1;
        let place = usize::from(u16::from_le_bytes([piece[2], piece[3]])) % (MEMBER - 256);
        let start = model.len() as u64;
        let kind = match piece[0] % 6 {
            0 | 1 => Kind::At(usize::from(piece[0] % 6)),
            2 => Kind::At(2),
            3 => Kind::Stored,
            4 => Kind::Zero,
            _ => Kind::Decode,
        };
        match kind {
            Kind::At(0) | Kind::Stored => model.extend(&one[place..place + length]),
            Kind::At(2) => model.resize(model.len() + length, 0x77),
            Kind::At(_) | Kind::Zero => model.resize(model.len() + length, 0),
            Kind::Decode => model.extend(&contents(place as u64, UNIT)[..length]),
        }
        pieces.push((start, kind, place as u64));
    }
    if pieces.is_empty() {
        return;
    }
    let size = model.len() as u64;
    let map = Pieces { members, pieces, size };
    let device = Mapped::cached(map, &CachePool::new(1 << 16));
    check_against_model(&device, &model, 20, u64::from(*seed));
    device.will_need(u64::from(*seed), u64::MAX);
}
