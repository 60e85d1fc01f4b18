"""What stays with --no-prune: what the project has and the manifest does not name, its share of the firewall too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from . import firewall
from .resources import (
    FENCES,
    HALF_MADE,
    HOST,
    IFB,
    UPLINK,
    VTEP,
    WIREGUARD,
    Address,
    BridgeVlan,
    Delegated,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    Resource,
    Route,
    Shaper,
    State,
    Wireguard,
    WireguardPeer,
    subject,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from .networks import Publication, Service, Topology

_ELEMENT = re.compile(r'(?:"[^"]*"|[^,"])+')


def retained(desired: State, observed: State) -> State:
    """Return the links that are not desired, with what is on them, and the namespaces; half-made things aside.

    The addresses and routes of links that are desired are the manifest's to say: an edit is not a removal.
    """
    links = {
        resource.path
        for key, resource in observed.items()
        if isinstance(resource, Link)
        and key not in desired
        and not resource.path.startswith(HALF_MADE)
        and not (resource.path.endswith(IFB) and Key("link", resource.path.removesuffix(IFB)) in desired)
    }

    def stays(resource: Resource) -> bool:
        match resource:
            case Link(path=path) | Address(link=path) | Route(link=str(path)) | BridgeVlan(link=path) | Port(path=path):
                return path.removesuffix(UPLINK) in links
            case FdbEntry(link=path) | Neighbour(link=path) | Wireguard(link=path) | WireguardPeer(link=path):
                return path in links
            case Shaper(endpoint=path):
                return path in links
            case Route(link=None, metric=metric, type="unicast") if metric in FENCES:
                return any(path.endswith(VTEP) for path in links)
            case Route(link=None, metric=metric) if metric in FENCES:
                return WIREGUARD in links
            case NftTable(sandbox=sandbox) if sandbox != HOST:
                return Key("netns", sandbox) not in desired
            case _:
                return isinstance(resource, Netns | Delegated)

    return {key: resource for key, resource in observed.items() if key not in desired and stays(resource)}


def clashes(desired: State, kept: State) -> Iterator[str]:
    """Yield a line for each kept thing that stands where a desired one has to go: the host would take both."""
    wanted = {place: key for key, resource in desired.items() for place in _places(resource)}
    for key, resource in sorted(kept.items()):
        for what, place in _places(resource):
            if (what, place) in wanted:
                yield f"{what} {place} is wanted by {wanted[what, place].name}, and --no-prune leaves {key.name}"
    bridges = [list(_host_networks(state)) for state in (desired, kept)]
    for path, ours in bridges[0]:
        for other, theirs in bridges[1]:
            if ours.version == theirs.version and ours.overlaps(theirs):
                yield f"subnet {ours} of network {path} overlaps with {theirs} of {other}, which --no-prune leaves"


def _places(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield what only one thing can have: the names of a link's ends, an endpoint's address on its network."""
    match resource:
        case Link(sandbox=sandbox, name=name):
            for holder, interface in sorted({(sandbox, name), resource.inner}):
                yield "interface", f"{interface} in {holder or 'the host'}"
        case Port(name=name):
            yield "uplink", name
        case Delegated(sandbox=sandbox, interface=str(name)) if name:
            yield "interface", f"{name} in {sandbox}"
        case Address(link=link, address=address) if "/" in link:
            yield "address", f"{address.partition('/')[0]} on network {subject(resource)[1]}"


def _host_networks(state: State) -> Iterator[tuple[str, IPv4Network | IPv6Network]]:
    """Yield the subnets that the host itself is in, by the networks' own links; link-local ones are on every link."""
    from ipaddress import ip_interface

    for one in state.values():
        if isinstance(one, Address) and "/" not in one.link and not one.address.startswith("fe80:"):
            yield one.link, ip_interface(one.address).network


