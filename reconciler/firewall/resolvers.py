"""How a container's questions get to its own resolver, and nobody else's do.

docs/decisions/014-dns.md says why by source address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .text import Part


class Lookup(NamedTuple):
    """A container asks from `source`, at any of the host's addresses on its networks, and `address` and `port` answer.

    Addresses are of one family, without prefix length.
    """

    source: str
    address: str
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.source else 4


def resolving(lookups: Sequence[Lookup], listening: Iterable[tuple[str, int]]) -> Part:
    """Return what leads questions that containers send to the host to their resolvers. `listening`: all that there are.

    A resolver answers whoever asks; what is not led to it is dropped, so that nobody asks that of other networks.
    """
    if not lookups:
        return Part((), {})
    sockets = sorted(set(listening))
    leading: list[str] = []
    guarding: list[str] = []
    collections: list[tuple[str, str, list[str]]] = []
    for family, word in ((4, "ip"), (6, "ip6")):
        own = [one for one in lookups if one.family == family]
        if not own:
            continue
        kind = f"ipv{family}_addr"
        here = [(address, port) for address, port in sockets if (":" in address) == (family == 6)]
        collections += [
            (f"set asked_ipv{family}", kind, sorted({address for address, _ in here})),
            (f"map resolver_ipv{family}", f"{kind} : {kind} . inet_service", sorted(set(_leads(own)))),
            (f"set resolvers_ipv{family}", f"{kind} . inet_service", [f"{one} . {port}" for one, port in here]),
        ]
        asking = "meta l4proto { tcp, udp } th dport 53"
        leading.append(
            f"{word} daddr @asked_ipv{family} {asking} dnat {word} to {word} saddr map @resolver_ipv{family}"
        )
        guarding.append(
            f'iifname != "lo" meta l4proto {{ tcp, udp }} {word} daddr . th dport @resolvers_ipv{family} '
            "ct status ! dnat drop"
        )
    return Part(collections, {"prerouting": leading, "input": guarding})


def _leads(lookups: Iterable[Lookup]) -> Iterator[str]:
    yield from (f"{one.source} : {one.address} . {one.port}" for one in lookups)
