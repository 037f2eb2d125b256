"""Sets, disks, volumes, directories and paths."""

from __future__ import annotations

import hashlib
import os
import pathlib
import pickle
import shutil
import stat
import sys
from pathlib import Path, PurePosixPath
from typing import Iterator, List

import pytest

import volfold
from conftest import INDEX, SAMPLE, Unpack, linux_image
from volfold import _structs


@pytest.fixture(scope="module")
def copy(unpack: Unpack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[volfold.Volume, Path]]:
    """The volume of a fixture, and a copy of it on the host."""
    root = tmp_path_factory.mktemp("copy")
    with volfold.open(unpack("ext4-inline-data")) as ds:
        volume = ds.volumes[0]
        for folder, folders, names in volume.walk(b"/"):
            here = os.fsencode(root) + folder
            for name in folders + names:
                path = os.path.join(folder, name)
                if volume.islink(path):
                    os.symlink(volume.readlink(path), os.path.join(here, name))
                elif name in folders:
                    os.mkdir(os.path.join(here, name))
                else:
                    with open(os.path.join(here, name), "wb") as out:
                        shutil.copyfileobj(volume.open(path, "rb"), out)
        yield volume, root


def test_walk_is_that_of_os(copy: tuple[volfold.Volume, Path]) -> None:
    volume, root = copy
    for topdown in (True, False):
        mine = {top: (sorted(a), sorted(b)) for top, a, b in volume.walk("/", topdown)}
        theirs = {
            "/" + os.path.relpath(top, root).lstrip("."): (sorted(a), sorted(b))
            for top, a, b in os.walk(root, topdown)
        }
        assert mine == theirs
    order = [top for top, _, _ in volume.walk("/docs", topdown=False)]
    assert order[-1] == "/docs" and order.index("/docs/notes/2025/June") < order.index("/docs/notes")


def test_a_walk_goes_where_its_lists_are_changed_to(copy: tuple[volfold.Volume, Path]) -> None:
    volume, _ = copy
    seen = []
    for top, folders, _ in volume.walk():
        seen.append(top)
        folders[:] = [name for name in folders if name in ("docs", "notes")]
    assert seen == ["/", "/docs", "/docs/notes"]


@pytest.mark.parametrize(
    "pattern",
    ["*", "docs/*", "*/*.txt", "**/*.txt", "**", "docs/**", "**/June/*", "d?cs/l*", "many/*[05].txt", "*/no"]
    + ["README.txt", "links/*", "**/notes/**/*.txt", "names/*"],
)
def test_globs_are_those_of_pathlib(copy: tuple[volfold.Volume, Path], pattern: str) -> None:
    volume, root = copy
    theirs = sorted("/" + str(path.relative_to(root)).lstrip(".") for path in root.glob(pattern))
    if pattern.endswith("**"):
        # Newer versions of pathlib have files and links there, too.
        theirs = [path for path in theirs if volume.isdir(path) and not volume.islink(path)]
    mine = sorted(str(path) for path in volume.path("/").glob(pattern))
    assert mine == sorted(set(theirs))


def test_a_path_has_the_habits_of_pathlib(linux: volfold.Volume) -> None:
    path = linux.path("/Documents") / "2025" / "June/report.txt"
    pure = PurePosixPath("/Documents/2025/June/report.txt")
    assert (str(path), path.name, path.stem, path.suffix, path.suffixes, path.parts) == (
        str(pure), pure.name, pure.stem, pure.suffix, pure.suffixes, pure.parts,
    )  # fmt: skip
    assert str(path.parent) == str(pure.parent)
    assert [str(one) for one in path.parents] == [str(one) for one in pure.parents]
    assert path.with_suffix(".md").name == "report.md" and path.with_name("x") == path.parent / "x"
    assert path.relative_to("/Documents") == PurePosixPath("2025/June/report.txt")
    assert path.is_relative_to("/Documents") and not path.is_relative_to("/Pictures")
    assert path.match("*.txt") and path.joinpath("..", "a").as_posix().endswith("report.txt/../a")
    assert path == linux.path(bytes(path)) and hash(path) == hash(linux.path(pure))
    assert path != path.parent and path.parent < path and repr(path) == f"VolfoldPath('{pure}')"
    assert path.read_bytes() == path.open("rb").read() == linux.read(path) == linux.read(pure)
    assert path.read_text() == linux.read_text(path) and path.stat().st_size == 6400
    assert path.is_file() and path.exists() and not path.is_dir() and not path.is_symlink()
    assert path.parent.parent.is_dir() and not (path / "x").exists() and path.xattrs() == {}
    link = linux.path("link to the letter")
    assert link.is_symlink() and link.readlink() == PurePosixPath("Documents/letter.txt")
    assert stat.S_ISLNK(link.lstat().st_mode) and stat.S_ISREG(link.stat().st_mode)
    assert sorted(one.name for one in linux.path().iterdir()) == sorted(linux.listdir())
    with pytest.raises(TypeError):
        os.fspath(path)  # type: ignore[call-overload]
    for pattern in ("", "/a"):
        with pytest.raises((ValueError, NotImplementedError)):
            list(path.glob(pattern))


