"""XFS volumes: mkfs.xfs makes them, the kernel fills and lists them.

The kernel keeps its own time and writes as it likes, so that two runs differ. Version 4 it does not
mount everywhere any more: those volumes mkfs.xfs fills itself, and GRUB compares them.
"""

import hashlib
import os
import re

from . import listing, tools, tree
from .index import Fixture, recipe

# `xfs-parent` needs xfsprogs 6.13.
MKFS = os.environ.get("MKFS_XFS", "mkfs.xfs")
UUID = "5eed0002-0000-4000-8000-{:012x}"
FIXED_TIME = b"1767225600"


def blank(name, size, number, label, *options, fill=None):
    """A volume of `size` bytes; mkfs.xfs calls those below 300 MB unsupported."""
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    proto = ["-p", fill] if fill else []
    uuid = ["-m", f"uuid={UUID.format(number)}"]
    tools.run(MKFS, "-q", "--unsupported", "-L", label, *uuid, *options, *proto, image, env=tools.fixed())
    return image


def listed(image, options="ro,noatime"):
    with tools.mounted("xfs", image, options) as folder:
        return listing.of_folder(folder), listing.attributes_of(folder)


def copy(image):
    target = image + ".copy"
    tools.run("cp", "--sparse=always", image, target)
    return target


def finish(name, image, note=None, block=4096, facts=None):
    rows, attributes = facts or listed(copy(image))
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=block)
    fixture.verified("kernel mount as xfs")
    listing.save_attributes(name, attributes)
    if not facts:
        tools.run("xfs_repair", "-n", "-o", "force_geometry", copy(image))
        fixture.verified("xfs_repair -n: clean")
    return fixture


def set_attributes(root, leaf=30, node=0):
    """Files with attributes in the inode, in a leaf, in a tree, and in blocks of their own."""
    folder = os.path.join(root, "attributes")
    for name in ("short", "leaf", "node", "remote", "list"):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(f"{name}\n")
    short = os.path.join(folder, "short")
    for name, value in (("user.a", b"value"), ("trusted.t", b"T"), ("security.s", b"S"), ("user.empty", b"")):
        os.setxattr(short, name, value)
    for number in range(leaf):
        os.setxattr(os.path.join(folder, "leaf"), f"user.name{number}", b"%d" % number * number)
    for number in range(node):
        value = b"%d" % number * (number % 9)
        os.setxattr(os.path.join(folder, "node"), f"user.name number {number} of many", value)
    remote = os.path.join(folder, "remote")
    os.setxattr(remote, "user.large", tree.sectors("large", 65536))
    os.setxattr(remote, "user.middle", tree.sectors("middle", 5000))
    tools.run("setfacl", "-m", "u:1234:rwx,g:77:r", os.path.join(folder, "list"))
    os.mkdir(os.path.join(folder, "inherited"))
    tools.run("setfacl", "-d", "-m", "u:5:rx", os.path.join(folder, "inherited"))


def many(root, count=700):
    """A directory with several leaves, of which every third name was deleted again."""
    folder = os.path.join(root, "many")
    os.mkdir(folder)
    for number in range(count):
        open(os.path.join(folder, f"file number {number:04}.txt"), "wb").close()
    for number in range(0, count, 3):
        os.unlink(os.path.join(folder, f"file number {number:04}.txt"))


def fragment(path, pieces, step):
    """A file of so many extents that they lie in a tree."""
    with open(path, "wb") as file:
        for number in range(pieces):
            file.seek(number * step)
            file.write(bytes([number & 255]) * 100)


def filled(name, size, number, entries, *options, more=lambda root: None):
    image = blank(name, size, number, name[:12], *options)
    with tools.mounted("xfs", image, "noatime") as root:
        tree.write(tree.load(entries, "ext"), root)
        more(root)
    return image


@recipe("xfs")
def default():
    entries = ["basic", "names", "posix", "sparse", "devices"]
    options = ["-d", "agcount=2", "-i", "nrext64=0"]

    def more(root):
        set_attributes(root)
        many(root)
        whole = os.path.join(root, "sizes", "shared.bin")
        tools.run("cp", "--reflink=always", os.path.join(root, "docs", "picture.bin"), whole)
        with open(whole, "r+b") as file:
            file.seek(8192)
            file.write(b"changed")
        with open(os.path.join(root, "sparse", "prealloc.bin"), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 300000)
            file.seek(150000)
            file.write(b"written")

    return finish("xfs", filled("xfs", 32 << 20, 1, entries, *options, more=more))


