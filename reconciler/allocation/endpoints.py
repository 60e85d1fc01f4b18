"""The endpoints of containers: what their interfaces are called, and which routes they get by each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import Problem
from ..host import Observation
from ..lowering.addressing import DEFAULT_METRIC
from ..manifest.model import ContainerSpec, EndpointSpec, Manifest
from ..networks import Endpoint, StaticRoute
from ..resources import HALF_MADE, Delegated, Key, Link, State
from .addresses import Placed
from .macs import Macs
from .segments import Segment


def endpoints(
    manifest: Manifest,
    observation: Observation,
    networks: Mapping[str, Segment],
    addresses: Mapping[tuple[str, str], Sequence[Placed]],
    macs: Macs,
    problems: list[Problem],
) -> Iterator[Endpoint]:
    """Yield the endpoints of all containers, in the order of the containers' names."""
    leaving = _leaving(manifest, observation.state)
    with_routes = any(network.spec.routes for network in networks.values())
    given: dict[str, Sequence[str]] = {}
    for name, container in sorted(manifest.containers_here.items()):
        others = [one for one in observation.facts.together.get(name, ()) if one != name]
        reserved = [*leaving.get(name, ())]
        if others:
            from . import together

            reserved += together.names_of(others, manifest, observation.state, given)
            reserved += (link for one in others for link in leaving.get(one, ()))
        interfaces = _interfaces(container, observation, reserved)
        given[name] = [*interfaces.values()]
        sharing = [manifest.containers[one] for one in others]
        ways_out = _ways_out(container, networks, addresses, sharing)
        if with_routes:
            problems += _without_doubles(manifest, container, networks, ways_out, sharing)
        for spec in container.endpoints:
            placed = addresses[name, spec.network]
            network = networks[spec.network]
            yield Endpoint(
                container=name,
                network=spec.network,
                interface_name="" if network.traits.in_host else interfaces[spec.network],
                mac=macs.of(spec) if network.traits.addressed else spec.mac_address or "",
                addresses=(*(one.with_length for one in placed), *map(_link_local, spec.link_local_ips))
                if network.traits.addressed
                else spec.addresses,
                routes=(*ways_out.get(spec.network, ()), *_across(placed), *_by_others(network.spec.routes, placed)),
                sysctls=_sysctls(container, spec, placed),
                driver_opts=spec.driver_opts,
                bandwidth=spec.bandwidth,
            )


def _sysctls(container: ContainerSpec, spec: EndpointSpec, placed: Sequence[Placed]) -> Mapping[str, str]:
    """Return the settings of an endpoint. Docker turns IPv6 off for every link that comes into a container of its."""
    if container.sandbox.is_anothers and any(":" in one.address for one in placed):
        return {**spec.sysctls, "ipv6.conf.disable_ipv6": "0"}
    return spec.sysctls


def _across(placed: Sequence[Placed]) -> Iterator[StaticRoute]:
    """Yield the ways to the other hosts' parts of the network, where its subnets are cut."""
    yield from dict.fromkeys(one.room.across for one in placed if one.room.across)


def _by_others(routes: Sequence[StaticRoute], own: Sequence[Placed]) -> Iterator[StaticRoute]:
    """Yield the routes whose next hop is not the container itself: who is the router needs none to itself."""
    addresses = {one.address for one in own}
    yield from (route for route in routes if route.via not in addresses)


def _link_local(address: str) -> str:
    """Return a link-local address with its prefix length (RFC 3927, 2.1; RFC 4291, 2.5.6)."""
    return f"{address}/64" if ":" in address else f"{address}/16"


def _leaving(manifest: Manifest, state: State) -> dict[str, list[str]]:
    """Return, by container, the names of those links in it that the manifest has no more, but may not be gone yet."""
    result: dict[str, list[str]] = {}
    present = {(name, end.network) for name, one in manifest.containers.items() for end in one.endpoints}
    for resource in state.values():
        if type(resource) is not Link and type(resource) is not Delegated:
            continue
        if resource.inner[0] in manifest.containers and resource.path[0] != HALF_MADE:
            container, _, network = resource.path.partition("#")[0].rpartition("/")
            if (container, network) not in present:
                result.setdefault(resource.inner[0], []).append(resource.inner[1])
    return result


