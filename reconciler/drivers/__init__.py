"""Drivers: what a network of each kind, and the endpoints on it, need from the kernel.

A driver is a module (or any object) with the four names of `Driver`. It is pure: `lower` turns a settled network into
resources, and one engine does the rest. Built-in ones are the modules of this package, found by name; others come from
the entry point group "netapply.drivers". docs/drivers.md shows how to write one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..errors import DriverError
from ..firewall import Zone
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Option, Resource

ENTRY_POINTS = "netapply.drivers"


class Complaint(NamedTuple):
    """What `check` finds: where below the network (`("driver_opts", "mode")`), what is wrong, and what mends it."""

    path: tuple[str | int, ...]
    what: str
    mend: str = ""


def _always(options: Mapping[str, Option], family: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Traits:
    """What the allocation must know of a driver.

    `addressed`: networks have subnets and endpoints have addresses. `gateway_on_host`: the gateway address is the
    host's own, so that no subnet may overlap with the host's routes. `wants_parent`: it stands on a link of the host.
    `overhead`: bytes that it takes from the MTU below. `exclusive`: a container on it can be on no other network;
    `in_host`: its containers must be in the host's own namespace. `has_gateway` says of driver_opts and a family (4 or
    6) whether a network with them has a way out, so that its endpoints get a default route.
    """

    addressed: bool = True
    gateway_on_host: bool = False
    wants_parent: bool = False
    overhead: int = 0
    exclusive: bool = False
    in_host: bool = False
    has_gateway: Callable[[Mapping[str, Option], int], bool] = _always


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
    """Return the names of the drivers that come with netapply, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def available() -> tuple[str, ...]:
    """Return the names of all drivers, those of other packages too, sorted."""
    from importlib.metadata import entry_points  # 20 ms: only where it is needed

    return tuple(sorted({*built_in(), *(entry.name for entry in entry_points(group=ENTRY_POINTS))}))


def find(name: str) -> Driver | None:
    """Return the driver of that name, None if there is none. Raises DriverError for one that breaks the contract."""
    if name in built_in():
        driver = importlib.import_module(f"{__name__}.{name}")
    else:
        from importlib.metadata import entry_points

        found = list(entry_points(group=ENTRY_POINTS, name=name))
        if not found:
            return None
        try:
            driver = found[0].load()
        except Exception as failure:
            raise DriverError(f"driver {name} ({found[0].value}) can't be loaded: {failure!r}") from failure
    if not isinstance(driver, Driver):
        missing = [part for part in ("SUMMARY", "TRAITS", "OPTIONS", "check", "lower") if not hasattr(driver, part)]
        raise DriverError(f"driver {name} lacks {', '.join(missing)}; docs/drivers.md has the contract")
    return driver
