"""The structs of `volfold.h`, as ctypes lays them out."""

from __future__ import annotations

import ctypes
import os
from typing import Any, List, Optional

KEY_PASSWORD, KEY_RECOVERY, KEY_FILE = 0, 1, 2
KNOWS_CREATED, KNOWS_OWNER, KNOWS_DEVICE, KNOWS_ATTRIBUTES = 1, 2, 4, 8


def decode_name(name: bytes) -> str:
    """A name of a guest as text: bytes that are not UTF-8 become lone surrogates."""
    return name.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    """The bytes of `decode_name`'s text."""
    return name.encode("utf-8", "surrogateescape")


class Text(ctypes.Structure):
    """VolfoldText: bytes with their length."""

    pointer: Optional[int]
    length: int

    _fields_ = [("pointer", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    def raw(self) -> Optional[bytes]:
        """The bytes; None for NULL."""
        if self.pointer is None:
            return None
        return ctypes.string_at(self.pointer, self.length)

    def guest(self) -> str:
        """Text of a guest; empty for NULL."""
        return decode_name(self.raw() or b"")

    def optional(self) -> Optional[str]:
        """Text of a guest; None for NULL."""
        raw = self.raw()
        return None if raw is None else decode_name(raw)

    def host(self) -> str:
        """A path of the host; empty for NULL."""
        return os.fsdecode(self.raw() or b"")


def text_items(items: Any, count: int) -> List[Text]:
    """The texts of an array, which may be NULL if there are none."""
    return [items[index] for index in range(count)]


class Time(ctypes.Structure):
    """VolfoldTime."""

    seconds: int
    nanoseconds: int

    _fields_ = [
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]

    def total(self) -> int:
        """Nanoseconds since 1970."""
        return self.seconds * 1_000_000_000 + self.nanoseconds


class Stat(ctypes.Structure):
    """VolfoldStat."""

    struct_size: int
    node: int
    generation: int
    size: int
    allocated: int
    modified: Time
    accessed: Time
    changed: Time
    created: Time
    kind: int
    links: int
    known: int
    uid: int
    gid: int
    mode: int
    device_major: int
    device_minor: int
    attributes: int
    unreadable: int

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("node", ctypes.c_uint64),
        ("generation", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("allocated", ctypes.c_uint64),
        ("modified", Time),
        ("accessed", Time),
        ("changed", Time),
        ("created", Time),
        ("kind", ctypes.c_uint32),
        ("links", ctypes.c_uint32),
        ("known", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("device_major", ctypes.c_uint32),
        ("device_minor", ctypes.c_uint32),
        ("attributes", ctypes.c_uint32),
        ("unreadable", ctypes.c_int32),
    ]


class Entry(ctypes.Structure):
    """VolfoldEntry."""

    struct_size: int
    status: int
    kind: int
    node: int
    name: Text
    path: Text
    message: Text
    stat: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("status", ctypes.c_int32),
        ("kind", ctypes.c_uint32),
        ("node", ctypes.c_uint64),
        ("name", Text),
        ("path", Text),
        ("message", Text),
        ("stat", ctypes.POINTER(Stat)),
    ]


class DiskInfo(ctypes.Structure):
    """VolfoldDiskInfo."""

    struct_size: int
    size: int
    sector_size: int
    path: Text
    format: Text
    variant: Text
    partition_scheme: Text
    chain_count: int
    chain: Any
    file_count: int
    files: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("size", ctypes.c_uint64),
        ("sector_size", ctypes.c_uint32),
        ("path", Text),
        ("format", Text),
        ("variant", Text),
        ("partition_scheme", Text),
        ("chain_count", ctypes.c_size_t),
        ("chain", ctypes.POINTER(Text)),
        ("file_count", ctypes.c_size_t),
        ("files", ctypes.POINTER(Text)),
    ]


class Extent(ctypes.Structure):
    """VolfoldExtent."""

    length: int
    kind: int
    status: int

    _fields_ = [
        ("length", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("status", ctypes.c_int32),
    ]


class TextList(ctypes.Structure):
    """VolfoldTextList."""

    struct_size: int
    count: int
    items: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("items", ctypes.POINTER(Text)),
    ]


class Stream(ctypes.Structure):
    """VolfoldStream."""

    name: Text
    size: int

    _fields_ = [("name", Text), ("size", ctypes.c_uint64)]


class StreamList(ctypes.Structure):
    """VolfoldStreamList."""

    struct_size: int
    count: int
    items: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("items", ctypes.POINTER(Stream)),
    ]


