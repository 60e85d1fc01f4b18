"""From a container's `ports`, short form or long, to one value for each port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import ip
from .model import PortSpec
from .tree import Map, Place, Seq

Complain = Callable[[Place, str, str], None]

PROTOCOLS = ("tcp", "udp", "sctp")

_FORM = "write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL], an IPv6 address in brackets"


class _Words(NamedTuple):
    """What an entry says, as texts: the ports may be ranges, "8000-8010"; `published` None where it says none."""

    target: str
    published: str | None
    protocol: str
    host_ip: str | None


def ports(nodes: Seq, complain: Complain) -> Iterator[PortSpec]:
    """Yield the ports of all entries; what is wrong with one is said, and it is left out."""
    for number, (node, at) in enumerate(zip(nodes, nodes.item_at, strict=True)):
        words = _long(node) if isinstance(node, Map) else _short(str(node))
        if words is None:
            complain(at, f"{str(node)[:60]!r} is not a published port", _FORM)
            continue
        yield from _each(words, number, node.value_at.get("host_ip", at) if isinstance(node, Map) else at, complain)


def _long(node: Map) -> _Words:
    published = node.get("published")
    return _Words(
        target=str(node["target"]),
        published=None if published is None else str(published),
        protocol=node.get("protocol", "tcp"),
        host_ip=node.get("host_ip"),
    )


def _short(text: str) -> _Words | None:
    """Return what the short form says, None where it is none. A host_ip of IPv6 is in brackets, or has ports behind."""
    ports_, slash, protocol = text.partition("/")
    if slash and protocol not in PROTOCOLS:
        return None
    head, _, target = ports_.rpartition(":")
    host, _, published = head.rpartition(":")
    if not _is_range(target) or (published and not _is_range(published)) or text.startswith(":"):
        return None
    if host[:1] == "[" and host[-1:] == "]":
        host = host[1:-1]
    if ":" not in head:  # TARGET, or PUBLISHED:TARGET
        host, published = "", head
    return _Words(target, published or None, protocol or "tcp", host or None)


def _is_range(text: str) -> bool:
    return all(part.isascii() and part.isdecimal() and len(part) <= 5 for part in text.split("-", 1))


def _each(words: _Words, number: int, at: Place, complain: Complain) -> Iterator[PortSpec]:
    target = _numbers(words.target, at, complain)
    published = target and (None if words.published is None else _numbers(words.published, at, complain))
    if target is None or (words.published is not None and published is None):
        return
    host_ip = None
    if words.host_ip is not None:
        found = ip.address(words.host_ip)
        if found is None:
            complain(at, f"host_ip is {words.host_ip[:60]!r}, which is not an address", "give one of the host's own")
            return
        host_ip = ip.text(*found)
        if found == (6, 1):
            what = "nothing can be published on ::1: the kernel does not translate what is sent to it"
            complain(at, what, "use 127.0.0.1")
            return
    if published is not None and len(published) != len(target):
        what = f"the ranges {words.published} and {words.target} are of {len(published)} and {len(target)} ports"
        complain(at, what, "give both the same length")
        return
    for place, port in enumerate(target):
        yield PortSpec(number, words.protocol, host_ip, published[place] if published else None, port)


def _numbers(text: str, at: Place, complain: Complain) -> range | None:
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not 1 <= found.start <= 65535 or not found.start < found.stop <= 65536:
        complain(at, f"{text} is no port or range of ports", "ports are 1 to 65535, the lower one first")
        return None
    return found
