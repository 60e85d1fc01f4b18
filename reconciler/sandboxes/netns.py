"""netns: a namespace by its name under /run/netns, as `ip netns` has it."""

from __future__ import annotations


def place(value: str) -> str:
    return f"/run/netns/{value}"
