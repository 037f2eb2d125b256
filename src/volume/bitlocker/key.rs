//! Keys: what people and files have, stretched, and the keys that these open.
//!
//! Source: "BitLocker Drive Encryption (BDE) format" by Joachim Metz, sections 5.4 to 5.12 and 6. A key is
//! encrypted by AES-CCM (RFC 3610) with a nonce of 12 bytes; the tag comes first. What is inside is an entry that
//! holds a key: 4 bytes of method, then the key.

use aes::Aes256;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use ccm::{Ccm, Nonce, Tag};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use volfold_block::BlockResult;
use zeroize::Zeroizing;

use super::entry::{self, Entry, kind, value};
use crate::volume::lock::WorkBudget;

/// How often a password is hashed.
const ROUNDS: u64 = 1 << 20;

/// What that costs, as [`WorkBudget`] counts.
const WORK: u64 = 1 << 19;

/// LIMIT: bytes of a file with a startup key.
const MAX_FILE: usize = 64 << 10;

/// Bytes of a key.
pub(super) type KeyBytes = Zeroizing<Vec<u8>>;

/// A key that was encrypted by `key`; `None` if it was not, or is damaged.
pub(super) fn decrypt(encrypted: &Entry<'_>, key: &[u8]) -> Option<KeyBytes> {
    if encrypted.value != value::ENCRYPTED_KEY {
        return None;
    }
    let (nonce, rest) = encrypted.bytes.split_first_chunk::<12>()?;
    let (tag, text) = rest.split_first_chunk::<16>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let cipher = Ccm::<Aes256, U16, U12>::new_from_slice(key).ok()?;
    let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
    cipher.decrypt_inout_detached(&nonce, &[], text.as_mut_slice().into(), &tag).ok()?;
    entry::list(&text, 0).ok()?.first().and_then(plain)
}

/// The key in an entry that is not encrypted.
pub(super) fn plain(entry: &Entry<'_>) -> Option<KeyBytes> {
    let key = entry.bytes.get(4..).filter(|_| entry.value == value::KEY)?;
    Some(Zeroizing::new(key.to_vec()))
}

/// The state of SHA-256 before the first block. Source: FIPS 180-4, section 5.3.3.
const START: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// `hashed`, hashed on with `salt` as often as it takes about a second: each time the last hash, `hashed`,
/// `salt` and the number of the round, 88 bytes in two blocks.
///
/// # Errors
/// If `work` has not that much left.
pub(super) fn stretched(
    hashed: &[u8; 32],
    salt: [u8; 16],
    work: &WorkBudget,
) -> BlockResult<KeyBytes> {
    const BITS: u64 = 88 * 8;
    work.spend(WORK)?;
    let mut blocks = Zeroizing::new([[0; 64]; 2]);
    let [first, second] = &mut *blocks;
    first[32..].copy_from_slice(hashed);
    second[..16].copy_from_slice(&salt);
    second[24] = 0x80;
    second[56..].copy_from_slice(&BITS.to_be_bytes());
    for round in 0..ROUNDS {
        let [_, second] = &mut *blocks;
        second[16..24].copy_from_slice(&round.to_le_bytes());
        let mut state = START;
        compress256(&mut state, &*blocks);
        let [first, _] = &mut *blocks;
        for (bytes, word) in first.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
    }
    let [first, _] = &*blocks;
    Ok(Zeroizing::new(first[..32].to_vec()))
}

/// The hash of `bytes`.
pub(super) fn hashed(bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(bytes).into())
}

/// What is stretched of a password: UTF-16, hashed twice.
pub(super) fn of_password(password: &str) -> Zeroizing<[u8; 32]> {
    let units = password.encode_utf16().flat_map(u16::to_le_bytes);
    let text = Zeroizing::new(units.collect::<Vec<u8>>());
    hashed(&*hashed(&text))
}

/// The text in `bytes`, which Windows may have written: UTF-16 or UTF-8, with a mark before it.
pub(super) fn text_of(bytes: &[u8]) -> Option<Zeroizing<String>> {
    if let Some(units) = bytes.strip_prefix(b"\xFF\xFE") {
        let units = units.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let text = char::decode_utf16(units).collect::<Result<String, _>>().ok()?;
        return Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

/// What is stretched of the recovery key in `text`, which may be the file that Windows made for it: eight groups
/// of six digits, each a multiple of 11 whose quotient has 16 bits. `None` if there is none.
pub(super) fn of_recovery_key(text: &str) -> Option<KeyBytes> {
    let runs: Vec<&str> =
        text.split(|letter: char| !letter.is_ascii_digit()).filter(|run| !run.is_empty()).collect();
    let whole = runs.iter().filter(|run| run.len() == 48).find_map(|run| {
        let groups = run.as_bytes().chunks(6).map(|group| std::str::from_utf8(group).ok());
        recovery(&groups.collect::<Option<Vec<_>>>()?)
    });
    // Before it the file has an identifier, which may end in digits.
    whole.or_else(|| runs.windows(8).rev().find_map(recovery))
}

/// The key in these groups.
fn recovery(groups: &[&str]) -> Option<KeyBytes> {
    let mut key = Zeroizing::new(Vec::with_capacity(16));
    for group in groups {
        let number = group.parse::<u32>().ok().filter(|number| number.is_multiple_of(11))?;
        let half = u16::try_from(number / 11).ok().filter(|_| group.len() == 6)?;
        key.extend(half.to_le_bytes());
    }
    (key.len() == 16).then_some(key)
}

/// The key in the file of a startup key (`.bek`): a header of 48 bytes, then entries.
pub(super) fn of_startup_file(bytes: &[u8]) -> Option<KeyBytes> {
    if bytes.len() > MAX_FILE || bytes.get(4..12) != Some(&[1, 0, 0, 0, 48, 0, 0, 0]) {
        return None;
    }
    let entries = entry::list(bytes.get(48..)?, 48).ok()?;
    let is_own =
        |entry: &&Entry<'_>| entry.kind == kind::STARTUP_KEY && entry.value == value::EXTERNAL_KEY;
    entries.iter().find(is_own)?.inner(24).iter().find_map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_keys_are_groups_of_multiples_of_11() {
        let group = "000011-720885-000000-000022-000033-000044-000055-000066";
        let key = of_recovery_key(group).unwrap();
        assert_eq!(key[..6], [1, 0, 0xFF, 0xFF, 0, 0]);
        let file = format!("Identifier:\r\n\tB17E-000011\r\nRecovery Key:\r\n\t{group}\r\n");
        for other in [format!(" {group}\n"), group.replace('-', " "), group.replace('-', ""), file]
        {
            assert_eq!(of_recovery_key(&other).as_deref(), Some(&*key), "{other}");
        }
        for wrong in [
            "",
            "000011",
            "000012-720885-000000-000022-000033-000044-000055-000066",
            "000011-720896-000000-000022-000033-000044-000055-000066",
            "+00011-720885-000000-000022-000033-000044-000055-000066",
        ] {
            assert!(of_recovery_key(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn texts_that_windows_wrote_are_decoded() {
        for bytes in [&b"\xFF\xFEa\0b\0\r\0\n\0"[..], b"\xEF\xBB\xBFab", b"ab"] {
            assert_eq!(text_of(bytes).as_deref().map(String::as_str), Some("ab"));
        }
        assert!(text_of(b"\xFFab").is_none());
    }

    #[test]
    fn other_files_are_no_startup_keys() {
        for bytes in [&b""[..], &[0; 200], &[1; 64]] {
            assert!(of_startup_file(bytes).is_none());
        }
    }
}
