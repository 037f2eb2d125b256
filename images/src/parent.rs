//! The search for the parent of a snapshot that says what it is called and what its id is.

use std::path::Path;

use volfold_block::{BlockError, BlockErrorKind, BlockResult};

use crate::context::ImageContext;
use crate::locator::Located;

/// What a child knows of its parent.
pub(crate) struct Wanted<'a> {
    /// What messages call it: `parent base.vhd`.
    pub(crate) called: &'a str,
    /// The names that it may have, the likeliest first.
    pub(crate) names: &'a [String],
    /// The ends of the names of files of the format.
    pub(crate) extensions: &'a [&'a str],
    /// Why a file is not the parent.
    pub(crate) check: &'a dyn Fn(&Located) -> BlockResult<()>,
}

/// The file that the image in `child` has as its parent: one of its names that stands the check, else
/// any file that the image may name and that stands it.
///
/// # Errors
/// Why the likeliest file is not the parent, or that there is none.
pub(crate) fn find(
    child: &Located,
    wanted: &Wanted<'_>,
    context: &ImageContext,
) -> BlockResult<Located> {
    // Of the files that were found the first one's reason, else why none was.
    let (mut rejected, mut not_found) = (None, None);
    for name in wanted.names {
        let candidates = match child.files.candidates(Path::new(name)) {
            Ok(candidates) => candidates,
            Err(error) => {
                if error.kind() != BlockErrorKind::MissingPart {
                    not_found.get_or_insert(error);
                }
                continue;
            }
        };
        for file in candidates.into_iter().filter(|file| file.name != child.name) {
            match (wanted.check)(&file) {
                Ok(()) => return Ok(file),
                Err(error) => drop(rejected.get_or_insert(error.within(wanted.called))),
            }
        }
    }
    let is_it = |file: &Located| (wanted.check)(file).is_ok();
    context.find_by_id(child, wanted.extensions, wanted.called, &is_it).map_err(|missing| {
        let refused = not_found.map(|error: BlockError| error.within(wanted.called));
        rejected.or(refused).unwrap_or(missing)
    })
}

/// The names of the files that `child` may mean by `names`.
pub(crate) fn named(child: &Located, names: &[String]) -> Vec<String> {
    let found = names.iter().filter_map(|name| child.files.candidates(Path::new(name)).ok());
    found.flatten().map(|file| file.name).collect()
}

/// The text in `bytes`, UTF-16 whose lower byte is the first, up to its end or to a zero.
pub(crate) fn utf16_le(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    text(pairs.iter().map(|pair| u16::from_le_bytes(*pair)))
}

/// The same whose higher byte is the first.
pub(crate) fn utf16_be(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    text(pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
}

fn text(units: impl Iterator<Item = u16>) -> String {
    let units = units.take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
