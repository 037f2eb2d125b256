//! What mapping devices cost, as ratios of one run: `cargo bench --bench map`.
//!
//! 1. A stripe of two files, read by two readers, against the two files read by one reader each.
//! 2. A mirror against one of its sides.
//! 3. A whole RAID-5 of three files against a stripe of two.
//! 4. Bytes per second that a RAID-5 rebuilds without one column, on one thread.

#![expect(clippy::expect_used, reason = "a benchmark stops by a panic")]

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use volfold::volume::map::{Absent, Mirror, Raid5, Stripe};
use volfold_block::{BlockDevice, Mapped};
use volfold_images::host::HostFile;

const COLUMN: u64 = 192 << 20;
const CHUNK: u64 = 64 << 10;
/// What a large sequential read of a mount asks for at once.
const READ: u64 = 1 << 20;
const ROUNDS: usize = 9;

fn main() {
    let folder = std::env::temp_dir();
    let paths: Vec<PathBuf> = (0..3)
        .map(|number| folder.join(format!("volfold-map-bench-{}-{number}", std::process::id())))
        .collect();
    // The third column is the parity of the others, whatever the row: all bytes are alike.
    for (path, byte) in paths.iter().zip([0x5A_u8, 0xA7, 0x5A ^ 0xA7]) {
        fs::write(path, vec![byte; COLUMN as usize]).expect("a temporary file");
    }
    let columns: Vec<Arc<dyn BlockDevice>> = paths
        .iter()
        .map(|path| -> Arc<dyn BlockDevice> { Arc::new(HostFile::open(path).expect("a file")) })
        .collect();
    measure(&columns);
    for path in &paths {
        fs::remove_file(path).expect("the temporary file goes");
    }
}

fn measure(columns: &[Arc<dyn BlockDevice>]) {
    let two = columns[..2].to_vec();
    let stripe: Arc<dyn BlockDevice> =
        Arc::new(Mapped::new(Stripe::new(two.clone(), CHUNK, 2 * COLUMN).expect("a stripe")));
    let mirror: Arc<dyn BlockDevice> =
        Arc::new(Mapped::new(Mirror::new(two.clone(), COLUMN).expect("a mirror")));
    let raid5 = |columns: Vec<Arc<dyn BlockDevice>>| -> Arc<dyn BlockDevice> {
        Arc::new(Mapped::new(Raid5::new(columns, CHUNK, 2 * COLUMN).expect("a RAID-5")))
    };
    let whole = raid5(columns.to_vec());
    let mut degraded = columns.to_vec();
    degraded[0] = Arc::new(Absent::new(COLUMN, "disk is missing"));
    let degraded = raid5(degraded);

    let ratios = |name: &str, one: &dyn Fn() -> f64, other: &dyn Fn() -> f64| {
        let mut found: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (one(), other())).collect();
        found.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (a, b) = found[ROUNDS / 2];
        println!("{name}: {:.2} (median of {ROUNDS}; {a:.1} against {b:.1} GB/s)", a / b);
    };
    ratios(
        "stripe of two files, two readers, against the two files, one reader each",
        &|| together(&[(&stripe, 0, COLUMN), (&stripe, COLUMN, COLUMN)]),
        &|| together(&[(&two[0], 0, COLUMN), (&two[1], 0, COLUMN)]),
    );
    ratios(
        "stripe of two files, one reader, against one file after the other",
        &|| together(&[(&stripe, 0, 2 * COLUMN)]),
        &|| (together(&[(&two[0], 0, COLUMN)]) + together(&[(&two[1], 0, COLUMN)])) / 2.0,
    );
    ratios("mirror against one of its sides", &|| together(&[(&mirror, 0, COLUMN)]), &|| {
        together(&[(&two[0], 0, COLUMN)])
    });
    ratios("whole RAID-5 against the stripe", &|| together(&[(&whole, 0, 2 * COLUMN)]), &|| {
        together(&[(&stripe, 0, 2 * COLUMN)])
    });
    ratios(
        "RAID-5 without a column against the whole one",
        &|| together(&[(&degraded, 0, 2 * COLUMN)]),
        &|| together(&[(&whole, 0, 2 * COLUMN)]),
    );
    rebuild(columns);
}

/// Only chunks that have to be rebuilt are read.
fn rebuild(columns: &[Arc<dyn BlockDevice>]) {
    let mut lost = columns.to_vec();
    lost[0] = Arc::new(Absent::new(COLUMN, "disk is missing"));
    let device = Mapped::new(Raid5::new(lost, CHUNK, 2 * COLUMN).expect("a RAID-5"));
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut buf = vec![0; CHUNK as usize];
            let (mut bytes, start) = (0_u64, Instant::now());
            for number in 0..2 * COLUMN / CHUNK {
                // Left-symmetric: chunk k of row r is in column (parity + 1 + k) mod 3.
                let (row, k) = (number / 2, number % 2);
                if (2 - row % 3 + 1 + k) % 3 == 0 {
                    device.read_at(number * CHUNK, &mut buf).expect("a read");
                    black_box(&buf);
                    bytes += CHUNK;
                }
            }
            bytes as f64 / 1e9 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "rebuilt from parity: {:.1} GB/s on one thread (median of {ROUNDS})",
        rates[ROUNDS / 2]
    );
}

/// GB/s of reading each range of bytes on a thread of its own.
fn together(ranges: &[(&Arc<dyn BlockDevice>, u64, u64)]) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for (device, from, length) in ranges {
            scope.spawn(move || {
                let mut buf = vec![0; READ as usize];
                for offset in (*from..from + length).step_by(READ as usize) {
                    device.read_at(offset, &mut buf).expect("a read");
                    black_box(&buf);
                }
            });
        }
    });
    let bytes: u64 = ranges.iter().map(|(.., length)| length).sum();
    bytes as f64 / 1e9 / start.elapsed().as_secs_f64()
}
