"""What becomes of services, for readers: one line for each, whichever containers' tables say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from ..firewall.services import Spread, spreads
from ..plan import Change, Create, Delete, Update
from ..resources import HOST, NFT, Address, Link, NftTable, Resource, State, subject
from ..wire import Json
from .entries import Entry, resource_of

NOBODY: Mapping[str, str] = MappingProxyType({})


def is_about_tables(change: Change) -> bool:
    """Whether a change is of the tables in containers: of one, or of the mark by which it is found."""
    match change:
        case Update(before=Link() as before, after=Link() as after, fields=("tags",)):
            return set(before.tags) ^ set(after.tags) == {NFT}
        case _:
            one = resource_of(change)
            return isinstance(one, NftTable) and one.sandbox != HOST


def title(entry: Entry) -> str:
    """Return where services change: in which container, or in how many."""
    return f"services in {_where(_sandboxes(entry.changes))}"


def _where(sandboxes: Sequence[str]) -> str:
    names = [one.removeprefix("@") for one in sandboxes]
    if len(names) > 3:
        return f"{len(names)} containers"
    return f"container{'s' * (len(names) > 1)} {', '.join(names)}"


def _sandboxes(changes: Sequence[Change]) -> list[str]:
    found = {one.sandbox for change in changes if isinstance(one := resource_of(change), NftTable)}
    return sorted(found or {one.inner[0] for change in changes if isinstance(one := resource_of(change), Link)})


def lines(entry: Entry, names: Mapping[str, str] = NOBODY) -> Iterator[tuple[str, str]]:
    """Yield an action and a line for each service that changes. `names` are the containers' by address."""
    told: dict[tuple[str, str], list[str]] = {}
    by_texts: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for change in entry.changes:
        resource = resource_of(change)
        if not isinstance(resource, NftTable):
            continue
        texts = (_text(None if isinstance(change, Create) else change.before), _text(_after(change)))
        if texts not in by_texts:
            by_texts[texts] = list(_differences(*texts, names))
        for said in by_texts[texts]:
            told.setdefault(said, []).append(resource.sandbox)
    everywhere = _sandboxes(entry.changes)
    for (action, line), sandboxes in told.items():
        yield action, line if sorted(sandboxes) == everywhere else f"{line} in {_where(sorted(sandboxes))}"


def _after(change: Change) -> Resource | None:
    return None if isinstance(change, Delete) else change.after


def _text(resource: Resource | None) -> str:
    return resource.text if isinstance(resource, NftTable) else ""


def _differences(before: str, after: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    old, new = spreads(before), spreads(after)
    for name in sorted({*old, *new}):
        if name not in new:
            yield "remove", f"service {name}"
        elif name not in old:
            yield "add", f"service {name}: {described(new[name], names)}"
        elif old[name] != new[name]:
            yield "change", f"service {name}: {_changed(old[name], new[name], names)}"
    if old == new:
        yield "change", "the rules are not as they were written"


def _changed(old: Spread, new: Spread, names: Mapping[str, str]) -> str:
    """Return what is different, in one line: who serves, if nothing else is."""
    if old._replace(turns={}) == new._replace(turns={}):
        return f"{' '.join(new.vips)} → {_turns(new, names)} (was {_turns(old, names)})"
    return f"{described(new, names)} (was {described(old, names)})"


def described(service: Spread, names: Mapping[str, str] = NOBODY) -> str:
    """Return "10.20.0.200 80/tcp → api-1, api-2" of a service as a table has it."""
    more = " by client" if service.affinity else ""
    return f"{' '.join((*service.vips, *service.ports))} → {_turns(service, names)}{more}"


def _turns(service: Spread, names: Mapping[str, str]) -> str:
    """Return who serves; an address has turns in its family, and a container is named once."""
    found: dict[str, int] = {}
    for address, turns in service.turns.items():
        found.setdefault(names.get(address, address), turns)
    return ", ".join(f"{name} ×{turns}" if turns > 1 else name for name, turns in found.items()) or "nobody"


def changed(changes: Iterable[Change]) -> list[Json]:
    """Return what becomes of services, as JSON: each once for all containers whose tables say the same of it."""
    found: dict[tuple[str, str], list[str]] = {}
    for change in changes:
        resource = resource_of(change)
        if isinstance(resource, NftTable) and resource.sandbox != HOST:
            texts = (_text(None if isinstance(change, Create) else change.before), _text(_after(change)))
            found.setdefault(texts, []).append(resource.sandbox)
    told: dict[str, tuple[str, Spread | None, Spread | None, list[str]]] = {}
    for texts, sandboxes in found.items():
        old, new = map(spreads, texts)
        for name in sorted({*old, *new}):
            before, after = old.get(name), new.get(name)
            if before != after:
                told.setdefault(str((name, before, after)), (name, before, after, []))[3].extend(sandboxes)
    return [
        {
            "action": "add" if before is None else "remove" if after is None else "change",
            "service": name,
            "before": _as_json(before),
            "after": _as_json(after),
            "containers": sorted(sandboxes),
        }
        for name, before, after, sandboxes in told.values()
    ]


def _as_json(spread: Spread | None) -> Json:
    if spread is None:
        return None
    turns: dict[str, Json] = dict(spread.turns)
    return {"vips": list(spread.vips), "ports": list(spread.ports), "turns": turns, "affinity": spread.affinity}


def holders(observed: State) -> dict[str, str]:
    """Return the containers by the addresses that they are seen to have."""
    addresses = (one for one in observed.values() if isinstance(one, Address))
    return {one.address.partition("/")[0]: container for one in addresses if (container := subject(one)[0])}


def as_there(resources: Sequence[Resource], names: Mapping[str, str] = NOBODY) -> Iterator[tuple[str, str]]:
    """Yield the services that tables have, each with what it is; of several tables the first one counts."""
    found: dict[str, Spread] = {}
    for text in dict.fromkeys(one.text for one in resources if isinstance(one, NftTable)):
        found = {**spreads(text), **found}
    yield from ((name, described(found[name], names)) for name in sorted(found))
