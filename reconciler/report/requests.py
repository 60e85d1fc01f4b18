"""What plugins are asked for, in words: their requests are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..resources import Delegated

_LONGEST = 60


def asked(resource: Delegated) -> str:
    """Return who is asked: "cni bridge, portmap", "docker-plugin weave"."""
    request = _parsed(resource.request)
    found: list[object] = []
    if isinstance(request, dict):
        listed = request.get("conflist")
        if isinstance(listed, dict) and isinstance(listed.get("plugins"), list):
            found = [one.get("type") for one in listed["plugins"] if isinstance(one, dict)]
        found = found or [request[key] for key in ("plugin", "config") if key in request]
    return f"{resource.protocol} {', '.join(map(str, found))}".rstrip()


def differing(field: str, before: Delegated, after: Delegated) -> Iterator[str]:
    """Yield lines for a field in which the two differ: what is asked for, what is noted with it, what is broken."""
    match field:
        case "request":
            yield from changed(before.request, after.request)
        case "tags":
            notes = [dict(tag.partition("=")[::2] for tag in one.tags) for one in (before, after)]
            for name in sorted({*notes[0], *notes[1]}):
                old, new = (note.get(name) for note in notes)
                if old != new:
                    yield f"{name} {'no' if old is None else old or 'yes'} → {'no' if new is None else new or 'yes'}"
        case _:
            yield before.trouble or "it is broken"


def changed(before: str, after: str) -> Iterator[str]:
    """Yield "conflist.plugins.0.mtu 1500 → 1400" for each difference between two requests."""
    yield from _changed(_parsed(before), _parsed(after), "")


def _changed(before: object, after: object, at: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}, key=str):
            yield from _changed(before.get(key), after.get(key), f"{at}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changed(one, other, f"{at}.{number}")
    elif before != after:
        yield f"{at.lstrip('.') or 'request'} {_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    if value in (None, "", [], {}):
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _parsed(text: str) -> object:
    try:
        found: object = json.loads(text)
    except ValueError:
        return text
    return found