@recipe("xfs-1k")
def small_blocks():
    options = ["-b", "size=1024", "-n", "size=4096", "-m", "bigtime=0,reflink=0,finobt=0,inobtcount=0"]

    def more(root):
        set_attributes(root, node=200)
        many(root)
        fragment(os.path.join(root, "fragmented.bin"), 400, 3072)
        os.symlink("n/" * 511 + "n", os.path.join(root, "longest link"))

    image = filled("xfs-1k", 16 << 20, 2, ["short", "posix"], *options, more=more)
    return finish("xfs-1k", image, "trees of extents and attributes; times of 32 bits", 1024)


def holemasks(image):
    """Masks of the inodes that are missing in chunks, of those that are sparse."""
    text = tools.run("xfs_db", "-r", "-c", "agi 0", "-c", "addr root", "-c", "p", image).decode()
    records = re.findall(r"\d+:\[\d+,(\w+),\d+,\d+,\w+\]", text)
    return {mask for mask in records if int(mask, 0)}


@recipe("xfs-trees")
def trees():
    """A tree of extents with interior blocks, and chunks of inodes with holes."""
    options = ["-b", "size=1024", "-i", "nrext64=0,sparse=1", "-m", "reflink=0,rmapbt=0"]

    def more(root):
        fragment(os.path.join(root, "fragmented.bin"), 2600, 2048)
        # No free space of 32 blocks in a row, which a whole chunk needs, but of 31.
        tools.run("xfs_io", "-x", "-c", "resblks 8", root)
        full = os.path.join(root, "full.bin")
        size = (os.statvfs(root).f_bavail - 40) * 1024
        tools.run("xfs_io", "-f", "-c", f"falloc 0 {size}", full)
        tools.run("sync", "-f", root)
        for start in range(0, size - 32768, 32768):
            tools.run("fallocate", "-p", "-o", str(start + 1024), "-l", str(31 * 1024), full)
        tools.run("sync", "-f", root)
        late = os.path.join(root, "late")
        os.mkdir(late)
        for number in range(600):
            with open(os.path.join(late, f"{number}"), "wb") as file:
                file.write(b"%d" % number if number % 20 == 0 else b"")

    image = filled("xfs-trees", 16 << 20, 9, ["short"], *options, more=more)
    levels = tools.run("xfs_db", "-r", "-c", "path /fragmented.bin", "-c", "p u3.bmbt.level", image).decode()
    assert levels.split()[-1] == "2", levels
    masks = holemasks(image)
    assert masks, "no sparse chunk of inodes"
    return finish("xfs-trees", image, f"extents in a tree of three levels; chunks of inodes without {sorted(masks)}", 1024)


@recipe("xfs-large-counters")
def large_counters():
    options = ["-i", "size=1024,nrext64=1", "-n", "size=65536", "-m", "rmapbt=1", "-s", "size=4096"]

    def more(root):
        set_attributes(root)
        many(root)
        fragment(os.path.join(root, "fragmented.bin"), 120, 8192)

    entries = ["short", "posix", "times"]
    image = filled("xfs-large-counters", 32 << 20, 3, entries, *options, more=more)
    return finish("xfs-large-counters", image, "large extent counters, directory blocks of 64 KiB, bigtime")


@recipe("xfs-parent")
def parent_pointers():
    """Every file has an attribute for each of its names, and quotas have a directory of their own."""
    options = ["-n", "parent=1", "-m", "metadir=1,rmapbt=1", "-i", "exchange=1"]
    image = filled("xfs-parent", 24 << 20, 8, ["short", "posix"], *options, more=set_attributes)
    rows, attributes = listed(copy(image))
    note = "made by mkfs.xfs 6.13: parent pointers, metadata directory"
    return finish("xfs-parent", image, note, facts=(rows, attributes))


