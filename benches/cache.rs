//! What the sector cache costs and keeps, as ratios of one run:
//! `cargo bench --bench cache`.
//!
//! 1. A full scan of the device does not evict the hot set.
//! 2. A warm random read of 4 KiB through the cache is not slower than one without it, with one
//!    thread and with two.

#![expect(clippy::expect_used, reason = "a benchmark stops by a panic")]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use volfold_block::{BlockDevice, BlockResult, CachePool, SectorCache};
use volfold_images::host::HostFile;

const FILE_SIZE: u64 = 256 << 20;
const HOT_SIZE: u64 = 16 << 20;
const CACHE_SIZE: u64 = 64 << 20;
const BLOCK: u32 = 32 << 10;
const READ: usize = 4096;
const ROUNDS: usize = 5;

/// Counts the reads that reach the device.
struct Counted {
    device: HostFile,
    reads: AtomicU64,
}

impl BlockDevice for Counted {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.device.read_at(offset, buf)
    }
}

fn main() {
    let path = std::env::temp_dir().join(format!("volfold-cache-bench-{}", std::process::id()));
    fs::write(&path, vec![0x5A; FILE_SIZE as usize]).expect("a temporary file");
    scan(&path);
    random(&path);
    fs::remove_file(&path).expect("the temporary file goes");
}

fn scan(path: &std::path::Path) {
    let device = HostFile::open(path).expect("the temporary file");
    let device = Arc::new(Counted { device, reads: AtomicU64::new(0) });
    let pool = CachePool::new(CACHE_SIZE);
    let cache = SectorCache::new(&pool, device.clone(), BLOCK);
    let mut buf = vec![0; BLOCK as usize];
    let mut read = |from: u64, to: u64| {
        for offset in (from..to).step_by(BLOCK as usize) {
            cache.read_at(offset, &mut buf).expect("a read");
        }
    };
    for _ in 0..3 {
        read(0, HOT_SIZE);
    }
    read(HOT_SIZE, FILE_SIZE);
    let before = device.reads.load(Ordering::Relaxed);
    read(0, HOT_SIZE);
    let lost = device.reads.load(Ordering::Relaxed) - before;
    let hot = HOT_SIZE / u64::from(BLOCK);
    println!(
        "scan of {} MiB through a cache of {} MiB: {} of {hot} hot blocks kept",
        FILE_SIZE >> 20,
        CACHE_SIZE >> 20,
        hot - lost,
    );
}

fn random(path: &std::path::Path) {
    let device: Arc<dyn BlockDevice> = Arc::new(HostFile::open(path).expect("the temporary file"));
    let cache: Arc<dyn BlockDevice> =
        Arc::new(SectorCache::new(&CachePool::new(CACHE_SIZE), device.clone(), BLOCK));
    for threads in [1, 2] {
        let mut ratios = Vec::new();
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let plain = rate(&device, threads);
            let cached = rate(&cache, threads);
            ratios.push(cached / plain);
            rates.push((plain, cached));
        }
        ratios.sort_by(f64::total_cmp);
        let (plain, cached) = rates[ROUNDS / 2];
        println!(
            "warm random reads of 4 KiB, {threads} thread(s): {:.2} of the rate without the cache \
             (median of {ROUNDS}; {:.0} k/s against {:.0} k/s)",
            ratios[ROUNDS / 2],
            cached / 1000.0,
            plain / 1000.0,
        );
    }
}

/// Reads per second inside the hot part.
fn rate(device: &Arc<dyn BlockDevice>, threads: u64) -> f64 {
    let span = Duration::from_millis(300);
    let total = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for seed in 1..=threads {
            let total = &total;
            scope.spawn(move || {
                let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut buf = [0; READ];
                let mut count = 0_u64;
                while !count.is_multiple_of(1024) || start.elapsed() < span {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let offset = (state >> 33) % (HOT_SIZE / READ as u64) * READ as u64;
                    device.read_at(offset, &mut buf).expect("a read");
                    black_box(&buf);
                    count += 1;
                }
                total.fetch_add(count, Ordering::Relaxed);
            });
        }
    });
    total.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}
