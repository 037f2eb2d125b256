//! Texts of a header.

/// The text in `field`, up to the first zero byte.
pub(super) fn of_field(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
