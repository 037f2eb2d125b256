//! Names without regard to case, as Linux compares them in directories that are marked so.
//!
//! Specification: Linux, `fs/unicode`: a name in UTF-8 of Unicode 12.1 has every code point replaced by
//! its full case folding (CaseFolding.txt, C and F) and canonical decomposition, again and again, those
//! that are ignorable by nothing, and marks put into canonical order.
//!
//! Code points that were not assigned in 12.1 stand for themselves. A name that is not UTF-8 stands for
//! nothing but its own bytes.

mod unicode;

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_canonical;

use self::unicode::{ASSIGNED, IGNORABLE};

/// The number of the encoding that [`fold`] is about.
pub(super) const UTF8_12_1: u16 = 1;

/// LIMIT: a folding leads to a folded code point in two steps; Unicode has no longer chain.
const MAX_DEPTH: u32 = 8;

/// What names that are the same without regard to case have in common.
pub(super) fn fold(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        let has_upper = name.iter().any(u8::is_ascii_uppercase);
        return if has_upper { name.to_ascii_lowercase().into() } else { name.into() };
    }
    let Ok(text) = str::from_utf8(name) else {
        return name.into();
    };
    let mut folded = String::with_capacity(text.len());
    // Marks are not moved across code points that were not assigned.
    let mut pending = String::new();
    for letter in text.chars() {
        if is_in(&IGNORABLE, letter) || is_in(&ASSIGNED, letter) {
            push(letter, MAX_DEPTH, &mut pending);
        } else {
            folded.extend(pending.nfd());
            folded.push(letter);
            pending.clear();
        }
    }
    folded.extend(pending.nfd());
    folded.into_bytes().into()
}

fn push(letter: char, depth: u32, folded: &mut String) {
    if is_in(&IGNORABLE, letter) {
        return;
    }
    let Some(depth) = depth.checked_sub(1) else {
        return folded.push(letter);
    };
    let mut letters = std::iter::once(letter).default_case_fold();
    let first = letters.next();
    if first != Some(letter) {
        first.into_iter().chain(letters).for_each(|next| push(next, depth, folded));
        return;
    }
    let mut parts = String::new();
    decompose_canonical(letter, |part| parts.push(part));
    if parts.chars().eq([letter]) {
        folded.push(letter);
    } else {
        parts.chars().for_each(|next| push(next, depth, folded));
    }
}

fn is_in(ranges: &[(u32, u32)], letter: char) -> bool {
    let number = u32::from(letter);
    let after = ranges.partition_point(|&(first, _)| first <= number);
    let range = after.checked_sub(1).and_then(|index| ranges.get(index));
    range.is_some_and(|&(_, last)| number <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_case_or_composition_fold_to_the_same() {
        for (one, other) in [
            ("README", "readme"),
            ("\u{c4}rger", "a\u{308}RGER"),
            ("Stra\u{df}e", "STRASSE"),
            ("\u{3a3}\u{3af}\u{3c2}", "\u{3c3}\u{399}\u{301}\u{3a3}"),
            ("\u{212b}", "\u{e5}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("a\u{200d}b", "AB"),
            ("\u{1e9b}", "s\u{307}"),
        ] {
            assert_eq!(fold(one.as_bytes()), fold(other.as_bytes()), "{one} {other}");
        }
        assert_ne!(fold("\u{131}".as_bytes()), fold(b"I"));
    }

    #[test]
    fn what_is_no_text_of_12_1_stands_for_itself() {
        assert_eq!(fold(b"A\xFF"), &b"A\xFF"[..]);
        assert_eq!(fold("A\u{a7c7}".as_bytes()), "a\u{a7c7}".as_bytes());
    }

    /// The witness is `debugfs`, which has the tables of Unicode 12.1 that Linux has too.
    #[test]
    fn every_code_point_folds_as_in_e2fsprogs() {
        use super::super::dir_hash::Hasher;
        let mut commands = String::new();
        let mut wanted = Vec::new();
        let letters = (0x21..=0x2_FFFF_u32).chain(0xE_0000..=0xE_0FFF).filter_map(char::from_u32);
        // What the command line of debugfs takes for itself.
        for letter in letters.filter(|letter| !matches!(letter, '"' | '#' | '\\' | '-')) {
            for name in [format!("A{letter}b"), format!("{letter}\u{301}\u{323}\u{345}")] {
                commands += &format!("dx_hash -c -e utf8 -h tea {name}\n");
                wanted.push((Hasher::for_tests().hash(&fold(name.as_bytes())), name));
            }
        }
        let Some(found) = crate::testing::hashes_of_debugfs("ext4-casefold", &commands) else {
            return;
        };
        assert_eq!(found.len(), wanted.len());
        let bad: Vec<_> =
            found.iter().zip(&wanted).filter(|(found, (hash, _))| *found != hash).collect();
        let shown: Vec<_> =
            bad.iter().take(20).map(|(_, (_, name))| name.escape_unicode().to_string()).collect();
        assert!(bad.is_empty(), "{} of {}: {shown:?}", bad.len(), found.len());
    }
}
