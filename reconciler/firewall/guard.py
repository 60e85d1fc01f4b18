"""The guard: a table of the host's as a whole, which keeps it from forwarding for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..resources import GUARD_TABLE, NftTable
from .text import FAMILY, HOOKS, block, collection, quoted, table_text


def guard_table(guard: Mapping[int, Sequence[str]]) -> NftTable | None:
    """Return the table that keeps a host from forwarding among links of others; None if there are none.

    `guard` has the links' names by family (4, 6): a host that forwarded IPv4 before goes on doing so when netapply
    turns on IPv6 forwarding. Packets that leave by the link that they came from pass: bridged ones, where br_netfilter
    hands those to the IP hooks. Raises HostLacks for a name that nft can't say.
    """
    names = sorted({name for links in guard.values() for name in links})
    if not names:
        return None
    guarded = [f"ipv{family} . {quoted(name)}" for family in (4, 6) for name in sorted(set(guard.get(family, ())))]
    drop = "meta nfproto . iifname @guard meta nfproto . oifname @guard iifname . oifname != @same drop"
    blocks = [
        collection("set guard", "nf_proto . ifname", guarded),
        collection("set same", "ifname . ifname", [f"{quoted(name)} . {quoted(name)}" for name in names]),
        block("chain forward", [HOOKS["forward"], drop]),
    ]
    return NftTable(FAMILY, GUARD_TABLE, table_text(GUARD_TABLE, "", blocks))


def guard_of(text: str) -> dict[int, tuple[str, ...]]:
    """Return the guarded links by family, as `guard_table` takes them, from the guard's text."""
    found: dict[int, list[str]] = {}
    pieces = text.partition("set guard {")[2].split('"')
    for before, name in zip(pieces[::2], pieces[1::2], strict=False):
        family = {"ipv4 .": 4, "ipv6 .": 6}.get(before.rstrip()[-6:])
        if family is None:
            break  # the next set
        found.setdefault(family, []).append(name)
    return {family: tuple(sorted(names)) for family, names in sorted(found.items())}
