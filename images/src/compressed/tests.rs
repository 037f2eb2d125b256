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
    let (file, path) = unpack(file, Path::new(name), &CachePool::new(8 << 20), &|_| Ok(()))?;
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

/// What `tools` make of `input`: each a name of a file, what makes it, and the file.
fn packed_by(tools: &[(&'static str, &str, &[&str])], input: &[u8]) -> Vec<(String, Vec<u8>)> {
    let files = tools.iter().filter_map(|(name, tool, arguments)| {
        let packed = filter(tool, arguments, input)?;
        Some((format!("{name} {tool} {arguments:?}"), packed))
    });
    files.collect()
}

/// Writes what it reads as a gzip file: with a level, a memory level and a strategy of zlib.
const BY_ZLIB: &str = "import sys, zlib\n\
    made = zlib.compressobj(int(sys.argv[1]), zlib.DEFLATED, 31, int(sys.argv[2]), int(sys.argv[3]))\n\
    sys.stdout.buffer.write(made.compress(sys.stdin.buffer.read()) + made.flush())";

#[test]
fn gzip_and_bzip2_are_read_where_they_are_at_any_place() {
    let bytes = pattern(9_700_001);
    let tools: &[(&str, &str, &[&str])] = &[
        ("d.gz", "gzip", &["-c", "-1"]),
        ("d.gz", "gzip", &["-c", "-6", "--rsyncable"]),
        ("d.gz", "gzip", &["-c", "-9"]),
        ("d.gz", "python3", &["-c", BY_ZLIB, "0", "8", "0"]),
        ("d.gz", "python3", &["-c", BY_ZLIB, "6", "1", "4"]),
        ("d.gz", "python3", &["-c", BY_ZLIB, "3", "9", "2"]),
        ("d.bz2", "bzip2", &["-c", "-1"]),
        ("d.bz2", "bzip2", &["-c", "-9"]),
    ];
    for (title, packed) in packed_by(tools, &bytes) {
        let name = title.split(' ').next().unwrap();
        let device = unpacked(name, Arc::new(volfold_block::MemoryDevice::new(packed))).unwrap();
        assert_eq!(device.size(), bytes.len() as u64, "{title}");
        let mut state = 9_u64;
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            let size = ((state >> 20) as usize % 300_000).min(bytes.len() - at);
            let seen = read(&*device, at as u64, size).unwrap();
            assert!(seen == bytes[at..at + size], "{title} {at} {size}");
        }
        let seen = read(&*device, 0, bytes.len()).unwrap();
        assert!(seen == bytes, "{title}");
    }
}

#[test]
fn many_members_and_streams_are_one_image() {
    let bytes = pattern(300_000);
    for (name, tool) in [("d.gz", "gzip"), ("d.bz2", "bzip2")] {
        let mut packed = Vec::new();
        let mut at = 0;
        for size in [0, 1, 5000, 70_000, 0, 200_000, 24_999] {
            let Some(part) = filter(tool, &["-c"], &bytes[at..at + size]) else { return };
            packed.extend(part);
            at += size;
        }
        assert!(whole(name, &packed).unwrap() == bytes);
        let padded = [&packed[..], &[0; 300_000]].concat();
        assert!(whole(name, &padded).unwrap() == bytes);
        for more in [&b"x"[..], b"\0\0x", b"\x1F\x8B"] {
            let error = whole(name, &[&packed[..], more].concat()).unwrap_err();
            let is_told =
                ["after its last", "cut off"].iter().any(|it| error.message().contains(it));
            assert!(is_told && error.kind() == BlockErrorKind::Corrupt, "{error}");
        }
        let none = filter(tool, &["-c"], b"").unwrap();
        assert!(whole(name, &none).unwrap().is_empty());
    }
}

#[test]
fn a_gzip_member_has_any_header() {
    let bytes = pattern(6000);
    let Some(packed) = filter("gzip", &["-nc"], &bytes) else { return };
    let mut header =
        b"\x1F\x8B\x08\x1F\x01\x02\x03\x04\0\x03\x05\0extrad.img\0a comment\0".to_vec();
    let sum = crc32fast::hash(&header);
    header.extend(&sum.to_le_bytes()[..2]);
    let file = [&header[..], &packed[10..]].concat();
    assert!(whole("d.gz", &file).unwrap() == bytes);
    for (at, message) in [(3, "damaged header"), (12, "damaged header"), (10, "damaged header")] {
        let mut bent = file.clone();
        bent[at] ^= 0x80;
        let error = whole("d.gz", &bent).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    // A name without an end, which is longer than a header may be.
    let endless = [b"\x1F\x8B\x08\x08\0\0\0\0\0\0", &[b'x'; 300_000][..]].concat();
    assert!(whole("d.gz", &endless).unwrap_err().message().contains("cut off"));
}

#[test]
fn pieces_of_gzip_grow_so_that_there_are_few() {
    let bytes = pattern(9_700_001);
    let Some(packed) = filter("gzip", &["-c", "-1"], &bytes) else { return };
    let file = volfold_block::MemoryDevice::new(packed);
    let (blocks, points) = gzip::blocks_of(&file, 1 << 20, 4).unwrap();
    let sizes: Vec<u64> = blocks.iter().map(|block| block.size).collect();
    assert_eq!(sizes, [4 << 20, 4 << 20, (9_700_001 - (8 << 20))]);
    for (block, point) in blocks.iter().zip(&points) {
        let mut out = vec![0; block.size as usize];
        gzip::decode(&file, *block, point, &mut out).unwrap();
        assert!(out == bytes[block.start as usize..][..out.len()]);
    }
    // A piece is compared with the first pass.
    let other = filter("gzip", &["-c", "-1"], &pattern(9_700_000)).unwrap();
    let mut out = vec![0; sizes[2] as usize];
    let other = volfold_block::MemoryDevice::new(other);
    assert!(gzip::decode(&other, blocks[2], &points[2], &mut out).is_err());
    assert!(gzip::decode(&file, blocks[2], &points[1], &mut out).is_err());
}

#[test]
fn a_match_does_not_reach_before_its_member() {
    let Some(mut packed) = filter("gzip", &["-c"], &pattern(60_000)) else { return };
    // A block of fixed codes: a match of three bytes, one back, and the end.
    packed.extend(b"\x1F\x8B\x08\0\0\0\0\0\0\x03\x03\x02\0");
    packed.extend([0; 8]);
    let error = whole("d.gz", &packed).unwrap_err();
    assert!(error.message().contains("damaged"), "{error}");
}

#[test]
fn a_mark_within_a_block_of_bzip2_is_looked_past() {
    // Which bytes occur is told by bits that spell the mark of a block.
    let mark = 0x3141_5926_5359_u64;
    let used: Vec<u8> = (0..48_u8).filter(|bit| mark >> (47 - bit) & 1 == 1).collect();
    // Two halves in turn, as the number of bytes that are the same would be a byte as well.
    let half = used.len() / 2;
    let bytes = pattern(350_000);
    let bytes = bytes.iter().map(|byte| usize::from(*byte) % half).enumerate();
    let bytes: Vec<u8> = bytes.map(|(at, index)| used[index + at % 2 * half]).collect();
    let Some(packed) = filter("bzip2", &["-c", "-1"], &bytes) else { return };
    let mut window: u64 = 0;
    let bits = packed.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let marks = bits.filter(|bit| {
        window = (window << 1 | u64::from(*bit)) & 0xFFFF_FFFF_FFFF;
        window == mark
    });
    assert_eq!(marks.count(), 8);
    assert!(whole("d.bz2", &packed).unwrap() == bytes);
    let file = volfold_block::MemoryDevice::new(packed);
    assert!(bzip2::start(&file).unwrap().is_empty());
}

#[test]
fn zeros_that_were_compressed_take_no_memory() {
    let zeros = vec![0; 150 << 20];
    let tools: &[(&str, &str, &[&str])] =
        &[("d.gz", "gzip", &["-c", "-1"]), ("d.bz2", "bzip2", &["-c"])];
    for (title, packed) in packed_by(tools, &zeros) {
        let name = title.split(' ').next().unwrap();
        let device = unpacked(name, Arc::new(volfold_block::MemoryDevice::new(packed))).unwrap();
        assert_eq!(device.size(), 150 << 20);
        assert_eq!(read(&*device, (150 << 20) - 5, 5).unwrap(), [0; 5]);
    }
}

/// Whether every cut of `packed`, and every changed byte, is an error, or gives the same bytes.
/// With `in_parts` it may end after any part.
fn survive(name: &str, packed: &[u8], bytes: &[u8], in_parts: bool) {
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
            assert!(in_parts && bytes.starts_with(&seen), "{size}");
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
    survive("d.img.xz", &packed, bytes, false);
    let Some(packed) = frames(bytes, 400) else { return };
    // What is skipped is not looked at.
    survive("d.img.zst", &packed[11..], bytes, true);
    for (name, tool) in [("d.img.gz", "gzip"), ("d.img.bz2", "bzip2")] {
        let Some(packed) = filter(tool, &["-c", "-1"], bytes) else { return };
        survive(name, &packed, bytes, false);
        let parts = bytes.chunks(800).map(|part| filter(tool, &["-c", "-1"], part).unwrap());
        survive(name, &parts.collect::<Vec<_>>().concat(), bytes, true);
    }
}
