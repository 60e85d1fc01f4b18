"""From settled networks to resources: the drivers' part, and what belongs to the project as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from .. import drivers, firewall
from ..errors import DriverError, HostLacks
from ..host import Facts
from ..networks import Service, Topology
from ..resources import HOST, Link, NftTable, Port, Resource, Route, State, Sysctl, state


def lower(
    topology: Topology,
    facts: Facts,
    further: Iterable[firewall.Zone] = (),
    kept: State = MappingProxyType({}),
    served: Mapping[str, tuple[Service, ...]] = MappingProxyType({}),
) -> State:
    """Return the desired state. `further` zones are of networks that stay though no manifest names them, and `kept` is
    all that stays so; it is looked at, and no part of what is returned. `served` are by sandbox the services of what
    stays in one that is the manifest's.

    Raises DriverError for a driver that is not known or breaks the contract, HostLacks for an address that the host
    has not.
    """
    resources: list[Resource] = list(topology.sandboxes)
    zones = list(further)
    for network in topology.networks:
        driver = drivers.find(network.driver)
        if driver is None:
            raise DriverError(f"there is no driver {network.driver}")
        for item in driver.lower(network):
            if isinstance(item, firewall.Zone):
                zones.append(item)
            else:
                resources.append(item)
    resources = list(_on_own(resources))
    if facts.together:  # which goes by the first one's name
        resources = [_of_namespace(one, facts.together) for one in resources]
    if any(endpoint.bandwidth for network in topology.networks for endpoint in network.endpoints):
        from . import shaping

        resources = list(shaping.shaped(resources, topology.project, shaping.wanted(topology)))
    if any(isinstance(one, Port) for one in resources):
        from . import uplinks

        resources = list(uplinks.described(resources, facts))
        names = uplinks.names(resources)
        facts = replace(facts, accept_ra=tuple(link for link in facts.accept_ra if link not in names))
    parts: list[firewall.Part] = []
    if topology.services or served:
        from . import services

        staying = services.Staying(served, [one for one in kept.values() if isinstance(one, Link)])
        resources = list(services.balanced(topology, resources, facts.together, staying))
        parts.append(services.for_the_host(topology, resources))
    if topology.names:
        from . import names as naming

        parts.insert(0, naming.part(topology, resources))  # a published port 53 is for others than our own
        resources += naming.named(topology, resources, facts)
    if topology.publications:
        from . import ports

        resources = list(ports.reachable(topology, resources))
        parts.append(ports.part(topology, zones, kept, facts.together))
    if topology.coexist:
        from . import coexisting

        resources = list(coexisting.accepting(resources, zones, facts))
    _need_sources(zones, facts)
    published = {one.family for one in topology.publications}
    resources += _forwarding(topology.project, zones, facts, parts, published)
    try:
        return state(resources)
    except ValueError as twice:
        raise DriverError(f"a driver of {topology.project} yields two resources of one key: {twice}") from twice


def _on_own(resources: Iterable[Resource]) -> Iterator[Resource]:
    """Yield the resources, those that stand on "/NAME" of a link that is among them on its path instead.

    A driver knows the names of links that a manifest says, not whose they are.
    """
    resources = list(resources)
    own = {f"/{one.name}": one.path for one in resources if isinstance(one, Link) and one.sandbox == HOST}
    for one in resources:
        if isinstance(one, Link) and one.parent in own:
            yield replace(one, parent=own[one.parent])
        else:
            yield one


def _of_namespace(resource: Resource, together: Mapping[str, Sequence[str]]) -> Resource:
    """Return a route that leads nowhere as that of the namespace: by no link can it be told which container's it is."""
    if isinstance(resource, Route) and resource.link is None and resource.sandbox in together:
        return replace(resource, sandbox=together[resource.sandbox][0])
    return resource


def _need_sources(zones: Iterable[firewall.Zone], facts: Facts) -> None:
    """Raise HostLacks for source addresses that are not the host's: answers to them would go elsewhere."""
    wanted = [(zone.network, one) for zone in zones for one in (zone.snat_ipv4, zone.snat_ipv6) if one]
    if not wanted:
        return
    own = {address.partition("/")[0] for link in facts.links.values() for address in link.addresses}
    lacking = [
        f"network {network}: its snat_address {one} is no address of the host, and answers to it would not come back;"
        f" add it (ip address add {one}/{128 if ':' in one else 32} dev lo), or name another"
        for network, one in wanted
        if one not in own
    ]
    if lacking:
        raise HostLacks("\n".join(lacking))


def _forwarding(
    project: str, zones: list[firewall.Zone], facts: Facts, parts: list[firewall.Part], published: Collection[int]
) -> Iterator[NftTable | Sysctl]:
    """Yield the firewall, and the settings that make the host forward where a network has a way out.

    Turning forwarding on makes a router of a host that was none: what it did not forward before it goes on not
    forwarding, by the guard. Nor may it lose the addresses and routes that it has by router advertisements.
    """
    ipv4 = 4 in published or any(zone.routes(4) for zone in zones)
    ipv6 = 6 in published or any(zone.routes(6) for zone in zones)
    guard = dict(facts.guard)
    foreign = tuple(sorted(name for name, link in facts.links.items() if link.owner is None and name != "lo"))
    if ipv4 and not facts.forwarding_ipv4:
        guard[4] = foreign
    if ipv6 and not facts.forwarding_ipv6:
        guard[6] = foreign
    for table in (firewall.table(project, zones, parts), firewall.guard_table(guard)):
        if table:
            yield table
    if ipv4:
        yield Sysctl("net.ipv4.ip_forward", "1")
    if ipv6:
        yield from (Sysctl(f"net.ipv6.conf.{link}.accept_ra", "2") for link in facts.accept_ra)
        yield Sysctl("net.ipv6.conf.all.forwarding", "1")
