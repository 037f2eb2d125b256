//! CRC-32C (Castagnoli), the checksum of ext4 metadata and of the journal.
//!
//! Polynomial 0x1EDC6F41, bits reflected. ext4 starts at all ones and does not invert the result,
//! so that sums can be chained: `update(update(seed, a), b)`.

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[n][b]` is the effect of the byte `b` followed by `n` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

/// The sum over `bytes`, continued from `crc`.
pub(super) fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    for &[b0, b1, b2, b3, b4, b5, b6, b7] in words {
        let [c0, c1, c2, c3] = crc.to_le_bytes();
        crc = entry(t7, b0 ^ c0)
            ^ entry(t6, b1 ^ c1)
            ^ entry(t5, b2 ^ c2)
            ^ entry(t4, b3 ^ c3)
            ^ entry(t3, b4)
            ^ entry(t2, b5)
            ^ entry(t1, b6)
            ^ entry(t0, b7);
    }
    for &byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ entry(t0, low ^ byte);
    }
    crc
}

/// The sum over `bytes` from all ones.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    update(u32::MAX, bytes)
}

fn entry(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or(0)
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "evaluated by the compiler, where a mistake is a compile error"
)]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut level = 1;
    while level < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[level - 1][byte];
            tables[level][byte] = (crc >> 8) ^ tables[0][(crc & 0xFF) as usize];
            byte += 1;
        }
        level += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(!sum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_sum_in_parts_is_the_sum_of_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cut in [0, 1, 7, 8, 9, 100, 256] {
            assert_eq!(update(sum(&bytes[..cut]), &bytes[cut..]), sum(&bytes));
        }
    }
}
