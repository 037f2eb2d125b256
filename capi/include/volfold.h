/*
 * volfold for C: sets of disk images, their volumes, and the files in them.
 *
 * docs/C.md says how it is used. In short:
 *
 * Every function that can fail returns a VolfoldStatus and gives its result by a pointer; on failure a
 * result is NULL or 0. volfold_error_message() says why the last call of the same thread failed.
 *
 * Handles (VolfoldSet and others) are closed by the function of their kind. They are numbers and no
 * addresses: one that is closed, of another kind, or was never given is refused with
 * VOLFOLD_STATUS_INVALID_HANDLE. Structs that are given out (pointers to const) are freed by
 * volfold_free(). They begin with their size, and later versions may append fields: one is there if
 * VOLFOLD_HAS(pointer, field).
 *
 * All functions may be called on any thread at any time, also with the same handle. What is closed while
 * a call on it runs ends with that call.
 *
 * Text is UTF-8 and ends in NUL. Paths of the host are bytes, UTF-8 on Windows. Names and paths in
 * volumes are bytes with their length, or VOLFOLD_NUL_TERMINATED in the place of it.
 *
 * Made by cbindgen of the crate volfold-capi.
 *
 * Licensed under Apache-2.0 or MIT, at your choice.
 */

#ifndef VOLFOLD_H
#define VOLFOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the struct at `pointer` has `field`, which it need not in earlier versions. */
#define VOLFOLD_HAS(pointer, field) \
    ((pointer)->struct_size >= \
     (size_t)((const char *)(&(pointer)->field + 1) - (const char *)(pointer)))

/* In the place of a length: the text ends in NUL. */
#define VOLFOLD_NUL_TERMINATED SIZE_MAX



// volfold_options_add_key(): text that a person knows, UTF-8.
#define VOLFOLD_KEY_PASSWORD 0

// volfold_options_add_key(): a long number that was written down.
#define VOLFOLD_KEY_RECOVERY 1

// volfold_options_add_key(): the bytes of a key file.
#define VOLFOLD_KEY_FILE 2

// VolfoldStat.known: `created` is.
#define VOLFOLD_KNOWS_CREATED 1

// VolfoldStat.known: `uid`, `gid` and `mode` are.
#define VOLFOLD_KNOWS_OWNER 2

// VolfoldStat.known: `device_major` and `device_minor` are.
#define VOLFOLD_KNOWS_DEVICE 4

// VolfoldStat.known: `attributes` are.
#define VOLFOLD_KNOWS_ATTRIBUTES 8

// The number of the interface: it grows when a program has to be compiled anew. Functions that are
// added, and structs that grow at their end, do not change it.
#define VOLFOLD_ABI_VERSION 1

// How a call ended. Later versions may have more.
enum VolfoldStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It was done.
    VOLFOLD_STATUS_OK = 0,
    // There are no more entries. No error: nothing is kept for volfold_error_message().
    VOLFOLD_STATUS_END = 1,
    // Images of the set cannot be opened, or volumes not be mounted; the rest is there.
    VOLFOLD_STATUS_INCOMPLETE = 2,
    // An argument is NULL, no text, out of range, or otherwise cannot be meant.
    VOLFOLD_STATUS_INVALID_ARGUMENT = 10,
    // A handle is not open, is of another kind, or never was a handle.
    VOLFOLD_STATUS_INVALID_HANDLE = 11,
    // There is no memory, or too many handles are open.
    VOLFOLD_STATUS_OUT_OF_MEMORY = 12,
    // The host could not read. A second try may help.
    VOLFOLD_STATUS_IO = 20,
    // The bytes contradict their format.
    VOLFOLD_STATUS_CORRUPT = 21,
    // The bytes are fine, and this version cannot read them.
    VOLFOLD_STATUS_UNSUPPORTED = 22,
    // A read outside of the disk, volume or file.
    VOLFOLD_STATUS_OUT_OF_RANGE = 23,
    // Another file or disk is needed.
    VOLFOLD_STATUS_MISSING_PART = 24,
    // Policy forbids it, or the volume is locked.
    VOLFOLD_STATUS_REFUSED = 25,
    // The content is encrypted, and no key is known.
    VOLFOLD_STATUS_ENCRYPTED = 26,
    // The content is stored in a form that is not read, or not on the volume at all;
    // volfold_error_code() says in which.
    VOLFOLD_STATUS_UNDECODABLE = 27,
    // The program stopped the work, by its VolfoldProgressFn.
    VOLFOLD_STATUS_STOPPED = 28,
    // There is no such file, volume or stream.
    VOLFOLD_STATUS_NOT_FOUND = 30,
    // A directory was needed.
    VOLFOLD_STATUS_NOT_A_DIRECTORY = 31,
    // A file was needed.
    VOLFOLD_STATUS_IS_A_DIRECTORY = 32,
    // A link was needed.
    VOLFOLD_STATUS_NOT_A_LINK = 33,
    // No name can look like this.
    VOLFOLD_STATUS_INVALID_NAME = 34,
    // The program volfold, which mounts, was not found or could not be started.
    VOLFOLD_STATUS_NO_PROGRAM = 40,
    // The program volfold did not mount, or not free the folder.
    VOLFOLD_STATUS_PROGRAM_FAILED = 41,
    // A fault of the library; please report it.
    VOLFOLD_STATUS_INTERNAL = 50,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldStatus VolfoldStatus;
