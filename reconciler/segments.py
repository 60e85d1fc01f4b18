"""The networks' share of the allocation: subnets, gateways, MTU, and the host's link that a network stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import drivers
from .drivers import Traits
from .errors import DriverError, Problem
from .host import Facts, HostLink, Observation
from .manifest.model import Manifest, NetworkSpec
from .subnets import Present, Room, Site, presences, rooms

IPV6_MTU = 1280
"""The least that IPv6 works with (RFC 8200, 5)."""

ETHERNET_MTU = 1500
"""MTU below a network on a host that has no default route to take one from, in bytes."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A network as far as it is settled before its endpoints are."""

    site: Site
    mtu: int
    default_parent: str | None
    rooms: tuple[Room, ...]

    @property
    def spec(self) -> NetworkSpec:
        return self.site.spec

    @property
    def traits(self) -> Traits:
        return self.site.traits

    def room_of(self, family: int, value: int) -> Room | None:
        """Return the subnet that an address is in."""
        return next((room for room in self.rooms if room.prefix.family == family and value in room.prefix), None)

    def held(self, family: int) -> dict[str, list[int]]:
        """Return the observed addresses of a family by container."""
        return {
            container: [one.value for one in held if one.family == family]
            for container, held in self.site.present.addresses.items()
            if container
        }


class Segments(NamedTuple):
    """All networks by name, what is wrong with the manifest on this host, and what the host lacks."""

    networks: Mapping[str, Segment]
    problems: Sequence[Problem]
    lacks: Sequence[str]


def segments(manifest: Manifest, observation: Observation) -> Segments:
    """Return the networks with subnets, MTU and parent settled. Raises DriverError for a driver that is not known."""
    state, facts = observation
    problems: list[Problem] = []
    lacks: list[str] = []
    present = presences(state)
    traits = {driver: _traits(driver) for driver in {spec.driver for spec in manifest.networks.values()}}
    sites: list[Site] = []
    parents: dict[str, str | None] = {}
    for name, spec in sorted(manifest.networks.items()):
        had = present.pop(name, Present())
        parents[name] = _default_parent(spec, traits[spec.driver], had, facts)
        below = _below(manifest, spec, traits[spec.driver], parents[name], facts, problems, lacks)
        sites.append(Site(spec, traits[spec.driver], had, below))
    found = rooms(manifest, facts, sites, present.values(), problems)
    networks = {
        name: Segment(site, _mtu(manifest, site, facts, problems), parents[name], found[name])
        for site in sites
        for name in (site.spec.name,)
    }
    return Segments(networks, problems, lacks)


def _traits(name: str) -> Traits:
    driver = drivers.find(name)
    if driver is None:
        raise DriverError(f"there is no driver {name}")
    return driver.TRAITS


def _default_parent(spec: NetworkSpec, traits: Traits, present: Present, facts: Facts) -> str | None:
    """Return the link that a network told no parent stands on: as observed, so that a failover replaces nothing."""
    if not traits.wants_parent or "parent" in spec.driver_opts:
        return None
    parents = Counter(link.parent[1:] for link in present.links if link.parent and link.parent[1:] in facts.links)
    return max(sorted(parents), key=lambda name: parents[name]) if parents else facts.default_link


def _below(
    manifest: Manifest,
    spec: NetworkSpec,
    traits: Traits,
    default_parent: str | None,
    facts: Facts,
    problems: list[Problem],
    lacks: list[str],
) -> HostLink | None:
    """Return the link of the host that a network stands on: its parent, or what an external one adopts."""
    option = "parent" if traits.wants_parent else "name"
    name = spec.driver_opts.get(option) or default_parent
    if not name and traits.wants_parent:
        problems.append(
            Problem(
                manifest.position("networks", spec.name, "driver_opts"),
                f"network {spec.name} is told no parent, and the host has no default route to take one from",
                "set driver_opts.parent",
            )
        )
    if not name or not (traits.wants_parent or spec.external):
        return None
    link = facts.links.get(str(name))
    if link is None:
        lacks.append(f"network {spec.name}: the host has no link {name}; create it, or change driver_opts.{option}")
    return link


def _mtu(manifest: Manifest, site: Site, facts: Facts, problems: list[Problem]) -> int:
    """Return the MTU: given, else as observed if some link of the host explains it, else that of the link below.

    What no link of the host explains was given once, or is drift, and is not kept.
    """
    spec, traits, present, below = site
    limit = below.mtu - traits.overhead if below and traits.wants_parent else None
    if spec.mtu is not None:
        if limit is not None and below and spec.mtu > limit:
            problems.append(
                Problem(
                    manifest.position("networks", spec.name, "mtu"),
                    f"network {spec.name} can't have an MTU of {spec.mtu}: its parent {below.name} has {below.mtu}",
                    f"set {limit} at most, or raise that of {below.name}",
                )
            )
        return spec.mtu
    base = below or facts.links.get(facts.default_link or "")
    default = (base.mtu if base else ETHERNET_MTU) - traits.overhead
    if spec.external and not traits.wants_parent:
        return default  # an adopted bridge lowers its MTU to that of its smallest port
    explained = {
        link.mtu - traits.overhead
        for link in facts.links.values()
        if link.owner is None and link.kind != "veth" and link.name != "lo"
    }
    ends = Counter(end.mtu for link in present.links for end in (link, link.peer) if end and end.mtu)
    likely = [mtu for mtu in ends if mtu in explained and (limit is None or mtu <= limit)]
    mtu = max(likely, key=lambda mtu: (ends[mtu], mtu == default, mtu), default=default)
    if spec.enable_ipv6 and mtu < IPV6_MTU:
        problems.append(
            Problem(
                manifest.position("networks", spec.name),
                f"network {spec.name} gets an MTU of {mtu} from the host's links, and IPv6 needs {IPV6_MTU}",
                "set mtu, or `enable_ipv6: false`",
            )
        )
    return mtu
