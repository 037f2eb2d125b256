"""Sets of disk images."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union, overload

from . import _structs as structs
from . import errors
from ._core import Core
from ._files import BUFFER_SIZE, DiskSource, File
from ._library import Library, host_bytes, load, text_bytes
from ._progress import Observer, OnProgress
from ._volume import Volume

HostPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

_FAMILIES = {1: "windows", 2: "linux", 5: "bsd"}
_SEVERITIES = {0: "info", 1: "warning", 2: "error"}


@dataclass(frozen=True)
class Password:
    """A key that a person knows."""

    text: str


@dataclass(frozen=True)
class RecoveryKey:
    """A long number that was written down, as BitLocker's."""

    text: str


@dataclass(frozen=True)
class KeyFile:
    """The bytes of a key file."""

    data: bytes


Key = Union[str, Password, RecoveryKey, KeyFile]


@dataclass(frozen=True)
class Failure:
    """An image that cannot be opened."""

    #: Its path.
    path: str
    #: Why, as a stable code.
    code: str
    #: Why, as a sentence.
    message: str
    #: Why, as the number of the library.
    status: int

    @property
    def error(self) -> errors.Error:
        """The same as an exception."""
        return errors.make(self.status, self.message, self.path, self.code)


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed."""

    #: "info", odd, and all is readable; "warning", damaged or doubtful; "error", cannot be read.
    severity: str
    #: What kind of thing it is; `volfold explain CODE` tells more.
    code: str
    #: A sentence.
    message: str
    #: What to do about it.
    advice: Optional[str]
    #: Whether what is read may be less, or older, than what there was.
    bears_on_content: bool
    #: The number of the disk it is about.
    disk: Optional[int]
    #: The id of the volume it is about.
    volume: Optional[str]
    #: The part of an image it is about.
    part: Optional[str]
    #: The path on the volume it is about.
    path: Optional[str]
    #: The byte position in the part, disk or volume.
    position: Optional[int]


def _finding(found: structs.Finding) -> Finding:
    return Finding(
        severity=_SEVERITIES.get(found.severity, "error"),
        code=found.code.guest(),
        message=found.message.guest(),
        advice=found.advice.optional(),
        bears_on_content=found.bears_on_content,
        disk=None if found.disk < 0 else found.disk,
        volume=found.volume.optional(),
        part=found.part.optional(),
        path=found.path.optional(),
        position=found.position if found.has_position else None,
    )


def _findings(found: structs.FindingList) -> List[Finding]:
    return [_finding(found.items[number].contents) for number in range(found.count)]


@dataclass(frozen=True)
class MountPoint:
    """A place where an installed system shows a volume."""

    #: Where: "C:", "/home".
    path: str
    #: What the system's own table names.
    source: str
    #: The id of the volume of the set that is meant.
    volume: Optional[str]


@dataclass(frozen=True)
class System:
    """A system that is installed on the set. What it does not tell is None."""

    #: "windows", "linux", "bsd" or "other".
    family: str
    #: Whether it is known to be started when nobody chooses.
    is_default: bool
    #: The id of the volume that its own folder is on.
    volume: Optional[str]
    #: That folder, from the root of the volume.
    folder: Optional[str]
    #: Who made it.
    vendor: Optional[str]
    #: What it calls itself.
    product: Optional[str]
    #: The edition.
    edition: Optional[str]
    #: The version: "10.0", "12".
    version: Optional[str]
    #: The build.
    build: Optional[str]
    #: What the processor is called in target triples: "x86_64".
    architecture: Optional[str]
    #: The name of the machine.
    host_name: Optional[str]
    #: The DNS domain that it is in.
    domain: Optional[str]
    #: The time zone, as the system names it.
    time_zone: Optional[str]
    #: The id that it gives itself.
    machine_id: Optional[str]
    #: Where it shows volumes.
    mount_points: Tuple[MountPoint, ...]


_TOLD = (
    "volume",
    "folder",
    "vendor",
    "product",
    "edition",
    "version",
    "build",
    "architecture",
    "host_name",
    "domain",
    "time_zone",
    "machine_id",
)


def _system(found: structs.System) -> System:
    points = (found.mount_points[number] for number in range(found.mount_point_count))
    told = {name: getattr(found, name).optional() for name in _TOLD}
    return System(
        family=_FAMILIES.get(found.family, "other"),
        is_default=found.is_default,
        mount_points=tuple(
            MountPoint(point.path.guest(), point.source.guest(), point.volume.optional())
            for point in points
        ),
        **told,
    )


class Systems(List[System]):
    """The systems of a set, the one that is started by default first."""

    #: What could not be read of them, or contradicts itself.
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class DiskInfo:
    """What a disk is."""

    #: The number in the set.
    index: int
    #: The size of the virtual disk in bytes.
    size: int
    #: The size of a logical sector in bytes.
    sector_size: int
    #: The image as it was named.
    path: str
    #: The id of its format, "vmdk".
    format: str
    #: The format's name for the variant.
    variant: Optional[str]
    #: The id of the partition scheme, "gpt"; None without partitions.
    partition_scheme: Optional[str]
    #: The files of the snapshot chain, the given image first.
    chain: Tuple[str, ...]
    #: The files of the host that the disk is made of.
    files: Tuple[str, ...]


class Disk:
    """A disk of a set.

    >>> disk = ds.disks[0]  # doctest: +SKIP
    >>> disk.format, disk.size
    ('vmdk', 23068672)
    """

    def __init__(self, core: Core, info: DiskInfo) -> None:
        self._core = core
        #: All that is known of it.
        self.info: DiskInfo = info

    @property
    def index(self) -> int:
        """The number in the set: disks are numbered by path."""
        return self.info.index

    @property
    def size(self) -> int:
        """The size of the virtual disk in bytes."""
        return self.info.size

    @property
    def sector_size(self) -> int:
        """The size of a logical sector in bytes."""
        return self.info.sector_size

    @property
    def path(self) -> str:
        """The image as it was named."""
        return self.info.path

    @property
    def format(self) -> str:
        """The id of its format, "vmdk"."""
        return self.info.format

    @property
    def variant(self) -> Optional[str]:
        """The format's name for the variant."""
        return self.info.variant

    @property
    def partition_scheme(self) -> Optional[str]:
        """The id of the partition scheme, "gpt"; None without partitions."""
        return self.info.partition_scheme

    @property
    def chain(self) -> Tuple[str, ...]:
        """The files of the snapshot chain, the given image first."""
        return self.info.chain

    @property
    def files(self) -> Tuple[str, ...]:
        """The files of the host that the disk is made of."""
        return self.info.files

    def open(self, buffering: int = -1) -> File:
        """The bytes of the disk, as its machine sees them.

        >>> with disk.open() as device:  # doctest: +SKIP
        ...     device.read_at(510, 2)
        b'U\\xaa'
        """
        self._core.check_open()
        source = DiskSource(self._core, self.index, self.size, self.path)
        return File(source, BUFFER_SIZE if buffering < 1 else buffering)

    def __repr__(self) -> str:
        return f"<Disk {self.index} {self.path!r} {self.format}>"