#else
typedef int32_t VolfoldStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a file is.
enum VolfoldFileKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A regular file.
    VOLFOLD_FILE_KIND_REGULAR = 0,
    // A directory.
    VOLFOLD_FILE_KIND_DIRECTORY = 1,
    // A symbolic link, or a junction.
    VOLFOLD_FILE_KIND_SYMLINK = 2,
    // A character device node.
    VOLFOLD_FILE_KIND_CHAR_DEVICE = 3,
    // A block device node.
    VOLFOLD_FILE_KIND_BLOCK_DEVICE = 4,
    // A named pipe.
    VOLFOLD_FILE_KIND_FIFO = 5,
    // A Unix socket.
    VOLFOLD_FILE_KIND_SOCKET = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldFileKind VolfoldFileKind;
#else
typedef uint32_t VolfoldFileKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a run of bytes is.
enum VolfoldExtentKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Bytes that have to be read.
    VOLFOLD_EXTENT_KIND_DATA = 0,
    // Bytes that read as zero and take no place.
    VOLFOLD_EXTENT_KIND_ZERO = 1,
    // Bytes of a file that will be refused.
    VOLFOLD_EXTENT_KIND_UNREADABLE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldExtentKind VolfoldExtentKind;
#else
typedef uint32_t VolfoldExtentKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What is done at the moment. Later versions may have more.
enum VolfoldStage
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Images are opened; counts images, and files of folders.
    VOLFOLD_STAGE_IMAGES = 0,
    // Partition tables and volume managers are read; counts disks.
    VOLFOLD_STAGE_DISKS = 1,
    // File systems are identified; counts volumes.
    VOLFOLD_STAGE_VOLUMES = 2,
    // Volumes are looked into for systems; counts volumes.
    VOLFOLD_STAGE_SYSTEMS = 3,
    // Something else.
    VOLFOLD_STAGE_OTHER = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldStage VolfoldStage;
#else
typedef uint32_t VolfoldStage;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a finding matters.
enum VolfoldSeverity
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Odd, and all is readable.
    VOLFOLD_SEVERITY_INFO = 0,
    // Something is damaged or doubtful.
    VOLFOLD_SEVERITY_WARNING = 1,
    // Something cannot be read.
    VOLFOLD_SEVERITY_ERROR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldSeverity VolfoldSeverity;
#else
typedef uint32_t VolfoldSeverity;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A kind of system.
enum VolfoldFamily
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Windows NT and what came after it.
    VOLFOLD_FAMILY_WINDOWS = 1,
    // Linux.
    VOLFOLD_FAMILY_LINUX = 2,
    // FreeBSD and its relatives.
    VOLFOLD_FAMILY_BSD = 5,
    // Another one.
    VOLFOLD_FAMILY_OTHER = 255,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldFamily VolfoldFamily;
