"""oci: a container that a runtime such as runc or crun runs, by its ID. https://github.com/opencontainers/runtime-spec

Every runtime answers `RUNTIME --root FOLDER state ID` with JSON that has the container's status and process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from ..networks import SandboxRef
from . import Answers, Found, Pending, is_believed, now, process, programs, user_of

KNOWN = {"runc": "state.json", "crun": "status"}
"""Runtimes that are looked for where the manifest names none, and the file that each keeps for a container."""

ALIVE = ("created", "running", "paused")

FEW = 4
"""Up to how many containers are asked for one by one: every runtime can that, and those that are known can list all."""


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    runtime, root = references[0].detail("runtime"), references[0].detail("root")
    by_runtime: dict[str, list[SandboxRef]] = {}
    for one in references:
        by_runtime.setdefault(runtime or _runtime_of(one.value, root), []).append(one)
    answers: dict[SandboxRef, Found | Pending] = {}
    for program, members in by_runtime.items():
        if not program:
            folders = root or " or ".join(f"/run/{one}" for one in KNOWN)
            answers |= {one: Pending(f"there is no container {one.value} in {folders}", absent=True) for one in members}
            continue
        command = [program, *(["--root", root] if root else [])]
        if len(members) > FEW and os.path.basename(program) in KNOWN:
            answers |= _listed(command, members, deadline)
        else:
            answers |= {one: _asked(command, one.value, deadline) for one in members}
    return {one: _believed(answer, root, one.value) for one, answer in answers.items()} if root else answers


def _believed(answer: Found | Pending, root: str, name: str) -> Found | Pending:
    """Return the answer, unless a user whose files the runtime has it from names a process of somebody else's."""
    user = user_of(f"{root}/{name}")
    if isinstance(answer, Pending) or is_believed(user, answer.pid):
        return answer
    return Pending(f"{root}/{name} is of user {user}, and gives a process in a namespace of somebody else's")


def _listed(command: Sequence[str], references: Sequence[SandboxRef], deadline: float) -> Answers:
    asked = now()
    try:
        found = json.loads(programs.output([*command, "list", "--format", "json"], deadline)) or []
        by_name = {one["id"]: one for one in found}
    except (programs.Silent, programs.Refused) as reason:
        return dict.fromkeys(references, Pending(str(reason), silent=True))
    except (ValueError, KeyError, TypeError, RecursionError):
        return dict.fromkeys(references, Pending(f"{command[0]} gives no list of its containers", silent=True))
    missing = f"{command[0]} has no container"
    return {
        one: _of(command[0], one.value, by_name[one.value], asked)
        if one.value in by_name
        else Pending(f"{missing} {one.value}", absent=True)
        for one in references
    }


def _asked(command: Sequence[str], name: str, deadline: float) -> Found | Pending:
    asked = now()
    try:
        return _of(command[0], name, json.loads(programs.output([*command, "state", name], deadline)), asked)
    except programs.Silent as reason:
        return Pending(str(reason), silent=True)
    except programs.Refused as reason:
        return Pending(f"{command[0]} has no container {name}: {reason}", absent=True)
    except (ValueError, RecursionError):
        return Pending(f"{command[0]} says nothing of how container {name} is", silent=True)


def _of(runtime: str, name: str, state: object, asked: int) -> Found | Pending:
    pid, status = (state.get("pid"), state.get("status")) if isinstance(state, dict) else (None, None)
    if not isinstance(pid, int) or not isinstance(status, str):
        return Pending(f"{runtime} says nothing of how container {name} is", silent=True)
    if status in ALIVE and pid > 0:
        return process(pid, asked)
    return Pending(f"container {name} of {runtime} does not run" + (f" ({status})" if status.isalpha() else ""))


def _runtime_of(name: str, root: str) -> str:
    """Return the runtime whose container it is, by what it keeps; "" where none has one of that ID."""
    for runtime, file in KNOWN.items():
        if os.path.exists(f"{root or f'/run/{runtime}'}/{name}/{file}"):
            return runtime
    return ""
