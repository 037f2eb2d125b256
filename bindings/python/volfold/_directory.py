"""Listing directories and walking trees."""

from __future__ import annotations

import ctypes
import errno
import stat
from types import TracebackType
from typing import TYPE_CHECKING, AnyStr, Callable, Generic, Iterator, List, Optional, Set, Tuple, Type
from typing import Union

from . import _stat
from . import _structs as structs
from . import errors
from ._core import Core

if TYPE_CHECKING:
    from ._volume import Volume

# LIMIT: links that one walk follows into directories; a hostile volume has a way through them for
# every number.
_MAX_LINKS = 1 << 16

# LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
_MAX_DEPTH = 2048


class DirEntry(Generic[AnyStr]):
    """An entry of a directory, as `os.DirEntry`. What it tells was read with the directory.

    >>> for entry in volume.scandir("/docs"):  # doctest: +SKIP
    ...     print(entry.name, entry.stat().st_size)
    """

    __slots__ = ("_kind", "_stat", "_volume", "name", "path")

    def __init__(
        self, volume: Volume, name: AnyStr, path: AnyStr, kind: int, found: Optional[_stat.StatResult]
    ) -> None:
        self._volume = volume
        #: The name.
        self.name: AnyStr = name
        #: The path that was listed, and the name.
        self.path: AnyStr = path
        self._kind = kind
        self._stat = found

    def stat(self, *, follow_symlinks: bool = True) -> _stat.StatResult:
        """What is known of it."""
        if follow_symlinks and self._kind == _stat.SYMLINK:
            return self._volume.stat(self.path)
        if self._stat is None:
            self._stat = self._volume.stat(self.path, follow_symlinks=False)
        return self._stat

    def inode(self) -> int:
        """The file system's own number of it."""
        return self.stat(follow_symlinks=False).st_ino

    def _is(self, kind: int, follow_symlinks: bool) -> bool:
        if not follow_symlinks or self._kind != _stat.SYMLINK:
            return self._kind == kind
        check = self._volume.isdir if kind == _stat.DIRECTORY else self._volume.isfile
        return check(self.path)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory, or a link to one."""
        return self._is(_stat.DIRECTORY, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self._is(_stat.REGULAR, follow_symlinks)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link, or a junction."""
        return self._kind == _stat.SYMLINK

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class ScandirIterator(Generic[AnyStr]):
    """The entries of a directory; a context manager, as what `os.scandir` gives.

    An entry that cannot be read raises an error, and those after it can still be had.
    """

    def __init__(self, volume: Volume, core: Core, handle: int, top: AnyStr, index: int) -> None:
        self._volume = volume
        self._core = core
        self._handle: Optional[int] = handle
        self._top: AnyStr = top
        self._index = index

    def __iter__(self) -> ScandirIterator[AnyStr]:
        return self

    def __next__(self) -> DirEntry[AnyStr]:
        handle = self._handle
        if handle is None:
            raise StopIteration
        core = self._core
        pointer = ctypes.c_void_p()
        status = core.c.volfold_directory_next(handle, ctypes.byref(pointer))
        if status == errors.END:
            self.close()
            raise StopIteration
        core.check(status, self._top)
        assert pointer.value is not None
        try:
            return self._entry(structs.Entry.from_address(pointer.value))
        finally:
            core.c.volfold_free(pointer)

    def _entry(self, found: structs.Entry) -> DirEntry[AnyStr]:
        if found.status != errors.OK:
            message = found.message.guest() or "cannot be read"
            raise errors.make(found.status, message, found.path.guest())
        raw = found.name.raw() or b""
        name = structs.decode_name(raw) if isinstance(self._top, str) else raw
        known = _stat.from_struct(found.stat.contents, self._index) if found.stat else None
        return DirEntry(self._volume, name, join(self._top, name), found.kind, known)

    def close(self) -> None:
        """Ends the listing."""
        handle, self._handle = self._handle, None
        if handle is not None and not self._core.closed:
            self._core.c.volfold_directory_close(handle)

    def __enter__(self) -> ScandirIterator[AnyStr]:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Not there if the constructor failed.
        if getattr(self, "_handle", None) is not None:
            self.close()


def join(top: AnyStr, name: AnyStr) -> AnyStr:
    """`name` in the directory `top`."""
    if isinstance(top, str):
        return top + name if top.endswith("/") or not top else f"{top}/{name}"
    return top + name if top.endswith(b"/") or not top else top + b"/" + name


