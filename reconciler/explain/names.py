"""The way to who is asked for by a name that is looked up: an alias, NAME.NETWORK, or what a hosts file says.

First whoever asks has to be told what the name is: by its hosts file, or by a resolver that knows the names of its
networks and no others (`lookup`). From there on it is the way to an address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

from ..host import Told
from ..lowering.names import untold
from ..manifest.words import listed
from ..networks import NameUser
from ..plan import Update
from ..resources import DnsHosts, DnsServer, Key, ResolvConf
from . import Answer, Way, services, way
from .ends import End, Waiting, containers_at, containers_with, networks_knowing
from .lookup import Search, in_hosts, search, tries
from .situation import HOST_HERE, OUT, Hop, Situation, family_of, host_on, is_hosts
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


class _Looked(NamedTuple):
    """What comes of a look-up: the `word` by which something is `found`, which may have a domain more than the name.

    `before` are the words of which other servers are asked first.
    """

    word: str
    found: tuple[_Found, ...] = ()
    before: tuple[str, ...] = ()


def answer(start: End, target: End, known: Situation) -> Answer:
    """Return whether `start` reaches who has a name: all of them, since they take turns."""
    if by_file := _in_hosts(start, target.name, known):
        told = _files(start, known)
        whose = told.whose if told else ""
        return _led(start, target, [(one, _finds(start, target.name, one, whose)) for one in by_file], known)
    if hops := _untold(start, target, known):
        closed = any(hop.open is False for hop in hops)
        return Answer(start, target, (Way("", "no" if closed else "unknown", tuple(hops)),))
    looked = _looked_up(start, target.name, known)
    name = target.name if looked.word == target.name.rstrip(".") else f"{target.name}, as {looked.word},"
    found = [(one.address, _finds(start, name, one.address, f"network {one.network}'s names")) for one in looked.found]
    return _led(start, target, found, known, in_turn=True)


def _finds(start: End, name: str, address: str, by: str) -> Hop:
    return Hop(start.name or HOST_HERE, f"finds that {name} is {address} by {by}")


def _led(
    start: End, target: End, found: Sequence[tuple[str, Hop]], known: Situation, *, in_turn: bool = False
) -> Answer:
    """Return the ways to the addresses that a name has, of which the containers that have them are asked `in_turn`."""
    vips = {vip: service.name for service in known.topology.services for vip in service.vips}
    ways: list[Way] = []
    turns: list[str] = []
    for address, first in found:
        if address in vips:
            aim = End("service", vips[address], address, target.port, target.protocol)
            ways += (each._replace(hops=(first, *each.hops)) for each in services.ways(start, aim, known))
            turns += (str(number) for number in range(len(turns), len(ways)))
        else:
            ways.append(way(start, address, known, [first]))
            turns.append(" ".join(sorted(containers_at([address], known.topology))) if in_turn else "")
    return Answer(start, target, tuple(ways), tuple(turns))


def reached(start: End, target: End, known: Situation) -> set[str]:
    """Return the containers that the name leads to, from where it is looked up; "" is the host."""
    by_file = _in_hosts(start, target.name, known)
    found = {*(by_file or (one.address for one in _looked_up(start, target.name, known).found))}
    served = [one for one in known.topology.services if found.intersection(one.vips)]
    own = {start.name if ip_address(one).is_loopback else "" for one in found if is_hosts(known, one)}
    return containers_at(found, known.topology) | {end.container for one in served for end in one.backends} | own


def is_name(name: str, start: End, known: Situation) -> bool:
    """Whether it is a name to who asks, or will be: by its hosts file or its search list, or once a container runs."""
    found = _in_hosts(start, name, known) or _looked_up(start, name, known).found
    return bool(found) or bool(_waiting(start, name, known))


def asking(start: End, known: Situation) -> set[str]:
    """Return whose files decide over what names are to who asks; "" is the host's."""
    if start.kind == "container" and start.name not in known.facts.in_host:
        return {start.name}
    return {""} if start.kind in ("host", "container", "loopback") else set()


