"""Whether one can reach another, by which way, and what to change if not: `netapply explain`.

Values in, values out: it asks nobody and sends nothing. What it says of this host is what the kernel does, which the
tests compare over random manifests; what is beyond the host it says it does not know.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from ..engine import Proposal
from ..host import Filter, Rule
from ..manifest.model import Manifest
from ..networks import Endpoint, Network, Topology
from .ends import End, Unknown, Waiting, addresses, containers, end, endpoints, network_of, sender
from .foreign import leaving
from .listening import concerned
from .situation import (
    Hop,
    Situation,
    family_of,
    has_parent,
    host_on,
    is_hosts,
    leg,
    published,
    source,
)
from .ways import answer, from_container, from_host, from_outside

__all__ = [
    "Answer",
    "End",
    "Hop",
    "Situation",
    "Unknown",
    "Way",
    "aimed",
    "concerned",
    "end",
    "explain",
    "hooks",
    "placed",
    "sender",
    "situation",
    "way",
]

SOMEWHERE = {4: "198.51.100.1", 6: "2001:db8::1"}
"""An address that stands for all that is outside: for documentation (RFC 5737, RFC 3849), so that only default routes
lead there."""

HOOKS = ("input", "forward", "output", "nat")
"""Which base chains of others are to be known: see `Filter`."""

_LINK_LOCAL = ("169.254.", "fe8", "fe9", "fea", "feb")


class Way(NamedTuple):
    """The way to one address, and back. `verdict` is "yes", "no", or "unknown" where nobody can know from here.

    `outside`: it leaves the host, so that the answer is up to others.
    """

    address: str
    verdict: str
    hops: tuple[Hop, ...]
    outside: bool = False

    @property
    def mend(self) -> str:
        return self.hops[-1].mend if self.hops else ""


class Answer(NamedTuple):
    """What is said of a question. `ways` are the addresses of who is asked for, likely ones first.

    `turns` says of each whose it is, where several are asked in turn.
    """

    start: End
    target: End
    ways: tuple[Way, ...]
    turns: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The best of the ways', since a connection needs one; of several in turn the worst: it goes to any of them."""
        order = ("no", "unknown", "yes")
        best: dict[str, int] = {}
        for whose, way in zip(self.turns or [""] * len(self.ways), self.ways, strict=True):
            best[whose] = max(best.get(whose, 0), order.index(way.verdict))
        return order[min(best.values())]


def hooks(rules: Sequence[Rule]) -> Sequence[str]:
    """Return the hooks of the base chains of others that are to be known beside such rules."""
    if not any(one.mark for one in rules):
        return HOOKS
    from .policy import MARKING

    return (*HOOKS, *MARKING)


def situation(
    proposal: Proposal,
    manifest: Manifest | None = None,
    filters: Sequence[Filter] = (),
    bridged: Collection[int] = (),
    rules: Sequence[Rule] = (),
) -> Situation:
    """Return what is to be known for an answer, from a plan; its manifest says which containers are on other hosts.

    `filters`, `bridged` and `rules` are as in `Situation`.
    """
    topology = proposal.topology
    placed = {name for name, one in manifest.containers.items() if one.host} if manifest else set()
    away = frozenset(placed - containers(topology))
    facts, plan = proposal.observation.facts, proposal.plan
    return Situation(
        topology,
        facts,
        plan,
        away,
        filters=tuple(filters),
        rules=tuple(rules),
        bridged=frozenset(bridged),
        waiting=tuple(_waiting(topology, manifest)) if manifest and topology.names else (),
    )


def _waiting(topology: Topology, manifest: Manifest) -> Iterator[Waiting]:
    """Yield the names of containers that do not run."""
    for container in topology.pending:
        for each in manifest.containers[container].endpoints:
            for name in (container, *each.aliases):
                yield from (Waiting(one, container, each.network) for one in (name, f"{name}.{each.network}"))


def placed(start: End, known: Situation) -> set[str]:
    """Return the containers whose files tell who asks what names are; "" is the host."""
    from .names import asking

    return asking(_who_has(start, known) if start.kind == "address" else start, known)


