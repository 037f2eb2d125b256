"""Windows dynamic disks: writes disks of a group, made from the documented format.

Source: the Linux-NTFS project's LDM documentation, and what Windows 2003 and 2008 R2 wrote. The
reader in src/volume/ldm has nothing in common with this file. `ldmtool` judges what it writes.
"""

import json
import os
import random
import struct

from . import tables, tools

METADATA = "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3"
DATA = "AF9B60A0-1431-4F62-BC68-3311714A69AD"
HOST = "1b77da20-c717-11d0-a5be-00a0c91db73c"
CLEAN, CHANGE, COMMIT = 1, 2, 3
BLOCK = 128
FILETIME = 133_931_988_000_000_000  # 2025-06-01


def guid(group, number):
    return f"5eed0004-{group:04x}-4000-8000-{number:012x}"


def guid_bytes(text):
    return bytes.fromhex(text.replace("-", ""))


class Disk:
    """One disk. `before` are partitions in front of the dynamic one: (type, sectors); `retained` is
    the size of a volume at the start of the public space that keeps its own partition entry."""

    def __init__(self, name, number, group=1, mib=6, scheme="mbr", sector=512, before=(), rev=3, retained=0):
        self.name, self.scheme, self.sector, self.rev = name, scheme, sector, rev
        self.guid = guid(group, number)
        self.sectors = (mib << 20) // sector
        self.private = (1 << 20) // sector
        self.before = []
        first = 63 if scheme == "mbr" else 2048 * 512 // sector
        for kind, size in before:
            self.before.append((kind, first, size))
            first += size
        if scheme == "mbr":
            self.public_start = first
            self.config_start = self.sectors - self.private
            self.public_size = self.config_start - first
        else:
            self.config_start = first
            self.public_start = first + self.private + 11
            self.public_size = self.sectors - 40 - self.public_start
        self.retained = retained
        self.next = 0 if retained else 2
        self.extents = 0
        self.image = None

    def take(self, size, gap=3):
        """A run of free sectors, relative to the public space."""
        start, self.next = self.next, self.next + size + gap
        assert self.next <= self.public_size, f"{self.name} is full"
        self.extents += 1
        return f"{self.name}-{self.extents:02}", start

    def dynamic(self, kind):
        """The partition entries of the public space."""
        start, size, kept = self.public_start, self.public_size, self.retained
        if not kept:
            return [(kind, start, size)]
        return [(kind, start, kept), (kind, start + kept, size - kept)]

    # Places inside the private region, in sectors from its start.
    @property
    def layout(self):
        if self.sector == 512:
            return {"config": (17, 1481), "log": (1498, 224), "second": 1856}
        return {"config": (17, 180), "log": (197, 28), "second": 232}

    @property
    def tocs(self):
        return [2, self.private - 3]

    def at(self, place):
        """A place of the private region as a byte of the disk."""
        return (self.config_start + place) * self.sector

    def headers(self):
        """Byte offsets of the private headers."""
        places = [self.at(self.layout["second"]), self.at(self.private - 1)]
        return ([6 * self.sector] if self.scheme == "mbr" else []) + places


class Extent:
    def __init__(self, disk, size, offset, column=0):
        self.disk, self.size, self.offset, self.column = disk, size, offset, column
        self.name, self.start = disk.take(size)


