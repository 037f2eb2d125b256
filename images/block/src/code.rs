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
        self.entry().map(|entry| entry.meaning).unwrap_or_default()
    }

    /// What to do about it, sentences for people; empty where there is nothing to do.
    pub fn advice(self) -> &'static str {
        self.entry().map(|entry| entry.advice).unwrap_or_default()
    }

    /// Whether what is read may be less, or older, than what the owner of the disks had: commands
    /// that meet it end with "done in part".
    pub fn bears_on_content(self) -> bool {
        self.entry().is_some_and(|entry| entry.bears_on_content)
    }

    fn entry(self) -> Option<&'static CodeEntry> {
        ALL.iter().find(|entry| entry.code == self)
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

/// A code, and what is known of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CodeEntry {
    /// The code.
    pub code: Code,
    /// See [`Code::bears_on_content`].
    pub bears_on_content: bool,
    /// See [`Code::meaning`].
    pub meaning: &'static str,
    /// See [`Code::advice`].
    pub advice: &'static str,
}

/// `NAME = "code", content, "meaning", "advice";` for what bears on content, `other` in its place
/// for what does not.
macro_rules! codes {
    (@bears content) => { true };
    (@bears other) => { false };
    ($($name:ident = $code:literal, $bears:ident, $meaning:literal $(, $advice:literal)?;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Code = Code($code);
        )*

        /// Every code, in the order of the layers.
        pub static ALL: &[CodeEntry] = &[$(CodeEntry {
            code: $name,
            bears_on_content: codes!(@bears $bears),
            meaning: $meaning,
            advice: concat!($($advice)?),
        }),*];
    };
}

