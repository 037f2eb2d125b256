#!/usr/bin/env python3
"""lvm_by_linux.py VMLINUZ MODULES [FIXTURE...]: has lvm2 and Linux make the groups of lvm-linux-*, and say what they hold.

VMLINUZ and MODULES (lib/modules/VERSION) are of Debian's kernel package, unpacked by `dpkg-deb -x`. The machine is that of
by_linux.py, with lvm2 and thin-provisioning-tools. Groups have other ids in each run.
"""

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import by_linux  # noqa: E402
from lib import index, lvm_linux, tools  # noqa: E402


def main(kernel, modules, *names):
    folder = tempfile.mkdtemp(dir=tools.scratch())
    drivers = [*by_linux.DRIVERS, *lvm_linux.DRIVERS]
    by_linux.machine(folder, modules, lvm_linux.PROGRAMS, lvm_linux.INIT, drivers)
    lvm_linux.furnish(folder)

    def run(script, disks, *options):
        return by_linux.start(kernel, folder, script, disks, *options)

    for name in names or lvm_linux.GROUPS:
        print(name, flush=True)
        index.save([lvm_linux.GROUPS[name](lvm_linux.Plan(name, run))])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    finally:
        tools.clean()
