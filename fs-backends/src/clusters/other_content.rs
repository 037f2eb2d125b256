//! What else a volume may hold whose first sector tells nothing.

use volfold_block::{BlockDevice, Span};

/// The places of signatures that other content has beside an empty first sector: what a file system
/// left over there does not count.
const OTHERS: [(u64, &[u8]); 14] = [
    (0x00000, b"LABELONE"),
    (0x00200, b"LABELONE"),
    (0x00400, b"LABELONE"),
    (0x00600, b"LABELONE"),
    (0x00020, b"NXSB"),
    (0x00400, b"H+\0\x04"),
    (0x00400, b"HX\0\x05"),
    (0x00400, b"\x10\x20\xF5\xF2"),
    (0x00438, b"\x53\xEF"),
    (0x00FF6, b"SWAPSPACE2"),
    (0x08000, b"JFS1"),
    (0x08001, b"CD001"),
    (0x10034, b"ReIsEr"),
    (0x10040, b"_BHRfS_M"),
];

/// Whether `volume` has a signature of other content.
pub(crate) fn holds_other(volume: &dyn BlockDevice) -> bool {
    OTHERS.iter().any(|(at, magic)| {
        let mut found = vec![0; magic.len()];
        Span::of_buffer(*at, magic.len()).is_some_and(|span| Span::below(volume.size()).holds(span))
            && volume.read_at(*at, &mut found).is_ok()
            && found == *magic
    })
}
