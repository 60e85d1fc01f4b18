"""Chains of others at which netapply does not have its own rules: before and behind the routing, on bridges, on links.

What they drop is dropped for good, whatever the chains do that `reconciler.coexistence` follows. Their rules are
followed as well, and what is said is what they drop, and where to look: a rule that would let it pass is not made up.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from .coexistence import FAMILIES, is_strict, port_names, why
from .host import ASIDE, Filter
from .incoming import Incoming, Published, alike
from .values import dataclass
from .verdicts import DROP, Packet, outcomes

_DSTNAT = -100
"""NF_IP_PRI_NAT_DST of linux/netfilter_ipv4.h: from here on a packet has the address and port that it is led to."""

_DEVICES = re.compile(r"\bdevices? (?:= )?(\{[^}]*\}|\S+)")
_PORT_OF_BRIDGE = re.compile(r"\b([io])if(?:name)? ")
_BRIDGE = re.compile(r"\b(?:meta )?([io])brname ")
_KIND = re.compile(r"\b(?:ether type|meta protocol) (!= )?(\{[^}]*\}|\S+)")


class Dropped(NamedTuple):
    """A chain, and what of ours it drops, in words. `certain`: whatever else is in the packets."""

    filter: Filter
    what: str
    certain: bool

    def __str__(self) -> str:
        one = self.filter
        legacy = "legacy " if one.legacy else ""
        hook = one.hook.rpartition(" ")[2]
        chain = f"{legacy}{one.family} {one.table} {one.chain} (hook {hook}, priority {one.priority}, {why(one)})"
        return f"the firewall chain {chain} {'drops' if self.certain else 'may drop'} {self.what}"

    @property
    def mend(self) -> str:
        """Where to look, in words."""
        one = self.filter
        if one.legacy:
            program = f"{'iptables' if one.family == 'ip' else 'ip6tables'}-legacy"
            return f"look at it with `{program} -t {one.table} -S {one.chain}`, and have it let that pass"
        return f"look at it with `nft list chain {one.family} {one.table} {one.chain}`, and have it let that pass"


@dataclass(frozen=True, slots=True)
class Ours:
    """What is netapply's: links that the host forwards for, by family, all bridges, and what comes in."""

    links: Mapping[int, Collection[str]]
    bridges: Collection[str]
    incoming: Incoming


class _Way(NamedTuple):
    """Packets that are all lost if one of them is, whose they are in words, and the link that they concern."""

    words: str
    link: str
    packets: tuple[Packet, ...]
    published: tuple[Published, ...] = ()


def dropped(filters: Sequence[Filter], ours: Ours) -> Iterator[Dropped]:
    """Yield the chains that drop what is ours, and those that drop what they don't know."""
    for one in filters:
        if one.hook not in ASIDE:
            continue
        layer, _, _ = one.hook.rpartition(" ")
        ways = _frames(ours) if layer == "bridge" else _packets(one, ours)
        text = _as_of_bridges(one) if layer == "bridge" else one
        found: dict[bool, list[_Way]] = {True: [], False: []}
        for way in ways:
            ends = [set(outcomes(text, packet)) for packet in way.packets]
            if any(end == {DROP} for end in ends):
                found[True].append(way)
            elif any(DROP in end for end in ends) and is_strict(one, [way.link]):
                found[False].append(way)
        for certain, some in found.items():
            if some and (certain or not found[True]):
                yield Dropped(one, _words(some), certain)


def remarks(filters: Sequence[Filter], ours: Ours) -> Iterator[str]:
    """Yield a line for each of them."""
    yield from (f"{one}; {one.mend}" for one in dropped(filters, ours))


def _words(some: Sequence[_Way]) -> str:
    kinds: dict[str, list[_Way]] = {}
    for way in some:
        kinds.setdefault(way.words, []).append(way)
    said = []
    for words, ways in kinds.items():
        links = ", ".join(sorted({way.link for way in ways if way.link}))
        which = port_names([way.published for way in ways])
        said.append(words.format(links=links, ports=which))
    return " and ".join(said)


def _frames(ours: Ours) -> Iterator[_Way]:
    for link in sorted(ours.bridges):
        packets = tuple(Packet(family, iif=link, oif=link, protocol="tcp") for family in (4, 6))
        yield _Way("what containers on {links} send each other and the host", link, packets)


def _packets(one: Filter, ours: Ours) -> Iterator[_Way]:
    """Yield what passes a chain of a hook that is no bridge's."""
    families = FAMILIES.get(one.family, (4, 6))
    known = frozenset(link for links in ours.links.values() for link in links)
    devices = _devices(one)
    leaving = one.hook in ("postrouting", "netdev egress")
    for family in families:
        for link in ours.links.get(family, ()):
            if leaving:
                answer = Packet(family, oif=link, begins=False, known=known)
                yield from _by_device("what is sent to containers of {links}", link, [answer], devices)
            else:
                sent = Packet(family, link, "", known=known)
                yield from _by_device("what containers of {links} send", link, [sent], devices)
    for some in alike(one.text, (port for port in ours.incoming.published if port.family in families)):
        words = "connections from elsewhere to {ports}, published for {links}"
        for way in _by_device(words, some[0].link, [*_connecting(one, some[0], known)], devices):
            yield way._replace(published=tuple(some))
    for tunnel in ours.incoming.tunnels if not leaving else ():
        whose = f" for {', '.join(tunnel.networks)}" if tunnel.networks else ""
        words = f"what other hosts send{whose} ({tunnel.kind}, UDP port {tunnel.port})"
        yield from _by_device(words, "", [*tunnel.packets(families)], devices)


def _by_device(words: str, link: str, packets: Sequence[Packet], devices: Collection[str] | None) -> Iterator[_Way]:
    """Yield those of the packets that come by the links of a chain; None: it has none of its own."""
    left = tuple(one for one in packets if devices is None or one.iif in devices or (one.oif or None) in devices)
    if left:
        yield _Way(words, link, left)


def _connecting(one: Filter, port: Published, known: frozenset[str]) -> Iterator[Packet]:
    """Yield the first packet of a connection to a published port as a chain of that hook has it."""
    for packet in port.packets(known):
        if one.hook == "postrouting":
            yield packet
        elif one.hook == "netdev egress":
            yield packet._replace(iif="")
        elif one.hook == "prerouting" and one.priority > _DSTNAT:
            yield packet._replace(oif="")
        else:
            yield packet._replace(oif="", led=False, port=port.port, target="", local=True)


@lru_cache(maxsize=64)
def _devices(one: Filter) -> Collection[str] | None:
    """Return the links that a chain is at, None where it is at no link."""
    if "gress" not in one.hook:
        return None
    block = one.text.partition(f"\tchain {one.chain} {{\n")[2].partition("\n\t}")[0]
    head = next((line for line in block.splitlines() if line.strip().startswith("type ")), "")
    found = _DEVICES.search(head)
    return frozenset(re.findall(r'[^\s,{}"]+', found[1])) if found else frozenset()


@lru_cache(maxsize=64)
def _as_of_bridges(one: Filter) -> Filter:
    """Return a chain of a bridge's with the bridges as the links, which are its ports else: those are not known."""
    text = _PORT_OF_BRIDGE.sub(r"port_\1 ", one.text)
    text = _BRIDGE.sub(r"\1ifname ", text)
    text = _KIND.sub(lambda kind: f"meta nfproto {kind[1] or ''}{re.sub(r'ip(6?)', _family, kind[2])}", text)
    return one._replace(text=text)


def _family(found: re.Match[str]) -> str:
    return "ipv6" if found[1] else "ipv4"
