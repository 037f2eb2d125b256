#!/usr/bin/env python3
"""span.py CONTENT FOLDER: writes the file CONTENT as a volume that spans two dynamic disks.

They are FOLDER/disk1.img and FOLDER/disk2.img; the volume begins on the second. CONTENT is of whole
mebibytes, at least 3.
"""

import os
import sys

from lib import ldm

MIB = 2048  # sectors of 512 bytes
NUMBER = 0x77

content, folder = sys.argv[1:]
mib = os.path.getsize(content) >> 20
disks = [ldm.Disk(f"Disk{n}", n, NUMBER, mib + 4) for n in (1, 2)]
parts = [(disks[1], (mib - mib // 3) * MIB), (disks[0], mib // 3 * MIB)]
volume = ldm.Volume("Volume1", 1, content, [ldm.Component("spanned", [parts])], None, NUMBER)
ldm.make(ldm.Group("Server-Dg0", disks, [volume], NUMBER), folder)
print(f"ldm:{volume.guid}")
