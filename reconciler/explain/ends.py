"""Who is meant: a container, this host, what is outside, or an address; with a port or without."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from ..manifest.words import did_you_mean, listed
from ..networks import Endpoint, Network, Topology

THIS_HOST, OUTSIDE = "host", "outside"
"""What the host, and whoever is beyond it, are called in questions; a container of that name goes first."""

LOOPBACK = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}
"""What everybody has itself, and means itself by: on the host the host, in a container that container."""

MOST_PORT = 65535
PROTOCOLS = ("tcp", "udp", "sctp")


class Unknown(ValueError):
    """Nobody is called that, or it is no port."""


class End(NamedTuple):
    """One end of a connection: `kind` is "container", "service", "name", "host", "loopback", "outside" or "address".

    `name` is that of one of the first two, or one that resolvers answer (`names`). `address` is what is asked for by
    address, `port` 0 where none is. `protocol` is the port's.
    """

    kind: str
    name: str = ""
    address: str = ""
    port: int = 0
    protocol: str = "tcp"

    def __str__(self) -> str:
        name = self.name or self.address or self.kind
        if not self.port:
            return name
        port = f"{self.port}" if self.protocol == "tcp" else f"{self.port}/{self.protocol}"
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


class Waiting(NamedTuple):
    """A name that resolvers will answer on a network once a container runs."""

    name: str
    container: str
    network: str


def end(
    text: str,
    topology: Topology,
    elsewhere: Collection[str] = (),
    is_name: Callable[[str], bool] = lambda name: False,
) -> End:
    """Return whom a word of a question means: a container or a service by name, host, outside or an address, and :PORT.

    A port may have a protocol, "53/udp". `elsewhere` are the containers on other hosts. `is_name` tells which other
    words who asks can look up. Raises Unknown for whom there is not.
    """
    name, port, protocol = _parted(text)
    return _named(name, port, topology, elsewhere, is_name)._replace(protocol=protocol)


def sender(text: str, topology: Topology, elsewhere: Collection[str] = (), waiting: Collection[Waiting] = ()) -> End:
    """Return who sends, as `end` does. Raises Unknown for what never does: a service, or a name of several.

    `waiting` are the names of containers that do not run.
    """
    for its in waiting:
        if its.name == text and text != its.container and not networks_knowing(text, topology):
            raise Unknown(f"{text} is a name of {its.container}, which does not run: {topology.pending[its.container]}")
    one = end(text, topology, elsewhere)
    if one.kind == "service":
        backends = next(its.backends for its in topology.services if its.name == one.name)
        what = f"service {one.name} opens no connections, its containers do"
        mend = f"name one of them: {listed([its.container for its in backends], 'and')}"
        raise Unknown(f"{what}; {mend if backends else 'none of them runs'}")
    if one.kind == "name":
        theirs = sorted(containers_with(one.name, topology))
        raise Unknown(f"{one.name} is a name to reach containers by; name the one that asks: {listed(theirs, 'or')}")
    return one


def _named(name: str, port: int, topology: Topology, elsewhere: Collection[str], is_name: Callable[[str], bool]) -> End:
    names = sorted({*containers(topology), *elsewhere})
    if name in names:
        return End("container", name, port=port)
    services = [one.name for one in topology.services]
    if name in services:
        return End("service", name, port=port)
    if name == THIS_HOST:
        return End("host", port=port)
    if name in LOOPBACK:
        return End("loopback", address=LOOPBACK[name], port=port)
    if name == OUTSIDE:
        return End("outside", port=port)
    try:
        return _of_address(str(ip_address(name)), port, topology)
    except ValueError:
        if networks_knowing(name, topology) or is_name(name):
            return End("name", name, port=port)
        known = [*names, *services, THIS_HOST, OUTSIDE]
        near = did_you_mean(name, [*known, *_looked_up(topology)]) or f"there are {listed(known, 'and')}"
        raise Unknown(
            _by_network(name, topology) or f"there is no container {name} in project {topology.project}; {near}"
        ) from None


def _by_network(name: str, topology: Topology) -> str:
    """Return why NAME.NETWORK is nobody's name, "" where it does not look as if that were meant."""
    whose, _, network = name.rpartition(".")
    if network not in (one.name for one in topology.networks):
        return ""
    if whose not in {*containers(topology), *(one.name for one in topology.services)}:
        return ""
    if topology.names is None:
        return f"{name} is no name while names are off; write `dns: true`, or ask for {whose}"
    if whose in topology.pending:
        return f"{name} is no name while {whose} does not run: {topology.pending[whose]}"
    return f"there is no {name}: {whose} is not on network {network}"


