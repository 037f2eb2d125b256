//! Partitions that a Linux system shows by their types alone.
//!
//! Specification: UAPI.2, "Discoverable Partitions Specification"; systemd-gpt-auto-generator(8). On the GPT
//! disk of the root the first partition of a type is meant, unless it has the bit 63 among its attributes,
//! or the directory is not empty. That for `/var` has to have the GUID that the id of the machine gives.

use sha2::{Digest, Sha256};

use crate::partition::{Guid, PartitionType};
use crate::set::volume::SetVolume;

/// `NO_AUTO` among the attributes of a partition: it is not shown by itself.
const NO_AUTO: u64 = 1 << 63;

const VAR: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";

/// The types of partitions, and the directories in which they are shown. A type of `/usr` is that of one
/// processor.
const DIRECTORIES: [(&str, &str); 13] = [
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "/home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "/srv"),
    (VAR, "/var"),
    ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", "/var/tmp"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "/usr"),
    ("75250d76-8cc6-458e-bd66-bd47cc81a812", "/usr"),
    ("b0e01050-ee5f-4390-949a-9101b17104e9", "/usr"),
    ("7d0359a3-02b3-4f0a-865c-654403e70625", "/usr"),
    ("beaec34b-8442-439b-a40b-984381ed097d", "/usr"),
    ("15bb03af-77e7-4d4a-b12b-c0d084f7491c", "/usr"),
    ("2c9739e2-f068-46b3-9fd0-01c5a9afbcca", "/usr"),
    ("8a4f5770-50aa-4ed3-874a-99b710db6fea", "/usr"),
    ("e611c702-575c-4cbe-9a46-434fa0bf7e3f", "/usr"),
];

/// The volumes of `all` that the system on `root` shows by their types, and where.
pub(super) fn find<'a>(
    all: impl Iterator<Item = &'a SetVolume>,
    root: &SetVolume,
    machine_id: Option<&str>,
) -> Vec<(&'static str, &'a SetVolume)> {
    let Some((disk, _)) = gpt_place(root) else { return Vec::new() };
    let on_disk: Vec<(GptPartition, &'a SetVolume)> = all
        .filter(|volume| volume.id() != root.id())
        .filter_map(|volume| Some((gpt_place(volume)?, volume)))
        .filter(|((own, partition), _)| *own == disk && partition.attributes & NO_AUTO == 0)
        .map(|((_, partition), volume)| (partition, volume))
        .collect();
    let mut found: Vec<(&'static str, &'a SetVolume)> = Vec::new();
    for (kind, directory) in DIRECTORIES {
        let meant = on_disk.iter().filter(|(partition, volume)| {
            partition.kind == kind && (kind != VAR || has_own_var(volume, machine_id))
        });
        if let Some((_, volume)) = meant.min_by_key(|(partition, _)| partition.number)
            && found.iter().all(|(other, _)| *other != directory)
        {
            found.push((directory, volume));
        }
    }
    found
}

/// What the table says of a partition.
struct GptPartition {
    number: u32,
    attributes: u64,
    /// Its type.
    kind: String,
}

/// The disk of a volume that is a partition of a GPT, and what the table says of it.
fn gpt_place(volume: &SetVolume) -> Option<(usize, GptPartition)> {
    let [extent] = &volume.volume.extents[..] else { return None };
    let partition = volume.volume.partition.as_ref()?;
    let PartitionType::Gpt(kind) = partition.kind else { return None };
    let (number, attributes) = (partition.number, partition.attributes);
    Some((extent.disk, GptPartition { number, attributes, kind: kind.to_string() }))
}

/// Whether the GUID of the partition is that of `/var` on the machine with this id.
fn has_own_var(volume: &SetVolume, machine_id: Option<&str>) -> bool {
    let own = volume.volume.partition.as_ref().and_then(|partition| partition.guid);
    let wanted = machine_id.and_then(var_guid);
    own.map(|guid: Guid| guid.to_string()).is_some_and(|own| Some(own) == wanted)
}

/// The GUID that the partition for `/var` has on the machine with the id `machine_id`: HMAC-SHA-256 of the
/// type, with the id as the key, as a UUID of version 4 (`sd_id128_get_machine_app_specific`).
fn var_guid(machine_id: &str) -> Option<String> {
    let key = number(machine_id.trim())?.to_be_bytes();
    let message = number(&VAR.replace('-', ""))?.to_be_bytes();
    let padded = |with: u8| -> [u8; 64] {
        std::array::from_fn(|at| key.get(at).copied().unwrap_or(0) ^ with)
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    let digest = Sha256::new().chain_update(padded(0x5C)).chain_update(inner).finalize();
    let (first, _) = digest.split_first_chunk::<16>()?;
    let [a, b, c, d, e, f, g, h, i, rest @ ..] = *first;
    let uuid = [a, b, c, d, e, f, (g & 0x0F) | 0x40, h, (i & 0x3F) | 0x80];
    let hex = data_encoding::HEXLOWER.encode(&[&uuid[..], &rest[..]].concat());
    let (a, hex) = hex.split_at_checked(8)?;
    let (b, hex) = hex.split_at_checked(4)?;
    let (c, hex) = hex.split_at_checked(4)?;
    let (d, e) = hex.split_at_checked(4)?;
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// The number of 32 digits of base 16.
fn number(text: &str) -> Option<u128> {
    let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guid_of_var_comes_from_the_id_of_the_machine() {
        let expected = "c0c46eff-e386-4746-a2bd-0962cd326ea2";
        assert_eq!(var_guid("0123456789abcdef0123456789abcdef\n").as_deref(), Some(expected));
        assert_eq!(var_guid("uninitialized"), None);
    }
}
