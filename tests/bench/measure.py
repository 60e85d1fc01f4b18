"""Running a command and saying what it took; waiting until the kernel has tidied up."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

NETAPPLY = str(Path(sys.executable).with_name("netapply"))


class Cost(NamedTuple):
    """What a process and its children took: seconds, and the most memory that one of them had, in MiB."""

    wall: float
    user: float
    system: float
    memory: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


def cost(command: Sequence[str], timeout: float = 600) -> Cost:
    """Run a command to its end and return what it took. A failure is an AssertionError with what it printed."""
    started = time.monotonic()
    out, nothing = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nothing, stdout=out, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    with process.stdout as stream:
        output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or wall > timeout:
        raise AssertionError(f"{' '.join(command)} ended with {process.returncode}\n{output.decode()[-2000:]}")
    return Cost(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure by itself."""
    return Cost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))


def repeated(times: int, command: Sequence[str], before: Callable[[], object] | None = None) -> Cost:
    """Return the median cost of so many runs of a command; `before` is called before each."""
    costs = []
    for _ in range(times):
        if before:
            before()
        costs.append(cost(command))
    return median(costs)


def settle() -> None:
    """Wait until the kernel has removed all namespaces that ended before, four minutes at most.

    It does so in order, in one work queue and in batches: when the second of two veth pairs that end with a namespace
    of their own is gone, so is all of before.
    """
    for _ in range(2):
        _pass_the_barrier()


def _pass_the_barrier() -> None:
    rtmgrp_link, rtm_dellink = 1, 17  # linux/rtnetlink.h
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
        news.bind((0, rtmgrp_link))
        news.settimeout(120)
        script = "netns add barrier\nlink add barrier type veth peer name eth0 netns barrier\nnetns delete barrier\n"
        subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True, timeout=60)
        while True:
            message = news.recv(65536)
            if int.from_bytes(message[4:6], sys.byteorder) == rtm_dellink and b"barrier\0" in message:
                return