def _files(start: End, known: Situation) -> Told | None:
    return next((known.told[one] for one in asking(start, known) if one in known.told), None)


def _in_hosts(start: End, name: str, known: Situation) -> list[str]:
    """Return what a name is by the hosts file of who asks, the first family first."""
    told = _files(start, known)
    return sorted(in_hosts(told.hosts or "", name), key=family_of) if told else []


def _search(start: End, known: Situation) -> Search:
    """Return which names who asks has tried: by its resolv.conf as it is, else as it should be."""
    told, asked = _files(start, known), _asked(start, known)
    domain = told.domain if told else ""
    if told and told.resolv and Key("resolvconf", start.name) not in known.wrong:
        return search(told.resolv.splitlines(), domain)
    user = asked.user if asked else NameUser(start.name, ())
    lines = [f"search {' '.join(user.search)}", f"options {' '.join(user.options)}"]
    return search(lines, domain)


def _looked_up(start: End, name: str, known: Situation) -> _Looked:
    """Return what comes of looking a name up with the resolver of who asks.

    What nobody is asked for it refuses, and then no more domains are tried.
    """
    asked, refused = _asked(start, known), False
    before: list[str] = []
    if asked is None:
        return _Looked(name)
    for word, searched in tries(name, _search(start, known)):
        if refused and searched:
            continue
        if found := _by_records(word, asked.networks, known):
            return _Looked(word, found, tuple(before))
        if not _is_nobodys(word, asked.networks, known):
            before += [word] if asked.upstream else []
            refused |= searched and not asked.upstream
    return _Looked(name, (), tuple(before))


def _by_records(word: str, networks: Sequence[str], known: Situation) -> tuple[_Found, ...]:
    """Return what a word is to a resolver that knows the names of these networks, the first family first."""
    records = known.topology.names.records if known.topology.names else {}
    found = {
        address: network
        for network in reversed(networks)
        for address, some in records.get(network, ())
        if word.lower() in map(str.lower, some)
    }
    both = (_Found(network, one) for one, network in found.items())
    return tuple(sorted(both, key=lambda one: family_of(one.address)))


def _is_nobodys(word: str, networks: Sequence[str], known: Situation) -> bool:
    """Whether a resolver asks nobody else for a word: see `reconciler.lowering.names`."""
    records = known.topology.names.records if known.topology.names else {}
    dotted = (name for network in networks for _, some in records.get(network, ()) for name in some if "." in name)
    ends = [f".{one}".lower() for one in (*records, *dotted)]
    return "." not in word or any(f".{word}".lower().endswith(end) for end in ends)


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
    told = _files(start, known)
    if told and told.hosts is None:
        what = f"has a hosts file that can't be read from here, which may say what {target.name} is"
        return [Hop(start.name, what, None, _instead(start, target, known))]
    asked = _asked(start, known)
    if asked is None:
        return [_asks_nobody(start, target, known)]
    looked = _looked_up(start, target.name, known)
    if not looked.found:
        return [_finds_none(start, target, looked, known)]
    if hops := list(_not_as_it_should(asked, target, looked, known)):
        return hops
    if looked.before:
        addresses = listed([one.address for one in looked.found], "and")
        what = (
            f"asks its own servers what {looked.before[0]} is, and only if they know none, {target.name} is {addresses}"
        )
        return [Hop(start.name, what, None, f"ask for {looked.word}. with a dot at the end, which keeps `search` away")]
    question = replace(known, port=DnsServer.OWN_PORT, protocol="udp")
    ways = [way(start, server, question) for server in asked.servers]
    if any(one.verdict == "yes" for one in ways):
        return []
    return [Hop(start.name, f"asks {ways[0].address} what {target.name} is"), *ways[0].hops]


