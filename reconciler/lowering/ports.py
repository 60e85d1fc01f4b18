"""Published ports, lowered: a part of the project's table, and what the links by which they are reached need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .. import firewall
from ..firewall.ports import publishing
from ..networks import Topology
from ..resources import HOST, VTEP, Address, Link, Resource, State, subject

ROUTE_LOCALNET = "ipv4.conf.route_localnet"
"""Lets packets from 127.0.0.1 leave by a link, and their answers come in by it; the table drops what else would."""


def part(
    topology: Topology, zones: Sequence[firewall.Zone], kept: State, together: Mapping[str, Sequence[str]]
) -> firewall.Part:
    """Return the part of the project's table. What is `kept`, and who is `together` in a namespace, as in `_near`."""
    return publishing(topology.publications, zones, _near(topology, kept, together))


def _near(topology: Topology, kept: State, together: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield targets' addresses, each with the prefixes of the same family that its sandbox is in by other networks.

    `kept` are resources that stay though the topology has them not, `together` containers that share a namespace.
    """
    targets = {target.address for one in topology.publications for target in one.targets}
    on: dict[str, set[tuple[str, str]]] = {}
    for container, network, address in (*_attached(topology), *_staying(kept)):
        on.setdefault(together.get(container, (container,))[0], set()).add((network, address))
    for ends in on.values():
        for network, address in ends if len(ends) > 1 else ():
            if (plain := address.partition("/")[0]) in targets:
                alike = [one for other, one in ends if other != network and (":" in one) == (":" in plain)]
                yield from ((plain, prefix) for prefix in _prefixes(alike))


def _prefixes(addresses: Sequence[str]) -> Iterator[str]:
    """Yield what addresses with prefix lengths are in: networks may overlap, on different links, elements may not."""
    from ipaddress import IPv4Interface, IPv6Interface, collapse_addresses

    yield from map(str, collapse_addresses([IPv4Interface(one).network for one in addresses if ":" not in one]))
    yield from map(str, collapse_addresses([IPv6Interface(one).network for one in addresses if ":" in one]))


def _attached(topology: Topology) -> Iterator[tuple[str, str, str]]:
    """Yield the containers with their networks and their addresses there."""
    for network in topology.networks:
        for endpoint in network.endpoints:
            yield from ((endpoint.container, network.name, address) for address in endpoint.addresses)


def _staying(kept: State) -> Iterator[tuple[str, str, str]]:
    """Yield the same of what stays."""
    for one in kept.values():
        if isinstance(one, Address) and "/" in one.link:
            container, network = subject(one)
            yield container or "", network or "", one.address


def reachable(topology: Topology, resources: Iterable[Resource]) -> Iterator[Resource]:
    """Yield the resources, the host's links on networks with targets so that 127.0.0.1 leads there too.

    Where bridged packets pass the firewall, what a container sends to its own published port is bridged back into the
    port of the bridge that it came from, and that takes hairpin (br_nf_pre_routing_finish of br_netfilter_hooks.c).
    """
    targets = {target.address for one in topology.publications for target in one.targets}
    ends = {
        endpoint.path
        for network in topology.networks
        for endpoint in network.endpoints
        if any(address.partition("/")[0] in targets for address in endpoint.addresses)
    }
    near = set(_ways(topology))
    for one in resources:
        if isinstance(one, Link) and one.path in ends and "hairpin" in one.port:
            yield replace(one, port={**one.port, "hairpin": True})
        elif isinstance(one, Link) and one.sandbox == HOST and not one.peer and one.path.removesuffix("#host") in near:
            yield replace(one, sysctls={**one.sysctls, ROUTE_LOCALNET: "1"})
        else:
            yield one


def _ways(topology: Topology) -> Iterator[str]:
    """Yield the paths of the links by which the host reaches targets with IPv4 addresses, on this host and others."""
    from ipaddress import ip_address, ip_network

    addresses = {target.address for one in topology.publications for target in one.targets if one.family == 4}
    targets = [ip_address(one) for one in addresses]
    for network in topology.networks:
        prefixes = [ip_network(one.cidr) for one in network.subnets if one.family == 4]
        if any(address in prefix for prefix in prefixes for address in targets):
            yield network.name
        shares = [ip_network(one.cidr) for node in network.nodes for one in node.subnets if one.family == 4]
        if any(address in share for share in shares for address in targets):
            yield f"{network.name}{VTEP}"
