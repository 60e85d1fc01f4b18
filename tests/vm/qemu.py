"""QEMU's command line for a guest, and what the guest reads when it starts. Pure: text from values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .kernel import Kernel

KERNEL_OPTIONS = (
    "console=ttyS0 quiet panic=-1 oops=panic "  # what goes wrong is seen, and ends the machine
    "nokaslr mitigations=off no_timer_check nowatchdog audit=0 apparmor=0 cryptomgr.notests "  # what only takes time
    "random.trust_cpu=on rcupdate.rcu_expedited=1 "
    "dummy.numdummies=0 ifb.numifbs=0"  # these make links of their own when loaded
)
SHARED = "version=9p2000.L,msize=512000"


class Share(NamedTuple):
    """A folder of the machine outside, as the guest gets it (9p): the root is read-only, others are written to."""

    tag: str
    path: Path


def shares(writable: Sequence[Path]) -> list[Share]:
    return [Share("root", Path("/")), *(Share(f"rw{number}", path) for number, path in enumerate(writable))]


def arguments(
    kernel: Kernel, job: Path, ports: Sequence[int], *, cpus: int, memory: str, kvm: bool, writable: Sequence[Path]
) -> list[str]:
    """Return the command that boots a guest. `ports` are descriptors of sockets, the guest's ports 1, 2, 3."""
    # TCG with a thread for each CPU; 5-level page tables and fast string instructions are slow when emulated
    accelerator = ["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,thread=multi"]
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *accelerator]
    command += [] if kvm else ["-cpu", "max,la57=off,erms=off"]
    command += ["-M", "q35", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += ["-smp", str(cpus), "-m", memory, "-serial", f"file:{job}/console"]
    command += ["-kernel", f"{kernel.home}/image", "-initrd", f"{kernel.home}/initramfs"]
    command += ["-append", f"{KERNEL_OPTIONS} NETAPPLY_JOB={job}"]  # init gets what the kernel does not know
    command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    for number, port in enumerate(ports, 1):
        command += ["-chardev", f"socket,id=port{number},fd={port}"]
        command += ["-device", f"virtserialport,nr={number},chardev=port{number}"]
    for tag, path in shares(writable):
        readonly = "on" if tag == "root" else "off"
        where = str(path.resolve()).replace(",", ",,")  # as QEMU quotes
        options = f"security_model=none,multidevs=remap,readonly={readonly},path={where}"
        command += ["-fsdev", f"local,id={tag},{options}"]
        command += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return command


def mounts(kernel: Kernel, writable: Sequence[Path]) -> str:
    """Return the part of the guest's set-up that differs: the kernel's modules and the folders that are written to."""
    modules = f"lib/modules/{kernel.version}"
    lines = [f"mkdir -p {modules}", f"mount --bind {shlex.quote(f'/host{kernel.modules}')} {modules}"]
    for tag, path in shares(writable)[1:]:
        lines.append(f"mount -t 9p -o trans=virtio,{SHARED},cache=mmap {tag} {shlex.quote(f'/root{path}')}")
    return "\n".join(lines) + "\n"


def command(words: Sequence[str], directory: Path, environ: Mapping[str, str]) -> str:
    """Return a script that runs a command in a folder and an environment; names that a shell can't set are left out."""
    exports = [
        f"export {name}={shlex.quote(value)}"
        for name, value in environ.items()
        if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)
    ]
    return "\n".join([*exports, f"cd {shlex.quote(str(directory))} || exit 125", f"exec {shlex.join(words)}", ""])
