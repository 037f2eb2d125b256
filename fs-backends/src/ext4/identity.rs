//! The name of a volume, as its superblock has it.

/// The text of a volume name, which is filled with zeros; `None` if it is empty.
pub(super) fn label(name: &[u8; 16]) -> Option<String> {
    let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_zero() {
        assert_eq!(label(b"a label\0rest\0\0\0\0"), Some("a label".to_owned()));
        assert_eq!(label(&[0; 16]), None);
    }
}
