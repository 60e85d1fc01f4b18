"""What is netapply's on a host that chains of others may drop packets of: of what is desired, or of tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .resources import DnsServer, Link, NftTable, Resource, State

_INTO = re.compile(r'(ipv[46]) \. "([^"]+)" : goto into_(\w+)')
_TRUSTED = re.compile(r'(ipv[46]) \. "[^"]+" \. "([^"]+)"')


def forwarding(desired: State) -> Mapping[int, tuple[str, ...]]:
    """Return the links of networks that the host forwards for, by family: those that the project's table lets in to."""
    return _by_family((family, link) for family, link, _ in _led_into(desired))


def entered(desired: State) -> Mapping[int, tuple[str, ...]]:
    """Return those of them to which the project's table lets connections from elsewhere in, by family."""
    found = [(family, link) for family, link, how in _led_into(desired) if how == "routed"]
    for one in desired.values():
        if isinstance(one, NftTable):
            found += _TRUSTED.findall(one.text.partition("set trusted {")[2].partition("\t}")[0])
    return _by_family(found)


def bridges(desired: Iterable[Resource]) -> tuple[str, ...]:
    """Return the bridges of networks."""
    return tuple(sorted(one.name for one in desired if isinstance(one, Link) and one.kind == "bridge"))


def _led_into(desired: State) -> Iterator[tuple[str, str, str]]:
    for one in desired.values():
        if isinstance(one, NftTable):
            yield from _INTO.findall(one.text)


def _by_family(pairs: Iterable[tuple[str, str]]) -> Mapping[int, tuple[str, ...]]:
    found: dict[int, set[str]] = {}
    for family, link in pairs:
        found.setdefault(int(family[3]), set()).add(link)
    return {family: tuple(sorted(links)) for family, links in sorted(found.items())}


def asking(desired: State) -> Mapping[int, tuple[str, ...]]:
    """Return the ports at which resolvers of the project listen, each with the links of the networks that ask there."""
    links = {one.path: one.name for one in desired.values() if isinstance(one, Link)}
    found: dict[int, set[str]] = {}
    for one in desired.values():
        if isinstance(one, DnsServer) and not one.sandbox:
            found.setdefault(one.port, set()).update(links[name] for name in one.networks if name in links)
    return {port: tuple(sorted(names)) for port, names in sorted(found.items())}
