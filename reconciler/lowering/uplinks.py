"""Links of others that are ports of our bridges because a manifest names them: what must be known, and what refused.

docs/decisions/010-uplink.md says why a link of somebody else's may be touched at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..host import Facts
from ..plan import Change, Create
from ..resources import Key, Link, Port, Resource


def described(resources: Sequence[Resource], facts: Facts) -> Iterator[Resource]:
    """Yield the resources, the ports with how they were found, and their bridges with the tags that say so."""
    ports = [one for one in resources if isinstance(one, Port)]
    found = {one.key: replace(one, found_up=link.up) if (link := facts.links.get(one.name)) else one for one in ports}
    tags = {Key("link", one.master): one.tag for one in found.values()}
    for one in resources:
        if isinstance(one, Link) and one.key in tags:
            yield replace(one, tags=(*one.tags, tags[one.key]))
        else:
            yield found.get(one.key, one)


def names(resources: Iterable[Resource]) -> frozenset[str]:
    """Return the names of the links that are such ports."""
    return frozenset(one.name for one in resources if isinstance(one, Port))


def objections(changes: Iterable[Change], facts: Facts) -> Iterator[str]:
    """Yield a line for each link that must not become a port: it is somebody's, or the host would lose what it carries.

    In a bridge a link hands every packet to the bridge: the addresses and routes that it has work no more.
    """
    for change in changes:
        if isinstance(change, Create) and isinstance(change.after, Port):
            yield from _objections(change.after, facts)


def _objections(port: Port, facts: Facts) -> Iterator[str]:
    link = facts.links.get(port.name)
    if link is None:
        return  # `safety.missing` says so
    start = f"uplink {port.name} of network {port.master}"
    if link.owner:
        yield f"{start} is a link of project {link.owner}; name one that is nobody's"
    elif link.master:
        mend = f"take it out (ip link set {port.name} nomaster), or name another"
        yield f"{start} is in {link.master} already, where netapply did not put it; {mend}"
    addresses = [address for address in link.addresses if not address.startswith("fe80:")]
    carried = [*addresses, *(f"the route to {one}" for one in link.routes)]
    if facts.default_link == port.name and not link.routes:
        carried.append("the default route")
    if carried:
        yield (
            f"{start} carries {', '.join(carried)}, which the host would lose; move that to another link,"
            " or use the driver macvlan, which leaves it where it is"
        )
