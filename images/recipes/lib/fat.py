"""FAT volumes: mkfs.fat makes them, mtools fill and list them."""

import os
import struct
import tempfile

from . import listing, tools, tree
from .index import Fixture, recipe


def make(name, size, entries, bits, cluster, sector=512, label="FAT", serial="0a1b2c3d"):
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    tools.run(
        "mkfs.fat", "--invariant", "-F", bits, "-S", sector, "-s", cluster // sector,
        "-i", serial, "-n", label, image, env=tools.fixed(),
    )  # fmt: skip
    fill(image, entries)
    return image


def fill(image, entries):
    staging = tempfile.mkdtemp(dir=tools.scratch())
    tree.write(entries, staging)
    by_folder = {}
    for entry in entries:
        by_folder.setdefault(os.path.dirname(entry.path), []).append(entry)
        if entry.kind == "d":
            tools.run("mmd", "-i", image, "::" + quote(entry.path), env=tools.fixed())
    for folder, children in by_folder.items():
        files = [os.path.join(staging, entry.path) for entry in children if entry.kind == "f"]
        target = "::" + quote(folder)
        for start in range(0, len(files), 500):
            some = files[start : start + 500]
            tools.run("mcopy", "-m", "-Q", "-i", image, *some, target, env=tools.fixed())
    tools.run("rm", "-rf", staging)


def quote(path):
    """mtools take * ? [ ] as patterns, and a backslash as a separator."""
    return "".join("\\" + c if c in "[]" else c for c in path)


def finish(name, image, bits, note=None, **facts):
    rows = listing.of_fat(image)
    sector, cluster = struct.unpack("<HB", tools.peek(image, 11, 3))
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=sector * cluster, fat_bits=bits, **facts)
    checked = listing.tsk_check(image, rows, sector=sector)
    return fixture.verified("mtools mcopy").verified(checked).verified(fsck(image))


def fsck(image):
    tools.run("fsck.fat", "-n", image)
    return "fsck.fat -n: clean"


@recipe("fat12")
def fat12():
    image = make("fat12", 3 << 20, tree.load(["basic", "names"], "fat"), 12, 1024, label="TWELVE")
    return finish("fat12", image, 12)


@recipe("fat16")
def fat16():
    image = make("fat16", 16 << 20, tree.load(["basic", "names"], "fat"), 16, 2048, label="SIXTEEN")
    return finish("fat16", image, 16)


@recipe("fat32")
def fat32():
    entries = tree.load(["basic", "names", "many"], "fat")
    image = make("fat32", 70 << 20, entries, 32, 1024, label="THIRTYTWO")
    note = "NT's lower-case flags (offset 12 of the entry) are on the short name of lowcase.ext"
    lower_case(image)
    return finish("fat32", image, 32, note)


def lower_case(image):
    """Adds an entry without a long name whose case is in the flags that Windows NT made up."""
    source = os.path.join(tools.scratch(), "LOWCASE.EXT")
    with open(source, "wb") as file:
        file.write(b"lower case by flags\n")
    os.utime(source, (tree.FIRST_TIME, tree.FIRST_TIME))
    tools.run("mcopy", "-m", "-i", image, source, "::LOWCASE.EXT", env=tools.fixed())
    with open(image, "rb") as file:
        at = file.read(4 << 20).index(b"LOWCASE EXT")
    tools.patch(image, at + 12, b"\x18")


@recipe("fat32-4kn")
def fat32_4kn():
    entries = tree.load(["short", "names"], "fat")
    image = make("fat32-4kn", 258 << 20, entries, 32, 4096, sector=4096, label="FOURK")
    return finish("fat32-4kn", image, 32, sector_size=4096)


FILLERS = 500


@recipe("fat16-fragmented")
def fragmented():
    image = make("fat16-fragmented", 12 << 20, tree.load(["short"], "fat"), 16, 2048)
    fillers = [tree.Entry("fill", "d", mtime=tree.FIRST_TIME)]
    for number in range(FILLERS):
        path = f"fill/{number}.bin"
        fillers.append(tree.Entry(path, "f", 2048, [(0, tree.sectors(path, 2048))], tree.FIRST_TIME))
    fill(image, fillers)
    even = [f"::fill/{number}.bin" for number in range(0, FILLERS, 2)]
    tools.run("mdel", "-i", image, *even, env=tools.fixed())
    data = tree.sectors("big.bin", 400 * 2048 + 100)
    fill(image, [tree.Entry("big.bin", "f", len(data), [(0, data)], tree.FIRST_TIME)])
    rest = [f"::fill/{number}.bin" for number in range(21, FILLERS, 2)]
    tools.run("mdel", "-i", image, *rest, env=tools.fixed())
    return finish("fat16-fragmented", image, 16, "big.bin lies in every second cluster")
