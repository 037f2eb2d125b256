//! Ciphers of encrypted volumes: sectors that are decrypted in place, and the device over them.
//!
//! | module   | what                                                              |
//! |----------|-------------------------------------------------------------------|
//! | `iv`     | the initialization vectors, a group of sectors at once            |
//! | `xts`    | XTS: each block with a tweak of its place                         |
//! | `cbc`    | CBC: each block with the one before it                            |
//! | `named`  | ciphers by the names that the device-mapper gives them            |
//! | `elephant` | the diffuser of BitLocker's first versions, over CBC              |
//! | `bitlocker` | ciphers by the numbers that BitLocker gives them                |
//! | `device` | the device whose bytes are what was encrypted                     |
//!
//! The block ciphers are RustCrypto's, which take the instructions of the processor where it has them.
//! What only the volume's manager knows (keys, places, numbers of sectors) it gives to
//! [`device::Decrypted`].

pub mod bitlocker;
pub mod device;
pub mod named;

mod cbc;
mod elephant;
mod iv;
mod xts;

use cipher::array::Array;
use cipher::consts::U16;

/// LIMIT: bytes of the largest sector that is encrypted as one.
pub const MAX_SECTOR: usize = 4096;

/// LIMIT: letters of a name that are told.
const MAX_SHOWN: usize = 64;

/// The block of every cipher here.
type Block = Array<u8, U16>;

/// How sectors are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// Bytes that are encrypted as one: a power of two from 512 to [`MAX_SECTOR`].
    size: usize,
    /// By how much the number of a sector is larger than that of the one before.
    step: u64,
}

impl Sectors {
    /// Sectors of `size` bytes, which are counted in 512 bytes as the device-mapper does; `None` if there
    /// are none of that size.
    pub fn in_512(size: u32) -> Option<Self> {
        let size = usize::try_from(size).ok()?;
        let is_size = size.is_power_of_two() && (512..=MAX_SECTOR).contains(&size);
        let step = u64::try_from(size).ok()?.checked_div(512)?;
        is_size.then_some(Self { size, step })
    }

    /// The bytes of one.
    pub fn size(self) -> usize {
        self.size
    }
}

/// Decrypts sectors.
pub trait SectorCipher: Send + Sync {
    /// How sectors are counted.
    fn sectors(&self) -> Sectors;

    /// Decrypts `buf` in place, whole sectors of which the first has the number `first`. What is left
    /// after the last whole sector is not touched.
    fn decrypt(&self, first: u64, buf: &mut [u8]);
}

/// The sectors of `buf` with their numbers, from `first` on.
fn numbered(
    sectors: Sectors,
    first: u64,
    buf: &mut [u8],
) -> impl Iterator<Item = (u64, &mut [u8])> {
    let numbers = (0_u64..).map(move |index| first.wrapping_add(index.wrapping_mul(sectors.step)));
    numbers.zip(buf.chunks_exact_mut(sectors.size))
}

/// The name `text` of a header as a message may have it.
pub(crate) fn shown(text: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_graphic() { letter } else { '?' };
    match text.trim() {
        "" => "without a name".to_owned(),
        text => text.chars().take(MAX_SHOWN).map(letter).collect(),
    }
}

/// `block` with `other` mixed in.
fn mix(block: &mut Block, other: &Block) {
    let number = |block: &Block| u128::from_ne_bytes((*block).into());
    *block = Block::from((number(block) ^ number(other)).to_ne_bytes());
}
