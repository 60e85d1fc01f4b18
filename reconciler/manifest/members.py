"""Which containers a service means: names, or patterns of * and ? for some that are on its network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase

from .model import Manifest, ServiceSpec

_SIGNS = ("*", "?", "[")
"""What makes a pattern of a name: names of containers have none of them."""


def is_pattern(text: str) -> bool:
    """Whether it is a pattern rather than a name."""
    return any(sign in text for sign in _SIGNS)


def matching(text: str, names: Collection[str]) -> list[str]:
    """Return those of the names that a name or a pattern means."""
    if is_pattern(text):
        return [name for name in names if fnmatchcase(name, text)]
    return [text] if text in names else []


def by_network(manifest: Manifest, networks: Iterable[str]) -> dict[str, dict[str, None]]:
    """Return the containers on each of these networks, whichever host they are on, in the manifest's order."""
    found: dict[str, dict[str, None]] = {name: {} for name in networks}
    for container in manifest.containers.values():
        for end in container.endpoints:
            if end.network in found:
                found[end.network][container.name] = None
    return found


def members(service: ServiceSpec, near: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield the containers of a service with their weights, by name; `near` are those on its network.

    The weight of a name counts more than that of a pattern, and of patterns the first.
    """
    for name in sorted({name for text in service.containers for name in matching(text, near)}):
        patterns = (weight for text, weight in service.weights.items() if matching(text, (name,)))
        yield name, service.weights.get(name) or next(patterns, 1)
