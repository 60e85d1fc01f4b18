"""The networks' share of the allocation: subnets, gateways, MTU, and the host's link that a network stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from .. import drivers
from ..drivers import Traits
from ..errors import DriverError, Problem
from ..host import Facts, HostLink, Observation
from ..manifest.model import Manifest, NetworkSpec
from ..networks import Parent
from ..resources import HOST
from ..values import dataclass
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
    parent: Parent | None
    rooms: tuple[Room, ...]

    @property
    def spec(self) -> NetworkSpec:
        return self.site.spec

    @property
    def traits(self) -> Traits:
        return self.site.traits

    @property
    def is_shared(self) -> bool:
        """Whether it is one segment on all hosts, so that each must know all its endpoints."""
        return self.traits.span is not None and not self.is_cut

    @property
    def is_cut(self) -> bool:
        """Whether each host has its own part of the subnets."""
        return any(room.across for room in self.rooms)

    def held(self, family: int) -> dict[str, list[int]]:
        """Return the observed addresses of a family by container, HOST being the host itself.

        None on networks that span hosts: what stands on one host plays no part in what all of them derive.
        """
        if self.traits.span:
            return {}
        present = self.site.present
        addresses = {**present.addresses, HOST: present.host}
        return {container: [one.value for one in held if one.family == family] for container, held in addresses.items()}


class Segments(NamedTuple):
    """All networks by name, what is wrong with the manifest on this host, what the host lacks, and remarks."""

    networks: dict[str, Segment]
    problems: list[Problem]
    lacks: list[str]
    notes: list[str]


def segments(manifest: Manifest, observation: Observation) -> Segments:
    """Return the networks with subnets, MTU and parent settled. Raises DriverError for a driver that is not known."""
    state, facts = observation
    result = Segments({}, [], [], [])
    networks, problems, _, _ = result
    present = presences(state)
    traits = {driver: _traits(driver) for driver in {spec.driver for spec in manifest.networks.values()}}
    sites: list[Site] = []
    stands: dict[str, Parent | None] = {}
    own = _own_links(manifest, traits)
    for name, spec in sorted(manifest.networks.items()):
        had = present.pop(name, Present())
        stands[name] = _parent(manifest, spec, had, facts, own, result) if traits[spec.driver].wants_parent else None
        below = _below(manifest, spec, stands[name], facts, own, result)
        sites.append(Site(spec, traits[spec.driver], had, below, enclosed=_is_dummy(stands[name])))
    if any(site.traits.span for site in sites):
        from . import spanning

        result.lacks.extend(spanning.lacks(manifest, facts))
    found = rooms(manifest, facts, sites, present.values(), problems)
    for site in sorted(sites, key=lambda site: _is_own(site.below, manifest)):
        name, below = site.spec.name, site.below
        if below and _is_own(below, manifest):
            site = site._replace(below=replace(below, mtu=networks[own[below.name]].mtu))  # noqa: PLW2901
        networks[name] = Segment(site, _mtu(manifest, site, facts, problems), stands[name], found[name])
    if any(stands.values()):
        problems += _quarrels(manifest, networks)
    return result


def _is_dummy(parent: Parent | None) -> bool:
    return parent is not None and parent.kind == "dummy"


def _own_links(manifest: Manifest, traits: Mapping[str, Traits]) -> dict[str, str]:
    """Return the names of the links that networks of the manifest make on the host and others can stand on, with the
    names of these networks. What needs a parent itself is left out, so that none stands on itself."""
    found = {
        traits[spec.driver].host_link(manifest.project, name, spec.driver_opts): name
        for name, spec in manifest.networks.items()
        if not spec.external and not traits[spec.driver].wants_parent
    }
    return {link: name for link, name in found.items() if link}


def _is_own(below: HostLink | None, manifest: Manifest) -> bool:
    """Whether a link below is one that a network of the manifest makes."""
    return below is not None and below.owner == manifest.project


def _traits(name: str) -> Traits:
    driver = drivers.find(name)
    if driver is None:
        raise DriverError(f"there is no driver {name}")
    return driver.TRAITS


def _parent(
    manifest: Manifest, spec: NetworkSpec, present: Present, facts: Facts, own: Collection[str], found: Segments
) -> Parent | None:
    """Return the link that a network stands on whose driver wants one; what is wrong with it is added to `found`."""
    from . import parents

    name = spec.driver_opts.get("parent")
    if not name:
        parent, note = parents.told_none(spec, manifest.project, present.links, facts, own)
        if spec.external and parent.kind == "dummy":
            found.lacks.append(f"network {spec.name}: the host has no default route; set driver_opts.parent")
        elif note:
            found.notes.append(note)
        return parent
    wanted = parents.named(str(name), facts, own)
    if wanted is None or (wanted.kind and spec.external):
        base = parents.split_vlan(str(name))
        on = f", nor {base[0]}, which it could be made on" if base and not wanted else ""
        found.lacks.append(
            f"network {spec.name}: the host has no link {name}{on}; create it, or change driver_opts.parent"
        )
        return None
    if twin := next(parents.twins(wanted, facts), None):
        found.problems.append(
            Problem(
                manifest.position("networks", spec.name, "driver_opts", "parent"),
                f"parent {name} of network {spec.name} would be the VLAN that the host's link {twin} is already",
                f"name {twin}",
            )
        )
    if base_down := parents.down(wanted, facts):
        found.lacks.append(
            f"network {spec.name}: {base_down} is down, and no VLAN on it can be up; `ip link set {base_down} up`"
        )
    return wanted


def _below(
    manifest: Manifest, spec: NetworkSpec, parent: Parent | None, facts: Facts, own: Collection[str], found: Segments
) -> HostLink | None:
    """Return the link of the host that a network's packets go by: its parent, what that is made on, its uplink, or what
    an external network adopts. None where netapply makes all of it."""
    if parent is None:
        option = "name" if spec.external else "uplink"
        if not (name := spec.driver_opts.get(option)):
            return None
        if name not in facts.links:
            found.lacks.append(
                f"network {spec.name}: the host has no link {name}; create it, or change driver_opts.{option}"
            )
        return facts.links.get(str(name))
    while parent.below:
        parent = parent.below
    if parent.name in own:
        return HostLink(parent.name, "", ETHERNET_MTU, up=True, owner=manifest.project)
    return facts.links.get(parent.name)


def _quarrels(manifest: Manifest, networks: Mapping[str, Segment]) -> Iterator[Problem]:
    """Yield the networks that can't share the parents that they have on this host; what the manifest alone shows is
    found when it is loaded."""
    from . import parents

    used = {end.network for container in manifest.containers.values() for end in container.endpoints}
    stands = [
        parents.Stand(name, one.parent.name, one.traits.needs(one.spec.driver_opts))
        for name in manifest.networks
        if (one := networks[name]).parent and name in used
    ]
    for path, what, mend in parents.quarrels(stands):
        yield Problem(manifest.position(*path), what, mend)


def _mtu(manifest: Manifest, site: Site, facts: Facts, problems: list[Problem]) -> int:
    """Return the MTU: given, else as observed if some link of the host explains it, else that of the link below.

    What no link of the host explains was given once, or is drift, and is not kept.
    """
    spec, traits, present, below, _ = site
    if traits.span:
        from . import spanning

        return spanning.mtu(manifest, spec, traits, facts, problems)
    uplink = "uplink" in spec.driver_opts
    limit = below.mtu - traits.overhead if below and (traits.wants_parent or uplink) else None
    if spec.mtu is not None:
        if limit is not None and below and spec.mtu > limit:
            problems.append(
                Problem(
                    manifest.position("networks", spec.name, "mtu"),
                    f"network {spec.name} can't have an MTU of {spec.mtu}: its {'uplink' if uplink else 'parent'} "
                    f"{below.name} has {below.mtu}",
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
        for link in (() if _is_own(below, manifest) else facts.links.values())
        if link.owner is None and link.kind != "veth" and link.name != "lo"
    }
    spanned = any(link.kind == "vxlan" for link in present.links)  # what is there leaves room for that
    had = () if spanned else present.links
    ends = Counter(end.mtu for link in had for end in (link, link.peer) if end and end.mtu)
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
