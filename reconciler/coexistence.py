"""Firewalls of others on the same host: which of them would drop packets that netapply lets pass, and what mends that.

An accept in one table is none in another: a packet passes only if every base chain lets it. Nothing of theirs is
changed; the one exception is what a manifest asks for with `coexist`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from .host import Filter
from .incoming import Incoming, Published, Tunnel, alike
from .resources import LINK_GROUP
from .verdicts import DROP, Packet, blocks, outcomes

FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
"""The families of packets that a table of each family sees."""

_QUOTED = re.compile(r'"([^"\s]+)"')
_OPTION = re.compile(r"(?<!\S)-[io] (\S+)")
_NEXT = re.compile(r"(?:jump |goto |@|-[jg] )([^\s,;}]+)")
_ZONE, _POLICY = "netapply", "netapply-in"
"""What firewalld is told to make for networks that others come in to."""

_HOSTS = "netapply-hosts"
"""The policy of firewalld's for what other hosts send, whatever the zone of the link by which that comes."""

_NOTHING = Incoming()
_SAID = 3
"""How many published ports are named in a line."""

_DROPS = re.compile(r"(counter( packets \d+ bytes \d+)? )?(drop|reject\b.*)|-j (DROP|REJECT\b.*)")


class Obstacle(NamedTuple):
    """A base chain that would drop packets of some links of ours, why it would, and the command that mends it.

    `port`: what it drops are questions to resolvers that listen there, else it is what is forwarded; with `entering`
    only connections that come in. `dropped` are words for what it drops that is neither.
    """

    filter: Filter
    links: tuple[str, ...]
    why: str
    mend: str
    port: int = 0
    entering: bool = False
    dropped: str = ""

    @property
    def what(self) -> str:
        """What is dropped, in words."""
        whose = ", ".join(self.links)
        if self.dropped:
            return f"the firewall chain {self.chain} drops {self.dropped}"
        if self.port:
            what = f"containers of {whose} ask the host's resolvers (port {self.port})"
            return f"the firewall chain {self.chain} drops what {what}"
        what = "connections from elsewhere to" if self.entering else "what is forwarded for"
        return f"the firewall chain {self.chain} drops {what} {whose}"

    @property
    def chain(self) -> str:
        """The chain in words: "ip filter FORWARD (priority 0, policy drop)"."""
        one = self.filter
        legacy = "legacy " if one.legacy else ""
        return f"{legacy}{one.family} {one.table} {one.chain} (priority {one.priority}, {self.why})"


def obstacles(
    filters: Sequence[Filter],
    links: Mapping[int, Collection[str]],
    asked: bool = False,
    ports: Mapping[int, Collection[str]] | None = None,
    entered: Mapping[int, Collection[str]] | None = None,
    incoming: Incoming = _NOTHING,
) -> list[Obstacle]:
    """Return the base chains that would drop what is forwarded for those links, by family, or asked at those ports.

    `asked`: the manifest says `coexist: docker`, so that what DOCKER-USER accepts is netapply's to keep. `entered` are
    those of the links to which connections come from elsewhere, `incoming` is what else comes from there.
    """
    found: list[Obstacle] = []
    for one in filters:
        if one.family not in FAMILIES or (one.hook == "forward" and asked and is_docker(one)):
            continue
        if one.hook == "forward":
            found += _forwarding_obstacles(one, links, entered or {}, incoming.published)
        elif one.hook == "input":
            found += _asking_obstacles(one, ports or {})
            found += (left for tunnel in incoming.tunnels for left in _tunnel_obstacles(one, tunnel))
    return found


def _forwarding_obstacles(
    one: Filter,
    links: Mapping[int, Collection[str]],
    entered: Mapping[int, Collection[str]],
    published: Sequence[Published],
) -> Iterator[Obstacle]:
    stopped, shut = set[str](), set[str]()
    ours = frozenset(link for names in links.values() for link in names)
    for family in FAMILIES[one.family]:
        for link in links.get(family, ()):
            out, into = Packet(family, iif=link, known=ours), Packet(family, oif=link, known=ours)
            if stops(one, link, out, into._replace(begins=False)):
                stopped.add(link)
            if link in entered.get(family, ()) and stops(one, link, into):
                shut.add(link)
    closed = _closed(one, published, ours)
    inward = {link for names in entered.values() for link in names} | set(closed)
    for found, only_entering in ((stopped, False), (shut - stopped, True)):
        if found:
            names = tuple(sorted(found))
            yield Obstacle(one, names, why(one), mend(one, names, inward), entering=only_entering)
    if left := tuple(sorted(set(closed) - stopped - shut)):
        which = port_names(closed[link] for link in left)
        what = f"connections from elsewhere to {which}, published for {', '.join(left)}"
        yield Obstacle(one, left, why(one), mend(one, left, inward), dropped=what)


