"""Encrypted volumes: cryptsetup (LUKS2, LUKS1) and qemu-img (LUKS1 with other ciphers) encrypt small ext2 volumes.

Their keys are drawn at random, so the images come out otherwise each time; what they hold does not. What was encrypted
is decrypted again by others: with the volume key that cryptsetup tells, by OpenSSL (python3-cryptography), and by
dissect.fve (PyPI)."""

import hashlib
import os
import shutil

from . import ext, lvm, tools, tree
from .index import Fixture, recipe

UUID = "10c5{:04d}-0000-4000-8000-000000000001"
SIZE = 384 << 10
PASSWORD = "a secret of LUKS"
# Bytes that are no text, with an end of line at their end.
KEY_FILE = bytes(range(256))[::-1][:64] + b"\0\xff\r\n"
QUICK = {
    "argon2id": ["--pbkdf-memory", 32, "--pbkdf-parallel", 1, "--pbkdf-force-iterations", 4],
    "argon2i": ["--pbkdf-memory", 64, "--pbkdf-parallel", 2, "--pbkdf-force-iterations", 5],
    "pbkdf2": ["--pbkdf-force-iterations", 1000],
}
# cryptsetup moves the data by half of this, and writes the header there.
ROOM = 640 << 10


class Set:
    """Images in a folder of their own, and what the index is to say of the volumes in them."""

    def __init__(self, name, note):
        self.fixture = Fixture(name, "set", note)
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.password = self.write("password", PASSWORD.encode())
        self.facts, self.paths = [], []

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def plain(self, number, block=1024):
        """An ext2 volume, and its bytes."""
        entries = tree.load(["short"], "ext")
        name = f"{os.path.basename(self.folder)}-{number}"
        features = ext.EXT2.replace("resize_inode,", "")
        image = ext.make(name, SIZE, entries, features, block, 0x100 + number, f"LUKS{number}", 32)
        with open(image, "rb") as file:
            return image, file.read()

    def add(self, path, number, kind, data, start=0, keys=(PASSWORD.encode(),), **more):
        """The volume that `keys` open in the image `path` from `start`; `data` is what they find."""
        for key in keys:
            check(path, start, key, data)
        self.paths.append(path)
        self.facts.append({
            "file": os.path.basename(path), "id": f"luks:{UUID.format(number)}", "kind": kind, "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "keys": [key.hex() for key in keys], **more,
        })  # fmt: skip

    def refuse(self, path, number, why):
        self.paths.append(path)
        self.facts.append({
            "file": os.path.basename(path), "id": f"luks:{UUID.format(number)}", "kind": "", "size": 0, "sha256": "",
            "keys": [PASSWORD.encode().hex()], "refused": why,
        })  # fmt: skip

    def path(self, name):
        return os.path.join(self.folder, f"{name}.img")

    def finish(self, *by):
        for path in dict.fromkeys(self.paths):
            self.fixture.file(path)
        self.fixture.record["encrypted"] = self.facts
        self.fixture.record["random"] = True
        for line in by:
            self.fixture.verified(line)
        return self.fixture


def cryptsetup(*words, **options):
    return tools.run("cryptsetup", "-q", *words, **options)


def label(path, number):
    cryptsetup("luksUUID", "--uuid", UUID.format(number), path)
    return path


