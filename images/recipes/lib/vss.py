"""Shadow copies of Windows, written from the documented format into NTFS volumes that were changed in between.

Three states of one volume: as the older copy was taken, as the newer one was, and now. What they need of each other's
blocks goes into stores, as the driver of Windows would have put it there. Both copies are read again by libvshadow where
the stores are on the volume itself; for stores on another volume there is no second reader.
"""

import hashlib
import os
import shutil
import struct
import uuid

from . import listing, ntfs, tools, tree
from .index import Fixture, recipe

IDENTIFIER = uuid.UUID("3808876b-c176-4e48-b7ae-04046e6cc752").bytes_le
BLOCK = 16384
VOLUME = uuid.UUID("6a1c0de1-0000-11ee-8000-000000000001")
STORAGE = uuid.UUID("6a1c0de1-0000-11ee-8000-000000000002")
STORES = [uuid.UUID(f"6a1c0de1-0000-11ee-8000-00000000001{number}") for number in (1, 2)]
# 2026-01-01T08:00:00Z and a day later.
TIMES = [1767254400, 1767340800]
FORWARDER, OVERLAY, UNUSED = 1, 2, 4


def header(record, relative, at, following):
    return struct.pack("<16sIIQQQ80x", IDENTIFIER, 1, record, relative, at, following)


def filetime(seconds):
    return (seconds + 11644473600) * 10**7


def descriptor(original, relative, place, flags=0, sectors=0):
    return struct.pack("<QQQII", original * BLOCK, relative, place, flags, sectors)


class Area:
    """Blocks of a volume that one of its files keeps free for stores."""

    NAME = "System Volume Information/storage"

    def __init__(self, count):
        self.count = count

    def write(self, root):
        """Makes the file, each of whose clusters is told from all others."""
        path = os.path.join(root, self.NAME)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            for cluster in range(self.count * 4):
                file.write(self.mark(cluster))

    @staticmethod
    def mark(cluster):
        return hashlib.sha256(b"cluster %d" % cluster).digest() * 128

    def find(self, data):
        """The places of blocks that the file has as a whole."""
        marks = {self.mark(cluster) for cluster in range(self.count * 4)}
        self.blocks = [
            at
            for at in range(0, len(data) - BLOCK + 1, BLOCK)
            if all(bytes(data[at + part : at + part + 4096]) in marks for part in range(0, BLOCK, 4096))
        ]
        assert len(self.blocks) > self.count // 2
        self.next = 0

    def take(self):
        self.next += 1
        return self.blocks[self.next - 1]


