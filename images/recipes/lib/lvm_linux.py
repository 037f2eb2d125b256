"""Volume groups of LVM2 that Linux itself made and filled, in the machine of by_linux.py; and what it reads of them,
whole and without each disk."""

import functools
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
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 raid_region_size = 64 mirror_region_size = 64 }
backup { backup = 0 archive = 0 }
global { use_lvmpolld = 0 use_lvmlockd = 0 event_activation = 0 }
allocation { raid_stripe_all_devices = 0 thin_pool_metadata_require_separate_pvs = 0
  cache_pool_metadata_require_separate_pvs = 0 }
log { syslog = 0 }
"""
START = """
export LVM_SUPPRESS_FD_WARNINGS=1
t() { "$@" >/run/said 2>&1 || { echo "FAILED $*"; cat /run/said; }; }
l() { t lvm "$@"; }
put() { t dd if=/data/$1 of=/dev/$VG/$2 bs=4k skip=$3 seek=$4 count=$5 conv=notrunc,fsync; }
hot() { # often, in whole blocks of the cache
  n=0; while [ $n -lt 24 ]; do
    t dd if=/data/$1 of=/dev/$VG/$2 bs=32k skip=$(($3/8)) seek=$(($4/8)) count=$(($5/8)) oflag=direct conv=notrunc
    t dd if=/dev/$VG/$2 of=/dev/null bs=32k skip=$(($4/8)) count=$(($5/8)) iflag=direct
    usleep 100000; n=$((n+1))
  done
}
idle() { # until a change of the layout is done
  n=0; d=$DM-$(echo $1 | sed s/-/--/g)
  until lvm lvs --noheadings -o sync_percent $VG/$1 | grep -q 100 && ! dmsetup status $d | grep -q reshape; do
    sleep 1; n=$((n+1)); [ $n -gt 60 ] && { echo "FAILED reshape of $1"; break; }; done
}
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
    echo; lvm lvs -a --noheadings --separator , -o lv_name,lv_uuid,segtype $VG | sed 's/^ */LIST /'
    lvm lvs -a -o lv_name,segtype,lv_attr,lv_size,sync_percent,devices $VG
  fi
  for v in $VOLUMES; do
    echo "SUM $1 $v $(lvm lvs --noheadings -o lv_attr $VG/$v) $(sha256sum < /dev/$VG/$v 2>/dev/null | cut -c1-64)"
  done
  lvm vgchange -an $VG >/run/said 2>&1
  # What was activated in part stays.
  for i in 1 2 3 4 5; do dmsetup remove_all; done
  dmsetup ls | grep -q "^No devices" || { echo FAILED to stop; cat /run/said; dmsetup ls; }
  n=0; for d in $DISKS; do [ $d = $1 ] && continue; losetup -d /dev/loop$n; n=$((n+1)); done
  rm -rf /run/r
}
"""
SEEDS = "abc"
DATA = 16 << 20


@functools.cache
def pattern(seed, size=DATA):
    """Sectors that tell where they belong; each volume gets a part of its own."""
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


def show(said):
    """What the machine said, where that is of interest."""
    if "FAILED" in said or "DONE" not in said or os.environ.get("VERBOSE"):
        print(said)


class Plan:
    """A group in the making: what is asked of lvm2, and what its volumes hold then."""

    def __init__(self, name, run):
        self.name, self.run = name, run
        self.group = name.replace("lvm-", "")
        self.folder = os.path.join(tools.scratch(), name)
        os.makedirs(self.folder)
        self.paths, self.lines, self.data, self.layouts, self.more = [], [], {}, {}, {}
        self.starts, self.used = {}, 0

    def disks(self, count, mib, metadata="128k"):
        for number in range(count):
            self.paths.append(tools.blank(os.path.join(self.folder, f"disk{number}.img"), mib << 20))
        for number, letter in enumerate(self.letters()):
            # The texts of all changes stay in the areas.
            copies = 1 if number < 3 else 0
            options = f"--metadatasize {metadata} --dataalignment 64k --pvmetadatacopies {copies}"
            self.sh(f"l pvcreate {options} /dev/vd{letter}")
        self.sh(f"l vgcreate -s 64k {self.group} {' '.join(f'/dev/vd{d}' for d in self.letters())}")

    def letters(self, without=()):
        return [chr(97 + number) for number in range(len(self.paths) - len(without))]

    def sh(self, line):
        self.lines.append(line)

    def holds(self, name, layout, data, **more):
        """A volume that is looked at in the end; `more` goes into its record."""
        self.starts.setdefault(name, self.used)
        self.used += min(len(data) or 1 << 20, 1 << 20)
        self.data[name], self.layouts[name], self.more[name] = bytearray(data), layout, more

    def create(self, name, layout, size, *options, fill="a", **more):
        """A volume of `size` bytes, filled with the pattern `fill`."""
        self.sh(f"l lvcreate -y -Wn -n {name} -L {size}b {' '.join(options)} {self.group}")
        self.holds(name, layout, bytes(size), **more)
        if fill:
            self.write(name, fill, 0, size)

    def write(self, name, seed, at, size, command="put"):
        assert at % 4096 == size % 4096 == 0
        from_ = self.starts[name] + at % (1 << 20)
        self.sh(f"{command} {seed} {name} {from_ // 4096} {at // 4096} {size // 4096}")
        bytes_ = pattern(seed)[from_ : from_ + size]
        assert len(bytes_) == size, "there are too many volumes for the patterns"
        self.data[name][at : at + size] = bytes_

    def boot(self, crash=False, without=()):
        """Has the machine do what was asked; it stops in order, or in the middle of everything."""
        end = "echo b > /proc/sysrq-trigger\n" if crash else f"l vgchange -an {self.group}\n"
        names = f"VG={self.group} DM={self.group.replace('-', '--')}"
        script = "\n".join([config("vd"), START, names, *self.lines, "echo DONE", end])
        self.lines = []
        said = self.run(script, [path for number, path in enumerate(self.paths) if number not in without])
        show(said)

    def finish(self, note, findings=()):
        """What Linux reads, whole and without each disk, and the record of it."""
        letters = self.letters()
        script = [config("loop"), START, WITNESS, f'VG={self.group}; DISKS="{" ".join(letters)}"']
        script += [f'VOLUMES="{" ".join(self.data)}"', *(f"round {letter}" for letter in ["none", *letters])]
        said = self.run("\n".join([*script, "echo DONE"]), self.paths, "-snapshot")
        show(said)
        sums = {
            (where, name): (attributes, digest)
            for where, name, attributes, digest in re.findall(r"^SUM (\w+) (\S+) *(\S*) *(\w*)$", said, re.M)
        }
        listed = dict(re.findall(r"^LIST ([^,]+),([^,]+),", said, re.M))
        fixture = Fixture(self.name, "set", note)
        for path in self.paths:
            fixture.file(path)
        fixture.record["logical"] = [self.fact(name, listed, sums) for name in self.data]
        if findings:
            fixture.expect(findings=list(findings))
        return fixture.verified("Linux 6.1 and lvm2 made it, and read these bytes whole and without the disks")

    def fact(self, name, listed, sums):
        digest = hashlib.sha256(self.data[name]).hexdigest()
        _, found = sums["none", name]
        if found != digest and not self.more[name].get("refused"):
            print(f"DIFFERENT: {name} is {found}, and should be {digest}")
        without, otherwise = {}, {}
        whole = self.more[name].get("health", "healthy")
        for letter, path in zip(self.letters(), self.paths):
            attributes, found = sums[letter, name]
            is_partial = attributes[8:9] == "p"
            file = os.path.basename(path)
            if found and found != digest:
                print(f"DIFFERENT without {letter}: {name} ({attributes})")
                otherwise[file] = found
            without[file] = "failed" if not found else "degraded" if is_partial else whole
        record = {
            "id": f"lvm:{listed[name]}", "group": self.group, "name": name, "layout": self.layouts[name],
            "size": len(self.data[name]),
            "sha256": digest, "health": whole, "without": without,
        }  # fmt: skip
        if otherwise:
            record["otherwise"] = otherwise
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
    plan.disks(6, 12, "256k")
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
    # Nothing on the disks says that its sides are the same.
    plan.create("core-sync", "mirrored", 6 * K, "--type mirror -m 1 --mirrorlog core",
                health="degraded", without={"disk0.img": "degraded"})  # fmt: skip
    for name in [name for name in plan.data if name[0] in "mc" or (name[0] == "r" and name[:2] != "r0")]:
        plan.sh(f"synced {name}")
    # Written again, so that parity is changed and not only made.
    for name in plan.data:
        plan.write(name, "b", K + 4096, K + 8192)
    plan.boot()
    return plan.finish("every layout of RAID that lvcreate of lvm2 makes", ["lvm-volume-doubtful"])


@group("lvm-linux-states")
def states(plan):
    plan.disks(4, 10)
    on = lambda count: " ".join(f"/dev/vd{letter}" for letter in "abcd"[:count])

    def create(name, layout, kind, count, **more):
        plan.sh(f"l lvcreate -y -Wn -n {name} -L {6 * K}b {kind} {plan.group} {on(count)}")
        plan.holds(name, layout, bytes(6 * K), **more)
        plan.write(name, "a", 0, 6 * K)

    create("r1-old", "mirrored", "--type raid1 -m 1", 2, health="degraded")
    create("r1x3-old", "mirrored", "--type raid1 -m 2", 3, health="degraded")
    create("r10-old", "raid10", "--type raid10 -i 2 -m 1 -I 4k", 4, health="degraded")
    create("r4-old", "raid4", "--type raid4 -i 2 -I 4k", 3, health="degraded")
    create("r5-old", "raid5", "--type raid5 -i 3 -I 4k", 4, health="degraded")
    create("r1-dirty", "mirrored", "--type raid1 -m 1", 2)
    create("r5-dirty", "raid5", "--type raid5 -i 3 -I 4k", 4)
    create("r1-sync", "mirrored", "--type raid1 -m 1 --nosync", 2, health="degraded")
    plan.sh(f"l lvcreate -y -Wn -n moved -L {36 * K}b {plan.group} /dev/vda")
    # All of it is where it is moved from, and nothing says how much is where it goes.
    moved = {"disk0.img": "failed", "disk3.img": "healthy"}
    plan.holds("moved", "simple", bytes(36 * K), without=moved, otherwise={})
    plan.write("moved", "a", 0, 10 * K)
    for name in [name for name in plan.data if name.endswith(("-old", "-dirty"))]:
        plan.sh(f"synced {name}")
    plan.boot()
    # The second disk is missing, and the volumes are written to.
    plan.sh(f"l vgchange -ay --activationmode degraded {plan.group}")
    for name in [name for name in plan.data if name.endswith("-old")]:
        plan.write(name, "b", K, 3 * K)
    plan.boot(without=[1])
    # All are there again, and the machine is cut off while extents are being moved.
    for name in ("r1-dirty", "r5-dirty", "r1-sync", "moved"):
        plan.sh(f"l lvchange -ay {plan.group}/{name}")
    plan.sh("lvm pvmove -b -i +600 -n moved /dev/vda /dev/vdd >/dev/null 2>&1 </dev/null")
    for name in ("r1-dirty", "r5-dirty", "r1-sync", "moved"):
        plan.write(name, "c", K, 4 * K)
    plan.sh(f"lvm lvs -a -o lv_name,segtype,lv_attr,sync_percent,devices {plan.group}; dmsetup status")
    plan.boot(crash=True)
    note = "sides that are old, never in sync, or were being written and moved when the machine was cut off"
    return plan.finish(note, ["lvm-volume-doubtful"])


@group("lvm-linux-reshaped")
def reshaped(plan):
    plan.disks(6, 18)
    group = plan.group

    def create(name, layout, kind, letters, size=12 * K, **more):
        disks = " ".join(f"/dev/vd{letter}" for letter in letters)
        plan.sh(f"l lvcreate -y -Wn -n {name} -L {size}b {kind} {group} {disks}")
        plan.holds(name, layout, bytes(size), **more)
        plan.write(name, "a", 0, size)
        plan.sh(f"synced {name}")

    def change(name, options, disks=""):
        plan.sh(f"l lvconvert -y {options} {group}/{name} {disks}; idle {name}")
        if "--stripes " in options:
            # It grows by as much as the new disks give.
            plan.data[name] += bytes(len(plan.data[name]) // 2)

    create("r5-wider", "raid5", "--type raid5 -i 2 -I 4k", "abc")
    change("r5-wider", "--stripes 3")
    create("r5-chunk", "raid5", "--type raid5 -i 2 -I 4k", "abc")
    change("r5-chunk", "--stripesize 16k")
    create("r5-layout", "raid5", "--type raid5_ls -i 2 -I 4k", "abc")
    change("r5-layout", "--type raid5_ra")
    create("r6-5", "raid6", "--type raid5 -i 3 -I 4k", "abcd")
    change("r6-5", "--type raid6", "/dev/vde")
    create("r6-zr", "raid6", "--type raid5 -i 3 -I 4k", "abcd")
    change("r6-zr", "--type raid6", "/dev/vde")
    change("r6-zr", "--type raid6")
    create("r10-wider", "raid10", "--type raid10 -i 2 -m 1 -I 4k", "abcd")
    change("r10-wider", "--stripes 3")
    create("r1-5", "raid5", "--type raid1 -m 1", "ab")
    change("r1-5", "--type raid5_n")
    for name in plan.data:
        plan.write(name, "b", K + 4096, 2 * K)
    plan.sh(f"lvm lvs -a -o+segtype,devices {group}; dmsetup status")
    plan.boot(crash=True)
    return plan.finish("volumes of RAID that were made another RAID, with the room that this takes")


@group("lvm-linux-rebuilt")
def rebuilt(plan):
    plan.disks(4, 40)
    group = plan.group
    size = 8 << 20
    slowly = "--minrecoveryrate 1k --maxrecoveryrate 128k"
    plan.sh("echo 1 > /proc/sys/dev/raid/speed_limit_min; echo 128 > /proc/sys/dev/raid/speed_limit_max")

    def spots(name, seed, at):
        for start in range(at, size, 1 << 20):
            plan.write(name, seed, start, K)

    def create(name, layout, kind, count, **more):
        disks = " ".join(f"/dev/vd{letter}" for letter in "abc"[:count])
        plan.sh(f"l lvcreate -y -Wn -n {name} -L {size}b {kind} {group} {disks}")
        plan.sh(f"t dd if=/dev/zero of=/dev/{group}/{name} bs=64k count={size // K} conv=fsync")
        plan.holds(name, layout, bytes(size), **{"health": "degraded", **more})

    # A side is replaced by another disk, which is not done yet.
    for name, layout, kind, count in [
        ("r1", "mirrored", "--type raid1 -m 1", 2), ("r1x3", "mirrored", "--type raid1 -m 2", 3),
        ("r5", "raid5", "--type raid5 -i 2 -I 4k", 3),     ]:  # fmt: skip
        create(name, layout, kind, count)
        plan.sh(f"echo 200000 > /proc/sys/dev/raid/speed_limit_max; synced {name}")
        spots(name, "a", 0)
        plan.sh("echo 128 > /proc/sys/dev/raid/speed_limit_max")
        plan.sh(f"l lvchange -y {slowly} {group}/{name}")
        plan.sh(f"l lvconvert -y --replace /dev/vdb {group}/{name} /dev/vdd")
        spots(name, "b", 8192)
    # Chunks are on their way to where they will be.
    create("r5-mid", "simple", "--type raid5 -i 2 -I 4k", 3, sha256="", health="failed", refused="is being reshaped")
    limit = "/proc/sys/dev/raid/speed_limit_max"
    plan.sh(f"echo 200000 > {limit}; synced r5-mid; echo 128 > {limit}")
    plan.sh(f"l lvchange -y {slowly} {group}/r5-mid; l lvconvert -y --stripesize 16k {group}/r5-mid")
    # The first synchronization is not done yet.
    create("r5-first", "raid5", f"--type raid5 -i 2 -I 4k {slowly}", 3, health="healthy")
    spots("r5-first", "c", 0)
    create("r1-sync", "mirrored", f"--type raid1 -m 1 {slowly}", 2)
    spots("r1-sync", "c", 4096)
    plan.sh(f"lvm lvs -a -o lv_name,segtype,lv_attr,sync_percent,devices {group}; dmsetup status")
    plan.boot(crash=True)
    findings = ["lvm-volume-doubtful", "lvm-volume-refused"]
    return plan.finish("sides that were being made when the machine was cut off", findings)


@group("lvm-linux-snapshots")
def snapshots(plan):
    plan.disks(3, 18)
    group = plan.group
    plan.create("base", "simple", 12 * K)

    def of(name, origin, options, layout="snapshot"):
        plan.sh(f"l lvcreate -y -s -n {name} {options} {group}/{origin}")
        plan.holds(name, layout, plan.data[origin])

    of("before", "base", "-L 384k -c 4k")
    plan.write("base", "b", K, 2 * K)
    plan.write("before", "c", 2 * K + 4096, 2 * K)
    of("later", "base", "-L 640k -c 16k")
    plan.write("base", "c", 3 * K + 8192, 3 * K)
    plan.write("later", "a", 9 * K, K)
    plan.write("before", "b", 3 * K, 4096)
    plan.create("small", "simple", 4 * K)
    of("full", "small", "-L 64k -c 4k")
    plan.more["full"] = {"layout": "simple", "refused": "is not valid any more", "sha256": "", "health": "failed"}
    plan.write("small", "b", 0, 2 * K)
    # A store with more exceptions than one chunk has places.
    plan.create("large", "simple", 32 * K)
    of("many", "large", "-L 2304k -c 4k")
    plan.write("large", "b", 7 * 4096, 31 * K)
    plan.write("many", "c", 20 * K, 2 * K)
    # Volumes of a pool, and snapshots of snapshots.
    plan.sh(f"l lvcreate -y -n pool --type thin-pool -L {380 * K}b -c 64k --poolmetadatasize 2m {group}")
    plan.sh(f"l lvcreate -y -n thin -V {16 * K}b --thinpool pool {group}")
    plan.holds("thin", "thin", bytes(16 * K))
    plan.write("thin", "a", 0, 10 * K)

    def thin_of(name, origin):
        plan.sh(f"l lvcreate -y -s -kn -n {name} {group}/{origin}")
        plan.sh(f"l lvchange -ay {group}/{name}")
        plan.holds(name, "thin", plan.data[origin])

    thin_of("snap1", "thin")
    plan.write("thin", "b", K + 4096, 3 * K)
    plan.write("snap1", "c", 2 * K, 3 * K + 4096)
    thin_of("snap2", "snap1")
    plan.write("snap1", "a", 4 * K, 2 * K)
    plan.write("snap2", "b", 12 * K, K)
    thin_of("snap3", "snap2")
    plan.write("snap3", "a", 11 * K + 4096, 8192)
    plan.write("snap2", "a", 12 * K, 4096)
    # What is discarded reads as zeros.
    plan.sh(f"t blkdiscard -o {6 * K} -l {2 * K} /dev/{group}/snap3")
    plan.data["snap3"][6 * K : 8 * K] = bytes(2 * K)
    plan.sh(f"l lvcreate -y -n wide -V 512m --thinpool pool {group}")
    plan.holds("wide", "thin", b"")
    plan.data["wide"] = bytearray(512 << 20)
    # More blocks than one node of a table has places.
    for number in range(300):
        plan.write("wide", "b", number * (27 * K) + 12288, 4096)
    plan.create("outer", "simple", 6 * K)
    plan.sh(f"l lvchange -an -pr {group}/outer")
    plan.sh(f"l lvcreate -y -s -n inner --thinpool pool {group}/outer")
    plan.sh(f"l lvchange -ay {group}/inner")
    plan.holds("inner", "thin", plan.data["outer"])
    plan.write("inner", "c", K + 8192, 4096)
    plan.write("inner", "b", 4 * K, K)
    plan.sh(f"lvm lvs -a -o+segtype,devices {group}; dmsetup status")
    plan.boot(crash=True)
    note = "snapshots of both kinds, written to on either side; the machine was cut off"
    return plan.finish(note, ["lvm-volume-refused"])


@group("lvm-linux-stacked")
def stacked(plan):
    plan.disks(4, 14)
    group = plan.group
    on = lambda *letters: " ".join(f"/dev/vd{letter}" for letter in letters)
    # A pool whose parts are of RAID.
    plan.sh(f"l lvcreate -y -n pool --type raid5 -i 2 -I 64k -L {24 * K}b {group} {on('a', 'b', 'c')}")
    plan.sh(f"l lvcreate -y -n meta --type raid1 -m 1 -L 2m {group} {on('a', 'b')}")
    plan.sh("synced pool; synced meta")
    plan.sh(f"l lvconvert -y --type thin-pool -c 64k --poolmetadata meta {group}/pool")
    for name in ("thin", "other"):
        plan.sh(f"l lvcreate -y -n {name} -V {16 * K}b --thinpool pool {group}")
        plan.holds(name, "thin", bytes(16 * K))
    plan.write("thin", "a", K + 4096, 6 * K)
    plan.sh(f"l lvcreate -y -s -kn -n snap {group}/thin")
    plan.sh(f"l lvchange -ay {group}/snap")
    plan.holds("snap", "thin", plan.data["thin"])
    plan.write("thin", "b", 3 * K, 2 * K)
    plan.write("other", "c", 8 * K + 8192, 3 * K)
    # A snapshot of the older driver of a RAID, and of a thin volume; the pool of a cache on RAID, and one of a mirror.
    plan.create("r1", "mirrored", 8 * K, "--type raid1 -m 1")
    plan.sh("synced r1")
    for name, origin in [("cow", "r1"), ("cowthin", "other")]:
        plan.sh(f"l lvcreate -y -s -n {name} -L {4 * K}b -c 4k {group}/{origin} {on('d')}")
        plan.holds(name, "snapshot", plan.data[origin])
        plan.write(origin, "b", K, K + 4096)
        plan.write(name, "c", 4 * K, K)
    plan.sh(f"l lvcreate -y -Wn -n cached --type raid5 -i 2 -I 16k -L {16 * K}b {group} {on('a', 'b', 'c')}")
    plan.holds("cached", "cached", bytes(16 * K))
    plan.write("cached", "a", 0, 16 * K)
    plan.sh(f"synced cached; l lvcreate -y -n fast --type raid1 -m 1 -L {48 * K}b {group} {on('c', 'd')}; synced fast")
    plan.sh(f"l lvconvert -y --type cache --cachevol {group}/fast --cachemode writeback -c 32k {group}/cached")
    plan.write("cached", "b", K, 3 * K, "hot")
    plan.sh(f"t dmsetup message {group.replace('-', '--')}-cached 0 migration_threshold 0")
    plan.write("cached", "c", 2 * K + 4096, K)
    # Linux does not start a volume without the store of its snapshot, and does not say that one lies on a RAID.
    for name, more in [
        ("other", {"disk3.img": "healthy"}), ("r1", {"disk3.img": "healthy"}),
        ("cow", dict.fromkeys(["disk0.img", "disk1.img"], "degraded")),
        ("cowthin", dict.fromkeys(["disk0.img", "disk1.img", "disk2.img"], "degraded")),
    ]:  # fmt: skip
        plan.more[name] = {"without": more}
    plan.sh(f"lvm lvs -a -o+segtype,devices {group}; dmsetup status")
    plan.boot(crash=True)
    return plan.finish("pools, snapshots and caches on RAID; the machine was cut off")


@group("lvm-linux-caches")
def caches(plan):
    plan.disks(2, 28)
    group = plan.group
    slow, fast = "/dev/vda", "/dev/vdb"

    def origin(name, **more):
        plan.sh(f"l lvcreate -y -Wn -n {name} -L {16 * K}b {group} {slow}")
        plan.holds(name, "cached", bytes(16 * K), **more)
        plan.write(name, "a", 0, 16 * K)

    def written(name):
        """Blocks that the cache takes, and later writes to parts of them."""
        plan.write(name, "b", K, 3 * K, "hot")
        plan.write(name, "c", 8 * K, 2 * K, "hot")
        # From here on nothing is written back.
        plan.sh(f"t dmsetup message {group.replace('-', '--')}-{name} 0 migration_threshold 0")
        plan.write(name, "a", 2 * K, K)
        plan.write(name, "c", 2 * K + 4096, 8192)
        plan.write(name, "b", 12 * K, K + 4096)

    def pool(name, mode, options, **more):
        origin(name, **more)
        plan.sh(f"l lvcreate -y -n {name}p --type cache-pool -L {8 * K}b -c 32k --poolmetadatasize 2m {group} {fast}")
        plan.sh(f"l lvconvert -y --type cache --cachepool {group}/{name}p --cachemode {mode} {options} {group}/{name}")
        written(name)

    pool("back2", "writeback", "--cachemetadataformat 2")
    pool("back1", "writeback", "--cachemetadataformat 1")
    pool("through", "writethrough", "", without={"disk1.img": "degraded"})
    origin("vol")
    plan.sh(f"l lvcreate -y -n volc -L {48 * K}b {group} {fast}")
    plan.sh(f"l lvconvert -y --type cache --cachevol {group}/volc --cachemode writeback -c 32k {group}/vol")
    written("vol")
    for name, size in [("write4k", 4096), ("write512", 512)]:
        origin(name)
        plan.sh(f"l lvcreate -y -n {name}c -L {8 * K}b {group} {fast}")
        settings = f"--cachesettings 'block_size={size} high_watermark=100 low_watermark=99 autocommit_time=10'"
        plan.sh(f"l lvchange -an {group}/{name} {group}/{name}c")
        plan.sh(f"l lvconvert -y --type writecache --cachevol {group}/{name}c {settings} {group}/{name}")
        plan.sh(f"l lvchange -ay {group}/{name}")
        plan.write(name, "b", K + 4096, K)
        plan.write(name, "c", 2 * K, 3 * K)
        plan.write(name, "b", 3 * K, 8192)
    plan.sh(f"lvm lvs -a -o+segtype,devices {group}; dmsetup status")
    plan.boot(crash=True)
    return plan.finish("caches with blocks that were written nowhere else; the machine was cut off")
