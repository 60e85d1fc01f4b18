"""What networks have in common whose endpoints are ports of a bridge on the host, with the host as their way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..firewall import Zone
from ..manifest.model import EndpointSpec, NetworkSpec
from ..naming import bridge_name, mac_address, veth_name
from ..networks import Endpoint, Network
from ..resources import HOST, Address, Link, Option, Peer
from .addressing import tags

MAX_PORTS = 1023
"""BR_MAX_PORTS of net/bridge/br_private.h, less the number 0 that is never given."""

LINK_LOCAL = "fe80::1/64"
"""The host's address for asking who has an IPv6 address on the bridge. The kernel's own is in duplicate detection for
the first second or two, and nothing is forwarded until that has ended."""

LINK: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^[^\s/:]{1,15}$",
    "patternErrorMessage": "not the name of a link, which is 1 to 15 bytes long, without spaces, / and :",
}
"""The JSON Schema of an option that names a link."""

NAME = {**LINK, "not": {"enum": [".", ".."]}}
"""What the name of a link can be, as far as a pattern says it."""

_MODE = {"enum": ["nat", "routed", "isolated"]}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "icc": {
        "type": "boolean",
        "default": True,
        "description": "Whether the network's containers may talk to each other.",
    },
    "masquerade": {
        "type": "boolean",
        "default": True,
        "description": "Whether connections that leave the host get the host's address (gateway mode nat).",
    },
    "gateway_mode": {
        **_MODE,
        "description": "Both families: nat (masqueraded, closed to the outside), routed (addresses as they are, open "
        "to the outside), isolated (the host has no address on the bridge, nothing in or out).",
    },
    "gateway_mode_ipv4": {**_MODE, "description": "gateway_mode for IPv4 alone."},
    "gateway_mode_ipv6": {**_MODE, "description": "gateway_mode for IPv6 alone."},
}


def gateway_mode(options: Mapping[str, Option], family: int) -> str:
    """Return the gateway mode for a family (4 or 6): nat unless the options say otherwise."""
    return str(options.get(f"gateway_mode_ipv{family}", options.get("gateway_mode", "nat")))


def link_name(project: str, network: str, options: Mapping[str, Option]) -> str:
    """Return the name of the bridge."""
    return str(options.get("name") or bridge_name(project, network))


def is_gateway(options: Mapping[str, Option], family: int) -> bool:
    """Whether the host has the gateway address of a family (4 or 6)."""
    return gateway_mode(options, family) != "isolated" and not options.get("inhibit_gateway")


def crowded(
    network: NetworkSpec, endpoints: Sequence[EndpointSpec], most: int = MAX_PORTS, other: str = "the other hosts"
) -> str | None:
    """Return what is wrong where a bridge would have too many ports, on one of the hosts if there are several.

    `other` is what a port is for that is no endpoint's.
    """
    counts = Counter(endpoint.host for endpoint in endpoints)
    everywhere = counts.pop(None, 0)
    host, count = counts.most_common(1)[0] if counts else (None, 0)
    if everywhere + count <= most:
        return None
    where = f" on host {host}" if host else ""
    ports = f"a bridge has {MAX_PORTS} ports at most" + (f", one of them for {other}" * (most < MAX_PORTS))
    return f"network {network.name} has {everywhere + count} endpoints{where}, and {ports}"


def bridge(network: Network, options: Mapping[str, Option] | None = None, more_tags: Sequence[str] = ()) -> Link:
    """Return the network's bridge."""
    return Link(
        path=network.name,
        kind="bridge",
        sandbox=HOST,
        name=link_name(network.project, network.name, network.options),
        mtu=network.mtu,
        mac=mac_address(network.project, network.name),
        ipv6=False,
        options=options or {},
        tags=(*tags(network), *more_tags),
    )


def gateways(network: Network) -> Iterator[Address]:
    """Yield the host's addresses on the bridge."""
    for subnet in network.subnets:
        if subnet.gateway_address and is_gateway(network.options, subnet.family):
            yield Address(network.name, subnet.gateway_address)
    if network.ipv6 and is_gateway(network.options, 6):
        yield Address(network.name, LINK_LOCAL)


def zone(network: Network) -> Zone:
    """Return the network's share of the firewall."""
    options = network.options
    return Zone(
        network=network.name,
        interface=link_name(network.project, network.name, options),
        subnets=tuple(subnet.cidr for subnet in network.subnets),
        mode_ipv4=gateway_mode(options, 4),
        mode_ipv6=gateway_mode(options, 6),
        icc=bool(options.get("icc", True)),
        internal=network.internal,
        masquerade=bool(options.get("masquerade", True)),
        allow=network.allow,
    )


def port(network: Network, endpoint: Endpoint, master: str, more_tags: Sequence[str] = ()) -> Link:
    """Return an endpoint: a veth pair whose outer end is a port of the bridge.

    A bridge of somebody else's may have the lowest MAC of its ports for its own (br_stp_recalculate_bridge_id): with
    the highest that there are, ours change it for nobody.
    """
    mac = mac_address(network.project, f"{endpoint.path}#outer")  # udev changes MACs that the kernel picked
    return Link(
        path=endpoint.path,
        kind="veth",
        sandbox=HOST,
        name=veth_name(network.project, endpoint.path),
        mtu=network.mtu,
        mac=f"fe{mac[2:]}" if network.external else mac,
        master=master,
        ipv6=False,
        port={
            "isolated": not network.options.get("icc", True),
            "hairpin": bool(network.options.get("hairpin", False)),
        },
        peer=Peer(endpoint.sandbox, endpoint.interface_name, mtu=network.mtu, mac=endpoint.mac, ipv6=endpoint.ipv6),
        sysctls=endpoint.sysctls,
        tags=(*tags(network), *more_tags),
    )
