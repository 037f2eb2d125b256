use std::process::{Command, Stdio};

use super::*;
use crate::hostile::Bent;
use crate::testing::{Files, read};
use volfold_block::BlockErrorKind;

/// Runs `tool` as a filter; `None` where it is not there, which CI has.
fn filter(tool: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        assert!(std::env::var_os("CI").is_none() || cfg!(windows), "CI needs {tool}");
        println!("skipped: needs {tool}");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}");
    Some(output.stdout)
}

/// Bytes of which some deflate well.
fn pattern(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut byte = |at: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if (at / 5000).is_multiple_of(2) { state.to_le_bytes()[0] } else { (at / 700 % 251) as u8 }
    };
    (0..size).map(&mut byte).collect()
}

fn unpacked(name: &str, device: Arc<dyn BlockDevice>) -> BlockResult<Arc<dyn BlockDevice>> {
    let file = Files::default().with_device(name, device).located(name);
    let (file, path) = unpack(file, Path::new(name), &CachePool::new(8 << 20))?;
    assert_eq!(path.is_some(), name != "d.img");
    Ok(file.device)
}

fn whole(name: &str, packed: &[u8]) -> BlockResult<Vec<u8>> {
    let device = unpacked(name, Arc::new(volfold_block::MemoryDevice::new(packed.to_vec())))?;
    read(&*device, 0, usize::try_from(device.size()).unwrap())
}

/// A frame of each part of `bytes`.
fn frames(bytes: &[u8], part: usize) -> Option<Vec<u8>> {
    let mut all = b"\x5E\x2A\x4D\x18\x03\0\0\0abc".to_vec();
    for part in bytes.chunks(part) {
        let size = format!("--stream-size={}", part.len());
        all.extend(filter("zstd", &["-q", "-c", "--check", &size], part)?);
    }
    Some(all)
}

#[test]
fn blocks_of_xz_are_read_where_they_are() {
    let bytes = pattern(3_000_001);
    for check in ["none", "crc32", "crc64", "sha256"] {
        let check = format!("--check={check}");
        let arguments = ["-c", "-1", "-T1", "--block-size=300000", &check];
        let Some(mut packed) = filter("xz", &arguments, &bytes) else { return };
        assert!(whole("d.img.xz", &packed).unwrap() == bytes, "{check}");
        // Two streams with zeros between and after them.
        packed.extend([0; 8]);
        packed.extend(filter("xz", &["-c", "--x86", "--lzma2"], &bytes[..70_000]).unwrap());
        packed.extend([0; 4]);
        assert!(whole("d.img.xz", &packed).unwrap() == [&bytes[..], &bytes[..70_000]].concat());
        let device = unpacked("d.img.xz", Arc::new(volfold_block::MemoryDevice::new(packed)));
        let device = device.unwrap();
        for at in [2_999_990, 299_999, 1_048_570, 0] {
            assert!(read(&*device, at as u64, 20).unwrap()[..11] == bytes[at..at + 11]);
        }
    }
}

#[test]
fn frames_of_zstandard_are_read_where_they_are() {
    let bytes = pattern(3_000_001);
    let Some(packed) = frames(&bytes, 400_000) else { return };
    assert!(whole("d.img.zst", &packed).unwrap() == bytes);
    let one = filter("zstd", &["-q", "-c", "-19", "--stream-size=3000001"], &bytes).unwrap();
    assert!(whole("d.img.zst", &one).unwrap() == bytes);
    let unknown = filter("zstd", &["-q", "-c"], &bytes).unwrap();
    let error = whole("d.img.zst", &unknown).unwrap_err();
    assert_eq!(error.kind(), BlockErrorKind::Unsupported);
    assert!(error.message().contains("does not tell its size"), "{error}");
}

#[test]
fn what_is_too_large_or_not_called_so_is_not_read_in_place() {
    let zeros = vec![0; (64 << 20) + 1];
    let Some(packed) = filter("xz", &["-c", "-1", "-T1"], &zeros) else { return };
    let error = whole("d.img.xz", &packed).unwrap_err();
    assert_eq!(error.kind(), BlockErrorKind::Unsupported);
    assert!(error.message().contains("unpack it with `xz -dk`"), "{error}");
    assert!(whole("d.img", &packed).unwrap() == packed);
    let arguments = ["-q", "-c", "--stream-size=67108865"];
    let Some(packed) = filter("zstd", &arguments, &zeros) else { return };
    let error = whole("d.img.zst", &packed).unwrap_err();
    assert!(error.message().contains("unpack it with `zstd -dk`"), "{error}");
}

/// Whether every cut of `packed`, and every changed byte, is an error, or gives the same bytes.
fn survive(name: &str, packed: &[u8], bytes: &[u8]) {
    let bent = Bent::new(packed);
    let result = |bent: Bent| {
        let device = unpacked(name, Arc::new(bent))?;
        if device.size() > 1 << 20 {
            return read(&*device, device.size() - 1, 1);
        }
        read(&*device, 0, usize::try_from(device.size()).unwrap())
    };
    for size in 16..packed.len() {
        if let Ok(seen) = result(bent.cut(size)) {
            // A file may end after any frame.
            assert!(name.ends_with("zst") && bytes.starts_with(&seen), "{size}");
        }
    }
    for (at, mask) in (4..packed.len()).flat_map(|at| [1, 8, 0x80].map(|mask| (at, mask))) {
        if at < 6 && name.ends_with("xz") {
            continue;
        }
        if let Ok(seen) = result(bent.changed(at, mask)) {
            assert!(seen == bytes, "{at} {mask}");
        }
    }
}

#[test]
fn no_damage_gives_other_bytes() {
    let bytes = pattern(6000);
    let bytes = &bytes[4500..5600];
    let Some(packed) = filter("xz", &["-c", "--block-size=400"], bytes) else { return };
    survive("d.img.xz", &packed, bytes);
    let Some(packed) = frames(bytes, 400) else { return };
    // What is skipped is not looked at.
    survive("d.img.zst", &packed[11..], bytes);
}
