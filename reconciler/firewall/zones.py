"""What networks may and what they may not: each has a zone, and the project's table decides by these.

A packet's cost does not grow with networks, subnets or containers: each decision is one look-up in a set or a map.
docs/firewall.md follows packets through the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..resources import LINK_GROUP
from ..values import dataclass
from .sealing import Seal
from .text import Part, quoted


@dataclass(frozen=True, slots=True)
class Zone:
    """One network's share of the firewall.

    `interface` is the host's link that the network's packets come from and go to. `subnets` are its prefixes, both
    families. `mode_ipv4` and `mode_ipv6` are "nat", "routed" or "isolated". `icc`: may endpoints talk to each other.
    `masquerade` False leaves out the translation that mode nat means. `snat_ipv4` and `snat_ipv6` replace
    masquerading by one source address. `allow` names networks that this one may open connections to. `trusted` are
    links of the host from which connections come in although the mode is nat. `gateway_mac` is the MAC of the interface
    where it is a bridge to more than containers: without icc they do not reach each other by way of the host, but what
    else is in the bridge. `across` are further links by which the network's packets come and go: from and to its
    containers on other hosts; `direct` are prefixes of such whose packets come and go as they are, by whatever link
    leads there. `seal` is netapply's own, of an encrypted one.
    """

    network: str
    interface: str
    subnets: tuple[str, ...]
    mode_ipv4: str = "nat"
    mode_ipv6: str = "nat"
    icc: bool = True
    internal: bool = False
    masquerade: bool = True
    snat_ipv4: str | None = None
    snat_ipv6: str | None = None
    allow: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    gateway_mac: str | None = None
    across: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    seal: Seal | None = None

    def mode(self, family: int) -> str:
        """Return the gateway mode of a family (4 or 6)."""
        return self.mode_ipv4 if family == 4 else self.mode_ipv6

    def prefixes(self, family: int) -> list[str]:
        """Return the subnets of a family (4 or 6), sorted."""
        return sorted(subnet for subnet in self.subnets if (":" in subnet) == (family == 6))

    def forwards(self, family: int) -> bool:
        """Whether packets of a family (4 or 6) may pass the host: to and from outside, or another network."""
        return bool(self.prefixes(family)) and self.mode(family) != "isolated" and not self.internal

    def routes(self, family: int) -> bool:
        """Whether the host routes packets of a family (4 or 6) for the network, if only among its own hosts."""
        return self.forwards(family) or bool(self.across and self.prefixes(family))

    @property
    def links(self) -> tuple[str, ...]:
        return (self.interface, *self.across)


def zoning(zones: Sequence[Zone]) -> Part:
    """Return what the zones of a project are to each other, and to the outside."""
    ordered = sorted(zones, key=lambda zone: zone.interface)
    collections = [one for one in _collections(ordered) if one[2]] if zones else []
    return Part(collections, dict(_chains([name for name, _, _ in collections])) if zones else {})


def _collections(zones: Sequence[Zone]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the sets and maps: kind and name, type, elements."""
    yield "set zones", "ifname", [quoted(link) for zone in zones for link in zone.links]
    yield "map between", "ifname . ifname : verdict", sorted(_between(zones))
    seals = sorted({zone.seal.link for zone in zones if zone.seal})
    both = [(family, zone) for family in (4, 6) for zone in zones]
    yield (
        "set closed",
        "nf_proto . ifname",
        [
            f"ipv{family} . {quoted(link)}"
            for family, zone in both
            for link in (zone.across if zone.forwards(family) else zone.links)
        ]
        + [f"ipv{family} . {quoted(link)}" for family in (4, 6) for link in seals],
    )
    yield (
        "set trusted",
        "nf_proto . ifname . ifname",
        [
            f"ipv{family} . {quoted(link)} . {quoted(zone.interface)}"
            for family, zone in both
            if zone.forwards(family) and zone.mode(family) == "nat"
            for link in sorted(set(zone.trusted))
        ],
    )
    yield (
        "set gateways",
        "ifname . ether_addr",
        [f"{quoted(zone.interface)} . {zone.gateway_mac}" for zone in zones if zone.gateway_mac and not zone.icc],
    )
    yield (
        "map into",
        "nf_proto . ifname : verdict",
        [
            f"ipv{family} . {quoted(zone.interface)} : goto into_{zone.mode(family)}"
            for family, zone in both
            if zone.forwards(family)
        ],
    )
    for family in (4, 6):
        translated = [
            (f"{quoted(zone.interface)} . {prefix}", zone.snat_ipv4 if family == 4 else zone.snat_ipv6)
            for zone in zones
            if zone.forwards(family) and zone.mode(family) == "nat" and zone.masquerade
            for prefix in zone.prefixes(family)
        ]
        type_ = f"ifname . ipv{family}_addr"
        fixed = [f"{source} : {address}" for source, address in translated if address]
        near = [f"{quoted(zone.interface)} . {one}" for zone in zones for one in zone.direct if zone.icc]
        yield (
            f"set direct_ipv{family}",
            f"{type_}; flags interval",
            [one for one in sorted(near) if (":" in one.rpartition(" . ")[2]) == (family == 6)],
        )
        yield f"map snat_ipv{family}", f"{type_} : ipv{family}_addr; flags interval", fixed
        yield f"set masquerade_ipv{family}", f"{type_}; flags interval", [s for s, address in translated if not address]


