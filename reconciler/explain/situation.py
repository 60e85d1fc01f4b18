"""What is known of a host and of a question, and what follows from it for single addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from ..drivers import find
from ..host import Facts, Filter, Listener, Rule, Told
from ..lowering.addressing import DEFAULT_METRIC
from ..networks import Endpoint, Network, Publication, Topology
from ..plan import Create, Plan, Update
from ..resources import Key, Route
from ..values import dataclass, field
from .ends import Waiting, endpoints

HOST_HERE, OUT = "host", "outside"
"""Where a hop is that is at no container."""

CONNECTED_METRIC = {4: 0, 6: 256}
"""The priority of the kernel's own routes for addresses: fib_frontend.c, IP6_RT_PRIO_ADDRCONF of ipv6_route.h."""


_DECISIVE = {
    "link": frozenset({"up", "peer.up", "master", "port.isolated"}),
    "route": frozenset({"via", "link", "type"}),
    "nft": frozenset({"text"}),
    "resolver": frozenset({"healthy", "sandbox"}),
}
"""By kind, the fields of resources that decide over whether packets pass; the rest may differ."""


class Hop(NamedTuple):
    """What happens at one place: "host", "outside" or a container.

    `open` is False where the way ends, None where nobody can know from here. `mend` says what would change that.
    """

    where: str
    what: str
    open: bool | None = True
    mend: str = ""


class Leg(NamedTuple):
    """How a container sends to an address: by which endpoint, to which next hop (None: on the link), of which type.

    `route` is the key of the route that says so, None where an address does.
    """

    endpoint: Endpoint
    via: str | None
    type: str = "unicast"
    route: Key | None = None


@dataclass(frozen=True)
class Situation:
    """What there is and should be. `plan` is what applying the manifest would change now.

    `elsewhere` are the containers that the manifest has on other hosts. `port` is the one that is asked for, of
    `protocol`; 0 where none is. `sockets` are what listens, by container ("" is the host) and protocol; what is not in
    there could not be looked at. `led`: it was sent to a service's address, which led to this one. `filters` are the
    base chains of others, `bridged` the families (4, 6) of which what stays within a network passes them, too. `origin`
    and `aim` are the addresses of who asks and of whoever is reached in the end, "" where not known. `rules` are those
    of others by which the host routes. `told` is what files tell containers of names, "" is the host, and `waiting` are
    the names of those that do not run.
    """

    topology: Topology
    facts: Facts
    plan: Plan
    elsewhere: frozenset[str] = frozenset()
    port: int = 0
    filters: tuple[Filter, ...] = ()
    rules: tuple[Rule, ...] = ()
    bridged: frozenset[int] = frozenset()
    origin: str = ""
    aim: str = ""
    protocol: str = "tcp"
    sockets: Mapping[str, Mapping[str, Sequence[Listener]]] = field(default_factory=dict)
    led: bool = False
    told: Mapping[str, Told] = field(default_factory=dict)
    waiting: tuple[Waiting, ...] = ()

    @cached_property
    def wrong(self) -> Mapping[Key, str]:
        """What can't do its part as it is, in words: it is not there, or what packets depend on is otherwise."""
        found: dict[Key, str] = {}
        for one in self.plan.changes:
            if isinstance(one, Create):
                found[one.key] = f"{one.key} is missing"
            elif isinstance(one, Update) and (
                fields := _DECISIVE.get(one.key.kind, frozenset()).intersection(one.fields)
            ):
                found[one.key] = f"{one.key} is not as the manifest says ({', '.join(sorted(fields))})"
        return found

    @cached_property
    def opened(self) -> frozenset[tuple[str, str]]:
        """The pairs of networks of which the first may open connections to the second."""
        able = {one.name for one in self.networks if not one.internal}
        return frozenset((one.name, other) for one in self.networks for other in one.allow if {one.name, other} <= able)

    @property
    def networks(self) -> tuple[Network, ...]:
        return self.topology.networks


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


