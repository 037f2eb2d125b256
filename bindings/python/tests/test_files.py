"""Files as file objects, and the modules of others that read them."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sqlite3
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List

import pytest

import volfold

MakeFat = Callable[[Dict[str, bytes]], volfold.Volume]

NOISE = random.Random(1).randbytes(3 << 20)


def test_a_file_answers_as_one_of_python_does(fat: MakeFat) -> None:
    volume = fat({"A.BIN": NOISE})
    mine, theirs = volume.open("/A.BIN", "rb", 4096), io.BufferedReader(io.BytesIO(NOISE), 4096)
    chance = random.Random(2)
    calls: List[Callable[[io.BufferedReader], object]] = []
    for _ in range(2000):
        where, size = chance.randrange(len(NOISE) + 5000), chance.choice([0, 1, 7, 4096, 9000, 300_000])
        calls += [
            chance.choice(
                [
                    lambda file, where=where: file.seek(where),
                    lambda file, where=where: file.seek(-where // 2, os.SEEK_END),
                    lambda file, size=size: file.read(size),
                    lambda file, size=size: (file.readline(size), file.tell()),
                    lambda file, size=size: (file.readinto(buffer := bytearray(size)), buffer),
                    lambda file: file.tell(),
                ]
            )
        ]
    for call in calls:
        assert call(mine) == call(theirs)
    assert mine.seek(-5, os.SEEK_END) == len(NOISE) - 5 and mine.read() == NOISE[-5:]
    assert mine.read(1) == b"" and mine.readable() and mine.seekable() and not mine.writable()
    with pytest.raises(OSError):
        mine.fileno()
    with pytest.raises(OSError):
        mine.seek(-1)
    mine.close()
    assert mine.closed and mine.raw.closed


def test_read_at_has_no_cursor_and_is_short_only_at_the_end(fat: MakeFat) -> None:
    with fat({"A.BIN": NOISE[:10_000]}).open("/A.BIN", "rb") as file:
        assert file.read_at(9_990, 100) == NOISE[9_990:10_000]
        assert file.read_at(20_000, 5) == b"" and file.read_at(5, 0) == b""
        assert file.tell() == 0 and file.size == 10_000 and len(file.read_at(0, 1)) == 1
        buffer = bytearray(20_000)
        assert file.readinto_at(1, buffer) == 9_999 and buffer[:9_999] == NOISE[1:10_000]
        assert file.readinto_at(0, bytearray()) == 0
        words = memoryview(bytearray(16)).cast("Q")
        assert file.readinto_at(0, words) == 16 and bytes(words) == NOISE[:16]
        for wrong in ((-1, 5), (0, -5)):
            with pytest.raises(ValueError):
                file.read_at(*wrong)
        with pytest.raises(TypeError):
            file.readinto_at(0, b"never written to")
        with pytest.raises((ValueError, OverflowError)):
            file.read_at(1 << 70, -1)
        assert file.read_at(1 << 70, 1) == b""


def test_a_reader_by_offset_is_what_pytsk_wants(sample: volfold.DiskSet) -> None:
    reader = sample.disks[0].open().offset_reader()
    assert reader.get_size() == 23068672
    assert reader.read(510, 2) == b"\x55\xaa" and reader.read(reader.get_size() - 1, 9) == b"\0"
    reader.close()
    with pytest.raises(ValueError):
        reader.read(0, 1)


def test_large_reads_are_not_copied_twice(fat: MakeFat) -> None:
    with fat({"A.BIN": NOISE}).open("/A.BIN", "rb") as file:
        buffer = bytearray(1 << 20)
        file.readinto(buffer)
        for call, size in (
            (lambda: file.seek(0) or file.readinto(buffer), 0),
            (lambda: file.readinto_at(0, buffer), 0),
            (lambda: file.read_at(0, 1 << 20), 1 << 20),
            (lambda: file.seek(0) or file.read(1 << 20), 1 << 20),
        ):
            tracemalloc.start()
            call()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < size + 20_000
        assert buffer == NOISE[: 1 << 20]


def test_threads_read_one_file_at_once(fat: MakeFat) -> None:
    with fat({"A.BIN": NOISE}).open("/A.BIN", "rb") as file:

        def work(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(200):
                where, size = chance.randrange(len(NOISE)), chance.randrange(100_000)
                assert file.read_at(where, size) == NOISE[where : where + size]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))


def test_a_read_releases_the_interpreter_lock(fat: MakeFat) -> None:
    interval = sys.getswitchinterval()
    with fat({"A.BIN": NOISE}).open("/A.BIN", "rb") as file:
        ready, done = threading.Event(), threading.Event()

        def other() -> None:
            ready.set()
            time.sleep(0.05)
            done.set()

        # With this interval a thread never takes the lock from another one: that one has to give it.
        sys.setswitchinterval(1000)
        try:
            thread = threading.Thread(target=other)
            thread.start()
            ready.wait()
            reads = 0
            end = time.monotonic() + 20
            while not done.is_set() and time.monotonic() < end:
                file.read_at(0, 1 << 20)
                reads += 1
        finally:
            sys.setswitchinterval(interval)
        thread.join()
        assert done.is_set() and reads > 0 and time.monotonic() < end


def test_text_has_encodings_and_lines(fat: MakeFat) -> None:
    volume = fat({"A.TXT": "Grüße\r\nzwei\r\n".encode("cp1252"), "B.TXT": "ü\n".encode()})
    with volume.open("/A.TXT", encoding="cp1252") as file:
        assert list(file) == ["Grüße\n", "zwei\n"]
    assert volume.open("/B.TXT").read() == "ü\n" == volume.read_text("B.TXT")
    assert volume.read_text("/A.TXT", "cp1252") == "Grüße\nzwei\n"
    with volume.open("/A.TXT", "r", newline="", encoding="cp1252") as file:
        assert file.readline() == "Grüße\r\n"
    with pytest.raises(UnicodeDecodeError):
        volume.read_text("/A.TXT")
    for mode in ("w", "r+b", "a", "rU", ""):
        with pytest.raises(ValueError):
            volume.open("/A.TXT", mode)
    with pytest.raises(ValueError):
        volume.open("/A.TXT", "rb", encoding="utf-8")
    with pytest.raises(ValueError):
        volume.open("/A.TXT", "r", 0)
    with pytest.raises(LookupError):
        volume.open("/A.TXT", encoding="no such encoding")
    raw = volume.open("/A.TXT", "rb", 0)
    assert isinstance(raw, volfold.RawFile) and raw.read(5) == b"Gr\xfc\xdfe"


def test_zipfile_and_tarfile_read_archives_inside(fat: MakeFat) -> None:
    packed, taped = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/a.bin", NOISE)
    with tarfile.open(fileobj=taped, mode="w:gz") as tape:
        header = tarfile.TarInfo("inner/b.bin")
        header.size = len(NOISE)
        tape.addfile(header, io.BytesIO(NOISE))
    volume = fat({"A.ZIP": packed.getvalue(), "B.TGZ": taped.getvalue()})
    with volume.open("/A.ZIP", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.read("inner/a.bin") == NOISE
    with volume.open("/B.TGZ", "rb") as file, tarfile.open(fileobj=file) as tape:
        member = tape.extractfile("inner/b.bin")
        assert member is not None and member.read() == NOISE


@pytest.mark.skipif(sys.version_info < (3, 11), reason="skipped: needs Python 3.11")
def test_file_digest_hashes_a_file(fat: MakeFat) -> None:
    with fat({"A.BIN": NOISE}).open("/A.BIN", "rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(NOISE).digest()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="skipped: needs Python 3.11")
def test_sqlite_reads_a_database_inside(fat: MakeFat, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as database:
        database.execute("create table visits (url text)")
        database.executemany("insert into visits values (?)", [(f"http://{n}",) for n in range(999)])
    database.close()
    volume = fat({"HISTORY.DB": path.read_bytes()})
    opened = sqlite3.connect(":memory:")
    opened.deserialize(volume.read("/HISTORY.DB"))
    assert opened.execute("select count(*), max(url) from visits").fetchone() == (999, "http://998")
    opened.close()


def test_yara_matches_what_was_read(linux: volfold.Volume) -> None:
    yara = pytest.importorskip("yara", reason="skipped: needs yara-python")
    rules = yara.compile(source='rule eicar { strings: $a = "EICAR-STANDARD" condition: $a }')
    hits = [
        path.name
        for path in linux.path("/").rglob("*")
        if path.is_file() and rules.match(data=path.read_bytes())
    ]
    assert hits == ["eicar.com"]
