//! Unpacks gzip: the fixtures are read without any tool and without a dependency of the product.
//!
//! Specifications: RFC 1952 (gzip) and RFC 1951 (deflate). One member; what is wrong panics.

const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_BITS: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
const CODE_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Bytes that a distance can reach back.
const WINDOW: usize = 32 << 10;

/// What is kept before a part is given away.
const PART: usize = 1 << 20;

struct Bits<'a> {
    bytes: &'a [u8],
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> u32 {
        while self.count < count {
            let (byte, rest) = self.bytes.split_first().expect("gzip data is cut short");
            self.held |= u64::from(*byte) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
        let value = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        value as u32
    }

    fn align(&mut self) {
        self.take(self.count % 8);
    }
}

/// A Huffman code: how many codes have each length, and the symbols in the order of their codes.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut ordered: Vec<(u8, u16)> = Vec::new();
        for (symbol, length) in lengths
            .iter()
            .enumerate()
            .filter(|(_, length)| **length > 0)
        {
            counts[usize::from(*length)] += 1;
            ordered.push((*length, symbol as u16));
        }
        ordered.sort_unstable();
        let symbols = ordered.into_iter().map(|(_, symbol)| symbol).collect();
        Self { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> u16 {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            let count = u32::from(*count);
            code |= bits.take(1);
            if code < first + count {
                return self.symbols[(index + code - first) as usize];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("gzip data has a code that means nothing");
    }
}

fn dynamic_codes(bits: &mut Bits<'_>) -> (Code, Code) {
    let literals = bits.take(5) as usize + 257;
    let distances = bits.take(5) as usize + 1;
    let mut lengths = [0; 19];
    for position in &CODE_ORDER[..bits.take(4) as usize + 4] {
        lengths[*position] = bits.take(3) as u8;
    }
    let code = Code::new(&lengths);
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.symbol(bits) {
            16 => (*lengths.last().expect("a length before"), bits.take(2) + 3),
            17 => (0, bits.take(3) + 3),
            18 => (0, bits.take(7) + 11),
            length => (length as u8, 1),
        };
        lengths.resize(lengths.len() + times as usize, value);
    }
    (
        Code::new(&lengths[..literals]),
        Code::new(&lengths[literals..]),
    )
}

fn fixed_codes() -> (Code, Code) {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    (Code::new(&lengths), Code::new(&[5; 30]))
}

fn copy_back(out: &mut Vec<u8>, distance: usize, mut length: usize) {
    let start = out.len() - distance;
    while length > 0 {
        let part = length.min(out.len() - start);
        out.extend_from_within(start..start + part);
        length -= part;
    }
}

/// Gives the unpacked bytes of `packed` to `emit`, part by part.
pub(crate) fn unpack(packed: &[u8], mut emit: impl FnMut(&[u8])) {
    assert_eq!(packed[..3], [0x1F, 0x8B, 8], "not gzip");
    // The recipes write no name, comment or extra field.
    assert_eq!(packed[3], 0, "gzip header has optional fields");
    let mut bits = Bits {
        bytes: &packed[10..],
        held: 0,
        count: 0,
    };
    let mut out: Vec<u8> = Vec::with_capacity(2 * PART);
    let mut last = false;
    while !last {
        last = bits.take(1) == 1;
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.align();
                let length = bits.take(16);
                bits.take(16);
                for _ in 0..length {
                    out.push(bits.take(8) as u8);
                }
                continue;
            }
            1 => fixed_codes(),
            _ => dynamic_codes(&mut bits),
        };
        loop {
            match literals.symbol(&mut bits) {
                literal @ 0..256 => out.push(literal as u8),
                256 => break,
                symbol => {
                    let symbol = usize::from(symbol) - 257;
                    let more = bits.take(u32::from(LENGTH_BITS[symbol])) as usize;
                    let length = usize::from(LENGTH_BASE[symbol]) + more;
                    let symbol = usize::from(distances.symbol(&mut bits));
                    let more = bits.take((symbol as u32 / 2).saturating_sub(1)) as usize;
                    copy_back(&mut out, usize::from(DISTANCE_BASE[symbol]) + more, length);
                }
            }
            if out.len() >= PART + WINDOW {
                let given = out.len() - WINDOW;
                emit(&out[..given]);
                out.drain(..given);
            }
        }
    }
    emit(&out);
}
