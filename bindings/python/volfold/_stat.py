"""What is known of a file without its content."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Optional

from . import _structs as structs
from . import errors

REGULAR, DIRECTORY, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, FIFO, SOCKET = range(7)

_KINDS = {
    REGULAR: (stat.S_IFREG, 0o444),
    DIRECTORY: (stat.S_IFDIR, 0o555),
    SYMLINK: (stat.S_IFLNK, 0o777),
    CHAR_DEVICE: (stat.S_IFCHR, 0o444),
    BLOCK_DEVICE: (stat.S_IFBLK, 0o444),
    FIFO: (stat.S_IFIFO, 0o444),
    SOCKET: (stat.S_IFSOCK, 0o444),
}

_BILLION = 1_000_000_000


@dataclass(frozen=True)
class StatResult:
    """What `os.stat` would tell of a file, with the same names.

    >>> volume.stat("/docs/letter.txt").st_size  # doctest: +SKIP
    13800
    """

    #: Kind and permissions. Where the file system keeps none: 0o555 for directories, 0o444 for files.
    st_mode: int
    #: The file system's own number of the file.
    st_ino: int
    #: The number in its set of the volume that was asked; a link may have led to another one.
    st_dev: int
    #: How many names the file has.
    st_nlink: int
    #: User number; 0 where unknown.
    st_uid: int
    #: Group number; 0 where unknown.
    st_gid: int
    #: Bytes of the content; of a link's target for links.
    st_size: int
    #: Last read of the content, in nanoseconds since 1970.
    st_atime_ns: int
    #: Last change of the content.
    st_mtime_ns: int
    #: Last change of the metadata.
    st_ctime_ns: int
    #: Creation; None where unknown.
    st_birthtime_ns: Optional[int]
    #: 512-byte units that the content takes on the volume.
    st_blocks: int
    #: The number of a device node; 0 for others.
    st_rdev: int
    #: DOS attributes, as `stat.FILE_ATTRIBUTE_...`; None where there are none.
    st_file_attributes: Optional[int]
    #: Tells two files apart that had one `st_ino` at different times; 0 where unknown.
    st_gen: int
    #: Whether `st_mode`, `st_uid` and `st_gid` are kept by the file system.
    has_owner: bool
    #: How reads of the content will end, where that is known: "encrypted", "corrupt"; else None.
    unreadable: Optional[str]

    @property
    def st_atime(self) -> float:
        """Last read of the content, in seconds since 1970."""
        return self.st_atime_ns / _BILLION

    @property
    def st_mtime(self) -> float:
        """Last change of the content, in seconds since 1970."""
        return self.st_mtime_ns / _BILLION

    @property
    def st_ctime(self) -> float:
        """Last change of the metadata, in seconds since 1970."""
        return self.st_ctime_ns / _BILLION

    @property
    def st_birthtime(self) -> Optional[float]:
        """Creation, in seconds since 1970; None where unknown."""
        return None if self.st_birthtime_ns is None else self.st_birthtime_ns / _BILLION


def _device(major: int, minor: int) -> int:
    if hasattr(os, "makedev"):
        return os.makedev(major, minor)
    return (major << 20) | minor


def from_struct(found: structs.Stat, device: int) -> StatResult:
    """The same as the library gave it, of the volume number `device`."""
    kind, mode = _KINDS.get(found.kind, (0, 0))
    known = found.known
    owner = bool(known & structs.KNOWS_OWNER)
    rdev = _device(found.device_major, found.device_minor) if known & structs.KNOWS_DEVICE else 0
    return StatResult(
        st_mode=kind | (found.mode & 0o7777 if owner else mode),
        st_ino=found.node,
        st_dev=device,
        st_nlink=found.links,
        st_uid=found.uid if owner else 0,
        st_gid=found.gid if owner else 0,
        st_size=found.size,
        st_atime_ns=found.accessed.total(),
        st_mtime_ns=found.modified.total(),
        st_ctime_ns=found.changed.total(),
        st_birthtime_ns=found.created.total() if known & structs.KNOWS_CREATED else None,
        st_blocks=-(-found.allocated // 512),
        st_rdev=rdev,
        st_file_attributes=found.attributes if known & structs.KNOWS_ATTRIBUTES else None,
        st_gen=found.generation,
        has_owner=owner,
        unreadable=errors.status_name(found.unreadable),
    )
