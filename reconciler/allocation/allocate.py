"""From a manifest and one look at the host to a topology: all that the manifest leaves open is settled here.

What is pinned is taken as it is, what stands on the host already stays, and the rest derives from names, so that no
container or network renumbers another (docs/addresses.md). Errors are those that take the host to find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import HostLacks, ManifestError, Problem
from ..host import Observation
from ..manifest.model import ContainerSpec, Manifest
from ..networks import Endpoint, Names, Network, Publication, Service, Topology, Tunnel
from ..resources import HOST, Netns
from .addresses import Placed, addresses, host
from .endpoints import endpoints
from .ipam import BITS
from .macs import Macs
from .segments import Segment, segments

_Addresses = Mapping[tuple[str, str], Sequence[Placed]]
"""By container and network."""


def allocate(manifest: Manifest, observation: Observation) -> Topology:
    """Return the topology that the manifest means on this host.

    Raises ManifestError with all problems at once, and HostLacks for links that must exist and do not.
    """
    settled, facts = segments(manifest, observation), observation.facts
    problems = [*settled.problems, *_misplaced(manifest, observation, settled.networks)]
    problems += _doubly_the_hosts(manifest, observation, settled.networks)
    if facts.together:
        from . import together

        problems += together.conflicts(manifest, facts.together)
    placed = addresses(manifest, settled.networks, problems, _held(manifest, observation, settled.networks))
    macs = Macs(manifest, settled.networks)
    ends = list(endpoints(manifest, observation, settled.networks, placed, macs, problems))
    tunnel = _tunnel(manifest, observation, problems)
    if settled.lacks:  # first: addresses may be in no subnet for no other reason
        raise HostLacks("\n".join(settled.lacks))
    if problems:
        raise ManifestError(problems, manifest.sources)
    networks = list(_networks(manifest, observation, settled.networks, ends, placed))
    if any(one.traits.span for one in settled.networks.values()):
        from .spread import spread

        networks = list(spread(networks, manifest, settled.networks, _plain(placed), macs, facts))
    if tunnel:
        from . import tunnels

        networks = list(tunnels.through(networks, manifest, tunnel))
    reached = _reached(manifest, observation, networks, placed)
    unsure = [f"container {name} is taken to be where its endpoints are: {why}" for name, why in facts.unsure.items()]
    return Topology(
        project=manifest.project,
        sandboxes=tuple(
            Netns(name, str(container.sandbox), adopted=not container.sandbox.create)
            for name, container in sorted(manifest.containers_here.items())
            if name not in facts.pending and not _in_host(container, observation)
        ),
        networks=tuple(networks),
        pending={name: why for name, why in facts.pending.items() if name in manifest.containers},
        notes=(*settled.notes, *sorted(unsure), *reached.notes),
        publications=reached.publications,
        services=reached.services,
        names=reached.names,
        coexist=manifest.coexist,
    )


def _held(
    manifest: Manifest, observation: Observation, networks: Mapping[str, Segment]
) -> Mapping[str, Sequence[tuple[int, int]]]:
    """Return the virtual IPs that services have already."""
    if not manifest.services:
        return {}
    from . import services

    spanning = {name: one.traits.span is not None for name, one in networks.items()}
    return services.held(manifest, observation.state, spanning)


def _tunnel(manifest: Manifest, observation: Observation, problems: list[Problem]) -> Tunnel | None:
    """Return how encrypted networks get to other hosts, None where there are none."""
    if not manifest.hosts:
        return None
    from . import tunnels

    return tunnels.tunnel(manifest, observation.facts, problems)


def _plain(placed: _Addresses) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return addresses without prefix lengths."""
    return {key: tuple(one.address for one in some) for key, some in placed.items()}


class _Reached(NamedTuple):
    """By what containers are reached beside their addresses, and what a reader should know of that."""

    services: tuple[Service, ...] = ()
    names: Names | None = None
    publications: tuple[Publication, ...] = ()
    notes: tuple[str, ...] = ()


