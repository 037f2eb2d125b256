//! The one error of this crate.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

/// What every fallible call of this crate returns.
pub type BlockResult<T> = Result<T, BlockError>;

/// What the caller should do about a [`BlockError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockErrorKind {
    /// The host could not read. A second try may help.
    Io,
    /// The bytes contradict the specification.
    Corrupt,
    /// The bytes are fine, this build cannot read them.
    Unsupported,
    /// The request lies outside the device. A mistake of the layer above.
    OutOfRange,
    /// Another file or disk is needed and was not found.
    MissingPart,
    /// Policy forbids it: a file outside the folders that the user allowed.
    Refused,
    /// The bytes are encrypted, and there is no key.
    Encrypted,
    /// The caller stopped the work.
    Stopped,
    /// A fault of ours: a panic that [`crate::guard`] caught.
    Internal,
}

impl BlockErrorKind {
    /// The stable code, as messages and JSON show it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::OutOfRange => "out-of-range",
            Self::MissingPart => "missing-part",
            Self::Refused => "refused",
            Self::Encrypted => "encrypted",
            Self::Stopped => "stopped",
            Self::Internal => "internal",
        }
    }
}

/// Why a block could not be read or an image not be opened.
#[derive(Debug)]
pub struct BlockError {
    kind: BlockErrorKind,
    message: Cow<'static, str>,
    position: Option<u64>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BlockError {
    /// An error of `kind`; `message` is lower case, without a full stop, and names the structure.
    pub fn new(kind: BlockErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), position: None, source: None }
    }

    /// The bytes of the structure that begins at `at` contradict the specification, at the field
    /// `field` bytes past its start.
    pub fn corrupt(message: impl Into<Cow<'static, str>>, at: u64, field: u64) -> Self {
        Self::new(BlockErrorKind::Corrupt, message).at(at.saturating_add(field))
    }

    /// The bytes are valid and beyond this build.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BlockErrorKind::Unsupported, message)
    }

    /// A file or disk that is needed is not there.
    pub fn missing(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BlockErrorKind::MissingPart, message)
    }

    /// The bytes are encrypted.
    pub fn encrypted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BlockErrorKind::Encrypted, message)
    }

    /// The caller stopped the work.
    pub fn stopped() -> Self {
        Self::new(BlockErrorKind::Stopped, "stopped by the caller")
    }

    /// Policy forbids the request.
    pub fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BlockErrorKind::Refused, message)
    }

    /// A request of `length` bytes at `offset` that leaves a device of `size` bytes.
    pub fn out_of_range(offset: u64, length: u64, size: u64) -> Self {
        Self::new(
            BlockErrorKind::OutOfRange,
            format!("read of {length} bytes leaves the device of {size} bytes"),
        )
        .at(offset)
    }

    /// The same error with a byte position in the file or device.
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

    /// The same error, its sentence led by the part it is about: `extent a.vmdk: ...`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.message = format!("{part}: {}", self.message).into();
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> BlockErrorKind {
        self.kind
    }

    /// The sentence, without position and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The byte position in the file or device, if there is one.
    pub fn position(&self) -> Option<u64> {
        self.position
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(position) = self.position {
            write!(f, " (at byte {position})")?;
        }
        Ok(())
    }
}

impl Error for BlockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| -> &(dyn Error + 'static) { source })
    }
}

impl From<io::Error> for BlockError {
    fn from(error: io::Error) -> Self {
        Self::new(BlockErrorKind::Io, "the host could not read").because(error)
    }
}

/// `error` and its causes on one line, as messages show them.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
