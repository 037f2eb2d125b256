//! A path of a guest, and what can be asked of what is there.

use std::fmt;
use std::sync::Arc;

use volfold_fs::{
    FileKind, FileSystem, FsError, FsErrorKind, FsResult, Metadata, NodeId, StreamInfo, StreamName,
    VolumeTree,
};

use super::reader::File;
use super::tree::SetTree;

/// LIMIT: bytes of a file that [`GuestPath::read`] takes into memory: a hostile image has files of
/// 8 EiB.
const MAX_READ: u64 = 1 << 30;

/// A path in the volumes of a set: `/<volume>/dir/file`.
///
/// It holds on to the volumes, not to what is there: every call looks again. Links are followed
/// as the guest follows them. `join` and the calls that read take no path of the host.
#[derive(Clone)]
pub struct GuestPath {
    tree: Arc<SetTree>,
    path: Vec<u8>,
}

impl GuestPath {
    pub(crate) fn new(tree: Arc<SetTree>, path: Vec<u8>) -> Self {
        Self { tree, path }
    }

    /// The path, with the volume's folder name as its first part; the bytes of names are the
    /// guest's (see [`volfold_fs::Name`]).
    pub fn as_bytes(&self) -> &[u8] {
        &self.path
    }

    /// The last part; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The path without its last part; `None` above the volumes.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let end = self.path.iter().rposition(|byte| *byte == b'/')?;
        let path = match self.path.get(..end) {
            Some([]) if self.path.len() > 1 => b"/".to_vec(),
            Some(parent) if !parent.is_empty() => parent.to_vec(),
            _ => return None,
        };
        Some(Self { tree: self.tree.clone(), path })
    }

    /// The path of `below` in this directory; a `/` at its beginning means nothing more.
    #[must_use]
    pub fn join(&self, below: impl AsRef<[u8]>) -> Self {
        let mut path = self.path.clone();
        for part in below.as_ref().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Self { tree: self.tree.clone(), path }
    }

    /// The same place by the guest's own names, without links, `.` and `..`.
    ///
    /// # Errors
    /// `NotFound`, or why something on the way cannot be read.
    pub fn canonicalize(&self) -> FsResult<Self> {
        let real = self.tree.monitor.whole(|| self.tree.find(&self.path, true))?.real;
        Ok(Self { tree: self.tree.clone(), path: real })
    }

    /// What the tree of the set has for `node`, as `of` asks for it.
    fn ask<T>(
        &self,
        follow: bool,
        of: impl FnOnce(&VolumeTree, NodeId) -> FsResult<T>,
    ) -> FsResult<T> {
        self.tree.monitor.whole(|| of(&self.tree.files, self.tree.find(&self.path, follow)?.node))
    }

    /// Whether there is something.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn try_exists(&self) -> FsResult<bool> {
        match self.ask(true, |_, node| Ok(node)) {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.kind(), FsErrorKind::NotFound | FsErrorKind::NotADirectory) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What is known of what is there; links are followed.
    ///
    /// # Errors
    /// `NotFound`, or why it cannot be read.
    pub fn metadata(&self) -> FsResult<Metadata> {
        self.ask(true, |files, node| files.metadata(node))
    }

    /// The same of a link itself.
    ///
    /// # Errors
    /// `NotFound`, or why it cannot be read.
    pub fn symlink_metadata(&self) -> FsResult<Metadata> {
        self.ask(false, |files, node| files.metadata(node))
    }

    /// Where the link leads that is there, as the guest wrote it.
    ///
    /// # Errors
    /// `NotALink`, `NotFound`, or why it cannot be read.
    pub fn read_link(&self) -> FsResult<Vec<u8>> {
        Ok(self.ask(false, |files, node| files.read_link(node))?.0)
    }

    /// Opens the file.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, or why its content cannot be read.
    pub fn open(&self) -> FsResult<File> {
        self.open_stream(&StreamName::MAIN)
    }

    /// Opens a stream of the file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_stream(&self, stream: &StreamName) -> FsResult<File> {
        let data = self.ask(true, |files, node| match files.metadata(node)?.kind {
            FileKind::Directory if *stream == StreamName::MAIN => Err(FsError::is_a_directory()),
            FileKind::Directory | FileKind::Regular => files.open(node, stream),
            _ => Err(FsError::unsupported("not a regular file")),
        })?;
        Ok(File::new(data, self.tree.monitor.clone()))
    }

    /// The alternate streams of the file.
    ///
    /// # Errors
    /// `NotFound`, or why they cannot be read.
    pub fn streams(&self) -> FsResult<Vec<StreamInfo>> {
        self.ask(true, |files, node| files.streams(node))
    }

    /// The names of the extended attributes of what is there, links followed.
    ///
    /// # Errors
    /// `NotFound`, or why they cannot be read.
    pub fn extended_attributes(&self) -> FsResult<Vec<Vec<u8>>> {
        self.ask(true, |files, node| files.extended_attributes(node))
    }

    /// The value of one of them.
    ///
    /// # Errors
    /// `NotFound`, or why it cannot be read.
    pub fn extended_attribute(&self, name: impl AsRef<[u8]>) -> FsResult<Vec<u8>> {
        self.ask(true, |files, node| files.extended_attribute(node, name.as_ref()))
    }

    /// The whole content of the file.
    ///
    /// # Errors
    /// `Refused` above 1 GiB, for which there is [`Self::open`]; else as that, or why a byte cannot be
    /// read.
    pub fn read(&self) -> FsResult<Vec<u8>> {
        self.read_at_most(MAX_READ)
    }

    /// The same for a file of at most `limit` bytes.
    ///
    /// # Errors
    /// `Refused` for a larger one, else as [`Self::read`].
    pub fn read_at_most(&self, limit: u64) -> FsResult<Vec<u8>> {
        self.open()?.read_at_most(limit)
    }

    /// The whole content of the file as text.
    ///
    /// # Errors
    /// `Unsupported` if it is not UTF-8, else as [`Self::read`].
    pub fn read_to_string(&self) -> FsResult<String> {
        String::from_utf8(self.read()?).map_err(|error| {
            let at = u64::try_from(error.utf8_error().valid_up_to()).unwrap_or(u64::MAX);
            FsError::unsupported("content is not UTF-8 text").because(error).at(at)
        })
    }

    pub(super) fn tree(&self) -> &Arc<SetTree> {
        &self.tree
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.path))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.path))
    }
}
