"""ext4 volumes that the kernel fills: extended attributes, and what else mke2fs does not write.

The kernel keeps its own time and writes as it likes, so that two runs differ.
"""

import fcntl
import hashlib
import os
import re
import struct

from . import ext, listing, tools, tree
from .index import Fixture, recipe

# What `EXT4_IOC_SHUTDOWN` is called with: the journal is written, and nothing else any more.
SHUTDOWN, LOG_ONLY = 0x8004587D, 1
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def blank(name, size, features, block, number, *options):
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    uuid = ext.UUID.format(number)
    journal = ["-J", "size=1" if block == 1024 else "size=4"] if "has_journal" in features else []
    tools.run(
        "mke2fs", "-q", "-F", "-O", f"none,{features}", "-b", block, "-U", uuid, "-L", name[:16], "-m", 0, *journal,
        "-E", f"hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0", *options, image, size // block,
        env=tools.fixed(),
    )  # fmt: skip
    return image


def listed(image, options="ro,noatime"):
    with tools.mounted("ext4", image, options) as folder:
        return listing.of_folder(folder), listing.attributes_of(folder)


def finish(name, image, note, block, facts=None):
    rows, attributes = facts or listed(ext.copy(image))
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=block)
    if attributes:
        listing.save_attributes(name, attributes)
    fixture.verified("kernel mount as ext4")
    if not facts:
        tools.run("e2fsck", "-f", "-n", ext.copy(image))
        fixture.verified("e2fsck -f -n: clean")
    return fixture