def aimed(text: str, start: End, known: Situation) -> End:
    """Return whom a word means to who asks: as `end` does, or what a name is by its files and its resolver.

    Raises Unknown for whom there is not.
    """

    def is_name(name: str) -> bool:
        from .names import is_name

        return is_name(name, start, known)

    return end(text, known.topology, known.elsewhere, is_name)


def explain(start: End, target: End, known: Situation) -> Answer:
    """Return whether `start` reaches `target`, and how; of a port, whether a connection does."""
    known = replace(known, port=target.port, protocol=target.protocol)
    if start.kind == "loopback":
        start = End("host")
    if start.kind == "address":
        start = _who_has(start, known)
    pending = [one for one in (start, target) if one.name in known.topology.pending]
    if pending:
        why = f"does not run: {known.topology.pending[pending[0].name]}"
        return Answer(start, target, (Way("", "no", (Hop(pending[0].name, why, False, f"start {pending[0].name}"),)),))
    if start.kind == "container" and start.name not in containers(known.topology):
        return Answer(start, target, (_elsewhere(start),))
    if target.kind == "loopback" and not (_is_host(start, known) and target.address == "127.0.0.1"):
        from . import loopback

        return Answer(start, target, (_way(target.address, loopback.hops(start, target, known)),))
    if target.kind == "service":
        from . import services

        ways = tuple(services.ways(start, target, known))
        return Answer(start, target, ways, tuple(map(str, range(len(ways)))))
    if target.kind == "name":
        from . import names

        return names.answer(start, target, known)
    aims = list(dict.fromkeys(_aims(start, target, known)))
    if not aims and target.name in known.elsewhere:
        return Answer(start, target, (_elsewhere(target),))
    if not aims:
        hop = Hop(str(target), "has no address", False, "attach it to a network with subnets")
        return Answer(start, target, (Way("", "no", (hop,)),))
    return Answer(start, target, tuple(_ways(start, target, aims, known)))


def _ways(start: End, target: End, aims: Sequence[str], known: Situation) -> Iterator[Way]:
    """Yield the way to each address, or that there is none of the family that `start` has."""
    family = family_of(start.address) if start.kind == "outside" and start.address else 0
    able = [one for one in aims if family in (0, family_of(one))]
    if not able:
        what = f"has no IPv{family} address to be reached at from {start.address}"
        yield Way("", "no", (Hop(str(target), what, False, f"ask from an IPv{family_of(aims[0])} address"),))
    yield from (way(start, aim, known) for aim in able)


def _who_has(start: End, known: Situation) -> End:
    """Return who sends from an address that no container of this host has: nobody of ours is left as it is."""
    if is_hosts(known, start.address):
        return start._replace(kind="host")
    for network in known.networks:
        for remote in network.remotes:
            if start.address in remote.addresses:
                return start._replace(kind="container", name=remote.container)
        near = any(ip_address(start.address) in ip_network(one.cidr) for one in network.subnets)
        if near and not has_parent(network):
            return start
    return start._replace(kind="outside")


def _elsewhere(one: End) -> Way:
    return Way("", "unknown", (Hop(one.name, "is on another host: ask there", None),))


def _aims(start: End, target: End, known: Situation) -> Iterator[str]:
    """Yield the addresses that `target` is reached at, those that `start` would take first."""
    topology = known.topology
    if target.address:
        yield target.address
    elif target.kind == "container" and not _is_host(target, known):
        near = {one.network for one in endpoints(topology, start.name)} if start.kind == "container" else set()
        inner = {one.name for one in known.networks if one.internal}
        theirs = sorted(
            endpoints(topology, target.name), key=lambda one: (one.network not in near, one.network in inner)
        )
        yield from (one for end_ in theirs for one in addresses(end_) if not one.startswith(_LINK_LOCAL))
        remotes = (remote for network in topology.networks for remote in network.remotes)
        yield from (one for remote in remotes if remote.container == target.name for one in remote.addresses)
    elif target.kind == "outside":
        yield from (SOMEWHERE[family] for family in sorted(_families(start, topology)))
    else:
        yield from _of_host(start, known)


def _families(start: End, topology: Topology) -> set[int]:
    found = {family_of(one) for end_ in endpoints(topology, start.name) for one in end_.addresses}
    return found or {4, 6}