def retained_zones(project: str, kept: State, observed: State) -> Iterator[firewall.Zone]:
    """Yield the zones of networks that stay, read back from the table that was made for them."""
    table = observed.get(Key("nft", f"{firewall.FAMILY} {firewall.table_name(project)}"))
    if not isinstance(table, NftTable):
        return
    own = (link for link in observed.values() if isinstance(link, Link))
    names = {link.name: link.path for link in own if not {"/", "#"} & set(link.path)}
    verdicts = dict(_verdicts(table.text, "map into"))
    between = dict(_verdicts(table.text, "map between"))
    translated = {_names(element)[0] for family in (4, 6) for element in _elements(table.text, _masquerade(family))}
    fixed = {
        (family, _names(source)[0]): address
        for family in (4, 6)
        for source, address in _verdicts(table.text, f"map snat_ipv{family}")
    }
    trusted = [_names(element) for element in _elements(table.text, "set trusted")]
    gateways = {_names(one)[0]: one.rpartition(" . ")[2] for one in _elements(table.text, "set gateways")}
    inside = set(_elements(table.text, "set zones"))
    near = [one for family in (4, 6) for one in _elements(table.text, f"set direct_ipv{family}")]
    further = [one for one in kept.values() if isinstance(one, Link) and "#" in one.path and f'"{one.name}"' in inside]
    for link in kept.values():
        if not isinstance(link, Link) or "#" in link.path or f'"{link.name}"' not in inside:
            continue
        modes = {
            family: verdicts.get(f'ipv{family} . "{link.name}"', "goto into_isolated").removeprefix("goto into_")
            for family in (4, 6)
        }
        opened = [_names(pair) for pair, verdict in between.items() if verdict == "accept"]
        yield firewall.Zone(
            network=link.path,
            interface=link.name,
            subnets=tuple(sorted(_subnets(kept, link.path))),
            mode_ipv4=modes[4],
            mode_ipv6=modes[6],
            icc=[link.name, link.name] in opened,
            masquerade=link.name in translated or any(name == link.name for _, name in fixed),
            snat_ipv4=fixed.get((4, link.name)),
            snat_ipv6=fixed.get((6, link.name)),
            trusted=tuple(sorted({outside for outside, inside in trusted if inside == link.name})),
            gateway_mac=gateways.get(link.name),
            across=tuple(one.name for one in further if one.path.startswith(f"{link.path}#")),
            direct=tuple(one.rpartition(" . ")[2] for one in near if _names(one) == [link.name]),
            seal=_seal(observed, kept, link.path),
            allow=tuple(sorted(names[b] for a, b in opened if a == link.name != b and b in names)),
        )


class Ports(NamedTuple):
    """What is published if some containers stay, and a line for each port that is wanted by one that comes."""

    publications: tuple[Publication, ...]
    clashes: tuple[str, ...]


def retained_ports(topology: Topology, kept: State, observed: State) -> Ports:
    """Return what the topology publishes, and what the table does for containers that stay."""
    table = observed.get(Key("nft", f"{firewall.FAMILY} {firewall.table_name(topology.project)}"))
    there = {one.address.partition("/")[0] for one in kept.values() if isinstance(one, Address) and "/" in one.link}
    if not there or not isinstance(table, NftTable) or "inet_service" not in table.text:
        return Ports(topology.publications, ())
    from dataclasses import replace

    from .firewall.ports import order, published, summary

    was = summary(published(table.text))
    services = {service.name for service in topology.services}
    publications = [
        _lasting(one, was[place], there) if place in was and one.owner in services else one
        for place, one in summary(topology.publications).items()
    ]
    wanted = summary(publications)
    stay = [
        replace(one, leaving=tuple(end for end in one.leaving if end.address in there))
        for place, one in was.items()
        if there.issuperset(target.address for target in one.targets)
        and (place not in wanted or wanted[place].owner != one.owner)
    ]
    clashes = [
        f"port {one.port}/{one.protocol} of the host is wanted by {other.owner}, "
        f"and --no-prune leaves it to {one.owner}"
        for one in stay
        for other in publications
        if (one.protocol, one.port, one.family) == (other.protocol, other.port, other.family)
        and (None in (one.host_ip, other.host_ip) or one.host_ip == other.host_ip)
    ]
    stay = [one for one in stay if not {(one.protocol, one.host_ip, one.port, one.family)} & wanted.keys()]
    return Ports(tuple(sorted((*publications, *stay), key=order)), tuple(dict.fromkeys(clashes)))


def _lasting(one: Publication, was: Publication, staying: Collection[str]) -> Publication:
    """Return a service's publication with those who served and stay, though no manifest names them: they are asked no
    more, and keep the connections that they have, as others do that leave the service and run on."""
    from dataclasses import replace

    from .networks import Target

    if was.owner != one.owner or one.protocol == "udp" or one.host_ip:  # a container's own may have a service's name
        return one
    left = {Target(end.address, end.port) for end in (*was.targets, *was.leaving) if end.address in staying}
    left -= {Target(end.address, end.port) for end in one.targets}
    return replace(one, leaving=tuple(sorted({*one.leaving, *left})))


