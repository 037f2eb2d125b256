#!/usr/bin/env python3
"""nest.py CONTENT PASSWORD FOLDER: writes the file CONTENT encrypted, in a logical volume, on an array of three disks.

They are FOLDER/disk0.img to disk2.img: a RAID-5 of MD, on it a volume group of LVM2, in it LUKS2, which the password in the
file PASSWORD opens. CONTENT is of whole sectors. Needs cryptsetup and lvm2.
"""

import os
import sys

from lib import luks, lvm, md, tools

content, password, folder = sys.argv[1:]
try:
    path = os.path.join(tools.scratch(), "crypt.img")
    luks.label(luks.encrypt(path, content, password, "aes-xts-plain64", 512, "argon2id"), 77)
    with open(path, "rb") as file:
        crypt = file.read()
    crypt += bytes(-len(crypt) % lvm.EXTENT)
    disk = lvm.Disk(os.path.join(tools.scratch(), "pv.img"), 0, 2 + -(-len(crypt) // (1 << 20)))
    group = lvm.Group("vg0", 77, [disk])
    group.runs("root", crypt, [(disk, len(crypt) // lvm.EXTENT)])
    group.write_metadata()
    with open(disk.path, "rb") as file:
        array = md.Array(77, "0", 5, md.parity5(file.read(), 3, 2), layout=2)
    for column in range(3):
        device = array.member(column, len(array.columns[0]) + 16384 + 65536)
        path = os.path.join(folder, f"disk{column}.img")
        tools.patch(tools.blank(path, len(device)), 0, device)
finally:
    tools.clean()
