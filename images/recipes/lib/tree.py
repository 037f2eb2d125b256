"""The described tree: what is in a test volume before any file system has seen it.

A tree is a JSON list of entries (see trees/). Each has a `path` and one of

    dir: true              a directory (parents are made anyway)
    text: "..."            these words
    random: SIZE           bytes that do not compress
    sectors: SIZE          every 512-byte sector differs from all others, and compresses well
    zeros: SIZE            zeros that are stored
    sparse: SIZE           holes, but for `data: [[offset, size], ...]`
    eicar: true            the test file of the antivirus vendors
    link: TARGET           a symbolic link
    hard: PATH             one more name of a file described before
    fifo / char / block    special files; the devices take [major, minor]
    count: N, name: F      a directory of N small files named by the format F
    depth: N               N directories inside each other, with one file at the end

and perhaps `mtime` (seconds since 1970) and `streams` ({name: content entry}). `only` names the
families (ext, ntfs, fat, exfat) that can hold the entry. Bytes depend on the path alone.
"""

import hashlib
import json
import os
import stat

from . import tools

FIRST_TIME = 1748779200  # 2025-06-01T12:00:00Z


def stream(seed, size):
    """`size` bytes that look random and depend on `seed` only."""
    blocks = []
    for number in range((size + 31) // 32):
        blocks.append(hashlib.sha256(f"{seed}:{number}".encode()).digest())
    return b"".join(blocks)[:size]


def sectors(seed, size):
    """`size` bytes whose every 512-byte sector repeats eight bytes of its own."""
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "little")
    parts = []
    for number in range((size + 511) // 512):
        parts.append((start + number).to_bytes(8, "little") * 64)
    return b"".join(parts)[:size]


def eicar():
    # In two halves, so that no scanner takes this script for the test file.
    head = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$"
    return head + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"


class Entry:
    """One name in a tree: `kind` is f, d, l, h (hard link), p, c or b."""

    def __init__(self, path, kind, size=0, regions=(), mtime=0, target=None, device=None):
        self.path = path
        self.kind = kind
        self.size = size
        self.regions = list(regions)
        self.mtime = mtime
        self.target = target
        self.device = device
        self.streams = {}

    def write(self, path):
        """Writes a regular file, leaving holes where nothing was described."""
        with open(path, "wb") as file:
            for offset, data in self.regions:
                file.seek(offset)
                file.write(data)
            file.truncate(self.size)

    def data(self):
        whole = bytearray(self.size)
        for offset, data in self.regions:
            whole[offset : offset + len(data)] = data
        return bytes(whole)


def content(path, described):
    """The size and the stored regions of a regular file."""
    if "text" in described:
        data = described["text"].encode() * described.get("times", 1)
    elif "random" in described:
        data = stream(path, described["random"])
    elif "sectors" in described:
        data = sectors(path, described["sectors"])
    elif "zeros" in described:
        data = bytes(described["zeros"])
    elif "eicar" in described:
        data = eicar()
    elif "sparse" in described:
        regions = [(at, sectors(f"{path}@{at}", size)) for at, size in described["data"]]
        return described["sparse"], regions
    else:
        raise ValueError(f"{path}: no content")
    return len(data), [(0, data)]


def load(names, family):
    """The entries of the trees `names` that `family` can hold, parents before their children."""
    entries = {}

    def add(entry):
        parent = os.path.dirname(entry.path)
        if parent and parent not in entries:
            add(Entry(parent, "d"))
        if entry.kind == "d" and entry.path in entries:
            return
        entry.mtime = entry.mtime or FIRST_TIME + 62 * len(entries)
        entries[entry.path] = entry

    for name in names:
        with open(os.path.join(tools.HERE, "trees", f"{name}.json"), encoding="utf-8") as file:
            described = json.load(file)
        for one in described:
            if family in one.get("only", [family]):
                for entry in expand(one):
                    add(entry)
    return list(entries.values())


def expand(one):
    path, mtime = one["path"], one.get("mtime", 0)
    if "count" in one:
        for number in range(one["count"]):
            name = f"{path}/{one['name'].format(number)}"
            data = f"{name}\n".encode() * (number % 5)
            yield Entry(name, "f", len(data), [(0, data)])
    elif "depth" in one:
        folder = "/".join([path] + [f"level {n}" for n in range(1, one["depth"] + 1)])
        data = b"the bottom\n"
        yield Entry(f"{folder}/bottom.txt", "f", len(data), [(0, data)])
    elif "dir" in one:
        yield Entry(path, "d", mtime=mtime)
    elif "link" in one:
        yield Entry(path, "l", mtime=mtime, target=one["link"])
    elif "hard" in one:
        yield Entry(path, "h", mtime=mtime, target=one["hard"])
    elif "fifo" in one:
        yield Entry(path, "p", mtime=mtime)
    elif "char" in one:
        yield Entry(path, "c", mtime=mtime, device=one["char"])
    elif "block" in one:
        yield Entry(path, "b", mtime=mtime, device=one["block"])
    else:
        entry = Entry(path, "f", *content(path, one), mtime=mtime)
        for name, described in one.get("streams", {}).items():
            entry.streams[name] = content(f"{path}:{name}", described)
        yield entry


def write(entries, root, times=True):
    """Makes the tree below the folder `root`, which may be a mounted volume."""
    modes = {"p": stat.S_IFIFO, "c": stat.S_IFCHR, "b": stat.S_IFBLK}
    for entry in entries:
        path = os.path.join(root, entry.path)
        if entry.kind == "d":
            os.mkdir(path, 0o755)
        elif entry.kind == "f":
            entry.write(path)
            os.chmod(path, 0o644)
        elif entry.kind == "l":
            os.symlink(entry.target, path)
        elif entry.kind == "h":
            os.link(os.path.join(root, entry.target), path)
        else:
            major, minor = entry.device or (0, 0)
            os.mknod(path, modes[entry.kind] | 0o600, os.makedev(major, minor))
        for name, (_, regions) in entry.streams.items():
            with open(f"{path}:{name}", "wb") as file:
                for offset, data in regions:
                    file.seek(offset)
                    file.write(data)
    if times:
        for entry in reversed(entries):
            if entry.kind != "h":
                path = os.path.join(root, entry.path)
                os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)
        os.utime(root, (FIRST_TIME, FIRST_TIME))
