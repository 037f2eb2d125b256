"""Lists a ZIP archive inside, without reading all of it: read_archive.py DISK VOLUME PATH"""

import sys
import zipfile

import volfold


def main() -> None:
    disk, volume, path = sys.argv[1:]
    with volfold.open(disk) as ds, ds.volumes[volume].open(path, "rb") as file:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                print(f"{member.file_size}  {member.filename}")


if __name__ == "__main__":
    main()
