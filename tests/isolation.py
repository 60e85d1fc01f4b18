"""Isolated hosts: network and mount namespaces of their own, in which tests, demo and benchmark may do as they like.

The calling thread itself moves into them and back, which takes about two milliseconds and no process, so that code
under test can be called directly.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
"""linux/sched.h; os.unshare and os.setns come with Python 3.12 only."""

MS_REC = 0x4000
MS_PRIVATE = 0x40000
"""linux/mount.h"""

NEEDED = ("ip", "nft", "ping", "nsenter", "unshare", "dnsmasq")

_libc = ctypes.CDLL(None, use_errno=True)


def lacks() -> str | None:
    """Return why there can be no isolated host here, None if there can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (run `make deps`)"
    child = os.fork()
    if child == 0:
        os._exit(0 if _libc.unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 else 1)
    return "needs CAP_SYS_ADMIN" if os.waitpid(child, 0)[1] else None


@contextmanager
def isolated() -> Iterator[None]:
    """Run the block in fresh namespaces: only `lo`, up, no nft tables, an empty /run, the namespace's own /sys.

    Afterwards every process that still lives in the mount namespace is killed, and the caller is back where it was.
    """
    here, directory = os.getpid(), os.getcwd()
    net, mnt = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    _check(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
    try:
        _mount("none", "/", None, MS_REC | MS_PRIVATE)
        _mount("tmpfs", "/run", "tmpfs")
        _mount("sysfs", "/sys", "sysfs")
        Path("/run/netns").mkdir()
        with suppress(OSError):  # namespaces' own files, of which a read-only machine has none
            Path("/etc/netns").mkdir(exist_ok=True)
            _mount("tmpfs", "/etc/netns", "tmpfs")
        loopback_up()
        yield
    finally:
        if os.getpid() == here:  # a child forked in the block must not kill its parent's host
            kill_inhabitants(os.readlink("/proc/thread-self/ns/mnt"))
            _check(_libc.setns(net, CLONE_NEWNET), "setns")
            _check(_libc.unshare(CLONE_FS), "unshare")  # setns refuses a mount namespace to threads that share theirs
            _check(_libc.setns(mnt, CLONE_NEWNS), "setns")
            os.chdir(directory)
        os.close(net)
        os.close(mnt)


@contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """Run the block in a network namespace: of /run/netns or of a path, a new one for None; "" is where we are."""
    if netns == "":
        yield
        return
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if netns is None:
            _check(_libc.unshare(CLONE_NEWNET), "unshare")
        else:
            there = os.open(Path("/run/netns", netns), os.O_RDONLY)
            try:
                _check(_libc.setns(there, CLONE_NEWNET), f"setns {netns}")
            finally:
                os.close(there)
        yield
    finally:
        _check(_libc.setns(back, CLONE_NEWNET), "setns")
        os.close(back)


def enter(net: int, mnt: int) -> None:
    """Move into namespaces, given by descriptors, for good; only where there are no other threads."""
    _check(_libc.setns(net, CLONE_NEWNET), "setns")
    _check(_libc.setns(mnt, CLONE_NEWNS), "setns")


def loopback_up() -> None:
    """Set `lo` up in the caller's network namespace, as SIOCSIFFLAGS of netdevice(7) does."""
    siocsifflags, iff_up, iff_running = 0x8914, 0x1, 0x40
    request = b"lo".ljust(16, b"\0") + (iff_up | iff_running).to_bytes(2, "little") + bytes(22)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        _check(_libc.ioctl(handle.fileno(), siocsifflags, request), "lo up")


def kill_inhabitants(namespace: str) -> None:
    """Kill whoever lives in a mount namespace ("mnt:[4026531841]"), the caller aside, and see them end.

    Who calls it holds the namespace: else its number is another's as soon as the last one in it is gone.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ended; it is none of ours
            if os.readlink(entry / "ns/mnt") == namespace:
                _kill(entry, namespace)


def _kill(entry: Path, namespace: str) -> None:
    handle = os.pidfd_open(int(entry.name))
    try:
        if os.readlink(entry / "ns/mnt") == namespace:  # still, now that the PID can't become another's unseen
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 10)
    finally:
        os.close(handle)


def _mount(source: str, target: str, kind: str | None, flags: int = 0) -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None), target)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