def test_scandir_tells_what_it_read_with_the_directory(linux: volfold.Volume) -> None:
    with linux.scandir("/") as entries:
        found = {entry.name: entry for entry in entries}
    assert list(entries) == []
    letter, folder, link = found["README.txt"], found["Documents"], found["link to the letter"]
    assert letter.is_file() and not letter.is_dir() and letter.path == "/README.txt"
    assert folder.is_dir() and folder.inode() == linux.stat("/Documents").st_ino
    assert link.is_symlink() and link.is_file() and not link.is_file(follow_symlinks=False)
    assert link.stat().st_size == 52 and link.stat(follow_symlinks=False).st_size == 20
    assert letter.stat() == linux.stat("/README.txt")
    raw = linux.listdir(b"/Documents")
    assert sorted(raw) == [b"2025", "Grüße.txt".encode(), b"letter.txt"]


def test_stat_has_what_the_image_was_made_with(linux: volfold.Volume, sample: volfold.DiskSet) -> None:
    found = linux.stat("/README.txt")
    assert (found.st_size, found.st_mtime, found.st_mtime_ns) == (188, 1748779200.0, 1748779200 * 10**9)
    assert stat.S_IMODE(found.st_mode) == 0o644 and found.has_owner and found.st_file_attributes is None
    dos = sample.volumes["BOOT"].stat("/README.txt")
    assert not dos.has_owner and stat.S_IMODE(dos.st_mode) == 0o444
    assert dos.st_file_attributes == stat.FILE_ATTRIBUTE_ARCHIVE
    assert pickle.loads(pickle.dumps(found)) == found


def test_names_that_are_no_utf_8_go_there_and_back(unpack: Unpack, tmp_path: Path) -> None:
    (image,) = unpack("ext2-1k")
    data = image.read_bytes()
    # The one entry of that name, with its length before it.
    assert data.count(b"\x09\x01eicar.com") == 1
    changed = tmp_path / "names.img"
    changed.write_bytes(data.replace(b"\x09\x01eicar.com", b"\x09\x01ei\xff\xfer.com"))
    with volfold.open(changed) as ds:
        volume = ds.volumes[0]
        assert b"ei\xff\xfer.com" in volume.listdir(b"/")
        (name,) = [one for one in volume.listdir("/") if one.startswith("ei")]
        assert name == os.fsdecode(b"ei\xff\xfer.com") == "ei\udcff\udcfer.com"
        content = volume.read(b"/ei\xff\xfer.com")
        assert len(content) == 68 and volume.read("/" + name) == content
        path = volume.path("/") / name
        assert path.read_bytes() == content and bytes(path) == b"/ei\xff\xfer.com"
        assert [str(one) for one in volume.path().glob("ei*")] == ["/" + name]
        assert (b"/", b"ei\xff\xfer.com") in [
            (top, each) for top, _, names in volume.walk(b"/") for each in names
        ]


def test_no_name_of_a_guest_leads_elsewhere(unpack: Unpack, tmp_path: Path) -> None:
    (image,) = unpack("ext2-1k")
    for name in (b"no/es", b"/etc\0", b"..\0\0\0"):
        hostile = tmp_path / "hostile.img"
        data = image.read_bytes()
        size = len(name.rstrip(b"\0")).to_bytes(1, "little")
        assert data.count(b"\x10\x00\x05\x02notes") == 1
        hostile.write_bytes(data.replace(b"\x10\x00\x05\x02notes", b"\x10\x00" + size + b"\x02" + name))
        with volfold.open(hostile) as ds:
            names = []
            try:
                for entry in ds.volumes[0].scandir(b"/docs"):
                    names.append(entry.name)
            except volfold.CorruptError:
                pass
            assert all(b"/" not in one and one not in (b"", b".", b"..") for one in names)


