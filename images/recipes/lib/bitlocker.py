"""BitLocker volumes, written from the documented format over NTFS and FAT volumes that the tools made.

libbde reads each of them again with its keys.
"""

import hashlib
import os
import struct
import uuid
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from . import ntfs, tools, tree
from .index import Fixture, recipe

IDENTIFIER = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
SIGNATURE = b"-FVE-FS-"
TIME = (1767254400 + 11644473600) * 10**7
PASSWORD = "Kennwort für D:"
RECOVERY = "-".join(f"{number * 11:06d}" for number in (1, 65535, 0, 4711, 815, 12345, 54321, 7))
KINDS = {"diffused": 0x8000, "cbc": 0x8002, "xts": 0x8004}
METADATA, VISTA_METADATA = 64 << 10, 16 << 10


def entry(kind, value, data):
    return struct.pack("<HHHH", len(data) + 8, kind, value, 1) + data


def key(data, method=0x2003):
    return entry(0, 1, struct.pack("<I", method) + data)


def sealed(kind, inner, secret, counter):
    nonce = struct.pack("<QI", TIME, counter)
    text = AESCCM(secret, tag_length=16).encrypt(nonce, inner, None)
    return entry(kind, 5, nonce + text[-16:] + text[:-16])


def stretched(secret, salt):
    first, last = hashlib.sha256(secret).digest(), bytes(32)
    for count in range(1 << 20):
        last = hashlib.sha256(last + first + salt + struct.pack("<Q", count)).digest()
    return last


def of_password(text):
    return hashlib.sha256(text.encode("utf-16-le")).digest()


