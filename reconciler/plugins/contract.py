"""The drivers' contract, as checks: what a driver says of itself, and what it yields for a network.

Drivers of others are held to it in every run, those that come with netapply by the conformance suite. Each fault is a
line that says what is wrong and, after a semicolon, what mends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..drivers import Complaint, Traits
from ..firewall import Zone
from ..lowering.addressing import tags
from ..naming import IFNAMSIZ
from ..networks import Network
from ..resources import (
    HOST,
    Address,
    BridgeVlan,
    Delegated,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Peer,
    Port,
    Resource,
    Route,
    Sysctl,
    Wireguard,
    WireguardPeer,
)

OTHERS = (Link, Address, Route, Neighbour, FdbEntry, BridgeVlan, Delegated, Zone)
"""What a driver of somebody else may yield."""

YIELDS = (*OTHERS, Port, Sysctl, Wireguard, WireguardPeer)
"""What a driver may yield at all: namespaces and tables are netapply's own to make."""

_SIMPLE = {"title", "description", "default", "examples", "enum", "const", "type", "pattern", "minimum", "maximum"}
_TYPES = {"string", "integer", "number", "boolean", "null", "object", "array"}


_SHOWN = 10
"""How many faults are told at once."""


def told(label: str, faults: Sequence[str]) -> str:
    """Return faults as a message, a line each."""
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return "\n".join(f"{label}: {line}" for line in (*faults[:_SHOWN], *more))


def about(driver: object) -> Iterator[str]:
    """Yield what is wrong with what a driver says of itself."""
    summary, traits = getattr(driver, "SUMMARY", None), getattr(driver, "TRAITS", None)
    if not isinstance(summary, str) or not summary.strip() or not summary.isprintable():
        yield f"SUMMARY is {summary!r}; make it one line of text"
    if not isinstance(traits, Traits):
        yield f"TRAITS is {traits!r}; make it a reconciler.drivers.Traits"
    yield from options("OPTIONS", getattr(driver, "OPTIONS", None))
    yield from options("ENDPOINT_OPTIONS", getattr(driver, "ENDPOINT_OPTIONS", {}))


def options(label: str, value: object) -> Iterator[str]:
    """Yield what is wrong with options: they must be the JSON Schema of each by its name."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        yield f"{label} is {value!r}; make it the JSON Schema of each option by its name"
        return
    for name, schema in value.items():
        if not isinstance(schema, Mapping):
            yield f"{label}[{name!r}] is {schema!r}; make it a JSON Schema, such as {{'type': 'string'}}"
        elif not _is_plainly_sound(schema) and (fault := _explained(schema)):
            yield f"{label}[{name!r}] is no JSON Schema: {fault}"


def _is_plainly_sound(schema: Mapping[str, Any]) -> bool:
    """Whether a schema is simple, and so plainly right that jsonschema, which takes long to load, need not look."""
    kind, bounds = schema.get("type", "string"), [schema[key] for key in ("minimum", "maximum") if key in schema]
    texts = [schema[key] for key in ("title", "description") if key in schema]
    return (
        schema.keys() <= _SIMPLE - {"pattern"}
        and isinstance(kind, str)
        and kind in _TYPES
        and all(type(bound) is int for bound in bounds)
        and all(type(one) is str for one in texts)
        and type(schema.get("enum", [])) is list
        and type(schema.get("examples", [])) is list
    )


def _explained(schema: Mapping[str, Any]) -> str:
    import re

    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        re.compile(schema.get("pattern", ""))
    except SchemaError as failure:
        return failure.message
    except (TypeError, re.error) as failure:
        return str(failure)
    return ""


def complaint(one: Complaint) -> Iterator[str]:
    """Yield what is wrong with a complaint."""
    if not isinstance(one.path, tuple) or not all(isinstance(part, str | int) for part in one.path):
        yield "make its path a tuple of keys, such as ('driver_opts', 'mode')"
    if not all(isinstance(text, str) for text in one[1:]) or not one.what:
        yield "make what is wrong, and the mend, texts"


def faults(network: Network, items: Sequence[object]) -> Iterator[str]:
    """Yield what is wrong with what a driver yields for a network, whoever's driver it is."""
    resources: dict[Key, Resource] = {}
    for item in items:
        if not isinstance(item, YIELDS):
            mend = (
                "namespaces and tables are netapply's to make" if isinstance(item, Netns | NftTable) else "see the docs"
            )
            yield f"it yields {_short(item)}, which is no resource of a driver's; {mend}"
        elif isinstance(item, Zone):
            yield from _zone(network, item, items)
        elif (first := resources.setdefault(item.key, item)) is not item and first != item:
            yield f"it yields two different things for {item.key}; give one another path"
    for key, item in resources.items():
        if path := _path(item):
            yield from _belonging(network, key, path)
        yield from (f"{key}: {what}" for what in _values(item))
        for need in item.requires:
            if need not in resources and not _is_given(network, need):
                yield f"{key} needs {need}, which the driver does not yield; yield it, or name what is there"


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _path(item: Resource) -> str | None:
    """Return the path that says what a resource is for; None for what belongs to none, or to a link that says it."""
    return item.path if isinstance(item, Link | Port | Delegated) else None


