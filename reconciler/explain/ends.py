"""Who is meant: a container, this host, what is outside, or an address; with a port or without."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from ..manifest.words import did_you_mean, listed
from ..networks import Endpoint, Network, Topology

THIS_HOST, OUTSIDE = "host", "outside"
"""What the host, and whoever is beyond it, are called in questions; a container of that name goes first."""

MOST_PORT = 65535


class Unknown(ValueError):
    """Nobody is called that, or it is no port."""


class End(NamedTuple):
    """One end of a connection: `kind` is "container", "service", "host", "outside" or "address".

    `name` is that of one of the first two. `address` is what is asked for by address, `port` 0 where none is.
    """

    kind: str
    name: str = ""
    address: str = ""
    port: int = 0

    def __str__(self) -> str:
        name = self.name or self.address or self.kind
        if not self.port:
            return name
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"


def end(text: str, topology: Topology, elsewhere: Collection[str] = ()) -> End:
    """Return whom a word of a question means: a container or a service by name, host, outside or an address, and :PORT.

    `elsewhere` are the containers on other hosts. Raises Unknown for whom there is not.
    """
    name, port = _parted(text)
    names = sorted({*containers(topology), *elsewhere})
    if name in names:
        return End("container", name, port=port)
    services = [one.name for one in topology.services]
    if name in services:
        return End("service", name, port=port)
    if name in (THIS_HOST, "localhost", "127.0.0.1", "::1"):
        return End("host", port=port)
    if name == OUTSIDE:
        return End("outside", port=port)
    try:
        return _of_address(str(ip_address(name)), port, topology)
    except ValueError:
        known = [*names, *services, THIS_HOST, OUTSIDE]
        near = did_you_mean(name, known) or f"there are {listed(known, 'and')}"
        raise Unknown(f"there is no container {name} in project {topology.project}; {near}") from None


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


def _parted(text: str) -> tuple[str, int]:
    """Return the name and the port of "web:80", "[fd00::1]:80", "10.0.0.1:80"; 0 where no port is said."""
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        return text, 0
    else:
        name, _, port = text.partition(":")
    if not port:
        return name, 0
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= MOST_PORT):
        raise Unknown(f"{port!r} is not a port; write {name}:PORT with a number from 1 to {MOST_PORT}")
    return name, int(port)


def endpoints(topology: Topology, container: str | None = None) -> list[Endpoint]:
    """Return the endpoints of all networks, or those of one container, in the order of the networks."""
    return [one for network in topology.networks for one in network.endpoints if container in (None, one.container)]


def addresses(endpoint: Endpoint) -> list[str]:
    """Return an endpoint's addresses without prefix lengths."""
    return [one.partition("/")[0] for one in endpoint.addresses]


def network_of(endpoint: Endpoint, networks: Sequence[Network]) -> Network:
    """Return the network that an endpoint is on."""
    return next(one for one in networks if one.name == endpoint.network)