class Component:
    """`columns` is a list of columns, each a list of (disk, sectors)."""

    def __init__(self, layout, columns, chunk=0, state="ACTIVE", flags=0):
        self.layout, self.chunk, self.state, self.flags = layout, chunk, state, flags
        self.columns = []
        for number, parts in enumerate(columns):
            column, offset = [], 0
            for disk, size in parts:
                column.append(Extent(disk, size, offset, number))
                offset += size
            self.columns.append(column)

    def write(self, content, sector):
        """Puts the bytes of a volume where they belong."""
        chunk, count = self.chunk * sector, len(self.columns)
        size = sum(extent.size for extent in self.columns[0]) * sector
        columns = [bytearray(size) for _ in self.columns]
        if self.layout == "spanned":
            columns[0][: len(content)] = content
        elif self.layout == "striped":
            for number in range(0, len(content) // chunk):
                row, column = divmod(number, count)
                columns[column][row * chunk : (row + 1) * chunk] = content[number * chunk :][:chunk]
        else:
            for row in range(len(content) // (chunk * (count - 1))):
                # Left-symmetric: parity goes left row by row, the data begins behind it.
                parity_column, parity = count - 1 - row % count, 0
                for number in range(count - 1):
                    part = content[(row * (count - 1) + number) * chunk :][:chunk]
                    parity ^= int.from_bytes(part, "big")
                    column = (parity_column + 1 + number) % count
                    columns[column][row * chunk : (row + 1) * chunk] = part
                columns[parity_column][row * chunk : (row + 1) * chunk] = parity.to_bytes(chunk, "big")
        for data, extents in zip(columns, self.columns):
            for extent in extents:
                part = data[extent.offset * sector : (extent.offset + extent.size) * sector]
                place = (extent.disk.public_start + extent.start) * sector
                tools.patch(extent.disk.image, place, part)


class Volume:
    def __init__(self, name, number, content, components, hint=None, group=1, sector=512):
        self.name, self.guid, self.hint = name, guid(group, 0x100 + number), hint
        self.content, self.components, self.number = content, components, number
        self.sector, self.retained = sector, False
        self.size = os.path.getsize(content) // sector if content else 0

    @property
    def layout(self):
        if len(self.components) > 1:
            return "mirrored"
        only = self.components[0]
        if only.layout == "spanned":
            return "simple" if len(only.columns[0]) == 1 else "spanned"
        return only.layout


class Group:
    def __init__(self, name, disks, volumes, number=1, commit=0x2A):
        self.name, self.guid, self.commit = name, guid(number, 0xFFFF), commit
        self.disks, self.volumes = disks, volumes
        self.rev = 3


# Records


def var(number, sizes=range(1, 9)):
    """A number behind its length."""
    size = next(size for size in sizes if number < 1 << (8 * size))
    return bytes([size]) + number.to_bytes(size, "big")


def padded(number):
    """Sizes have one to four bytes, or eight."""
    return var(number, (1, 2, 3, 4, 8))


def words(text):
    return bytes([len(text)]) + text.encode()


def record(kind, flags, body, update=0):
    return struct.pack(">HBBI", update, flags, kind, len(body)) + body


class Records:
    """Numbers the objects of a group and writes their records."""

    def __init__(self, group):
        self.group, self.commit = group, group.commit
        self.list, self.next = [], 0x3FD  # so that ids get longer on the way
        self.counts = {"volume": 0, "component": 0, "partition": 0, "disk": 0}
        self.disks = {}

    def id(self):
        self.next += 1
        return self.next

    def all(self):
        self.disk_group()
        for disk in self.group.disks:
            self.disk(disk)
        for volume in self.group.volumes:
            self.volume(volume)
        return self

    def disk_group(self):
        body = var(self.id()) + words(self.group.name)
        if self.group.rev == 4:
            body += guid_bytes(self.group.guid) + bytes(16)
        else:
            body += words(self.group.guid)
        body += bytes(4) + struct.pack(">Q", self.commit) + 2 * (b"\x04" + b"\xff" * 4)
        self.list.append(record(self.group.rev << 4 | 5, 0x08, body))

    def disk(self, disk, update=0):
        self.disks[disk.name] = self.id()
        body = var(self.disks[disk.name]) + words(disk.name)
        # Long enough for a record of two blocks, as Windows 2003 has them.
        device = f"SCSI\\DISK&VEN_SEED&PROD_{disk.name.upper()}&REV_0001\\4&16187510&0&000000"
        if disk.rev == 4:
            body += guid_bytes(disk.guid) + bytes(16) + b"\0"
        else:
            body += words(disk.guid) + words(device)
        body += bytes(4) + struct.pack(">Q", self.commit)
        self.list.append(record(disk.rev << 4 | 4, 0, body, update))
        self.counts["disk"] += update != 2

    def volume(self, volume, update=0):
        number = self.id()
        only = volume.components[0]
        raid5 = only.layout == "raid5"
        flags = 0x02 if volume.hint else 0
        body = var(number) + words(volume.name) + words("raid5" if raid5 else "gen") + words("")
        body += b"ACTIVE".ljust(14, b"\0") + bytes([4 if raid5 else 3]) + var(4 + volume.number)
        state = (0x13 if raid5 else 0x11) | (0x800000 if volume.retained else 0)
        body += struct.pack(">I", state) + var(len(volume.components))
        body += struct.pack(">QQ", self.commit, 0) + padded(volume.size) + bytes(4) + b"\x07"
        body += guid_bytes(volume.guid) + (words(volume.hint) if volume.hint else b"")
        self.list.append(record(0x51, flags, body, update))
        self.counts["volume"] += update != 2
        for index, component in enumerate(volume.components, 1):
            self.component(f"{volume.name}-{index:02}", number, component, update)

    def component(self, name, volume, component, update):
        number = self.id()
        extents = [extent for column in component.columns for extent in column]
        kind = {"striped": 1, "spanned": 2, "raid5": 3}[component.layout]
        body = var(number) + words(name) + words(component.state) + bytes([kind])
        body += struct.pack(">I", component.flags) + var(len(extents))
        body += struct.pack(">QQ", self.commit, 0) + var(volume) + b"\0"
        flags = 0
        if component.chunk:
            flags = 0x10
            body += padded(component.chunk) + var(len(component.columns))
        self.list.append(record(0x32, flags, body, update))
        self.counts["component"] += update != 2
        for extent in extents:
            self.partition(extent, number, update)

    def partition(self, extent, component, update):
        body = var(self.id()) + words(extent.name) + struct.pack(">IQ", 0, self.commit)
        body += struct.pack(">QQ", extent.start, extent.offset) + padded(extent.size)
        body += var(component) + var(self.disks[extent.disk.name])
        flags = 0x40 if extent.disk.rev == 3 else 0
        if extent.column:
            flags |= 0x08
            body += var(extent.column)
        body += b"\0" if flags & 0x40 else b""
        self.list.append(record(0x33, flags, body, update))
        self.counts["partition"] += update != 2

    def blocks(self, seed):
        """The records cut into blocks, in some order, with free blocks between."""
        pieces, size = [], BLOCK - 16
        for number, data in enumerate(self.list, 1):
            parts = [data[at : at + size] for at in range(0, len(data), size)]
            for index, part in enumerate(parts):
                pieces.append((number, index, len(parts), part))
        pieces += [(0, 0, 0, b"")] * 5
        random.Random(seed).shuffle(pieces)
        return pieces


# Structures


def seal(data):
    """Sets the checksum of a header: the sum of its 512 bytes without the checksum itself."""
    data = bytearray(data.ljust(512, b"\0"))
    data[8:12] = struct.pack(">I", (sum(data) - sum(data[8:12])) & 0xFFFFFFFF)
    return bytes(data)


def private_header(group, disk, sequence=7):
    text = lambda value, size: value.encode().ljust(size, b"\0")
    data = b"PRIVHEAD" + bytes(4) + struct.pack(">HHQQ", 2, 12, FILETIME, sequence)
    data += struct.pack(">QQ", disk.private - 1, disk.layout["second"])
    data += text(disk.guid, 64) + text(HOST, 64) + text(group.guid, 64) + text(group.name, 31)
    data += struct.pack(">IIHH", disk.sector, 0, 0, 0)
    data += struct.pack(">QQQQ", disk.public_start, disk.public_size, disk.config_start, disk.private)
    data += struct.pack(">QQII", *disk.tocs, 1, 1)
    data += struct.pack(">QQ", disk.layout["config"][1], disk.layout["log"][1])
    assert len(data) == 0x163
    return seal(data)


def toc(disk, sequence=7):
    data = b"TOCBLOCK" + bytes(4) + struct.pack(">Q", sequence) + bytes(16)
    for name in ("config", "log"):
        start, size = disk.layout[name]
        data += name.encode().ljust(8, b"\0") + bytes(2) + struct.pack(">QQ", start, size)
        data += b"\x00\x06\x00\x01" + bytes(4)
    return seal(data)


def config(group, disk, records, state, pending, seed):
    start, size = disk.layout["config"]
    size *= disk.sector
    counts = [records.counts[name] for name in ("volume", "component", "partition", "disk")]
    counts = struct.pack(">7I", *counts, 0, 0, 0)
    data = b"VMDB" + struct.pack(">III", size // BLOCK, BLOCK, 512) + struct.pack(">HHH", state, 4, 10)
    data += group.name.encode().ljust(31, b"\0") + group.guid.encode().ljust(64, b"\0")
    data += struct.pack(">QQ", group.commit, pending) + counts + counts
    data += struct.pack(">Q", FILETIME)
    data = bytearray(data.ljust(512, b"\0"))
    pieces = records.blocks(seed)
    for number in range(4, size // BLOCK):
        record, index, count, part = pieces.pop() if pieces else (0, 0, 0, b"")
        header = b"VBLK" + struct.pack(">IIHH", number, record, index, count)
        data += (header + part).ljust(BLOCK, b"\0")
    assert not pieces, "the database is full"
    return bytes(data)


def log(group, pages=2):
    data = b""
    for page in range(pages):
        body = b"KLOG" + struct.pack(">QIII", group.commit, 1, pages, page)
        for number in range(4):
            body += b"\x03" + struct.pack(">QQI", group.commit - number, group.commit - number, 0) + bytes(3)
        data += body.ljust(512, b"\0")
    return data


def make(group, folder, state=CLEAN, pending=None, records=None, seed=1):
    """Writes all disks of `group` and the content of its volumes; gives the paths."""
    paths = []
    for disk in group.disks:
        disk.image = tools.blank(os.path.join(folder, f"{disk.name.lower()}.img"), disk.sectors * disk.sector)
        partition_table(disk)
        write_private(group, disk, state, pending, records, seed)
        paths.append(disk.image)
    for volume in group.volumes:
        with open(volume.content, "rb") as file:
            content = file.read()
        for component in volume.components:
            component.write(content, volume.sector)
    return paths


def write_private(group, disk, state=CLEAN, pending=None, records=None, seed=1):
    records = records or Records(group).all()
    pending = group.commit if pending is None else pending
    header = private_header(group, disk)
    for place in disk.headers():
        tools.patch(disk.image, place, header)
    for place in disk.tocs:
        tools.patch(disk.image, disk.at(place), toc(disk))
    data = config(group, disk, records, state, pending, seed)
    tools.patch(disk.image, disk.at(disk.layout["config"][0]), data)
    tools.patch(disk.image, disk.at(disk.layout["log"][0]), log(group))


def partition_table(disk):
    if disk.scheme == "mbr":
        record = bytearray(512)
        entries = [*disk.before, *disk.dynamic(0x42)]
        for slot, (kind, first, count) in enumerate(entries):
            struct.pack_into("<B3xB3xII", record, 446 + 16 * slot, 0, kind, first, count)
        record[440:444] = guid_bytes(disk.guid)[-4:]
        record[510:] = b"\x55\xaa"
        tools.patch(disk.image, 0, bytes(record))
        return
    number = int(disk.guid[-4:], 16)
    unique = lambda slot: f"5eed0004-{number:04x}-4000-9000-{slot:012x}"
    lines = [f"label: gpt\nlabel-id: {unique(0)}\nfirst-lba: 34" if disk.sector == 512 else f"label: gpt\nlabel-id: {unique(0)}"]
    entries = [*disk.before, (METADATA, disk.config_start, disk.private), *disk.dynamic(DATA)]
    for slot, (kind, first, count) in enumerate(entries, 1):
        lines.append(f"start={first}, size={count}, type={kind}, uuid={unique(slot)}")
    tables.sfdisk(disk.image, "\n".join(lines) + "\n", disk.sector)


# The witness


def ldmtool(paths, *command):
    arguments = [part for path in paths for part in ("-d", path)]
    output = tools.run("ldmtool", *arguments, *command, check=False)
    try:
        return json.loads(output)
    except ValueError:
        return None


def checked(groups, paths):
    """Compares what ldmtool says with what was written; what it did not understand, as words."""
    agreed, silent = 0, []
    version = "ldmtool"
    for group in groups:
        for disk in group.disks:
            shown = ldmtool(paths, "show", "disk", group.guid, disk.name)
            if not shown:
                silent.append(disk.name)
                continue
            wanted = (disk.guid, disk.public_start, disk.public_size, disk.config_start, disk.private)
            keys = ("guid", "data-start", "data-size", "metadata-start", "metadata-size")
            got = tuple(shown.get(key) for key in keys)
            assert got == wanted or not shown["present"], (got, wanted)
            agreed += 1
        for volume in group.volumes:
            shown = ldmtool(paths, "show", "volume", group.guid, volume.name)
            if not shown or not shown.get("partitions"):
                silent.append(volume.name)
                continue
            only = volume.components[0]
            extents = [e for component in volume.components for column in component.columns for e in column]
            kind = {"raid5": "RAID5"}.get(volume.layout, volume.layout)
            wanted = (kind, volume.size, only.chunk, volume.hint, volume.guid)
            got = tuple(shown.get(key) for key in ("type", "size", "chunk-size", "hint", "guid"))
            if got != wanted:
                silent.append(f"{volume.name} (shown as {shown['type']})")
                continue
            assert sorted(shown["partitions"]) == sorted(e.name for e in extents), shown
            for extent in extents:
                part = ldmtool(paths, "show", "partition", group.guid, extent.name)
                assert (part["start"], part["size"], part["disk"]) == (extent.start, extent.size, extent.disk.name)
                agreed += 1
            agreed += 1
    words = f"{version} show disk/volume/partition: {agreed} objects agree"
    return words + (f"; not understood: {', '.join(silent)}" if silent else "")
