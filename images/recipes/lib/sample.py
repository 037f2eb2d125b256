"""samples/sample.vmdk: one disk with an NTFS, a FAT and an ext4 volume."""

import os
import shutil

from . import ext, fat, listing, ntfs, tables, tools, tree, vmdk
from .index import Fixture, recipe

MIB = 1 << 20


@recipe("sample")
def sample():
    load = lambda family: tree.load(["sample"], family)
    windows = ntfs.make("sample-ntfs", 8 * MIB, load("ntfs"), label="Windows")
    boot = fat.make("sample-fat", 4 * MIB, load("fat"), 16, 512, label="BOOT")
    linux = ext.make("sample-ext4", 8 * MIB, load("ext"), ext.EXT4, 1024, 99, "linux", 200)
    volumes = (
        ("Windows", windows, 7, listing.of_ntfs(windows)),
        ("BOOT", boot, 0xE, listing.of_fat(boot)),
        ("linux", linux, 0x83, listing.of_ext(ext.copy(linux))),
    )
    where = vmdk.folder("sample")
    raw = tools.blank(os.path.join(where, "sample.raw"), 22 * MIB)
    script, start, offsets = "label: dos\nlabel-id: 0x5eed0099\n", MIB, []
    for _, image, kind, _ in volumes:
        size = os.path.getsize(image)
        script += f"start={start // 512}, size={size // 512}, type={kind:x}\n"
        offsets.append(start)
        start += size
    tables.sfdisk(raw, script)
    for (_, image, _, _), offset in zip(volumes, offsets):
        tables.place(raw, image, offset)

    packed = os.path.join(where, "sample.vmdk")
    vmdk.convert(raw, packed, "streamOptimized", cid="5eed0099")
    os.makedirs(tools.SAMPLES, exist_ok=True)
    shutil.copyfile(packed, os.path.join(tools.SAMPLES, "sample.vmdk"))

    fixture = Fixture("sample", "disk", "the image that is shipped, as a user gets it")
    fixture.record["open"] = ["sample.vmdk"]
    fixture.record["files"] = [
        {
            "name": "sample.vmdk",
            "stored": "../../samples/sample.vmdk",
            "size": os.path.getsize(packed),
            "sha256": tools.sha256(packed),
        }
    ]
    fixture.disk(vmdk.virtual_disk(packed), format="vmdk", subformat="streamOptimized")
    assert fixture.record["disk"]["sha256"] == tools.sha256(raw)
    scheme, partitions, facts = tables.read(raw)
    fixture.table(scheme, partitions, "sfdisk --json", **facts)
    lines = []
    for (name, image, _, rows), offset in zip(volumes, offsets):
        fixture.volume(raw, rows, offset, os.path.getsize(image), label=f".{name}")
        fixture.verified(listing.tsk_check(image, rows))
        for path, size, digest, kind, *_ in rows:
            if kind == b"f":
                lines.append(b"\t".join((f"/{name}/".encode() + path, size, digest)) + b"\n")
    fixture.verified("qemu-img convert -O raw").verified("ntfs-3g, mtools and kernel listings")
    with open(os.path.join(tools.SAMPLES, "sample.sha256"), "wb") as file:
        file.writelines(sorted(lines))
    return fixture