#else
typedef uint32_t VolfoldFamily;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where a volume comes from.
enum VolfoldVolumeType
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A partition of an MBR.
    VOLFOLD_VOLUME_TYPE_BASIC = 0,
    // A partition of a GPT.
    VOLFOLD_VOLUME_TYPE_GPT = 1,
    // A volume of a group of Windows dynamic disks.
    VOLFOLD_VOLUME_TYPE_DYNAMIC = 2,
    // A disk without partitions.
    VOLFOLD_VOLUME_TYPE_WHOLE_DISK = 3,
    // A logical volume of an LVM2 volume group.
    VOLFOLD_VOLUME_TYPE_LOGICAL = 4,
    // A volume as it was, of which Windows kept what was written since (VSS).
    VOLFOLD_VOLUME_TYPE_SHADOW_COPY = 5,
    // What an encrypted partition or volume holds.
    VOLFOLD_VOLUME_TYPE_ENCRYPTED = 6,
    // An array of Linux software RAID (MD).
    VOLFOLD_VOLUME_TYPE_RAID = 7,
    // Something that this version of the interface has no number for.
    VOLFOLD_VOLUME_TYPE_OTHER = 255,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldVolumeType VolfoldVolumeType;
#else
typedef uint32_t VolfoldVolumeType;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Whether all parts of a volume are there.
enum VolfoldHealth
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // All parts are there.
    VOLFOLD_HEALTH_HEALTHY = 0,
    // Parts are missing, all bytes can be had.
    VOLFOLD_HEALTH_DEGRADED = 1,
    // Parts are missing and with them bytes.
    VOLFOLD_HEALTH_FAILED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum VolfoldHealth VolfoldHealth;
#else
typedef uint32_t VolfoldHealth;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A directory that is being listed, or a tree that is being walked. An opaque handle, and no address.
typedef struct VolfoldDirectory VolfoldDirectory;

// An open file. An opaque handle, and no address.
typedef struct VolfoldFile VolfoldFile;

// Options of a set. An opaque handle, and no address.
typedef struct VolfoldOptions VolfoldOptions;

// A set of disk images. An opaque handle, and no address.
typedef struct VolfoldSet VolfoldSet;

// A volume of a set. An opaque handle, and no address.
typedef struct VolfoldVolume VolfoldVolume;

// Bytes of text. NULL where there is none; else a NUL follows, which is not counted. Names that come
// from images need not be UTF-8, and may hold NUL.
typedef struct {
    // The bytes.
    const char *bytes;
    // How many, without the NUL.
    size_t length;
} VolfoldText;

// A point in time, UTC.
typedef struct {
    // Seconds since 1970-01-01T00:00:00Z; negative before.
    int64_t seconds;
    // Nanoseconds in that second.
    uint32_t nanoseconds;
    // 0.
    uint32_t reserved;
} VolfoldTime;

// What is known of a file without its content.
typedef struct {
    // The size of this struct in bytes: set by the program before volfold_stat(), which writes no more.
    size_t struct_size;
    // The file system's own number of the file.
    uint64_t node;
    // Tells two files apart that had the same number at different times; 0 where unknown.
    uint64_t generation;
    // The size of the content in bytes; of a link's target for links.
    uint64_t size;
    // The bytes that the content takes on the volume.
    uint64_t allocated;
    // Last change of the content.
    VolfoldTime modified;
    // Last read of the content.
    VolfoldTime accessed;
    // Last change of the metadata.
    VolfoldTime changed;
    // Creation.
    VolfoldTime created;
    // What it is.
    VolfoldFileKind kind;
    // How many names it has.
    uint32_t links;
    // Which of the fields below, and of `created`, are known: VOLFOLD_KNOWS_...
    uint32_t known;
    // User number.
    uint32_t uid;
    // Group number.
    uint32_t gid;
    // Permission bits.
    uint32_t mode;
    // Major number of a device node.
    uint32_t device_major;
    // Minor number of a device node.
    uint32_t device_minor;
    // DOS attributes, as FAT and NTFS write them.
    uint32_t attributes;
    // How reads of the content will end, where that is known; else VOLFOLD_STATUS_OK.
    VolfoldStatus unreadable;
} VolfoldStat;

// An entry of a directory, or of a tree.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // VOLFOLD_STATUS_OK; else why `path`, a directory or an entry of one, cannot be read.
    VolfoldStatus status;
    // What it is; of no meaning with another status.
    VolfoldFileKind kind;
    // The file system's own number of it.
    uint64_t node;
    // Its name, the last part of its path.
    VolfoldText name;
    // Its path from the root of the volume on, below the path that was given.
    VolfoldText path;
    // With another status, why, as a sentence; else NULL.
    VolfoldText message;
    // What else is known of it; NULL with another status.
    const VolfoldStat *stat;
} VolfoldEntry;

