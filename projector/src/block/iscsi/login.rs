//! The login: who comes, to which target, and what both sides can do.
//!
//! Specification: RFC 7143, sections 6.3, 11.12, 11.13 and 13.

use std::io;
use std::sync::Arc;

use super::chap::{ALGORITHM, Challenge};
use super::pdu::{FINAL, Header, SessionIds, request, response};
use super::server::Iscsi;
use super::target::Target;
use super::text::{Parts, Text, number, pairs};
use super::wire::{Digests, Event, Pdu, Wire};
use crate::block::number::to_usize;
use crate::block::serve::{Stream, protocol_error};

/// LIMIT: PDUs of one login.
const MAX_REQUESTS: u32 = 32;

/// The data that a PDU may have before anything is agreed on.
const DEFAULT_DATA: usize = 8192;

/// LIMIT: bytes of data in a PDU that comes.
pub(super) const MAX_DATA: usize = 256 << 10;

/// LIMIT: bytes that an initiator sends or gets in one sequence.
const MAX_BURST: u32 = 1 << 20;

/// LIMIT: commands that an initiator may have sent ahead.
pub(super) const WINDOW: u32 = 64;

/// LIMIT: bytes that come with a command.
const FIRST_BURST: u32 = 64 << 10;

/// The least and the most that lengths may be.
const LENGTHS: std::ops::RangeInclusive<u32> = 512..=0x00FF_FFFF;

/// Stages of a login.
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// `T`: the next stage may begin.
const TRANSIT: u8 = FINAL;

/// Why a login fails: the status class and its detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal(u16);

impl Refusal {
    const INITIATOR_ERROR: Self = Self(0x0200);
    const AUTHENTICATION: Self = Self(0x0201);
    const NOT_FOUND: Self = Self(0x0203);
    const VERSION: Self = Self(0x0205);
    const MISSING_PARAMETER: Self = Self(0x0207);
    const NO_SUCH_SESSION: Self = Self(0x020A);
    const SESSION_TYPE: Self = Self(0x0209);
}

/// What was agreed on.
pub(super) struct Agreed {
    /// The target; `None` in a session that only discovers.
    pub(super) target: Option<Arc<Target>>,
    pub(super) initiator: String,
    /// The initiator's number for the session.
    pub(super) session_number: [u8; 6],
    /// The most data that a PDU to the initiator may have.
    pub(super) max_send: usize,
    pub(super) max_burst: u32,
    pub(super) first_burst: u32,
    pub(super) immediate_data: bool,
    pub(super) status_number: u32,
    pub(super) command_number: u32,
}

/// How far the initiator has shown who it is.
enum Identity {
    Unknown,
    /// It will use CHAP.
    Chap,
    Asked(Challenge),
    Known,
}

struct Login<'a> {
    iscsi: &'a Iscsi,
    stage: u8,
    identity: Identity,
    initiator: Option<String>,
    wants_discovery: bool,
    target: Option<String>,
    declared: bool,
    is_first: bool,
    digests: Digests,
    max_send: usize,
    max_burst: u32,
    first_burst: u32,
    immediate_data: bool,
}

/// Logs an initiator in; `None` if it was refused or went away before it said anything.
///
/// # Errors
/// If the stream ends early, or the initiator breaks the protocol.
pub(super) fn login(iscsi: &Iscsi, stream: Box<dyn Stream>) -> io::Result<Option<(Wire, Agreed)>> {
    let mut wire = Wire::new(stream);
    let mut login = Login::new(iscsi);
    let mut parts = Parts::default();
    let mut status_number = 0_u32;
    for _ in 0..MAX_REQUESTS {
        let Pdu { header, data } = match wire.next(DEFAULT_DATA)? {
            Event::Pdu(pdu) => pdu,
            Event::End => return Ok(None),
            Event::Silence => return Err(protocol_error("initiator does not log in")),
        };
        if header.opcode() != request::LOGIN {
            return Err(protocol_error("initiator sends no login where one is due"));
        }
        let mut answer = answer_to(&header, status_number);
        status_number = status_number.wrapping_add(1);
        let text = parts.add(&header, &data)?;
        let mut reply = Text::default();
        let next = match text {
            // More is to come; it is asked for by an empty answer.
            None => Ok(None),
            Some(text) => login.request(&header, &text, &mut reply),
        };
        match next {
            Err(Refusal(status)) => {
                answer.set_login_status(status);
                answer.flags &= !TRANSIT;
                wire.push(&mut answer, b"")?;
                wire.send()?;
                let initiator = login.initiator.as_deref().unwrap_or("an initiator");
                return Err(protocol_error(&format!(
                    "login of {} refused with status {status:04x}",
                    initiator.escape_debug()
                )));
            }
            Ok(None) => {
                wire.push(&mut answer, &reply.0)?;
            }
            Ok(Some(stage)) => {
                answer.flags |= TRANSIT | stage;
                if stage == FULL_FEATURE {
                    let ids = header.session_ids();
                    let handle = iscsi.session_handle().into();
                    answer.set_session_ids(SessionIds { handle, ..ids });
                    wire.push(&mut answer, &reply.0)?;
                    wire.send()?;
                    wire.digests = login.digests;
                    return Ok(Some((wire, login.agreed(&header, status_number)?)));
                }
                wire.push(&mut answer, &reply.0)?;
            }
        }
    }
    Err(protocol_error("too many login requests"))
}

