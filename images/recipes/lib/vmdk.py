"""VMDK images: qemu-img writes them, and reads the whole virtual disk back for the facts."""

import os
import re
import shutil

from . import listing, tables, tools, tree
from .index import Fixture, recipe

SECTOR = 512
VOLUME_AT = 1 << 20
DISK_SIZE = 4 << 20


def folder(name):
    path = os.path.join(tools.scratch(), name)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    return path


def raw_disk(where):
    """A disk of 4 MiB: an MBR, one FAT volume, some sectors near the end."""
    image = tools.blank(os.path.join(where, "disk.raw"), DISK_SIZE)
    script = "label: dos\nlabel-id: 0x5eed0005\nstart=2048, size=2048, type=e\n"
    tables.sfdisk(image, script)
    tables.place(image, tables.small_volume(), VOLUME_AT)
    tools.patch(image, DISK_SIZE - 70000, tree.sectors("near the end", 60000))
    return image


def convert(raw, target, subformat, cid="5eed1001"):
    options = f"subformat={subformat}"
    tools.run(
        "qemu-img", "convert", "-m", 1, "-f", "raw", "-O", "vmdk", "-o", options,
        os.path.basename(raw), os.path.basename(target),
        cwd=os.path.dirname(target), env=tools.fixed(FIXED_CID=cid),
    )  # fmt: skip
    return target


def virtual_disk(image):
    """The whole virtual disk as qemu-img reads it."""
    raw = image + ".whole"
    tools.run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", image, raw)
    return raw


def finish(name, where, first, raw=None, note=None, volume=True, subformat=None):
    """A fixture of all `.vmdk` files in the folder `where`; `first` is what a user opens."""
    image = os.path.join(where, first)
    by = "the script's own bytes" if raw else "qemu-img convert -O raw"
    raw = raw or virtual_disk(image)
    fixture = Fixture(name, "set", note)
    for file in sorted(os.listdir(where), key=lambda file: (file != first, file)):
        if file.endswith(".vmdk"):
            fixture.file(os.path.join(where, file), first=file == first)
    fixture.disk(raw, format="vmdk", **({"subformat": subformat} if subformat else {}))
    fixture.verified(by)
    if volume:
        part = tools.blank(os.path.join(where, "part"), 1 << 20)
        with open(raw, "rb") as file:
            file.seek(VOLUME_AT)
            tools.patch(part, 0, file.read(1 << 20))
        fixture.volume(raw, listing.of_fat(part), VOLUME_AT, 1 << 20)
        fixture.verified("mtools mcopy")
    return fixture


def broken(name, where, first, note, **expected):
    fixture = Fixture(name, "set", note)
    for file in sorted(os.listdir(where), key=lambda file: (file != first, file)):
        if file.endswith(".vmdk"):
            fixture.file(os.path.join(where, file), first=file == first)
    return fixture.expect(**expected)


def subformat_recipe(name, subformat):
    @recipe(name)
    def make():
        where = folder(name)
        convert(raw_disk(where), os.path.join(where, "disk.vmdk"), subformat)
        return finish(name, where, "disk.vmdk", subformat=subformat)


subformat_recipe("vmdk-monolithic-sparse", "monolithicSparse")
subformat_recipe("vmdk-monolithic-flat", "monolithicFlat")
subformat_recipe("vmdk-split-sparse", "twoGbMaxExtentSparse")
subformat_recipe("vmdk-split-flat", "twoGbMaxExtentFlat")
subformat_recipe("vmdk-stream-optimized", "streamOptimized")


def descriptor(extents, create_type, cid="5eed2001"):
    lines = "".join(f"{line}\n" for line in extents)
    return (
        "# Disk DescriptorFile\nversion=1\n"
        f"CID={cid}\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n\n"
        f"# Extent description\n{lines}\n"
        "# The Disk Data Base\n#DDB\n\n"
        'ddb.virtualHWVersion = "4"\nddb.geometry.cylinders = "8"\nddb.geometry.heads = "16"\n'
        'ddb.geometry.sectors = "63"\nddb.adapterType = "ide"\n'
    )


def write(path, data):
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def piece(where, raw, name, start, sectors, sparse):
    """The sectors from `start` as an extent file of their own; gives its descriptor line."""
    data = tools.peek(raw, start * SECTOR, sectors * SECTOR)
    if not sparse:
        write(os.path.join(where, name), data)
        return f'RW {sectors} FLAT "{name}" 0'
    part = os.path.join(where, "piece")
    write(part, data)
    convert(part, os.path.join(where, "piece.vmdk"), "twoGbMaxExtentSparse")
    os.remove(os.path.join(where, "piece.vmdk"))
    os.rename(os.path.join(where, "piece-s001.vmdk"), os.path.join(where, name))
    return f'RW {sectors} SPARSE "{name}"'


