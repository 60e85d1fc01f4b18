"""A host of its own for each measurement, what work takes there, and whether it was done."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.engines.lab import Lab, lab
from tests.isolation import isolated

from ..measure import settle
from ..workload import sandbox_name

ENDPOINTS = 100

LIMIT = 120
"""Seconds within which a peer must have done its work."""

SANDBOXES = [sandbox_name(one) for one in range(ENDPOINTS)]


class Taken(NamedTuple):
    """Seconds; `cpu` is that of everything that worked: the command, and the daemons in the host."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s (cpu {self.cpu:.2f})"


@contextmanager
def host() -> Iterator[Lab]:
    """Run the block with an empty host, once the kernel is done with the one of before. Nothing of it is left after."""
    with isolated():
        settle()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ended, lab(Path(folder)) as new:
        first = os.pidfd_open(new.pid)
        ended.callback(os.close, first)
        ended.callback(select.select, [first], [], [], 20)  # it ends last: nobody writes to the folder any more
        yield new


def namespaces(here: Lab) -> None:
    """Make the sandboxes of those who need no engine for it."""
    here.run(["ip", "-batch", "-"], stdin="".join(f"netns add {name}\n" for name in SANDBOXES).encode())


def run(here: Lab, *command: str) -> str:
    """Run a command in the host and return what it printed. It ends in time, and well, or that is an error."""
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            here.words(command), stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=LIMIT, check=False
        )
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{text[-2000:]}")
    return text


def taken(here: Lab, work: Callable[[], object]) -> Taken:
    """Do the work, by commands in the host or by asking its daemons, and return what it took."""
    daemons, own, started = _daemons(here), sum(os.times()[:4]), time.monotonic()
    work()
    wall = time.monotonic() - started
    return Taken(wall, sum(os.times()[:4]) - own + _daemons(here) - daemons)


def median(rounds: Sequence[Taken]) -> Taken:
    return Taken(*(statistics.median(figures) for figures in zip(*rounds, strict=True)))


def ports(here: Lab) -> int:
    """Return how many links of the host are in a bridge."""
    return sum("master" in link for link in json.loads(here.run("ip -j link").stdout))


def check(here: Lab, first: str | int, second: str | int, others: int = 0) -> None:
    """See that all links are in bridges (there are `others` besides), and that a sandbox reaches another."""
    assert ports(here) == ENDPOINTS + others, "not every endpoint is there"
    where = f"/proc/{second}/ns/net" if isinstance(second, int) else f"/run/netns/{second}"
    links = json.loads(here.run(["nsenter", f"--net={where}", "--", "ip", "-j", "-4", "addr", "show"]).stdout)
    address = links[-1]["addr_info"][0]["local"]
    assert here.ping(first, address), f"{first} does not reach {address}"


def _daemons(here: Lab) -> float:
    """Return the CPU seconds of all that lives in the host, and of their children that have ended."""
    ticks = 0
    for entry in Path(f"/proc/{here.pid}/root/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended: its parent has its figure
            continue
        ticks += sum(map(int, fields[11:15]))  # proc(5): utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")
