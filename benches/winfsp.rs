//! What requests cost through the genuine DLL's own dispatch, on warm data: under wine,
//! `.ci/winfsp && cargo bench --bench winfsp --target x86_64-pc-windows-gnu`.
//!
//! Wanted: 1.5 GB/s in reads of 1 MiB, 150,000 opens with query and close per second, 20,000 names
//! of a directory in 30 ms.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unsafe_code,
    reason = "a benchmark stops by a panic; WinFsp's functions take raw pointers"
)]

#[cfg(all(windows, target_env = "gnu"))]
#[path = "../tests/suite/winfsp/descriptor.rs"]
mod descriptor;
#[cfg(all(windows, target_env = "gnu"))]
#[path = "../tests/suite/winfsp/genuine_host.rs"]
mod genuine_host;
#[cfg(all(windows, target_env = "gnu"))]
#[path = "../tests/suite/winfsp/memory.rs"]
mod memory;

#[cfg(not(all(windows, target_env = "gnu")))]
fn main() {
    println!("skipped: needs WinFsp's DLL");
}

#[cfg(all(windows, target_env = "gnu"))]
fn main() {
    use std::sync::Arc;
    use std::time::Instant;

    use genuine_host::{Genuine, dll};
    use memory::MemoryFs;
    use volfold_fs::NodeId;
    use winfsp_double::{Requests, wide};

    const SIZE: usize = 256 << 20;
    const ROUNDS: u32 = 5;

    let Some(dll) = dll() else {
        println!("skipped: needs WinFsp's DLL");
        return;
    };
    let mut fs = MemoryFs::new();
    fs.file(NodeId(0), b"large", &vec![7; SIZE]);
    let many = fs.directory(NodeId(0), b"many");
    for number in 0..20_000 {
        fs.file(many, format!("a file of ordinary length {number:05}.txt").as_bytes(), b"x");
    }
    let deep = fs.directory(NodeId(0), b"Users");
    let deep = fs.directory(deep, b"somebody");
    let deep = fs.directory(deep, b"Documents");
    fs.file(deep, b"letter.docx", b"letter");
    let genuine = Genuine::new(&dll, Arc::new(fs));
    let best = |what: &str, unit: &str, work: &dyn Fn() -> f64| {
        let best = (0..ROUNDS).map(|_| work()).fold(0.0, f64::max);
        println!("{what}: {best:.3} {unit}");
    };

    best("sequential reads of 1 MiB", "GB/s", &|| {
        let file = genuine.open(&wide("\\large"), 1, 0).expect("a file");
        let mut buf = vec![0; 1 << 20];
        let start = Instant::now();
        for offset in (0..SIZE as u64).step_by(1 << 20) {
            genuine.read(file.handle, offset, &mut buf).expect("bytes");
        }
        let rate = SIZE as f64 / start.elapsed().as_secs_f64() / 1e9;
        genuine.close(file.handle);
        rate
    });
    for path in ["\\large", "\\users\\somebody\\documents\\letter.docx"] {
        best(&format!("opens with query and close of {path}"), "thousand/s", &|| {
            let path = wide(path);
            let start = Instant::now();
            for _ in 0..50_000 {
                let file = genuine.open(&path, 1, 0).expect("a file");
                genuine.info(file.handle).expect("metadata");
                genuine.close(file.handle);
            }
            50.0 / start.elapsed().as_secs_f64()
        });
    }
    list(&genuine, "a directory for the first time");
    for _ in 0..ROUNDS {
        list(&genuine, "and again");
    }
}

/// Lists the directory of many names, page by page.
#[cfg(all(windows, target_env = "gnu"))]
fn list(genuine: &genuine_host::Genuine, what: &str) {
    use winfsp_double::Requests;

    let mut buf = vec![0_u64; 65536 / 8];
    let start = std::time::Instant::now();
    let directory = genuine.open(&winfsp_double::wide("\\many"), 1, 0).expect("a directory");
    let (mut marker, mut names) = (None, 0);
    loop {
        let used = genuine.list_page(directory.handle, marker, &mut buf).expect("a page");
        let mut at = 0;
        while at + 8 <= used {
            let head = buf[at / 8];
            let size = usize::from(head as u16);
            if size == 0 {
                break;
            }
            // `NextOffset` lies at 80.
            marker = Some(buf[at / 8 + 10]);
            names += 1;
            at += size.next_multiple_of(8);
        }
        if used == 0 || used % 8 == 2 {
            break;
        }
    }
    genuine.close(directory.handle);
    println!("{what}: {names} names in {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
}