def networks_knowing(name: str, topology: Topology) -> list[str]:
    """Return the networks whose containers find somebody by that name."""
    records = topology.names.records if topology.names else {}
    return sorted(one for one, some in records.items() if any(name.lower() in map(str.lower, its) for _, its in some))


def containers_with(name: str, topology: Topology) -> set[str]:
    """Return the containers and services that are found by a name, on any network."""
    records = topology.names.records if topology.names else {}
    found = {address for some in records.values() for address, its in some if name.lower() in map(str.lower, its)}
    return containers_at(found, topology) | {one.name for one in topology.services if found.intersection(one.vips)}


def containers_at(some: Collection[str], topology: Topology) -> set[str]:
    """Return the containers, here and on other hosts, that have some of these addresses."""
    there = {one.container for one in endpoints(topology) if not {*some}.isdisjoint(addresses(one))}
    remotes = (remote for network in topology.networks for remote in network.remotes)
    return there | {one.container for one in remotes if not {*some}.isdisjoint(one.addresses)}


def _looked_up(topology: Topology) -> set[str]:
    records = topology.names.records if topology.names else {}
    return {name for some in records.values() for _, its in some for name in its}


def _of_address(address: str, port: int, topology: Topology) -> End:
    for service in topology.services:
        if address in service.vips:
            return End("service", service.name, address, port)
    for one in endpoints(topology):
        if address in addresses(one):
            return End("container", one.container, address, port)
    return End("address", "", address, port)


def containers(topology: Topology) -> set[str]:
    """Return the containers that are on this host, or will be."""
    attached = (one.container for network in topology.networks for one in network.endpoints)
    return {*(one.sandbox for one in topology.sandboxes), *attached, *topology.pending}


def _parted(text: str) -> tuple[str, int, str]:
    """Return the name, the port and its protocol of "web:80", "[fd00::1]:53/udp", "10.0.0.1"; 0 where none is said."""
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        return text, 0, PROTOCOLS[0]
    else:
        name, _, port = text.partition(":")
    if not port:
        return name, 0, PROTOCOLS[0]
    number, _, protocol = port.partition("/")
    if not (number.isascii() and number.isdigit() and 0 < int(number) <= MOST_PORT):
        raise Unknown(f"{port!r} is not a port; write {name}:PORT with a number from 1 to {MOST_PORT}")
    if (protocol or number) not in (*PROTOCOLS, number):
        raise Unknown(f"{protocol!r} is not a protocol; write {name}:{number} for TCP, or {name}:{number}/udp")
    return name, int(number), protocol or PROTOCOLS[0]


def endpoints(topology: Topology, container: str | None = None) -> list[Endpoint]:
    """Return the endpoints of all networks, or those of one container, in the order of the networks."""
    return [one for network in topology.networks for one in network.endpoints if container in (None, one.container)]


def addresses(endpoint: Endpoint) -> list[str]:
    """Return an endpoint's addresses without prefix lengths."""
    return [one.partition("/")[0] for one in endpoint.addresses]


def network_of(endpoint: Endpoint, networks: Sequence[Network]) -> Network:
    """Return the network that an endpoint is on."""
    return next(one for one in networks if one.name == endpoint.network)
