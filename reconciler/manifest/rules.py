"""The rules that a schema can't say: what must hold between the parts of a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from .. import drivers
from ..drivers import Driver
from ..errors import Problem
from ..naming import IFNAMSIZ
from ..values import dataclass
from . import ip
from .model import EndpointSpec, IpamConfig, Manifest, NetworkSpec

Path: TypeAlias = tuple[str | int, ...]


class Finding(NamedTuple):
    """Something that is wrong: where in the manifest, what, and what mends it."""

    path: Path
    what: str
    mend: str = ""


class Entry(NamedTuple):
    """An entry of ipam.config: its number, its subnet, and itself. `sized`: any subnet of its length will do."""

    number: int
    subnet: ip.Prefix
    config: IpamConfig

    @property
    def sized(self) -> bool:
        return self.subnet.first == 0


@dataclass(frozen=True, slots=True)
class Subject:
    """A network, with what its rules need to look at."""

    spec: NetworkSpec
    driver: Driver
    entries: tuple[Entry, ...]
    endpoints: list[EndpointSpec]

    @property
    def path(self) -> Path:
        return ("networks", self.spec.name)

    def of(self, family: int) -> list[Entry]:
        """Return the entries of a family."""
        return [entry for entry in self.entries if entry.subnet.family == family]


def name_fault(name: str) -> tuple[str, str] | None:
    """Return what is wrong with the name of a link, and the mend; None where nothing is.

    dev_valid_name of net/core/dev.c; % makes a pattern of it there; all and default are settings' names, which
    net/ipv4/devinet.c refuses.
    """
    from .words import shown

    length = len(name.encode())
    if not 1 <= length <= IFNAMSIZ:
        what = f"the interface name {shown(name)} is {length} bytes long, and the kernel takes 1 to {IFNAMSIZ}"
        return what, "choose a shorter one" if length else "remove it"
    if name in ("lo", "all", "default"):
        return f"{shown(name)} can't be the name of an interface", "the kernel has that name for something else"
    if name in (".", "..") or not name.isprintable() or any(sign in "/:%" or sign.isspace() for sign in name):
        return f"{shown(name)} can't be the name of an interface", "it can't be . or .., nor have /, :, % or spaces"
    return None


def findings(manifest: Manifest) -> Iterator[Problem]:
    """Yield the problems of a manifest whose values are all of the right form (`reconciler.manifest.supposing`)."""
    from . import rules_containers, rules_networks

    subjects = _subjects(manifest)
    for find in (rules_networks.findings(manifest, subjects), rules_containers.findings(manifest, subjects)):
        for path, what, mend in find:
            yield Problem(manifest.position(*path), what, mend)
    services = manifest.services.values()
    if any(container.ports for container in manifest.containers.values()) or any(one.ports for one in services):
        from . import rules_ports

        for path, what, mend in rules_ports.findings(manifest, subjects):
            yield Problem(manifest.position(*path), what, mend)
    if services:
        from . import rules_services

        for path, what, mend in rules_services.findings(manifest, subjects):
            yield Problem(manifest.position(*path), what, mend)
    spanning = any(subject.driver.TRAITS.span for subject in subjects.values())
    if manifest.hosts or spanning or any(container.host for container in manifest.containers.values()):
        from . import rules_hosts

        for path, what, mend in rules_hosts.findings(manifest, subjects):
            yield Problem(manifest.position(*path), what, mend)


def _subjects(manifest: Manifest) -> Mapping[str, Subject]:
    found = {name: drivers.find(name) for name in {spec.driver for spec in manifest.networks.values()}}
    subjects: dict[str, Subject] = {}
    for name, spec in manifest.networks.items():
        driver = found[spec.driver]
        if driver is not None:
            subjects[name] = Subject(spec, driver, tuple(_entries(spec)), [])
    for container in manifest.containers.values():
        for endpoint in container.endpoints:
            if endpoint.network in subjects:
                subjects[endpoint.network].endpoints.append(endpoint)
    return subjects


def _entries(spec: NetworkSpec) -> Iterator[Entry]:
    for number, config in enumerate(spec.ipam):
        if parsed := ip.prefix(config.subnet):
            yield Entry(number, parsed[0], config)
