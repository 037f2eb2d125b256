"""Groups of dynamic disks: each layout, whole, and wounded in one way."""

import hashlib
import os

from . import ext, fat, ldm, listing, ntfs, tools, tree
from .index import Fixture, blkid, recipe

MIB = 2048  # sectors of 512 bytes


def volume_of(name, mib, sector=512):
    """A FAT volume of `mib` MiB with the tree `short` in it, and its listing."""
    size = mib << 20
    image = fat.make(name, size, tree.load(["short"], "fat"), 12, max(sector, 1024), sector, name.upper()[:11])
    return image, listing.of_fat(image)


def ntfs_volume(name, mib, label, big=0):
    """`big` bytes of a file that reaches over most of the volume."""
    entries = tree.load(["short"], "ntfs")
    if big:
        data = tree.sectors("big.bin", big)
        entries.append(tree.Entry("big.bin", "f", big, [(0, data)], tree.FIRST_TIME))
    image = ntfs.make(name, mib << 20, entries, label=label)
    return image, listing.of_ntfs(image)


def ext_volume(name, mib):
    image = ext.make(name, mib << 20, tree.load(["short"], "ext"), ext.EXT2, 1024, 40, name, 100)
    return image, listing.of_ext(image, "ext2", "ro")


class Set:
    """Collects what the index is to say of a set."""

    def __init__(self, name, note=None):
        self.name = name
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.fixture = Fixture(name, "set", note)
        self.dynamic, self.groups, self.paths = [], [], []

    def add(self, group, rows, **options):
        """Writes a group; `rows` has the listing of each volume by its name."""
        self.groups.append(group)
        self.paths += ldm.make(group, self.folder, **options)
        for volume in group.volumes:
            self.dynamic.append(self.facts(group, volume, rows[volume.name]))
        return self

    def facts(self, group, volume, rows):
        label = f"{self.name}.{volume.guid[9:13]}-{volume.name}.tsv"
        listing.save(rows, os.path.join(tools.FIXTURES, label))
        with open(volume.content, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        only = volume.components[0]
        return {
            "id": f"ldm:{volume.guid}",
            "group": group.name,
            "name": volume.name,
            "layout": volume.layout,
            "plexes": len(volume.components),
            "columns": len(only.columns) if only.chunk else None,
            "chunk_size": only.chunk * volume.sector if only.chunk else None,
            "size": os.path.getsize(volume.content),
            "sha256": digest,
            "hint": volume.hint,
            "health": "healthy",
            "without": {os.path.basename(d.image): health(volume, d) for d in group.disks},
            "listing": label,
            **blkid(volume.content),
        }

    def finish(self, findings=(), check=True):
        for path in self.paths:
            self.fixture.file(path)
        self.fixture.record["dynamic"] = self.dynamic
        if findings:
            self.fixture.expect(findings=list(findings))
        if check:
            self.fixture.verified(ldm.checked(self.groups, self.paths))
        self.fixture.verified("content written by the recipe, listed by mtools, ntfs-3g or the kernel")
        return self.fixture


def health(volume, disk):
    """What becomes of `volume` if `disk` is not there."""
    hit = [
        [any(extent.disk is disk for extent in column) for column in component.columns]
        for component in volume.components
    ]
    if not any(any(columns) for columns in hit):
        return "healthy"
    if len(hit) > 1:
        return "degraded" if any(not any(columns) for columns in hit) else "failed"
    raid5 = volume.components[0].layout == "raid5"
    return "degraded" if raid5 and sum(hit[0]) == 1 else "failed"


def one_disk(number, before=()):
    disk = ldm.Disk("Disk1", 1, number, 10, before=before)
    one, one_rows = volume_of("one", 2)
    two, two_rows = ext_volume("two", 2)
    volumes = [
        ldm.Volume("Volume1", 1, one, [ldm.Component("spanned", [[(disk, 2 * MIB)]])], "D:", number),
        ldm.Volume("Volume2", 2, two, [ldm.Component("spanned", [[(disk, MIB), (disk, MIB)]])], None, number),
    ]
    return ldm.Group("Seed-Dg0", [disk], volumes, number), {"Volume1": one_rows, "Volume2": two_rows}


@recipe("ldm-simple")
def simple():
    group, rows = one_disk(1)
    return Set("ldm-simple", "two volumes on one disk, one of them in two parts").add(group, rows).finish()


@recipe("ldm-oem-before")
def oem_before():
    """An OEM and a basic partition in front of the dynamic one (libldm issue 17)."""
    group, rows = one_disk(15, [(0xDE, MIB), (0x06, MIB)])
    basic, _ = volume_of("basic", 1)
    made = Set("ldm-oem-before", oem_before.__doc__).add(group, rows)
    with open(basic, "rb") as file:
        tools.patch(group.disks[0].image, group.disks[0].before[1][1] * 512, file.read())
    return made.finish()


@recipe("ldm-retained")
def retained():
    """A volume that was a partition before keeps its entry in the partition table, MBR and GPT."""
    disks = [
        ldm.Disk("Disk1", 1, 16, 8, retained=2 * MIB),
        ldm.Disk("Disk2", 2, 16, 8, "gpt", retained=2 * MIB),
    ]
    system, system_rows = ntfs_volume("system", 2, "System")
    more, more_rows = volume_of("more", 2)
    volumes = [
        ldm.Volume("Volume1", 1, system, [ldm.Component("spanned", [[(disk, 2 * MIB)]]) for disk in disks], "C:", 16),
        ldm.Volume("Volume2", 2, more, [ldm.Component("spanned", [[(disk, MIB) for disk in disks]])], None, 16),
    ]
    volumes[0].retained = True
    group = ldm.Group("Seed-Dg0", disks, volumes, 16)
    made = Set("ldm-retained", retained.__doc__)
    return made.add(group, {"Volume1": system_rows, "Volume2": more_rows}).finish()


def two_disk_span(number=2, mib=6, **options):
    disks = [ldm.Disk(f"Disk{n}", n, number, mib, **options) for n in (1, 2)]
    content, rows = ntfs_volume("span", 4, "Archive", 2000 << 10)
    parts = [(disks[1], 3 * MIB), (disks[0], MIB)]
    volume = ldm.Volume("Volume1", 1, content, [ldm.Component("spanned", [parts])], "E:", number)
    return ldm.Group("Server-Dg0", disks, [volume], number), {"Volume1": rows}


@recipe("ldm-spanned")
def spanned():
    group, rows = two_disk_span()
    return Set("ldm-spanned", "NTFS; the volume begins on the second disk").add(group, rows).finish()


@recipe("ldm-striped")
def striped():
    disks = [ldm.Disk(f"Disk{n}", n, 3, rev=4) for n in (1, 2, 3)]
    wide, wide_rows = volume_of("wide", 3)
    small, small_rows = volume_of("small", 1)
    volumes = [
        ldm.Volume("Stripe1", 1, wide, [ldm.Component("striped", [[(d, MIB)] for d in disks[::-1]], 128)], "G:", 3),
        ldm.Volume("Stripe2", 2, small, [ldm.Component("striped", [[(d, 1024)] for d in disks[:2]], 32)], None, 3),
    ]
    group = ldm.Group("Seed-Dg0", disks, volumes, 3)
    group.rev = 4
    note = "chunks of 64 and of 16 KiB, columns not in the order of the disks; records of revision 4"
    return Set("ldm-striped", note).add(group, {"Stripe1": wide_rows, "Stripe2": small_rows}).finish()


@recipe("ldm-mirrored")
def mirrored():
    disks = [ldm.Disk(f"Disk{n}", n, 4) for n in (1, 2, 3)]
    two, two_rows = ntfs_volume("twosides", 3, "Two sides")
    three, three_rows = volume_of("threesides", 1)
    side = lambda disk, size: ldm.Component("spanned", [[(disk, size)]])
    volumes = [
        ldm.Volume("Volume1", 1, two, [side(disks[0], 3 * MIB), side(disks[1], 3 * MIB)], "F:", 4),
        ldm.Volume("Volume2", 2, three, [side(disk, MIB) for disk in disks[::-1]], None, 4),
    ]
    group = ldm.Group("Seed-Dg0", disks, volumes, 4)
    made = Set("ldm-mirrored", "two sides, and three")
    return made.add(group, {"Volume1": two_rows, "Volume2": three_rows}).finish()


@recipe("ldm-raid5")
def raid5():
    disks = [ldm.Disk(f"Disk{n}", n, 5) for n in (1, 2, 3, 4)]
    three, three_rows = ntfs_volume("parity", 4, "Parity")
    four, four_rows = volume_of("fourcolumns", 3)
    volumes = [
        ldm.Volume("Raid1", 1, three, [ldm.Component("raid5", [[(disks[n], 2 * MIB)] for n in (2, 0, 1)], 128)], "R:", 5),
        ldm.Volume("Raid2", 2, four, [ldm.Component("raid5", [[(d, MIB)] for d in disks], 128)], None, 5),
    ]
    group = ldm.Group("Seed-Dg0", disks, volumes, 5)
    made = Set("ldm-raid5", "three and four columns")
    return made.add(group, {"Raid1": three_rows, "Raid2": four_rows}).finish()


@recipe("ldm-complex")
def complex_sets():
    """Components of several columns and sides, which libldm does not read (its issue 10)."""
    disks = [ldm.Disk(f"Disk{n}", n, 6, 8) for n in (1, 2, 3, 4)]
    a, a_rows = volume_of("stripes", 2)
    b, b_rows = volume_of("spans", 3)
    c, c_rows = volume_of("columns", 3)
    d, d_rows = volume_of("parity", 2)
    one, two, three, four = disks
    stripe = lambda *columns: ldm.Component("striped", [[(disk, MIB)] for disk in columns], 128)
    volumes = [
        ldm.Volume("Mirror1", 1, a, [stripe(one, two), stripe(three, four)], "M:", 6),
        ldm.Volume("Mirror2", 2, b, [
            ldm.Component("spanned", [[(one, MIB), (two, 2 * MIB)]]),
            ldm.Component("spanned", [[(three, 2 * MIB), (four, MIB)]]),
        ], None, 6),
        ldm.Volume("Stripe1", 3, c, [
            ldm.Component("striped", [[(one, MIB), (one, MIB // 2)], [(two, MIB // 2), (three, MIB)]], 128),
        ], None, 6),
        ldm.Volume("Raid1", 4, d, [
            ldm.Component("raid5", [[(two, MIB // 2), (two, MIB // 2)], [(three, MIB)], [(four, 640), (four, MIB - 640)]], 128),
        ], None, 6),
    ]  # fmt: skip
    group = ldm.Group("Seed-Dg0", disks, volumes, 6)
    rows = {"Mirror1": a_rows, "Mirror2": b_rows, "Stripe1": c_rows, "Raid1": d_rows}
    return Set("ldm-complex", complex_sets.__doc__).add(group, rows).finish()


ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BASIC = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"


@recipe("ldm-gpt")
def gpt():
    """The metadata partition is the third one (libldm issue 5), and one disk has an MBR."""
    before = [(ESP, 1024), (BASIC, MIB)]
    disks = [
        ldm.Disk("Disk1", 1, 7, 8, "gpt", before=before),
        ldm.Disk("Disk2", 2, 7, 8, "gpt"),
        ldm.Disk("Disk3", 3, 7, 6),
    ]
    basic, _ = volume_of("basic", 1)
    content, rows = ntfs_volume("mixed", 4, "Mixed")
    component = ldm.Component("raid5", [[(disk, 2 * MIB)] for disk in disks], 128)
    volume = ldm.Volume("Raid1", 1, content, [component], "H:", 7)
    group = ldm.Group("Seed-Dg0", disks, [volume], 7)
    made = Set("ldm-gpt", gpt.__doc__).add(group, {"Raid1": rows})
    with open(basic, "rb") as file:
        tools.patch(disks[0].image, disks[0].before[1][1] * 512, file.read())
    return made.finish()


@recipe("ldm-4kn")
def four_kn():
    """Sectors of 4096 bytes, with a GPT and with an MBR (libldm issue 23)."""
    disks = [
        ldm.Disk("Disk1", 1, 8, 8, "gpt", 4096),
        ldm.Disk("Disk2", 2, 8, 8, "mbr", 4096),
    ]
    wide, wide_rows = volume_of("wide", 2, 4096)
    copy, copy_rows = volume_of("copy", 1, 4096)
    volumes = [
        ldm.Volume("Stripe1", 1, wide, [ldm.Component("striped", [[(d, 256)] for d in disks], 16)], "S:", 8, 4096),
        ldm.Volume("Mirror1", 2, copy, [ldm.Component("spanned", [[(d, 256)]]) for d in disks], None, 8, 4096),
    ]
    group = ldm.Group("Seed-Dg0", disks, volumes, 8)
    return Set("ldm-4kn", four_kn.__doc__).add(group, {"Stripe1": wide_rows, "Mirror1": copy_rows}).finish()


@recipe("ldm-two-groups")
def two_groups():
    """Two groups whose volumes and disks have the same names, and a disk of a third group."""
    first, first_rows = two_disk_span(9, 5)
    second_disks = [ldm.Disk(f"Disk{n}", n, 10, 4) for n in (1, 2)]
    content, rows = volume_of("other", 1)
    component = ldm.Component("striped", [[(disk, 1024)] for disk in second_disks], 128)
    second = ldm.Group("Other-Dg0", second_disks, [ldm.Volume("Volume1", 1, content, [component], "E:", 10)], 10)
    made = Set("ldm-two-groups", two_groups.__doc__).add(first, first_rows)
    made.folder = os.path.join(made.folder, "other")
    os.makedirs(made.folder)
    made.add(second, {"Volume1": rows})
    renamed = []
    for path in made.paths[2:]:
        target = path.replace("/other/", "/other-")
        os.rename(path, target)
        renamed.append(target)
    made.paths[2:] = renamed
    for disk, path in zip(second_disks, renamed):
        disk.image = path
    made.dynamic[1]["without"] = {os.path.basename(path): "failed" for path in renamed}
    return made.finish()


# Wounds


def flip(path, offset):
    (byte,) = tools.peek(path, offset, 1)
    tools.patch(path, offset, bytes([byte ^ 0xFF]))


@recipe("ldm-headers-damaged")
def headers_damaged():
    """A bad private header and a bad table of contents on each disk; on one disk no database."""
    group, rows = two_disk_span(11)
    made = Set("ldm-headers-damaged", headers_damaged.__doc__).add(group, rows)
    one, two = group.disks
    flip(one.image, one.headers()[0] + 0x40)
    flip(one.image, one.at(one.tocs[0]) + 0x30)
    flip(two.image, two.headers()[2] + 0x120)
    flip(two.image, two.at(two.tocs[1]) + 0x30)
    tools.patch(two.image, two.at(two.layout["config"][0]), bytes(200 << 10))
    findings = ["ldm-header-damaged", "ldm-toc-damaged", "ldm-database-damaged"]
    return made.finish(findings, check=False)


@recipe("ldm-stale")
def stale():
    """A mirror one of whose disks was not there at the last update; its side is old."""
    disks = [ldm.Disk(f"Disk{n}", n, 12) for n in (1, 2)]
    old, _ = volume_of("old", 2)
    new, rows = volume_of("new", 2)
    volume = ldm.Volume("Volume1", 1, old, [ldm.Component("spanned", [[(disk, 2 * MIB)]]) for disk in disks], "K:", 12)
    group = ldm.Group("Seed-Dg0", disks, [volume], 12)
    made = Set("ldm-stale", stale.__doc__)
    ldm.make(group, made.folder)
    # Disk1 stays as it is; Disk2 goes on.
    kept = os.path.join(tools.scratch(), "kept.img")
    os.rename(disks[0].image, kept)
    group.commit += 3
    volume.content = new
    made.add(group, {"Volume1": rows})
    os.rename(kept, disks[0].image)
    made.dynamic[0]["health"] = "degraded"
    # Alone the old side is all there is; alone the new one is the volume, degraded.
    made.dynamic[0]["without"] = {}
    return made.finish(["ldm-stale-disk", "ldm-part-doubtful"], check=False)


@recipe("ldm-torn-change")
def torn_change():
    """One disk is in the middle of adding a volume and taking one away: the old state holds."""
    group, rows = two_disk_span(13)
    made = Set("ldm-torn-change", torn_change.__doc__).add(group, rows)
    two = group.disks[1]
    records = ldm.Records(group)
    records.disk_group()
    for disk in group.disks:
        records.disk(disk)
    records.volume(group.volumes[0], update=1)
    extra = ldm.Volume("Volume2", 2, group.volumes[0].content, [ldm.Component("spanned", [[(two, 700)]])], "Z:", 13)
    extra.size = 700
    records.volume(extra, update=2)
    ldm.write_private(group, two, ldm.CHANGE, group.commit + 1, records)
    return made.finish(["ldm-update-unfinished", "ldm-copies-differ"], check=False)


@recipe("ldm-torn-commit")
def torn_commit():
    """Both disks are in the middle of taking away the old records: the new state holds."""
    group, rows = two_disk_span(14)
    made = Set("ldm-torn-commit", torn_commit.__doc__)
    records = ldm.Records(group)
    records.disk_group()
    for disk in group.disks:
        records.disk(disk)
    gone = ldm.Volume("Volume9", 9, group.volumes[0].content, [ldm.Component("spanned", [[(group.disks[0], 900)]])], "Y:", 14)
    gone.size = 900
    records.volume(gone, update=1)
    before = dict(records.counts)
    records.volume(group.volumes[0], update=2)
    # The counts after the update are those without the old volume.
    records.counts = {"volume": 1, "component": 1, "partition": 2, "disk": before["disk"]}
    made.add(group, rows, state=ldm.COMMIT, pending=group.commit + 1, records=records)
    return made.finish(["ldm-update-unfinished"], check=False)
