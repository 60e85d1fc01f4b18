"""The addresses of containers, services and the host on networks: pinned, else kept, else derived from names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import Problem
from ..manifest.model import EndpointSpec, Manifest
from ..resources import HOST
from . import ipam
from .parts import own_rooms, parts, room_of
from .segments import Segment
from .subnets import Room, config_path


class Placed(NamedTuple):
    """An address of an endpoint, and the subnet that it is in."""

    room: Room
    address: str

    @property
    def with_length(self) -> str:
        return f"{self.address}/{self.room.prefix.length}"


def addresses(
    manifest: Manifest,
    networks: Mapping[str, Segment],
    problems: list[Problem],
    vips: Mapping[str, Sequence[tuple[int, int]]],
) -> dict[tuple[str, str], list[Placed]]:
    """Return the addresses of each endpoint by container and network, IPv4 first, pinned ones before dynamic ones."""
    members: dict[str, list[EndpointSpec]] = {name: [] for name in networks}
    here = manifest.containers_here
    for container in manifest.containers.values():
        for endpoint in container.endpoints:
            if container.name in here or networks[endpoint.network].traits.span:
                members[endpoint.network].append(endpoint)
    for name, network in networks.items():
        members[name] += host(network)
    for service in _holders(manifest, networks):
        members[service.network].append(service)
    result: dict[tuple[str, str], list[Placed]] = {
        (endpoint.container, name): [] for name, endpoints in members.items() for endpoint in endpoints
    }
    for name, network in networks.items():
        pinned = _pinned(manifest, network, members[name], problems)
        for family in (4, 6):
            able = [one for one in members[name] if one.container != HOST or not one.addresses]
            dynamic = [
                found
                for rooms, some in parts(network, able)
                for found in _dynamic(manifest, network, family, rooms, some, pinned[family], problems, vips)
            ]
            for holder, place in (*pinned[family], *dynamic):
                result[holder, name].append(place)
    return result


def _holders(manifest: Manifest, networks: Mapping[str, Segment]) -> Iterator[EndpointSpec]:
    """Yield the services as members of their networks, each to have virtual IPs, and hosts where these need some."""
    if manifest.services:
        from .services import holders

        yield from holders(manifest, {name: one.is_shared for name, one in networks.items()})


def host(network: Segment) -> Iterator[EndpointSpec]:
    """Yield the host as a member of the network, where it is to have an address there beside the containers.

    With addresses of its own it gets no others, and so has access by these families alone.
    """
    if not network.traits.wants_parent or "host_access" not in network.spec.driver_opts:
        return
    from ..lowering.uppers import host_addresses

    given = host_addresses(network.spec.driver_opts["host_access"])
    if given is not None:
        yield EndpointSpec(HOST, network.spec.name, tuple(ipam.text(*ipam.address(one)) for one in given))


def _pinned(
    manifest: Manifest, network: Segment, members: Sequence[EndpointSpec], problems: list[Problem]
) -> dict[int, list[tuple[str, Placed]]]:
    """Return the pinned addresses by family, each with its container; one that fits no subnet is a problem."""
    result: dict[int, list[tuple[str, Placed]]] = {4: [], 6: []}
    for endpoint in members if network.traits.addressed else ():
        for address in endpoint.addresses:
            family, value = ipam.address(address)
            room = room_of(network, endpoint, family, value)
            position = ("containers", endpoint.container, "networks", endpoint.network, f"ipv{family}_address")
            if service := _service(endpoint.container):
                position = ("services", service, "vip", "", "")
            elif endpoint.container == HOST:
                position = ("networks", endpoint.network, "driver_opts", "host_access", "")
            if fault := _fault(network, endpoint, address, room):
                problems.append(Problem(manifest.position(*position), *fault))
            elif room:
                result[family].append((endpoint.container, Placed(room, address)))
    return result


def _fault(network: Segment, member: EndpointSpec, address: str, room: Room | None) -> tuple[str, str] | None:
    """Return what is wrong with a pinned address, and what mends it. `room` is the subnet that it is in."""
    family, value = ipam.address(address)
    if room is None:
        of, mend = f"subnet of network {member.network}", f"give the network the subnet in networks.{member.network}"
        mend = f"{mend}.ipam.config"
        rooms: Sequence[Room] = network.rooms
        if network.is_cut:
            of, mend = f"part of network {member.network} that host {member.host} has", "pin one in it"
            rooms = own_rooms(network, member)
        subnets = ", ".join(str(room.prefix) for room in rooms if room.prefix.family == family)
        return f"{address} is in no {of} ({subnets or 'it has none'})", mend
    if value == room.gateway:
        what = f"{address} is the gateway of network {member.network}"
        if network.is_cut:
            return f"{what} on a host that has {room.prefix}", "pin another address"
        return what, "pin another address, or set the gateway in ipam.config"
    low, high = room.prefix.usable
    if network.is_cut and value in room.prefix and not low <= value <= high:
        what = f"{address} is the first or the last address of {room.prefix}, a host's part of network {member.network}"
        return what, "pin another address"
    return None


def _dynamic(
    manifest: Manifest,
    network: Segment,
    family: int,
    all_rooms: Sequence[Room],
    members: Sequence[EndpointSpec],
    pinned: Sequence[tuple[str, Placed]],
    problems: list[Problem],
    vips: Mapping[str, Sequence[tuple[int, int]]],
) -> Iterator[tuple[str, Placed]]:
    """Yield an address of the family for each container that has none pinned; exhaustion is a problem."""
    rooms = [room for room in all_rooms if room.prefix.family == family]
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
        yield name, Placed(room, ipam.text(family, value))
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
