"""overlay: one network on several hosts, in VXLAN packets between them; each host is the way out for its containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..firewall import Zone
from ..lowering import encryption, shares
from ..lowering.addressing import addressing, tags
from ..lowering.bridging import (
    MAX_PORTS,
    NAME,
    bridge,
    crowded,
    gateway_mode,
    gateways,
    is_gateway,
    link_name,
    port,
    zone,
)
from ..lowering.bridging import OPTIONS as COMMON
from ..manifest.model import EndpointSpec, NetworkSpec
from ..naming import vxlan_name
from ..networks import Network, Node
from ..resources import HOST, VTEP, WIREGUARD, Address, FdbEntry, Link, Neighbour, Option, Resource
from . import Complaint, Span, Traits

SUMMARY = "one network on several hosts, in VXLAN packets between them; each host is the gateway of its containers"

OVERHEAD = {4: 50, 6: 70}
"""Bytes by the family of the hosts' addresses: inner Ethernet header, VXLAN, UDP and outer IP (RFC 7348, 5)."""


def overhead(options: Mapping[str, Option], family: int) -> int:
    """Return how many bytes a packet gets longer on its way to another host."""
    return encryption.OVERHEAD[family] + OVERHEAD[6] if encryption.is_encrypted(options) else OVERHEAD[family]


TRAITS = Traits(
    gateway_on_host=True,
    has_gateway=lambda options, family: gateway_mode(options, family) != "isolated",
    host_link=link_name,
    is_gateway=is_gateway,
    span=Span(overhead, shares.share, encryption.is_encrypted),
)

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "name": {**NAME, "description": "Name of the bridge in each host's namespace."},
    "mode": {
        "enum": ["l2", "l3"],
        "default": "l2",
        "description": "l2: one segment on all hosts; l3: a part of each subnet for each host, and routes between "
        "hosts, which need not know each other's containers.",
    },
    "vni": {
        "type": "integer",
        "minimum": 1,
        "maximum": (1 << 24) - 1,
        "description": "The network's number in its packets; left out, derived from its name, 4096 or above.",
    },
    "port": {
        "type": "integer",
        "minimum": 1,
        "maximum": 65535,
        "default": 4789,
        "description": "The UDP port that hosts take the packets at.",
    },
    "flood": {
        "type": "boolean",
        "default": False,
        "description": "Whether broadcasts and multicasts go to all hosts (mode l2).",
    },
    "encrypted": {
        "type": "boolean",
        "default": False,
        "description": "Whether what goes from host to host is encrypted, by WireGuard; each host needs a public_key.",
    },
    **shares.OPTIONS,
    **COMMON,
}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if network.external:
        yield Complaint(("external",), "an overlay network is made on every host, and nobody's to adopt", "remove it")
    if what := crowded(network, endpoints, MAX_PORTS - 1):
        yield Complaint((), what, "spread the containers over several networks, or over more hosts")
    for path, what, mend in shares.faults(network):
        yield Complaint(path, what, mend)


def lower(network: Network) -> Iterator[Resource | Zone]:
    yield from encryption.tunnel(network)
    yield bridge(network)
    yield from gateways(network)
    for endpoint in network.endpoints:
        yield port(network, endpoint, network.name)
        yield from addressing(endpoint)
    if network.options.get("mode") == "l3":
        yield from _routed(network)
    else:
        yield replace(zone(network), seal=encryption.seal(network, _port(network)))
        yield from _bridged(network)


def _bridged(network: Network) -> Iterator[Resource]:
    """Yield the VXLAN link as a port of the bridge, and where everybody else is, so that nobody need ask."""
    flood, path = bool(network.options.get("flood")), f"{network.name}#vxlan"
    yield replace(
        _vxlan(network, path),
        master=network.name,
        port={
            "learning": False,
            "neigh_suppress": True,
            "isolated": not network.options.get("icc", True),
            **dict.fromkeys(("flood", "mcast_flood", "bcast_flood"), flood),
        },
    )
    for one in network.remotes:
        yield FdbEntry(path, one.mac, one.via)
        for address in one.addresses:
            yield Neighbour(network.name, address, one.mac)
    if network.node:
        yield from (Address(network.name, f"{one}/{128 if ':' in one else 32}") for one in network.node.own)
    for node in network.nodes:
        mac = shares.vtep_mac(network, node)
        if node.own:
            yield FdbEntry(path, mac, node.address)
        yield from (Neighbour(network.name, one, mac) for one in node.own)
    for node in network.nodes if flood else ():
        yield FdbEntry(path, FdbEntry.FLOOD, node.address, bridged=False)


def _routed(network: Network) -> Iterator[Resource | Zone]:
    """Yield the VXLAN link as one that the host routes by: to each other host, for its part of each subnet."""
    path = f"{network.name}{VTEP}"
    link = _vxlan(network, path)
    yield link
    yield replace(
        zone(network),
        across=(link.name,),
        direct=shares.direct(network),
        seal=encryption.seal(network, _port(network)),
    )
    yield from shares.ways(network, path)


def _vxlan(network: Network, path: str) -> Link:
    node = network.node or Node("", "")
    return Link(
        path=path,
        kind="vxlan",
        sandbox=HOST,
        name=vxlan_name(network.project, network.name),
        mtu=network.mtu,
        mac=shares.vtep_mac(network, node),
        parent=WIREGUARD if network.tunnel else None,
        ipv6=False,
        options={
            "id": network.options["vni"],
            "local6" if ":" in node.address else "local": node.address,
            "port": _port(network),
            "learning": False,
        },
        tags=tags(network),
    )


def _port(network: Network) -> int:
    return int(network.options.get("port", 4789))