def _between(zones: Sequence[Zone]) -> Iterator[str]:
    """Yield what happens to packets between two zones (or one and itself); pairs that are not there are dropped."""
    links = {zone.network: zone.links for zone in zones}
    able = {zone.network for zone in zones if not zone.internal}
    opens = {(zone.network, other) for zone in zones for other in zone.allow if other != zone.network}
    opens = {(one, other) for one, other in opens if {one, other} <= able}
    for one, other in opens | {(other, one) for one, other in opens}:
        verdict = "accept" if (one, other) in opens else "goto replies"
        yield from (f"{quoted(a)} . {quoted(b)} : {verdict}" for a in links[one] for b in links[other])
    for zone in zones:
        if zone.icc or zone.gateway_mac:
            verdict = "accept" if zone.icc else "goto bridged"
            yield f"{quoted(zone.interface)} . {quoted(zone.interface)} : {verdict}"
        if zone.icc:
            for link in zone.across:
                yield f"{quoted(zone.interface)} . {quoted(link)} : accept"
                yield f"{quoted(link)} . {quoted(zone.interface)} : accept"


def _chains(collections: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the chains: name and rules. A rule that looks into a set or a map that is not there is left out.

    Between networks comes first: no rule that lets established flows through stands before it, so that a permission
    taken back ends them. For the same reason only what goes in the direction of a reply is taken for one; `expected`
    are connections that a conntrack helper foresees (nf_conntrack_expect.h), of which both directions pass. `bridged`
    frames, which come here with br_netfilter, are for others than the host: what it routes back into the same bridge
    was sent to its own MAC.
    """
    yield "replies", ["ct direction reply ct state established,related accept", "drop"]
    yield "into_nat", ["ct status expected accept", "goto replies"]
    yield "into_routed", [f"iifgroup {LINK_GROUP} drop", "accept"]
    if "set gateways" in collections:
        yield "bridged", ["iifname . ether daddr @gateways drop", "accept"]
    forward = {
        "map between": ["iifname . oifname vmap @between"],
        "set zones": ["iifname @zones oifname @zones drop"],
        "set direct_ipv4": ["iifname . ip daddr @direct_ipv4 accept", "oifname . ip saddr @direct_ipv4 accept"],
        "set direct_ipv6": ["iifname . ip6 daddr @direct_ipv6 accept", "oifname . ip6 saddr @direct_ipv6 accept"],
        "set closed": ["meta nfproto . iifname @closed drop", "meta nfproto . oifname @closed drop"],
        "set trusted": ["meta nfproto . iifname . oifname @trusted accept"],
        "map into": ["meta nfproto . oifname vmap @into"],
    }
    yield "forward", _present(forward, collections)
    as_they_are = {
        "set direct_ipv4": ["iifname . ip daddr @direct_ipv4 accept"],
        "set direct_ipv6": ["iifname . ip6 daddr @direct_ipv6 accept"],
    }
    translation = {
        "map snat_ipv4": ["snat ip to iifname . ip saddr map @snat_ipv4"],
        "map snat_ipv6": ["snat ip6 to iifname . ip6 saddr map @snat_ipv6"],
        "set masquerade_ipv4": ["iifname . ip saddr @masquerade_ipv4 masquerade"],
        "set masquerade_ipv6": ["iifname . ip6 saddr @masquerade_ipv6 masquerade"],
    }
    if rules := _present(translation, collections):
        own = ["oifname @zones accept", "ip daddr 224.0.0.0/4 accept", "ip6 daddr ff00::/8 accept"]
        yield "postrouting", [*own, *_present(as_they_are, collections), *rules]


def _present(rules: Mapping[str, list[str]], collections: Iterable[str]) -> list[str]:
    there = set(collections)
    return [rule for name, some in rules.items() if name in there for rule in some]