def test_streams_and_attributes(unpack: Unpack) -> None:
    with volfold.open(unpack("ntfs-ads")) as ds:
        volume = ds.volumes[0]
        streams = {one.name: one.size for one in volume.streams("/ads/two streams.txt")}
        assert streams == {"Zone.Identifier": 26, "big": 50000}
        for name in ("Zone.Identifier", b"Zone.Identifier"):
            assert volume.read("/ads/two streams.txt", stream=name).startswith(b"[ZoneTransfer]")
        with pytest.raises(volfold.NotFoundError):
            volume.read("/ads/two streams.txt", stream="none")
        values = volume.xattrs("/ads/two streams.txt")
        assert values["system.ntfs_attrib"] == volume.getxattr("/ads/two streams.txt", "system.ntfs_attrib")
        assert len(values["system.ntfs_attrib"]) == 4 and set(values) == set(volume.listxattr("/ads/two streams.txt"))


def test_volumes_have_numbers_names_and_ids(sample: volfold.DiskSet, unpack: Unpack) -> None:
    volumes = sample.volumes
    assert [one.name for one in volumes] == ["Windows", "BOOT", "linux"] and len(volumes) == 3
    assert volumes[-1] == volumes["linux"] == volumes[volumes[2].id] and volumes[0:2] == list(volumes)[:2]
    assert "linux" in volumes and "no" not in volumes and volumes[0] in volumes
    assert volumes.get("no") is None and volumes["linux"].usage().used > 0
    with pytest.raises(KeyError, match="no volume Z:"):
        volumes["Z:"]
    with pytest.raises(IndexError):
        volumes[3]
    with pytest.raises(ValueError):
        volumes["a\0b"]
    with volfold.open(unpack("ldm-raid5")) as ds:
        assert ds.volumes["R:"].id == "ldm:5eed0004-0005-4000-8000-000000000101"
        assert "R:" in ds.volumes["R:"].guest_names


def test_a_set_is_opened_by_paths_of_all_kinds_and_by_folders(unpack: Unpack, tmp_path: Path) -> None:
    disks = unpack("ldm-raid5")
    for given in (disks, [str(one) for one in disks], [os.fsencode(one) for one in disks], disks[0].parent):
        with volfold.open(given) as ds:
            assert len(ds.disks) == 4 and "R:" in ds.volumes
    with volfold.open(SAMPLE, format="raw") as ds:
        assert ds.disks[0].format == "raw" and ds.disks[0].size == SAMPLE.stat().st_size
    chain = unpack("vmdk-chain")
    with volfold.open(chain) as ds:
        (disk,) = ds.disks
        assert [Path(one).name for one in disk.chain] == ["grandchild.vmdk", "child.vmdk", "base.vmdk"]
    # The parents lie elsewhere.
    alone = tmp_path / "grandchild.vmdk"
    shutil.copy(chain[0], alone)
    with pytest.raises(volfold.IncompleteSet):
        volfold.open(alone)
    with volfold.open(alone, allow_folders=[chain[0].parent], cache_size=1 << 20) as ds:
        assert len(ds.volumes) == 1


def test_systems_are_told_with_the_places_of_their_volumes(
    sample: volfold.DiskSet, tmp_path: Path
) -> None:
    assert sample.systems() == [] and list(sample.systems().findings) == []
    uuid = "5eed0001-0000-4000-8000-000000000004"
    table = f"UUID={uuid} / ext4 defaults 0 1\nLABEL=none /home ext4 defaults 0 2\n"
    image = linux_image(tmp_path, table, "-U", uuid)
    with volfold.open(image) as ds:
        (system,) = ds.systems()
        assert (system.family, system.version, system.host_name) == ("linux", "12", "files01")
        points = {point.path: point.volume for point in system.mount_points}
        assert points["/"] == ds.volumes[0].id and points["/home"] is None


def test_system_files_are_listed_on_wish() -> None:
    with volfold.open(SAMPLE) as ds:
        assert "$MFT" not in ds.volumes["Windows"].listdir()
    with volfold.open(SAMPLE, system_files=True) as ds:
        assert "$MFT" in ds.volumes["Windows"].listdir()


