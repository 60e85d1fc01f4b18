"""What there is of a project, as a tree: networks, the containers on them, their addresses, and what has drifted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..resources import (
    GUARD_TABLE,
    UPLINK,
    Accepts,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    Resource,
    Route,
    Shaper,
    State,
    Sysctl,
    WireguardPeer,
)
from .content import Content
from .details import details
from .entries import SERVICES, Entry, Thing, fold, thing_of
from .requests import asked
from .terminal import BOLD, COLOURS, DIM, YELLOW, View
from .titles import title
from .words import brief, place, vlan_words


class Branch(NamedTuple):
    """A line of the tree and what hangs below it."""

    line: str
    below: tuple[Branch, ...] = ()


def tree(project: str, observed: State, content: Content | None, view: View) -> str:
    """Return the tree, lines ended by a newline each.

    `content` is what applying the manifest would do, None if there is no manifest: then nothing is known of drift.
    """
    entries = {entry.thing: entry for entry in fold(content.plan)} if content else {}
    pending = sorted(content.pending.items()) if content else []
    things: dict[Thing, list[Resource]] = {}
    for resource in observed.values():
        thing = thing_of(resource)
        if thing.kind != "setting" or thing in entries:  # they are the whole host's: only drift is of interest
            things.setdefault(thing, []).append(resource)
    networks = sorted({thing.network for thing in (*things, *entries) if thing.network is not None})
    branches = [_network(name, things, entries, view) for name in networks]
    branches += _group("containers", ("container",), things, entries, view)
    if SERVICES in things or SERVICES in entries:
        branches.append(_services(things.get(SERVICES, ()), entries.get(SERVICES), observed, view))
    rest = ("firewall", "setting", "tunnel", "resolver", "leftover", "other")
    branches += _group("host", rest, things, entries, view)
    lines = [view.paint(_root(project, things, content, entries), BOLD), *_drawn(branches, "", view)]
    lines += [view.paint(f"pending: container {name}: {why}", YELLOW) for name, why in pending]
    return "".join(f"{line}\n" for line in lines)


def _root(
    project: str, things: Mapping[Thing, list[Resource]], content: Content | None, entries: Mapping[Thing, object]
) -> str:
    if content is not None:
        state = f"{len(entries)} to mend" if entries else "as the manifest says"
    else:
        own = [thing for thing in things if thing.name != f"inet {GUARD_TABLE}"]  # the guard is the whole host's
        state = "what is there" if own else "nothing there"
    return f"{project}: {state}"


def _services(there: Sequence[Resource], entry: Entry | None, observed: State, view: View) -> Branch:
    from .services import as_there, holders, lines

    line, names = view.paint("services"), holders(observed)
    if entry:
        words = ", ".join(f"{_DRIFTS.get(action, '')}{what}" for action, what in lines(entry, names))
        line = f"{line}  {view.paint(f'← {words or title(entry)}', COLOURS[entry.action])}"
    return Branch(line, tuple(Branch(view.paint(f"{name}: {what}")) for name, what in as_there(there, names)))


def _network(name: str, things: Mapping[Thing, list[Resource]], entries: Mapping[Thing, Entry], view: View) -> Branch:
    own = Thing("network", None, name)
    endpoints = sorted(
        {thing for thing in (*things, *entries) if thing.kind == "endpoint" and thing.network == name},
        key=lambda thing: thing.container or "",
    )
    below = tuple(_leaf(thing, str(thing.container), things, entries, view) for thing in endpoints)
    if (names := Thing("names", None, name)) in things or names in entries:
        below = (*below, _leaf(names, f"names of {name}", things, entries, view))
    return _leaf(own, f"network {name}", things, entries, view)._replace(below=below)


def _group(
    heading: str,
    kinds: Iterable[str],
    things: Mapping[Thing, list[Resource]],
    entries: Mapping[Thing, Entry],
    view: View,
) -> Iterator[Branch]:
    members = sorted(
        {thing for thing in (*things, *entries) if thing.kind in kinds},
        key=lambda thing: (thing.kind, thing.container or "", thing.name),
    )
    if members:
        names = {thing: _name(thing) for thing in members}
        yield Branch(heading, tuple(_leaf(thing, names[thing], things, entries, view) for thing in members))


def _name(thing: Thing) -> str:
    if not thing.container:
        if thing.kind == "resolver":
            if thing.name.startswith(DnsServer.INSIDE):
                return f"resolver {thing.name}"
            networks, asking, whom = thing.name.partition(" asking ")
            return f"resolver of {{{networks}}}{asking}{whom}"
        return thing.name if thing.kind == "other" else f"{thing.kind} {thing.name}"
    return place(thing.container) if thing.container.startswith("@") else thing.container


def _leaf(
    thing: Thing, name: str, things: Mapping[Thing, list[Resource]], entries: Mapping[Thing, Entry], view: View
) -> Branch:
    """Return a thing's line: what it is, then what it should be."""
    words = " ".join(_is(things.get(thing, [])))
    line = view.paint(f"{name}: {words}" if words else name)
    entry = entries.get(thing)
    below = _ports(things.get(thing, []), view) if thing.kind == "firewall" else ()
    if entry is None:
        return Branch(line, below)
    return Branch(f"{line}  {view.paint(f'← {_drift(entry)}', COLOURS[entry.action])}", below)


