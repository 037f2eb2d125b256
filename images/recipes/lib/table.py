"""Gives the master file table of an NTFS volume an attribute list, as old large volumes have it."""

import struct

from . import tools

RECORD = 1024
# A record that mkntfs reserves; Windows and ntfs-3g put the first further piece there, too.
SECOND = 15


def split(image):
    """Parts the runs of `$MFT` into three records."""
    volume = Volume(image)
    base = volume.read(0)
    parts = attributes(base)
    data = next(part for part in parts if kind(part) == 0x80)
    runs = unpack(data[struct.unpack_from("<H", data, 0x20)[0] :])
    assert len(runs) > 20, "the table is in pieces"
    # The third record lies in the runs of the second piece, so it cannot be read before that is.
    cuts = [0, 2, len(runs) // 2, len(runs)]
    starts = [sum(length for length, _ in runs[:cut]) for cut in cuts]
    third = next(
        number
        for number in range(starts[1] * volume.cluster // RECORD + 1, starts[2] * volume.cluster // RECORD)
        if not struct.unpack_from("<H", volume.read(number), 0x16)[0] & 1
    )
    holders = [0, SECOND, third]
    sequences = [struct.unpack_from("<H", volume.read(number), 0x10)[0] for number in holders]
    pieces = [
        piece(data, runs[start:end], vcn, index)
        for index, (start, end, vcn) in enumerate(zip(cuts, cuts[1:], starts))
    ]
    entries = []
    for part in parts:
        if kind(part) != 0x80:
            entries.append(entry(kind(part), 0, 0, sequences[0], struct.unpack_from("<H", part, 14)[0]))
            continue
        for holder, sequence, new in zip(holders, sequences, pieces):
            vcn, instance = struct.unpack_from("<Q", new, 16)[0], struct.unpack_from("<H", new, 14)[0]
            entries.append(entry(0x80, vcn, holder, sequence, instance))
    listed = resident(0x20, b"".join(entries), 90)
    rebuilt = [part for part in parts if kind(part) != 0x80] + [pieces[0], listed]
    volume.write(0, record(base, sorted(rebuilt, key=kind), 0))
    for number, new in zip(holders[1:], pieces[1:]):
        volume.write(number, record(volume.read(number), [new], 1 << 48))


class Volume:
    """File records by number, without their update sequence."""

    def __init__(self, image):
        self.image = image
        boot = tools.peek(image, 0, 512)
        sector, clusters = struct.unpack_from("<HB", boot, 11)
        self.cluster = sector * clusters
        self.mft, self.mirror = (lcn * self.cluster for lcn in struct.unpack_from("<QQ", boot, 0x30))
        self.runs = [(1, self.mft // self.cluster)]
        data = next(part for part in attributes(self.read(0)) if kind(part) == 0x80)
        self.runs = unpack(data[struct.unpack_from("<H", data, 0x20)[0] :])

    def place(self, number):
        vcn, inside = divmod(number * RECORD, self.cluster)
        for length, lcn in self.runs:
            if vcn < length:
                return (lcn + vcn) * self.cluster + inside
            vcn -= length
        raise SystemExit(f"no record {number}")

    def read(self, number):
        data = bytearray(tools.peek(self.image, self.place(number), RECORD))
        (at,) = struct.unpack_from("<H", data, 4)
        data[510:512], data[1022:1024] = data[at + 2 : at + 4], data[at + 4 : at + 6]
        return bytes(data)

    def write(self, number, data):
        data = bytearray(data)
        (at,) = struct.unpack_from("<H", data, 4)
        data[at + 2 : at + 4], data[at + 4 : at + 6] = data[510:512], data[1022:1024]
        data[510:512] = data[1022:1024] = data[at : at + 2]
        tools.patch(self.image, self.place(number), data)
        if number < 4:
            tools.patch(self.image, self.mirror + number * RECORD, data)


def kind(part):
    return struct.unpack_from("<I", part)[0]


def attributes(data):
    parts, (at,) = [], struct.unpack_from("<H", data, 0x14)
    while struct.unpack_from("<I", data, at)[0] != 0xFFFFFFFF:
        (length,) = struct.unpack_from("<I", data, at + 4)
        parts.append(data[at : at + length])
        at += length
    return parts


def record(old, parts, base):
    """The record `old` with these attributes."""
    (first,) = struct.unpack_from("<H", old, 0x14)
    body = b"".join(parts) + struct.pack("<II", 0xFFFFFFFF, 0)
    data = bytearray(old[:first] + body + bytes(RECORD - first - len(body)))
    assert len(data) == RECORD
    struct.pack_into("<H", data, 0x16, struct.unpack_from("<H", old, 0x16)[0] | 1)
    struct.pack_into("<IIQH", data, 0x18, first + len(body), RECORD, base, 100)
    return bytes(data)


def resident(code, value, instance):
    length = 0x18 + len(value)
    padded = (length + 7) & ~7
    head = struct.pack("<IIBBHHHIHBB", code, padded, 0, 0, 0x18, 0, instance, len(value), 0x18, 0, 0)
    return head + value + bytes(padded - length)


def piece(data, runs, vcn, index):
    """The piece of the attribute `data` with these runs; the first one keeps the sizes."""
    clusters = sum(length for length, _ in runs)
    packed = pack(runs)
    packed += bytes(-len(packed) % 8)
    head = bytearray(data[:0x40])
    struct.pack_into("<I", head, 4, 0x40 + len(packed))
    struct.pack_into("<BBHHH", head, 8, 1, 0, 0x40, 0, 50 + index)
    struct.pack_into("<QQH", head, 0x10, vcn, vcn + clusters - 1, 0x40)
    if vcn:
        head[0x28:0x40] = bytes(0x18)
    return bytes(head) + packed


def entry(code, vcn, number, sequence, instance):
    head = struct.pack("<IHBBQQH", code, 0x20, 0, 0x1A, vcn, sequence << 48 | number, instance)
    return head + bytes(0x20 - len(head))


def unpack(packed):
    runs, at, lcn = [], 0, 0
    while packed[at]:
        low, high = packed[at] & 15, packed[at] >> 4
        length = int.from_bytes(packed[at + 1 : at + 1 + low], "little")
        lcn += int.from_bytes(packed[at + 1 + low : at + 1 + low + high], "little", signed=True)
        runs.append((length, lcn))
        at += 1 + low + high
    return runs


def pack(runs):
    packed, before = b"", 0
    for length, lcn in runs:
        numbers = [number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
                   for number in (length, lcn - before)]  # fmt: skip
        packed += bytes([len(numbers[1]) << 4 | len(numbers[0])]) + b"".join(numbers)
        before = lcn
    return packed + b"\0"