// A disk of a set.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // The size of the virtual disk in bytes.
    uint64_t size;
    // The size of a logical sector in bytes.
    uint32_t sector_size;
    // The image as it was named.
    VolfoldText path;
    // The id of its format.
    VolfoldText format;
    // The format's name for the variant; may be NULL.
    VolfoldText variant;
    // The id of the partition scheme; NULL without partitions.
    VolfoldText partition_scheme;
    // How many files the snapshot chain has.
    size_t chain_count;
    // The files of the snapshot chain, the given image first.
    const VolfoldText *chain;
    // How many files of the host the disk is made of.
    size_t file_count;
    // Their paths.
    const VolfoldText *files;
} VolfoldDiskInfo;

// A run of bytes of one kind.
typedef struct {
    // How many bytes from the offset asked for; at least 1.
    uint64_t length;
    // What they are.
    VolfoldExtentKind kind;
    // With VOLFOLD_EXTENT_KIND_UNREADABLE, how reads of them end; else VOLFOLD_STATUS_OK.
    VolfoldStatus status;
} VolfoldExtent;

// A list of texts.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // How many there are.
    size_t count;
    // The texts.
    const VolfoldText *items;
} VolfoldTextList;

// A stream of a file beside its main one.
typedef struct {
    // Its name.
    VolfoldText name;
    // Its size in bytes.
    uint64_t size;
} VolfoldStream;

// The streams of a file beside its main one.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // How many there are.
    size_t count;
    // The streams.
    const VolfoldStream *items;
} VolfoldStreamList;

// A volume that is mounted.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // Its id.
    VolfoldText id;
    // The name of its folder.
    VolfoldText name;
    // How many paths it has.
    size_t path_count;
    // Its folder, then what else programs may call it.
    const VolfoldText *paths;
} VolfoldMountedVolume;

// What was mounted.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // The folder.
    VolfoldText folder;
    // The log of the process that serves it; may be NULL.
    VolfoldText log;
    // What the program said of what is missing or odd, in lines; empty if nothing.
    VolfoldText talk;
    // How many volumes are mounted.
    size_t volume_count;
    // The volumes.
    const VolfoldMountedVolume *const *volumes;
} VolfoldMount;

// Told that `done` of `total` are done; `total` may grow, and is UINT64_MAX where it is not known. Returns
// whether to go on.
//
// It is called on the thread that called volfold_set_open() or volfold_set_systems(), during that call:
// before each image, disk and volume, at the end of each stage, and while one of them takes long, some ten
// times a second. `context` is that of volfold_options_set_progress(). It must return: neither longjmp() nor
// an exception of C++ may leave it.
typedef bool (*VolfoldProgressFn)(void *context, VolfoldStage stage, uint64_t done, uint64_t total);

// An image that could not be opened.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // Its path.
    VolfoldText path;
    // Why, as a status.
    VolfoldStatus status;
    // Why, as a stable code.
    VolfoldText code;
    // Why, as a sentence.
    VolfoldText message;
} VolfoldFailure;

// One thing that was noticed.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // How much it matters.
    VolfoldSeverity severity;
    // Whether what is read may be less, or older, than what there was.
    bool bears_on_content;
    // Whether `position` is known.
    bool has_position;
    // The number of the disk it is about; -1 for none.
    int64_t disk;
    // The byte position in the part, disk or volume.
    uint64_t position;
    // What kind of thing it is, one of docs/CODES.md.
    VolfoldText code;
    // The id of the volume it is about.
    VolfoldText volume;
    // The part of an image it is about.
    VolfoldText part;
    // The path on the volume it is about.
    VolfoldText path;
    // A sentence for people.
    VolfoldText message;
    // What to do about it; NULL if there is nothing to do.
    VolfoldText advice;
} VolfoldFinding;

// What was noticed.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // How many findings there are.
    size_t count;
    // The findings.
    const VolfoldFinding *const *items;
} VolfoldFindingList;

// A place where an installed system shows a volume.
typedef struct {
    // Where: "C:", "/home".
    VolfoldText path;
    // What the system's own table names.
    VolfoldText source;
    // The id of the volume of the set that is meant; NULL if there is none.
    VolfoldText volume;
} VolfoldMountPoint;

