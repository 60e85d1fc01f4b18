"""What firewalls of others do on the way, in the words that doctor has for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .. import coexistence
from ..drivers import find
from ..firewall import owner_of
from ..firewall.ports import published
from ..host import Filter
from ..lowering.bridging import gateway_mode
from ..networks import Network
from ..verdicts import ACCEPT, DROP, Packet, outcomes
from .situation import HOST_HERE, Hop, Situation, family_of, way_out

APPLY = "apply the manifest"
LOOPBACK = "lo"
SIX = 6

_DSTNAT = -100
"""The priority at which another address or port is led to: NF_IP_PRI_NAT_DST of linux/netfilter_ipv4.h."""

_LEADS = re.compile(
    r'(?:xt target "(?:DNAT|REDIRECT)"|dnat (?:ip6? )?(?:prefix )?to .*|redirect(?: to .*)?|-j (DNAT|REDIRECT)\b.*)$',
    re.MULTILINE,
)
"""What rules say that lead elsewhere."""


def passing(
    situation: Situation,
    family: int,
    came: Network | str | None,
    goes: Network | str | None,
    *,
    begins: bool = True,
    led: int = 0,
) -> Iterator[Hop]:
    """Yield a hop for each chain that drops what is forwarded, or may, from one to the other.

    Each of them is a network, another link by name, or None for any other link. `begins` is as in `Packet`, `led` the
    port that a published one leads to. Nor does it get there where a rule of others routes it elsewhere.
    """
    yield from routed(situation, family, came, begins=begins, led=bool(led))
    if situation.filters:
        iif, oif = link_of(came), link_of(goes)
        packet = _packet(situation, family, begins)._replace(iif=iif, oif=oif, led=bool(led))
        packet = packet._replace(port=led) if led else packet
        yield from _dropped(situation, "forward", packet, [one for one in (came, goes) if isinstance(one, Network)])
        for one in (came, goes):
            yield from _undiscovered(situation, family, one)


def routed(
    situation: Situation,
    family: int,
    came: Network | str | None,
    goes: Network | str | None = None,
    *,
    begins: bool = True,
    local: bool = False,
    led: bool = False,
) -> Iterator[Hop]:
    """Yield a hop where a rule of others may have the host send a packet elsewhere; `local`: the host's own, by what it
    `goes`."""
    if situation.rules:
        from .policy import ruled

        packet = _packet(situation, family, begins)
        packet = packet._replace(iif="" if local else link_of(came), oif=link_of(goes))
        yield from ruled(situation, packet, led or (local and situation.led))


def leaving(
    situation: Situation, aim: str, came: Network | str | None, *, begins: bool = True, local: bool = False
) -> str | Hop:
    """Return the link of others by which the host sends a packet to `aim`, or the hop at which it ends, or may."""
    if (link := way_out(situation, aim)) is not None:
        return link
    family = family_of(aim)
    if hop := next(routed(situation, family, came, begins=begins, local=local), None):
        return hop
    found: str | Hop | None = None
    if situation.rules:
        from .policy import behind

        packet = _packet(situation, family, begins)
        found = behind(situation, packet._replace(iif="" if local else link_of(came)))
    return found or Hop(HOST_HERE, f"has no route to {aim}", False, "give the host a route")


def bridged(situation: Situation, family: int, network: Network, *, begins: bool = True) -> Iterator[Hop]:
    """Yield the same for what stays within a network, where the host has bridged packets pass firewalls too."""
    if family in situation.bridged and (link := link_of(network)):
        packet = _packet(situation, family, begins)._replace(iif=link, oif=link)
        yield from _dropped(situation, "forward", packet, [network])


def entering(
    situation: Situation, family: int, came: Network | str | None, *, begins: bool = True, led: int = 0
) -> Iterator[Hop]:
    """Yield the same for what the host itself is sent; `came` is None for what comes by any other link."""
    if situation.filters:
        packet = _packet(situation, family, begins)._replace(iif=link_of(came), oif="", local=True, led=bool(led))
        packet = packet._replace(port=led) if led else packet
        yield from _dropped(situation, "input", packet, [came] if came else [])
        yield from _undiscovered(situation, family, came)


def sending(
    situation: Situation, family: int, goes: Network | str | None, *, begins: bool = True, led: int = 0
) -> Iterator[Hop]:
    """Yield the same for what the host itself sends; `goes` is None for what leaves by any other link.

    What is led to another address still has the link by which it would have gone, and chains of an early priority see
    it as it was.
    """
    if goes != LOOPBACK or led:
        yield from routed(situation, family, None, goes, begins=begins, local=True, led=bool(led))
    if situation.filters:
        packet = _packet(situation, family, begins)
        packet = packet._replace(iif="", oif=link_of(goes), local=goes == LOOPBACK)
        before = None
        if begins and (led or situation.led):
            before = packet._replace(target="", port=0)
            packet = packet._replace(led=True, local=False, port=led or packet.port)
        yield from _dropped(situation, "output", packet, [goes] if goes else [], before)
        yield from _undiscovered(situation, family, goes)


def _undiscovered(situation: Situation, family: int, where: Network | str | None) -> Iterator[Hop]:
    """Yield a hop for each chain that keeps the host and its neighbours on a link from finding each other by IPv6.

    It is certain where both questions and answers are dropped: who has got one of them may send for a while.
    """
    if family != SIX or where == LOOPBACK:
        return
    link = link_of(where)
    by = f" by {link}" if link else ""
    seen = _packet(situation, SIX, True)._replace(protocol="icmpv6", port=0, source="", target="", local=True)
    if situation.rules:
        from .policy import undiscovered

        yield from undiscovered(situation, seen._replace(iif="", oif=link, discovery="136"))
    for one in situation.filters:
        if one.hook not in ("input", "output") or SIX not in coexistence.FAMILIES.get(one.family, ()):
            continue
        passes = seen._replace(iif=link, oif="") if one.hook == "input" else seen._replace(iif="", oif=link)
        ends = [set(outcomes(one, passes._replace(discovery=kind))) for kind in ("135", "136")]
        if any(DROP in end for end in ends):
            chain = coexistence.Obstacle(one, (), coexistence.why(one), "").chain
            what = f"the firewall chain {chain} drops what the host needs to find its IPv6 neighbours{by}, and they it"
            certain = all(end == {DROP} for end in ends)
            what = what if certain else f"{what}, or some of it"
            yield Hop(HOST_HERE, what, False if certain else None, coexistence.mend_discovery(one))


def led_away(situation: Situation, aim: str, came: Network | None) -> str:
    """Return who may lead elsewhere what is for an address of the host, at the port that is asked for; "" for none."""
    family, port = family_of(aim), situation.port
    packet = _packet(situation, family, True)._replace(iif=link_of(came), target=aim, local=True)
    for one in situation.filters:
        if one.hook != "nat" or family not in coexistence.FAMILIES.get(one.family, ()):
            continue
        owner = owner_of(one.text)
        if owner is None:
            text = _LEADS.sub(lambda found: "-j DROP" if found[1] else "drop", one.text)
            if DROP in outcomes(one._replace(text=text, policy=ACCEPT), packet):
                return f"the firewall table {'legacy ' if one.legacy else ''}{one.family} {one.table}"
        elif owner != situation.topology.project:
            asked = (situation.protocol, port, family)
            if any((its.protocol, its.port, its.family) == asked for its in published(one.text)):
                return f"project {owner}"
    return ""


def _packet(situation: Situation, family: int, begins: bool) -> Packet:
    known = frozenset(link for one in situation.networks if (link := link_of(one)))
    packet = Packet(family, begins=begins, protocol=situation.protocol if situation.port else "", known=known)
    if begins:
        return packet._replace(port=situation.port, source=situation.origin, target=situation.aim)
    return packet._replace(source=situation.aim, target=situation.origin)


def link_of(network: Network | str | None) -> str | None:
    """Return the host's link of a network, by which all that it forwards for it passes; a link itself is one."""
    if network is None or isinstance(network, str):
        return network
    driver = find(network.driver)
    return driver.TRAITS.host_link(network.project, network.name, network.options) if driver else None


