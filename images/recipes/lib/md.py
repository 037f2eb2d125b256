"""Arrays of Linux software RAID (MD). Superblocks and data are laid out here as md(4) and the kernel's headers say
(include/uapi/linux/raid/md_p.h); `mdadm --examine` is asked what it makes of every device."""

import hashlib
import os
import re
import struct

from . import lvm, tools

MAGIC = 0xA92B4EFC
CHUNK = 4096
ALL = 2**64 - 1
SPARE, FAULTY, JOURNAL = 0xFFFF, 0xFFFE, 0xFFFD
BITS = {"recovery": 2, "reshape": 4, "bad": 8, "replacement": 16, "clustered": 256, "journal": 512, "layout": 4096}
# What a partition has room for: 64 KiB that superblock 0.90 takes, and the data.
PARTITION = 256 << 10
CTIME = 1767225600


def uuid(number, kind=0):
    return bytes.fromhex(f"5eed0004{kind:04x}40008000{number:012x}")


def text(raw):
    return ":".join(raw[at : at + 4].hex() for at in range(0, 16, 4))


class Array:
    """An array in the making: `columns` are the bytes of each device."""

    def __init__(self, number, name, level, columns, layout=0, chunk=CHUNK, version="1.2", even=True, **more):
        self.number, self.name, self.level, self.columns = number, name, level, columns
        self.layout, self.chunk, self.version, self.even = layout, chunk, version, even
        self.events, self.resync, self.features = 20, ALL, more.pop("features", [])
        self.raid_disks = len(columns)
        self.__dict__.update(more)

    @property
    def id(self):
        return f"md:{text(uuid(self.number))}"

    @property
    def size(self):
        return len(self.columns[0]) if self.even else 0

    def roles(self, **changed):
        return list(range(len(self.columns)))

    def member(self, column, size, **own):
        """A device of `size` bytes; `own` bends what its superblock says."""
        if self.version.startswith("0.90"):
            return self.member_090(column, size, **own)
        place = {"1.0": (size - 8192) & ~4095, "1.1": 0, "1.2": 4096}[self.version]
        offset = own.get("data_offset", 0 if self.version == "1.0" else 16384)
        data = own.get("data", self.columns[column])
        roles = own.get("roles", list(range(self.raid_disks)))
        features = sum(BITS.get(bit, 0) or bit for bit in [*self.features, *own.get("features", [])])
        bad = b"".join(struct.pack("<Q", (offset // 512 + first) << 10 | count) for first, count in own.get("bad", []))
        head = struct.pack(
            "<IIII16s32sQiIQIII28xQQQQII16sBBHiQQQII32x",
            MAGIC, 1, features, 0, uuid(self.number), b"seed:" + self.name.encode(), CTIME, self.level, self.layout,
            own.get("size", self.size) // 512, self.chunk // 512, self.raid_disks, 0,
            offset // 512, own.get("room", len(data)) // 512, place // 512, own.get("recovered", 0) // 512,
            own.get("number", column), 0, own.get("device", uuid(self.number, column + 1)), own.get("flags", 0), 0,
            1 if bad else 0, 8 if bad else 0, CTIME + 9, own.get("events", self.events),
            own.get("resync", self.resync), 0, len(roles),
        )  # fmt: skip
        block = head + struct.pack(f"<{len(roles)}H", *roles)
        total = sum(struct.unpack_from("<I", block.ljust((len(block) + 3) & ~3, b"\0"), at)[0] for at in range(0, len(block), 4))
        total = ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF
        block = block[:216] + struct.pack("<I", total) + block[220:]
        device = bytearray(size)
        device[offset : offset + len(data)] = data
        device[place : place + len(block)] = block
        if bad:
            device[place + 4096 : place + 4608] = bad.ljust(512, b"\xff")
        return bytes(device)

    def member_090(self, column, size, **own):
        """Superblock 0.90; `0.90-be` as a machine with big-endian words writes it."""
        order = ">" if self.version.endswith("be") else "<"
        words = [0] * 1024
        one, *rest = struct.unpack(">4I", uuid(self.number))
        words[0:9] = [MAGIC, 0, 90, 0, 0, one, CTIME, self.level & 0xFFFFFFFF, self.size // 1024]
        words[9:16] = [self.raid_disks, self.raid_disks, self.number, 0, *rest]
        words[32:38] = [CTIME + 9, 1, self.raid_disks, self.raid_disks, 0, 0]
        events = [own.get("events", self.events), 0]
        words[39:43] = (events if order == "<" else events[::-1]) * 2
        words[64:66] = [self.layout, self.chunk]
        for number in range(self.raid_disks):
            words[128 + 32 * number : 133 + 32 * number] = [number, 8, 1 + 16 * number, number, 6]
        words[992:997] = words[128 + 32 * column : 133 + 32 * column]
        total = sum(words)
        words[38] = ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF
        device = bytearray(size)
        data = own.get("data", self.columns[column])
        device[: len(data)] = data
        place = (size & ~0xFFFF) - 0x10000
        device[place : place + 4096] = struct.pack(f"{order}1024I", *words)
        return bytes(device)

    def keeper(self, number, log, tail, roles):
        """A device that keeps the journal: `log` is its data, which begins at `tail`."""
        own = {"data": log, "room": len(log), "number": number, "roles": roles}
        return self.member(0, len(log) + 65536, **own, recovered=tail, device=uuid(self.number, number + 1))

    def examine(self, column, device, role=None):
        """Asks mdadm what the bytes `device` are."""
        path = os.path.join(tools.scratch(), "member")
        with open(path, "wb") as file:
            file.write(device)
        swapped = ["--metadata=0.swap"] if self.version.endswith("be") else []
        said = tools.run("mdadm", "--examine", *swapped, path, check=False).decode()
        found = dict(re.findall(r"^ +([A-Za-z ]+?) : (.*)$", said, re.M))
        problem = f"{self.name}, column {column}: mdadm says\n{said}"
        assert found.get("Checksum", "").endswith("correct"), problem
        assert text(uuid(self.number)) in (found.get("Array UUID", "") + found.get("UUID", "")), problem
        if self.version.startswith("1"):
            assert found["Name"].split()[0] == f"seed:{self.name}", problem
            assert found["Device Role"] == (role or f"Active device {column}"), problem
        return found


# The journal: drivers/md/raid5-log-format.h.


def crc32c(data, crc=0xFFFFFFFF):
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def log(array, blocks, tail, transactions, first=70):
    """A ring of so many `blocks` with meta blocks from the block `tail` on; each of `transactions` is a list of
    (page of the array, its bytes), or of (page, bytes, bytes that are there instead)."""
    ring = [bytes(CHUNK)] * blocks
    seed = crc32c(uuid(array.number))
    for sequence, pages in enumerate(transactions, first):
        own, entries, tail = tail, b"", (tail + 1) % blocks
        for page, data, *torn in pages:
            entries += struct.pack("<HHIQI", 0, 0, 8, page * 8, crc32c(data, seed))
            ring[tail], tail = (torn or [data])[0], (tail + 1) % blocks
        head = struct.pack("<IIBxHIQQ", 0x6433C509, 0, 1, 0, 32 + len(entries), sequence, own * 8) + entries
        head = head.ljust(CHUNK, b"\0")
        ring[own] = head[:4] + struct.pack("<I", crc32c(head, seed)) + head[8:]
    return b"".join(ring)


# Layouts: from data to the columns, as md(4) describes them.


def chunks(data, size=CHUNK):
    return [data[at : at + size] for at in range(0, len(data), size)]


def deal(data, count):
    """Chunks in turn."""
    return [b"".join(chunks(data)[column::count]) for column in range(count)]


def zones(data, rows, is_original):
    """RAID-0 over columns of so many `rows`: where one ends, the others go on. The original layout counts the chunks
    of a zone from the start of the array to choose the column, the alternate one from the start of the zone."""
    columns = [bytearray() for _ in rows]
    parts = chunks(data)
    done = row = 0
    while done < len(parts):
        zone = [column for column in range(len(rows)) if rows[column] > row]
        last = min(rows[column] for column in zone)
        count = (last - row) * len(zone)
        laid = {}
        for index in range(count):
            column = zone[((done if is_original else 0) + index) % len(zone)]
            laid[column, row + index // len(zone)] = parts[done + index]
        for (column, _), part in sorted(laid.items()):
            columns[column] += part
        done, row = done + count, last
    return [bytes(column) for column in columns]


def parity5(data, count, layout):
    columns = [bytearray() for _ in range(count)]
    for number, row in enumerate(chunks(data, CHUNK * (count - 1))):
        lvm.lay(columns, chunks(row), CHUNK, *lvm.place5(layout, number, count))
    return [bytes(column) for column in columns]


def parity6(data, count, layout):
    columns = [bytearray() for _ in range(count)]
    for number, row in enumerate(chunks(data, CHUNK * (count - 2))):
        lvm.lay(columns, chunks(row), CHUNK, *place6(layout, number, count))
    return [bytes(column) for column in columns]


def place6(layout, row, count):
    """(columns of the data, of P, of Q, powers of the data in Q)."""
    if layout in (5, 8, 9, 10):
        return lvm.place6(layout, row, count)
    if layout >= 16:  # a RAID-5 and Q at the end, which the powers begin after
        data, p, _, _ = lvm.place5(layout - 16, row, count - 1)
        order = [column for column in range(count - 1) if column != p]
        return data, p, count - 1, [order.index(column) for column in data]
    if layout == 4:
        data = list(range(2, count))
        return data, 0, 1, [column - 2 for column in data]
    p = row % count if layout in (1, 3) else count - 1 - row % count
    q = (p + 1) % count
    after_q = [(q + 1 + n) % count for n in range(count) if (q + 1 + n) % count not in (p, q)]
    data = after_q if layout in (2, 3) else sorted(after_q)
    return data, p, q, [after_q.index(column) for column in data]


def copies(data, count, near, far=1, offset=False, sets=None):
    """RAID-10: each chunk `near` times side by side, row after row; far copies are those rows turned by `near`
    columns, in another part of the columns, or with `offset` at once. With `sets` they turn inside sets."""
    flat = [part for part in chunks(data) for _ in range(near)]
    rows = [flat[at : at + count] for at in range(0, len(flat), count)]
    rows = [row + [bytes(CHUNK)] * (count - len(row)) for row in rows]

    def turned(row, times):
        size = sets or count
        borders = [at * size for at in range(count // size)] + [count]
        out = []
        for first, last in zip(borders, borders[1:]):
            part, by = row[first:last], times * near % (last - first)
            out += part[-by:] + part[:-by] if by else part
        return out

    if offset:
        laid = [turned(row, times) for row in rows for times in range(far)]
    else:
        laid = [turned(row, times) for times in range(far) for row in rows]
    return [b"".join(row[column] for row in laid) for column in range(count)]


def number10(near, far=1, offset=False, sets=None):
    return near | far << 8 | bool(offset) << 16 | (2 << 17 if sets else 0)


def fact(array, layout, data, without, health="healthy", **more):
    """What is to be read of `array`; `without` has what becomes of it for each disk."""
    return {
        "id": array.id, "group": f"md{array.number}" if array.version[0] == "0" else f"seed:{array.name}",
        "name": f"md{array.number}" if array.version[0] == "0" else array.name, "layout": layout, "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "health": health, "without": without, **more,
    }  # fmt: skip
