"""Every example runs, and says what it should."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT, SAMPLE, Unpack, listing
from fat import fat_image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, *arguments: object, code: int = 0) -> str:
    """What the example prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture
def fat(tmp_path: Path) -> Path:
    """A volume called "disk0" with an archive, a database and a table."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.txt", b"12345")
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table visits (url text)")
        database.execute("insert into visits values ('a')")
    database.close()
    path = tmp_path / "fat.img"
    path.write_bytes(
        fat_image(
            {
                "A.ZIP": packed.getvalue(),
                "A.DB": (tmp_path / "a.db").read_bytes(),
                "A.CSV": b"name,size\na,1\nb,2\n",
            }
        )
    )
    return path


def volume_of(disk: Path) -> str:
    return run("list_volumes.py", disk).splitlines()[1].split("  ")[0]


def test_list_volumes(unpack: Unpack) -> None:
    printed = run("list_volumes.py", SAMPLE)
    assert "linux  mbr:5eed0099-26624  ext4  8388608 bytes  healthy" in printed
    (child,) = unpack("vmdk-parent-missing")
    run("list_volumes.py", SAMPLE, child, code=3)


def test_hash_files_agrees_with_the_sums_of_the_sample() -> None:
    wanted = set()
    for line in (ROOT / "samples" / "sample.sha256").read_text("utf-8").splitlines():
        path, _, digest = line.split("\t")
        wanted.add(f"{digest}  {path}")
    assert wanted and set(run("hash_files.py", SAMPLE).splitlines()) == wanted


def test_hash_files_tells_what_it_cannot_read(unpack: Unpack) -> None:
    run("hash_files.py", *unpack("ntfs-encrypted"), code=3)


def test_copy_tree(tmp_path: Path) -> None:
    run("copy_tree.py", SAMPLE, "linux", "/", tmp_path / "copy")
    rows = [row for row in listing("sample.linux.tsv") if row.kind == "f"]
    for row in rows:
        copied = Path(os.fsdecode(os.fsencode(tmp_path / "copy") + row.path))
        assert (copied.stat().st_size, int(copied.stat().st_mtime)) == (row.size, row.mtime)


def test_read_archive(fat: Path) -> None:
    assert run("read_archive.py", fat, volume_of(fat), "/A.ZIP") == "5  inner.txt\n"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="skipped: needs Python 3.11")
def test_read_database(fat: Path) -> None:
    assert run("read_database.py", fat, volume_of(fat), "/A.DB") == "visits: 1 rows\n"


def test_read_table(fat: Path) -> None:
    pytest.importorskip("fsspec", reason="skipped: needs fsspec")
    assert run("read_table.py", fat, f"volfold:///{volume_of(fat)}/A.CSV", "size") == "3\n"


def test_scan_yara(tmp_path: Path) -> None:
    pytest.importorskip("yara", reason="skipped: needs yara-python")
    rules = tmp_path / "rules.yar"
    rules.write_text('rule eicar { strings: $a = "EICAR-STANDARD" condition: $a }')
    wanted = [f"eicar  /{name}/eicar.com" for name in ("BOOT", "Windows", "linux")]
    assert sorted(run("scan_yara.py", rules, SAMPLE).splitlines()) == wanted


@pytest.mark.skipif(
    sys.platform != "linux" or not os.access("/dev/fuse", os.R_OK | os.W_OK),
    reason="skipped: needs /dev/fuse",
)
def test_mount_set(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    printed = run("mount_set.py", folder, SAMPLE, "--", "ls")
    assert sorted(printed.split()) == ["BOOT", "Windows", "linux"]


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text("utf-8")
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
