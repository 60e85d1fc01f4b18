"""segment: a switch for containers alone; the host has no address on it, and nothing is routed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.drivers import Complaint, Traits
from reconciler.lowering.addressing import addressing, tags
from reconciler.manifest.model import EndpointSpec, NetworkSpec
from reconciler.naming import bridge_name, mac_address, veth_name
from reconciler.networks import Network
from reconciler.resources import HOST, Link, Peer, Resource

SUMMARY = "a bridge that the host is not on; endpoints reach each other and nobody else"
TRAITS = Traits(has_gateway=lambda options, family: False)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "stp": {"type": "boolean", "default": False, "description": "Speak the spanning tree protocol."},
}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if network.allow:
        yield Complaint(("allow",), "nothing is routed on a segment, so that nothing can be allowed", "remove it")


def lower(network: Network) -> Iterator[Resource]:
    name, mac = bridge_name(network.project, network.name), mac_address(network.project, network.name)
    options = {"stp_state": bool(network.options.get("stp", False))}
    common: dict[str, Any] = {"mtu": network.mtu, "ipv6": False, "tags": tags(network)}
    yield Link(network.name, "bridge", HOST, name, mac=mac, options=options, **common)
    for one in network.endpoints:
        peer = Peer(one.sandbox, one.interface_name, mtu=network.mtu, mac=one.mac, ipv6=one.ipv6)
        outer = veth_name(network.project, one.path)
        yield Link(one.path, "veth", HOST, outer, master=network.name, peer=peer, sysctls=one.sysctls, **common)
        yield from addressing(one)
