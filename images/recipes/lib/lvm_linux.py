"""Volume groups of LVM2 that Linux itself made and filled, in the machine of by_linux.py; and what it reads of them, whole
and without each disk."""

import hashlib
import os
import re
import shutil

from . import tools
from .index import Fixture

K = 64 << 10
PROGRAMS = ["/sbin/lvm", "/sbin/dmsetup", "/usr/sbin/pdata_tools"]
DRIVERS = ["drivers/block/loop.ko", "drivers/dax"]
MODULES = (
    "virtio_pci virtio_blk loop dm-mod dm-raid raid1 raid10 raid456 dm-mirror dm-log dm-snapshot dm-thin-pool dm-cache "
    "dm-cache-smq dm-writecache dm-integrity dm-zero"
)
INIT = f"""#!/bin/sh
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs -o size=900m tmp /run
for m in {MODULES}; do modprobe $m; done
mkdir -p /run/lock/lvm /etc/lvm; ln -s /proc/mounts /etc/mtab
sh /script 2>&1
sync; poweroff -f
"""
CONFIG = """
devices { dir = "/dev" scan = [ "/dev" ] use_devicesfile = 0 filter = [ "a|^/dev/FROM|", "r|.*|" ] hints = "none"
  obtain_device_list_from_udev = 0 external_device_info_source = "none" md_component_detection = 0
  multipath_component_detection = 0 scan_lvs = 0 write_cache_state = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 raid_region_size = 64 }
backup { backup = 0 archive = 0 }
global { use_lvmpolld = 0 use_lvmlockd = 0 event_activation = 0 }
allocation { raid_stripe_all_devices = 0 thin_pool_metadata_require_separate_pvs = 0 cache_pool_metadata_require_separate_pvs = 0 }
log { syslog = 0 }
"""
START = """
export LVM_SUPPRESS_FD_WARNINGS=1
t() { "$@" >/run/said 2>&1 || { echo "FAILED $*"; cat /run/said; }; }
l() { t lvm "$@"; }
put() { t dd if=/data/$1 of=/dev/$VG/$2 bs=4k skip=$3 seek=$3 count=$4 conv=notrunc,fsync; }
synced() {
  n=0; until lvm lvs --noheadings -o sync_percent $VG/$1 | grep -q 100; do
    sleep 1; n=$((n+1)); [ $n -gt 60 ] && { echo "FAILED sync of $1"; break; }; done
}
"""
# Copies of the disks, so that what one round writes is not there in the next.
WITNESS = """
round() {
  n=0; mkdir -p /run/r
  for d in $DISKS; do
    [ $d = $1 ] && continue
    cp /dev/vd$d /run/r/$d; losetup /dev/loop$n /run/r/$d; n=$((n+1))
  done
  lvm vgchange -ay --activationmode partial $VG >/run/said 2>&1 || { [ $1 = none ] && { echo FAILED; cat /run/said; }; }
  if [ $1 = none ]; then
    lvm lvs -a --noheadings --nosuffix --units b --separator , -o lv_name,lv_uuid,segtype,lv_size $VG | sed 's/^ */LIST /'
    lvm lvs -a -o lv_name,segtype,lv_attr,lv_size,sync_percent,devices $VG
  fi
  for v in $VOLUMES; do
    echo "SUM $1 $v $(lvm lvs --noheadings -o lv_attr $VG/$v) $(sha256sum < /dev/$VG/$v 2>/dev/null | cut -c1-64)"
  done
  lvm vgchange -an $VG >/run/said 2>&1 || { echo FAILED to stop; cat /run/said; }
  n=0; for d in $DISKS; do [ $d = $1 ] && continue; losetup -d /dev/loop$n; n=$((n+1)); done
  rm -rf /run/r
}
"""
SEEDS = "abcdef"
DATA = 4 << 20


