"""Counts the rows of the tables of an SQLite database inside: read_database.py DISK VOLUME PATH

Needs Python 3.11. The database is read into memory; nothing is copied to the host.
"""

import sqlite3
import sys

import volfold


def main() -> None:
    disk, volume, path = sys.argv[1:]
    with volfold.open(disk) as ds:
        content = ds.volumes[volume].read(path, max_size=1 << 30)
    database = sqlite3.connect(":memory:")
    database.deserialize(content)
    tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    for (name,) in tables:
        quoted = name.replace('"', '""')
        (count,) = database.execute(f'select count(*) from "{quoted}"').fetchone()
        print(f"{name}: {count} rows")
    database.close()


if __name__ == "__main__":
    main()