def _dropped(
    situation: Situation, hook: str, packet: Packet, mine: Sequence[Network | str], before: Packet | None = None
) -> Iterator[Hop]:
    """Yield a hop for each chain of a hook that drops a packet, or may; `before` is how early ones see it."""
    links = sorted({link for one in mine if (link := link_of(one))})
    for one in situation.filters:
        ends = set[str]()
        if one.hook == hook and packet.family in coexistence.FAMILIES.get(one.family, ()):
            ends = set(outcomes(one, before if before and one.priority <= _DSTNAT else packet))
        if DROP in ends:
            mend = _mend(situation, one, packet, mine, links)
            if ends == {DROP}:
                yield Hop(HOST_HERE, _what(one, links), False, mend)
            else:
                yield Hop(HOST_HERE, f"{_what(one, links)}, or one of its rules lets this pass", None, mend)


def _what(one: Filter, links: Sequence[str]) -> str:
    chain = coexistence.Obstacle(one, tuple(links), coexistence.why(one), "")
    if one.hook == "input":
        return f"the firewall chain {chain.chain} drops what the host is sent{f' from {links[0]}' if links else ''}"
    if one.hook == "output":
        return f"the firewall chain {chain.chain} drops what the host sends{f' by {links[0]}' if links else ''}"
    return chain.what


def _mend(
    situation: Situation, one: Filter, packet: Packet, mine: Sequence[Network | str], links: Sequence[str]
) -> str:
    if situation.topology.coexist == "docker" and coexistence.is_docker(one) and one.hook == "forward":
        return APPLY
    if one.hook == "input":
        return coexistence.mend_entering(one, links, packet.port if packet.begins else 0, situation.protocol)
    if one.hook == "output":
        return coexistence.mend_sending(one, links)
    inward = [
        link_of(other) or ""
        for other in mine
        if isinstance(other, Network)
        and (gateway_mode(other.options, packet.family) == "routed" or other.options.get("trusted_interfaces"))
    ]
    return coexistence.mend(one, links, inward)
