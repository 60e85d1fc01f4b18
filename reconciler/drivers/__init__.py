"""Drivers: what a network of each kind, and the endpoints on it, need from the kernel.

A driver is a module (or any object) with the four names of `Driver`. It is pure: `lower` turns a settled network into
resources, and one engine does the rest. Built-in ones are the modules of this package, found by name; others come from
other packages or are executables (`reconciler.plugins`). docs/drivers.md shows how to write one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from ..firewall import Zone
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Option, Resource
from ..values import dataclass

ENTRY_POINTS = "netapply.drivers"


class Complaint(NamedTuple):
    """What `check` finds: where below the network (`("driver_opts", "mode")`), what is wrong, and what mends it.

    With `container` it is about that one's endpoint on the network, and the path is below that.
    """

    path: tuple[str | int, ...]
    what: str
    mend: str = ""
    container: str = ""


def _always(options: Mapping[str, Option], family: int) -> bool:
    return True


def _nothing(options: Mapping[str, Option]) -> Mapping[str, Option]:
    return {}


def _never(options: Mapping[str, Option]) -> bool:
    return False


def _no_link(project: str, network: str, options: Mapping[str, Option]) -> str | None:
    return None


class Span(NamedTuple):
    """How networks of a driver span the manifest's hosts.

    `overhead` says of driver_opts and the family of the hosts' addresses how many bytes a packet gets longer on its way
    between two hosts. `share` says of driver_opts and a subnet's family and prefix length how long the prefix of each
    host's own share of it is; None: it is one for all hosts. `encrypted` says of driver_opts whether hosts send by the
    project's tunnel, which the driver then makes (`reconciler.lowering.encryption`).
    """

    overhead: Callable[[Mapping[str, Option], int], int]
    share: Callable[[Mapping[str, Option], int, int], int | None]
    encrypted: Callable[[Mapping[str, Option]], bool] = _never


@dataclass(frozen=True, slots=True)
class Traits:
    """What the allocation must know of a driver.

    `addressed`: networks have subnets and endpoints have addresses. `interface`: where they have not, endpoints have an
    interface all the same, whose addresses somebody else gives. `gateway_on_host`: the gateway address is the
    host's own, so that no subnet may overlap with the host's routes. `wants_parent`: it stands on a link of the host.
    `overhead`: bytes that it takes from the MTU below. `exclusive`: a container on it can be on no other network;
    `in_host`: its containers must be in the host's own namespace. `has_gateway` says of driver_opts and a family (4 or
    6) whether a network with them has a way out, so that its endpoints get a default route. `host_link` says of a
    project, a network's name and its driver_opts what the link is called that the network makes in the host's
    namespace, so that other networks may name it as their parent; None: it makes none. `is_gateway` says of driver_opts
    and a family whether the host has the gateway address where `gateway_on_host` is set. `needs` says of driver_opts
    what all networks on one parent must agree on: the "kind" of their links, and those options that are the parent's
    rather than theirs. `on_link` says whether endpoints send everything over their link as it is, with no next hop.
    `span`: the same network is on all hosts of a manifest; what one host derives of it, all derive, so that nothing
    that is observed plays a part.
    """

    addressed: bool = True
    gateway_on_host: bool = False
    wants_parent: bool = False
    overhead: int = 0
    exclusive: bool = False
    in_host: bool = False
    has_gateway: Callable[[Mapping[str, Option], int], bool] = _always
    host_link: Callable[[str, str, Mapping[str, Option]], str | None] = _no_link
    is_gateway: Callable[[Mapping[str, Option], int], bool] = _always
    interface: bool = False
    needs: Callable[[Mapping[str, Option]], Mapping[str, Option]] = _nothing
    on_link: Callable[[Mapping[str, Option]], bool] = _never
    span: Span | None = None


@runtime_checkable
class Driver(Protocol):
    """The contract. `OPTIONS` are the JSON Schemas of driver_opts by name; `SUMMARY` is one line."""

    SUMMARY: str
    TRAITS: Traits
    OPTIONS: Mapping[str, Mapping[str, Any]]

    def check(self, network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
        """Yield what is wrong with a declared network that the option schemas can't say. Needs no host."""

    def lower(self, network: Network) -> Iterator[Resource | Zone]:
        """Yield the resources of the network and its endpoints, and its share of the firewall if it has one."""


def built_in() -> tuple[str, ...]:
    """Return the names of the drivers that come with netapply, sorted; a module docker_plugin is docker-plugin."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def available() -> tuple[str, ...]:
    """Return the names of all drivers, those of others too, sorted. Nothing of theirs is loaded or run."""
    from .. import plugins  # what takes long to find is looked for where it is wanted

    return tuple(sorted({*built_in(), *plugins.names()}))


def find(name: str) -> Driver | None:
    """Return the driver of that name, None if there is none.

    Raises DriverError for one of others that breaks the contract, HostLacks for an executable that must not be run.
    """
    if name in built_in():
        return cast("Driver", importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))
    from .. import plugins

    return plugins.find(name)
