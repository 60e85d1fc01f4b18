"""Bandwidth in words: what an endpoint may receive and send, and what changes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..plan import Change, Create, Delete, Update
from ..resources import Link, Resource, Shaper

_UNITS = ((10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s"))
_SIZES = ((1 << 20, "MB"), (1 << 10, "kB"))


def speed(rate: int) -> str:
    """Return a rate in words: "10 Mbit/s"."""
    return next((f"{_short(rate / unit)} {word}" for unit, word in _UNITS if rate >= unit), f"{rate} bit/s")


def size(count: int) -> str:
    """Return a number of bytes in words: "64 kB", of 1024 bytes each."""
    return next((f"{_short(count / unit)} {word}" for unit, word in _SIZES if count >= unit), f"{count} bytes")


def _short(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def brief(shaper: Shaper) -> str:
    """Return a queue in a few words."""
    return f"{speed(shaper.rate) if shaper.rate else 'nothing'} {_way(shaper)}"


def words(resources: Iterable[Resource]) -> str:
    """Return what an endpoint's queues let through: "bandwidth 10 Mbit/s in, 5 Mbit/s out"; empty without any."""
    said = [brief(one) for one in sorted(_shapers(resources), key=lambda one: one.link)]
    return f"bandwidth {', '.join(said)}" if said else ""


def _shapers(resources: Iterable[Resource]) -> list[Shaper]:
    return [one for one in resources if isinstance(one, Shaper)]


def _way(shaper: Shaper) -> str:
    return "out" if shaper.outward else "in"


def folded(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield lines, each with its action, for changes to queues, and to the links that they are on."""
    changes = list(changes)
    made = words(change.after for change in changes if isinstance(change, Create) and not change.replaces)
    again = words(change.after for change in changes if isinstance(change, Create) and change.replaces)
    gone = words(change.before for change in changes if isinstance(change, Delete) and not change.replaced)
    for action, said in (("replace", again), ("add", made), ("remove", gone)):
        if said:
            yield action, said
    for change in changes:
        if isinstance(change, Update) and isinstance(change.after, Shaper) and isinstance(change.before, Shaper):
            yield "change", f"bandwidth {_way(change.after)} {_changed(change.before, change.after)}"
    links = [change for change in changes if not isinstance(_resource(change), Shaper)]
    if links and len(links) == len(changes):
        yield from _of_links(links)


def _changed(before: Shaper, after: Shaper) -> str:
    """Return what changes of a queue; with another rate all else follows."""
    if before.rate != after.rate or before.redirect != after.redirect:
        old = speed(before.rate) if before.rate and before.redirect == after.redirect else "none"
        return f"{old} → {speed(after.rate)}"
    if before.burst != after.burst:
        return f"burst {size(before.burst)} → {size(after.burst)}"
    return f"queue {size(before.limit)} → {size(after.limit)}"


def _of_links(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield what happens to links alone: one that was set down, or had lost its mark."""
    from .fields import field_changes

    for change in changes:
        if isinstance(change, Update):
            for line in field_changes(change.before, change.after, change.fields):
                yield "change", f"{_named(change.after)}: {line}"
        else:
            action = "remove" if isinstance(change, Delete) else "add"
            yield action, _named(_resource(change))


def _named(resource: Resource) -> str:
    return f"{resource.kind} {resource.name}" if isinstance(resource, Link) else ""


def _resource(change: Change) -> Resource:
    return change.before if isinstance(change, Delete) else change.after