#: What `walk` gives: a directory, the names of the directories in it, and all other names.
WalkStep = Tuple[AnyStr, List[AnyStr], List[AnyStr]]
OnError = Callable[[errors.Error], object]

_Key = Tuple[int, ...]


class Walker(Generic[AnyStr]):
    """A walk, without recursion. No directory is entered again by way of itself."""

    def __init__(
        self, volume: Volume, topdown: bool, onerror: Optional[OnError], followlinks: bool
    ) -> None:
        self._volume = volume
        self._topdown = topdown
        self._onerror = onerror
        self._followlinks = followlinks
        self._links = 0
        self._seen: Set[_Key] = set()

    def _failed(self, error: errors.Error) -> None:
        if self._onerror is None:
            raise error
        self._onerror(error)

    def _list(self, top: AnyStr) -> Optional[WalkStep[AnyStr]]:
        """What is in `top`; None if it cannot be listed at all."""
        folders: List[AnyStr] = []
        others: List[AnyStr] = []
        try:
            listing = self._volume.scandir(top)
        except errors.Error as error:
            self._failed(error)
            return None
        with listing:
            while True:
                try:
                    entry = next(listing)
                except StopIteration:
                    return top, folders, others
                except errors.Error as error:
                    self._failed(error)
                    continue
                (folders if self._is_folder(entry) else others).append(entry.name)

    def _is_folder(self, entry: DirEntry[AnyStr]) -> bool:
        try:
            return entry.is_dir()
        except errors.Error as error:
            # The name is there, whatever its link leads to.
            self._failed(error)
            return False

    def _key(self, found: _stat.StatResult) -> _Key:
        """What tells a directory from all others."""
        # A link may lead to another volume, where numbers mean other files.
        if self._followlinks:
            return (found.st_ino, found.st_gen, found.st_mtime_ns, found.st_ctime_ns)
        return (found.st_ino, found.st_gen)

    def _enter(self, top: AnyStr, above: Tuple[_Key, ...]) -> Optional[Tuple[_Key, ...]]:
        """Whether `top` may be entered below the directories `above`: those, and it."""
        try:
            found = self._volume.lstat(top)
            if is_kind(found, stat.S_IFLNK):
                if above and not self._followlinks:
                    return None
                self._links += bool(above)
                found = self._volume.stat(top)
        except errors.Error as error:
            self._failed(error)
            return None
        key = self._key(found)
        problem = self._problem(key, above)
        if problem is not None:
            number, message = problem
            kind = errors.UnsupportedError if number == errno.ENOTSUP else errors.CorruptError
            refused = kind(number, message, top)
            refused.code = "unsupported" if number == errno.ENOTSUP else "corrupt"
            self._failed(refused)
            return None
        self._seen.add(key)
        return (*above, key)

    def _problem(self, key: _Key, above: Tuple[_Key, ...]) -> Optional[Tuple[int, str]]:
        """Why the directory `key` is not entered below `above`."""
        if len(above) >= _MAX_DEPTH:
            return errno.ENOTSUP, f"directories lie deeper than {_MAX_DEPTH}"
        if self._links > _MAX_LINKS:
            return errno.ELOOP, f"more than {_MAX_LINKS} links lead to directories"
        if self._followlinks:
            return (errno.ELOOP, "directory leads back into itself") if key in above else None
        return (errno.EIO, "directory is in two places") if key in self._seen else None

    def walk(self, top: AnyStr) -> Iterator[WalkStep[AnyStr]]:
        """The steps, as `os.walk` has them."""
        stack: List[Union[WalkStep[AnyStr], Tuple[AnyStr, Tuple[_Key, ...]]]] = [(top, ())]
        while stack:
            task = stack.pop()
            if len(task) == 3:
                yield task
                continue
            folder, above = task
            way = self._enter(folder, above)
            step = self._list(folder) if way is not None else None
            if step is None or way is None:
                continue
            if self._topdown:
                yield step
            else:
                stack.append(step)
            for name in reversed(step[1]):
                stack.append((join(folder, name), way))


def is_kind(found: _stat.StatResult, kind: int) -> bool:
    """Whether `found` is of the kind `stat.S_IF...`."""
    return stat.S_IFMT(found.st_mode) == kind
