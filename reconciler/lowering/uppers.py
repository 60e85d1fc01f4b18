"""Links on a link of the host: what macvlan and ipvlan have in common, the host's own share in the network included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..drivers import Complaint
from ..manifest.model import NetworkSpec
from ..naming import host_name, mac_address
from ..networks import Network, Parent
from ..resources import HOST, Address, Link, Option, Resource, Route
from .addressing import DEFAULT_METRIC, addressing, tags
from .bridging import LINK

PARENT: Mapping[str, Any] = {
    **LINK,
    "description": "The host's link to stand on; NAME.VID is made where it is missing, as a VLAN on NAME. Left out, "
    "the default route's link; a dummy link where there is no such route, or the network is internal.",
}
"""The JSON Schema of the option that names the parent."""

HOST_ACCESS: Mapping[str, Any] = {
    "type": ["boolean", "string", "array"],
    "items": {"type": "string"},
    "minItems": 1,
    "maxItems": 2,
    "default": False,
    "description": "Whether the host and the containers reach each other: true, or the host's address on the network, "
    "or two, one of each family.",
}
"""The JSON Schema of the option that gives the host a link of its own on the network."""

HOST_SETTINGS = {
    "ipv4.conf.arp_announce": "2",
    "ipv4.conf.arp_filter": "1",
    "ipv4.conf.rp_filter": "2",
    "ipv6.conf.accept_ra": "0",
}
"""Settings of the host's link on a network, so that the host stays where it is on the physical one: it answers only
containers there, asks by no address of another link's, and takes no default route (ip-sysctl.rst). Who learnt the
address from its questions may send to it, and gets the answer by the parent: rp_filter is loose."""


def check(network: NetworkSpec) -> Iterator[Complaint]:
    """Yield what is wrong with a network on a parent, whichever driver's."""
    if network.driver_opts.get("parent") == "lo":
        yield Complaint(("driver_opts", "parent"), "no link can stand on lo", "name a physical link, or a bridge")
    if network.allow:
        what = (
            f"packets of {'an' if network.driver[0] in 'aeiou' else 'a'} {network.driver} network do not pass the host"
        )
        yield Complaint(("allow",), f"{what}, so that nothing can be allowed or forbidden there", "remove it")


def lower(network: Network, kind: str, options: Mapping[str, Option], *, own_macs: bool = True) -> Iterator[Resource]:
    """Yield what a network and its endpoints are, if the endpoints' links are of a kind that stands on a parent.

    `own_macs` False: they have the parent's MAC. Raises ValueError for a network that has no parent.
    """
    parent = network.parent
    if parent is None:
        raise ValueError(f"network {network.name} has no parent")
    yield from made(network, parent)
    for endpoint in network.endpoints:
        yield Link(
            path=endpoint.path,
            kind=kind,
            sandbox=endpoint.sandbox,
            name=endpoint.interface_name,
            mtu=network.mtu,
            mac=endpoint.mac if own_macs else None,
            parent=parent.reference,
            options=options,
            ipv6=endpoint.ipv6,
            sysctls=endpoint.sysctls,
            tags=tags(network),
        )
        yield from addressing(endpoint)
    if network.host_addresses:
        yield from _host(network, parent, kind, options, own_macs)


def made(network: Network, parent: Parent) -> Iterator[Link]:
    """Yield the parent if it is made for its networks, and what it stands on itself. The host has no part in it."""
    if parent.below:
        yield from made(network, parent.below)
    settings = {"ipv6.conf.accept_ra": "0"}
    if parent.kind == "vlan":
        yield Link(
            path=parent.path,
            kind="vlan",
            sandbox=HOST,
            name=parent.name,
            mtu=parent.mtu,
            parent=parent.below.reference if parent.below else None,
            options={"id": parent.vid, "protocol": "802.1q"},
            ipv6=False,
            sysctls=settings,
        )
    elif parent.kind == "dummy":
        marked = ("internal",) if network.internal else ()
        mac = mac_address(network.project, parent.path)
        yield Link(
            parent.path, "dummy", HOST, parent.name, network.mtu, mac, ipv6=False, sysctls=settings,
            tags=(*tags(network), *marked),
        )  # fmt: skip


def _host(
    network: Network, parent: Parent, kind: str, options: Mapping[str, Option], own_mac: bool
) -> Iterator[Resource]:
    """Yield the host's link on the network, and a route by it for each address of a container.

    The host's own addresses and routes in the subnet stay what they are: only single addresses go by this link.
    """
    path = f"{network.name}#host"
    yield Link(
        path=path,
        kind=kind,
        sandbox=HOST,
        name=host_name(network.project, path),
        mtu=network.mtu,
        mac=mac_address(network.project, path) if own_mac else None,
        parent=parent.reference,
        options=options,
        ipv6=any(":" in one for one in network.host_addresses),
        sysctls=HOST_SETTINGS,
        tags=tags(network),
    )
    yield from (Address(path, one) for one in network.host_addresses)
    families = {6 if ":" in one else 4 for one in network.host_addresses}
    for address in (one.partition("/")[0] for endpoint in network.endpoints for one in endpoint.addresses):
        family, length = (6, 128) if ":" in address else (4, 32)
        if family in families and not address.startswith(("169.254.", "fe8", "fe9", "fea", "feb")):
            yield Route(HOST, f"{address}/{length}", link=path, metric=DEFAULT_METRIC[family])


def host_addresses(option: Option) -> tuple[str, ...] | None:
    """Return the addresses that the option host_access gives, none for true; None where the host has no access.

    A list is JSON, as the model has it.
    """
    if isinstance(option, str):
        return tuple(map(str, json.loads(option))) if option.startswith("[") else (option,)
    return () if option else None
