"""Services, lowered: a table in the sandbox of every container that is on a network with some, and one part of the
host's. Nothing here is of a single driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..firewall import Part
from ..firewall.services import balancing, table
from ..firewall.text import quoted
from ..networks import Network, Service, Topology
from ..resources import HOST, NFT, Address, Link, NftTable, Resource
from . import shares


def names(topology: Topology) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return by network and service the addresses that the service's name means: the virtual IP, or of all that serve.

    Addresses are without prefix length, IPv4 first; a service that nobody serves in mode dnsrr has none.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in topology.services:
        serving = sorted((address for backend in one.backends for address in backend.addresses), key=_family)
        found.setdefault(one.network, {})[one.name] = one.vips or tuple(serving)
    return found


def _family(address: str) -> bool:
    return ":" in address


class Staying(NamedTuple):
    """What stays in sandboxes that are the manifest's though it does not name it: services by sandbox, and the links
    that are there."""

    services: Mapping[str, tuple[Service, ...]]
    links: Sequence[Link]


def balanced(
    topology: Topology,
    resources: Iterable[Resource],
    together: Mapping[str, Sequence[str]],
    staying: Staying,
) -> Iterator[Resource]:
    """Yield the resources with the tables that spread connections, and those links tagged by which they are found.

    Containers that are `together` in one namespace have one table between them, which goes by the first one's name.
    """
    tables = {one.sandbox: one for one in _tables(topology, together, staying.services)}
    unmarked = set(tables) - {one.inner[0] for one in staying.links if NFT in one.tags}
    for one in resources:
        if isinstance(one, Link) and (sandbox := _first(one.inner[0], together)) in tables and NFT not in one.tags:
            unmarked.discard(sandbox)
            yield replace(one, tags=(*one.tags, NFT))
        else:
            yield one
    yield from (one for sandbox, one in tables.items() if sandbox not in unmarked)


def _first(sandbox: str, together: Mapping[str, Sequence[str]]) -> str:
    return together[sandbox][0] if sandbox in together else sandbox


def _tables(
    topology: Topology, together: Mapping[str, Sequence[str]], staying: Mapping[str, tuple[Service, ...]]
) -> Iterator[NftTable]:
    """Yield the sandboxes' tables; the text is the same one where the networks are the same."""
    by_network = _by_network(topology)
    clients: dict[str, list[str]] = {sandbox: [] for sandbox in staying}
    for network in topology.networks:
        if network.name in by_network:
            for endpoint in network.endpoints:
                clients.setdefault(_first(endpoint.sandbox, together), []).append(network.name)
    made: dict[tuple[tuple[str, ...], tuple[Service, ...]], NftTable | None] = {}
    for sandbox, networks in sorted(clients.items()):
        key = tuple(networks), staying.get(sandbox, ())
        if key not in made:
            known = {one.name: one for name in networks for one in by_network[name]}
            made[key] = table(topology.project, [*{**{one.name: one for one in key[1]}, **known}.values()], "")
        if found := made[key]:
            yield replace(found, sandbox=sandbox)


def _by_network(topology: Topology) -> Mapping[str, Sequence[Service]]:
    """Return the services with a virtual IP by network."""
    found: dict[str, list[Service]] = {}
    for one in topology.services:
        if one.vips:
            found.setdefault(one.network, []).append(one)
    return found


def for_the_host(topology: Topology, resources: Iterable[Resource]) -> Part:
    """Return the host's own part: it is a client of the services of networks where it has an address."""
    near = {one.link.partition("#")[0] for one in resources if isinstance(one, Address) and "/" not in one.link}
    part = balancing(one for one in topology.services if one.network in near)
    spanning = [network for network in topology.networks if network.nodes]
    if not spanning:
        return part
    links = {one.path: one.name for one in resources if isinstance(one, Link) and one.sandbox == HOST}
    ends = [(links[one.name], one) for one in spanning if one.name in links]
    far = Part(*_to_other_hosts(topology.services, ends))
    return Part([*part.collections, *far.collections], {**part.chains, **far.chains})


def _to_other_hosts(
    services: Sequence[Service], ends: Sequence[tuple[str, Network]]
) -> tuple[list[tuple[str, str, list[str]]], dict[str, list[str]]]:
    """Return what gives connections to containers on other hosts this host's own address on the network.

    Where hosts share a segment, the gateway's is that of every host, so that answers to it would come to the
    container's own. Where packets go as they are, none but the network's addresses are let in.
    """
    collections: list[tuple[str, str, list[str]]] = []
    rules: list[str] = []
    apart = [(link, network) for link, network in ends if network.node and network.node.own]
    for family, ip in ((4, "ip"), (6, "ip6")):
        far = sorted(
            f"{quoted(link)} . {address}"
            for link, network in apart
            for address in {
                address
                for service in services
                for backend in service.backends
                for address in backend.addresses
                if service.network == network.name and not backend.here and (":" in address) == (family == 6)
            }
        )
        own = [
            f"{quoted(link)} : {address}"
            for link, network in apart
            for address in (network.node.own if network.node else ())
            if (":" in address) == (family == 6)
        ]
        if far and own:
            type_ = f"ipv{family}_addr"
            collections += [
                (f"set far_ipv{family}", f"ifname . {type_}", far),
                (f"map own_ipv{family}", f"ifname : {type_}", own),
            ]
            rules.append(
                f"ct status dnat oifname . {ip} daddr @far_ipv{family} snat {ip} to oifname map @own_ipv{family}"
            )
        if direct := sorted(_straight(services, [network for _, network in ends], family)):
            type_ = f"ipv{family}_addr : ipv{family}_addr; flags interval"
            collections.append((f"map straight_ipv{family}", type_, direct))
            rules.append(f"ct status dnat snat {ip} to {ip} daddr map @straight_ipv{family}")
    return collections, {"postrouting": rules} if rules else {}


def _straight(services: Sequence[Service], networks: Sequence[Network], family: int) -> Iterator[str]:
    """Yield the other hosts' parts of networks to which packets go as they are, each with this host's gateway there."""
    published = {one.network for one in services if any(port.published for port in one.ports)}
    for network in networks:
        own = network.node.subnets if network.node and network.name in published else ()
        gateway = next((one.gateway for one in own if one.family == family), None)
        for node in network.nodes if gateway else ():
            yield from (
                f"{one.cidr} : {gateway}"
                for one in node.subnets
                if one.family == family and shares.is_direct(network, node, one)
            )
