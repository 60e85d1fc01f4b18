"""Published ports, lowered: a part of the project's table, and what the links by which they are reached need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from .. import firewall
from ..firewall.ports import publishing
from ..networks import Network, Topology
from ..resources import HOST, Link, Resource

ROUTE_LOCALNET = "ipv4.conf.route_localnet"
"""Lets packets from 127.0.0.1 leave by a link, and their answers come in by it; the table drops what else would."""


def part(topology: Topology, zones: Sequence[firewall.Zone]) -> firewall.Part:
    """Return the part of the project's table."""
    return publishing(topology.publications, zones, set(_near(topology)))


def _near(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield the networks that have targets, with the subnets of other networks that the targets' containers are on."""
    if not topology.publications:
        return
    targets = {target.address for one in topology.publications for target in one.targets}
    on: dict[str, list[Network]] = {}
    for network in topology.networks:
        for endpoint in network.endpoints:
            on.setdefault(endpoint.container, []).append(network)
    for network in topology.networks:
        for endpoint in network.endpoints:
            if len(on[endpoint.container]) > 1 and any(one.partition("/")[0] in targets for one in endpoint.addresses):
                others = (one for one in on[endpoint.container] if one is not network)
                yield from ((network.name, subnet.cidr) for one in others for subnet in one.subnets)


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
    near = set(_networks(topology))
    for one in resources:
        if isinstance(one, Link) and one.path in ends and "hairpin" in one.port:
            yield replace(one, port={**one.port, "hairpin": True})
        elif isinstance(one, Link) and one.sandbox == HOST and not one.peer and one.path.removesuffix("#host") in near:
            yield replace(one, sysctls={**one.sysctls, ROUTE_LOCALNET: "1"})
        else:
            yield one


def _networks(topology: Topology) -> Iterator[str]:
    """Yield the networks that have targets with IPv4 addresses."""
    from ipaddress import ip_address, ip_network

    addresses = {target.address for one in topology.publications for target in one.targets if one.family == 4}
    targets = [ip_address(one) for one in addresses]
    for network in topology.networks:
        prefixes = [ip_network(one.cidr) for one in network.subnets if one.family == 4]
        if any(address in prefix for prefix in prefixes for address in targets):
            yield network.name
