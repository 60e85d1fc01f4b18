"""`coexist: docker`: what the project has in Docker's firewall, so that its packets pass there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..firewall import Zone
from ..host import Facts
from ..resources import DOCKER, HOST, Accepts, Link, Resource


def accepting(resources: Iterable[Resource], zones: Iterable[Zone], facts: Facts) -> Iterator[Resource]:
    """Yield the resources, and accepts for the links of the networks that the host forwards for.

    The links get a tag, by which a later run finds the accepts though no manifest asks for them any more. Where Docker
    has not made its chain there is none to put them into.
    """
    zones = list(zones)
    links = {family: sorted({link for one in zones if one.forwards(family) for link in one.links}) for family in (4, 6)}
    tagged = {*links[4], *links[6]}
    for one in resources:
        is_own = isinstance(one, Link) and one.sandbox == HOST and one.name in tagged
        yield replace(one, tags=(*one.tags, DOCKER)) if is_own and isinstance(one, Link) else one
    for family in (4, 6):
        if links[family] and family in facts.docker:
            rules = [f"{way} {link} -j ACCEPT" for link in links[family] for way in ("-i", "-o")]
            yield Accepts(family, tuple(sorted(rules)))


def absent(facts: Facts) -> Iterator[str]:
    """Yield a remark where Docker's chain is not there."""
    if not facts.docker:
        what = "coexist: docker: there is no chain DOCKER-USER, since Docker has not made it"
        yield f"{what}; a later run puts accepts into it"
