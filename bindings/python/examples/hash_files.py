"""Computes SHA-256 of every file of a set, as `sha256sum` prints it: hash_files.py DISK..."""

import hashlib
import sys
from typing import Dict

import volfold


def digest(file: volfold.File) -> str:
    sha256 = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    while count := file.readinto(buffer):
        sha256.update(buffer[:count])
    return sha256.hexdigest()


def main() -> None:
    problems = 0
    with volfold.open(sys.argv[1:]) as ds:
        for volume in ds.volumes:
            if not volume.readable:
                continue
            errors: Dict[str, volfold.Error] = {}
            for folder, _, names in volume.walk("/", onerror=lambda error: errors.update({str(error): error})):
                for name in names:
                    path = volume.path(folder) / name
                    if path.is_symlink() or not path.is_file():
                        continue
                    try:
                        with volume.open(path, "rb") as file:
                            print(f"{digest(file)}  /{volume.name}{path}")
                    except volfold.Error as error:
                        errors[str(error)] = error
            for line, problem in errors.items():
                print(f"{volume.name}: {line} [{problem.code}]", file=sys.stderr)
            problems += len(errors)
    sys.exit(3 if problems else 0)


if __name__ == "__main__":
    main()