def _closed(one: Filter, published: Sequence[Published], ours: frozenset[str]) -> dict[str, list[Published]]:
    """Return the published ports that a chain lets nobody outside come to, by the links of the networks."""
    found: dict[str, list[Published]] = {}
    for some in alike(one.text, (port for port in published if port.family in FAMILIES[one.family])):
        link = some[0].link
        if stops(one, link, *some[0].packets(ours | {link})):
            found.setdefault(link, []).extend(some)
    return found


def port_names(published: Iterable[Sequence[Published]]) -> str:
    """Return published ports in words: "port 8080/tcp", "ports 53/udp, 8080/tcp and 7 more"."""
    said = [
        f"{port}/{protocol}" for port, protocol in sorted({(p.port, p.protocol) for some in published for p in some})
    ]
    more = f" and {len(said) - _SAID} more" if len(said) > _SAID else ""
    return f"port{'s' * (len(said) > 1)} {', '.join(said[:_SAID])}{more}"


def _tunnel_obstacles(one: Filter, tunnel: Tunnel) -> Iterator[Obstacle]:
    """Yield the chain if it drops what other hosts send; where that can't be known, if it is strict with the port."""
    named = re.search(rf"\b{tunnel.port}\b", _reached(one)) is not None
    shut = [
        packet.source
        for packet in tunnel.packets(FAMILIES[one.family])
        if (ends := set(outcomes(one, packet))) == {DROP} or (DROP in ends and _default(one) and not named)
    ]
    if shut:
        whose = f" for {', '.join(tunnel.networks)}" if tunnel.networks else ""
        what = f"what other hosts send{whose} ({tunnel.kind}, UDP port {tunnel.port})"
        yield Obstacle(one, (), why(one), _mend_tunnel(one, tunnel, shut), dropped=what)


def _asking_obstacles(one: Filter, ports: Mapping[int, Collection[str]]) -> Iterator[Obstacle]:
    for port, links in ports.items():
        # what asks at port 53 is led to the resolver's own port
        asked = [Packet(family, protocol="udp", port=port, led=True, local=True) for family in FAMILIES[one.family]]
        if left := tuple(link for link in links if stops(one, link, *(packet._replace(iif=link) for packet in asked))):
            yield Obstacle(one, left, why(one), _mend_input(one, left, port), port)


def between(filters: Sequence[Filter], bridges: Collection[str], family: int, asked: bool = False) -> list[Obstacle]:
    """Return the base chains that would drop what those bridges pass on from one of their ports to another."""
    found: list[Obstacle] = []
    for one in filters:
        if one.hook == "forward" and family in FAMILIES.get(one.family, ()) and not (asked and is_docker(one)):
            passing = ((link, Packet(family, iif=link, oif=link)) for link in sorted(set(bridges)))
            if left := tuple(link for link, packet in passing if stops(one, link, packet)):
                found.append(Obstacle(one, left, why(one), mend(one, left)))
    return found


def stops(one: Filter, link: str, *packets: Packet) -> bool:
    """Whether a chain drops one of the packets; where that can't be known, whether it is strict with the link."""
    ends = [set(outcomes(one, packet)) for packet in packets]
    return any(end == {DROP} for end in ends) or (any(DROP in end for end in ends) and is_strict(one, [link]))


def is_strict(one: Filter, links: Collection[str]) -> bool:
    """Whether a chain drops what no rule of it speaks of, and speaks of none of the links."""
    return bool(_default(one)) and not any(_mentions(_reached(one), link) for link in links)


def remarks(
    filters: Sequence[Filter],
    links: Mapping[int, Collection[str]],
    asked: bool = False,
    ports: Mapping[int, Collection[str]] | None = None,
    entered: Mapping[int, Collection[str]] | None = None,
    incoming: Incoming = _NOTHING,
) -> Iterator[str]:
    """Yield a line for each base chain of others that would drop packets of the networks."""
    yield from (f"{one.what}; {one.mend}" for one in obstacles(filters, links, asked, ports, entered, incoming))


def why(one: Filter) -> str:
    """Return why a chain drops, in words."""
    return _default(one) or "by its rules"


def _default(one: Filter) -> str:
    """Return why packets that no rule speaks of do not pass a chain, empty where they do."""
    if one.policy == "drop":
        return "policy drop"
    rules = [line for line in blocks(one).get(one.chain, ()) if not line.startswith("type ")]
    return f"its last rule is {rules[-1]}" if rules and _DROPS.fullmatch(rules[-1]) else ""