def retained_services(topology: Topology, kept: State, observed: State) -> dict[str, tuple[Service, ...]]:
    """Return by sandbox the services on networks that stay in it, where its table is the manifest's to say.

    Those of a network that the manifest has are as it says; those of another one are read back from the table.
    """
    found: dict[str, dict[str, Service]] = {}
    own = {one.sandbox for one in topology.sandboxes}
    for link in kept.values():
        if not isinstance(link, Link) or "/" not in link.path or link.inner[0] not in own:
            continue
        key = Key("nft", f"{link.inner[0]} {firewall.FAMILY} {firewall.table_name(topology.project)}")
        some, network = found.setdefault(link.inner[0], {}), subject(link)[1]
        if any(one.name == network for one in topology.networks):
            some.update((one.name, one) for one in topology.services if one.network == network and one.vips)
        elif isinstance(table := observed.get(key), NftTable):
            from .firewall.services import recovered

            near = _reached(kept, link.path)
            known = {one.name for one in topology.services}
            for one in recovered(table.text, network or ""):
                if one.name not in known and any(_is_in(vip, near) for vip in one.vips):
                    some[one.name] = one
    return {sandbox: tuple(some[name] for name in sorted(some)) for sandbox, some in found.items() if some}


def _reached(kept: State, path: str) -> list[IPv4Network | IPv6Network]:
    """Return the prefixes that are reached by a link that stays, the default routes aside."""
    from ipaddress import ip_interface, ip_network

    own = [one.address for one in kept.values() if isinstance(one, Address) and one.link == path]
    routes = [ip_network(one.destination) for one in kept.values() if isinstance(one, Route) and one.link == path]
    return [*(ip_interface(one).network for one in own), *(one for one in routes if one.prefixlen)]


def _is_in(address: str, prefixes: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of the prefixes."""
    from ipaddress import ip_address

    return any(ip_address(address) in prefix for prefix in prefixes)


def _seal(observed: State, kept: State, path: str) -> firewall.Seal | None:
    """Return what keeps an encrypted network to the WireGuard link, by the VXLAN link that stands on that."""
    below = observed.get(Key("link", WIREGUARD))
    if not isinstance(below, Link):
        return None
    for one in observed.values():
        if isinstance(one, Link) and one.parent == WIREGUARD and one.path.startswith(f"{path}#"):
            subnets = tuple(sorted(_within(kept, path)))
            return firewall.Seal(below.name, int(one.options["port"]), int(one.options["id"]), subnets)
    return None


def _within(kept: State, path: str) -> Iterator[str]:
    """Yield what an encrypted network has addresses in: what is fenced in, and subnets that are not part of that."""
    from ipaddress import ip_interface, ip_network

    tunnel = [ip_interface(one.address) for one in kept.values() if isinstance(one, Address) and one.link == WIREGUARD]
    fences = [
        ip_network(one.destination)
        for one in kept.values()
        if isinstance(one, Route) and one.link is None and one.metric in FENCES and one.type != "unicast"
    ]
    fences = [fence for fence in fences if not any(own in fence for own in tunnel)]
    yield from map(str, fences)
    for own in _subnets(kept, path):
        first = ip_interface(own).ip
        if not own.startswith("fe80:") and not any(first in fence for fence in fences):
            yield own


def _masquerade(family: int) -> str:
    return f"set masquerade_ipv{family}"


def _elements(text: str, head: str) -> list[str]:
    """Return the elements of a set or a map in a table's text, as nft lists it."""
    block = text.partition(f"\t{head} {{")[2].partition("\n\t}")[0]
    inside = block.partition("elements = {")[2].rpartition("}")[0]
    return [stripped for element in _ELEMENT.findall(inside) if (stripped := element.strip())]


def _verdicts(text: str, head: str) -> Iterator[tuple[str, str]]:
    for element in _elements(text, head):
        key, _, verdict = element.rpartition(" : ")
        yield key, verdict


def _names(element: str) -> list[str]:
    """Return the quoted names in an element."""
    return element.split('"')[1::2]


def _subnets(kept: State, network: str) -> set[str]:
    """Return the subnets that the addresses on a network are in."""
    from ipaddress import ip_interface  # 5 ms, and needed by nobody else on this path

    found = (one for one in kept.values() if isinstance(one, Address) and "#" not in one.link)
    addresses = [one.address for one in found if subject(one)[1] == network]
    return {str(ip_interface(address).network) for address in addresses}