/// The answer to a login request, in the stage it is in.
fn answer_to(header: &Header, status_number: u32) -> Header {
    let mut answer = Header::new(response::LOGIN, header.tag());
    answer.flags = header.flags & 0x0C;
    answer.set_session_ids(header.session_ids());
    answer.number = status_number.into();
    answer.expected_number = header.number;
    let last = header.number.get().wrapping_add(WINDOW).wrapping_sub(1);
    answer.max_number = last.into();
    answer
}

impl<'a> Login<'a> {
    fn new(iscsi: &'a Iscsi) -> Self {
        Self {
            iscsi,
            stage: SECURITY,
            identity: if iscsi.chap.is_none() { Identity::Known } else { Identity::Unknown },
            initiator: None,
            wants_discovery: false,
            target: None,
            declared: false,
            is_first: true,
            digests: Digests::default(),
            max_send: DEFAULT_DATA,
            max_burst: 262_144,
            first_burst: 65_536,
            immediate_data: true,
        }
    }

    /// Answers one request; the stage that begins then, if one does.
    fn request(
        &mut self,
        header: &Header,
        text: &[u8],
        reply: &mut Text,
    ) -> Result<Option<u8>, Refusal> {
        let (stage, next) = (header.flags >> 2 & 0x03, header.flags & 0x03);
        let transits = header.flags & TRANSIT != 0;
        // The least version of the initiator; there is but version 0.
        if header.status != 0 {
            return Err(Refusal::VERSION);
        }
        if header.session_ids().handle.get() != 0 {
            return Err(Refusal::NO_SUCH_SESSION);
        }
        let is_forward = stage >= self.stage && stage <= OPERATIONAL;
        let is_next = !transits || (next > stage && next != 2);
        if !is_forward || !is_next {
            return Err(Refusal::INITIATOR_ERROR);
        }
        self.stage = stage;
        let pairs = pairs(text).ok_or(Refusal::INITIATOR_ERROR)?;
        self.names(&pairs)?;
        if self.is_first {
            self.is_first = false;
            self.check_names(reply)?;
        }
        if stage == SECURITY {
            self.security(&pairs, reply)?;
        } else if !matches!(self.identity, Identity::Known) {
            return Err(Refusal::AUTHENTICATION);
        }
        for (key, value) in pairs {
            self.key(key, value, reply);
        }
        if stage == OPERATIONAL && !self.declared {
            self.declared = true;
            reply.add("MaxRecvDataSegmentLength", &MAX_DATA.to_string());
        }
        let may_transit = stage == OPERATIONAL || matches!(self.identity, Identity::Known);
        Ok((transits && may_transit).then_some(next))
    }