// A system that is installed on the set. What it does not tell is NULL.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // What kind of system it is.
    VolfoldFamily family;
    // Whether it is known to be started when nobody chooses.
    bool is_default;
    // The id of the volume that its own folder is on.
    VolfoldText volume;
    // That folder, from the root of the volume.
    VolfoldText folder;
    // Who made it.
    VolfoldText vendor;
    // What it calls itself.
    VolfoldText product;
    // The edition.
    VolfoldText edition;
    // The version: "10.0", "12".
    VolfoldText version;
    // The build.
    VolfoldText build;
    // What the processor is called in target triples: "x86_64".
    VolfoldText architecture;
    // The name of the machine.
    VolfoldText host_name;
    // The DNS domain that it is in.
    VolfoldText domain;
    // The time zone, as the system names it.
    VolfoldText time_zone;
    // The id that it gives itself.
    VolfoldText machine_id;
    // How many places it shows volumes at.
    size_t mount_point_count;
    // Where it shows volumes.
    const VolfoldMountPoint *mount_points;
} VolfoldSystem;

// The systems of a set.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // How many there are.
    size_t count;
    // The systems, the one that is started by default first.
    const VolfoldSystem *const *items;
    // What could not be read of them, or contradicts itself.
    VolfoldFindingList findings;
} VolfoldSystemList;

// A run of bytes of one disk.
typedef struct {
    // The number of the disk.
    uint64_t disk;
    // The first byte on it.
    uint64_t offset;
    // The size in bytes.
    uint64_t length;
} VolfoldPlace;

// A volume of a set.
typedef struct {
    // The size of this struct in bytes.
    size_t struct_size;
    // Its number in the set.
    size_t index;
    // The size in bytes.
    uint64_t size;
    // Where it comes from.
    VolfoldVolumeType kind;
    // Whether all parts are there.
    VolfoldHealth health;
    // Whether its files can be read.
    bool readable;
    // Whether there are files, or may well be, that are not shown.
    bool left_out;
    // Whether it is locked, and no key opened it.
    bool locked;
    // Its id, which does not depend on the order of the images.
    VolfoldText id;
    // The name of its folder, unique in the set.
    VolfoldText name;
    // How it lies on its disks: "partition", "simple", "spanned", "striped", "mirrored", "raid5".
    VolfoldText layout;
    // The kind of its file system, "ntfs"; NULL if it cannot be read.
    VolfoldText file_system;
    // Its label; may be NULL.
    VolfoldText label;
    // Serial number or UUID of its file system; may be NULL.
    VolfoldText uuid;
    // Why its files cannot be read; NULL if they can.
    VolfoldText reason;
    // The id of the volume that it is a snapshot of; NULL if it is none.
    VolfoldText snapshot_of;
    // When the snapshot was taken, in seconds since 1970; 0 where that is not known.
    int64_t snapshot_time;
    // The allocation unit of its file system in bytes; 0 if it cannot be read.
    uint32_t cluster_size;
    // How many names Windows has for it.
    size_t guest_name_count;
    // What Windows calls it, as far as the disks tell: "C:", "Volume{...}".
    const VolfoldText *guest_names;
    // How many runs of bytes it lies in.
    size_t place_count;
    // Where its bytes lie.
    const VolfoldPlace *places;
} VolfoldVolumeInfo;

// How large a file system is, and how full.
typedef struct {
    // The size of the file system in bytes.
    uint64_t size;
    // Bytes in use.
    uint64_t used;
} VolfoldUsage;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Lists the directory at `path`; links are followed. Its entries come from volfold_directory_next().
// Close it with volfold_directory_close(), or with its set.
VolfoldStatus volfold_directory_open(const VolfoldVolume *volume,
                                     const char *path,
                                     size_t path_length,
                                     VolfoldDirectory **directory);

// The same for all that lies below `path`: each directory before what is in it. Links are told and not
// followed. What cannot be read is an entry too, with another status, and the walk goes on after it.
VolfoldStatus volfold_walk_open(const VolfoldVolume *volume,
                                const char *path,
                                size_t path_length,
                                VolfoldDirectory **directory);

