//! Texts of a header in messages.

/// LIMIT: letters of a text that are told.
const MAX_SHOWN: usize = 48;

/// `text` as a message may have it.
pub(super) fn shown(text: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_graphic() { letter } else { '?' };
    match text.trim() {
        "" => "without a name".to_owned(),
        text => text.chars().take(MAX_SHOWN).map(letter).collect(),
    }
}

/// The text in `field`, up to the first zero byte.
pub(super) fn of_field(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
