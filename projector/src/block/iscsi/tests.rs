//! Whole conversations, with an initiator whose words are written down beforehand.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, MemoryDevice};

use zerocopy::IntoBytes;

use super::pdu::{BHS, Header, padding, reject, request, response};
use super::{Chap, Iscsi, Target};
use crate::block::export::{Content, Export};
use crate::block::overlay::Overlay;
use crate::block::serve::Stream;

const SIZE: usize = 1 << 20;

/// A device with a block that cannot be read.
struct Damaged(MemoryDevice, u64);

impl BlockDevice for Damaged {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        if offset < (self.1 + 1) * 512 && self.1 * 512 < offset + buf.len() as u64 {
            buf.fill(0xEE);
            return Err(BlockError::new(BlockErrorKind::Corrupt, "grain cannot be inflated"));
        }
        self.0.read_at(offset, buf)
    }
}

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|at| (at % 251) as u8).collect()
}

fn target(name: &str, content: Content) -> Target {
    let export = Export::new(name, name, content);
    Target::new(Arc::new(export), "set", [1; 16])
}

/// A server of a plain disk, a damaged one and one with an overlay.
fn iscsi(chap: Option<Chap>) -> Iscsi {
    let plain = Arc::new(MemoryDevice::new(bytes()));
    let damaged = Arc::new(Damaged(MemoryDevice::new(bytes()), 1003));
    let overlay = Arc::new(Overlay::in_memory(plain.clone(), 1 << 30));
    let targets = vec![
        target("plain", Content::ReadOnly(plain)),
        target("damaged", Content::ReadOnly(damaged)),
        target("overlay", Content::Overlay(overlay)),
    ];
    Iscsi::new(targets, chap, Arc::new(|_: &str| {}))
}

/// What comes in the place of bytes.
type Pause = Box<dyn FnMut() -> io::Result<()> + Send>;

struct Initiator {
    says: Cursor<Vec<u8>>,
    hears: Arc<Mutex<Vec<u8>>>,
    /// At the end of what it says.
    pause: Pause,
}

impl Read for Initiator {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.says.read(buf)? {
            0 => (self.pause)().map(|()| 0),
            count => Ok(count),
        }
    }
}

impl Write for Initiator {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hears.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Initiator {}

/// What the first says, and then what the second does.
struct Both(Initiator, Initiator);

impl Read for Both {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => self.1.read(buf),
            count => Ok(count),
        }
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Both {}

type Answers = Vec<(Header, Vec<u8>)>;

fn answers(mut bytes: &[u8]) -> Answers {
    let mut answers = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<BHS>() {
        let header: Header = zerocopy::transmute!(*header);
        let length = header.data_length();
        answers.push((header, rest[..length].to_vec()));
        bytes = &rest[length + padding(length)..];
    }
    assert!(bytes.is_empty());
    answers
}

fn talk(iscsi: &Iscsi, says: &[Vec<u8>]) -> (Answers, io::Result<()>) {
    talk_and(iscsi, says, Box::new(|| Ok(())))
}

fn talk_and(iscsi: &Iscsi, says: &[Vec<u8>], pause: Pause) -> (Answers, io::Result<()>) {
    let hears = Arc::new(Mutex::new(Vec::new()));
    let initiator = Initiator { says: Cursor::new(says.concat()), hears: hears.clone(), pause };
    let result = iscsi.serve(Box::new(initiator));
    let heard = hears.lock().clone();
    (answers(&heard), result)
}

fn pdu(mut header: Header, data: &[u8]) -> Vec<u8> {
    header.set_data_length(data.len());
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len() + padding(data.len()), 0);
    bytes
}

