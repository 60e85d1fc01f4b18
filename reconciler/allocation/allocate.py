"""From a manifest and one look at the host to a topology: all that the manifest leaves open is settled here.

What is pinned is taken as it is, what stands on the host already stays, and the rest derives from names, so that no
container or network renumbers another (docs/addresses.md). Errors are those that take the host to find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import HostLacks, ManifestError, Problem
from ..host import Observation
from ..lowering.addressing import DEFAULT_METRIC
from ..manifest.model import ContainerSpec, EndpointSpec, Manifest
from ..networks import Endpoint, Network, Publication, Service, StaticRoute, Topology
from ..resources import HALF_MADE, HOST, Delegated, Key, Link, Netns, State
from . import ipam
from .ipam import BITS
from .macs import Macs
from .segments import Segment, segments
from .subnets import Room, config_path


def allocate(manifest: Manifest, observation: Observation) -> Topology:
    """Return the topology that the manifest means on this host.

    Raises ManifestError with all problems at once, and HostLacks for links that must exist and do not.
    """
    settled = segments(manifest, observation)
    problems = [*settled.problems, *_misplaced(manifest, observation, settled.networks)]
    problems += _doubly_the_hosts(manifest, observation, settled.networks)
    if observation.facts.together:
        from . import together

        problems += together.conflicts(manifest, observation.facts.together)
    vips: Mapping[str, Sequence[tuple[int, int]]] = {}
    if manifest.services:
        from . import services

        spanning = {name: one.traits.span is not None for name, one in settled.networks.items()}
        vips = services.held(manifest, observation.state, spanning)
    addresses = _addresses(manifest, settled.networks, problems, vips)
    macs = Macs(manifest, settled.networks)
    endpoints = list(_endpoints(manifest, observation, settled.networks, addresses, macs, problems))
    tunnel = None
    if manifest.hosts:
        from . import tunnels

        tunnel = tunnels.tunnel(manifest, observation.facts, problems)
    if settled.lacks:  # first: addresses may be in no subnet for no other reason
        raise HostLacks("\n".join(settled.lacks))
    if problems:
        raise ManifestError(problems, manifest.sources)
    facts = observation.facts
    unsure = [f"container {name} is taken to be where its endpoints are: {why}" for name, why in facts.unsure.items()]
    settled.notes.extend(sorted(unsure))
    networks = list(_networks(manifest, observation, settled.networks, endpoints, addresses))
    if any(one.traits.span for one in settled.networks.values()):
        from .spread import spread

        known = {key: tuple(one.address for one in placed) for key, placed in addresses.items()}
        networks = list(spread(networks, manifest, settled.networks, known, macs, facts))
        if tunnel:
            networks = list(tunnels.through(networks, manifest, tunnel))
    found: list[Service] = []
    if manifest.services:
        known = {key: tuple(one.address for one in placed) for key, placed in addresses.items()}
        found = list(services.settled(manifest, networks, known))
        settled.notes.extend(services.remarks(found))
    names = None
    if manifest.named:
        from . import names as naming

        names = naming.settled(manifest, networks, found, observation)
        settled.notes.extend(naming.remarks(manifest, networks))
    publications: tuple[Publication, ...] = ()
    served = list(services.publications(manifest, found, networks)) if found else []
    if served or any(container.ports for container in manifest.containers_here.values()):
        from . import publishing

        publications = publishing.publications(manifest, observation, networks, served)
        settled.notes.extend(publishing.remarks(publications, facts))
    return Topology(
        project=manifest.project,
        sandboxes=tuple(
            Netns(name, str(container.sandbox), adopted=not container.sandbox.create)
            for name, container in sorted(manifest.containers_here.items())
            if name not in facts.pending and not _in_host(container, observation)
        ),
        networks=tuple(networks),
        pending={name: why for name, why in facts.pending.items() if name in manifest.containers},
        notes=tuple(settled.notes),
        publications=publications,
        services=tuple(found),
        names=names,
        coexist=manifest.coexist,
    )


def _in_host(container: ContainerSpec, observation: Observation) -> bool:
    return container.sandbox.kind == "host" or container.name in observation.facts.in_host


def _misplaced(manifest: Manifest, observation: Observation, networks: Mapping[str, Segment]) -> Iterator[Problem]:
    """Yield the containers whose networks want them in the host's namespace, or out of it, where they are not."""
    for name, container in manifest.containers_here.items():
        if name in observation.facts.pending:
            continue
        in_host = _in_host(container, observation)
        for endpoint in container.endpoints:
            network = networks[endpoint.network]
            if network.traits.in_host and not in_host:
                yield Problem(
                    manifest.position("containers", name, "sandbox"),
                    f"container {name} has a network namespace of its own, and network {endpoint.network} "
                    f"(driver {network.spec.driver}) is for containers in the host's",
                    "attach it to another network, or run it in the host's namespace",
                )
            elif in_host and not network.traits.in_host:
                yield Problem(
                    manifest.position("containers", name, "networks", endpoint.network),
                    f"container {name} is in the host's own network namespace, which network {endpoint.network} "
                    "can't be attached to",
                    "use a network of the driver host, or give the container a namespace of its own",
                )


