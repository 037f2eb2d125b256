"""Files inside disk images by fsspec."""

from __future__ import annotations

import gc
import pickle
import weakref
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, List

import pytest

fsspec = pytest.importorskip("fsspec", reason="skipped: needs fsspec")

import volfold  # noqa: E402
from conftest import SAMPLE, Unpack, listing  # noqa: E402
from fat import fat_image  # noqa: E402
from volfold.fsspec import VolfoldFileSystem  # noqa: E402


@pytest.fixture(autouse=True)
def registered() -> None:
    """What the entry point does for a package that is installed."""
    fsspec.register_implementation("volfold", VolfoldFileSystem, clobber=True)


@pytest.fixture
def fs() -> Any:
    with_disks = VolfoldFileSystem(disks=[SAMPLE])
    yield with_disks
    with_disks.close()


def test_a_url_opens_a_file() -> None:
    with fsspec.open("volfold:///linux/README.txt", disks=[str(SAMPLE)]) as file:
        assert file.read().startswith(b"This volume")
    with fsspec.open("volfold:///linux/Documents/Grüße.txt", "rt", disks=str(SAMPLE)) as file:
        assert file.read()
    (opened,) = fsspec.open_files("volfold:///linux/*.com", disks=str(SAMPLE))
    with pickle.loads(pickle.dumps(opened)) as file:
        assert len(file.read()) == 68
    fs, _, (path,) = fsspec.get_fs_token_paths(
        "volfold:///linux/README.txt", storage_options={"disks": str(SAMPLE)}
    )
    assert path == "/linux/README.txt" and fs.isfile(path)
    with fsspec.open("simplecache::volfold:///BOOT/README.txt", volfold={"disks": str(SAMPLE)}) as file:
        assert file.read(4) == b"This"


def test_ls_and_info(fs: Any) -> None:
    assert fs.ls("/", detail=False) == ["/Windows", "/BOOT", "/linux"] == fs.ls("", detail=False)
    found = {info["name"]: info for info in fs.ls("/linux")}
    assert found["/linux/README.txt"]["size"] == 188 and found["/linux/README.txt"]["type"] == "file"
    assert found["/linux/Documents"]["type"] == "directory"
    link = found["/linux/link to the letter"]
    assert (link["type"], link["islink"], link["size"], link["destination"]) == ("file", True, 52, "Documents/letter.txt")
    assert fs.info("/linux/link to the letter")["size"] == 52 == fs.size("volfold:///linux/link to the letter")
    assert fs.info("/")["type"] == "directory" == fs.info("/linux")["type"]
    assert fs.ls("/linux/README.txt", detail=False) == ["/linux/README.txt"]
    assert fs.isdir("/linux/Documents") and fs.isfile("/linux/README.txt") and fs.exists("/")
    assert not fs.exists("/none") and not fs.exists("/linux/none") and not fs.exists("/linux/README.txt/a")
    assert fs.modified("/linux/README.txt") == datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
    assert fs.created("/linux/README.txt").year == 2026
    with pytest.raises(FileNotFoundError):
        fs.ls("/none")
    with pytest.raises(FileNotFoundError):
        fs.info("/linux/none")


def test_parts_of_files(fs: Any) -> None:
    whole = fs.disk_set.volumes["linux"].read("/Pictures/noise.bin")
    path = "/linux/Pictures/noise.bin"
    for start, end in ((None, None), (10, 20), (-10, None), (None, -11_990), (11_990, 20_000), (20, 10)):
        assert fs.cat_file(path, start, end) == whole[slice(start, end)]
    assert fs.cat_ranges([path, path], [0, 5], [3, 9]) == [whole[0:3], whole[5:9]]
    assert fs.head(path, 5) == whole[:5] and fs.tail(path, 5) == whole[-5:]
    assert fs.read_block(path, 100, 50) == whole[100:150]
    assert fs.cat([path, "/linux/empty.txt"]) == {path: whole, "/linux/empty.txt": b""}
    with fs.open(path, block_size=4096) as file:
        file.seek(-3, 2)
        assert file.read() == whole[-3:]


