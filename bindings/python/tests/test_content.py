"""Every file of the fixtures, against what independent tools found in it."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Dict, List, Tuple

import pytest

import volfold
from conftest import INDEX, Row, Unpack, listing

WANTED_KINDS = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
    "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
}
WITH_LISTINGS = [
    name
    for name, fixture in INDEX.items()
    if any("listing" in one for one in fixture.get("volumes", []) + fixture.get("dynamic", []))
]


def _volume(ds: volfold.DiskSet, described: Dict[str, Any]) -> volfold.Volume:
    if "id" in described:
        return ds.volumes[described["id"]]
    found = [one for one in ds.volumes if one.places[0].offset == described["offset"]]
    assert len(found) == 1
    return found[0]


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    while count := file.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def _compare_content(volume: volfold.Volume, row: Row, allowed: Dict[bytes, str]) -> bool:
    """Compares one file or stream; False if it was refused as it has to be."""
    path, stream = row.path, None
    if row.kind == "ads":
        path, _, stream = row.path.rpartition(b":")
    try:
        with volume.open(path, "rb", stream=stream) as file:
            size, digest = file.size, _digest(file)
    except volfold.Error as error:
        assert error.code == allowed.get(row.path), (row.path, error)
        return False
    assert not row.unreadable, row.path
    assert row.size in (None, size), row.path
    assert row.sha256 in (None, digest), row.path
    return True


def _compare(volume: volfold.Volume, described: Dict[str, Any]) -> Tuple[int, int]:
    allowed = {
        b"/" + error["path"].encode(): error["code"] for error in described.get("errors", [])
    }
    done = refused = 0
    for row in listing(described["listing"]):
        if row.kind == "ads":
            names = [one.name for one in volume.streams(row.path.rpartition(b":")[0])]
            assert os.fsdecode(row.path.rpartition(b":")[2]) in names
        elif row.kind in WANTED_KINDS:
            found = volume.lstat(row.path)
            assert stat.S_IFMT(found.st_mode) == WANTED_KINDS[row.kind], row.path
            if row.mtime is not None and row.kind in "fl":
                assert abs(found.st_mtime_ns // 10**9 - row.mtime) <= 1, row.path
        if row.kind in ("f", "ads"):
            read = _compare_content(volume, row, allowed)
            done, refused = done + read, refused + (not read)
        elif row.kind == "l":
            assert volume.readlink(row.path) == row.extra
        elif row.kind in "cb":
            major, minor = map(int, row.extra.split(b","))
            assert volume.lstat(row.path).st_rdev == os.makedev(major, minor)
    return done, refused


@pytest.mark.parametrize("name", WITH_LISTINGS)
def test_all_files_are_those_of_the_listing(name: str, unpack: Unpack) -> None:
    described = INDEX[name].get("volumes", []) + INDEX[name].get("dynamic", [])
    with volfold.open(unpack(name)) as ds:
        for one in (one for one in described if "listing" in one):
            done, _ = _compare(_volume(ds, one), one)
            assert done > 0


@pytest.mark.parametrize("name", ["ntfs-plain", "ntfs-ads", "ext4", "ldm-raid5", "fat32", "sample"])
def test_walk_finds_what_the_listing_has_and_nothing_else(name: str, unpack: Unpack) -> None:
    described = INDEX[name].get("volumes", []) + INDEX[name].get("dynamic", [])
    with volfold.open(unpack(name)) as ds:
        for one in described:
            volume = _volume(ds, one)
            found = []
            for folder, folders, names in volume.walk(b"/"):
                found += [folder.rstrip(b"/") + b"/" + each for each in folders + names]
            wanted = [row.path for row in listing(one["listing"]) if row.kind != "ads"]
            assert sorted(found) == sorted(wanted)
            assert len(set(found)) == len(found)


#: Larger ones are raw images of holes.
MAX_DISK = 64 << 20


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, fixture in INDEX.items()
        if "sha256" in fixture.get("disk", {}) and fixture["disk"]["size"] <= MAX_DISK
    ],
)
def test_the_bytes_of_disks_are_those_of_other_tools(name: str, unpack: Unpack) -> None:
    with volfold.open(unpack(name)) as ds:
        (disk,) = ds.disks
        wanted = INDEX[name]["disk"]
        assert disk.size == wanted["size"]
        with disk.open() as device:
            assert _digest(device) == wanted["sha256"]
            _zeros_are_zeros(device)


def _zeros_are_zeros(device: volfold.File) -> None:
    end = 0
    for extent in device.extents():
        assert extent.offset == end and extent.length > 0
        end += extent.length
        if extent.kind == "zero":
            assert not any(device.read_at(extent.offset, min(4096, extent.length)))
    assert end == device.size


@pytest.mark.parametrize("name", ["ldm-raid5", "ldm-striped", "ldm-spanned", "ldm-mirrored"])
def test_the_bytes_of_dynamic_volumes_are_those_of_the_recipe(name: str, unpack: Unpack) -> None:
    with volfold.open(unpack(name)) as ds:
        for one in INDEX[name]["dynamic"]:
            volume = ds.volumes[one["id"]]
            assert (volume.size, volume.health, volume.layout) == (
                one["size"],
                one["health"],
                one["layout"],
            )
            if one.get("sha256"):
                with volume.open_device() as device:
                    assert _digest(device) == one["sha256"]


def test_a_raid5_volume_without_one_disk_is_degraded_and_has_all_bytes(unpack: Unpack) -> None:
    one = INDEX["ldm-raid5"]["dynamic"][0]
    disks = [path for path in unpack("ldm-raid5") if path.name != "disk1.img"]
    with volfold.open(disks) as ds:
        volume = ds.volumes[one["id"]]
        assert volume.health == "degraded"
        assert _compare(volume, one)[1] == 0
        codes: List[str] = [finding.code for finding in ds.findings if finding.bears_on_content]
        assert "ldm-missing-disk" in codes
        assert any(finding.advice for finding in ds.findings)
