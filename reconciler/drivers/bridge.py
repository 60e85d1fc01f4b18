"""bridge: a Linux bridge on the host, a veth pair for each endpoint, and the host as the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..firewall import Zone
from ..lowering import outside, vlans
from ..lowering.addressing import addressing
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
from ..networks import Network
from ..resources import UPLINK, VLANS, Port, Resource
from . import Complaint, Traits

SUMMARY = "a Linux bridge on the host; endpoints are veth pairs, the host is the gateway"
TRAITS = Traits(
    gateway_on_host=True,
    has_gateway=lambda options, family: (
        gateway_mode(options, family) != "isolated" or bool(options.get("inhibit_gateway"))
    ),
    host_link=link_name,
    is_gateway=is_gateway,
)

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "name": {
        **NAME,
        "description": "Name of the bridge in the host's namespace; with `external: true`, of the one that exists.",
    },
    **COMMON,
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
    **outside.OPTIONS,
    **vlans.OPTIONS,
}
ENDPOINT_OPTIONS = vlans.ENDPOINT_OPTIONS


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    most = MAX_PORTS - ("uplink" in network.driver_opts)
    if what := crowded(network, endpoints, most, "the uplink"):
        yield Complaint((), what, "spread the containers over several networks")
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
    for option, what, mend, container in (*outside.faults(network), *vlans.faults(network, endpoints)):
        yield Complaint(("driver_opts", option), what, mend, container)


def lower(network: Network) -> Iterator[Resource | Zone]:
    master = network.name
    if network.external:
        master = f"/{network.options['name']}"
    else:
        yield from _bridge(network)
    for endpoint in network.endpoints:
        more = (VLANS,) if vlans.has_own(network, endpoint.driver_opts) else ()
        yield port(network, endpoint, master, more)
    for endpoint in network.endpoints:
        yield from addressing(endpoint)
        yield from vlans.of_endpoint(network, endpoint)


def _bridge(network: Network) -> Iterator[Resource | Zone]:
    options, uplink = network.options, network.options.get("uplink")
    if options.get("vlan_filtering"):  # no VLAN for all: a new port is in none until it is put into its own
        made = bridge(network, {"vlan_filtering": True, "vlan_default_pvid": 0}, (VLANS,))
    else:
        made = bridge(network, {"vlan_filtering": False})
    yield made
    if uplink:
        yield Port(network.name + UPLINK, str(uplink), network.name)
    yield from vlans.of_bridge(network)
    yield from gateways(network)
    yield replace(
        zone(network),
        snat_ipv4=outside.source(options, 4),
        snat_ipv6=outside.source(options, 6),
        trusted=outside.words(options, "trusted_interfaces"),
        gateway_mac=made.mac if uplink else None,
    )