def _belonging(network: Network, key: Key, path: str) -> Iterator[str]:
    """Yield that a path is not the network's. "#NAME" may be shared by several."""
    own = {network.name, *(endpoint.path for endpoint in network.endpoints)}
    head, _, suffix = path.partition("#")
    if head not in own and not (head == "" and suffix):
        known = f"{network.name}, {network.name}#SOMETHING or CONTAINER/{network.name}"
        yield f"{key}: its path is not the network's; it must be {known}, of a container that is attached"
    if not path.isprintable() or ";" in path or any(sign.isspace() for sign in path):
        yield f"{key}: its path has signs that a mark can't have; leave out spaces and semicolons"


def _is_given(network: Network, need: Key) -> bool:
    """Whether a resource may count on something that no driver yields: a sandbox of the network's, a link of others."""
    if need.kind == "netns":
        return need.name in {endpoint.sandbox for endpoint in network.endpoints}
    return need.kind == "link" and need.name.startswith("/")


def _values(item: Resource) -> Iterator[str]:
    """Yield what is wrong with the values of a resource by themselves."""
    match item:
        case Link():
            yield from _end(item)
            if item.peer:
                yield from _end(item.peer)
            yield from _kind(item)
        case Address(address=address):
            yield from _spelling(address, "address", with_length=True)
        case Route(destination=destination, via=via, link=link, type=kind):
            yield from _prefix(destination)
            if via is not None:
                yield from _spelling(via, "via", with_length=False)
                if (":" in via) != (":" in destination):
                    yield f"via {via} is of another family than {destination}; both must be of one"
            if (kind == "unicast") != (link is not None):
                yield f"a {kind} route has {'no link' if link is None else 'a link'}; only those that lead somewhere do"
        case Neighbour(address=address, mac=mac):
            yield from _spelling(address, "address", with_length=False)
            yield from _mac(mac)
        case FdbEntry(mac=mac, via=via):
            yield from _spelling(via, "via", with_length=False)
            if mac != FdbEntry.FLOOD:
                yield from _mac(mac)


def _end(end: Link | Peer) -> Iterator[str]:
    from ..manifest.rules import name_fault

    if fault := name_fault(end.name):
        yield "; ".join(fault)
    if end.mac is not None:
        yield from _mac(end.mac)
    if end.mtu is not None and not 68 <= end.mtu <= 65535:
        yield f"an MTU of {end.mtu}; it must be between 68 and 65535"


def _mac(mac: str) -> Iterator[str]:
    octets = mac.split(":")
    if len(octets) != 6 or not all(len(one) == 2 and set(one) <= set("0123456789abcdef") for one in octets):
        yield f"the MAC {mac!r} is not six pairs of small hexadecimal digits with colons; spell it 02:42:0a:14:00:0a"
    elif int(octets[0], 16) & 1 or mac == FdbEntry.FLOOD:
        yield f"the MAC {mac} is nobody's; the first octet of a link's is even, such as 02"


def _kind(link: Link) -> Iterator[str]:
    """Yield that the host could not make such a link."""
    from ..host.kinds import KINDS, PORT
    from ..manifest.words import did_you_mean, listed

    known = KINDS.get(link.kind)
    if known is None:
        mend = did_you_mean(link.kind, KINDS) or f"it knows {listed(KINDS, 'and')}"
        yield f"netapply makes no links of kind {link.kind}; {mend}"
        return
    for fields, given in ((known, link.options), (PORT, link.port)):
        for name in given.keys() - fields.keys():
            mend = did_you_mean(name, fields) or (f"there are {listed(fields, 'and')}" if fields else "there are none")
            yield f"a {link.kind} has no option {name}; {mend}"
    if (link.kind == "veth") != (link.peer is not None):
        yield f"a {link.kind} {'needs a peer' if link.kind == 'veth' else 'has no peer'}; only a veth is a pair"


def _spelling(text: str, label: str, *, with_length: bool) -> Iterator[str]:
    """Yield that an address is none, or not spelled as the kernel does."""
    from ..manifest import ip

    address, slash, length = text.partition("/")
    found = ip.address(address)
    if found is None or bool(slash) != with_length:
        form = "such as 10.20.0.10/24" if with_length else "without a prefix length"
        yield f"{label} {text!r} is no address {form}; spell it so"
    elif ip.text(*found) != address or (with_length and ip.prefix(text) is None):
        yield f"{label} {text} is not as the kernel spells it; write {ip.text(*found)}{slash}{length}"


