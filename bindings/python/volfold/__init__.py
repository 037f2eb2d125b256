"""Reads the files in sets of disk images: VMDK, VHD, VHDX, QCOW2, raw and others, without mounting.

>>> import volfold
>>> with volfold.open(["disk1.vmdk", "disk2.vmdk"]) as ds:  # doctest: +SKIP
...     for volume in ds.volumes:
...         print(volume.name, volume.file_system, volume.size)
...     print(ds.volumes["C:"].read_text("/Windows/win.ini"))

What cannot be decoded is an exception with a reason, never zeros in place of content. Nothing is written
to an image. The native library is loaded at the first use, and found by the environment variable
VOLFOLD_LIBRARY, beside this package, or by the loader of the system. Its calls release the global
interpreter lock: threads read at the same time.
"""

from ._directory import DirEntry, ScandirIterator
from ._files import Extent, File, OffsetReader, RawFile
from ._progress import Progress
from ._set import (
    Disk,
    DiskInfo,
    DiskSet,
    Failure,
    Finding,
    Key,
    KeyFile,
    Mount,
    MountedVolume,
    MountPoint,
    Password,
    RecoveryKey,
    System,
    Systems,
    Volumes,
    set_threads,
    version,
)
from ._set import open_set as open  # noqa: A004
from ._stat import StatResult
from ._volume import Place, Stream, Usage, Volume, VolumeInfo
from .errors import (
    CorruptError,
    EncryptedError,
    Error,
    HostError,
    IncompleteSet,
    InternalError,
    InvalidNameError,
    IsDirectoryError,
    LibraryError,
    MissingPartError,
    NotDirectoryError,
    NotFoundError,
    NotLinkError,
    OutOfRangeError,
    ProgramError,
    RefusedError,
    ResourceError,
    StoppedError,
    TooLargeError,
    UndecodableError,
    UnsupportedError,
)
from .path import VolfoldPath

__version__ = "0.1.0"

__all__ = [
    "CorruptError",
    "DirEntry",
    "Disk",
    "DiskInfo",
    "DiskSet",
    "EncryptedError",
    "Error",
    "Extent",
    "Failure",
    "File",
    "Finding",
    "HostError",
    "IncompleteSet",
    "InternalError",
    "InvalidNameError",
    "IsDirectoryError",
    "Key",
    "KeyFile",
    "LibraryError",
    "MissingPartError",
    "Mount",
    "MountPoint",
    "MountedVolume",
    "NotDirectoryError",
    "NotFoundError",
    "NotLinkError",
    "OffsetReader",
    "OutOfRangeError",
    "Password",
    "Place",
    "ProgramError",
    "Progress",
    "RawFile",
    "RecoveryKey",
    "RefusedError",
    "ResourceError",
    "ScandirIterator",
    "StatResult",
    "StoppedError",
    "Stream",
    "System",
    "Systems",
    "TooLargeError",
    "UndecodableError",
    "UnsupportedError",
    "Usage",
    "VolfoldPath",
    "Volume",
    "VolumeInfo",
    "Volumes",
    "open",
    "set_threads",
    "version",
]
