"""Run a command as root on a stock Debian kernel, inside a throw-away QEMU machine.

The guest sees this machine's files (read-only, under an overlay in memory), the same current folder and environment; it
has no network but what the command makes. What the command writes is lost, except below the folders it may write to.
"""

from __future__ import annotations

import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from . import kernel, qemu

TIMED_OUT = 124
"""The exit status of a command that took too long, as timeout(1) has it."""

BROKEN = 125
"""The exit status if the machine or its preparation failed, whatever the command would have done."""

END = b"\0\1end\1\0"
"""What the guest closes each of its output streams with (guest/main.sh)."""


class Task(NamedTuple):
    """A command for a guest. Times are in seconds: `boot_timeout` until it begins, `timeout` from then on."""

    command: Sequence[str]
    environ: Mapping[str, str]
    writable: Sequence[Path] = ()
    kernel: str = ""
    cpus: int = 2
    memory: str = "2G"
    boot_timeout: float = 180
    timeout: float = 1800


class Ports(NamedTuple):
    """Our ends of the guest's ports. `control` says "ready" when the command begins, then "status N"."""

    output: socket.socket
    errors: socket.socket
    control: socket.socket


def run(task: Task) -> int:
    """Run a command in a guest, its output copied to ours; returns its exit status, TIMED_OUT or BROKEN.

    Standard input is empty. What went wrong with the machine is said on standard error.
    """
    with ExitStack() as stack:
        job = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="netapply-vm-")))
        try:
            if platform.machine() != "x86_64":
                raise ChildProcessError("only machines of the kind x86_64 can be emulated with this one's files")
            return _follow(stack.enter_context(_booted(task, kernel.prepare(task.kernel), job)), task)
        except (OSError, subprocess.SubprocessError) as failure:
            logs = [path.read_text(errors="replace") for path in (job / "qemu", job / "console") if path.exists()]
            return say(failure, "".join(logs))


def say(failure: Exception, log: str = "") -> int:
    """Say on standard error what went wrong, with the end of a log; return the exit status for it."""
    print(f"vm: {failure}", *log.splitlines()[-40:], sep="\n    ", file=sys.stderr)
    return TIMED_OUT if isinstance(failure, (TimeoutError, subprocess.TimeoutExpired)) else BROKEN


def showable(held: bytes) -> tuple[bytes, bytes]:
    """Split what a stream has brought into what can be shown, and what is or may become END."""
    kept = max(length for length in range(len(END) + 1) if held.endswith(END[:length]))
    return held[: len(held) - kept], held[len(held) - kept :]


@contextmanager
def _booted(task: Task, ready: kernel.Kernel, job: Path) -> Iterator[Ports]:
    """Start a guest, which is killed after the block, and give the ports to follow it by."""
    (job / "mounts").write_text(qemu.mounts(ready, task.writable))
    (job / "command").write_text(qemu.command(task.command, Path.cwd(), task.environ))
    shutil.copy(kernel.GUEST / "main.sh", job)
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in Ports._fields]
        ours = Ports(*(stack.enter_context(pair[0]) for pair in pairs))
        theirs = [pair[1].fileno() for pair in pairs]
        arguments = qemu.arguments(
            ready, job, theirs, cpus=task.cpus, memory=task.memory, kvm=_has_kvm(), writable=task.writable
        )
        with (job / "qemu").open("w") as log:
            machine = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=theirs)
        for _, port in pairs:
            port.close()
        try:
            yield ours
        finally:
            machine.kill()
            machine.wait()


def _follow(ports: Ports, task: Task) -> int:
    """Copy the guest's streams to our own until both have ended; return the command's exit status.

    Raises TimeoutError, and ConnectionError if the machine stops before.
    """
    streams: dict[socket.socket, BinaryIO] = {ports.output: sys.stdout.buffer, ports.errors: sys.stderr.buffer}
    held = dict.fromkeys(ports, b"")
    status: re.Match[bytes] | None = None
    deadline, late = time.monotonic() + task.boot_timeout, f"no boot within {task.boot_timeout:.0f} s"
    while status is None or any(held[port] != END for port in streams):
        ready = select.select(ports, [], [], max(0.0, deadline - time.monotonic()))[0]
        if time.monotonic() > deadline:
            raise TimeoutError(late)
        for port in ready:
            data = port.recv(1 << 16)
            if not data:
                raise ConnectionError("the guest stopped before the command ended")
            held[port] += data
            if port in streams:
                shown, held[port] = showable(held[port])
                streams[port].write(shown)
                streams[port].flush()
            elif data.startswith(b"ready"):
                deadline, late = time.monotonic() + task.timeout, f"the command took longer than {task.timeout:.0f} s"
        status = re.search(rb"status (\d+)\n", held[ports.control])
    return int(status[1])


def _has_kvm() -> bool:
    """Whether KVM helps: without vmx or svm there can still be a /dev/kvm, but one far slower than emulation."""
    flags = Path("/proc/cpuinfo").read_text()
    return bool(re.search(r"\b(vmx|svm)\b", flags)) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def heed_termination() -> None:
    """End like a program that cleans up when SIGTERM comes, and find what only root has in PATH."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
