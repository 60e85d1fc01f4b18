"""podman: a container of Podman's, by its name or ID. https://docs.podman.io/en/latest/_static/api.html

One list says which run, and by which process: Podman's own API has that, other than the one that it shares with Docker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..networks import SandboxRef
from . import Answers, Found, Pending, engines, now
from .engines import Engine, Missing, Silent

SOCKET = "/run/podman/podman.sock"

_OLDEST = "4.0.0"
_LEAST_ID = 12
"""How many digits of an ID must be given at least."""


def find(references: Sequence[SandboxRef], deadline: float) -> Answers:
    """See `reconciler.sandboxes`."""
    try:
        path = engines.socket_of(references, "CONTAINER_HOST", SOCKET)
        engine = Engine("Podman", path, deadline, "have its service listen (systemctl enable --now podman.socket)")
    except Silent as reason:
        return dict.fromkeys(references, Pending(str(reason), silent=True))
    try:
        version = engine.headers("/_ping").get("libpod-api-version", "")
        version = version if re.fullmatch(r"\d+\.\d+\.\d+", version) else _OLDEST
        asked = now()
        answer = engine.get(f"/v{version}/libpod/containers/json?all=true")
        if not isinstance(answer, list):
            raise Missing
    except Missing:
        return dict.fromkeys(references, Pending("Podman gives no list of its containers", silent=True))
    except Silent as reason:
        return dict.fromkeys(references, Pending(str(reason), silent=True))
    finally:
        engine.close()
    containers = [one for one in answer if isinstance(one, dict) and isinstance(one.get("Id"), str)]
    named = {name: one for one in containers for name in (one["Id"], *_texts(one.get("Names")))}
    return {
        one: _of(engine, one.value, named.get(one.value) or _by_id(one.value, containers), asked) for one in references
    }


def _texts(names: object) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list) else []


def _by_id(start: str, containers: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the one container whose ID begins so."""
    if not re.fullmatch(f"[0-9a-f]{{{_LEAST_ID},64}}", start):
        return None
    fitting = [one for one in containers if one["Id"].startswith(start)]
    return fitting[0] if len(fitting) == 1 else None


def _of(engine: Engine, name: str, container: dict[str, Any] | None, asked: int) -> Found | Pending:
    if container is None:
        return Pending(f"Podman has no container {name}", absent=True)
    pid, state = container.get("Pid"), container.get("State")
    if isinstance(pid, int) and pid > 0 and state in ("running", "paused", "created", "initialized"):
        return engine.process(name, pid, asked)
    how = f" ({state})" if isinstance(state, str) and state.isalpha() else ""
    return Pending(f"Podman's container {name} does not run{how}")
