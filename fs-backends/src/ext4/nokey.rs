//! Names of encrypted directories, as they are shown while the key is not known.
//!
//! A stored name is cipher text: any bytes, 16 to 255 of them. It is shown as `_` and the bytes in
//! base64url, so that two names never look alike. Where that is longer than a name may be, the
//! checksum of the whole stands for the end.

use super::checksum;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The longest cipher text that base64url shows in 254 bytes.
const SHOWN_WHOLE: usize = 189;
/// What is shown of a longer one, before `.` and eight hexadecimal digits.
const SHOWN_PART: usize = 180;

/// Puts the name that stands for `stored` into `shown`.
pub(super) fn present(stored: &[u8], shown: &mut Vec<u8>) {
    shown.clear();
    shown.push(b'_');
    if stored.len() <= SHOWN_WHOLE {
        encode(stored, shown);
        return;
    }
    encode(stored.get(..SHOWN_PART).unwrap_or_default(), shown);
    shown.extend_from_slice(format!(".{:08x}", checksum::sum(stored)).as_bytes());
}

fn encode(bytes: &[u8], text: &mut Vec<u8>) {
    for part in bytes.chunks(3) {
        let mut group = [0; 3];
        for (to, from) in group.iter_mut().zip(part) {
            *to = *from;
        }
        let [a, b, c] = group;
        let digits = [a >> 2, (a << 4) | (b >> 4), (b << 2) | (c >> 6), c];
        let used = part.len().saturating_add(1);
        for digit in digits.into_iter().take(used) {
            text.extend(DIGITS.get(usize::from(digit & 0x3F)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stored: &[u8]) -> String {
        let mut name = Vec::new();
        present(stored, &mut name);
        String::from_utf8(name).unwrap()
    }

    #[test]
    fn cipher_text_is_shown_in_base64url() {
        assert_eq!(shown(b"Man"), "_TWFu");
        assert_eq!(shown(&[0xFB, 0xFF]), "_-_8");
        assert_eq!(shown(&[0]), "_AA");
    }

    #[test]
    fn the_longest_cipher_text_still_makes_a_name() {
        assert!(shown(&[0xA5; 189]).len() <= 255);
        assert!(shown(&[0xA5; 255]).len() <= 255);
        let mut other = [0xA5; 255];
        other[254] = 0;
        assert_ne!(shown(&other), shown(&[0xA5; 255]));
    }
}