codes! {
    DISK_GIVEN_TWICE = "disk-given-twice", other, "An image was given more than once; the set has it once.", "Give it once.";
    DISK_PART_OF_ANOTHER = "disk-part-of-another", other, "A given image is a part of another one of the set, an extent or the parent of a snapshot; it is no disk of its own.", "Give it alone to see what it holds by itself.";
    SHADOW_COPIES = "shadow-copies", other, "A volume has shadow copies: states of it that Windows kept.", "`--snapshots` shows each as a volume of its own.";
    SHADOW_COPIES_DAMAGED = "shadow-copies-damaged", other, "The list of the shadow copies of a volume is damaged; none of them can be shown. Exit code 3 with `--snapshots` alone.", "Nothing, if the shadow copies are not needed: the volume itself is whole.";
    SHADOW_COPY_REFUSED = "shadow-copy-refused", content, "A shadow copy cannot be read: what it kept is not in the set, or the catalog contradicts itself.", "Give the disk with the shadow copy storage, too.";
    SNAPSHOT_BESIDE = "snapshot-beside", content, "An image was opened though a snapshot of it lies beside it; what was written since the snapshot is not shown.", "Open the newest snapshot instead; it brings its parents.";
    NEIGHBOURS_NOT_READ = "neighbours-not-read", other, "The folder of an image has too many files, so it is not known whether a snapshot of the image lies beside it.", "Put the images of one machine into a folder of their own.";
    NESTED_FORMAT = "nested-format", content, "The content of a raw disk begins as an image format does; it is read as raw because of the name of the file.", "If the file is an image in that format, give --format. A guest can write such a header into its own disk, so the name of the file decides.";
    NAME_WITHOUT_CONTENT = "name-without-content", content, "A file is called as an image of one format is, and has none of its marks; it is read as a raw disk.", "Copy the image again, if it is damaged or cut off; give --format raw, if it is a raw disk.";
    FOREIGN_MARK = "foreign-mark", other, "A raw disk begins as a file of another kind does, and holds partitions or a file system too.", "Nothing, if the disk is known to be raw. A guest can write such a mark to hide its disk.";
    FILE_NOT_TAKEN = "file-not-taken", other, "A file in a folder of images is no disk image.", "Give the file itself, with --format raw, if it is a disk.";
    IMAGE_HASH_AGREES = "image-hash-agrees", other, "The disk has the hash that was recorded when the image was made.";
    IMAGE_HASH_DIFFERS = "image-hash-differs", content, "The disk has another hash than was recorded when the image was made.", "Bytes of the image were changed since, or its record is wrong: compare it with another copy.";
    IMAGE_HASH_NOT_COMPARED = "image-hash-not-compared", content, "The hash that was recorded when the image was made could not be compared, for not all of the disk can be read.", "Copy the image again; the message names the place.";
    MISSING_OUTSIDE_VOLUMES = "missing-outside-volumes", other, "Bytes of a disk are missing, and no volume lies there.", "Nothing is lost of the volumes; copy the image again if the whole disk is wanted.";
    SNAPSHOTS_MIXED = "snapshots-mixed", content, "A volume lies on snapshots of some of its disks, and on others as they were before.", "Give the snapshots of all disks, or of none.";
    DISK_UNREADABLE = "disk-unreadable", content, "A part of a disk that discovery needs cannot be read.", "Copy the image again; the message names the place.";
    UNREADABLE = "unreadable", content, "A region that a volume manager wanted to look at cannot be read.", "Copy the image again; the message names the place.";
    TOO_MANY_FINDINGS = "too-many-findings", content, "More was noticed than is kept.", "`volfold check --json` on one volume at a time shows more.";
    DUPLICATE_VOLUME_ID = "duplicate-volume-id", other, "Two volumes have one id, as copies of a disk have; one of them is called by its place.", "Give one copy of the disk alone if names are to stay short.";
    TOO_MANY_VOLUMES = "too-many-volumes", content, "The set has more volumes than are shown.", "Give fewer disks at once.";
    VOLUMES_TOO_DEEP = "volumes-too-deep", content, "Volumes lie in volumes deeper than is looked at.", "`volfold export` the outer volume, and open that.";
    VOLUME_CLAIM_DAMAGED = "volume-claim-damaged", content, "A damaged structure of a volume manager (LUKS, MD, LVM2) lies in a file system that is sound; the file system is shown.", "Nothing, if the file system is the newer of the two; else copy the image again.";
    VOLUME_UNREADABLE = "volume-unreadable", content, "The start of a volume cannot be read.", "Copy the image again; `volfold mount --raw` gives what can be read.";
    FILE_SYSTEM_NOT_OPENED = "file-system-not-opened", content, "A volume has a known file system that cannot be opened: a disk with its root structures is missing, or cannot be read, or they are of a kind that is not read.", "The reason says which: give the missing disk; `volfold mount --raw` gives the bytes that are there.";
    FILE_SYSTEM_DAMAGED = "file-system-damaged", content, "A volume has a known file system whose root structures cannot be used.", "`volfold mount --raw` or `volfold attach --overlay` give its bytes to the repair tool of the file system; the image stays as it is.";
    COPIES_AGREE = "copies-agree", other, "The sides of a mirror, or data and parity, hold the same.";
    COPIES_DIFFER = "copies-differ", content, "The sides of a mirror, or data and parity, differ.", "Ask which side is right: the volume may have been in use, or a disk may be failing. The first healthy side is read.";
    NOT_COMPARED = "not-compared", other, "Copies of a volume could not be compared.", "Give all disks of the group.";
    PARTITION_PAST_END = "partition-past-end", content, "A partition reaches past the end of its disk.", "The image may be cut off: compare its size with the disk, and copy it again.";
    PARTITIONS_OVERLAP = "partitions-overlap", other, "Two partitions share sectors.", "Compare with another tool which of them is meant; both are shown.";
    MBR_IGNORED = "mbr-ignored", other, "What looks like an MBR is the boot sector of a file system, and is not used.", "Nothing, if the disk has no partitions.";
    MBR_EXTENDED_BROKEN = "mbr-extended-broken", content, "The chain of logical partitions is damaged; what comes after the damage is not found.", "`testdisk` on a copy can find lost partitions.";
    MBR_EXTENDED_LOOP = "mbr-extended-loop", content, "The chain of logical partitions leads back into itself.", "`testdisk` on a copy can find lost partitions.";
    MBR_EXTENDED_TOO_LONG = "mbr-extended-too-long", content, "The chain of logical partitions is longer than is followed.", "The table is damaged or made to mislead; `testdisk` on a copy can find lost partitions.";
    GUEST_INCOMPLETE = "guest-incomplete", content, "What a system on a volume should say of itself is missing, or makes no sense.", "Compare with the system itself; the message names the file and the place in it.";
    GUEST_NAME_SHARED = "guest-name-shared", other, "Systems on the disks call different volumes by one letter or directory; none of those is named by it.", "Nothing, if the disks are of several machines, or of systems that are started in turn.";
    GUEST_VOLUME_AMBIGUOUS = "guest-volume-ambiguous", content, "A system on the disks means a volume of which the set has several, as copies of a disk; none of them is shown as it.", "Give one copy of the disk alone.";
    GUEST_VOLUME_GUESSED = "guest-volume-guessed", content, "A system on the disks names a volume by the place of its disk, which the set may have elsewhere.", "Give all disks of the machine and none of another; look whether the files there are those that you expect.";
    GUEST_VOLUME_MISSING = "guest-volume-missing", content, "A system on the disks shows a volume that is not in the set.", "Give its disk with the others; a volume that is read by no driver is missing too.";
    GUEST_UNREADABLE = "guest-unreadable", content, "A file that tells of the installed system cannot be read; what it tells is missing.", "The reason is that of the file; `volfold check` tells of the others.";
    GPT_DAMAGED = "gpt-damaged", content, "A disk is marked as GPT, and neither its GPT nor the backup can be used.", "`gdisk` on a copy, or on `volfold attach --overlay`, can rebuild it.";
    GPT_PRIMARY_DAMAGED = "gpt-primary-damaged", other, "The GPT is damaged; its backup is used.", "Nothing is lost; `gdisk` on a copy repairs it.";
    GPT_BACKUP_DAMAGED = "gpt-backup-damaged", other, "The backup of the GPT is damaged or missing.", "The image may lack its end: compare its size with the disk.";
    GPT_COPIES_DIFFER = "gpt-copies-differ", content, "The GPT and its backup name different partitions.", "The disk may have been partitioned anew; compare both with `gdisk`.";
    GPT_BAD_ENTRY = "gpt-bad-entry", content, "A partition entry of the GPT contradicts itself.", "Compare with `gdisk -l`; the entry is not shown.";
    GPT_HYBRID_MBR = "gpt-hybrid-mbr", other, "The MBR beside a GPT names partitions too.";
    GPT_NO_PROTECTIVE_MBR = "gpt-no-protective-mbr", other, "A GPT has no protective MBR.";
    LDM_NO_HEADER = "ldm-no-header", content, "A dynamic disk has no private header that can be used.", "Give the other disks of the group; what the partition holds is shown as it is, and may be a part of a larger volume.";
    LDM_HEADER_DAMAGED = "ldm-header-damaged", other, "A private header of a dynamic disk is damaged; another one is used.";
    LDM_HEADER_LEFT = "ldm-header-left", content, "A disk has a private header of a dynamic group and no dynamic partition.", "If the disk was made basic on purpose, nothing; else its partition table was changed: type 42 (hex) belongs there.";
    LDM_CUT_SHORT = "ldm-cut-short", content, "An image ends before the database of its dynamic disk does.", "Compare the size of the image with that of the disk, and copy it again.";
    LDM_REPEATED = "ldm-repeated", other, "A partition lies on the same sectors as a dynamic volume; the volume is shown.", "Nothing: Windows keeps such an entry for volumes that it boots from.";
    LDM_HEADERS_DIFFER = "ldm-headers-differ", other, "The private headers of a dynamic disk differ.", "Nothing, if the disk was made anew since.";
    LDM_NO_DATABASE = "ldm-no-database", content, "No disk of a group has a database that can be read.", "Give the other disks of the group.";
    LDM_DATABASE_DAMAGED = "ldm-database-damaged", other, "A copy of the database of a dynamic disk is damaged.", "Give all disks of the group, each has a copy.";
    LDM_COPIES_DIFFER = "ldm-copies-differ", other, "The copies of the database of a group differ.", "Give all disks of the group; what most copies say counts.";
    LDM_TOC_DAMAGED = "ldm-toc-damaged", other, "A table of contents of a dynamic disk is damaged.";
    LDM_LOG_DIRTY = "ldm-log-dirty", other, "The log of a group holds changes that were not finished.", "`volfold list --verify` compares the sides.";
    LDM_UPDATE_UNFINISHED = "ldm-update-unfinished", content, "A change of the database was not finished.", "The group was changed when the image was made; make the images again when it is at rest.";
    LDM_DUPLICATE_DISK = "ldm-duplicate-disk", content, "Two disks of a group have one id; neither is used where they differ.", "Give only one of the two images.";
    LDM_FOREIGN_DISK = "ldm-foreign-disk", content, "A disk says it belongs to a group whose database does not know it.", "Nothing, if the disk was moved to another machine on purpose.";
    LDM_MISSING_DISK = "ldm-missing-disk", content, "A disk of a group is not in the set.", "Give its image with the others.";
    LDM_STALE_DISK = "ldm-stale-disk", content, "A disk of a group is older than the others.", "Give the images of all disks of one time.";
    LDM_PART_DOUBTFUL = "ldm-part-doubtful", content, "A part of a dynamic volume is stale or cut short.", "Give the images of all disks of one time, and all of them.";
    LDM_VOLUME_DOUBTFUL = "ldm-volume-doubtful", content, "The database says that a dynamic volume is not in order.", "The volume was failed or regenerating in Windows, too.";
    LDM_VOLUME_REFUSED = "ldm-volume-refused", content, "The database contradicts itself about a dynamic volume, which is not read.", "`volfold mount --raw` gives the disks as they are.";
    KEY_UNREADABLE = "key-unreadable", content, "A key cannot be read from where it is said to be.", "The message names the place.";
    KEY_UNUSED = "key-unused", content, "A key is for a volume that is not there, or is not locked.", "`volfold list` names the locked volumes.";
    KEY_WRONG = "key-wrong", content, "A key does not open a locked volume.", "Look for a typing error; `volfold list` names the kinds of key that open the volume.";
    BITLOCKER_CUT_SHORT = "bitlocker-cut-short", content, "A BitLocker volume is larger than what holds it; what is missing is an error.", "The image or partition may be cut off: compare its size with the original.";
    BITLOCKER_METADATA_DAMAGED = "bitlocker-metadata-damaged", other, "A copy of the metadata of a BitLocker volume is damaged; another one is used.", "Nothing, if the volume opens.";
    BITLOCKER_VOLUME_REFUSED = "bitlocker-volume-refused", content, "A BitLocker volume is of a kind that is not read, or its metadata is damaged.", "`volfold mount --raw` gives the disks as they are.";
    LUKS_HEADER_DETACHED = "luks-header-detached", other, "The header of a LUKS volume lies on another disk of the set than its data, which were found by what the key opens.", "Nothing.";
    LUKS_HEADER_DAMAGED = "luks-header-damaged", other, "One of the two headers of a LUKS2 volume is damaged; the other one is used.", "Nothing is lost; `cryptsetup repair` on a copy writes the header anew.";
    LUKS_HEADERS_DIFFER = "luks-headers-differ", other, "The two headers of a LUKS2 volume are of two times; the newer one is used.", "Nothing: a change of the keys was not finished.";
    LUKS_SLOT_REFUSED = "luks-slot-refused", other, "A key slot of a LUKS volume is of a kind that is not read; the others are tried.", "Give the key of another slot; `cryptsetup luksDump` tells of all.";
    LUKS_VOLUME_REFUSED = "luks-volume-refused", content, "A LUKS volume is of a kind that is not read, or its header contradicts itself.", "`volfold attach`, then `cryptsetup open`.";
    LVM_LABEL_DAMAGED = "lvm-label-damaged", content, "The label of a physical volume of LVM2 is damaged; it is not used.", "Copy the image again; `pvcreate --uuid --restorefile` on a copy writes a new label.";
    LVM_LABEL_LEFT = "lvm-label-left", other, "A disk with partitions has a label of LVM2 before them; it is not used.", "Nothing: the disk was a physical volume as a whole before it was partitioned.";
    LVM_AREA_DAMAGED = "lvm-area-damaged", other, "A metadata area of a physical volume is damaged; the metadata of another one is used.", "Give all disks of the group, most have the metadata.";
    LVM_UPDATE_UNFINISHED = "lvm-update-unfinished", other, "A change of a volume group was not finished; the state before it is used.", "Nothing, if the image was made while the system was running.";
    LVM_NO_METADATA = "lvm-no-metadata", content, "A physical volume has no metadata that can be read, so that its group is not known.", "Give the other disks of the group.";
    LVM_NO_GROUP = "lvm-no-group", other, "A physical volume belongs to no volume group.", "Nothing: no volume lies on it.";
    LVM_SAME_NAME = "lvm-same-name", other, "Two volume groups have one name; they are kept apart by their ids.";
    LVM_COPIES_DIFFER = "lvm-copies-differ", content, "Physical volumes of one group have metadata of one change that differs.", "Give all disks of the group, and those of one machine only; what most of them have counts.";
    LVM_DUPLICATE_DISK = "lvm-duplicate-disk", content, "Two disks are the same physical volume; neither is used.", "Give only one of the two images.";
    LVM_FOREIGN_DISK = "lvm-foreign-disk", content, "A physical volume says it belongs to a group whose metadata does not know it.", "Nothing, if it was taken out of the group.";
    LVM_MISSING_DISK = "lvm-missing-disk", content, "A physical volume of a group is not in the set.", "Give its image with the others.";
    LVM_STALE_DISK = "lvm-stale-disk", content, "A physical volume is older than the others of its group.", "Give the images of all disks of one time.";
    LVM_VOLUME_DOUBTFUL = "lvm-volume-doubtful", content, "What is read of a logical volume may be old: a side is stale, not in sync, or cut short.", "Give the images of all disks of one time, and all of them.";
    LVM_VOLUME_REFUSED = "lvm-volume-refused", content, "A logical volume is of a kind that is not read, or its metadata contradicts itself.", "`volfold mount --raw` gives the disks as they are.";
    MD_SUPERBLOCK_DAMAGED = "md-superblock-damaged", content, "The superblock of a device of a Linux RAID (MD) is damaged; the device is not used.", "Copy the image again; the other devices of the array may be enough.";
    MD_SUPERBLOCK_LEFT = "md-superblock-left", other, "A disk with partitions has a superblock of MD that is not used.", "Nothing: it is that of the last partition, or the disk was a device of an array before it was partitioned.";
    MD_MISSING_DEVICE = "md-missing-device", content, "Devices of an MD array are not in the set.", "Give their images with the others.";
    MD_STALE_DEVICE = "md-stale-device", content, "A device is older than the others of its MD array, or had failed; it is not read.", "Give the images of all devices of one time.";
    MD_DUPLICATE_DEVICE = "md-duplicate-device", content, "Two images are the same device of an MD array; neither is used.", "Give only one of the two images.";
    MD_SPARE = "md-spare", other, "A device of an MD array holds nothing of it: a spare, one that failed, or a journal.", "Nothing, if the other devices are there.";
    MD_DEVICE_PARTIAL = "md-device-partial", content, "A device of an MD array was being rebuilt, has bad blocks, or its image ends early; what it lacks comes from the others.", "Nothing, while the array is healthy or degraded.";
    MD_VOLUME_DOUBTFUL = "md-volume-doubtful", content, "What is read of an MD array may be incomplete or old.", "Give the images of all devices, of one time.";
    MD_VOLUME_REFUSED = "md-volume-refused", content, "An MD array is of a kind or in a state that is not read, or its superblocks contradict each other.", "`volfold mount --raw` gives the disks as they are.";
    FIRMWARE_RAID = "firmware-raid", content, "A disk is a member of a RAID of firmware (Intel, DDF), which is not read.", "Start the array with mdadm, read-only, and make an image of the volume.";
    MACHINE_DISK_LEFT_OUT = "machine-disk-left-out", content, "The configuration of a machine names a disk that is no file here.", "Copy the disk into a file, and give it with the others.";
    IMAGE_BLOCKS_OVERLAP = "image-blocks-overlap", content, "The tables of an image name one place of the file for several places of the disk; these are errors.", "Copy the image again from its source, if there is one: at most one of the places is right.";
    BACKUP_BLOCKS_MISSING = "backup-blocks-missing", content, "A backup lacks blocks of a disk, because it is cut off or damaged; these are errors.", "Copy the backup again from its source, if there is one.";
    BACKUP_BLOCKS_REPEATED = "backup-blocks-repeated", content, "A backup has blocks of a disk more than once; these are errors.", "Copy the backup again from its source, if there is one: at most one of them is right.";
    BACKUP_SIZE_DOUBTFUL = "backup-size-doubtful", content, "A backup does not tell the size of a disk, or has blocks past it; those are not shown.", "Make the export again from its source, if there is one.";
    VMDK_CUT_SHORT = "vmdk-cut-short", content, "A stream-optimized VMDK has lost its end; reads past the cut are errors.", "Copy or download the image again.";
    VMDK_EXTENT_SHORT = "vmdk-extent-short", content, "An extent has fewer bytes than its descriptor says; what is missing is an error.", "Copy the extent again; the message has both sizes.";
    VMDK_EXTENT_LONG = "vmdk-extent-long", content, "The file of a flat extent has more bytes than the descriptor says; those are not shown.", "Correct the size in the descriptor, if the disk was extended; or open the flat file itself.";
    VMDK_EXTENT_LOST = "vmdk-extent-lost", content, "An extent of a split image is missing or damaged; its bytes are errors, the rest of the disk is shown.", "Put the file beside the image, or allow its folder with --allow-path.";
    VMDK_SIZES_DIFFER = "vmdk-sizes-differ", content, "The descriptor of a VMDK and the header of a sparse extent give different sizes; what only one of them has is not shown or is an error.", "Copy the image again from its source, if there is one.";
    VMDK_GRAIN_DIRECTORY_DAMAGED = "vmdk-grain-directory-damaged", content, "A grain directory and its copy contradict each other; the entries that are possible are used.", "Copy the image again from its source, if there is one.";
    VMDK_GRAIN_TABLE_DAMAGED = "vmdk-grain-table-damaged", content, "Entries of a grain table or of its copy are impossible; the others are used, and grains without one are errors.", "Copy the image again from its source, if there is one.";
    VMDK_GRAIN_TABLES_DIFFER = "vmdk-grain-tables-differ", content, "A grain table and its copy name different places; the grains in doubt are errors.", "Copy the image again from its source, if there is one.";
    VMDK_GRAINS_OVERLAP = "vmdk-grains-overlap", content, "Grains of a disk have the same place in the file; they are errors.", "Copy the image again from its source, if there is one.";
    VMDK_UNCLEAN_SHUTDOWN = "vmdk-unclean-shutdown", content, "A VMDK was not closed; its last writes may be missing.", "Start and shut down the machine, and copy the image again, if the last writes matter.";
    QCOW2_CORRUPT = "qcow2-corrupt", content, "A QCOW2 image is marked as corrupt: QEMU found its tables damaged.", "Compare what is read with another copy; `qemu-img check` on a copy of the image says what is wrong.";
    QCOW2_DIRTY = "qcow2-dirty", content, "A QCOW2 image was not closed, or is in use.", "Shut down the machine, and copy the image again, if the last writes matter.";
    QCOW2_SNAPSHOTS = "qcow2-snapshots", other, "The table of the snapshots of a QCOW2 image is damaged; the newest state does not need it.", "`qemu-img snapshot -l` on a copy of the image may show them.";
    PARALLELS_IN_USE = "parallels-in-use", content, "A Parallels image was not closed, or is in use.", "Shut down the machine, and copy the image again, if the last writes matter.";
    QED_NEEDS_CHECK = "qed-needs-check", content, "A QED image was not closed, or is in use.", "Shut down the machine, and copy the image again; `qemu-img check` on a copy says whether its tables are whole.";
    VHD_CHECKSUM = "vhd-checksum", content, "A structure of a VHD has a wrong checksum and no good copy; it is used as it is.", "Copy the image again, or compare what is shown with what you expect: some programs write wrong checksums.";
    VHD_FOOTER_DAMAGED = "vhd-footer-damaged", content, "The footer of a VHD is missing or damaged; its copy at the start of the file is used.", "The file may be cut off, or was in use: compare its size with the original, and copy it again.";
    VHD_FOOTER_COPY = "vhd-footer-copy", other, "The copy of the footer at the start of a VHD is damaged; the footer itself is used.", "Nothing is lost.";
    VHD_FOOTERS_DIFFER = "vhd-footers-differ", content, "The footer of a VHD and its copy differ; the footer is used.", "Compare what is shown with what you expect.";
    VHD_SIZES_DIFFER = "vhd-sizes-differ", content, "The file of a fixed VHD has more or fewer bytes than its footer says; more are not shown, missing ones are an error.", "Copy the image again, if it is cut off; else open a copy with --format raw to see all bytes.";
    VHD_SIZE_BY_GEOMETRY = "vhd-size-by-geometry", other, "A VHD has the size that its geometry gives, as Virtual PC shows it to its guests.", "Nothing: what lies past it was never seen by the guest.";
    VHD_PARENT_TIME = "vhd-parent-time", other, "The file of a VHD's parent was changed at another time than its child noted.", "Nothing, if the file was copied without its times; else the parent was written to after the snapshot, and what is shown is a mix.";
    VHDX_IDENTIFIER_DAMAGED = "vhdx-identifier-damaged", other, "The first bytes of a VHDX are damaged; it is known by its headers.", "Nothing is lost; copy the image again if there is a copy.";
    VHDX_HEADER_DAMAGED = "vhdx-header-damaged", content, "A header of a VHDX is damaged; the other one is used, which may be older.", "Copy the image again from its source, if there is one.";
    VHDX_REGION_TABLE_DAMAGED = "vhdx-region-table-damaged", other, "A region table of a VHDX is damaged; the other one is used.", "Nothing is lost.";
    VHDX_LOG_REPLAYED = "vhdx-log-replayed", other, "The log of a VHDX was applied in memory.";
    VHDX_LOG_TORN = "vhdx-log-torn", content, "The log of a VHDX ends with an entry that is not whole; it is not applied.", "The host crashed while it wrote, or the image is damaged: the last changes may be missing.";
    VHDX_FILE_SHORT = "vhdx-file-short", content, "The file of a VHDX is shorter than its log says; what is missing is taken as zeros, as the format wants it.", "The host crashed while the file grew, or the image is cut off: compare its size with the original.";
    EWF_CUT_SHORT = "ewf-cut-short", content, "A file of an EWF image ends before its last section does; chunks whose table is lost are errors.", "Copy the image again; the message has the size that is there.";
    EWF_SECTION_DAMAGED = "ewf-section-damaged", content, "A section of an EWF image is damaged, or contradicts another one.", "Copy the image again from its source, if there is one; what the damage reaches is an error.";
    EWF_COPY_USED = "ewf-copy-used", other, "A table of an EWF image, or the section with the shape of the disk, is damaged in one of its two copies; the other is used.", "Nothing is lost; copy the image again if there is a copy.";
    EWF_TABLE_LOST = "ewf-table-lost", content, "A table of an EWF image and its copy are damaged; the bytes of the disk whose place it told are errors.", "Copy the image again from its source, if there is one.";
    EWF_READ_ERRORS = "ewf-read-errors", content, "Sectors could not be read when an EWF image was made, and are zeros in it.", "Only the source has them, if it can still be read.";
    DMG_GAP = "dmg-gap", content, "The tables of a DMG do not tell of all of its disk; what they leave out is an error.", "Copy the image again from its source, if there is one.";
    DMG_SIZES_DIFFER = "dmg-sizes-differ", content, "The tables of a DMG tell of more bytes than its trailer says the disk has; those are not shown.", "Copy the image again from its source, if there is one.";
    NTFS_BOOT = "ntfs-boot", other, "The boot sector of an NTFS volume is damaged; its copy is used.", "`chkdsk` on a copy repairs it.";
    NTFS_BITMAP = "ntfs-bitmap", content, "Clusters of a file on NTFS are free by $Bitmap.", "They may have been overwritten by another file; `chkdsk` on a copy of the disk mends the bitmap.";
    NTFS_BOOT_COPIES_DIFFER = "ntfs-boot-copies-differ", content, "The boot sector of an NTFS volume and its copy give different places.", "Compare some files with what you know of them: if they are wrong, so is the boot sector that was used.";
    NTFS_CROSS_LINK = "ntfs-cross-link", content, "Two files on NTFS share clusters.", "At most one of them is right: compare both with another copy.";
    NTFS_DIRECTORY_FLAG = "ntfs-directory-flag", content, "A file record of NTFS and a name of it do not agree whether it is a directory.", "Look whether what is shown is what you expect.";
    NTFS_EXTENSION = "ntfs-extension", content, "A part of a file record of NTFS cannot be read.", "The bytes whose place it told are errors, the rest is read.";
    NTFS_LOST_CLUSTERS = "ntfs-lost-clusters", other, "Clusters of an NTFS volume are marked as used and belong to no file.", "They may hold files whose records were lost; a carving tool finds them.";
    NTFS_MIRROR_DIFFERS = "ntfs-mirror-differs", content, "The first file records of an NTFS volume differ from their copy in $MFTMirr.", "The table itself is used; `chkdsk` on a copy of the disk makes the two the same.";
    NTFS_NAME = "ntfs-name", content, "A directory on NTFS names a file or directory that does not have that name.", "The name leads nowhere; look for the file or directory under its own name.";
    NTFS_RECORD = "ntfs-record", content, "A file record of NTFS cannot be read.", "The file is missing or refused; `chkdsk` on a copy of the disk may mend it.";
    NTFS_REPARSE = "ntfs-reparse", content, "A file on NTFS is marked as a reparse point and is none, or the reverse.", "Where the mark alone is there the file is refused: its bytes are elsewhere.";
    NTFS_SIZES = "ntfs-sizes", content, "The sizes that NTFS records of a file contradict each other.", "The file is read by its size; its end may be missing or zeros.";
    NTFS_SPARSE = "ntfs-sparse", content, "A file on NTFS has a hole and is not marked as sparse.", "The hole is refused: bytes may be missing there.";
    NTFS_DIRTY = "ntfs-dirty", content, "An NTFS volume was not closed cleanly; its log is not replayed.", "Shut Windows down (not hibernate) before the image is made, if the last changes matter.";
    NTFS_LABEL = "ntfs-label", other, "The label of an NTFS volume cannot be read.";
    NTFS_MIRROR = "ntfs-mirror", other, "A file record of an NTFS volume is taken from $MFTMirr.";
    NTFS_TRUNCATED = "ntfs-truncated", content, "An NTFS volume is larger than what holds it; what is missing is an error.", "The image or partition is cut off: compare its size with the disk, and copy it again.";
    NTFS_UPCASE = "ntfs-upcase", other, "The upper-case table of an NTFS volume cannot be read; names are compared by a table of ours.";
    FAT_BACKUP_BOOT = "fat-backup-boot", other, "The boot sector of a FAT32 volume is damaged; its copy is used.", "The volume is read by the copy; `fsck.fat` on a copy of the image writes the boot sector anew.";
    FAT_BOOT_COPIES_DIFFER = "fat-boot-copies-differ", content, "The boot sector of a FAT32 volume and its copy give different places.", "Compare some files with what you know of them: if they are wrong, so is the boot sector that was used.";
    DELETED_FILES = "deleted-files", other, "Deleted files of a volume are shown.", "What is in them is what lies in their place now: their clusters are free, but may have been used and freed since. Compare what matters with a copy from elsewhere.";
    DELETED_FILES_LEFT_OUT = "deleted-files-left-out", content, "A volume has more deleted files than are shown.";
    JOURNAL_LEFT_OUT = "journal-left-out", other, "A volume that was not unmounted is shown without its journal, because that was asked for (`--as-is`).", "Without `--as-is` the journal is applied in memory.";
    FAT_GEOMETRY = "fat-geometry", content, "The numbers in the boot sector of a FAT volume do not fit each other.", "Compare some files with what you know of them: if they are wrong, so is the boot sector.";
    FAT_TABLES_DIFFER = "fat-tables-differ", content, "The two file allocation tables of a FAT volume differ.", "Where one entry was impossible the other was used; where both were possible the bytes are refused. Compare the files that are named with another copy.";
    FAT_TABLE_COPY = "fat-table-copy", other, "One of the two file allocation tables of a FAT volume cannot be read; the other is used.", "Nothing is missing; image the disk again if you can.";
    FAT_CHAIN_LONG = "fat-chain-long", content, "The cluster chain of a file on FAT is longer than the file, or has no end mark.", "Bytes that belonged to the file may lie after its end; `fsck.fat` on a copy of the image cuts them off.";
    FAT_CHAIN_SHORT = "fat-chain-short", content, "The cluster chain of a file or directory on FAT ends too early.", "What the chain has is read, the rest is an error; look for the rest with a carving tool.";
    FAT_CROSS_LINK = "fat-cross-link", content, "Two files or directories on FAT share clusters.", "The first that was read is given, the shared part of the other is refused. At most one of them is right: compare both with another copy.";
    FAT_DIRECTORY = "fat-directory", content, "A directory on FAT does not agree with the entry that leads to it.", "Look whether the names in it are those that you expect.";
    FAT_LONG_NAME = "fat-long-name", content, "The long name of a file on FAT does not fit its short name, which is shown in its place.", "Old programs that do not know long names leave such entries; else the directory is damaged.";
    FAT_NAME = "fat-name", content, "An entry of a directory on FAT has a blank name, or that of another entry; it is shown under a name of its own.", "Compare both files: the directory is damaged, or was made to hide one of them.";
    FAT_LOST_CLUSTERS = "fat-lost-clusters", other, "Clusters of a FAT volume are marked as used and belong to no file.", "They may hold files whose entries were lost; a carving tool finds them.";
    FAT_DIRTY = "fat-dirty", other, "A FAT volume was not closed cleanly.";
    FAT_ROOT = "fat-root", content, "The root directory of a FAT volume cannot be read.", "`fsck.fat` on a copy can find lost files.";
    FAT_TABLE = "fat-table", content, "The file allocation table of a FAT volume cannot be read.", "`fsck.fat` on a copy can use the second table.";
    FAT_TRUNCATED = "fat-truncated", content, "A FAT volume is larger than what holds it; what is missing is an error.", "The image or partition is cut off: compare its size with the disk, and copy it again.";
    EXFAT_BACKUP_BOOT = "exfat-backup-boot", other, "The boot region of an exFAT volume is damaged; its backup is used.", "`fsck.exfat` on a copy of the image writes it anew. Whether the volume was closed cleanly may not be known.";
    EXFAT_BITMAP = "exfat-bitmap", content, "The allocation bitmap of an exFAT volume is damaged, or clusters of a file are free by it.", "They may have been overwritten by another file; compare the newest files with a copy from elsewhere.";
    EXFAT_BOOT_CHECKSUM = "exfat-boot-checksum", content, "Both boot regions of an exFAT volume have a bad checksum; the first is used as it is.", "Compare some files with what you know of them: if they are wrong, so is the boot sector.";
    EXFAT_BOOT_DIFFERS = "exfat-boot-differs", content, "The boot region of an exFAT volume has a bad checksum, and another layout than its backup, which is used.", "Compare some files with what you know of them: if they are old or wrong, the damaged region is the right one.";
    EXFAT_BOOT_COPY = "exfat-boot-copy", other, "The backup boot region of an exFAT volume is damaged, or another than the first.", "Nothing that is read depends on it; `fsck.exfat` on a copy of the image makes it anew.";
    EXFAT_CHAIN_LONG = "exfat-chain-long", content, "The cluster chain of a file on exFAT is longer than the file, or has no end mark.", "Bytes that belonged to the file may lie after its end; `fsck.exfat` on a copy of the image cuts them off.";
    EXFAT_CHAIN_SHORT = "exfat-chain-short", content, "The clusters of a file or directory on exFAT end too early.", "What is there is read, the rest is an error; look for the rest with a carving tool.";
    EXFAT_CROSS_LINK = "exfat-cross-link", content, "Two files or directories on exFAT share clusters.", "The first that was read is given, the shared part of the other is refused. At most one of them is right: compare both with another copy.";
    EXFAT_DIRECTORY = "exfat-directory", content, "A directory on exFAT is damaged, or contradicts the entry that leads to it.", "What can be listed is listed; `fsck.exfat -n` on a copy of the image says more.";
    EXFAT_ENTRY_SET = "exfat-entry-set", content, "The entries of a file on exFAT are damaged, so that it is not listed.", "The finding has its name, as far as it is left; `fsck.exfat -n` on a copy of the image says more.";
    EXFAT_LOST_CLUSTERS = "exfat-lost-clusters", other, "Clusters of an exFAT volume are marked as used and belong to no file.", "They may hold files whose entries were lost; a carving tool finds them.";
    EXFAT_MEDIA_FAILURE = "exfat-media-failure", content, "An exFAT volume is marked as one whose disk failed while it was used.", "What its system could not write then is missing; compare the newest files with a copy from elsewhere.";
    EXFAT_NAME = "exfat-name", content, "A name on exFAT does not have the hash that is recorded, or stands twice in its directory.", "Windows may not find such a file, or another one; both are listed here.";
    EXFAT_SIZES = "exfat-sizes", content, "The sizes that exFAT records of a file contradict each other.", "The file is refused, for its end is not known; `fsck.exfat` on a copy of the image chooses one.";
    EXFAT_DIRTY = "exfat-dirty", other, "An exFAT volume was not closed cleanly.";
    EXFAT_ROOT = "exfat-root", content, "The root directory of an exFAT volume cannot be read, or is damaged.", "`fsck.exfat` on a copy can find lost files.";
    EXFAT_TRUNCATED = "exfat-truncated", content, "An exFAT volume is larger than what holds it; what is missing is an error.", "The image or partition is cut off: compare its size with the disk, and copy it again.";
    EXFAT_UPCASE = "exfat-upcase", other, "The up-case table of an exFAT volume is damaged; only names in ASCII are found in another case.";
    EXT4_BACKUP_DAMAGED = "ext4-backup-damaged", other, "A backup of the superblock of an ext volume is damaged.", "Nothing that is read depends on it; a mount for writing or `e2fsck` makes it anew.";
    EXT4_BACKUP_DESCRIPTORS = "ext4-backup-descriptors", other, "Group descriptors of an ext volume are damaged; their copies are used.", "Copy what you need off the volume; `e2fsck -b` on a copy of the image repairs the descriptors.";
    EXT4_BACKUP_SUPERBLOCK = "ext4-backup-superblock", other, "The superblock of an ext volume is damaged; a backup is used.", "`e2fsck` on a copy repairs it.";
    EXT4_BITMAP = "ext4-bitmap", content, "Blocks or inodes of an ext volume are in use and marked as free.", "They may have been given to another file meanwhile; compare those files with a copy from elsewhere.";
    EXT4_BLOCK_COUNT = "ext4-block-count", content, "A file on an ext volume counts other blocks than its map has.", "Parts of it may read as zeros or belong to another file; compare it with a copy from elsewhere.";
    EXT4_BLOCK_TWICE = "ext4-block-twice", content, "A block of an ext volume is claimed twice.", "Only one of the claims can be right; compare those files with a copy from elsewhere.";
    EXT4_NAME_TWICE = "ext4-name-twice", content, "A directory of an ext volume has a name twice; by its path one of the two is read.", "`e2fsck` on a copy of the image renames one; `ls --json -R` lists both.";
    EXT4_SUPERBLOCK_GONE = "ext4-superblock-gone", content, "Nothing is left where the superblock of an ext volume was, and a backup is used; the volume may have held something else since.", "Compare what is shown with what you expect: files that were overwritten since read as other bytes.";
    EXT4_CUT_SHORT = "ext4-cut-short", content, "An ext volume is larger than what holds it; what is missing is an error.", "The image or partition is cut off: compare its size with the disk, and copy it again.";
    EXT4_ERRORS = "ext4-errors", content, "An ext volume is marked as having errors.", "`e2fsck -fn` on `volfold attach` shows what is wrong.";
    EXT4_DIRECTORY_CONTRADICTION = "ext4-directory-contradiction", content, "A directory of an ext volume says of itself, or of the directory that it lies in, something that is not so.", "Its names may be those of another directory; `e2fsck -n` on a copy of the image says more.";
    EXT4_DIRECTORY_TWICE = "ext4-directory-twice", content, "A directory of an ext volume has a second name.", "It is entered by the name that its own `..` entry agrees with; the other name is refused once both were seen.";
    EXT4_ENTRY_TYPE = "ext4-entry-type", content, "A name on an ext volume is recorded as another type of file than its inode is.", "The inode may belong to another file by now; compare the content with a copy from elsewhere.";
    EXT4_FAST_COMMITS_NOT_REPLAYED = "ext4-fast-commits-not-replayed", content, "Fast commits in the journal of an ext volume were not applied; the newest changes may be missing.", "Mount a copy of the image with Linux, or run `e2fsck` on it, to have them applied.";
    EXT4_GROUP_DESCRIPTORS = "ext4-group-descriptors", content, "Block groups of an ext volume have damaged descriptors.", "`e2fsck` on a copy repairs them.";
    EXT4_HASH_TREE = "ext4-hash-tree", other, "The tree by which names of a directory on an ext volume are found is damaged; names are searched one by one.", "Every name that is there is still found; `e2fsck -D` on a copy makes the tree anew.";
    EXT4_INODE_UNUSED = "ext4-inode-unused", content, "A name on an ext volume leads to an inode that is deleted or was never used.", "The file is lost or was being deleted; a backup may have it.";
    EXT4_JOURNAL_DAMAGED = "ext4-journal-damaged", content, "The journal of an ext volume is damaged; changes after the damage may be missing.", "`e2fsck` on a copy shows what is left of it.";
    EXT4_JOURNAL_EMPTY = "ext4-journal-empty", content, "An ext volume was not unmounted, and its journal holds nothing to apply; the newest changes may be missing.", "A volume that was idle when its image was made looks like this, and so does a damaged journal: compare the newest files with the owner's.";
    EXT4_JOURNAL_NOT_REPLAYED = "ext4-journal-not-replayed", content, "The journal of an ext volume was not applied; the newest changes may be missing.", "Give the disk of the journal as well, or mount the volume once on a copy.";
    EXT4_LINK_COUNT = "ext4-link-count", content, "An inode of an ext volume has more or fewer names than it says.", "Names may be lost; `debugfs` shows inodes that have none.";
    EXT4_METADATA_DAMAGED = "ext4-metadata-damaged", content, "A structure of an ext volume is damaged or has a bad checksum.", "What it describes is refused; `e2fsck` on a copy of the image may bring some of it back.";
    EXT4_SPACE_LOST = "ext4-space-lost", other, "Blocks or inodes of an ext volume are marked as in use, and nothing uses them.", "Nothing that has a name depends on it.";
    EXT4_JOURNAL_REPLAYED = "ext4-journal-replayed", other, "The journal of an ext volume was applied in memory.";
    EXT4_UNKNOWN_FEATURES = "ext4-unknown-features", other, "An ext volume has features that are newer than this program and that a reader need not know.", "What is shown can be read all the same; a newer version may know more.";
    XFS_BACKUP_SUPERBLOCK = "xfs-backup-superblock", other, "The superblock of an XFS volume is damaged; that of another allocation group is used.", "`xfs_repair` on a copy of the image repairs it.";
    XFS_CUT_SHORT = "xfs-cut-short", content, "An XFS volume is larger than what holds it; what is missing is an error.", "The image or partition is cut off: compare its size with the disk, and copy it again.";
    XFS_DIRECTORY_CONTRADICTION = "xfs-directory-contradiction", content, "A directory of an XFS volume says that it lies in another directory than it was found in.", "Its names may be those of another directory; `xfs_repair -n` on a copy of the image says more.";
    XFS_DIRECTORY_INDEX = "xfs-directory-index", content, "The names of a directory of an XFS volume of version 4, which has no checksums, are not those of its index: one of both is damaged.", "Names may be wrong; `xfs_repair -n` on a copy of the image says more.";
    XFS_DIRECTORY_TWICE = "xfs-directory-twice", content, "A directory of an XFS volume has a second name.", "It is entered by the name that its own `..` entry agrees with; the other name is refused once both were seen.";
    XFS_ENTRY_TYPE = "xfs-entry-type", content, "A name on an XFS volume is recorded as another type of file than its inode is.", "The inode may belong to another file by now; compare the content with a copy from elsewhere.";
    XFS_INODE_UNUSED = "xfs-inode-unused", content, "A name on an XFS volume leads to an inode that is deleted or was never used.", "The file is lost or was being deleted; a backup may have it.";
    XFS_LOG_DAMAGED = "xfs-log-damaged", content, "The log of an XFS volume is damaged; changes after the damage may be missing.", "`xfs_logprint` on `volfold attach` shows what is left of it.";
    XFS_LOG_NOT_REPLAYED = "xfs-log-not-replayed", content, "The log of an XFS volume was not applied; the newest changes may be missing.", "Give the disk of the log as well, or mount the volume once on a copy.";
    XFS_LOG_REPLAYED = "xfs-log-replayed", other, "The log of an XFS volume was applied in memory.";
    XFS_LOG_TORN = "xfs-log-torn", content, "The last records of the log of an XFS volume were not written as a whole when its machine stopped; they are not applied, and files may be older.", "Linux leaves the same records out; copy the image again if the machine was running meanwhile.";
    XFS_LOG_UNFINISHED = "xfs-log-unfinished", content, "The log of an XFS volume begins a change to a file that it does not end; the file is refused.", "Mount a copy of the image once with Linux, which ends the change.";
    XFS_NEEDS_REPAIR = "xfs-needs-repair", content, "An XFS volume is marked as in need of `xfs_repair`.", "Run `xfs_repair` on a copy of the image, and compare the files that it names.";
    XFS_SUPERBLOCK_UNCONFIRMED = "xfs-superblock-unconfirmed", content, "The superblock of an XFS volume of version 4 has no checksum, and that of the second group, which should say the same, cannot be read.", "`xfs_repair -n` on a copy of the image says more.";
    HIVE_CUT_SHORT = "hive-cut-short", content, "A registry hive of Windows is larger than its file; what is missing is an error.", "The file or the image is cut off: copy it again.";
    HIVE_DIRTY = "hive-dirty", content, "A registry hive of Windows was not closed cleanly, and no log of it could be applied; the newest changes may be missing.", "A Windows that was running when its image was made leaves hives like this; the logs lie beside the hive, with `.LOG1` and `.LOG2` in their names.";
    HIVE_HEADER_DAMAGED = "hive-header-damaged", content, "The base block of a registry hive of Windows has a bad checksum, and is used all the same.", "Compare what is shown with another copy of the hive, as Windows keeps in `System32\\config\\RegBack`.";
    HIVE_LOG_APPLIED = "hive-log-applied", other, "The newest changes of a registry hive of Windows were in its log, and were applied in memory.";
    HIVE_LOG_DAMAGED = "hive-log-damaged", content, "A log of a registry hive of Windows is damaged, or does not follow what was applied; changes after that may be missing.", "A power cut while the log was written looks like this; else copy the image again.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_are_lower_case_words() {
        let mut seen = std::collections::HashSet::new();
        for entry in ALL {
            let code = entry.code;
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert!(
                code.as_str().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            );
            assert!(entry.meaning.ends_with('.') && code.meaning() == entry.meaning);
            assert!(entry.advice.is_empty() || entry.advice.ends_with('.'));
        }
    }
}
