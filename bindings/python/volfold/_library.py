"""The native library: where it is found, what it exports, and how its calls fail.

Its functions are called through `ctypes.CDLL`, which releases the global interpreter lock for the time
of each call: other threads of Python run while one reads.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import _structs as structs
from . import errors
from ._progress import FUNCTION

#: The version of the interface of `volfold.h` that this package is written for.
ABI_VERSION = 1

_VARIABLE = "VOLFOLD_LIBRARY"

_P = ctypes.c_void_p
_TEXT = ctypes.c_char_p
_SIZE = ctypes.c_size_t
_U64 = ctypes.c_uint64
_U32 = ctypes.c_uint32
_BOOL = ctypes.c_bool
_STATUS = ctypes.c_int32
_PATH = (_P, _TEXT, _SIZE)

_FUNCTIONS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "volfold_version": (_TEXT, ()),
    "volfold_set_threads": (None, (_U32,)),
    "volfold_error_message": (_TEXT, ()),
    "volfold_error_code": (_TEXT, ()),
    "volfold_error_position": (_BOOL, (_P,)),
    "volfold_free": (_STATUS, (_P,)),
    "volfold_options_new": (_STATUS, (_P,)),
    "volfold_options_free": (_STATUS, (_P,)),
    "volfold_options_allow_folder": (_STATUS, (_P, _TEXT)),
    "volfold_options_set_cache_size": (_STATUS, (_P, _U64)),
    "volfold_options_set_format": (_STATUS, (_P, _TEXT)),
    "volfold_options_set_snapshot": (_STATUS, (_P, _TEXT)),
    "volfold_options_set_snapshots": (_STATUS, (_P, _BOOL)),
    "volfold_options_set_system_files": (_STATUS, (_P, _BOOL)),
    "volfold_options_set_as_is": (_STATUS, (_P, _BOOL)),
    "volfold_options_set_deleted": (_STATUS, (_P, _BOOL)),
    "volfold_options_set_time_zone": (_STATUS, (_P, _TEXT)),
    "volfold_options_set_code_page": (_STATUS, (_P, ctypes.c_uint16)),
    "volfold_options_add_key": (_STATUS, (_P, _U32, _TEXT, _SIZE)),
    "volfold_options_set_program": (_STATUS, (_P, _TEXT)),
    "volfold_options_set_progress": (_STATUS, (_P, FUNCTION, _P)),
    "volfold_set_open": (_STATUS, (_P, _P, _SIZE, _P)),
    "volfold_set_close": (_STATUS, (_P,)),
    "volfold_set_failure_count": (_STATUS, (_P, _P)),
    "volfold_set_failure": (_STATUS, (_P, _SIZE, _P)),
    "volfold_set_findings": (_STATUS, (_P, _P)),
    "volfold_set_systems": (_STATUS, (_P, _P)),
    "volfold_set_disk_count": (_STATUS, (_P, _P)),
    "volfold_set_volume_count": (_STATUS, (_P, _P)),
    "volfold_set_volume": (_STATUS, (_P, _SIZE, _P)),
    "volfold_set_find_volume": (_STATUS, (_P, _TEXT, _P)),
    "volfold_set_mount": (_STATUS, (_P, _TEXT, _P, _SIZE, _P)),
    "volfold_unmount": (_STATUS, (_P, _TEXT, _BOOL)),
    "volfold_disk_info": (_STATUS, (_P, _SIZE, _P)),
    "volfold_disk_read": (_STATUS, (_P, _SIZE, _U64, _P, _SIZE)),
    "volfold_disk_extent": (_STATUS, (_P, _SIZE, _U64, _P)),
    "volfold_volume_close": (_STATUS, (_P,)),
    "volfold_volume_info": (_STATUS, (_P, _P)),
    "volfold_volume_usage": (_STATUS, (_P, _P)),
    "volfold_volume_read": (_STATUS, (_P, _U64, _P, _SIZE)),
    "volfold_volume_extent": (_STATUS, (_P, _U64, _P)),
    "volfold_directory_open": (_STATUS, (*_PATH, _P)),
    "volfold_directory_next": (_STATUS, (_P, _P)),
    "volfold_directory_close": (_STATUS, (_P,)),
    "volfold_stat": (_STATUS, (*_PATH, _BOOL, _P)),
    "volfold_read_link": (_STATUS, (*_PATH, _P)),
    "volfold_streams": (_STATUS, (*_PATH, _P)),
    "volfold_attributes": (_STATUS, (*_PATH, _P)),
    "volfold_attribute": (_STATUS, (*_PATH, _TEXT, _P)),
    "volfold_file_open": (_STATUS, (*_PATH, _TEXT, _SIZE, _P)),
    "volfold_file_close": (_STATUS, (_P,)),
    "volfold_file_size": (_STATUS, (_P, _P)),
    "volfold_file_read": (_STATUS, (_P, _U64, _P, _SIZE, _P)),
    "volfold_file_extent": (_STATUS, (_P, _U64, _P)),
}


class Library:
    """The loaded library; `c` has its functions, with their types."""

    def __init__(self, path: str) -> None:
        try:
            self.c: Any = ctypes.CDLL(path)
        except OSError as error:
            raise errors.LibraryError(f"cannot load {path}: {error}", path=path) from error
        self.path = path
        self._check_version()
        for name, (result, arguments) in _FUNCTIONS.items():
            function = self._function(name)
            function.restype = result
            function.argtypes = arguments
        if hasattr(os, "register_at_fork"):
            # The threads of the library are not in a child; it reads without them.
            os.register_at_fork(after_in_child=lambda: self.c.volfold_set_threads(0))

    def _function(self, name: str) -> Any:
        try:
            return getattr(self.c, name)
        except AttributeError:
            message = f"{self.path} is not the library volfold: it has no {name}"
            raise errors.LibraryError(message, path=self.path) from None

    def _check_version(self) -> None:
        function = self._function("volfold_abi_version")
        function.restype = ctypes.c_uint32
        function.argtypes = ()
        found = function()
        if found != ABI_VERSION:
            message = (
                f"{self.path} has version {found} of the interface, and this package needs "
                f"{ABI_VERSION}: install the package and the library of one release"
            )
            raise errors.LibraryError(message, path=self.path)

    def last_error(self, status: int, filename: object = None) -> Exception:
        """The exception for `status`, with which the last call of this thread failed."""
        message = (self.c.volfold_error_message() or b"").decode("utf-8", "replace")
        if status in (errors.INVALID_ARGUMENT, errors.INVALID_HANDLE):
            return ValueError(message)
        code = (self.c.volfold_error_code() or b"").decode("utf-8", "replace")
        position = ctypes.c_uint64()
        known = self.c.volfold_error_position(ctypes.byref(position))
        return errors.make(status, message, filename, code, position.value if known else None)

    def check(self, status: int, filename: object = None) -> None:
        """Raises what `status` means, if it is no success."""
        if status != errors.OK:
            raise self.last_error(status, filename)


def host_bytes(path: object, what: str = "path") -> bytes:
    """The bytes of a path of the host, as the library takes them."""
    raw = os.fsencode(path)  # type: ignore[arg-type]
    return _without_nul(raw, what)


def text_bytes(text: str, what: str) -> bytes:
    """The bytes of text that ends in NUL."""
    return _without_nul(structs.encode_name(text), what)


def _without_nul(raw: bytes, what: str) -> bytes:
    if b"\0" in raw:
        raise ValueError(f"embedded null byte in {what}")
    return raw


def _file_names() -> Tuple[str, ...]:
    if sys.platform == "win32":
        return ("volfold.dll", "volfold_c.dll")
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return (f"libvolfold.{suffix}", f"libvolfold_c.{suffix}")


def _find() -> Library:
    given = os.environ.get(_VARIABLE)
    if given:
        return Library(given)
    beside = [Path(__file__).with_name(name) for name in _file_names()]
    for path in beside:
        if path.is_file():
            return Library(str(path))
    tried: List[str] = [str(path) for path in beside]
    for name in filter(None, (ctypes.util.find_library("volfold"), *_file_names())):
        try:
            return Library(name)
        except errors.LibraryError as error:
            if isinstance(error.__cause__, OSError):
                tried.append(name)
                continue
            raise
    raise errors.LibraryError(
        f"the library volfold was not found; tried {', '.join(tried)}. "
        f"Install it, or name its file in the environment variable {_VARIABLE}"
    )


_lock = threading.Lock()
_loaded: Optional[Library] = None


def load() -> Library:
    """The library, which is loaded by the first call."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _find()
    return _loaded