// The next entry; VOLFOLD_STATUS_END, and NULL, if there are no more. An entry whose own status is
// another than VOLFOLD_STATUS_OK says that its `path` cannot be read, and why: a walk without one has
// seen everything. Free each with volfold_free(). Threads that list one directory together share its entries.
VolfoldStatus volfold_directory_next(VolfoldDirectory *directory,
                                     const VolfoldEntry **entry);

// Closes the directory.
VolfoldStatus volfold_directory_close(VolfoldDirectory *directory);

// How many disks the set has.
VolfoldStatus volfold_set_disk_count(const VolfoldSet *set, size_t *count);

// What the disk `index` is. Free it with volfold_free().
VolfoldStatus volfold_disk_info(const VolfoldSet *set, size_t index, const VolfoldDiskInfo **info);

// Fills all of `buffer` with `length` bytes of the disk `index`, from `offset` on. With another status
// than VOLFOLD_STATUS_OK the content of `buffer` is undefined.
VolfoldStatus volfold_disk_read(const VolfoldSet *set,
                                size_t index,
                                uint64_t offset,
                                void *buffer,
                                size_t length);

// The same for `count` sectors from `first` on, each of VolfoldDiskInfo.sector_size bytes.
VolfoldStatus volfold_disk_read_sectors(const VolfoldSet *set,
                                        size_t index,
                                        uint64_t first,
                                        uint64_t count,
                                        void *buffer);

// The kind of the bytes at `offset` of the disk `index`, and how far they reach: with
// VOLFOLD_EXTENT_KIND_ZERO the image has no bytes there. Ask again at the end of the run.
VolfoldStatus volfold_disk_extent(const VolfoldSet *set,
                                  size_t index,
                                  uint64_t offset,
                                  VolfoldExtent *extent);

// What is at `path` of the volume, "/a/b". Links on the way are followed as the guest follows them, also
// to other volumes of the set; one at the end only if `follow`. The program sets `stat->struct_size` before.
VolfoldStatus volfold_stat(const VolfoldVolume *volume,
                           const char *path,
                           size_t path_length,
                           bool follow,
                           VolfoldStat *stat);

// Opens the file at `path` of the volume; links are followed. `stream` is the name of a stream beside
// the main one, or NULL. Close it with volfold_file_close(), or with its set.
VolfoldStatus volfold_file_open(const VolfoldVolume *volume,
                                const char *path,
                                size_t path_length,
                                const char *stream,
                                size_t stream_length,
                                VolfoldFile **file);

// Closes the file.
VolfoldStatus volfold_file_close(VolfoldFile *file);

// The size of the file in bytes.
VolfoldStatus volfold_file_size(const VolfoldFile *file, uint64_t *size);

// Reads up to `length` bytes of the file from `offset` on, and writes how many to `count`: less than
// `length` only at the end of the file. With another status than VOLFOLD_STATUS_OK the content of
// `buffer` is undefined. There is no position: any number of threads may read at once.
VolfoldStatus volfold_file_read(const VolfoldFile *file,
                                uint64_t offset,
                                void *buffer,
                                size_t length,
                                size_t *count);

// The kind of the bytes at `offset` of the file, and how far they reach.
VolfoldStatus volfold_file_extent(const VolfoldFile *file, uint64_t offset, VolfoldExtent *extent);

// Where the link at `path` leads, as bytes with `/` between the parts: a list of one text. Free it with
// volfold_free().
VolfoldStatus volfold_read_link(const VolfoldVolume *volume,
                                const char *path,
                                size_t path_length,
                                const VolfoldTextList **target);

// The streams of the file at `path` beside its main one. Free them with volfold_free().
VolfoldStatus volfold_streams(const VolfoldVolume *volume,
                              const char *path,
                              size_t path_length,
                              const VolfoldStreamList **streams);

// The names of the extended attributes of what is at `path`: "system." and a name for what the file
// system keeps, "user." and a name for what programs wrote. Free them with volfold_free().
VolfoldStatus volfold_attributes(const VolfoldVolume *volume,
                                 const char *path,
                                 size_t path_length,
                                 const VolfoldTextList **names);

// The value of the extended attribute `name` of what is at `path`: a list of one text, whose bytes may
// be anything. Free it with volfold_free().
VolfoldStatus volfold_attribute(const VolfoldVolume *volume,
                                const char *path,
                                size_t path_length,
                                const char *name,
                                const VolfoldTextList **value);

