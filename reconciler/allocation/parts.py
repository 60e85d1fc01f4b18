"""Who has addresses in which of a network's subnets: all in all of them, unless each host has its own part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..manifest.model import EndpointSpec
from .ipam import prefix
from .segments import Segment
from .subnets import Room


def parts(network: Segment, members: Sequence[EndpointSpec]) -> Iterator[tuple[Sequence[Room], Sequence[EndpointSpec]]]:
    """Yield the members of a network in groups, each with the subnets that its dynamic addresses are taken from."""
    if not network.is_cut:
        yield network.rooms, members
        return
    groups: dict[str | None, list[EndpointSpec]] = {}
    for member in members:
        groups.setdefault("" if _is_service(member) else member.host, []).append(member)
    for some in groups.values():
        yield own_rooms(network, some[0]), some


def own_rooms(network: Segment, member: EndpointSpec) -> Sequence[Room]:
    """Return the subnets that a member's dynamic addresses are taken from."""
    if not network.is_cut:
        return network.rooms
    if _is_service(member):
        return [room.virtual for room in network.rooms if room.virtual]
    return [room.others.get(member.host or "", room) for room in network.rooms]


def room_of(network: Segment, member: EndpointSpec, family: int, value: int) -> Room | None:
    """Return the subnet that a pinned address is in, None where it is in none that the member may have addresses in.

    A virtual IP may be in any host's part, and in one that is nobody's.
    """
    rooms = list(own_rooms(network, member))
    if network.is_cut and _is_service(member):
        rooms += [one for room in network.rooms for one in (room, *room.others.values())]
    rooms = [room for room in rooms if room.prefix.family == family]
    found = next((room for room in rooms if value in room.prefix), None)
    if found is None and network.is_cut and _is_service(member):
        return next((room for room in rooms if room.across and value in prefix(room.across.destination)), None)
    return found


def _is_service(member: EndpointSpec) -> bool:
    """Whether it is not a container: no name of one has a space in it (`services.holders`)."""
    return " " in member.container
