"""Names of links and MAC addresses, derived from the manifest's names, so that every run derives the same."""

from __future__ import annotations

from hashlib import blake2b

IFNAMSIZ = 15
"""Longest name of a link: IFNAMSIZ of linux/if.h less the terminating zero."""


def digest(*words: str) -> bytes:
    """Return 16 bytes that stand for the words, in this order."""
    return blake2b("\0".join(words).encode(), digest_size=16).digest()


def bridge_name(project: str, network: str) -> str:
    """Return "PROJECT-NETWORK" where that is short enough and unambiguous, else the network's start and a digest."""
    name = f"{project}-{network}"
    if len(name) <= IFNAMSIZ and name.count("-") == 1 and name.isascii():
        return name
    start = "".join(letter for letter in network if letter.isascii() and (letter.isalnum() or letter in "_-"))
    return f"{start[: IFNAMSIZ - 7]}-{digest(project, network).hex()[:6]}"


def veth_name(project: str, path: str) -> str:
    """Return the name of the outer end of an endpoint's veth pair; its alias tells a reader whose it is."""
    return f"ve{digest(project, path).hex()[:13]}"


def mac_address(project: str, path: str) -> str:
    """Return a unicast, locally administered MAC (IEEE 802-2014, 8.4) for a link of ours."""
    octets = bytearray(digest("mac", project, path)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")
