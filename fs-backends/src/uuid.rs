//! How a UUID is written.

use std::fmt::Write;

/// The UUID in lower case with dashes, as blkid writes it; `None` if it is all zero.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> Option<String> {
    if *uuid == [0; 16] {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_blkid_does() {
        let mut uuid = [0; 16];
        assert_eq!(uuid_text(&uuid), None);
        uuid[0] = 0x5E;
        uuid[15] = 0xFF;
        assert_eq!(uuid_text(&uuid).unwrap(), "5e000000-0000-0000-0000-0000000000ff");
    }
}