// Mounts the set at `folder`, read-only, a folder below it for each volume; `volumes` are the names or
// ids of those that are wanted, none for all. The program volfold serves it in the background, until
// volfold_unmount() frees the folder: also after the set is closed, and after this program has ended.
//
// VOLFOLD_STATUS_INCOMPLETE: something is missing, which `talk` says; the rest is mounted. `mount` may
// be NULL; else free it with volfold_free().
VolfoldStatus volfold_set_mount(const VolfoldSet *set,
                                const char *folder,
                                const char *const *volumes,
                                size_t volume_count,
                                const VolfoldMount **mount);

// Frees the folder of a mount, and returns when the images are closed; with `force` also while programs
// have files open in it. `options` may be NULL; they name the program.
VolfoldStatus volfold_unmount(const VolfoldOptions *options,
                              const char *folder,
                              bool force);

// Makes options, as volfold_set_open() has them without any. Free them with volfold_options_free().
VolfoldStatus volfold_options_new(VolfoldOptions **options);

// Frees options; sets that were opened with them stay open.
VolfoldStatus volfold_options_free(VolfoldOptions *options);

// Lets images name files (extents, parents) in `folder`, too; else only those beside themselves.
VolfoldStatus volfold_options_allow_folder(VolfoldOptions *options, const char *folder);

// The bound of all caches of the set together, in bytes; 64 MiB without this call.
VolfoldStatus volfold_options_set_cache_size(VolfoldOptions *options, uint64_t bytes);

// Takes every image as one of this format ("vmdk", "raw"), whatever its name and content; NULL to find
// it out.
VolfoldStatus volfold_options_set_format(VolfoldOptions *options,
                                         const char *format);

// Wants the state that the images keep as this snapshot, by its name or id; NULL for the newest.
VolfoldStatus volfold_options_set_snapshot(VolfoldOptions *options, const char *snapshot);

// Whether the shadow copies that Windows kept of volumes (VSS) are volumes of the set too.
VolfoldStatus volfold_options_set_snapshots(VolfoldOptions *options, bool shown);

// Whether the files that hold a file system itself are listed ($MFT and others).
VolfoldStatus volfold_options_set_system_files(VolfoldOptions *options, bool listed);

// Whether the journals of volumes that were not unmounted are left out; else they are applied in memory.
VolfoldStatus volfold_options_set_as_is(VolfoldOptions *options,
                                        bool left_out);

// Whether volumes show the files that were deleted on them, in place of those that are there; each is
// called NAME@deleted then.
VolfoldStatus volfold_options_set_deleted(VolfoldOptions *options,
                                          bool shown);

// The zone of clocks whose times a volume keeps without one (FAT): "Europe/Berlin", "+02:00"; NULL for UTC.
VolfoldStatus volfold_options_set_time_zone(VolfoldOptions *options,
                                            const char *zone);

// The code page of short names that do not say it (FAT); 437 without this call.
VolfoldStatus volfold_options_set_code_page(VolfoldOptions *options, uint16_t number);

// Adds a key that is tried on locked volumes: `kind` is VOLFOLD_KEY_... The bytes are copied, and in no
// message.
VolfoldStatus volfold_options_add_key(VolfoldOptions *options,
                                      uint32_t kind,
                                      const void *key,
                                      size_t length);

// Calls `progress` with `context` while a set that is opened with the options does long work; NULL for no
// calls. If it returns false the work ends with VOLFOLD_STATUS_STOPPED, and a set that is open by then reads
// nothing more. `context` has to live as long as such a set.
VolfoldStatus volfold_options_set_progress(VolfoldOptions *options,
                                           VolfoldProgressFn progress,
                                           void *context);

// The program volfold, which mounts; NULL to look for it: by the variable VOLFOLD_PROGRAM, beside the
// library, in the folder bin beside the library's folder, on PATH.
VolfoldStatus volfold_options_set_program(VolfoldOptions *options,
                                          const char *program);

// Opens the images at `paths` as one set; a folder stands for the images in it. The order does not
// matter: disks are numbered by path. `options` may be NULL.
//
// VOLFOLD_STATUS_STOPPED: the function of volfold_options_set_progress() said so; there is no set.
// VOLFOLD_STATUS_INCOMPLETE: images cannot be opened, which volfold_set_failure() names; the set of all
// others is open, and may be used or closed. With every other status but VOLFOLD_STATUS_OK `*set` is
// NULL.
VolfoldStatus volfold_set_open(const VolfoldOptions *options,
                               const char *const *paths,
                               size_t path_count,
                               VolfoldSet **set);

