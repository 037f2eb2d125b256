//! Names that stand twice in a directory.

use std::collections::HashMap;

/// Other names for those of `names` that were there before, each with its index: `NAME~2` and so on, none of which
/// is among them.
pub(crate) fn told_apart<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<(u32, Box<[u8]>)> {
    let mut met: HashMap<Box<[u8]>, u32> = HashMap::new();
    let mut given = Vec::new();
    for (old, index) in names.zip(0_u32..) {
        let Some(mut count) = met.get(old).copied() else {
            met.insert(old.into(), 1);
            continue;
        };
        let mut name: Box<[u8]> = old.into();
        while met.contains_key(&name) {
            count = count.saturating_add(1);
            name = [old, format!("~{count}").as_bytes()].concat().into_boxed_slice();
        }
        met.insert(old.into(), count);
        met.insert(name.clone(), 1);
        given.push((index, name));
    }
    given
}
