"""The guest's kernel: which one, where it comes from, what is made of it. `prepare` returns it, ready to boot."""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PINNED = ("6.1.0-56-amd64", "6.12.117+deb13-amd64")
"""The kernels that the tests run on, in Debian 12 and 13: the first that there is of the packages linux-image-VERSION.
Debian takes old ones out of its archive some time; then the current one is taken, which is said, and this is due for an
update."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netapply" / "vm"
"""May be deleted at any time: what is missing is fetched again."""

GUEST = Path(__file__).parent / "guest"
INSTALL = Path(__file__).parents[2] / ".ci" / "deps"

SUBSTITUTE_FOR = 7 * 24 * 3600
"""Seconds after which the archive is asked again for the pinned kernels that it did not have."""

LONGEST = 400
"""Seconds after which apt is given up."""


class Kernel(NamedTuple):
    """A kernel that is ready: `home` has `image` and `initramfs` to boot from, and lib/modules/VERSION."""

    version: str
    home: Path

    @property
    def modules(self) -> Path:
        return self.home / "lib" / "modules" / self.version


def prepare(wanted: str = "") -> Kernel:
    """Return a kernel by its Debian version, a pinned one for "", after fetching and building what is not there yet.

    The first use needs apt, and root unless QEMU is there. Raises ChildProcessError with what apt said.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever has it has LONGEST at most for each of its steps
        if not (shutil.which("qemu-system-x86_64") and shutil.which("modprobe")):
            _run([str(INSTALL), "vm"])
        if wanted:
            return _cached(wanted) or _fetch((wanted,))
        cached = map(_cached, PINNED)
        return next(filter(None, cached), None) or _substitute() or _fetch(PINNED)


def elf(image: bytes) -> bytes:
    """Return the ELF kernel inside an x86 boot image, or the image itself if that is not packed with xz.

    QEMU starts it directly, which spares unpacking it under emulation: ten seconds. The header is that of
    Documentation/arch/x86/boot.rst: 0x1f1 setup_sects, 0x248 payload_offset, 0x24c payload_length.
    """
    offset, length = (int.from_bytes(image[at : at + 4], "little") for at in (0x248, 0x24C))
    payload = image[(image[0x1F1] + 1) * 512 + offset :][:length]
    return lzma.LZMADecompressor().decompress(payload) if payload.startswith(b"\xfd7zXZ\0") else image


def _cached(version: str) -> Kernel | None:
    place = _place(version)
    return Kernel(version, place) if place.exists() else None


def _place(version: str) -> Path:
    """Return where a kernel is cached: under a name that changes with how it is built."""
    recipe = (GUEST / "build.sh").read_bytes() + (GUEST / "init.sh").read_bytes()
    return CACHE / f"{version}={hashlib.sha256(recipe).hexdigest()[:8]}"


def _substitute() -> Kernel | None:
    """Return the kernel that was taken in place of the pinned ones, unless that was long ago."""
    link = _place("substitute")
    if not link.exists() or time.time() - link.lstat().st_mtime > SUBSTITUTE_FOR:
        return None
    place = link.resolve()
    return _say_substitute(Kernel(place.name.partition("=")[0], place))


def _fetch(versions: Sequence[str]) -> Kernel:
    """Fetch and build the first of these that the archive has. For pinned ones the current one does too."""
    if os.geteuid() == 0:
        _run(["apt-get", "update", "-qq"], check=False)  # fresh machines have no package lists; old lists may do too
    version = next(filter(_in_archive, versions), None)
    if version or versions != PINNED:
        return _build(version or versions[0])
    version = _current()
    kernel = _cached(version) or _build(version)
    link = _place("substitute")
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.home.name)
    return _say_substitute(kernel)


def _say_substitute(kernel: Kernel) -> Kernel:
    print(f"vm: the archive has no linux-image-{' or '.join(PINNED)} any more", end=" ", file=sys.stderr)
    print(f"(PINNED in tests/vm/{Path(__file__).name}); taking {kernel.version}", file=sys.stderr)
    return kernel


def _build(version: str) -> Kernel:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        new = Path(folder, "new")
        new.mkdir()
        _run(["sh", str(GUEST / "build.sh"), version, str(GUEST / "init.sh")], folder=new)
        (new / "image").write_bytes(elf((new / "boot" / f"vmlinuz-{version}").read_bytes()))
        shutil.rmtree(new / "boot")
        return Kernel(version, new.rename(_place(version)))


def _in_archive(version: str) -> bool:
    return _run(["apt-get", "download", "--print-uris", f"linux-image-{version}"], check=False) != ""


def _current() -> str:
    """Return the version that linux-image-amd64 stands for now."""
    said = _run(["apt-cache", "depends", "linux-image-amd64"])
    found = re.search(r"Depends: linux-image-(\S+)", said)
    if not found:
        raise ChildProcessError(f"linux-image-amd64 depends on no kernel:\n{said}")
    return found[1]


def _run(command: Sequence[str], *, folder: Path = CACHE, check: bool = True) -> str:
    """Return what a command prints. With `check`, a failure is a ChildProcessError; else what it printed is lost."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, complaints = process.communicate(timeout=LONGEST)
    except BaseException:  # also Ctrl-C: whatever it has started must end too
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if not process.returncode:
        return said
    if check:
        raise ChildProcessError(f"{' '.join(command)} failed:\n{said}{complaints}".strip())
    return ""
