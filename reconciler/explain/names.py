"""The way to who is asked for by a name that resolvers answer: an alias, or NAME.NETWORK.

First whoever asks has to be told what the name is, by a resolver that knows the names of its networks and no others.
From there on it is the way to an address. What files as /etc/hosts say is not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..lowering.names import untold
from ..manifest.words import listed
from ..networks import NameUser
from ..plan import Update
from ..resources import DnsHosts, DnsServer, Key, ResolvConf
from . import Answer, Way, services, way
from .ends import End, containers_at, containers_with, networks_knowing
from .situation import HOST_HERE, OUT, Hop, Situation, family_of, host_on
from .ways import APPLY


class _Asked(NamedTuple):
    """Whom a container asks for names: by which addresses, what it knows, and whether anybody is asked for the rest."""

    user: NameUser
    servers: tuple[str, ...]
    networks: tuple[str, ...]
    upstream: bool


class _Found(NamedTuple):
    """What a name is, by the names of a network."""

    network: str
    address: str


def answer(start: End, target: End, known: Situation) -> Answer:
    """Return whether `start` reaches who has a name: all of them, since they take turns."""
    if hops := _untold(start, target, known):
        closed = any(hop.open is False for hop in hops)
        return Answer(start, target, (Way("", "no" if closed else "unknown", tuple(hops)),))
    found = _found(start, target, known)
    vips = {vip: service.name for service in known.topology.services for vip in service.vips}
    ways: list[Way] = []
    turns: list[str] = []
    for one in found:
        first = Hop(start.name, f"finds that {target.name} is {one.address} by network {one.network}'s names")
        if one.address in vips:
            aim = End("service", vips[one.address], one.address, target.port, target.protocol)
            ways += (each._replace(hops=(first, *each.hops)) for each in services.ways(start, aim, known))
            turns += (str(number) for number in range(len(turns), len(ways)))
        else:
            ways.append(way(start, one.address, known, [first]))
            turns.append(" ".join(sorted(containers_at([one.address], known.topology))))
    return Answer(start, target, tuple(ways), tuple(turns))


def reached(start: End, target: End, known: Situation) -> set[str]:
    """Return the containers that the name leads to, from where it is looked up."""
    found = {one.address for one in _found(start, target, known)}
    served = [one for one in known.topology.services if found.intersection(one.vips)]
    return containers_at(found, known.topology) | {end.container for one in served for end in one.backends}


def _found(start: End, target: End, known: Situation) -> list[_Found]:
    """Return what a name is to who asks, the first family first."""
    names, asked = known.topology.names, _asked(start, known)
    if names is None or asked is None:
        return []
    word = target.name.lower()
    found = {
        address: network
        for network in reversed(asked.networks)
        for address, some in names.records.get(network, ())
        if word in map(str.lower, some)
    }
    return sorted((_Found(network, one) for one, network in found.items()), key=lambda one: family_of(one.address))


def _asked(start: End, known: Situation) -> _Asked | None:
    """Return whom a container asks, None where it asks nobody of netapply's: as `reconciler.lowering.names` has it."""
    names, facts = known.topology.names, known.facts
    if names is None or start.kind != "container" or start.name in facts.in_host:
        return None
    users = {one.container: (one, resolver.upstream) for resolver in names.resolvers for one in resolver.users}
    if start.name not in users:
        return None
    user, upstream = users[start.name]
    own = {one.name: host_on(one) for one in known.networks}
    if near := next((own[one] for one in user.networks if own[one]), []):
        servers = {family_of(one): one for one in sorted(near, reverse=True)}
        return _Asked(user, tuple(servers[one] for one in sorted(servers)), user.networks, bool(upstream))
    if start.name in facts.resolved:
        return None
    there = facts.together.get(start.name, (start.name,))
    networks = dict.fromkeys(
        (*user.networks, *(net for one in there if one in users for net in users[one][0].networks))
    )
    return _Asked(user, (DnsServer.OWN,), tuple(networks), bool(upstream))


