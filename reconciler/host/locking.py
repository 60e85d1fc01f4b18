"""The host's lock: one run at a time for each network namespace that is a host."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import LockHeld
from .namespaces import refuse

DIRECTORY = "/run/netapply"

_PAUSE = 0.02
"""Seconds between two tries: flock(2) can't be told how long to wait."""


@contextmanager
def locked(cookie: int, timeout: float) -> Iterator[None]:
    """Hold the lock of the host whose namespace has that cookie, waiting `timeout` seconds at most.

    The kernel gives it back when the holder ends, however that happens. Raises LockHeld, NotPermitted.
    """
    name = f"{DIRECTORY}/lock-{cookie}"
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failure:
        raise refuse(failure, f"the lock {name}") from failure
    try:
        _acquire(descriptor, name, time.monotonic() + timeout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, name: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as failure:
            if failure.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise refuse(failure, f"the lock {name}") from failure
        left = deadline - time.monotonic()
        if left <= 0:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            holder = f"another run (process {pid})" if pid else "another run"
            raise LockHeld(f"{holder} is at work on this host; wait for it, or longer with --lock-timeout")
        time.sleep(min(_PAUSE, left))
