"""What cannot be read is an exception that says why."""

from __future__ import annotations

import dataclasses
import errno
import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Type

import pytest

import volfold
from conftest import INDEX, SAMPLE, Unpack
from fat import fat_image
from volfold._directory import Walker


@pytest.mark.parametrize(
    ("path", "kind", "base", "number", "code"),
    [
        ("/none", volfold.NotFoundError, FileNotFoundError, errno.ENOENT, "not-found"),
        ("/none/a", volfold.NotFoundError, FileNotFoundError, errno.ENOENT, "not-found"),
        ("/README.txt/a", volfold.NotDirectoryError, NotADirectoryError, errno.ENOTDIR, "not-a-directory"),
        ("/Documents", volfold.IsDirectoryError, IsADirectoryError, errno.EISDIR, "is-a-directory"),
        ("/", volfold.IsDirectoryError, IsADirectoryError, errno.EISDIR, "is-a-directory"),
    ],
)
def test_errors_are_those_of_os_too(
    linux: volfold.Volume, path: str, kind: Type[volfold.Error], base: Type[OSError], number: int, code: str
) -> None:
    for call in (linux.read, lambda given: linux.open(given, "rb"), lambda given: linux.path(given).read_text()):
        with pytest.raises(base) as caught:
            call(path)
        error = caught.value
        assert type(error) is kind and isinstance(error, volfold.Error) and isinstance(error, OSError)
        assert (error.errno, error.code, error.filename, error.position) == (number, code, path, None)
        assert error.strerror and repr(path) in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and (again.code, again.args) == (code, error.args)


def test_other_calls_fail_alike(linux: volfold.Volume) -> None:
    with pytest.raises(volfold.NotDirectoryError):
        linux.listdir("/README.txt")
    with pytest.raises(volfold.NotFoundError):
        linux.stat("/none")
    with pytest.raises(volfold.NotLinkError) as caught:
        linux.readlink("/README.txt")
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(volfold.NotFoundError):
        linux.getxattr("/README.txt", "user.none")
    with pytest.raises(ValueError):
        linux.getxattr("/README.txt", "user\0none")
    with pytest.raises(ValueError):
        linux.getxattr("/README.txt", "")
    for wrong in (None, 5, ["/a"]):
        with pytest.raises(TypeError):
            linux.read(wrong)  # type: ignore[arg-type]
    assert not linux.exists("/none") and not linux.isfile("/README.txt/a") and not linux.isdir("/a\0b")


def test_encrypted_content_is_refused(unpack: Unpack) -> None:
    with volfold.open(unpack("ntfs-encrypted")) as ds:
        volume = ds.volumes[0]
        with pytest.raises(PermissionError) as caught:
            volume.read("/vdl/valid to 5000.bin")
        assert isinstance(caught.value, volfold.EncryptedError)
        assert (caught.value.errno, caught.value.code) == (errno.EACCES, "encrypted")
        assert volume.stat("/vdl/valid to 5000.bin").unreadable == "encrypted"
        assert volume.stat("/README.txt").unreadable is None


def test_content_in_a_form_that_is_not_read_is_refused_with_its_name(unpack: Unpack) -> None:
    with volfold.open(unpack("ntfs-symlinks")) as ds:
        for error in INDEX["ntfs-symlinks"]["volumes"][0]["errors"]:
            with pytest.raises(volfold.UnsupportedError) as caught:
                ds.volumes[0].read(error["path"])
            assert isinstance(caught.value, volfold.UndecodableError)
            assert (caught.value.code, caught.value.errno) == (error["code"], errno.ENOTSUP)


def test_links_that_lead_in_circles_end(unpack: Unpack) -> None:
    with volfold.open(unpack("ext4")) as ds:
        with pytest.raises(volfold.Error):
            ds.volumes[0].read("/links/loop")
        with pytest.raises(volfold.NotFoundError):
            ds.volumes[0].read("/links/dangling")
        assert not ds.volumes[0].exists("/links/dangling")
        assert ds.volumes[0].exists("/links/dangling", follow_symlinks=False)