def write(path, text=""):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def set_attributes(root, block, large=()):
    folder = os.path.join(root, "attributes")
    os.mkdir(folder)
    inside = lambda name: write(os.path.join(folder, name), f"{name}\n")
    short = inside("short")
    for name, value in (("user.a", b"value"), ("trusted.t", b"T"), ("security.s", b"S"), ("user.empty", b"")):
        os.setxattr(short, name, value)
    full = inside("block")
    for number in range(block // 128):
        os.setxattr(full, f"user.name number {number}", b"%d" % number * (number % 7))
    # Inodes with the same attributes share a block.
    for name in ("shared one", "shared two", "shared three"):
        os.setxattr(inside(name), "user.shared", tree.stream("shared", block // 2))
    bytes_ = inside("bytes")
    os.setxattr(bytes_, "user.binary", bytes(range(256)))
    os.setxattr(bytes_, "user.n\u00e4me \u65e5\u672c", "w\u00e4rde".encode())
    os.setxattr(bytes_, b"user.\xff\xfe\x80", b"\xff\x00\xff")
    os.setxattr(inside("long name"), "user." + "n" * 250, b"the longest name")
    os.setxattr(inside("capable"), "security.capability", CAPABILITY)
    os.setxattr(inside("labelled"), "security.selinux", b"system_u:object_r:etc_t:s0\x00")
    for number, size in enumerate(large):
        os.setxattr(inside(f"large {size}"), "user.large", tree.stream(f"large {number}", size))
        os.setxattr(inside(f"same {size}"), "user.other", tree.stream(f"large {number}", size))
    tools.run("setfacl", "-m", "u:1234:rwx,g:77:r,u:4000000000:x", inside("list"))
    inherited = os.path.join(folder, "inherited")
    os.mkdir(inherited)
    tools.run("setfacl", "-m", "g:9:rwx", inherited)
    tools.run("setfacl", "-d", "-m", "u:5:rx,g:6:w", inherited)
    write(os.path.join(inherited, "heir"), "made with the default list\n")
    link = os.path.join(folder, "link")
    os.symlink("short", link)
    os.setxattr(link, "trusted.of link", b"link", follow_symlinks=False)
    os.mkfifo(os.path.join(folder, "pipe"))
    os.setxattr(os.path.join(folder, "pipe"), "trusted.pipe", b"pipe")
    write(os.path.join(folder, "removed"))
    for name in ("user.first", "user.second", "user.third"):
        os.setxattr(os.path.join(folder, "removed"), name, name.encode() * 9)
    os.removexattr(os.path.join(folder, "removed"), "user.second")


def filled(name, size, features, block, number, *options, large=()):
    image = blank(name, size, features, block, number, *options)
    with tools.mounted("ext4", image, "noatime") as root:
        tree.write(tree.load(["short"], "ext"), root)
        set_attributes(root, block, large)
    return image


@recipe("ext4-attributes")
def attributes():
    features = f"{ext.EXT4},inline_data,ea_inode"
    image = filled("ext4-attributes", 12 << 20, features, 4096, 11, "-I", 256, "-N", 256, large=(4000, 5000, 65536))
    return finish("ext4-attributes", image, "in inodes, blocks, and inodes of their own; inline data", 4096)


@recipe("ext3-attributes")
def attributes_of_ext3():
    image = filled("ext3-attributes", 4 << 20, ext.EXT3, 1024, 12, "-I", 128, "-N", 256)
    return finish("ext3-attributes", image, "inodes have 128 bytes, so that attributes lie in blocks alone", 1024)


@recipe("ext4-attributes-dirty")
def dirty():
    """The newest attributes are in the journal alone: the file system is shut down while it is in use."""
    name = "ext4-attributes-dirty"
    image = blank(name, 4 << 20, ext.EXT4, 1024, 13, "-I", 256, "-N", 256)
    with tools.mounted("ext4", image, "noatime") as root:
        tree.write(tree.load(["short"], "ext"), root)
        set_attributes(root, 1024)
        # Writes all that the journal holds to its places.
        fd = os.open(root, os.O_RDONLY)
        fcntl.ioctl(fd, 0xC0045877, 0)
        fcntl.ioctl(fd, 0xC0045878, 0)
        folder = os.path.join(root, "attributes")
        for number in range(6):
            os.setxattr(os.path.join(folder, "block"), f"user.name number {number}", b"newer" * number)
            os.setxattr(os.path.join(folder, f"shared {['one', 'two'][number % 2]}"), "user.late", b"late" * number)
        os.removexattr(os.path.join(folder, "short"), "user.a")
        tools.run("setfacl", "-m", "u:99:rw", os.path.join(folder, "list"))
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("i", LOG_ONLY))
        os.close(fd)
        # The kernel writes to the other places when it unmounts.
        caught = ext.copy(image)
    os.replace(caught, image)
    old, new = listed(ext.copy(image), "ro,noload")[1], listed(ext.copy(image), "noatime")[1]
    assert len(set(old) ^ set(new)) > 10, "the newest attributes are not in the journal alone"
    note = "the listing is the kernel's after it replayed the journal of a copy"
    return finish(name, image, note, 1024, facts=listed(ext.copy(image), "noatime"))


@recipe("ext4-deleted")
def deleted():
    """Files that were deleted while they were open, of every kind of content."""
    name = "ext4-deleted"
    image = blank(name, 8 << 20, f"{ext.EXT4},orphan_file,inline_data", 1024, 14, "-I", 256, "-N", 256)
    deleted, rows = [], []
    with tools.mounted("ext4", image, "noatime") as root:
        tree.write(tree.load(["short"], "ext"), root)
        for size in (0, 50, 100, 5000, 300000):
            path = os.path.join(root, f"open {size}")
            content = tree.stream(f"open {size}", size)
            with open(path, "wb") as file:
                file.write(content)
            deleted.append(open(path, "rb"))
            number = os.stat(path).st_ino
            digest = hashlib.sha256(content).hexdigest()
            rows.append((f"$OrphanFiles/inode-{number}", str(size), digest, "f", "-", ""))
            os.unlink(path)
        tools.run("sync", "-f", root)
        caught = ext.copy(image)
        for file in deleted:
            file.close()
    os.replace(caught, image)
    numbers = re.findall(r"orphaned inode (\d+)", tools.run("e2fsck", "-fy", ext.copy(image), check=False).decode())
    assert sorted(f"$OrphanFiles/inode-{number}" for number in numbers) == sorted(row[0] for row in rows), numbers
    note = "caught while it was mounted; the listing is the kernel's after it replayed the journal of a copy"
    fixture = finish(name, image, note, 1024, facts=listed(ext.copy(image), "noatime"))
    listing.save(sorted(tuple(column.encode() for column in row) for row in rows), os.path.join(tools.FIXTURES, f"{name}.deleted.tsv"))
    fixture.record["deleted"] = f"{name}.deleted.tsv"
    return fixture.verified("e2fsck -fy: clears these inodes")
