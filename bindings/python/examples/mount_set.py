"""Shows the volumes of a set to a program of the host: mount_set.py FOLDER DISK... -- PROGRAM...

The program gets the folder as its last argument.
"""

import subprocess
import sys

import volfold


def main() -> None:
    end = sys.argv.index("--")
    folder, disks, program = sys.argv[1], sys.argv[2:end], sys.argv[end + 1 :]
    with volfold.open(disks) as ds, ds.mount(folder) as mount:
        sys.exit(subprocess.run([*program, mount.folder], check=False).returncode)


if __name__ == "__main__":
    main()
