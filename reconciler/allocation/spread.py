"""What networks that span hosts have more than others: this host and the others, and who is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..host import Facts, HostLink
from ..lowering import shares
from ..manifest.model import HostSpec, Manifest
from ..manifest.words import listed
from ..networks import Network, Node, Remote
from .ipam import BITS, Prefix, address, prefix
from .macs import Macs
from .segments import Segment
from .services import host_holder, service_of
from .spanning import underlay, vnis


def spread(
    networks: Iterable[Network],
    manifest: Manifest,
    segments: Mapping[str, Segment],
    addresses: Mapping[tuple[str, str], tuple[str, ...]],
    macs: Macs,
    facts: Facts,
) -> Iterator[Network]:
    """Yield the networks, those that span hosts with a VNI, the hosts, and the endpoints on others.

    `addresses` are those of endpoints by container and network, without prefix lengths.
    """
    numbers = vnis(manifest, [name for name, one in segments.items() if one.traits.span])
    remotes = _remotes(manifest, segments, addresses, macs)
    near = _straight(underlay(manifest, facts))
    for network in networks:
        name = network.name
        if name not in numbers:
            yield network
            continue
        nodes = [
            _node(host, segments[name], near)._replace(own=tuple(addresses.get((host_holder(host.name), name), ())))
            for _, host in sorted(manifest.hosts.items())
        ]
        yield replace(
            network,
            options={**network.options, "vni": numbers[name]},
            node=next(node for node in nodes if node.name == manifest.here),
            nodes=tuple(node for node in nodes if node.name != manifest.here),
            remotes=tuple(remotes.get(name, ())),
            whole=tuple(room.across.destination for room in segments[name].rooms if room.across),
            virtual=tuple(_virtual(name, segments[name], addresses)),
        )


def _straight(link: HostLink | None) -> tuple[Prefix, ...]:
    """Return the subnets of a link to which packets can be sent as they are.

    A router asks for its IPv6 neighbours by a link-local address, and without one it asks nobody: the source of what it
    forwards is not its own (ndisc_solicit, ndisc_send_ns of net/ipv6/ndisc.c).
    """
    found = [prefix(one) for one in link.addresses] if link else []
    return tuple(found if link and _asks(link) else (one for one in found if one.family == 4))


def _asks(link: HostLink) -> bool:
    return any(one.startswith("fe80:") for one in link.addresses)


def remarks(networks: Iterable[Network], manifest: Manifest, facts: Facts) -> Iterator[str]:
    """Yield what a reader should know: hosts on this one's link to which packets can't be sent as they are."""
    link = underlay(manifest, facts)
    wanting = [one.name for one in networks if shares.direct(one)]
    if link is None or _asks(link) or not wanting:
        return
    near = [prefix(one) for one in link.addresses]
    others = [(name, address(host.address)) for name, host in sorted(manifest.hosts.items()) if name != manifest.here]
    close = [
        name for name, (family, value) in others if family == 6 and any(value in one for one in near if one.family == 6)
    ]
    if close:
        # there may be dots in its name; 1 first, since the kernel makes an address when this changes to 0
        mode = f"net/ipv6/conf/{link.name}/addr_gen_mode"
        yield (
            f"direct_routing of {listed(wanting, 'and')} does nothing for {listed(close, 'and')}: {link.name} has no"
            " link-local address, by which a router asks for its neighbours, so that packets go in VXLAN;"
            f" `sysctl -w {mode}=1 {mode}=0` gives it one"
        )


def _node(host: HostSpec, segment: Segment, near: Sequence[Prefix]) -> Node:
    """Return a host with its parts of the network's subnets, where those are cut. `near` are subnets of this host."""
    cut = [room.others.get(host.name, room) for room in segment.rooms if room.across]
    family, value = address(host.address)
    is_near = any(one.family == family and value in one for one in near)
    return Node(host.name, host.address, tuple(room.subnet for room in cut), is_near)


def _virtual(name: str, segment: Segment, addresses: Mapping[tuple[str, str], tuple[str, ...]]) -> Iterator[str]:
    """Yield the prefixes of a network's virtual IPs, where each host has its own part: those that are in none."""
    if not segment.is_cut:
        return
    holders = (some for (holder, on), some in addresses.items() if on == name and service_of(holder))
    vips = [address(one) for some in holders for one in some]
    parts = [one.prefix for room in segment.rooms for one in (room, *room.others.values())]
    apart = [room.virtual.prefix for room in segment.rooms if room.virtual]
    found: set[Prefix] = set()
    for family, value in vips:
        own = Prefix(family, value, BITS[family])
        if not any(part.covers(own) for part in parts):
            found.add(next((one for one in apart if one.covers(own)), own))
    yield from map(str, sorted(found))


def _remotes(
    manifest: Manifest,
    segments: Mapping[str, Segment],
    addresses: Mapping[tuple[str, str], tuple[str, ...]],
    macs: Macs,
) -> Mapping[str, list[Remote]]:
    """Return the endpoints on other hosts by network, in the order of the containers' names."""
    result: dict[str, list[Remote]] = {}
    for name, container in sorted(manifest.containers.items()):
        if container.host in (None, manifest.here):
            continue
        via = manifest.hosts[container.host or ""].address
        for end in container.endpoints:
            if segments[end.network].traits.span:
                known = (*addresses[name, end.network], *end.link_local_ips)
                result.setdefault(end.network, []).append(Remote(name, macs.of(end), known, via))
    return result
