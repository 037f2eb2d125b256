"""Files inside disk images for programs that read by fsspec: pandas, Dask, PyArrow and others.

>>> import fsspec
>>> with fsspec.open("volfold:///linux/etc/passwd", "rt", disks=["server.vmdk"]) as f:  # doctest: +SKIP
...     print(f.readline())
>>> pandas.read_csv(  # doctest: +SKIP
...     "volfold:///Windows/data.csv", storage_options={"disks": ["server.vmdk"]}
... )
"""

from __future__ import annotations

import stat
import threading
from datetime import datetime, timezone
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from fsspec.spec import AbstractFileSystem

from . import errors
from ._set import DiskSet, HostPath, open_set
from ._stat import StatResult
from ._volume import Volume

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}

Info = Dict[str, Any]


class VolfoldFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The volumes of a set as one read-only file system: paths are "/<volume>/dir/file".

    `disks` and the other options are those of `volfold.open`. The set is opened at the first use and
    closed by `close()`, or when neither the file system nor a file of it is in use any more. Instances
    are not cached, so that images are not kept open.

    >>> fs = VolfoldFileSystem(disks="server.vmdk")  # doctest: +SKIP
    >>> fs.ls("/linux/etc", detail=False)
    ['/linux/etc/hostname', '/linux/etc/passwd']
    """

    protocol = "volfold"
    root_marker = "/"
    cachable = False

    def __init__(self, disks: Union[HostPath, Iterable[HostPath], None] = None, **options: Any) -> None:
        if disks is None:
            raise ValueError("the disk images are needed: disks=[...]")
        own = {name: options.pop(name) for name in _OPTIONS if name in options}
        super().__init__(disks=disks, **own, **options)
        self._disks = disks
        self._options = own
        self._set: Optional[DiskSet] = None
        self._opening = threading.Lock()

    @property
    def disk_set(self) -> DiskSet:
        """The set, which is opened if it is not open."""
        with self._opening:
            if self._set is None or self._set.closed:
                self._set = open_set(self._disks, **self._options)
            return self._set

    def close(self) -> None:
        """Closes the set, and with it the files of the file system; it is opened again by the next use."""
        with self._opening:
            if self._set is not None:
                self._set.close()
                self._set = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        for protocol in ("volfold://", "volfold:"):
            if text.startswith(protocol):
                text = text[len(protocol) :]
                break
        parts = [part for part in text.split("/") if part]
        return "/" + "/".join(parts)

    def _find(self, path: str) -> Tuple[Optional[Volume], str, str]:
        """The volume that `path` leads to, None for the root; the path on it, and the whole path."""
        whole: str = self._strip_protocol(path)
        name, _, rest = whole[1:].partition("/")
        if not name:
            return None, "/", whole
        try:
            return self.disk_set.volumes[name], "/" + rest, whole
        except KeyError as error:
            raise errors.make(30, str(error.args[0]), whole) from None

    def _volume(self, path: str) -> Tuple[Volume, str]:
        volume, inner, whole = self._find(path)
        if volume is None:
            raise errors.make(32, "is a directory", whole)
        return volume, inner

    def _root(self) -> List[Info]:
        return [
            {
                "name": f"/{volume.name}",
                "size": 0,
                "type": "directory",
                "volume_id": volume.id,
                "file_system": volume.file_system,
            }
            for volume in self.disk_set.volumes
        ]

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> List[Any]:
        """What is in a directory; of "/" the volumes. A link to a file is a file, one to a directory is
        of the type "link"."""
        volume, inner, whole = self._find(path)
        if volume is None:
            entries = self._root()
        elif not volume.isdir(inner):
            entries = [self.info(path)]
        else:
            with volume.scandir(inner) as found:
                entries = [_listed(volume, whole, entry) for entry in found]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **kwargs: Any) -> Info:
        """What is known of a file; links are followed."""
        volume, inner, whole = self._find(path)
        if volume is None:
            return {"name": "/", "size": 0, "type": "directory"}
        own = volume.lstat(inner)
        if not stat.S_ISLNK(own.st_mode):
            return _entry(whole, own)
        info = _entry(whole, volume.stat(inner))
        info.update(islink=True, destination=volume.readlink(inner))
        return info

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is something. What cannot be told is an error."""
        try:
            self.info(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def walk(
        self,
        path: str,
        maxdepth: Optional[int] = None,
        topdown: bool = True,
        on_error: Any = "raise",
        **kwargs: Any,
    ) -> Iterator[Tuple[str, Any, Any]]:
        """All directories below `path`. What cannot be listed is an error, if `on_error` is not "omit" or
        a function; no directory is entered by way of itself."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        detail = kwargs.pop("detail", False)
        pending: List[Any] = [(self._strip_protocol(path), 1, frozenset())]
        while pending:
            task = pending.pop()
            if len(task) == 1:
                yield task[0]
                continue
            folder, depth, above = task
            try:
                key = self._key(folder)
                if key in above:
                    raise errors.make(21, "directory leads back into itself", folder)
                listing = self.ls(folder, detail=True)
            except OSError as error:
                if on_error == "raise":
                    raise
                if callable(on_error):
                    on_error(error)
                continue
            folders, files = _split(folder, listing)
            step = (folder, folders, files) if detail else (folder, list(folders), list(files))
            if topdown:
                yield step
            else:
                pending.append((step,))
            if maxdepth is None or depth < maxdepth:
                for name in reversed(list(step[1])):
                    if name in folders:
                        pending.append((folders[name]["name"], depth + 1, above | {key}))

    def _key(self, folder: str) -> Tuple[int, int, int]:
        volume, inner, _ = self._find(folder)
        if volume is None:
            return (-1, 0, 0)
        found = volume.stat(inner)
        return (volume.index, found.st_ino, found.st_gen)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Union[int, str, None] = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        if mode != "rb":
            raise NotImplementedError(f"disk images are read-only; mode {mode!r}")
        volume, inner = self._volume(path)
        buffering = block_size if isinstance(block_size, int) and block_size > 1 else -1
        return volume.open(inner, "rb", buffering)

    def cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **kwargs: Any
    ) -> bytes:
        """The bytes of a file from `start` to `end`; negative numbers count from its end."""
        volume, inner = self._volume(path)
        with volume.open(inner, "rb") as file:
            first, last, _ = slice(start, end).indices(file.size)
            return file.read_at(first, max(0, last - first))

    def created(self, path: str) -> datetime:
        """When the file was created."""
        found = self._stat(path)
        if found.st_birthtime_ns is None:
            raise NotImplementedError("the file system does not keep when files were created")
        return _time(found.st_birthtime_ns)

    def modified(self, path: str) -> datetime:
        """When the content was changed."""
        return _time(self._stat(path).st_mtime_ns)

    def _stat(self, path: str) -> StatResult:
        volume, inner = self._volume(path)
        return volume.stat(inner)


_OPTIONS = (
    "allow_folders",
    "cache_size",
    "format",
    "snapshot",
    "snapshots",
    "system_files",
    "as_is",
    "deleted",
    "time_zone",
    "code_page",
    "keys",
    "program",
    "partial",
)


def _time(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1_000_000_000, timezone.utc)


def _entry(name: str, found: StatResult) -> Info:
    info: Info = {
        "name": name,
        "size": found.st_size,
        "type": _KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        "islink": stat.S_ISLNK(found.st_mode),
        "mode": found.st_mode,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "ino": found.st_ino,
        "nlink": found.st_nlink,
        "mtime": found.st_mtime,
        "created": found.st_birthtime,
    }
    if info["type"] == "directory":
        info["size"] = 0
    return info


def _listed(volume: Volume, folder: str, entry: Any) -> Info:
    own: StatResult = entry.stat(follow_symlinks=False)
    name = f"{folder.rstrip('/')}/{entry.name}"
    info = _entry(name, own)
    if not entry.is_symlink():
        return info
    info["destination"] = volume.readlink(entry.path)
    try:
        target = entry.stat()
    except OSError:
        # It leads to nothing; reading it says why.
        return info
    if stat.S_ISREG(target.st_mode):
        info.update(type="file", size=target.st_size)
    return info


def _split(folder: str, listing: List[Info]) -> Tuple[Dict[str, Info], Dict[str, Info]]:
    """The directories of `listing` and all others, by name."""
    folders, others = {}, {}
    for info in listing:
        name = info["name"].rsplit("/", 1)[-1]
        if info["type"] == "directory" and info["name"] != folder:
            folders[name] = info
        elif info["name"] != folder or info["type"] != "directory":
            others[name] = info
    return folders, others
