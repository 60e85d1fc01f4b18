"""What a reader takes for one change: the objects of one endpoint, network or container, folded.

An endpoint is a link, addresses and routes in the kernel; to whoever wrote the manifest it is one thing. A report
counts such things: an endpoint, a network, a container, the firewall, a setting of the host. The kernel objects behind
them are `Plan.changes`, and `Plan.counts` counts those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..errors import Position
from ..plan import Change, Create, Delete, Plan, Update
from ..resources import (
    HALF_MADE,
    HOST,
    Accepts,
    Delegated,
    DnsHosts,
    DnsServer,
    Link,
    Netns,
    NftTable,
    Resource,
    Sysctl,
    subject,
)
from ..safety import is_disruptive


class Thing(NamedTuple):
    """What changes: `kind` is one of endpoint, network, container, firewall, setting, names, resolver, tunnel,
    leftover and other."""

    kind: str
    container: str | None = None
    network: str | None = None
    name: str = ""


SERVICES = Thing("services")
"""The services, as the tables of all containers have them."""


class Entry(NamedTuple):
    """One line of a report. `action` is "add", "change", "remove" or "replace", `head` the change that decided it."""

    thing: Thing
    action: str
    changes: tuple[Change, ...]
    head: Change | None

    @property
    def disruptive(self) -> bool:
        """Whether traffic that flows now is interrupted."""
        return any(map(is_disruptive, self.changes))


class Counts(NamedTuple):
    """How many entries there are of each action."""

    add: int = 0
    change: int = 0
    remove: int = 0
    replace: int = 0


def fold(plan: Plan) -> tuple[Entry, ...]:
    """Return the plan's changes by what they are of, in the order in which each thing first changes."""
    things: dict[Thing, list[Change]] = {}
    for change in plan.changes:
        things.setdefault(_thing(change), []).append(change)
    return tuple(_entry(thing, changes) for thing, changes in things.items())


def _thing(change: Change) -> Thing:
    """Return what a change is of: marking a link for a table that comes or goes is no change of the link's."""
    if isinstance(change, Update) and change.fields == ("tags",):
        from .services import is_about_tables

        if is_about_tables(change):
            return SERVICES
    return thing_of(resource_of(change))


def count(entries: Iterable[Entry]) -> Counts:
    """Return how many entries there are of each action."""
    actions = [entry.action for entry in entries]
    return Counts(*(actions.count(action) for action in Counts._fields))


def resource_of(change: Change) -> Resource:
    """Return the resource that a change is about: as it will be, or as it was if it goes."""
    return change.before if isinstance(change, Delete) else change.after


def thing_of(resource: Resource) -> Thing:
    """Return what a resource is a part of."""
    if isinstance(resource, _BY_ITSELF):  # in a large plan one question for thousands of links, addresses and routes
        return _by_itself(resource)
    container, network = subject(resource)
    if (network or container or "").startswith(HALF_MADE):
        return Thing("leftover", name=network or container or "")
    if network is None and container is None:
        from .tunnels import is_part

        if is_part(resource):
            return Thing("tunnel", name="to other hosts")
        # a route of the host by no link, or what several networks share
        return Thing("other", name=str(resource.key).replace("#", ""))
    if network is None:
        return Thing("container", container)
    return Thing("endpoint" if container is not None else "network", container, network)


_BY_ITSELF = (NftTable, Accepts, Sysctl, DnsHosts, DnsServer)


def _by_itself(resource: NftTable | Accepts | Sysctl | DnsHosts | DnsServer) -> Thing:
    match resource:
        case NftTable(sandbox=sandbox) if sandbox != HOST:
            return SERVICES
        case NftTable(family=family, name=name):
            return Thing("firewall", name=f"{family} {name}")
        case Accepts(name=name):
            return Thing("firewall", name=name)
        case Sysctl(name=name):
            return Thing("setting", name=name)
        case DnsHosts(network=network):
            return Thing("names", network=network)
        case DnsServer(name=name):
            return Thing("resolver", name=name)


