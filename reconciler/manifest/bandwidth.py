"""The words for bandwidth: rates in bits a second and bursts in bytes, in the units of tc(8)."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..networks import Bandwidth, Rate
from ..resources.shaping import HEADER, LONGEST_BURST
from .tree import Map, Place

LEAST, MOST = 20_000, 1_000_000_000_000
"""Bits a second: that a jumbo frame fits into the longest burst, and more than any link has."""

_AMOUNT = re.compile(r"([0-9.]+) ?([a-z]*)", re.IGNORECASE)
_BITS = {"": 1, "bit": 1, "kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}
_BYTES = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20}

Complain = Callable[[Place, str, str], None]


def read(node: Map, complain: Complain) -> Bandwidth | None:
    """Return what a checked `bandwidth` says, None where that is nothing. What can't be is told to `complain`."""
    rates = [_rate(node, direction, complain) for direction in ("ingress", "egress")]
    return Bandwidth(*rates) if any(rates) else None


def slowest(mtu: int) -> int:
    """Return the rate in bit/s at which a packet of that size, with its Ethernet header, still fits into a burst."""
    return (mtu + HEADER) * 8 // LONGEST_BURST


def _rate(node: Map, direction: str, complain: Complain) -> Rate | None:
    value = node.get(direction)
    if value is None:
        return None
    whole = value if isinstance(value, Map) else None
    text, at = (whole["rate"], whole.value_at["rate"]) if whole else (value, node.value_at[direction])
    rate = _amount(text, _BITS)
    if not LEAST <= rate <= MOST:
        complain(at, f"{direction} is {text}, and a rate is between 20kbit and 1000gbit", "choose one in between")
        return None
    if not whole or "burst" not in whole:
        return Rate(rate)
    burst = _amount(whole["burst"], _BYTES)
    most = min(rate // 8 * LONGEST_BURST, 0xFFFFFFFF)
    if not 1 <= burst <= most:
        what = f"the burst {whole['burst']} of {direction} is more than the rate sends in {LONGEST_BURST} seconds"
        if burst < 1:
            what = f"the burst {whole['burst']} of {direction} is nothing at all"
        complain(whole.value_at["burst"], what, f"choose between one packet and {most} bytes, or leave it out")
        return None
    return Rate(rate, burst)


def _amount(text: str | int, units: dict[str, int]) -> int:
    found = _AMOUNT.fullmatch(str(text))
    if found is None:
        return 0
    number, unit = found.groups()
    whole, _, part = number.partition(".")
    factor = units[unit.lower()]
    return int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)
