"""Reads a mounted folder from many threads and unmounts it meanwhile.

    load.py FOLDER LIST VOLFOLD [OPTION...]     LIST: /path, size and SHA-256, separated by tabs; OPTION of unmount

Every file that is read to its end has to be the one of the list; a read may fail once the folder is being freed. Ends
with 1 if a byte was wrong, if a read failed before, or if `volfold unmount` fails or takes more than a minute.
"""

import hashlib
import os
import subprocess
import sys
import threading
import time

THREADS = 8


def main(folder, list_file, volfold, *options):
    files = []
    with open(list_file, encoding="utf-8") as lines:
        for line in lines:
            path, size, digest = line.rstrip("\n").split("\t")
            files.append((os.path.join(folder, *path.strip("/").split("/")), int(size), digest))
    problems, reads = [], [0] * THREADS
    unmounting, stop = threading.Event(), threading.Event()

    def read(number):
        while not stop.is_set():
            for file, size, digest in files[number:] + files[:number]:
                try:
                    with open(file, "rb", buffering=0) as data:
                        content = data.read()
                except OSError as error:
                    if unmounting.is_set():
                        return
                    problems.append(f"{file}: {error}")
                    return
                # A read that is cut is one that failed.
                whole = len(content) == size
                if whole and hashlib.sha256(content).hexdigest() != digest:
                    problems.append(f"{file}: wrong bytes")
                if not whole and not unmounting.is_set():
                    problems.append(f"{file}: {len(content)} bytes, not {size}")
                reads[number] += 1

    threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    before = sum(reads)
    unmounting.set()
    start = time.monotonic()
    try:
        code = subprocess.run([volfold, "unmount", folder, *options], timeout=60).returncode
    except subprocess.TimeoutExpired:
        code = "no end"
    took = time.monotonic() - start
    stop.set()
    for thread in threads:
        thread.join(30)
    if code != 0:
        problems.append(f"unmount: {code}")
    if before == 0:
        problems.append("nothing was read")
    if any(thread.is_alive() for thread in threads):
        problems.append("a read hangs")
    print(f"{before} files read, unmounted in {took:.1f} s")
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
