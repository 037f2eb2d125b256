//! The test images and the public corpus, opened by the library and compared with what
//! independent tools list.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};

use crate::common::compare::compare;
use crate::common::corpus::{self, CorpusVolume};
use crate::common::fixtures::{Fixture, index};
use crate::common::listing;
use crate::harness::{apply, note, test};

fn open(fixture: &Fixture) -> DiskSet {
    DiskSet::open(fixture.paths(), &OpenOptions::default()).unwrap_or_else(Incomplete::into_set)
}

#[apply(test)]
fn every_image_unpacks_to_the_bytes_of_the_index() {
    for fixture in index().fixtures.values() {
        let folder: PathBuf = fixture.folder();
        for file in &fixture.files {
            assert!(folder.join(&file.name).is_file(), "{}", file.name);
        }
    }
}

#[apply(test)]
fn every_virtual_disk_has_the_bytes_that_independent_tools_read() {
    for fixture in index().fixtures.values() {
        let Some(facts) = &fixture.disk else { continue };
        let set = open(fixture);
        let name = &fixture.name;
        assert_eq!(set.disks().len(), 1, "{name}: {:?}", set.failures());
        let device = &set.disks()[0].device;
        assert_eq!(device.size(), facts.size, "{name}");
        let mut digest: sha2::Sha256 = sha2::Digest::new();
        let mut buf = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < facts.size {
            let count = buf.len().min((facts.size - offset) as usize);
            device.read_at(offset, &mut buf[..count]).expect(name);
            sha2::Digest::update(&mut digest, &buf[..count]);
            offset += count as u64;
        }
        assert_eq!(HEXLOWER.encode(&sha2::Digest::finalize(digest)), facts.sha256, "{name}");
    }
}

