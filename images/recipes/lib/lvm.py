"""Volume groups of LVM2. lvm2 itself writes the labels and the metadata from a text that is made here; the data
is laid out as the kernel's drivers do (drivers/md: dm-stripe.c, raid5.c, raid10.c), for no kernel is asked."""

import contextlib
import hashlib
import os
import re
import shutil
import stat

from . import tools

EXTENT = 64 << 10
SECTOR = 512
CONFIG = """
devices {{ dir = "{nodes}" scan = [ "{nodes}" ] use_devicesfile = 0 filter = [ {devices}, "r|.*|" ] global_filter = [ {devices}, "r|.*|" ]
  obtain_device_list_from_udev = 0 external_device_info_source = "none" sysfs_scan = 0 md_component_detection = 0
  multipath_component_detection = 0 scan_lvs = 0 write_cache_state = 0 }}
activation {{ udev_sync = 0 udev_rules = 0 monitoring = 0 checks = 0 }}
backup {{ backup = 0 archive = 0 }}
global {{ use_lvmpolld = 0 use_lvmlockd = 0 locking_dir = "{folder}/lock" event_activation = 0
  system_id_source = "lvmlocal" thin_check_executable = "" cache_check_executable = "" }}
log {{ syslog = 0 }}
"""
# Where lvm2 finds the disks, by names that are the same in every run: it writes them into the metadata.
NODES = "/dev/volfold-seed"
LOCAL = 'local {{ system_id = "{0}" }}\n'


def uuid(kind, number):
    """32 letters in the groups of lvm2."""
    letters = f"{kind}{number:0{32 - len(kind)}d}"
    cuts = [0, 6, 10, 14, 18, 22, 26, 32]
    return "-".join(letters[a:b] for a, b in zip(cuts, cuts[1:]))


def pattern(name, size):
    """Bytes that are unlike at every place, and are packed well."""
    return b"".join(b"%-8.8s%08x" % (name.encode(), at) for at in range(0, size, 16))[:size]


class Disk:
    """A physical volume: a file of its own, or the partition of one that begins at `start`."""

    def __init__(self, path, number, mib, start=0, size=None, copies=1):
        self.path, self.number, self.start, self.copies = path, number, start, copies
        if start == 0:
            tools.blank(path, mib << 20)
        self.size = size or (mib << 20)
        self.used = 0
        self.pe_start = 1 << 20
        self.extents = (self.size - self.pe_start) // EXTENT

    @property
    def name(self):
        return f"pv{self.number}"

    def take(self, count):
        first, self.used = self.used, self.used + count
        assert self.used <= self.extents, f"{self.path} is full"
        return first

    def write(self, extent, data, inside=0):
        tools.patch(self.path, self.start + self.pe_start + extent * EXTENT + inside, data)


