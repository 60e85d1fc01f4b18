"""How a program looks up a name: in its hosts file first, then by its resolv.conf, which may have other names tried.

As glibc does it where nsswitch.conf(5) says `hosts: files dns`, or nothing; see hosts(5) and resolv.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

MOST_DOTS = 15
"""What `ndots` is at most (RES_MAXNDOTS of resolv.h)."""


class Search(NamedTuple):
    """What a resolv.conf says of which names are tried: the domains of its search list, how many dots make a name be
    tried as it is first, and whether one without dots is tried as it is at all."""

    domains: tuple[str, ...] = ()
    ndots: int = 1
    bare: bool = True


class Try(NamedTuple):
    """A name that is asked for; `searched`: with a domain of the search list."""

    name: str
    searched: bool = False


def in_hosts(text: str, name: str) -> list[str]:
    """Return the addresses that a hosts file has for a name, in its order."""
    found: list[str] = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name.lower() in map(str.lower, names):
            found += _canonical(address)
    return list(dict.fromkeys(found))


def _canonical(address: str) -> Iterator[str]:
    if "%" not in address:  # of a link, which the file can't say
        try:
            yield str(ip_address(address))
        except ValueError:
            return


def search(lines: Sequence[str], domain: str = "") -> Search:
    """Return what the lines of a resolv.conf say. `domain` is the one of the host name, for where they name none."""
    found = Search((domain,) if domain else ())
    for line in lines:
        key, *words = line.split() or [""]
        if line[:1].isspace():
            continue
        if key in ("search", "domain") and words:
            found = found._replace(domains=tuple(words if key == "search" else words[:1]))
        for word in words if key == "options" else ():
            name, _, value = word.partition(":")
            if name == "ndots" and value.isdecimal():
                found = found._replace(ndots=min(int(value), MOST_DOTS))
            elif name == "no-tld-query":
                found = found._replace(bare=False)
    return found


def tries(name: str, said: Search) -> Iterator[Try]:
    """Yield the names that are asked for in turn, until one is found: with each domain, and as it is."""
    if name.endswith("."):
        yield Try(name.rstrip("."))
        return
    dots = name.count(".")
    first = dots >= said.ndots
    if first:
        yield Try(name)
    domains = [domain.strip(".") for domain in said.domains]
    yield from (Try(f"{name}.{domain}" if domain else name, searched=True) for domain in domains)
    if not first and (dots or said.bare or not domains):
        yield Try(name)
