"""Copies a directory out of an image, with times and holes: copy_tree.py DISK VOLUME PATH FOLDER"""

import os
import sys
from pathlib import Path

import volfold


def copy_file(source: volfold.VolfoldPath, target: Path) -> None:
    with source.volume.open(source, "rb") as file, target.open("wb") as out:
        for extent in file.extents():
            if extent.kind == "zero":
                continue
            end = extent.offset + extent.length
            for offset in range(extent.offset, end, 1 << 20):
                out.seek(offset)
                out.write(file.read_at(offset, min(1 << 20, end - offset)))
        out.truncate(file.size)
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def host_name(name: str) -> str:
    """The name of a guest, if it can be one of the host and leads nowhere else."""
    illegal = os.name == "nt" and any(mark in name for mark in '<>:"|?*')
    if illegal or name in ("", ".", "..") or os.path.basename(name) != name:
        raise ValueError(f"{name!r} is no name of this host")
    return name


def copy_tree(source: volfold.VolfoldPath, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        inner = target / host_name(path.name)
        if path.is_symlink():
            print(f"{path}: a link to {path.readlink()}, left out", file=sys.stderr)
        elif path.is_dir():
            copy_tree(path, inner)
        elif path.is_file():
            copy_file(path, inner)


def main() -> None:
    disk, volume, path, folder = sys.argv[1:]
    with volfold.open(disk) as ds:
        copy_tree(ds.volumes[volume].path(path), Path(folder))


if __name__ == "__main__":
    main()