def of_recovery(text):
    return b"".join(struct.pack("<H", int(group) // 11) for group in text.split("-"))


def identifier(number):
    return uuid.UUID(int=0xB17 << 64 | number)


def protector(number, protection, inner):
    head = identifier(number).bytes_le + struct.pack("<QHH", TIME, 0, protection)
    return entry(2, 8, head + inner)


def by_secret(number, protection, secret, master):
    salt = hashlib.sha256(b"salt %d" % number).digest()[:16]
    return protector(number, protection, entry(0, 3, struct.pack("<I", 0x1001) + salt) +
                     sealed(0, key(master), stretched(secret, salt), 10 + number))  # fmt: skip


def startup_file(number, secret):
    inner = identifier(number).bytes_le + struct.pack("<Q", TIME)
    inner += entry(0, 2, "ExternalKey\0".encode("utf-16-le")) + key(secret, 0x2002)
    data = entry(6, 9, inner)
    size = 48 + len(data)
    return struct.pack("<IIII16sIIQ", size, 1, 48, size, identifier(number).bytes_le, 1, 0, TIME) + data


def diffused(words, steps, turns, cycles):
    """Diffuses a sector, the other way round than it is undone."""
    count = len(words)
    rotate = lambda word, by: (word << by | word >> (32 - by)) & 0xFFFFFFFF if by else word
    for _ in range(cycles):
        for index in reversed(range(count)):
            near, far = (words[(index + step) % count] for step in steps)
            words[index] = (words[index] - (near ^ rotate(far, turns[index % 4]))) & 0xFFFFFFFF
    return words


def encrypt(kind, bits, secret, offset, sector):
    """One sector that lies at `offset`."""
    size = bits // 8
    ecb = lambda secret, block: Cipher(algorithms.AES(secret), modes.ECB()).encryptor().update(block)
    place = struct.pack("<QQ", offset, 0)
    if kind == "xts":
        tweak = struct.pack("<QQ", offset // len(sector), 0)
        return Cipher(algorithms.AES(secret[: 2 * size]), modes.XTS(tweak)).encryptor().update(sector)
    if kind == "diffused":
        tweak = secret[32 : 32 + size]
        own = ecb(tweak, place) + ecb(tweak, place[:15] + b"\x80")
        sector = bytes(a ^ b for a, b in zip(sector, own * (len(sector) // 32)))
        words = list(struct.unpack(f"<{len(sector) // 4}I", sector))
        words = diffused(words, (-2, -5), (9, 0, 13, 0), 5)
        words = diffused(words, (2, 5), (0, 10, 0, 25), 3)
        sector = struct.pack(f"<{len(words)}I", *words)
    return Cipher(algorithms.AES(secret[:size]), modes.CBC(ecb(secret[:size], place))).encryptor().update(sector)


class Hole:
    """Places of whole clusters that a file of the volume keeps free."""

    def __init__(self, data, mark):
        self.places = [at for at in range(0, len(data), 4096) if data[at : at + 4096] == mark]

    def take(self, size):
        for at in self.places:
            wanted = [at + step for step in range(0, size, 4096)]
            if set(wanted) <= set(self.places):
                self.places = [place for place in self.places if place not in wanted]
                return at
        raise AssertionError("no room")


MARK = hashlib.sha256(b"metadata").digest() * 128


def reserve(root):
    with open(os.path.join(root, "metadata"), "wb") as file:
        file.write(MARK * ((3 * METADATA + 8192) // 4096 + 8))


def written(data, kind, bits, protectors, version=2, state=4, encrypted=None, to_go=False):
    """The volume `data`, encrypted, and what it shows then."""
    sector = struct.unpack_from("<H", data, 11)[0]
    hole = Hole(data, MARK)
    length = METADATA if version == 2 else VISTA_METADATA
    places = [hole.take(length) for _ in range(3)]
    moved = hole.take(8192) if version == 2 else 0
    encrypted = len(data) if encrypted is None else encrypted
    secret = hashlib.sha512(b"volume key").digest()
    master = hashlib.sha256(b"master key").digest()
    method = KINDS[kind] + (bits == 256)
    used = {"diffused": 64, "cbc": bits // 8, "xts": bits // 4}[kind]
    view = bytearray(data)
    for at in places:
        view[at : at + length] = bytes(length)
    image = bytearray(view)
    if moved:
        view[moved : moved + 8192] = bytes(8192)
        image[moved : moved + 8192] = data[:8192]
    first = 0 if version == 2 else 8192
    for at in range(first, encrypted, sector):
        if not any(place <= at < place + length for place in places):
            image[at : at + sector] = encrypt(kind, bits, secret, at, bytes(image[at : at + sector]))
    entries = entry(7, 2, "volfold\0".encode("utf-16-le")) + b"".join(own(master) for own in protectors)
    entries += sealed(3, key(secret[:used], method), master, 3)
    if version == 2:
        entries += entry(15, 15, struct.pack("<QQ", moved, 8192))
        last = moved
    else:
        last = struct.unpack_from("<Q", data, 0x38)[0]
    metadata = struct.pack("<IIII16sIHHQ", 48 + len(entries), 1, 48, 48 + len(entries),
                           identifier(99).bytes_le, 20, method, method, TIME) + entries  # fmt: skip
    size = -(-(64 + len(metadata)) // 16) * 16
    head = struct.pack("<8sHHHHQIIQQQQ", SIGNATURE, size // 16 if version == 2 else size, version, state, 4,
                       encrypted if version == 2 else 0, 0, 8192 // sector if version == 2 else 0, *places, last)  # fmt: skip
    block = (head + metadata).ljust(size, b"\0")
    block += struct.pack("<HHI", 8, 2, zlib.crc32(block))
    for at in places:
        image[at : at + length] = block.ljust(length, b"\0")
    if version == 1:
        image[3:11] = SIGNATURE
        struct.pack_into("<Q", image, 0x38, places[0] // (data[13] * sector))
    else:
        boot = bytearray(data[:512])
        boot[:3] = b"\xEB\x58\x90"
        boot[3:11] = b"MSWIN4.1" if to_go else SIGNATURE
        at = 0x1A8 if to_go else 0xA0
        boot[at : at + 40] = IDENTIFIER + struct.pack("<QQQ", *places)
        image[:512] = boot
        image[512:8192] = bytes(8192 - 512)
    return image, view


def libbde_check(path, view, password=None, recovery=None, startup=None):
    import pybde

    volume = pybde.volume()
    if password:
        volume.set_password(password)
    if recovery:
        volume.set_recovery_password(recovery)
    if startup:
        volume.read_startup_key(startup)
    volume.open(path)
    found = b""
    while len(found) < len(view):
        part = volume.read_buffer(min(1 << 20, len(view) - len(found)))
        assert part
        found += part
    # Of Vista it gives no place of the copy of NTFS's file table; dislocker-metadata reads it where it is here.
    found = found[:56] + view[56:64] + found[64:]
    different = [at for at in range(0, len(view), 512) if found[at : at + 512] != view[at : at + 512]]
    assert not different, f"{path}: {len(different)} sectors, from {different[:4]}"


@recipe("bitlocker")
def bitlocker():
    entries = tree.load(["short"], "ntfs")
    on_ntfs = ntfs.make("bitlocker-ntfs", 1088 << 10, entries, label="Locked", also=reserve)
    with open(on_ntfs, "rb") as file:
        plain = file.read()
    external = hashlib.sha256(b"external key").digest()
    password = lambda master: by_secret(1, 0x2000, of_password(PASSWORD), master)
    recovery = lambda master: by_secret(2, 0x0800, of_recovery(RECOVERY), master)
    startup = lambda master: protector(3, 0x0200, sealed(0, key(master), external, 13))
    bek = os.path.join(tools.scratch(), "startup.bek")
    with open(bek, "wb") as file:
        file.write(startup_file(3, external))
    fixture = Fixture("bitlocker", "set")
    records = []
    for name, kind, bits, protectors, options in [
        ("xts-256", "xts", 256, [password, recovery], {}),
        ("cbc-256-in-part", "cbc", 256, [recovery], {"state": 5, "encrypted": 512 << 10}),
        ("diffused-256", "diffused", 256, [recovery, startup], {}),
        ("vista", "diffused", 128, [startup, recovery], {"version": 1}),
        ("to-go", "cbc", 128, [password], {"to_go": True}),
    ]:
        image, view = written(plain, kind, bits, protectors, **options)
        path = os.path.join(tools.scratch(), f"{name}.img")
        with open(path, "wb") as file:
            file.write(image)
        if password in protectors:
            libbde_check(path, view, password=PASSWORD)
        if recovery in protectors:
            libbde_check(path, view, recovery=RECOVERY)
        if startup in protectors:
            libbde_check(path, view, startup=bek)
        fixture.file(path)
        keys = [("password", PASSWORD)] * (password in protectors)
        keys += [("recovery-key", RECOVERY)] * (recovery in protectors)
        keys += [("key-file", startup_file(3, external).hex())] * (startup in protectors)
        records.append({
            "file": f"{name}.img",
            "size": len(view),
            "sha256": hashlib.sha256(view).hexdigest(),
            "keys": [{"kind": kind, "value": value} for kind, value in keys],
        })  # fmt: skip
    fixture.record["bitlocker"] = records
    import pybde

    return fixture.verified(f"libbde {pybde.get_version()}")
