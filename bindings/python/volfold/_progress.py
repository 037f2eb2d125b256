"""How far an open is, and how it is stopped."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, TypeVar

_STAGES = {0: "images", 1: "disks", 2: "volumes", 3: "systems"}
_UNKNOWN = (1 << 64) - 1

#: VolfoldProgressFn.
FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    #: What is done: "images" are opened, "disks" are read for partitions, "volumes" for file systems, then for
    #: "systems".
    stage: str
    #: How much of it has been done.
    done: int
    #: How much there is in all; it may grow. None where that is not known.
    total: Optional[int]


OnProgress = Callable[[Progress], object]


class Observer:
    """Is told by the library how far it is, and stops it: by an exception of `on_progress`, or of the thread that
    waits for the work."""

    def __init__(self, on_progress: Optional[OnProgress]) -> None:
        self._on_progress = on_progress
        self._error: Optional[BaseException] = None
        self._stopped = False
        #: What the library calls, as long as this lives.
        self.function: Any = FUNCTION(self._called)

    def _called(self, _context: object, stage: int, done: int, total: int) -> bool:
        if self._on_progress is not None and not self._stopped:
            progress = Progress(
                _STAGES.get(stage, "other"), done, None if total == _UNKNOWN else total
            )
            try:
                self._on_progress(progress)
            except BaseException as error:
                self._error = error
                self._stopped = True
        return not self._stopped

    def raise_pending(self) -> None:
        """Raises the exception that stopped the work, if one did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait_for(self, work: Callable[[], _T], discard: Callable[[_T], object]) -> _T:
        """What `work` gives. Python tells of signals, as Ctrl-C, in the main thread alone, between its own
        steps; so that waits there, and another thread works. If that is interrupted the work is stopped, and what
        it gives all the same goes to `discard`."""
        if threading.current_thread() is not threading.main_thread():
            return work()
        given: List[_T] = []
        failed: List[BaseException] = []
        # Thread.join() takes a thread for ended when it is interrupted (CPython up to 3.12).
        is_done = threading.Event()

        def run() -> None:
            try:
                given.append(work())
            except BaseException as error:
                failed.append(error)
            is_done.set()

        worker = threading.Thread(target=run, name="volfold", daemon=True)
        try:
            worker.start()
            # Without an end Windows would not be interrupted.
            while not is_done.wait(0.1):
                pass
        except BaseException:
            self._stopped = True
            if worker.ident is not None:
                is_done.wait()
            for one in given:
                discard(one)
            raise
        if failed:
            raise failed[0]
        return given[0]