def test_a_chain_of_clusters_that_leads_back_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "looped.img"
    content = bytes(range(1, 256)) * 100
    path.write_bytes(fat_image({"A.BIN": content, "B.BIN": content}, looped="A.BIN"))
    with volfold.open(path) as ds:
        assert ds.volumes[0].read("/B.BIN") == content
        with pytest.raises(volfold.CorruptError) as caught:
            ds.volumes[0].read("/A.BIN")
        assert caught.value.errno == errno.EIO and caught.value.code == "corrupt"


def test_a_disk_that_is_cut_off_has_an_error_there_and_never_zeros(unpack: Unpack) -> None:
    whole = INDEX["vmdk-monolithic-sparse"]
    with volfold.open(unpack("vmdk-monolithic-sparse")) as ds, ds.disks[0].open() as device:
        right = device.read()
    assert len(right) == whole["disk"]["size"]
    with volfold.open(unpack("vmdk-truncated"), partial=True) as ds:
        errors = 0
        for disk in ds.disks:
            with disk.open() as device:
                assert device.size == len(right)
                for offset in range(0, device.size, 65536):
                    try:
                        found = device.read_at(offset, 65536)
                    except volfold.Error as error:
                        errors += 1
                        assert error.errno == errno.EIO and error.code
                    else:
                        assert found == right[offset : offset + 65536]
                with pytest.raises(volfold.Error):
                    device.read()
        assert errors > 0 or ds.failures


def test_a_set_with_a_bad_image_says_which(unpack: Unpack, tmp_path: Path) -> None:
    (child,) = unpack("vmdk-parent-missing")
    with pytest.raises(volfold.IncompleteSet) as caught:
        volfold.open([child, SAMPLE])
    (failure,) = caught.value.failures
    assert (failure.path, failure.code) == (str(child), "missing-part") and "base.vmdk" in failure.message
    assert isinstance(failure.error, volfold.MissingPartError) and str(child) in str(caught.value)
    assert caught.value.errno == errno.EIO and caught.value.code == "incomplete"
    assert pickle.loads(pickle.dumps(caught.value)).failures == [failure]
    with volfold.open([child, SAMPLE], partial=True) as ds:
        assert ds.failures == [failure] and len(ds.volumes) == 3
    with volfold.open(tmp_path / "none.vmdk", partial=True) as ds:
        assert len(ds.failures) == 1 and len(ds.disks) == len(ds.volumes) == 0
    with pytest.raises(volfold.IncompleteSet, match="bogus"):
        volfold.open(SAMPLE, format="bogus")


def test_a_volume_that_no_driver_knows_says_so(unpack: Unpack) -> None:
    with volfold.open(unpack("unknown-file-system")) as ds:
        volume = ds.volumes[0]
        assert not volume.readable and volume.reason and volume.file_system is None
        with pytest.raises(volfold.UnsupportedError):
            volume.listdir("/")
        with volume.open_device() as device:
            assert len(device.read()) == volume.size


def test_a_file_that_is_too_large_is_refused_before_it_is_read(linux: volfold.Volume) -> None:
    with pytest.raises(volfold.TooLargeError) as caught:
        linux.read("/Pictures/stripes.bin", max_size=299_999)
    assert caught.value.errno == errno.EFBIG and caught.value.code == "too-large"
    assert len(linux.read("/Pictures/stripes.bin", max_size=300_000)) == 300_000


