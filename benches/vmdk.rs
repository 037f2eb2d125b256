//! What a sparse VMDK costs: `cargo bench --bench vmdk`.
//!
//! 1. To open an image of 512 grain tables.
//! 2. The first read in each of them: two tables are read and compared.
//! 3. Random reads of 4 KiB, when all tables are known.
//! 4. A read of all of it in pieces of 1 MiB, in place of the grains that are there.
//!
//! Grains lie in no order, as a guest writes them.

#![expect(clippy::expect_used, reason = "a benchmark stops by a panic")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use volfold_block::CachePool;
use volfold_images::ImageContext;
use volfold_images::host::open_image_file;

const TABLES: u64 = 512;
const GRAIN: u64 = 64 << 10;
/// Grains of each table that are there: 512 MiB in all.
const STORED: u64 = 16;
const ROUNDS: usize = 15;

fn main() {
    let path = std::env::temp_dir().join(format!("volfold-vmdk-bench-{}.vmdk", std::process::id()));
    write_image(&path);
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (all, one) in times.iter_mut().zip(measure(&path)) {
            all.push(one);
        }
    }
    for (name, mut all) in
        ["open", "first read of a table", "random read", "whole read, per MiB"].iter().zip(times)
    {
        all.sort_by(f64::total_cmp);
        println!("{name}: {:.2} us (best {:.2})", all[ROUNDS / 2], all[0]);
    }
    std::fs::remove_file(path).expect("the image goes");
}

/// Microseconds for each of the four.
fn measure(path: &Path) -> [f64; 4] {
    let micros = |start: Instant, count: u64| start.elapsed().as_secs_f64() * 1e6 / count as f64;
    let start = Instant::now();
    let file = open_image_file(path, &[]).expect("a file");
    let image = volfold_images::open(&file, &ImageContext::new(&CachePool::new(1 << 20)))
        .expect("an image");
    let open = micros(start, 1);
    let mut buf = vec![0; 1 << 20];
    let start = Instant::now();
    for table in 0..TABLES {
        image.device.read_at(table * 512 * GRAIN, &mut buf[..4096]).expect("a read");
    }
    let first = micros(start, TABLES);
    let start = Instant::now();
    let mut number: u64 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..100_000 {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        let grain = (number % TABLES) * 512 + number / TABLES % STORED;
        let at = grain * GRAIN + (number >> 32) % 16 * 4096;
        image.device.read_at(at, &mut buf[..4096]).expect("a read");
    }
    let random = micros(start, 100_000);
    let start = Instant::now();
    for table in 0..TABLES {
        image.device.read_at(table * 512 * GRAIN, &mut buf).expect("a read");
    }
    let whole = micros(start, TABLES);
    black_box(&buf);
    [open, first, random, whole]
}

fn write_image(path: &Path) {
    let (directory, tables) = (TABLES * 4 / 512, TABLES * 4);
    let redundant = 21;
    let redundant_tables = redundant + directory;
    let primary = redundant_tables + tables;
    let primary_tables = primary + directory;
    let over_head = (primary_tables + tables).next_multiple_of(GRAIN / 512);
    let capacity = TABLES * 512 * GRAIN / 512;
    let mut head = b"KDMV\x01\0\0\0\x03\0\0\0".to_vec();
    for value in [capacity, GRAIN / 512, 1, 20] {
        head.extend(value.to_le_bytes());
    }
    head.extend(512_u32.to_le_bytes());
    for value in [redundant, primary, over_head] {
        head.extend(value.to_le_bytes());
    }
    head.extend(b"\0\n \r\n\0\0");
    head.resize(512, 0);
    head.extend(
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n\
             createType=\"monolithicSparse\"\nRW {capacity} SPARSE \"bench.vmdk\"\n"
        )
        .bytes(),
    );
    head.resize(21 * 512, 0);
    // A step that has no divisor in common visits each place once.
    let places = TABLES * STORED;
    let entry = |grain: u64| {
        let number = grain / 512 * STORED + grain % 512;
        let place = number * 4099 % places;
        if grain % 512 < STORED { (over_head + place * GRAIN / 512) as u32 } else { 0 }
    };
    for first in [redundant_tables, primary_tables] {
        for table in 0..TABLES {
            head.extend((first as u32 + table as u32 * 4).to_le_bytes());
        }
        for grain in 0..TABLES * 512 {
            head.extend(entry(grain).to_le_bytes());
        }
    }
    let mut file = File::create(path).expect("a file");
    file.write_all(&head).expect("the tables");
    file.seek(SeekFrom::Start(over_head * 512)).expect("a place");
    let bytes = vec![0x5A; 1 << 20];
    for _ in 0..places * GRAIN / (1 << 20) {
        file.write_all(&bytes).expect("grains");
    }
}
