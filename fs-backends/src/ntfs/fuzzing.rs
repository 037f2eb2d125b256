//! The parsers and decoders by themselves, for the fuzzer.

use super::codec::{lznt1, lzx, xpress};
use super::extended::Lx;
use super::record::FileRecord;
use super::stream::StreamBuilder;
use super::{index, reparse, runs};
use crate::extents::{Extents, Place};

/// Parses `data` as the structure or compressed unit that `part` chooses. The first two bytes of a
/// unit say how many bytes it is to give.
pub fn touch(part: u8, data: &[u8]) {
    let (size, unit) = data.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
    let mut out = vec![0; usize::from(u16::from_le_bytes(*size))];
    match part % 8 {
        0 => touch_record(data),
        1 => index::touch(data),
        2 => {
            let mut extents = Extents::default();
            let _ = runs::append(data, 0, 4096, Place::Hole, &mut extents);
            let _ = extents.at(extents.end() / 2);
        }
        3 => {
            let _ = reparse::meaning(data);
            let _ = reparse::target(data);
            let _ = reparse::interix(data);
        }
        4 => {
            let _ = Lx::parse(data);
        }
        5 => {
            let _ = lznt1::decode(unit, &mut out);
        }
        6 => {
            let _ = xpress::decode(unit, &mut out);
        }
        _ => {
            let _ = lzx::decode(unit, &mut out);
        }
    }
}

fn touch_record(data: &[u8]) {
    let Ok(record) = FileRecord::parse(30, 0, data.to_vec()) else { return };
    for attribute in record.attributes() {
        let Ok(attribute) = attribute else { return };
        let mut builder = StreamBuilder::default();
        let _ = builder.add(&attribute, 4096).and_then(|()| builder.finish());
    }
}
