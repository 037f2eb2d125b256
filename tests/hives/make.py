#!/usr/bin/env python3
"""Makes the hives of this folder: libhivex writes them, python-registry lists them.

    apt-get install libhivex-bin        hivexregedit
    pip install python-registry
    ./make.py

Every hive begins as a root key without anything (below); all keys and values are added by hivexregedit, from the text
that this script makes. NAME.gz is the hive, NAME.tsv what python-registry finds in it: the path of a key, the name of a
value, the number of its kind, the size and the SHA-256 of its data; a key without values has a row of its own.
"""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import tempfile

from Registry import Registry

FOLDER = os.path.dirname(os.path.abspath(__file__))
NONE = 0xFFFFFFFF
VERSION = r"Microsoft\Windows NT\CurrentVersion"


def cell(content):
    size = (len(content) + 4 + 7) // 8 * 8
    return struct.pack("<i", -size) + content.ljust(size - 4, b"\0")


def root_alone(minor):
    """A hive with a root key and its security descriptor (which hivex gives to all other keys)."""
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    name = b"ROOT"
    key_size = len(cell(bytes(76) + name))
    security = 32 + key_size
    key = struct.pack("<2sHQIIIIIIIIII", b"nk", 0x2C, 0, 0, NONE, 0, 0, NONE, NONE, 0, NONE, security, NONE)
    key += struct.pack("<IIIIIHH", 0, 0, 0, 0, 0, len(name), 0) + name
    cells = cell(key) + cell(struct.pack("<2sHIIII", b"sk", 0, security, security, 1, len(descriptor)) + descriptor)
    bin_ = struct.pack("<4sIIQQI", b"hbin", 0, 4096, 0, 0, 0) + cells
    bin_ += struct.pack("<i", 4096 - len(bin_))
    bin_ = bin_.ljust(4096, b"\0")
    base = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, 0, 1, minor, 0, 1, 32, 4096, 1).ljust(508, b"\0")
    checksum = 0
    for (number,) in struct.iter_unpack("<I", base):
        checksum ^= number
    return (base + struct.pack("<I", checksum)).ljust(4096, b"\0") + bin_


