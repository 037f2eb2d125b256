"""Streams of the Windows overlay filter: a resource of a WIM file has the very same layout."""

import os
import struct
import tempfile

from . import tools

# The folder's name, the filter's number of the algorithm, wimlib's name, bytes of a unit.
ALGORITHMS = [
    ("xpress4k", 0, "xpress", 4096),
    ("lzx", 1, "lzx", 32768),
    ("xpress8k", 2, "xpress", 8192),
    ("xpress16k", 3, "xpress", 16384),
]

RESOURCE_COMPRESSED = 4


def compress(files, kind, unit):
    """The compressed form of the `files` {name: bytes}, as wimlib makes it."""
    stored = {}
    for name, data in files.items():
        folder = tempfile.mkdtemp(dir=tools.scratch())
        source = os.path.join(folder, "source")
        os.mkdir(source)
        with open(os.path.join(source, "file"), "wb") as out:
            out.write(data)
        image = os.path.join(folder, "image.wim")
        tools.run(
            "wimcapture", source, image, f"--compress={kind}", f"--chunk-size={unit}",
            "--no-acls", "--threads=1",
        )  # fmt: skip
        stored[name] = resource(image, len(data))
        tools.run("rm", "-rf", folder)
    return stored


def resource(image, size):
    """The bytes of the resource whose content has `size` bytes."""
    with open(image, "rb") as file:
        wim = file.read()
    # The header has the place of the table of all resources; an entry of it has 50 bytes.
    table, table_size = place(wim, 0x30)
    for at in range(table, table + table_size, 50):
        start, stored = place(wim, at)
        (original,) = struct.unpack_from("<Q", wim, at + 16)
        flags = wim[at + 7]
        if original == size and not flags & 2:
            data = wim[start : start + stored]
            # What does not become smaller is stored without a table; the filter has one always.
            return data if flags & RESOURCE_COMPRESSED else None
    raise SystemExit("wimlib stored no such resource")


def place(wim, at):
    size, offset = struct.unpack_from("<QQ", wim, at)
    return offset, size & 0x00FF_FFFF_FFFF_FFFF