def _reached(manifest: Manifest, observation: Observation, networks: Sequence[Network], placed: _Addresses) -> _Reached:
    """Return services, names and published ports; what a manifest does not have costs nothing."""
    found: list[Service] = []
    served: list[Publication] = []
    names: Names | None = None
    publications: tuple[Publication, ...] = ()
    notes: list[str] = []
    if manifest.hosts:
        from . import spread

        notes += spread.remarks(networks, manifest, observation.facts)
    if manifest.services:
        from . import services

        found = list(services.settled(manifest, networks, _plain(placed)))
        served = list(services.publications(manifest, found, networks, observation.state))
        notes += services.remarks(found)
    if manifest.named:
        from . import names as naming

        names = naming.settled(manifest, networks, found, observation)
        notes += naming.remarks(manifest)
    if served or any(container.ports for container in manifest.containers_here.values()):
        from . import publishing

        publications = publishing.publications(manifest, observation, networks, served)
        notes += publishing.remarks(publications, observation.facts)
    return _Reached(tuple(found), names, publications, tuple(notes))


def _in_host(container: ContainerSpec, observation: Observation) -> bool:
    return container.sandbox.kind == "host" or container.name in observation.facts.in_host


def _misplaced(manifest: Manifest, observation: Observation, networks: Mapping[str, Segment]) -> Iterator[Problem]:
    """Yield the containers whose networks want them in the host's namespace, or out of it, where they are not."""
    for name, container in manifest.containers_here.items():
        if name in observation.facts.pending:
            continue
        in_host = _in_host(container, observation)
        for endpoint in container.endpoints:
            network = networks[endpoint.network]
            if network.traits.in_host and not in_host:
                yield Problem(
                    manifest.position("containers", name, "sandbox"),
                    f"container {name} has a network namespace of its own, and network {endpoint.network} "
                    f"(driver {network.spec.driver}) is for containers in the host's",
                    "attach it to another network, or run it in the host's namespace",
                )
            elif in_host and not network.traits.in_host:
                yield Problem(
                    manifest.position("containers", name, "networks", endpoint.network),
                    f"container {name} is in the host's own network namespace, which network {endpoint.network} "
                    "can't be attached to",
                    "use a network of the driver host, or give the container a namespace of its own",
                )


def _doubly_the_hosts(
    manifest: Manifest, observation: Observation, networks: Mapping[str, Segment]
) -> Iterator[Problem]:
    """Yield the addresses that the host is to have on a network, and has already on a link of somebody else's."""
    wanted = [(name, address) for name, one in networks.items() for own in host(one) for address in own.addresses]
    for name, address in wanted:
        for link in observation.facts.links.values():
            if address in {own.partition("/")[0] for own in link.addresses}:
                yield Problem(
                    manifest.position("networks", name, "driver_opts", "host_access"),
                    f"{address} is the host's own address on {link.name}, and containers can't reach it there",
                    "choose another address for host_access, or true",
                )


def _networks(
    manifest: Manifest,
    observation: Observation,
    networks: Mapping[str, Segment],
    ends: Sequence[Endpoint],
    placed: _Addresses,
) -> Iterator[Network]:
    """Yield the networks in the order of their names, pending containers left out."""
    present: dict[str, list[Endpoint]] = {name: [] for name in networks}
    for endpoint in ends:
        if endpoint.container not in observation.facts.pending:
            present[endpoint.network].append(endpoint)
    for name, network in sorted(networks.items()):
        spec = network.spec
        yield Network(
            project=manifest.project,
            name=name,
            driver=spec.driver,
            mtu=network.mtu,
            options=spec.driver_opts,
            subnets=tuple(room.subnet for room in network.rooms),
            endpoints=tuple(present[name]),
            internal=spec.internal,
            external=spec.external,
            protect=spec.protect,
            allow=spec.allow,
            parent=network.parent,
            host_addresses=tuple(
                f"{one.address}/{BITS[one.room.prefix.family]}" for one in placed.get((HOST, name), ())
            ),
        )
