"""Reading addresses and prefixes as strictly as a manifest needs, and as fast: it may have thousands."""

from __future__ import annotations

from functools import lru_cache

from ..allocation.ipam import BITS, Prefix, text

__all__ = ["BITS", "Prefix", "address", "is_in", "prefix", "special", "text", "unusable"]


@lru_cache(maxsize=65536)
def address(spelling: str) -> tuple[int, int] | None:
    """Return the family and the number of an address, None where it is none: no leading zeros, no zone."""
    if ":" in spelling:
        return _ipv6(spelling)
    parts = spelling.split(".")
    if len(parts) != 4:
        return None
    number = 0
    for part in parts:
        if not (part.isascii() and part.isdigit()) or len(part) > 3 or (part[0] == "0" and part != "0"):
            return None
        octet = int(part)
        if octet > 255:
            return None
        number = number << 8 | octet
    return 4, number


def _ipv6(spelling: str) -> tuple[int, int] | None:
    from ipaddress import IPv6Address

    if "%" in spelling or len(spelling) > 45:
        return None
    try:
        return 6, int(IPv6Address(spelling))
    except ValueError:
        return None


def prefix(spelling: str) -> tuple[Prefix, bool] | None:
    """Return a prefix, and whether the text had bits set past its length; None where it is none."""
    start, _, digits = spelling.partition("/")
    found = address(start)
    if found is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 3:
        return None
    family, number = found
    bits = BITS[family] - int(digits)
    if bits < 0:
        return None
    first = number >> bits << bits
    return Prefix(family, first, int(digits)), first != number


def is_in(found: tuple[int, int], one: Prefix) -> bool:
    """Whether an address, as family and number, is in a prefix."""
    return found[0] == one.family and found[1] in one


def unusable(one: Prefix) -> dict[int, str]:
    """Return the addresses that no interface in a prefix may have, and what each is."""
    if one.length >= BITS[one.family] - 1:  # RFC 3021, RFC 6164
        return {}
    if one.family == 6:
        return {one.first: "the routers' anycast address"}  # RFC 4291, 2.6.1
    return {one.first: "the network address", one.last: "the broadcast address"}


def special(one: Prefix) -> str | None:
    """Return what kind of addresses, which a network can't have, a prefix has some of; None where there are none."""
    return next((kind for other, kind in _SPECIAL if other.overlaps(one)), None)


_SPECIAL = (  # the registries of RFC 6890
    (Prefix(4, 0, 8), "this-network"),
    (Prefix(4, 127 << 24, 8), "loopback"),
    (Prefix(4, 224 << 24, 4), "multicast"),
    (Prefix(6, 0, 8), "reserved"),
    (Prefix(6, 0xFE80 << 112, 10), "link-local"),
    (Prefix(6, 0xFF << 120, 8), "multicast"),
)