def _of_host(start: End, known: Situation) -> Iterator[str]:
    """Yield the host's addresses: on the networks of who asks, else those that it has by links of others."""
    if start.kind == "host" or _is_host(start, known):
        yield "127.0.0.1"
        return
    for end_ in endpoints(known.topology, start.name) if start.kind == "container" else ():
        yield from host_on(network_of(end_, known.networks))
    for link in known.facts.links.values():
        if link.owner is None and link.name != "lo":
            yield from (one.partition("/")[0] for one in link.addresses if not one.startswith(_LINK_LOCAL))


def _is_host(one: End, known: Situation) -> bool:
    return one.kind == "host" or (one.kind == "container" and one.name in known.facts.in_host)


def way(start: End, aim: str, known: Situation, first: Iterable[Hop] = ()) -> Way:
    """Return the way from `start` to an address, and back; `first` is what happens before."""
    return _way(aim, itertools.chain(first, _there_and_back(start, aim, known)))


def _way(aim: str, by: Iterable[Hop]) -> Way:
    hops = tuple(_until_closed(by))
    closed = any(hop.open is False for hop in hops)
    unclear = any(hop.open is None for hop in hops)
    outside = aim in SOMEWHERE.values() or hops[-1].where == "outside"
    return Way(aim, "no" if closed else "unknown" if unclear else "yes", hops, outside)


def _until_closed(hops: Iterable[Hop]) -> Iterator[Hop]:
    for hop in hops:
        yield hop
        if hop.open is not True:
            return


def _there_and_back(start: End, aim: str, known: Situation) -> Iterator[Hop]:
    """Yield the hops to an address, and those of the answer if a container has it."""
    if start.kind == "address":
        what = "is nobody of this project, though in a subnet of one of its networks: ask from where it is"
        yield Hop(start.address, what, None)
        return
    inside = start.kind == "container" and not _is_host(start, known) and ip_address(aim).is_loopback
    led = None if inside else published(known, aim)
    final = led.targets[0].address if led else aim
    receiver = next((one for one in endpoints(known.topology) if final in addresses(one)), None)
    came_by: Network | None = None
    known = replace(known, aim="" if final in SOMEWHERE.values() else final)
    if start.kind == "outside":
        origin: str | None = start.address or SOMEWHERE[family_of(aim)]
        known = replace(known, origin=start.address)
        yield from from_outside(known, aim)
        if start.address:
            yield from _has_route_back(start.address, receiver, known)
    elif _is_host(start, known):
        yield from from_host(known, aim)
        own = host_on(network_of(receiver, known.networks)) if receiver else []
        origin = next((one for one in own if family_of(one) == family_of(aim)), None)
    else:
        first = leg(known, start.name, aim)
        came_by = network_of(first.endpoint, known.networks) if first else None
        origin = source(first.endpoint, first.via or aim) if first else None
        known = replace(known, origin=origin or "")
        yield from from_container(known, start.name, aim)
    if receiver and led and (_is_host(start, known) or led.targets[0].masquerade or _near(receiver, came_by, known)):
        own = host_on(network_of(receiver, known.networks))  # which the container sees instead
        origin = next((one for one in own if family_of(one) == family_of(aim)), origin)
    if receiver and origin and (led or receiver.container != start.name):
        local = _is_host(start, known)
        yield from answer(known, receiver.container, came_by, origin, led=led is not None, local=local)


def _has_route_back(address: str, receiver: Endpoint | None, known: Situation) -> Iterator[Hop]:
    """Yield a closed hop where the host is to send the answer and has no route for it."""
    network = network_of(receiver, known.networks) if receiver else None
    if network and has_parent(network):
        return
    link = leaving(known, address, network, begins=False, local=network is None)
    if isinstance(link, Hop):
        yield link if link.open is None else link._replace(what=f"has no route back to {address}")


def _near(receiver: Endpoint, came_by: Network | None, known: Situation) -> bool:
    """Whether a container is itself on the network that somebody asks from, and would answer there directly."""
    return came_by is not None and any(
        one.network == came_by.name for one in endpoints(known.topology, receiver.container)
    )