def split(name, sparse, create_type):
    where = folder(name)
    raw = raw_disk(where)
    # A volume lies across the first two borders.
    cuts = [0, 2560, 3584, DISK_SIZE // SECTOR]
    kind = "s" if sparse else "f"
    lines = []
    for number, (start, end) in enumerate(zip(cuts, cuts[1:]), 1):
        file = f"disk-{kind}{number:03}.vmdk"
        lines.append(piece(where, raw, file, start, end - start, sparse))
    write(os.path.join(where, "disk.vmdk"), descriptor(lines, create_type))
    note = "three extents of different sizes"
    fixture = finish(name, where, "disk.vmdk", note=note, subformat=create_type)
    assert fixture.record["disk"]["sha256"] == tools.sha256(raw)
    return fixture


@recipe("vmdk-three-sparse")
def three_sparse():
    return split("vmdk-three-sparse", True, "twoGbMaxExtentSparse")


@recipe("vmdk-three-flat")
def three_flat():
    return split("vmdk-three-flat", False, "twoGbMaxExtentFlat")


@recipe("vmdk-mixed-extents")
def mixed_extents():
    where = folder("vmdk-mixed-extents")
    raw = raw_disk(where)
    tools.patch(raw, 6000 * SECTOR, bytes(1000 * SECTOR))
    lines = [
        piece(where, raw, "disk-f001.vmdk", 0, 3000, False),
        piece(where, raw, "disk-s002.vmdk", 3000, 3000, True),
        "RW 1000 ZERO",
        piece(where, raw, "disk-f004.vmdk", 7000, DISK_SIZE // SECTOR - 7000, False),
    ]
    # The last file has 24 other sectors in front.
    path = os.path.join(where, "disk-f004.vmdk")
    data = tools.peek(path, 0, os.path.getsize(path))
    write(path, b"other sectors".ljust(512) * 24 + data)
    lines[3] = lines[3][:-1] + "24"
    write(os.path.join(where, "disk.vmdk"), descriptor(lines, "custom"))
    note = "a flat, a sparse and a zero extent, and a flat one that starts inside its file"
    return finish("vmdk-mixed-extents", where, "disk.vmdk", raw=raw, note=note)


def chain(name):
    """base <- child <- grandchild, in a folder."""
    where = folder(name)
    convert(raw_disk(where), os.path.join(where, "base.vmdk"), "monolithicSparse")
    links = (("child", "base", "5eed1002", 40), ("grandchild", "child", "5eed1003", 60))
    for child, parent, cid, sector in links:
        environment = tools.fixed(FIXED_CID=cid)
        tools.run(
            "qemu-img", "create", "-q", "-f", "vmdk", "-b", f"{parent}.vmdk", "-F", "vmdk",
            f"{child}.vmdk", cwd=where, env=environment,
        )  # fmt: skip
        changes = [f"write -P {sector} {(6000 + sector) * SECTOR} {3 * SECTOR}"]
        changes.append(f"write -P {sector + 1} {sector * 65536 // 2} {100 * SECTOR}")
        options = [part for change in changes for part in ("-c", change)]
        tools.run("qemu-io", "-f", "vmdk", *options, f"{child}.vmdk", cwd=where, env=environment)
    return where


@recipe("vmdk-chain")
def vmdk_chain():
    where = chain("vmdk-chain")
    note = "grandchild.vmdk is a delta of child.vmdk, which is a delta of base.vmdk"
    return finish("vmdk-chain", where, "grandchild.vmdk", note=note)


@recipe("vmdk-parent-missing")
def parent_missing():
    where = chain("vmdk-parent-missing")
    os.remove(os.path.join(where, "base.vmdk"))
    os.remove(os.path.join(where, "grandchild.vmdk"))
    note = "child.vmdk without its base.vmdk"
    return broken("vmdk-parent-missing", where, "child.vmdk", note, kind="MissingPart", names="base.vmdk")


@recipe("vmdk-cid-mismatch")
def cid_mismatch():
    where = chain("vmdk-cid-mismatch")
    os.remove(os.path.join(where, "grandchild.vmdk"))
    path = os.path.join(where, "child.vmdk")
    data = tools.peek(path, 0, os.path.getsize(path))
    write(path, re.sub(rb"parentCID=[0-9a-f]{8}", b"parentCID=0badc1d0", data, count=1))
    note = "the parent's content id is not the one that the child names"
    fixture = broken("vmdk-cid-mismatch", where, "child.vmdk", note, kind="Corrupt", names="base.vmdk")
    judge = tools.run("qemu-io", "-r", "-f", "vmdk", "-c", "read 0 512", path, check=False)
    assert b"Invalid argument" in judge, judge
    return fixture.verified("qemu-io read: Invalid argument")


@recipe("vmdk-extent-missing")
def extent_missing():
    where = folder("vmdk-extent-missing")
    convert(raw_disk(where), os.path.join(where, "disk.vmdk"), "monolithicFlat")
    os.remove(os.path.join(where, "disk-flat.vmdk"))
    note = "the descriptor of a flat image without its data"
    return broken("vmdk-extent-missing", where, "disk.vmdk", note, kind="MissingPart", names="disk-flat.vmdk")


@recipe("vmdk-truncated")
def truncated():
    where = folder("vmdk-truncated")
    path = convert(raw_disk(where), os.path.join(where, "disk.vmdk"), "monolithicSparse")
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    note = "the second half of the file is gone: what lies there must be an error, not zeros"
    return broken("vmdk-truncated", where, "disk.vmdk", note, reads="an error or the right bytes")


@recipe("vmdk-stream-truncated")
def stream_truncated():
    where = folder("vmdk-stream-truncated")
    path = convert(raw_disk(where), os.path.join(where, "disk.vmdk"), "streamOptimized")
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) * 2 // 3)
    note = "a stream-optimized image without its end: grain directory and footer are gone"
    return broken("vmdk-stream-truncated", where, "disk.vmdk", note, reads="an error or the right bytes")
