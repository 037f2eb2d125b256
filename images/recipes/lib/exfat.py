"""exFAT volumes: mkfs.exfat makes them and exfat-fuse fills them, or `exfat_writer` writes them whole.
exfat-fuse lists them, fsck.exfat finds nothing wrong with them."""

import os

from . import exfat_writer, listing, tools, tree
from .index import Fixture, recipe


def listed(image):
    with tools.mounted("exfat", image, "ro") as folder:
        return listing.of_folder(folder)


def fsck(image):
    tools.run("fsck.exfat", "-n", image)
    return "fsck.exfat -n: clean"


def finish(name, image, note=None, witness=None, checked=None, by="exfat-fuse", clean=None, **facts):
    """`witness` is what exfat-fuse is asked about and `clean` what fsck.exfat is, where that is not the image."""
    rows = listed(witness or image)
    shifts = tools.peek(image, 108, 2)
    sector, cluster = 1 << shifts[0], 1 << shifts[0] + shifts[1]
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=cluster, **facts)
    checked = checked or listing.tsk_check(image, rows, sector=sector)
    return fixture.verified(by).verified(checked).verified(fsck(clean or witness or image))


def formatted(name, size, label, cluster=4096):
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    tools.run("mkfs.exfat", "-L", label, "-c", cluster, image, env=tools.fixed())
    return image


def written(name, volume, *trees):
    """The volume that `volume` writes, with the given trees."""
    for entry in tree.load(trees, "exfat"):
        if entry.kind == "d":
            volume.add_folder(entry.path, mtime=entry.mtime)
        else:
            volume.add(entry.path, entry.data(), mtime=entry.mtime)
    return save(name, volume.finish())


def save(name, data):
    image = os.path.join(tools.scratch(), f"{name}.img")
    with open(image, "wb") as file:
        file.write(data)
    return image


@recipe("exfat")
def by_tools():
    image = formatted("exfat", 8 << 20, "By Tools")
    with tools.mounted("exfat", image, "rw") as root:
        tree.write(tree.load(["basic", "names"], "exfat"), root)
    return finish("exfat", image)


@recipe("exfat-1m")
def large_clusters():
    image = formatted("exfat-1m", 24 << 20, "", cluster=1 << 20)
    with tools.mounted("exfat", image, "rw") as root:
        tree.write(tree.load(["short"], "exfat"), root)
    return finish("exfat-1m", image)


FILLERS = 400


@recipe("exfat-fragmented")
def fragmented():
    image = formatted("exfat-fragmented", 6 << 20, "FRAGMENTED", cluster=2048)
    with tools.mounted("exfat", image, "rw") as root:
        tree.write(tree.load(["short"], "exfat"), root)
        folder = os.path.join(root, "fill")
        os.mkdir(folder)
        fillers = [os.path.join(folder, f"{number}.bin") for number in range(FILLERS)]
        for path in fillers:
            with open(path, "wb") as file:
                file.write(b"filler\n" * 200)
        for path in fillers[::2]:
            os.unlink(path)
        with open(os.path.join(root, "big.bin"), "wb") as file:
            free = os.statvfs(root).f_bavail - 8
            file.write(tree.sectors("big.bin", free * 2048 + 100))
        for path in fillers[21::2]:
            os.unlink(path)
        for path in [*fillers[1:21:2], folder, os.path.join(root, "big.bin")]:
            os.utime(path, (tree.FIRST_TIME, tree.FIRST_TIME))
    return finish("exfat-fragmented", image, "big.bin begins in every second cluster")


@recipe("exfat-1k")
def sectors_1k():
    volume = exfat_writer.Volume(2 << 20, 1024, 1024, label="ONE K", serial=0x5EED0011)
    return finish("exfat-1k", written("exfat-1k", volume, "short", "names"))


@recipe("exfat-2k")
def sectors_2k():
    def image(name, short_upcase):
        volume = exfat_writer.Volume(6 << 20, 2048, 32768, 1, "TWO K", 0x5EED0012, short_upcase=short_upcase)
        return written(name, volume, "short", "names")

    # fsck.exfat 1.2.0 counts the bytes of the table in 16 bits.
    note = "the up-case table has all 65,536 entries; fsck.exfat was asked about a twin with a short one"
    return finish("exfat-2k", image("exfat-2k", False), note, clean=image("twin", True))


