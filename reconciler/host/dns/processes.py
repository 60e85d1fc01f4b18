"""The processes: found by the file that they were started with and the namespace that they are in, told and ended by a
descriptor of exactly that process."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ...errors import HostLacks, OperationFailed
from .. import namespaces

_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin")
_OPTION = "--conf-file="
_SYSTEMD = "/run/systemd/system"
"""Is there where systemd runs the host (sd_booted(3))."""

_STARTED_WITHIN = 10.0
_ENDED_WITHIN = 2.0
"""Seconds; then it is killed."""


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
    """Return the processes in this thread's namespace that were started with a file of that folder, by that file."""
    found: dict[str, list[int]] = {}
    here = _namespace("thread-self")
    start = f"\0{_OPTION}{folder}/".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (conf := _conf_of(entry, start)) and _namespace(entry) == here:
            found.setdefault(conf, []).append(int(entry))
    return found


def _conf_of(process: str, start: bytes) -> str | None:
    """Return the file of one that was started as we start it: by its whole command line, of which that is the end."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read(4096)
    except OSError:
        return None
    program, _, rest = words.partition(b"\0")
    if not program.endswith(b"/dnsmasq") or not (b"\0" + rest).startswith(start) or rest.count(b"\0") != 1:
        return None
    return rest[:-1].decode("utf-8", "replace").removeprefix(_OPTION)


def _namespace(process: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{process}/ns/net")
    return ""


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
    plain = [program(), f"{_OPTION}{conf}"]
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


def stop(conf: str) -> None:
    """End those that were started with a file, and return once they are gone. Raises OperationFailed."""
    for descriptor in _held(conf, running(os.path.dirname(conf)).get(conf, ())):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], _ENDED_WITHIN)[0]:
                break
        else:
            raise OperationFailed(f"the dnsmasq of {conf} does not end (EBUSY)", errno.EBUSY)


def reload(conf: str, pids: Iterable[int]) -> None:
    """Have those of the processes that were started with a file read their names again."""
    for descriptor in _held(conf, pids):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGHUP)


def _held(conf: str, pids: Iterable[int]) -> Iterator[int]:
    """Yield a descriptor of each that was started with a file, looked at again once it can't be another one."""
    start, here = f"\0{_OPTION}{os.path.dirname(conf)}/".encode(), _namespace("thread-self")
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if _conf_of(str(pid), start) == conf and _namespace(str(pid)) == here:
                yield descriptor
        finally:
            os.close(descriptor)
