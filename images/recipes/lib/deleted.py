"""Volumes on which files were deleted. The recipe knows what was in them; The Sleuth Kit says how they are called.

`NAME.deleted.tsv` has the columns of a listing. A file whose content is gone, or of which nobody can say
whether it is there, has `unreadable` in place of its hash.
"""

import contextlib
import hashlib
import os
import tempfile

from . import exfat, fat, listing, ntfs, tools, tree
from .index import recipe

CLUSTER = 2048


def data(name, size):
    return tree.sectors(name, size)


class Deleted:
    """What was deleted, by the path that it has now."""

    def __init__(self):
        self.rows = []

    def file(self, path, content, is_gone=False):
        digest = "unreadable" if is_gone else hashlib.sha256(content).hexdigest()
        self.rows.append((path, str(len(content)), digest, "f", "-", ""))
        return self

    def directory(self, path):
        self.rows.append((path, "-", "-", "d", "-", ""))
        return self

    def finish(self, fixture, image):
        """Adds the list to `fixture`; stops if TSK calls what was deleted otherwise."""
        lines = tools.run("fls", "-rdpF", image) + tools.run("fls", "-rdpD", image)
        seen = {line.split(b":\t", 1)[1].decode(): line.split()[2].rstrip(b":") for line in lines.splitlines()}
        same = 0
        for path, _, digest, kind, _, _ in self.rows:
            assert path in seen, f"TSK has no {path}, but {sorted(seen)}"
            if kind == "f" and digest != "unreadable":
                content = tools.run("icat", "-r", image, seen[path].decode())
                same += hashlib.sha256(content).hexdigest() == digest
        files = sum(1 for row in self.rows if row[3] == "f" and row[2] != "unreadable")
        name = f"{fixture.name}.deleted.tsv"
        rows = [tuple(column.encode() for column in row) for row in self.rows]
        listing.save(sorted(rows), os.path.join(tools.FIXTURES, name))
        fixture.record["deleted"] = name
        return fixture.verified(f"TSK fls, icat: {same} of {files} deleted files have the bytes that were written")


def put(image, path, content):
    """Writes one file, at the first place that is free."""
    source = os.path.join(tempfile.mkdtemp(dir=tools.scratch()), os.path.basename(path))
    with open(source, "wb") as file:
        file.write(content)
    os.utime(source, (tree.FIRST_TIME, tree.FIRST_TIME))
    tools.run("mcopy", "-m", "-Q", "-i", image, source, "::" + path, env=tools.fixed())


def delete(image, *paths):
    tools.run("mdel", "-i", image, *["::" + fat.quote(path) for path in paths], env=tools.fixed())


def on_fat(name, size, bits, cluster):
    image = fat.make(name, size, tree.load(["short"], "fat"), bits, cluster)
    deleted = Deleted()
    # It has the lowest clusters, which are given out first.
    tools.run("mmd", "-i", image, "::kept", env=tools.fixed())
    first = data("first", 20 * CLUSTER)
    put(image, "kept/FIRST.BIN", first)
    tools.run("mmd", "-i", image, "::gone", "::gone/deeper", env=tools.fixed())
    long = "A long name, of three parts, all deleted.txt"
    files = {
        long: data("long", 5000),
        "SHORT.TXT": data("short", 3 * CLUSTER),
        "EMPTY.TXT": b"",
        "gone/deeper/INNER.BIN": data("inner", 10000),
        "gone/Other name.bin": data("other", 777),
        "kept/LAST.BIN": data("last", CLUSTER + 1),
    }
    for path, content in files.items():
        put(image, path, content)
    put(image, "kept/living.bin", data("living", 9 * CLUSTER))
    delete(image, "kept/FIRST.BIN", *files)
    tools.run("mrd", "-i", image, "::gone/deeper", "::gone", env=tools.fixed())
    deleted.directory("_one").directory("_one/_eeper").file("_one/_eeper/_NNER.BIN", files["gone/deeper/INNER.BIN"])
    deleted.file("_one/Other name.bin", files["gone/Other name.bin"])
    deleted.file(long, files[long]).file("_HORT.TXT", files["SHORT.TXT"]).file("_MPTY.TXT", b"")
    deleted.file("kept/_AST.BIN", files["kept/LAST.BIN"])
    put(image, "docs/new.bin", data("new", CLUSTER))
    deleted.file("kept/_IRST.BIN", first, is_gone=True)
    return image, deleted


@recipe("fat16-deleted")
def fat16():
    image, deleted = on_fat("fat16-deleted", 12 << 20, 16, CLUSTER)
    fixture = fat.finish("fat16-deleted", image, 16)
    return deleted.finish(fixture, image)


@recipe("ntfs-deleted")
def on_ntfs():
    files = {
        "a.txt": data("a", 20000),
        "docs/letter \u00fc.txt": data("letter", 9999),
        "docs/old/deep/b.bin": data("b", 70000),
        "docs/tiny.txt": b"in its record\n",
        "over.bin": data("over", 50000),
        "comp/c.txt": b"compressed, " * 4000,
        "empty": b"",
    }

    def write(root):
        for path, content in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if path.startswith("comp/"):
                os.setxattr(os.path.dirname(full), "system.ntfs_attrib", (0x800).to_bytes(4, "little"))
            with open(full, "wb") as file:
                file.write(content)

    image = ntfs.make("ntfs-deleted", 8 << 20, tree.load(["short"], "ntfs"), also=write)
    with tools.mounted("ntfs", image, "rw,streams_interface=windows") as root:
        # It has a record of its own before that of `over.bin` is free.
        with open(os.path.join(root, "filler"), "wb", buffering=0) as filler:
            os.remove(os.path.join(root, "over.bin"))
            fill(filler)
        for path in files:
            if path != "over.bin":
                os.remove(os.path.join(root, path))
        os.rmdir(os.path.join(root, "docs/old/deep"))
        os.rmdir(os.path.join(root, "docs/old"))
    deleted = Deleted().directory("docs/old").directory("docs/old/deep")
    for path, content in files.items():
        deleted.file(path, content, is_gone=path == "over.bin")
    fixture = ntfs.finish("ntfs-deleted", image)
    return deleted.finish(fixture, image)


@recipe("exfat-deleted")
def on_exfat():
    files = {
        "a.txt": data("a", 20000),
        "docs/letter \u00fc.txt": data("letter", 9999),
        "docs/old/deep/b with a name of three parts, 42 letters.bin": data("b", 70000),
        "docs/old/c.bin": data("c", 300),
        "over.bin": data("over", 50000),
        "empty": b"",
    }
    image = exfat.formatted("exfat-deleted", 4 << 20, "DELETED", cluster=CLUSTER)
    with tools.mounted("exfat", image, "rw") as root:
        tree.write(tree.load(["short"], "exfat"), root)
        for path, content in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as file:
                file.write(content)
        with open(os.path.join(root, "filler"), "wb", buffering=0) as filler:
            os.remove(os.path.join(root, "over.bin"))
            fill(filler)
        for path in files:
            if path != "over.bin":
                os.remove(os.path.join(root, path))
        os.rmdir(os.path.join(root, "docs/old/deep"))
        os.rmdir(os.path.join(root, "docs/old"))
    deleted = Deleted().directory("docs/old").directory("docs/old/deep")
    for path, content in files.items():
        deleted.file(path, content, is_gone=path == "over.bin")
    return deleted.finish(exfat.finish("exfat-deleted", image), image)


def fill(file):
    """Takes all clusters that are free."""
    with contextlib.suppress(OSError):
        while True:
            file.write(bytes(range(256)) * 16)
