//! Other ways to write the name of a file.
//!
//! Hosts keep names as they were given, in composed or decomposed Unicode, and some take a name in
//! any letter case. An image that was moved to another host names its files in the form of the first.

use unicode_normalization::UnicodeNormalization;

/// LIMIT: files of a folder whose names are compared with one that is not there.
pub(super) const MAX_LISTED: usize = 65_536;

/// `name` in composed and decomposed form, as far as these differ from it.
pub(super) fn normal_forms(name: &str) -> impl Iterator<Item = String> {
    let forms = if name.is_ascii() {
        [None, None]
    } else {
        [Some(name.nfc().collect::<String>()), Some(name.nfd().collect())]
    };
    let given = name.to_owned();
    forms.into_iter().flatten().filter(move |form| *form != given)
}

/// What is equal for names that differ in form and letter case only.
pub(super) fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_forms_that_it_is_not_in() {
        let forms = |name| normal_forms(name).collect::<Vec<_>>();
        assert_eq!(forms("disk.vmdk"), [""; 0]);
        assert_eq!(forms("gr\u{F6}\u{DF}e"), ["gro\u{308}\u{DF}e"]);
        assert_eq!(forms("gro\u{308}\u{DF}e"), ["gr\u{F6}\u{DF}e"]);
    }

    #[test]
    fn names_that_differ_in_form_and_case_are_equal() {
        assert_eq!(folded("DISK-s001.VMDK"), folded("disk-S001.vmdk"));
        assert_eq!(folded("GR\u{D6}SSE"), folded("gro\u{308}sse"));
        assert_ne!(folded("disk1"), folded("disk2"));
    }
}