def pattern(seed, size=DATA):
    """Sectors that tell where they belong."""
    return b"".join((b"%-8.8s%08x" % (seed.encode(), at)) * 32 for at in range(size // 512))


def furnish(folder):
    """Adds to the machine in `folder` what the scripts need."""
    shutil.copytree("/etc/lvm/profile", f"{folder}/etc/lvm/profile")
    os.makedirs(f"{folder}/usr/sbin", exist_ok=True)
    for name in ("thin_check", "thin_dump", "thin_repair", "cache_check", "cache_dump", "cache_repair"):
        os.symlink("pdata_tools", f"{folder}/usr/sbin/{name}")
    os.makedirs(f"{folder}/data")
    for seed in SEEDS:
        with open(f"{folder}/data/{seed}", "wb") as file:
            file.write(pattern(seed))


def config(source):
    text = CONFIG.replace("FROM", source)
    return f"mkdir -p /etc/lvm; cat > /etc/lvm/lvm.conf <<'END'\n{text}END\n"


class Plan:
    """A group in the making: what is asked of lvm2, and what its volumes hold then."""

    def __init__(self, name, run):
        self.name, self.run = name, run
        self.group = name.replace("lvm-", "")
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.paths, self.lines, self.data, self.layouts, self.more = [], [], {}, {}, {}

    def disks(self, count, mib):
        for number in range(count):
            self.paths.append(tools.blank(os.path.join(self.folder, f"disk{number}.img"), mib << 20))
        self.lines.append(f"l vgcreate -s 64k {self.group} {' '.join(f'/dev/vd{d}' for d in self.letters())}")

    def letters(self, without=()):
        return [chr(97 + number) for number in range(len(self.paths) - len(without))]

    def sh(self, line):
        self.lines.append(line)

    def holds(self, name, layout, data, **more):
        """A volume that is looked at in the end; `more` goes into its record."""
        self.data[name], self.layouts[name], self.more[name] = bytearray(data), layout, more

    def create(self, name, layout, size, *options, fill="a", **more):
        """A volume of `size` bytes, filled with the pattern `fill`."""
        self.sh(f"l lvcreate -y -Wn -n {name} -L {size}b {' '.join(options)} {self.group}")
        self.holds(name, layout, bytes(size), **more)
        if fill:
            self.write(name, fill, 0, size)

    def write(self, name, seed, at, size):
        assert at % 4096 == size % 4096 == 0
        self.sh(f"put {seed} {name} {at // 4096} {size // 4096}")
        self.data[name][at : at + size] = pattern(seed)[at : at + size]

    def boot(self, crash=False, without=()):
        """Has the machine do what was asked; it stops in order, or in the middle of everything."""
        end = "echo b > /proc/sysrq-trigger\n" if crash else f"l vgchange -an {self.group}\n"
        script = "\n".join([config("vd"), START, f"VG={self.group}", *self.lines, "echo DONE", end])
        self.lines = []
        said = self.run(script, [path for number, path in enumerate(self.paths) if number not in without])
        if "FAILED" in said or "DONE" not in said or os.environ.get("VERBOSE"):
            print(said)
        return said

    def finish(self, note, findings=()):
        """What Linux reads, whole and without each disk, and the record of it."""
        letters = self.letters()
        script = [config("loop"), START, WITNESS, f'VG={self.group}; DISKS="{" ".join(letters)}"']
        script += [f'VOLUMES="{" ".join(self.data)}"', *(f"round {letter}" for letter in ["none", *letters]), "echo DONE"]
        said = self.run("\n".join(script), self.paths, "-snapshot")
        print(said)
        sums = {
            (where, name): (attributes, digest)
            for where, name, attributes, digest in re.findall(r"^SUM (\w+) (\S+) *(\S*) *(\w*)$", said, re.M)
        }
        listed = {
            name: (own, kind, int(size))
            for name, own, kind, size in re.findall(r"^LIST ([^,]+),([^,]+),([^,]+),(\d+)$", said, re.M)
        }
        fixture = Fixture(self.name, "set", note)
        for path in self.paths:
            fixture.file(path)
        fixture.record["logical"] = [self.fact(name, listed, sums) for name in self.data]
        if findings:
            fixture.expect(findings=list(findings))
        return fixture.verified("Linux 6.1 and lvm2 made it, and read these bytes whole and without the disks")

    def fact(self, name, listed, sums):
        own, _, size = listed[name]
        digest = hashlib.sha256(self.data[name]).hexdigest()
        _, found = sums["none", name]
        if found != digest and not self.more[name].get("refused"):
            print(f"DIFFERENT: {name} is {found}, and should be {digest}")
        without = {}
        for letter, path in zip(self.letters(), self.paths):
            attributes, found = sums[letter, name]
            is_partial = attributes[8:9] == "p"
            if found and found != digest:
                print(f"DIFFERENT without {letter}: {name} ({attributes})")
            without[os.path.basename(path)] = "failed" if found != digest else "degraded" if is_partial else "healthy"
        record = {
            "id": f"lvm:{own}", "group": self.group, "name": name, "layout": self.layouts[name], "size": size,
            "sha256": digest, "health": "healthy", "without": without,
        }  # fmt: skip
        more = dict(self.more[name])
        record["without"].update(more.pop("without", {}))
        return {**record, **more}


GROUPS = {}


def group(name):
    def register(function):
        GROUPS[name] = function
        return function

    return register


@group("lvm-linux-raid")
def raid(plan):
    plan.disks(6, 12)
    plan.create("lin", "simple", 6 * K)
    plan.create("str", "striped", 6 * K, "-i 3 -I 8k")
    plan.create("r0", "striped", 6 * K, "--type raid0 -i 3 -I 4k")
    plan.create("r0m", "striped", 6 * K, "--type raid0_meta -i 3 -I 4k")
    plan.create("r1", "mirrored", 6 * K, "--type raid1 -m 1")
    plan.create("r1x3", "mirrored", 6 * K, "--type raid1 -m 2")
    plan.create("r10", "raid10", 6 * K, "--type raid10 -i 2 -m 1 -I 4k")
    plan.create("r10x6", "raid10", 6 * K, "--type raid10 -i 3 -m 1 -I 16k")
    plan.create("r4", "raid4", 6 * K, "--type raid4 -i 3 -I 4k")
    for kind in ("ls", "la", "rs", "ra", "n"):
        plan.create(f"r5{kind}", "raid5", 6 * K, f"--type raid5_{kind} -i 3 -I 4k")
    for kind in ("zr", "nr", "nc", "n_6", "ls_6", "la_6", "rs_6", "ra_6"):
        plan.create(f"r6{kind.replace('_', '')}", "raid6", 6 * K, f"--type raid6_{kind} -i 3 -I 4k")
    plan.create("mir", "mirrored", 6 * K, "--type mirror -m 1 --mirrorlog disk")
    plan.create("mirx3", "mirrored", 6 * K, "--type mirror -m 2 --mirrorlog disk")
    plan.create("core", "mirrored", 6 * K, "--type mirror -m 1 --mirrorlog core")
    for name in [name for name in plan.data if name[0] in "mc" or (name[0] == "r" and name[:2] != "r0")]:
        plan.sh(f"synced {name}")
    # Written again, so that parity is changed and not only made.
    for name in plan.data:
        plan.write(name, "b", K + 4096, K + 8192)
    plan.boot()
    return plan.finish("every layout of RAID that lvcreate of lvm2 makes")
