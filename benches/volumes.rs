//! What volumes cost over the disks that they lie on: `cargo bench --bench volumes -- DISK... [KEY-FILE.key]`.
//!
//! A line for each disk and each volume that is read: bytes in sequence, 1 MiB at once, and reads of 4 KiB at
//! random, on one thread, from warm pages; the median of nine rounds of a fifth of a second. A file that ends in `.key`
//! has the key of all volumes. Whatever is left out of the set (a disk of a RAID) is measured as missing.

#![expect(clippy::expect_used, reason = "a benchmark stops by a panic")]

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use volfold::volume::lock::{Key, KeyKind, KeyRequest};
use volfold::{DiskSet, OpenOptions};
use volfold_block::BlockDevice;

const READ: usize = 1 << 20;
const SMALL: usize = 4 << 10;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let given: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    let (keys, disks): (Vec<_>, Vec<_>) =
        given.into_iter().partition(|path| path.extension().is_some_and(|it| it == "key"));
    if disks.is_empty() {
        println!("give the disks of a set");
        return;
    }
    let key = keys.first().map(|path| fs::read(path).expect("a key"));
    let source = move |request: &KeyRequest<'_>| {
        let key = key.clone().filter(|_| request.attempt == 0);
        Ok(key.map(|key| Key::new(KeyKind::Password, key)))
    };
    let start = Instant::now();
    let mut options = OpenOptions::default();
    options.keys = Arc::new(source);
    let set = DiskSet::open(&disks, &options).expect("a set");
    println!("{} volumes in {} ms", set.volumes().len(), start.elapsed().as_millis());
    for (number, disk) in set.disks().iter().enumerate() {
        measure(&format!("disk{number}"), &*disk.device);
    }
    for volume in set.volumes() {
        let name = volume.group_name().unwrap_or_else(|| volume.name.clone());
        measure(
            &format!("{name} ({}, {:?})", volume.volume.layout, volume.volume.health),
            &*volume.volume.device,
        );
    }
}

fn measure(name: &str, device: &dyn BlockDevice) {
    let mut buf = vec![0; READ.min(usize::try_from(device.size()).unwrap_or(READ))];
    if buf.is_empty() || device.read_at(0, &mut buf).is_err() {
        println!("{name}: not read");
        return;
    }
    let places = device.size() / buf.len() as u64;
    let (mut number, mut failed) = (0_u64, false);
    let whole = rate(|| {
        failed |= device.read_at(number % places * buf.len() as u64, &mut buf).is_err();
        black_box(&buf);
        number += 1;
    });
    let mut small = vec![0; SMALL];
    let places = (device.size() / SMALL as u64).max(1);
    let mut state = 1_u64;
    let random = rate(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        failed |= device.read_at((state >> 33) % places * SMALL as u64, &mut small).is_err();
        black_box(&small);
    });
    let gigabytes = whole * buf.len() as f64 / 1e9;
    let note = if failed { " (some reads failed)" } else { "" };
    println!("{name}: {gigabytes:.2} GB/s, {random:.0} random reads/s{note}");
}

/// How often `step` is done in a second.
fn rate(mut step: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (start, mut count) = (Instant::now(), 0_u64);
            while start.elapsed() < ROUND {
                (0..4).for_each(|_| step());
                count += 4;
            }
            count as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}
