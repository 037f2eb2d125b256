"""Bad use is an exception, never a crash; and nothing stays open."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Callable, Dict, List

import pytest

import volfold
from conftest import SAMPLE

PACKAGE = Path(volfold.__file__).resolve().parents[1]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, str(SAMPLE)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_is_used_after_the_set_is_closed_raises_value_error() -> None:
    ds = volfold.open(SAMPLE)
    volume, disk, volumes = ds.volumes["linux"], ds.disks[0], ds.volumes
    other = ds.volumes["BOOT"]
    file, device, raw = volume.open("/README.txt", "rb"), disk.open(), volume.open("/README.txt", "rb", 0)
    text, entries, path = volume.open("/README.txt"), volume.scandir("/"), volume.path("/README.txt")
    walk, extents = volume.walk("/"), file.extents()
    reader = device.offset_reader()
    file.read(5), device.read(5), next(entries), next(walk)
    ds.close()
    ds.close()
    assert ds.closed
    calls: List[Callable[[], object]] = [
        lambda: ds.disks,
        lambda: ds.volumes,
        lambda: ds.findings,
        lambda: ds.mount("/tmp"),
        lambda: ds.__enter__(),
        lambda: volumes[0],
        lambda: volumes["linux"],
        lambda: other.name,
        lambda: volume.read("/README.txt"),
        lambda: volume.stat("/README.txt"),
        lambda: volume.listdir("/"),
        lambda: volume.usage(),
        lambda: volume.open_device(),
        lambda: volume.streams("/README.txt"),
        lambda: volume.readlink("/a"),
        lambda: volume.exists("/README.txt"),
        lambda: disk.open(),
        lambda: path.read_bytes(),
        lambda: next(entries),
        lambda: next(walk),
        lambda: next(extents),
        lambda: reader.read(0, 5),
    ]
    for opened in (file, device, raw):
        calls += [
            lambda opened=opened: opened.read(1),
            lambda opened=opened: opened.read(),
            lambda opened=opened: opened.readinto(bytearray(1)),
            lambda opened=opened: opened.readinto(bytearray(1 << 20)),
            lambda opened=opened: opened.read_at(0, 1),
            lambda opened=opened: opened.seek(0),
            lambda opened=opened: opened.readline(),
            lambda opened=opened: opened.readlines(),
            lambda opened=opened: next(opened),
        ]
    calls += [lambda: file.peek(), lambda: file.read1(1), lambda: text.read()]
    for number, call in enumerate(calls):
        with pytest.raises(ValueError):
            call()
            pytest.fail(f"call {number}")
    assert repr(ds) == "<DiskSet, closed>" and "closed" in repr(other) and "closed" in repr(volumes)
    for closing in (file, device, raw, text, entries, reader):
        closing.close()
        closing.close()
    assert disk.size == 23068672 and len(ds.failures) == 0


def test_files_outlive_nothing_but_their_own_close(linux: volfold.Volume) -> None:
    with linux.open("/README.txt", "rb") as file:
        pass
    file.close()
    for call in (file.read, file.peek, lambda: file.read_at(0, 1), lambda: list(file.extents())):
        with pytest.raises(ValueError):
            call()
    with linux.scandir("/") as entries:
        pass
    assert list(entries) == []


def test_a_set_is_closed_while_threads_read() -> None:
    for _ in range(10):
        ds = volfold.open(SAMPLE)
        file = ds.volumes["linux"].open("/Pictures/stripes.bin", "rb")
        right = file.read()
        started = threading.Barrier(7)
        wrong: List[object] = []

        def work(number: int) -> None:
            started.wait()
            try:
                while True:
                    if number % 3 == 0:
                        found = file.read_at(1000, 200_000)
                        if found != right[1000:201_000]:
                            wrong.append(found)
                    elif number % 3 == 1:
                        list(ds.volumes["linux"].walk("/"))
                    else:
                        with ds.disks[0].open() as device:
                            device.read_at(1 << 20, 65536)
            except ValueError:
                return
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        started.wait()
        closers = [threading.Thread(target=ds.close) for _ in range(3)]
        for closer in closers:
            closer.start()
        for thread in threads + closers:
            thread.join(30)
            assert not thread.is_alive()
        assert wrong == []


def test_threads_close_one_file_at_once(linux: volfold.Volume) -> None:
    for _ in range(50):
        file = linux.open("/README.txt", "rb", 0)
        threads = [threading.Thread(target=file.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert file.closed


def test_a_set_that_nothing_refers_to_is_closed_without_the_collector() -> None:
    gc.disable()
    try:
        ds = volfold.open(SAMPLE)
        volume = ds.volumes["linux"]
        core = weakref.ref(ds._core)
        del ds
        # The volume keeps what it reads from.
        assert volume.read("/README.txt")
        file = volume.open("/README.txt", "rb")
        entries, path, walk = volume.scandir("/"), volume.path("/"), volume.walk("/")
        next(walk), list(path.rglob("*.txt"))
        del volume, entries, path, walk
        assert file.read(4) == b"This" and core() is not None
        del file
        assert core() is None
        with pytest.raises(volfold.IncompleteSet) as caught:
            volfold.open([SAMPLE, "/none.vmdk"])
        del caught
    finally:
        gc.enable()


def test_handles_are_given_back(linux: volfold.Volume) -> None:
    """More files than the library has handles for at once would be refused otherwise."""
    for _ in range(3000):
        linux.open("/README.txt", "rb", 0)
        next(linux.scandir("/"))
    core = linux._core
    handles = [core.new_handle(core.c.volfold_file_open, linux._handle, b"/README.txt", 11, None, 0) for _ in range(2)]
    # A handle has the number of its slot above its lowest bit.
    assert all((handle >> 1) & 0xFFFFF < 100 for handle in handles)
    for handle in handles:
        core.c.volfold_file_close(handle)


def test_an_iterator_of_a_generator_that_is_dropped_closes_its_file(linux: volfold.Volume) -> None:
    assert next(linux.open("/README.txt", "rb").extents()).offset == 0
    assert len(list(linux.open("/README.txt", "rb").extents())) == 1
    assert linux.open("/README.txt", "rb").offset_reader().read(0, 4) == b"This"


@pytest.mark.parametrize("given", ["a\0b", b"a\0b"])
def test_null_bytes_do_not_cut_paths_of_the_host(given: object) -> None:
    with pytest.raises(ValueError, match="null byte"):
        volfold.open(given)  # type: ignore[arg-type]
    for option in ("format", "snapshot"):
        with pytest.raises(ValueError, match="null byte"):
            volfold.open(SAMPLE, **{option: "a\0b"})  # type: ignore[arg-type]


def test_arguments_that_cannot_be_meant() -> None:
    for call in (
        lambda: volfold.open([]),
        lambda: volfold.open(SAMPLE, cache_size=-1),
        lambda: volfold.open(SAMPLE, cache_size=1 << 64),
        lambda: volfold.open(""),
        lambda: volfold.set_threads(-1),
    ):
        with pytest.raises(ValueError):
            call()
    for wrong in (5, [5], None):
        with pytest.raises(TypeError):
            volfold.open(wrong)  # type: ignore[arg-type]


def test_the_library_is_loaded_by_the_first_use() -> None:
    code = "import volfold, volfold._library as l; assert l._loaded is None; volfold.version(); assert l._loaded"
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    done = run("import volfold; print('there')", VOLFOLD_LIBRARY="/none")
    assert done.stdout == "there\n"


def test_a_library_that_is_none_is_told(tmp_path: Path) -> None:
    code = "import volfold\ntry: volfold.version()\nexcept ImportError as error: print(type(error).__name__, error)"
    done = run(code, VOLFOLD_LIBRARY="/none/libvolfold.so")
    assert done.stdout.startswith("LibraryError cannot load /none/libvolfold.so")
    libc = next((name for name in ("libc.so.6", "libSystem.dylib", "msvcrt") if _loads(name)), None)
    assert libc is not None
    assert "is not the library volfold: it has no volfold_abi_version" in run(code, VOLFOLD_LIBRARY=libc).stdout
    code = "import volfold._library as l; l.ABI_VERSION = 99\n" + code
    assert "version 1 of the interface, and this package needs 99" in run(code).stdout
    empty = {"VOLFOLD_LIBRARY": "", "LD_LIBRARY_PATH": str(tmp_path)}
    done = run(code.replace("99", "1"), **empty)
    assert done.stdout == "" or "VOLFOLD_LIBRARY" in done.stdout


def _loads(name: str) -> bool:
    import ctypes

    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def test_what_is_open_at_the_end_of_the_process_harms_nothing() -> None:
    code = """
