"""Published ports: what is sent to a port of the host goes to a container, by a look-up in a map.

A packet passes the same rules whether one port is published or thousands. docs/ports.md follows packets through them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..naming import digest
from ..networks import Publication, Target
from .text import Part, quoted
from .turns import turn
from .zones import Zone

_IP = {4: "ip", 6: "ip6"}
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}

STALE = "stale"
"""A set of protocols and ports whose connections are still to be forgotten (`reconciler.host.conntrack`)."""

MAX_COMMENT = 127
"""NFTNL_UDATA_COMMENT_MAXLEN of libnftnl/udata.h less the terminating zero."""

_ELEMENT = re.compile(
    r'(?P<protocol>tcp|udp|sctp) \. (?:(?P<ip>[0-9a-f.:]+) \. )?(?P<port>\d+) comment "(?P<owner>[^"]*)" : '
    r"(?:(?P<address>[0-9a-f.:]+) \. (?P<target>\d+)|goto (?P<chain>\S+?))\s*(?:,|\}|$)"
)
_SPREAD = re.compile(r"(?P<from>\d+)(?:-(?P<to>\d+))? : (?P<address>[0-9a-f.:]+) \. (?P<port>\d+)")
_END = re.compile(r"(tcp|udp|sctp) \. ([0-9a-f.:]+) \. (\d+)")
_LEAVING = re.compile(r"(tcp|udp|sctp) \. (\d+) \. ([0-9a-f.:]+) \. (\d+)")


def publishing(
    publications: Sequence[Publication], zones: Sequence[Zone], near: Iterable[tuple[str, str]] = ()
) -> Part:
    """Return what leads from the host's ports to containers, and lets it pass and come back.

    `zones` are the networks that the targets may be in. `near` are addresses of targets, each with a prefix that its
    container is in by another network: it answers that directly. Several targets of one publication have a chain of
    their own, which a map finds; numgen gives each its turn, or a hash of the client's address chooses.
    """
    if not publications:
        return Part((), {})
    collections = [one for one in _collections(publications, zones, near) if one[2]]
    present = {name for name, _, _ in collections}
    spread = {_chain_of(one): [_spread(one)] for one in publications if len(one.targets) > 1}
    return Part(collections, {**spread, **dict(_chains(present))})


def _collections(
    publications: Sequence[Publication], zones: Sequence[Zone], near: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str, list[str]]]:
    by_family = {family: [one for one in publications if one.family == family] for family in (4, 6)}
    for family, some in by_family.items():
        address = _ADDRESS[family]
        value = f"{address} . inet_service"
        single = [one for one in some if len(one.targets) == 1]
        several = [one for one in some if len(one.targets) > 1]
        for kind, members, what in (("port", single, value), ("spread", several, "verdict")):
            bound = [_element(one) for one in members if one.host_ip is not None]
            yield f"map {kind}s_at_ipv{family}", f"inet_proto . {address} . inet_service : {what}", bound
            free = [_element(one) for one in members if one.host_ip is None]
            yield f"map {kind}s_ipv{family}", f"inet_proto . inet_service : {what}", free
        type_ = f"inet_proto . {address} . inet_service"
        yield f"set targets_ipv{family}", type_, _targets(some)
        yield f"set hidden_ipv{family}", type_, _targets(some, hidden=True)
        reached = {one.address for each in some for one in (*each.targets, *each.leaving)}
        yield f"set reached_ipv{family}", address, sorted(reached)
        leaving = {
            f"{each.protocol} . {each.port} . {one.address} . {one.port}" for each in some for one in each.leaving
        }
        yield f"set leaving_ipv{family}", f"inet_proto . inet_service . {address} . inet_service", sorted(leaving)
        yield f"set lasting_ipv{family}", type_, sorted({_LEAVING.sub(r"\1 . \3 . \4", one) for one in leaving})
    inside = [(quoted(zone.interface), zone) for zone in _inside(publications, zones)]
    yield "set apart", "ifname . ifname", [f"{link} . {link}" for link, zone in inside if not zone.icc]
    yield "set barred", "nf_proto . ifname", list(dict.fromkeys(_barred(zones)))
    further = sorted(near)
    for family in (4, 6):
        sources = [f"{link} . {prefix}" for link, zone in inside for prefix in zone.prefixes(family)]
        yield f"set hairpin_ipv{family}", f"ifname . {_ADDRESS[family]}; flags interval", sources
        pairs = [f"{target} . {prefix}" for target, prefix in further if (":" in prefix) == (family == 6)]
        yield f"set near_ipv{family}", f"{_ADDRESS[family]} . {_ADDRESS[family]}; flags interval", pairs


def _barred(zones: Sequence[Zone]) -> Iterator[str]:
    """Yield the families and links through which nothing that is published is reached: of internal networks, say."""
    for family in (4, 6):
        for zone in sorted(zones, key=lambda zone: zone.interface):
            links = () if zone.forwards(family) else zone.links
            yield from (f"ipv{family} . {quoted(link)}" for link in links)
            if zone.seal:
                yield f"ipv{family} . {quoted(zone.seal.link)}"


def _inside(publications: Sequence[Publication], zones: Sequence[Zone]) -> list[Zone]:
    """Return the zones that have targets in them, sorted by their links."""
    from ipaddress import ip_address, ip_network  # 5 ms, and needed by nobody who publishes nothing

    targets = {ip_address(address) for address in {one.address for each in publications for one in each.targets}}
    found = [
        zone for zone in zones if any(one in prefix for prefix in map(ip_network, zone.subnets) for one in targets)
    ]
    return sorted(found, key=lambda zone: zone.interface)


def _targets(publications: Iterable[Publication], *, hidden: bool = False) -> list[str]:
    """Return the ends of publications as elements; `hidden`: those alone that see the host's address."""
    some = ((each.protocol, one) for each in publications for one in each.targets if one.masquerade or not hidden)
    return sorted({f"{protocol} . {one.address} . {one.port}" for protocol, one in some})