def leg(situation: Situation, container: str, address: str) -> Leg | None:
    """Return how a container sends to an address, None where it has no route: the longest prefix, then the metric."""
    aim, family = ip_address(address), family_of(address)
    found: list[tuple[int, int, int, Leg]] = []
    for endpoint in endpoints(situation.topology, container):
        for own in endpoint.addresses:
            prefix = ip_interface(own).network
            if family_of(own) == family and aim in prefix:
                found.append((-prefix.prefixlen, CONNECTED_METRIC[family], len(found), Leg(endpoint, None)))
        for route in endpoint.routes:
            whole = ip_network(route.destination)
            if family_of(route.destination) == family and aim in whole:
                metric = DEFAULT_METRIC[family] if route.metric is None else route.metric
                key = Route(container, route.destination, metric=metric).key
                found.append((-whole.prefixlen, metric, len(found), Leg(endpoint, route.via, route.type, key)))
    return min(found, key=lambda one: one[:3])[3] if found else None


def source(endpoint: Endpoint, aim: str) -> str | None:
    """Return the address that an endpoint sends from: one in the subnet of what it sends to, else its first."""
    own = [one for one in endpoint.addresses if family_of(one) == family_of(aim) and not _link_local(one)]
    near = (one for one in own if ip_address(aim) in ip_interface(one).network)
    best = next(near, own[0] if own else None)
    return best.partition("/")[0] if best else None


def _link_local(address: str) -> bool:
    return ip_interface(address).is_link_local


def same_family(one: str, other: str) -> bool:
    return family_of(one) == family_of(other)


def way_out(situation: Situation, aim: str) -> str | None:
    """Return the link of others by which the host sends to an address, None where it has no route."""
    best: tuple[int, str] | None = None
    for name, link in sorted(situation.facts.links.items()):
        prefixes = [str(ip_interface(one).network) for one in link.addresses] + list(link.routes)
        for prefix in prefixes if link.up and name != "lo" else ():
            whole = ip_network(prefix)
            if same_family(prefix, aim) and ip_address(aim) in whole and (best is None or whole.prefixlen > best[0]):
                best = (whole.prefixlen, name)
    return best[1] if best else None


def host_on(network: Network) -> list[str]:
    """Return the addresses by which the host is on a network, without prefix lengths."""
    driver = find(network.driver)
    own = [one.partition("/")[0] for one in network.host_addresses]
    if driver and driver.TRAITS.gateway_on_host:
        own += [
            one.gateway
            for one in network.subnets
            if one.gateway and driver.TRAITS.is_gateway(network.options, one.family)
        ]
    return own


def is_hosts(situation: Situation, address: str) -> bool:
    """Whether an address is one of the host's own."""
    if ip_address(address).is_loopback:
        return True
    found = [one.partition("/")[0] for link in situation.facts.links.values() for one in link.addresses]
    return address in found or any(address in host_on(network) for network in situation.networks)


def published(situation: Situation, aim: str) -> Publication | None:
    """Return what the port that is asked for leads to on an address of the host, None where it is not published.

    ::1 can't be translated by the kernel.
    """
    if not situation.port or aim == "::1" or not is_hosts(situation, aim):
        return None
    family, port = family_of(aim), situation.port
    able = [
        one
        for one in situation.topology.publications
        if (one.protocol, one.port, one.family) == (situation.protocol, port, family) and one.host_ip in (None, aim)
    ]
    return min(able, key=lambda one: one.host_ip is None, default=None)


def has_parent(network: Network) -> bool:
    driver = find(network.driver)
    return bool(driver and driver.TRAITS.wants_parent)


def is_addressed(network: Network) -> bool:
    driver = find(network.driver)
    return bool(driver and driver.TRAITS.addressed)


def leads_to(network: Network, address: str) -> bool:
    """Whether the host routes to an address by a network: to its containers on other hosts, too, in mode l3."""
    driver = find(network.driver)
    routed = bool(driver and driver.TRAITS.gateway_on_host) and host_on(network)
    shares = (*network.subnets, *(one for node in network.nodes for one in node.subnets))
    return bool(routed) and any(ip_address(address) in ip_network(one.cidr) for one in shares)