def _interfaces(container: ContainerSpec, observation: Observation, leaving: Sequence[str]) -> dict[str, str]:
    """Return the interface names by network: given, else as observed, else the first free one.

    Only names such as are chosen here are kept as observed: another one was pinned once, or is somebody's renaming.
    """
    stem = "eth" if container.sandbox.kind == "netns" else "net"  # Docker itself counts eth0, eth1, ... in its own
    result = {end.network: end.interface_name for end in container.endpoints if end.interface_name}
    used = {*leaving, *result.values()}
    for end in container.endpoints:
        path = f"{container.name}/{end.network}"
        have = observation.state.get(Key("link", path)) or observation.state.get(Key("delegated", path))
        if end.network in result or not isinstance(have, Link | Delegated) or have.inner[0] != container.name:
            continue
        name = have.inner[1]
        if name not in used and name.startswith(stem) and name[len(stem) :].isdecimal():
            result[end.network] = name
            used.add(name)
    number = 0
    for end in sorted(container.endpoints, key=lambda end: -end.gw_priority):
        if end.network in result:
            continue
        while (name := f"{stem}{number}") in used or Key("link", f"{container.name} {name}") in observation.facts.taken:
            number += 1
        result[end.network] = name
        used.add(name)
    return result


def _ways_out(
    container: ContainerSpec,
    networks: Mapping[str, Segment],
    addresses: Mapping[tuple[str, str], Sequence[Placed]],
    others: Sequence[ContainerSpec],
) -> dict[str, tuple[StaticRoute, ...]]:
    """Return the default routes by network: one per family, over the network that stands first for it.

    `others` are in the same namespace: where one of their networks stands first, the container adds none.
    """
    result: dict[str, tuple[StaticRoute, ...]] = {}
    families: set[int] = set()
    ends = [end for one in (container, *others) for end in one.endpoints]
    for end in sorted(ends, key=lambda end: (-end.gw_priority, end.network, end.container)):
        for placed in addresses[end.container, end.network]:
            route, family = placed.room.way_out, placed.room.prefix.family
            if not route or family in families:
                continue
            families.add(family)
            if end.container == container.name:
                result[end.network] = (*result.get(end.network, ()), route)
    return result


def _without_doubles(
    manifest: Manifest,
    container: ContainerSpec,
    networks: Mapping[str, Segment],
    ways_out: dict[str, tuple[StaticRoute, ...]],
    others: Sequence[ContainerSpec],
) -> Iterator[Problem]:
    """Take away default routes that a declared one stands for; two declared ones to the same place are a problem.

    `others` are in the same namespace. What two of them declare is told once.
    """
    declared: dict[tuple[str, int], EndpointSpec] = {}
    for end in sorted((end for one in (container, *others) for end in one.endpoints), key=lambda end: end.network):
        for route in networks[end.network].spec.routes:
            other = declared.setdefault(_identity(route), end)
            if other.network != end.network and end.container == container.name:
                both = f"{other.container} and {end.container}, in one network namespace, get"
                who = f"container {end.container} gets" if other.container == end.container else both
                yield Problem(
                    manifest.position("networks", end.network, "routes"),
                    f"{who} a route to {route.destination} from network {other.network} "
                    f"and another one from {end.network}",
                    "give one of them a metric",
                )
    for network, routes in ways_out.items():
        ways_out[network] = tuple(route for route in routes if _identity(route) not in declared)


def _identity(route: StaticRoute) -> tuple[str, int]:
    family = 6 if ":" in route.destination else 4
    return route.destination, DEFAULT_METRIC[family] if route.metric is None else route.metric
