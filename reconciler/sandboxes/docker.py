"""docker: a container of Docker's, by its name or ID. https://docs.docker.com/reference/api/engine/

Docker tells a container's process only in the answer to a question for that one. Where there are many, one list says
which run, and the PID is read from where containerd keeps it, if the process then proves to be in that container.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from ..networks import SandboxRef
from . import Answers, Found, Pending, engines, now
from .engines import Engine, Missing, Silent

SOCKET = "/run/docker.sock"

FEW = 8
"""Up to how many containers are asked for one by one."""

_OLDEST = "v1.24"
_TASKS = "containerd/io.containerd.runtime.v2.task/moby"
"""Below /run, or with a containerd of Docker's own where that keeps its state: a folder for each container's task."""


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    try:
        path = engines.socket_of(references, "DOCKER_HOST", SOCKET)
        engine = Engine("Docker", path, deadline)
    except Silent as reason:
        return dict.fromkeys(references, Pending(str(reason), silent=True))
    try:
        version = _version(engine)
        known = _listed(engine, version, path, references) if len(references) > FEW else {}
        return {one: known.get(one) or _asked(engine, version, one) for one in references}
    except Silent as reason:
        return dict.fromkeys(references, Pending(str(reason), silent=True))
    finally:
        engine.close()


def _version(engine: Engine) -> str:
    """Return how paths begin: with the newest version that the engine speaks, which is all that some do."""
    version = engine.headers("/_ping").get("api-version", "")
    return f"v{version}" if re.fullmatch(r"\d+\.\d+", version) else _OLDEST


def _asked(engine: Engine, version: str, reference: SandboxRef) -> Found | Pending:
    """Ask for one container. One that is just being started can keep an answer waiting: the others don't suffer."""
    asked = now()
    try:
        answer = engine.get(f"/{version}/containers/{quote(reference.value, safe='')}/json")
    except Silent as reason:
        return Pending(str(reason), silent=True)
    except Missing:
        return Pending(f"Docker has no container {reference.value}", absent=True)
    state = answer.get("State") if isinstance(answer, dict) else None
    pid = state.get("Pid") if isinstance(state, dict) else None
    if not isinstance(pid, int) or not isinstance(state, dict):
        return Pending(f"Docker says nothing of how container {reference.value} is", silent=True)
    if pid > 0:
        return engine.process(reference.value, pid, asked)
    return Pending(f"Docker's container {reference.value} does not run{_how(state.get('Status'))}")


def _how(status: object) -> str:
    return f" ({status})" if isinstance(status, str) and status.isalpha() else ""


def _listed(
    engine: Engine, version: str, path: str, references: Sequence[SandboxRef]
) -> Mapping[SandboxRef, Found | Pending]:
    """Return what one list says for sure; the containers left out must be asked for."""
    asked, by_name = now(), dict[str, Mapping[str, Any]]()
    try:
        answer = engine.get(f"/{version}/containers/json?all=1")
    except Missing:
        return {}
    for one in answer if isinstance(answer, list) else ():
        if isinstance(one, dict) and isinstance(one.get("Id"), str):
            names = one.get("Names")
            for name in (one["Id"], *(names if isinstance(names, list) else ())):
                by_name[str(name).removeprefix("/")] = one
    found: dict[SandboxRef, Found | Pending] = {}
    for reference in references:
        one = by_name.get(reference.value)
        if one is None:
            continue
        if one.get("State") not in ("running", "paused"):
            found[reference] = Pending(f"Docker's container {reference.value} does not run{_how(one.get('State'))}")
        elif pid := _kept_pid(path, one["Id"]):
            found[reference] = engine.process(reference.value, pid, asked)
    return found


def _kept_pid(path: str, container: str) -> int:
    """Return a container's process as containerd has noted it, 0 where that is not to be found, or is not proved: the
    process must be in the control group of the container, which bears its ID."""
    if not re.fullmatch("[0-9a-f]{64}", container):
        return 0
    own = f"{os.path.dirname(path)}/docker/containerd/daemon/{_TASKS.removeprefix('containerd/')}"
    for folder in (own, f"/run/{_TASKS}"):
        with suppress(OSError, ValueError):
            pid = int(_start_of(f"{folder}/{container}/init.pid"))
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
                if container in file.read(1 << 16):
                    return pid
    return 0


def _start_of(path: str) -> bytes:
    """Return the first bytes of a file. Raises OSError; waits for nobody, whatever a user has put in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 20)
    finally:
        os.close(descriptor)
