"""pid: the namespace that a process is in."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..networks import SandboxRef
from . import Answers, Found, Pending


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    return {one: _of(one.value) for one in references}


def _of(pid: str) -> Found | Pending:
    path = f"/proc/{pid}/ns/net"
    try:
        os.readlink(path)
    except PermissionError:
        pass  # opening it says who may
    except OSError:
        return Pending(f"process {pid} does not run")
    return Found(path)
