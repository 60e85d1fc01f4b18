"""Service discovery, settled: which names there are on each network, and who answers whom.

Containers that are on the same networks, and ask the same servers for the rest, share a resolver: it knows the names of
these networks, and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from .. import drivers
from ..host import Observation
from ..manifest.model import ContainerSpec, DnsSpec, Manifest
from ..naming import digest
from ..networks import Names, NameUser, Network, Resolver, Service
from ..resources import DnsServer, State

PORTS = range(24000, 30000)
"""Where resolvers listen; containers ask at port 53, and the firewall knows whose resolver that is."""

LONGEST_LABEL, LONGEST_NAME = 63, 253
"""RFC 1035, 2.3.4; the longest name as text."""


def settled(
    manifest: Manifest, networks: Sequence[Network], services: Sequence[Service], observation: Observation
) -> Names:
    """Return the names on each network and the resolvers."""
    by_service = {network.name: [one for one in services if one.network == network.name] for network in networks}
    records = {network.name: tuple(_records(manifest, network, by_service[network.name])) for network in networks}
    named = {name for name, some in records.items() if some}
    inside = {network.name for network in networks if network.internal}
    users: dict[tuple[tuple[str, ...], tuple[str, ...]], list[NameUser]] = {}
    running = {end.container for network in networks for end in network.endpoints}
    for name, container in sorted(manifest.containers_here.items()):
        own = tuple(end.network for end in container.endpoints if end.network in named)
        dns = container.dns or DnsSpec()
        if not own or name not in running or dns.off:
            continue
        only_inside = inside.issuperset(end.network for end in container.endpoints)
        upstream = () if only_inside else dns.servers or DnsServer.HOSTS_OWN
        users.setdefault((tuple(sorted(own)), upstream), []).append(NameUser(name, own, dns.search, dns.options))
    ports = _ports(manifest, users.keys(), observation)
    resolvers = (Resolver(*group, ports[group], tuple(members)) for group, members in sorted(users.items()))
    return Names({name: some for name, some in records.items() if some}, tuple(resolvers))


def alone(manifest: Manifest) -> frozenset[str]:
    """Return the containers that may be on no network that the host has an address on, so far as a manifest tells."""
    near = {
        name
        for name, network in manifest.networks.items()
        if (driver := drivers.find(network.driver)) and driver.TRAITS.gateway_on_host and not network.external
        if not any(option.startswith(_LEAVES_THE_HOST_OUT) for option in network.driver_opts)
    }
    return frozenset(
        name
        for name, container in manifest.containers_here.items()
        if container.endpoints and not (container.dns and container.dns.off)
        if near.isdisjoint(end.network for end in container.endpoints)
    )


_LEAVES_THE_HOST_OUT = ("gateway_mode", "inhibit_gateway")


def remarks(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each container that can't be found by its name."""
    for name, container in manifest.containers.items():
        if container.endpoints and not _is_name(name):
            yield (
                f"container {name} can't be found by its name, of which a part between dots is empty or longer than"
                f" {LONGEST_LABEL}; give it aliases"
            )


def resolver_name(networks: Sequence[str], upstream: Sequence[str]) -> str:
    """Return what a resolver is known by: its networks, and whom it asks where that is not whom the host asks."""
    name = ", ".join(networks)
    return name if tuple(upstream) == DnsServer.HOSTS_OWN else f"{name} asking {', '.join(upstream) or 'nobody'}"


def _records(
    manifest: Manifest, network: Network, services: Sequence[Service]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the addresses of a network's containers here and elsewhere, and of its services, each with its names."""
    found: dict[str, tuple[str, ...]] = {end.container: end.addresses for end in network.endpoints}
    found |= {one.container: one.addresses for one in network.remotes if one.container not in found}
    for container, addresses in sorted(found.items()):
        spec = manifest.containers.get(container)
        names = tuple(_with_network([container, *_aliases(spec, network.name)], network.name))
        for address in addresses:
            if names and not address.startswith(("fe80:", "169.254.")):
                yield address.partition("/")[0], names
    for service in sorted(services, key=lambda one: one.name):
        names = tuple(_with_network([service.name], network.name))
        for address in service.vips or (one for backend in service.backends for one in backend.addresses):
            if names:
                yield address, names


def _aliases(spec: ContainerSpec | None, network: str) -> tuple[str, ...]:
    ends = spec.endpoints if spec else ()
    return next((end.aliases for end in ends if end.network == network), ())


def _with_network(names: Sequence[str], network: str) -> Iterator[str]:
    for name in dict.fromkeys(names):
        for one in (name, f"{name}.{network}"):
            if _is_name(one):
                yield one


def _is_name(name: str) -> bool:
    return len(name) <= LONGEST_NAME and all(1 <= len(label) <= LONGEST_LABEL for label in name.split("."))


_Group = tuple[tuple[str, ...], tuple[str, ...]]


def _ports(manifest: Manifest, groups: Collection[_Group], observation: Observation) -> Mapping[_Group, int]:
    """Return a port for each resolver: the one that it has, else one that derives from its name and is free."""
    state, facts = observation
    project = manifest.project
    published = {port.published for one in manifest.containers.values() for port in one.ports}
    published |= {port.published for one in manifest.services.values() for port in one.ports}
    ports: dict[_Group, int] = {}
    for group in sorted(groups):
        have = _observed(state, group)
        if have and have.port in PORTS and (have.healthy or have.pid or have.port not in facts.busy_ports):
            ports.setdefault(group, have.port)
    taken = {*ports.values(), *facts.busy_ports, *published}
    for group in sorted(groups - ports.keys()):
        start = int.from_bytes(digest(project, resolver_name(*group))[:4], "big") % len(PORTS)
        ports[group] = next(
            port for step in range(len(PORTS)) if (port := PORTS[(start + step) % len(PORTS)]) not in taken
        )
        taken.add(ports[group])
    return ports


def _observed(state: State, group: _Group) -> DnsServer | None:
    name = resolver_name(*group)
    return next((one for one in state.values() if isinstance(one, DnsServer) and one.name == name), None)
