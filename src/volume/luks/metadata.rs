//! The metadata of LUKS2: key slots, digests, segments.
//!
//! Specification: LUKS2 On-Disk Format Specification 1.1.3, section 3. A text of JSON; numbers of 64 bits
//! are strings. Objects are called by numbers and name each other by them:
//!
//! | object     | says                                                                           |
//! |------------|--------------------------------------------------------------------------------|
//! | `segments` | the volume, in the order of their numbers: where, with which cipher            |
//! | `digests`  | a volume key: what it is known by, its key slots and segments                  |
//! | `keyslots` | key derivation, splitter, where the key material lies                          |
//! | `tokens`   | where a passphrase may come from; only their types are told                    |
//! | `config`   | `requirements`: what a reader must know, else it must not touch the volume     |

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::Deserialize;
use volfold_block::{BlockError, BlockResult, byte_count};

use super::container::{DataPlace, Encryption, HEADER_ALONE, Header, Segment, VolumeKey, no_slot};
use super::hash::Hash;
use super::kdf::Kdf;
use super::luks2::{BINARY, BinaryHeader};
use super::slot::{KeyDigest, KeySlot};
use crate::volume::cipher::named::NamedCipher;
use crate::volume::cipher::{Sectors, shown};

/// LIMIT: objects of one kind, that of cryptsetup.
const MAX_OBJECTS: usize = 32;

/// LIMIT: types of tokens that are told.
const MAX_TOKENS: usize = 4;

/// The flags of segments that are not part of the volume.
const BACKUP: &str = "backup-";

/// The flag of a segment of which a part has another key.
const IN_CHANGE: &str = "in-reencryption";

/// The priority of key slots that say none; 0 is tried last, for nobody chooses a slot here.
const PRIORITY_NORMAL: u32 = 1;

#[derive(Deserialize)]
struct RawMetadata {
    keyslots: BTreeMap<String, RawSlot>,
    #[serde(default)]
    tokens: BTreeMap<String, RawToken>,
    segments: BTreeMap<String, RawSegment>,
    digests: BTreeMap<String, RawDigest>,
    config: RawConfig,
}

#[derive(Deserialize)]
struct RawSlot {
    #[serde(rename = "type")]
    kind: String,
    key_size: usize,
    priority: Option<u32>,
    area: Option<RawArea>,
    kdf: Option<RawKdf>,
    af: Option<RawSplitter>,
}

#[derive(Deserialize)]
struct RawArea {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    encryption: Option<String>,
    key_size: Option<usize>,
}

#[derive(Deserialize)]
struct RawKdf {
    #[serde(rename = "type")]
    kind: String,
    salt: String,
    hash: Option<String>,
    iterations: Option<u32>,
    time: Option<u32>,
    memory: Option<u32>,
    cpus: Option<u32>,
}

