use super::*;
use crate::testing::{Files, read};

/// A header of POSIX, whose checksum is right.
fn header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn member(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = header(name, kind, format!("{:011o}\0", bytes.len()).as_bytes());
    all.extend(bytes);
    all.resize(all.len().next_multiple_of(BLOCK), 0);
    all
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 2 * BLOCK]].concat()
}

fn open(bytes: Vec<u8>) -> BlockResult<Option<(TarArchive, Option<BlockError>)>> {
    TarArchive::read(&Files::default().with("x.ova", bytes).located("x.ova"))
}

fn whole(bytes: Vec<u8>) -> TarArchive {
    let (archive, damage) = open(bytes).unwrap().unwrap();
    assert!(damage.is_none(), "{damage:?}");
    archive
}

fn content(archive: &TarArchive, name: &str) -> Vec<u8> {
    let file = archive.open(Path::new(name)).unwrap();
    read(&*file.device, 0, usize::try_from(file.device.size()).unwrap()).unwrap()
}

#[test]
fn members_are_found_by_every_kind_of_name() {
    let long = "a/".repeat(80) + "disk.vmdk";
    let record = format!("path={long}\n");
    let length = record.len() + 4;
    let fields = format!("{length} {record}20 mtime=1234567.89\n");
    let mut prefixed = header("late.img", b'0', b"00000000001\0");
    prefixed[345..348].copy_from_slice(b"dir");
    sum(&mut prefixed);
    prefixed.extend([7; BLOCK]);
    let mut base = vec![0x80];
    base.extend(513_u64.to_be_bytes().iter().fold(vec![0; 3], |mut all, byte| {
        all.push(*byte);
        all
    }));
    let mut large = header("large", b'0', &base);
    large.extend(vec![9; 1024]);
    let tar = whole(archive(&[
        member("x.ovf", b'0', b"<x/>"),
        member("./", b'5', b""),
        member("link", b'2', b""),
        member("./sub/one.vmdk", 0, b"one"),
        member("pax", b'x', fields.as_bytes()),
        member("short", b'0', b"long"),
        member("././@LongLink", b'L', b"gnu/long\0"),
        member("short", b'7', b"gnu"),
        prefixed,
        large,
        member("x.ovf", b'0', b"<y/>"),
    ]));
    let names = tar.names();
    assert_eq!(
        names,
        ["sub/one.vmdk", long.as_str(), "gnu/long", "dir/late.img", "large", "x.ovf"]
    );
    for (name, bytes) in [
        ("x.ovf", b"<y/>".as_slice()),
        ("one.vmdk", b"one"),
        ("C:\\other\\ONE.vmdk\\..\\one.vmdk", b"one"),
        ("SUB/ONE.VMDK", b"one"),
        ("disk.vmdk", b"long"),
        ("gnu/long", b"gnu"),
        ("dir/late.img", &[7]),
        ("large", &[9; 513]),
    ] {
        assert_eq!(content(&tar, name), bytes, "{name}");
    }
    let error = tar.open(Path::new("two.vmdk")).err().unwrap();
    assert_eq!(error.message(), "two.vmdk is not in the archive");
    let mut seen = Vec::new();
    tar.neighbours("vmdk", &mut |file| {
        seen.push(file.name);
        ControlFlow::Continue(())
    });
    assert_eq!(seen, ["x.ova/sub/one.vmdk", &format!("x.ova/{long}")]);
    let one = tar.open(Path::new("one.vmdk")).unwrap();
    let error = one.files.open(Path::new("one.vmdk")).err().unwrap();
    assert_eq!(error.kind(), BlockErrorKind::Refused);
}

#[test]
fn a_size_in_the_fields_counts_and_foreign_storage_is_refused() {
    let mut sized = header("big", b'0', b"00000000000\0");
    sized.extend([5; BLOCK]);
    let tar = whole(archive(&[
        member("pax", b'x', b"10 size=9\n"),
        sized,
        member("pax", b'x', b"22 GNU.sparse.major=1\n"),
        member("holes", b'0', b"x"),
        member("old", b'S', b"x"),
        member("rest", b'M', b"x"),
        member("last", b'0', b"x"),
    ]));
    assert_eq!((content(&tar, "big"), content(&tar, "last")), (vec![5; 9], b"x".to_vec()));
    for name in ["holes", "old", "rest"] {
        let error = tar.open(Path::new(name)).err().unwrap();
        assert_eq!(error.kind(), BlockErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_an_error_and_the_rest_is_there() {
    let bytes = archive(&[member("a", b'0', &[1; 600]), member("b", b'0', &[2; 600])]);
    for size in (0..bytes.len()).step_by(512) {
        let Some((tar, damage)) = open(bytes[..size].to_vec()).unwrap_or(None) else {
            assert!(size == 0, "{size}");
            continue;
        };
        assert_eq!(damage.is_none(), size == bytes.len() - 512, "{size}");
        for (name, end, byte) in [("a", 512 + 600, 1), ("b", 2048 + 600, 2)] {
            match tar.open(Path::new(name)) {
                Ok(_) => assert!(size >= end && content(&tar, name) == [byte; 600]),
                Err(error) if error.kind() == BlockErrorKind::MissingPart => assert!(size < end),
                Err(error) => {
                    assert!(error.message().starts_with(&format!("{name} is cut off: ")));
                    assert!(size < end);
                }
            }
        }
    }
    // The checksum knows every byte of a header.
    for (at, mask) in (0..512).flat_map(|at| [1, 0x80].map(|mask| (at, mask))) {
        let mut bent = bytes.clone();
        bent[1536 + at] ^= mask;
        let (tar, damage) = open(bent).unwrap().unwrap();
        // Blanks and zeros around the number itself are one.
        assert!(damage.is_some() || (148..156).contains(&at), "{at}");
        assert_eq!(content(&tar, "a"), [1; 600]);
        if damage.is_none() {
            assert_eq!(content(&tar, "b"), [2; 600]);
        }
    }
    let mut first = bytes.clone();
    first[0] ^= 1;
    assert!(open(first).err().unwrap().message().starts_with("tar header is damaged"));
    assert!(open(vec![7; 4096]).unwrap().is_none());
    let huge = header("a", b'0', b"\x80\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
    let (tar, damage) = open(huge).unwrap().unwrap();
    assert!(damage.is_some() && tar.open(Path::new("a")).is_err());
    for bad in [b"99999999999\0".as_slice(), b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"] {
        assert!(open(header("a", b'0', bad)).is_err());
    }
    let fields = archive(&[member("p", b'x', b"9 path"), member("a", b'0', b"x")]);
    assert_eq!(open(fields).err().unwrap().message(), "extended header of tar is damaged");
}
