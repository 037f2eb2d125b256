#!/usr/bin/env python3
"""by_linux.py VMLINUZ MODULES FIXTURE...: has Linux start the arrays of md-layouts, md-states or md-journal, and compares
the bytes.

VMLINUZ and MODULES (lib/modules/VERSION) are of Debian's kernel package, unpacked by `dpkg-deb -x`. A machine of QEMU
runs it with nothing but busybox and mdadm, so that the host's kernel needs no MD and no rights. Needs qemu-system-x86,
busybox-static, cpio, kmod and mdadm.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from lib import index, tools  # noqa: E402

INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /run
for m in virtio_pci virtio_blk md-mod linear raid0 raid1 raid10 raid456; do modprobe $m; done
sh /script 2>&1
sync; poweroff -f
"""
SCRIPT = """
u=; for d in {disks}; do mdadm --examine /dev/vd${{d}}{part} >/dev/null 2>&1 && u="$u /dev/vd${{d}}{part}"; done
mdadm --assemble {mode} --run /dev/md{number} $u >/dev/null 2>&1
echo SUM {number} $(sha256sum < /dev/md{number} 2>/dev/null | cut -c1-64)
mdadm --stop /dev/md{number} >/dev/null 2>&1
"""
PROGRAMS = "sh mount sha256sum modprobe poweroff sync echo cut tr blockdev".split()
DRIVERS = ["drivers/md", "drivers/block/virtio_blk.ko", "drivers/virtio", "crypto", "lib", "arch/x86/crypto", "net/core"]


def machine(folder, modules, programs=("/sbin/mdadm",), init=INIT, drivers=DRIVERS):
    """The files of the machine, but for its script: `programs` of the host, and those of busybox."""
    version = os.path.basename(os.path.normpath(modules))
    own = f"{folder}/lib/modules/{version}"
    for name in ("bin", "sbin", "proc", "sys", "dev", "run", "tmp", "etc"):
        os.makedirs(f"{folder}/{name}")
    shutil.copy("/bin/busybox", f"{folder}/bin")
    for name in PROGRAMS:
        os.symlink("/bin/busybox", f"{folder}/bin/{name}")
    os.symlink("/bin/busybox", f"{folder}/sbin/modprobe")
    libraries = re.findall(r"(/\S+) \(", tools.run("ldd", *programs).decode())
    for path in dict.fromkeys([*programs, *libraries]):
        os.makedirs(os.path.dirname(folder + path), exist_ok=True)
        shutil.copy(path, folder + path)
    for name in drivers:
        source, target = f"{modules}/kernel/{name}", f"{own}/kernel/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, target)
        elif os.path.exists(source):
            shutil.copy(source, target)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(f"{modules}/{name}", own)
    tools.run("depmod", "-b", folder, version)
    with open(f"{folder}/init", "w", encoding="utf-8") as file:
        file.write(init)
    os.chmod(f"{folder}/init", 0o755)


def start(kernel, folder, script, disks, *options):
    """What the machine says that runs `script` with `disks` as /dev/vda, /dev/vdb, ..."""
    with open(f"{folder}/script", "w", encoding="utf-8") as file:
        file.write(script)
    names = subprocess.run(["find", "."], cwd=folder, stdout=subprocess.PIPE, check=True).stdout
    packed = subprocess.run(["cpio", "-o", "-H", "newc"], cwd=folder, input=names, capture_output=True, check=True)
    initrd = f"{folder}.gz"
    with gzip.open(initrd, "wb", 1) as file:
        file.write(packed.stdout)
    command = ["qemu-system-x86_64", "-cpu", "max", "-m", "1024", "-nographic", "-no-reboot", "-nodefaults",
               "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1"]  # fmt: skip
    for disk in disks:
        command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    command += options
    return tools.run(*command).decode(errors="replace").replace("\r", "")


def check(kernel, folder, name):
    record = index.load()["fixtures"][name]
    disks = []
    for file in record["files"]:
        disks.append(os.path.join(tools.scratch(), file["name"]))
        with gzip.open(os.path.join(tools.FIXTURES, file["stored"])) as source, open(disks[-1], "wb") as target:
            shutil.copyfileobj(source, target)
    letters = [chr(97 + number) for number in range(len(disks))]
    script, wanted = "", {}
    for number, fact in enumerate(record["arrays"], 1):
        if fact.get("refused"):
            continue
        # Arrays of partitions, or of whole disks.
        part = number if len(record["arrays"]) > 1 else ""
        wanted[str(number)] = fact
        mode = "" if name == "md-journal" else "--readonly"
        script += SCRIPT.format(disks=" ".join(letters), part=part, number=number, mode=mode)
    said = dict(re.findall(r"SUM (\d+) (\w{64})", start(kernel, folder, script, disks)))
    for number, fact in wanted.items():
        print(f"{name} {fact['name']}: {'the same' if said.get(number) == fact['sha256'] else 'DIFFERENT'}")


def main(kernel, modules, *names):
    folder = tempfile.mkdtemp(dir=tools.scratch())
    machine(folder, modules)
    for name in names:
        check(kernel, folder, name)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    finally:
        tools.clean()
