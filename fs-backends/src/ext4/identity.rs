//! The names of a volume, as its superblock has them and as they are written.

/// The text of a volume name, which is filled with zeros; `None` if it is empty.
pub(super) fn label(name: &[u8; 16]) -> Option<String> {
    let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// The UUID in lower case with dashes, `None` if it is all zero.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> Option<String> {
    if *uuid == [0; 16] {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
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
        assert_eq!(label(b"a label\0rest\0\0\0\0"), Some("a label".to_owned()));
        assert_eq!(label(&[0; 16]), None);
    }
}
