"""What firewalls of others do on the way, in the words that doctor has for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import coexistence
from ..drivers import find
from ..host import Filter
from ..lowering.bridging import gateway_mode
from ..networks import Network
from ..verdicts import DROP, Packet, outcomes
from .situation import HOST_HERE, Hop, Situation

APPLY = "apply the manifest"


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
    port that a published one leads to.
    """
    if situation.filters:
        iif, oif = (one if isinstance(one, str) else _link(one) for one in (came, goes))
        packet = _packet(situation, family, begins)._replace(iif=iif, oif=oif, led=bool(led))
        packet = packet._replace(port=led) if led else packet
        yield from _dropped(situation, "forward", packet, [one for one in (came, goes) if isinstance(one, Network)])


def bridged(situation: Situation, family: int, network: Network, *, begins: bool = True) -> Iterator[Hop]:
    """Yield the same for what stays within a network, where the host has bridged packets pass firewalls too."""
    if family in situation.bridged and _link(network):
        yield from passing(situation, family, network, network, begins=begins)


def entering(situation: Situation, family: int, came: Network | None, *, begins: bool = True) -> Iterator[Hop]:
    """Yield the same for what the host itself is sent; `came` is None for what comes from outside."""
    if situation.filters:
        packet = _packet(situation, family, begins)._replace(iif=_link(came), local=True)
        yield from _dropped(situation, "input", packet, [came] if came else [])


def _packet(situation: Situation, family: int, begins: bool) -> Packet:
    known = frozenset(link for one in situation.networks if (link := _link(one)))
    packet = Packet(family, begins=begins, protocol="tcp" if situation.port else "", known=known)
    if begins:
        return packet._replace(port=situation.port, source=situation.origin, target=situation.aim)
    return packet._replace(source=situation.aim, target=situation.origin)


def _link(network: Network | None) -> str | None:
    """Return the host's link of a network, by which all that it forwards for it passes."""
    driver = find(network.driver) if network else None
    return driver.TRAITS.host_link(network.project, network.name, network.options) if network and driver else None


def _dropped(situation: Situation, hook: str, packet: Packet, mine: Sequence[Network]) -> Iterator[Hop]:
    links = sorted({link for one in mine if (link := _link(one))})
    for one in situation.filters:
        ends = set[str]()
        if one.hook == hook and packet.family in coexistence.FAMILIES.get(one.family, ()):
            ends = set(outcomes(one, packet))
        if DROP in ends:
            mend = _mend(situation, one, packet.family, mine, links)
            if ends == {DROP}:
                yield Hop(HOST_HERE, _what(one, links), False, mend)
            else:
                yield Hop(HOST_HERE, f"{_what(one, links)}, or one of its rules lets this pass", None, mend)


def _what(one: Filter, links: Sequence[str]) -> str:
    chain = coexistence.Obstacle(one, tuple(links), coexistence.why(one), "")
    if one.hook == "input":
        return f"the firewall chain {chain.chain} drops what the host is sent{f' from {links[0]}' if links else ''}"
    return chain.what


def _mend(situation: Situation, one: Filter, family: int, mine: Sequence[Network], links: Sequence[str]) -> str:
    if situation.topology.coexist == "docker" and coexistence.is_docker(one):
        return APPLY
    if one.hook == "input":
        return coexistence.mend_entering(one, links, situation.port)
    inward = [
        _link(other) or ""
        for other in mine
        if gateway_mode(other.options, family) == "routed" or other.options.get("trusted_interfaces")
    ]
    return coexistence.mend(one, links, inward)
