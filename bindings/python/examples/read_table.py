"""Sums a column of a CSV file inside, by fsspec: read_table.py DISK URL COLUMN

The URL is "volfold:///VOLUME/PATH". With pandas it is one line:
    pandas.read_csv(url, storage_options={"disks": [disk]})[column].sum()
"""

import csv
import sys

import fsspec
from volfold.fsspec import VolfoldFileSystem


def main() -> None:
    disk, url, column = sys.argv[1:]
    # Not needed where the package is installed.
    fsspec.register_implementation("volfold", VolfoldFileSystem, clobber=True)
    with fsspec.open(url, "rt", disks=[disk], newline="") as file:
        print(sum(int(row[column]) for row in csv.DictReader(file)))


if __name__ == "__main__":
    main()
