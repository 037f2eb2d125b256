"""Writes exFAT volumes, from Microsoft's "exFAT file system specification", revision 1.00.

For what no tool writes: given places of clusters, entries of vendors, two tables, offsets from UTC.
"""

import struct

ENTRY = 32
END = 0xFFFFFFFF
FREE = 0
BOOT_SECTORS = 24
DIRECTORY = 0x10
ARCHIVE = 0x20
VENDOR = bytes.fromhex("5eed0000000040008000000000000001")


def rotated(total, bits, data, skipped=()):
    mask = (1 << bits) - 1
    for at, byte in enumerate(data):
        if at not in skipped:
            total = ((total << (bits - 1) & mask) | total >> 1) + byte & mask
    return total


def units(name):
    raw = name.encode("utf-16-le", "surrogatepass")
    return struct.unpack(f"<{len(raw) // 2}H", raw)


def upper(unit):
    text = chr(unit).upper()
    return ord(text) if len(text) == 1 and ord(text) < 0x10000 and not 0xD800 <= unit < 0xE000 else unit


UPPER = [upper(unit) for unit in range(0x10000)]


def upcase_table(short=True):
    """With runs of units that are their own upper case, or all 65,536."""
    if not short:
        return struct.pack("<65536H", *UPPER)
    table, at = [], 0
    while at < 0x10000:
        run = at
        while run < 0x10000 and UPPER[run] == run and run - at < 0xFFFF:
            run += 1
        if run - at > 2 and at >= 128:
            table += [0xFFFF, run - at]
            at = run
        else:
            table.append(UPPER[at])
            at += 1
    return struct.pack(f"<{len(table)}H", *table)


def stamp(seconds, hundredths=0, quarters=None):
    """A time in UTC as it is stored for an offset of so many quarter hours, or without one."""
    import datetime

    local = datetime.datetime.fromtimestamp(seconds + 900 * (quarters or 0), datetime.timezone.utc)
    date = local.year - 1980 << 9 | local.month << 5 | local.day
    time = local.hour << 11 | local.minute << 5 | local.second // 2
    offset = 0 if quarters is None else 0x80 | quarters & 0x7F
    return date << 16 | time, local.second % 2 * 100 + hundredths, offset


class Node:
    def __init__(self, name, data=b"", **facts):
        self.name, self.data, self.children = name, data, []
        self.attributes = facts.get("attributes", ARCHIVE)
        self.valid = facts.get("valid")
        self.chained = facts.get("chained", False)
        self.mtime = facts.get("mtime", 1748779200)
        self.hundredths = facts.get("hundredths", 0)
        self.quarters = facts.get("quarters")
        self.extra = facts.get("extra", [])
        self.deleted = facts.get("deleted", False)
        self.first = 0
        self.length = len(data)

    @property
    def is_directory(self):
        return bool(self.attributes & DIRECTORY)