class Group:
    """A volume group in the making: its disks, and the sections of its volumes."""

    def __init__(self, name, number, disks, system_id=None):
        self.name, self.number, self.disks = name, number, disks
        self.volumes, self.order, self.facts = {}, [], []
        self.sequence = 3
        self.system_id = system_id
        self.extra = f'system_id = "{system_id}"\n' if system_id else ""

    def volume(self, name, segments, visible=True, flags=(), created=1767225600):
        """A volume with `segments`, each a pair of its extents and its lines."""
        number = self.number * 1000 + len(self.order)
        words = ["READ", "WRITE", *(["VISIBLE"] if visible else []), *flags]
        status = ", ".join(f'"{word}"' for word in words)
        lines = [f'id = "{uuid("lv", number)}"', f"status = [{status}]", "flags = []"]
        if created:
            lines += [f"creation_time = {created}", 'creation_host = "seed"']
        lines.append(f"segment_count = {len(segments)}")
        start = 0
        for index, (extents, body) in enumerate(segments, 1):
            lines += [f"segment{index} {{", f"start_extent = {start}", f"extent_count = {extents}", body, "}"]
            start += extents
        self.volumes[name] = lines
        self.order.append(name)
        return f"lvm:{uuid('lv', number)}"

    def text(self):
        lines = [
            f"{self.name} {{", f'id = "{uuid("vg", self.number)}"', f"seqno = {self.sequence}", 'format = "lvm2"',
            'status = ["RESIZEABLE", "READ", "WRITE"]', "flags = []", self.extra, f"extent_size = {EXTENT // SECTOR}",
            "max_lv = 0", "max_pv = 0", "metadata_copies = 0", "physical_volumes {",
        ]  # fmt: skip
        for disk in self.disks:
            lines += [
                f"{disk.name} {{", f'id = "{self.disk_uuid(disk)}"', f'device = "/dev/sd{chr(97 + disk.number)}"',
                'status = ["ALLOCATABLE"]', "flags = []", f"dev_size = {disk.size // SECTOR}",
                f"pe_start = {disk.pe_start // SECTOR}", f"pe_count = {disk.extents}", "}",
            ]  # fmt: skip
        lines += ["}", "logical_volumes {"]
        for name in self.order:
            lines += [f"{name} {{", *self.volumes[name], "}"]
        lines += ["}", "}", 'contents = "Text Format Volume Group"', "version = 1", 'description = "made"']
        lines += ['creation_host = "seed"', "creation_time = 1767225600", ""]
        return "\n".join(lines)

    def disk_uuid(self, disk):
        return uuid("pv", self.number * 1000 + disk.number)

    @contextlib.contextmanager
    def attached(self):
        """lvm2 with the disks of the group as its only devices."""
        folder = os.path.join(tools.scratch(), f"lvm-{self.name}-{self.number}")
        os.makedirs(f"{folder}/lock", exist_ok=True)
        loops, nodes = [], []
        os.mkdir(NODES)
        try:
            for disk in self.disks:
                loops.append(
                    tools.run(
                        "losetup", "--find", "--show", "--offset", disk.start, "--sizelimit", disk.size, disk.path
                    ).decode().strip()
                )  # fmt: skip
                nodes.append(f"{NODES}/sd{chr(97 + disk.number)}")
                os.mknod(nodes[-1], 0o600 | stat.S_IFBLK, os.stat(loops[-1]).st_rdev)
            names = ", ".join(f'"a|^{node}$|"' for node in nodes)
            with open(f"{folder}/lvm.conf", "w", encoding="utf-8") as file:
                file.write(CONFIG.format(devices=names, folder=folder, nodes=NODES))
            with open(f"{folder}/lvmlocal.conf", "w", encoding="utf-8") as file:
                file.write(LOCAL.format(self.system_id or ""))

            def lvm(*command):
                env = tools.fixed(LVM_SYSTEM_DIR=folder, LVM_SUPPRESS_FD_WARNINGS="1")
                return tools.run("lvm", *command, env=env, cwd=folder).decode()

            yield lvm, nodes, folder
        finally:
            for loop in loops:
                tools.run("losetup", "-d", loop)
            shutil.rmtree(NODES)

    def write_metadata(self):
        """Has lvm2 write labels and metadata, and gives what it lists of the volumes."""
        with self.attached() as (lvm, nodes, folder):
            for disk, node in zip(self.disks, nodes):
                lvm("pvcreate", "--driverloaded", "n", "-ff", "-y", "--norestorefile", "--uuid", self.disk_uuid(disk),
                    "--dataalignment", f"{disk.pe_start}b", "--pvmetadatacopies", disk.copies, node)  # fmt: skip
            return self.restore(lvm, folder)

    def restore(self, lvm, folder):
        with open(f"{folder}/text", "w", encoding="utf-8") as file:
            file.write(self.text())
        lvm("vgcfgrestore", "--driverloaded", "n", "--force", "-y", "-f", "text", self.name)
        lvm("vgck", "--driverloaded", "n", self.name)
        listed = lvm("lvs", "--driverloaded", "n", "-a", "--noheadings", "--nosuffix", "--units", "b",
                     "-o", "lv_name,lv_uuid,segtype,lv_size", self.name)  # fmt: skip
        found = {}
        for line in listed.splitlines():
            name, own, kind, size = line.split()
            found.setdefault(name.strip("[]"), (own, kind, int(size)))
        shown = {name for name in self.order if not re.fullmatch(r"snapshot\d+", name)}
        assert shown <= set(found), f"lvs does not list {shown - set(found)}"
        return found

    def fact(self, own, name, layout, data, without, health="healthy", **more):
        """What is to be read; `without` says what becomes of it for each disk that it lies on."""
        self.facts.append({
            "id": own, "group": self.name, "name": name, "layout": layout, "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "health": health,
            "without": {os.path.basename(disk.path): without.get(disk, health) for disk in self.disks}, **more,
        })  # fmt: skip
        return own

    def refuse(self, own, name, size, why):
        """A volume that is listed, and whose reads are errors that say `why`."""
        self.facts.append({
            "id": own, "group": self.name, "name": name, "layout": "simple", "size": size, "sha256": "",
            "health": "failed", "without": {}, "refused": why,
        })  # fmt: skip

    # Layouts: each writes `data` and adds the volume.

    def runs(self, name, data, runs, **options):
        """A linear volume in runs of (disk, extents)."""
        segments, at = [], 0
        for disk, count in runs:
            first = disk.take(count)
            disk.write(first, data[at : at + count * EXTENT])
            at += count * EXTENT
            segments.append((count, stripes([(disk, first)])))
        assert at == len(data)
        layout = "simple" if len(runs) == 1 else "spanned"
        own = self.volume(name, segments, **options)
        return self.fact(own, name, layout, data, {disk: "failed" for disk, _ in runs})

    def striped(self, name, data, disks, chunk):
        own = len(data) // EXTENT // len(disks)
        columns = deal(data, len(disks), chunk)
        areas = []
        for disk, column in zip(disks, columns):
            first = disk.take(own)
            disk.write(first, column)
            areas.append((disk, first))
        own = self.volume(name, [(own * len(disks), stripes(areas, chunk))])
        return self.fact(own, name, "striped", data, dict.fromkeys(disks, "failed"))

    def image(self, name, disk, data, flags=()):
        """A hidden volume of whole extents on `disk`."""
        count = -(-len(data) // EXTENT)
        first = disk.take(count)
        disk.write(first, data)
        self.volume(name, [(count, stripes([(disk, first)]))], visible=False, flags=flags)
        return name

    def mirror(self, name, data, disks, log_disk):
        """A mirror of the older driver, with a log that says that all regions are in sync."""
        areas = [f'"{self.image(f"{name}_mimage_{n}", disk, data)}", 0' for n, disk in enumerate(disks)]
        region = 16 << 10
        regions = len(data) // region
        log = (b"rRiM" + (2).to_bytes(4, "little") + regions.to_bytes(8, "little")).ljust(1024, b"\0")
        log += ((1 << regions) - 1).to_bytes(-(-regions // 8), "little")
        self.image(f"{name}_mlog", log_disk, log.ljust(EXTENT, b"\0"))
        body = (
            f'type = "mirror"\nmirror_count = {len(disks)}\nmirror_log = "{name}_mlog"\n'
            f"region_size = {region // SECTOR}\nmirrors = [{', '.join(areas)}]"
        )
        own = self.volume(name, [(len(data) // EXTENT, body)])
        return self.fact(own, name, "mirrored", data, dict.fromkeys([*disks, log_disk], "degraded"))

    def raid(self, name, kind, data, disks, chunk=4096, flags=(), state=None, **facts):
        """A RAID of `kind`; `state` may change the superblock of a side (number, dict)."""
        columns = raid_columns(kind, data, len(disks), chunk)
        names = []
        for number, (disk, column) in enumerate(zip(disks, columns)):
            superblock = raid_superblock(kind, number, len(disks), chunk, **(state or {}).get(number, {}))
            if kind != "raid0":
                names.append(self.image(f"{name}_rmeta_{number}", disk, superblock))
            own = [flag for side, flag in flags if side == number]
            names.append(self.image(f"{name}_rimage_{number}", disk, column, own))
        listed = ", ".join(f'"{one}"' for one in names)
        count = "stripe_count" if kind.startswith("raid0") else "device_count"
        lines = [f'type = "{kind}"', f"{count} = {len(disks)}"]
        if kind != "raid1":
            lines.append(f"stripe_size = {chunk // SECTOR}")
        if not kind.startswith("raid0"):
            lines.append("region_size = 64")
        if kind == "raid10":
            lines.append("data_copies = 2")
        lines.append(f"{'raid0_lvs' if kind == 'raid0' else 'raids'} = [{listed}]")
        own = self.volume(name, [(len(data) // EXTENT, "\n".join(lines))])
        level = RAID[kind][0]
        layout = {0: "striped", 1: "mirrored", 10: "raid10", 6: "raid6"}.get(level, kind[:5])
        facts = {"without": dict.fromkeys(disks, "failed" if level == 0 else "degraded"), **facts}
        return self.fact(own, name, layout, data, **facts)


def stripes(areas, chunk=None):
    listed = ", ".join(f'"{disk.name}", {first}' for disk, first in areas)
    size = f"stripe_size = {chunk // SECTOR}\n" if chunk else ""
    return f'type = "striped"\nstripe_count = {len(areas)}\n{size}stripes = [{listed}]'


def chunks(data, chunk):
    return [data[at : at + chunk] for at in range(0, len(data), chunk)]


def deal(data, count, chunk):
    return [b"".join(chunks(data, chunk)[column::count]) for column in range(count)]


def made_of(xml, tool, size, *options):
    """The metadata that `tool` of thin-provisioning-tools makes of `xml`, and its checker accepts."""
    source = os.path.join(tools.scratch(), "metadata.xml")
    target = tools.blank(os.path.join(tools.scratch(), "metadata.bin"), size)
    with open(source, "w", encoding="utf-8") as file:
        file.write(xml)
    tools.run(f"{tool}_restore", *options, "-i", source, "-o", target)
    tools.run(f"{tool}_check", target)
    with open(target, "rb") as file:
        return file.read()


# Numbers of the layouts: drivers/md/raid5.h.
RAID = {
    "raid0": (0, 0), "raid0_meta": (0, 0), "raid1": (1, 0), "raid4": (5, 4), "raid10": (10, 0x102),
    "raid5_la": (5, 0), "raid5_ra": (5, 1), "raid5_ls": (5, 2), "raid5_rs": (5, 3), "raid5_n": (5, 5),
    "raid6_zr": (6, 8), "raid6_nr": (6, 9), "raid6_nc": (6, 10), "raid6_n_6": (6, 5),
}  # fmt: skip


def raid_superblock(kind, position, count, chunk, events=7, failed=0, recovered=2**64 - 1, synced=2**64 - 1):
    """struct dm_raid_superblock of drivers/md/dm-raid.c."""
    level, layout = RAID[kind]
    number = lambda value, size=4: value.to_bytes(size, "little")
    parts = [
        b"DmRd", number(1), number(count), number(position), number(events, 8), number(failed, 8),
        number(recovered, 8), number(synced, 8), number(level), number(layout),
        number(0 if kind == "raid1" else chunk // SECTOR),
    ]  # fmt: skip
    return b"".join(parts).ljust(4096, b"\0")


def raid_columns(kind, data, count, chunk):
    """The bytes of each side."""
    level, layout = RAID[kind]
    if level == 0:
        return deal(data, count, chunk)
    if level == 1:
        return [data] * count
    if level == 10:
        return [column for column in deal(data, count // 2, chunk) for _ in range(2)]
    parities = level - 4
    columns = [bytearray() for _ in range(count)]
    rows = chunks(data, chunk * (count - parities))
    for number, row in enumerate(rows):
        place = place5 if level == 5 else place6
        lay(columns, chunks(row, chunk), chunk, *place(layout, number, count))
    return [bytes(column) for column in columns]


def place5(layout, row, count):
    """Where parity and data of a row lie: (columns of the data, of P, of Q, powers of the data in Q)."""
    last = count - 1
    p = {0: last - row % count, 1: row % count, 2: last - row % count, 3: row % count, 4: 0, 5: last}[layout]
    if layout in (2, 3):
        return [(p + 1 + n) % count for n in range(last)], p, None, []
    return [column for column in range(count) if column != p], p, None, []


def place6(layout, row, count):
    if layout == 5:  # P and Q in the last columns
        data = list(range(count - 2))
        return data, count - 2, count - 1, data
    if layout == 10:  # P rotates left, Q before it, data after P
        p = count - 1 - row % count
        q = (p - 1) % count
        data = [(p + 1 + n) % count for n in range(count - 2)]
    else:  # 8: right, 9: left and one row ahead; Q after P, data in order
        p = row % count if layout == 8 else count - 1 - (row + 1) % count
        q = (p + 1) % count
        data = [column for column in range(count) if column not in (p, q)]
    # DDF: the power is the number of the column.
    return data, p, q, data


def lay(columns, parts, chunk, data, p, q, exponents):
    parts = [part.ljust(chunk, b"\0") for part in parts]
    parts += [bytes(chunk)] * (len(data) - len(parts))
    parity = 0
    for part in parts:
        parity ^= int.from_bytes(part, "little")
    columns[p] += parity.to_bytes(chunk, "little")
    for column, part in zip(data, parts):
        columns[column] += part
    if q is not None:
        tables = [bytes(times(power(exponent), byte) for byte in range(256)) for exponent in exponents]
        syndrome = 0
        for part, table in zip(parts, tables):
            syndrome ^= int.from_bytes(part.translate(table), "little")
        columns[q] += syndrome.to_bytes(chunk, "little")


def times(a, b):
    """Multiplication modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def power(exponent):
    result = 1
    for _ in range(exponent):
        result = times(result, 2)
    return result
