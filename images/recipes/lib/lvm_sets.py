"""Volume groups of LVM2: each layout, whole, and wounded in one way."""

import os
import struct

from . import ext, lvm, tools, tree
from .index import Fixture, recipe

K = lvm.EXTENT


class Set:
    """The disks of a set in a folder of their own, and what the index is to say."""

    def __init__(self, name, note=None):
        self.name = name
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.fixture = Fixture(name, "set", note)
        self.paths, self.facts = [], []

    def path(self, number):
        path = os.path.join(self.folder, f"disk{number}.img")
        self.paths.append(path)
        return path

    def disks(self, count, mib, **options):
        return [lvm.Disk(self.path(n), n, mib, **options) for n in range(count)]

    def add(self, group):
        """Has lvm2 write the metadata of `group`."""
        listed = group.write_metadata()
        self.facts += group.facts
        self.fixture.verified(f"lvm2: vgcfgrestore and vgck take the metadata, lvs -a lists {len(listed)} volumes")
        return self

    def finish(self, by, findings=()):
        for path in dict.fromkeys(self.paths):
            self.fixture.file(path)
        self.fixture.record["logical"] = self.facts
        if findings:
            self.fixture.expect(findings=list(findings))
        return self.fixture.verified(by)


@recipe("lvm-layouts")
def layouts():
    made = Set("lvm-layouts", "every layout on five disks, with patterns of 16 bytes")
    disks = made.disks(5, 5)
    group = lvm.Group("layouts", 1, disks)
    data = lvm.pattern
    group.runs("lin", data("lin", 3 * K), [(disks[0], 2), (disks[1], 1)])
    group.striped("str", data("str", 3 * K), disks[1:4], 8192)
    group.mirror("mir", data("mir", 2 * K), disks[:2], disks[2])
    for name, kind, extents, count in [
        ("r0", "raid0", 2, 2), ("r0m", "raid0_meta", 2, 2), ("r1", "raid1", 2, 3), ("r10", "raid10", 2, 4),
        ("r4", "raid4", 3, 4), ("r5ls", "raid5_ls", 3, 4), ("r5la", "raid5_la", 3, 4), ("r5rs", "raid5_rs", 3, 4),
        ("r5ra", "raid5_ra", 3, 4), ("r5n", "raid5_n", 3, 4), ("r6zr", "raid6_zr", 3, 5), ("r6nr", "raid6_nr", 3, 5),
        ("r6nc", "raid6_nc", 3, 5), ("r6n6", "raid6_n_6", 3, 5),
    ]:  # fmt: skip
        group.raid(name, kind, data(name, extents * K), disks[:count])
    by = "the columns of RAID-4, 5 and 6 are those that mdadm 4.2 (restripe.c: test_stripe restore) writes"
    return made.add(group).finish(by)


