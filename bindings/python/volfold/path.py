"""Paths on a volume as objects."""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from . import _structs as structs

if TYPE_CHECKING:
    from . import _stat
    from ._volume import Stream, Volume


class VolfoldPath:
    """A path on a volume, with the habits of `pathlib.PurePosixPath` and the reading half of `Path`.

    It is no `os.PathLike`: the path names nothing on the host.

    >>> path = volume.path("/docs")  # doctest: +SKIP
    >>> (path / "letter.txt").read_text()
    'Dear ...'
    >>> sorted(found.name for found in path.rglob("*.txt"))
    ['letter.txt', 'monday.txt']
    """

    __slots__ = ("_pure", "_volume")

    def __init__(self, volume: Volume, path: Union[str, bytes, PurePosixPath] = "/") -> None:
        self._volume = volume
        plain = structs.decode_name(path) if isinstance(path, bytes) else path
        self._pure = PurePosixPath("/") / plain

    def _new(self, pure: PurePosixPath) -> VolfoldPath:
        return VolfoldPath(self._volume, pure)

    @property
    def volume(self) -> Volume:
        """The volume."""
        return self._volume

    @property
    def name(self) -> str:
        """The last part; empty for the root."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The suffix of the last part, ".txt"."""
        return self._pure.suffix

    @property
    def suffixes(self) -> List[str]:
        """All suffixes of the last part."""
        return self._pure.suffixes

    @property
    def parts(self) -> Tuple[str, ...]:
        """The parts, "/" first."""
        return self._pure.parts

    @property
    def parent(self) -> VolfoldPath:
        """The path without its last part."""
        return self._new(self._pure.parent)

    @property
    def parents(self) -> Sequence[VolfoldPath]:
        """All paths above, the nearest first."""
        return [self._new(parent) for parent in self._pure.parents]

    def __truediv__(self, other: Union[str, PurePosixPath]) -> VolfoldPath:
        if not isinstance(other, (str, PurePosixPath)):
            return NotImplemented
        return self._new(self._pure / other)

    def joinpath(self, *others: Union[str, PurePosixPath]) -> VolfoldPath:
        """The path with `others` after it."""
        return self._new(self._pure.joinpath(*others))

    def with_name(self, name: str) -> VolfoldPath:
        """The path with another last part."""
        return self._new(self._pure.with_name(name))

    def with_suffix(self, suffix: str) -> VolfoldPath:
        """The path with another suffix."""
        return self._new(self._pure.with_suffix(suffix))

    def relative_to(self, other: Union[VolfoldPath, str]) -> PurePosixPath:
        """The path from `other` on."""
        return self._pure.relative_to(str(other))

    def is_relative_to(self, other: Union[VolfoldPath, str]) -> bool:
        """Whether the path is `other`, or below it."""
        return self._pure.is_relative_to(str(other))

    def match(self, pattern: str) -> bool:
        """Whether the path is of `pattern`, as `PurePosixPath.match`."""
        return self._pure.match(pattern)

    def as_posix(self) -> str:
        """The path as text."""
        return str(self._pure)

    def __str__(self) -> str:
        return str(self._pure)

    def __bytes__(self) -> bytes:
        return structs.encode_name(str(self._pure))

    def __repr__(self) -> str:
        return f"VolfoldPath({str(self._pure)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VolfoldPath):
            return NotImplemented
        return self._volume == other._volume and self._pure == other._pure

    def __lt__(self, other: VolfoldPath) -> bool:
        if not isinstance(other, VolfoldPath):
            return NotImplemented
        return self._pure < other._pure

    def __hash__(self) -> int:
        return hash((self._volume, self._pure))

    def stat(self, *, follow_symlinks: bool = True) -> _stat.StatResult:
        """What is known of it."""
        return self._volume.stat(self, follow_symlinks=follow_symlinks)

    def lstat(self) -> _stat.StatResult:
        """What is known of it, or of a link itself."""
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is something. What cannot be told is an error, not False."""
        return self._volume.exists(self, follow_symlinks=follow_symlinks)

    def is_dir(self) -> bool:
        """Whether it is a directory, or a link to one."""
        return self._volume.isdir(self)

    def is_file(self) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self._volume.isfile(self)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link, or a junction."""
        return self._volume.islink(self)

    def readlink(self) -> PurePosixPath:
        """Where the link leads; that may be a path which only the guest knows ("C:/docs")."""
        return PurePosixPath(self._volume.readlink(self))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        *,
        stream: Union[str, bytes, None] = None,
    ) -> IO[Any]:
        """Opens the file, as `Volume.open`."""
        return self._volume.open(
            self, mode, buffering, encoding, errors, newline, stream=stream
        )

    def read_bytes(self, *, max_size: Optional[int] = None) -> bytes:
        """The content."""
        return self._volume.read(self, max_size=max_size)

    def read_text(
        self,
        encoding: str = "utf-8",
        errors: str = "strict",
        *,
        max_size: Optional[int] = None,
    ) -> str:
        """The content as text."""
        return self._volume.read_text(self, encoding, errors, max_size=max_size)

    def streams(self) -> List[Stream]:
        """The streams beside the main one."""
        return self._volume.streams(self)

    def xattrs(self) -> Dict[str, bytes]:
        """The extended attributes."""
        return self._volume.xattrs(self)

    def iterdir(self) -> Iterator[VolfoldPath]:
        """What is in the directory."""
        for name in self._volume.listdir(self):
            yield self / name

    def walk(self) -> Iterator[Tuple[VolfoldPath, List[str], List[str]]]:
        """All directories below, as `Volume.walk`."""
        for folder, folders, names in self._volume.walk(str(self)):
            yield self._new(PurePosixPath(folder)), folders, names

    def glob(self, pattern: str) -> Iterator[VolfoldPath]:
        """What `pattern` names below: `*`, `?` and `[a-z]` in names, `**` for any number of directories.

        Case counts. Links to directories are followed where the pattern names them, not by `**`. What
        cannot be read is an error.

        >>> list(volume.path("/").glob("docs/**/*.txt"))  # doctest: +SKIP
        [VolfoldPath('/docs/letter.txt')]
        """
        parts = PurePosixPath(pattern).parts
        if not parts or not pattern:
            raise ValueError(f"unacceptable pattern: {pattern!r}")
        if parts[0] == "/":
            raise NotImplementedError("non-relative patterns are unsupported")
        # Several `**` reach one path in several ways.
        several = sum(part == "**" for part in parts) > 1
        seen = set()
        for found in _select(self, parts):
            if several:
                if str(found) in seen:
                    continue
                seen.add(str(found))
            yield found

    def rglob(self, pattern: str) -> Iterator[VolfoldPath]:
        """The same in all directories below."""
        return self.glob(f"**/{pattern}")


@lru_cache(maxsize=256)
def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part), re.DOTALL)


def _select(top: VolfoldPath, parts: Sequence[str]) -> Iterator[VolfoldPath]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        for folder, _, _ in top.walk():
            if rest:
                yield from _select(folder, rest)
            else:
                yield folder
        return
    for found in _matching(top, part):
        if not rest:
            yield found
        elif found.is_dir():
            yield from _select(found, rest)


def _matching(top: VolfoldPath, part: str) -> Iterator[VolfoldPath]:
    if not any(mark in part for mark in "*?["):
        found = top / part
        if found.exists(follow_symlinks=False):
            yield found
        return
    matches = _pattern(part).match
    for name in top.volume.listdir(top):
        if matches(name):
            yield top / name
