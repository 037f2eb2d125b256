"""How far an open is, and how it is stopped."""

from __future__ import annotations

import errno
import gzip
import signal
import sys
import threading
import time
from pathlib import Path
from typing import List

import pytest

import volfold
from conftest import SAMPLE


def test_every_stage_is_told() -> None:
    told: List[volfold.Progress] = []
    with volfold.open(SAMPLE, on_progress=told.append) as ds:
        assert ds.volumes["linux"].exists("/README.txt")
    assert told[0] == volfold.Progress("images", 0, 1)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["images", "disks", "volumes", "systems"]
    for stage in stages:
        last = [progress for progress in told if progress.stage == stage][-1]
        assert last.done == last.total, stage


class Enough(Exception):
    pass


@pytest.mark.parametrize("stage", ["images", "disks", "volumes", "systems"])
def test_an_exception_stops_an_open_and_is_raised(stage: str) -> None:
    calls = 0

    def on_progress(progress: volfold.Progress) -> None:
        nonlocal calls
        if progress.stage == stage:
            calls += 1
            raise Enough(stage)

    for _ in range(2):
        with pytest.raises(Enough, match=stage):
            volfold.open(SAMPLE, on_progress=on_progress, partial=True)
    assert calls == 2


def test_an_open_of_another_thread_tells_that_thread() -> None:
    threads = set()

    def work() -> None:
        volfold.open(SAMPLE, on_progress=lambda _: threads.add(threading.current_thread())).close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert threads == {thread}


def test_what_was_stopped_has_an_exception_of_its_own() -> None:
    error = volfold.errors.make(28, "stopped by the caller")
    assert isinstance(error, volfold.StoppedError)
    assert (error.errno, error.code) == (errno.ECANCELED, "stopped")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_the_open_of_an_image_that_takes_long(tmp_path: Path) -> None:
    # Members of zeros, all of which are read to find the size: 16 GiB, from a file of 16 MiB.
    member = gzip.compress(bytes(16 << 20))
    image = tmp_path / "large.img.gz"
    image.write_bytes(member * 1024)
    main = threading.main_thread().ident
    assert main is not None
    # Who starts the tests in the background of a shell has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    started = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        volfold.open(image)
    assert time.monotonic() - started < 5
    deadline = time.monotonic() + 5
    while any(thread.name == "volfold" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the library goes on"
        time.sleep(0.01)
