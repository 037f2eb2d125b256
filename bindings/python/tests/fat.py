"""Writes small FAT12 volumes, by "Microsoft FAT Specification" (2005): files in the root directory only."""

from __future__ import annotations

import struct
from typing import Dict

SECTOR = 512
CLUSTER = 4096
ROOT_ENTRIES = 64
CLUSTERS = 4000
FAT_SECTORS = 12
DATA_AT = SECTOR * (1 + 2 * FAT_SECTORS) + 32 * ROOT_ENTRIES


def _boot_sector(sectors: int) -> bytes:
    fields = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90",
        b"MSDOS5.0",
        SECTOR,
        CLUSTER // SECTOR,
        1,
        2,
        ROOT_ENTRIES,
        sectors,
        0xF8,
        FAT_SECTORS,
        63,
        255,
        0,
        0,
        0x80,
        0,
        0x29,
        0x5EED0001,
        b"PYTHON     ",
        b"FAT12   ",
    )
    return fields.ljust(510, b"\0") + b"\x55\xaa"


def fat_image(files: Dict[str, bytes], looped: str = "") -> bytes:
    """A volume with `files`, whose names are in upper case, 8.3. The second
    cluster of `looped` leads back to its first."""
    table = [0xFF8, 0xFFF]
    data = bytearray()
    root = bytearray()
    for name, content in files.items():
        stem, _, suffix = name.partition(".")
        first = len(table) if content else 0
        count = -(-len(content) // CLUSTER)
        table.extend(range(first + 1, first + count))
        table.extend([0xFFF] if count else [])
        if name == looped:
            table[first + 1] = first
        data += content.ljust(count * CLUSTER, b"\0")
        short = stem.ljust(8).encode() + suffix.ljust(3).encode()
        # 2025-06-01 12:00:00 as FAT counts.
        root += struct.pack("<11sB10xHHHI", short, 0x20, 0x6000, 0x5AC1, first, len(content))
    assert len(table) < CLUSTERS and len(root) <= 32 * ROOT_ENTRIES
    packed = bytearray(FAT_SECTORS * SECTOR)
    for number, value in enumerate(table):
        at = number * 3 // 2
        word = packed[at] | packed[at + 1] << 8
        word |= value << 4 if number % 2 else value
        packed[at : at + 2] = struct.pack("<H", word)
    sectors = (DATA_AT + CLUSTERS * CLUSTER) // SECTOR
    image = _boot_sector(sectors) + packed + packed + root.ljust(32 * ROOT_ENTRIES, b"\0") + data
    return bytes(image.ljust(sectors * SECTOR, b"\0"))