@recipe("lvm-raid-stale")
def stale():
    """Sides that the kernel or the group says are old: they are left out, or nothing is rebuilt of them."""
    made = Set("lvm-raid-stale", stale.__doc__)
    disks = made.disks(5, 4)
    group = lvm.Group("stale", 2, disks)
    data = lvm.pattern
    three = disks[:3]

    def spoil(disk, first, count, after=0):
        disk.write(first, b"old " * ((count * K - after) // 4), after)

    def raid(name, kind, members, which, health="degraded", without=None, **options):
        """One whose side `which` has other bytes than it should, but for what was recovered."""
        recovered = options.get("state", {}).get(which, {}).get("recovered", 0) * lvm.SECTOR
        size = (3 if kind == "raid6_zr" else 2) * K
        start = members[which].used
        group.raid(name, kind, data(name, size), members, health=health, without=without or {}, **options)
        spoil(members[which], start + 1, members[which].used - start - 1, recovered)

    others = lambda members, which, word: {d: word for n, d in enumerate(members) if n != which}
    for name, options in [
        ("events", {"state": {1: {"events": 5}}}),
        ("failed", {"state": {0: {"failed": 2}, 2: {"failed": 2}}}),
        ("partly", {"state": {1: {"recovered": 100}}}),
        ("rebuild", {"flags": [(1, "REBUILD")]}),
    ]:
        raid(f"r1-{name}", "raid1", three, 1, **options)
        raid(f"r5-{name}", "raid5_ls", three, 1, without=others(three, 1, "failed"), **options)
        raid(f"r6-{name}", "raid6_zr", disks, 1, **options)
    unsynced = {n: {"synced": 0} for n in range(5)}
    # The first side alone counts.
    raid("r1-sync", "raid1", disks[:2], 1, state=unsynced)
    # Data is whole, parity is not: without a disk nothing is rebuilt.
    start = disks[0].used
    group.raid("r5-sync", "raid5_ls", data("r5-sync", 2 * K), three, state=unsynced, health="healthy",
               without=dict.fromkeys(three, "failed"))  # fmt: skip
    assert start + 2 == disks[0].used
    return made.add(group).finish("laid out as in lvm-layouts", ["lvm-volume-doubtful"])


@recipe("lvm-guest")
def guest():
    """A system whose root and home are logical volumes, on a partition and on a whole disk."""
    made = Set("lvm-guest", guest.__doc__)
    first = tools.blank(made.path(0), 10 << 20)
    entry = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0x8E, 0xFE, 0xFF, 0xFF, 2048, (9 << 20) // 512)
    tools.patch(first, 446, entry.ljust(64, b"\0") + b"\x55\xAA")
    disks = [lvm.Disk(first, 0, 0, start=1 << 20, size=9 << 20, copies=2), lvm.Disk(made.path(1), 1, 8)]
    group = lvm.Group("seed-vg", 3, disks, system_id="elsewhere")

    def volume(name, size, entries, number):
        image = ext.make(f"{name}-lv", size, entries, ext.EXT2, 1024, number, name, 100)
        with open(image, "rb") as file:
            return file.read()

    fstab = (
        "/dev/mapper/seed--vg-root / ext2 defaults 0 1\n"
        "/dev/seed-vg/home /home ext2 defaults 0 2\n"
        "/dev/mapper/seed--vg-var--log /var/log ext2 defaults 0 2\n"
        "/dev/seed-vg/gone /gone ext2 nofail 0 2\n"
    )
    folder = lambda path: tree.Entry(path, "d", 0, [], tree.FIRST_TIME)
    file = lambda path, text: tree.Entry(path, "f", len(text), [(0, text)], tree.FIRST_TIME)
    root = [folder(path) for path in ("etc", "home", "var", "var/log", "gone")]
    root += [file("etc/fstab", fstab.encode()), file("etc/os-release", b'ID=seed\nNAME="Seed"\nVERSION_ID=1\n')]
    group.runs("root", volume("root", 4 << 20, root, 60), [(disks[0], 40), (disks[1], 24)])
    group.striped("home", volume("home", 2 << 20, tree.load(["short"], "ext"), 61), disks, 64 << 10)
    group.runs("var-log", volume("log", 1 << 20, [file("messages", b"started\n")], 62), [(disks[1], 16)])
    return made.add(group).finish("ext2 by mke2fs")


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def small(name, number, size=1 << 20, entries=("short",)):
    return contents(ext.make(f"{name}-lv", size, tree.load(list(entries), "ext"), ext.EXT2, 1024, number, name, 100))


def changed(name, number):
    """The same files as `small` has, and one more."""
    text = f"added to {name}\n".encode()
    entries = tree.load(["short"], "ext")
    entries.append(tree.Entry("zadded.txt", "f", len(text), [(0, text)], tree.FIRST_TIME))
    return contents(ext.make(f"{name}-more", 1 << 20, entries, ext.EXT2, 1024, number, name, 100))


@recipe("lvm-thin")
def thin():
    """A thin pool: volumes, a snapshot, one on an external origin, and one whose table has several nodes."""
    made = Set("lvm-thin", thin.__doc__)
    disks = made.disks(2, 8)
    group = lvm.Group("pool", 4, disks)
    blocks = 48
    data = bytearray(lvm.pattern("unused", blocks * K))

    def put(block, bytes_):
        data[block * K : (block + 1) * K] = bytes_

    def mapped(size, table, under=b""):
        """What a volume of `size` blocks with `table` holds."""
        whole = [under[n * K : (n + 1) * K].ljust(K, b"\0") for n in range(size)]
        for own, block in table.items():
            whole[own] = bytes(data[block * K : (block + 1) * K])
        return b"".join(whole)

    first = small("thin1", 70)
    table1 = {}
    for own, block in zip(range(16), [7, 8, 9, 3, 2, 1, 0, 20, 21, 22, 30, 31, 12, 11, 10, 4]):
        bytes_ = first[own * K : (own + 1) * K]
        if any(bytes_):
            put(block, bytes_)
            table1[own] = block
    # The snapshot shares blocks and has some of its own; so has the volume on an external origin.
    free = iter(range(40, blocks))
    base = small("base", 71)

    def differing(whole, under, table):
        own_table = dict(table)
        for own in range(16):
            bytes_ = whole[own * K : (own + 1) * K]
            if bytes_ != under[own * K : (own + 1) * K]:
                own_table[own] = next(free)
                put(own_table[own], bytes_)
        return own_table

    table2 = differing(changed("thin1", 70), first, table1)
    table3 = differing(changed("base", 71), base, {})
    assert table2 != table1 and table3
    table4 = {own * 2 if own > 500 else own: (own * 7) % blocks for own in range(640)}
    devices = []
    for number, table in enumerate([table1, table2, table3, table4], 1):
        rows = "".join(
            f'<single_mapping origin_block="{own}" data_block="{block}" time="{number % 2}"/>'
            for own, block in sorted(table.items())
        )
        devices.append(
            f'<device dev_id="{number}" mapped_blocks="{len(table)}" transaction="{number - 1}" '
            f'creation_time="0" snap_time="1">{rows}</device>'
        )
    xml = (
        f'<superblock uuid="" time="1" transaction="4" flags="0" version="2" data_block_size="{K // 512}" '
        f'nr_data_blocks="{blocks}">{"".join(devices)}</superblock>'
    )
    group.runs("base", base, [(disks[0], 16)])
    tmeta = group.image("tp_tmeta", disks[0], lvm.made_of(xml, "thin", 2 << 20))
    half = blocks // 2 * K
    for disk, part in [(disks[0], data[:half]), (disks[1], data[half:])]:
        disk.half = disk.take(blocks // 2)
        disk.write(disk.half, bytes(part))
    segments = [(blocks // 2, lvm.stripes([(disk, disk.half)])) for disk in disks]
    group.volume("tp_tdata", segments, visible=False)
    body = f'type = "thin-pool"\nmetadata = "{tmeta}"\npool = "tp_tdata"\ntransaction_id = 4\n'
    group.volume("tp", [(blocks, f"{body}chunk_size = {K // 512}\ndiscards = \"passdown\"\nzero_new_blocks = 1")])
    lost = dict.fromkeys(disks, "failed")

    def volume(name, number, size, content, more=""):
        line = f'type = "thin"\nthin_pool = "tp"\ntransaction_id = {number - 1}\ndevice_id = {number}\n{more}'
        own = group.volume(name, [(size, line)], created=1767225600 + number)
        group.fact(own, name, "thin", content, lost)

    volume("thin1", 1, 16, mapped(16, table1))
    volume("snap", 2, 16, mapped(16, table2), 'origin = "thin1"')
    volume("ext", 3, 20, mapped(20, table3, base), 'external_origin = "base"')
    volume("many", 4, 1300, mapped(1300, table4))
    line = 'type = "thin"\nthin_pool = "tp"\ntransaction_id = 3\ndevice_id = 9'
    group.refuse(group.volume("gone", [(4, line)]), "gone", 4 * K, "has no device 9")
    made.add(group).fixture.verified("thin_restore made the metadata of the pool, thin_check accepts it")
    return made.finish("blocks written by the recipe where the XML has them", ["lvm-volume-refused"])


@recipe("lvm-snapshot")
def snapshot():
    """Snapshots of the older driver: one with saved chunks, a full one, and one that is being merged."""
    made = Set("lvm-snapshot", snapshot.__doc__)
    disks = made.disks(2, 8)
    group = lvm.Group("snaps", 5, disks)
    chunk = 4096
    now = small("base", 72)
    before = changed("base", 72)
    store = bytearray(8 * K)
    store[:16] = struct.pack("<4sIII", b"SnAp", 1, 1, chunk // 512)
    pieces = [(n, before[n * chunk : (n + 1) * chunk], now[n * chunk : (n + 1) * chunk]) for n in range(256)]
    saved = [(n, old) for n, old, new in pieces if old != new][::-1]
    assert len(saved) > 2
    for number, (old, bytes_) in enumerate(saved):
        store[(number + 2) * chunk : (number + 3) * chunk] = bytes_
        struct.pack_into("<QQ", store, chunk + number * 16, old, number + 2)
    group.runs("base", now, [(disks[0], 16)])

    def store_of(name, data, disk):
        first = disk.take(len(data) // K)
        disk.write(first, data)
        return group.volume(name, [(len(data) // K, lvm.stripes([(disk, first)]))], created=1767225700)

    def of(number, store, origin="base", key="cow_store"):
        body = f'type = "snapshot"\nchunk_size = {chunk // 512}\norigin = "{origin}"\n{key} = "{store}"'
        group.volume(f"snapshot{number}", [(16, body)], visible=False, created=None)

    own = store_of("before", bytes(store), disks[1])
    of(0, "before")
    group.fact(own, "before", "snapshot", before, dict.fromkeys(disks, "failed"))
    struct.pack_into("<I", store, 4, 0)
    full = store_of("full", bytes(store), disks[1])
    of(1, "full")
    group.refuse(full, "full", 16 * K, "is not valid any more")
    first = disks[0].take(16)
    disks[0].write(first, now)
    back = group.volume("back", [(16, lvm.stripes([(disks[0], first)]))])
    struct.pack_into("<I", store, 4, 1)
    merging = store_of("merging", bytes(store), disks[1])
    of(2, "merging", "back", "merging_store")
    for own, name, size in [(back, "back", 16), (merging, "merging", 8)]:
        group.refuse(own, name, size * K, "the snapshot merging is being merged into back")
    return made.add(group).finish("stores written by the recipe", ["lvm-volume-refused"])


@recipe("lvm-cache")
def cache():
    """Caches: with a pool and a volume for both parts, both versions; write caches, empty and not."""
    made = Set("lvm-cache", cache.__doc__)
    disks = made.disks(2, 16)
    slow, fast = disks
    group = lvm.Group("caches", 6, disks)
    held = {0: 5, 3: 2, 4: 15, 7: 0}

    def table(version, mode_blocks=8):
        rows = "".join(
            f'<mapping cache_block="{block}" origin_block="{own}" dirty="{"true" if block else "false"}"/>'
            for block, own in held.items()
        )
        hints = "".join(f'<hint cache_block="{block}" data="AAAAAA=="/>' for block in held)
        xml = (
            f'<superblock uuid="" block_size="{K // 512}" nr_cache_blocks="{mode_blocks}" policy="smq" '
            f'hint_width="4"><mappings>{rows}</mappings><hints>{hints}</hints></superblock>'
        )
        return lvm.made_of(xml, "cache", 2 << 20, "--metadata-version", version)

    def blocks(name, origin):
        """The blocks of a cache, and what is to be read with it."""
        data, whole = bytearray(lvm.pattern("free", 8 * K)), bytearray(origin)
        for block, own in held.items():
            bytes_ = lvm.pattern(f"{name}{own}", K)
            data[block * K : (block + 1) * K] = bytes_
            whole[own * K : (own + 1) * K] = bytes_
        return bytes(data), bytes(whole)

    def with_pool(name, mode, version, same=False):
        origin = lvm.pattern(f"{name}o", 16 * K)
        data, whole = blocks(name, origin)
        origin = whole if same else origin
        group.image(f"{name}_corig", slow, origin)
        group.image(f"{name}p_cdata", fast, data)
        group.image(f"{name}p_cmeta", fast, table(version))
        flag = "+METADATA_FORMAT" if version == 2 else ""
        body = f'type = "cache-pool{flag}"\ndata = "{name}p_cdata"\nmetadata = "{name}p_cmeta"\nmetadata_format = {version}\n'
        body += f'chunk_size = {K // 512}\ncache_mode = "{mode}"\npolicy = "smq"'
        group.volume(f"{name}p", [(8, body)], visible=False)
        own = group.volume(name, [(16, f'type = "cache"\ncache_pool = "{name}p"\norigin = "{name}_corig"')])
        word = "degraded" if mode == "writethrough" else "failed"
        lost = {slow: "failed", fast: "healthy" if mode == "passthrough" else word}
        group.fact(own, name, "cached", origin if mode == "passthrough" else whole, lost)

    with_pool("back1", "writeback", 1)
    with_pool("back2", "writeback", 2)
    with_pool("through", "writethrough", 2, same=True)
    with_pool("pass", "passthrough", 1)
    origin = lvm.pattern("volo", 16 * K)
    data, whole = blocks("vol", origin)
    group.image("vol_corig", slow, origin)
    group.image("vol_cvol", fast, table(2) + data, ["CACHE_VOL"])
    start = (2 << 20) // 512
    body = (
        'type = "cache+CACHE_USES_CACHEVOL"\ncache_pool = "vol_cvol"\norigin = "vol_corig"\n'
        f'metadata_format = 2\nchunk_size = {K // 512}\ncache_mode = "writeback"\npolicy = "smq"\n'
        f"metadata_start = 0\nmetadata_len = {start}\ndata_start = {start}\ndata_len = {8 * K // 512}\n"
        f'metadata_id = "{lvm.uuid("cm", 1)}"\ndata_id = "{lvm.uuid("cd", 1)}"'
    )
    own = group.volume("vol", [(16, body)])
    group.fact(own, "vol", "cached", whole, {slow: "failed", fast: "failed"})
    for name, used in [("wempty", False), ("wused", True)]:
        origin = lvm.pattern(name, 2 * K)
        header = struct.pack("<IIIIQQ", 0x23489321, 1, 4096, 0, 8, 3).ljust(64, b"\0")
        entries = [(2**64 - 1, 2**64 - 1)] * 7 + [(8, 2 if used else 3)]
        header += b"".join(struct.pack("<QQ", *entry) for entry in entries)
        group.image(f"{name}_wcorig", slow, origin)
        group.image(f"{name}_cvol", fast, header.ljust(K, b"\0"), ["CACHE_VOL"])
        body = f'type = "writecache"\norigin = "{name}_wcorig"\nwritecache = "{name}_cvol"\nwritecache_block_size = 4096'
        own = group.volume(name, [(2, body)])
        # The last entry is for the second block, and its own is zeros.
        whole = origin[:4096] + bytes(4096) + origin[8192:] if used else origin
        group.fact(own, name, "cached", whole, {slow: "failed", fast: "failed"})
    made.add(group).fixture.verified("cache_restore made the metadata of the caches, cache_check accepts it")
    return made.finish("blocks written by the recipe where the XML has them")