class _Placed(NamedTuple):
    """An address of an endpoint, and the subnet that it is in."""

    room: Room
    address: str

    @property
    def with_length(self) -> str:
        return f"{self.address}/{self.room.prefix.length}"


def _addresses(
    manifest: Manifest,
    networks: Mapping[str, Segment],
    problems: list[Problem],
    vips: Mapping[str, Sequence[tuple[int, int]]],
) -> dict[tuple[str, str], list[_Placed]]:
    """Return the addresses of each endpoint by container and network, IPv4 first, pinned ones before dynamic ones."""
    members: dict[str, list[EndpointSpec]] = {name: [] for name in networks}
    here = manifest.containers_here
    for container in manifest.containers.values():
        for endpoint in container.endpoints:
            if container.name in here or networks[endpoint.network].is_shared:
                members[endpoint.network].append(endpoint)
    for name, network in networks.items():
        members[name] += _host(network)
    for service in _holders(manifest, networks):
        members[service.network].append(service)
    result: dict[tuple[str, str], list[_Placed]] = {
        (endpoint.container, name): [] for name, endpoints in members.items() for endpoint in endpoints
    }
    for name, network in networks.items():
        pinned = _pinned(manifest, network, members[name], problems)
        for family in (4, 6):
            able = [one for one in members[name] if one.container != HOST or not one.addresses]
            dynamic = _dynamic(manifest, network, family, able, pinned[family], problems, vips)
            for holder, place in (*pinned[family], *dynamic):
                result[holder, name].append(place)
    return result


def _holders(manifest: Manifest, networks: Mapping[str, Segment]) -> Iterator[EndpointSpec]:
    """Yield the services as members of their networks, each to have virtual IPs, and hosts where these need some."""
    if manifest.services:
        from .services import holders

        yield from holders(manifest, {name: one.traits.span is not None for name, one in networks.items()})


def _host(network: Segment) -> Iterator[EndpointSpec]:
    """Yield the host as a member of the network, where it is to have an address there beside the containers.

    With addresses of its own it gets no others, and so has access by these families alone.
    """
    if not network.traits.wants_parent or "host_access" not in network.spec.driver_opts:
        return
    from ..lowering.uppers import host_addresses

    given = host_addresses(network.spec.driver_opts["host_access"])
    if given is not None:
        yield EndpointSpec(HOST, network.spec.name, tuple(ipam.text(*ipam.address(one)) for one in given))


def _doubly_the_hosts(
    manifest: Manifest, observation: Observation, networks: Mapping[str, Segment]
) -> Iterator[Problem]:
    """Yield the addresses that the host is to have on a network, and has already on a link of somebody else's."""
    wanted = [(name, address) for name, one in networks.items() for host in _host(one) for address in host.addresses]
    for name, address in wanted:
        for link in observation.facts.links.values():
            if address in {own.partition("/")[0] for own in link.addresses}:
                yield Problem(
                    manifest.position("networks", name, "driver_opts", "host_access"),
                    f"{address} is the host's own address on {link.name}, and containers can't reach it there",
                    "choose another address for host_access, or true",
                )


def _pinned(
    manifest: Manifest, network: Segment, members: Sequence[EndpointSpec], problems: list[Problem]
) -> dict[int, list[tuple[str, _Placed]]]:
    """Return the pinned addresses by family, each with its container; one that fits no subnet is a problem."""
    result: dict[int, list[tuple[str, _Placed]]] = {4: [], 6: []}
    for endpoint in members if network.traits.addressed else ():
        for address in endpoint.addresses:
            family, value = ipam.address(address)
            room = network.room_of(family, value)
            position = ("containers", endpoint.container, "networks", endpoint.network, f"ipv{family}_address")
            if service := _service(endpoint.container):
                position = ("services", service, "vip", "", "")
            elif endpoint.container == HOST:
                position = ("networks", endpoint.network, "driver_opts", "host_access", "")
            if room is None:
                subnets = ", ".join(str(room.prefix) for room in network.rooms if room.prefix.family == family)
                problems.append(
                    Problem(
                        manifest.position(*position),
                        f"{address} is in no subnet of network {endpoint.network} ({subnets or 'it has none'})",
                        f"give the network the subnet in networks.{endpoint.network}.ipam.config",
                    )
                )
            elif value == room.gateway:
                problems.append(
                    Problem(
                        manifest.position(*position),
                        f"{address} is the gateway of network {endpoint.network}",
                        "pin another address, or set the gateway in ipam.config",
                    )
                )
            else:
                result[family].append((endpoint.container, _Placed(room, address)))
    return result


