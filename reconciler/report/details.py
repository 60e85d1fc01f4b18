"""What changes in an entry of a plan: the lines below its title."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..plan import Change, Create, Delete, Update
from ..resources import (
    IFB,
    UPLINK,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Route,
    Shaper,
    Sysctl,
    Wireguard,
    WireguardPeer,
    differences,
    must_replace,
)
from .entries import Entry, resource_of
from .fields import field_changes, label
from .words import DEFAULTS, brief, destination, vlan_words, way


def details(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield lines below the title, each with the action that it stands for ("" for a remark), the nft text aside."""
    if entry.thing.kind == "services":
        from .services import lines as of_services

        yield from of_services(entry)
        return
    deleted = {change.key: change.before for change in entry.changes if isinstance(change, Delete)}
    told: set[str] = set()
    for change in entry.changes:
        lines: Iterable[str] = ()
        if isinstance(change, Update) and not _is_told_below(change.after):
            lines = field_changes(change.before, change.after, change.fields)
            if isinstance(change.after, DnsHosts | DnsServer | ResolvConf):
                from . import names

                lines = names.changed(change)
            if isinstance(change.after, Wireguard | WireguardPeer):
                from . import tunnels

                lines = tunnels.changed(change)
        elif isinstance(change, Create) and (before := deleted.get(change.key)) and change is entry.head:
            changed = differences(change.after, before)
            lines = field_changes(before, change.after, ("kind",) if "kind" in changed else changed)  # all else follows
        if isinstance(change, Update) and isinstance(change.after, Port):
            lines = [f"{brief(change.after)}: {line}" for line in lines]
        for line in lines:
            if line not in told:  # both ends of a veth pair have an MTU
                told.add(line)
                yield "change", line
    if entry.thing.kind == "firewall" and entry.head:
        from . import publishing

        yield from publishing.differing(entry.head)
    yield from _carried(entry)
    if entry.action == "replace" and isinstance(entry.head, Create):
        before = deleted.get(entry.head.key)
        yield "", ": ".join(filter(None, ["replaced, which interrupts its traffic", _reason(entry.head, before)]))
    elif entry.disruptive and entry.action == "change":
        yield "", ": ".join(filter(None, ["interrupts its traffic", _put_back(entry)]))


def _put_back(entry: Entry) -> str:
    """Return why a port is put into its bridge again, though it is in the right one."""
    match entry.head:
        case Update(before=Link(master=str(old)), after=Link(master=str(new)), fields=fields) if old == new:
            return f"the bridge of network {new} is replaced" if "master" in fields else ""
        case _:
            return ""


def _reason(change: Create, before: Resource | None) -> str:
    """Return why something is replaced, with the words of the lines above for the fields."""
    fields = must_replace(change.after, before, differences(change.after, before)) if before else ()
    if before is None and not change.replaces:
        return "another driver makes it"
    if not fields or "peer" in fields:
        return change.reason
    if isinstance(before, Delegated):
        return "a plugin can't change what it has made, and may give other addresses" if before.healthy else ""
    return f"{', '.join(label(name) for name in fields)} can't be changed in place"


def _carried(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the addresses, routes and further links that change, where the title does not say it all."""
    whole = entry.action != "change"
    vlans: list[Change] = []
    ways: list[Change] = []
    queues: list[Change] = []
    readdressed = {} if whole else dict(_readdressed(entry))
    for change in entry.changes:
        resource = resource_of(change)
        if change is not entry.head and _is_about_bandwidth(resource):
            queues.append(change)
            continue
        if change is entry.head or isinstance(resource, NftTable | Sysctl) or _is_in_title(change, whole):
            continue
        if isinstance(resource, BridgeVlan):
            vlans.append(change)
            continue
        if isinstance(resource, FdbEntry | Neighbour) or (isinstance(resource, Route) and resource.onlink):
            ways.append(change)
            continue
        if (address := readdressed.get(resource.key)) is not None:
            if isinstance(change, Create):
                yield "change", f"address {address} → {brief(resource).removeprefix('address ')}"
            continue
        match change:
            case Update(before=Route() as before, after=Route() as after):
                yield "change", f"route {destination(after)}: {way(before)} → {way(after)}"
            case Create(after=Port()):
                yield "add", brief(resource)
            case Delete(before=Port()):
                yield "remove", brief(resource)
            case Create(replaces=True, reason=reason):
                yield "replace", f"{brief(resource)} ({reason})"
            case Create():
                yield "add", brief(resource)
            case Delete(replaced=False):
                yield "remove", brief(resource)
            case _:
                pass
    if vlans:
        yield from _vlans(vlans)
    if ways:
        from .forwarding import folded

        yield from folded(ways)
    if queues and entry.action in ("add", "change"):
        from . import bandwidth

        yield from bandwidth.folded(queues)


def _is_told_below(resource: Resource) -> bool:
    """Whether `_carried` says what changes in it."""
    return isinstance(resource, Route | BridgeVlan | FdbEntry | Neighbour) or _is_about_bandwidth(resource)


def _is_about_bandwidth(resource: Resource) -> bool:
    return isinstance(resource, Shaper) or (isinstance(resource, Link) and resource.path.endswith(IFB))


def _vlans(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield the VLANs that come, go, and change how they are; ranges of them on one line, each port's by itself."""
    groups: dict[tuple[str, str, str], list[BridgeVlan]] = {}
    for change in changes:
        action = {Create: "add", Delete: "remove"}.get(type(change), "change")
        one = resource_of(change)
        if isinstance(one, BridgeVlan) and not (isinstance(change, Delete) and change.replaced):
            groups.setdefault((action, one.link, brief(one).removeprefix(f"VLAN {one.vid}")), []).append(one)
    for (action, link, how), found in groups.items():
        whose = " on the uplink" if link.endswith(UPLINK) else ""
        yield action, f"{vlan_words(found)}{' →' * (action == 'change')}{how}{whose}"


def _readdressed(entry: Entry) -> Iterator[tuple[Key, str]]:
    """Yield the keys of both addresses, and the one before, where one of a family takes the place of another."""
    for family in (False, True):
        olds = [
            change.before
            for change in entry.changes
            if isinstance(change, Delete) and isinstance(change.before, Address) and not change.replaced
        ]
        news = [
            change.after
            for change in entry.changes
            if isinstance(change, Create) and isinstance(change.after, Address) and not change.replaces
        ]
        olds = [one for one in olds if (":" in one.address) is family]
        news = [one for one in news if (":" in one.address) is family]
        if len(olds) == len(news) == 1:
            yield from ((one.key, olds[0].address) for one in (*olds, *news))


def _is_in_title(change: Change, whole: bool) -> bool:
    """Whether the title of an entry that is made, removed or replaced as a `whole` names it, or need not."""
    if not whole:
        return False
    match change:
        case Create(after=Address() | ResolvConf()):
            return True
        case Create(after=Route(destination=destination, type="unicast")):
            return destination in DEFAULTS
        case Create() | Delete(before=Port()):  # a link of somebody else's
            return False
        case _:
            return True
