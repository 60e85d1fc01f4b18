"""Drivers of other Python packages: entry points in the group netapply.drivers, held to the contract."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..drivers import ENTRY_POINTS, Complaint, Driver, Traits
from ..errors import DriverError, NetapplyError
from ..firewall import Zone
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Resource
from ..values import dataclass
from . import contract

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(slots=True)
class Guarded:
    """A driver of somebody else's, whose every fault is told as its author's. `label` names it and its origin."""

    label: str
    driver: Driver
    SUMMARY: str
    TRAITS: Traits
    OPTIONS: Mapping[str, Mapping[str, Any]]
    ENDPOINT_OPTIONS: Mapping[str, Mapping[str, Any]]

    def check(self, network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
        doing = f"check of network {network.name}"
        for one in self._listed(lambda: self.driver.check(network, endpoints), doing):
            if not isinstance(one, Complaint) or any(contract.complaint(one)):
                mend = "; ".join(contract.complaint(one)) if isinstance(one, Complaint) else "yield a Complaint"
                raise DriverError(f"{self.label}: {doing} yields {one!r}; {mend}")
            yield one

    def lower(self, network: Network) -> Iterator[Resource | Zone]:
        doing = f"lower of network {network.name}"
        items: list[Any] = self._listed(lambda: self.driver.lower(network), doing)
        try:
            faults = list(contract.faults(network, items)) or list(contract.oversteps(network, items))
        except (TypeError, ValueError, AttributeError) as failure:  # a field has a value of another type than it says
            raise DriverError(f"{self.label}: {doing} yields what is no resource: {failure}") from failure
        if faults:
            raise DriverError(contract.told(f"{self.label} at {doing}", faults))
        yield from items

    def _listed(self, call: Callable[[], Any], doing: str) -> list[Any]:
        try:
            return list(call())
        except NetapplyError:
            raise
        except Exception as failure:
            what = f"{type(failure).__name__}: {failure}"
            raise DriverError(f"{self.label} failed at {doing}: {what}; --debug shows where") from failure


def guarded(label: str, driver: Any) -> Guarded:
    """Return a driver held to its contract. Raises DriverError for what it says of itself, all at once."""
    if missing := [part for part in ("SUMMARY", "TRAITS", "OPTIONS", "check", "lower") if not hasattr(driver, part)]:
        raise DriverError(f"{label} lacks {', '.join(missing)}; docs/drivers.md has the contract")
    faults = list(contract.about(driver))
    faults += [
        f"{part} is {getattr(driver, part)!r}; make it a function"
        for part in ("check", "lower")
        if not callable(getattr(driver, part))
    ]
    if faults:
        raise DriverError(contract.told(label, faults))
    traits: Traits = driver.TRAITS
    functions = {one.name: value for one in fields(traits) if callable(value := getattr(traits, one.name))}
    told: dict[str, Any] = {name: _told(f"{label} failed at {name}", function) for name, function in functions.items()}
    return Guarded(
        label, driver, driver.SUMMARY, replace(traits, **told), driver.OPTIONS, getattr(driver, "ENDPOINT_OPTIONS", {})
    )


def _told(failing: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose failures are the driver's."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as failure:
            raise DriverError(f"{failing}: {type(failure).__name__}: {failure}; --debug shows where") from failure

    return call


def names() -> tuple[str, ...]:
    return tuple(_entries(tuple(sys.path)))


def packages(name: str) -> tuple[str, ...]:
    """Return the packages that have a driver of that name, with their versions; several are one too many."""
    return tuple(_package(entry) for entry in _entries(tuple(sys.path)).get(name, ()))


def load(name: str) -> Guarded | None:
    """Return the driver of that name, None if no package has one. Raises DriverError."""
    return _loaded(name, tuple(sys.path))


@lru_cache(maxsize=64)
def _loaded(name: str, path: tuple[str, ...]) -> Guarded | None:
    entries = _entries(path).get(name, ())
    if not entries:
        return None
    if len(entries) > 1:
        both = " and ".join(map(_package, entries))
        raise DriverError(f"there are several drivers {name}, of the packages {both}; uninstall one of them")
    label = f"driver {name} (package {_package(entries[0])})"
    try:
        driver = entries[0].load()
    except (Exception, SystemExit) as failure:
        what = f"{entries[0].value} can't be loaded: {type(failure).__name__}: {failure}"
        raise DriverError(f"{label}: {what}; --debug shows where") from failure
    return guarded(label, driver)


@lru_cache(maxsize=4)
def _entries(path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points by name, those of one name in the order of `path`, which is that of sys.path."""
    from importlib.metadata import entry_points  # 20 ms: only where it is needed

    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, []).append(entry)
    return {name: tuple(entries) for name, entries in found.items()}


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else f"of {entry.value}"
