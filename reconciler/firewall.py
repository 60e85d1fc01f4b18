"""The nftables tables: the project's, composed from the zones that drivers yield, and the guard of the whole host.

A packet's cost does not grow with networks, subnets or containers: each decision is one look-up in a set or a map.
docs/firewall.md follows packets through the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import HostLacks
from .naming import digest
from .resources import ALIAS, GUARD_TABLE, LINK_GROUP, NftTable

FAMILY = "inet"

_FORWARD = "type filter hook forward priority filter; policy accept;"
_POSTROUTING = "type nat hook postrouting priority srcnat; policy accept;"


class Seal(NamedTuple):
    """The one link of the host that a network's VXLAN packets may go and come by, and how they are known.

    `subnets` are the network's on all hosts: what is for them leaves by links of networks only.
    """

    link: str
    port: int
    vni: int
    subnets: tuple[str, ...]


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


def table_name(project: str) -> str:
    """Return the name of the project's table, an nft identifier: netapply-PROJECT where that is one."""
    plain = "".join(letter for letter in project if letter.isascii() and (letter.isalnum() or letter in "_.-"))
    return f"netapply-{project}" if plain == project else f"netapply-{plain}-{digest(project).hex()[:8]}"


def table(project: str, zones: Sequence[Zone]) -> NftTable | None:
    """Return the project's table, None if there is nothing to filter. HostLacks for a name that nft can't say."""
    if not zones:
        return None
    ordered = sorted(zones, key=lambda zone: zone.interface)
    collections = {name: (type_, elements) for name, type_, elements in _collections(ordered) if elements}
    blocks = [_collection(name, type_, elements) for name, (type_, elements) in collections.items()]
    blocks += [_block(f"chain {name}", rules) for name, rules in _chains(collections.keys())]
    blocks += [_block(f"chain {name}", rules) for name, rules in _sealed([zone.seal for zone in zones if zone.seal])]
    name = table_name(project)
    return NftTable(FAMILY, name, _table(name, project, blocks))


def guard_table(guard: Mapping[int, Sequence[str]]) -> NftTable | None:
    """Return the table that keeps a host from forwarding among links of others; None if there are none.

    `guard` has the links' names by family (4, 6): a host that forwarded IPv4 before goes on doing so when netapply
    turns on IPv6 forwarding. Packets that leave by the link that they came from pass: bridged ones, where br_netfilter
    hands those to the IP hooks. Raises HostLacks for a name that nft can't say.
    """
    names = sorted({name for links in guard.values() for name in links})
    if not names:
        return None
    guarded = [f"ipv{family} . {_quoted(name)}" for family in (4, 6) for name in sorted(set(guard.get(family, ())))]
    drop = "meta nfproto . iifname @guard meta nfproto . oifname @guard iifname . oifname != @same drop"
    blocks = [
        _collection("set guard", "nf_proto . ifname", guarded),
        _collection("set same", "ifname . ifname", [f"{_quoted(name)} . {_quoted(name)}" for name in names]),
        _block("chain forward", [_FORWARD, drop]),
    ]
    return NftTable(FAMILY, GUARD_TABLE, _table(GUARD_TABLE, "", blocks))


def guard_of(text: str) -> dict[int, tuple[str, ...]]:
    """Return the guarded links by family, as `guard_table` takes them, from the guard's text."""
    found: dict[int, list[str]] = {}
    pieces = text.partition("set guard {")[2].split('"')
    for before, name in zip(pieces[::2], pieces[1::2], strict=False):
        family = {"ipv4 .": 4, "ipv6 .": 6}.get(before.rstrip()[-6:])
        if family is None:
            break  # the next set
        found.setdefault(family, []).append(name)
    return {family: tuple(sorted(names)) for family, names in sorted(found.items())}


def owner_of(text: str) -> str | None:
    """Return the project that a table belongs to by its comment, "" for the guard's; None if it is somebody else's."""
    for line in text.splitlines()[1:]:
        if line.endswith("{"):
            break
        start, _, rest = line.strip().partition(f'comment "{ALIAS}')
        if not start and rest.endswith('"'):
            return rest[:-1]
    return None