def _host_texts(items: Any, count: int) -> Tuple[str, ...]:
    return tuple(text.host() for text in structs.text_items(items, count))


class Volumes(AbstractSequence):  # type: ignore[type-arg]
    """The volumes of a set, by number, by name, by id, or by what Windows calls them.

    >>> ds.volumes[0], ds.volumes["Windows"], ds.volumes["C:"]  # doctest: +SKIP
    (<Volume 'Windows' ...>, <Volume 'Windows' ...>, <Volume 'Windows' ...>)
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._count = core.count(core.c.volfold_set_volume_count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: Union[int, str]) -> Volume: ...

    @overload
    def __getitem__(self, key: slice) -> List[Volume]: ...

    def __getitem__(self, key: Union[int, str, slice]) -> Union[Volume, List[Volume]]:
        self._core.check_open()
        if isinstance(key, str):
            return self._called(key)
        if isinstance(key, slice):
            return [Volume(self._core, index) for index in range(*key.indices(self._count))]
        index = key.__index__()
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"there is no volume {key}")
        return Volume(self._core, index)

    def _called(self, name: str) -> Volume:
        core = self._core
        try:
            handle = core.new_handle(
                core.c.volfold_set_find_volume, core.handle, text_bytes(name, "name")
            )
        except errors.NotFoundError as error:
            raise KeyError(error.strerror) from None
        try:
            with core.block(structs.VolumeInfo, core.c.volfold_volume_info, handle) as found:
                return Volume(core, found.index)
        finally:
            core.c.volfold_volume_close(handle)

    def get(self, name: str, default: Optional[Volume] = None) -> Optional[Volume]:
        """The volume `name`; `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return self.get(item) is not None
        return any(item == volume for volume in self)

    def __iter__(self) -> Iterator[Volume]:
        for index in range(self._count):
            yield self[index]

    def __repr__(self) -> str:
        if self._core.closed:
            return "<Volumes of a closed set>"
        return f"Volumes({[volume.name for volume in self]!r})"


@dataclass(frozen=True)
class MountedVolume:
    """A volume that is mounted."""

    #: Its id.
    id: str
    #: The name of its folder.
    name: str
    #: Its folder, then what else programs may call it.
    paths: Tuple[str, ...]


class Mount:
    """A set that is mounted at a folder of the host; `with` frees the folder at its end.

    It is served by the program volfold in a process of its own: until `unmount()`, also after the set is
    closed and after this program has ended.
    """

    def __init__(
        self, library: Library, program: Optional[HostPath], found: structs.Mount, complete: bool
    ) -> None:
        self._library = library
        self._program = program
        self._freed = False
        #: The folder.
        self.folder: str = found.folder.host()
        #: The log of the process that serves it.
        self.log: Optional[str] = found.log.host() if found.log.pointer else None
        #: What the program said of what is missing or odd, in lines.
        self.talk: str = found.talk.guest()
        #: Whether everything was mounted; `talk` says what is missing.
        self.complete: bool = complete
        volumes = (found.volumes[number].contents for number in range(found.volume_count))
        #: The volumes.
        self.volumes: List[MountedVolume] = [
            MountedVolume(
                volume.id.guest(), volume.name.host(), _host_texts(volume.paths, volume.path_count)
            )
            for volume in volumes
        ]

    def unmount(self, force: bool = False) -> None:
        """Frees the folder; with `force` also while programs have files open in it. Does nothing the
        second time."""
        if self._freed:
            return
        with _Options(self._library) as options:
            options.set_program(self._program)
            status = self._library.c.volfold_unmount(options.handle, host_bytes(self.folder), force)
            self._library.check(status, self.folder)
        self._freed = True

    def __enter__(self) -> Mount:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.unmount()

    def __fspath__(self) -> str:
        return self.folder

    def __repr__(self) -> str:
        return f"<Mount {self.folder!r}{' (freed)' if self._freed else ''}>"


class DiskSet:
    """Disk images that are open as one set. `open` makes it.

    >>> with volfold.open(["disk1.vmdk", "disk2.vmdk"]) as ds:  # doctest: +SKIP
    ...     for volume in ds.volumes:
    ...         print(volume.name, volume.file_system)
    E ntfs
    """

    def __init__(
        self, core: Core, failures: Sequence[Failure], program: Optional[HostPath], partial: bool
    ) -> None:
        self._core = core
        self._program = program
        self._partial = partial
        #: The images that cannot be opened.
        self.failures: Sequence[Failure] = failures

    @property
    def closed(self) -> bool:
        """Whether the set is closed."""
        return self._core.closed

    @property
    def disks(self) -> List[Disk]:
        """The disks, numbered by path."""
        core = self._core
        core.check_open()
        return [self._disk(index) for index in range(core.count(core.c.volfold_set_disk_count))]

    def _disk(self, index: int) -> Disk:
        core = self._core
        with core.block(structs.DiskInfo, core.c.volfold_disk_info, core.handle, index) as found:
            info = DiskInfo(
                index=index,
                size=found.size,
                sector_size=found.sector_size,
                path=found.path.host(),
                format=found.format.guest(),
                variant=found.variant.optional(),
                partition_scheme=found.partition_scheme.optional(),
                chain=_host_texts(found.chain, found.chain_count),
                files=_host_texts(found.files, found.file_count),
            )
        return Disk(core, info)

    @property
    def volumes(self) -> Volumes:
        """The volumes, sorted by disk and place; also those that no driver knows."""
        self._core.check_open()
        return Volumes(self._core)

    @property
    def findings(self) -> List[Finding]:
        """What was noticed until now on the disks and volumes.

        >>> [finding.code for finding in ds.findings if finding.bears_on_content]  # doctest: +SKIP
        ['ldm-missing-disk']
        """
        core = self._core
        core.check_open()
        with core.block(structs.FindingList, core.c.volfold_set_findings, core.handle) as found:
            return _findings(found)

    def systems(self) -> Systems:
        """The systems that are installed on the set, read from its volumes.

        >>> [(system.product, system.host_name) for system in ds.systems()]  # doctest: +SKIP
        [('Windows Server 2022 Standard', 'FILES01')]
        """
        core = self._core
        core.check_open()
        with core.block(structs.SystemList, core.c.volfold_set_systems, core.handle) as found:
            systems = Systems(_system(found.items[number].contents) for number in range(found.count))
            systems.findings = _findings(found.findings)
        return systems

    def mount(
        self,
        folder: HostPath,
        volumes: Iterable[Union[str, Volume]] = (),
        *,
        partial: Optional[bool] = None,
    ) -> Mount:
        """Mounts the set at `folder`, read-only, a folder below it for each volume, or for those of
        `volumes`. Needs the program volfold.

        Something that is missing is a ProgramError, unless `partial`, which is that of the set if it is
        not given; then `Mount.complete` is false.

        >>> with ds.mount("/mnt/server") as mount:  # doctest: +SKIP
        ...     os.listdir(mount)
        ['BOOT', 'Windows', 'linux']
        """
        core = self._core
        core.check_open()
        wanted = [one.id if isinstance(one, Volume) else one for one in volumes]
        names = _text_array([text_bytes(name, "volumes") for name in wanted])
        pointer = ctypes.c_void_p()
        status = core.c.volfold_set_mount(
            core.handle, host_bytes(folder, "folder"), names, len(wanted), ctypes.byref(pointer)
        )
        try:
            if status != errors.INCOMPLETE:
                core.check(status, os.fsdecode(folder))
            assert pointer.value is not None
            found = structs.Mount.from_address(pointer.value)
            mount = Mount(core.library, self._program, found, status == errors.OK)
        finally:
            core.c.volfold_free(pointer)
        if not mount.complete and not (self._partial if partial is None else partial):
            mount.unmount()
            raise errors.make(41, mount.talk.strip() or "not everything was mounted", mount.folder)
        return mount

    def close(self) -> None:
        """Closes the set, and with it its files; does nothing the second time. What is used afterwards
        raises ValueError."""
        self._core.close()

    def __enter__(self) -> DiskSet:
        self._core.check_open()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<DiskSet, closed>"
        return f"<DiskSet of {len(self.disks)} disks, {len(self.volumes)} volumes>"


def _text_array(texts: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * len(texts))(*texts)


class _Options:
    """Options of the library, for the time of a `with`."""

    def __init__(self, library: Library) -> None:
        self._library = library
        handle = ctypes.c_void_p()
        library.check(library.c.volfold_options_new(ctypes.byref(handle)))
        self.handle = handle.value

    def __enter__(self) -> _Options:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.c.volfold_options_free(self.handle)

    def set(self, function: Any, *arguments: object) -> None:
        """Sets one option."""
        self._library.check(function(self.handle, *arguments))

    def set_program(self, program: Optional[HostPath]) -> None:
        """The program volfold."""
        if program is not None:
            self.set(self._library.c.volfold_options_set_program, host_bytes(program, "program"))

    def add_key(self, key: Key) -> None:
        """Adds a key."""
        if isinstance(key, str):
            key = Password(key)
        if isinstance(key, KeyFile):
            kind, data = structs.KEY_FILE, key.data
        elif isinstance(key, Password):
            kind, data = structs.KEY_PASSWORD, key.text.encode()
        elif isinstance(key, RecoveryKey):
            kind, data = structs.KEY_RECOVERY, key.text.encode()
        else:
            raise TypeError(f"key should be str, Password, RecoveryKey or KeyFile, not {type(key).__name__}")
        self.set(self._library.c.volfold_options_add_key, kind, data, len(data))


def _paths(given: Union[HostPath, Iterable[HostPath]]) -> List[bytes]:
    if isinstance(given, (str, bytes, os.PathLike)):
        given = [given]
    paths = [host_bytes(path) for path in given]
    if not paths:
        raise ValueError("no disk image is given")
    return paths


def open_set(
    disks: Union[HostPath, Iterable[HostPath]],
    *,
    allow_folders: Iterable[HostPath] = (),
    cache_size: Optional[int] = None,
    format: Optional[str] = None,
    snapshot: Optional[str] = None,
    snapshots: bool = False,
    system_files: bool = False,
    as_is: bool = False,
    deleted: bool = False,
    time_zone: Optional[str] = None,
    code_page: Optional[int] = None,
    keys: Iterable[Key] = (),
    program: Optional[HostPath] = None,
    partial: bool = False,
    on_progress: Optional[OnProgress] = None,
) -> DiskSet:
    """Opens disk images as one set; a folder stands for the images in it.

    - `disks`: one path, or several in any order.
    - `allow_folders`: folders in which images may name other files (extents, parents), too; else only
      beside themselves.
    - `cache_size`: the bound of all caches of the set together, in bytes; 64 MiB if not given.
    - `format`: takes every image as one of this format ("vmdk", "raw"), whatever its name and content.
    - `snapshot`: the state that the images keep as this snapshot, by its name or id.
    - `snapshots`: whether the shadow copies that Windows kept of volumes (VSS) are volumes of the set too.
    - `system_files`: whether the files that hold a file system itself are listed ($MFT and others).
    - `as_is`: whether the journals of volumes that were not unmounted are left out.
    - `deleted`: whether volumes show the files that were deleted on them, in place of those that are there.
    - `time_zone`: the zone of clocks whose times are kept without one (FAT): "Europe/Berlin", "+02:00".
    - `code_page`: the code page of short names that do not say it (FAT): 437, 850, 866, 932.
    - `keys`: tried on locked volumes: passwords as text, or `RecoveryKey`, `KeyFile`.
    - `program`: the program volfold, which mounts; looked for if not given.
    - `partial`: whether a set is wanted of which images cannot be opened; `failures` names them. Without
      it they raise IncompleteSet.
    - `on_progress`: called with a `Progress` as the work goes on, on another thread where the main one waits. An
      exception in it stops the work, and is raised here, as is KeyboardInterrupt: there is no set then.

    >>> with volfold.open("server.vmdk") as ds:  # doctest: +SKIP
    ...     print(ds.volumes["linux"].read_text("/etc/hostname"))
    server
    """
    paths = _paths(disks)
    if cache_size is not None and not 0 <= cache_size < 1 << 64:
        raise ValueError(f"cache_size is out of range: {cache_size}")
    library = load()
    c = library.c
    with _Options(library) as options:
        for folder in allow_folders:
            options.set(c.volfold_options_allow_folder, host_bytes(folder, "allow_folders"))
        if cache_size is not None:
            options.set(c.volfold_options_set_cache_size, cache_size)
        if format is not None:
            options.set(c.volfold_options_set_format, text_bytes(format, "format"))
        if snapshot is not None:
            options.set(c.volfold_options_set_snapshot, text_bytes(snapshot, "snapshot"))
        options.set(c.volfold_options_set_snapshots, snapshots)
        options.set(c.volfold_options_set_system_files, system_files)
        options.set(c.volfold_options_set_as_is, as_is)
        options.set(c.volfold_options_set_deleted, deleted)
        if time_zone is not None:
            options.set(c.volfold_options_set_time_zone, text_bytes(time_zone, "time_zone"))
        if code_page is not None:
            if not 0 <= code_page < 1 << 16:
                raise ValueError(f"code_page is out of range: {code_page}")
            options.set(c.volfold_options_set_code_page, code_page)
        options.set_program(program)
        for key in keys:
            options.add_key(key)
        observer = Observer(on_progress)
        options.set(c.volfold_options_set_progress, observer.function, None)
        core = observer.wait_for(lambda: _open(library, options, paths, observer), Core.close)
    failures = _failures(core)
    if failures and not partial:
        core.close()
        raise _incomplete(failures)
    return DiskSet(core, failures, program, partial)


def _open(library: Library, options: _Options, paths: Sequence[bytes], observer: Observer) -> Core:
    handle = ctypes.c_void_p()
    array = _text_array(paths)
    status = library.c.volfold_set_open(options.handle, array, len(paths), ctypes.byref(handle))
    observer.raise_pending()
    if status not in (errors.OK, errors.INCOMPLETE):
        raise library.last_error(status)
    assert handle.value is not None
    return Core(library, handle.value, observer)


def _failures(core: Core) -> List[Failure]:
    failures = []
    for index in range(core.count(core.c.volfold_set_failure_count)):
        with core.block(structs.Failure, core.c.volfold_set_failure, core.handle, index) as found:
            failures.append(
                Failure(
                    found.path.host(), found.code.guest(), found.message.guest(), found.status
                )
            )
    return failures


def _incomplete(failures: Sequence[Failure]) -> errors.IncompleteSet:
    lines = "; ".join(f"{failure.path}: {failure.message}" for failure in failures)
    error = errors.IncompleteSet(failures[0].error.errno, lines)
    error.code = "incomplete"
    error.failures = failures
    return error


def version() -> str:
    """The version of the library.

    >>> volfold.version()  # doctest: +SKIP
    '0.1.0'
    """
    return str(load().c.volfold_version().decode())


def set_threads(count: int) -> None:
    """How many threads the library may start to decode ahead of large reads, in all sets together; 0
    forbids that. Without this call it is one less than there are processors, and at most four.

    >>> volfold.set_threads(0)  # doctest: +SKIP
    """
    if not 0 <= count < 1 << 32:
        raise ValueError(f"count is out of range: {count}")
    load().c.volfold_set_threads(count)