@lru_cache(maxsize=64)
def _reached(one: Filter) -> str:
    """Return the text of the rules that packets of a base chain may come to, and of the sets that those look into."""
    there, queue, reached = blocks(one), [one.chain], dict[str, str]()
    while queue:
        name = queue.pop()
        if name not in reached and name in there:
            reached[name] = "\n".join(there[name])
            queue += _NEXT.findall(reached[name])
    return "\n".join(reached.values())


def _mentions(text: str, link: str) -> bool:
    """Whether rules speak of a link: whoever wrote that knows what is to happen with its packets."""
    names, patterns = _named(text)
    return link in names or any(fnmatchcase(link, one) for one in patterns) or f"ifgroup {LINK_GROUP}" in text


@lru_cache(maxsize=64)
def _named(text: str) -> tuple[Collection[str], Collection[str]]:
    """Return the links that rules speak of, and the patterns of links."""
    said = {*_QUOTED.findall(text), *(name.replace("+", "*") for name in _OPTION.findall(text))} - {"*"}
    patterns = {one for one in said if any(sign in one for sign in "*?[")}
    return said - patterns, patterns


def is_docker(one: Filter) -> bool:
    """Whether a chain is of the table in which Docker leaves DOCKER-USER to the host's admin."""
    return one.table == "filter" and one.family in ("ip", "ip6") and "DOCKER-USER" in one.text


def _is_firewalld(one: Filter) -> bool:
    return one.table == "firewalld" or "FORWARD_ZONES" in one.text  # the latter with its backend iptables


def _is_ufw(one: Filter) -> bool:
    return "ufw-" in one.text or "ufw6-" in one.text


def _is_iptables(one: Filter) -> bool:
    """Whether iptables can change it: of nftables only its own tables, in which all rules count."""
    own = one.family in ("ip", "ip6") and one.table == "filter" and one.priority == 0
    rules = (line for lines in blocks(one).values() for line in lines if not line.startswith("type filter "))
    return one.legacy or (own and all("counter" in rule for rule in rules))


def mend(one: Filter, links: Sequence[str], inward: Collection[str] = ()) -> str:
    """Return what has forwarded packets pass, in the words of whoever made the chain.

    `inward` are the links to which connections come from elsewhere.
    """
    if is_docker(one):
        return "say `coexist: docker` in the manifest, and netapply keeps accepts in DOCKER-USER"
    if _is_firewalld(one):
        return _firewalld([link for link in links if link not in inward], [link for link in links if link in inward])
    if _is_ufw(one):
        return " && ".join(f"ufw route allow in on {link} && ufw route allow out on {link}" for link in links)
    if _is_iptables(one) and one.chain == "FORWARD":
        run = f"{_program(one)} -I FORWARD"
        return " && ".join(f"{run} {way} {link} -j ACCEPT" for link in links for way in ("-i", "-o"))
    rule, names = f"insert rule {one.family} {one.table} {one.chain}", ", ".join(f'"{link}"' for link in links)
    return f"nft '{rule} iifname {{ {names} }} accept; {rule} oifname {{ {names} }} accept'"


def mend_entering(one: Filter, links: Sequence[str], port: int = 0, protocol: str = "tcp") -> str:
    """Return what has pass what such links send to the host itself, or to a port of it; "" for no link."""
    if not links:
        return ""
    if _is_firewalld(one):
        return _firewalld(links)
    if _is_ufw(one):
        return " && ".join(f"ufw allow in on {link}{f' to any port {port}' if port else ''}" for link in links)
    if _is_iptables(one) and one.chain == "INPUT":
        only = f" -p {protocol} --dport {port}" if port else ""
        return " && ".join(f"{_program(one)} -I INPUT -i {link}{only} -j ACCEPT" for link in links)
    names, only = ", ".join(f'"{link}"' for link in links), f" {protocol} dport {port}" if port else ""
    return f"nft 'insert rule {one.family} {one.table} {one.chain} iifname {{ {names} }}{only} accept'"


def mend_sending(one: Filter, links: Sequence[str]) -> str:
    """Return what has pass what the host itself sends by such links; "" for none, and where nobody knows how."""
    if not links or _is_firewalld(one):
        return ""
    if _is_ufw(one):
        return " && ".join(f"ufw allow out on {link}" for link in links)
    if _is_iptables(one) and one.chain == "OUTPUT":
        return " && ".join(f"{_program(one)} -I OUTPUT -o {link} -j ACCEPT" for link in links)
    names = ", ".join(f'"{link}"' for link in links)
    return f"nft 'insert rule {one.family} {one.table} {one.chain} oifname {{ {names} }} accept'"


