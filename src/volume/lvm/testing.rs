//! A writer of physical volumes for the tests: small, in memory, and each test bends one field.

use std::fmt::Write as _;
use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};

use super::checksum::checksum;
use crate::volume::Region;

/// A segment of four extents on the first disk.
pub(super) const LINEAR: &str = "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 0]";

/// A UUID of 32 letters that ends as `end`, in groups.
pub(super) fn id_of(end: &str) -> String {
    let letters = format!("{end:0>32}");
    let cuts = [0, 6, 10, 14, 18, 22, 26, 32];
    let groups: Vec<&str> = cuts.windows(2).map(|cut| &letters[cut[0]..cut[1]]).collect();
    groups.join("-")
}

/// The UUID of disk `number`.
pub(super) fn disk_id(number: usize) -> String {
    let end = format!("{number:02}");
    format!("0000pv{}", &id_of(&end)[6..])
}

/// A label in the sector `number`, with metadata areas and the flag that a group uses it.
pub(super) fn label(number: u64, end: &str, areas: &[(u64, u64)], used: u32) -> Vec<u8> {
    label_of(number, id_of(end).replace('-', "").as_bytes(), areas, used)
}

fn label_of(number: u64, uuid: &[u8], areas: &[(u64, u64)], used: u32) -> Vec<u8> {
    let mut bytes = [b"LABELONE".as_slice(), &number.to_le_bytes(), &[0; 4]].concat();
    bytes.extend(32_u32.to_le_bytes());
    bytes.extend(b"LVM2 001");
    bytes.extend(uuid);
    let mut numbers = vec![1 << 30, 1 << 20, 0, 0, 0];
    numbers.extend(areas.iter().flat_map(|(offset, size)| [*offset, *size]));
    numbers.extend([0, 0]);
    bytes.extend(numbers.iter().flat_map(|number: &u64| number.to_le_bytes()));
    bytes.extend([2_u32.to_le_bytes(), used.to_le_bytes()].concat());
    bytes.resize(512.max(bytes.len()), 0);
    let sum = checksum(&bytes[20..512]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    bytes.truncate(512);
    bytes
}

/// Writes the header of the area (offset, size) with the place (offset, size, checksum) of its text.
pub(super) fn write_area_header(
    disk: &mut [u8],
    (start, size): (u64, u64),
    (offset, length, sum): (u64, u64, u32),
    flags: u32,
) {
    let mut header = b"\0\0\0\0 LVM2 x[5A%r0N*>\x01\0\0\0".to_vec();
    header.extend([start, size, offset, length].iter().flat_map(|number| number.to_le_bytes()));
    header.extend([sum.to_le_bytes(), flags.to_le_bytes()].concat());
    header.resize(512, 0);
    let sum = checksum(&header[4..]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    disk[start as usize..start as usize + 512].copy_from_slice(&header);
}

/// Writes the area (offset, size) with `text` at `offset`, around the end.
pub(super) fn write_area(disk: &mut [u8], area: (u64, u64), offset: u64, text: &[u8]) {
    let place = (offset, text.len() as u64, checksum(text));
    write_area_header(disk, area, place, 0);
    for (number, byte) in (offset..).zip(text) {
        let at = if number < area.1 { number } else { number - area.1 + 512 };
        disk[(area.0 + at) as usize] = *byte;
    }
}

/// The text of a group of `disks` disks of 16 extents of 4 KiB, with volumes of four extents each.
pub(super) fn group_text(sequence: u64, disks: usize, volumes: &[(&str, &str)]) -> String {
    let sized: Vec<(&str, u64, &str)> =
        volumes.iter().map(|(name, body)| (*name, 4, *body)).collect();
    sized_group_text(sequence, disks, &sized)
}

/// The same with volumes of as many extents as they say; one whose name begins with `_` is hidden.
pub(super) fn sized_group_text(
    sequence: u64,
    disks: usize,
    volumes: &[(&str, u64, &str)],
) -> String {
    let mut text = format!(
        "vg {{\nid = \"{}\"\nseqno = {sequence}\nextent_size = 8\nphysical_volumes {{\n",
        id_of("vg")
    );
    for number in 0..disks {
        let _ = write!(
            text,
            "pv{number} {{\nid = \"{}\"\ndevice = \"/dev/sd{number}\"\nstatus = [\"ALLOCATABLE\"]\n\
             flags = []\npe_start = 64\npe_count = 16\n}}\n",
            disk_id(number)
        );
    }
    text.push_str("}\nlogical_volumes {\n");
    for (number, (name, extents, body)) in volumes.iter().enumerate() {
        let visible = if name.starts_with('_') { "" } else { ", \"VISIBLE\"" };
        let _ = write!(
            text,
            "{name} {{\nid = \"{}\"\nstatus = [\"READ\", \"WRITE\"{visible}]\nflags = []\n\
             creation_time = 1700000000\nsegment_count = 1\nsegment1 {{\nstart_extent = 0\n\
             extent_count = {extents}\n{body}\n}}\n}}\n",
            id_of(&format!("lv{number}"))
        );
    }
    text.push_str("}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n");
    text
}

/// The bytes that the extents of disk `number` have.
pub(super) fn extents(number: usize) -> Vec<u8> {
    volfold_block::testing::contents(number as u64 + 1, 16 * 4096)
}

/// Disk `number` of a group with `text`; without a text it has no metadata area.
pub(super) fn disk(number: usize, text: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 512];
    let uuid = disk_id(number).replace('-', "");
    let areas: &[(u64, u64)] = if text.is_some() { &[(4096, 28672)] } else { &[] };
    bytes[512..1024].copy_from_slice(&label_of(1, uuid.as_bytes(), areas, 1));
    if let Some(text) = text {
        write_area(&mut bytes, (4096, 28672), 512, text.as_bytes());
    }
    bytes.extend(extents(number));
    bytes
}

/// `bytes` as the disk `number` of a set.
pub(super) fn region(number: usize, bytes: Vec<u8>) -> Region {
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
    Region {
        disk: number,
        size: device.size(),
        device,
        start: 0,
        label: format!("disk{number}.img").into(),
        partition: None,
        table_id: None,
    }
}
