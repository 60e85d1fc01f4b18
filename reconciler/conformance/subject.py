"""The driver that is tried, and what of a manifest it takes: found out by trying, one thing at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

from .. import drivers
from ..drivers import Driver
from ..errors import ManifestError
from ..manifest import load
from ..manifest.model import Manifest
from ..values import dataclass, field

Document: TypeAlias = dict[str, Any]
"""A manifest as JSON has it."""

NETWORKS = ("front", "back")
CONTAINERS = ("web", "db", "api")
PARENTS = ("eth0", "eth1")
"""The links of the host that networks may stand on (`reconciler.conformance.hosts`)."""

ISOLATED = "NETAPPLY_ISOLATED"
"""The variable of the environment that says that this process has a network to itself."""

PID = 4000
"""Processes from this number up are in the host's own namespace."""


class Feature(NamedTuple):
    """Something that a network can have: a key of its, or (`option`) one of driver_opts, and a value."""

    key: str
    value: Any
    option: bool = False

    def add_to(self, network: Document) -> None:
        place = network.setdefault("driver_opts", {}) if self.option else network
        place[self.key] = self.value


@dataclass(eq=False)
class Subject:
    """A driver by its name. `needed` is what every manifest with it must have, as a manifest says it; the network "*"
    stands for every network, the container "*" for every container."""

    name: str
    needed: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def driver(self) -> Driver:
        found = drivers.find(self.name)
        if found is None:
            raise LookupError(f"there is no driver {self.name}; there are {', '.join(drivers.available())}")
        return found

    def _needed_by(self, section: str) -> Document:
        """Return what each network, or container, must have: a copy."""
        found: Document = json.loads(json.dumps(self.needed.get(section, {}).get("*", {})))
        return found

    @property
    def needed_options(self) -> Mapping[str, Any]:
        """What every network of it must have as driver_opts."""
        options: Mapping[str, Any] = self._needed_by("networks").get("driver_opts", {})
        return options

    def network(self, number: int) -> Document:
        """Return a plain network: with fixed subnets of both families, where it has any."""
        result: Document = {"driver": self.name, **self._needed_by("networks")}
        if self.driver.TRAITS.addressed:
            subnets = [{"subnet": f"10.2{number}.0.0/24"}, {"subnet": f"fd00:2{number}::/64"}]
            result.setdefault("ipam", {"config": subnets})
        if self.driver.TRAITS.wants_parent and "parent" in self.driver.OPTIONS:  # the default is what it was before
            result["driver_opts"] = {"parent": PARENTS[0], **result.get("driver_opts", {})}
        return result

    def container(self, place: int, networks: Mapping[str, Document], on: list[str]) -> Document:
        """Return a container on some networks, every address and name pinned: nothing depends on what was before."""
        members = {name: self._endpoint(networks[name], name, place) for name in on}
        result: Document = {**self._needed_by("containers"), "networks": members}
        if self.driver.TRAITS.in_host:
            result["sandbox"] = {"pid": PID + place}
        return result

    def _endpoint(self, network: Document, name: str, place: int) -> Document:
        number, result = NETWORKS.index(name), Document()
        if self.driver.TRAITS.addressed:
            result["interface_name"] = f"if{number}"
            subnets = [one["subnet"] for one in network.get("ipam", {}).get("config", [])]
            for subnet, key in ((f"10.2{number}.0.0/24", "ipv4_address"), (f"fd00:2{number}::/64", "ipv6_address")):
                if subnet in subnets:
                    result[key] = f"{subnet.partition('/')[0].removesuffix('0')}{10 + place}"
        return result

    def document(self, *features: Feature, containers: int = 1) -> Document:
        """Return a manifest of two networks, the first of which has some features and that many containers."""
        networks = {name: self.network(number) for number, name in enumerate(NETWORKS)}
        for feature in features:
            feature.add_to(networks[NETWORKS[0]])
        members = {
            name: self.container(place, networks, [NETWORKS[0]]) for place, name in enumerate(CONTAINERS[:containers])
        }
        return self.whole(networks, members)

    def whole(self, networks: Mapping[str, Document], containers: Mapping[str, Document]) -> Document:
        around = {key: value for key, value in self.needed.items() if key not in ("networks", "containers")}
        return {"version": 1, "project": "shop", **around, "networks": networks, "containers": containers}

    def manifest(self, document: Document) -> Manifest:
        """Return the manifest that a document is: JSON is YAML. Raises ManifestError."""
        return _loaded(self, json.dumps(document))

    def is_valid(self, document: Document) -> bool:
        try:
            self.manifest(document)
        except ManifestError:
            return False
        return True

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What a network of the driver may have, by itself at least."""
        return tuple(one for one in (*self._options(), *self._keys()) if self.is_valid(self.document(one)))

    def _keys(self) -> Iterator[Feature]:
        yield from (Feature("internal", True), Feature("mtu", 1400))
        yield from (Feature("no_default_route", True), Feature("metric", 50), Feature("allow", ["back"]))
        ways = [{"destination": "198.51.100.0/24"}, {"destination": "192.0.2.0/24", "type": "blackhole"}]
        yield Feature("routes", ways)
        gateway = {"subnet": "10.20.0.0/24", "gateway": "10.20.0.254", "ip_range": "10.20.0.128/25"}
        for config in ([{"subnet": "10.20.0.0/24"}], [gateway, {"subnet": "fd00:20::/64"}]):
            yield Feature("ipam", {"config": config})

    def _options(self) -> Iterator[Feature]:
        for name, schema in self.driver.OPTIONS.items():
            values = list(_values(schema))
            if name == "parent" and self.driver.TRAITS.wants_parent:
                values += PARENTS
            yield from (Feature(name, value, option=True) for value in values)


def _values(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield some values that a schema allows; of a text those that it gives as `examples` only, or `default`."""
    yield from schema.get("examples", ())
    if "default" in schema:
        yield schema["default"]
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    if schema.get("type") == "boolean":
        yield from (False, True)
    if schema.get("type") == "integer":
        yield from (schema[bound] for bound in ("minimum", "maximum") if bound in schema)


@lru_cache(maxsize=16)
def _loaded(subject: Subject, text: str) -> Manifest:
    """Load a manifest; it is asked for several times, and each time a driver would be, too."""
    return load(["-"], {}, io.StringIO(text))
