"""What listens where a way ends, if a port is asked for: where nothing does, a connection is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ..host import Listener
from ..manifest.words import listed
from .ends import End, addresses, containers, endpoints
from .situation import HOST_HERE, Hop, Situation, family_of

ANY = {4: "0.0.0.0", 6: "::"}
"""What a socket is bound to that takes what comes to any address, by family."""

MOST = 4
"""How many other ports are named."""

EPHEMERAL = 32768
"""From here on UDP ports tend to be those of who asks somebody, and waits for the answer (ip-sysctl)."""


def concerned(start: End, target: End, known: Situation) -> set[str]:
    """Return the containers in whose namespaces it matters for a question what listens; "" is the host's."""
    if not target.port:
        return set()
    service = next(
        (one for one in known.topology.services if target.kind == "service" and one.name == target.name), None
    )
    if service is not None:
        names = {one.container for one in service.backends}
    elif target.kind == "name":
        from .names import reached

        names = reached(start, target, known)
    elif target.kind == "loopback" or (target.kind == "address" and ip_address(target.address).is_loopback):
        names = {start.name}
    else:
        names = {target.name} if target.kind == "container" else {""}
    names = {"" if one in known.facts.in_host else one for one in names}
    if "" in names:
        led = {
            aim.address
            for one in known.topology.publications
            if (one.protocol, one.port) == (target.protocol, target.port)
            for aim in one.targets
        }
        names |= {one.container for one in endpoints(known.topology) if led.intersection(addresses(one))}
    return names & ({"", *containers(known.topology)} - {*known.topology.pending})


def listener(situation: Situation, sandbox: str, address: str, link: str | None) -> Hop | None:
    """Return who takes what comes to an address in a namespace ("" is the host's), at the port that is asked for.

    `link` is the one that it comes in by, None where that is not known. None where no port is asked for.
    """
    if not situation.port:
        return None
    where, word = sandbox or HOST_HERE, f"port {situation.port}/{situation.protocol}"
    sockets = situation.sockets.get(sandbox, {}).get(situation.protocol)
    if sockets is None:
        return Hop(where, f"whether a program listens on {word} can't be seen", None)
    there = [one for one in sockets if one.port == situation.port]
    takes = [one for one in there if _takes(one, address)]
    for one in takes:
        if one.link in ("", link):
            return Hop(where, f"{one.who} listens on {word}")
    if there:
        bound = listed(list(dict.fromkeys(one.link or one.address for one in takes or there)), "and")
        wider = "on all links" if takes else f"on {ANY[family_of(address)]} or {address}"
        what = f"{(takes or there)[0].who} listens on {word} of {bound} only"
        return Hop(where, what, None if takes and link is None else False, f"have it listen {wider}")
    return Hop(where, f"nothing listens on {word}", False, _start(_others(sockets, address, link)))


def _takes(one: Listener, address: str) -> bool:
    """Whether a socket takes what comes to an address, by whichever link."""
    family = family_of(address)
    return family_of(one.address) == family and ip_address(one.address) in map(ip_address, (address, ANY[family]))


def _others(sockets: Iterable[Listener], address: str, link: str | None) -> list[int]:
    """Return the other ports that something listens on there."""
    return sorted(
        {
            one.port
            for one in sockets
            if _takes(one, address) and one.link in ("", link) and (one.protocol != "udp" or one.port < EPHEMERAL)
        }
    )


def _start(others: Sequence[int]) -> str:
    mend = "start the program that is to listen there"
    if not others:
        return mend
    named = [str(port) for port in others[:MOST]] + [f"{len(others) - MOST} more"] * (len(others) > MOST)
    return f"{mend}, or use a port that one listens on: {listed(named, 'and')}"
