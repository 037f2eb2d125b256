//! What the callbacks of a volume of WinFsp use, and what its driver is told of it.

use crate::folder::names;
use crate::folder::windows::callbacks::Context;

use super::abi::{Functions, VolumeInfo, VolumeParams, flags, valid};

/// The bytes of a sector, as reads that are not cached see it.
const SECTOR: u16 = 512;

/// What the callbacks of one volume use.
pub type VolumeContext = Context<Functions>;

impl VolumeContext {
    /// What the driver is told of the volume.
    ///
    /// Data is cached only if `file_info_timeout` is infinite, and the other timeouts count only
    /// with their valid bits. `READ_ONLY_VOLUME` is an attribute that programs see; the refusing is
    /// done by the callbacks.
    pub fn params(&self) -> VolumeParams {
        let facts = self.server.facts();
        let sectors = (facts.cluster_size / u32::from(SECTOR)).clamp(1, 128);
        let mut file_system_name = [0; 16];
        for (unit, slot) in facts.file_system.encode_utf16().zip(&mut file_system_name[..15]) {
            *slot = unit;
        }
        VolumeParams {
            version: 504,
            sector_size: SECTOR,
            sectors_per_allocation_unit: u16::try_from(sectors).unwrap_or(8),
            max_component_length: names::MAX_WINDOWS as u16,
            volume_creation_time: facts.created,
            volume_serial_number: facts.serial,
            transact_timeout: 0,
            irp_timeout: 600_000,
            irp_capacity: 0,
            file_info_timeout: u32::MAX,
            flags: flags::CASE_PRESERVED_NAMES
                | flags::UNICODE_ON_DISK
                | flags::PERSISTENT_ACLS
                | flags::REPARSE_POINTS
                | flags::NAMED_STREAMS
                | flags::READ_ONLY_VOLUME
                | flags::POST_CLEANUP_WHEN_MODIFIED_ONLY
                | flags::PASS_QUERY_DIRECTORY_FILE_NAME
                | flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2
                | flags::UM_NO_REPARSE_POINTS_DIR_CHECK
                | flags::ALLOW_OPEN_IN_KERNEL_MODE
                | flags::DIRECTORY_MARKER_AS_NEXT_OFFSET,
            prefix: [0; 192],
            file_system_name,
            valid: valid::VOLUME_INFO_TIMEOUT
                | valid::DIR_INFO_TIMEOUT
                | valid::SECURITY_TIMEOUT
                | valid::STREAM_INFO_TIMEOUT
                | valid::EA_TIMEOUT,
            volume_info_timeout: u32::MAX,
            dir_info_timeout: u32::MAX,
            security_timeout: u32::MAX,
            stream_info_timeout: u32::MAX,
            ea_timeout: u32::MAX,
            fsext_control_code: 0,
            reserved32: 0,
            reserved64: [0; 2],
        }
    }

    /// The figures in the form of the driver.
    pub(super) fn volume_info(&self) -> Result<VolumeInfo, super::abi::NtStatus> {
        let figures = self.server.figures()?;
        let mut volume_label = [0; 32];
        for (unit, slot) in figures.label.iter().zip(&mut volume_label) {
            *slot = *unit;
        }
        Ok(VolumeInfo {
            total_size: figures.size,
            free_size: figures.free,
            volume_label_length: u16::try_from(figures.label.len() * 2).unwrap_or(0),
            volume_label,
        })
    }
}