def mend_discovery(one: Filter) -> str:
    """Return what has neighbours find each other by IPv6; "" where nobody knows how."""
    if _is_firewalld(one) or _is_ufw(one):
        return ""
    if _is_iptables(one) and one.chain in ("INPUT", "OUTPUT"):
        run = f"{_program(one)} -I {one.chain} -p ipv6-icmp --icmpv6-type"
        return f"{run} 135 -j ACCEPT && {run} 136 -j ACCEPT"
    match = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
    return f"nft 'insert rule {one.family} {one.table} {one.chain} {match} accept'"


def _mend_input(one: Filter, links: Sequence[str], port: int) -> str:
    """Return what has questions to the resolvers pass, which listen at that port."""
    if _is_firewalld(one):
        return _firewalld(links)
    if _is_ufw(one):
        return " && ".join(f"ufw allow in on {link} to any port {port}" for link in links)
    if _is_iptables(one) and one.chain == "INPUT":
        run = f"{_program(one)} -I INPUT"
        both = [f"{run} -i {link} -p {kind} --dport {port} -j ACCEPT" for link in links for kind in ("udp", "tcp")]
        return " && ".join(both)
    names = ", ".join(f'"{link}"' for link in links)
    match = f"iifname {{ {names} }} meta l4proto {{ tcp, udp }} th dport {port}"
    return f"nft 'insert rule {one.family} {one.table} {one.chain} {match} accept'"


def _mend_tunnel(one: Filter, tunnel: Tunnel, sources: Sequence[str]) -> str:
    """Return what has pass what those hosts send; of who may move, what anybody sends to the port."""
    port, bound = tunnel.port, sources if tunnel.bound else ()
    if _is_firewalld(one):
        return _firewalld_hosts(port, bound)
    if _is_ufw(one):
        return " && ".join(f"ufw allow from {source} to any port {port} proto udp" for source in bound) or (
            f"ufw allow {port}/udp"
        )
    if _is_iptables(one) and one.chain == "INPUT":
        only = [f" -s {source}" for source in bound] or [""]
        return " && ".join(f"{_program(one)} -I INPUT{source} -p udp --dport {port} -j ACCEPT" for source in only)
    rule = f"insert rule {one.family} {one.table} {one.chain}"
    by_family = [("ip", [s for s in bound if ":" not in s]), ("ip6", [s for s in bound if ":" in s])]
    matches = [f" {name} saddr {{ {', '.join(some)} }}" for name, some in by_family if some] or [""]
    return "nft '" + "; ".join(f"{rule}{match} udp dport {port} accept" for match in matches) + "'"


def _firewalld_hosts(port: int, sources: Sequence[str]) -> str:
    run = "firewall-cmd --permanent"
    rule = "rule family={} source address={} port port={} protocol=udp accept"
    rules = [f"--add-rich-rule='{rule.format('ipv6' if ':' in one else 'ipv4', one, port)}'" for one in sources]
    return (
        f"{run} --new-policy={_HOSTS}; {run} --policy={_HOSTS} --add-ingress-zone=ANY"
        f" && {run} --policy={_HOSTS} --add-egress-zone=HOST"
        f" && {run} --policy={_HOSTS} {' '.join(rules) or f'--add-port={port}/udp'} && firewall-cmd --reload"
    )


def _firewalld(links: Sequence[str], inward: Sequence[str] = ()) -> str:
    """Return what has firewalld let pass what such links send, and what is sent to those of `inward`.

    A zone is for what comes in by its links; for what leaves by them there must be a policy (firewalld.policies(5)),
    and a zone of its own, since a policy for the zone `trusted` would open whatever else is in that.
    """
    run, said = "firewall-cmd --permanent", []
    if links:
        said.append(f"{run} --zone=trusted {_each('--change-interface', links)}")
    if inward:
        said.append(
            f"{run} --new-zone={_ZONE}; {run} --new-policy={_POLICY}; {run} --zone={_ZONE} --set-target=ACCEPT"
            f" && {run} --zone={_ZONE} {_each('--change-interface', inward)}"
            f" && {run} --policy={_POLICY} --set-target=ACCEPT"
            f" && {run} --policy={_POLICY} --add-ingress-zone=ANY"
            f" && {run} --policy={_POLICY} --add-egress-zone={_ZONE}"
        )
    return " && ".join([*said, "firewall-cmd --reload"])


def _each(option: str, values: Sequence[str]) -> str:
    return " ".join(f"{option}={value}" for value in values)


def _program(one: Filter) -> str:
    return ("iptables" if one.family == "ip" else "ip6tables") + ("-legacy" if one.legacy else "-nft")