def text(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def data(kind, content):
    return f"hex({kind:x}):" + ",".join(f"{byte:02x}" for byte in content)


def dword(number):
    return f"dword:{number:08x}"


def multi(*values):
    return data(7, "".join(value + "\0" for value in [*values, ""]).encode("utf-16-le"))


def software_11():
    keys = {
        VERSION: {
            "ProductName": text("Windows 10 Pro"),
            "EditionID": text("Professional"),
            "InstallationType": text("Client"),
            "CurrentVersion": text("6.3"),
            "CurrentBuild": text("26100"),
            "CurrentBuildNumber": text("26100"),
            "CurrentMajorVersionNumber": dword(10),
            "CurrentMinorVersionNumber": dword(0),
            "DisplayVersion": text("24H2"),
            "UBR": dword(4170),
            "InstallDate": dword(1714986489),
            "SystemRoot": text("C:\\Windows"),
        },
        "Names": {"": text("the default value")},
        "Names\\M\u00fcller \u00df": {"\u00dcber": text("Latin-1: \u00e9")},
        "Names\\\u041f\u0443\u0441\u043a": {"\u043f\u0443\u0442\u044c": text("\u4e2d\u6587 \U0001f600")},
        r"Data\Empty": {},
        "Data": {
            "none": data(0, b""),
            "one byte": data(3, b"\x01"),
            "four bytes": data(3, b"\x01\x02\x03\x04"),
            "five bytes": data(3, b"\x01\x02\x03\x04\x05"),
            "16344 bytes": data(3, bytes(at % 251 for at in range(16344))),
            "number": data(0xB, struct.pack("<Q", 1 << 40)),
            "path": data(2, "%SystemRoot%\\x\0".encode("utf-16-le")),
            "no end": data(1, "no end".encode("utf-16-le")),
            "several": multi("a", "bc"),
            "odd kind": data(0x77, b"\xff" * 20),
        },
    }
    for number in range(700):
        keys[f"Many\\Key {number * 7919 % 1000:03d}-{number}"] = {"Number": dword(number)}
    return keys


def software_nt4():
    return {
        VERSION: {
            "CurrentVersion": text("4.0"),
            "CurrentBuildNumber": text("1381"),
            "CSDVersion": text("Service Pack 6"),
            "CurrentType": text("Uniprocessor Free"),
            "SystemRoot": text("C:\\WINNT"),
            "InstallDate": dword(0x37000000),
        },
    }


def system_10():
    control = r"ControlSet001\Control"
    return {
        "Select": {"Current": dword(1), "Default": dword(1), "Failed": dword(0), "LastKnownGood": dword(1)},
        control + r"\ComputerName\ComputerName": {"ComputerName": text("DESKTOP-1A2B3C4")},
        r"ControlSet001\Services\Tcpip\Parameters": {"Hostname": text("desktop-1a2b3c4"), "Domain": text("")},
        control + r"\TimeZoneInformation": {
            "Bias": dword(0xFFFFFFC4),
            "TimeZoneKeyName": text("W. Europe Standard Time"),
            "StandardName": text("@tzres.dll,-322"),
        },
        control + r"\Session Manager\Environment": {"PROCESSOR_ARCHITECTURE": text("AMD64")},
        control + r"\Session Manager\Memory Management": {"PagingFiles": multi("?:\\pagefile.sys")},
        control + r"\ProductOptions": {"ProductType": text("WinNT")},
        control + r"\Power": {"HibernateEnabled": dword(1)},
        "MountedDevices": {
            "\\DosDevices\\C:": data(3, struct.pack("<IQ", 0x085B7ABE, 0x06500000)),
            "\\DosDevices\\D:": data(3, b"DMIO:ID:" + bytes(range(16))),
            "\\??\\Volume{36a43ee7-0000-0000-0000-100000000000}": data(3, struct.pack("<IQ", 0x085B7ABE, 1 << 20)),
            "\\DosDevices\\A:": data(3, "\\??\\FDC#GENERIC_FLOPPY_DRIVE#6&2bc13940&0&0".encode("utf-16-le")),
        },
    }


def partition_device(signature, start):
    """A device element: a partition of an MBR."""
    return struct.pack("<16xIIIIQ8xII", 6, 0, 0x48, 0, start, 0, 1) + struct.pack("<I12x", signature) + bytes(16)


def bcd():
    manager = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
    loader = "{36a43ee8-0000-11ef-8000-001122334455}"
    other = "{36a43ee9-0000-11ef-8000-001122334455}"
    keys = {
        rf"Objects\{manager}\Description": {"Type": dword(0x10100002)},
        rf"Objects\{manager}\Elements\23000003": {"Element": text(loader)},
        rf"Objects\{manager}\Elements\24000001": {"Element": multi(other, loader)},
    }
    for guid, title, start in [(loader, "Windows 11", 0x06500000), (other, "Windows 10", 0x10000000)]:
        elements = rf"Objects\{guid}\Elements"
        keys[rf"Objects\{guid}\Description"] = {"Type": dword(0x10200003)}
        keys[rf"{elements}\12000002"] = {"Element": text("\\Windows\\system32\\winload.exe")}
        keys[rf"{elements}\12000004"] = {"Element": text(title)}
        keys[rf"{elements}\21000001"] = {"Element": data(3, partition_device(0x085B7ABE, start))}
        keys[rf"{elements}\22000002"] = {"Element": text("\\Windows")}
    return keys


HIVES = {
    "bcd": (5, bcd),
    "software-11": (5, software_11),
    "software-nt4": (3, software_nt4),
    "system-10": (5, system_10),
}


def rows(key, path):
    values = list(key.values())
    for value in values:
        # It gives all four bytes of data that lies in place of its offset.
        content = value.raw_data()[: value._vkrecord.raw_data_length() & 0x7FFFFFFF]
        digest = hashlib.sha256(content).hexdigest()
        yield path, "" if value.name() == "(default)" else value.name(), value.value_type(), len(content), digest
    if not values:
        yield path, "-", "-", "-", "-"
    for child in key.subkeys():
        yield from rows(child, f"{path}\\{child.name()}" if path else child.name())


def with_parents(keys):
    """The keys and all above them, each after the one that it lies in."""
    all_keys = dict(keys)
    for path in keys:
        while "\\" in path:
            path = path.rpartition("\\")[0]
            all_keys.setdefault(path, {})
    return sorted(all_keys.items())


def main():
    for name, (minor, make) in HIVES.items():
        lines = ["Windows Registry Editor Version 5.00", ""]
        for path, values in with_parents(make()):
            lines.append(f"[\\{path}]")
            lines += [f"{text(value) if value else '@'}={content}" for value, content in values.items()]
            lines.append("")
        with tempfile.TemporaryDirectory() as folder:
            hive, patch = os.path.join(folder, name), os.path.join(folder, "patch.reg")
            with open(hive, "wb") as file:
                file.write(root_alone(minor))
            with open(patch, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
            subprocess.run(["hivexregedit", "--merge", hive, patch], check=True)
            with open(hive, "rb") as file, open(os.path.join(FOLDER, f"{name}.gz"), "wb") as stored:
                stored.write(gzip.compress(file.read(), mtime=0))
            found = sorted(rows(Registry.Registry(hive).root(), ""))
            with open(os.path.join(FOLDER, f"{name}.tsv"), "w", encoding="utf-8", newline="\n") as listing:
                listing.writelines("\t".join(map(str, row)) + "\n" for row in found)
            print(f"{name}: {len(found)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
