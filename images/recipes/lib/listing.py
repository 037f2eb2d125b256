"""Listings: what is in a volume, as a tool of somebody else reads it.

Columns `path size sha256 type mtime extra`, separated by tabs, sorted by the bytes of the path.
`type` is f, d, l, p, c, b, s or `ads` (an alternate stream, `path:stream`); `-` is not applicable,
`unreadable` is a file the tool refused. `extra` is the target of a link, `major,minor`, or the
tag of a `reparse` row, which is a reparse point of an unknown kind.
"""

import hashlib
import os
import stat
import tempfile

from . import tools

HEADER = b"path\tsize\tsha256\ttype\tmtime\textra\n"


def escape(text):
    for plain, escaped in ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r")):
        text = text.replace(plain, escaped)
    return text


def hash_file(path):
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError:
        return os.lstat(path).st_size, b"unreadable"
    return size, digest.hexdigest().encode()


def of_folder(root, streams=None, dir_times=True):
    """The rows of everything below the folder `root`, a mounted or an unpacked volume.

    `streams` gives `[(name, data)]` for a path, where the file system has alternate streams.
    """
    rows = []
    root = os.fsencode(root)

    def walk(folder):
        for name in os.listdir(os.path.join(root, folder)):
            path = os.path.join(folder, name)
            host = os.path.join(root, path)
            facts = os.lstat(host)
            mode, mtime = facts.st_mode, str(int(facts.st_mtime_ns // 10**9)).encode()
            size, digest, extra = b"-", b"-", b""
            if stat.S_ISREG(mode):
                kind = b"f"
                size, digest = hash_file(host)
                size = str(size).encode()
            elif stat.S_ISDIR(mode):
                kind = b"d"
                mtime = mtime if dir_times else b"-"
                walk(path)
            elif stat.S_ISLNK(mode):
                kind, extra = b"l", os.readlink(host)
            elif stat.S_ISFIFO(mode):
                kind = b"p"
            elif stat.S_ISSOCK(mode):
                kind = b"s"
            else:
                kind = b"c" if stat.S_ISCHR(mode) else b"b"
                extra = f"{os.major(facts.st_rdev)},{os.minor(facts.st_rdev)}".encode()
            rows.append((path, size, digest, kind, mtime, extra))
            for stream, data in streams(host) if streams else ():
                digest = hashlib.sha256(data).hexdigest().encode()
                rows.append((path + b":" + stream, str(len(data)).encode(), digest, b"ads", b"-", b""))

    walk(b"")
    return sorted(rows)


def save(rows, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(HEADER)
        for row in rows:
            file.write(b"\t".join(escape(column) for column in row) + b"\n")


def ntfs_streams(host):
    """The alternate streams of a file below an ntfs-3g mount with `streams_interface=xattr`."""
    if os.path.islink(host):
        return []
    names = [name for name in os.listxattr(host) if name.startswith("user.")]
    return [(os.fsencode(name[5:]), os.getxattr(host, name)) for name in names]


def of_ntfs(image):
    with tools.mounted("ntfs", image, "ro,streams_interface=xattr") as folder:
        return [ntfs_link(row, os.fsencode(folder)) for row in of_folder(folder, ntfs_streams)]


def ntfs_link(row, root):
    """ntfs-3g shows an absolute target below its own mount point, and no target of strange tags."""
    path, size, digest, kind, mtime, extra = row
    if extra.startswith(b"unsupported reparse tag "):
        kind, extra = b"reparse", extra.rpartition(b" ")[2]
    elif extra.startswith(root):
        extra = b"C:" + extra[len(root) :]
    return path, size, digest, kind, mtime, extra


def of_ext(image, kind="ext4", options="ro,noload"):
    with tools.mounted(kind, image, options) as folder:
        return of_folder(folder)


def of_fat(image):
    folder = tempfile.mkdtemp(dir=tools.scratch())
    tools.run("mcopy", "-s", "-Q", "-n", "-p", "-m", "-i", image, "::*", folder)
    return of_folder(folder, dir_times=False)


def tsk_check(image, rows, offset=0, sector=None):
    """How many of the readable files in `rows` The Sleuth Kit recovers with the same bytes."""
    folder = tempfile.mkdtemp(dir=tools.scratch())
    options = ["-b", sector] if sector else []
    tools.run("tsk_recover", "-a", *options, "-o", offset, image, folder, check=False)
    seen = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)
            _, digest = hash_file(path)
            seen.setdefault(digest, set()).add(os.path.relpath(path, os.fsencode(folder)))
    files = [row for row in rows if row[3] == b"f" and row[1] != b"0" and row[2] != b"unreadable"]
    same = sum(1 for row in files if row[2] in seen)
    tools.run("rm", "-rf", folder)
    if same == 0:
        return "TSK cannot read it"
    return f"TSK tsk_recover: {same} of {len(files)} files have the same bytes"


def attributes_of(root):
    """What listxattr(2) and getxattr(2) say of everything below `root`."""
    rows = []
    root = os.fsencode(root)
    for parent, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(parent, name)
            for attribute in os.listxattr(path, follow_symlinks=False):
                value = os.getxattr(path, attribute, follow_symlinks=False)
                rows.append(
                    (os.path.relpath(path, root), os.fsencode(attribute), hashlib.sha256(value).hexdigest().encode())
                )
    return sorted(rows)


def save_attributes(name, rows):
    with open(os.path.join(tools.FIXTURES, f"{name}.attributes.tsv"), "wb") as file:
        file.write(b"path\tattribute\tsha256 of the value\n")
        for row in rows:
            file.write(b"\t".join(escape(column) for column in row) + b"\n")
