//! Volumes of `mkfs.xfs` with logs that no recipe makes at will.

use super::XfsDriver;
use super::log::kind;
use super::superblock::Superblock;
use super::testing::{LogBuilder, Operation, item, lsn, transaction};
use super::tests::volume;
use crate::error::FsErrorKind;
use crate::node::{Name, StreamName};
use crate::testing::{find, kind_of, list, mount};

/// A volume and its log, of which nothing was written yet.
struct WithLog {
    image: Vec<u8>,
    start: usize,
    uuid: [u8; 16],
    log: LogBuilder,
}

impl WithLog {
    /// `None` without `mkfs.xfs`.
    fn new() -> Option<Self> {
        let image = volume(&["-m", "crc=1"])?;
        let superblock = Superblock::parse(&image, 0).unwrap();
        let (start, size) = superblock.log_span().unwrap();
        let (start, blocks) =
            (usize::try_from(start).unwrap(), usize::try_from(size / 512).unwrap());
        let uuid = superblock.uuid;
        Some(Self { image, start, uuid, log: LogBuilder::new(blocks, uuid, (9, 100)) })
    }

    fn image(&self) -> Vec<u8> {
        let mut image = self.image.clone();
        image[self.start..self.start + self.log.bytes.len()].copy_from_slice(&self.log.bytes);
        image
    }

    /// Codes of findings of the mounted volume.
    fn codes(&self) -> Vec<&'static str> {
        let fs = mount(&XfsDriver, self.image()).unwrap();
        fs.findings().iter().map(|finding| finding.code.as_str()).collect()
    }
}

/// The begin of a change of the extents of inode `owner`, or its end.
fn map_item(kind: u16, number: u64, owner: u64) -> Vec<u8> {
    let fields = [&1_u32.to_le_bytes()[..], &number.to_le_bytes(), &owner.to_le_bytes(), &[0; 24]];
    item(kind, &fields.concat())
}

fn free(number: u64) -> Vec<Operation> {
    transaction(1, &[map_item(kind::FREE_INTENT, number, 0)])
}

#[test]
fn a_file_whose_change_was_not_ended_is_marked_and_refused() {
    let Some(mut with) = WithLog::new() else { return };
    let fs = mount(&XfsDriver, with.image.clone()).unwrap();
    let (file, dir) = (find(&*fs, "file").unwrap(), find(&*fs, "tree").unwrap());
    with.log.record(&transaction(1, &[map_item(kind::MAP_INTENT, 7, file.0)]));
    let begun = with.image();
    with.log.record(&transaction(2, &[map_item(kind::MAP_DONE, 7, 0)]));
    assert_eq!(with.codes(), ["xfs-log-replayed"]);
    let fs = mount(&XfsDriver, begun).unwrap();
    let codes: Vec<_> = fs.findings().iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["xfs-log-unfinished", "xfs-log-replayed"]);
    let refused = Some(FsErrorKind::Unsupported);
    assert_eq!(fs.metadata(file).unwrap().unreadable, refused);
    let listed = list(&*fs, fs.root(), 100).unwrap();
    let (_, _, metadata) = listed.iter().find(|(name, ..)| name == b"file").unwrap();
    assert_eq!(metadata.as_ref().unwrap().unreadable, refused);
    assert_eq!(kind_of(fs.open(file, &StreamName::MAIN)), FsErrorKind::Unsupported);
    assert_eq!(fs.metadata(dir).unwrap().unreadable, None);
    fs.lookup(dir, Name::new("name-1")).unwrap();
}

#[test]
fn what_is_left_out_of_a_log_has_a_code_for_each_reason() {
    let Some(mut with) = WithLog::new() else { return };
    let begins: Vec<usize> = (0..5).map(|number| with.log.record(&free(number))).collect();
    assert_eq!(with.codes(), ["xfs-log-replayed"]);
    let whole = with.log.bytes.clone();
    // A byte of the last record, which was written as a whole.
    with.log.block(begins[4] + 1)[80] ^= 1;
    assert_eq!(with.codes(), ["xfs-log-damaged", "xfs-log-replayed"]);
    with.log.bytes.clone_from(&whole);
    with.log.block(begins[2]).fill(0);
    assert_eq!(with.codes(), ["xfs-log-damaged", "xfs-log-replayed"]);
    with.log.bytes.clone_from(&whole);
    with.log.block(begins[4] + 1)[..4].copy_from_slice(&8_u32.to_be_bytes());
    assert_eq!(with.codes(), ["xfs-log-torn", "xfs-log-replayed"]);
    with.log.bytes = whole;
    // An item that only a later kernel knows.
    with.log.record(&transaction(1, &[item(0x1250, &[0; 40])]));
    assert_eq!(with.codes(), ["xfs-log-not-replayed"]);
    // Nothing but an unmount, and what came after it was not written.
    with.log = LogBuilder::new(with.log.bytes.len() / 512, with.uuid, (9, 100));
    with.log.unmount();
    with.log.tail = lsn(9, with.log.next());
    let last = with.log.record(&free(1));
    with.log.block(last + 1)[..4].copy_from_slice(&8_u32.to_be_bytes());
    assert_eq!(with.codes(), ["xfs-log-torn"]);
}
