"""Volumes, and the files on them."""

from __future__ import annotations

import ctypes
import io
import os
import stat
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    AnyStr,
    Dict,
    Iterator,
    List,
    NoReturn,
    Optional,
    Tuple,
    Union,
    overload,
)

from . import _stat
from . import _structs as structs
from . import errors
from ._core import Core
from ._directory import OnError, ScandirIterator, Walker, WalkStep, is_kind
from ._files import BUFFER_SIZE, File, FileSource, RawFile, VolumeSource
from ._library import text_bytes

if TYPE_CHECKING:
    from typing import Literal

    from .path import VolfoldPath

#: What paths on a volume may be: text, bytes, or an object that stands for one.
GuestPath = Union[str, bytes, "VolfoldPath", PurePosixPath]

_KINDS = {0: "basic", 1: "gpt", 2: "dynamic", 3: "whole-disk", 4: "logical", 5: "shadow-copy", 6: "encrypted", 7: "raid"}
_HEALTH = {0: "healthy", 1: "degraded", 2: "failed"}


@dataclass(frozen=True)
class Place:
    """A run of bytes of one disk."""

    #: The number of the disk.
    disk: int
    #: The first byte on it.
    offset: int
    #: The size in bytes.
    length: int


@dataclass(frozen=True)
class Stream:
    """A stream of a file beside its main one."""

    #: Its name.
    name: str
    #: Its size in bytes.
    size: int


@dataclass(frozen=True)
class Usage:
    """How large a file system is, and how full, in bytes."""

    #: The size of the file system.
    size: int
    #: Bytes in use.
    used: int


@dataclass(frozen=True)
class VolumeInfo:
    """What a volume is."""

    #: The number in the set.
    index: int
    #: The size in bytes.
    size: int
    #: Where it comes from: "basic" (MBR), "gpt", "dynamic", "logical", "shadow-copy", "encrypted", "raid", "whole-disk", "other".
    kind: str
    #: "healthy"; "degraded", parts are missing and all bytes can be had; "failed", bytes are missing.
    health: str
    #: Whether its files can be read.
    readable: bool
    #: Whether there are files, or may well be, that are not shown.
    left_out: bool
    #: Whether it is locked, and no key opened it.
    locked: bool
    #: The id, which does not depend on the order of the images.
    id: str
    #: The name of its folder, unique in the set.
    name: str
    #: How it lies on its disks: "partition", "simple", "spanned", "striped", "mirrored", "raid5".
    layout: str
    #: The kind of its file system, "ntfs"; None if it cannot be read.
    file_system: Optional[str]
    #: The label.
    label: Optional[str]
    #: Serial number or UUID of the file system.
    uuid: Optional[str]
    #: Why its files cannot be read; None if they can.
    reason: Optional[str]
    #: The id of the volume that it is a snapshot of.
    snapshot_of: Optional[str]
    #: When the snapshot was taken, in seconds since 1970; 0 where that is not known.
    snapshot_time: Optional[int]
    #: The allocation unit of its file system in bytes; 0 if it cannot be read.
    cluster_size: int
    #: What Windows calls it, as far as the disks tell: "C:", "Volume{...}".
    guest_names: Tuple[str, ...]
    #: Where its bytes lie.
    places: Tuple[Place, ...]


def _info(found: structs.VolumeInfo) -> VolumeInfo:
    names = structs.text_items(found.guest_names, found.guest_name_count)
    places = [found.places[number] for number in range(found.place_count)]
    snapshot_of = found.snapshot_of.optional()
    return VolumeInfo(
        index=found.index,
        size=found.size,
        kind=_KINDS.get(found.kind, "other"),
        health=_HEALTH.get(found.health, "failed"),
        readable=found.readable,
        left_out=found.left_out,
        locked=found.locked,
        id=found.id.guest(),
        name=found.name.guest(),
        layout=found.layout.guest(),
        file_system=found.file_system.optional(),
        label=found.label.optional(),
        uuid=found.uuid.optional(),
        reason=found.reason.optional(),
        snapshot_of=snapshot_of,
        snapshot_time=None if snapshot_of is None else found.snapshot_time,
        cluster_size=found.cluster_size,
        guest_names=tuple(name.guest() for name in names),
        places=tuple(Place(place.disk, place.offset, place.length) for place in places),
    )


