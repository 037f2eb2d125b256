"""A set of images as the library has it open, and calls on it."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, Type, TypeVar

from . import errors
from ._library import Library
from ._progress import Observer

CLOSED_SET = "the set of disk images is closed"

_T = TypeVar("_T", bound=ctypes.Structure)


class Core:
    """The handle of a set, which is closed once: by `close()`, or when nothing refers to it any more.

    Everything that reads from the set refers to its core; the core refers to nothing of that, so there
    are no cycles. Handles are numbers that the library never gives twice: a call on one that another
    thread has closed meanwhile is refused, and harms nothing.
    """

    def __init__(self, library: Library, handle: int, observer: Observer) -> None:
        self.library = library
        self.c: Any = library.c
        self.handle = handle
        # The library calls it while the set is open.
        self._observer = observer
        self._volumes: Dict[int, int] = {}
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, library.c.volfold_set_close, handle)
        # At the end of the process the system takes all back; a child of fork must not wait for locks.
        self._finalizer.atexit = False

    @property
    def closed(self) -> bool:
        """Whether the set is closed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Closes the set, and what was opened from it; does nothing the second time."""
        self._finalizer()

    def check_open(self) -> None:
        """Raises ValueError if the set is closed."""
        if self.closed:
            raise ValueError(CLOSED_SET)

    def check(self, status: int, filename: object = None) -> None:
        """Raises what `status` means, if it is no success."""
        if status == errors.OK:
            return
        if status == errors.INVALID_HANDLE:
            raise ValueError(CLOSED_SET if self.closed else "I/O operation on closed file")
        if status == errors.STOPPED:
            self._observer.raise_pending()
        raise self.library.last_error(status, filename)

    def volume(self, index: int) -> int:
        """The handle of the volume `index`, which is closed with the set."""
        with self._lock:
            handle = self._volumes.get(index)
            if handle is None:
                handle = self.new_handle(self.c.volfold_set_volume, self.handle, index)
                self._volumes[index] = handle
        return handle

    def new_handle(self, function: Callable[..., int], *arguments: object, filename: object = None) -> int:
        """The handle that `function` gives by its last argument."""
        handle = ctypes.c_void_p()
        self.check(function(*arguments, ctypes.byref(handle)), filename)
        assert handle.value is not None
        return handle.value

    def count(self, function: Callable[..., int]) -> int:
        """The number that `function` gives for the set."""
        count = ctypes.c_size_t()
        self.check(function(self.handle, ctypes.byref(count)))
        return count.value

    @contextlib.contextmanager
    def block(
        self, kind: Type[_T], function: Callable[..., int], *arguments: object, filename: object = None
    ) -> Iterator[_T]:
        """The struct that `function` gives by its last argument, until the end of the block."""
        pointer = ctypes.c_void_p()
        try:
            self.check(function(*arguments, ctypes.byref(pointer)), filename)
            assert pointer.value is not None
            yield kind.from_address(pointer.value)
        finally:
            self.c.volfold_free(pointer)
