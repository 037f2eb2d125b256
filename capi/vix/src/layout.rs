//! The structs of VixMntapi and VixDiskLib.
//!
//! Their headers pack structs to four bytes on Windows and nowhere else.
//!
//! | struct                    | size on Windows x64 | size on Linux x86-64 |
//! |---------------------------|---------------------|----------------------|
//! | [`VixOsInfo`]             | 40                  | 40                   |
//! | [`VixVolumeInfo`]         | 32                  | 32                   |
//! | [`VixDiskSetInfo`]        | 12                  | 16                   |
//! | [`VixDiskLibInfo`]        | 64                  | 64                   |
//! | [`VixDiskLibBlock`]       | 16                  | 16                   |
//! | [`VixDiskLibBlockList`]   | 20                  | 24                   |
//! | [`VixDiskLibConnectParams`] | 116               | 128                  |

use std::ffi::{c_char, c_int, c_long, c_void};
use std::mem::offset_of;

/// 0 or 1 in one byte.
pub type Bool = c_char;

/// A struct with the packing of the headers.
macro_rules! structs {
    ($($(#[$attribute:meta])* struct $name:ident { $($(#[$inner:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$attribute])*
            #[cfg_attr(windows, repr(C, packed(4)))]
            #[cfg_attr(not(windows), repr(C))]
            #[derive(Clone, Copy)]
            pub struct $name {
                $($(#[$inner])* pub $field: $type,)*
            }
        )*
    };
}

structs! {
    /// The operating system of a set.
    struct VixOsInfo {
        /// 0 none, 1 Windows, 255 another one.
        family: c_int,
        /// Of Windows: 5 is 2000 and later.
        majorVersion: u32,
        /// The part of the version after the point.
        minorVersion: u32,
        /// Whether it is for 64 bits.
        osIs64Bit: Bool,
        /// Who made it.
        vendor: *const c_char,
        /// Its edition.
        edition: *const c_char,
        /// Where it lies.
        osFolder: *const c_char,
    }

    /// A volume.
    struct VixVolumeInfo {
        /// 0 unknown, 1 partition of an MBR, 2 of a GPT, 3 dynamic volume, 4 logical volume.
        type_: c_int,
        /// Whether it is mounted.
        isMounted: Bool,
        /// Where it is mounted, NULL if it is not.
        symbolicLink: *const c_char,
        /// How many names the guest has for it; 0 if it is not mounted.
        numGuestMountPoints: usize,
        /// The first of these names; the others follow.
        inGuestMountPoints: [*const c_char; 1],
    }

    /// A set of disks.
    struct VixDiskSetInfo {
        /// How it was opened.
        openFlags: u32,
        /// The folder that its volumes are mounted in; empty while there is none.
        mountPath: *const c_char,
    }

    /// The shape of a disk as the BIOS sees it.
    struct VixDiskLibGeometry {
        /// Cylinders.
        cylinders: u32,
        /// Heads.
        heads: u32,
        /// Sectors of a track.
        sectors: u32,
    }

    /// A disk, by version 7.0 and later; those before it know all but the last two fields.
    struct VixDiskLibInfo {
        /// The shape for the BIOS.
        biosGeo: VixDiskLibGeometry,
        /// The shape of the disk.
        physGeo: VixDiskLibGeometry,
        /// The size in sectors of 512 bytes.
        capacity: u64,
        /// 1 IDE, 2 BusLogic, 3 LSI Logic, 256 unknown.
        adapterType: c_int,
        /// How many files its chain has.
        numLinks: c_int,
        /// The parent, NULL if there is none.
        parentFileNameHint: *const c_char,
        /// The id of the disk, NULL if it has none.
        uuid: *const c_char,
        /// The size of a logical sector in bytes.
        logicalSectorSize: u32,
        /// The size of a physical sector in bytes.
        physicalSectorSize: u32,
    }

    /// A run of sectors.
    struct VixDiskLibBlock {
        /// The first sector.
        offset: u64,
        /// How many.
        length: u64,
    }

    /// Runs of sectors.
    struct VixDiskLibBlockList {
        /// How many runs.
        numBlocks: u32,
        /// The first; the others follow.
        blocks: [VixDiskLibBlock; 1],
    }

    /// How to connect, by version 7.0 and later. Of those that are given only the first two fields are
    /// read, which all versions have.
    struct VixDiskLibConnectParams {
        /// The virtual machine, for disks of a server.
        vmxSpec: *const c_char,
        /// The server.
        serverName: *const c_char,
        /// Of the server.
        thumbPrint: *const c_char,
        /// Not used.
        privateUse: c_long,
        /// The kind of `creds`.
        credType: c_int,
        /// Whom to connect as.
        creds: [*const c_void; 3],
        /// Of the server.
        port: u32,
        /// Of the server.
        nfcHostPort: u32,
        /// Not used.
        reserved3: *const c_char,
        /// Not used.
        reserved4: [c_char; 8],
        /// Not used.
        reserved5: *const c_void,
        /// What to connect to.
        spec: [*const c_char; 3],
        /// The kind of `spec`.
        specType: c_int,
    }

    /// The two fields that connect parameters of all versions begin with.
    struct ConnectHead {
        /// The virtual machine.
        vmxSpec: *const c_char,
        /// The server.
        serverName: *const c_char,
    }
}

/// Holds an offset or a size to the numbers of Windows x64 and Linux x86-64.
#[cfg(target_pointer_width = "64")]
const fn is(found: usize, windows: usize, others: usize) -> bool {
    found == if cfg!(windows) { windows } else { others }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(is(size_of::<VixOsInfo>(), 40, 40));
    assert!(is(offset_of!(VixOsInfo, osIs64Bit), 12, 12));
    assert!(is(offset_of!(VixOsInfo, vendor), 16, 16));
    assert!(is(offset_of!(VixOsInfo, edition), 24, 24));
    assert!(is(offset_of!(VixOsInfo, osFolder), 32, 32));
    assert!(is(size_of::<VixVolumeInfo>(), 32, 32));
    assert!(is(offset_of!(VixVolumeInfo, isMounted), 4, 4));
    assert!(is(offset_of!(VixVolumeInfo, symbolicLink), 8, 8));
    assert!(is(offset_of!(VixVolumeInfo, numGuestMountPoints), 16, 16));
    assert!(is(offset_of!(VixVolumeInfo, inGuestMountPoints), 24, 24));
    assert!(is(size_of::<VixDiskSetInfo>(), 12, 16));
    assert!(is(offset_of!(VixDiskSetInfo, mountPath), 4, 8));
    assert!(is(size_of::<VixDiskLibInfo>(), 64, 64));
    assert!(is(offset_of!(VixDiskLibInfo, physGeo), 12, 12));
    assert!(is(offset_of!(VixDiskLibInfo, capacity), 24, 24));
    assert!(is(offset_of!(VixDiskLibInfo, adapterType), 32, 32));
    assert!(is(offset_of!(VixDiskLibInfo, numLinks), 36, 36));
    assert!(is(offset_of!(VixDiskLibInfo, parentFileNameHint), 40, 40));
    assert!(is(offset_of!(VixDiskLibInfo, uuid), 48, 48));
    assert!(is(offset_of!(VixDiskLibInfo, logicalSectorSize), 56, 56));
    assert!(is(offset_of!(VixDiskLibInfo, physicalSectorSize), 60, 60));
    assert!(is(size_of::<VixDiskLibBlock>(), 16, 16));
    assert!(is(size_of::<VixDiskLibBlockList>(), 20, 24));
    assert!(is(offset_of!(VixDiskLibBlockList, blocks), 4, 8));
    assert!(is(size_of::<VixDiskLibConnectParams>(), 116, 128));
    assert!(is(offset_of!(VixDiskLibConnectParams, credType), 28, 32));
    assert!(is(offset_of!(VixDiskLibConnectParams, creds), 32, 40));
    assert!(is(offset_of!(VixDiskLibConnectParams, port), 56, 64));
    assert!(is(offset_of!(VixDiskLibConnectParams, nfcHostPort), 60, 68));
    assert!(is(offset_of!(VixDiskLibConnectParams, spec), 88, 96));
    assert!(is(offset_of!(VixDiskLibConnectParams, specType), 112, 120));
    assert!(is(size_of::<ConnectHead>(), 16, 16));
};
