"""Putting a project's table in place, and having the connections forgotten that it leads elsewhere now.

That is part of changing the table, and no resource: nothing desires a connection not to be. So that a run which is
killed in between has it made good by the next, the table says what is still to be forgotten while it is: with that set
in it, it is not as it should be.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping

from ..firewall.ports import published, stale_in, summary, with_stale
from ..networks import Publication
from ..plan import Change, Create, Delete
from ..resources import NftTable
from . import conntrack, nft, rtnetlink
from .conntrack import Flow
from .netlink import Socket

Claim = tuple[str, int]
"""A protocol and a port."""


def write(change: Change, door: Socket, trap: Callable[[str], None]) -> None:
    """Make a change to a project's table in the host. `door` leads to the host's addresses."""
    old = None if isinstance(change, Create) else change.before
    new = None if isinstance(change, Delete) else change.after
    before, after = (one.text if isinstance(one, NftTable) else "" for one in (old, new))
    family, name = change.key.name.split(" ")
    claims = _moved(before, after)
    if not claims:
        _put(family, name, after, trap)
        return
    trap(f"write nft table {name}, with what is to be forgotten")
    nft.replace(family, name, with_stale(after, name, sorted(claims)) if after else _only_stale(before, name, claims))
    trap(f"forget the connections to {len(claims)} published ports")
    _forget(claims, published(after), door)
    _put(family, name, after, trap)


def _put(family: str, name: str, text: str, trap: Callable[[str], None]) -> None:
    if text:
        trap(f"write nft table {name}")
        nft.replace(family, name, text)
    else:
        trap(f"delete nft table {name}")
        nft.delete(family, name)


def _only_stale(before: str, name: str, claims: Iterable[Claim]) -> str:
    """Return a table that says whose it is and what is to be forgotten, and does nothing."""
    head = "\n".join(before.splitlines()[:2])  # the second line is the comment; what follows may lead to chains
    return with_stale(f"{head}\n\n}}\n", name, sorted(claims))


def _moved(before: str, after: str) -> set[Claim]:
    """Return the ports that lead elsewhere than before, and those that a killed run has not got to."""
    claims = stale_in(before)
    if "inet_service" not in before and "inet_service" not in after:
        return claims
    old, new = summary(published(before)), summary(published(after))
    for key in old.keys() | new.keys():
        if _targets(old.get(key)) != _targets(new.get(key)):
            claims.add((key[0], key[2]))
    return claims


def _targets(one: Publication | None) -> object:
    return one and (frozenset(one.targets), frozenset(one.leaving))


def _forget(claims: set[Claim], publications: Iterable[Publication], door: Socket) -> None:
    own = _addresses(door)
    leads: dict[tuple[str, int], list[Publication]] = {}
    for one in publications:
        leads.setdefault((one.protocol, one.port), []).append(one)

    def doomed(flow: Flow) -> bool:
        claim = (flow.protocol, flow.port)
        is_local = flow.destination in own or (len(flow.destination) == 4 and flow.destination[0] == 127)
        if claim not in claims or not is_local:
            return False  # connections to that port of somebody else's are no business of ours
        right = _repliers(leads.get(claim, ()), flow)
        if (flow.replier, flow.replier_port) in right:
            return False
        return flow.translated or (bool(right) and flow.protocol == "udp")

    conntrack.forget(doomed, frozenset(port for _, port in claims))


def _repliers(publications: Iterable[Publication], flow: Flow) -> Mapping[tuple[bytes, int], None]:
    """Return who may answer a connection now: those that it is led to, and who keeps the ones that it has."""
    family = 4 if len(flow.destination) == 4 else 6
    found: dict[tuple[bytes, int], None] = {}
    for one in publications:
        if one.family == family and (one.host_ip is None or _packed(one.host_ip) == flow.destination):
            found |= dict.fromkeys((_packed(end.address), end.port) for end in (*one.targets, *one.leaving))
    return found


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _addresses(door: Socket) -> frozenset[bytes]:
    """Return the host's addresses, packed."""
    rows = map(rtnetlink.address_row, door.dump(rtnetlink.GETADDR, rtnetlink.all_addresses()))
    return frozenset(_packed(row.address.partition("/")[0]) for row in rows)
