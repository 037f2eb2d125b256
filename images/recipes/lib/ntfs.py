"""NTFS volumes: mkntfs makes them, ntfs-3g fills them, small patches bend them."""

import hashlib
import os
import struct

from . import listing, table, tools, tree, wim
from .index import Fixture, recipe

ATTR_STANDARD_INFORMATION, ATTR_LIST, ATTR_DATA = 0x10, 0x20, 0x80
FLAG_COMPRESSED, FLAG_ENCRYPTED = 0x0800, 0x4000


def make(name, size, entries, cluster=4096, sector=512, label="ntfs", also=None,
         options="streams_interface=windows"):  # fmt: skip
    """A volume with the tree `entries`; `also` gets the mount point, to do more."""
    image = tools.blank(os.path.join(tools.scratch(), f"{name}.img"), size)
    tools.run(
        "mkntfs", "-F", "-f", "-q", "-I", "-c", cluster, "-s", sector, "-p", 0, "-H", 16, "-S", 63,
        "-L", label, image, env=tools.fixed(),
    )  # fmt: skip
    with tools.mounted("ntfs", image, f"rw,compression,{options}") as root:
        tree.write(entries, root, times=False)
        if also:
            also(root)
        set_times(entries, root)
    return image


def set_times(entries, root):
    for entry in reversed(entries):
        if entry.kind in "fd":
            os.utime(os.path.join(root, entry.path), (entry.mtime, entry.mtime))


def finish(name, image, note=None, errors=None, rows=None, **facts):
    rows = rows or listing.of_ntfs(image)
    sector, cluster = struct.unpack("<HB", tools.peek(image, 11, 3))
    cluster = 1 << (256 - cluster) if cluster > 128 else cluster
    fixture = Fixture(name, "volume", note).file(image).disk(image)
    fixture.volume(image, rows, errors=errors, cluster_size=sector * cluster, **facts)
    return fixture.verified("ntfs-3g mount").verified(listing.tsk_check(image, rows))


class Record:
    """A file record in an image, to patch one attribute of it."""

    def __init__(self, image, number):
        boot = tools.peek(image, 0, 512)
        sector, cluster = struct.unpack_from("<HB", boot, 11)
        cluster *= sector
        mft = struct.unpack_from("<Q", boot, 0x30)[0]
        (size,) = struct.unpack_from("<b", boot, 0x40)
        size = 1 << -size if size < 0 else size * cluster
        self.image, self.sector = image, sector
        self.at = mft * cluster + number * size
        self.data = tools.peek(image, self.at, size)
        assert self.data[:4] == b"FILE"

    def attribute(self, kind):
        """The offset of the first attribute of `kind` in the record."""
        (at,) = struct.unpack_from("<H", self.data, 0x14)
        while True:
            found, length = struct.unpack_from("<II", self.data, at)
            assert found <= kind, "no such attribute"
            if found == kind:
                return at
            at += length

    def put(self, at, data):
        # The last two bytes of each sector are kept elsewhere (the update sequence).
        for position in range(at, at + len(data)):
            assert position % 512 < 510
        tools.patch(self.image, self.at + at, data)

    def or_flags(self, at, layout, flags):
        (old,) = struct.unpack_from(layout, self.data, at)
        self.put(at, struct.pack(layout, old | flags))


def inode_of(image, path):
    with tools.mounted("ntfs", image, "ro") as root:
        return os.stat(os.path.join(root, path)).st_ino


@recipe("ntfs-plain")
def plain():
    entries = tree.load(["basic", "names", "many", "sparse"], "ntfs")
    return finish("ntfs-plain", make("ntfs-plain", 16 << 20, entries, label="Plain volume"))


@recipe("ntfs-512")
def small_clusters():
    entries = tree.load(["basic", "names"], "ntfs")
    return finish("ntfs-512", make("ntfs-512", 8 << 20, entries, cluster=512))


@recipe("ntfs-64k")
def large_clusters():
    entries = tree.load(["basic", "names"], "ntfs")
    return finish("ntfs-64k", make("ntfs-64k", 24 << 20, entries, cluster=65536))


@recipe("ntfs-2m")
def largest_clusters():
    entries = tree.load(["short", "hardlinks"], "ntfs")
    return finish("ntfs-2m", make("ntfs-2m", 512 << 20, entries, cluster=2 << 20))


@recipe("ntfs-4kn")
def large_sectors():
    entries = tree.load(["basic", "names"], "ntfs")
    image = make("ntfs-4kn", 16 << 20, entries, sector=4096)
    return finish("ntfs-4kn", image, sector_size=4096)


