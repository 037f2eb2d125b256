"""Reads every file below a mounted folder through a mapping of it, and past the cache of the system.

    reads.py FOLDER LIST     LIST: /path, size and SHA-256, separated by tabs

Ends with 1 if bytes differ.
"""

import ctypes
import hashlib
import mmap
import os
import sys

PIECE = 1 << 20


def mapped(file, size):
    if size == 0:
        return b""  # cannot be mapped
    with open(file, "rb") as data, mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return view[:]


def unbuffered(file, _size):
    """Whole pieces into a buffer that begins on a page, as such reads want it."""
    buffer = mmap.mmap(-1, PIECE)
    read = unbuffered_windows if os.name == "nt" else unbuffered_linux
    return b"".join(buffer[:count] for count in read(file, buffer))


def unbuffered_linux(file, buffer):
    handle = os.open(file, os.O_RDONLY | os.O_DIRECT)
    try:
        while count := os.readv(handle, [buffer]):
            yield count
    finally:
        os.close(handle)


def unbuffered_windows(file, buffer):
    generic_read, share_all, open_existing, no_buffering = 0x80000000, 7, 3, 0x20000000
    system = ctypes.WinDLL("kernel32", use_last_error=True)
    system.CreateFileW.restype = ctypes.c_void_p
    system.ReadFile.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32), ctypes.c_void_p,
    ]
    system.CloseHandle.argtypes = [ctypes.c_void_p]
    handle = system.CreateFileW(
        ctypes.c_wchar_p(file), ctypes.c_uint32(generic_read), ctypes.c_uint32(share_all), None,
        ctypes.c_uint32(open_existing), ctypes.c_uint32(no_buffering), None,
    )
    if handle == ctypes.c_void_p(-1).value:
        raise ctypes.WinError(ctypes.get_last_error())
    place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    count = ctypes.c_uint32()
    try:
        while True:
            if not system.ReadFile(handle, place, PIECE, ctypes.byref(count), None):
                raise ctypes.WinError(ctypes.get_last_error())
            if count.value == 0:
                return
            yield count.value
    finally:
        system.CloseHandle(handle)


def main(folder, list_file):
    wrong = count = 0
    with open(list_file, encoding="utf-8") as lines:
        for line in lines:
            path, size, digest = line.rstrip("\n").split("\t")
            file = os.path.join(folder, *path.strip("/").split("/"))
            for way in (mapped, unbuffered):
                content = way(file, int(size))
                if len(content) != int(size) or hashlib.sha256(content).hexdigest() != digest:
                    print(f"{file}: other bytes when read {way.__name__}")
                    wrong += 1
            count += 1
    print(f"{count} files read mapped and unbuffered")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