class MountedVolume(ctypes.Structure):
    """VolfoldMountedVolume."""

    struct_size: int
    id: Text
    name: Text
    path_count: int
    paths: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("id", Text),
        ("name", Text),
        ("path_count", ctypes.c_size_t),
        ("paths", ctypes.POINTER(Text)),
    ]


class Mount(ctypes.Structure):
    """VolfoldMount."""

    struct_size: int
    folder: Text
    log: Text
    talk: Text
    volume_count: int
    volumes: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("folder", Text),
        ("log", Text),
        ("talk", Text),
        ("volume_count", ctypes.c_size_t),
        ("volumes", ctypes.POINTER(ctypes.POINTER(MountedVolume))),
    ]


class Failure(ctypes.Structure):
    """VolfoldFailure."""

    struct_size: int
    path: Text
    status: int
    code: Text
    message: Text

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("path", Text),
        ("status", ctypes.c_int32),
        ("code", Text),
        ("message", Text),
    ]


class Finding(ctypes.Structure):
    """VolfoldFinding."""

    struct_size: int
    severity: int
    bears_on_content: bool
    has_position: bool
    disk: int
    position: int
    code: Text
    volume: Text
    part: Text
    path: Text
    message: Text
    advice: Text

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("severity", ctypes.c_uint32),
        ("bears_on_content", ctypes.c_bool),
        ("has_position", ctypes.c_bool),
        ("disk", ctypes.c_int64),
        ("position", ctypes.c_uint64),
        ("code", Text),
        ("volume", Text),
        ("part", Text),
        ("path", Text),
        ("message", Text),
        ("advice", Text),
    ]


class FindingList(ctypes.Structure):
    """VolfoldFindingList."""

    struct_size: int
    count: int
    items: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("items", ctypes.POINTER(ctypes.POINTER(Finding))),
    ]


class MountPoint(ctypes.Structure):
    """VolfoldMountPoint."""

    path: Text
    source: Text
    volume: Text

    _fields_ = [("path", Text), ("source", Text), ("volume", Text)]


class System(ctypes.Structure):
    """VolfoldSystem."""

    struct_size: int
    family: int
    is_default: bool
    volume: Text
    folder: Text
    vendor: Text
    product: Text
    edition: Text
    version: Text
    build: Text
    architecture: Text
    host_name: Text
    domain: Text
    time_zone: Text
    machine_id: Text
    mount_point_count: int
    mount_points: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("family", ctypes.c_uint32),
        ("is_default", ctypes.c_bool),
        ("volume", Text),
        ("folder", Text),
        ("vendor", Text),
        ("product", Text),
        ("edition", Text),
        ("version", Text),
        ("build", Text),
        ("architecture", Text),
        ("host_name", Text),
        ("domain", Text),
        ("time_zone", Text),
        ("machine_id", Text),
        ("mount_point_count", ctypes.c_size_t),
        ("mount_points", ctypes.POINTER(MountPoint)),
    ]


class SystemList(ctypes.Structure):
    """VolfoldSystemList."""

    struct_size: int
    count: int
    items: Any
    findings: FindingList

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("items", ctypes.POINTER(ctypes.POINTER(System))),
        ("findings", FindingList),
    ]


class Place(ctypes.Structure):
    """VolfoldPlace."""

    disk: int
    offset: int
    length: int

    _fields_ = [
        ("disk", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
    ]


class VolumeInfo(ctypes.Structure):
    """VolfoldVolumeInfo."""

    struct_size: int
    index: int
    size: int
    kind: int
    health: int
    readable: bool
    left_out: bool
    locked: bool
    id: Text
    name: Text
    layout: Text
    file_system: Text
    label: Text
    uuid: Text
    reason: Text
    snapshot_of: Text
    snapshot_time: int
    cluster_size: int
    guest_name_count: int
    guest_names: Any
    place_count: int
    places: Any

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("index", ctypes.c_size_t),
        ("size", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("health", ctypes.c_uint32),
        ("readable", ctypes.c_bool),
        ("left_out", ctypes.c_bool),
        ("locked", ctypes.c_bool),
        ("id", Text),
        ("name", Text),
        ("layout", Text),
        ("file_system", Text),
        ("label", Text),
        ("uuid", Text),
        ("reason", Text),
        ("snapshot_of", Text),
        ("snapshot_time", ctypes.c_int64),
        ("cluster_size", ctypes.c_uint32),
        ("guest_name_count", ctypes.c_size_t),
        ("guest_names", ctypes.POINTER(Text)),
        ("place_count", ctypes.c_size_t),
        ("places", ctypes.POINTER(Place)),
    ]


class Usage(ctypes.Structure):
    """VolfoldUsage."""

    size: int
    used: int

    _fields_ = [("size", ctypes.c_uint64), ("used", ctypes.c_uint64)]
