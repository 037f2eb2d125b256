//! What Windows is told of a file.

/// What Windows is told of a file.
///
/// INVARIANT: it is laid out as WinFsp's `FSP_FSCTL_FILE_INFO`, so that its backend copies nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// `FILE_ATTRIBUTE_*` of MS-FSCC 2.6.
    pub file_attributes: u32,
    /// `IO_REPARSE_TAG_*` of MS-FSCC 2.1.2.1; 0 where it is no reparse point.
    pub reparse_tag: u32,
    /// Bytes on disk.
    pub allocation_size: u64,
    /// Bytes of content.
    pub file_size: u64,
    /// 100-nanosecond steps since 1601; 0 where it is not known. So are all times.
    pub creation_time: u64,
    /// When it was read last.
    pub last_access_time: u64,
    /// When its content was changed last.
    pub last_write_time: u64,
    /// When anything of it was changed last.
    pub change_time: u64,
    /// The same for all names of a file.
    pub index_number: u64,
    /// How many names it has.
    pub hard_links: u32,
    /// Bytes of extended attributes; none are shown.
    pub ea_size: u32,
}
