"""macvlan: each endpoint is a link of its own on a link of the host, with its own MAC on the physical network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..lowering import uppers
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Option, Resource
from . import Complaint, Traits

SUMMARY = "endpoints are links of their own on a link of the host, seen on the physical network by their own MACs"
TRAITS = Traits(wants_parent=True, needs=lambda options: {"kind": "macvlan"})

BC_QUEUE_LEN = 1000
"""MACVLAN_DEFAULT_BC_QUEUE_LEN of drivers/net/macvlan.c."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "parent": uppers.PARENT,
    "host_access": uppers.HOST_ACCESS,
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
    mode = network.driver_opts.get("mode", "bridge")
    yield from uppers.check(network)
    if mode == "passthru" and len(endpoints) > 1:
        yield Complaint(
            ("driver_opts", "mode"),
            f"a passthru network has room for one endpoint, and {len(endpoints)} are attached",
            "use mode bridge, or a parent for each",
        )
    if mode == "passthru" and any(endpoint.mac_address for endpoint in endpoints):
        yield Complaint(
            ("driver_opts", "mode"),
            "an endpoint in mode passthru has its parent's MAC, and mac_address says another",
            "remove mac_address, or use mode bridge",
        )
    if mode in ("passthru", "private") and network.driver_opts.get("host_access", False) is not False:
        reason = {"passthru": "one endpoint has the parent for itself", "private": "nobody on it reaches anybody else"}
        what = f"in mode {mode} {reason[str(mode)]}, so that the host has no access"
        yield Complaint(("driver_opts", "host_access"), what, "use mode bridge")


def lower(network: Network) -> Iterator[Resource]:
    options: dict[str, Option] = {
        "mode": network.options.get("mode", "bridge"),
        "bc_queue_len": network.options.get("bc_queue_len", BC_QUEUE_LEN),  # so that it goes back there, left out again
    }
    yield from uppers.lower(network, "macvlan", options, own_macs=options["mode"] != "passthru")