#[apply(test)]
fn every_volume_has_the_files_that_independent_tools_list() {
    let mut differences = Vec::new();
    for fixture in index().fixtures.values() {
        let set = open(fixture);
        for facts in &fixture.volumes {
            let place = format!("{} at {}", fixture.name, facts.offset);
            let volume = set.volumes().iter().find(|volume| {
                let extents = &volume.volume.extents;
                extents.first().is_some_and(|extent| extent.offset == facts.offset)
            });
            let Some(volume) = volume else {
                differences.push(format!("{place}: no volume"));
                continue;
            };
            if facts.listing.is_none() {
                continue;
            }
            if let Ok(fs) = volume.file_system() {
                let info = fs.info();
                let cluster = facts.cluster_size.unwrap_or(info.cluster_size);
                let found = (&info.label, &info.uuid, info.cluster_size);
                if found != (&facts.label, &facts.uuid, cluster) {
                    differences.push(format!("{place}: is {found:?}, not {facts:?}"));
                }
            }
            let rows = facts.rows();
            match volume.file_system().and_then(|fs| compare(&*fs, &rows)) {
                Err(error) => differences.push(format!("{place}: {error}")),
                Ok(result) => {
                    differences
                        .extend(result.differences.iter().map(|line| format!("{place}: {line}")));
                    for (path, code) in result.refused {
                        let expected =
                            facts.errors.iter().any(|e| e.path == path && e.code == code);
                        if !expected {
                            differences.push(format!("{place}: {path}: refused ({code})"));
                        }
                    }
                }
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[apply(test)]
fn every_damage_is_reported() {
    for fixture in index().fixtures.values() {
        let Some(expected) = &fixture.expect else {
            continue;
        };
        let (set, name) = (open(fixture), &fixture.name);
        for code in &expected.findings {
            let found = set.findings().iter().any(|finding| finding.code == *code.as_str());
            assert!(found, "{name}: no {code} in {:?}", set.findings());
        }
        if let Some(kind) = &expected.kind {
            let failure = set.failures().first().unwrap_or_else(|| panic!("{name} was opened"));
            assert_eq!(format!("{:?}", failure.error.kind()), *kind, "{name}");
            let message = volfold_block::error_chain(&failure.error);
            let part = expected.names.as_deref().unwrap_or_default();
            assert!(message.contains(part), "{name}: {message}");
        }
    }
}

#[apply(test)]
fn every_partition_is_where_other_tools_see_it() {
    for fixture in index().fixtures.values() {
        let Some(table) = &fixture.table else {
            continue;
        };
        let (set, name) = (open(fixture), &fixture.name);
        let disk = &set.disks()[0];
        assert_eq!(disk.partition_scheme, Some(table.scheme.as_str()), "{name}");
        assert_eq!(disk.sector_size, table.sector_size, "{name}");
        for partition in &table.partitions {
            let sector = u64::from(table.sector_size);
            let start = partition.start_lba * sector;
            // Extended partitions hold others; what begins behind the disk is no volume.
            if partition.kind == "5" || start >= disk.size {
                continue;
            }
            let found = set.volumes().iter().any(|volume| {
                let first = volume.volume.extents.first();
                first.is_some_and(|extent| extent.offset == start)
            });
            assert!(found, "{name}: nothing at {start}");
        }
    }
}

fn is_known_file_system(volume: &CorpusVolume) -> bool {
    matches!(
        volume.kind.as_deref(),
        Some("ntfs" | "vfat" | "exfat" | "ext2" | "ext3" | "ext4" | "xfs")
    )
}

fn at(set: &DiskSet, offset: u64) -> Option<&SetVolume> {
    let place = |volume: &SetVolume| volume.volume.extents.first().map(|extent| extent.offset);
    set.volumes().iter().map(|volume| &**volume).find(|volume| place(volume) == Some(offset))
}

fn compare_corpus_volume(corpus: &Path, set: &DiskSet, facts: &CorpusVolume) -> Vec<String> {
    let Some(volume) = at(set, facts.offset.unwrap_or(0)) else {
        return vec![format!("no volume at {:?}", facts.offset)];
    };
    let Some(first) = facts.listings.first() else {
        return Vec::new();
    };
    // Where the listings of two tools differ, the kernel's or ntfs-3g's comes first.
    let rows = listing::load(&corpus.join(&first.file));
    match volume.file_system().and_then(|fs| compare(&*fs, &rows)) {
        Err(error) => vec![error.to_string()],
        Ok(result) => {
            for (path, code) in &result.refused {
                note!("  refused: {path} ({code})");
            }
            result.differences.into_iter().filter(|line| !is_encrypted_name(line)).collect()
        }
    }
}

/// A name that is itself encrypted has no spelling of its own: the kernel shows a hash of it that
/// depends on the way it was looked up, volfold the bytes as they are stored.
fn is_encrypted_name(difference: &str) -> bool {
    difference.starts_with("encrypted_dir/")
}

#[apply(test)]
fn forensic_images_and_those_of_macos_have_the_bytes_that_other_tools_read() {
    let folder = corpus::needed();
    let mut seen = Vec::new();
    let manifest = corpus::manifest(&folder);
    for entry in manifest.entries.iter().filter(|entry| entry.kind == "image") {
        let is_meant = |name: &str| name.ends_with(".E01") || name.ends_with(".dmg");
        for disk in entry.disks.iter().filter(|disk| is_meant(&disk.name)) {
            let Some(wanted) = &disk.content_sha256 else { continue };
            let path = corpus::unpack(&folder, entry).join(&disk.name);
            let set = DiskSet::open([path], &OpenOptions::default()).expect("a disk");
            let device = &set.disks()[0].device;
            let mut bytes = vec![0; usize::try_from(device.size()).expect("a size")];
            device.read_at(0, &mut bytes).expect("bytes");
            let found = HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
            assert_eq!(found, *wanted, "{}", disk.name);
            seen.push(disk.name.as_str());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["ext2.E01", "hfsplus_zlib.dmg", "image.E01", "simple-dmg.dmg"]);
}

#[apply(test)]
fn the_public_corpus_reads_as_its_listings_say() {
    let folder = corpus::needed();
    let mut differences = Vec::new();
    for entry in corpus::manifest(&folder).entries.iter().filter(|entry| corpus::in_scope(entry)) {
        let unpacked = corpus::unpack(&folder, entry);
        for disk in &entry.disks {
            if !matches!(disk.qemu_format.as_deref(), None | Some("raw" | "vmdk")) {
                continue;
            }
            let set = DiskSet::open(&[unpacked.join(&disk.name)], &OpenOptions::default())
                .unwrap_or_else(Incomplete::into_set);
            let place = format!("{}/{}", entry.id, disk.name);
            for volume in entry.volumes.iter().filter(|volume| is_known_file_system(volume)) {
                if volume.disk.as_ref().is_some_and(|name| *name != disk.name) {
                    continue;
                }
                note!("{place}: {:?} at {:?}", volume.kind, volume.offset);
                let found = compare_corpus_volume(&folder, &set, volume);
                differences.extend(found.iter().map(|line| format!("{place}: {line}")));
            }
        }
    }
    let count = differences.len();
    differences.truncate(60);
    assert!(count == 0, "{count} differences\n{}", differences.join("\n"));
}