def _ports(resources: Sequence[Resource], view: View) -> tuple[Branch, ...]:
    from .publishing import lines, of

    return tuple(Branch(view.paint(str(line))) for one in resources for line in lines(of(one)))


def _drift(entry: Entry) -> str:
    match entry.action:
        case "add":
            return f"missing: {title(entry)}"
        case "remove":
            return "not in the manifest"
        case action:
            said = [f"{_DRIFTS.get(what, '')}{line}" for what, line in details(entry) if what]
            words = ", ".join(said) or title(entry).partition(": ")[2]
            return f"{'to replace' if action == 'replace' else 'differs'}{f': {words}' if words else ''}"


_DRIFTS = {"add": "lacks ", "remove": "has ", "replace": "to replace "}


def _is(resources: Sequence[Resource]) -> Iterator[str]:
    """Yield words for what the kernel has."""
    shown = [one for one in resources if type(one) in _ORDER]
    for resource in sorted(shown, key=lambda one: (_ORDER.index(type(one)), one.key)):
        match resource:
            case Link(peer=None):
                yield f"{resource.name} ({resource.kind}{'' if resource.up else ', down'})"
            case Link():
                yield f"{resource.inner[1]} ({resource.kind} {resource.name}{'' if resource.up else ', down'})"
            case Address(address=address):
                yield address
            case Route(destination="0.0.0.0/0" | "::/0", link=str(), via=via):
                yield f"via {via or 'the link'}"
            case Netns(reference=reference, adopted=adopted):
                yield f"{reference}{' (adopted)' if adopted else ''}"
            case Sysctl(value=value):
                yield value
            case Accepts(rules=rules):
                yield f"{len(rules)} rules"
            case NftTable(text=text):
                yield f"{len(text.splitlines())} lines"
            case Port() | WireguardPeer():
                yield brief(resource)
            case DnsHosts() | DnsServer():
                from .names import content as names

                yield names(resource)
            case Delegated(interface=interface, addresses=addresses):
                yield from (interface, f"({asked(resource)})", *addresses) if interface else (asked(resource),)
            case _:
                pass
    if vlans := [one for one in resources if isinstance(one, BridgeVlan) and not one.link.endswith(UPLINK)]:
        yield vlan_words(vlans)
    if any(isinstance(one, Shaper) for one in resources):
        from .bandwidth import words as speeds

        yield speeds(resources)
    if any(isinstance(one, FdbEntry | Neighbour) for one in resources):
        from .forwarding import is_way
        from .forwarding import words as ways

        yield ways(one for one in resources if is_way(one))


_ORDER = (Netns, Link, Port, Delegated, Address, Route, WireguardPeer, Sysctl, NftTable, Accepts, DnsHosts, DnsServer)


def _drawn(branches: Sequence[Branch], before: str, view: View) -> Iterator[str]:
    for branch in branches[:-1]:
        yield view.paint(f"{before}├─ ", DIM) + branch.line
        yield from _drawn(branch.below, f"{before}│  ", view)
    for last in branches[-1:]:
        yield view.paint(f"{before}└─ ", DIM) + last.line
        yield from _drawn(last.below, f"{before}   ", view)
