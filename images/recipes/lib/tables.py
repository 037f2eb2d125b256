"""Partition tables: sfdisk and sgdisk write them, small patches damage them."""

import contextlib
import json
import os
import re
import struct

from . import fat, listing, tools, tree
from .index import Fixture, recipe

GPT_ID = "5eed0002-0000-4000-8000-000000000001"
BASIC_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def disk(name, size=8 << 20):
    return tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)


@contextlib.contextmanager
def device(image, sector):
    """The image itself, or for large sectors a loop device that has them."""
    if sector == 512:
        yield image
        return
    loop = tools.run("losetup", "-b", sector, "--find", "--show", image).decode().strip()
    try:
        yield loop
    finally:
        tools.run("losetup", "-d", loop)


def sfdisk(image, script, sector=512):
    with device(image, sector) as path:
        options = ["--no-reread", "--no-tell-kernel", "-q"]
        tools.run("sfdisk", *options, path, stdin=script, env=tools.fixed())


def read(image, sector=512):
    """What sfdisk reads: scheme, id and partitions."""
    with device(image, sector) as path:
        output = tools.run("sfdisk", "--json", path)
    table = json.loads(output)["partitiontable"]
    partitions = []
    for one in table.get("partitions", []):
        entry = {
            "index": int(re.search(r"(\d+)$", one["node"]).group(1)),
            "start_lba": one["start"],
            "sectors": one["size"],
            "type": one["type"],
        }
        if table["label"] == "gpt":
            entry.update(name=one.get("name", ""), uuid=one["uuid"])
        partitions.append(entry)
    scheme = {"dos": "mbr"}.get(table["label"], table["label"])
    return scheme, partitions, {"id": table.get("id"), "sector_size": sector}


def finish(name, image, note=None, sector=512, findings=(), table=None, by="sfdisk --json"):
    fixture = Fixture(name, "disk", note).file(image).disk(image)
    scheme, partitions, facts = table or read(image, sector)
    fixture.table(scheme, partitions, by, **facts)
    if findings:
        fixture.expect(findings=list(findings))
    return fixture


def small_volume():
    """A FAT volume of 1 MiB, to have something in a partition."""
    return fat.make("inside", 1 << 20, tree.load(["short"], "fat"), 12, 512, label="INSIDE")


def place(image, volume, offset):
    with open(volume, "rb") as file:
        tools.patch(image, offset, file.read())


def with_volumes(fixture, image, offsets):
    """The FAT volume was placed at each of the offsets."""
    volume = small_volume()
    rows = listing.of_fat(volume)
    for number, offset in enumerate(offsets):
        fixture.volume(image, rows, offset, 1 << 20, label=f".{number}")
    return fixture.verified("mtools mcopy")


@recipe("mbr-extended")
def mbr_extended():
    image = disk("mbr-extended")
    sfdisk(image, EXTENDED)
    offsets = [2048 * 512, 10240 * 512]
    for offset in offsets:
        place(image, small_volume(), offset)
    return with_volumes(finish("mbr-extended", image, "three logical partitions"), image, offsets)


EXTENDED = """label: dos
label-id: 0x5eed0001
start=2048, size=2048, type=e, bootable
start=4096, size=10240, type=5
start=4608, size=2048, type=83
start=7168, size=2048, type=7
start=10240, size=2048, type=b
"""


@recipe("mbr-extended-loop")
def mbr_extended_loop():
    image = disk("mbr-extended-loop")
    sfdisk(image, EXTENDED)
    table = read(image)
    # The boot records of the chain: the second now names the first as the next one.
    first, start = 4096, 4096
    _, _, second = chain_links(image, first, start)
    tools.patch(image, second * 512 + 446 + 16 + 8, struct.pack("<I", 0))
    table = (table[0], [one for one in table[1] if one["index"] <= 6], table[2])
    return finish(
        "mbr-extended-loop", image, "the second record of the chain names the first as its next",
        findings=["mbr-extended-loop"], table=table, by="sfdisk --json before the patch",
    )  # fmt: skip


def chain_links(image, record, base):
    """The first partition of a chain's boot record, and where the next record is."""
    entries = tools.peek(image, record * 512 + 446, 32)
    start, size = struct.unpack_from("<II", entries, 8)
    (following,) = struct.unpack_from("<I", entries, 16 + 8)
    return start, size, base + following


@recipe("mbr-odd-entries")
def mbr_odd_entries():
    image = disk("mbr-odd-entries")
    record = bytearray(512)
    struct.pack_into("<I", record, 440, 0x5EED0003)
    entries = ((0x83, 2048, 4096), (0x07, 4096, 4096), (0x0B, 12288, 8192), (0x83, 40960, 2048))
    partitions = []
    for number, (kind, start, size) in enumerate(entries):
        struct.pack_into("<B3xB3xII", record, 446 + 16 * number, 0, kind, start, size)
        partitions.append({"index": number + 1, "start_lba": start, "sectors": size, "type": f"{kind:x}"})
    record[510:] = b"\x55\xaa"
    tools.patch(image, 0, bytes(record))
    table = ("mbr", partitions, {"id": "0x5eed0003", "sector_size": 512})
    return finish(
        "mbr-odd-entries", image,
        "1 and 2 overlap, 3 ends behind the disk, 4 begins behind it; the entries as written",
        findings=["partitions-overlap", "partition-past-end"], table=table, by="the script's own bytes",
    )  # fmt: skip