def test_what_a_volume_leaves_open_is_an_option() -> None:
    with volfold.open(SAMPLE) as ds:
        utc = ds.volumes["BOOT"].stat("README.txt").st_mtime
    with volfold.open(SAMPLE, time_zone="+01:00", code_page=850) as ds:
        assert ds.volumes["BOOT"].stat("README.txt").st_mtime == utc - 3600
    for wrong in ({"time_zone": "Europe/Nowhere"}, {"code_page": 1}, {"code_page": -1}):
        with pytest.raises(ValueError):
            volfold.open(SAMPLE, **wrong)  # type: ignore[arg-type]


def test_deleted_files_are_in_place_of_those_that_are_there() -> None:
    with volfold.open(SAMPLE, deleted=True, partial=True) as ds:
        volume = ds.volumes["BOOT@deleted"]
        assert volume.listdir() == []
        assert ds.volumes["BOOT"].id == volume.id


def test_keys_are_taken_in_all_forms() -> None:
    keys = ["text", volfold.Password("a"), volfold.RecoveryKey("1-2"), volfold.KeyFile(b"\0\1")]
    with volfold.open(SAMPLE, keys=keys) as ds:
        assert len(ds.volumes) == 3
    with pytest.raises(TypeError):
        volfold.open(SAMPLE, keys=[b"bytes"])  # type: ignore[list-item]


def test_keys_open_an_encrypted_volume(unpack: Unpack) -> None:
    image = unpack("luks")[0]
    facts = INDEX["luks"]["encrypted"][0]
    secret = bytes.fromhex(facts["keys"][0])
    wrong: List[List[volfold.Key]] = [[], ["wrong"], [volfold.RecoveryKey(secret.decode())]]
    for keys in wrong:
        with volfold.open(image, keys=keys) as ds:
            (volume,) = ds.volumes
            assert volume.locked
            with pytest.raises(volfold.RefusedError):
                volume.open_device().read_at(0, 512)
    right: List[List[volfold.Key]] = [[secret.decode()], ["wrong", volfold.KeyFile(secret)]]
    for keys in right:
        with volfold.open(image, keys=keys) as ds:
            (volume,) = ds.volumes
            assert not volume.locked
            assert hashlib.sha256(volume.open_device().read_at(0, volume.size)).hexdigest() == facts["sha256"]


def test_structs_are_as_large_as_those_of_the_library(sample: volfold.DiskSet) -> None:
    import ctypes

    core = sample._core
    volume = core.volume(2)
    text = ("/README.txt", 11)
    cases = [
        (_structs.DiskInfo, core.c.volfold_disk_info, (core.handle, 0)),
        (_structs.VolumeInfo, core.c.volfold_volume_info, (volume,)),
        (_structs.FindingList, core.c.volfold_set_findings, (core.handle,)),
        (_structs.SystemList, core.c.volfold_set_systems, (core.handle,)),
        (_structs.StreamList, core.c.volfold_streams, (volume, text[0].encode(), text[1])),
        (_structs.TextList, core.c.volfold_attributes, (volume, text[0].encode(), text[1])),
    ]
    for kind, function, arguments in cases:
        with core.block(kind, function, *arguments) as found:
            assert found.struct_size == ctypes.sizeof(kind), kind  # type: ignore[attr-defined]


@pytest.mark.skipif(
    sys.platform != "linux" or not os.access("/dev/fuse", os.R_OK | os.W_OK),
    reason="skipped: needs /dev/fuse",
)
def test_a_mount_shows_the_same_bytes_to_the_host(sample: volfold.DiskSet, tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    with sample.mount(folder, [sample.volumes["linux"], "BOOT"]) as mount:
        assert sorted(os.listdir(mount)) == ["BOOT", "linux"] and mount.complete
        assert [one.name for one in mount.volumes] == ["BOOT", "linux"]
        path = pathlib.Path(mount.folder, "linux", "README.txt")
        assert path.read_bytes() == sample.volumes["linux"].read("/README.txt")
    assert os.listdir(folder) == []
    mount.unmount()
    with pytest.raises(volfold.ProgramError):
        volfold.open(SAMPLE, program=tmp_path / "none").mount(folder)
