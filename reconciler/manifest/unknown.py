"""Keys that there are not: what to say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .words import COMPOSE, DOCKER_OPTIONS, INSTEAD, SANDBOXES, did_you_mean, listed


def unknown_key(name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is wrong with a key that a mapping of that schema can't have, and the mend."""
    from .core import CORE

    title, known = schema.get("title", "mapping"), schema.get("properties", {})
    short = name if len(name) <= 60 else name[:57] + "..."
    what = f"unknown key {short if short.isprintable() else ascii(short)} in {_article(title)}"
    if title == "sandbox" and name in SANDBOXES:
        return what, SANDBOXES[name]
    if title == "ipam" and name in ("driver", "options"):
        return f"there is no ipam.{name} in netapply: it allocates by itself", "remove it"
    if title.startswith("driver_opts") and name in DOCKER_OPTIONS:
        return what, DOCKER_OPTIONS[name]
    if name in COMPOSE:
        return COMPOSE[name].format(name), "remove it"
    if name in INSTEAD:
        return what, INSTEAD[name]
    if near := did_you_mean(name, known):
        return what, near
    if inner := [key for key, one in known.items() if name in _own_keys(one, CORE["$defs"])]:
        return what, f"it belongs in {listed(inner)}"
    if places := sorted(set(_homes(name, CORE))):
        return what, f"it belongs in {listed(_article(place) for place in places)}"
    return what, f"there are {listed(known, 'and')}" if known else "it takes none"


def _own_keys(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> set[str]:
    """Return the keys that a value may have, where it may be a mapping; `shared` schemas are referred to by name."""
    schema = shared[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    ways = (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))
    return {key for way in ways for key in way.get("properties", {})}


def _homes(name: str, schema: Any) -> Iterator[str]:
    """Yield the titles of the mappings that do have a key."""
    if isinstance(schema, Mapping):
        if name in schema.get("properties", {}) and "title" in schema:
            yield schema["title"]
        for one in schema.values():
            yield from _homes(name, one)


def _article(title: str) -> str:
    if title.startswith(("driver_opts", "ipam")) and not title.endswith("entry"):
        return title
    return f"an {title}" if title[0] in "aeiou" else f"a {title}"
