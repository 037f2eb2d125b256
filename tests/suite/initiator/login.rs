//! A small initiator: logs in with CHAP, asks for the names of targets, reads the first block.
//!
//! Specification: RFC 7143. It shows that what the double of PowerShell was given works.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};

/// What stands before the data of every PDU.
const HEADER: usize = 48;

const LOGIN: u8 = 0x43;
const TEXT: u8 = 0x04;
const COMMAND: u8 = 0x01;
const DATA_IN: u8 = 0x25;

/// A session.
pub(super) struct Session {
    stream: TcpStream,
    number: u32,
}

impl Session {
    /// Logs in to `target`, or without one to ask for names.
    pub(super) fn login(
        address: &str,
        port: u16,
        target: Option<&str>,
        (user, secret): (&str, &str),
    ) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let stream = TcpStream::connect((address, port)).map_err(told)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(told)?;
        let mut session = Self { stream, number: 1 };
        let kind = match target {
            Some(name) => format!("SessionType=Normal\0TargetName={name}"),
            None => "SessionType=Discovery".to_owned(),
        };
        let keys =
            format!("InitiatorName=iqn.1991-05.com.microsoft:test\0{kind}\0AuthMethod=CHAP\0");
        session.step(0x00, &keys)?;
        let asked = session.step(0x00, "CHAP_A=5\0")?;
        let value = |name: &str| {
            let found =
                asked.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).ok_or_else(|| format!("no {name} in {asked:?}"))
        };
        let identifier: u8 = value("CHAP_I")?.parse().map_err(|_| "a wrong CHAP_I".to_owned())?;
        let challenge = value("CHAP_C")?;
        let challenge =
            HEXLOWER.decode(challenge.trim_start_matches("0x").as_bytes()).expect("a challenge");
        let mut hash = Md5::new();
        hash.update([identifier]);
        hash.update(secret);
        hash.update(challenge);
        let answer = HEXLOWER.encode(&hash.finalize());
        session.step(0x81, &format!("CHAP_N={user}\0CHAP_R=0x{answer}\0"))?;
        session.step(0x87, "HeaderDigest=None\0DataDigest=None\0")?;
        Ok(session)
    }

    /// One step of the login, with the stages and the transit bit in `flags`; the keys of the answer.
    fn step(&mut self, flags: u8, keys: &str) -> Result<String, String> {
        let mut header = [0; HEADER];
        (header[0], header[1]) = (LOGIN, flags);
        header[8] = 0x80;
        header[24..28].copy_from_slice(&self.number.to_be_bytes());
        let (header, data) = self.ask(header, keys.as_bytes()).map_err(|e| e.to_string())?;
        match (header[36], header[37]) {
            (0, _) => Ok(String::from_utf8_lossy(&data).into_owned()),
            // 02 01: authentication failure.
            (class, detail) => Err(format!("login refused: {class:02x}{detail:02x}")),
        }
    }

    /// The names that the portal tells.
    pub(super) fn send_targets(&mut self) -> String {
        let mut header = [0; HEADER];
        (header[0], header[1]) = (TEXT, 0x80);
        header[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
        header[24..28].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        let (_, data) = self.ask(header, b"SendTargets=All\0").expect("an answer");
        String::from_utf8_lossy(&data).into_owned()
    }

    /// The first 512 bytes of unit 0.
    pub(super) fn read_first(&mut self) -> Vec<u8> {
        for _ in 0..3 {
            let mut header = [0; HEADER];
            (header[0], header[1]) = (COMMAND, 0xC1);
            header[20..24].copy_from_slice(&512_u32.to_be_bytes());
            header[24..28].copy_from_slice(&self.number.to_be_bytes());
            // READ (10) of one block.
            header[32] = 0x28;
            header[40] = 1;
            self.number += 1;
            let (header, data) = self.ask(header, &[]).expect("an answer");
            // New sessions hear first that the unit was powered on.
            if header[0] & 0x3F == DATA_IN {
                return data;
            }
        }
        panic!("the target gives no data");
    }

    fn ask(
        &mut self,
        mut header: [u8; HEADER],
        data: &[u8],
    ) -> io::Result<([u8; HEADER], Vec<u8>)> {
        let length = u32::try_from(data.len()).expect("a short text").to_be_bytes();
        header[5..8].copy_from_slice(&length[1..]);
        header[16..20].copy_from_slice(&self.number.to_be_bytes());
        self.stream.write_all(&header)?;
        self.stream.write_all(data)?;
        self.stream.write_all(&[0; 4][..data.len().next_multiple_of(4) - data.len()])?;
        let mut answer = [0; HEADER];
        self.stream.read_exact(&mut answer)?;
        let length = u32::from_be_bytes([0, answer[5], answer[6], answer[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data)?;
        data.truncate(length);
        Ok((answer, data))
    }
}