@recipe("exfat-4kn")
def sectors_4k():
    volume = exfat_writer.Volume(8 << 20, 4096, 4096, label="FOUR K", serial=0x5EED0014)
    return finish("exfat-4kn", written("exfat-4kn", volume, "short", "names"), sector_size=4096)


def odd_volume(fats=1, active=0, vendor=False, is_twin=False):
    """Chains with gaps, sets of entries that cross them, valid lengths, offsets from UTC, deleted entries.

    In a twin all is valid: what is not has zeros."""
    volume = exfat_writer.Volume(2 << 20, 512, 512, fats, "ODD", 0x5EED0020, active=active)
    volume.add("chained.bin", tree.sectors("chained.bin", 150 * 512 + 9), chained=True)
    volume.add("whole.bin", tree.sectors("whole.bin", 40000), hundredths=99)
    volume.add("gone.txt", b"deleted\n", deleted=True)
    volume.add("empty")
    volume.add_folder("none")
    valid = [0, 1, 511, 512, 513, 4000, 5000]
    for length in valid:
        for chained in (False, True):
            name = f"valid {length}{' chained' if chained else ''}.bin"
            data = tree.stream("valid", 5000)
            if is_twin:
                data = data[:length].ljust(5000, b"\0")
            volume.add(name, data, valid=5000 if is_twin else length, chained=chained)
    for quarters in (0, 22, 23, 56, -1, -14, -48):
        volume.add(f"quarters {quarters}.txt", b"offset\n", quarters=quarters, mtime=tree.FIRST_TIME + 31 * quarters)
    volume.add_folder("many", chained=True)
    for number in range(900):
        facts = {"deleted": number % 7 == 3, "mtime": tree.FIRST_TIME + number}
        volume.add(f"many/File number {number:04} {'of many ' * (number % 12)}.txt", b"", **facts)
    volume.add_folder("Straße Ωμέγα", mtime=tree.FIRST_TIME - 5)
    volume.add("Straße Ωμέγα/emoji 😀.txt", b"outside the plane\n")
    attributes = exfat_writer.ARCHIVE | 0x07
    volume.add("hidden.sys", b"attributes\n", attributes=attributes)
    if vendor:
        notes = [volume.vendor(b"a text"), volume.vendor(tree.sectors("vendor", 3000), True)]
        volume.add("vendor.txt", b"with entries of a vendor\n", extra=notes)
        volume.root_extra.append(volume.guid(exfat_writer.VENDOR))
    else:
        volume.add("vendor.txt", b"with entries of a vendor\n")
    return volume.finish()


# exfat-fuse 1.3.0 and The Sleuth Kit 4.11 give what lies on the disk after the valid length, where the
# specification wants zeros (7.6.5; their issues 185 and 2677).
TWIN = "exfat-fuse, of a twin in which all bytes are valid"


@recipe("exfat-odd")
def odd():
    image = save("exfat-odd", odd_volume())
    fsck(image)
    note = "chains with gaps, valid lengths, offsets from UTC, deleted entries"
    return finish("exfat-odd", image, note, witness=save("twin", odd_volume(is_twin=True)), by=TWIN)


@recipe("exfat-vendor")
def vendor():
    image = save("exfat-vendor", odd_volume(vendor=True))
    note = "the volume GUID, entries of a vendor, clusters of a vendor; else as exfat-odd, which is what exfat-fuse lists"
    return finish("exfat-vendor", image, note, witness=save("twin", odd_volume(is_twin=True)), by=f"{TWIN}, without them")


@recipe("exfat-two-fats")
def two_fats():
    data = odd_volume(fats=2, active=1)
    twin = odd_volume(fats=2, active=1, is_twin=True)
    alone = save("alone", exfat_writer.with_second_table_alone(twin))
    note = "the second table and bitmap count; the first have no file"
    return finish("exfat-two-fats", save("exfat-two-fats", data), note, witness=alone, checked="TSK cannot read it",
                  by=f"{TWIN}, with the second table alone")  # fmt: skip