def _asks_nobody(start: End, target: End, known: Situation) -> Hop:
    """Return the hop of who asks no resolver of netapply's: the host, the outside, and some containers."""
    theirs = _theirs(start, target, known)
    instead = _instead(start, target, known)
    if start.kind != "container" or start.name in known.facts.in_host:
        where = start.name or (HOST_HERE if start.kind == "host" else OUT)
        own = [one.name for one in tries(target.name, _search(start, known)) if "." in one.name]
        if own and known.facts.nameservers and _files(start, known):
            what = (
                f"asks its own servers what {own[0]} is: {target.name} is {theirs}, which only its containers ask for"
            )
            return Hop(where, what, None, instead)
        return Hop(
            where, f"does not find {target.name}: that is {theirs}, which only its containers ask for", False, instead
        )
    if start.name in known.facts.resolved:
        what = f"does not find {target.name}: {known.facts.resolved[start.name]}, which does not know {theirs}"
        return Hop(start.name, what, False, f"run it without a network of Docker's (--network none), or {instead}")
    what = f"has no resolver of netapply's: whether it finds {target.name}, {theirs}, is not known"
    return Hop(start.name, what, None, f"have it on that network, without `dns: false`, or {instead}")


def _finds_none(start: End, target: End, looked: _Looked, known: Situation) -> Hop:
    """Return the hop of who is on none of the networks that know the name; what is of no network others are asked."""
    theirs = _theirs(start, target, known)
    mend = _instead(start, target, known)
    if waiting := _waiting(start, target.name, known):
        theirs = f"{theirs}, answered once that runs: {known.topology.pending[waiting[0].container]}"
    else:
        theirs, mend = f"{theirs}, which it is not on", f"attach it to that network, or {mend}"
    if looked.before:
        word = target.name if target.name in looked.before else looked.before[0]
        return Hop(start.name, f"asks its own servers what {word} is: that is {theirs}", None, mend)
    return Hop(start.name, f"does not find {target.name}: that is {theirs}", False, mend)


def _waiting(start: End, name: str, known: Situation) -> list[Waiting]:
    """Return who will have a name once it runs, where it matters: nobody else has it that who asks could find."""
    asked = _asked(start, known)
    words = {one.name.lower() for one in tries(name, _search(start, known))}
    found = [one for one in known.waiting if one.name.lower() in words]
    near = [one for one in found if asked and one.network in asked.networks]
    return near or ([] if networks_knowing(name, known.topology) else found)


def _theirs(start: End, target: End, known: Situation) -> str:
    if waiting := _waiting(start, target.name, known):
        return f"a name of {waiting[0].container} on network {waiting[0].network}"
    networks = networks_knowing(target.name, known.topology)
    return f"a name of network{'s' if len(networks) > 1 else ''} {listed(networks, 'and')}"


def _instead(start: End, target: End, known: Situation) -> str:
    if waiting := _waiting(start, target.name, known):
        asked, one = _asked(start, known), waiting[0]
        if asked is None:
            return f"start {one.container}, and ask for {one.container}"
        near = one.network in asked.networks
        return f"start {one.container}" + ("" if near else f", and attach {start.name} to network {one.network}")
    return f"ask for {listed(sorted(containers_with(target.name, known.topology)), 'or')}"


def _not_as_it_should(asked: _Asked, target: End, looked: _Looked, known: Situation) -> Iterator[Hop]:
    """Yield a hop where the names, or what the container is told of whom to ask, are not as the manifest says."""
    who = asked.user.container
    near = {one.name: host_on(one) for one in known.networks if host_on(one)}
    for line in untold({who: asked.user}, near, known.facts):
        yield Hop(who, line, None if known.facts.unwritten[who].why == "docker" else False)
        return
    found = {one.network for one in looked.found}
    mine = [Key("resolvconf", who), *(Key("names", one) for one in asked.networks if one in found)]
    for key in mine:
        if key in known.wrong:
            yield Hop(who, f"does not find {target.name}: {known.wrong[key]}", False, APPLY)
            return
    for change in known.plan.changes:
        if isinstance(change, Update) and change.key in mine and _differs(change, looked.word):
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
