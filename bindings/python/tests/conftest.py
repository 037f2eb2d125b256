"""Images for the tests: the fixtures of the project, and small FAT volumes of the tests' own."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import volfold
from fat import fat_image

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
SAMPLE = ROOT / "samples" / "sample.vmdk"
ZEROS = bytes(1 << 20)
INDEX: Dict[str, Any] = json.loads((FIXTURES / "INDEX.json").read_text("utf-8"))["fixtures"]


def linux_image(folder: Path, fstab: str, *identity: str) -> Path:
    """An ext4 volume below ``folder`` with a Debian of this table, made by mke2fs with the options ``identity``."""
    mke2fs = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if mke2fs is None:
        pytest.skip("skipped: needs mke2fs")
    etc = folder / "tree" / "etc"
    etc.mkdir(parents=True)
    (etc / "os-release").write_text('ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n')
    (etc / "hostname").write_text("files01\n")
    (etc / "fstab").write_text(fstab)
    image = folder / "linux.img"
    command = [mke2fs, "-q", "-t", "ext4", *identity, "-d", folder / "tree", image, "8M"]
    subprocess.run(command, check=True)
    return image


@dataclass(frozen=True)
class Row:
    """What an independent tool found at a path."""

    path: bytes
    size: Optional[int]
    sha256: Optional[str]
    unreadable: bool
    kind: str
    mtime: Optional[int]
    extra: bytes


def _unescape(column: bytes) -> bytes:
    out = bytearray()
    rest = iter(column)
    for byte in rest:
        out += {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"\\": b"\\"}[bytes([next(rest)])] if byte == 0x5C else bytes([byte])
    return bytes(out)


def _number(column: bytes) -> Optional[int]:
    try:
        return int(column.split(b".")[0])
    except ValueError:
        return None


def listing(name: str) -> List[Row]:
    """The rows of a listing of the fixtures."""
    data = (FIXTURES / name).read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    lines = [line for line in data.split(b"\n") if line]
    assert lines[0] == b"path\tsize\tsha256\ttype\tmtime\textra"
    rows = []
    for line in lines[1:]:
        path, size, sha256, kind, mtime, extra = line.split(b"\t")
        digest = sha256.decode() if len(sha256) == 64 else None
        rows.append(
            Row(
                b"/" + _unescape(path),
                _number(size),
                digest,
                sha256 == b"unreadable",
                kind.decode(),
                _number(mtime),
                _unescape(extra),
            )
        )
    return rows


Unpack = Callable[[str], List[Path]]


@pytest.fixture(scope="session")
def unpack(tmp_path_factory: pytest.TempPathFactory) -> Unpack:
    """Unpacks a fixture; the files to be opened."""
    root = tmp_path_factory.mktemp("fixtures")

    def run(name: str) -> List[Path]:
        fixture = INDEX[name]
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            for file in fixture["files"]:
                stored = FIXTURES / file["stored"]
                target = folder / file["name"]
                target.parent.mkdir(parents=True, exist_ok=True)
                opener = gzip.open if stored.suffix == ".gz" else open
                with opener(stored, "rb") as packed, target.open("wb") as out:
                    while block := packed.read(1 << 20):
                        # Most of an image is holes.
                        if block == ZEROS[: len(block)]:
                            out.seek(len(block), 1)
                        else:
                            out.write(block)
                    out.truncate(file["size"])
        return [folder / name for name in fixture["open"]]

    return run


@pytest.fixture
def sample() -> Iterator[volfold.DiskSet]:
    """The sample image, open."""
    with volfold.open(SAMPLE) as ds:
        yield ds


@pytest.fixture
def linux(sample: volfold.DiskSet) -> volfold.Volume:
    """The ext4 volume of the sample."""
    return sample.volumes["linux"]


@pytest.fixture
def fat(tmp_path: Path) -> Iterator[Callable[[Dict[str, bytes]], volfold.Volume]]:
    """Makes a FAT volume of files, and opens it."""
    opened: List[volfold.DiskSet] = []

    def run(files: Dict[str, bytes]) -> volfold.Volume:
        path = tmp_path / f"fat{len(opened)}.img"
        path.write_bytes(fat_image(files))
        opened.append(volfold.open(path))
        return opened[-1].volumes[0]

    yield run
    for ds in opened:
        ds.close()
