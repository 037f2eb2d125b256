"""Walks a mounted folder with os.walk and compares every file with a list of volfold's.

    walk.py FOLDER LIST     LIST: /path, size and SHA-256, separated by tabs

Ends with 1 if a file is missing, differs, or is not in the list.
"""

import hashlib
import os
import sys


def main(folder, list_file):
    wanted = {}
    with open(list_file, encoding="utf-8") as lines:
        for line in lines:
            path, size, digest = line.rstrip("\n").split("\t")
            wanted[path] = (int(size), digest)
    found = {}

    def fail(error):
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        for name in files:
            file = os.path.join(place, name)
            if os.path.islink(file):
                continue
            with open(file, "rb") as data:
                content = data.read()
            if os.stat(file).st_size != len(content):
                raise SystemExit(f"{file}: {len(content)} bytes, not {os.stat(file).st_size}")
            path = "/" + os.path.relpath(file, folder).replace(os.sep, "/")
            found[path] = (len(content), hashlib.sha256(content).hexdigest())
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            print(f"{path}: is {found.get(path)}, not {wanted.get(path)}")
    print(f"{len(found)} files")
    return 0 if found == wanted else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
