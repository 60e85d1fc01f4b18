"""The kernel objects that netapply keeps, as values.

A resource is a frozen dataclass for one object. `key` is its identity, `requires` the keys that must exist before it.
A field that is None means "the kernel picks": it is never compared. Of a mapping only the desired keys are compared.

Objects are named by symbols, so that a desired state can be written down before anything exists:

- a *sandbox* is the name of a container, or HOST; `Netns` says where it is. `@NAME` is a namespace that holds
  something of ours and belongs to no container of the manifest, `@COOKIE` one that has no name in /run/netns;
- a link's *path* says what it is for: "front" is the network's own link, "web/front" the endpoint of the container
  web on it; a further link of either has a suffix, "front#vxlan". "#eth0.20" is a link that several networks of the
  project stand on: each yields the same one, it comes with the first and goes with the last. The kernel stores the
  path in the link's alias;
- a *link reference* (`master`, `parent`) is the path of a link of ours, or "/NAME": a link of that name in the host's
  namespace that somebody else made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from operator import attrgetter
from typing import TypeAlias

from .coexistence import DOCKER, Accepts
from .comparing import differences, must_replace, value_of
from .dns import DnsHosts, DnsServer, ResolvConf
from .links import BridgeVlan, Link, Netns, Peer, Port
from .names import (
    ALIAS,
    FENCES,
    GUARD_TABLE,
    HALF_MADE,
    HOST,
    LINK_GROUP,
    NFT,
    ROUTE_PROTOCOL,
    UPLINK,
    VLANS,
    VTEP,
    WIREGUARD,
    Key,
    Option,
)
from .plugins import Delegated
from .settings import NftTable, Sysctl
from .shaping import IFB, SHAPED, Shaper
from .tunnels import Wireguard, WireguardPeer
from .ways import Address, FdbEntry, Neighbour, Route

__all__ = [
    "ALIAS",
    "CARRIED",
    "DOCKER",
    "FENCES",
    "GUARD_TABLE",
    "HALF_MADE",
    "HOST",
    "IFB",
    "LINK_GROUP",
    "NFT",
    "ROUTE_PROTOCOL",
    "SHAPED",
    "UPLINK",
    "VLANS",
    "VTEP",
    "WIREGUARD",
    "Accepts",
    "Address",
    "BridgeVlan",
    "Delegated",
    "DnsHosts",
    "DnsServer",
    "FdbEntry",
    "Key",
    "Link",
    "Neighbour",
    "Netns",
    "NftTable",
    "Option",
    "Peer",
    "Port",
    "ResolvConf",
    "Resource",
    "Route",
    "Shaper",
    "State",
    "Sysctl",
    "Wireguard",
    "WireguardPeer",
    "differences",
    "must_replace",
    "state",
    "subject",
    "value_of",
    "within",
]

Resource: TypeAlias = (
    Netns
    | Link
    | Port
    | Address
    | Route
    | FdbEntry
    | Neighbour
    | BridgeVlan
    | Shaper
    | Wireguard
    | WireguardPeer
    | Delegated
    | Sysctl
    | NftTable
    | Accepts
    | DnsHosts
    | DnsServer
    | ResolvConf
)

CARRIED = (Address, Route, FdbEntry, Neighbour, BridgeVlan, Shaper, Wireguard, WireguardPeer)
"""Those with a `link` that they are part of, and go with."""

State: TypeAlias = Mapping[Key, Resource]
"""What there is, or what there should be, of one project."""


def state(resources: Iterator[Resource] | tuple[Resource, ...] | list[Resource]) -> dict[Key, Resource]:
    """Return the resources by key; two of one key that differ are a ValueError. What several need they may all say."""
    result: dict[Key, Resource] = {}
    for resource in resources:
        if (first := result.setdefault(resource.key, resource)) is not resource and first != resource:
            raise ValueError(f"{resource.key} is there twice")
    return result


def subject(resource: Resource) -> tuple[str | None, str | None]:
    """Return the container and the network that a resource is for, each None where there is none, or several."""
    if path := _PATHS.get(type(resource)):  # of nearly all in a large plan
        return _split(path(resource))
    match resource:
        case Netns(sandbox=name) | ResolvConf(sandbox=name):
            return name, None
        case DnsServer(sandbox=name):
            return name or None, None
        case DnsHosts(network=name):
            return None, name
        case Route(link=str(link)):
            return _split(link)
        case Route(sandbox=name) | NftTable(sandbox=name):
            return name or None, None
        case _:
            return None, None


_PATHS: Mapping[type, Callable[[Resource], str]] = {
    **dict.fromkeys((Link, Port, Delegated), attrgetter("path")),
    **dict.fromkeys((one for one in CARRIED if one is not Route), attrgetter("link")),
}


def within(resources: State, containers: Collection[str]) -> State:
    """Return what a state says of some containers: their sandboxes, endpoints, addresses and routes."""
    return {
        key: resources[key]
        for name in containers
        for key in resources
        if name in key.name and subject(resources[key])[0] == name  # the first is quick, and true of few
    }


def _split(path: str) -> tuple[str | None, str | None]:
    container, slash, network = path.partition("#")[0].rpartition("/")
    return (container if slash else None), network or None