def _dynamic(
    manifest: Manifest,
    network: Segment,
    family: int,
    members: Sequence[EndpointSpec],
    pinned: Sequence[tuple[str, _Placed]],
    problems: list[Problem],
    vips: Mapping[str, Sequence[tuple[int, int]]],
) -> Iterator[tuple[str, _Placed]]:
    """Yield an address of the family for each container that has none pinned; exhaustion is a problem."""
    rooms = [room for room in network.rooms if room.prefix.family == family]
    if not rooms:
        return
    fixed = {container for container, _ in pinned}
    present = {endpoint.container for endpoint in members}
    held = network.held(family)
    for name in present & vips.keys():
        held[name] = [value for one, value in vips[name] if one == family]
    wanting = {name: held.get(name, ()) for name in present if name not in fixed}
    reserved = {ipam.address(place.address)[1] for _, place in pinned}
    found = ipam.places(
        [room.dynamic for room in rooms if room.dynamic[0] <= room.dynamic[1]],
        wanting,
        reserved=reserved.union(*(room.reserved for room in rooms)),
        avoided={value for name, values in held.items() if name and name not in present for value in values},
        words=(manifest.project, network.spec.name),
    )
    for name, value in found.items():
        room = rooms[0] if len(rooms) == 1 else next(room for room in rooms if value in room.prefix)
        yield name, _Placed(room, ipam.text(family, value))
    if left := sorted(wanting.keys() - found.keys(), key=lambda name: (name == HOST, name)):
        problems.append(
            Problem(
                manifest.position(*config_path(network.spec.name, rooms[0].entry)),
                f"network {network.spec.name} has no IPv{family} address left for "
                + (_who(left[0]) if len(left) == 1 else f"{len(left)} containers, {left[0]} among them"),
                "widen the subnet or its ip_range",
            )
        )


def _service(holder: str) -> str | None:
    """Return the service that holds an address, None for any other holder."""
    if " " not in holder:
        return None
    from .services import service_of

    return service_of(holder)


def _who(holder: str) -> str:
    if " " in holder:
        return holder
    return "the host" if holder == HOST else f"container {holder}"


def _endpoints(
    manifest: Manifest,
    observation: Observation,
    networks: Mapping[str, Segment],
    addresses: Mapping[tuple[str, str], Sequence[_Placed]],
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
        ways_out = _ways_out(container, networks, addresses, [manifest.containers[one] for one in others])
        if with_routes:
            problems += _without_doubles(manifest, container, networks, ways_out)
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


def _sysctls(container: ContainerSpec, spec: EndpointSpec, placed: Sequence[_Placed]) -> Mapping[str, str]:
    """Return the settings of an endpoint. Docker turns IPv6 off for every link that comes into a container of its."""
    if container.sandbox.is_anothers and any(":" in one.address for one in placed):
        return {**spec.sysctls, "ipv6.conf.disable_ipv6": "0"}
    return spec.sysctls


def _across(placed: Sequence[_Placed]) -> Iterator[StaticRoute]:
    """Yield the ways to the other hosts' parts of the network, where its subnets are cut."""
    yield from dict.fromkeys(one.room.across for one in placed if one.room.across)


def _by_others(routes: Sequence[StaticRoute], own: Sequence[_Placed]) -> Iterator[StaticRoute]:
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
    addresses: Mapping[tuple[str, str], Sequence[_Placed]],
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
) -> Iterator[Problem]:
    """Take away default routes that a declared one stands for; two declared ones to the same place are a problem."""
    declared: dict[tuple[str, int], str] = {}
    for end in sorted(container.endpoints, key=lambda end: end.network):
        for route in networks[end.network].spec.routes:
            other = declared.setdefault(_identity(route), end.network)
            if other != end.network:
                yield Problem(
                    manifest.position("networks", end.network, "routes"),
                    f"container {container.name} gets a route to {route.destination} from network {other} "
                    f"and another one from {end.network}",
                    "give one of them a metric",
                )
    for network, routes in ways_out.items():
        ways_out[network] = tuple(route for route in routes if _identity(route) not in declared)


def _identity(route: StaticRoute) -> tuple[str, int]:
    family = 6 if ":" in route.destination else 4
    return route.destination, DEFAULT_METRIC[family] if route.metric is None else route.metric


def _networks(
    manifest: Manifest,
    observation: Observation,
    networks: Mapping[str, Segment],
    endpoints: Sequence[Endpoint],
    addresses: Mapping[tuple[str, str], Sequence[_Placed]],
) -> Iterator[Network]:
    """Yield the networks in the order of their names, pending containers left out."""
    present: dict[str, list[Endpoint]] = {name: [] for name in networks}
    for endpoint in endpoints:
        if endpoint.container not in observation.facts.pending:
            present[endpoint.network].append(endpoint)
    for name, network in sorted(networks.items()):
        spec = network.spec
        yield Network(
            project=manifest.project,
            name=name,
            driver=spec.driver,
            mtu=network.mtu,
            options=spec.driver_opts,
            subnets=tuple(room.subnet for room in network.rooms),
            endpoints=tuple(present[name]),
            internal=spec.internal,
            external=spec.external,
            protect=spec.protect,
            allow=spec.allow,
            parent=network.parent,
            host_addresses=tuple(
                f"{one.address}/{BITS[one.room.prefix.family]}" for one in addresses.get((HOST, name), ())
            ),
        )