def _untold(start: End, target: End, known: Situation) -> Sequence[Hop]:
    """Return the hops by which who asks is not told what the name is, or may not be; none where it is."""
    asked = _asked(start, known)
    if asked is None:
        return [_asks_nobody(start, target, known)]
    if not _found(start, target, known):
        return [_finds_none(start, target, asked, known)]
    if hops := list(_not_as_it_should(asked, target, known)):
        return hops
    question = replace(known, port=DnsServer.OWN_PORT, protocol="udp")
    ways = [way(start, server, question) for server in asked.servers]
    if any(one.verdict == "yes" for one in ways):
        return []
    return [Hop(start.name, f"asks {ways[0].address} what {target.name} is"), *ways[0].hops]


def _asks_nobody(start: End, target: End, known: Situation) -> Hop:
    """Return the hop of who asks no resolver of netapply's: the host, the outside, and some containers."""
    theirs = _theirs(target, known)
    instead = _instead(target, known)
    if start.kind != "container" or start.name in known.facts.in_host:
        where = start.name or (HOST_HERE if start.kind == "host" else OUT)
        return Hop(
            where, f"does not find {target.name}: that is {theirs}, which only its containers ask for", False, instead
        )
    if start.name in known.facts.resolved:
        what = f"does not find {target.name}: {known.facts.resolved[start.name]}, which does not know {theirs}"
        return Hop(start.name, what, False, f"run it without a network of Docker's (--network none), or {instead}")
    what = f"has no resolver of netapply's: whether it finds {target.name}, {theirs}, is not known"
    return Hop(start.name, what, None, f"have it on that network, without `dns: false`, or {instead}")


def _finds_none(start: End, target: End, asked: _Asked, known: Situation) -> Hop:
    """Return the hop of who is on none of the networks that know the name; what is of no network others are asked."""
    names, what = known.topology.names, f"{_theirs(target, known)}, which it is not on"
    mend = f"attach it to that network, or {_instead(target, known)}"
    _, dot, last = target.name.rpartition(".")
    if dot and asked.upstream and names and last.lower() not in map(str.lower, names.records):
        return Hop(start.name, f"asks its own servers what {target.name} is: that is {what}", None, mend)
    return Hop(start.name, f"does not find {target.name}: that is {what}", False, mend)


def _theirs(target: End, known: Situation) -> str:
    networks = networks_knowing(target.name, known.topology)
    return f"a name of network{'s' if len(networks) > 1 else ''} {listed(networks, 'and')}"


def _instead(target: End, known: Situation) -> str:
    return f"ask for {listed(sorted(containers_with(target.name, known.topology)), 'or')}"


def _not_as_it_should(asked: _Asked, target: End, known: Situation) -> Iterator[Hop]:
    """Yield a hop where the names, or what the container is told of whom to ask, are not as the manifest says."""
    who = asked.user.container
    near = {one.name: host_on(one) for one in known.networks if host_on(one)}
    for line in untold({who: asked.user}, near, known.facts):
        yield Hop(who, line, None if known.facts.unwritten[who].why == "docker" else False)
        return
    found = {one.network for one in _found(End("container", who), target, known)}
    mine = [Key("resolvconf", who), *(Key("names", one) for one in asked.networks if one in found)]
    for key in mine:
        if key in known.wrong:
            yield Hop(who, f"does not find {target.name}: {known.wrong[key]}", False, APPLY)
            return
    for change in known.plan.changes:
        if isinstance(change, Update) and change.key in mine and _differs(change, target.name):
            what = f"may not find what {target.name} is: {change.key} is not as the manifest says"
            yield Hop(who, what, None, APPLY)
            return


def _differs(change: Update, name: str) -> bool:
    """Whether an update changes what is told of a name, or who is asked for it."""
    before, after = change.before, change.after
    if isinstance(before, DnsHosts) and isinstance(after, DnsHosts):
        return before.healthy != after.healthy or _told(before.records, name) != _told(after.records, name)
    if isinstance(before, ResolvConf) and isinstance(after, ResolvConf):
        return _servers(before.lines) != _servers(after.lines)
    return False


def _told(records: Collection[str], name: str) -> set[str]:
    lines = (line.lower().split() for line in records)
    return {words[0] for words in lines if name.lower() in words[1:]}


def _servers(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.startswith("nameserver ")]
