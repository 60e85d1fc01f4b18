"""machine: a container of systemd-nspawn's, by its name as `machinectl` lists it.

systemd-machined notes its leader, the first process in it, and when it was told of it, in a file for each machine; to
ask machined by D-Bus tells the same (`machinectl show NAME -p Leader`). Where systemd-nspawn was killed the file stays
behind: a process that is younger than what it says is not the leader, but has got its number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ..networks import SandboxRef
from . import Answers, Found, Pending, now, process

FOLDER = "/run/systemd/machines"


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    return {one: _of(one.value) for one in references}


def _of(name: str) -> Found | Pending:
    asked = now()
    try:
        with open(f"{FOLDER}/{name}", encoding="utf-8", errors="replace") as file:
            said = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except FileNotFoundError:
        return Pending(f"machine {name} does not run", absent=True)
    except OSError as failure:
        return Pending(f"machine {name}: {FOLDER}/{name} can't be read: {failure.strerror}", silent=True)
    if said.get("CLASS") == "vm":
        return Pending(f"machine {name} is a virtual machine, which has no network namespace")
    if not (leader := said.get("LEADER", "")).isdecimal():
        return Pending(f"machine {name} has no leader")
    found = process(int(leader), min(asked, _noted(said.get("MONOTONIC", ""), asked)))
    return found if found.holds else Pending(f"machine {name} does not run: its leader, process {leader}, has ended")


def _noted(said: str, now: int) -> int:
    """Return when machined was told of a machine, in clock ticks since the host's start; `now` where it does not say.

    It notes microseconds of a clock that stands still while the host is suspended, and /proc counts on.
    """
    if not said.isdecimal():
        return now
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return int((int(said) / 1e6 + suspended) * os.sysconf("SC_CLK_TCK"))
