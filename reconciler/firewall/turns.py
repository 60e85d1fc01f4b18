"""Whose turn a connection is: the next one's, or always the same one's for one client."""

from __future__ import annotations

SEED = 0x6E6170
"""The seed of the hash that a client's address gives, so that it is the same on every host and after every change."""


def turn(places: int, family: int, affinity: bool) -> str:
    """Return the nft expression that gives a connection one of so many places, from 0 on."""
    if affinity:
        return f"jhash {'ip' if family == 4 else 'ip6'} saddr mod {places} seed {SEED:#x}"
    return f"numgen inc mod {places}"
