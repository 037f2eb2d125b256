"""Arrays of MD: each layout, whole, and wounded in one way."""

import os

from . import ext, lvm, md, tools, tree
from .index import Fixture, recipe
from .md import CHUNK, PARTITION

MIB = 1 << 20


class Set:
    """Disks with a partition for each array."""

    def __init__(self, name, count, note=None):
        self.name, self.count = name, count
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.fixture = Fixture(name, "set", note)
        self.parts = [[] for _ in range(count)]
        self.facts, self.examined = [], 0

    def add(self, array, devices):
        """A partition on each disk, with the bytes of a device or nothing."""
        for disk, device in enumerate(devices + [None] * (self.count - len(devices))):
            self.parts[disk].append(device)
        return array

    def array(self, name, level, columns, data, shown, lost, health="healthy", members=None, **more):
        """An array whose health without one of its disks is `lost`; `members` bend single superblocks."""
        number = len(self.parts[0]) + 1
        array = md.Array(number, name, level, columns, **more)
        devices = []
        for column in range(len(columns)):
            own = (members or {}).get(column, {})
            devices.append(array.member(column, PARTITION, **own))
            array.examine(column, devices[-1], own.get("examined"))
            self.examined += 1
        self.add(array, devices)
        word = lost if callable(lost) else lambda column: lost
        without = {
            f"disk{disk}.img": word(disk) if disk < len(columns) else health for disk in range(self.count)
        }
        self.facts.append(md.fact(array, shown, data, without, health))
        return array

    def refuse(self, name, why, level=1, columns=None, members=None, **more):
        """An array that is listed, and whose reads are errors that say `why`."""
        columns = columns or [lvm.pattern(name, 4 * CHUNK)] * 2
        self.array(name, level, columns, b"", "simple", "failed", "failed", members, **more)
        self.facts[-1]["refused"] = why

    def finish(self, by, findings=()):
        for disk, parts in enumerate(self.parts):
            path = tools.blank(os.path.join(self.folder, f"disk{disk}.img"), MIB + PARTITION * len(parts) + MIB)
            script = f"label: gpt\nlabel-id: 5EED0004-0000-4000-8000-0000000000{disk:02X}\nfirst-lba: 2048\n"
            for number, device in enumerate(parts):
                start = (MIB + PARTITION * number) // 512
                guid = f"5EED0004-{disk:04X}-4000-8000-0000000001{number:02X}"
                script += f"start={start}, size={PARTITION // 512}, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid={guid}\n"
            tools.run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path, stdin=script)
            for number, device in enumerate(parts):
                if device:
                    tools.patch(path, MIB + PARTITION * number, device)
            self.fixture.file(path)
        self.fixture.record["arrays"] = self.facts
        if findings:
            self.fixture.expect(findings=list(findings))
        self.fixture.verified(f"mdadm --examine: {self.examined} superblocks are right")
        return self.fixture.verified(by)


