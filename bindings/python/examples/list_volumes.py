"""Lists disks, volumes, and what is odd about them: list_volumes.py DISK..."""

import sys

import volfold


def main() -> None:
    with volfold.open(sys.argv[1:], partial=True) as ds:
        for disk in ds.disks:
            print(f"disk{disk.index}  {disk.path}  {disk.format}  {disk.size} bytes")
        for volume in ds.volumes:
            state = volume.health if volume.readable else volume.reason
            print(f"{volume.name}  {volume.id}  {volume.file_system}  {volume.size} bytes  {state}")
        for finding in ds.findings:
            print(f"{finding.severity}: {finding.message} [{finding.code}]")
        for failure in ds.failures:
            print(f"{failure.path}: {failure.message}", file=sys.stderr)
        sys.exit(3 if ds.failures else 0)


if __name__ == "__main__":
    main()
