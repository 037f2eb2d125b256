"""ext2/3/4 volumes: mke2fs makes and fills them, debugfs bends them, the kernel lists them."""

import os
import re
import tempfile

from . import listing, tools, tree
from .index import Fixture, recipe

UUID = "5eed0001-0000-4000-8000-{:012x}"
EXT2 = "filetype,ext_attr,resize_inode,dir_index,sparse_super,large_file"
EXT3 = f"{EXT2},has_journal"
EXT4 = (
    f"{EXT3},extent,64bit,flex_bg,huge_file,dir_nlink,extra_isize,metadata_csum"
)
JOURNAL = ["-J", "size=1"]


def make(name, size, entries, features, block=4096, number=1, label="ext", inodes=2600, more=()):
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    staging = tempfile.mkdtemp(dir=tools.scratch())
    tree.write(entries, staging)
    os.chmod(staging, 0o755)
    if "has_journal" in features:
        more = [*JOURNAL, *more] if block == 1024 else ["-J", "size=4", *more]
    uuid = UUID.format(number)
    tools.run(
        "mke2fs", "-q", "-F", "-O", f"none,{features}", "-b", block, "-I", 256, "-N", inodes,
        "-U", uuid, "-L", label, "-m", 0, "-d", staging,
        "-E", f"hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
        *more, image, size // block, env=tools.fixed(),
    )  # fmt: skip
    tools.run("rm", "-rf", staging)
    return image


def debugfs(image, *commands):
    script = "".join(f"{command}\n" for command in commands)
    tools.run("debugfs", "-w", "-f", "-", image, env=tools.fixed(), stdin=script)


def finish(name, image, note=None, block=4096, kind="ext4", rows=None, clean=True, **facts):
    if rows is None:
        rows = listing.of_ext(copy(image), kind, "ro" if kind == "ext2" else "ro,noload")
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, cluster_size=block, **facts)
    fixture.verified(f"kernel mount as {kind}").verified(listing.tsk_check(image, rows))
    if clean:
        tools.run("e2fsck", "-f", "-n", copy(image))
        fixture.verified("e2fsck -f -n: clean")
    return fixture


def copy(image):
    target = image + ".copy"
    tools.run("cp", "--sparse=always", image, target)
    return target


@recipe("ext2-1k")
def ext2():
    entries = tree.load(["basic", "names", "posix", "sparse"], "ext")
    image = make("ext2-1k", 8 << 20, entries, EXT2, 1024, 2, "two", 600)
    return finish("ext2-1k", image, block=1024, kind="ext2")


@recipe("ext3")
def ext3():
    entries = tree.load(["basic", "names", "posix", "sparse"], "ext")
    image = make("ext3", 12 << 20, entries, EXT3, 1024, 3, "three", 600)
    return finish("ext3", image, block=1024)


@recipe("ext4")
def ext4():
    entries = tree.load(["basic", "names", "posix", "sparse", "many"], "ext")
    image = make("ext4", 24 << 20, entries, EXT4, 4096, 4, "four")
    return finish("ext4", image)


@recipe("ext4-inline-data")
def inline_data():
    entries = tree.load(["basic", "names", "posix", "inline"], "ext")
    image = make("ext4-inline-data", 16 << 20, entries, f"{EXT4},inline_data", 4096, 5, inodes=600)
    return finish("ext4-inline-data", image)


@recipe("ext4-bigalloc")
def bigalloc():
    entries = tree.load(["basic", "names", "posix", "sparse"], "ext")
    features = EXT4.replace("resize_inode,", "") + ",bigalloc"
    image = make("ext4-bigalloc", 24 << 20, entries, features, 4096, 6, inodes=600, more=["-C", 16384])
    return finish("ext4-bigalloc", image)


@recipe("ext4-no-extents")
def no_extents():
    entries = tree.load(["basic", "names", "posix", "sparse"], "ext")
    features = EXT4.replace("extent,64bit,", "")
    image = make("ext4-no-extents", 16 << 20, entries, features, 4096, 7, inodes=600)
    return finish("ext4-no-extents", image, "block maps instead of extents")


@recipe("ext4-devices")
def devices():
    entries = tree.load(["short", "devices"], "ext")
    return finish("ext4-devices", make("ext4-devices", 12 << 20, entries, EXT4, 4096, 8, inodes=200))


@recipe("ext4-times")
def times():
    """Times that do not fit 32 bits: the upper bits are in a second field."""
    image = make("ext4-times", 12 << 20, tree.load(["times"], "ext"), EXT4, 4096, 9, inodes=200)
    commands = []
    for name, seconds in (
        ("year 1905", -2051222400),
        ("year 1969", -1),
        ("year 1970", 0),
        ("year 2038", 2**31),
        ("year 2100", 4102444800),
        ("year 2446", 15032385535),
    ):
        low = seconds & 0xFFFFFFFF
        signed = low - (1 << 32) if low >= 1 << 31 else low
        epoch = ((seconds - signed) >> 32) & 3
        for field in ("mtime", "atime", "ctime", "crtime"):
            commands.append(f'sif "times/{name}" {field} @{low:#x}')
            commands.append(f'sif "times/{name}" {field}_extra {epoch | 123456789 << 2:#x}')
    debugfs(image, *commands)
    return finish("ext4-times", image, "nanoseconds of every time below times/: 123456789")


@recipe("ext4-dirty-journal")
def dirty_journal():
    """A journal that holds newer blocks than the file system: debugfs writes the transaction."""
    before = make("ext4-dirty-journal", 8 << 20, tree.load(["short"], "ext"), EXT4, 1024, 10, inodes=200)
    after = copy(before)
    source = os.path.join(tools.scratch(), "late.txt")
    with open(source, "wb") as file:
        file.write(b"written in the last moment\n" * 100)
    debugfs(after, "cd docs", f"write {source} late.txt", "rm picture.bin")
    changed = []
    with open(before, "rb") as old, open(after, "rb") as new:
        for number in range(os.path.getsize(before) // 1024):
            if old.read(1024) != new.read(1024):
                changed.append(number)
    commands = ["journal_open -c -v 3"]
    for number in changed:
        path = os.path.join(tools.scratch(), f"block-{number}")
        with open(path, "wb") as file:
            file.write(tools.peek(after, number * 1024, 1024))
        commands.append(f"journal_write -b {number} {path}")
    debugfs(before, *commands, "journal_close")
    replayed = copy(before)
    rows = listing.of_ext(replayed, options="rw")
    note = "the listing is the kernel's after it replayed the journal of a copy"
    stale = listing.of_ext(copy(before))
    fixture = finish("ext4-dirty-journal", before, note, 1024, rows=rows, clean=False)
    listing.save(stale, os.path.join(tools.FIXTURES, "ext4-dirty-journal.stale.tsv"))
    fixture.record["volumes"][0]["stale_listing"] = "ext4-dirty-journal.stale.tsv"
    return fixture