def _prefix(text: str) -> Iterator[str]:
    from ..manifest import ip

    found = ip.prefix(text)
    if found is None or found[1] or str(found[0]) != text:
        yield f"destination {text!r} is no prefix as the kernel spells it; write {found[0] if found else '0.0.0.0/0'}"


def _zone(network: Network, zone: Zone, items: Sequence[object]) -> Iterator[str]:
    label, names = f"the zone of {zone.network}", {one.name for one in items if isinstance(one, Link)}
    if zone.network != network.name:
        yield f"{label}: it is another network's; its network must be {network.name}"
    said = set(_texts(network))
    if zone.interface not in names | said or len(zone.interface.encode()) > IFNAMSIZ:
        yield f"{label}: its interface {zone.interface} is no link that the driver yields; name that one"
    for left in ("subnets", "allow"):
        had = {one.cidr for one in network.subnets} if left == "subnets" else set(network.allow)
        if more := sorted(set(getattr(zone, left)) - had):
            yield f"{label}: its {left} has {', '.join(more)}, which the network's has not; take that"


def oversteps(network: Network, items: Sequence[Resource | Zone]) -> Iterator[str]:
    """Yield where a driver of somebody else goes too far: it may touch its network, what is on it, and nothing else."""
    sandboxes = {HOST, *(endpoint.sandbox for endpoint in network.endpoints)}
    links = {one.path: one for one in items if isinstance(one, Link)}
    for item in items:
        if not isinstance(item, OTHERS):
            yield f"{item.key}: it is not for drivers of others to yield; leave it out"
        elif isinstance(item, Zone) and item.seal:
            yield f"the zone of {item.network}: a seal is not for drivers of others; leave it out"
        elif isinstance(item, Link):
            yield from _beyond(network, item, sandboxes)
            if not item.path.startswith("#") and item.tags != tags(network):
                yield f"{item.key}: its tags are {item.tags}; they must be reconciler.lowering.addressing.tags(network)"
        elif isinstance(item, Address) and _place(item.link, links) == HOST:
            if not _is_here(network, item.address):
                yield f"{item.key}: the host would be in a subnet that is not the network's; choose an address of that"
        elif isinstance(item, Route) and item.sandbox not in sandboxes:
            yield f"{item.key}: its sandbox is on another network; route in that of an endpoint, or in the host"
        elif isinstance(item, Route) and item.sandbox == HOST and not _is_here(network, item.destination):
            yield f"{item.key}: the host would send by it what is not the network's; route its subnets only"


def _beyond(network: Network, link: Link, sandboxes: set[str]) -> Iterator[str]:
    """Yield that a link is in a sandbox of others, or stands on a link that nobody has said it may."""
    container = link.path.rpartition("/")[0]
    mine = {HOST, container} if container else sandboxes
    for place in (link.sandbox, link.peer.sandbox if link.peer else HOST):
        if place not in mine:
            yield f"{link.key}: it is in the sandbox {place}, which is not its own; put it into that, or the host"
    for reference in (link.master, link.parent):
        if reference and reference.startswith("/") and reference[1:] not in _said(network):
            what = f"{link.key}: it stands on {reference[1:]}, a link of the host that the manifest does not name"
            yield f"{what}; take the network's parent, or what an option names"


def _said(network: Network) -> set[str]:
    """Return the links of the host that a network may stand on: what an option says, and its parent."""
    parent, names = network.parent, set(_texts(network))
    while parent:
        names.add(parent.name)
        parent = parent.below
    return names


def _texts(network: Network) -> Iterator[str]:
    """Yield what the options of a network say, as texts; what lists have, one by one."""
    for value in network.options.values():
        values: object = value
        yield from map(str, values if isinstance(values, list | tuple) else [values])


def _place(path: str, links: Mapping[str, Link]) -> str | None:
    return links[path].inner[0] if path in links else None


def _is_here(network: Network, text: str) -> bool:
    """Whether an address or a prefix is in a subnet of a network, or link-local, or what an option says."""
    from ..manifest import ip

    found = ip.prefix(text)
    own = [parsed[0] for one in network.subnets if (parsed := ip.prefix(one.cidr))]
    local = [ip.Prefix(6, 0xFE80 << 112, 10), ip.Prefix(4, 0xA9FE << 16, 16)]  # RFC 4291, 2.5.6; RFC 3927
    said = {one.partition("/")[0] for one in (*_texts(network), *network.host_addresses)}
    return bool(found and any(one.covers(found[0]) for one in (*own, *local))) or text.partition("/")[0] in said
