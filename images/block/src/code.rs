//! The codes of findings: one table, which messages, JSON and the documents share.

use std::fmt;

use serde::Serialize;

/// What kind of thing a finding is: lower case, words joined by `-`, never changed once published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Code(&'static str);

impl Code {
    /// The code as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// What it means, one sentence.
    pub fn meaning(self) -> &'static str {
        let entry = ALL.iter().find(|(code, _)| *code == self);
        entry.map(|(_, meaning)| *meaning).unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Code = Code($code);
        )*

        /// Every code, and what it means.
        pub static ALL: &[(Code, &str)] = &[$(($name, $meaning)),*];
    };
}

codes! {
    DISK_GIVEN_TWICE = "disk-given-twice", "An image was given more than once; the set has it once.";
    DISK_UNREADABLE = "disk-unreadable", "A part of a disk that discovery needs cannot be read.";
    UNREADABLE = "unreadable", "A region that a volume manager wanted to look at cannot be read.";
    DUPLICATE_VOLUME_ID = "duplicate-volume-id", "Two volumes have one id, as copies of a disk have; one of them is called by its place.";
    TOO_MANY_VOLUMES = "too-many-volumes", "The set has more volumes than are shown.";
    VOLUMES_TOO_DEEP = "volumes-too-deep", "Volumes lie in volumes deeper than is looked at.";
    VOLUME_UNREADABLE = "volume-unreadable", "The start of a volume cannot be read.";
    FILE_SYSTEM_DAMAGED = "file-system-damaged", "A volume has a known file system whose root structures cannot be used.";
    COPIES_AGREE = "copies-agree", "The sides of a mirror, or data and parity, hold the same.";
    COPIES_DIFFER = "copies-differ", "The sides of a mirror, or data and parity, differ.";
    NOT_COMPARED = "not-compared", "Copies of a volume could not be compared.";
    PARTITION_PAST_END = "partition-past-end", "A partition reaches past the end of its disk.";
    PARTITIONS_OVERLAP = "partitions-overlap", "Two partitions share sectors.";
    MBR_IGNORED = "mbr-ignored", "What looks like an MBR is the boot sector of a file system, and is not used.";
    MBR_EXTENDED_BROKEN = "mbr-extended-broken", "The chain of logical partitions is damaged; what comes after the damage is not found.";
    MBR_EXTENDED_LOOP = "mbr-extended-loop", "The chain of logical partitions leads back into itself.";
    MBR_EXTENDED_TOO_LONG = "mbr-extended-too-long", "The chain of logical partitions is longer than is followed.";
    GPT_DAMAGED = "gpt-damaged", "A disk is marked as GPT, and neither its GPT nor the backup can be used.";
    GPT_PRIMARY_DAMAGED = "gpt-primary-damaged", "The GPT is damaged; its backup is used.";
    GPT_BACKUP_DAMAGED = "gpt-backup-damaged", "The backup of the GPT is damaged or missing.";
    GPT_COPIES_DIFFER = "gpt-copies-differ", "The GPT and its backup name different partitions.";
    GPT_BAD_ENTRY = "gpt-bad-entry", "A partition entry of the GPT contradicts itself.";
    GPT_HYBRID_MBR = "gpt-hybrid-mbr", "The MBR beside a GPT names partitions too.";
    GPT_NO_PROTECTIVE_MBR = "gpt-no-protective-mbr", "A GPT has no protective MBR.";
    LDM_NO_HEADER = "ldm-no-header", "A dynamic disk has no private header that can be used.";
    LDM_HEADER_DAMAGED = "ldm-header-damaged", "A private header of a dynamic disk is damaged; another one is used.";
    LDM_HEADERS_DIFFER = "ldm-headers-differ", "The private headers of a dynamic disk differ.";
    LDM_NO_DATABASE = "ldm-no-database", "No disk of a group has a database that can be read.";
    LDM_DATABASE_DAMAGED = "ldm-database-damaged", "A copy of the database of a dynamic disk is damaged.";
    LDM_COPIES_DIFFER = "ldm-copies-differ", "The copies of the database of a group differ.";
    LDM_TOC_DAMAGED = "ldm-toc-damaged", "A table of contents of a dynamic disk is damaged.";
    LDM_LOG_DIRTY = "ldm-log-dirty", "The log of a group holds changes that were not finished.";
    LDM_UPDATE_UNFINISHED = "ldm-update-unfinished", "A change of the database was not finished.";
    LDM_DUPLICATE_DISK = "ldm-duplicate-disk", "Two disks of a group have one id; neither is used where they differ.";
    LDM_FOREIGN_DISK = "ldm-foreign-disk", "A disk says it belongs to a group whose database does not know it.";
    LDM_MISSING_DISK = "ldm-missing-disk", "A disk of a group is not in the set.";
    LDM_STALE_DISK = "ldm-stale-disk", "A disk of a group is older than the others.";
    LDM_PART_DOUBTFUL = "ldm-part-doubtful", "A part of a dynamic volume is stale or cut short.";
    LDM_VOLUME_DOUBTFUL = "ldm-volume-doubtful", "The database says that a dynamic volume is not in order.";
    LDM_VOLUME_REFUSED = "ldm-volume-refused", "The database contradicts itself about a dynamic volume, which is not read.";
    VMDK_CUT_SHORT = "vmdk-cut-short", "A stream-optimized VMDK has lost its end; reads past the cut are errors.";
    VMDK_EXTENT_SHORT = "vmdk-extent-short", "An extent has fewer bytes than its descriptor says; what is missing is an error.";
    VMDK_GRAIN_DIRECTORY_DAMAGED = "vmdk-grain-directory-damaged", "Entries of a grain directory were taken from its copy.";
    VMDK_UNCLEAN_SHUTDOWN = "vmdk-unclean-shutdown", "A VMDK was not closed; its last writes may be missing.";
    NTFS_BOOT = "ntfs-boot", "The boot sector of an NTFS volume is damaged; its copy is used.";
    NTFS_DIRTY = "ntfs-dirty", "An NTFS volume was not closed cleanly; its log is not replayed.";
    NTFS_LABEL = "ntfs-label", "The label of an NTFS volume cannot be read.";
    NTFS_MIRROR = "ntfs-mirror", "A file record of an NTFS volume is taken from $MFTMirr.";
    NTFS_TRUNCATED = "ntfs-truncated", "An NTFS volume is larger than what holds it; what is missing is an error.";
    NTFS_UPCASE = "ntfs-upcase", "The upper-case table of an NTFS volume cannot be read; names are compared by a table of ours.";
    FAT_DIRTY = "fat-dirty", "A FAT volume was not closed cleanly.";
    FAT_ROOT = "fat-root", "The root directory of a FAT volume cannot be read.";
    FAT_TABLE = "fat-table", "The file allocation table of a FAT volume cannot be read.";
    FAT_TRUNCATED = "fat-truncated", "A FAT volume is larger than what holds it; what is missing is an error.";
    EXT4_BACKUP_SUPERBLOCK = "ext4-backup-superblock", "The superblock of an ext volume is damaged; a backup is used.";
    EXT4_CUT_SHORT = "ext4-cut-short", "An ext volume is larger than what holds it; what is missing is an error.";
    EXT4_ERRORS = "ext4-errors", "An ext volume is marked as having errors.";
    EXT4_GROUP_DESCRIPTORS = "ext4-group-descriptors", "Block groups of an ext volume have damaged descriptors.";
    EXT4_JOURNAL_DAMAGED = "ext4-journal-damaged", "The journal of an ext volume is damaged; changes after the damage may be missing.";
    EXT4_JOURNAL_NOT_REPLAYED = "ext4-journal-not-replayed", "The journal of an ext volume was not applied; the newest changes may be missing.";
    EXT4_JOURNAL_REPLAYED = "ext4-journal-replayed", "The journal of an ext volume was applied in memory.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_are_lower_case_words() {
        let mut seen = std::collections::HashSet::new();
        for (code, meaning) in ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert!(
                code.as_str().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            );
            assert!(meaning.ends_with('.') && code.meaning() == *meaning);
        }
    }
}
