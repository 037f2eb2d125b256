#!/usr/bin/env python3
"""Makes the test images in tests/fixtures, and the sample in samples.

    make.py              all of them
    make.py NAME...      these (a name may be a pattern: 'ntfs-*')
    make.py --list       their names
    make.py --check ...  makes them anew, and compares with what the index says

Needs root (mounts), Debian's tools and gcc; README.md says which.
"""

import fnmatch
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from lib import (  # noqa: E402,F401
    bitlocker, deleted, exfat, ext, ext_linux, fat, index, ldm_sets, luks, lvm_sets, md_sets, ntfs, sample, tables,
    tools, vmdk, vss, xfs
)


def chosen(patterns):
    names = [
        name
        for name in index.RECIPES
        if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    return names or sys.exit(f"no recipe is called {' '.join(patterns)}")


def stable(record):
    """What two runs must have the same of."""
    return {key: value for key, value in record.items() if key != "files" or not record.get("random")}


def main(arguments):
    if "--list" in arguments:
        print("\n".join(index.RECIPES))
        return
    check = "--check" in arguments
    patterns = [argument for argument in arguments if not argument.startswith("--")]
    if check:
        tools.FIXTURES = os.path.join(tools.scratch(), "fixtures")
        tools.SAMPLES = os.path.join(tools.scratch(), "samples")
    different = []
    known = index.load()["fixtures"]
    for name in chosen(patterns):
        print(name, flush=True)
        fixture = index.RECIPES[name]()
        if not check:
            index.save([fixture])
        elif stable(known.get(name, {})) != stable(fixture.record):
            different.append(name)
    if different:
        sys.exit(f"not as in INDEX.json: {' '.join(different)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        tools.clean()