import sys, threading, volfold
ds = volfold.open(sys.argv[1])
volume = ds.volumes["linux"]
file = volume.open("/README.txt", "rb")
text = volume.open("/README.txt")
entries = volume.scandir("/")
next(entries)
cycle = [ds, file]
cycle.append(cycle)
def work():
    while True:
        file.read_at(0, 100)
threading.Thread(target=work, daemon=True).start()
print(file.read(4))
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'This'\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="skipped: needs fork")
def test_a_child_of_fork_reads_what_its_parent_opened() -> None:
    code = """
import os, sys, volfold, warnings
# Python warns of any fork of a process with threads.
warnings.simplefilter("ignore", DeprecationWarning)
ds = volfold.open(sys.argv[1])
file = ds.volumes["linux"].open("/Pictures/stripes.bin", "rb")
right = file.read()
ds.disks[0].open().read()
for _ in range(4):
    child = os.fork()
    if child == 0:
        file.seek(0)
        ok = file.read() == right and len(ds.disks[0].open().read()) == ds.disks[0].size
        ds.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
print(file.read_at(0, 10) == right[:10])
"""
    done = run(code)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_it_reads_without_threads_of_the_library(fat: Callable[[Dict[str, bytes]], volfold.Volume]) -> None:
    volfold.set_threads(0)
    with fat({"A.BIN": b"x" * 5000}).open("/A.BIN", "rb") as file:
        assert file.read_at(0, 5000) == b"x" * 5000
    volfold.set_threads(4)
