"""ipvlan: each endpoint is a link of its own on a link of the host, and shares that one's MAC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..lowering import uppers
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Option, Resource
from . import Complaint, Traits

SUMMARY = "endpoints are links of their own on a link of the host, seen on the physical network by its MAC"

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "parent": uppers.PARENT,
    "host_access": uppers.HOST_ACCESS,
    "mode": {
        "enum": ["l2", "l3", "l3s"],
        "default": "l2",
        "description": "l2: endpoints are neighbours of what is on the physical network; l3: the host's routes lead "
        "out, and others need a route to the subnet by the host; l3s: as l3, and the host's firewall sees the packets.",
    },
    "flag": {
        "enum": ["bridge", "private", "vepa"],
        "default": "bridge",
        "description": "bridge: endpoints on one parent reach each other; private: never; vepa: by way of the switch "
        "or the router outside.",
    },
}


def _settings(options: Mapping[str, Option]) -> dict[str, Option]:
    """Return what the kernel has once for all ipvlans on a link."""
    return {"mode": options.get("mode", "l2"), "flag": options.get("flag", "bridge")}


def _routes(options: Mapping[str, Option]) -> bool:
    return options.get("mode", "l2") != "l2"


TRAITS = Traits(
    wants_parent=True, needs=lambda options: {"kind": "ipvlan", **_settings(options)}, on_link=_routes
)  # fmt: skip


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    yield from uppers.check(network)
    for endpoint in endpoints:
        if endpoint.mac_address:
            what = f"container {endpoint.container} has its parent's MAC on ipvlan network {network.name}, and no other"
            yield Complaint(("mac_address",), what, "remove mac_address, or use the driver macvlan", endpoint.container)
    flag = network.driver_opts.get("flag", "bridge")
    if flag != "bridge" and network.driver_opts.get("host_access", False) is not False:
        what = f"with flag {flag} nothing on the parent reaches the host's link there"
        yield Complaint(("driver_opts", "host_access"), what, "use flag bridge")


def lower(network: Network) -> Iterator[Resource]:
    yield from uppers.lower(network, "ipvlan", _settings(network.options), own_macs=False)