#[derive(Deserialize)]
struct RawSplitter {
    #[serde(rename = "type")]
    kind: String,
    stripes: u32,
    hash: String,
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawSegment {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    iv_tweak: Option<String>,
    encryption: Option<String>,
    sector_size: Option<u32>,
    integrity: Option<RawIntegrity>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct RawIntegrity {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct RawDigest {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    salt: String,
    digest: String,
    hash: Option<String>,
    iterations: Option<u32>,
}

#[derive(Deserialize)]
struct RawConfig {
    keyslots_size: String,
    #[serde(default)]
    requirements: RawRequirements,
}

#[derive(Default, Deserialize)]
struct RawRequirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

fn corrupt(line: impl Into<String>) -> BlockError {
    BlockError::corrupt(format!("metadata of LUKS2: {}", line.into()), BINARY, 0)
}

fn number(text: &str) -> BlockResult<u64> {
    text.parse().map_err(|_| corrupt(format!("{} is no number", shown(text))))
}

fn base64(text: &str) -> BlockResult<Vec<u8>> {
    BASE64.decode(text.as_bytes()).map_err(|_| corrupt("a salt or digest is no Base64"))
}

/// What the metadata of `header`, whose data are in `data`, say of a device of `size` bytes.
///
/// # Errors
/// Why the volume cannot be read.
pub(super) fn parse(header: &BinaryHeader, size: u64, data: DataPlace) -> BlockResult<Header> {
    let raw: RawMetadata = serde_json::from_slice(&header.metadata)
        .map_err(|error| corrupt("cannot be read").because(error))?;
    let counts = [raw.keyslots.len(), raw.tokens.len(), raw.segments.len(), raw.digests.len()];
    if counts.iter().any(|count| *count > MAX_OBJECTS) {
        return Err(corrupt("more objects than there may be"));
    }
    if let Some(required) = raw.config.requirements.mandatory.first() {
        return Err(BlockError::unsupported(requirement(required)));
    }
    let mut keys = Keys::new(&raw);
    let mut chosen = in_order(&raw.segments)?;
    chosen.retain(|(_, segment)| !segment.flags.iter().any(|flag| flag.starts_with(BACKUP)));
    let in_change =
        |(_, segment): &(&str, &RawSegment)| segment.flags.iter().any(|flag| flag == IN_CHANGE);
    if chosen.iter().any(in_change) {
        return Err(BlockError::unsupported(requirement(IN_CHANGE)));
    }
    let mut segments = Vec::new();
    for (name, raw) in &chosen {
        let encryption = if is_encrypted(raw)? { Some(keys.encryption(name, raw)?) } else { None };
        let is_last = segments.len().saturating_add(1) == chosen.len();
        let (offset, length) = place(raw, encryption, size, is_last)?;
        if segments.is_empty() || data == DataPlace::Here {
            data.check(offset)?;
        }
        segments.push(Segment { offset, length, encryption });
    }
    if segments.iter().all(|segment| segment.length == 0) {
        return Err(corrupt("segments make no volume"));
    }
    check_places(&raw, header.size, &segments, data)?;
    let mut tokens: Vec<String> = raw.tokens.values().map(|token| shown(&token.kind)).collect();
    tokens.sort();
    tokens.dedup();
    tokens.truncate(MAX_TOKENS);
    let Keys { keys, refused, .. } = keys;
    Ok(Header { kind: "LUKS2", segments, keys, refused, tokens })
}

/// What is said of a requirement.
fn requirement(name: &str) -> String {
    let shown = shown(name);
    match name {
        _ if name.contains("reencrypt") => format!(
            "it is being encrypted anew ({shown}); let `cryptsetup reencrypt --resume-only` finish \
             that on a copy"
        ),
        "opal" => "its data is encrypted by the drive itself (OPAL), which no image tells".into(),
        _ => format!("it requires {shown}, which is not known here"),
    }
}

/// `objects` in the order of the numbers that they are called by.
fn in_order<T>(objects: &BTreeMap<String, T>) -> BlockResult<Vec<(&str, &T)>> {
    let mut numbered = Vec::new();
    for (name, object) in objects {
        numbered.push((number(name)?, name.as_str(), object));
    }
    numbered.sort_by_key(|(number, ..)| *number);
    Ok(numbered.into_iter().map(|(_, name, object)| (name, object)).collect())
}

/// Whether `segment` is encrypted.
///
/// # Errors
/// If it is of a kind that is not read.
fn is_encrypted(segment: &RawSegment) -> BlockResult<bool> {
    if let Some(integrity) = &segment.integrity {
        let kind = shown(integrity.kind.as_deref().unwrap_or_default());
        let line = format!("integrity ({kind}) lies between its sectors, which is not read");
        return Err(BlockError::unsupported(line));
    }
    match segment.kind.as_str() {
        "crypt" => Ok(true),
        "linear" => Ok(false),
        kind if kind.starts_with("hw-opal") => Err(BlockError::unsupported(requirement("opal"))),
        kind => {
            let line = format!("segments of type {} are not read", shown(kind));
            Err(BlockError::unsupported(line))
        }
    }
}

/// Where `segment` lies on a device of `size` bytes, and how long it is.
fn place(
    segment: &RawSegment,
    encryption: Option<Encryption>,
    size: u64,
    is_last: bool,
) -> BlockResult<(u64, u64)> {
    let offset = number(&segment.offset)?;
    let grain = encryption.map_or(512, |encryption| byte_count(encryption.sectors.size()));
    let length = match segment.size.as_str() {
        "dynamic" if is_last => size
            .checked_sub(offset)
            .filter(|length| *length >= grain)
            .map(|length| length.saturating_sub(length.checked_rem(grain).unwrap_or(0)))
            .ok_or_else(|| corrupt(HEADER_ALONE))?,
        "dynamic" => return Err(corrupt("a segment before the last has no size")),
        fixed => number(fixed)?,
    };
    let is_whole = offset.is_multiple_of(512) && length.is_multiple_of(grain);
    let ends = offset.checked_add(length).is_some_and(|end| end <= size);
    if !is_whole || !ends || length == 0 {
        return Err(corrupt("a segment lies outside of its device, or is cut inside of a sector"));
    }
    Ok((offset, length))
}

/// Checks that nothing lies in the place of something else: first the two headers, each of `header` bytes,
/// then the area of the key material, then the segments. cryptsetup refuses others too.
fn check_places(
    raw: &RawMetadata,
    header: u64,
    segments: &[Segment],
    data: DataPlace,
) -> BlockResult<()> {
    let first = header.saturating_mul(2);
    let end = first.saturating_add(number(&raw.config.keyslots_size)?);
    let mut areas = Vec::new();
    for area in raw.keyslots.values().filter_map(|slot| slot.area.as_ref()) {
        areas.push((number(&area.offset)?, number(&area.size)?));
    }
    let is_outside =
        |(offset, size): &(u64, u64)| *offset < first || offset.saturating_add(*size) > end;
    if areas.iter().any(is_outside) || do_overlap(&mut areas) {
        return Err(corrupt("areas of key slots lie outside of their place, or overlap"));
    }
    let mut places: Vec<(u64, u64)> =
        segments.iter().map(|segment| (segment.offset, segment.length)).collect();
    if data == DataPlace::Here && places.iter().any(|(offset, _)| *offset < end) {
        return Err(corrupt("a segment begins before the key slots end"));
    }
    if do_overlap(&mut places) {
        return Err(corrupt("segments overlap"));
    }
    Ok(())
}

/// Whether any two of `places`, offsets with their lengths, have a byte in common.
fn do_overlap(places: &mut [(u64, u64)]) -> bool {
    places.sort_unstable();
    let pairs = places.iter().zip(places.iter().skip(1));
    pairs.into_iter().any(|((offset, length), (next, _))| offset.saturating_add(*length) > *next)
}

/// The volume keys that segments need, as they are met.
struct Keys<'a> {
    raw: &'a RawMetadata,
    slots: BTreeMap<&'a str, (u32, KeySlot)>,
    refused: Vec<(u32, String)>,
    keys: Vec<VolumeKey>,
    /// The digest of each of `keys`.
    known: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn new(raw: &'a RawMetadata) -> Self {
        let (mut slots, mut refused) = (BTreeMap::new(), Vec::new());
        for (name, slot) in &raw.keyslots {
            // Those of a change of the encryption hold no key.
            if slot.kind == "reencrypt" {
                continue;
            }
            let number = name.parse().unwrap_or(u32::MAX);
            match key_slot(number, slot) {
                Ok(read) => {
                    let priority = slot.priority.unwrap_or(PRIORITY_NORMAL);
                    slots.insert(name.as_str(), (priority, read));
                }
                Err(error) => refused.push((number, error.message().to_owned())),
            }
        }
        Self { raw, slots, refused, keys: Vec::new(), known: Vec::new() }
    }

    /// What the segment `name`, which is `segment`, is encrypted with.
    fn encryption(&mut self, name: &str, segment: &RawSegment) -> BlockResult<Encryption> {
        let is_its = |digest: &RawDigest| digest.segments.iter().any(|other| other == name);
        let mut digests = self.raw.digests.iter().filter(|(_, digest)| is_its(digest));
        let (id, digest) =
            digests.next().ok_or_else(|| corrupt("a segment has no digest of its key"))?;
        if digests.next().is_some() {
            return Err(corrupt("a segment has several digests of its key"));
        }
        let key = match self.known.iter().position(|known| known == id) {
            Some(index) => index,
            None => {
                let key = self.volume_key(digest)?;
                self.keys.push(key);
                self.known.push(id);
                self.known.len().saturating_sub(1)
            }
        };
        let slot = self.keys.get(key).and_then(|key| key.slots.first());
        let length = slot.map_or(0, |slot| slot.key_length);
        let named = segment.encryption.as_deref().unwrap_or_default();
        let size = segment.sector_size.unwrap_or(512);
        Ok(Encryption {
            cipher: NamedCipher::parse(named, length)?,
            sectors: Sectors::in_512(size).ok_or_else(|| {
                BlockError::unsupported(format!("sectors of {size} bytes are not read"))
            })?,
            first_sector: number(segment.iv_tweak.as_deref().unwrap_or("0"))?,
            key,
        })
    }

    /// The volume key of `digest`, and the slots that hold it, those that are preferred first.
    fn volume_key(&self, digest: &RawDigest) -> BlockResult<VolumeKey> {
        if digest.kind != "pbkdf2" {
            let line = format!("digests of type {} are not read", shown(&digest.kind));
            return Err(BlockError::unsupported(line));
        }
        let hash = Hash::parse(digest.hash.as_deref().unwrap_or_default())?;
        let (salt, value) = (base64(&digest.salt)?, base64(&digest.digest)?);
        // A shorter one would be that of other keys too.
        if value.len() != hash.length() {
            return Err(corrupt("a digest has another length than its hash"));
        }
        let iterations = digest.iterations.unwrap_or(0);
        let kdf = Kdf::Pbkdf2 { hash, iterations, salt };
        kdf.check(value.len())?;
        let mut named = digest.keyslots.clone();
        named.sort();
        named.dedup();
        let mut slots: Vec<&(u32, KeySlot)> =
            named.iter().filter_map(|name| self.slots.get(name.as_str())).collect();
        slots.sort_by_key(|(priority, slot)| (std::cmp::Reverse(*priority), slot.number));
        let slots: Vec<KeySlot> = slots.into_iter().map(|(_, slot)| slot.clone()).collect();
        let lengths = slots.iter().map(|slot| slot.key_length);
        if lengths.min() != slots.iter().map(|slot| slot.key_length).max() {
            return Err(corrupt("key slots of one key have several lengths"));
        }
        if slots.is_empty() {
            return Err(no_slot(&self.refused));
        }
        Ok(VolumeKey { digest: KeyDigest { kdf, digest: value }, slots })
    }
}

/// The key slot `number`, which is `raw`.
fn key_slot(number_of_slot: u32, raw: &RawSlot) -> BlockResult<KeySlot> {
    let (Some(area), Some(kdf), Some(splitter), "luks2") =
        (&raw.area, &raw.kdf, &raw.af, raw.kind.as_str())
    else {
        let line = format!("key slots of type {} are not read", shown(&raw.kind));
        return Err(BlockError::unsupported(line));
    };
    if area.kind != "raw" || splitter.kind != "luks1" {
        let kinds = format!("{} and {}", shown(&area.kind), shown(&splitter.kind));
        let line = format!("areas and splitters of type {kinds} are not read");
        return Err(BlockError::unsupported(line));
    }
    let salt = base64(&kdf.salt)?;
    let kdf = match kdf.kind.as_str() {
        "pbkdf2" => Kdf::Pbkdf2 {
            hash: Hash::parse(kdf.hash.as_deref().unwrap_or_default())?,
            iterations: kdf.iterations.unwrap_or(0),
            salt,
        },
        kind => Kdf::Argon2 {
            algorithm: Kdf::algorithm(kind)?,
            time: kdf.time.unwrap_or(0),
            memory: kdf.memory.unwrap_or(0),
            lanes: kdf.cpus.unwrap_or(0),
            salt,
        },
    };
    let encryption = area.encryption.as_deref().unwrap_or_default();
    let slot = KeySlot {
        number: number_of_slot,
        kdf,
        key_length: raw.key_size,
        stripes: splitter.stripes,
        hash: Hash::parse(&splitter.hash)?,
        offset: number(&area.offset)?,
        cipher: NamedCipher::parse(encryption, area.key_size.unwrap_or(0))?,
    };
    slot.check()?;
    if slot.material_length().map(byte_count) > Some(number(&area.size)?) {
        return Err(corrupt("an area is smaller than its key material"));
    }
    Ok(slot)
}
