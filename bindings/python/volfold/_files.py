"""Files and devices as file objects."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import sys
from dataclasses import dataclass
from typing import Any, Iterator, List, Optional

from . import _structs as structs
from . import errors
from ._core import Core

# LIMIT: bytes of one call of the library; between two a signal is noticed (Ctrl-C).
_MAX_CALL = 16 << 20

# LIMIT: the bytes of one object of Python, less what it needs itself.
_MAX_BYTES = sys.maxsize - 1024

#: The buffer of file objects, in bytes.
BUFFER_SIZE = 128 << 10

_EXTENT_KINDS = {0: "data", 1: "zero", 2: "unreadable"}


@dataclass(frozen=True)
class Extent:
    """A run of bytes of one kind."""

    #: The first byte.
    offset: int
    #: How many bytes.
    length: int
    #: "data"; "zero", bytes that read as zero and take no place; "unreadable", bytes that are refused.
    kind: str
    #: For "unreadable", how reads end: "corrupt", "encrypted" and others.
    reason: Optional[str] = None


def _new_bytes(size: int) -> Any:
    """`bytes` that are to be filled, and are not shared yet; as Python's own files make them."""
    return _bytes_from_size(None, size)


_bytes_from_size = ctypes.pythonapi.PyBytes_FromStringAndSize
_bytes_from_size.restype = ctypes.py_object
_bytes_from_size.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)


