//! Text requests: which targets there are.
//!
//! Specification: RFC 7143, sections 11.10, 11.11 and appendix C.

use std::io;

use super::Session;
use crate::block::iscsi::login::MAX_DATA;
use crate::block::iscsi::pdu::{CONTINUE, FINAL, Header, NO_TAG, reject, response};
use crate::block::iscsi::text::{Parts, Text, number, pairs};
use crate::block::number::to_usize;

impl Session<'_> {
    pub(super) fn text(&mut self, header: &Header, data: &[u8]) -> io::Result<()> {
        if header.transfer_tag.get() == NO_TAG {
            self.text.clear();
            self.request_text = Parts::default();
        } else if header.transfer_tag.get() != self.text_tag {
            return self.reject(header, reject::INVALID_FIELD);
        } else if !self.text.is_empty() {
            // It asks for what is left of the last answer.
            return self.send_text(header);
        }
        let Some(text) = self.request_text.add(header, data)? else {
            return self.send_text(header);
        };
        let Some(pairs) = pairs(&text) else {
            return self.reject(header, reject::PROTOCOL_ERROR);
        };
        let mut answer = Text::default();
        for (key, value) in pairs {
            match key {
                "SendTargets" => self.targets(value, &mut answer),
                "MaxRecvDataSegmentLength" => match number(value) {
                    Some(length) if (512..=0x00FF_FFFF).contains(&length) => {
                        self.agreed.max_send = to_usize(length.into()).min(MAX_DATA);
                    }
                    _ => answer.add(key, "Reject"),
                },
                _ => answer.add(key, "NotUnderstood"),
            }
        }
        self.text = answer.0;
        self.send_text(header)
    }

    /// Adds the targets that `wanted` names: all, one, or that of this session.
    fn targets(&self, wanted: &str, answer: &mut Text) {
        let own = self.agreed.target.as_ref();
        let is_discovery = own.is_none();
        if (wanted == "All" && !is_discovery) || (wanted.is_empty() && is_discovery) {
            return answer.add("SendTargets", "Reject");
        }
        let address = self.wire.stream.local_address();
        for target in self.iscsi.targets() {
            let is_wanted = match wanted {
                "All" => true,
                "" => own.is_some_and(|own| own.name == target.name),
                name => name == target.name,
            };
            if is_wanted {
                answer.add("TargetName", &target.name);
                if let Some(address) = address {
                    answer.add("TargetAddress", &format!("{address},1"));
                }
            }
        }
    }

    /// Sends as much of the answer as a PDU takes.
    fn send_text(&mut self, header: &Header) -> io::Result<()> {
        let mut answer = Header::new(response::TEXT, header.tag());
        answer.lun = header.lun;
        answer.transfer_tag = NO_TAG.into();
        let length = self.text.len().min(self.agreed.max_send);
        let rest = self.text.split_off(length);
        if !rest.is_empty() || header.flags & FINAL == 0 {
            // The next request has this tag.
            self.text_tag = self.text_tag.wrapping_add(1) & 0x7FFF_FFFF;
            answer.transfer_tag = self.text_tag.into();
            answer.flags = if rest.is_empty() { 0 } else { CONTINUE };
        }
        let part = std::mem::replace(&mut self.text, rest);
        self.reply(answer, &part)
    }
}
