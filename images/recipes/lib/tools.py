"""Running the tools, and the files they leave."""

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
FIXTURES = os.path.join(ROOT, "tests", "fixtures")
SAMPLES = os.path.join(ROOT, "samples")

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": "1767225600",
    "E2FSPROGS_FAKE_TIME": "1767225600",
    "MTOOLS_SKIP_CHECK": "1",
    "MTOOLSRC": os.path.join(HERE, "mtools.conf"),
    "MKE2FS_CONFIG": "/dev/null",
}

_scratch = None
_shim = None


def scratch():
    """The folder of this run, in memory where that is possible; removed at the end."""
    global _scratch
    if _scratch is None:
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        _scratch = tempfile.mkdtemp(prefix="volfold-recipes-", dir=parent)
    return _scratch


def clean():
    if _scratch:
        shutil.rmtree(_scratch, ignore_errors=True)


def fixed(**more):
    """The environment in which the clock stands still."""
    global _shim
    if _shim is None:
        _shim = os.path.join(scratch(), "fixed.so")
        source = os.path.join(HERE, "fixed.c")
        run("gcc", "-O1", "-w", "-shared", "-fPIC", "-o", _shim, source, "-ldl")
    return {**ENVIRONMENT, "LD_PRELOAD": _shim, **more}


def run(*command, env=None, stdin=None, check=True, cwd=None):
    """Runs a tool and gives its stdout; stops with its stderr if it fails."""
    done = subprocess.run(
        [str(part) if not isinstance(part, bytes) else part for part in command],
        env=env or ENVIRONMENT,
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
    )
    if check and done.returncode != 0:
        shown = " ".join(os.fsdecode(str(part)) for part in command)[:300]
        sys.exit(f"{shown}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def blank(path, size):
    """A file of `size` zero bytes, as one hole."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def peek(path, offset, count):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(count)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pack(source, target):
    """Writes `source` to `target` as gzip, without a name or a time in it."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, "rb") as file, open(target, "wb") as out:
        with gzip.GzipFile("", "wb", 9, out, mtime=0) as packed:
            shutil.copyfileobj(file, packed, 1 << 20)


@contextlib.contextmanager
def mounted(kind, image, options, folder=None):
    """Mounts `image` (ntfs: by ntfs-3g; exfat: by exfat-fuse; ext: by the kernel) and gives the folder."""
    folder = folder or tempfile.mkdtemp(dir=scratch())
    by_fuse = {
        "ntfs": ["ntfs-3g", "-o", f"no_detach,noatime,{options}"],
        "exfat": ["mount.exfat-fuse", "-d", "-o", f"noatime,{options}"],
    }
    if kind == "exfat" and os.path.isfile(image):
        # libfuse mounts block devices only.
        device = run("losetup", "--find", "--show", image).decode().strip()
        try:
            with mounted(kind, device, options, folder):
                yield folder
        finally:
            run("losetup", "-d", device)
        return
    if kind in by_fuse:
        log = tempfile.TemporaryFile(dir=scratch())
        daemon = subprocess.Popen(
            [*by_fuse[kind], image, folder], env=fixed(), stdout=subprocess.DEVNULL, stderr=log
        )
        while not os.path.ismount(folder):
            if daemon.poll() is not None:
                log.seek(0)
                sys.exit(f"{by_fuse[kind][0]} {image}: {log.read().decode()}")
            time.sleep(0.01)
        try:
            yield folder
        finally:
            run("umount", folder)
            daemon.wait()
    else:
        device = run("losetup", "--find", "--show", image).decode().strip()
        try:
            run("mount", "-t", kind, "-o", options, device, folder)
            try:
                yield folder
            finally:
                run("umount", folder)
        finally:
            run("losetup", "-d", device)
    os.rmdir(folder)