def log_of(image):
    """Where the log of a volume of one group begins, and its end."""
    with open(image, "rb") as file:
        first = file.read(512)
    field = lambda at, size: int.from_bytes(first[at : at + size], "big")
    start = field(0x30, 8) * field(4, 4)
    return start, start + field(0x60, 4) * field(4, 4)


def save_cuts(name, image, count=3):
    """What the kernel makes of a log that was not gone round yet, if it ends after some of its records."""
    start, end = log_of(image)
    with open(image, "rb") as file:
        log = file.read()[start:end]
    field = lambda at: int.from_bytes(log[at : at + 4], "big")
    begins = [at for at in range(0, len(log), 512) if field(at) == 0xFEEDBABE and field(at + 12)]
    tail = field(begins[-1] + 28) * 512
    live = [at for at in begins if at > tail]
    for at in live[:: len(live) // count][1:]:
        cut = copy(image)
        with open(cut, "r+b") as file:
            file.seek(start + at)
            file.write(bytes(len(log) - at))
        rows, _ = listed(cut, "noatime")
        listing.save(rows, os.path.join(tools.FIXTURES, f"{name}.cut-{at // 512}.tsv"))


@recipe("xfs-dirty-log")
def dirty_log():
    """The newest changes are in the log alone: the file system is shut down while it is in use."""
    image = blank("xfs-dirty-log", 16 << 20, 4, "dirty", "-i", "nrext64=0")
    with tools.mounted("xfs", image, "noatime") as root:
        tree.write(tree.load(["short", "posix"], "ext"), root)
        os.makedirs(os.path.join(root, "names"))
        for number in range(300):
            open(os.path.join(root, "names", f"early {number}"), "wb").close()
        # Writes all that the log holds to its places.
        tools.run("xfs_freeze", "-f", root)
        tools.run("xfs_freeze", "-u", root)
        set_attributes(root, node=50)
        for number in range(0, 300, 2):
            os.unlink(os.path.join(root, "names", f"early {number}"))
        for number in range(100):
            with open(os.path.join(root, "names", f"late {number}"), "wb", 0) as file:
                file.write(b"late" * number)
                os.fsync(file.fileno())
        fragment(os.path.join(root, "docs", "fragmented.bin"), 60, 8192)
        os.rename(os.path.join(root, "docs", "letter.txt"), os.path.join(root, "names", "moved.txt"))
        tools.run("sync", "-f", root)
        with open(os.path.join(root, "names", "last"), "wb", 0) as file:
            file.write(b"the last file\n")
            os.fsync(file.fileno())
        tools.run("xfs_io", "-x", "-c", "shutdown -f", root)
    save_cuts("xfs-dirty-log", image)
    note = "the listing is the kernel's after it replayed the log of a copy"
    fixture = finish("xfs-dirty-log", image, note, facts=listed(copy(image), "noatime"))
    save_stale(fixture, image)
    return fixture


def save_stale(fixture, image):
    """What the kernel has of the volume without its log."""
    name = f"{fixture.name}.stale.tsv"
    listing.save(listing.of_ext(copy(image), "xfs", "ro,norecovery"), os.path.join(tools.FIXTURES, name))
    fixture.record["volumes"][0]["stale_listing"] = name


@recipe("xfs-external-log")
def external_log():
    """The log is on another device, and has the newest changes."""
    images = [tools.blank(os.path.join(tools.scratch(), name), size << 20) for name, size in (("data.img", 16), ("log.img", 8))]
    loops = []
    try:
        for image in images:
            loops.append(tools.run("losetup", "--find", "--show", image).decode().strip())
        uuid = f"uuid={UUID.format(7)}"
        log = f"logdev={loops[1]},size=6m"
        tools.run("mkfs.xfs", "-q", "--unsupported", "-L", "external", "-m", uuid, "-l", log, loops[0])
        root = os.path.join(tools.scratch(), "external")
        os.makedirs(root, exist_ok=True)
        options = f"noatime,logdev={loops[1]}"
        tools.run("mount", "-t", "xfs", "-o", options, loops[0], root)
        tree.write(tree.load(["short"], "ext"), root)
        tools.run("xfs_freeze", "-f", root)
        tools.run("xfs_freeze", "-u", root)
        os.unlink(os.path.join(root, "docs", "picture.bin"))
        with open(os.path.join(root, "docs", "late.txt"), "wb", 0) as file:
            file.write(b"written in the last moment\n" * 100)
            os.fsync(file.fileno())
        tools.run("xfs_io", "-x", "-c", "shutdown -f", root)
        tools.run("umount", root)
        fixture = Fixture("xfs-external-log", "set", "the listing is the kernel's after it replayed the log")
        for image in images:
            fixture.file(image, os.path.basename(image))
        tools.run("mount", "-t", "xfs", "-o", options, loops[0], root)
        listing.save(listing.of_folder(root), os.path.join(tools.FIXTURES, "xfs-external-log.tsv"))
        tools.run("umount", root)
    finally:
        for loop in loops:
            tools.run("losetup", "-d", loop)
    return fixture.verified("kernel mount as xfs with its logdev")


def proto(folder, sizes, names, long_link):
    """A prototype for mkfs.xfs and the rows of what is in it; names have no blanks there."""
    lines, rows = ["/unused", "0 0", "d--755 0 0"], []
    sha = lambda data: hashlib.sha256(data).hexdigest().encode()

    def file(path, data, indent):
        host = os.path.join(folder, path.replace("/", "+"))
        with open(host, "wb") as out:
            out.write(data)
        lines.append(f"{indent}{os.path.basename(path)} ---644 1000 1001 {host}")
        rows.append((path.encode(), b"%d" % len(data), sha(data), b"f", FIXED_TIME, b""))

    def directory(path, indent):
        lines.append(f"{indent}{os.path.basename(path)} d--755 0 0")
        rows.append((path.encode(), b"-", b"-", b"d", FIXED_TIME, b""))

    for size in sizes:
        file(f"size-{size}.bin", tree.stream(f"size {size}", size), "")
    # mkfs.xfs 6.1 gives the target of a long link no header, which version 5 must have.
    links = {"short-link": "size-1.bin", "long-link": "./" * long_link + "size-1.bin"}
    for name, target in links.items():
        lines.append(f"{name} l--777 0 0 {target}")
        rows.append((name.encode(), b"-", b"-", b"l", FIXED_TIME, target.encode()))
    lines.append("device b--640 0 6 8 17")
    rows.append((b"device", b"-", b"-", b"b", FIXED_TIME, b"8,17"))
    for path, count in names.items():
        directory(path, "")
        for number in range(count):
            file(f"{path}/File-{number}", b"%d\n" % number if number % 50 == 0 else b"", " ")
        lines.append(" $")
    lines.append("$")
    with open(os.path.join(folder, "proto"), "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return os.path.join(folder, "proto"), sorted(rows)


def by_proto(name, number, note, sizes, names, *options, long_link=400):
    folder = os.path.join(tools.scratch(), name)
    os.makedirs(folder, exist_ok=True)
    path, rows = proto(folder, sizes, names, long_link)
    image = blank(name, 16 << 20, number, name[:12], *options, fill=path)
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=4096)
    same = 0
    files = [row for row in rows if row[3] == b"f"]
    for row in files:
        host = os.path.join(folder, row[0].decode().replace("/", "+"))
        tools.run("grub-fstest", image, "cmp", f"(loop0)/{row[0].decode()}", host)
        same += 1
    fixture.verified(f"grub-fstest cmp: {same} of {len(files)} files are the same")
    tools.run("xfs_repair", "-n", "-o", "force_geometry", copy(image))
    return fixture.verified("xfs_repair -n: clean")


@recipe("xfs-v4")
def version_4():
    sizes = [0, 1, 511, 4096, 4097, 200000]
    names = {"few": 3, "block": 60, "many": 700}
    return by_proto("xfs-v4", 5, "version 4, without types in names", sizes, names, "-m", "crc=0", "-n", "ftype=0")


@recipe("xfs-ascii-ci")
def ascii_ci():
    names = {"Few": 3, "Block": 60, "Many": 400}
    return by_proto("xfs-ascii-ci", 6, "names differ by more than their case", [1], names, "-n", "version=ci", long_link=9)
