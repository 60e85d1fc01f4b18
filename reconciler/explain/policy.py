"""Policy routing of others: where a rule of theirs may have the host send something elsewhere than networks lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from ..coexistence import FAMILIES
from ..host import MAIN_RULE, Rule
from ..verdicts import ACCEPT, DROP, Packet, outcomes
from .situation import HOST_HERE, Hop, Situation, host_on, leads_to

SIX = 6
_LOCAL = "lo"
"""What a rule calls the link by which comes what the host itself sends (ip-rule(8))."""

MARKING = ("prerouting", "ingress", "netdev ingress", "bridge prerouting", "bridge forward", "bridge input")
"""Hooks beside those that are followed at which a packet may be marked before it is routed."""

_MARKS = re.compile(
    r'(?:(?:xt target "|# xt_)(?:MARK|CONNMARK|TPROXY)\b.*|meta mark set (?P<nft>0x[0-9a-f]+(?= |$))?.*'
    r"|-j (?:MARK --set-xmark (?P<old>0x[0-9a-f]+)/0xffffffff|MARK|CONNMARK|TPROXY)\b.*)$",
    re.MULTILINE,
)
"""What rules say that mark packets, those of nftables and those of iptables, and with what where that is known."""


def ruled(situation: Situation, packet: Packet, led: bool = False) -> Iterator[Hop]:
    """Yield a hop where a rule for such packets has a route for where this one goes, ahead of the host's main table.

    An address that is not known is one outside, to which default routes alone lead. `led`: it was sent to another one.
    """
    for rule in situation.rules:
        if rule.priority >= MAIN_RULE:
            return
        if rule.family == packet.family and rule.beyond is not None and _in_main(situation, rule.beyond, packet):
            return
        leads = rule.family == packet.family and any(_within(one, packet.target) for one in rule.routes)
        if leads and _matches(situation, rule, packet, led) is not False:
            what = f"may send it elsewhere: its routing rule {rule.text} goes ahead of the main table"
            yield Hop(HOST_HERE, f"{what}{_marked_by(situation, rule, packet, led)}", None)
            return


def behind(situation: Situation, packet: Packet) -> Hop | str | None:
    """Return the link by which a rule behind the main table's own sends a packet for which that has no route.

    A hop says that it is not known whether one does. None: no rule has a route for it.
    """
    for rule in situation.rules:
        ways = zip(rule.routes, rule.links, strict=False)  # one ahead has no links
        able = [(prefix, link) for prefix, link in ways if _within(prefix, packet.target)]
        if rule.family != packet.family or not able:
            continue
        matches = _matches(situation, rule, packet, led=False)
        if matches is False:
            continue
        _, link = max(able, key=lambda one: ip_network(one[0]).prefixlen)
        there = situation.facts.links.get(link)
        # the answer is looked up as well where the host checks from where it comes (rp_filter), and has no such link
        if matches and not rule.link:
            if not link:
                return None
            if there and there.up:
                return link
        return Hop(HOST_HERE, f"may send it by its routing rule {rule.text}, which is asked after the main table", None)
    return None


def undiscovered(situation: Situation, advert: Packet) -> Iterator[Hop]:
    """Yield a hop where a rule may have the host send elsewhere what its IPv6 neighbours on a link ask it for.

    Such answers are routed only once somebody marks them.
    """
    for rule in situation.rules:
        if rule.family == SIX and rule.mark and rule.routes and rule.priority < MAIN_RULE:
            by = f" by {advert.oif}" if advert.oif else ""
            if chain := _marked_by(situation, rule, advert, led=False):
                what = f"may not let itself be found by its IPv6 neighbours{by}: its routing rule {rule.text}"
                yield Hop(HOST_HERE, f"{what} goes ahead of the main table{chain}", None)


def _matches(situation: Situation, rule: Rule, packet: Packet, led: bool) -> bool | None:
    """Whether a rule is for a packet, None where it may be."""
    by = _LOCAL if packet.iif == "" else packet.iif
    comes = rule.link in ("", by) or (by is None and rule.link not in packet.known and rule.link != _LOCAL)
    sources = [packet.source]
    if by == _LOCAL and not packet.source:
        sources = _own(situation)
    sure = not (
        rule.vague
        or (rule.link and by is None)
        or (rule.source and (by == _LOCAL or not packet.source))
        or (rule.target and not packet.target)
        or (rule.protocol and not packet.protocol)
    )
    found = (
        not rule.special
        and comes
        and any(_within(rule.source, one) for one in sources)
        and _within(rule.target, packet.target)
        and not (rule.protocol and packet.protocol and rule.protocol != packet.protocol)
    )
    if rule.mark and found:
        found = bool(_marked_by(situation, rule, packet, led))
        sure = not found
    if not sure and (found or rule.inverted):
        return None
    return found != rule.inverted


def _marked_by(situation: Situation, rule: Rule, packet: Packet, led: bool) -> str:
    """Return which chain of others may give a packet the mark of a rule, in words; "" where none does.

    It passes them while it may still be for another address, which may be the host's: one that is published, or that by
    which a container's connections leave.
    """
    sent = packet.iif == ""
    seen = [packet._replace(target="", port=0 if led else packet.port)]
    seen += [one._replace(local=True) for one in seen if led or not sent]
    for one in situation.filters if rule.mark else ():
        text = _MARKS.sub(lambda found: _as_drop(found, rule), one.text)
        if text == one.text or packet.family not in FAMILIES.get(one.family, (4, SIX)):
            continue
        if one.hook in (("output", "nat") if sent else (*MARKING, "nat")):
            walked = one._replace(text=text, policy=ACCEPT)
            if one.family not in FAMILIES or any(DROP in outcomes(walked, each) for each in seen):
                return f", and the firewall chain {one.family} {one.table} {one.chain} may mark it so"
    return ""


def _as_drop(found: re.Match[str], rule: Rule) -> str:
    """Return what marks a packet as what drops it, so that its way there can be followed; another mark as it is."""
    value = found["nft"] or found["old"]
    if value and int(value, 16) & rule.mask != rule.mark:
        return found[0]
    return "-j DROP" if found[0].startswith("-j") else "drop"


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