def test_a_directory_in_itself_ends_a_walk_with_an_error(unpack: Unpack, tmp_path: Path) -> None:
    """A hostile volume: the entry "notes" of "docs" is made to name "docs" itself. ext2 has no checksums."""
    (image,) = unpack("ext2-1k")
    with volfold.open(image) as ds:
        docs, notes = (ds.volumes[0].stat(path).st_ino for path in ("/docs", "/docs/notes"))
    data = image.read_bytes()
    entry = struct.pack("<I", notes) + b"\x10\x00\x05\x02notes"
    assert data.count(entry) == 1
    looped = tmp_path / "looped.img"
    looped.write_bytes(data.replace(entry, struct.pack("<I", docs) + entry[4:]))
    with volfold.open(looped) as ds:
        volume = ds.volumes[0]
        problems: List[volfold.Error] = []
        seen = [top for top, _, _ in volume.walk("/", onerror=problems.append)]
        assert "/docs" in seen and "/docs/notes" not in seen and problems[0].filename == "/docs"
        assert all(isinstance(error, volfold.CorruptError) for error in problems)
        with pytest.raises(volfold.CorruptError):
            list(volume.walk("/"))
        with pytest.raises(volfold.CorruptError):
            list(volume.path("/").rglob("*.txt"))
        followed = [top for top, _, _ in volume.walk("/", onerror=problems.append, followlinks=True)]
        assert "/docs/notes" not in followed


class Hostile:
    """Stands for a volume whose every directory has "a", a directory with the number `number(path)`."""

    def __init__(self, linux: volfold.Volume, number: Callable[[str], int]) -> None:
        self._stat = linux.stat("/Documents")
        self._number = number

    def scandir(self, top: str) -> Any:
        entry = SimpleNamespace(name="a", is_dir=lambda: True)
        return _Entries([entry])  # type: ignore[list-item]

    def lstat(self, path: str) -> volfold.StatResult:
        return dataclasses.replace(self._stat, st_ino=self._number(path))


class _Entries(List[Any]):
    def __enter__(self) -> Iterator[Any]:
        return iter(self)

    def __exit__(self, *_: object) -> None:
        pass

    def __next__(self) -> Any:
        return self.pop() if self else _stop()


def _stop() -> Any:
    raise StopIteration


@pytest.mark.parametrize("followlinks", [False, True])
def test_no_tree_makes_a_walk_endless(linux: volfold.Volume, followlinks: bool) -> None:
    problems: List[volfold.Error] = []
    in_circles: Any = Hostile(linux, lambda path: path.count("/a") % 5)
    seen = list(Walker[str](in_circles, True, problems.append, followlinks).walk("/"))
    assert len(seen) == 5 and [type(error) for error in problems] == [volfold.CorruptError]
    problems.clear()
    deep: Any = Hostile(linux, len)
    seen = list(Walker[str](deep, True, problems.append, followlinks).walk("/"))
    assert len(seen) == 2048 and [error.code for error in problems] == ["unsupported"]


def test_a_walk_that_follows_links_ends(unpack: Unpack) -> None:
    with volfold.open(unpack("ext4")) as ds:
        volume = ds.volumes[0]
        problems: List[volfold.Error] = []
        seen = [top for top, _, _ in volume.walk("/links", onerror=problems.append, followlinks=True)]
        assert seen[:2] == ["/links", "/links/folder"] and "/links/folder/notes" in seen
        assert problems == []
        assert "/links/folder" not in [top for top, _, _ in volume.walk("/links", onerror=problems.append)]


def test_a_damaged_directory_is_told_and_the_walk_goes_on(unpack: Unpack, tmp_path: Path) -> None:
    (image,) = unpack("ext2-1k")
    data = bytearray(image.read_bytes())
    # The record length of the entry "notes" is no longer one.
    at = data.index(b"\x10\x00\x05\x02notes")
    data[at : at + 2] = b"\x03\x00"
    damaged = tmp_path / "damaged.img"
    damaged.write_bytes(data)
    with volfold.open(damaged) as ds:
        volume = ds.volumes[0]
        problems: List[volfold.Error] = []
        seen = [top for top, _, _ in volume.walk("/", onerror=problems.append)]
        assert len(seen) > 10 and isinstance(problems[0], volfold.CorruptError)
        with pytest.raises(volfold.CorruptError):
            volume.listdir("/docs")
        with pytest.raises(volfold.CorruptError):
            list(volume.walk())