@recipe("md-layouts")
def layouts():
    made = Set("md-layouts", 5, "every layout on five disks with a partition for each array, patterns of 16 bytes")
    rows = 5

    def data(name, count):
        return lvm.pattern(name, count * CHUNK)

    for name, version in [("r1-090", "0.90"), ("r1-090be", "0.90-be"), ("r1-10", "1.0"), ("r1-11", "1.1"), ("r1-12", "1.2")]:
        own = data(name, 2)
        made.array(name, 1, [own] * 2, own, "mirrored", "degraded", version=version, chunk=0)
    own = data("r1-three", 2)
    made.array("r1-three", 1, [own] * 3, own, "mirrored", "degraded", chunk=0)
    own = data("lin", 7)
    made.array("lin", -1, [own[: 2 * CHUNK], own[2 * CHUNK : 4 * CHUNK], own[4 * CHUNK :]], own, "spanned", "failed",
               even=False, chunk=0)  # fmt: skip
    own = data("r0", 4 * rows)
    made.array("r0", 0, md.deal(own, 4), own, "striped", "failed", even=False)
    # As long as the devices are: all that is before the superblock.
    own = data("r0-090", 12) + bytes((2 * 48 - 12) * CHUNK)
    made.array("r0-090", 0, md.deal(own, 2), own, "striped", "failed", even=False, version="0.90")
    sizes = [2, 3, 3, 5, 2]
    for name, number in [("r0-orig", 1), ("r0-alt", 2)]:
        own = data(name, sum(sizes))
        columns = md.zones(own, sizes, number == 1)
        made.array(name, 0, columns, own, "striped", "failed", even=False, layout=number, features=["layout"])
    own = data("r4", 3 * rows)
    made.array("r4", 4, md.parity5(own, 4, 5), own, "raid4", "degraded")
    for number, name in enumerate(["la", "ra", "ls", "rs", "p0", "pn"]):
        own = data(f"r5-{name}", 3 * rows)
        made.array(f"r5-{name}", 5, md.parity5(own, 4, number), own, "raid5", "degraded", layout=number)
    own = data("r5-090", 2 * rows)
    made.array("r5-090", 5, md.parity5(own, 3, 2), own, "raid5", "degraded", layout=2, version="0.90")
    six = {0: "la", 1: "ra", 2: "ls", 3: "rs", 4: "p0", 5: "pn", 8: "zr", 9: "nr", 10: "nc",
           16: "la6", 17: "ra6", 18: "ls6", 19: "rs6", 20: "p06"}  # fmt: skip
    for number, name in six.items():
        own = data(f"r6-{name}", 3 * rows)
        made.array(f"r6-{name}", 6, md.parity6(own, 5, number), own, "raid6", "degraded", layout=number)
    for count, near, far, offset, sets in [
        (4, 2, 1, False, None), (5, 2, 1, False, None), (5, 3, 1, False, None), (2, 2, 1, False, None),
        (4, 1, 2, False, None), (3, 1, 2, False, None), (5, 1, 3, False, None),
        (4, 1, 2, True, None), (3, 1, 2, True, None), (5, 1, 3, True, None), (4, 2, 2, False, None),
        (4, 1, 2, False, 2), (5, 1, 2, False, 2), (5, 1, 2, True, 2),
    ]:  # fmt: skip
        name = f"r10-{count}-n{near}{'o' if offset else 'f'}{far}{'s' if sets else ''}"
        # As many chunks as fill whole rows, so that no column has room for half a one.
        own = data(name, count * 6 // near)
        columns = md.copies(own, count, near, far, offset, sets)
        number = md.number10(near, far, offset, sets)
        made.array(name, 10, columns, own, "raid10", "degraded", layout=number)
    return made.finish("Linux 6.1 starts every array but the big-endian one, and reads the bytes that were put in")


@recipe("md-states")
def states():
    """Devices that are old, failed, being rebuilt or have bad blocks, and arrays that are refused."""
    made = Set("md-states", 4, states.__doc__)
    data = lambda name, count: lvm.pattern(name, count * CHUNK)
    spoilt = b"old " * (6 * CHUNK // 4)

    def mirror(name, health="degraded", lost="degraded", count=3, **more):
        own = data(name, 6)
        return made.array(name, 1, [own] * count, own, "mirrored", lost, health, chunk=0, **more)

    def raid5(name, health="degraded", lost="degraded", **more):
        own = data(name, 18)
        return made.array(name, 5, md.parity5(own, 4, 2), own, "raid5", lost, health, layout=2, **more)

    bad = lambda column, **own: {column: {"data": spoilt, **own}}
    only = lambda column: lambda disk: "degraded" if disk == column else "failed"
    gone = [0, md.FAULTY, 2, 3]
    # Sides that the others say failed; their own superblocks are of before that.
    failed3 = {n: {"roles": gone[:3]} for n in (0, 2)}
    failed4 = {n: {"roles": gone} for n in (0, 2, 3)}
    mirror("r1-stale", members={**failed3, **bad(1, events=12)})
    raid5("r5-stale", lost=only(1), members={**failed4, **bad(1, events=12)})
    mirror("r1-faulty", members={**failed3, **bad(1, events=19)})
    # One event late, and nobody says that it failed: Linux takes it, the other one does without it.
    mirror("r1-late", "degraded", members={1: {"events": 19}})
    # Rebuilt up to the third chunk.
    part = lambda name, column, columns: columns[column][: 2 * CHUNK] + spoilt[: 4 * CHUNK]
    own = data("r1-partly", 6)
    mirror("r1-partly", members={1: {"data": part("", 1, [own] * 3), "features": ["recovery"], "recovered": 2 * CHUNK}})
    columns = md.parity5(data("r5-partly", 18), 4, 2)
    raid5("r5-partly", lost=only(1),
          members={1: {"data": part("", 1, columns), "features": ["recovery"], "recovered": 2 * CHUNK}})  # fmt: skip
    # Blocks that a device lost: the second chunk.
    hole = lambda bytes_: bytes_[:CHUNK] + spoilt[:CHUNK] + bytes_[2 * CHUNK :]
    mirror("r1-bad", members={0: {"data": hole(data("r1-bad", 6)), "features": ["bad"], "bad": [(8, 8)]}})
    columns = md.parity5(data("r5-bad", 18), 4, 2)
    raid5("r5-bad", lost=only(2), members={2: {"data": hole(columns[2]), "features": ["bad"], "bad": [(8, 8)]}})
    mirror("r1-mostly", "healthy", members={0: {"flags": 1}})
    # Not stopped: parity may be wrong, so without a device nothing is rebuilt.
    raid5("r5-dirty", "healthy", "failed", resync=0)
    mirror("r1-dirty", "healthy", resync=0)
    mirror("r1-cluster", "healthy", features=["clustered"])
    four = [0, 1, 2, md.SPARE]
    own = data("r1-spare", 6)
    array = mirror("r1-spare", "healthy", members={n: {"roles": four} for n in range(3)})
    made.parts[3][-1] = spare(array, four, spoilt)
    made.refuse("reshape", "is being reshaped", features=["reshape"])
    made.refuse("future", "features that are not known (0x10000)", features=[0x10000])
    made.refuse("multi", "level multipath", level=-4)
    made.refuse("faulty", "level faulty", level=-5, columns=[data("faulty", 4)])
    made.refuse("five7", "layout 7 of RAID-5", level=5, layout=7, columns=[data("five7", 4)] * 3)
    made.refuse("nochunk", "has chunks of 0 bytes", level=5, layout=2, chunk=0, columns=[data("nochunk", 4)] * 3)
    made.refuse("hugechunk", "has chunks of 1099511627776 bytes", level=5, layout=2, chunk=1 << 40, columns=[data("huge", 4)] * 3)
    unequal = md.zones(data("r0-none", 16), [3, 5, 8], False)
    made.refuse("r0-none", "does not say in which of two layouts", level=0, columns=unequal, even=False)
    split = [{0: {"roles": [0, md.FAULTY]}, 1: {"roles": [md.FAULTY, 1]}}]
    made.refuse("split", "say of each other that they failed", members=split[0])
    made.refuse("journal", "its device is missing", level=5, layout=2, features=["journal"],
                columns=md.parity5(data("journal", 12), 3, 2))  # fmt: skip
    by = (
        "Linux 6.1 starts the arrays that are read, and reads the bytes that were put in; of those refused it starts "
        "one: of two devices that say of each other that they failed it takes the first"
    )
    return made.finish(by, ["md-stale-device", "md-volume-refused", "md-volume-doubtful", "md-spare", "md-device-partial"])


def spare(array, roles, data):
    own = array.columns
    array.columns = [*own, data]
    device = array.member(3, PARTITION, roles=roles)
    array.columns = own
    array.examine(3, device, "spare")
    return device


@recipe("md-partitioned")
def partitioned():
    """A RAID-1 of whole disks that is itself partitioned: superblock 1.0, so the table is where that of a disk is."""
    folder = os.path.join(tools.scratch(), "md-partitioned")
    os.makedirs(folder)
    image = ext.make("in-md", 1 << 20, tree.load(["short"], "ext"), ext.EXT2, 1024, 81, "in-md", 100)
    with open(image, "rb") as file:
        inner = file.read()
    whole = tools.blank(os.path.join(folder, "whole.img"), 2 * MIB)
    tools.run("sfdisk", "-q", whole, stdin="label: dos\nlabel-id: 0x5eed0005\nstart=128, size=2048, type=83\n")
    tools.patch(whole, 64 << 10, inner)
    with open(whole, "rb") as file:
        content = file.read()
    array = md.Array(91, "whole", 1, [content] * 2, chunk=0, version="1.0")
    fixture = Fixture("md-partitioned", "set", partitioned.__doc__)
    for column in range(2):
        device = array.member(column, 2 * MIB + 65536)
        array.examine(column, device)
        path = os.path.join(folder, f"disk{column}.img")
        tools.patch(tools.blank(path, len(device)), 0, device)
        fixture.file(path)
    fact = md.fact(array, "mirrored", inner, {f"disk{disk}.img": "degraded" for disk in range(2)})
    fixture.record["arrays"] = [{**fact, "id": f"{array.id}-p1"}]
    return fixture.verified("mdadm --examine: 2 superblocks are right; sfdisk wrote the table")


@recipe("md-nested")
def stacked():
    """A RAID-0 of two RAID-1 that were made as arrays of their own."""
    folder = os.path.join(tools.scratch(), "md-nested")
    os.makedirs(folder)
    data = lvm.pattern("nested", 12 * CHUNK)
    outer = md.Array(93, "outer", 0, md.deal(data, 2), even=False)
    fixture = Fixture("md-nested", "set", stacked.__doc__)
    for column in range(2):
        content = outer.member(column, PARTITION)
        outer.examine(column, content)
        array = md.Array(94 + column, f"inner{column}", 1, [content] * 2, chunk=0)
        for side in range(2):
            device = array.member(side, len(content) + 65536)
            array.examine(side, device)
            path = os.path.join(folder, f"disk{2 * column + side}.img")
            tools.patch(tools.blank(path, len(device)), 0, device)
            fixture.file(path)
    lost = {f"disk{disk}.img": "degraded" for disk in range(4)}
    fixture.record["arrays"] = [md.fact(outer, "striped", data, lost)]
    return fixture.verified("mdadm --examine: 6 superblocks are right")


@recipe("md-guest")
def guest():
    """A system whose root, home and logs are arrays."""
    folder = os.path.join(tools.scratch(), "md-guest")
    os.makedirs(folder)
    entry = lambda path: tree.Entry(path, "d", 0, [], tree.FIRST_TIME)
    file = lambda path, text: tree.Entry(path, "f", len(text), [(0, text)], tree.FIRST_TIME)
    fstab = (
        "/dev/md/root / ext2 defaults 0 1\n/dev/md97 /home ext2 defaults 0 2\n"
        f"/dev/disk/by-id/md-uuid-{md.text(md.uuid(98))} /var/log ext2 defaults 0 2\n/dev/md/gone /gone ext2 nofail 0 2\n"
    )
    root = [entry(path) for path in ("etc", "home", "var", "var/log", "gone")]
    root += [file("etc/fstab", fstab.encode()), file("etc/os-release", b'ID=seed\nNAME="Seed"\nVERSION_ID=1\n')]
    fixture = Fixture("md-guest", "set", guest.__doc__)
    facts = []
    for number, name, version, entries in [
        (96, "root", "1.2", root),
        (97, "home", "0.90", tree.load(["short"], "ext")),
        (98, "logs", "1.0", [file("messages", b"started\n")]),
    ]:
        with open(ext.make(f"{name}-md", MIB, entries, ext.EXT2, 1024, number, name, 100), "rb") as image:
            content = image.read()
        array = md.Array(number, name, 1, [content] * 2, chunk=0, version=version)
        for side in range(2):
            device = array.member(side, MIB + (128 << 10))
            array.examine(side, device)
            path = os.path.join(folder, f"disk{len(facts) * 2 + side}.img")
            tools.patch(tools.blank(path, len(device)), 0, device)
            fixture.file(path)
        lost = {f"disk{disk}.img": "degraded" if disk // 2 == len(facts) else "healthy" for disk in range(6)}
        facts.append(md.fact(array, "mirrored", content, lost))
    fixture.record["arrays"] = facts
    return fixture.verified("mdadm --examine: 6 superblocks are right").verified("ext2 by mke2fs")


@recipe("md-journal")
def journal():
    """Writes that are in the journal alone, over the end of its ring; the last one was not written whole."""
    folder = os.path.join(tools.scratch(), "md-journal")
    os.makedirs(folder)
    # Linux wants a page of its own on each device at once.
    data = lvm.pattern("journal", 24 * CHUNK)
    array = md.Array(92, "journal", 5, md.parity5(data, 3, 2), layout=2, features=["journal"])
    page = lambda name: lvm.pattern(name, CHUNK)
    transactions = [
        [(3, page("three"))],
        [(n, page(f"page{n}")) for n in (0, 1, 7, 20, 23)],
        [(1, page("newer"))],
        [(5, page("torn")), (6, page("six"), page("other"))],
        [(8, page("after"))],
    ]
    kept = bytearray(data)
    for number, newer in [entry for transaction in transactions[:3] for entry in transaction]:
        kept[number * CHUNK : (number + 1) * CHUNK] = newer
    roles = [0, 1, 2, md.JOURNAL]
    fixture = Fixture("md-journal", "set", journal.__doc__)
    for column in range(4):
        ring = 4096
        device = (
            array.member(column, len(array.columns[0]) + 65536, roles=roles)
            if column < 3
            else array.keeper(3, md.log(array, ring, ring - 4, transactions), (ring - 4) * 8 * 512, roles)
        )
        array.examine(column, device, None if column < 3 else "Journal")
        path = os.path.join(folder, f"disk{column}.img")
        tools.patch(tools.blank(path, len(device)), 0, device)
        fixture.file(path)
    fact = md.fact(array, "raid5", bytes(kept), {f"disk{disk}.img": "failed" for disk in range(4)})
    fixture.record["arrays"] = [fact]
    fixture.expect(findings=["md-spare"])
    fixture.verified("mdadm --examine: 4 superblocks are right")
    return fixture.verified("Linux 6.1 starts the array and reads the bytes that are expected")


@recipe("md-lvm")
def nested():
    """A volume group on a RAID-5 of whole disks, of which a system's files are read."""
    folder = os.path.join(tools.scratch(), "md-lvm")
    os.makedirs(folder)
    inner = lvm.Disk(os.path.join(folder, "pv.img"), 0, 6)
    group = lvm.Group("on-md", 40, [inner])
    with open(ext.make("on-md", 4 << 20, tree.load(["short"], "ext"), ext.EXT2, 1024, 80, "on-md", 100), "rb") as file:
        group.runs("files", file.read(), [(inner, 64)])
    listed = group.write_metadata()
    with open(inner.path, "rb") as file:
        content = file.read()
    array = md.Array(90, "pv", 5, md.parity5(content, 4, 2), layout=2)
    fixture = Fixture("md-lvm", "set", nested.__doc__)
    for column in range(4):
        device = array.member(column, len(array.columns[0]) + 16384 + 65536)
        array.examine(column, device)
        path = os.path.join(folder, f"disk{column}.img")
        tools.patch(tools.blank(path, len(device)), 0, device)
        fixture.file(path)
    fact = group.facts[0]
    fact["without"] = {f"disk{disk}.img": "degraded" for disk in range(4)}
    fixture.record["arrays"] = [fact]
    fixture.verified(f"lvm2: vgcfgrestore and vgck take the metadata, lvs -a lists {len(listed)} volumes")
    return fixture.verified("mdadm --examine: 4 superblocks are right")