def _entry(thing: Thing, changes: Sequence[Change]) -> Entry:
    """A thing is added, removed or replaced with its own object; if only what it carries changes, it changes."""
    heads = [change for change in changes if _is_head(thing, resource_of(change))]
    if not heads and thing.kind == "network":
        heads = _on_parent(changes)
    if thing == SERVICES and len({type(change) for change in heads}) > 1:
        return Entry(thing, "change", tuple(changes), None)
    last = heads[-1] if heads else None  # of a replacement the Create
    gone = any(isinstance(head, Delete) and not head.replaced for head in heads)
    match last:
        case Create(replaces=True):
            action = "replace"
        case Create() if gone:  # by what another driver makes
            action = "replace"
        case Create():
            action = "add"
        case Delete():
            action = "remove"
        case _:
            action = "change"
    return Entry(thing, action, tuple(changes), last)


def _on_parent(changes: Sequence[Change]) -> list[Change]:
    """Return the changes of what stands for a network that has no link of its name: its parent, or its host's link."""
    links = [(one.path, change) for change in changes if isinstance(one := resource_of(change), Link)]
    return [change for end in ("#parent", "#host") for path, change in links if path.endswith(end)]


def _is_head(thing: Thing, resource: Resource) -> bool:
    match resource:
        case Link(path=path):
            return ("#" not in path or thing.kind in ("other", "tunnel")) and thing != SERVICES
        case Netns():
            return thing.kind in ("container", "leftover")
        case NftTable() | Accepts() | Sysctl() | Delegated() | DnsHosts() | DnsServer():
            return True
        case _:
            return thing.kind == "other"


def grouped(
    entries: Iterable[Entry], networks: Sequence[str] = (), containers: Sequence[str] = ()
) -> list[tuple[str, list[Entry]]]:
    """Return the entries under headings: each network with its endpoints, the containers, the rest of the project.

    `networks` and `containers` are in the order of the manifest; others follow by name.
    """
    groups: dict[tuple[int, int, str], list[Entry]] = {}
    places = {name: place for place, name in enumerate(networks)}
    turns = {name: place for place, name in enumerate(containers)}

    def within(entry: Entry) -> tuple[bool, int, str, str]:
        kind, container, _, name = entry.thing
        return kind == "endpoint", turns.get(container or "", len(turns)), container or "", name

    for entry in entries:
        if (network := entry.thing.network) is not None:
            where = (0, places.get(network, len(places)), network)
        else:
            where = ({"container": 1, "services": 2}.get(entry.thing.kind, 3), 0, "")
        groups.setdefault(where, []).append(entry)
    headings = {1: "containers", 2: "services", 3: "host"}
    return [
        (headings.get(group[0]) or f"network {group[2]}", sorted(groups[group], key=within)) for group in sorted(groups)
    ]


_SAID_AS = {
    "name": "interface_name",
    "peer.name": "interface_name",
    "mac": "mac_address",
    "peer.mac": "mac_address",
}


def source(change: Change, position: Callable[..., Position]) -> Position | None:
    """Return where the manifest says what the change is for, None for what it says no more or never said."""
    if isinstance(change, Delete) and not change.replaced:
        return None
    thing = thing_of(resource_of(change))
    field = change.fields[0] if isinstance(change, Update) else ""
    match thing:
        case Thing("endpoint", container, network) if field.endswith("mtu") or field.startswith(("options.", "port.")):
            return position("networks", network, *_below(field))
        case Thing("endpoint", container, network):
            return position("containers", container, "networks", network, *_below(field))
        case Thing("network", _, network):
            return position("networks", network, *_below(field))
        case Thing("container", container):
            return position("containers", container)
        case Thing("services"):
            return position("services")
        case Thing("names", _, network):
            return position("networks", network)
        case Thing("resolver", name=name) if name.startswith(DnsServer.INSIDE):
            return position("containers", name.removeprefix(DnsServer.INSIDE))
        case Thing("resolver"):
            return position("dns")
        case _:
            return None


def _below(field: str) -> tuple[str, ...]:
    """Return the words of the manifest for a field of a link; a driver's option of another name is not found, and its
    parent stands for it."""
    head, _, name = field.partition(".")
    if head in ("options", "port"):
        return ("driver_opts", name)
    if head == "sysctls":
        return ("sysctls", f"net.{name}")
    if field.endswith("mtu"):
        return ("mtu",)
    return (_SAID_AS[field],) if field in _SAID_AS else ()