def unused(data, image):
    """For each block whether no cluster of it is in use, by NTFS's own bitmap."""
    bits = tools.run("ntfscat", "-f", "-i", "6", image)
    used = lambda cluster: bits[cluster // 8] >> cluster % 8 & 1
    return [
        not any(used(cluster) for cluster in range(at // 4096, min(at + BLOCK, len(data)) // 4096))
        for at in range(0, len(data), BLOCK)
    ]


def bitmap(flags):
    data = bytearray(-(-len(flags) // 8))
    for number, flag in enumerate(flags):
        data[number // 8] |= flag << number % 8
    return bytes(data)


class Storage:
    """Where the stores go: the bytes of the volume, and the area that is free there."""

    def __init__(self, data, area):
        self.data, self.area = data, area

    def put(self, content):
        at = self.area.take()
        self.data[at : at + BLOCK] = content.ljust(BLOCK, b"\0")
        return at

    def chain(self, record, parts):
        """Blocks of `record`, each with one of `parts`; where the first one lies."""
        places = [self.area.take() for _ in parts]
        for number, (at, part) in enumerate(zip(places, parts)):
            following = places[number + 1] if number + 1 < len(places) else 0
            block = header(record, number * BLOCK, at, following) + part
            self.data[at : at + BLOCK] = block.ljust(BLOCK, b"\0")
        return places[0]

    def store(self, store, descriptors, flags, previous):
        """An entry of type 3, with all that it names."""
        half = len(descriptors) // 2
        # A second block of the list, and descriptors that do not count.
        table = self.chain(3, [
            b"".join(descriptors[:half]) + descriptor(1, 0, 0x7777 << 14, UNUSED),
            b"".join(descriptors[half:]),
        ])  # fmt: skip
        information = self.chain(4, [uuid.UUID(int=1).bytes_le * 3 + struct.pack("<IIIIHH", 13, 1, 0x2000D, 0, 0, 0)])
        ranges = self.chain(5, [struct.pack("<QQQ", self.area.blocks[0], 0, BLOCK)])
        current = self.chain(6, [bitmap(flags)])
        before = self.chain(6, [bitmap(previous)]) if previous else 0
        return struct.pack(
            "<QQ16sQQQQQQQ40x", 3, table, store.bytes_le, information, ranges, current, 64, 1 << 20, before, 0
        )


def change(image, target, do):
    shutil.copyfile(image, target)
    with tools.mounted("ntfs", target, "rw,streams_interface=windows") as root:
        do(root)
    return target


def fill(path, seed, size):
    with open(path, "wb") as file:
        file.write(tree.stream(seed, size))
    os.utime(path, (TIMES[0], TIMES[0]))


def states(area, spare):
    """The older copy, the newer one, and now."""
    scratch = tools.scratch()
    entries = tree.load(["short"], "ntfs")

    def first(root):
        os.makedirs(os.path.join(root, "System Volume Information"), exist_ok=True)
        for one in (area, spare):
            if one:
                one.write(root)
        for name in ("first", "second", "third", "same"):
            fill(os.path.join(root, f"{name}.bin"), f"old {name}", 96 << 10)

    older = ntfs.make("vss-older", 5 << 20, entries, label="Server", also=first)

    def second(root):
        fill(os.path.join(root, "new.bin"), "new", 40 << 10)
        for name in ("first", "second", "third"):
            overwrite(os.path.join(root, f"{name}.bin"), f"newer {name}", 96 << 10)
        os.rename(os.path.join(root, "same.bin"), os.path.join(root, "renamed.bin"))

    newer = change(older, os.path.join(scratch, "vss-newer.img"), second)

    def third(root):
        os.remove(os.path.join(root, "new.bin"))
        for name in ("first", "second", "third"):
            overwrite(os.path.join(root, f"{name}.bin"), f"newest {name}", 96 << 10)
        fill(os.path.join(root, "newest.bin"), "newest", 60 << 10)

    now = change(newer, os.path.join(scratch, "vss-now.img"), third)
    return older, newer, now


def overwrite(path, seed, size):
    """In place: a file keeps its clusters."""
    with open(path, "r+b") as file:
        file.write(tree.stream(seed, size))


class Spare(Area):
    NAME = "System Volume Information/spare"

    @staticmethod
    def mark(cluster):
        return hashlib.sha256(b"spare %d" % cluster).digest() * 128


def read(path):
    with open(path, "rb") as file:
        return bytearray(file.read())


def whole_blocks(data, name):
    """The numbers of blocks that hold nothing but the content of the file `name`."""
    content = tree.stream(name, 96 << 10)
    clusters = {content[at : at + 4096] for at in range(0, len(content) - 4095, 4096)}
    return [
        number
        for number in range(len(data) // BLOCK)
        if all(
            bytes(data[at : at + 4096]) in clusters for at in range(number * BLOCK, number * BLOCK + BLOCK, 4096)
        )
    ]


def written(storage_of, area, spare, catalog_of, storage_id):
    """Both copies and the volume, with stores on the volume that `storage_of` gives for it."""
    paths = states(area, spare)
    older, newer, now = (read(path) for path in paths)
    marks = [unused(data, path) for data, path in zip((older, newer), paths)]
    spare.find(now)
    storage = storage_of(now)
    catalog = catalog_of(storage)
    for data in (older, newer, now):
        put_header(data, catalog[0], VOLUME, storage_id)
    count = len(now) // BLOCK
    hidden = {at // BLOCK for at in spare.blocks} | ({at // BLOCK for at in area.blocks} if area else set())
    for flags in marks:
        for number in hidden:
            flags[number] = True
    block = lambda data, number: bytes(data[number * BLOCK : (number + 1) * BLOCK])
    spares = iter(spare.blocks)
    descriptors = [[], []]
    done = [set(), set()]

    def keep(which, number, content, original=None):
        place = storage.put(content)
        descriptors[which].append(descriptor(number if original is None else original, place, place))
        done[which].add(number)

    # Of the older copy: a block that was moved before the newer one was taken, and whose new place was
    # written to later; it is found in the newer store.
    moved = whole_blocks(older, "old first")[0]
    at = next(spares)
    newer[at : at + BLOCK] = block(older, moved)
    now[at : at + BLOCK] = b"later".ljust(BLOCK, b"!")
    descriptors[0].append(descriptor(moved, at, 0, FORWARDER))
    done[0].add(moved)
    keep(1, at // BLOCK, block(newer, at // BLOCK))
    # Of the newer copy: one that was moved, and is still there; and one whose new place was written to.
    moved, again, over, under = whole_blocks(newer, "newer second")[:4]
    at = next(spares)
    now[at : at + BLOCK] = block(newer, moved)
    descriptors[1].append(descriptor(moved, at, 0, FORWARDER))
    done[1].add(moved)
    at = next(spares)
    descriptors[1].append(descriptor(again, at, 0, FORWARDER))
    now[at : at + BLOCK] = b"over it".ljust(BLOCK, b"?")
    keep(1, again, block(newer, again), original=at // BLOCK)
    # Sectors 3 and 4 were written to the newer copy itself: over what was kept, and over what is there now.
    wanted = block(newer, over)
    keep(1, over, wanted[: 3 * 512] + b"x" * 1024 + wanted[5 * 512 :])
    descriptors[1].append(descriptor(over, 1, storage.put(wanted), OVERLAY, 0b11000))
    wanted = block(newer, under)
    now[under * BLOCK : (under + 1) * BLOCK] = wanted[: 3 * 512] + b"y" * 1024 + wanted[5 * 512 :]
    descriptors[1].append(descriptor(under, 1, storage.put(wanted), OVERLAY, 0b11000))
    done[1].add(under)
    # All else that was written to.
    for number in range(count):
        if number in hidden:
            continue
        if number not in done[0] and not marks[0][number]:
            changed = block(older, number) != block(newer, number) or number in (over, under)
            if changed:
                keep(0, number, block(older, number))
        needed = not marks[1][number] or not marks[0][number]
        if number not in done[1] and needed and block(newer, number) != block(now, number):
            keep(1, number, block(newer, number))
    entries = [
        storage.store(STORES[0], descriptors[0], marks[0], None),
        storage.store(STORES[1], descriptors[1], marks[1], marks[0]),
    ]
    copies = [
        struct.pack("<QQ16sQQQ72x", 2, len(now), store.bytes_le, number + 1, 0x40, filetime(time))
        for number, (store, time) in enumerate(zip(STORES, TIMES))
    ]
    views = []
    for data, flags, number in ((older, marks[0], 0), (newer, marks[1], 1)):
        view = bytearray(data)
        own = done[number]
        # What the newest kept for the one before is known, though it is marked.
        lost = [n for n, flag in enumerate(flags) if flag and n not in own and (number == 0 or marks[0][n])]
        for n in lost:
            view[n * BLOCK : (n + 1) * BLOCK] = bytes(BLOCK)
        views.append((view, lost))
    return paths, now, catalog, copies, entries, views


def put_header(data, catalog, volume, storage):
    struct.pack_into(
        "<16sIIQQQQQ16s16sI412x", data, 0x1E00, IDENTIFIER, 1, 1, 0x1E00, 0x1E00, 0, catalog, 0,
        volume.bytes_le, storage.bytes_le, 0,
    )  # fmt: skip


def put_catalog(data, places, parts):
    for number, (place, part) in enumerate(zip(places, parts)):
        following = places[number + 1] if number + 1 < len(places) else 0
        block = header(2, number * BLOCK, place, following) + part
        data[place : place + BLOCK] = block.ljust(BLOCK, b"\0")


def save(name, data):
    path = os.path.join(tools.scratch(), name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def record(fixture, paths, views):
    """What each copy shows: its files, and its bytes with zeros for blocks of which nothing was kept."""
    copies = []
    for number, (path, (view, lost)) in enumerate(zip(paths, views)):
        rows = [row for row in listing.of_ntfs(path) if not row[0].startswith(b"System Volume Information")]
        name = f"{fixture.name}-{number + 1}.tsv"
        listing.save(rows, os.path.join(tools.FIXTURES, name))
        copies.append(
            {
                "store": str(STORES[number]),
                "time": TIMES[number],
                "size": len(view),
                "sha256": hashlib.sha256(view).hexdigest(),
                "lost": len(lost),
                "listing": name,
            }
        )
    fixture.record["copies"] = copies
    return fixture


def libvshadow_check(image, views):
    """Whether libvshadow gives the same, but for the blocks of which nothing was kept."""
    import pyvshadow

    volume = pyvshadow.volume()
    volume.open(image)
    assert volume.number_of_stores == len(views)
    for number, (view, lost) in enumerate(views):
        found = bytearray(volume.get_store(number).read_buffer_at_offset(len(view), 0))
        for block in lost:
            found[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
        for at in range(0, len(view), BLOCK):
            assert found[at : at + BLOCK] == view[at : at + BLOCK], f"copy {number}: block {at // BLOCK}"
    return f"libvshadow {pyvshadow.get_version()}"


@recipe("vss-local")
def local():
    area, spare = Area(100), Spare(12)

    def storage(now):
        area.find(now)
        return Storage(now, area)

    catalog = lambda storage: [storage.area.take(), storage.area.take()]
    paths, now, catalog, copies, entries, views = written(storage, area, spare, catalog, VOLUME)
    free = struct.pack("<Q120x", 1)
    # Over two blocks. libvshadow looks for the place of a store right behind its copy.
    parts = [copies[0] + entries[0] + free + copies[1], entries[1]]
    put_catalog(now, catalog, parts)
    image = save("vss-local.img", now)
    fixture = Fixture("vss-local", "set").file(image)
    record(fixture, paths, views)
    fixture.verified("content written by the recipe, listed by ntfs-3g")
    return fixture.verified(libvshadow_check(image, views))


@recipe("vss-redirected")
def redirected():
    area, spare = Area(100), Spare(12)

    def only(root):
        area.write(root)

    other = ntfs.make("vss-storage", 4 << 20, tree.load(["short"], "ntfs"), label="Storage", also=only)
    data = read(other)
    area.find(data)
    storage = Storage(data, area)
    last = lambda _: [spare.blocks[-1]]
    paths, now, catalog, copies, entries, views = written(lambda _: storage, None, spare, last, STORAGE)
    # The copies in the catalog of the volume, the stores in that of the other one.
    put_catalog(now, catalog, [copies[0] + copies[1]])
    place = area.take()
    put_header(data, place, STORAGE, STORAGE)
    put_catalog(data, [place], [entries[0] + entries[1]])
    fixture = Fixture("vss-redirected", "set")
    fixture.file(save("volume.img", now)).file(save("storage.img", data))
    record(fixture, paths, views)
    return fixture.verified("content written by the recipe, listed by ntfs-3g")
