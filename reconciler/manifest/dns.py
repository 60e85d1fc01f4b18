"""From what a container says of names to values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import ip
from .model import DnsSpec
from .tree import Map, Place, Seq

Complain = Callable[[Place, str, str], None]


def read(container: Map, complain: Complain) -> DnsSpec | None:
    """Return what a checked container says under `dns`, None where that is nothing. What can't be is told."""
    said = container.get("dns")
    if said is None:
        return None
    if isinstance(said, bool):
        return DnsSpec(off=not said)
    if not isinstance(said, Map):
        return DnsSpec(tuple(_servers(said, container.value_at["dns"], complain)))
    return DnsSpec(
        tuple(_servers(said.get("servers"), said.value_at.get("servers", ("", 1, 1)), complain)),
        tuple(_words(said.get("search"))),
        tuple(_words(said.get("options"))),
    )


def _words(said: object) -> Iterator[str]:
    if isinstance(said, Seq):
        yield from map(str, said)
    elif said:
        yield str(said)


def _servers(said: object, at: Place, complain: Complain) -> Iterator[str]:
    """Yield the addresses; a loopback one would be the host's, which is not what the container means by it."""
    places = said.item_at if isinstance(said, Seq) else [at]
    for text, place in zip(_words(said), places, strict=False):
        found = ip.address(text)
        if found is None:
            complain(place, f"the DNS server {text[:60]!r} is not an address", "write an address, such as 192.0.2.53")
        elif any(ip.is_in(found, one) for one in _LOOPBACK):
            mend = "leave it out: whom the host asks is asked anyway"
            complain(place, f"the DNS server {text} is a loopback address", mend)
        else:
            yield ip.text(*found)


_LOOPBACK = (ip.Prefix(4, 127 << 24, 8), ip.Prefix(6, 1, 128))