def _element(one: Publication) -> str:
    where = f"{one.protocol} . {one.host_ip} . {one.port}" if one.host_ip else f"{one.protocol} . {one.port}"
    target = one.targets[0]
    to = f"goto {_chain_of(one)}" if len(one.targets) > 1 else f"{target.address} . {target.port}"
    return f'{where} comment "{one.owner[:MAX_COMMENT]}" : {to}'


def _chain_of(one: Publication) -> str:
    """Return the name of the chain of a publication with several targets; an address in it is a digest."""
    end = f"_{digest(one.host_ip).hex()[:8]}" if one.host_ip else ""
    return f"to_{one.protocol}_{one.port}_ipv{one.family}{end}"


def _spread(one: Publication) -> str:
    """Return the rule that gives each target its turn, as often as its weight says, or its share of the clients."""
    total = sum(target.weight for target in one.targets)
    start, elements = 0, []
    for target in one.targets:
        end = start + target.weight - 1
        span = f"{start}-{end}" if target.weight > 1 else str(start)
        elements.append(f"{span} : {target.address} . {target.port}")
        start = end + 1
    to = f"{turn(total, one.family, one.affinity)} map {{ {', '.join(elements)} }}"
    return f"meta l4proto {one.protocol} dnat {_IP[one.family]} addr . port to {to}"