class Source:
    """Bytes that are read by position: of a file, a volume or a disk. There is no cursor."""

    name: object
    size: int

    def __init__(self, core: Core) -> None:
        self.core = core

    def read_into(self, offset: int, address: Any, length: int) -> int:
        """Reads `length` bytes of those that are there to `address`; how many came."""
        raise NotImplementedError

    def extent(self, offset: int, found: structs.Extent) -> None:
        """Fills `found` with the kind of the bytes at `offset`."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes it; later calls raise ValueError."""

    def available(self, offset: int, length: int) -> int:
        """How many of `length` bytes from `offset` on are before the end."""
        if offset < 0:
            raise ValueError(f"negative offset {offset}")
        if length < 0:
            raise ValueError(f"negative length {length}")
        return max(0, min(length, self.size - offset))

    def fill(self, offset: int, address: int, length: int) -> int:
        """Reads `length` bytes from `offset` on to `address`; less only at the end. How many came."""
        wanted = self.available(offset, length)
        self.core.check_open()
        done = 0
        while done < wanted:
            part = min(wanted - done, _MAX_CALL)
            count = self.read_into(offset + done, address + done, part)
            done += count
            if count < part:
                break
        return done

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on."""
        wanted = self.available(offset, length)
        self.core.check_open()
        if wanted == 0:
            return b""
        if wanted > _MAX_BYTES:
            raise MemoryError(f"{wanted} bytes are more than fit into memory")
        data = _new_bytes(wanted)
        address = ctypes.cast(data, ctypes.c_void_p).value
        assert address is not None
        count = self.fill(offset, address, wanted)
        return data if count == wanted else data[:count]  # type: ignore[no-any-return]

    def readinto_at(self, offset: int, buffer: Any) -> int:
        """Fills `buffer` from `offset` on; how many bytes came."""
        with memoryview(buffer) as view, view.cast("B") as data:
            if not data.nbytes:
                self.core.check_open()
                return 0
            start = ctypes.c_char.from_buffer(data)
            try:
                return self.fill(offset, ctypes.addressof(start), data.nbytes)
            finally:
                del start

    def extents(self) -> Iterator[Extent]:
        """All runs of bytes, in order."""
        offset = 0
        while offset < self.size:
            found = structs.Extent()
            self.extent(offset, found)
            length = min(found.length, self.size - offset)
            if length < 1:
                raise errors.make(errors.INTERNAL, "an extent is empty", self.name)
            kind = _EXTENT_KINDS.get(found.kind, "data")
            reason = errors.status_name(found.status)
            yield Extent(offset, length, kind, reason)
            offset += length


class FileSource(Source):
    """The content of a file."""

    def __init__(self, core: Core, handle: int, name: object) -> None:
        super().__init__(core)
        self._handle: Optional[int] = handle
        self.name = name
        size = ctypes.c_uint64()
        try:
            core.check(core.c.volfold_file_size(handle, ctypes.byref(size)), name)
        except BaseException:
            self.close()
            raise
        self.size = size.value

    def _open_handle(self) -> int:
        handle = self._handle
        if handle is None:
            raise ValueError("I/O operation on closed file")
        return handle

    def read_into(self, offset: int, address: Any, length: int) -> int:
        count = ctypes.c_size_t()
        status = self.core.c.volfold_file_read(
            self._open_handle(), offset, address, length, ctypes.byref(count)
        )
        self.core.check(status, self.name)
        return count.value

    def extent(self, offset: int, found: structs.Extent) -> None:
        status = self.core.c.volfold_file_extent(self._open_handle(), offset, ctypes.byref(found))
        self.core.check(status, self.name)

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and not self.core.closed:
            self.core.c.volfold_file_close(handle)


class DiskSource(Source):
    """The bytes of a disk."""

    def __init__(self, core: Core, index: int, size: int, name: object) -> None:
        super().__init__(core)
        self._index = index
        self.size = size
        self.name = name

    def read_into(self, offset: int, address: Any, length: int) -> int:
        core = self.core
        core.check(core.c.volfold_disk_read(core.handle, self._index, offset, address, length), self.name)
        return length

    def extent(self, offset: int, found: structs.Extent) -> None:
        core = self.core
        status = core.c.volfold_disk_extent(core.handle, self._index, offset, ctypes.byref(found))
        core.check(status, self.name)


class VolumeSource(Source):
    """The bytes of a volume."""

    def __init__(self, core: Core, handle: int, size: int, name: object) -> None:
        super().__init__(core)
        self._handle = handle
        self.size = size
        self.name = name

    def read_into(self, offset: int, address: Any, length: int) -> int:
        core = self.core
        core.check(core.c.volfold_volume_read(self._handle, offset, address, length), self.name)
        return length

    def extent(self, offset: int, found: structs.Extent) -> None:
        core = self.core
        core.check(core.c.volfold_volume_extent(self._handle, offset, ctypes.byref(found)), self.name)


class RawFile(io.RawIOBase):
    """A file or device without a buffer, read-only. It has a cursor; `read_at` does not use it."""

    mode = "rb"

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self._position = 0

    @property
    def name(self) -> object:
        """The path of the file, or the name of the device."""
        return self.source.name

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.source.size

    def check_open(self) -> None:
        """Raises ValueError if the file or its set is closed."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        self.source.core.check_open()

    def readable(self) -> bool:
        self.check_open()
        return True

    def seekable(self) -> bool:
        self.check_open()
        return True

    def tell(self) -> int:
        self.check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.check_open()
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in starts:
            raise ValueError(f"invalid whence ({whence})")
        position = starts[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        self.check_open()
        count = self.source.readinto_at(self._position, buffer)
        self._position += count
        return count

    def readall(self) -> bytes:
        self.check_open()
        data = self.source.read_at(self._position, max(0, self.size - self._position))
        self._position += len(data)
        return data

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on, as `os.pread`."""
        self.check_open()
        return self.source.read_at(offset, length)

    def readinto_at(self, offset: int, buffer: Any) -> int:
        """Fills `buffer` from `offset` on, as `os.preadv`; how many bytes came."""
        self.check_open()
        return self.source.readinto_at(offset, buffer)

    def extents(self) -> Iterator[Extent]:
        """The runs of bytes of one kind, in order."""
        for extent in self.source.extents():
            yield extent
            self.check_open()

    def close(self) -> None:
        if not self.closed:
            try:
                # Not there if the constructor failed.
                source: Optional[Source] = getattr(self, "source", None)
                if source is not None:
                    source.close()
            finally:
                super().close()


class File(io.BufferedReader):
    """A file, volume or disk as a file object of Python, read-only.

    Its cursor is that of the object: threads that share it see each other's `seek`. `read_at` and
    `readinto_at` have no cursor, and any number of threads may call them at once.

    >>> with volume.open("/docs/letter.txt", "rb") as file:  # doctest: +SKIP
    ...     file.read(4), file.read_at(100, 5), file.size
    (b'Dear', b'hello', 13800)
    """

    def __init__(self, source: Source, buffer_size: int = BUFFER_SIZE) -> None:
        self._raw = RawFile(source)
        super().__init__(self._raw, buffer_size)

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._raw.size

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on, as `os.pread`: less only at the end."""
        return self._raw.read_at(offset, length)

    def readinto_at(self, offset: int, buffer: Any) -> int:
        """Fills `buffer`, without a copy between; how many bytes came: less only at the end."""
        return self._raw.readinto_at(offset, buffer)

    def extents(self) -> Iterator[Extent]:
        """The runs of bytes of one kind, in order: holes need not be read.

        >>> [extent.kind for extent in disk.open().extents()]  # doctest: +SKIP
        ['data', 'zero', 'data']
        """
        # The file stays open as long as its runs are asked for.
        yield from self._raw.extents()

    def offset_reader(self) -> OffsetReader:
        """The file for programs that read by `read(offset, size)`, as pytsk3's images."""
        return OffsetReader(self)

    # What stands in the buffer is not given out after the set was closed.

    def read(self, size: Optional[int] = -1, /) -> bytes:
        self._raw.check_open()
        return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        self._raw.check_open()
        return super().read1(size)

    def readinto(self, buffer: Any, /) -> int:
        self._raw.check_open()
        return super().readinto(buffer)

    def readinto1(self, buffer: Any, /) -> int:
        self._raw.check_open()
        return super().readinto1(buffer)

    def readline(self, size: Optional[int] = -1, /) -> bytes:
        self._raw.check_open()
        return super().readline(size)

    def readlines(self, hint: int = -1, /) -> List[bytes]:
        self._raw.check_open()
        return super().readlines(hint)

    def peek(self, size: int = 0, /) -> bytes:
        self._raw.check_open()
        return super().peek(size)

    def seek(self, target: int, whence: int = 0, /) -> int:
        self._raw.check_open()
        return super().seek(target, whence)

    def __next__(self) -> bytes:
        self._raw.check_open()
        return super().__next__()


class OffsetReader:
    """A file that is read by `read(offset, size)` and `get_size()`; threads may share it.

    >>> class Image(pytsk3.Img_Info):  # doctest: +SKIP
    ...     def __init__(self, reader):
    ...         self._reader = reader
    ...         super().__init__(url="")
    ...     def read(self, offset, size):
    ...         return self._reader.read(offset, size)
    ...     def get_size(self):
    ...         return self._reader.get_size()
    """

    def __init__(self, file: File) -> None:
        self._file = file

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on."""
        return self._file.read_at(offset, size)

    def get_size(self) -> int:
        """The size in bytes."""
        return self._file.size

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