def encrypt(path, plain, password, cipher, bits, pbkdf, *more):
    """Has cryptsetup encrypt a copy of `plain` as LUKS2."""
    shutil.copyfile(plain, path)
    os.truncate(path, os.path.getsize(plain) + ROOM)
    cryptsetup("reencrypt", "--encrypt", "--type", "luks2", "--luks2-metadata-size", "16k", "--luks2-keyslots-size",
               "272k", "--reduce-device-size", f"{ROOM >> 10}K", "--cipher", cipher, "--key-size", bits,
               "--pbkdf", pbkdf, *QUICK[pbkdf], "--key-file", password, *more, path)  # fmt: skip
    # What the data were moved out of.
    os.truncate(path, os.path.getsize(path) - ROOM // 2)
    return path


def luks1(path, data, password, cipher, bits):
    """Has cryptsetup make the header, and OpenSSL encrypt `data` with its volume key."""
    tools.blank(path, 8 << 20)
    cryptsetup("luksFormat", "--type", "luks1", "--cipher", cipher, "--key-size", bits, *QUICK["pbkdf2"],
               "--align-payload", 8, path, password)  # fmt: skip
    name, offset, sector, key = volume_key(path, password)
    os.truncate(path, offset)
    with open(path, "ab") as file:
        file.write(crypt(name, sector, key, data, True))
    return path


def by_qemu(path, plain, password, cipher, mode, iv, hash_of_key, iv_hash=None):
    """Has qemu-img encrypt `plain` as LUKS1."""
    options = f"key-secret=key,cipher-alg={cipher},cipher-mode={mode},ivgen-alg={iv},hash-alg={hash_of_key},iter-time=10"
    if iv_hash:
        options += f",ivgen-hash-alg={iv_hash}"
    tools.run("qemu-img", "convert", "--object", f"secret,id=key,file={password}", "-f", "raw", "-O", "luks",
              "-o", options, plain, path)  # fmt: skip
    return path


def check(path, start, key, data):
    """Whether `key` opens the image for others too, and they find `data`."""
    from dissect.fve import luks

    folder = tools.scratch()
    own, secret = os.path.join(folder, "luks-part"), os.path.join(folder, "luks-key")
    with open(path, "rb") as file, open(own, "wb") as part, open(secret, "wb") as out:
        file.seek(start)
        part.write(file.read())
        out.write(key)
    dump = tools.run("cryptsetup", "luksDump", own).decode()
    if "serpent" in dump or "twofish" in dump:
        # Those neither cryptsetup (without a kernel) nor OpenSSL have: qemu, which made them, decrypts them again.
        assert by_qemu_again(own, secret)[: len(data)] == data, f"{path}: qemu-img reads other bytes"
        return
    cryptsetup("open", "--test-passphrase", "--key-file", secret, own)
    name, offset, sector, key = volume_key(own, secret)
    with open(own, "rb") as file:
        file.seek(offset)
        again = crypt(name, sector, key, file.read(), False)
    assert again[: len(data)] == data, f"{path}: OpenSSL reads other bytes"
    with open(own, "rb") as file, open(secret, "rb") as secret_file:
        disk = luks.LUKS(file)
        disk.unlock_with_passphrase(secret_file.read())
        assert disk.open().read(len(data)) == data, f"{path}: dissect.fve reads other bytes"


def by_qemu_again(path, secret):
    """What qemu-img decrypts."""
    tools.run("qemu-img", "convert", "--object", f"secret,id=key,file={secret}", "--image-opts",
              f"driver=luks,key-secret=key,file.filename={path}", "-O", "raw", f"{path}.raw")  # fmt: skip
    with open(f"{path}.raw", "rb") as file:
        return file.read()


def volume_key(path, secret):
    """Cipher, offset of the data, sector size and volume key, as cryptsetup tells them."""
    told = f"{secret}.volume"
    if os.path.exists(told):
        os.remove(told)
    cryptsetup("luksDump", "--dump-volume-key", "--volume-key-file", told, "--key-file", secret, path)
    with open(told, "rb") as file:
        key = file.read()
    lines = [line.strip() for line in tools.run("cryptsetup", "luksDump", path).decode().splitlines()]
    word = lambda name: next(line.split(":", 1)[1].split()[0] for line in lines if line.startswith(name))
    if word("Version:") == "1":
        return f"{word('Cipher name:')}-{word('Cipher mode:')}", int(word("Payload offset:")) * 512, 512, key
    return word("cipher:"), int(word("offset:")), int(word("sector:")), key


def crypt(name, sector, key, data, is_encrypted):
    """`data`, encrypted or decrypted by OpenSSL."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    done = b""
    for at in range(0, len(data) // sector * sector, sector):
        number = (at // 512).to_bytes(16, "little")
        if "-xts-" in name:
            mode = modes.XTS(number)
        elif "essiv:sha256" in name:
            salt = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB())
            mode = modes.CBC(salt.encryptor().update(number))
        else:
            mode = modes.CBC(number)
        cipher = Cipher(algorithms.AES(key), mode)
        way = cipher.encryptor() if is_encrypted else cipher.decryptor()
        done += way.update(data[at : at + sector])
    return done


@recipe("luks")
def every_kind():
    """LUKS1 and LUKS2 with the ciphers, hashes and key derivations that are usual."""
    made = Set("luks", every_kind.__doc__)
    key_file = made.write("key-file", KEY_FILE)

    image, data = made.plain(1)
    path = encrypt(made.path("argon2id"), image, made.password, "aes-xts-plain64", 512, "argon2id")
    made.add(label(path, 1), 1, "LUKS2", data)

    image, data = made.plain(2, 4096)
    path = encrypt(made.path("argon2i-4k"), image, made.password, "aes-xts-plain64", 256, "argon2i",
                   "--sector-size", 4096, "--hash", "sha512")  # fmt: skip
    cryptsetup("luksAddKey", "--key-file", made.password, "--pbkdf", "pbkdf2", *QUICK["pbkdf2"], path, key_file)
    cryptsetup("config", "--priority", "prefer", "--key-slot", 1, path)
    cryptsetup("token", "add", "--key-description", "seed", path)
    made.add(label(path, 2), 2, "LUKS2", data, keys=(PASSWORD.encode(), KEY_FILE))

    image, data = made.plain(3)
    path = encrypt(made.path("essiv"), image, made.password, "aes-cbc-essiv:sha256", 256, "pbkdf2", "--hash", "sha512")
    made.add(label(path, 3), 3, "LUKS2", data)

    image, data = made.plain(4)
    path = made.path("luks1-partition")
    alone = luks1(made.path("alone"), data, made.password, "aes-xts-plain64", 256)
    label(alone, 4)
    assert by_qemu_again(alone, made.password)[: len(data)] == data, f"{alone}: qemu-img reads other bytes"
    start = 64 << 10
    tools.blank(path, start + os.path.getsize(alone) + (64 << 10))
    tools.run("sfdisk", "-q", path, stdin=f"label: dos\nlabel-id: 0x10c50004\nstart={start // 512}, "
              f"size={os.path.getsize(alone) // 512}, type=83\n")  # fmt: skip
    with open(alone, "rb") as file:
        tools.patch(path, start, file.read())
    made.add(path, 4, "LUKS1", data, start)

    for number, name, words in [
        (5, "serpent", ("serpent-256", "xts", "plain64", "sha512")),
        (6, "twofish", ("twofish-256", "cbc", "essiv", "ripemd160", "sha256")),
        (7, "aes128-cbc", ("aes-128", "cbc", "plain64", "sha1")),
    ]:
        image, data = made.plain(number)
        path = by_qemu(made.path(name), image, made.password, *words)
        made.add(label(path, number), number, "LUKS1", data)
    return made.finish(
        "cryptsetup open --test-passphrase takes each key",
        "decrypted again by OpenSSL with the volume key that cryptsetup tells; serpent and twofish by qemu-img",
        "dissect.fve reads the same bytes",
    )


@recipe("luks-refused")
def refused():
    """What is LUKS and is not read: a change of the encryption that was not finished, a header without its data."""
    made = Set("luks-refused", refused.__doc__)
    image, _ = made.plain(20)
    path = made.path("reencrypting")
    shutil.copyfile(image, path)
    os.truncate(path, SIZE + ROOM)
    cryptsetup("reencrypt", "--encrypt", "--init-only", "--type", "luks2", "--luks2-metadata-size", "16k",
               "--luks2-keyslots-size", "272k", "--reduce-device-size", f"{ROOM >> 10}K", "--pbkdf", "pbkdf2",
               *QUICK["pbkdf2"], "--key-file", made.password, "--uuid", UUID.format(20), path)  # fmt: skip
    made.refuse(path, 20, "is being encrypted anew (online-reencrypt")
    path = made.path("detached")
    data = tools.blank(made.path("data"), 1 << 20)
    cryptsetup("luksFormat", "--type", "luks2", "--luks2-metadata-size", "16k", "--luks2-keyslots-size", "256k",
               "--pbkdf", "pbkdf2", *QUICK["pbkdf2"], "--header", path, data, made.password)  # fmt: skip
    made.refuse(label(path, 21), 21, "header is detached")
    return made.finish("cryptsetup made them, and luksDump says the same")


@recipe("luks-detached")
def detached():
    """Headers on disks of their own, of LUKS2 and of LUKS1, and what is encrypted by them."""
    made = Set("luks-detached", detached.__doc__)

    image, data = made.plain(40)
    header, path = made.path("header2"), made.path("data2")
    shutil.copyfile(image, path)
    cryptsetup("reencrypt", "--encrypt", "--type", "luks2", "--luks2-metadata-size", "16k", "--luks2-keyslots-size",
               "544k", "--header", header, "--key-size", 256, "--pbkdf", "argon2id", *QUICK["argon2id"],
               "--key-file", made.password, path)  # fmt: skip
    # What is left of it after the key slots.
    os.truncate(header, (32 << 10) + (544 << 10))
    apart(made, header, path, 40, "LUKS2", data)

    image, data = made.plain(41)
    header, path = tools.blank(made.path("header1"), 2 << 20), made.path("data1")
    cryptsetup("luksFormat", "--type", "luks1", "--cipher", "aes-xts-plain64", "--key-size", 256, *QUICK["pbkdf2"],
               "--header", header, image, made.password)  # fmt: skip
    name, _, sector, key = volume_key(header, made.password)
    with open(path, "wb") as file:
        file.write(crypt(name, sector, key, data, True))
    apart(made, header, path, 41, "LUKS1", data)
    return made.finish(
        "cryptsetup made the headers and encrypted the data of LUKS2; OpenSSL those of LUKS1",
        "decrypted again by OpenSSL with the volume key that cryptsetup tells",
    )


def apart(made, header, path, number, kind, data):
    """The volume whose header is the image `header`, and its data the image `path`."""
    label(header, number)
    # Key slots that hold nothing are filled at random.
    with open(header, "r+b") as file:
        file.seek(256 << 10)
        file.write(bytes(os.path.getsize(header) - (256 << 10)))
    cryptsetup("open", "--test-passphrase", "--key-file", made.password, "--header", header, path)
    name, offset, sector, key = volume_key(header, made.password)
    assert offset == 0
    with open(path, "rb") as file:
        assert crypt(name, sector, key, file.read(), False) == data, f"{path}: OpenSSL reads other bytes"
    made.paths += [header, path]
    made.facts.append({
        "file": os.path.basename(path), "header": os.path.basename(header), "id": f"luks:{UUID.format(number)}",
        "kind": kind, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "keys": [PASSWORD.encode().hex()],
    })  # fmt: skip


@recipe("luks-nested")
def nested():
    """An ext2 volume in a logical volume, in LUKS2, in a logical volume."""
    made = Set("luks-nested", nested.__doc__)
    image, data = made.plain(30)
    inner = lvm.Disk(made.path("inner"), 0, 2)
    group = lvm.Group("inside", 30, [inner])
    group.runs("root", data, [(inner, len(data) // lvm.EXTENT)])
    group.write_metadata()
    path = encrypt(made.path("crypt"), inner.path, made.password, "aes-xts-plain64", 512, "argon2id")
    label(path, 31)
    with open(path, "rb") as file:
        crypt = file.read()
    crypt += bytes(-len(crypt) % lvm.EXTENT)
    outer = lvm.Disk(made.path("disk0"), 0, 1 + -(-len(crypt) // (1 << 20)) + 1)
    around = lvm.Group("outside", 31, [outer])
    around.runs("crypt", crypt, [(outer, len(crypt) // lvm.EXTENT)])
    around.write_metadata()
    made.paths.append(outer.path)
    made.facts.append({
        "file": "disk0.img", "id": group.facts[0]["id"], "kind": "LUKS2", "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "keys": [PASSWORD.encode().hex()],
    })  # fmt: skip
    return made.finish("lvm2 wrote both groups, cryptsetup encrypted what lies between")
