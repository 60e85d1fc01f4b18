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


def ifb_name(project: str, path: str) -> str:
    """Return the name of the link by which what an endpoint sends goes, by that link's path."""
    return f"if{digest(project, path).hex()[:13]}"


def dummy_name(project: str, path: str) -> str:
    """Return the name of a dummy link that a network stands on, by its path."""
    return f"dm{digest(project, path).hex()[:13]}"


def host_name(project: str, path: str) -> str:
    """Return the name of the link by which the host is on a network of containers, by its path."""
    return f"mh{digest(project, path).hex()[:13]}"


def vxlan_name(project: str, network: str) -> str:
    """Return the name of the VXLAN link of a network."""
    return f"vx{digest(project, network).hex()[:13]}"


def wireguard_name(project: str) -> str:
    """Return the name of the link by which a project's encrypted networks go to other hosts."""
    return f"wg{digest(project, '#wireguard').hex()[:13]}"


def fence_metric(project: str) -> int:
    """Return the metric of a project's routes to nowhere, one of `resources.FENCES`."""
    return 0x6E << 24 | int.from_bytes(digest("fence", project)[:3], "big")


def tunnel_prefix(project: str) -> str:
    """Return the prefix of the addresses that hosts have in a project's tunnels: a unique local /64 (RFC 4193, 3.1)."""
    from ipaddress import IPv6Address  # it takes 10 ms, and is for few

    return f"{IPv6Address(_in_tunnel(project) + bytes(8))}/64"


def tunnel_address(project: str, endpoint: str) -> str:
    """Return a host's address in a project's tunnels, by where the host is reached; without prefix length.

    Whoever moves gets another one, by which all others see that they must send elsewhere (`resources.WireguardPeer`).
    """
    from ipaddress import IPv6Address

    return str(IPv6Address(_in_tunnel(project) + digest("tunnel", project, endpoint)[:8]))


def _in_tunnel(project: str) -> bytes:
    return b"\xfd" + digest("tunnel", project)[:7]


def mac_address(project: str, path: str) -> str:
    """Return a unicast, locally administered MAC (IEEE 802-2014, 8.4) for a link of ours."""
    octets = bytearray(digest("mac", project, path)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")
