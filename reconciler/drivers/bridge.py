"""bridge: a Linux bridge on the host, a veth pair for each endpoint, and the host as the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..addressing import addressing, tags
from ..firewall import Zone
from ..manifest.model import EndpointSpec, NetworkSpec
from ..naming import bridge_name, mac_address, veth_name
from ..networks import Endpoint, Network
from ..resources import HOST, Address, Link, Option, Peer, Resource
from . import Complaint, Traits

SUMMARY = "a Linux bridge on the host; endpoints are veth pairs, the host is the gateway"


def gateway_mode(options: Mapping[str, Option], family: int) -> str:
    """Return the gateway mode for a family (4 or 6): nat unless the options say otherwise."""
    return str(options.get(f"gateway_mode_ipv{family}", options.get("gateway_mode", "nat")))


TRAITS = Traits(gateway_on_host=True, has_gateway=lambda options, family: gateway_mode(options, family) != "isolated")

MAX_PORTS = 1023
"""BR_MAX_PORTS of net/bridge/br_private.h, less the number 0 that is never given."""

LINK_LOCAL = "fe80::1/64"
"""The host's address for asking who has an IPv6 address on the bridge. The kernel's own is in duplicate detection for
the first second or two, and nothing is forwarded until that has ended."""

_MODE = {"enum": ["nat", "routed", "isolated"]}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "name": {
        "type": "string",
        "pattern": r"^[^\s/:]{1,15}$",
        "not": {"enum": [".", ".."]},
        "description": "Name of the bridge in the host's namespace; with `external: true`, of the one that exists.",
    },
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
    "hairpin": {
        "type": "boolean",
        "default": False,
        "description": "Whether a port may send a packet back to where it came from.",
    },
    "inhibit_gateway": {
        "type": "boolean",
        "default": False,
        "description": "Leave the gateway address to somebody else: the bridge gets none, endpoints still route by it.",
    },
}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if len(endpoints) > MAX_PORTS:
        yield Complaint(
            (),
            f"network {network.name} has {len(endpoints)} endpoints, and a bridge has {MAX_PORTS} ports at most",
            "spread the containers over several networks",
        )
    if network.external and network.mtu is not None:
        yield Complaint(
            ("mtu",),
            f"network {network.name} is external, and its MTU is that of its bridge, which a smaller port would lower",
            "remove mtu",
        )
    if network.external and "name" not in network.driver_opts:
        yield Complaint(
            ("external",), "an external bridge network needs the name of its bridge", "set driver_opts.name"
        )


def lower(network: Network) -> Iterator[Resource | Zone]:
    if network.external:
        yield from (_port(network, endpoint, f"/{network.options['name']}") for endpoint in network.endpoints)
    else:
        yield from _bridge(network)
        yield from (_port(network, endpoint, network.name) for endpoint in network.endpoints)
    for endpoint in network.endpoints:
        yield from addressing(endpoint)


def mode(network: Network, family: int) -> str:
    """Return the network's gateway mode for a family (4 or 6)."""
    return gateway_mode(network.options, family)


def _bridge(network: Network) -> Iterator[Resource | Zone]:
    name = str(network.options.get("name") or bridge_name(network.project, network.name))
    yield Link(
        path=network.name,
        kind="bridge",
        sandbox=HOST,
        name=name,
        mtu=network.mtu,
        mac=mac_address(network.project, network.name),
        ipv6=False,
        tags=tags(network),
    )
    if not network.options.get("inhibit_gateway"):
        for subnet in network.subnets:
            if subnet.gateway_address and mode(network, subnet.family) != "isolated":
                yield Address(network.name, subnet.gateway_address)
        if network.ipv6 and mode(network, 6) != "isolated":
            yield Address(network.name, LINK_LOCAL)
    yield Zone(
        network=network.name,
        interface=name,
        subnets=tuple(subnet.cidr for subnet in network.subnets),
        mode_ipv4=mode(network, 4),
        mode_ipv6=mode(network, 6),
        icc=bool(network.options.get("icc", True)),
        internal=network.internal,
        masquerade=bool(network.options.get("masquerade", True)),
        allow=network.allow,
    )


def _port(network: Network, endpoint: Endpoint, master: str) -> Link:
    return Link(
        path=endpoint.path,
        kind="veth",
        sandbox=HOST,
        name=veth_name(network.project, endpoint.path),
        mtu=network.mtu,
        mac=mac_address(network.project, f"{endpoint.path}#outer"),  # udev changes MACs that the kernel picked
        master=master,
        ipv6=False,
        port={
            "isolated": not network.options.get("icc", True),
            "hairpin": bool(network.options.get("hairpin", False)),
        },
        peer=Peer(endpoint.sandbox, endpoint.interface_name, mtu=network.mtu, mac=endpoint.mac, ipv6=endpoint.ipv6),
        sysctls=endpoint.sysctls,
        tags=tags(network),
    )
