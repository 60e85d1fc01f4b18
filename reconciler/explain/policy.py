"""Policy routing of others: where a rule of theirs may have the host send something elsewhere than networks lead."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from ..host import Rule
from ..verdicts import Packet
from .situation import HOST_HERE, Hop, Situation, host_on, leads_to

SIX = 6
_LOCAL = "lo"
"""What a rule calls the link by which comes what the host itself sends (ip-rule(8))."""


def ruled(situation: Situation, packet: Packet) -> Iterator[Hop]:
    """Yield a hop where a rule for such packets has a route for where this one goes, ahead of the host's main table.

    An address that is not known is one outside, to which default routes alone lead.
    """
    for rule in situation.rules:
        if rule.family == packet.family and rule.beyond is not None and _in_main(situation, rule.beyond, packet):
            return
        leads = rule.family == packet.family and any(_within(one, packet.target) for one in rule.routes)
        if leads and _matches(situation, rule, packet):
            what = f"may send it elsewhere: its routing rule {rule.text} goes ahead of the main table"
            yield Hop(HOST_HERE, what, None)
            return


def _matches(situation: Situation, rule: Rule, packet: Packet) -> bool:
    """Whether a rule may be for a packet, which nobody has marked."""
    by = _LOCAL if packet.iif == "" else packet.iif
    comes = rule.link in ("", by) or (by is None and rule.link not in packet.known and rule.link != _LOCAL)
    sources = [packet.source]
    if by == _LOCAL and not packet.source:
        sources = _own(situation)
    found = (
        not rule.special
        and comes
        and any(_within(rule.source, one) for one in sources)
        and _within(rule.target, packet.target)
        and not (rule.protocol and packet.protocol and rule.protocol != packet.protocol)
    )
    return found != rule.inverted


def _in_main(situation: Situation, beyond: int, packet: Packet) -> bool:
    """Whether the host's main table has a route of a longer prefix than `beyond` for where a packet goes."""
    if packet.target and any(leads_to(one, packet.target) for one in situation.networks):
        return True
    links = [one for one in situation.facts.links.values() if one.up]
    found = [prefix for one in links for prefix in (*one.routes, *map(_network, one.addresses))]
    return any(
        ip_network(one).prefixlen > beyond and _within(one, packet.target)
        for one in found
        if (":" in one) == (packet.family == SIX)
    )


def _network(address: str) -> str:
    return str(ip_interface(address).network)


def _own(situation: Situation) -> list[str]:
    """Return the host's addresses, one of which it sends from."""
    links = (str(ip_interface(one).ip) for link in situation.facts.links.values() for one in link.addresses)
    return [*links, *(one for network in situation.networks for one in host_on(network))]


def _within(prefix: str, address: str) -> bool:
    if not prefix or not address:
        return not prefix or ip_network(prefix).prefixlen == 0
    return ip_address(address) in ip_network(prefix)
