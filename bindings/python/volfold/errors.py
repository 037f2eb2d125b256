"""What goes wrong: one exception per answer to "what can the caller do"."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple, Type

if TYPE_CHECKING:
    from ._set import Failure


class LibraryError(ImportError):
    """The native library was not found, or is of another version.

    >>> import os, volfold
    >>> os.environ["VOLFOLD_LIBRARY"] = "/nowhere/libvolfold.so"
    >>> volfold.version()  # doctest: +SKIP
    Traceback (most recent call last):
    volfold.errors.LibraryError: cannot load ...
    """


class Error(OSError):
    """Something cannot be read. `errno`, `strerror` and `filename` are those of `OSError`.

    >>> try:
    ...     volume.read("/secret.txt")  # doctest: +SKIP
    ... except volfold.Error as error:
    ...     print(error.code, error.position, error.strerror)
    encrypted None content is encrypted, and no key is known
    """

    #: The stable code, as `volfold --json` has it; `volfold explain CODE` tells more.
    code: str = ""
    #: The byte position in the part, disk or volume that the error is about, if it is about one.
    position: Optional[int] = None


class NotFoundError(Error, FileNotFoundError):
    """There is no such file or stream."""


class NotDirectoryError(Error, NotADirectoryError):
    """A directory was needed."""


class IsDirectoryError(Error, IsADirectoryError):
    """A file was needed."""


class NotLinkError(Error):
    """A link was needed."""


class InvalidNameError(Error):
    """No name can look like this."""


class HostError(Error):
    """The host could not read an image. A second try may help."""


class CorruptError(Error):
    """The bytes contradict their format."""


class UnsupportedError(Error):
    """The bytes are fine, and this version cannot read them."""


class UndecodableError(UnsupportedError):
    """The content is stored in a form that is not read, or not on the volume; `code` says in which."""


class OutOfRangeError(Error):
    """A read outside of the disk, volume or file."""


class MissingPartError(Error):
    """Another file or disk is needed."""


class RefusedError(Error, PermissionError):
    """Policy forbids it, or the volume is locked."""


class EncryptedError(Error, PermissionError):
    """The content is encrypted, and no key is known."""


class StoppedError(Error):
    """The program stopped the set, whose open failed or which reads no more."""


class TooLargeError(Error):
    """A file is larger than the caller allows."""


class ResourceError(Error):
    """There is no memory, or too many handles are open."""


class ProgramError(Error):
    """The program volfold, which mounts, was not found or failed."""


class InternalError(Error):
    """A fault of the library; please report it."""


class IncompleteSet(Error):
    """Images of a set cannot be opened. `open(..., partial=True)` gives the rest.

    >>> try:
    ...     volfold.open(["good.vmdk", "bad.vmdk"])  # doctest: +SKIP
    ... except volfold.IncompleteSet as error:
    ...     for failure in error.failures:
    ...         print(failure.path, failure.message)
    bad.vmdk parent base.vmdk is missing
    """

    #: The images that cannot be opened.
    failures: Sequence[Failure] = ()


OK, END, INCOMPLETE = 0, 1, 2
INVALID_ARGUMENT, INVALID_HANDLE = 10, 11
STOPPED, INTERNAL = 28, 50

_KINDS: Dict[int, Tuple[Type[Error], int, str]] = {
    INCOMPLETE: (IncompleteSet, errno.EIO, "incomplete"),
    12: (ResourceError, errno.ENOMEM, "out-of-memory"),
    20: (HostError, errno.EIO, "io"),
    21: (CorruptError, errno.EIO, "corrupt"),
    22: (UnsupportedError, errno.ENOTSUP, "unsupported"),
    23: (OutOfRangeError, errno.EINVAL, "out-of-range"),
    24: (MissingPartError, errno.EIO, "missing-part"),
    25: (RefusedError, errno.EACCES, "refused"),
    26: (EncryptedError, errno.EACCES, "encrypted"),
    27: (UndecodableError, errno.ENOTSUP, "undecodable"),
    STOPPED: (StoppedError, errno.ECANCELED, "stopped"),
    30: (NotFoundError, errno.ENOENT, "not-found"),
    31: (NotDirectoryError, errno.ENOTDIR, "not-a-directory"),
    32: (IsDirectoryError, errno.EISDIR, "is-a-directory"),
    33: (NotLinkError, errno.EINVAL, "not-a-link"),
    34: (InvalidNameError, errno.EINVAL, "invalid-name"),
    40: (ProgramError, errno.EIO, "no-program"),
    41: (ProgramError, errno.EIO, "program-failed"),
    INTERNAL: (InternalError, errno.EIO, "internal"),
}


def status_name(status: int) -> Optional[str]:
    """What `status` is called; None for success."""
    if status == OK:
        return None
    return _KINDS.get(status, (Error, errno.EIO, "unknown"))[2]


def make(
    status: int,
    message: str,
    filename: object = None,
    code: Optional[str] = None,
    position: Optional[int] = None,
) -> Error:
    """The exception for `status`, whose code is `code` if it has one of its own."""
    kind, number, name = _KINDS.get(status, (Error, errno.EIO, "unknown"))
    error = kind(number, message) if filename is None else kind(number, message, filename)
    error.code = code or name
    error.position = position
    return error
