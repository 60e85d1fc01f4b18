"""The subnets of networks: pinned ones, those that stand already, and new ones from the pools; and their gateways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from ..drivers import Traits
from ..errors import Problem
from ..host import Facts, HostLink
from ..manifest.model import IpamConfig, Manifest, NetworkSpec
from ..networks import StaticRoute, Subnet
from ..resources import Address, Delegated, Link, State
from ..values import dataclass, field
from . import ipam
from .ipam import BITS, Pool, Prefix, Wish


class Held(NamedTuple):
    """An address that was observed, with its prefix length."""

    family: int
    value: int
    length: int

    @property
    def subnet(self) -> Prefix:
        shift = BITS[self.family] - self.length
        return Prefix(self.family, self.value >> shift << shift, self.length)


@dataclass(frozen=True, slots=True)
class Present:
    """What a network has on the host already: its links, and addresses by container, "" being its own link.

    `host` are those that the host has on it beside the containers (`reconciler.lowering.uppers`).
    """

    links: list[Link] = field(default_factory=list)
    addresses: dict[str, list[Held]] = field(default_factory=dict)
    host: list[Held] = field(default_factory=list)


class Site(NamedTuple):
    """A network before its subnets are settled: what it has already, and the link of the host that it stands on.

    `enclosed`: that link leads nowhere, so that there is no way out.
    """

    spec: NetworkSpec
    traits: Traits
    present: Present
    below: HostLink | None
    enclosed: bool = False


class Room(NamedTuple):
    """A subnet, and what is free in it.

    `entry` is its number in ipam.config, None if it has none. `gateway` is never a container's, even where no route
    goes by it. `dynamic` are the lowest and highest addresses for containers that pin none, but for those `reserved`.
    Where hosts share a subnet, it is this one's part, `others` are theirs by name, and `across` is the way to them;
    `virtual` is the part that virtual IPs are taken from, where there are some and room for them.
    """

    prefix: Prefix
    subnet: Subnet
    entry: int | None
    gateway: int | None
    dynamic: tuple[int, int]
    reserved: frozenset[int]
    way_out: StaticRoute | None
    across: StaticRoute | None = None
    others: Mapping[str, Room] = MappingProxyType({})
    virtual: Room | None = None


def rooms(
    manifest: Manifest, facts: Facts, sites: Sequence[Site], others: Iterable[Present], problems: list[Problem]
) -> dict[str, tuple[Room, ...]]:
    """Return the subnets by network. `others` are those of the project that the manifest does not have (any more)."""
    plots = [plot for site in sites if site.traits.addressed for plot in _plots(site)]
    prefixes = _prefixes(manifest, plots, facts, others, problems)
    problems += _clashes(manifest, plots, prefixes, facts)
    result: dict[str, list[Room]] = {site.spec.name: [] for site in sites}
    for plot, prefix in zip(plots, prefixes, strict=True):
        if prefix and plot.site.traits.span:
            result[plot.site.spec.name].extend(_shared_room(manifest, plot, prefix, problems))
        elif prefix:
            result[plot.site.spec.name].append(_room(manifest, plot, prefix, problems))
    return {name: tuple(found) for name, found in result.items()}


def presences(state: State) -> dict[str, Present]:
    """Return what each network of the project has on the host, by the network's name."""
    result: dict[str, Present] = {}
    for resource in state.values():
        if type(resource) is Link:
            network = resource.path.partition("#")[0].rpartition("/")[2]
            result.setdefault(network, Present()).links.append(resource)
        elif type(resource) is Delegated:
            container, _, network = resource.path.rpartition("/")
            present = result.setdefault(network, Present())
            present.addresses.setdefault(container, []).extend(map(held, resource.addresses))
        elif type(resource) is Address and "#" not in resource.link:
            container, _, network = resource.link.rpartition("/")
            result.setdefault(network, Present()).addresses.setdefault(container, []).append(held(resource.address))
        elif type(resource) is Address and resource.link.endswith("#host"):
            result.setdefault(resource.link.partition("#")[0], Present()).host.append(held(resource.address))
    return result


def held(address: str) -> Held:
    spelling, _, length = address.partition("/")
    family, value = ipam.address(spelling)
    return Held(family, value, int(length or BITS[family]))


def config_path(network: str, entry: int | None) -> tuple[str | int, ...]:
    """Return the path in the manifest of an entry of ipam.config, of all of it where there is none."""
    path = ("networks", network, "ipam", "config")
    return path if entry is None else (*path, entry)


class _Plot(NamedTuple):
    """A subnet that a network has or is to get: pinned (`prefix`) or to be chosen (`wish`), by its ipam.config."""

    site: Site
    entry: int | None
    config: IpamConfig | None
    prefix: Prefix | None
    wish: Wish