@recipe("ntfs-compressed")
def compressed():
    def fill(root):
        folder = os.path.join(root, "lznt1")
        os.mkdir(folder)
        flags = struct.pack(">I", 0x10 | FLAG_COMPRESSED)
        os.setxattr(folder, "system.ntfs_attrib_be", flags)
        tree.write(tree.load(["lznt1"], "ntfs"), folder)

    entries = tree.load(["short"], "ntfs")
    image = make("ntfs-compressed", 8 << 20, entries, also=fill)
    names = [entry.path for entry in tree.load(["lznt1"], "ntfs") if entry.size > 600]
    errors = [{"path": f"lznt1/{name}", "code": "ntfs-compressed"} for name in sorted(names)]
    note = "`errors`: for a reader without LZNT1; the listing has the decompressed bytes"
    return finish("ntfs-compressed", image, note, errors)


@recipe("ntfs-compressed-512")
def compressed_small_units():
    def fill(root):
        folder = os.path.join(root, "lznt1")
        os.mkdir(folder)
        flags = struct.pack(">I", 0x10 | FLAG_COMPRESSED)
        os.setxattr(folder, "system.ntfs_attrib_be", flags)
        tree.write(tree.load(["lznt1"], "ntfs"), folder)

    entries = tree.load(["short"], "ntfs")
    image = make("ntfs-compressed-512", 8 << 20, entries, cluster=512, also=fill)
    names = [entry.path for entry in tree.load(["lznt1"], "ntfs") if entry.size > 600]
    errors = [{"path": f"lznt1/{name}", "code": "ntfs-compressed"} for name in sorted(names)]
    note = "compression units of 8 KiB; `errors` as in ntfs-compressed"
    return finish("ntfs-compressed-512", image, note, errors)


@recipe("ntfs-ads")
def streams():
    return finish("ntfs-ads", make("ntfs-ads", 4 << 20, tree.load(["short", "streams"], "ntfs")))


@recipe("ntfs-hardlinks")
def hard_links():
    entries = tree.load(["short", "hardlinks"], "ntfs")
    return finish("ntfs-hardlinks", make("ntfs-hardlinks", 4 << 20, entries))


def put(root, name, data):
    path = os.path.join(root, name)
    with open(path, "wb", 0) as file:
        file.write(data)
    os.utime(path, (tree.FIRST_TIME, tree.FIRST_TIME))


def remove(root, name):
    try:
        os.remove(os.path.join(root, name))
    except FileNotFoundError:
        pass


def checker(root, folder, cluster, most):
    """Leaves every second cluster free: fills with one-cluster files, removes the odd ones.

    Gives the names of those that stay.
    """
    os.mkdir(os.path.join(root, folder))
    names = []
    try:
        for number in range(most):
            name = f"{folder}/{number:04}.bin"
            put(root, name, tree.sectors(name, cluster))
            names.append(name)
    except OSError:
        remove(root, f"{folder}/{len(names):04}.bin")
    for name in names[1::2]:
        os.remove(os.path.join(root, name))
    return names[::2]


@recipe("ntfs-fragmented")
def fragmented():
    def scatter(root):
        put(root, "ballast", bytes(3 << 20))
        names = checker(root, "fill", 4096, 1 << 20)
        put(root, "big.bin", tree.sectors("big.bin", 620 * 4096 - 100))
        for name in names[20:]:
            os.remove(os.path.join(root, name))
        os.remove(os.path.join(root, "ballast"))

    image = make("ntfs-fragmented", 12 << 20, tree.load(["short"], "ntfs"), also=scatter)
    Record(image, inode_of(image, "big.bin")).attribute(ATTR_LIST)
    return finish("ntfs-fragmented", image, "big.bin lies in single clusters, by an attribute list")


@recipe("ntfs-valid-data-length")
def valid_data_length():
    image = make("ntfs-valid-data-length", 4 << 20, tree.load(["short", "vdl"], "ntfs"))
    for name, valid in (("vdl/valid to 5000.bin", 5000), ("vdl/valid to nothing.bin", 0)):
        record = Record(image, inode_of(image, name))
        data = record.attribute(ATTR_DATA)
        assert record.data[data + 8] == 1
        record.put(data + 0x38, struct.pack("<Q", valid))
    note = (
        "the initialized size of the two files is patched to be below their size; the clusters "
        "behind it hold other bytes, which must read as zeros"
    )
    return finish("ntfs-valid-data-length", image, note)


@recipe("ntfs-encrypted")
def encrypted():
    image = make("ntfs-encrypted", 4 << 20, tree.load(["short", "vdl"], "ntfs"))
    name = "vdl/valid to 5000.bin"
    record = Record(image, inode_of(image, name))
    record.or_flags(record.attribute(ATTR_DATA) + 0x0C, "<H", FLAG_ENCRYPTED)
    record.or_flags(record.attribute(ATTR_STANDARD_INFORMATION) + 0x18 + 0x20, "<I", FLAG_ENCRYPTED)
    note = "the flags of an encrypted file are patched in; there is no $EFS stream"
    return finish("ntfs-encrypted", image, note, [{"path": name, "code": "encrypted"}])