    /// Takes the names of initiator and target.
    fn names(&mut self, pairs: &[(&str, &str)]) -> Result<(), Refusal> {
        for (key, value) in pairs {
            // The specification's own bound.
            if value.len() > 223 && ["InitiatorName", "TargetName"].contains(key) {
                return Err(Refusal::INITIATOR_ERROR);
            }
            match *key {
                "InitiatorName" => self.initiator = Some((*value).to_owned()),
                "TargetName" => self.target = Some((*value).to_owned()),
                "SessionType" => {
                    self.wants_discovery = match *value {
                        "Discovery" => true,
                        "Normal" => false,
                        _ => return Err(Refusal::SESSION_TYPE),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The first request says who comes, and where to.
    fn check_names(&self, reply: &mut Text) -> Result<(), Refusal> {
        if self.initiator.is_none() {
            return Err(Refusal::MISSING_PARAMETER);
        }
        if !self.wants_discovery {
            let target = self.target.as_ref().ok_or(Refusal::MISSING_PARAMETER)?;
            let target = self.iscsi.find(target).ok_or(Refusal::NOT_FOUND)?;
            let description = &target.export.description;
            let (alias, _) = description.split_at(description.floor_char_boundary(255));
            reply.add("TargetAlias", &alias.replace(char::is_control, "?"));
            reply.add("TargetPortalGroupTag", "1");
        }
        Ok(())
    }

    fn security(&mut self, pairs: &[(&str, &str)], reply: &mut Text) -> Result<(), Refusal> {
        let value =
            |wanted: &str| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
        let offers = |list: &str, wanted: &str| list.split(',').any(|one| one == wanted);
        if value("CHAP_C").is_some() {
            // It wants us to show who we are, and there is nothing to show it with.
            return Err(Refusal::AUTHENTICATION);
        }
        if let Some(methods) = value("AuthMethod") {
            let method = if self.iscsi.chap.is_some() { "CHAP" } else { "None" };
            if !offers(methods, method) {
                return Err(Refusal::AUTHENTICATION);
            }
            reply.add("AuthMethod", method);
            if self.iscsi.chap.is_some() {
                self.identity = Identity::Chap;
            }
        }
        match (&self.identity, &self.iscsi.chap) {
            (Identity::Chap, _) => {
                let Some(algorithms) = value("CHAP_A") else {
                    return Ok(());
                };
                if !offers(algorithms, ALGORITHM) {
                    return Err(Refusal::AUTHENTICATION);
                }
                let challenge = Challenge::new().map_err(|_| Refusal(0x0300))?;
                reply.add("CHAP_A", ALGORITHM);
                reply.add("CHAP_I", &challenge.identifier());
                reply.add("CHAP_C", &challenge.text());
                self.identity = Identity::Asked(challenge);
            }
            (Identity::Asked(challenge), Some(chap)) => {
                let (name, answer) = (value("CHAP_N"), value("CHAP_R"));
                let is_right = name
                    .zip(answer)
                    .is_some_and(|(name, answer)| challenge.is_answered(chap, name, answer));
                // One answer for each challenge.
                self.identity = match is_right {
                    true => Identity::Known,
                    false => return Err(Refusal::AUTHENTICATION),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Agrees on one key.
    fn key(&mut self, key: &str, value: &str, reply: &mut Text) {
        let is_boolean = ["Yes", "No"].contains(&value);
        let answer = match key {
            "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" | "AuthMethod" => {
                return;
            }
            _ if key.starts_with("CHAP_") => return,
            "HeaderDigest" => digest(value, &mut self.digests.header),
            "DataDigest" => digest(value, &mut self.digests.data),
            "MaxRecvDataSegmentLength" => match number(value) {
                Some(length) if LENGTHS.contains(&length) => {
                    self.max_send = to_usize(length.into()).min(MAX_DATA);
                    return;
                }
                _ => None,
            },
            "MaxBurstLength" => least(value, LENGTHS, MAX_BURST, &mut self.max_burst),
            "FirstBurstLength" => least(value, LENGTHS, FIRST_BURST, &mut self.first_burst),
            "MaxConnections" | "MaxOutstandingR2T" => {
                least(value, 1..=u32::from(u16::MAX), 1, &mut 0)
            }
            "DefaultTime2Wait" => {
                number(value).filter(|time| *time <= 3600).map(|time| time.to_string())
            }
            "DefaultTime2Retain" => least(value, 0..=3600, 0, &mut 0),
            "ErrorRecoveryLevel" => least(value, 0..=2, 0, &mut 0),
            "iSCSIProtocolLevel" => least(value, 0..=31, 1, &mut 0),
            "InitialR2T" | "DataPDUInOrder" | "DataSequenceInOrder" if is_boolean => {
                Some("Yes".to_owned())
            }
            "ImmediateData" if is_boolean => {
                self.immediate_data = value == "Yes";
                Some(value.to_owned())
            }
            "InitialR2T" | "DataPDUInOrder" | "DataSequenceInOrder" | "ImmediateData" => None,
            // Obsolete, and yet to be answered: section 13.25.
            "IFMarker" | "OFMarker" => Some("No".to_owned()),
            "IFMarkInt" | "OFMarkInt" | "SendTargets" => None,
            "TaskReporting" => {
                let is_there = value.split(',').any(|one| one == "RFC3720");
                is_there.then(|| "RFC3720".to_owned())
            }
            _ => Some("NotUnderstood".to_owned()),
        };
        reply.add(key, answer.as_deref().unwrap_or("Reject"));
    }

    fn agreed(self, header: &Header, status_number: u32) -> io::Result<Agreed> {
        let target = match (self.wants_discovery, &self.target) {
            (true, _) => None,
            (false, Some(name)) => self.iscsi.find(name).cloned(),
            (false, None) => None,
        };
        if target.is_none() && !self.wants_discovery {
            return Err(protocol_error("initiator changes the target during its login"));
        }
        Ok(Agreed {
            target,
            initiator: self.initiator.unwrap_or_default(),
            session_number: header.session_ids().initiator,
            max_send: self.max_send,
            max_burst: self.max_burst,
            first_burst: self.first_burst.min(self.max_burst),
            immediate_data: self.immediate_data,
            status_number,
            command_number: header.number.get(),
        })
    }
}

/// The first digest of the list in `value` that is known.
fn digest(value: &str, agreed: &mut bool) -> Option<String> {
    let known = value.split(',').find(|one| ["None", "CRC32C"].contains(one))?;
    *agreed = known == "CRC32C";
    Some(known.to_owned())
}

/// The least of the number in `value` and ours.
fn least(
    value: &str,
    allowed: std::ops::RangeInclusive<u32>,
    ours: u32,
    agreed: &mut u32,
) -> Option<String> {
    let number = number(value).filter(|number| allowed.contains(number))?;
    *agreed = number.min(ours);
    Some(agreed.to_string())
}