/// A request with the task tag 7.
fn ask(opcode: u8, flags: u8, number: u32, words: &[(usize, u32)], data: &[u8]) -> Vec<u8> {
    let mut header = Header::new(opcode, 7);
    header.flags = flags;
    header.number = number.into();
    for (at, word) in words {
        header.as_mut_bytes()[*at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    pdu(header, data)
}

/// A login to the full feature phase, whose first command has the number 100.
fn login(keys: &str) -> Vec<u8> {
    ask(0x40 | request::LOGIN, 0x80 | 1 << 2 | 3, 100, &[], keys.as_bytes())
}

fn login_to(name: &str) -> Vec<u8> {
    let target = format!("iqn.2026-11.io.volfold:set:{name}");
    login(&format!("InitiatorName=iqn.a\0TargetName={target}\0MaxRecvDataSegmentLength=65536\0"))
}

/// A SCSI command that expects `length` bytes.
fn command(number: u32, flags: u8, length: u32, cdb: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = ask(request::SCSI_COMMAND, 0x80 | flags, number, &[(20, length)], data);
    bytes[32..32 + cdb.len()].copy_from_slice(cdb);
    bytes
}

fn read_10(number: u32, lba: u16, count: u8) -> Vec<u8> {
    let [high, low] = lba.to_be_bytes();
    let cdb = [0x28, 0, 0, 0, high, low, 0, 0, count, 0];
    command(number, 0x40, u32::from(count) * 512, &cdb, b"")
}

fn write_10(number: u32, lba: u16, count: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = lba.to_be_bytes();
    let cdb = [0x2A, 0, 0, 0, high, low, 0, 0, count, 0];
    command(number, 0x20, u32::from(count) * 512, &cdb, data)
}

/// The opcodes of what was answered.
fn opcodes(answers: &Answers) -> Vec<u8> {
    answers.iter().map(|(header, _)| header.opcode()).collect()
}

#[test]
fn a_login_that_cannot_be_is_refused_with_its_reason() {
    let target = "TargetName=iqn.2026-11.io.volfold:set:plain\0";
    let status = |request: Vec<u8>| {
        let (answers, result) = talk(&iscsi(None), &[request]);
        let [(header, _)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((header.opcode(), result.is_err()), (response::LOGIN, true));
        u16::from_be_bytes([header.as_bytes()[36], header.as_bytes()[37]])
    };
    assert_eq!(status(login(target)), 0x0207);
    assert_eq!(status(login("InitiatorName=iqn.a\0")), 0x0207);
    assert_eq!(status(login("InitiatorName=iqn.a\0TargetName=iqn.b\0")), 0x0203);
    assert_eq!(status(login("InitiatorName=iqn.a\0SessionType=Other\0")), 0x0209);
    assert_eq!(status(login("no pair\0")), 0x0200);
    let good = login_to("plain");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(status(with(3, 1)), 0x0205, "a version to come");
    assert_eq!(status(with(15, 1)), 0x020A, "a session that is not there");
    assert_eq!(status(with(1, 0x80 | 3 << 2)), 0x0200, "a stage that does not begin");
    assert_eq!(status(with(1, 0x80 | 1 << 2 | 2)), 0x0200, "a stage that is not");
    let chap = || Some(Chap::new("user", b"long enough secret").unwrap());
    let refused = |request: Vec<u8>| {
        let (answers, result) = talk(&iscsi(chap()), &[request]);
        assert!(result.is_err());
        answers.last().unwrap().0.as_bytes()[36..38].to_vec()
    };
    assert_eq!(refused(good.clone()), [2, 1], "without a word about who it is");
    let mut security = login(&format!("InitiatorName=iqn.a\0{target}AuthMethod=None\0"));
    security[1] = 0x80 | 3;
    assert_eq!(refused(security), [2, 1]);
}

#[test]
fn keys_are_agreed_on() {
    let keys = "InitiatorName=iqn.a\0SessionType=Discovery\0HeaderDigest=CRC32C,None\0\
                DataDigest=Other\0MaxConnections=8\0InitialR2T=No\0ImmediateData=Maybe\0\
                MaxBurstLength=16776192\0FirstBurstLength=1024\0ErrorRecoveryLevel=2\0\
                MaxOutstandingR2T=9\0IFMarker=Yes\0X-other=1\0MaxRecvDataSegmentLength=1\0";
    let (answers, result) = talk(&iscsi(None), &[login(keys)]);
    result.unwrap();
    let text = String::from_utf8(answers[0].1.clone()).unwrap();
    let wanted = "HeaderDigest=CRC32C\0DataDigest=Reject\0MaxConnections=1\0InitialR2T=Yes\0\
                  ImmediateData=Reject\0MaxBurstLength=1048576\0FirstBurstLength=1024\0\
                  ErrorRecoveryLevel=0\0MaxOutstandingR2T=1\0IFMarker=No\0\
                  X-other=NotUnderstood\0MaxRecvDataSegmentLength=Reject\0\
                  MaxRecvDataSegmentLength=262144\0";
    assert_eq!(text, wanted);
}

#[test]
fn a_login_may_come_in_parts_but_not_without_end() {
    let mut part = ask(0x40 | request::LOGIN, 0x40 | 1 << 2, 100, &[], b"InitiatorName=i");
    let mut last = login("qn.a\0SessionType=Discovery\0");
    let (answers, result) = talk(&iscsi(None), &[part.clone(), last.clone()]);
    result.unwrap();
    assert_eq!((answers[0].0.flags, answers[1].0.flags), (1 << 2, 0x80 | 1 << 2 | 3));
    part.truncate(BHS);
    part[7] = 0;
    let (_, result) = talk(&iscsi(None), &vec![part; 100]);
    assert!(result.unwrap_err().to_string().contains("too many login requests"));
    last[5] = 1;
    let (_, result) = talk(&iscsi(None), &[last]);
    assert!(result.unwrap_err().to_string().contains("more data at once"));
}

#[test]
fn a_block_that_cannot_be_read_is_named_and_what_is_before_it_is_sent() {
    let says = [login_to("damaged"), read_10(100, 900, 200)];
    let (answers, result) = talk(&iscsi(None), &says);
    result.unwrap();
    assert_eq!(opcodes(&answers), [response::LOGIN, response::DATA_IN, response::SCSI]);
    let (good, status) = (&answers[1], &answers[2]);
    assert!(good.1 == bytes()[900 * 512..1003 * 512]);
    assert_eq!(good.0.flags & 1, 0, "there is no status in the data");
    assert_eq!((status.0.flags, status.0.as_bytes()[3]), (0x82, 2));
    assert_eq!((status.0.sequence.get(), status.0.length.get()), (1, 97 * 512));
    assert_eq!(status.1[..11], [0, 18, 0xF0, 0, 3, 0, 0, 0x03, 0xEB, 10, 0]);
    // The first block of a read, and one in the second PDU of it.
    for (lba, count, sent) in [(1003, 8, 0), (800, 255, 203)] {
        let says = [login_to("damaged"), read_10(100, lba, count)];
        let (answers, _) = talk(&iscsi(None), &says);
        let data: Vec<u8> =
            answers[1..answers.len() - 1].iter().flat_map(|pdu| &pdu.1).copied().collect();
        assert_eq!(data.len(), sent * 512);
        let start = usize::from(lba) * 512;
        assert!(data == bytes()[start..start + sent * 512]);
        assert_eq!(answers.last().unwrap().1[5..9], 1003_u32.to_be_bytes());
    }
}

#[test]
fn data_comes_in_pdus_of_the_length_that_was_agreed_on() {
    let says = [login_to("plain"), read_10(100, 0, 255), read_10(101, 2040, 8)];
    let (answers, result) = talk(&iscsi(None), &says);
    result.unwrap();
    let data: Vec<u8> = answers[1..3].iter().flat_map(|pdu| &pdu.1).copied().collect();
    assert!(data == bytes()[..255 * 512]);
    assert_eq!((answers[1].1.len(), answers[1].0.flags), (65536, 0));
    // The status comes with the last one, and the number of the answer with the status.
    assert_eq!((answers[2].0.flags, answers[2].0.offset.get()), (0x81, 65536));
    assert_eq!([2, 3].map(|at: usize| answers[at].0.number.get()), [1, 2]);
    assert!(answers[3].1 == bytes()[2040 * 512..]);
}

#[test]
fn commands_out_of_the_window_are_passed_over_and_a_gap_ends_the_session() {
    let says = [login_to("plain"), read_10(99, 0, 1), read_10(1000, 0, 1), read_10(100, 0, 1)];
    let (answers, result) = talk(&iscsi(None), &says);
    result.unwrap();
    assert_eq!(opcodes(&answers), [response::LOGIN, response::DATA_IN]);
    assert_eq!((answers[1].0.expected_number.get(), answers[1].0.max_number.get()), (101, 164));
    let (answers, result) = talk(&iscsi(None), &[login_to("plain"), read_10(101, 0, 1)]);
    assert_eq!((answers.len(), result.is_err()), (1, true));
}

#[test]
fn targets_are_told_in_as_many_pdus_as_it_takes() {
    let device = Arc::new(MemoryDevice::new(bytes()));
    let targets = (0..1000)
        .map(|number| target(&format!("volume-{number}"), Content::ReadOnly(device.clone())));
    let iscsi = Iscsi::new(targets.collect(), None, Arc::new(|_: &str| {}));
    let mut says = vec![
        login("InitiatorName=iqn.a\0SessionType=Discovery\0"),
        ask(request::TEXT, 0x80, 100, &[(20, u32::MAX)], b"SendTargets=All\0"),
    ];
    for number in 1..9 {
        says.push(ask(request::TEXT, 0x80, 100 + number, &[(20, number - 1)], b""));
    }
    let (answers, result) = talk(&iscsi, &says);
    result.unwrap();
    let parts: Vec<_> =
        answers.iter().filter(|(header, _)| header.opcode() == response::TEXT).collect();
    let text: Vec<u8> = parts.iter().flat_map(|part| &part.1).copied().collect();
    let text = String::from_utf8(text).unwrap();
    let names: Vec<&str> = text.split_terminator('\0').collect();
    assert_eq!(
        (names.len(), names[999]),
        (1000, "TargetName=iqn.2026-11.io.volfold:set:volume-999")
    );
    assert!(parts.len() > 5 && parts.iter().all(|part| part.1.len() <= 8192));
    let flags: Vec<u8> = parts.iter().map(|part| part.0.flags).collect();
    assert!(flags.ends_with(&[0x40, 0x80]), "{flags:?}");
    // What is asked for behind the end.
    assert_eq!(
        answers.last().unwrap().0.as_bytes()[..3],
        [response::REJECT, 0x80, reject::INVALID_FIELD]
    );
}

#[test]
fn what_makes_no_sense_is_rejected_and_the_session_goes_on() {
    let with = |number, opcode, reason| {
        let says = [
            login_to("plain"),
            ask(opcode, 0x80, number, &[], b""),
            ask(0x40 | request::NOP_OUT, 0x80, 0, &[], b"ping"),
        ];
        let (answers, result) = talk(&iscsi(None), &says);
        result.unwrap();
        assert_eq!(answers[1].0.as_bytes()[..3], [response::REJECT, 0x80, reason], "{opcode:02x}");
        assert_eq!(answers[1].1, says[1][..BHS]);
        assert_eq!((answers[2].0.opcode(), &answers[2].1[..]), (response::NOP_IN, &b"ping"[..]));
    };
    with(100, 0x1C, reject::NOT_SUPPORTED);
    with(100, request::SNACK, reject::SNACK);
    with(100, 0x40 | request::LOGIN, reject::PROTOCOL_ERROR);
    with(100, request::TEXT, reject::INVALID_FIELD);
    let says = [
        login("InitiatorName=iqn.a\0SessionType=Discovery\0"),
        read_10(100, 0, 1),
        ask(request::LOGOUT, 0x80, 101, &[], b""),
        read_10(102, 0, 1),
    ];
    let (answers, result) = talk(&iscsi(None), &says);
    result.unwrap();
    assert_eq!(opcodes(&answers), [response::LOGIN, response::REJECT, response::LOGOUT]);
}

#[test]
fn data_is_asked_for_one_command_after_the_other() {
    let iscsi = iscsi(None);
    let block = [9; 512];
    let data = |tag: u32, place: u32, number: u32, flags: u8| {
        // The tags of the sequences are 1 and 2.
        let words = [(16, tag), (20, tag - 6), (36, number), (40, place)];
        ask(request::DATA_OUT, flags, 0, &words, &block)
    };
    let mut second = write_10(101, 100, 1, b"");
    second[19] = 8;
    let says = [
        login_to("overlay"),
        write_10(100, 10, 3, &block),
        second,
        data(7, 512, 0, 0),
        data(7, 1024, 1, 0x80),
        data(8, 0, 0, 0x80),
        read_10(102, 9, 5),
        read_10(103, 99, 3),
    ];
    let (answers, result) = talk(&iscsi, &says);
    result.unwrap();
    let wanted = [
        response::LOGIN,
        response::R2T,
        response::SCSI,
        response::R2T,
        response::SCSI,
        response::DATA_IN,
        response::DATA_IN,
    ];
    assert_eq!(opcodes(&answers), wanted);
    let (first, second) = (&answers[1].0, &answers[3].0);
    assert_eq!((first.offset.get(), first.length.get(), first.tag()), (512, 1024, 7));
    assert_eq!((second.offset.get(), second.length.get(), second.tag()), (0, 512, 8));
    let mut model = bytes();
    model[10 * 512..13 * 512].fill(9);
    model[100 * 512..101 * 512].fill(9);
    assert!(answers[5].1 == model[9 * 512..14 * 512]);
    assert!(answers[6].1 == model[99 * 512..102 * 512]);
}

#[test]
fn data_that_was_not_asked_for_ends_its_command_only() {
    for (at, word) in [(36, 1), (40, 512), (20, 2)] {
        let mut wrong = vec![(16, 7), (20, 1), (36, 0), (40, 0)];
        wrong.push((at, word));
        let says = [
            login_to("overlay"),
            write_10(100, 0, 1, b""),
            ask(request::DATA_OUT, 0x80, 0, &wrong, &[9; 512]),
            ask(request::DATA_OUT, 0x80, 0, &[(16, 7), (20, 1)], &[9; 512]),
            read_10(101, 0, 1),
        ];
        let (answers, result) = talk(&iscsi(None), &says);
        result.unwrap();
        assert_eq!(opcodes(&answers)[2..], [response::SCSI, response::DATA_IN]);
        assert_eq!((answers[2].0.as_bytes()[3], answers[2].1[4]), (2, 0x0B));
        assert!(answers[3].1 == bytes()[..512]);
    }
    // More than a sequence has, or its end too soon.
    for (length, flags) in [(513, 0x80), (256, 0x80), (512, 0)] {
        let data = ask(request::DATA_OUT, flags, 0, &[(20, 1)], &vec![9; length]);
        let says = [login_to("overlay"), write_10(100, 0, 1, b""), data];
        let (answers, _) = talk(&iscsi(None), &says);
        assert_eq!((answers[2].0.as_bytes()[3], answers[2].1[4]), (2, 0x0B));
    }
}

#[test]
fn a_command_without_all_its_data_fails() {
    let short = |cdb: &[u8], length| {
        let flags = if length == 0 { 0 } else { 0x20 };
        let says = [login_to("overlay"), command(100, flags, length, cdb, b""), read_10(101, 0, 1)];
        let (answers, result) = talk(&iscsi(None), &says);
        result.unwrap();
        assert_eq!(opcodes(&answers)[1..], [response::SCSI, response::DATA_IN]);
        assert_eq!((answers[1].0.as_bytes()[3], answers[1].1[4], answers[1].1[14]), (2, 5, 0x24));
    };
    short(&[0x2F, 2, 0, 0, 0, 0, 0, 0, 1, 0], 0);
    short(&[0x2F, 2, 0, 0, 0, 0, 0, 0, 2, 0], 512);
    short(&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], 256);
    short(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 8);
    // A write of two blocks with one: it is written, and the other is told to be missing.
    let write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    let says =
        [login_to("overlay"), command(100, 0x20, 512, &write, &[9; 512]), read_10(101, 0, 2)];
    let (answers, _) = talk(&iscsi(None), &says);
    assert_eq!(
        (answers[1].0.flags, answers[1].0.as_bytes()[3], answers[1].0.length.get()),
        (0x84, 0, 512)
    );
    assert!(answers[2].1 == [&[9; 512], &bytes()[512..1024]].concat());
}

#[test]
fn a_full_overlay_is_told_to_both_sides() {
    let overlay = Arc::new(Overlay::in_memory(Arc::new(MemoryDevice::new(bytes())), 8192));
    let logged = Arc::new(Mutex::new(String::new()));
    let log = logged.clone();
    let targets = vec![target("overlay", Content::Overlay(overlay))];
    let iscsi = Iscsi::new(targets, None, Arc::new(move |line: &str| log.lock().push_str(line)));
    let mut says = vec![login_to("overlay")];
    for number in 0..3 {
        says.push(write_10(100 + number, 8 * number as u16, 1, &[9; 512]));
    }
    let (answers, result) = talk(&iscsi, &says);
    result.unwrap();
    assert_eq!(answers[2].0.as_bytes()[3], 2);
    assert_eq!((answers[2].1[4], &answers[2].1[14..16]), (7, &[0x27, 0x07][..]));
    assert!(logged.lock().starts_with("overlay: the overlay has reached its limit"));
}

#[test]
fn a_write_can_be_aborted_and_a_protected_one_fails_at_once() {
    let abort = |tag| ask(0x40 | request::TASK_MANAGEMENT, 0x81, 0, &[(20, tag)], b"");
    let says = [login_to("overlay"), write_10(100, 0, 1, b""), abort(7), abort(7)];
    let (answers, result) = talk(&iscsi(None), &says);
    result.unwrap();
    let management = response::TASK_MANAGEMENT;
    assert_eq!(opcodes(&answers)[1..], [response::R2T, management, management]);
    assert_eq!([2, 3].map(|at: usize| answers[at].0.as_bytes()[2]), [0, 1]);
    let says = [login_to("plain"), write_10(100, 0, 1, &[9; 512])];
    let (answers, _) = talk(&iscsi(None), &says);
    assert_eq!(answers[1].1[4..16], [7, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x27, 0]);
}

#[test]
fn every_session_hears_of_a_reset_and_loses_its_commands() {
    let iscsi = Arc::new(iscsi(None));
    let other = iscsi.clone();
    let mut rounds = 0;
    let reset = ask(0x40 | request::TASK_MANAGEMENT, 0x85, 0, &[], b"");
    let pause = Box::new(move || {
        rounds += 1;
        let mut login = login_to("overlay");
        // Another number of the session.
        login[9] = 1;
        if rounds == 1 {
            let says = [login, reset.clone(), read_10(100, 0, 1), read_10(101, 0, 1)];
            let (answers, _) = talk(&other, &says);
            let management = response::TASK_MANAGEMENT;
            assert_eq!(opcodes(&answers)[1..], [management, response::SCSI, response::DATA_IN]);
            assert_eq!((answers[2].1[4], &answers[2].1[14..16]), (6, &[0x29, 0x03][..]));
        }
        Ok(())
    });
    let hears = Arc::new(Mutex::new(Vec::new()));
    let says = [login_to("overlay"), write_10(100, 0, 1, b"")].concat();
    let data = ask(request::DATA_OUT, 0x80, 0, &[(20, 1)], &[9; 512]);
    let rest = [data, read_10(101, 0, 1), read_10(102, 0, 1)].concat();
    let initiator = Initiator { says: Cursor::new(says), hears: hears.clone(), pause };
    let after =
        Initiator { says: Cursor::new(rest), hears: hears.clone(), pause: Box::new(|| Ok(())) };
    iscsi.serve(Box::new(Both(initiator, after))).unwrap();
    let answers = answers(&hears.lock());
    assert_eq!(opcodes(&answers)[1..], [response::R2T, response::SCSI, response::DATA_IN]);
    assert_eq!((answers[2].1[4], &answers[2].1[14..16]), (6, &[0x29, 0x03][..]));
    assert!(answers[3].1 == bytes()[..512], "nothing was written");
}

#[test]
fn a_silent_initiator_is_asked_and_then_left() {
    let (answers, result) = talk_and(
        &iscsi(None),
        &[login_to("plain")],
        Box::new(|| Err(io::ErrorKind::WouldBlock.into())),
    );
    assert_eq!(opcodes(&answers)[1..], [response::NOP_IN; 5]);
    assert_eq!((answers[1].0.tag(), answers[1].0.transfer_tag.get()), (u32::MAX, 1));
    assert!(result.unwrap_err().to_string().contains("does not answer"));
    let half = login_to("plain")[..20].to_vec();
    let pause = Box::new(|| Err(io::ErrorKind::TimedOut.into()));
    let (_, result) = talk_and(&iscsi(None), &[half], pause);
    assert!(result.unwrap_err().to_string().contains("stalls"));
}

#[test]
fn an_initiator_that_comes_again_ends_its_old_session() {
    let iscsi = Arc::new(iscsi(None));
    let again = iscsi.clone();
    let mut rounds = 0;
    let pause = Box::new(move || {
        rounds += 1;
        if rounds == 1 {
            let (answers, result) = talk(&again, &[login_to("plain"), read_10(100, 0, 1)]);
            assert_eq!((answers.len(), result.is_ok()), (2, true));
        }
        Err(io::ErrorKind::WouldBlock.into())
    });
    let (answers, result) = talk_and(&iscsi, &[login_to("plain")], pause);
    result.unwrap();
    assert_eq!(opcodes(&answers), [response::LOGIN]);
    assert!(iscsi.sessions.lock().is_empty());
}