def test_find_glob_and_du_are_those_of_the_listing(fs: Any, tmp_path: Path) -> None:
    rows = listing("sample.linux.tsv")
    files = sorted("/linux" + row.path.decode() for row in rows if row.kind in "fl")
    assert fs.find("/linux") == files
    assert fs.glob("/linux/**/report.txt") == sorted(name for name in files if name.endswith("/report.txt"))
    wanted = sum(row.size or 0 for row in rows if row.kind == "f") + 52
    assert fs.du("/linux") == wanted
    assert [top for top, _, _ in fs.walk("/linux/Documents")] == [
        "/linux/Documents", "/linux/Documents/2025", "/linux/Documents/2025/July", "/linux/Documents/2025/June",
    ]  # fmt: skip
    assert [top for top, _, _ in fs.walk("/linux/Documents", maxdepth=1)] == ["/linux/Documents"]
    assert [top for top, _, _ in fs.walk("/linux/Documents", topdown=False)][-1] == "/linux/Documents"
    fs.get("/linux/Documents", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy/2025/June/report.txt").stat().st_size == 6400


def test_it_is_read_only(fs: Any) -> None:
    for mode in ("wb", "ab", "r+b", "xb"):
        with pytest.raises((NotImplementedError, ValueError)):
            fs.open("/linux/new", mode)
    for call in (lambda: fs.rm("/linux/README.txt"), lambda: fs.pipe_file("/linux/new", b"")):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(IsADirectoryError):
        fs.open("/linux")
    with pytest.raises(IsADirectoryError):
        fs.cat_file("/")


def test_damage_is_an_error_and_not_a_shorter_list(unpack: Unpack, tmp_path: Path) -> None:
    (image,) = unpack("ext2-1k")
    data = bytearray(image.read_bytes())
    at = data.index(b"\x10\x00\x05\x02notes")
    data[at : at + 2] = b"\x03\x00"
    damaged = tmp_path / "damaged.img"
    damaged.write_bytes(data)
    fs = VolfoldFileSystem(disks=damaged)
    (volume,) = fs.ls("/", detail=False)
    with pytest.raises(volfold.CorruptError):
        fs.find(volume)
    problems: List[OSError] = []
    assert len(list(fs.walk(volume, on_error=problems.append))) > 5 and len(problems) == 1
    assert len(list(fs.walk(volume, on_error="omit"))) > 5
    fs.close()


def test_nothing_is_kept_open() -> None:
    gc.collect()
    gc.disable()
    try:
        fs = VolfoldFileSystem(disks=str(SAMPLE))
        file = fs.open("/linux/README.txt")
        core = weakref.ref(fs.disk_set._core)
        del fs
        assert file.read(4) == b"This"
        del file
        assert core() is None
    finally:
        gc.enable()
    with pytest.raises(ValueError, match="disks"):
        fsspec.filesystem("volfold")
    fs = fsspec.filesystem("volfold", disks=str(SAMPLE))
    file = fs.open("/linux/README.txt")
    fs.close()
    with pytest.raises(ValueError):
        file.read()
    assert fs.exists("/linux/README.txt")
    fs.close()


def test_options_are_those_of_open(unpack: Unpack) -> None:
    (child,) = unpack("vmdk-parent-missing")
    with pytest.raises(volfold.IncompleteSet):
        VolfoldFileSystem(disks=[child, SAMPLE]).ls("/")
    fs = VolfoldFileSystem(disks=[child, SAMPLE], partial=True, system_files=True)
    assert "/Windows/$MFT" in fs.ls("/Windows", detail=False)
    again = pickle.loads(pickle.dumps(fs))
    assert "/Windows/$MFT" in again.ls("/Windows", detail=False)
    fs.close()
    again.close()


def test_pandas_reads_a_table_inside(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="skipped: needs pandas")
    path = tmp_path / "table.img"
    path.write_bytes(fat_image({"TABLE.CSV": b"name,size\na,1\nb,2\n"}))
    with volfold.open(path) as ds:
        name = ds.volumes[0].name
    table = pandas.read_csv(f"volfold:///{name}/TABLE.CSV", storage_options={"disks": [str(path)]})
    assert table.to_dict("list") == {"name": ["a", "b"], "size": [1, 2]}