// Closes the set, and the handles of its volumes, files and directories. Calls that run on them end as
// they would have; later ones end with VOLFOLD_STATUS_INVALID_HANDLE.
VolfoldStatus volfold_set_close(VolfoldSet *set);

// How many images could not be opened.
VolfoldStatus volfold_set_failure_count(const VolfoldSet *set, size_t *count);

// The image `index` of those that could not be opened. Free it with volfold_free().
VolfoldStatus volfold_set_failure(const VolfoldSet *set,
                                  size_t index,
                                  const VolfoldFailure **failure);

// What was noticed on the disks and volumes of the set until now: while it was opened, while its disks
// were read, and in the file systems that were entered. Free it with volfold_free().
VolfoldStatus volfold_set_findings(const VolfoldSet *set,
                                   const VolfoldFindingList **findings);

// The systems that are installed on the set, read from its volumes. Free them with volfold_free().
VolfoldStatus volfold_set_systems(const VolfoldSet *set, const VolfoldSystemList **systems);

// How many volumes the set has, also those that no driver knows.
VolfoldStatus volfold_set_volume_count(const VolfoldSet *set, size_t *count);

// The volume `index` of the set: they are sorted by disk and place. Close it with
// volfold_volume_close(), or with its set.
VolfoldStatus volfold_set_volume(const VolfoldSet *set, size_t index, VolfoldVolume **volume);

// The volume that is called `name`: by the name of its folder, its id, or what Windows calls it
// ("C:"). VOLFOLD_STATUS_NOT_FOUND if there is none, or if several are called so.
VolfoldStatus volfold_set_find_volume(const VolfoldSet *set,
                                      const char *name,
                                      VolfoldVolume **volume);

// Frees a struct that a function of this library gave; NULL is allowed. A pointer that is none, or was
// freed before, is refused with VOLFOLD_STATUS_INVALID_ARGUMENT.
VolfoldStatus volfold_free(const void *block);

// What `status` is, in a few words. It is never freed; any number may be asked for.
const char *volfold_status_text(int32_t status);

// Why the last call of this thread failed that did: a sentence with the part that is concerned and the
// cause. Empty if none failed. It may be read until the next call that fails on this thread, and is
// never freed.
const char *volfold_error_message(void);

// The stable code of the same failure, as `volfold --json` has it: "corrupt", "wof-compressed". As long
// to be read as volfold_error_message().
const char *volfold_error_code(void);

// Writes the byte position that the same failure is about to `position`, and says whether there is one.
bool volfold_error_position(uint64_t *position);

// The version of the library as text, "0.1.0". It is never freed.
const char *volfold_version(void);

// The VOLFOLD_ABI_VERSION that the library was built with.
uint32_t volfold_abi_version(void);

// How many threads the library may start to decode ahead of large reads, in all sets together; 0
// forbids that. Without this call it is one less than there are processors, and at most four. A program
// that forks without exec calls this with 0 before its first read.
void volfold_set_threads(uint32_t count);

// Closes the volume; files and directories of it stay open until they, or the set, are closed.
VolfoldStatus volfold_volume_close(VolfoldVolume *volume);

// What the volume is; its file system is entered for that. Free it with volfold_free().
VolfoldStatus volfold_volume_info(const VolfoldVolume *volume, const VolfoldVolumeInfo **info);

// How full the file system of the volume is. May read whole bitmaps.
VolfoldStatus volfold_volume_usage(const VolfoldVolume *volume, VolfoldUsage *usage);

// Fills all of `buffer` with `length` bytes of the volume, from `offset` on, whatever is on it. With
// another status than VOLFOLD_STATUS_OK the content of `buffer` is undefined.
VolfoldStatus volfold_volume_read(const VolfoldVolume *volume,
                                  uint64_t offset,
                                  void *buffer,
                                  size_t length);

// The kind of the bytes at `offset` of the volume, and how far they reach.
VolfoldStatus volfold_volume_extent(const VolfoldVolume *volume,
                                    uint64_t offset,
                                    VolfoldExtent *extent);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* VOLFOLD_H */
