"""Walks a mounted folder with os.walk and compares every file with a list.

    walk.py FOLDER LIST [--real-path]     LIST: /path, size and SHA-256, separated by tabs; or a listing of tests/fixtures

With --real-path every file has a final path too, by which it is opened; without, os.path.realpath may give up and
answer what it was given. Ends with 1 if a file is missing, differs, or is not in the list.
"""

import hashlib
import os
import sys


def read_list(list_file):
    """Every file of the list: its path from the folder, its size and digest."""
    wanted = {}
    with open(list_file, encoding="utf-8") as lines:
        for line in lines:
            path, size, digest, *more = line.rstrip("\n").split("\t")
            # A listing of the fixtures has a head, directories and links too.
            if not more or more[0] == "f":
                wanted["/" + path.lstrip("/")] = (int(size), digest)
    return wanted


def main(folder, list_file, *options):
    wanted = read_list(list_file)
    found = {}

    def fail(error):
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        for name in files:
            file = os.path.join(place, name)
            if os.path.islink(file):
                continue
            real = os.path.realpath(file, strict="--real-path" in options)
            with open(real, "rb") as data:
                content = data.read()
            if os.stat(file).st_size != len(content):
                raise SystemExit(f"{file}: {len(content)} bytes, not {os.stat(file).st_size}")
            path = "/" + os.path.relpath(file, folder).replace(os.sep, "/")
            found[path] = (len(content), hashlib.sha256(content).hexdigest())
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            print(f"{path}: is {found.get(path)}, not {wanted.get(path)}")
    print(f"{len(found)} files")
    return 0 if found == wanted and found else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
