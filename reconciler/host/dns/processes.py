"""The processes: found by the file that they were started with and the namespace that they are in, told and ended by a
descriptor of exactly that process."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from ...errors import HostLacks, OperationFailed
from .. import namespaces
from ..locking import DIRECTORY
from . import OPTION, SANDBOXES, file_of

_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin")
_SYSTEMD = "/run/systemd/system"
"""Is there where systemd runs the host (sd_booted(3))."""

_OF_A_PROJECT = re.compile(f"\0{OPTION}{DIRECTORY}/dns-[0-9]+/([^/]+)/{SANDBOXES}/[^/]+\0$".encode())

_STARTED_WITHIN = 10.0
_ENDED_WITHIN = 2.0
"""Seconds; then it is killed."""

_KILLED_WITHIN = 10.0
_NOTICED_WITHIN = 5.0


def program() -> str:
    """Return where dnsmasq is. Raises HostLacks."""
    for folder in _FOLDERS:
        path = f"{folder}/dnsmasq"
        if os.access(path, os.X_OK):
            return path
    raise HostLacks(
        "containers find each other by name, and there is no dnsmasq on the host for that; install it (Debian's"
        " dnsmasq-base), or write `dns: false`"
    )


def running(folder: str) -> dict[str, list[int]]:
    """Return the processes that were started with a file of that folder, by that file: those in this thread's
    namespace, and of those for sandboxes all."""
    found: dict[str, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (conf := file_of(entry, folder)) and _is_meant(entry, folder):
            found.setdefault(conf, []).append(int(entry))
    return found


def projects_here() -> Iterator[str]:
    """Yield the projects that have a resolver in this thread's namespace, as far as command lines tell."""
    here = _namespace("thread-self", "net")
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _namespace(entry, "net") == here:
            with suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                if found := _OF_A_PROJECT.search(file.read(4096)):
                    yield found[1].decode("utf-8", "replace")


def _is_meant(process: str, folder: str) -> bool:
    """Whether a process is where it counts: one in a sandbox may be in any network namespace, but none of a container's
    own processes can pass for one."""
    kind = "pid" if folder.endswith(f"/{SANDBOXES}") else "net"
    return _namespace(process, kind) == _namespace("thread-self", kind) != ""


def _namespace(process: str, kind: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{process}/ns/{kind}")
    return ""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (proc(5), /proc/PID/stat: the state is third)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(512).rpartition(b") ")[2][:1] == b"T"
    except OSError:
        return False


def start(conf: str) -> None:
    """Start one in this thread's namespace and return once it listens. Raises OperationFailed, HostLacks.

    It goes into the background by itself, so that it is there whatever becomes of this process.
    """
    for command in _commands(conf):
        try:
            done = _run(command)
        except subprocess.TimeoutExpired as late:
            raise OperationFailed(f"dnsmasq did not start within {_STARTED_WITHIN:.0f} seconds") from late
        except OSError as failure:
            raise namespaces.refuse(failure, "dnsmasq") from failure
        if not done.returncode:
            return
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    number = errno.EADDRNOTAVAIL if os.strerror(errno.EADDRNOTAVAIL) in said else errno.EADDRINUSE
    raise OperationFailed(said or f"dnsmasq ended with {done.returncode}", number)


def _commands(conf: str) -> Iterator[list[str]]:
    """Yield how one is started. systemd ends all that a unit has started when the unit ends, as a timer's does after
    each run, but what is in a scope of its own (systemd-run(1)). Where that can't be had the plain command does."""
    plain = [program(), f"{OPTION}{conf}"]
    scope = "/usr/bin/systemd-run"
    if os.path.isdir(_SYSTEMD) and os.access(scope, os.X_OK):
        yield [scope, "--quiet", "--scope", "--collect", "--slice=system.slice", "--", *plain]
    yield plain


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": ":".join(_FOLDERS), "LC_ALL": "C"},
        timeout=_STARTED_WITHIN,
        start_new_session=True,
        check=False,
    )


def stop(conf: str, pids: Iterable[int], before: Callable[[int], None]) -> None:
    """End those of the processes that were started with a file, and return once they are gone. Raises OperationFailed.

    `before` is told of each before it ends.
    """
    for pid, descriptor in _held(conf, pids):
        before(pid)
        waiting = select.poll()  # select(2) knows no descriptor above 1023, and each namespace kept to roll back is one
        waiting.register(descriptor, select.POLLIN)
        for number, seconds in ((signal.SIGTERM, _ENDED_WITHIN), (signal.SIGKILL, _KILLED_WITHIN)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)  # one that is stopped takes no other
            if waiting.poll(seconds * 1000):
                break
        else:
            raise OperationFailed(f"the dnsmasq of {conf} does not end (EBUSY)", errno.EBUSY)


def reload(conf: str, pids: Iterable[int]) -> None:
    """Have those of the processes that were started with a file read their names again; see `until_reloaded`."""
    for _, descriptor in _held(conf, pids):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGHUP)


def until_reloaded(pids: Iterable[int]) -> None:
    """Return once all have taken notice: who asks then gets the new names, who asks before may get the old ones.

    One that does not get to run is waited for as long as all together.
    """
    until = time.monotonic() + _NOTICED_WITHIN
    for pid in pids:
        while _is_pending(pid, signal.SIGHUP) and time.monotonic() < until:
            time.sleep(0.0005)


def _is_pending(pid: int, number: int) -> bool:
    """Whether a process has yet to take a signal (proc(5), status); one that is stopped answers nobody before that."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        status = file.read(8192)
        found = re.search(rb"^ShdPnd:\t([0-9a-f]+)$", status, re.MULTILINE)
        return found is not None and bool(int(found[1], 16) >> number - 1 & 1) and b"\nState:\tT" not in status
    return False


def _held(conf: str, pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield those that were started with a file, each with a descriptor, looked at again once it can't be another."""
    folder = os.path.dirname(conf)
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if file_of(str(pid), folder) == conf and _is_meant(str(pid), folder):
                yield pid, descriptor
        finally:
            os.close(descriptor)
