"""Published ports in words: what leads where, and what of that changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from ..firewall.ports import published
from ..networks import Publication
from ..plan import Change, Create, Delete
from ..resources import GUARD_TABLE, HOST, NftTable, Resource
from ..wire import Json


class Line(NamedTuple):
    """A port, or a run of them, of one owner: `where` is "8080/tcp" or "127.0.0.1:8000-8010/udp", `to` the targets."""

    where: str
    owner: str
    to: str

    def __str__(self) -> str:
        return f"port{'s' * self.is_range} {self.where} of {self.owner} → {self.to}"

    @property
    def is_range(self) -> bool:
        return "-" in self.where.rpartition(":")[2]


def of(resource: Resource | None) -> tuple[Publication, ...]:
    """Return what a resource publishes: nothing unless it is a project's table in the host."""
    if not isinstance(resource, NftTable) or resource.sandbox != HOST or resource.name == GUARD_TABLE:
        return ()
    return published(resource.text) if "inet_service" in resource.text else ()


def lines(publications: Iterable[Publication]) -> list[Line]:
    """Return the publications, both families on one line and neighbours together, by port and protocol."""
    by_place: dict[tuple[str, str, str, int], list[Publication]] = {}
    for one in publications:
        where = "" if one.host_ip is None else f"[{one.host_ip}]" if ":" in one.host_ip else one.host_ip
        by_place.setdefault((one.protocol, one.owner, where, one.port), []).append(one)
    found: list[Line] = []
    for _, run in groupby(sorted(by_place.items()), key=_Runs()):
        members = list(run)
        (protocol, owner, where, first), some = members[0]
        (_, _, _, last), others = members[-1]
        span = f"{first}-{last}" if last > first else str(first)
        found.append(Line(f"{where}:{span}/{protocol}".lstrip(":"), owner, _targets(some, others)))
    return sorted(found, key=lambda one: (int(one.where.rpartition(":")[2].split("/")[0].split("-")[0]), one))


class _Runs:
    """Gives ports of one owner whose number and whose targets' number go up together the same key."""

    def __init__(self) -> None:
        self.last: tuple[object, int] = (None, 0)
        self.number = 0

    def __call__(self, item: tuple[tuple[str, str, str, int], Sequence[Publication]]) -> int:
        (protocol, owner, where, port), some = item
        shift = tuple((target.address, target.port - port) for one in some for target in one.targets)
        kind = protocol, owner, where, shift, tuple((one.affinity, one.leaving) for one in some)
        if (kind, port - 1) != self.last:
            self.number += 1
        self.last = (kind, port)
        return self.number


def _targets(first: Sequence[Publication], last: Sequence[Publication]) -> str:
    words = []
    for one, other in zip(first, last, strict=True):
        for start, end in zip(one.targets, other.targets, strict=True):
            address = f"[{start.address}]" if ":" in start.address else start.address
            span = f"{start.port}-{end.port}" if end.port > start.port else str(start.port)
            words.append(f"{address}:{span}" + (f" (weight {start.weight})" if start.weight > 1 else ""))
    chosen = ", by the client's address" if any(one.affinity for one in first) else ""
    left = [f"[{end.address}]" if ":" in end.address else end.address for one in first for end in one.leaving]
    return ", ".join(words) + chosen + (f"; what {', '.join(left)} has goes on" if left else "")


def differing(change: Change) -> Iterator[tuple[str, str]]:
    """Yield what changes of published ports, each line with its action: "add", "change" or "remove"."""
    before = of(None if isinstance(change, Create) else change.before)
    after = of(None if isinstance(change, Delete) else change.after)
    if before == after:
        return
    old, new = _by_place(before), _by_place(after)
    yield from (("remove", str(one)) for one in lines(_of_places(old, old.keys() - new.keys())))
    yield from (("add", str(one)) for one in lines(_of_places(new, new.keys() - old.keys())))
    moved = [place for place in old.keys() & new.keys() if old[place] != new[place]]
    was = {one.where: one for one in lines(_of_places(old, moved))}
    for one in lines(_of_places(new, moved)):
        if one.where in was:
            yield (
                "change",
                f"{was[one.where]}, from now on {f'of {one.owner} ' * (one.owner != was[one.where].owner)}→ {one.to}",
            )
        else:
            yield "change", f"{one}, and elsewhere before"


_Place = tuple[str, str, int]


def _by_place(publications: Iterable[Publication]) -> dict[_Place, list[Publication]]:
    """Return publications by what a reader takes for one: protocol, address and port; both families are."""
    found: dict[_Place, list[Publication]] = {}
    for one in publications:
        found.setdefault((one.protocol, one.host_ip or "", one.port), []).append(one)
    return found


def _of_places(by_place: dict[_Place, list[Publication]], places: Iterable[_Place]) -> list[Publication]:
    return [one for place in places for one in by_place[place]]


def changed(change: Change) -> Iterator[Json]:
    """Yield what a change adds to published ports and takes from them, as JSON."""
    before = of(None if isinstance(change, Create) else change.before)
    after = of(None if isinstance(change, Delete) else change.after)
    for action, some, others in (("remove", before, after), ("add", after, before)):
        known = set(others)
        yield from ({"action": action, **one} for one in as_json(one for one in some if one not in known))


def as_json(publications: Iterable[Publication]) -> list[dict[str, Json]]:
    """Return publications as JSON, in their order."""
    return [
        {
            "owner": one.owner,
            "protocol": one.protocol,
            "host_ip": one.host_ip,
            "port": one.port,
            "targets": [
                {"address": target.address, "port": target.port, "weight": target.weight} for target in one.targets
            ],
            "affinity": one.affinity,
            "leaving": [{"address": end.address, "port": end.port} for end in one.leaving],
        }
        for one in publications
    ]