@recipe("mbr-unknown-type")
def mbr_unknown_type():
    image = disk("mbr-unknown-type")
    sfdisk(image, "label: dos\nlabel-id: 0x5eed0004\nstart=2048, size=4096, type=d3\n")
    tools.patch(image, 2048 * 512, tree.stream("not a file system", 65536))
    return finish("mbr-unknown-type", image, "a partition type and a content nobody knows")


def gpt_script(first=2048, size=2048):
    return f"""label: gpt
label-id: {GPT_ID}
start={first}, size={size}, type={BASIC_DATA}, name="Basic data", uuid=5eed0002-0000-4000-8000-000000000002
start={first + size}, size={size}, type={LINUX}, name="Linux data", uuid=5eed0002-0000-4000-8000-000000000003
start={first + 3 * size}, size={size}, type=5eedffff-0000-4000-8000-000000000009, uuid=5eed0002-0000-4000-8000-000000000004
"""


def gpt_disk(name):
    image = disk(name)
    sfdisk(image, gpt_script())
    place(image, small_volume(), 2048 * 512)
    return image


def flip(image, offset):
    (byte,) = tools.peek(image, offset, 1)
    tools.patch(image, offset, bytes([byte ^ 0xFF]))


@recipe("gpt-512")
def gpt_512():
    image = gpt_disk("gpt-512")
    tools.run("sgdisk", "-v", image)
    fixture = finish("gpt-512", image).verified("sgdisk -v")
    return with_volumes(fixture, image, [2048 * 512])


@recipe("gpt-4kn")
def gpt_4kn():
    image = disk("gpt-4kn", 16 << 20)
    sfdisk(image, gpt_script(256, 512), 4096)
    place(image, small_volume(), 256 * 4096)
    fixture = finish("gpt-4kn", image, "logical sectors of 4096 bytes", 4096)
    fixture.record["disk"]["sector_size"] = 4096
    volume = small_volume()
    return fixture.volume(image, listing.of_fat(volume), 256 * 4096, 512 * 4096, label=".0")


@recipe("gpt-primary-damaged")
def gpt_primary_damaged():
    image = gpt_disk("gpt-primary-damaged")
    table = read(image)
    flip(image, 512 + 16)
    return finish(
        "gpt-primary-damaged", image, "the checksum of the primary header is wrong",
        findings=["gpt-primary-damaged"], table=table, by="sfdisk --json before the patch",
    )  # fmt: skip


@recipe("gpt-entries-damaged")
def gpt_entries_damaged():
    image = gpt_disk("gpt-entries-damaged")
    table = read(image)
    flip(image, 1024 + 128 + 40)
    return finish(
        "gpt-entries-damaged", image, "the checksum of the primary entries is wrong",
        findings=["gpt-primary-damaged"], table=table, by="sfdisk --json before the patch",
    )  # fmt: skip


@recipe("gpt-backup-damaged")
def gpt_backup_damaged():
    image = gpt_disk("gpt-backup-damaged")
    table = read(image)
    flip(image, (8 << 20) - 512 + 16)
    return finish(
        "gpt-backup-damaged", image, "the checksum of the backup header is wrong",
        findings=["gpt-backup-damaged"], table=table, by="sfdisk --json before the patch",
    )  # fmt: skip


@recipe("gpt-both-damaged")
def gpt_both_damaged():
    image = gpt_disk("gpt-both-damaged")
    flip(image, 512 + 16)
    flip(image, (8 << 20) - 512 + 16)
    table = ("gpt", [], {"id": None, "sector_size": 512})
    return finish(
        "gpt-both-damaged", image, "the checksums of both headers are wrong: nothing to trust",
        findings=["gpt-damaged"], table=table, by="sfdisk reports corrupt headers",
    )  # fmt: skip


@recipe("gpt-hybrid-mbr")
def gpt_hybrid():
    image = gpt_disk("gpt-hybrid-mbr")
    table = read(image)
    tools.run("sgdisk", "-h", "1:2", image, env=tools.fixed())
    tools.patch(image, 440, b"\x01\x00\xed\x5e")  # sgdisk draws the disk signature
    return finish(
        "gpt-hybrid-mbr", image, "partitions 1 and 2 are in the MBR as well (sgdisk -h 1:2)",
        findings=["gpt-hybrid-mbr"], table=table, by="sfdisk --json before the hybrid MBR",
    )  # fmt: skip


@recipe("fat-like-mbr")
def fat_like_mbr():
    """A volume without partitions whose boot code looks like a partition table."""
    image = small_volume()
    target = disk("fat-like-mbr", 1 << 20)
    place(target, image, 0)
    entry = struct.pack("<B3xB3xII", 0x80, 0x06, 63, 1000)
    tools.patch(target, 446, entry)
    rows = listing.of_fat(target)
    fixture = Fixture("fat-like-mbr", "volume", "boot code that reads as a partition entry")
    fixture.file(target).disk(target).volume(target, rows, cluster_size=512, fat_bits=12)
    return fixture.verified("mtools mcopy").verified(listing.tsk_check(target, rows))


@recipe("empty-disk")
def empty_disk():
    image = disk("empty-disk", 1 << 20)
    return Fixture("empty-disk", "disk", "all bytes are zero").file(image).disk(image)


@recipe("unknown-file-system")
def unknown_file_system():
    image = disk("unknown-file-system", 128 << 10)
    tools.patch(image, 0, tree.stream("unknown file system", 128 << 10))
    return Fixture("unknown-file-system", "disk", "noise from begin to end").file(image).disk(image)