def reparse(tag, body):
    return struct.pack("<IHH", tag, len(body), 0) + body


def symlink(tag, target, shown, relative):
    names = target.encode("utf-16-le"), shown.encode("utf-16-le")
    head = struct.pack("<HHHH", 0, len(names[0]), len(names[0]), len(names[1]))
    if tag == 0xA000000C:
        head += struct.pack("<I", 1 if relative else 0)
    return reparse(tag, head + names[0] + names[1])


REPARSE = [
    ("links/relative", False, symlink(0xA000000C, "..\\docs\\letter.txt", "..\\docs\\letter.txt", True)),
    ("links/folder", True, symlink(0xA000000C, "..\\docs", "..\\docs", True)),
    ("links/absolute", False, symlink(0xA000000C, "\\??\\C:\\docs\\letter.txt", "C:\\docs\\letter.txt", False)),
    ("links/junction", True, symlink(0xA0000003, "\\??\\C:\\docs", "C:\\docs", False)),
    ("links/wsl", False, reparse(0xA000001D, struct.pack("<I", 2) + b"../docs/letter.txt")),
    ("links/deduplicated", False, reparse(0x80000013, bytes(64))),
    ("links/cloud", False, reparse(0x9000001A, bytes(64))),
    ("links/unknown tag", False, reparse(0x80000042, b"who knows")),
]  # fmt: skip


@recipe("ntfs-symlinks")
def symlinks():
    def link(root):
        os.mkdir(os.path.join(root, "links"))
        os.symlink("../docs/letter.txt", os.path.join(root, "links/interix"))
        for path, folder, data in REPARSE:
            path = os.path.join(root, path)
            if folder:
                os.mkdir(path)
            else:
                open(path, "wb").close()
            os.utime(path, (tree.FIRST_TIME, tree.FIRST_TIME))
            os.setxattr(path, "system.ntfs_reparse_data", data)

    image = make("ntfs-symlinks", 4 << 20, tree.load(["short"], "ntfs"), also=link)
    errors = [
        {"path": "links/deduplicated", "code": "deduplicated"},
        {"path": "links/cloud", "code": "cloud-placeholder"},
        {"path": "links/unknown tag", "code": "unknown-reparse-point"},
    ]
    note = (
        "symbolic links of Windows, a junction, links of WSL and of Interix, and reparse points "
        "of other kinds"
    )
    return finish("ntfs-symlinks", image, note, errors)


@recipe("ntfs-wsl")
def special_files():
    def fill(root):
        entries = [
            ("fifo", 0o010644, None),
            ("socket", 0o140755, None),
            ("char", 0o020600, (5, 1)),
            ("block", 0o060640, (259, 65538)),
        ]
        os.mkdir(os.path.join(root, "wsl"))
        for name, mode, device in entries:
            path = os.path.join(root, "wsl", name)
            os.mknod(path, mode & 0o170000 | 0o644, os.makedev(*(device or (0, 0))))
            values = {"$LXUID": 1000, "$LXGID": 100, "$LXMOD": mode}
            packed = {key: struct.pack("<I", value) for key, value in values.items()}
            if device:
                packed["$LXDEV"] = struct.pack("<II", *device)
            os.setxattr(path, "system.ntfs_ea", extended(packed))
            os.utime(path, (tree.FIRST_TIME, tree.FIRST_TIME))
        path = os.path.join(root, "wsl", "file")
        put(root, "wsl/file", b"owned by nobody of Windows\n")
        packed = {"$LXUID": 0, "$LXGID": 0, "$LXMOD": 0o104755}
        packed = {key: struct.pack("<I", value) for key, value in packed.items()}
        os.setxattr(path, "system.ntfs_ea", extended(packed))

    image = make(
        "ntfs-wsl", 4 << 20, tree.load(["short"], "ntfs"), also=fill, options="special_files=wsl"
    )
    note = "special files as the Windows subsystem for Linux makes them, with owner and mode"
    return finish("ntfs-wsl", image, note)


@recipe("ntfs-dos-names")
def short_names():
    def name(root):
        folder = os.path.join(root, "dos")
        os.mkdir(folder)
        for number in range(150):
            long = f"dos/A rather long name {number:03} of a file.text"
            put(root, long, f"file {number}\n".encode())
            short = f"ARATH~{number}.TEX" if number < 10 else f"AR{number:04}~1.TEX"
            os.setxattr(os.path.join(root, long), "system.ntfs_dos_name", short.encode())
        os.setxattr(os.path.join(root, "docs"), "system.ntfs_object_id", bytes(range(16)))
        for other in ("dos/Case", "dos/case", "dos/CASE"):
            put(root, other, other.encode())

    image = make("ntfs-dos-names", 4 << 20, tree.load(["short"], "ntfs"), also=name)
    note = "long names with 8.3 names beside them, and names that differ in case only"
    return finish("ntfs-dos-names", image, note)