class Volume:
    def __init__(self, size, sector=512, cluster=4096, fats=1, label="", serial=0, short_upcase=True, active=0):
        self.sector, self.cluster, self.fats, self.active = sector, cluster, fats, active
        self.label, self.serial = label, serial
        self.upcase = upcase_table(short_upcase)
        self.fat_offset = BOOT_SECTORS
        self.sectors = size // sector
        per_cluster = cluster // sector
        self.fat_length = -(-(self.sectors // per_cluster + 2) * 4 // sector)
        heap = self.fat_offset + self.fat_length * fats
        self.heap_offset = -(-heap // per_cluster) * per_cluster
        self.count = (self.sectors - self.heap_offset) // per_cluster
        self.table = [FREE] * (self.count + 2)
        self.table[0], self.table[1] = 0xFFFFFFF8, END
        self.used = [False] * (self.count + 2)
        self.bytes = bytearray(self.sectors * sector)
        self.root = Node("", attributes=DIRECTORY)
        self.root_extra = []
        self.next = 2

    # Clusters

    def allocate(self, count, chained):
        """Clusters one after the other; those of a chain have a gap after every second one, and its parts
        are the wrong way round."""
        found, at = [], self.next
        while len(found) < count:
            if not self.used[at] and not (chained and at % 3 == 2):
                found.append(at)
            elif found and not chained:
                found = []
            at += 1
        for cluster in found:
            self.used[cluster] = True
        if not chained:
            self.next = at
        if chained:
            middle = len(found) // 2
            found = found[middle:] + found[:middle]
            for one, after in zip(found, found[1:] + [END]):
                self.table[one] = after
        return found

    def store(self, data, chained):
        """The first cluster of `data`."""
        count = -(-len(data) // self.cluster)
        if count == 0:
            return 0
        clusters = self.allocate(count, chained)
        for number, cluster in enumerate(clusters):
            self.write(cluster, data[number * self.cluster : (number + 1) * self.cluster])
        return clusters[0]

    def write(self, cluster, data):
        at = self.heap_offset * self.sector + (cluster - 2) * self.cluster
        self.bytes[at : at + len(data)] = data

    def link(self, first, count):
        """A chain of clusters that follow each other."""
        for cluster in range(first, first + count):
            self.table[cluster] = cluster + 1 if cluster + 1 < first + count else END

    # Entries

    def entries(self, node):
        name = units(node.name)
        parts = [name[at : at + 15] for at in range(0, len(name), 15)]
        secondaries = 1 + len(parts) + len(node.extra)
        created = stamp(node.mtime - 86400, 7, node.quarters)
        modified = stamp(node.mtime, node.hundredths, node.quarters)
        accessed = stamp(node.mtime + 7200, 0, node.quarters)
        file = struct.pack(
            "<BBHHHIIIBBBBB7x", 0x85, secondaries, 0, node.attributes, 0, created[0], modified[0], accessed[0],
            created[1], modified[1], created[2], modified[2], accessed[2],
        )  # fmt: skip
        folded = struct.pack(f"<{len(name)}H", *(UPPER[unit] for unit in name))
        valid = node.length if node.valid is None else node.valid
        flags = 1 if node.chained or not node.first else 3
        stream = struct.pack(
            "<BBBBHHQIIQ", 0xC0, flags, 0, len(name), rotated(0, 16, folded), 0, valid, 0, node.first, node.length
        )
        names = [struct.pack(f"<BB{len(part)}H", 0xC1, 0, *part).ljust(ENTRY, b"\0") for part in parts]
        whole = bytearray(b"".join([file, stream, *names, *node.extra]))
        whole[2:4] = struct.pack("<H", rotated(0, 16, whole, (2, 3)))
        if node.deleted:
            for at in range(0, len(whole), ENTRY):
                whole[at] &= 0x7F
        return bytes(whole)

    def vendor(self, data=b"", with_clusters=False):
        """An entry of a vendor, with a text or with clusters of its own."""
        if not with_clusters:
            return struct.pack("<BB16s14s", 0xE0, 0, VENDOR, data)
        return struct.pack("<BB16sHIQ", 0xE1, 3, VENDOR, 0, self.store(data, False), len(data))

    def guid(self, value):
        whole = bytearray(struct.pack("<BBHH16s10x", 0xA0, 0, 0, 0, value))
        whole[2:4] = struct.pack("<H", rotated(0, 16, whole, (2, 3)))
        return bytes(whole)

    def add(self, path, data=b"", **facts):
        """A file, or with `attributes` a directory; its directory must be there."""
        folder, _, name = path.rpartition("/")
        parent = self.root
        for part in folder.split("/") if folder else []:
            parent = next(child for child in parent.children if child.name == part)
        node = Node(name, data, **facts)
        if not node.is_directory:
            before = list(self.used)
            node.first = self.store(data, node.chained)
            if node.deleted:
                self.used = before
        parent.children.append(node)
        return node

    def add_folder(self, path, **facts):
        return self.add(path, attributes=DIRECTORY, **facts)

    def finish_folder(self, node):
        for child in node.children:
            if child.is_directory:
                self.finish_folder(child)
        data = b"".join(self.entries(child) for child in node.children)
        size = max(1, -(-len(data) // self.cluster)) * self.cluster
        node.length = size
        node.first = self.store(data.ljust(size, b"\0"), node.chained)

    # The volume

    def finish(self):
        """All bytes of the volume."""
        upcase = self.store(self.upcase, False)
        self.link(upcase, -(-len(self.upcase) // self.cluster))
        length = -(-self.count // 8)
        bitmaps = []
        for _ in range(self.fats):
            bitmaps.append(self.allocate(-(-length // self.cluster), False)[0])
            self.link(bitmaps[-1], -(-length // self.cluster))
        for child in self.root.children:
            if child.is_directory:
                self.finish_folder(child)
        system = []
        if self.label:
            text = units(self.label)
            system.append(struct.pack(f"<BB{len(text)}H", 0x83, len(text), *text).ljust(ENTRY, b"\0"))
        for number, first in enumerate(bitmaps):
            system.append(struct.pack("<BB18xIQ", 0x81, number, first, length))
        system.append(
            struct.pack("<B3xI12xIQ", 0x82, rotated(0, 32, self.upcase), upcase, len(self.upcase))
        )
        system += self.root_extra
        data = b"".join(system) + b"".join(self.entries(child) for child in self.root.children)
        count = max(1, -(-len(data) // self.cluster))
        chained = count > 1
        root = self.store(data.ljust(count * self.cluster, b"\0"), chained)
        if not chained:
            self.link(root, 1)
        bits = bytearray(length)
        for cluster in range(2, self.count + 2):
            if self.used[cluster]:
                bits[(cluster - 2) // 8] |= 1 << (cluster - 2) % 8
        for first in bitmaps:
            self.write(first, bits)
        table = struct.pack(f"<{len(self.table)}I", *self.table)
        for number in range(self.fats):
            at = (self.fat_offset + number * self.fat_length) * self.sector
            # The table that does not count is of an older time, in which there were no files.
            stored = table if number == self.active else table[:8]
            self.bytes[at : at + len(stored)] = stored
        self.write_boot(root)
        return bytes(self.bytes)

    def write_boot(self, root):
        used = sum(self.used) * 100 // self.count
        shift = self.sector.bit_length() - 1
        boot = struct.pack(
            "<3s8s53xQQIIIIIIHHBBBBB7x390s2s", b"\xeb\x76\x90", b"EXFAT   ", 0, self.sectors, self.fat_offset,
            self.fat_length, self.heap_offset, self.count, root, self.serial, 0x0100, self.active, shift,
            (self.cluster // self.sector).bit_length() - 1, self.fats, 0x80, used, b"\xf4" * 390, b"\x55\xaa",
        )  # fmt: skip
        write_regions(self.bytes, boot, self.sector)


def write_regions(whole, boot, sector):
    """Writes both boot regions with the boot sector `boot`."""
    extended = b"\0" * (sector - 4) + b"\0\0\x55\xaa"
    region = boot.ljust(sector, b"\0") + extended * 8 + b"\0" * sector * 2
    region += struct.pack("<I", rotated(0, 32, region, (106, 107, 112))) * (sector // 4)
    whole[: len(region)] = region
    whole[len(region) : 2 * len(region)] = region


def with_second_table_alone(image):
    """The same volume with its second table and bitmap as the only ones, for tools that know no others."""
    whole = bytearray(image)
    sector, cluster = 1 << whole[108], 1 << whole[108] + whole[109]
    offset, length, heap, _, root = struct.unpack_from("<IIIII", whole, 80)
    boot = bytearray(whole[:512])
    struct.pack_into("<I", boot, 80, offset + length)
    boot[106], boot[110] = 0, 1
    write_regions(whole, bytes(boot), sector)
    at = heap * sector + (root - 2) * cluster
    while whole[at]:
        if whole[at] == 0x81:
            whole[at] = 0x81 if whole[at + 1] else 0x01
            whole[at + 1] = 0
        at += ENTRY
    return bytes(whole)
