"""Services: their virtual IPs, which are allocated as a container's addresses are, and who serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .. import drivers
from ..drivers import Traits
from ..firewall import FAMILY, table_name
from ..firewall.services import virtual_ips
from ..lowering import publishing
from ..manifest.members import by_network, members
from ..manifest.model import EndpointSpec, Manifest, NetworkSpec
from ..networks import Backend, Network, Publication, Service, Target
from ..resources import Key, NftTable, State
from . import ipam

_HOLDER = "service "
"""How the holder of a virtual IP begins; no container's name has a space in it."""


_HOST_HOLDER = "host "
"""How the holder of an address begins that a host has for itself on a network that spans hosts."""


def host_holder(host: str) -> str:
    """Return what a host is called as the holder of an address of its own."""
    return f"{_HOST_HOLDER}{host}"


def holders(manifest: Manifest, spanning: Mapping[str, bool]) -> Iterator[EndpointSpec]:
    """Yield those that are to have addresses as if they were containers: services, and where these span hosts, those.

    A host without a container of the service's sends to those on others, whose answers must find it.
    """
    hosts: set[str] = set()
    for service in manifest.services.values():
        if service.mode == "vip":
            yield EndpointSpec(f"{_HOLDER}{service.name}", service.network, service.vip)
        if spanning.get(service.network) and (service.mode == "vip" or any(port.published for port in service.ports)):
            hosts.add(service.network)
    for network in sorted(hosts):
        yield from (EndpointSpec(host_holder(name), network, host=name) for name in sorted(manifest.hosts))


def service_of(holder: str) -> str | None:
    """Return the service that holds an address, None for any other holder."""
    return holder.removeprefix(_HOLDER) if holder.startswith(_HOLDER) else None


def held(manifest: Manifest, state: State, spanning: Mapping[str, bool]) -> dict[str, list[tuple[int, int]]]:
    """Return the virtual IPs that services have, by holder: read from the tables that spread their connections.

    Not those of networks that span hosts: what is there on one host must play no part.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for text in sorted({one.text for one in state.values() if type(one) is NftTable}):
        for address, name in virtual_ips(text):
            service, one = manifest.services.get(name), ipam.address(address)
            if service and not spanning.get(service.network) and one not in found.setdefault(f"{_HOLDER}{name}", []):
                found[f"{_HOLDER}{name}"].append(one)
    return found


def settled(
    manifest: Manifest, networks: Sequence[Network], addresses: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[Service]:
    """Yield the services by name. `addresses` are those of holders by holder and network, without prefix length."""
    known = {network.name: network for network in networks}
    near = by_network(manifest, {one.network for one in manifest.services.values()})
    serving = {name: _serving(known[name]) for name in near}
    for name, spec in sorted(manifest.services.items()):
        able = serving[spec.network]
        backends = (
            able[container]._replace(weight=weight)
            for container, weight in members(spec, near[spec.network])
            if container in able
        )
        vips = tuple(addresses.get((f"{_HOLDER}{name}", spec.network), ()))
        yield Service(name, spec.network, vips, tuple(backends), spec.ports, spec.affinity)


def _serving(network: Network) -> dict[str, Backend]:
    """Return who could serve on a network: the containers that run, and those on other hosts, of which none is known
    not to."""
    found = {
        one.container: Backend(one.container, _first([spelling.partition("/")[0] for spelling in one.addresses]))
        for one in network.endpoints
    }
    for remote in network.remotes:
        found[remote.container] = Backend(remote.container, _first(remote.addresses), here=False)
    return found


def _first(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the first address of each family; link-local ones, which come last, are none to serve at."""
    first: dict[bool, str] = {}
    for one in addresses:
        if not one.startswith(("169.254.", "fe80:")):
            first.setdefault(":" in one, one)
    return tuple(first[family] for family in sorted(first))


def publications(
    manifest: Manifest, services: Iterable[Service], networks: Iterable[Network], state: State
) -> Iterator[Publication]:
    """Yield the ports of the host that lead to services. `state` is what the host has now.

    Where some of a service's containers run here, they serve what comes here, and see whom it is from. Elsewhere, in
    mode ingress, those on other hosts do, and see this host: their answers must come back by it.
    """
    known = {network.name: network for network in networks}
    was = _published(manifest, state)
    for service in services:
        network = known[service.network]
        for port in service.ports:
            here = [one for one in service.backends if one.here]
            serving = here if here or port.mode == "host" else service.backends
            for family in (4, 6) if port.published else ():
                targets = tuple(
                    Target(address, port.target, backend.weight, not _answers_by_host(network, backend, family))
                    for backend in serving
                    for address in backend.addresses
                    if (":" in address) == (family == 6)
                )
                if targets and publishing.obstacle(*_way(manifest, network), family) is None:
                    number = port.published or 0
                    one = Publication(service.name, port.protocol, None, number, targets, service.affinity)
                    yield replace(one, leaving=_leaving(one, network, was))


def _published(manifest: Manifest, state: State) -> Mapping[tuple[str, str | None, int, int], Publication]:
    """Return what the project publishes now; nothing if no service is to be published."""
    table = state.get(Key("nft", f"{FAMILY} {table_name(manifest.project)}"))
    if not isinstance(table, NftTable) or not any(
        port.published for service in manifest.services.values() for port in service.ports
    ):
        return {}
    from ..firewall import ports

    return ports.summary(ports.published(table.text))


def _leaving(
    one: Publication, network: Network, was: Mapping[tuple[str, str | None, int, int], Publication]
) -> tuple[Target, ...]:
    """Return to whom connections by a port are to go on, though it leads there no more: who served, and runs on.

    Not for UDP, which has none that would end: its flows go to those who serve.
    """
    before = was.get((one.protocol, one.host_ip, one.port, one.family))
    if before is None or before.owner != one.owner or one.protocol == "udp":
        return ()
    running = {address.partition("/")[0] for end in network.endpoints for address in end.addresses}
    running.update(address for remote in network.remotes for address in remote.addresses)
    left = {Target(end.address, end.port) for end in (*before.targets, *before.leaving) if end.address in running}
    return tuple(sorted(left - {Target(end.address, end.port) for end in one.targets}))


def _way(manifest: Manifest, network: Network) -> tuple[NetworkSpec, Traits]:
    spec = manifest.networks[network.name]
    driver = drivers.find(spec.driver)
    return spec, driver.TRAITS if driver else Traits()


def _answers_by_host(network: Network, backend: Backend, family: int) -> bool:
    """Whether a container's answers to whoever is outside come by this host: on others, by those."""
    default = "0.0.0.0/0" if family == 4 else "::/0"
    driver = drivers.find(network.driver)
    return (
        backend.here
        and bool(driver and driver.TRAITS.gateway_on_host)
        and any(
            route.destination == default
            for endpoint in network.endpoints
            if endpoint.container == backend.container
            for route in endpoint.routes
        )
    )


def remarks(services: Sequence[Service]) -> Iterator[str]:
    """Yield what a reader should know: services that nobody serves."""
    for one in services:
        if not one.backends:
            yield f"service {one.name} has no container that runs, and refuses connections"
