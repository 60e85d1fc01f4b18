"""macvlan: each endpoint is a link of its own on a link of the host, with its own MAC on the physical network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..addressing import addressing, tags
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Link, Option, Resource
from . import Complaint, Traits

SUMMARY = "endpoints are links of their own on a link of the host, seen on the physical network by their own MACs"
TRAITS = Traits(wants_parent=True)

BC_QUEUE_LEN = 1000
"""MACVLAN_DEFAULT_BC_QUEUE_LEN of drivers/net/macvlan.c."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "parent": {
        "type": "string",
        "pattern": r"^[^\s/:]{1,15}$",
        "description": "The host's link to stand on; left out, the default route's.",
    },
    "mode": {
        "enum": ["bridge", "private", "vepa", "passthru"],
        "default": "bridge",
        "description": "bridge: endpoints on one parent reach each other; private: never; vepa: by way of the switch; "
        "passthru: one endpoint has the parent for itself.",
    },
    "bc_queue_len": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "description": "Length of the queue for broadcasts and multicasts, in packets (the kernel's default is 1000).",
    },
}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if network.driver_opts.get("parent") == "lo":
        yield Complaint(("driver_opts", "parent"), "no link can stand on lo", "name a physical link, or a bridge")
    if network.driver_opts.get("mode") == "passthru" and len(endpoints) > 1:
        yield Complaint(
            ("driver_opts", "mode"),
            f"a passthru network has room for one endpoint, and {len(endpoints)} are attached",
            "use mode bridge, or a parent for each",
        )
    if network.driver_opts.get("mode") == "passthru" and any(endpoint.mac_address for endpoint in endpoints):
        yield Complaint(
            ("driver_opts", "mode"),
            "an endpoint in mode passthru has its parent's MAC, and mac_address says another",
            "remove mac_address, or use mode bridge",
        )
    if network.allow:
        yield Complaint(
            ("allow",),
            "packets of a macvlan network do not pass the host, so that nothing can be allowed or forbidden there",
            "remove it",
        )


def lower(network: Network) -> Iterator[Resource]:
    parent = network.options.get("parent") or network.default_parent
    options: dict[str, Option] = {
        "mode": network.options.get("mode", "bridge"),
        "bc_queue_len": network.options.get("bc_queue_len", BC_QUEUE_LEN),  # so that it goes back there, left out again
    }
    for endpoint in network.endpoints:
        yield Link(
            path=endpoint.path,
            kind="macvlan",
            sandbox=endpoint.sandbox,
            name=endpoint.interface_name,
            mtu=network.mtu,
            mac=None if options["mode"] == "passthru" else endpoint.mac,  # passthru: the parent's own
            parent=f"/{parent}",
            options=options,
            ipv6=endpoint.ipv6,
            sysctls=endpoint.sysctls,
            tags=tags(network),
        )
        yield from addressing(endpoint)
