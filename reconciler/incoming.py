"""What comes to a host from elsewhere: connections to published ports, and what other hosts send for overlay networks.

Read from what is desired, so that chains of others can be followed for it (`reconciler.coexistence`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from itertools import chain
from typing import NamedTuple

from .firewall.ports import published
from .host import HostLink
from .resources import HOST, FdbEntry, Link, NftTable, Resource, Wireguard, WireguardPeer
from .verdicts import Packet

DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}

_HAIRPIN = re.compile(r"\tset hairpin_ipv[46] \{(.*?)\n\t\}", re.DOTALL)
_NUMBER = re.compile(r"\b(\d{1,5})(?:[-:](\d{1,5}))?\b")
_SOURCE = re.compile(r'"([^"]+)" \. ([0-9a-f.:]+/\d+)')
"""A network with targets in it, in the project's table: its link, and a prefix of it."""


class Published(NamedTuple):
    """A port of the host's that leads to a container, and the link of the network that it is in.

    `ways` are the links by which connections from elsewhere come: None for whichever.
    """

    family: int
    protocol: str
    port: int
    address: str
    target: int
    link: str
    ways: tuple[str | None, ...] = (None,)

    def packets(self, known: frozenset[str]) -> Iterator[Packet]:
        """Yield the first packet of a connection as it is forwarded, by each way."""
        led = Packet(self.family, None, self.link, True, True, self.protocol, self.target, "", self.address, known)
        yield from (led._replace(iif=way) for way in self.ways)


class Tunnel(NamedTuple):
    """A UDP port at which the host takes what other hosts send for overlay networks, and who they are.

    `peers` are their addresses, each with the link that it comes by, None for whichever. `bound`: nobody else has
    anything to send there; what WireGuard takes it looks at by itself, and peers may move.
    """

    kind: str
    port: int
    peers: tuple[tuple[str, str | None], ...]
    networks: tuple[str, ...] = ()
    bound: bool = True

    def packets(self, families: Collection[int]) -> Iterator[Packet]:
        """Yield a packet of each peer's, as the host itself is sent it."""
        for source, link in self.peers:
            family = 6 if ":" in source else 4
            if family in families:
                yield Packet(family, link, "", protocol="udp", port=self.port, source=source, local=True)