def extended(values):
    """The `$EA` value with these names and values."""
    entries = []
    for name, value in values.items():
        name = name.encode()
        body = struct.pack("<BBH", 0, len(name), len(value)) + name + b"\0" + value
        entries.append(body + bytes(-(4 + len(body)) % 4))
    lengths = [4 + len(entry) for entry in entries]
    return b"".join(struct.pack("<I", length) + entry for length, entry in zip(lengths, entries))


@recipe("ntfs-mft-fragmented")
def scattered_table():
    def scatter(root):
        names = checker(root, "fill", 1024, 1 << 20)
        os.mkdir(os.path.join(root, "small"))
        made = []
        for number in range(len(names) + 200):
            made.append(f"small/{number:04}.txt")
            put(root, made[-1], f"small file {number}\n".encode())
        for name in names[20:] + [name for name in made if name[-5] != "7"]:
            remove(root, name)

    image = make("ntfs-mft-fragmented", 6 << 20, tree.load(["short"], "ntfs"), 1024, also=scatter)
    table.split(image)
    note = (
        "$MFT has an attribute list: the pieces of it that ntfs-3g made are parted into three "
        "records, the last of which lies in the second piece"
    )
    return finish("ntfs-mft-fragmented", image, note)


@recipe("ntfs-wof")
def overlay():
    def text(size):
        words = b"".join(b"line %d of the text; " % (number * number) for number in range(size // 12))
        return words[:size]

    def program(size):
        # Calls to a few places, whose operands the LZX encoder makes absolute.
        code = bytearray(tree.sectors("program", size))
        for at in range(100, size - 10, 61):
            code[at] = 0xE8
            struct.pack_into("<i", code, at + 1, at * 7 % 50000 - at)
        return bytes(code)

    def contents(unit):
        return {
            "text.txt": text(200_000),
            "mixed.bin": text(unit * 2) + tree.stream("mixed", unit * 2 + 77) + bytes(unit * 3),
            "program.exe": program(90_000),
            "one unit.txt": text(unit),
            "one less.txt": text(unit - 1),
            "one more.txt": text(unit + 1),
            "zeros.bin": bytes(150_000),
            "tiny.txt": text(700),
        }

    made = {}

    def fill(root):
        for name, number, kind, unit in wim.ALGORITHMS:
            folder = f"wof/{name}"
            os.makedirs(os.path.join(root, folder))
            files = contents(unit)
            for file, stored in wim.compress(files, kind, unit).items():
                path = f"{folder}/{file}"
                made[path] = files[file]
                host = os.path.join(root, path)
                with open(host, "wb", 0) as out:
                    out.truncate(len(files[file]))
                with open(f"{host}:WofCompressedData", "wb", 0) as out:
                    out.write(stored)
                os.utime(host, (tree.FIRST_TIME, tree.FIRST_TIME))
                data = reparse(0x80000017, struct.pack("<IIII", 1, 2, 1, number))
                os.setxattr(host, "system.ntfs_reparse_data", data)
        for name, data in (
            ("in a wim", reparse(0x80000017, struct.pack("<IIQ", 1, 1, 2) + bytes(40))),
            ("unknown", reparse(0x80000017, struct.pack("<IIII", 1, 2, 1, 9))),
        ):
            host = os.path.join(root, "wof", name)
            with open(host, "wb", 0) as out:
                out.truncate(70000)
            os.utime(host, (tree.FIRST_TIME, tree.FIRST_TIME))
            os.setxattr(host, "system.ntfs_reparse_data", data)

    image = make("ntfs-wof", 8 << 20, tree.load(["short"], "ntfs"), also=fill)
    rows = []
    for row in listing.of_ntfs(image):
        path = os.fsdecode(row[0])
        if path in made:
            data = made[path]
            digest = hashlib.sha256(data).hexdigest().encode()
            row = (row[0], str(len(data)).encode(), digest, b"f", row[4], b"")
        if row[3] != b"ads":
            rows.append(row)
    errors = [{"path": path, "code": "wof-compressed"} for path in sorted(made)]
    errors += [{"path": "wof/in a wim", "code": "wof-wim"}]
    errors += [{"path": "wof/unknown", "code": "wof-compressed"}]
    note = (
        "files of CompactOS; the streams are resources of WIM files that wimlib compressed, the "
        "listing has what it was given; `errors`: for a reader without these compressions"
    )
    fixture = finish("ntfs-wof", image, note, errors, rows)
    return fixture.verified("wimlib compressed what the listing says")
