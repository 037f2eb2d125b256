//! The one error of this crate.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use volfold_block::{BlockError, BlockErrorKind, Code, Panicked, code};

/// What every fallible call of this crate returns.
pub type FsResult<T> = Result<T, FsError>;

/// Why the content of a file is not in reach, as a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(&'static str);

impl Reason {
    /// NTFS data compressed in a way that is not known.
    pub const NTFS_COMPRESSED: Self = Self("ntfs-compressed");
    /// NTFS data compressed by the Windows overlay filter (CompactOS, WIM boot).
    pub const WOF: Self = Self("wof-compressed");
    /// NTFS data that lies in a WIM file, by the Windows overlay filter or a mounted WIM.
    pub const WOF_WIM: Self = Self("wof-wim");
    /// NTFS data moved to the chunk store of data deduplication.
    pub const DEDUPLICATED: Self = Self("deduplicated");
    /// A cloud placeholder whose data is not on the volume.
    pub const CLOUD: Self = Self("cloud-placeholder");
    /// Data moved to another tier by hierarchical storage management.
    pub const OFFLINE: Self = Self("offline-storage");
    /// A reparse point of a kind that is not known.
    pub const REPARSE_POINT: Self = Self("unknown-reparse-point");
    /// Attributes spread over an attribute list that could not be followed.
    pub const ATTRIBUTE_LIST: Self = Self("attribute-list");
    /// A deleted file whose place is another file's by now, or was another's since.
    pub const OVERWRITTEN: Self = Self("overwritten");
    /// A deleted file of which it is not kept where it was.
    pub const PLACE_LOST: Self = Self("place-lost");
    /// Data in a form that this build does not read.
    pub const UNSUPPORTED_LAYOUT: Self = Self("unsupported-layout");

    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::NTFS_COMPRESSED,
        Self::WOF,
        Self::WOF_WIM,
        Self::DEDUPLICATED,
        Self::CLOUD,
        Self::OFFLINE,
        Self::REPARSE_POINT,
        Self::ATTRIBUTE_LIST,
        Self::OVERWRITTEN,
        Self::PLACE_LOST,
        Self::UNSUPPORTED_LAYOUT,
    ];

    /// The code: lower case, words joined by `-`, never changed once published.
    pub fn code(self) -> &'static str {
        self.0
    }

    /// What is in the way, in words that follow a colon.
    fn sentence(self) -> &'static str {
        match self {
            Self::NTFS_COMPRESSED => "it is compressed in an unknown way",
            Self::WOF => "it is compressed by an unknown form of the Windows overlay filter",
            Self::WOF_WIM => "it is in a WIM file",
            Self::DEDUPLICATED => "it is in the chunk store of data deduplication",
            Self::CLOUD => "it is in the cloud, and not on the volume",
            Self::OFFLINE => "it was moved to another storage tier",
            Self::REPARSE_POINT => "it has a reparse point of an unknown kind",
            Self::ATTRIBUTE_LIST => "its attribute list cannot be followed",
            Self::OVERWRITTEN => "the file was deleted, and its place was given to another",
            Self::PLACE_LOST => "the file was deleted, and where it was is not kept",
            _ => "it is stored in a form that this build does not read",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What the caller should do about an [`FsError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FsErrorKind {
    /// The host could not read. A second try may help.
    Io,
    /// The bytes contradict the specification.
    Corrupt,
    /// The bytes are fine, this build cannot read them.
    Unsupported,
    /// A request outside the device. A mistake of a layer above.
    OutOfRange,
    /// Another file or disk is needed.
    MissingPart,
    /// Policy forbids it.
    Refused,
    /// No such name.
    NotFound,
    /// A directory was needed.
    NotADirectory,
    /// A file was needed.
    IsADirectory,
    /// A link was needed.
    NotALink,
    /// No name can look like this here.
    InvalidName,
    /// The content is encrypted and no key is known.
    Encrypted,
    /// The content is stored in a form that is not read, or not on this volume at all.
    Undecodable(Reason),
    /// The caller stopped the work.
    Stopped,
    /// A fault of ours: a panic that [`volfold_block::guard`] caught.
    Internal,
}

impl FsErrorKind {
    /// The stable code, as `--json` prints it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => BlockErrorKind::Io.code(),
            Self::Corrupt => BlockErrorKind::Corrupt.code(),
            Self::Unsupported => BlockErrorKind::Unsupported.code(),
            Self::OutOfRange => BlockErrorKind::OutOfRange.code(),
            Self::MissingPart => BlockErrorKind::MissingPart.code(),
            Self::Refused => BlockErrorKind::Refused.code(),
            Self::NotFound => "not-found",
            Self::NotADirectory => "not-a-directory",
            Self::IsADirectory => "is-a-directory",
            Self::NotALink => "not-a-link",
            Self::InvalidName => "invalid-name",
            Self::Encrypted => "encrypted",
            Self::Undecodable(reason) => reason.code(),
            Self::Stopped => BlockErrorKind::Stopped.code(),
            Self::Internal => BlockErrorKind::Internal.code(),
        }
    }

    /// The code of the finding that a file system cannot be opened for this.
    pub fn code_of_unopened(self) -> Code {
        match self {
            Self::Corrupt => code::FILE_SYSTEM_DAMAGED,
            _ => code::FILE_SYSTEM_NOT_OPENED,
        }
    }
}

/// Why a file system, a node or its content could not be read.
#[derive(Debug)]
pub struct FsError {
    kind: FsErrorKind,
    message: Cow<'static, str>,
    position: Option<u64>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl FsError {
    /// An error of `kind`; `message` is lower case, without a full stop, and names the structure.
    pub fn new(kind: FsErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), position: None, source: None }
    }

    /// The bytes contradict the specification.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FsErrorKind::Corrupt, message)
    }

    /// The bytes are valid and beyond this build.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FsErrorKind::Unsupported, message)
    }

    /// No such name.
    pub fn not_found() -> Self {
        Self::new(FsErrorKind::NotFound, "no such file or directory")
    }

    /// The node is not a directory.
    pub fn not_a_directory() -> Self {
        Self::new(FsErrorKind::NotADirectory, "not a directory")
    }

    /// The node is a directory.
    pub fn is_a_directory() -> Self {
        Self::new(FsErrorKind::IsADirectory, "is a directory")
    }

    /// The node is not a link.
    pub fn not_a_link() -> Self {
        Self::new(FsErrorKind::NotALink, "not a symbolic link")
    }

    /// The offset is at the end of the file or past it.
    pub fn past_the_end(offset: u64) -> Self {
        Self::new(FsErrorKind::OutOfRange, "offset is past the end of the file").at(offset)
    }

    /// The content is encrypted.
    pub fn encrypted() -> Self {
        Self::new(FsErrorKind::Encrypted, "content is encrypted")
    }

    /// The content is not in reach.
    pub fn undecodable(reason: Reason) -> Self {
        let message = format!("content cannot be decoded: {}", reason.sentence());
        Self::new(FsErrorKind::Undecodable(reason), message)
    }

    /// The same error with a byte position in the volume.
    #[must_use]
    pub fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> FsErrorKind {
        self.kind
    }

    /// The sentence, without position and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The byte position in the volume, if there is one.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// The stable code of the kind, as `--json` prints it.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(position) = self.position {
            write!(f, " (at byte {position})")?;
        }
        Ok(())
    }
}

impl Error for FsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| -> &(dyn Error + 'static) { source })
    }
}

impl From<Panicked<'_>> for FsError {
    fn from(panicked: Panicked<'_>) -> Self {
        Self::new(FsErrorKind::Internal, panicked.to_string())
    }
}

impl From<BlockError> for FsError {
    fn from(error: BlockError) -> Self {
        let kind = match error.kind() {
            BlockErrorKind::Corrupt => FsErrorKind::Corrupt,
            BlockErrorKind::Unsupported => FsErrorKind::Unsupported,
            BlockErrorKind::OutOfRange => FsErrorKind::OutOfRange,
            BlockErrorKind::MissingPart => FsErrorKind::MissingPart,
            BlockErrorKind::Refused => FsErrorKind::Refused,
            BlockErrorKind::Encrypted => FsErrorKind::Encrypted,
            BlockErrorKind::Stopped => FsErrorKind::Stopped,
            BlockErrorKind::Internal => FsErrorKind::Internal,
            _ => FsErrorKind::Io,
        };
        let message = error.message().to_owned();
        let position = error.position();
        Self { kind, message: message.into(), position, source: Some(error.into()) }
    }
}

/// The error as programs that read files of the host expect it, with this one as its cause.
impl From<FsError> for io::Error {
    fn from(error: FsError) -> Self {
        let kind = match error.kind() {
            FsErrorKind::NotFound => io::ErrorKind::NotFound,
            FsErrorKind::NotADirectory => io::ErrorKind::NotADirectory,
            FsErrorKind::IsADirectory => io::ErrorKind::IsADirectory,
            FsErrorKind::Refused | FsErrorKind::Encrypted => io::ErrorKind::PermissionDenied,
            FsErrorKind::Unsupported | FsErrorKind::Undecodable(_) => io::ErrorKind::Unsupported,
            FsErrorKind::Corrupt => io::ErrorKind::InvalidData,
            FsErrorKind::NotALink | FsErrorKind::InvalidName => io::ErrorKind::InvalidInput,
            // `Interrupted` would be tried again.
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
