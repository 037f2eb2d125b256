"""Matches the files of a set against YARA rules, in several threads: scan_yara.py RULES DISK..."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Tuple

import volfold
import yara

#: Larger files are left out, and told.
LIMIT = 256 << 20


def files(ds: volfold.DiskSet) -> Iterator[Tuple[volfold.Volume, str]]:
    for volume in ds.volumes:
        if volume.readable:
            for folder, _, names in volume.walk("/", onerror=lambda error: print(error, file=sys.stderr)):
                for name in names:
                    path = f"{folder.rstrip('/')}/{name}"
                    if not volume.islink(path) and volume.isfile(path):
                        yield volume, path


def main() -> None:
    rules = yara.compile(filepath=sys.argv[1])
    with volfold.open(sys.argv[2:]) as ds, ThreadPoolExecutor() as pool:

        def scan(found: Tuple[volfold.Volume, str]) -> None:
            volume, path = found
            try:
                for match in rules.match(data=volume.read(path, max_size=LIMIT)):
                    print(f"{match.rule}  /{volume.name}{path}")
            except volfold.Error as error:
                print(f"/{volume.name}{path}: {error}", file=sys.stderr)

        for _ in pool.map(scan, files(ds)):
            pass


if __name__ == "__main__":
    main()