def _plots(site: Site) -> Iterator[_Plot]:
    """Yield what a network's ipam.config says, then one subnet for each enabled family that it leaves out."""
    spec, below = site.spec, site.below
    count = {4: 0, 6: 0}
    for entry, config in enumerate(spec.ipam):
        prefix = ipam.prefix(config.subnet)
        sized = prefix.first == 0 and prefix.length > 0
        yield _Plot(
            site,
            entry,
            config,
            None if sized else prefix,
            _wish(site, prefix.family, count[prefix.family], prefix.length),
        )
        count[prefix.family] += 1
    missing = [family for family, wanted in ((4, spec.enable_ipv4), (6, spec.enable_ipv6)) if wanted]
    missing = [family for family in missing if not count[family]]
    if spec.external and not site.traits.wants_parent:  # it has the subnets of the link that it adopts
        for prefix in dict.fromkeys(map(ipam.prefix, below.addresses if below else ())):
            if prefix.family in missing and not _is_link_local(prefix):
                yield _Plot(site, None, None, prefix, _wish(site, prefix.family, 0, None))
        return
    for family in missing:
        yield _Plot(site, None, None, None, _wish(site, family, 0, None))


def _wish(site: Site, family: int, number: int, length: int | None) -> Wish:
    votes = Counter(one.subnet for each in site.present.addresses.values() for one in each if one.family == family)
    likely = sorted(votes, key=lambda prefix: (-votes[prefix], prefix))
    return Wish((site.spec.name, str(family), str(number)), family, length, tuple(likely))


def _is_link_local(prefix: Prefix) -> bool:
    return prefix.family == 6 and prefix.first >> 118 == 0xFE80 >> 6


def _prefixes(
    manifest: Manifest,
    plots: Sequence[_Plot],
    facts: Facts,
    others: Iterable[Present],
    problems: list[Problem],
) -> list[Prefix | None]:
    """Return the subnets, in the order of the plots. Pools that have no room left are a problem."""
    open_ = [at for at, plot in enumerate(plots) if plot.prefix is None]
    result = [plot.prefix for plot in plots]
    if shared := [at for at in open_ if plots[at].site.traits.span]:  # before the host has a say
        pinned = [plot.prefix for plot in plots if plot.prefix and plot.config]
        wishes = [plots[at].wish._replace(held=()) for at in shared]
        cut = ipam.cut(wishes, _pools(manifest), project=manifest.project, pinned=pinned)
        for at, prefix in zip(shared, cut, strict=True):
            result[at] = prefix
        problems += (_no_subnet(manifest, plots[at]) for at in shared if result[at] is None)
        open_ = [at for at in open_ if at not in shared]
    if not open_:
        return result
    chosen = ipam.cut(
        [plots[at].wish for at in open_],
        _pools(manifest),
        project=manifest.project,
        pinned=[prefix for prefix in result if prefix],
        used=map(ipam.prefix, _used(facts)),
        avoided=[  # networks that the manifest has no more are removed first, but for --no-prune
            one.subnet for other in others for addresses in other.addresses.values() for one in addresses
        ],
    )
    for at, prefix in zip(open_, chosen, strict=True):
        result[at] = prefix
        if prefix is None:
            problems.append(_no_subnet(manifest, plots[at]))
    return result


def _no_subnet(manifest: Manifest, plot: _Plot) -> Problem:
    network, wish = plot.site.spec.name, plot.wish
    size = f" of the size /{wish.length}" if plot.config else ""
    return Problem(
        manifest.position(*config_path(network, plot.entry)),
        f"the address pools have no free IPv{wish.family} subnet{size} left for network {network}",
        "give it a subnet in ipam.config, or enlarge default_address_pools",
    )


def _pools(manifest: Manifest) -> list[Pool]:
    """Return the pools: those configured, and for a family that has none, the default ones."""
    pools = [Pool(ipam.prefix(pool.base), pool.size) for pool in manifest.default_address_pools]
    families = {pool.base.family for pool in pools}
    if 4 not in families:
        pools += ipam.docker_pools()
    if 6 not in families:
        pools.append(ipam.unique_local_pool(manifest.project))
    return pools


def _used(facts: Facts) -> Iterator[str]:
    """Yield the prefixes that the host uses: routes, resolvers, and its links' addresses."""
    yield from facts.routes
    yield from facts.nameservers
    for link in facts.links.values():
        yield from link.addresses


def _clashes(
    manifest: Manifest, plots: Sequence[_Plot], prefixes: Sequence[Prefix | None], facts: Facts
) -> Iterator[Problem]:
    """Yield the pinned subnets that can't be the host's own as well, unless they stand there already; and of networks
    that span hosts those that were chosen, too, since the host was not asked.

    A wider route is none, unless the host has an address in it: the more specific prefix wins, as with a VPN's 10/8.
    """
    links = [(ipam.prefix(address), link, address) for link in facts.links.values() for address in link.addresses]
    routes = [ipam.prefix(route) for route in facts.routes]
    for plot, settled in zip(plots, prefixes, strict=True):
        site = plot.site
        prefix = settled if site.traits.span else plot.prefix
        if prefix is None or not site.traits.gateway_on_host or site.spec.external:
            continue
        if prefix in plot.wish.held or (site.traits.span and any(prefix.covers(held) for held in plot.wish.held)):
            continue
        if not site.traits.is_gateway(site.spec.driver_opts, prefix.family):
            continue
        if what := _clash(prefix, links, routes):
            yield Problem(
                manifest.position(*config_path(site.spec.name, plot.entry), "subnet"),
                f"subnet {prefix} of network {site.spec.name} {what}",
                "choose another subnet" if plot.prefix else "give it a subnet in ipam.config that every host has free",
            )