def plain_path(path: object) -> Union[str, bytes]:
    """A path of a guest as text or bytes."""
    from .path import VolfoldPath

    if isinstance(path, (str, bytes)):
        return path
    if isinstance(path, VolfoldPath):
        return str(path)
    if isinstance(path, os.PathLike):
        plain: Union[str, bytes] = os.fspath(path)
        return plain
    kind = type(path).__name__
    raise TypeError(f"path should be str, bytes, VolfoldPath or os.PathLike, not {kind}")


def _path_bytes(path: object) -> bytes:
    plain = plain_path(path)
    return plain if isinstance(plain, bytes) else structs.encode_name(plain)


def _unknown_mode(mode: object) -> NoReturn:
    raise ValueError(f"invalid mode: {mode!r}; volumes are read-only: 'r', 'rt' or 'rb'")


class Volume:
    """A volume of a set, and its files.

    Paths begin at the root of the volume, "/docs/letter.txt"; a `/` at their begin may be left out.
    Names of guests are bytes: in text, those that are no UTF-8 are lone surrogates, as `os.fsdecode`
    makes them, and a path of `bytes` gives names as `bytes`. Links are followed as the guest follows them.

    >>> volume = ds.volumes["Windows"]  # doctest: +SKIP
    >>> volume.listdir("/")  # doctest: +SKIP
    ['Documents', 'Pictures', 'README.txt', 'eicar.com']
    """

    def __init__(self, core: Core, index: int) -> None:
        self._core = core
        #: The number in the set.
        self.index: int = index
        self._known: Optional[VolumeInfo] = None

    @property
    def info(self) -> VolumeInfo:
        """All that is known of the volume; its file system is entered for that."""
        if self._known is None:
            core = self._core
            core.check_open()
            with core.block(structs.VolumeInfo, core.c.volfold_volume_info, self._handle) as found:
                self._known = _info(found)
        return self._known

    @property
    def _handle(self) -> int:
        self._core.check_open()
        return self._core.volume(self.index)

    @property
    def id(self) -> str:
        """The id, which does not depend on the order of the images."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name of its folder, unique in the set."""
        return self.info.name

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.info.size

    @property
    def kind(self) -> str:
        """Where it comes from: "basic" (MBR), "gpt", "dynamic", "logical", "shadow-copy", "encrypted", "raid", "whole-disk", "other"."""
        return self.info.kind

    @property
    def health(self) -> str:
        """Whether all parts are there: "healthy", "degraded", "failed"."""
        return self.info.health

    @property
    def readable(self) -> bool:
        """Whether its files can be read; `reason` says why not."""
        return self.info.readable

    @property
    def reason(self) -> Optional[str]:
        """Why its files cannot be read; None if they can."""
        return self.info.reason

    @property
    def locked(self) -> bool:
        """Whether it is locked, and no key opened it."""
        return self.info.locked

    @property
    def layout(self) -> str:
        """How it lies on its disks: "partition", "spanned", "raid5" and others."""
        return self.info.layout

    @property
    def file_system(self) -> Optional[str]:
        """The kind of its file system, "ntfs"; None if it cannot be read."""
        return self.info.file_system

    @property
    def label(self) -> Optional[str]:
        """The label."""
        return self.info.label

    @property
    def uuid(self) -> Optional[str]:
        """Serial number or UUID of the file system."""
        return self.info.uuid

    @property
    def guest_names(self) -> Tuple[str, ...]:
        """What Windows calls it, as far as the disks tell: "C:", "Volume{...}"."""
        return self.info.guest_names

    @property
    def places(self) -> Tuple[Place, ...]:
        """Where its bytes lie."""
        return self.info.places

    def usage(self) -> Usage:
        """How full the file system is; may read whole bitmaps.

        >>> volume.usage()  # doctest: +SKIP
        Usage(size=8388608, used=1478656)
        """
        found = structs.Usage()
        self._core.check(self._core.c.volfold_volume_usage(self._handle, ctypes.byref(found)))
        return Usage(found.size, found.used)

    def open_device(self, buffering: int = -1) -> File:
        """The bytes of the volume itself, whatever is on it.

        >>> with volume.open_device() as device:  # doctest: +SKIP
        ...     device.read_at(3, 8)
        b'NTFS    '
        """
        source = VolumeSource(self._core, self._handle, self.size, self.id)
        return File(source, BUFFER_SIZE if buffering < 1 else buffering)

    @overload
    def open(
        self,
        path: GuestPath,
        mode: Literal["rb", "br"],
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        stream: Union[str, bytes, None] = None,
    ) -> File: ...

    @overload
    def open(
        self,
        path: GuestPath,
        mode: Literal["r", "rt", "tr"] = "r",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        *,
        stream: Union[str, bytes, None] = None,
    ) -> io.TextIOWrapper: ...

    @overload
    def open(
        self,
        path: GuestPath,
        mode: str,
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        *,
        stream: Union[str, bytes, None] = None,
    ) -> IO[Any]: ...

    def open(
        self,
        path: GuestPath,
        mode: str = "r",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        *,
        stream: Union[str, bytes, None] = None,
    ) -> Any:
        """Opens a file, as the `open` of Python; text is UTF-8 if `encoding` does not say otherwise.

        `stream` is the name of a stream beside the main one (NTFS). With `buffering=0` it is a RawFile.

        >>> with volume.open("/docs/letter.txt", encoding="cp1252") as file:  # doctest: +SKIP
        ...     for line in file:
        ...         print(line)
        >>> volume.open("/setup.exe", "rb", stream="Zone.Identifier").read()  # doctest: +SKIP
        b'[ZoneTransfer]\\r\\nZoneId=3\\r\\n'
        """
        if mode not in ("r", "rt", "tr", "rb", "br"):
            _unknown_mode(mode)
        is_text = "b" not in mode
        if not is_text and (encoding is not None or errors is not None or newline is not None):
            raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
        if is_text and buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        source = self._source(path, stream)
        if buffering == 0:
            return RawFile(source)
        file = File(source, BUFFER_SIZE if buffering <= 1 else buffering)
        if not is_text:
            return file
        try:
            return io.TextIOWrapper(file, encoding or "utf-8", errors, newline)
        except BaseException:
            file.close()
            raise

    def _source(self, path: GuestPath, stream: Union[str, bytes, None]) -> FileSource:
        name = plain_path(path)
        raw = _path_bytes(name)
        inner = structs.encode_name(stream) if isinstance(stream, str) else stream
        length = 0 if inner is None else len(inner)
        core = self._core
        handle = core.new_handle(
            core.c.volfold_file_open, self._handle, raw, len(raw), inner, length, filename=name
        )
        return FileSource(core, handle, name)

    def read(
        self,
        path: GuestPath,
        *,
        stream: Union[str, bytes, None] = None,
        max_size: Optional[int] = None,
    ) -> bytes:
        """The content of a file. One that is larger than `max_size` is refused with TooLargeError: an
        image of unknown origin may have files of any size.

        >>> volume.read("/README.txt", max_size=1 << 20)  # doctest: +SKIP
        b'Hello'
        """
        source = self._source(path, stream)
        try:
            if max_size is not None and source.size > max_size:
                message = f"file has {source.size} bytes, more than {max_size}"
                raise _too_large(message, source.name)
            return source.read_at(0, source.size)
        finally:
            source.close()

    def read_text(
        self,
        path: GuestPath,
        encoding: str = "utf-8",
        errors: str = "strict",
        *,
        stream: Union[str, bytes, None] = None,
        max_size: Optional[int] = None,
    ) -> str:
        """The content of a file as text, with the ends of lines as Python has them.

        >>> volume.read_text("/README.txt")  # doctest: +SKIP
        'Hello'
        """
        data = self.read(path, stream=stream, max_size=max_size)
        with io.TextIOWrapper(io.BytesIO(data), encoding, errors) as text:
            return text.read()

    def stat(self, path: GuestPath, *, follow_symlinks: bool = True) -> _stat.StatResult:
        """What is known of a file without its content.

        >>> volume.stat("/docs").st_mode  # doctest: +SKIP
        16749
        """
        raw = _path_bytes(path)
        found = structs.Stat()
        found.struct_size = ctypes.sizeof(found)
        core = self._core
        status = core.c.volfold_stat(
            self._handle, raw, len(raw), follow_symlinks, ctypes.byref(found)
        )
        core.check(status, plain_path(path))
        return _stat.from_struct(found, self.index)

    def lstat(self, path: GuestPath) -> _stat.StatResult:
        """What is known of a file, or of a link itself."""
        return self.stat(path, follow_symlinks=False)

    def _is(self, path: GuestPath, kind: Optional[int], follow_symlinks: bool = True) -> bool:
        try:
            found = self.stat(path, follow_symlinks=follow_symlinks)
        except (errors.NotFoundError, errors.NotDirectoryError, errors.InvalidNameError):
            return False
        return kind is None or is_kind(found, kind)

    def exists(self, path: GuestPath, *, follow_symlinks: bool = True) -> bool:
        """Whether there is something. What cannot be told is an error, not False.

        >>> volume.exists("/no such file")  # doctest: +SKIP
        False
        """
        return self._is(path, None, follow_symlinks)

    def isfile(self, path: GuestPath) -> bool:
        """Whether there is a regular file, or a link to one."""
        return self._is(path, stat.S_IFREG)

    def isdir(self, path: GuestPath) -> bool:
        """Whether there is a directory, or a link to one."""
        return self._is(path, stat.S_IFDIR)

    def islink(self, path: GuestPath) -> bool:
        """Whether there is a symbolic link, or a junction."""
        return self._is(path, stat.S_IFLNK, follow_symlinks=False)

    @overload
    def scandir(self, path: AnyStr) -> ScandirIterator[AnyStr]: ...

    @overload
    def scandir(self, path: Union[VolfoldPath, PurePosixPath] = ...) -> ScandirIterator[str]: ...

    def scandir(self, path: Any = "/") -> Any:
        """The entries of a directory, as `os.scandir`, with what is known of each.

        >>> with volume.scandir("/") as entries:  # doctest: +SKIP
        ...     sum(entry.stat().st_size for entry in entries if entry.is_file())
        2048
        """
        top = plain_path(path)
        raw = _path_bytes(top)
        core = self._core
        handle = core.new_handle(
            core.c.volfold_directory_open, self._handle, raw, len(raw), filename=top
        )
        return ScandirIterator(self, core, handle, top, self.index)

    @overload
    def listdir(self, path: AnyStr) -> List[AnyStr]: ...

    @overload
    def listdir(self, path: Union[VolfoldPath, PurePosixPath] = ...) -> List[str]: ...

    def listdir(self, path: Any = "/") -> Any:
        """The names in a directory.

        >>> volume.listdir("/docs")  # doctest: +SKIP
        ['letter.txt', 'picture.bin']
        """
        with self.scandir(path) as entries:
            return [entry.name for entry in entries]

    @overload
    def walk(
        self,
        top: AnyStr,
        topdown: bool = ...,
        onerror: Optional[OnError] = ...,
        followlinks: bool = ...,
    ) -> Iterator[WalkStep[AnyStr]]: ...

    @overload
    def walk(
        self,
        top: Union[VolfoldPath, PurePosixPath] = ...,
        topdown: bool = ...,
        onerror: Optional[OnError] = ...,
        followlinks: bool = ...,
    ) -> Iterator[WalkStep[str]]: ...

    def walk(
        self,
        top: Any = "/",
        topdown: bool = True,
        onerror: Optional[OnError] = None,
        followlinks: bool = False,
    ) -> Any:
        """All directories below `top`, as `os.walk`, but for one thing: a directory that cannot be
        listed raises its error if there is no `onerror`; with it, the walk goes on.

        Directories that lead back into themselves, which only a damaged or hostile volume has, are
        errors and not entered again.

        >>> problems = []
        >>> for folder, folders, names in volume.walk("/", onerror=problems.append):  # doctest: +SKIP
        ...     print(folder, len(names))
        / 2
        /docs 2
        """
        return Walker[Any](self, topdown, onerror, followlinks).walk(plain_path(top))

    @overload
    def readlink(self, path: bytes) -> bytes: ...

    @overload
    def readlink(self, path: Union[str, VolfoldPath, PurePosixPath]) -> str: ...

    def readlink(self, path: Any) -> Any:
        """Where a link leads, with `/` between the parts.

        >>> volume.readlink("/etc/localtime")  # doctest: +SKIP
        '/usr/share/zoneinfo/Europe/Berlin'
        """
        raw = self._texts(self._core.c.volfold_read_link, path)[0]
        return raw if isinstance(path, bytes) else structs.decode_name(raw)

    def _texts(self, function: Any, path: object, *more: object) -> List[bytes]:
        raw = _path_bytes(path)
        arguments = (self._handle, raw, len(raw), *more)
        with self._core.block(
            structs.TextList, function, *arguments, filename=plain_path(path)
        ) as found:
            return [item.raw() or b"" for item in structs.text_items(found.items, found.count)]

    def listxattr(self, path: GuestPath) -> List[str]:
        """The names of the extended attributes: "system." and a name for what the file system keeps,
        "user." and a name for what programs wrote. Links are not followed."""
        return [structs.decode_name(name) for name in self._texts(self._core.c.volfold_attributes, path)]

    def getxattr(self, path: GuestPath, name: str) -> bytes:
        """The value of an extended attribute; links are not followed.

        >>> volume.getxattr("/a", "system.ntfs_attrib")  # doctest: +SKIP
        b' \\x00\\x00\\x00'
        """
        return self._texts(self._core.c.volfold_attribute, path, text_bytes(name, "name"))[0]

    def xattrs(self, path: GuestPath) -> Dict[str, bytes]:
        """All extended attributes; links are not followed."""
        return {name: self.getxattr(path, name) for name in self.listxattr(path)}

    def streams(self, path: GuestPath) -> List[Stream]:
        """The streams of a file beside its main one.

        >>> volume.streams("/setup.exe")  # doctest: +SKIP
        [Stream(name='Zone.Identifier', size=26)]
        """
        raw = _path_bytes(path)
        core = self._core
        arguments = (self._handle, raw, len(raw))
        with core.block(
            structs.StreamList, core.c.volfold_streams, *arguments, filename=plain_path(path)
        ) as found:
            items = [found.items[number] for number in range(found.count)]
            return [Stream(item.name.guest(), item.size) for item in items]

    def path(self, path: Union[str, bytes, PurePosixPath] = "/") -> VolfoldPath:
        """A path on this volume as an object, as `pathlib` has them.

        >>> [path.name for path in volume.path("/docs").glob("*.txt")]  # doctest: +SKIP
        ['letter.txt']
        """
        from .path import VolfoldPath

        return VolfoldPath(self, path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Volume):
            return NotImplemented
        return self._core is other._core and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self._core), self.index))

    def __repr__(self) -> str:
        if self._core.closed:
            return f"<Volume {self.index} of a closed set>"
        return f"<Volume {self.name!r} {self.id} {self.file_system or 'unreadable'}>"


def _too_large(message: str, filename: object) -> errors.TooLargeError:
    import errno

    error = errors.TooLargeError(errno.EFBIG, message, filename)
    error.code = "too-large"
    return error
