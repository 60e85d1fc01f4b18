"""What keeps the packets of encrypted networks to their link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .text import Part, quoted


class Seal(NamedTuple):
    """The one link of the host that a network's VXLAN packets may go and come by, and how they are known.

    `subnets` are the network's on all hosts: what is for them leaves by links of networks only.
    """

    link: str
    port: int
    vni: int
    subnets: tuple[str, ...]


def sealing(seals: Sequence[Seal]) -> Part:
    """Return what keeps the packets of encrypted networks to their link, and what is within to the networks.

    Who can send to the host could else put frames into such a network, by VXLAN in clear. The VNI is at bit 32 of the
    header that follows UDP's (RFC 7348, 5). Fragments are put together before (`ct`, in other chains, has that done).
    """
    if not seals:
        return Part((), {})
    numbers: dict[tuple[str, int], list[int]] = {}
    for link, port, vni, _ in seals:
        numbers.setdefault((link, port), []).append(vni)
    by_hook = {
        hook: [
            f"meta nfproto ipv6 {side} != {quoted(link)} udp dport {port} "
            f"@th,96,24 {{ {', '.join(map(str, sorted(vnis)))} }} drop"
            for (link, port), vnis in sorted(numbers.items())
        ]
        for hook, side in (("input", "iifname"), ("output", "oifname"))
    }
    prefixes = sorted({subnet for seal in seals for subnet in seal.subnets})
    within = {"ip6" if ipv6 else "ip": [one for one in prefixes if (":" in one) is ipv6] for ipv6 in (False, True)}
    start = 'oifname != "lo" oifname != @zones'
    leaving = [f"{start} {family} daddr {{ {', '.join(some)} }} drop" for family, some in within.items() if some]
    return Part((), {**by_hook, "leaving": leaving})