def _collections(zones: Sequence[Zone]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the sets and maps: kind and name, type, elements."""
    yield "set zones", "ifname", [_quoted(link) for zone in zones for link in zone.links]
    yield "map between", "ifname . ifname : verdict", sorted(_between(zones))
    both = [(family, zone) for family in (4, 6) for zone in zones]
    yield (
        "set closed",
        "nf_proto . ifname",
        [
            f"ipv{family} . {_quoted(link)}"
            for family, zone in both
            for link in (zone.across if zone.forwards(family) else zone.links)
        ]
        + [f"ipv{family} . {_quoted(link)}" for family in (4, 6) for link in sorted(_seals(zones))],
    )
    yield (
        "set trusted",
        "nf_proto . ifname . ifname",
        [
            f"ipv{family} . {_quoted(link)} . {_quoted(zone.interface)}"
            for family, zone in both
            if zone.forwards(family) and zone.mode(family) == "nat"
            for link in sorted(set(zone.trusted))
        ],
    )
    yield (
        "set gateways",
        "ifname . ether_addr",
        [f"{_quoted(zone.interface)} . {zone.gateway_mac}" for zone in zones if zone.gateway_mac and not zone.icc],
    )
    yield (
        "map into",
        "nf_proto . ifname : verdict",
        [
            f"ipv{family} . {_quoted(zone.interface)} : goto into_{zone.mode(family)}"
            for family, zone in both
            if zone.forwards(family)
        ],
    )
    for family in (4, 6):
        translated = [
            (f"{_quoted(zone.interface)} . {prefix}", zone.snat_ipv4 if family == 4 else zone.snat_ipv6)
            for zone in zones
            if zone.forwards(family) and zone.mode(family) == "nat" and zone.masquerade
            for prefix in zone.prefixes(family)
        ]
        type_ = f"ifname . ipv{family}_addr"
        fixed = [f"{source} : {address}" for source, address in translated if address]
        near = [f"{_quoted(zone.interface)} . {one}" for zone in zones for one in zone.direct if zone.icc]
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
        yield from (f"{_quoted(a)} . {_quoted(b)} : {verdict}" for a in links[one] for b in links[other])
    for zone in zones:
        if zone.icc or zone.gateway_mac:
            verdict = "accept" if zone.icc else "goto bridged"
            yield f"{_quoted(zone.interface)} . {_quoted(zone.interface)} : {verdict}"
        if zone.icc:
            for link in zone.across:
                yield f"{_quoted(zone.interface)} . {_quoted(link)} : accept"
                yield f"{_quoted(link)} . {_quoted(zone.interface)} : accept"


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
    yield "forward", [_FORWARD, *_present(forward, collections)]
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
        yield "postrouting", [_POSTROUTING, *own, *_present(as_they_are, collections), *rules]


def _seals(zones: Iterable[Zone]) -> set[str]:
    return {zone.seal.link for zone in zones if zone.seal}


def _sealed(seals: Sequence[Seal]) -> Iterator[tuple[str, list[str]]]:
    """Yield the chains that keep the packets of encrypted networks to their link, and what is within to the networks.

    Who can send to the host could else put frames into such a network, by VXLAN in clear. The VNI is at bit 32 of the
    header that follows UDP's (RFC 7348, 5). Fragments are put together before (`ct`, in other chains, has that done).
    """
    numbers: dict[tuple[str, int], list[int]] = {}
    for link, port, vni, _ in seals:
        numbers.setdefault((link, port), []).append(vni)
    for hook, side in (("input", "iifname"), ("output", "oifname")) if seals else ():
        yield (
            hook,
            [
                f"type filter hook {hook} priority filter; policy accept;",
                *(
                    f"meta nfproto ipv6 {side} != {_quoted(link)} udp dport {port} "
                    f"@th,96,24 {{ {', '.join(map(str, sorted(vnis)))} }} drop"
                    for (link, port), vnis in sorted(numbers.items())
                ),
            ],
        )
    if seals:
        prefixes = sorted({subnet for seal in seals for subnet in seal.subnets})
        within = {"ip6" if ipv6 else "ip": [one for one in prefixes if (":" in one) is ipv6] for ipv6 in (False, True)}
        start = 'oifname != "lo" oifname != @zones'
        yield (
            "leaving",
            [
                "type filter hook postrouting priority filter; policy accept;",
                *(f"{start} {family} daddr {{ {', '.join(some)} }} drop" for family, some in within.items() if some),
            ],
        )


def _present(rules: Mapping[str, list[str]], collections: Iterable[str]) -> list[str]:
    there = set(collections)
    return [rule for name, some in rules.items() if name in there for rule in some]


def _table(name: str, owner: str, blocks: Iterable[str]) -> str:
    return f'table {FAMILY} {name} {{\n\tcomment "{ALIAS}{owner}"\n\n' + "\n".join(blocks) + "}\n"


def _collection(name: str, type_: str, elements: Iterable[str]) -> str:
    lines = [f"type {type_.replace('; ', chr(10) + chr(9) * 2)}", "elements = {"]
    return _block(name, [*lines, *(f"\t{element}," for element in elements), "}"])


def _block(head: str, lines: Iterable[str]) -> str:
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _quoted(interface: str) -> str:
    """Return the name of a link as nft reads and prints it: it has no escapes, and a * at the end means "any"."""
    if '"' in interface or interface.endswith("*"):
        raise HostLacks(f"nft can't name the link {interface}; rename it")
    return f'"{interface}"'