def _chains(present: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the chains: name and rules.

    Only what is sent to an address of the host's is translated. Not what is sent to ::1 or by link-local addresses:
    the kernel does not forward what comes from those. What claims to be from or for 127.0.0.0/8 and does not come from
    the host itself is dropped ahead of everything, since links of containers take such addresses (route_localnet).
    """
    families = [family for family in (4, 6) if f"set targets_ipv{family}" in present]
    if 6 in families:
        yield "published", ["ip6 daddr { ::1, fe80::/10 } return", *_lookups(present)]
    else:
        yield "published", list(_lookups(present))
    yield (
        "into_published",
        [
            *(["iifname . oifname @apart return"] if "set apart" in present else []),
            *(
                [f"meta nfproto . {side} @barred return" for side in ("iifname", "oifname")]
                if "set barred" in present
                else []
            ),
            "accept",
        ],
    )
    yield "forward", [rule for family in families for rule in _passing(family, f"set lasting_ipv{family}" in present)]
    if 4 in families:
        yield "arriving", ['iifname != "lo" ip saddr 127.0.0.0/8 drop', 'iifname != "lo" ip daddr 127.0.0.0/8 drop']
    yield "prerouting", ["fib daddr type local jump published"]
    yield "nat_output", ["fib daddr type local jump published"]
    if translated := list(_translated(families, present)):
        yield "postrouting", translated


def _lookups(present: Collection[str]) -> Iterator[str]:
    """Yield the look-ups of a port: on one address before on all."""
    for family in (4, 6):
        ip = _IP[family]
        for name, where in (("_at", f"meta l4proto . {ip} daddr . th dport"), ("", "meta l4proto . th dport")):
            if f"map ports{name}_ipv{family}" in present:
                yield f"dnat {ip} addr . port to {where} map @ports{name}_ipv{family}"
            if f"map spreads{name}_ipv{family}" in present:
                yield f"meta nfproto ipv{family} {where} vmap @spreads{name}_ipv{family}"


def _passing(family: int, lasting: bool) -> Iterator[str]:
    """Yield what lets connections to targets pass both ways, and ICMP errors about them.

    Whose publication is taken back is no target any more, and so its established connections end. Those to somebody
    who has left one and runs on go on, if some are `lasting`. By which port they came is not asked here, since nft
    1.0.6 can't say "ct original proto-dst" with the rest; those of other ports are forgotten.
    """
    ip = _IP[family]
    to, back = f"{ip} daddr . th dport", f"{ip} saddr . th sport"
    yield f"ct status dnat ct direction original meta l4proto . {to} @targets_ipv{family} jump into_published"
    yield f"ct status dnat ct direction reply meta l4proto . {back} @targets_ipv{family} jump into_published"
    yield f"ct status dnat ct state related ct reply {ip} saddr @reached_ipv{family} jump into_published"
    for direction, end in (("original", to), ("reply", back)) if lasting else ():
        led = f"ct status dnat ct state established ct direction {direction} meta l4proto . {end}"
        yield f"{led} @lasting_ipv{family} jump into_published"


def _translated(families: Sequence[int], present: Collection[str]) -> Iterator[str]:
    """Yield what gives connections the host's address, so that answers come back by it.

    Those from within a network of the container's, this one or another, which would else be answered directly; those
    from 127.0.0.1; those to containers that answer by another router. Of bridged packets it is not known here where
    they came in.
    """
    for family in families:
        if f"set hairpin_ipv{family}" in present:
            yield f"ct status dnat oifname . {_IP[family]} saddr @hairpin_ipv{family} masquerade"
        if f"set near_ipv{family}" in present:
            yield f"ct status dnat {_IP[family]} daddr . {_IP[family]} saddr @near_ipv{family} masquerade"
    if "set hairpin_ipv4" in present:
        yield "ct status dnat ip saddr 127.0.0.0/8 oifname @zones masquerade"
    for family in families:
        if f"set hidden_ipv{family}" in present:
            to = f"meta l4proto . {_IP[family]} daddr . th dport"
            yield f"ct status dnat ct direction original {to} @hidden_ipv{family} masquerade"


def published(text: str) -> tuple[Publication, ...]:
    """Return what a table publishes, by its text as nft lists it."""
    found: list[Publication] = []
    for family in (4, 6):
        hidden = {(one[1], one[2], int(one[3])) for one in _END.finditer(_block(text, f"set hidden_ipv{family}"))}
        leaving = _leaving(text, family)
        for kind in ("ports", "ports_at", "spreads", "spreads_at"):
            for match in _ELEMENT.finditer(_block(text, f"map {kind}_ipv{family}")):
                targets, affinity = _targets_of(match, text)
                protocol, port = match["protocol"], int(match["port"])
                if hidden:
                    targets = tuple(
                        one._replace(masquerade=(protocol, one.address, one.port) in hidden) for one in targets
                    )
                if targets:
                    stay = leaving.get((protocol, port), ()) if match["ip"] is None else ()
                    found.append(Publication(match["owner"], protocol, match["ip"], port, targets, affinity, stay))
    return tuple(sorted(found, key=order))


def _leaving(text: str, family: int) -> dict[tuple[str, int], tuple[Target, ...]]:
    """Return who keeps connections though the port leads there no more, by protocol and port."""
    found: dict[tuple[str, int], tuple[Target, ...]] = {}
    for protocol, port, address, target in _LEAVING.findall(_block(text, f"set leaving_ipv{family}")):
        place = protocol, int(port)
        found[place] = (*found.get(place, ()), Target(address, int(target)))
    return {place: tuple(sorted(some)) for place, some in found.items()}


def order(one: Publication) -> tuple[str, int, int, str]:
    """Return what publications are sorted by."""
    return one.protocol, one.port, one.family, one.host_ip or ""


def _targets_of(match: re.Match[str], text: str) -> tuple[tuple[Target, ...], bool]:
    """Return where an element leads, and whether a client's address chooses between several."""
    if match["chain"] is None:
        return (Target(match["address"], int(match["target"])),), False
    rule = _block(text, f"chain {match['chain']}")
    targets = (
        Target(one["address"], int(one["port"]), int(one["to"] or one["from"]) - int(one["from"]) + 1)
        for one in _SPREAD.finditer(rule)
    )
    return tuple(targets), "jhash" in rule


def _block(text: str, head: str) -> str:
    return text.partition(f"\t{head} {{")[2].partition("\n\t}")[0]


def with_stale(text: str, name: str, claims: Iterable[tuple[str, int]]) -> str:
    """Return a table's text with the set of what is to be forgotten in it: protocols and ports."""
    elements = ", ".join(f"{protocol} . {port}" for protocol, port in claims)
    block = f"\tset {STALE} {{\n\t\ttype inet_proto . inet_service\n\t\telements = {{ {elements} }}\n\t}}\n"
    end = text.rindex("}")
    return f"{text[:end]}{block}{text[end:]}"


def stale_in(text: str) -> set[tuple[str, int]]:
    """Return what is still to be forgotten by a table's text, as `with_stale` takes it."""
    return {(one[1], int(one[2])) for one in re.finditer(r"(tcp|udp|sctp) \. (\d+)", _block(text, f"set {STALE}"))}


def summary(publications: Iterable[Publication]) -> Mapping[tuple[str, str | None, int, int], Publication]:
    """Return publications by what only one can have: protocol, address, port and family."""
    return {(one.protocol, one.host_ip, one.port, one.family): one for one in publications}