def _clash(prefix: Prefix, links: Iterable[tuple[Prefix, HostLink, str]], routes: Iterable[Prefix]) -> str | None:
    for other, link, address in links:
        if prefix.overlaps(other):
            whose = f" of project {link.owner}" if link.owner else ""
            verb = "is that of" if prefix == other else "overlaps with that of"
            return f"{verb} the host's link {link.name}{whose} ({address})"
    for route in routes:
        if prefix.covers(route):
            return f"overlaps with the host's route to {route}"
    return None


def _shared_room(manifest: Manifest, plot: _Plot, whole: Prefix, problems: list[Problem]) -> Iterator[Room]:
    """Yield the room of a network that spans hosts: where its subnet is cut, the part that is this host's."""
    from . import spanning

    spec = plot.site.spec
    cut = spanning.shares(manifest, spec, plot.site.traits, whole)
    if cut is None:
        yield _room(manifest, plot, whole, problems)
        return
    if left := sum(share is None for share in cut.values()):
        problems.append(spanning.no_room(manifest, spec, config_path(spec.name, plot.entry), whole, left))
        return
    rooms = {host: _room(manifest, plot, share, problems) for host, share in cut.items() if share}
    if (here := rooms.pop(manifest.here or "", None)) and here.subnet.gateway:
        part = spanning.virtual(manifest, spec, whole, cut, config_path(spec.name, plot.entry), problems)
        across = StaticRoute(str(whole), here.subnet.gateway)
        yield here._replace(across=across, others=rooms, virtual=part and _virtual_room(plot, part))


def _virtual_room(plot: _Plot, part: Prefix) -> Room:
    """Return the room for virtual IPs in the part of a subnet that is no host's, and has no gateway."""
    aux = plot.config.aux_addresses.values() if plot.config else ()
    reserved = frozenset(ipam.address(one)[1] for one in aux)
    return Room(part, Subnet(str(part)), plot.entry, None, part.usable, reserved, None)


def _room(manifest: Manifest, plot: _Plot, prefix: Prefix, problems: list[Problem]) -> Room:
    spec, config, family = plot.site.spec, plot.config, prefix.family
    aux = {ipam.address(one)[1] for one in config.aux_addresses.values()} if config else set()
    own = [one.value for one in map(held, plot.site.below.addresses) if one.family == family] if plot.site.below else []
    gateway = _gateway(plot, prefix, aux, own)
    low, high = prefix.usable
    if config and config.ip_range:
        limits = ipam.prefix(config.ip_range)
        low, high = max(low, limits.first), min(high, limits.last)
    if plot.prefix is None and (low > high or (gateway is not None and gateway not in prefix)):
        problems.append(
            Problem(
                manifest.position(*config_path(spec.name, plot.entry)),
                f"the subnet that was chosen for network {spec.name}, {prefix}, has not the gateway or ip_range given",
                "give the subnet too, or neither",
            )
        )
    spelled = None
    if gateway is not None and (plot.site.traits.gateway_on_host or not (spec.internal or plot.site.enclosed)):
        spelled = ipam.text(family, gateway)
    return Room(
        prefix=prefix,
        subnet=Subnet(str(prefix), spelled),
        entry=plot.entry,
        gateway=gateway,
        dynamic=(low, high),
        reserved=frozenset({*aux, *own, *([] if gateway is None else [gateway])}),
        way_out=_way_out(plot.site, family, spelled),
    )


def _gateway(plot: _Plot, prefix: Prefix, aux: Collection[int], own: Sequence[int]) -> int | None:
    """Return the gateway: given, else an adopted link's own address, else the first usable one; none in /32, /128."""
    if plot.config and plot.config.gateway:
        return ipam.address(plot.config.gateway)[1]
    if prefix.length == BITS[prefix.family]:
        return None
    adopted = () if plot.site.traits.wants_parent else own
    low, high = prefix.usable
    return next((place for place in chain(adopted, range(low, high + 1)) if place in prefix and place not in aux), None)


def _way_out(site: Site, family: int, gateway: str | None) -> StaticRoute | None:
    """Return the default route that an endpoint of the network may carry."""
    spec = site.spec
    if spec.internal or site.enclosed or spec.no_default_route:
        return None
    if site.traits.on_link(spec.driver_opts):
        return StaticRoute("0.0.0.0/0" if family == 4 else "::/0", metric=spec.metric)
    if not gateway:
        return None
    if not site.traits.has_gateway(spec.driver_opts, family):
        return None
    return StaticRoute("0.0.0.0/0" if family == 4 else "::/0", gateway, metric=spec.metric)
