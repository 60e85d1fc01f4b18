"""Which ports of the host lead to which addresses: those of the manifest, and free ones where it leaves that open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .. import drivers, firewall
from ..errors import HostLacks
from ..firewall import ports as tables
from ..host import Facts, Observation
from ..lowering import publishing
from ..manifest.model import ContainerSpec, Manifest, NetworkSpec, PortSpec
from ..naming import digest
from ..networks import FREE_PORTS, Network, Publication, Target
from ..resources import Key, NftTable
from ..values import dataclass

_DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class _Way:
    """By which address a container's ports are published in a family, and what says so."""

    network: NetworkSpec
    address: str
    masquerade: bool


def publications(
    manifest: Manifest, observation: Observation, networks: Sequence[Network], further: Iterable[Publication] = ()
) -> tuple[Publication, ...]:
    """Return what the containers here publish, and what `further` are (services'), in their order."""
    wanted = {name: one for name, one in manifest.containers_here.items() if one.ports}
    taken = {(one.protocol, one.port) for one in further}
    ports = _settled(manifest, wanted, observation, taken) if wanted else {}
    found = list(further)
    for name, container in wanted.items():
        ways = dict(_ways(container, manifest, networks))
        for port in container.ports:
            number = port.published or ports.get(_identity(name, port))
            for family, way in ways.items() if number else ():
                for host_ip in publishing.host_ips(port, way.network, family):
                    target = Target(way.address, port.target, masquerade=way.masquerade)
                    found.append(Publication(name, port.protocol, host_ip, number or 0, (target,)))
    return tuple(sorted(found, key=tables.order))


def remarks(publications: Iterable[Publication], facts: Facts) -> Iterator[str]:
    """Yield what a reader should know: addresses that are not the host's."""
    own = {address.partition("/")[0] for link in facts.links.values() for address in link.addresses}
    for host_ip in sorted({one.host_ip for one in publications if one.host_ip} - own):
        if not host_ip.startswith("127."):
            yield f"ports are published on {host_ip}, which is no address of the host now: nothing comes by it"


def _ways(container: ContainerSpec, manifest: Manifest, networks: Sequence[Network]) -> Iterator[tuple[int, _Way]]:
    found = {
        name: drivers.find(manifest.networks[name].driver) for name in (end.network for end in container.endpoints)
    }
    known = {name: (manifest.networks[name], one.TRAITS) for name, one in found.items() if one}
    for family in (4, 6):
        end = publishing.way_in(container, known, family)
        if end is None:
            continue
        network = next(one for one in networks if one.name == end.network)
        here = next((one for one in network.endpoints if one.container == container.name), None)
        addresses = [one.partition("/")[0] for one in here.addresses] if here else []
        address = next((one for one in addresses if _is_usable(one, family)), None)
        if here and address:
            returns = any(route.destination == _DEFAULTS[family] for route in here.routes)
            by_host = known[end.network][1].gateway_on_host
            yield family, _Way(known[end.network][0], address, not (returns and by_host))


def _is_usable(address: str, family: int) -> bool:
    local = address.startswith(("169.254.", "fe8", "fe9", "fea", "feb"))
    return (":" in address) == (family == 6) and not local


# --- ports that the manifest leaves open


def _identity(container: str, port: PortSpec) -> tuple[str, str, int, str | None]:
    return container, port.protocol, port.target, port.host_ip


def _settled(
    manifest: Manifest,
    wanted: Mapping[str, ContainerSpec],
    observation: Observation,
    taken: set[tuple[str, int]],
) -> dict[tuple[str, str, int, str | None], int]:
    """Return the ports that the manifest leaves open: as they are, else derived from names, and free."""
    open_ = [
        (_identity(name, port)) for name, one in sorted(wanted.items()) for port in one.ports if port.published is None
    ]
    if not open_:
        return {}
    used = taken | {(port.protocol, port.published) for one in wanted.values() for port in one.ports if port.published}
    had = _observed(manifest.project, observation)
    result: dict[tuple[str, str, int, str | None], int] = {}
    for identity in open_:
        protocol, port = identity[1], had.get(identity)
        if port and (protocol, port) not in used:
            result[identity] = port
            used.add((protocol, port))
    low, high = observation.facts.ephemeral
    busy = used | {(one.protocol, one.port) for one in observation.facts.listening}
    free = [port for port in FREE_PORTS if not low <= port <= high and port not in observation.facts.led]
    for identity in open_:
        if identity in result:
            continue
        words = "/".join(map(str, (manifest.project, *identity)))
        start = int.from_bytes(digest(words)[:4], "big") % max(1, len(free))
        turn = (*free[start:], *free[:start])
        found = next((port for port in turn if (identity[1], port) not in busy), None)
        if found is None:
            what = f"port {identity[2]}/{identity[1]} of container {identity[0]}"
            raise HostLacks(
                f"no port from {FREE_PORTS.start} to {FREE_PORTS.stop - 1} of the host is free for {what}; name another"
            )
        result[identity] = found
        busy.add((identity[1], found))
    return result


def _observed(project: str, observation: Observation) -> dict[tuple[str, str, int, str | None], int]:
    """Return the ports of the host by what they lead to, as the project's table has them now."""
    table = observation.state.get(Key("nft", f"{firewall.FAMILY} {firewall.table_name(project)}"))
    if not isinstance(table, NftTable):
        return {}
    result: dict[tuple[str, str, int, str | None], int] = {}
    there = tables.published(table.text)
    for one in there:
        for target in one.targets:
            result.setdefault((one.owner, one.protocol, target.port, one.host_ip), one.port)
    for one in there:  # an entry without host_ip may be bound all the same, by its network's host_binding
        for target in one.targets:
            result.setdefault((one.owner, one.protocol, target.port, None), one.port)
    return result
