"""How packets get to other hosts, in numbers: there may be tens of thousands of entries, each as dull as the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ..plan import Change, Create, Delete, Update
from ..resources import FdbEntry, Neighbour, Resource, Route

_WORDS = {FdbEntry: ("forwarding entry", "forwarding entries"), Neighbour: ("neighbour", "neighbours")}
_ROUTES = ("route", "routes")


def is_way(resource: Resource) -> bool:
    """Whether a resource is but one of many of its kind."""
    return type(resource) in _WORDS or (isinstance(resource, Route) and resource.onlink)


def folded(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield a line for each action: "to other hosts: 3 forwarding entries, 6 neighbours"."""
    groups: dict[str, list[Resource]] = {"replace": [], "add": [], "change": [], "remove": []}
    for change in changes:
        match change:
            case Create(replaces=True, after=resource):
                groups["replace"].append(resource)
            case Create(after=resource):
                groups["add"].append(resource)
            case Update(after=resource):
                groups["change"].append(resource)
            case Delete(replaced=False, before=resource):
                groups["remove"].append(resource)
    yield from ((action, words(found)) for action, found in groups.items() if found)


def words(resources: Iterable[Resource]) -> str:
    """Return how many there are of each kind."""
    counts = Counter(_WORDS.get(type(one), _ROUTES) for one in resources)
    order = [*_WORDS.values(), _ROUTES]
    return f"to other hosts: {', '.join(f'{counts[kind]} {kind[counts[kind] != 1]}' for kind in order if counts[kind])}"
