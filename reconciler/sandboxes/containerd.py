"""containerd: a container by its ID, in one of containerd's namespaces, asked for by its own client `ctr`.

One list tells all that run. https://github.com/containerd/containerd/blob/main/docs/getting-started.md
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..networks import SandboxRef
from . import Answers, Found, Pending, is_believed, now, process, programs, user_of

SOCKET = "/run/containerd/containerd.sock"


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    socket, namespace = references[0].detail("socket") or SOCKET, references[0].detail("namespace")
    if not os.path.exists(socket):
        reason = f"containerd ({socket}) is not there; start it, or say where its socket is"
        return dict.fromkeys(references, Pending(reason, silent=True))
    asked = now()
    try:
        words = ["ctr", "--address", socket, "--timeout", f"{programs.PATIENCE:g}s", "--namespace", namespace]
        table = programs.output([*words, "tasks", "list"], deadline)
    except (programs.Silent, programs.Refused) as reason:
        return dict.fromkeys(references, Pending(f"containerd ({socket}): {reason}", silent=True))
    rows = [line.split() for line in table.decode("utf-8", "replace").splitlines()[1:]]
    tasks = {row[0]: (int(row[1]), row[2]) for row in rows if len(row) == 3 and row[1].isdecimal()}
    user, answers = user_of(socket), dict[SandboxRef, Found | Pending]()
    for one in references:
        pid, status = tasks.get(one.value, (0, ""))
        if pid and not is_believed(user, pid):
            what = f"is of user {user}, and gives for {one.value} a process in a namespace of somebody else's"
            answers[one] = Pending(f"containerd ({socket}) {what}")
        elif pid and status in ("CREATED", "RUNNING", "PAUSED"):
            answers[one] = process(pid, asked)
        elif status:
            answers[one] = Pending(f"containerd's task {one.value} does not run ({status.lower()})")
        else:
            answers[one] = Pending(f"containerd runs no task {one.value} in its namespace {namespace}", absent=True)
    return answers
