"""machine: a container of systemd-nspawn's, by its name as `machinectl` lists it.

systemd-machined notes its leader, the first process in it, in a file for each machine; to ask machined by D-Bus tells
the same (`machinectl show NAME -p Leader`).
"""

from __future__ import annotations

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
    return process(int(leader), asked)