class Incoming(NamedTuple):
    """All that comes in."""

    published: tuple[Published, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()


def incoming(desired: Iterable[Resource], links: Mapping[str, HostLink]) -> Incoming:
    """Return what comes to a host with those links for what is desired."""
    every = list(desired)
    return Incoming(tuple(sorted(_published(every, links), key=repr)), tuple(_tunnels(every, links)))


def alike(rules: str, published: Iterable[Published]) -> list[list[Published]]:
    """Return published ports in groups, of each of which rules can't tell one from another, since they name none apart.

    So a table is followed for a few of thousands of ports.
    """
    edges, by_address = _edges(rules), "daddr" in rules or "-d " in rules
    found: dict[tuple[object, ...], list[Published]] = {}
    for one in published:
        ports = (bisect_right(edges, one.port), bisect_right(edges, one.target))
        key = (one.family, one.protocol, one.link, one.ways, *ports, one.address if by_address else "")
        found.setdefault(key, []).append(one)
    return list(found.values())


@lru_cache(maxsize=16)
def _edges(rules: str) -> Sequence[int]:
    """Return the numbers at which what rules say of ports may change: the first of each range, and the one after it."""
    found = ((int(one[1]), int(one[2] or one[1]) + 1) for one in _NUMBER.finditer(rules))
    return sorted({edge for both in found for edge in both})


def _published(desired: Iterable[Resource], links: Mapping[str, HostLink]) -> Iterator[Published]:
    found: dict[Published, None] = {}
    for table in desired:
        if not isinstance(table, NftTable) or table.sandbox != HOST or "set targets_ipv" not in table.text:
            continue
        networks = [
            (ip_network(prefix), link)
            for block in _HAIRPIN.findall(table.text)
            for link, prefix in _SOURCE.findall(block)
        ]
        for one in published(table.text):
            if ways := _ways(one.family, one.host_ip, links):
                for target in one.targets:
                    there = ip_address(target.address)
                    link = next((link for prefix, link in networks if there in prefix), None)
                    if link:
                        said = (one.family, one.protocol, one.port, target.address, target.port, link, ways)
                        found[Published(*said)] = None
    yield from found


def _ways(family: int, bound: str | None, links: Mapping[str, HostLink]) -> tuple[str | None, ...]:
    """Return the links by which others reach a port: those of the address it is bound to, or which lead outside."""
    if bound and ip_address(bound).is_loopback:
        return ()
    if bound:
        return _with(ip_address(bound), links) or (None,)
    out = [one.name for one in links.values() if one.owner is None and DEFAULTS[family] in one.routes]
    return tuple(sorted(out)) or (None,)


def _with(address: IPv4Address | IPv6Address, links: Mapping[str, HostLink]) -> tuple[str, ...]:
    held = (one.name for one in links.values() if any(ip_interface(own).ip == address for own in one.addresses))
    return tuple(sorted(held))


def _tunnels(desired: Iterable[Resource], links: Mapping[str, HostLink]) -> Iterator[Tunnel]:
    """Yield the ports of VXLAN, of all networks that have the same, and WireGuard's."""
    by_path = {one.path: one for one in desired if isinstance(one, Link) and not one.sandbox}
    vxlan = {path: one for path, one in by_path.items() if one.kind == "vxlan"}
    peers: dict[str, set[str]] = {}
    for one in desired:
        if isinstance(one, FdbEntry) and one.via and one.link in vxlan:
            peers.setdefault(one.link, set()).add(one.via)
    ports: dict[int, dict[tuple[str, str | None], set[str]]] = {}
    for path, addresses in peers.items():
        link = _beneath(vxlan[path], by_path, links)
        for address in addresses:
            its = ports.setdefault(int(vxlan[path].options.get("port", 4789)), {})
            its.setdefault((address, link), set()).add(path.partition("#")[0])
    for port, those in sorted(ports.items()):
        yield Tunnel("VXLAN", port, tuple(sorted(those, key=repr)), tuple(sorted(set(chain(*those.values())))))
    for one in desired:
        if isinstance(one, Wireguard) and one.listen_port:
            ends = (peer.endpoint for peer in desired if isinstance(peer, WireguardPeer) and peer.link == one.link)
            addresses = {end.rpartition(":")[0].strip("[]") for end in ends if end}
            if addresses:
                yield Tunnel(
                    "WireGuard",
                    one.listen_port,
                    tuple((address, _towards(address, links)) for address in sorted(addresses)),
                    tuple(sorted(path.partition("#")[0] for path in vxlan if vxlan[path].parent == one.link)),
                    bound=False,
                )


def _beneath(vxlan: Link, ours: Mapping[str, Link], links: Mapping[str, HostLink]) -> str | None:
    """Return the link that the packets of a VXLAN link come by: WireGuard's, or whichever has its address."""
    if vxlan.parent is not None and vxlan.parent in ours:
        return ours[vxlan.parent].name
    own = vxlan.options.get("local") or vxlan.options.get("local6")
    held = _with(ip_address(str(own)), links) if own else ()
    return held[0] if len(held) == 1 else None


def _towards(address: str, links: Mapping[str, HostLink]) -> str | None:
    """Return the link with a subnet that an address is in, else that of the default route; None for whichever."""
    there = ip_address(address)
    near = [one.name for one in links.values() if any(there in ip_interface(own).network for own in one.addresses)]
    far = [one.name for one in links.values() if one.owner is None and DEFAULTS[there.version] in one.routes]
    return next(iter(near or (far if len(far) == 1 else ())), None)
